"""``session.revalidate_interval`` on a real Valkey: who asks Cognito, and what comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.core.model import AppClient, Secret
from gateway.errors import PeerError, UnavailableError
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.recheck import Rechecks
from gateway.sessions.store import RedisSessions
from tests.sessions.conftest import HOST, Clock, Login, full, shown, tenant
from tests.sessions.test_store import child_of, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.model import Tenant
    from gateway.keys import ring as keys
    from gateway.sessions.api import SessionCreated
    from gateway.sessions.connection import RedisClient


class Cognito:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.clients: list[str] = []
        self.answer: Secret | Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.was_asked = asyncio.Event()

    async def refresh(
        self, tenant: Tenant, refresh_token: Secret, *, client_id: str
    ) -> Secret | None:
        self.asked.append(refresh_token.reveal())
        self.clients.append(client_id)
        self.was_asked.set()
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def cognito() -> Cognito:
    return Cognito()


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def rechecks(redis: RedisClient, cognito: Cognito) -> AsyncIterator[Rechecks]:
    made = Rechecks(redis, interval_s=600, tenant=tenant, refresh=cognito.refresh, sleep=no_sleep)
    yield made
    cognito.open.set()
    await made.close()


def asking(
    redis: RedisClient, ring: keys.KeyRing, clock: Clock, rechecks: Rechecks
) -> RedisSessions:
    return RedisSessions(
        redis,
        lambda: ring,
        clock=lambda: clock.wall,
        monotonic=lambda: clock.steady,
        in_use=rechecks.used,
        in_use_every_s=rechecks.interval_s,
    )


@pytest.fixture
async def sessions(
    redis: RedisClient, ring: keys.KeyRing, clock: Clock, rechecks: Rechecks
) -> AsyncIterator[RedisSessions]:
    store = asking(redis, ring, clock, rechecks)
    yield store
    await store.touches.close()


async def use(
    sessions: RedisSessions, rechecks: Rechecks, stored: SessionCreated, clock: Clock
) -> bool:
    """One request, at a time when a touch is due; whether the session is alive afterwards."""
    clock.advance(601)
    found = await shown(sessions, stored.cookie.reveal(), host=stored.session.host)
    await sessions.touches.settle()
    await rechecks.settle()
    return (
        found is not None
        and await sessions.find(stored.cookie.reveal(), host=stored.session.host) is not None
    )


async def age(redis: RedisClient, stored: SessionCreated, seconds: int) -> None:
    """As if Cognito had last been asked so long ago."""
    now = int((await redis.command("TIME"))[0])
    await redis.command(
        "HSET", f"{prefix(bucket_of('acme'))}f:{stored.session.family}", "k", now - seconds
    )


async def test_cognito_is_asked_when_it_is_due_and_not_before(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish()
    assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == []
    await age(redis, stored, 601)
    assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == ["refresh"]
    assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == ["refresh"]


async def test_use_that_is_no_activity_is_use_all_the_same(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    """A page that polls an excluded path is let in until its session idles out, and no longer than
    Cognito knows the person.
    """
    stored = await login.finish()
    await age(redis, stored, 601)
    await shown(sessions, stored.cookie.reveal(), active_s=None)
    await rechecks.settle()
    assert cognito.asked == ["refresh"]
    await age(redis, stored, 601)
    await shown(sessions, stored.cookie.reveal(), active_s=3600.0)
    clock.advance(601)
    await shown(sessions, stored.cookie.reveal())
    await rechecks.settle()
    assert cognito.asked == ["refresh", "refresh"], "also while an open socket keeps it active"


async def test_a_check_never_waits_for_cognito(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish()
    await age(redis, stored, 601)
    cognito.open.clear()
    clock.advance(601)
    assert await shown(sessions, stored.cookie.reveal(), host=HOST) is not None
    await sessions.touches.settle()
    async with asyncio.timeout(5):
        await cognito.was_asked.wait()
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is not None
    cognito.open.set()
    await rechecks.settle()


async def test_only_invalid_grant_ends_the_family(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    parent = await login.finish()
    child = await child_of(sessions, parent)
    cognito.answer = PeerError("invalid_grant", "disabled")
    await age(redis, parent, 601)
    assert not await use(sessions, rechecks, child, clock)
    assert await sessions.find(parent.cookie.reveal(), host=HOST) is None


OTHER_ANSWERS = {
    "down": UnavailableError("down"),
    "wrong_secret": PeerError("invalid_client", "wrong secret"),
    "throttled": PeerError("too_many_requests", "slow down"),
    "slow": TimeoutError(),
}


@pytest.mark.parametrize("answer", OTHER_ANSWERS.values(), ids=OTHER_ANSWERS)
async def test_no_other_answer_ends_a_session(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    *,
    answer: Exception,
) -> None:
    stored = await login.finish()
    cognito.answer = answer
    await age(redis, stored, 601)
    assert await use(sessions, rechecks, stored, clock)
    assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == ["refresh"], "the claim keeps everybody from asking again at once"
    (told,) = [r.gateway_fields for r in caplog.records if r.message == "recheck_postponed"]  # type: ignore[attr-defined]  # what log.fields attaches
    assert told["code"] and told["cause"] and told["user"] and told["provider"]


async def test_a_rotated_token_takes_the_place_of_the_old_one(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish()
    for successor in ("second", "third"):
        cognito.answer = Secret(successor)
        await age(redis, stored, 601)
        assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == ["refresh", "second"]
    before, value = (
        await written(redis),
        await sessions._reread(stored.session, stored.cookie.reveal()),
    )
    assert value is not None
    async with full(redis):
        assert (
            await rechecks._note(
                value, b"the one that was asked about", successor=b"third", refused=False
            )
            == -1
        )
    assert await written(redis) > before, (
        "stored already, by an attempt whose answer was lost: WAIT speaks of a "
        "connection's own writes"
    )
    ended = await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert ended.refresh_token is not None
    assert ended.refresh_token.reveal() == "third"


async def test_of_many_replicas_one_asks(
    redis: RedisClient, ring: keys.KeyRing, login: Login, cognito: Cognito
) -> None:
    stored = await login.finish()
    await age(redis, stored, 601)
    cognito.open.clear()
    replicas = [
        Rechecks(redis, interval_s=600, tenant=tenant, refresh=cognito.refresh) for _ in range(5)
    ]
    for replica in replicas:
        store = RedisSessions(redis, lambda: ring, in_use=replica.used)
        await shown(store, stored.cookie.reveal(), host=HOST)
        await store.touches.settle()
    cognito.open.set()
    for replica in replicas:
        await replica.settle()
    assert cognito.asked == ["refresh"]


async def test_a_refusal_of_a_token_that_was_replaced_meanwhile_ends_nothing(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish()
    await age(redis, stored, 601)
    cognito.open.clear()
    clock.advance(601)
    await shown(sessions, stored.cookie.reveal(), host=HOST)
    await sessions.touches.settle()
    async with asyncio.timeout(5):
        await cognito.was_asked.wait()
    await redis.command(
        "HSET",
        f"{prefix(bucket_of('acme'))}f:{stored.session.family}",
        "r",
        b"a successor that another replica stored",
    )
    cognito.answer = PeerError("invalid_grant", "reused")
    cognito.open.set()
    await rechecks.settle()
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is not None


async def test_an_ended_family_is_not_brought_back_by_cognitos_answer(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish()
    await age(redis, stored, 601)
    cognito.open.clear()
    cognito.answer = Secret("second")
    clock.advance(601)
    await shown(sessions, stored.cookie.reveal(), host=HOST)
    await sessions.touches.settle()
    async with asyncio.timeout(5):
        await cognito.was_asked.wait()
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    cognito.open.set()
    await rechecks.settle()
    assert (
        await redis.command("EXISTS", f"{prefix(bucket_of('acme'))}f:{stored.session.family}") == 0
    )


async def test_another_client_never_uses_the_token(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish(client_id="the-client-of-then")
    await age(redis, stored, 601)
    assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == []


async def test_a_session_of_a_replaced_client_is_asked_about_with_that_client(
    redis: RedisClient, ring: keys.KeyRing, login: Login, cognito: Cognito, clock: Clock
) -> None:
    rotated = replace(
        tenant(), retired=(AppClient("the-client-of-then", Secret("its secret"), retires_at=1e12),)
    )
    rechecks = Rechecks(
        redis, interval_s=600, tenant=lambda _: rotated, refresh=cognito.refresh, sleep=no_sleep
    )
    sessions = asking(redis, ring, clock, rechecks)
    stored = await login.finish(client_id="the-client-of-then")
    await age(redis, stored, 601)
    assert await use(sessions, rechecks, stored, clock)
    assert (cognito.asked, cognito.clients) == (["refresh"], ["the-client-of-then"])
    await rechecks.close()


async def test_a_login_without_a_refresh_token_is_left_alone(
    sessions: RedisSessions,
    rechecks: Rechecks,
    login: Login,
    redis: RedisClient,
    cognito: Cognito,
    clock: Clock,
) -> None:
    stored = await login.finish(refresh_token=None)
    await age(redis, stored, 601)
    assert await use(sessions, rechecks, stored, clock)
    assert cognito.asked == []
