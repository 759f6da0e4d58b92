"""A plan of many tenants as lines for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.cli.client import Json

MAX_WARNINGS = 20
"""That are printed of all tenants side by side."""
MAX_EFFECTS = 20
"""People that are printed of one tenant."""
_SIGN = {"create": "+", "update": "~", "delete": "-"}
_STAY = "blocks and removed groups stay, and nothing lifts them any more: gateway blocks remove"


def plan_lines(found: Json) -> list[str]:
    """Of the answer of ``PUT /tenants?dry_run=true``."""
    tenant_ids = {change["tenant"] for change in found["changes"]}
    people = {row["tenant"]: row for row in found["people"]}
    silenced: dict[str, list[Json]] = {}
    for row in found["silenced"]:
        silenced.setdefault(row["tenant"], []).append(row)
    lines: list[str] = []
    for change in found["changes"]:
        tenant = change["tenant"]
        lines += [*_change_lines(change), *_people_lines(people.get(tenant))]
        lines += [
            f"    ! {row['count']} {row['source']} {_STAY} --tenant {tenant} "
            f"--source {row['source']}"
            for row in silenced.get(tenant, ())
        ]
    for tenant in found["unchanged"]:
        people_lines = _people_lines(people.get(tenant)) if tenant not in tenant_ids else []
        lines += [f"  {tenant}", *people_lines] if people_lines else []
    if found["unknown"]:
        lines.append(f"what this does to people who are signed in is not known: {found['unknown']}")
    warnings = found["warnings"]
    lines += [f"! {warning}" for warning in warnings[:MAX_WARNINGS]]
    if len(warnings) > MAX_WARNINGS:
        lines.append(f"! and {len(warnings) - MAX_WARNINGS} more such warnings (--json shows all)")
    counts = {
        action: sum(change["action"] == action for change in found["changes"]) for action in _SIGN
    }
    lines.append(
        f"{counts['create']} to create, {counts['update']} to update, {counts['delete']} "
        f"to delete, {len(found['unchanged'])} unchanged"
    )
    if found["kept"]:
        extras = found["kept"]
        lines.append(
            f"{len(extras)} in SQL and not in the folder, kept (--prune deletes): "
            f"{', '.join(extras[:20])}{' …' if len(extras) > 20 else ''}"
        )
    return lines


def _change_lines(change: Json) -> list[str]:
    lines = [f"{_SIGN[change['action']]} {change['tenant']}"]
    if change["action"] == "delete":
        return lines
    lines += [f"    ! {warning}" for warning in change["warnings"]]
    for row in change["changes"]:
        before, after = (
            json.dumps(value, ensure_ascii=False) for value in (row["before"], row["after"])
        )
        if row["before"] is None:
            lines.append(f"    + {row['key']}: {after}")
        elif row["after"] is None:
            lines.append(f"    - {row['key']}: {before}")
        else:
            lines.append(f"    ~ {row['key']}: {before} → {after}")
    return lines


def _people_lines(row: Json | None) -> list[str]:
    if row is None:
        return []
    if row["effects"] is None:
        lines = [f"      {row['losing']} lose and {row['gaining']} gain something"]
        lines = lines if row["losing"] or row["gaining"] else []
    else:
        lines = [
            *_effect_lines(row["effects"], ""),
            *_effect_lines(row["shadow_rules"], "with shadow_rules, "),
        ]
    return [f"    {row['sessions']} sessions looked at:", *lines] if lines else []


def _effect_lines(found: list[Json], prefix: str) -> list[str]:
    lines = [
        (
            f"      {prefix}{e['email']} {'gains' if e['gains'] else 'loses'} "
            f"{e['where'] or 'everything'} ({e['reason']})"
        )
        for e in found[:MAX_EFFECTS]
    ]
    more = len(found) - MAX_EFFECTS
    return [*lines, f"      {prefix}… and {more} more"] if more > 0 else lines
