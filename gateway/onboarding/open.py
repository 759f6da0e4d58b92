"""The service over real parts: Cognito's API, the journal, the registry. For the admin role and for
commands beside it.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.cognito.aws import open_cognito
from gateway.cognito.discovery import DiscoveryFetcher
from gateway.cognito.pool import Pool
from gateway.cognito.provision import Provisioning
from gateway.onboarding.service import Onboarding
from gateway.registry.administration import RegistryRecords
from gateway.registry.provisioning import RegistryOfProvisioning
from gateway.sql.provisioning import SqlJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from gateway.cognito.aws import CognitoApi
    from gateway.config import Config
    from gateway.registry.database import TenantDatabase
    from gateway.registry.record import Record
    from gateway.sql.database import Database


def onboarding_over(
    config: Config,
    api: CognitoApi,
    database: Database,
    tenants: TenantDatabase,
    *,
    files: Callable[[], Mapping[str, Record]],
    in_force: Callable[[str], Awaitable[None]],
) -> Onboarding:
    registrar = RegistryOfProvisioning(tenants, files=files, in_force=in_force)
    journal = SqlJournal(database, holder=secrets.token_hex(8), clock=database.clock)
    provisioning = Provisioning(
        Pool(api, config.cognito.quotas),
        journal,
        registrar,
        new_run=lambda: secrets.token_hex(6),
        clock=database.clock,
    )
    records = RegistryRecords(tenants, files=files, in_force=in_force)
    return Onboarding(
        config,
        records,
        provisioning,
        DiscoveryFetcher(development=config.development),
        registrar.taken,
    )


@asynccontextmanager
async def open_onboarding(
    config: Config,
    database: Database,
    tenants: TenantDatabase,
    *,
    files: Callable[[], Mapping[str, Record]],
    in_force: Callable[[str], Awaitable[None]],
) -> AsyncIterator[Onboarding]:
    """Raises ``ConfigError`` where the extra ``aws`` is not installed."""
    async with open_cognito(config) as api:
        yield onboarding_over(config, api, database, tenants, files=files, in_force=in_force)
