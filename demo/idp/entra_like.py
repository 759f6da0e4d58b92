"""The Entra-like face: a tenant in the path, groups as GUIDs, a subject that differs per
application.

Rules (Microsoft identity platform, "ID token claims reference", "Configure group claims"): ``sub``
is pairwise, ``oid`` is the directory's id and needs ``profile``; there is no ``email_verified``;
the scope ``groups`` does not exist; beyond 200 groups the claim is replaced by a pointer; userInfo
knows neither ``oid`` nor groups.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

from demo.idp.directory import Directory, Person
from demo.idp.face import Paths, Refusal, RegisteredApp
from demo.idp.provider import IdentityProviderServer
from demo.jose import Claims, NewKey, SigningKey, b64url

if TYPE_CHECKING:
    from demo.clock import Clock

GROUPS_OVERAGE = 200
SCOPES = (
    "openid",
    "profile",
    "email",
    "offline_access",
    "https://graph.microsoft.com/User.Read",
    "User.Read",
)
_GRAPH_APP = "00000003-0000-0000-c000-000000000000"


class EntraFace:
    """Claims and paths of an Entra tenant."""

    def __init__(self, name: str, directory: Directory, *, tenant_id: str) -> None:
        self.brand = f"{name} · Entra-like"
        self.tenant_id = tenant_id
        self.paths = Paths(
            issuer=f"/{tenant_id}/v2.0",
            authorize=f"/{tenant_id}/oauth2/v2.0/authorize",
            token=f"/{tenant_id}/oauth2/v2.0/token",
            jwks=f"/{tenant_id}/discovery/v2.0/keys",
            userinfo="/oidc/userinfo",
            logout=f"/{tenant_id}/oauth2/v2.0/logout",
        )
        self._directory = directory

    def subject(self, app: RegisteredApp, person: Person) -> str:
        """Pairwise: another application sees another subject for the same person."""
        return b64url(hashlib.sha256(f"{app.client_id}|{person.id}".encode()).digest())

    def new_client_id(self) -> str:
        return str(uuid.uuid4())

    def refuse_scopes(self, app: RegisteredApp, scopes: tuple[str, ...]) -> Refusal | None:
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if not unknown:
            return None
        return Refusal(
            "invalid_client",
            (
                f"AADSTS650053: The application '{app.client_id}' asked for scope "
                f"'{unknown[0]}' that doesn't exist on the resource '{_GRAPH_APP}'. Contact "
                "the app vendor."
            ),
        )

    def id_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...], auth_time: int
    ) -> Claims:
        claims: Claims = {
            "sub": self.subject(app, person),
            "tid": self.tenant_id,
            "ver": "2.0",
            "uti": b64url(uuid.uuid4().bytes),
        }
        if "profile" in scopes:
            claims |= {"oid": person.id, "name": person.name, "preferred_username": person.email}
        if "email" in scopes:
            claims["email"] = person.email
        if person.roles:
            claims["roles"] = list(person.roles)
        if app.groups_claim:
            claims |= self._groups(person)
        return claims

    def _groups(self, person: Person) -> Claims:
        if not person.group_ids:
            return {}
        if len(person.group_ids) <= GROUPS_OVERAGE:
            return {"groups": list(person.group_ids)}
        endpoint = f"https://graph.microsoft.com/v1.0/users/{person.id}/getMemberObjects"
        return {
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": endpoint}},
        }

    def userinfo_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...]
    ) -> Claims:
        claims: Claims = {"sub": self.subject(app, person)}
        if "profile" in scopes:
            given, _, family = person.name.partition(" ")
            claims |= {"name": person.name, "given_name": given, "family_name": family}
        if "email" in scopes:
            claims["email"] = person.email
        return claims

    def locked_out(self, person: Person) -> str:
        return "AADSTS50057: The user account is disabled."

    def discovery(self, origin: str) -> Claims:
        return {
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
        }


def entra_like(
    name: str,
    *,
    origin: str,
    port: int,
    clock: Clock,
    tenant_id: str | None = None,
    new_key: NewKey = SigningKey.generate,
) -> IdentityProviderServer:
    """An Entra tenant; its id is made up unless given."""
    directory = Directory(
        new_user_id=lambda: str(uuid.uuid4()), new_group_id=lambda: str(uuid.uuid4()), clock=clock
    )
    face = EntraFace(name, directory, tenant_id=tenant_id or str(uuid.uuid4()))
    return IdentityProviderServer(
        name=name,
        origin=origin,
        port=port,
        face=face,
        directory=directory,
        clock=clock,
        new_key=new_key,
    )
