"""Providers of which a pool has one for all tenants: Sign in with Apple, Facebook and Login with
Amazon. Pure.

Sources: Cognito API reference (CreateIdentityProvider, ``ProviderDetails`` by ``ProviderType``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.model import POOLS_OWN, SOCIAL, ProviderKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import Secret

POOL_SOCIAL: Final = frozenset(SOCIAL & POOLS_OWN.keys())
NEEDED: Mapping[ProviderKind, tuple[str, ...]] = {
    ProviderKind.APPLE: ("client_id", "team_id", "key_id", "private_key"),
    ProviderKind.FACEBOOK: ("client_id", "client_secret"),
    ProviderKind.AMAZON: ("client_id", "client_secret"),
}
"""What the pool's provider is created with; a request has all of it or none."""
_FIXED: Mapping[ProviderKind, Mapping[str, str]] = {
    ProviderKind.APPLE: {"authorize_scopes": "email name"},
    ProviderKind.FACEBOOK: {"authorize_scopes": "public_profile, email", "api_version": "v17.0"},
    ProviderKind.AMAZON: {"authorize_scopes": "profile"},
}
MAPPINGS: Mapping[ProviderKind, Mapping[str, str]] = {
    # Apple sends a name with the first sign-in only, and by whichever tenant that is.
    ProviderKind.APPLE: {"username": "sub", "email": "email"},
    ProviderKind.FACEBOOK: {"username": "id", "email": "email", "name": "name"},
    ProviderKind.AMAZON: {"username": "user_id", "email": "email", "name": "name"},
}
"""Pool attribute → claim. The address is for whoever looks at the pool: the gateway does not ask
it.
"""


@dataclass(frozen=True, slots=True)
class SocialConnection:
    """``settings``: those of ``NEEDED``; None: the pool's provider is used as it is."""

    kind: ProviderKind
    settings: Mapping[str, Secret] | None = field(default=None, repr=False)

    @property
    def named(self) -> str:
        return POOLS_OWN[self.kind]

    def details(self) -> dict[str, str]:
        """``ProviderDetails``."""
        values = {name: value.reveal() for name, value in (self.settings or {}).items()}
        return {**values, **_FIXED[self.kind]}
