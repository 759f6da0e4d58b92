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
from gateway.metrics import REGISTRY

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


async def test_it_probes_again_after_each_interval(http: aiohttp.ClientSession) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await canary.watch(
            Canary(url="http://127.0.0.1:1/", interval=timedelta(seconds=7)), http, sleep=sleep
        )
    assert waited == [7, 7, 7]


async def test_without_a_url_there_is_no_canary(http: aiohttp.ClientSession) -> None:
    await canary.watch(Canary(), http)
