"""The Google-like face: numeric subjects, the hosted domain as ``hd``, and never a group.

Source: https://developers.google.com/identity/openid-connect/openid-connect. The real issuer is
everybody's; this one is one customer's, at an address of its own.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from demo.idp.directory import Directory, Person
from demo.idp.face import Paths, Refusal, RegisteredApp
from demo.idp.provider import IdentityProviderServer
from demo.jose import SigningKey

if TYPE_CHECKING:
    from demo.clock import Clock
    from demo.jose import Claims, NewKey

SCOPES = ("openid", "profile", "email")


def google_user_id() -> str:
    """Twenty-one digits."""
    return f"1{secrets.randbelow(10**20):020d}"


def google_group_id() -> str:
    """As in ``01ci93xb3tmzyin``: fifteen of lower-case letters and digits."""
    return f"0{secrets.token_hex(7)}"


class GoogleFace:
    """Claims and paths of Google's accounts."""

    def __init__(self, name: str) -> None:
        self.brand = f"{name} · Google-like"
        self.paths = Paths(
            issuer="",
            authorize="/o/oauth2/v2/auth",
            token="/o/oauth2/token",
            jwks="/oauth2/v3/certs",
            userinfo="/v1/userinfo",
            logout="/Logout",
        )

    def new_client_id(self) -> str:
        return (
            f"{secrets.randbelow(10**12):012d}-{secrets.token_hex(16)}.apps.googleusercontent.com"
        )

    def refuse_scopes(self, _app: RegisteredApp, scopes: tuple[str, ...]) -> Refusal | None:
        if set(scopes) - set(SCOPES):
            return Refusal("invalid_scope", "Some requested scopes were invalid.")
        return None

    def id_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...], _auth_time: int
    ) -> Claims:
        return self.userinfo_claims(app, person, scopes) | {"azp": app.client_id}

    def userinfo_claims(
        self, _app: RegisteredApp, person: Person, scopes: tuple[str, ...]
    ) -> Claims:
        claims: Claims = {"sub": person.id, "hd": person.email.rpartition("@")[2]}
        if "profile" in scopes:
            given, _, family = person.name.partition(" ")
            claims |= {"name": person.name, "given_name": given, "family_name": family}
        if "email" in scopes:
            claims |= {"email": person.email, "email_verified": True}
        return claims

    def locked_out(self, _person: Person) -> str:
        return "Your account has been suspended. Contact your administrator."

    def discovery(self, _origin: str) -> Claims:
        return {
            "scopes_supported": list(SCOPES),
            "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "iss", "sub"],
        }


def google_like(
    name: str, *, origin: str, port: int, clock: Clock, new_key: NewKey = SigningKey.generate
) -> IdentityProviderServer:
    """One customer's Google Workspace."""
    return IdentityProviderServer(
        name=name,
        origin=origin,
        port=port,
        face=GoogleFace(name),
        directory=Directory(new_user_id=google_user_id, new_group_id=google_group_id, clock=clock),
        clock=clock,
        new_key=new_key,
    )
