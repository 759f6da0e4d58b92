"""The tenants of files and SQL as they are now, for commands; whether or not a gateway serves them
already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.database import file_records
from gateway.core.tenants import TenantTable
from gateway.errors import ConfigError
from gateway.tenants.database import TenantDatabase
from gateway.tenants.files import TenantFiles
from gateway.tenants.snapshot import Sealer, SnapshotError, read_manifest
from gateway.tenants.snapshot_record import Builder, document_of, with_credentials

if TYPE_CHECKING:
    from gateway.cli.stores import Stores
    from gateway.config.model import Config
    from gateway.tenants.document import TenantDocument


async def tenant_table(config: Config, database: TenantDatabase) -> TenantTable:
    """Raises ``ConfigError`` where they do not fit together."""
    stored = await database.changed({})
    records = {}
    if config.tenants.directory is not None:
        files = TenantFiles(config.tenants.directory, config)
        files.load()
        completed = stored.credentials
        records = {
            tenant: with_credentials(record, completed[tenant])
            if tenant in files.provisioned and tenant in completed
            else record
            for tenant, record in files.records.items()
        }
    rows = stored.records()
    if twice := sorted(records.keys() & rows.keys()):
        msg = f"tenant {twice[0]} is in tenants.directory and in SQL: remove it from one"
        raise ConfigError(msg)
    try:
        return TenantTable.lazy(
            {**records, **rows}.values(),
            Builder(config),
            shared_hosts=config.shared_hosts,
            login_host=config.login_host,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


async def tenant_ids(stores: Stores) -> tuple[str, ...]:
    """All there are, in order: those being served, where a gateway runs; else those of files and
    SQL.
    """
    return tuple(sorted(await _served(stores) or (tenant.id for tenant in await _written(stores))))


async def expect_tenant(stores: Stores, tenant: str) -> None:
    """A mistyped tenant ends nothing, and "0 sessions ended" would be believed. Raises
    ``ClickException``.
    """
    if tenant not in await _served(stores) and (await _written(stores)).by_id(tenant) is None:
        msg = f"there is no tenant {tenant} (see: gateway tenants list)"
        raise click.ClickException(msg)


async def tenant_documents(stores: Stores) -> dict[str, TenantDocument]:
    """Of files and SQL, by id."""
    found = {
        tenant: document_of(record)[0] for tenant, record in file_records(stores.config).items()
    }
    return found | {
        tenant: stored.document
        for tenant, stored in (await TenantDatabase(stores.database, stores.config).all()).items()
    }


async def _served(stores: Stores) -> frozenset[str]:
    """One small read, however many tenants there are: whoever ends sessions is in a hurry."""
    try:
        manifest = await read_manifest(stores.redis, Sealer(lambda: stores.ring))
    except SnapshotError:
        return frozenset()
    return frozenset(manifest.digests) if manifest is not None else frozenset()


async def _written(stores: Stores) -> TenantTable:
    return await tenant_table(stores.config, TenantDatabase(stores.database, stores.config))
