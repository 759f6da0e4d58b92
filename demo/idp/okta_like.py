"""The Okta-like face: an org authorization server, groups by name, and no groups claim where there
is no group.

Rules (Okta developer documentation, "OpenID Connect & OAuth 2.0 API"): the subject is the user id
``00u…``; groups need the scope ``groups`` and the application's groups-claim filter; an empty
groups claim is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.idp.directory import Directory, Person, Status, okta_id
from demo.idp.face import Paths, Refusal, RegisteredApp
from demo.idp.provider import IdentityProviderServer
from demo.jose import SigningKey

if TYPE_CHECKING:
    from demo.clock import Clock
    from demo.jose import Claims, NewKey

SCOPES = ("openid", "profile", "email", "groups", "offline_access")


class OktaFace:
    """Claims and paths of an Okta org."""

    def __init__(self, name: str, directory: Directory, *, issuer: str = "") -> None:
        self.brand = f"{name} · Okta-like"
        self.paths = Paths(
            issuer=issuer,
            authorize="/oauth2/v1/authorize",
            token="/oauth2/v1/token",
            jwks="/oauth2/v1/keys",
            userinfo="/oauth2/v1/userinfo",
            logout="/oauth2/v1/logout",
            signout="/login/signout",
        )
        self._directory = directory
        self._org = okta_id("00o")

    def new_client_id(self) -> str:
        return okta_id("0oa")

    def refuse_scopes(self, app: RegisteredApp, scopes: tuple[str, ...]) -> Refusal | None:
        if set(scopes) - set(SCOPES):
            return Refusal(
                "invalid_scope",
                "One or more scopes are not configured for the authorization server resource.",
            )
        return None

    def id_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...], auth_time: int
    ) -> Claims:
        return {
            **self.userinfo_claims(app, person, scopes),
            "ver": 1,
            "jti": f"ID.{okta_id('')}",
            "amr": ["pwd"],
            "idp": self._org,
            "auth_time": auth_time,
        }

    def userinfo_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...]
    ) -> Claims:
        claims: Claims = {"sub": person.id}
        if "profile" in scopes:
            given, _, family = person.name.partition(" ")
            claims |= {
                "name": person.name,
                "given_name": given,
                "family_name": family,
                "preferred_username": person.email,
            }
        if "email" in scopes:
            claims |= {"email": person.email, "email_verified": True}
        groups = [group.name for group in self._directory.groups_of(person)]
        if "groups" in scopes and app.groups_claim and groups:
            claims["groups"] = groups
        return claims

    def locked_out(self, person: Person) -> str:
        return (
            "Your account is suspended."
            if person.status is Status.SUSPENDED
            else "Unable to sign in."
        )

    def discovery(self, origin: str) -> Claims:
        return {
            "scopes_supported": list(SCOPES),
            "claims_supported": ["iss", "sub", "aud", "iat", "exp", "email", "groups"],
        }


def okta_like(
    name: str,
    *,
    origin: str,
    port: int,
    clock: Clock,
    new_key: NewKey = SigningKey.generate,
    issuer: str = "",
) -> IdentityProviderServer:
    """An Okta org; with ``issuer="/"`` it is called as Auth0, authentik and JumpCloud call
    themselves.
    """
    directory = Directory(
        new_user_id=lambda: okta_id("00u"), new_group_id=lambda: okta_id("00g"), clock=clock
    )
    face = OktaFace(name, directory, issuer=issuer)
    return IdentityProviderServer(
        name=name,
        origin=origin,
        port=port,
        face=face,
        directory=directory,
        clock=clock,
        new_key=new_key,
    )
