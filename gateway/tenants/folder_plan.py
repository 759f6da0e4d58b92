"""What applying a folder would change in SQL: the difference first, then the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.config.model import REDACTED
from gateway.tenants.secrets import secrets_of, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tenants.document import TenantDocument
    from gateway.tenants.stored import StoredTenant

Action = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of a document; None where it is not there. A secret's values are ``***`` on both
    sides.
    """

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """``version``: of the stored tenant that this plan looked at; another one by now refuses the
    whole plan.
    """

    action: Action
    tenant: str
    version: int | None
    document: TenantDocument | None
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """``kept``: tenants in SQL that the folder lacks, and nobody asked to prune."""

    changes: tuple[Change, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """Of all tenants side by side, as they would be."""


def make_plan(
    wanted: Mapping[str, TenantDocument], stored: Mapping[str, StoredTenant]
) -> FolderPlan:
    """Without pruning."""
    changes = []
    for tenant, document in sorted(wanted.items()):
        before = stored.get(tenant)
        if before is None:
            changes.append(Change("create", tenant, None, document, differences(None, document)))
        elif before.document != document:
            changes.append(
                Change(
                    "update",
                    tenant,
                    before.version,
                    document,
                    differences(before.document, document),
                )
            )
    changed_ids = {change.tenant for change in changes}
    return FolderPlan(
        tuple(changes),
        tuple(sorted(wanted.keys() - changed_ids)),
        tuple(sorted(stored.keys() - wanted.keys())),
    )


def pruned(plan: FolderPlan, stored: Mapping[str, StoredTenant]) -> FolderPlan:
    """The same plan, with what it would have kept deleted."""
    deletions = tuple(
        Change(
            "delete",
            tenant,
            stored[tenant].version,
            None,
            differences(stored[tenant].document, None),
        )
        for tenant in plan.kept
    )
    return FolderPlan((*deletions, *plan.changes), plan.unchanged, ())


def differences(
    before: TenantDocument | None, after: TenantDocument | None
) -> tuple[Difference, ...]:
    """Key by key, defaults left out where both sides have them."""
    old, new = _flat(before), _flat(after)
    return tuple(
        Difference(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ) + tuple(_secret_differences(before, after))


def _secret_differences(
    before: TenantDocument | None, after: TenantDocument | None
) -> list[Difference]:
    if before is None or after is None:
        return []
    old, new = secrets_of(before), secrets_of(after)
    return [
        Difference(key, REDACTED, f"{REDACTED} (another)")
        for key in sorted(old.keys() & new.keys())
        if old[key] != new[key]
    ]


def _flat(document: TenantDocument | None) -> dict[str, Any]:
    if document is None:
        return {}
    flat: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, item in value.items():
                walk(item, f"{key}.{name}" if key else name)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                walk(item, f"{key}.{item.get('name', index)}")
        else:
            flat[key] = value

    walk(show(document, defaults=False), "")
    return flat


__all__ = [
    "Change",
    "Difference",
    "FolderPlan",
    "differences",
    "make_plan",
    "pruned",
]
