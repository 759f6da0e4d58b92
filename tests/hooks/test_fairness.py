"""One tenant's flood, or its slow directory and application, is not another tenant's delay; and
what is settled does not stay for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web
from sqlalchemy import func, select, update

from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.database.schema import hook_deliveries, hook_inbox, webhooks_outbox
from gateway.hooks import applier
from gateway.hooks.retention import FAILED_S, SETTLED_S, Retention
from gateway.hooks.sources import okta
from gateway.hooks.webhooks import outbox
from tests.hooks.samples import okta_event
from tests.hooks.world import hooks_world, serving

if TYPE_CHECKING:
    import aiohttp

    from gateway.core.revocation import RevocationRequest, RevocationStatus
    from gateway.database.engine import Database
    from tests.hooks.world import World


async def flood(
    world: World, tenant: str, people: int, kind: str = "user.lifecycle.suspend"
) -> None:
    provider = f"{tenant}-okta"
    target = replace(world.targets.by_key["acme", "acme-okta"], tenant=tenant, provider=provider)
    world.targets.by_key[target.key] = target
    events = okta.log_entries(
        [okta_event(kind, uuid=f"{tenant}-{kind}-{n}", user=f"00u{n}") for n in range(people)]
    )
    await world.inbox.accept(target, events, received_at=world.clock())
    world.applier.wake()


async def test_a_flood_of_one_tenant_does_not_delay_anothers_event(
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(database, http, applying=False) as world:
        await flood(world, "acme", 200)
        await flood(world, "globex", 1)
        lanes = await world.inbox.claim(now=world.clock(), limit=4)
        assert [lane.tenant for lane in lanes].count("globex") == 1
        more = await world.inbox.claim(
            now=world.clock(),
            limit=50,
            busy=lambda: [*(lane.key for lane in lanes), *(f"another-{n}" for n in range(10))],
            working=[*(lane.tenant for lane in lanes), *["acme"] * 10],
            per_tenant=applier.PER_TENANT,
        )
        assert len(more) == applier.PER_TENANT - 13


async def test_a_tenant_whose_work_hangs_leaves_room_for_the_others(
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(database, http, applying=False) as world:
        released = asyncio.Event()
        revoke = world.revoker.revoke

        async def hanging(request: RevocationRequest) -> RevocationStatus:
            if request.tenant == "acme":
                await released.wait()
            return await revoke(request)

        world.revoker.revoke = hanging  # type: ignore[method-assign]
        await flood(world, "acme", applier.CONFIRMING_PER_TENANT + applier.LANES)
        async with world.applier.running():
            await flood(world, "globex", 1)
            await world.until(lambda: any(r.tenant == "globex" for _, r in world.revoker.calls))
            assert not any(r.tenant == "acme" for _, r in world.revoker.calls)
            released.set()


async def test_nobodys_removal_waits_for_the_confirmations_of_others(
    database: Database, http: aiohttp.ClientSession
) -> None:
    """After a restart or a fail-over confirmations take seconds; the next person is denied at
    once.
    """
    async with hooks_world(database, http, applying=False) as world:
        confirmed, begun = asyncio.Event(), list[str]()
        revoke = world.revoker.revoke

        async def confirming(request: RevocationRequest) -> RevocationStatus:
            begun.append(request.tenant)
            await confirmed.wait()
            return await revoke(request)

        world.revoker.revoke = confirming  # type: ignore[method-assign]
        people = 2 * applier.PER_TENANT
        await flood(world, "acme", people)
        async with world.applier.running():
            await world.until(lambda: len(begun) == people)
            confirmed.set()
            await world.settled()


async def test_a_silent_application_holds_up_its_own_messages_only(
    database: Database, http: aiohttp.ClientSession
) -> None:
    released, heard = asyncio.Event(), list[str]()

    async def silent(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response(status=204)

    async def hearing(request: web.Request) -> web.Response:
        heard.append(request.headers["webhook-id"])
        return web.Response(status=204)

    app = web.Application()
    app.add_routes([web.post("/acme", silent), web.post("/globex", hearing)])
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(app))
        world = await stack.enter_async_context(hooks_world(database, http))
        for tenant in ("acme", "globex"):
            world.targets.webhooks[tenant] = WebhookTarget(
                tenant, f"{url}/{tenant}", (Secret("s" * 32),)
            )
        await flood(world, "acme", 2 * outbox.PARALLEL)
        await world.settled()
        await flood(world, "globex", 1)
        await world.until(lambda: bool(heard))
        released.set()


async def test_what_is_settled_is_forgotten_and_what_waits_or_failed_is_not(world: World) -> None:
    world.targets.webhooks["acme"] = WebhookTarget(
        "acme", "http://127.0.0.1:1/", (Secret("s" * 32),)
    )
    await flood(world, "acme", 3)
    await world.settled()
    async with database_writing(world) as connection:
        numbers = (
            (await connection.execute(select(hook_inbox.c.number).order_by(hook_inbox.c.number)))
            .scalars()
            .all()
        )
        await connection.execute(
            update(hook_inbox).where(hook_inbox.c.number == numbers[0]).values(state="failed")
        )
        await connection.execute(
            update(hook_inbox)
            .where(hook_inbox.c.number == numbers[1])
            .values(state="new", next_at=1e12)
        )
    retention = Retention(world.committer, clock=world.clock)
    assert await retention.round() == 0
    world.clock.ahead += SETTLED_S + 1
    assert await retention.round() == 2  # one event, one delivery
    assert await left(world) == {"hook_inbox": 2, "hook_deliveries": 0, "webhooks_outbox": 3}
    world.clock.ahead += FAILED_S
    await retention.round()
    assert (await left(world))["hook_inbox"] == 1


def database_writing(world: World) -> Any:
    return world.database.write()


async def left(world: World) -> dict[str, int]:
    async with world.database.read() as connection:
        return {
            t.name: (await connection.execute(select(func.count()).select_from(t))).scalar_one()
            for t in (hook_inbox, hook_deliveries, webhooks_outbox)
        }
