"""The claims of ID and access tokens, in the shapes Cognito gives them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.cognito.attributes import (
    BOOLEAN_ATTRIBUTES,
    EMAIL_ATTRIBUTES,
    PHONE_ATTRIBUTES,
    SCOPE_ATTRIBUTES,
)
from demo.jose import Claims, TokenDraft, half_hash

if TYPE_CHECKING:
    from demo.cognito.pool import AppClient, Grant, Pool, User
    from demo.faults import Faults


def visible_attributes(client: AppClient, user: User, scopes: tuple[str, ...]) -> dict[str, str]:
    """What these scopes show of a user to this client, as strings.

    ``openid`` alone shows every readable attribute. With narrower scopes beside it only theirs are
    shown, and custom attributes need ``profile`` among them.
    """
    readable = {name: value for name, value in user.attributes.items() if client.may_read(name)}
    narrowing = [scope for scope in scopes if scope in SCOPE_ATTRIBUTES]
    if not narrowing:
        return readable
    shown = frozenset[str]().union(*(SCOPE_ATTRIBUTES[scope] for scope in narrowing))
    with_custom = "profile" in narrowing
    return {
        name: value
        for name, value in readable.items()
        if name in shown or (with_custom and name.startswith("custom:"))
    }


def unreadable_scope(client: AppClient, scopes: tuple[str, ...]) -> str | None:
    """A requested scope of which the client may not read every attribute: the token endpoint then
    says invalid_grant.
    """
    for scope in scopes:
        wanted = {"email": EMAIL_ATTRIBUTES, "phone": PHONE_ATTRIBUTES}.get(
            scope
        ) or SCOPE_ATTRIBUTES.get(scope, frozenset())
        if not all(client.may_read(name) for name in wanted):
            return scope
    return None


@dataclass(frozen=True, slots=True)
class Mint:
    """Makes tokens for one pool."""

    pool: Pool
    issuer: str
    faults: Faults

    def access_token(self, client: AppClient, grant: Grant, user: User) -> str:
        now = int(self.pool.clock())
        claims: Claims = {
            "sub": user.sub,
            **({"cognito:groups": list(user.groups)} if user.groups else {}),
            "iss": self.issuer,
            "version": 2,
            "client_id": client.client_id,
            **({"aud": grant.resource} if grant.resource else {}),
            **self._origin(client, grant),
            "token_use": "access",
            "scope": " ".join(grant.scopes),
            "auth_time": grant.auth_time,
            "exp": now + client.access_token_s,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "username": user.username,
        }
        return self.faults.sign(TokenDraft("access", claims, self.pool.keys[1]))

    def machine_token(self, client: AppClient, scopes: tuple[str, ...]) -> str:
        """The access token of the client-credentials grant: its subject is the client."""
        now = int(self.pool.clock())
        claims: Claims = {
            "sub": client.client_id,
            "token_use": "access",
            "scope": " ".join(scopes),
            "auth_time": now,
            "iss": self.issuer,
            "exp": now + client.access_token_s,
            "iat": now,
            "version": 2,
            "jti": str(uuid.uuid4()),
            "client_id": client.client_id,
        }
        return self.faults.sign(TokenDraft("access", claims, self.pool.keys[1]))

    def id_token(
        self, client: AppClient, grant: Grant, user: User, *, access_token: str, nonce: str | None
    ) -> str:
        now = int(self.pool.clock())
        shown: Claims = {
            name: value == "true" if name in BOOLEAN_ATTRIBUTES else value
            for name, value in visible_attributes(client, user, grant.scopes).items()
        }
        if "email" in shown:
            # A federated user without a mapped flag is reported as not verified.
            shown.setdefault("email_verified", False)
        claims: Claims = {
            "at_hash": half_hash(access_token),
            "sub": user.sub,
            **({"cognito:groups": list(user.groups)} if user.groups else {}),
            **shown,
            "iss": self.issuer,
            "cognito:username": user.username,
            **({"nonce": nonce} if nonce is not None else {}),
            **self._origin(client, grant),
            "aud": client.client_id,
            **({"identities": user.identities()} if user.provider else {}),
            "token_use": "id",
            "auth_time": grant.auth_time,
            "exp": now + client.id_token_s,
            "iat": now,
            "jti": str(uuid.uuid4()),
        }
        return self.faults.sign(TokenDraft("id", claims, self.pool.keys[0]))

    @staticmethod
    def _origin(client: AppClient, grant: Grant) -> Claims:
        """``origin_jti`` is what revocation goes by; a client without revocation has none."""
        return {
            **({"origin_jti": grant.origin_jti} if client.revocation_enabled else {}),
            "event_id": grant.event_id,
        }
