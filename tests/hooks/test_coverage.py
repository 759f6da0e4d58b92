"""Whether every removal is told: what counts, what is missing, and what SQL knows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from gateway.core.model import ProviderKind, Secret
from gateway.database.schema import (
    directory_cursors,
    graph_subscriptions,
    hook_arrivals,
    people,
    people_names,
)
from gateway.hooks.coverage import Coverage, Facts, Gap, State, Way, coverage
from gateway.hooks.coverage_records import CoverageRecords
from gateway.metrics import DEPROVISIONING_INCOMPLETE
from tests.hooks.test_scim_client import call
from tests.hooks.world import entra_target, okta_target

if TYPE_CHECKING:
    from gateway.core.hook_target import HookTarget
    from tests.hooks.world import World

NOW = 1_800_000_000.0
HOUR_S = 3600.0
NO_GRAPH = {"directory_id": None, "client_id": None, "client_secret": None}
READ = {"users": NOW - 60, "groups": NOW - 60}
PUSHED = {"users": NOW + HOUR_S, "groups": NOW + HOUR_S}
GRAPH = {"read_at": READ, "pushed_until": PUSHED}
SCIM: dict[str, Any] = {"asked_at": NOW - 60, "users": 9, "people": 9}


def all_groups(target: HookTarget) -> frozenset[str]:
    return target.groups_used or frozenset()


ENTRA, SCIM_ENTRA = entra_target(), entra_target(**NO_GRAPH)
OKTA, LOGGED_OKTA = okta_target(), okta_target(api_token=Secret("t"))
PUSHED_GROUPS = {**SCIM, "groups": all_groups(SCIM_ENTRA)}
WHOLE, PART, NONE = State.COMPLETE, State.INCOMPLETE, State.NONE
CASES: dict[str, tuple[HookTarget, dict[str, Any], State, set[Gap]]] = {
    "graph": (ENTRA, GRAPH, WHOLE, set()),
    "graph without push": (ENTRA, {"read_at": READ}, WHOLE, {Gap.NO_PUSH}),
    "graph never read": (ENTRA, {}, PART, {Gap.NEVER_READ}),
    "groups without consent": (ENTRA, {**GRAPH, "read_at": {"users": NOW}}, PART, {Gap.NEVER_READ}),
    "no group is named": (
        replace(ENTRA, groups_used=None),
        {**GRAPH, "read_at": {"users": NOW}},
        WHOLE,
        {Gap.NEVER_READ},
    ),
    "graph ended": (
        ENTRA,
        {**GRAPH, "read_at": {"users": NOW, "groups": NOW - 4 * HOUR_S}},
        PART,
        {Gap.LATE},
    ),
    "graph half set up": (replace(ENTRA, client_secret=None), GRAPH, PART, {Gap.HALF_SET_UP}),
    "nothing": (SCIM_ENTRA, {}, NONE, {Gap.NOT_SET_UP}),
    "scim": (SCIM_ENTRA, PUSHED_GROUPS, WHOLE, set()),
    "scim is silent": (
        SCIM_ENTRA,
        {**PUSHED_GROUPS, "asked_at": NOW - 25 * HOUR_S},
        PART,
        {Gap.SILENT},
    ),
    "scim of others may be idle": (
        OKTA,
        {**SCIM, "groups": all_groups(OKTA), "asked_at": None},
        WHOLE,
        set(),
    ),
    "scim with another token": (
        SCIM_ENTRA,
        {**PUSHED_GROUPS, "refused_at": NOW},
        PART,
        {Gap.TOKEN_REFUSED},
    ),
    "not all are assigned": (
        SCIM_ENTRA,
        {**PUSHED_GROUPS, "people": 10},
        PART,
        {Gap.USERS_MISSING},
    ),
    "no groups are pushed": (OKTA, SCIM, PART, {Gap.GROUPS_MISSING}),
    "groups of another provider": (
        OKTA,
        {**SCIM, "groups": frozenset({"Sales"}), "alone": False},
        WHOLE,
        set(),
    ),
    "graph has users, scim groups": (
        ENTRA,
        {**PUSHED_GROUPS, "people": 10, "pushed_until": PUSHED, "read_at": {"users": NOW}},
        WHOLE,
        {Gap.NEVER_READ, Gap.USERS_MISSING},
    ),
    "neither is complete": (
        ENTRA,
        {**SCIM, "people": 10, "read_at": {"groups": NOW}, "pushed_until": PUSHED},
        PART,
        {Gap.NEVER_READ, Gap.USERS_MISSING, Gap.GROUPS_MISSING},
    ),
    "okta by events alone": (OKTA, {}, NONE, {Gap.NOT_SET_UP}),
    "okta with its log": (LOGGED_OKTA, {"read_at": {"log": NOW}}, WHOLE, set()),
    "okta's log is late": (LOGGED_OKTA, {"read_at": {"log": NOW - 9 * HOUR_S}}, PART, {Gap.LATE}),
    "google": (
        replace(OKTA, kind=ProviderKind.GOOGLE, service_account=Secret("{}")),
        {"read_at": READ},
        WHOLE,
        set(),
    ),
    "accounts of the document": (
        replace(OKTA, kind=ProviderKind.APPLE),
        {},
        State.NOT_NEEDED,
        set(),
    ),
}


@pytest.mark.parametrize(("target", "facts", "state", "gaps"), CASES.values(), ids=CASES)
def test_what_counts_and_what_is_missing(
    target: HookTarget, facts: dict[str, Any], state: State, gaps: set[Gap]
) -> None:
    found = coverage(target, Facts(NOW, HOUR_S, **facts))
    assert (found.state, {each.gap for each in found.missing}) == (state, gaps)
    assert all(each.what.endswith(".") and each.do.endswith(".") for each in found.missing)


def test_a_gap_names_groups_but_not_without_end() -> None:
    target = replace(OKTA, groups_used=frozenset(f"g{number}" for number in range(9)))
    (found,) = coverage(target, Facts(NOW, HOUR_S, **SCIM)).missing
    assert found.what.endswith("g0, g1, g2, g3, g4, ….")


async def test_what_sql_knows_is_told_for_one_tenant_and_for_all(world: World) -> None:
    leading = True

    async def leads() -> bool:
        return leading

    world.targets.by_key |= {
        t.key: t for t in (ENTRA, replace(OKTA, groups_used=frozenset({"Sales"})))
    }
    records = CoverageRecords(
        world.database, targets=world.targets, interval_s=HOUR_S, leads=leads, clock=lambda: NOW
    )

    async def acme() -> Coverage:
        (found,) = await records.of("acme")
        return found

    assert (await acme()).state is State.NONE
    status, user = await call(world, "POST", "/Users", {"userName": "bob@acme.com"})
    assert status == 201
    members = [{"value": user["id"]}]
    await call(world, "POST", "/Groups", {"displayName": "sales", "members": members})
    assert (await acme()).state is State.COMPLETE
    where = {"tenant": "acme", "provider": "acme-okta"}
    async with world.database.write() as connection:
        for number in range(2):
            row = {"id": f"p{number}", "tenant": "acme", "key": f"k{number}", "document": ""}
            await connection.execute(
                insert(people).values(
                    **row,
                    status="active",
                    deprovisioned=0,
                    blocked=0,
                    status_at=0.0,
                    last_began=1,
                    first_seen_at=NOW,
                    last_sign_in_at=NOW,
                )
            )
            for name in ("address", "subject"):
                named = {**where, "person": f"p{number}", "name": f"{name}{number}"}
                await connection.execute(insert(people_names).values(**named))
        refused = {"source": "scim", "outcome": "unauthenticated", "minute": 1, "times": 1}
        await connection.execute(
            insert(hook_arrivals).values(**where, **refused, last_at=NOW, detail="")
        )
        for resource in ("users", "groups"):
            entra = {"tenant": "globex", "provider": "globex-entra", "resource": resource}
            await connection.execute(
                insert(directory_cursors).values(**entra, cursor="", read_at=NOW)
            )
        times = {"created_at": NOW, "renewed_at": NOW, "expires_at": NOW + 1}
        await connection.execute(
            insert(graph_subscriptions).values(**entra, id="s", made_for="x", **times)
        )
    gaps = {each.gap for each in (await acme()).missing}
    assert gaps == {Gap.USERS_MISSING, Gap.TOKEN_REFUSED}
    (globex,) = await records.of("globex")
    assert (globex.state, globex.accounts, globex.groups) == (WHOLE, (Way.GRAPH,), (Way.GRAPH,))
    assert [each.gap for each in globex.missing] == [Gap.NO_PUSH], "users are not pushed"
    await records.round()
    gauge = DEPROVISIONING_INCOMPLETE
    assert gauge.labels("acme", "acme-okta")._value.get() == 1
    assert gauge.labels("globex", "globex-entra")._value.get() == 0
    leading = False
    await records.round()
    assert gauge.labels("acme", "acme-okta")._value.get() != 1, "another process shows it"
