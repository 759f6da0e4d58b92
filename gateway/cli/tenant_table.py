"""The tenants of files and SQL as they are now, for commands; whether or not a gateway serves them already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.tenants import TenantTable
from gateway.errors import ConfigError
from gateway.registry.files import TenantFiles
from gateway.registry.record import Builder, with_credentials

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.registry.database import TenantDatabase


async def tenant_table(config: Config, database: TenantDatabase) -> TenantTable:
    """Raises ``ConfigError`` where they do not fit together."""
    stored = await database.changed({})
    records = {}
    if config.tenants.files is not None:
        files = TenantFiles(config.tenants.files, config)
        files.load()
        completed = stored.credentials
        records = {
            tenant: with_credentials(record, completed[tenant]) if tenant in files.provisioned and tenant in completed else record for tenant, record in files.records.items()
        }
    rows = stored.records()
    if twice := sorted(records.keys() & rows.keys()):
        msg = f"tenant {twice[0]} is in tenants.files and in SQL: remove it from one"
        raise ConfigError(msg)
    try:
        return TenantTable.lazy({**records, **rows}.values(), Builder(config), shared_hosts=config.shared_hosts, login_host=config.login_host)
    except ValueError as error:
        raise ConfigError(str(error)) from error
