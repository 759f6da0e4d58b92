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
    named = [visit.text(name) for name in ("before", "after")]
    both: list[tuple[str, dict[str, Any]]] = []
    for name in sorted(named, key=lambda n: int(n) if _ENTRY.fullmatch(n) else 10**18):
        found = await _version(visit, tenant, name)
        if isinstance(found, Failed):
            return found
        both.append((name, found))
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
        loaded = await load(visit, tenant)
        return loaded if isinstance(loaded, Failed) else loaded.document
    if not _ENTRY.fullmatch(name):
        return Failed(404, "not_found", "")
    answer = await visit.ask("get_audit", tenant=tenant, path={"entry": name})
    if not answer.ok:
        return failed(answer)
    found = version_of(answer.document["after"])
    if found is None or answer.document["tenant"] != tenant or found["id"] != tenant:
        return Failed(404, "not_found", "")
    return found


async def restore_version(visit: Visit) -> Shown | Failed:
    """What storing it again would do; it is applied from there, like every change."""
    tenant = visit.path["tenant"]
    found = await _version(visit, tenant, visit.path["entry"])
    if isinstance(found, Failed):
        return found
    now = await load(visit, tenant)
    if isinstance(now, Failed) and now.status != 404:
        return now
    etag = "" if isinstance(now, Failed) else now.etag
    change = Change(tenant, found, etag, (WHOLE,), "")
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
