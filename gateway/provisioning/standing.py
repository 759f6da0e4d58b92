"""What a provisioned tenant is to have in the pool that it lives in, and what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.provisioning.desired import (
    has_password_client,
    recalled,
    required_attributes,
    shared_providers,
    wanted,
)
from gateway.provisioning.pool_users import has_pool_users, recalled_users

if TYPE_CHECKING:
    from gateway.cognito.desired import Actual, Wanted
    from gateway.cognito.pools import Pools
    from gateway.config.model import Config
    from gateway.provisioning.proposal import Basis
    from gateway.provisioning.runs import Run


@dataclass(frozen=True, slots=True)
class Standing:
    """``latest``: its last run. ``pool``: that it lives in."""

    latest: Run
    pool: str
    wanted: Wanted
    actual: Actual


async def read_standing(basis: Basis, config: Config, pools: Pools) -> Standing | None:
    """None where the tenant is not provisioned. Raises ``UnavailableError`` and
    ``CognitoRejectedError``.
    """
    latest, document, credentials = basis.latest, basis.document, basis.credentials
    if latest is None or document is None:
        return None
    entries = latest.request.get("providers", ())
    providers, users = recalled(entries), recalled_users(entries)
    lives_in = credentials.pool if credentials is not None else latest.pool
    pool_providers = shared_providers(document, required=frozenset())
    passwords = None if credentials is None else credentials.password_client_id
    actual = await pools.named(lives_in).actual(
        providers=[p.name for p in (*providers, *pool_providers)],
        clients=credentials.ids_in(lives_in) if credentials else (),
        group=None if users is None else users.group,
        pages=has_pool_users(document),
        sessions=True,
        password_client=passwords,
        counted=passwords is None and has_password_client(document),
    )
    target = wanted(
        latest.tenant,
        document,
        providers,
        config,
        required=required_attributes(actual.attributes.values()),
        users=users,
        custom_attributes=latest.request.get("custom_attributes", ()),
        shared=pool_providers,
    )
    return Standing(latest, lives_in, target, actual)
