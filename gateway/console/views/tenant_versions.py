"""Versions of a tenant, as the audit log has them: compare any two, and restore one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.console.change import WHOLE, Change, differences, load, preview, store, version_of
from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

_ENTRY: Final = re.compile(r"[0-9]{1,18}")


async def compare_versions(visit: Visit) -> Shown | Failed:
    """Of the two that the query names, the older one first; ``now`` is what is stored."""
    tenant = visit.path["tenant"]
    names = [visit.text(name) for name in ("before", "after")]
    both: list[tuple[str, dict[str, Any]]] = []
    for name in sorted(names, key=lambda n: int(n) if _ENTRY.fullmatch(n) else 10**18):
        version = await _version(visit, tenant, name)
        if isinstance(version, Failed):
            return version
        both.append((name, version))
    (older, before), (newer, after) = both
    return Shown(
        "tenant_versions",
        {
            "id": tenant,
            "older": older,
            "newer": newer,
            "rows": differences(before, after),
            "may_change": visit.may("put_tenant"),
        },
    )


async def _version(visit: Visit, tenant: str, name: str) -> dict[str, Any] | Failed:
    if name == "now":
        record = await load(visit, tenant)
        return record if isinstance(record, Failed) else record.document
    if not _ENTRY.fullmatch(name):
        return Failed(404, "not_found", "")
    answer = await visit.ask("get_audit", tenant=tenant, path={"entry": name})
    if not answer.ok:
        return failed(answer)
    version = version_of(answer.document["after"])
    if version is None or answer.document["tenant"] != tenant or version["id"] != tenant:
        return Failed(404, "not_found", "")
    return version


async def restore_version(visit: Visit) -> Shown | Failed:
    """What storing it again would do; it is applied from there, like every change."""
    tenant = visit.path["tenant"]
    version = await _version(visit, tenant, visit.path["entry"])
    if isinstance(version, Failed):
        return version
    now = await load(visit, tenant)
    if isinstance(now, Failed) and now.status != 404:
        return now
    etag = "" if isinstance(now, Failed) else now.etag
    change = Change(tenant, version, etag, (WHOLE,), "")
    answer = await store(visit, change, dry_run=True)
    return preview(visit, change, answer) if answer.ok else failed(answer)


PAGES: Final = (
    Page("/tenants/{tenant}/versions", "get_audit", "tenants", compare_versions),
    Page(
        "/tenants/{tenant}/versions/{entry}/restore",
        "put_tenant",
        "tenants",
        restore_version,
        form=True,
    ),
)
