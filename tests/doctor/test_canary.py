"""The canary notices an open door, and is not confused by a broken one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from gateway.config.model import Canary
from gateway.doctor import canary
from gateway.errors import UnavailableError
from gateway.metrics import INGRESS_BYPASS_DETECTED, REGISTRY
from gateway.sessions.leader import LEASE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_aiohttp.plugin import AiohttpServer

ANSWERS = {
    "login": (302, "https://app.example.com/_auth/login?rd=x", canary.GUARDED),
    "explanation": (302, "/_auth/denied", canary.GUARDED),
    "401": (401, "", canary.GUARDED),
    "403": (403, "", canary.GUARDED),
    "wrong host": (421, "", canary.GUARDED),
    "let in": (200, "", canary.OPEN),
    "let in, nothing there": (404, "", canary.OPEN),
    "sent elsewhere by the application": (302, "https://app.example.com/welcome", canary.OPEN),
    "a page that only looks like ours": (
        302,
        "https://app.example.com/x?next=/_auth/login",
        canary.OPEN,
    ),
    "gateway away": (503, "", canary.UNREACHABLE),
    "bad gateway": (502, "", canary.UNREACHABLE),
}


@pytest.mark.parametrize(("status", "location", "result"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_means(status: int, location: str, result: str) -> None:
    assert canary.judge(status, location) == result


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_an_open_door_raises_the_metric_and_a_log_record_until_it_is_closed(
    aiohttp_server: AiohttpServer, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    door = {"status": 200}
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        assert "Cookie" not in request.headers
        return web.Response(status=door["status"])

    app.router.add_get("/", answer)
    url = str((await aiohttp_server(app)).make_url("/"))
    before = value("gateway_canary_probes_total", result="open")
    assert await canary.probe(url, http) == canary.OPEN
    assert value("gateway_ingress_bypass_detected") == 1
    assert value("gateway_canary_probes_total", result="open") == before + 1
    assert [record.message for record in caplog.records if record.levelname == "CRITICAL"] == [
        "ingress_bypass_detected"
    ]
    door["status"] = 503
    assert await canary.probe(url, http) == canary.UNREACHABLE
    assert value("gateway_ingress_bypass_detected") == 1, (
        "an ingress that does not answer has not been repaired"
    )
    door["status"] = 401
    assert await canary.probe(url, http) == canary.GUARDED
    assert value("gateway_ingress_bypass_detected") == 0


async def test_nobody_there_is_unreachable(http: aiohttp.ClientSession) -> None:
    assert await canary.probe("http://127.0.0.1:1/", http) == canary.UNREACHABLE
    assert await canary.probe("not a url", http) == canary.UNREACHABLE


class Lease:
    """One for all, as in Redis; ``held_until`` in seconds of the clock that the tests share."""

    def __init__(self) -> None:
        self.now, self.holder, self.held_until, self.away = 0.0, "", 0.0, False

    def of(self, name: str) -> Place:
        return Place(self, name)


class Place:
    def __init__(self, lease: Lease, name: str) -> None:
        self.lease, self.name = lease, name

    async def lead(self) -> bool:
        if self.lease.away:
            raise UnavailableError("away")
        if self.lease.holder in {"", self.name} or self.lease.held_until <= self.lease.now:
            self.lease.holder = self.name
            self.lease.held_until = self.lease.now + LEASE_S
        return self.lease.holder == self.name

    async def resign(self) -> None:
        if self.lease.holder == self.name:
            self.lease.holder = ""


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of a request: who asked."""
    asked: list[str] = []

    async def probe(url: str, http: aiohttp.ClientSession) -> str:
        asked.append(url)
        return canary.GUARDED

    monkeypatch.setattr(canary, "probe", probe)
    return asked


async def test_one_process_of_all_probes_and_another_soon_after_its_death(
    http: aiohttp.ClientSession, probed: list[str]
) -> None:
    lease = Lease()
    waiting: dict[str, asyncio.Future[None]] = {}

    def canary_of(name: str) -> asyncio.Task[None]:
        async def sleep(seconds: float) -> None:
            assert 0 < seconds <= canary.LEAD_EVERY_S
            waiting[name] = asyncio.get_running_loop().create_future()
            await waiting[name]

        settings = Canary(url=f"http://{name}/", interval=timedelta(minutes=1))
        return asyncio.create_task(
            canary.watch(settings, http, lease.of(name), sleep=sleep, monotonic=lambda: lease.now)
        )

    async def pass_s(seconds: float, *names: str) -> None:
        ends = lease.now + seconds
        while lease.now < ends:
            lease.now += canary.LEAD_EVERY_S
            for name in names:
                waiting.pop(name).set_result(None)
            while not {*names} <= waiting.keys():  # noqa: ASYNC110 - turns of the loop, not time
                await asyncio.sleep(0)

    tasks = {name: canary_of(name) for name in ("a", "b", "c")}
    while len(waiting) < 3:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    INGRESS_BYPASS_DETECTED.set(1)
    for result in (canary.GUARDED, canary.OPEN, canary.UNREACHABLE):
        name = "gateway_canary_probes_total"
        assert REGISTRY.get_sample_value(name, {"result": result}) is not None, "before the first"
    await pass_s(120, "a", "b", "c")
    assert probed == ["http://a/"] * 3
    assert value("gateway_ingress_bypass_detected") == 0, "who does not lead knows nothing"
    # Killed: it neither renews nor gives back.
    await pass_s(LEASE_S + canary.LEAD_EVERY_S, "b", "c")
    assert probed[3:] == ["http://b/"]
    tasks["b"].cancel()
    await asyncio.wait([tasks["b"]])
    await pass_s(canary.LEAD_EVERY_S, "c")
    assert probed[4:] == ["http://c/"], "one that is stopped gives the lease back"
    lease.away, probed[:] = True, []
    await pass_s(60, "a", "c")
    assert {*probed} == {"http://a/", "http://c/"}, "several are better than none"
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())


async def test_without_a_url_there_is_no_canary(http: aiohttp.ClientSession) -> None:
    await canary.watch(Canary(), http, Lease().of("a"))
