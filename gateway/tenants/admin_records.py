"""The registry as the admin API sees it: SQL to change, files to look at, and a change that answers
once it is in force.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.paging import Page
from gateway.tenants.api import Rejected, TenantRecord
from gateway.tenants.index import EVERY_TENANT, TenantFilter, TenantIndex
from gateway.tenants.offload import in_background
from gateway.tenants.secrets import reveal, show
from gateway.tenants.snapshot_record import shown_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from gateway.core.model import Secret
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.document import ProviderDocument, TenantDocument
    from gateway.tenants.snapshot_record import Record
    from gateway.tenants.stored import StoredTenant

FILE_ETAG_CHARACTERS = 16


class RegistryRecords:
    """``files``: tenants of the GitOps folder as they are now; ``records``: every tenant, as it is
    published: what a search finds; without it, the files. ``in_force`` returns when what was
    just written of a tenant is obeyed.
    """

    def __init__(
        self,
        database: TenantDatabase,
        *,
        files: Callable[[], Mapping[str, Record]],
        in_force: Callable[[str], Awaitable[None]],
        records: Callable[[], Mapping[str, Record]] | None = None,
    ) -> None:
        self._database, self._files, self._in_force = database, files, in_force
        self._index = TenantIndex(records or files)

    async def page(
        self,
        *,
        only: str | None,
        position: str | None,
        limit: int,
        wanted: TenantFilter = EVERY_TENANT,
    ) -> Page[TenantRecord]:
        """By id, files and SQL together."""
        if only is not None:
            if wanted == EVERY_TENANT:
                record = await self.get(only)
                return Page([record] if record is not None and position is None else [])
            wanted = replace(wanted, within=(only,))
        after = position or ""
        if wanted != EVERY_TENANT:
            return await self._search(wanted, after=after, limit=limit)
        stored = await self._database.page(after=after, limit=limit + 1)
        # A page of 200 is a tenth of a second, in which nothing else may wait.
        rows = await in_background(lambda: [_stored(s) for s in stored])
        names = sorted(name for name in self._files() if name > after)[: limit + 1]
        records = sorted(
            [*rows, *(_file(self._files()[name]) for name in names)], key=lambda r: r.id
        )
        return Page(records[:limit], records[limit - 1].id if len(records) > limit else None)

    async def _search(self, wanted: TenantFilter, *, after: str, limit: int) -> Page[TenantRecord]:
        """What was deleted a moment ago may be missing in a page: its position still holds."""
        ids = await self._index.find(wanted, after=after, limit=limit + 1)
        page_ids, files = ids[:limit], self._files()
        records = {name: _file(files[name]) for name in page_ids if name in files}
        in_sql = [name for name in page_ids if name not in files]
        if in_sql:
            stored = await self._database.some(in_sql)
            records |= await in_background(lambda: {s.id: _stored(s) for s in stored})
        return Page(
            [records[name] for name in page_ids if name in records],
            page_ids[-1] if len(ids) > limit else None,
        )

    async def get(self, tenant: str) -> TenantRecord | None:
        listing = self._files().get(tenant)
        if listing is not None:
            return _file(listing)
        stored_tenant = await self._database.get(tenant)
        return _stored(stored_tenant) if stored_tenant is not None else None

    async def reveal(self, tenant: str) -> TenantRecord | None:
        stored_tenant = await self._database.get(tenant)
        if stored_tenant is None:
            return None
        return TenantRecord(
            stored_tenant.id, reveal(stored_tenant.document), str(stored_tenant.version), "sql"
        )

    async def has(self, tenant: str) -> bool:
        return tenant in self._files() or await self._database.has(tenant)

    async def put(
        self, document: TenantDocument, *, etag: str | None, if_held: Collection[str] = ()
    ) -> TenantRecord | Rejected:
        version = _version(etag)
        if etag is not None and version is None and document.id not in self._files():
            return Rejected("precondition_failed", "the tenant has changed since: GET it again")
        result = await self._database.put(
            document, version=version, by=None, files=self._files().values(), if_held=if_held
        )
        if isinstance(result, Rejected):
            return result
        await self._in_force(document.id)
        return _stored(result)

    async def put_hook_secret(
        self,
        tenant: str,
        provider: str,
        secret: Secret | None,
        *,
        where: Callable[[Sequence[Secret]], bool] | None = None,
    ) -> TenantRecord | Rejected:
        if tenant in self._files():
            return Rejected(
                "read_only",
                (
                    f"tenant {tenant} is a file of tenants.directory; write the secret there "
                    "(gateway hooks secret makes one)"
                ),
            )
        stored_tenant = await self._database.get(tenant)
        if stored_tenant is None or provider not in {
            p.name for p in stored_tenant.document.providers
        }:
            return Rejected("not_found", f"there is no tenant {tenant} with a provider {provider}")
        if where is not None and not all(
            where(p.hooks.secrets) for p in stored_tenant.document.providers if p.name == provider
        ):
            return Rejected(
                "precondition_failed",
                f"the hook secrets of {provider} were changed: look again at who uses which",
            )
        document = stored_tenant.document.model_copy(
            update={
                "providers": tuple(
                    _with_secret(p, secret) if p.name == provider else p
                    for p in stored_tenant.document.providers
                )
            }
        )
        result = await self._database.put(
            document, version=stored_tenant.version, by=None, files=self._files().values()
        )
        if isinstance(result, Rejected):
            return (
                Rejected("conflict", "the tenant was changed at the same moment: ask again")
                if result.code == "precondition_failed"
                else result
            )
        await self._in_force(tenant)
        return _stored(result)

    async def proven_domains(self, tenant: str) -> frozenset[str]:
        return await self._database.proven_domains(tenant)

    async def delete(self, tenant: str, *, etag: str | None) -> Rejected | None:
        if tenant in self._files():
            return Rejected(
                "read_only", f"tenant {tenant} is a file of tenants.directory; delete it there"
            )
        rejection = await self._database.delete(tenant, version=_version(etag), by=None)
        if rejection is not None:
            return rejection
        await self._in_force(tenant)
        return None


def _with_secret(provider: ProviderDocument, secret: Secret | None) -> ProviderDocument:
    """The new one first; of the others the current one stays, so that both sides can change
    over.
    """
    current = provider.hooks.secrets[:1]
    secrets = current if secret is None else (secret, *current)
    return provider.model_copy(
        update={"hooks": provider.hooks.model_copy(update={"secrets": secrets})}
    )


def _stored(stored: StoredTenant) -> TenantRecord:
    return TenantRecord(stored.id, show(stored.document), str(stored.version), "sql")


def _file(record: Record) -> TenantRecord:
    return TenantRecord(record.id, shown_of(record), record.digest[:FILE_ETAG_CHARACTERS], "file")


def _version(etag: str | None) -> int | None:
    return int(etag) if etag is not None and etag.isdecimal() and len(etag) < 10 else None
