"""A move that is tried before it is made: a client in the other pool for one test link, of which
nothing is left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.cognito.control import faults
from gateway.core.model import DEFAULT_POOL
from gateway.provisioning.move_trial import ENDS_S, Tried
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunKind, RunState
from tests.provisioning.bench import Bench
from tests.provisioning.test_crashes import HOLD_S, crash_server, run_cell, until_settled
from tests.provisioning.test_move import held, move, pools_of, problems, second, there

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path, second="b") as started:
        assert isinstance(await started.apply(), Done)
        yield started


async def tried(bench: Bench, to: str = "b") -> Tried:
    trial = await bench.service.move_trials.begin("initech", to, actor="test")
    assert isinstance(trial, Tried), trial
    return trial


async def test_a_trial_makes_what_the_move_would_and_changes_nothing_of_the_tenant(
    bench: Bench,
) -> None:
    before, document = await held(bench), await bench.tenants.get("initech")
    latest = await bench.service.provisioning.journal.latest("initech")
    trial = await tried(bench)
    pool = second(bench).pool
    assert (trial.client.pool, set(pool.clients)) == ("b", {trial.client.client_id})
    assert trial.client.client_secret.reveal() == pool.clients[trial.client.client_id].secret
    original = bench.cloud.cognito.pool.providers["initech-okta"].settings
    copied = pool.providers["initech-okta"].settings
    assert copied["ProviderDetails"] == original["ProviderDetails"]
    assert await held(bench) == before
    assert await bench.tenants.get("initech") == document
    assert await pools_of(bench) == (DEFAULT_POOL,)
    assert await bench.service.provisioning.journal.latest("initech") == latest
    assert await problems(bench) == [], "a plan can be looked at meanwhile"
    assert await bench.service.move_trials.end("initech") == ()
    assert there(bench)[2:] == (set(), set())


async def test_no_move_is_made_beside_a_trial_and_after_it_the_move_is_the_moves_own(
    bench: Bench,
) -> None:
    trial, before = await tried(bench), await held(bench)
    outcome = await move(bench)
    assert isinstance(outcome, Failed) and outcome.code == "conflict"
    assert await held(bench) == before
    assert set(second(bench).pool.clients) == {trial.client.client_id}
    assert await bench.service.move_trials.end("initech") == ()
    assert isinstance(await move(bench), Done)
    assert await bench.service.move_trials.end_due() == 0
    assert there(bench)[2] == {"initech-okta"}
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None and drift.clean


async def test_a_trial_ends_when_its_link_can_be_of_no_use_any_more(bench: Bench) -> None:
    trial, now = await tried(bench), bench.service.provisioning.clock()
    trials = bench.service.move_trials
    assert await trials.end_due() == 0
    later = replace(bench.service.provisioning, clock=lambda: now + ENDS_S + 60)
    assert await replace(bench.service, provisioning=later).move_trials.end_due() == 1
    assert there(bench)[2:] == (set(), set())
    run = await bench.service.provisioning.journal.run(trial.run)
    assert run is not None and (run.kind, run.state) == (RunKind.TRIAL, RunState.ROLLED_BACK)


async def test_another_trial_a_rollback_and_the_end_of_the_tenant_end_it_too(bench: Bench) -> None:
    first = await tried(bench)
    again = await tried(bench)
    assert set(second(bench).pool.clients) == {again.client.client_id} != {first.client.client_id}
    # What is provisioned meanwhile is the latest run; the trial is still its own.
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    assert await bench.service.roll_back("initech", again.run) is RunState.ROLLED_BACK
    assert there(bench)[2:] == (set(), set())
    await tried(bench)
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert there(bench) == (set(), set(), set(), set())


async def test_what_cannot_be_deleted_now_is_deleted_later(bench: Bench) -> None:
    await tried(bench)
    second(bench).control.faults.plan("DeleteUserPoolClient", faults.internal_error, times=3)
    (problem,) = await bench.service.move_trials.end("initech")
    assert problem.kind == "busy"
    assert await bench.service.provisioning.recover() == 1
    assert there(bench)[2:] == (set(), set())


@pytest.mark.parametrize("is_configured", [True, False])
async def test_one_in_a_pool_that_takes_no_changes_waits_for_it_and_keeps_nothing_else(
    bench: Bench, is_configured: bool
) -> None:
    trial, provisioning = await tried(bench), bench.service.provisioning
    pools = (
        replace(provisioning.pools, failed_over=lambda pool: pool == "b")
        if is_configured
        else replace(provisioning.pools, by_name={"default": provisioning.pools.named("default")})
    )
    without = replace(bench.service, provisioning=replace(provisioning, pools=pools))
    assert await without.move_trials.end("initech") == ()
    (problem,) = await without.move_trials.end("initech", to="b")
    assert problem.kind == "conflict" and "user pool b is " in problem.message
    assert await without.move_trials.end_due() == 0
    refused = await without.roll_back("initech", trial.run)
    assert isinstance(refused, PreflightProblem)
    assert (refused.kind, refused.where) == ("conflict", "pool")
    assert isinstance(await without.rotate("initech", actor="test"), Done)
    assert isinstance(await without.destroy("initech", actor="test"), Done)
    assert set(second(bench).pool.clients) == {trial.client.client_id}
    assert await bench.service.move_trials.end("initech") == ()
    assert there(bench) == (set(), set(), set(), set())


@pytest.mark.parametrize("changed_since", [None, "openid email"])
async def test_a_provider_that_was_changed_beside_a_trial_stays_so(
    bench: Bench, changed_since: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(await move(bench), Done)
    details_of(bench)["authorize_scopes"] = "openid"
    await tried(bench, DEFAULT_POOL)
    assert details_of(bench)["authorize_scopes"] not in {"openid", changed_since}
    secret = details_of(bench)["client_secret"]
    if changed_since is not None:
        details_of(bench)["authorize_scopes"] = changed_since
    assert await bench.service.move_trials.end("initech") == ()
    assert details_of(bench)["authorize_scopes"] == (changed_since or "openid")
    assert details_of(bench)["client_secret"] == secret
    is_in_log = "provision_provider_not_restored" in caplog.text
    assert is_in_log is (changed_since is not None)


def details_of(bench: Bench) -> dict[str, str]:
    settings = bench.cloud.cognito.pool.providers["initech-okta"].settings
    details: dict[str, str] = settings["ProviderDetails"]
    return details


async def test_a_trial_that_fails_leaves_nothing_and_what_is_no_move_is_no_trial(
    bench: Bench,
) -> None:
    second(bench).control.faults.plan("CreateUserPoolClient", faults.internal_error, times=9)
    outcome = await bench.service.move_trials.begin("initech", "b", actor="test")
    assert isinstance(outcome, Failed)
    second(bench).control.faults.clear()
    await bench.service.provisioning.recover()
    assert there(bench)[2:] == (set(), set())
    refused = await bench.service.move_trials.begin("initech", DEFAULT_POOL, actor="test")
    assert isinstance(refused, tuple) and "lives in pool default already" in str(refused[0])


async def test_a_trial_that_is_killed_leaves_nothing_and_one_that_is_done_ends(
    tmp_path: Path,
) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S, second="b") as bench, crash_server() as process:
        assert isinstance(await bench.apply(), Done)
        before = await held(bench)
        points = [f"{write}:{n}:after" for n in (1, 2) for write in ("intend", "settle")]
        for point in (*points, "move:done:before", "move:done:after"):
            killed = await run_cell(process, bench, "initech", point, kind="trial")
            assert killed["killed"], point
            await until_settled(bench)
            is_done = bool(await bench.service.provisioning.journal.trials("initech"))
            assert is_done is (point == "move:done:after")
            assert await bench.service.move_trials.end("initech") == ()
            assert there(bench)[2:] == (set(), set()), point
            assert await held(bench) == before
