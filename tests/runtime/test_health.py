"""What the admin listener tells of a process, whatever its dependencies do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.background import background_task
from gateway.errors import UnavailableError
from gateway.runtime.health import PROBE_TIMEOUT_S, DependencyState, Watched, application, bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

FINE = DependencyState("redis", ok=True, detail="answers")
AWAY = DependencyState("redis", ok=False, detail="away")
TOLD = DependencyState("cognito", ok=False, detail="slow", needed=False)


@pytest.mark.parametrize(
    ("found", "status", "code"),
    [
        ((FINE,), "ready", 200),
        ((FINE, TOLD), "degraded", 200),
        ((AWAY,), "not_ready", 503),
        ((AWAY, TOLD), "not_ready", 503),
    ],
    ids=["fine", "one_is_told", "one_is_needed", "both"],
)
async def test_only_what_is_needed_takes_a_replica_away(
    found: tuple[DependencyState, ...], status: str, code: int
) -> None:
    async with TestClient(
        TestServer(application({f.name: lambda f=f: f for f in found}))  # type: ignore[misc]  # a default argument binds it
    ) as client:
        answer = await client.get("/readyz")
        told = await answer.json()
    assert (answer.status, told["status"]) == (code, status)
    assert told["dependencies"] == {
        f.name: {"ok": f.ok, "needed": f.needed, "detail": f.detail} for f in found
    }


async def hangs() -> DependencyState:
    await asyncio.Event().wait()
    raise AssertionError


async def fails() -> DependencyState:
    msg = "no"
    raise UnavailableError(msg)


async def breaks() -> DependencyState:
    raise KeyError


async def test_whoever_asks_is_answered_at_once_while_a_dependency_hangs() -> None:
    watched = Watched("cognito", hangs, needed=False, every_s=0)
    async with (
        background_task(watched.run()),
        TestClient(TestServer(application({"cognito": watched.known}))) as client,
    ):
        async with asyncio.timeout(PROBE_TIMEOUT_S / 2):
            answer = await client.get("/readyz")
        assert (await answer.json())["dependencies"]["cognito"]["detail"] == "not asked yet"
        assert answer.status == 200


@pytest.mark.parametrize("needed", [False, True])
async def test_what_cannot_be_asked_weighs_what_it_weighs(
    monkeypatch: pytest.MonkeyPatch, *, needed: bool
) -> None:
    monkeypatch.setattr("gateway.runtime.health.PROBE_TIMEOUT_S", 0.01)
    for probe in (hangs, fails, breaks):
        found = await bounded("cognito", probe, needed=needed)
        assert (found.ok, found.needed) == (False, needed)


async def test_what_is_well_is_asked_less_often_than_what_is_not() -> None:
    pauses: list[float] = []
    answers: Mapping[int, bool] = {0: True, 1: False, 2: True}
    enough = asyncio.Event()

    async def ask() -> DependencyState:
        return DependencyState("redis", ok=answers[len(pauses)], detail="")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(answers):
            enough.set()
            await asyncio.Event().wait()

    watched = Watched("redis", ask, needed=True, every_s=30, again_s=1, sleep=sleep)
    async with background_task(watched.run()):
        await enough.wait()
    assert pauses == [30, 1, 30]
