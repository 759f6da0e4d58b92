"""A tenant whose people are the pool's own users: their group, its style, and what is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from demo.cognito.pool import Group, Style
from gateway.admin.problem import Problem
from gateway.admin.routes.provisioning import done, problem
from gateway.cognito.desired import marker
from gateway.core.model import ProviderKind
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done, Failed
from tests.provisioning.bench import Bench
from tests.provisioning.test_crashes import (
    FAULTS,
    HOLD_S,
    POOL_USER_STEPS,
    Pools,
    applying,
    die_at,
    until_settled,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cognito.pool import Pool


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        started.cloud.cognito.pool.behaviour.managed_login_version = 2
        yield started


@pytest.fixture
def pool(bench: Bench) -> Pool:
    return bench.cloud.cognito.pool


def body(tenant: str = "initech", **more: Any) -> ProvisionBody:
    return ProvisionBody.model_validate(
        {
            "provider": {"kind": "cognito"},
            "groups": "any",
            "allowed_domain": f"{tenant}.test",
            "hosts": [f"{tenant}.localhost"],
            **more,
        }
    )


async def rows(bench: Bench, asked: ProvisionBody, *, update: bool = False) -> list[str]:
    proposal = await bench.service.propose("initech", asked, update=update)
    return [str(step) for step in proposal.plan.steps if step.does]


async def test_one_call_makes_a_group_a_client_and_its_style(bench: Bench, pool: Pool) -> None:
    proposal = await bench.service.propose("initech", body(), update=False)
    assert [(str(s.verb), str(s.resource), s.name) for s in proposal.plan.steps] == [
        ("keep", "attributes", proposal.plan.steps[0].name),
        ("create", "group", "tenants/initech"),
        ("create", "client", ""),
        ("create", "style", ""),
        ("create", "tenant", "initech"),
    ]
    outcome = await bench.apply("initech", body())
    assert isinstance(outcome, Done)
    (client,) = pool.clients.values()
    assert client.providers == ("COGNITO",)
    assert [style.client_id for style in pool.styles.values()] == [client.client_id]
    assert pool.groups["tenants/initech"].description == marker(outcome.run, "tenants/initech")
    (entry,) = (await bench.tenants.all())["initech"].document.providers
    assert (entry.name, entry.kind, entry.members_only) == (
        "initech-cognito",
        ProviderKind.COGNITO,
        True,
    )
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean
    again = await bench.service.propose("initech", body(), update=True)
    assert not again.plan.changes


async def test_what_the_pool_asks_of_its_users_is_shown_with_plan_and_verify(
    bench: Bench, pool: Pool
) -> None:
    pool.settings = {
        "MfaConfiguration": "OPTIONAL",
        "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": False},
        "Policies": {
            "PasswordPolicy": {
                "MinimumLength": 12,
                "RequireNumbers": True,
                "RequireSymbols": True,
                "TemporaryPasswordValidityDays": 3,
            }
        },
    }
    proposal = await bench.service.propose("initech", body(), update=False)
    _, settings, sign_up = proposal.plan.notes
    assert "(MFA OPTIONAL)" in settings
    assert "12 characters, with a digit, a symbol; invitations for 3 days" in settings
    assert "AllowAdminCreateUserOnly is off" in sign_up
    await bench.apply("initech", body())
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.notes == proposal.plan.notes
    # Nothing of it where nobody of the pool's own signs in.
    okta = await bench.service.propose("acme", await bench.body("acme"), update=False)
    assert [note for note in okta.plan.notes if "track sessions" not in note] == []


async def test_pages_of_version_1_need_no_style_and_unknown_ones_get_one(
    bench: Bench, pool: Pool
) -> None:
    pool.behaviour.managed_login_version = 1
    assert not [row for row in await rows(bench, body()) if "style" in row]
    control = bench.cloud.cognito.control
    control.allowed_operations = frozenset(
        o for o in control.known_operations if o != "DescribeUserPoolDomain"
    )
    assert [row for row in await rows(bench, body()) if "create  style" in row]
    proposal = await bench.service.propose("initech", body(), update=False)
    assert "cognito-idp:DescribeUserPoolDomain" in proposal.plan.notes[-1]


async def test_a_style_that_is_gone_is_drift_and_made_again(bench: Bench, pool: Pool) -> None:
    await bench.apply("initech", body())
    (client,) = pool.clients
    pool.styles.clear()
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None
    assert not drift.clean
    assert isinstance(drift.fixed, Done)
    assert [style.client_id for style in pool.styles.values()] == [client]


async def test_a_group_that_is_gone_is_made_again_empty(bench: Bench, pool: Pool) -> None:
    await bench.apply("initech", body())
    pool.groups.clear()
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None
    assert isinstance(drift.fixed, Done)
    assert set(pool.groups) == {"tenants/initech"}


async def test_the_twenty_first_style_is_refused_with_the_reason_and_nothing_is_left(
    bench: Bench, pool: Pool
) -> None:
    for number in range(20):
        pool.styles[str(number)] = Style(str(number), f"other{number}")
    outcome = await bench.apply("initech", body())
    assert isinstance(outcome, Failed)
    with pytest.raises(Problem, match="styles") as told:
        done(outcome)
    assert told.value.code == "quota_reached"
    await until_settled(bench)
    assert await bench.left_behind() == {}
    assert pool.groups == {}


async def test_a_group_of_the_name_that_somebody_else_made_lets_nobody_in(
    bench: Bench, pool: Pool
) -> None:
    pool.groups["tenants/initech"] = Group("tenants/initech", "", created=1.0)
    proposal = await bench.service.propose("initech", body(), update=False)
    assert [p.kind for p in proposal.problems] == ["exists"]
    assert problem(proposal.problems).code == "exists"
    # Made between the look and the call.
    del pool.groups["tenants/initech"]
    proposal = await bench.service.propose("initech", body(), update=False)
    pool.groups["tenants/initech"] = Group("tenants/initech", "", created=1.0)
    outcome = await bench.service.apply(proposal, actor="test")
    assert isinstance(outcome, Failed)
    await until_settled(bench)
    assert set(pool.groups) == {"tenants/initech"}
    assert await bench.left_behind() == {}
    # An operator takes it over, and it stays when the tenant ends.
    assert isinstance(await bench.apply("initech", body(adopt=True)), Done)
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert set(pool.groups) == {"tenants/initech"}


async def test_a_tenant_that_ends_takes_its_groups_along_and_no_others(
    bench: Bench, pool: Pool
) -> None:
    pool.behaviour.lists_begin_empty = True
    assert isinstance(await bench.apply("initech", body()), Done)
    for name in ("tenants/initech/admins", "tenants/initech-2", "tenants/initech-2/admins"):
        pool.groups[name] = Group(name, "", created=1.0)
    user = pool.add_user("peter", password="p", email="peter@initech.test")
    user.groups = ["tenants/initech", "tenants/initech/admins", "tenants/initech-2"]
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert set(pool.groups) == {"tenants/initech-2", "tenants/initech-2/admins"}
    assert user.groups == ["tenants/initech-2"]
    assert (pool.styles, pool.clients) == ({}, {})


async def test_a_tenant_with_users_of_the_pool_is_ended_by_destroy_alone(
    bench: Bench, pool: Pool
) -> None:
    assert isinstance(await bench.apply("initech", body()), Done)
    assert isinstance(await bench.apply("acme"), Done)
    for tenant, code in (("initech", "conflict"), ("acme", None)):
        record = await bench.service.records.get(tenant)
        assert record is not None
        kept = await bench.service.keeps(tenant, record.document)
        assert (kept and kept.code) == code, tenant
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert "tenants/initech" not in pool.groups
    assert await bench.service.keeps("initech", {"providers": [{"kind": "cognito"}]}) is None


async def test_the_next_tenant_of_an_id_does_not_get_the_users_of_the_last(
    bench: Bench, pool: Pool
) -> None:
    """Whose document went some other way: their group is still in the pool, and in the journal."""
    assert isinstance(await bench.apply("initech", body()), Done)
    user = pool.add_user("peter", password="p", email="peter@initech.test")
    user.groups = ["tenants/initech"]
    assert await bench.tenants.delete("initech", version=None, by=None) is None
    proposal = await bench.service.propose("initech", body(), update=False)
    assert [p.kind for p in proposal.problems] == ["exists"]
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert isinstance(await bench.apply("initech", body()), Done)
    assert user.groups == []


async def test_left_out_of_the_body_they_are_removed_and_their_group_is_deleted(
    bench: Bench, pool: Pool
) -> None:
    okta = (await bench.body()).all_providers[0]
    both = body().model_copy(update={"provider": None, "providers": (okta, *body().all_providers)})
    assert isinstance(await bench.apply("initech", both), Done)
    (client,) = pool.clients.values()
    assert client.providers == ("initech-okta", "COGNITO")
    only = await bench.body(groups="any", group=None)
    assert isinstance(await bench.apply("initech", only, update=True), Done)
    (client,) = pool.clients.values()
    assert client.providers == ("initech-okta",)
    assert pool.groups == {}
    document = (await bench.tenants.all())["initech"].document
    assert [p.name for p in document.providers] == ["initech-okta"]


async def test_what_somebody_wrote_into_the_document_stays_or_gets_another_name(
    bench: Bench, pool: Pool
) -> None:
    """A session names its provider: with another name, whom the domain alone let in is out."""
    await bench.apply()
    record = await bench.tenants.get("initech")
    assert record is not None
    document = record.document.model_dump(mode="python")
    document["providers"] = [
        *document["providers"],
        {"name": "initech-cognito", "kind": "cognito"},
    ]
    await bench.tenants.put(
        type(record.document).model_validate(document), version=record.version, by=None
    )
    assert not pool.groups
    same = await bench.service.propose("initech", await bench.body(), update=True)
    assert same.document is not None
    assert [p["name"] for p in same.document["providers"]] == ["initech-okta", "initech-cognito"]
    assert "members_only would ask" in same.plan.notes[-1]
    okta = (await bench.body()).all_providers[0]
    both = body().model_copy(update={"provider": None, "providers": (okta, *body().all_providers)})
    assert isinstance(await bench.apply("initech", both, update=True), Done)
    document_now = (await bench.tenants.all())["initech"].document
    assert [(p.name, p.members_only) for p in document_now.providers] == [
        ("initech-okta", False),
        ("initech-cognito-2", True),
    ]


async def test_a_rotated_client_has_its_style_and_loses_it_when_it_goes(
    bench: Bench, pool: Pool
) -> None:
    await bench.apply("initech", body())
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    assert {style.client_id for style in pool.styles.values()} == set(pool.clients)
    assert len(pool.clients) == 2
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert {style.client_id for style in pool.styles.values()} == set(pool.clients)
    assert len(pool.clients) == 1
    calls = [c.operation for c in bench.cloud.cognito.control.calls]
    assert calls.index("DeleteManagedLoginBranding") < calls.index("DeleteUserPoolClient"), (
        "whether it goes with its client is not documented"
    )


async def test_a_tenants_own_key_adds_no_group_and_no_style_to_the_pool(bench: Bench) -> None:
    await bench.apply()
    okta = (await bench.body()).all_providers[0]
    both = body().model_copy(
        update={
            "provider": None,
            "providers": (okta, *body().all_providers),
            "groups": None,
            "allowed_domain": None,
            "hosts": None,
        }
    )
    proposal = await bench.service.propose("initech", both, update=True, bound=True)
    assert [(p.kind, p.where) for p in proposal.problems] == [("bound", "providers.1.kind")]
    operators = await bench.service.propose("initech", both, update=True)
    assert isinstance(await bench.service.apply(operators, actor="test"), Done)
    proposal = await bench.service.propose("initech", both, update=True, bound=True)
    assert proposal.problems == ()


def test_the_pool_has_its_own_users_once() -> None:
    with pytest.raises(ValidationError, match="once"):
        body(provider=None, providers=[{"kind": "cognito"}, {"kind": "cognito"}])


# --- the crash matrix ---------------------------------------------------------------------------


async def nothing_left(bench: Bench, pools: Pools, tenant: str) -> None:
    await pools.holds_nothing_new(tenant)
    pool = bench.cloud.cognito.pool
    assert f"tenants/{tenant}" not in pool.groups
    assert {style.client_id for style in pool.styles.values()} <= set(pool.clients)


@pytest.mark.parametrize("step", list(POOL_USER_STEPS))
async def test_faults_of_the_group_and_of_the_style(bench: Bench, pool: Pool, step: str) -> None:
    for number, (name, plan) in enumerate(FAULTS.items()):
        tenant, pools = f"t{number}", Pools(bench)
        plan(bench, POOL_USER_STEPS[step])
        outcome = await bench.apply(tenant, body(tenant))
        bench.cloud.cognito.control.faults.clear()
        await until_settled(bench)
        if isinstance(outcome, Done):
            assert f"tenants/{tenant}" in pool.groups, name
            (client,) = set(pool.clients) - set(pools.clients)
            assert pool.style_of(client) is not None, name
        else:
            await nothing_left(bench, pools, tenant)
        if name in {"throttled", "connection cut after", "error after", "timeout after"}:
            assert isinstance(outcome, Done), name


KILLS = [
    f"{write}:{number}:{side}"
    for number in (1, 2, 3)
    for write in ("intend", "settle")
    for side in ("before", "after")
]


async def test_killed_between_any_two_writes(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        bench.cloud.cognito.pool.behaviour.managed_login_version = 2
        for number, point in enumerate(KILLS):
            tenant, pools = f"t{number}", Pools(bench)
            await die_at(bench, point, applying(bench, tenant, body(tenant)))
            await until_settled(bench)
            await nothing_left(bench, pools, tenant)


async def test_a_style_that_somebody_else_made_meanwhile_stays_when_the_run_is_undone(
    bench: Bench, pool: Pool
) -> None:
    await bench.apply("initech", body())
    (client,) = pool.clients
    pool.styles.clear()
    changed = body(name="another")
    proposal = await bench.service.propose("initech", changed, update=True)
    assert [str(s.resource) for s in proposal.plan.changes] == ["style", "tenant"]
    pool.styles["theirs"] = Style("theirs", client)
    outcome = await bench.service.apply(proposal, actor="test")
    assert isinstance(outcome, Done)
    assert await bench.service.roll_back("initech", outcome.run) == "rolled_back"
    assert set(pool.styles) == {"theirs"}


async def test_two_tenants_at_once_have_a_group_each(bench: Bench, pool: Pool) -> None:
    outcomes = await asyncio.gather(
        *(bench.apply(tenant, body(tenant)) for tenant in ("acme", "globex"))
    )
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert set(pool.groups) == {"tenants/acme", "tenants/globex"}
