"""Which answers of the admin API are recorded as reads, and what the record says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from pydantic import RootModel

from gateway.database.audit_reads import Read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from gateway.admin.route import Answer, Call, Route
    from gateway.database.audit_reads import ReadLog

OF_NOBODY: Final = frozenset(
    {
        "list_tenants",
        "get_tenant",
        "list_all_runs",
        "list_runs",
        "get_run",
        "list_pools",
        "get_pool_settings",
        "list_connections",
        "list_all_connections",
        "list_domains",
        "get_deprovisioning",
        "list_hooks",
        "get_hook",
        "test_hook",
        "list_webhook_events",
        "get_activity",
        "list_attention",
        "get_health",
        "list_admin_keys",
        "get_probes",
    }
)
"""Operations whose answers hold no data of the people who sign in. Any other that only reads is
recorded: one that is forgotten here is on record, and not the other way round.
"""
TARGET_CHARACTERS: Final = 200
_PAGING: Final = frozenset({"cursor", "limit"})


@dataclass(frozen=True, slots=True)
class Reads:
    """``everything``: what holds nobody's data too (``audit.reads: all``)."""

    log: ReadLog
    everything: bool = False

    def add(self, route: Route, call: Call, answer: Answer | None) -> None:
        """An answer that succeeded; None for a stream, which is recorded when it begins."""
        if route.changes:
            return
        if (route.operation in OF_NOBODY or call.note.of_nobody) and not self.everything:
            return
        body = None if answer is None else answer.body
        query = call.query(route.query).model_dump(mode="json", exclude_defaults=True)
        tenant = call.path.get("tenant") or query.pop("tenant", None) or call.key.tenant
        self.log.add(
            Read(
                call.actor,
                route.operation,
                tenant or _tenant_of(body),
                call.note.target or _target(call.path, query),
            ),
            rows=_rows(body),
            request_id=call.request_id,
        )


def filter_text(values: Mapping[str, object]) -> str:
    """As in an address: ``?email=bob@acme.example&group=dev``; "" without any."""
    text = urlencode(values, safe="@/:", errors="replace")
    return f"?{text}"[:TARGET_CHARACTERS] if text else ""


def _target(path: Mapping[str, str], query: Mapping[str, object]) -> str:
    filters = filter_text({name: query[name] for name in query if name not in _PAGING})
    return ("/".join(path.values()) + filters)[:TARGET_CHARACTERS]


def _rows(body: BaseModel | None) -> int:
    """Of a list, else the one thing that was answered."""
    if body is None:
        return 0
    items = getattr(body, "items", None)
    return len(items) if isinstance(items, list) else 1


def _tenant_of(body: BaseModel | None) -> str | None:
    tenant = (
        body.root.get("tenant")
        if isinstance(body, RootModel) and isinstance(body.root, dict)
        else getattr(body, "tenant", None)
    )
    return tenant if isinstance(tenant, str) else None
