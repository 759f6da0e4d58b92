"""Another app client for a tenant: both are there until nothing made with the old one can be left,
and whatever fails leaves one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.provisioning.credentials import SPARE_S
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.rotation import MAX_RETIRED
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy, RunKind, RunState
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.provisioning.service import Onboarding
    from gateway.tenants.snapshot_record import Credentials


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        await started.apply()
        yield started


async def held(bench: Bench, tenant: str = "initech") -> Credentials:
    found = await bench.tenants.credentials(tenant)
    assert found is not None
    return found


def later(bench: Bench, *, seconds: float) -> Onboarding:
    """The service of a process whose clock is ahead."""
    provisioning, now = bench.service.provisioning, bench.service.provisioning.clock()
    return replace(bench.service, provisioning=replace(provisioning, clock=lambda: now + seconds))


async def test_the_second_client_is_like_the_first_and_the_first_stays_until_its_last_session_has_ended(  # noqa: E501 - a test's name is a sentence
    bench: Bench,
) -> None:
    (first,) = bench.cloud.cognito.pool.clients.values()
    now = bench.service.provisioning.clock()
    outcome = await bench.service.rotate("initech", actor="test")
    assert isinstance(outcome, Done)
    credentials = await held(bench)
    (old,) = credentials.retired
    assert (old.client_id, old.client_secret.reveal()) == (first.client_id, first.secret)
    assert old.retires_at is not None
    assert old.retires_at >= now + 12 * 3600 + SPARE_S
    second = bench.cloud.cognito.pool.clients[credentials.client_id]
    assert credentials.client_secret.reveal() == second.secret
    apart = {"ClientName", "ClientId", "ClientSecret", "CreationDate", "LastModifiedDate"}
    assert {n: v for n, v in second.settings.items() if n not in apart} == {
        n: v for n, v in first.settings.items() if n not in apart
    }
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean
    assert [(s.name, s.why) for s in drift.steps][-1] == (
        first.client_id,
        "it was replaced, and is accepted still",
    )
    assert await bench.service.rotation.retire_due() == 0
    assert await later(bench, seconds=13 * 3600 + 1).rotation.retire_due() == 1
    assert bench.clients == {credentials.client_id}
    assert (await held(bench)).retired == ()
    run = await bench.service.provisioning.journal.latest("initech")
    assert run is not None
    assert (run.kind, run.actor, [p["name"] for p in run.request["providers"]]) == (
        RunKind.RETIRE,
        "gateway",
        ["initech-okta"],
    )


async def test_rotated_twice_in_a_row_there_are_three_and_a_limit(bench: Bench) -> None:
    for _ in range(MAX_RETIRED):
        assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    refused = await bench.service.rotate("initech", actor="test")
    assert refused == PreflightProblem(
        "conflict",
        "client",
        (
            "4 replaced clients are accepted still: retire them first (gateway provision "
            "retire initech)"
        ),
    )
    assert set((await held(bench)).retired) and len(bench.clients) == MAX_RETIRED + 1
    changed = await bench.body(hosts=["initech.localhost", "two.localhost"])
    assert isinstance(await bench.apply(body=changed, update=True), Done)
    assert {len(c.callback_urls) for c in bench.cloud.cognito.pool.clients.values()} == {2}
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert bench.clients == {(await held(bench)).client_id}
    assert await bench.service.retire("initech", actor="test") == PreflightProblem(
        "not_found", "client", "initech has no replaced client"
    )


async def test_destroying_ends_every_client(bench: Bench) -> None:
    await bench.service.rotate("initech", actor="test")
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert await bench.left_behind() == {}
    assert await bench.service.rotate("initech", actor="test") == PreflightProblem(
        "not_found", "tenant", "initech is not provisioned"
    )


async def test_a_rotation_can_be_taken_back_while_the_old_client_is_there_and_not_afterwards(
    bench: Bench,
) -> None:
    before = bench.clients
    outcome = await bench.service.rotate("initech", actor="test")
    assert isinstance(outcome, Done)
    assert await bench.service.roll_back("initech", outcome.run) is RunState.ROLLED_BACK
    assert bench.clients == before == {(await held(bench)).client_id}
    assert (await held(bench)).retired == ()
    again = await bench.service.rotate("initech", actor="test")
    assert isinstance(again, Done)
    await bench.service.retire("initech", actor="test")
    too_late = await bench.service.roll_back("initech", again.run)
    assert isinstance(too_late, PreflightProblem)
    latest = await bench.service.provisioning.journal.latest("initech")
    assert latest is not None
    final = await bench.service.roll_back("initech", latest.id)
    assert isinstance(final, PreflightProblem)
    assert "cannot be brought back" in final.message


async def test_while_another_run_holds_the_tenant_nothing_is_rotated_or_retired(
    bench: Bench,
) -> None:
    await bench.service.rotate("initech", actor="test")
    clients, journal = bench.clients, bench.service.provisioning.journal
    await journal.open(
        "0" * 12, tenant="initech", kind=RunKind.APPLY, actor="x", request={}, plan=()
    )
    assert await bench.service.rotate("initech", actor="test") == Busy("0" * 12, interrupted=False)
    assert await bench.service.retire("initech", actor="test") == Busy("0" * 12, interrupted=False)
    assert bench.clients == clients


async def test_of_two_rotations_planned_at_once_the_second_loses_nothing_of_the_first(
    bench: Bench,
) -> None:
    stale = await held(bench)
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    registrar = bench.service.provisioning.registrar
    now, answers = await registrar.credentials("initech"), 0

    async def as_it_was(_tenant: str) -> object:
        nonlocal answers
        answers += 1
        return type(now)(stale.client_id, stale.client_secret) if answers == 1 else now  # type: ignore[misc]  # of the port's type

    registrar.credentials = as_it_was  # type: ignore[method-assign, assignment]  # the first look is a moment old
    outcome = await bench.service.rotate("initech", actor="test")
    assert isinstance(outcome, Failed)
    assert outcome.code == "conflict"
    assert len(bench.clients) == 2


async def test_a_client_that_is_the_current_one_again_is_not_deleted(bench: Bench) -> None:
    rotated = await bench.service.rotate("initech", actor="test")
    assert isinstance(rotated, Done)
    registrar = bench.service.provisioning.registrar
    stale = await registrar.credentials("initech")
    await bench.service.roll_back("initech", rotated.run)
    real, answers = registrar.credentials, [stale]

    async def as_it_was(tenant: str) -> object:
        return answers.pop() if answers else await real(tenant)

    registrar.credentials = as_it_was  # type: ignore[method-assign, assignment]  # the first look is a moment old
    outcome = await bench.service.retire("initech", actor="test")
    assert isinstance(outcome, Failed)
    assert outcome.code == "conflict"
    assert bench.clients == {(await held(bench)).client_id}


async def test_a_client_that_cognito_does_not_show_yet_is_waited_for(bench: Bench) -> None:
    bench.cloud.cognito.control.faults.plan(
        "DescribeUserPoolClient",
        faults.fail(ApiError("ResourceNotFoundException", "not seen")),
        times=2,
    )
    service = replace(
        bench.service,
        provisioning=replace(
            bench.service.provisioning,
            timing=replace(bench.service.provisioning.timing, visible_s=30.0),
        ),
    )
    assert isinstance(await service.rotate("initech", actor="test"), Done)


async def test_a_replaced_client_deleted_in_the_console_is_drift_that_is_mended(
    bench: Bench,
) -> None:
    await bench.service.rotate("initech", actor="test")
    (old,) = (await held(bench)).retired
    del bench.cloud.cognito.pool.clients[old.client_id]
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert [(str(s.verb), s.name) for s in drift.steps if s.does] == [("remove", old.client_id)]
    mended = await bench.service.verify("initech", fix=True, actor="test")
    assert mended is not None
    assert isinstance(mended.fixed, Done)
    assert (await held(bench)).retired == ()


async def test_a_replaced_client_with_another_secret_is_told_and_hinders_no_repair(
    bench: Bench,
) -> None:
    """What somebody did in the console: the refresh tokens of its sessions are of no use."""
    await bench.service.rotate("initech", actor="test")
    now = await held(bench)
    (old,) = now.retired
    clients = bench.cloud.cognito.pool.clients
    clients[old.client_id] = replace(clients[old.client_id], secret="another")
    settings = {**clients[now.client_id].settings, "LogoutURLs": ["https://elsewhere.example/"]}
    clients[now.client_id] = replace(clients[now.client_id], settings=settings)
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None and isinstance(drift.fixed, Done)
    (problem,) = drift.problems
    assert f"{old.client_id}, which is accepted until its last session has ended" in str(problem)
    assert "has another secret in pool default than is known: retire it" in str(problem)
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None and drift.clean


async def test_retiring_that_is_interrupted_is_finished(bench: Bench) -> None:
    await bench.service.rotate("initech", actor="test")
    bench.cloud.cognito.control.faults.plan("DeleteUserPoolClient", faults.internal_error, times=3)
    assert isinstance(await bench.service.retire("initech", actor="test"), Failed)
    assert (await held(bench)).retired == (), "nobody uses it any more, whatever Cognito says"
    assert await bench.service.provisioning.recover() == 1
    assert bench.clients == {(await held(bench)).client_id}
