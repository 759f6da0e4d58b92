from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway.background import background_task, end, fault, forever, in_rounds
from gateway.errors import UnavailableError
from gateway.metrics import REGISTRY


class Work:
    """Goes on until it is stopped."""

    def __init__(self) -> None:
        self.started, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def test_it_runs_while_its_owner_does_and_no_longer() -> None:
    work = Work()
    async with background_task(work()):
        await work.started.wait()
        assert not work.ended.is_set()
    assert work.ended.is_set()


async def test_its_owners_error_ends_it_and_passes_through() -> None:
    work = Work()

    async def owner() -> None:
        async with background_task(work()):
            await work.started.wait()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await owner()
    assert work.ended.is_set()


async def test_its_own_error_is_logged_and_its_owner_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = asyncio.Event()

    async def work() -> None:
        failed.set()
        msg = "the folder is gone"
        raise LookupError(msg)

    async with background_task(work()):
        await failed.wait()
    assert [record.message for record in caplog.records] == ["task_failed"]


async def test_whatever_a_round_fails_by_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds, fourth = (
        [UnavailableError("away"), LookupError("a row does not open"), None],
        asyncio.Event(),
    )

    async def work() -> None:
        if not rounds:
            fourth.set()
        elif (error := rounds.pop(0)) is not None:
            raise error

    async with background_task(
        in_rounds(work, pause_s=0, unavailable="clean_up_unavailable", failed="clean_up_fault")
    ):
        await fourth.wait()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "clean_up_unavailable"),
        ("ERROR", "clean_up_fault"),
    ]
    assert REGISTRY.get_sample_value("gateway_task_failures_total", {"task": "clean_up_fault"}) == 1


async def test_work_that_a_mistake_ended_is_begun_again_ever_later_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    paused: list[float] = []
    going_on = Work()

    async def work(name: str) -> None:
        if len(paused) < 3:
            raise LookupError(name)
        await going_on()

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    async with background_task(
        forever(partial(work, "a snapshot of another release"), sleep=sleep)
    ):
        await going_on.started.wait()
    assert going_on.ended.is_set()
    assert paused == [0.5, 1.0, 2.0]
    assert [record.message for record in caplog.records] == ["task_failed"] * 3
    assert (
        REGISTRY.get_sample_value("gateway_task_failures_total", {"task": work.__qualname__}) == 3
    )


def test_a_fault_is_logged_with_its_trace_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        fault("a_fault_of_the_test", LookupError("a row does not open"), tenant="acme")
    assert [
        (record.levelname, record.message, record.exc_info is not None) for record in caplog.records
    ] == [("ERROR", "a_fault_of_the_test", True)] * 2
    assert (
        REGISTRY.get_sample_value("gateway_task_failures_total", {"task": "a_fault_of_the_test"})
        == 2
    )


async def test_a_task_that_loses_a_cancellation_is_asked_again() -> None:
    asked = 0

    async def work() -> None:
        nonlocal asked
        while asked < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked += 1

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await end([task])
    assert task.done()
    assert asked == 2
