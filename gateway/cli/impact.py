"""Who of the people who are signed in would lose or gain by a plan, and by the rules that wait in ``rules_next``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.core.model import Secret
from gateway.errors import UnavailableError
from gateway.registry.document import compile_tenant
from gateway.registry.impact import effects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Config
    from gateway.core.model import Tenant
    from gateway.ports import SessionView
    from gateway.registry.document import TenantDocument
    from gateway.registry.impact import Effect
    from gateway.registry.plan import Plan
    from gateway.registry.stored import StoredTenant
    from gateway.sessions.directory import StoreDirectory

PEOPLE = 2000
"""Sessions of one tenant that are looked at."""
SHOWN = 20
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Impact:
    """Effects by tenant: of the plan, and of taking over ``rules_next`` after it. ``unknown``: why they could not be told."""

    signed_in: Mapping[str, int]
    now: Mapping[str, tuple[Effect, ...]]
    next: Mapping[str, tuple[Effect, ...]]
    unknown: str = ""

    def lines(self, tenant: str, *, heading: bool = False) -> list[str]:
        told = [*_lines(self.now.get(tenant, ()), ""), *_lines(self.next.get(tenant, ()), "with rules_next, ")]
        if not told:
            return []
        return ([f"  {tenant}"] if heading else []) + [f"    {self.signed_in[tenant]} sessions looked at:", *told]

    def as_json(self) -> dict[str, Any]:
        tenants = sorted(self.signed_in)
        rows = {t: {"sessions": self.signed_in[t], "now": [asdict(e) for e in self.now.get(t, ())], "rules_next": [asdict(e) for e in self.next.get(t, ())]} for t in tenants}
        return {"tenants": rows, "unknown": self.unknown or None}


def _lines(found: tuple[Effect, ...], prefix: str) -> list[str]:
    lines = [f"      {prefix}{e.email} {'gains' if e.gains else 'loses'} {e.where or 'everything'} ({e.reason})" for e in found[:SHOWN]]
    return [*lines, f"      {prefix}… and {len(found) - SHOWN} more"] if len(found) > SHOWN else lines


async def measure(made: Plan, stored: Mapping[str, StoredTenant], config: Config, directory: StoreDirectory) -> Impact:
    """Asks for the sessions of the tenants that change or have rules waiting."""
    wanted = {change.tenant: (stored[change.tenant].document, change.document) for change in made.changes if change.tenant in stored}
    wanted |= {tenant: (stored[tenant].document, stored[tenant].document) for tenant in made.unchanged if stored[tenant].document.rules_next}
    signed_in: dict[str, int] = {}
    now: dict[str, tuple[Effect, ...]] = {}
    later: dict[str, tuple[Effect, ...]] = {}
    for tenant, (before, after) in sorted(wanted.items()):
        try:
            people = await _people(directory, tenant)
        except UnavailableError as error:
            return Impact(signed_in, now, later, unknown=str(error))
        signed_in[tenant] = len(people)
        becomes = _compiled(after, config) if after is not None else None
        now[tenant] = effects(_compiled(before, config), becomes, people)
        if becomes is not None and becomes.rules_next:
            later[tenant] = effects(becomes, replace(becomes, rules=becomes.rules_next), people)
    return Impact(signed_in, now, later)


def _compiled(document: TenantDocument, config: Config) -> Tenant:
    return compile_tenant(document, config, client_id=document.client_id or "", client_secret=Secret(""))


async def _people(directory: StoreDirectory, tenant: str) -> list[SessionView]:
    found: list[SessionView] = []
    position: str | None = None
    while len(found) < PEOPLE:
        page = await directory.page(tenant=tenant, user=None, email=None, position=position, limit=_PAGE)
        found += page.items
        position = page.position
        if position is None:
            break
    return found
