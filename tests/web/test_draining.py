from __future__ import annotations

from typing import Any, cast

from aiohttp import web

from gateway.web.draining import LOOKS, Draining

REQUEST = cast("Any", None)


async def answer(request: object) -> web.StreamResponse:
    return web.Response(status=401)


def keeps(response: web.StreamResponse) -> bool:
    return response.keep_alive is not False


async def test_every_answer_is_the_last_of_its_connection_once_the_process_ends() -> None:
    checks = Draining(answer)
    assert keeps(await checks(REQUEST))
    last: list[bool] = []

    async def asked_meanwhile(_: float) -> None:
        if len(last) < 3:
            last.append(keeps(await checks(REQUEST)))

    await checks.drain(sleep=asked_meanwhile)
    assert last == [False, False, False]


async def test_it_does_not_wait_for_an_ingress_that_never_stops_asking() -> None:
    checks = Draining(answer)
    looks = 0

    async def asked_again(_: float) -> None:
        nonlocal looks
        looks += 1
        await checks(REQUEST)

    await checks.drain(sleep=asked_again)
    assert looks == LOOKS


async def test_where_nobody_asks_nobody_waits() -> None:
    looks: list[float] = []

    async def quiet(seconds: float) -> None:
        looks.append(seconds)

    await Draining(answer).drain(sleep=quiet)
    assert len(looks) == 1
