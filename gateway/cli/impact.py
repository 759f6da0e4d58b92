"""Who of the people who are signed in would lose or gain by a plan, and by the rules that wait in
``shadow_rules``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.errors import UnavailableError
from gateway.tenants.dry_run import compiled, sessions_of
from gateway.tenants.hook_targets import hook_targets, source_is_gone
from gateway.tenants.impact import effects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config
    from gateway.revocation.records import SqlBlocks
    from gateway.sessions.directory import StoreDirectory
    from gateway.tenants.document import TenantDocument
    from gateway.tenants.folder_plan import FolderPlan
    from gateway.tenants.impact import Effect
    from gateway.tenants.stored import StoredTenant

SHOWN = 20
_STAY = "blocks and removed groups stay, and nothing lifts them any more: gateway blocks remove"


@dataclass(frozen=True, slots=True)
class Impact:
    """Effects by tenant: of the plan, and of taking over ``shadow_rules`` after it. ``unknown``:
    why they could not be told.
    """

    signed_in: Mapping[str, int]
    now: Mapping[str, tuple[Effect, ...]]
    next: Mapping[str, tuple[Effect, ...]]
    unknown: str = ""
    stay: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """Sources that a change silences, and how many blocks and removed groups of theirs are in
    force: they stay until an operator lifts them.
    """

    def lines(self, tenant: str, *, heading: bool = False) -> list[str]:
        return [
            *self._people(tenant, heading=heading),
            *(
                f"    ! {count} {source} {_STAY} --tenant {tenant} --source {source}"
                for source, count in self.stay.get(tenant, ())
            ),
        ]

    def _people(self, tenant: str, *, heading: bool) -> list[str]:
        told = [
            *_lines(self.now.get(tenant, ()), ""),
            *_lines(self.next.get(tenant, ()), "with shadow_rules, "),
        ]
        if not told:
            return []
        return ([f"  {tenant}"] if heading else []) + [
            f"    {self.signed_in[tenant]} sessions looked at:",
            *told,
        ]

    def as_json(self) -> dict[str, Any]:
        tenants = sorted(self.signed_in)
        rows = {
            t: {
                "sessions": self.signed_in[t],
                "now": [asdict(e) for e in self.now.get(t, ())],
                "shadow_rules": [asdict(e) for e in self.next.get(t, ())],
            }
            for t in tenants
        }
        return {
            "tenants": rows,
            "unknown": self.unknown or None,
            "stay": {t: dict(found) for t, found in sorted(self.stay.items())},
        }


def _lines(found: tuple[Effect, ...], prefix: str) -> list[str]:
    lines = [
        (
            f"      {prefix}{e.email} {'gains' if e.gains else 'loses'} "
            f"{e.where or 'everything'} ({e.reason})"
        )
        for e in found[:SHOWN]
    ]
    return (
        [*lines, f"      {prefix}… and {len(found) - SHOWN} more"] if len(found) > SHOWN else lines
    )


async def measure(
    made: FolderPlan,
    stored: Mapping[str, StoredTenant],
    config: Config,
    directory: StoreDirectory,
    blocks: SqlBlocks,
) -> Impact:
    """Asks for the sessions of the tenants that change or have rules waiting."""
    wanted = {
        change.tenant: (stored[change.tenant].document, change.document)
        for change in made.changes
        if change.tenant in stored
    }
    wanted |= {
        tenant: (stored[tenant].document, stored[tenant].document)
        for tenant in made.unchanged
        if stored[tenant].document.shadow_rules
    }
    signed_in: dict[str, int] = {}
    now: dict[str, tuple[Effect, ...]] = {}
    later: dict[str, tuple[Effect, ...]] = {}
    stay = {
        tenant: found
        for tenant, (before, after) in sorted(wanted.items())
        if after is not None and (found := await _silenced(before, after, blocks))
    }
    for tenant, (before, after) in sorted(wanted.items()):
        try:
            people = await sessions_of(directory, tenant)
        except UnavailableError as error:
            return Impact(signed_in, now, later, unknown=str(error), stay=stay)
        signed_in[tenant] = len(people)
        becomes = compiled(after, config) if after is not None else None
        now[tenant] = effects(compiled(before, config), becomes, people)
        if becomes is not None and becomes.shadow_rules:
            later[tenant] = effects(becomes, replace(becomes, rules=becomes.shadow_rules), people)
    return Impact(signed_in, now, later, stay=stay)


async def _silenced(
    before: TenantDocument, after: TenantDocument, blocks: SqlBlocks
) -> tuple[tuple[str, int], ...]:
    """What sources imposed that can speak before the change and not after it, by source."""
    had, has = hook_targets(before), hook_targets(after)
    if had == has:
        return ()
    gone = [
        view
        for view in await blocks.all_of(before.id)
        if source_is_gone(view.source, view.who.provider, has)
        and not source_is_gone(view.source, view.who.provider, had)
    ]
    return tuple(sorted(Counter(view.source.partition(":")[0] for view in gone).items()))
