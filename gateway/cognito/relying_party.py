"""The OIDC side of Cognito, as the login flow and the sessions use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.core.model import (
        MachineToken,
        PendingLogin,
        Secret,
        Tenant,
    )


@dataclass(frozen=True, slots=True)
class Tokens:
    """What came out of a code exchange after validation: claims of the ID token, and what may be
    kept.
    """

    claims: dict[str, object] = field(repr=False)
    refresh_token: Secret | None


class RelyingParty(Protocol):
    """Cognito's OIDC side. Raises ``PeerError`` with a stable code for everything that Cognito
    answers wrongly.
    """

    def authorize_url(
        self,
        tenant: Tenant,
        pending: PendingLogin,
        *,
        state: Secret,
        login_hint: str = "",
        lang: str = "",
        prompt: str = "",
    ) -> str: ...

    async def own_error_page(self, authorize_url: str) -> str | None:
        """What the error page of Cognito says on which this authorization request would end; None
        where it leads on, or nobody can tell.
        """

    async def exchange(self, tenant: Tenant, pending: PendingLogin, *, code: str) -> Tokens:
        """Exchange the code (client secret, PKCE) and validate the ID token. ``UnavailableError``
        when Cognito is down.
        """

    async def refresh(
        self, tenant: Tenant, refresh_token: Secret, *, client_id: str
    ) -> Secret | None:
        """``client_id``: of the login that brought the token. Whether Cognito still honours it: the
        successor where it rotates, else None; ``PeerError("invalid_grant")`` when it does not.
        """

    async def revoke(self, tenant: Tenant, refresh_token: Secret, *, client_id: str) -> None:
        """``client_id``: of the login that brought the token. Revoke at Cognito; raises
        ``PeerError`` or ``UnavailableError``.
        """

    def logout_url(self, tenant: Tenant, *, logout_uri: str, client_id: str = "") -> str:
        """``client_id``: of the session that ends."""

    async def verify_access_token(self, tenant: Tenant, token: str) -> MachineToken | None:
        """Signature, iss, exp, token_use=access; None if it is not one of the tenant's pools', or
        of a client of the tenant that is in another pool. Client and scopes are the rule's
        business.
        """
