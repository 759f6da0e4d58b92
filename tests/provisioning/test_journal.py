"""The provisioning journal: who holds a run, what a crash leaves, and what is read back is what was
written.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from gateway.database.schema import provision_runs, provision_steps
from gateway.provisioning.journal import HOLD_S, SqlJournal
from gateway.provisioning.runs import Action, Busy, DeposedError, Run, RunKind, RunState, StepState

if TYPE_CHECKING:
    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database

SECRET = "rattle of the identity provider"
REQUEST = {"providers": [{"name": "acme-okta", "client_secret": SECRET}]}


class Clock:
    """UTC epoch seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(database: Database, clock: Clock) -> SqlJournal:
    return SqlJournal(database, holder="us", clock=clock)


@pytest.fixture
def others(database: Database, clock: Clock) -> SqlJournal:
    """Another process' over the same database."""
    return SqlJournal(database, holder="them", clock=clock)


async def begin(
    journal: SqlJournal, run: str = "0001", tenant: str = "acme", kind: RunKind = RunKind.APPLY
) -> Run:
    opened = await journal.open(
        run, tenant=tenant, kind=kind, actor="key:1", request=REQUEST, plan=[{"verb": "create"}]
    )
    assert isinstance(opened, Run)
    return opened


async def test_what_is_read_is_what_was_written_and_secrets_are_sealed(
    journal: SqlJournal, database: Database, clock: Clock
) -> None:
    opened = await begin(journal)
    await journal.intend(
        "0001",
        1,
        Action.UPDATE_PROVIDER,
        "acme-okta",
        undo={"marker": "m"},
        before={"request": {"a": [1]}, "idp_secret": SECRET},
    )
    clock.now += 1.5
    await journal.settle("0001", 1, StepState.REFUSED, error={"code": "InvalidParameterException"})
    found = await journal.run("0001")
    assert found is not None
    (step,) = found.steps
    assert (found.request, found.plan, found.started_at, found.state) == (
        REQUEST,
        ({"verb": "create"},),
        opened.started_at,
        RunState.RUNNING,
    )
    assert (step.action, step.state, step.undo, step.before) == (
        Action.UPDATE_PROVIDER,
        StepState.REFUSED,
        {"marker": "m"},
        {"request": {"a": [1]}, "idp_secret": SECRET},
    )
    assert (step.started_at, step.finished_at, step.error) == (
        opened.started_at,
        clock.now,
        {"code": "InvalidParameterException"},
    )
    async with database.read() as connection:
        everything = [
            str(row)
            for table in (provision_runs, provision_steps)
            for row in (await connection.execute(select(table))).all()
        ]
    assert not [text for text in everything if SECRET in text]


async def test_an_identity_providers_secret_is_forgotten_once_undoing_cannot_need_it(
    journal: SqlJournal,
) -> None:
    await begin(journal)
    await journal.intend(
        "0001",
        1,
        Action.UPDATE_PROVIDER,
        "acme-okta",
        undo={},
        before={"request": {}, "idp_secret": SECRET},
    )
    await journal.settle("0001", 1, StepState.DONE)
    await journal.move("0001", RunState.DONE)
    found = await journal.run("0001")
    assert found is not None
    assert found.steps[0].before == {"request": {}}


async def test_of_many_that_open_at_once_one_holds_the_tenant(
    journal: SqlJournal, others: SqlJournal
) -> None:
    answers = await asyncio.gather(
        *(
            (journal, others)[n % 2].open(
                f"{n:04}", tenant="acme", kind=RunKind.APPLY, actor="x", request={}, plan=()
            )
            for n in range(10)
        ),
        journal.open("9999", tenant="globex", kind=RunKind.APPLY, actor="x", request={}, plan=()),
    )
    winners = [answer.id for answer in answers if isinstance(answer, Run)]
    assert len(winners) == 2
    assert "9999" in winners
    (first,) = set(winners) - {"9999"}
    assert {answer for answer in answers if isinstance(answer, Busy)} == {
        Busy(first, interrupted=False)
    }


async def test_a_run_that_nobody_wrote_to_is_taken_over_and_its_process_deposed(
    journal: SqlJournal, others: SqlJournal, clock: Clock
) -> None:
    await begin(journal)
    assert await others.abandoned() == ()
    assert not await others.take_over("0001")
    clock.now += HOLD_S - 1
    await journal.hold("0001")
    clock.now += HOLD_S - 1
    assert await others.abandoned() == ()
    clock.now += 2
    assert await others.abandoned() == ("0001",)
    assert await others.busy("acme") == Busy("0001", interrupted=True)
    taken = await asyncio.gather(others.take_over("0001"), journal.take_over("0001"))
    assert sorted(taken) == [False, True]
    loser = journal if taken[0] else others
    for write in (
        loser.hold("0001"),
        loser.move("0001", RunState.DONE),
        loser.settle("0001", 1, StepState.DONE),
        loser.follow("0001", by="0002", kind=RunKind.RETIRE, request={}),
    ):
        with pytest.raises(DeposedError):
            await write
    assert await journal.run("0002") is None


async def test_what_is_released_or_settling_is_anybodys_at_once(
    journal: SqlJournal, others: SqlJournal
) -> None:
    await begin(journal)
    await journal.release("0001")
    assert await others.take_over("0001")
    await others.move("0001", RunState.SETTLING)
    assert await others.busy("acme") is None, "a tenant is free while a late effect is watched for"
    assert await journal.take_over("0001")


async def test_one_run_ends_and_the_next_holds_the_tenant_in_one_transaction(
    journal: SqlJournal, others: SqlJournal, clock: Clock
) -> None:
    await begin(journal)
    following = await journal.follow("0001", by="0002", kind=RunKind.RETIRE, request={"retire": {}})
    assert (following.tenant, following.actor, following.kind, following.state) == (
        "acme",
        "key:1",
        RunKind.RETIRE,
        RunState.RUNNING,
    )
    ended = await journal.run("0001")
    assert ended is not None
    assert (ended.state, ended.finished_at) == (RunState.DONE, clock.now)
    assert await others.busy("acme") == Busy("0002", interrupted=False)
    clock.now += HOLD_S + 1
    assert await others.abandoned() == ("0002",), "what a crash leaves is finished"


async def test_the_latest_in_force_is_the_last_that_ended_well_and_none_after_a_destruction(
    journal: SqlJournal, clock: Clock
) -> None:
    assert await journal.latest("acme") is None
    for number, (kind, state, in_force) in enumerate(
        [
            (RunKind.APPLY, RunState.DONE, "0000"),
            (RunKind.APPLY, RunState.ROLLED_BACK, "0000"),
            (RunKind.ROTATE, RunState.DONE, "0002"),
            (RunKind.RETIRE, RunState.DONE, "0003"),
            (RunKind.DESTROY, RunState.DONE, None),
            (RunKind.APPLY, RunState.DONE, "0005"),
        ]
    ):
        clock.now += 1
        await begin(journal, f"{number:04}", kind=kind)
        await journal.move(f"{number:04}", state)
        latest = await journal.latest("acme")
        assert (latest.id if latest else None) == in_force


async def test_a_finished_run_is_reopened_once_and_only_while_its_tenant_is_free(
    journal: SqlJournal, others: SqlJournal
) -> None:
    await begin(journal)
    assert not await others.reopen("0001")
    await journal.move("0001", RunState.DONE)
    await begin(journal, "0002")
    assert not await others.reopen("0001")
    await journal.move("0002", RunState.ROLLED_BACK)
    assert sorted(await asyncio.gather(others.reopen("0001"), journal.reopen("0001"))) == [
        False,
        True,
    ]


async def test_pages_of_runs_newest_first_though_two_began_at_once(
    journal: SqlJournal, clock: Clock
) -> None:
    for number in range(5):
        clock.now += number % 2
        await begin(journal, f"{number:04}")
        await journal.move(f"{number:04}", RunState.DONE)
    await begin(journal, "9999", tenant="globex")
    seen, position = [], None
    while True:
        page = await journal.page("acme", position=position, limit=2)
        seen += [run.id for run in page.items]
        position = page.position
        if position is None:
            break
    assert seen == ["0004", "0003", "0002", "0001", "0000"]
    of_all = await journal.page(None, state=RunState.RUNNING, position=None, limit=9)
    assert [run.id for run in of_all.items] == ["9999"]
    assert len((await journal.page(None, position=None, limit=9)).items) == 6
