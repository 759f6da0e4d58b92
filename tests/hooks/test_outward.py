"""Every address that a tenant can name is called through the guard: its webhook, its issuer, its
provider's API.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from sqlalchemy import select

from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.database.schema import webhooks_outbox
from gateway.errors import PeerError
from gateway.hooks.issuer_keys import IssuerConfigError, IssuerKeys, IssuerUnavailableError
from gateway.hooks.reconcile.fetch import Fetch
from gateway.hooks.reconcile.graph_client import GraphClient
from gateway.hooks.sources import okta
from gateway.http.ssrf_guard import guarded_session
from tests.hooks.samples import okta_event
from tests.hooks.world import entra_target, hooks_world, okta_target, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.database.engine import Database


async def inside(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, list[str]]]:
    reached: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        yield int(url.rpartition(":")[2]), reached


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com:{port}/",
        "https://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}/",
        "https://169.254.169.254/",
    ],
)
async def test_a_webhook_is_not_sent_inside_and_says_nothing_about_what_is_there(
    database: Database, server: tuple[int, list[str]], url: str
) -> None:
    port, reached = server
    async with (
        guarded_session(development=False, resolve=inside) as http,
        hooks_world(database, http, applying=False) as world,
    ):
        world.targets.webhooks["acme"] = WebhookTarget(
            "acme", url.format(port=port), (Secret("s" * 32),)
        )
        async with world.applier.running(), world.outbox.running():
            await world.inbox.accept(
                world.targets.by_key["acme", "acme-okta"],
                okta.log_entries([okta_event("user.lifecycle.suspend")]),
                received_at=world.clock(),
            )
            world.applier.wake()
            async with asyncio.timeout(20):
                while not (errors := await errors_of(database)):  # noqa: ASYNC110 - it happens in another task without a signal of its own
                    await asyncio.sleep(0.01)
    assert reached == []
    assert errors[0].startswith("address_not_permitted")


async def errors_of(database: Database) -> list[str]:
    async with database.read() as connection:
        return [
            error
            for error in (await connection.execute(select(webhooks_outbox.c.error))).scalars()
            if error
        ]


async def test_keys_are_not_fetched_from_inside(server: tuple[int, list[str]]) -> None:
    port, reached = server
    async with guarded_session(development=False, resolve=inside) as http:
        for issuer in (
            f"https://idp.example.com:{port}",
            f"http://127.0.0.1:{port}",
            "https://169.254.169.254",
        ):
            signers = await IssuerKeys(http, monotonic=time.monotonic).signers(okta_target(issuer))
            assert (signers.keys.keys, type(signers.missing)) == ([], IssuerConfigError)
    assert reached == []


async def test_keys_that_discovery_points_to_are_guarded_too() -> None:
    async def discovery(request: web.Request) -> web.Response:
        return web.json_response(
            {"issuer": f"http://{request.host}", "jwks_uri": "http://169.254.169.254/keys"}
        )

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    async with serving(app) as url, guarded_session(development=True) as http:
        signers = await IssuerKeys(http, monotonic=time.monotonic).signers(okta_target(url))
        assert (signers.keys.keys, type(signers.missing)) == ([], IssuerConfigError)


async def test_a_client_secret_is_not_sent_inside(server: tuple[int, list[str]]) -> None:
    port, reached = server
    async with guarded_session(development=False, resolve=inside) as http:
        graph = GraphClient(Fetch(http), clock=time.time)
        target = replace(
            entra_target(),
            issuer=f"https://login.example.com:{port}/v2.0",
            api_url=f"https://graph.example.com:{port}",
        )
        with pytest.raises(PeerError) as caught:
            await graph.account(target, "6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01")
    assert (caught.value.code, reached) == ("address_not_permitted", [])


async def test_strangers_tokens_do_not_make_us_knock_at_an_issuer_that_is_away() -> None:
    asked: list[float] = []
    now = 0.0

    async def away(_request: web.Request) -> web.Response:
        asked.append(now)
        return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/.well-known/{document}", away)
    async with serving(app) as url, guarded_session(development=True) as http:
        keys = IssuerKeys(http, monotonic=lambda: now)
        for now in (0.0, 1.0, 4.9, 5.1, 6.0):  # noqa: B007 - the clock above reads it
            assert isinstance(
                (await keys.signers(okta_target(url))).missing, IssuerUnavailableError
            )
    assert sorted(set(asked)) == [0.0, 5.1]
