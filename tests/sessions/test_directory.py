"""Lists of live sessions against a real Valkey."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.keys import ring as keys
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.store import RedisSessions
from tests.sessions.conftest import HOST, Login, identity, tenant

if TYPE_CHECKING:
    from gateway.sessions.api import SessionCreated
    from gateway.sessions.connection import RedisClient


@pytest.fixture
def directory(redis: RedisClient, ring: keys.KeyRing) -> StoreDirectory:
    return StoreDirectory(redis, lambda: ring)


async def everything(
    directory: StoreDirectory, *, user: str | None = None, email: str | None = None, limit: int = 7
) -> list[str]:
    found: list[str] = []
    position: str | None = None
    while True:
        page = await directory.page(
            tenant="acme", user=user, email=email, position=position, limit=limit
        )
        assert len(page.items) <= limit
        found += [view.session for view in page.items]
        if page.position is None:
            return found
        position = page.position


async def test_pages_show_every_live_family_once(
    login: Login, directory: StoreDirectory, redis: RedisClient
) -> None:
    stored = [await login.finish(identity=identity(f"p{n % 5}")) for n in range(25)]
    await login.sessions.end_family(stored[0].session, cookie=stored[0].cookie.reveal())
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}s:{stored[1].session.digest}")
    expected = {s.session.family for s in stored[2:]}
    found = await everything(directory)
    assert (len(found), set(found)) == (23, expected)
    assert len(await everything(directory, user="sub-p3")) == 5
    assert len(await everything(directory, email="P3@acme.test")) == 5
    assert await everything(directory, email="nobody@acme.test") == []


async def test_a_row_says_who_and_where(login: Login, directory: StoreDirectory) -> None:
    stored = await login.finish()
    view = await directory.find(stored.session.family)
    assert view is not None
    assert (view.tenant, view.user, view.email, view.provider, view.hosts) == (
        "acme",
        "sub-alice",
        "alice@acme.test",
        "acme-okta",
        (HOST,),
    )
    page = await directory.page(tenant="acme", user=None, email=None, position=None, limit=5)
    # Between two reads of a time to live a second may end.
    assert [replace(one, last_seen_at=view.last_seen_at) for one in page.items] == [view]


async def seen_at(directory: StoreDirectory, stored: SessionCreated) -> int | None:
    view = await directory.find(stored.session.family)
    assert view is not None
    return view.last_seen_at


async def test_a_row_says_where_the_login_came_from_and_the_last_login_does_not(
    login: Login, directory: StoreDirectory
) -> None:
    stored = await login.finish(client="192.0.2.7", place="Leipzig, DE")
    view = await directory.find(stored.session.family)
    assert view is not None
    assert (view.client, view.place) == ("192.0.2.7", "Leipzig, DE")
    last = await directory.last_login("acme", "email", "alice@acme.test")
    assert last is not None, "kept for a month after the session"
    assert (last.client, last.place) == ("", "")


async def test_a_session_was_last_seen_when_its_idle_time_began(
    login: Login, directory: StoreDirectory, redis: RedisClient
) -> None:
    stored = await login.finish()
    key = f"{prefix(bucket_of('acme'))}s:{stored.session.digest}"
    created = stored.session.created_at
    idle_s = login.tenant.session.idle_s
    assert await seen_at(directory, stored) == pytest.approx(created, abs=2)
    for expires_at, seen in (
        # Before it began: clocks differ, or it is of a shorter idle time.
        (created + idle_s - 600, created),
        # A connection is open, and its idle time begins in the future.
        (created + idle_s + 3600, created),
        # It ends because it is over, whenever it was used.
        (stored.session.expires_at, None),
    ):
        await redis.command("EXPIREAT", key, expires_at)
        assert await seen_at(directory, stored) == (
            None if seen is None else pytest.approx(seen, abs=2)
        )


@pytest.mark.parametrize("session", ["", "nonsense", "fff" + "A" * 22, "000" + "A" * 22])
async def test_an_unknown_id_finds_nothing(directory: StoreDirectory, session: str) -> None:
    assert await directory.find(session) is None


async def test_an_ended_family_is_not_found(login: Login, directory: StoreDirectory) -> None:
    stored = await login.finish()
    await login.sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert await directory.find(stored.session.family) is None


async def test_while_two_keys_are_in_the_ring_both_ones_sessions_are_listed(
    redis: RedisClient, ring: keys.KeyRing
) -> None:
    other = keys.generate()
    old = RedisSessions(redis, lambda: ring)
    new = RedisSessions(redis, lambda: replace(ring, sealing=(*other.sealing, *ring.sealing)))
    before, after = await Login(old, tenant()).finish(), await Login(new, tenant()).finish()
    assert {v.session for v in await new.list_user(after.session, cookie="")} == {
        before.session.family,
        after.session.family,
    }
    assert await new.find(before.cookie.reveal(), host=HOST) == before.session
    assert await old.find(after.cookie.reveal(), host=HOST) is None
    assert await new.end_own(after.session, family=before.session.family) == 1


async def test_while_keys_rotate_families_under_both_count_towards_the_limit(
    redis: RedisClient, ring: keys.KeyRing
) -> None:
    other = keys.generate()
    old = RedisSessions(redis, lambda: ring)
    new = RedisSessions(redis, lambda: replace(ring, sealing=(*other.sealing, *ring.sealing)))
    stored = [await Login(store, tenant(max_per_user=2)).finish() for store in (old, old, new, new)]
    assert [await new.find(one.cookie.reveal(), host=HOST) is not None for one in stored] == [
        False,
        False,
        True,
        True,
    ]
