"""The store against a real Valkey: docs/sessions.md, step by step."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.core.model import Secret
from gateway.core.reason import Reason
from gateway.errors import UnavailableError
from gateway.sessions import seal
from gateway.sessions.api import (
    OTHER_BROWSER,
    LoginConsumed,
    LoginReplayed,
    SessionCreated,
    SessionRefused,
)
from gateway.sessions.idle_refresh import FRACTION
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.store import RedisSessions
from tests.bench.sessions import MOST_BYTES, OF_A_SESSION, Crowd
from tests.sessions.conftest import (
    CHILD,
    HOST,
    Clock,
    Login,
    anybody,
    identity,
    pending,
    shown,
    tenant,
)

if TYPE_CHECKING:
    from gateway.core.model import Session
    from gateway.keys import ring as keys
    from gateway.sessions.codec import Record
    from gateway.sessions.connection import RedisClient


async def ttl_ms(redis: RedisClient, stored: SessionCreated) -> int:
    ttl = await redis.command(
        "PTTL", f"{prefix(bucket_of(stored.session.tenant))}s:{stored.session.digest}"
    )
    assert isinstance(ttl, int)
    return ttl


async def test_a_stored_session_is_found_by_its_cookie_at_its_host(
    sessions: RedisSessions, login: Login
) -> None:
    stored = await login.finish()
    assert await sessions.find(stored.cookie.reveal(), host=HOST) == stored.session
    assert stored.session.identity == identity()
    assert len(stored.cookie.reveal()) < 100


async def test_a_session_of_another_host_is_none(sessions: RedisSessions, login: Login) -> None:
    stored = await login.finish()
    assert await sessions.find(stored.cookie.reveal(), host="other.example.com") is None


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "x",
        "../../x",
        "*",
        "000" + "A" * 42,
        "000" + "A" * 44,
        "400" + "A" * 43,
        "000" + "A" * 42 + "B",
        "000" + "A" * 42 + "\n",
        "٠00" + "A" * 43,
    ],
)
async def test_a_malformed_cookie_never_reaches_the_store(
    sessions: RedisSessions, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "fetch", None)
    assert await sessions.find(cookie, host=HOST) is None


async def test_a_check_is_one_command(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    await shown(sessions, stored.cookie.reveal(), host=HOST)
    await sessions.touches.settle()
    before = await redis.command("INFO", "commandstats")
    await shown(sessions, stored.cookie.reveal(), host=HOST)
    await sessions.touches.settle()
    after = await redis.command("INFO", "commandstats")
    grown = {
        name
        for name in after
        if name not in before or after[name]["calls"] != before[name]["calls"]
    }
    assert grown == {"cmdstat_get", "cmdstat_info"}
    assert after["cmdstat_get"]["calls"] - before["cmdstat_get"]["calls"] == 1


async def test_idle_time_is_extended_after_an_eighth_of_it_and_not_before(
    sessions: RedisSessions, login: Login, redis: RedisClient, clock: Clock
) -> None:
    stored = await login.finish()
    cookie = stored.cookie.reveal()
    key = f"{prefix(bucket_of('acme'))}s:{stored.session.digest}"
    await shown(sessions, cookie, host=HOST)
    await sessions.touches.settle()
    await redis.command("PEXPIRE", key, 1000_000)
    await shown(sessions, cookie, host=HOST)
    await sessions.touches.settle()
    assert await ttl_ms(redis, stored) <= 1000_000
    clock.advance(1800 / 8 + 1)
    await shown(sessions, cookie, host=HOST)
    await sessions.touches.settle()
    assert await ttl_ms(redis, stored) > 1700_000


async def test_an_open_socket_keeps_a_session_active_and_no_process_shortens_that(
    sessions: RedisSessions, login: Login, redis: RedisClient, clock: Clock, ring: keys.KeyRing
) -> None:
    stored = await login.finish()
    cookie = stored.cookie.reveal()
    await shown(sessions, cookie)
    await shown(sessions, cookie, active_s=3600)
    await sessions.touches.settle()
    # A script's TIME may be some milliseconds ahead of what PTTL counts from.
    assert 5_300_000 < await ttl_ms(redis, stored) <= 5_400_010, (
        "at once, though there was a touch just now: an hour, and idle time behind it"
    )
    other = RedisSessions(
        redis, lambda: ring, clock=lambda: clock.wall, monotonic=lambda: clock.steady
    )
    await shown(other, cookie)
    await other.touches.settle()
    assert await ttl_ms(redis, stored) > 5_300_000
    clock.advance(1200)
    writes = await redis.command("INFO", "commandstats")
    await shown(sessions, cookie)
    await shown(sessions, cookie, active_s=2500)
    await sessions.touches.settle()
    assert (await redis.command("INFO", "commandstats"))["cmdstat_evalsha"]["calls"] == writes[
        "cmdstat_evalsha"
    ]["calls"], "what is covered is not written again"
    await shown(sessions, cookie, active_s=3600)
    await sessions.touches.settle()
    assert await ttl_ms(redis, stored) > 5_300_000
    clock.advance(5000)
    await shown(sessions, cookie)
    await sessions.touches.settle()
    assert (await redis.command("INFO", "commandstats"))["cmdstat_evalsha"]["calls"] == writes[
        "cmdstat_evalsha"
    ]["calls"] + 2, "when it is over, idle time goes on as ever"


async def test_what_does_not_count_leaves_the_idle_time_as_it_is(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    await redis.command("PEXPIRE", f"{prefix(bucket_of('acme'))}s:{stored.session.digest}", 900_000)
    assert await shown(sessions, stored.cookie.reveal(), active_s=None) == stored.session
    await sessions.touches.settle()
    assert await ttl_ms(redis, stored) <= 900_000


async def test_of_an_open_socket_a_touch_that_failed_is_made_up_for_without_another_request(
    sessions: RedisSessions, login: Login, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sessions.idle_refresh.AGAIN_S", 0.01)
    touch, fails, done = sessions.touches._touch, [True, True], asyncio.Event()

    async def at_last(record: Record, active_s: float) -> None:
        if fails:
            fails.pop()
            raise UnavailableError("Redis: touch")
        await touch(record, active_s)
        done.set()

    sessions.touches._touch = at_last
    stored = await login.finish()
    await shown(sessions, stored.cookie.reveal(), active_s=3600)
    async with asyncio.timeout(10):
        await done.wait()
    assert await ttl_ms(redis, stored) > 5_300_000


async def test_a_touch_never_resurrects(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    token = seal.parse_token(stored.cookie.reveal())
    assert token is not None
    value = await sessions.fetch(token)
    assert value is not None
    record = sessions.open(token, value, host=HOST)
    assert record is not None
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    sessions.touches.used(record)
    await sessions.touches.settle()
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is None


async def test_a_touch_never_goes_beyond_the_absolute_limit(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    stored = await Login(sessions, tenant(idle_s=1800, absolute_s=600)).finish()
    await shown(sessions, stored.cookie.reveal(), host=HOST)
    await sessions.touches.settle()
    assert 0 < await ttl_ms(redis, stored) <= 600_000


async def test_beyond_the_absolute_limit_there_is_no_session_even_if_redis_keeps_it(
    sessions: RedisSessions, login: Login, redis: RedisClient, clock: Clock
) -> None:
    stored = await login.finish()
    await redis.command("PERSIST", f"{prefix(bucket_of('acme'))}s:{stored.session.digest}")
    clock.advance(43200)
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is None


async def test_a_session_takes_at_most_1500_bytes_beside_its_refresh_token(
    sessions: RedisSessions, redis: RedisClient, ring: keys.KeyRing
) -> None:
    crowd = Crowd(redis, ring, sessions)
    warm = Login(sessions, tenant("warm"))
    crowd.began = await warm.begin()
    await warm.finish()
    weights = await crowd.by_kind()
    assert sum(weights[kind] for kind in OF_A_SESSION) <= MOST_BYTES, weights


async def test_everything_that_a_login_writes_expires(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    await login.finish()
    keys = await redis.command("KEYS", "*")
    lasting = {
        key.decode()
        for key in keys
        if await redis.command("TTL", key) < 0 and not key.endswith(b":m")
    }
    assert lasting == {f"{prefix(bucket_of('acme'))}c:acme"}


# --- pending logins -------------------------------------------------------------------------------


async def test_a_pending_login_is_taken_once(sessions: RedisSessions) -> None:
    begun = await sessions.start_login(pending(), binding=None)
    state, binding = begun.state.reveal(), begun.binding.reveal()
    first = await sessions.consume_login(state, bindings=(binding,))
    assert isinstance(first, LoginConsumed)
    assert first.pending == pending()
    assert await sessions.consume_login(state, bindings=(binding,)) == LoginReplayed(first.pending)


async def test_tabs_that_began_without_a_binding_finish_with_the_bindings_of_all(
    sessions: RedisSessions,
) -> None:
    begun = [await sessions.start_login(pending(), binding=None) for _ in range(6)]
    bindings = tuple(each.binding.reveal() for each in begun)
    assert len(set(bindings)) == 6
    for each in begun:
        assert isinstance(
            await sessions.consume_login(each.state.reveal(), bindings=bindings), LoginConsumed
        )


async def test_a_pending_login_that_another_browser_shows_is_deleted(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    """Else its code and state, in a victim's history, would be a session as the victim for whoever
    began.
    """
    for bindings in (
        (),
        ("",),
        ("x",),
        tuple(seal.new_binding(secrets.token_bytes) for _ in range(24)),
    ):
        begun = await sessions.start_login(pending(), binding=None)
        assert (
            await sessions.consume_login(begun.state.reveal(), bindings=bindings) is OTHER_BROWSER
        ), bindings
        assert (
            await sessions.consume_login(begun.state.reveal(), bindings=(begun.binding.reveal(),))
            is None
        ), bindings
    assert await redis.command("KEYS", "gw:*:p:*") == []


async def test_another_browser_changes_nothing_about_a_login_that_was_taken(
    sessions: RedisSessions,
) -> None:
    begun = await sessions.start_login(pending(), binding=None)
    assert isinstance(
        await sessions.consume_login(begun.state.reveal(), bindings=(begun.binding.reveal(),)),
        LoginConsumed,
    )
    assert await sessions.consume_login(begun.state.reveal(), bindings=()) is OTHER_BROWSER
    assert isinstance(
        await sessions.consume_login(begun.state.reveal(), bindings=(begun.binding.reveal(),)),
        LoginReplayed,
    )


async def test_a_spent_code_is_known_for_as_long_as_a_login_is_open(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    await sessions.spend_code("code-1\ud800")
    assert (await sessions.code_spent("code-1\ud800"), await sessions.code_spent("code-2")) == (
        True,
        False,
    )
    (key,) = await redis.command("KEYS", "gw:code:*")
    assert b"code-1" not in key
    assert 590 < await redis.command("TTL", key) <= 600


async def test_parallel_tabs_do_not_disturb_each_other(sessions: RedisSessions) -> None:
    first = await sessions.start_login(pending(), binding=None)
    second = await sessions.start_login(pending(), binding=first.binding.reveal())
    assert second.binding == first.binding
    assert second.state != first.state
    for begun in (second, first):
        assert isinstance(
            await sessions.consume_login(begun.state.reveal(), bindings=(first.binding.reveal(),)),
            LoginConsumed,
        )


async def test_a_malformed_binding_is_replaced(sessions: RedisSessions) -> None:
    begun = await sessions.start_login(pending(), binding="chosen-by-somebody")
    assert seal.is_binding(begun.binding.reveal())


async def test_a_pending_login_expires_after_ten_minutes(
    sessions: RedisSessions, clock: Clock, redis: RedisClient
) -> None:
    """The store's ten minutes: it comes back to a replica with another clock, either way."""
    for shift_s in (3600, -7200):
        begun = [await sessions.start_login(pending(), binding=None) for _ in range(2)]
        taken: list[object] = []
        clock.wall += shift_s
        for login in begun:
            token = seal.parse_token(login.state.reveal())
            assert token is not None
            key = f"{prefix(token.bucket)}p:{token.digest}"
            assert 590 < await redis.command("TTL", key) <= 600
            if taken:
                await redis.command("EXPIRE", key, 0)
            taken.append(
                await sessions.consume_login(
                    login.state.reveal(), bindings=(login.binding.reveal(),)
                )
            )
        assert isinstance(taken[0], LoginConsumed)
        assert taken[1] is None, "its time was up"


async def test_a_flood_of_logins_pushes_out_its_own_and_the_store_keeps_no_more_than_the_bound(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    """The bound in Redis' own bytes; a person elsewhere who began before, and one who begins during
    the flood, arrive.
    """
    sessions._pending.max_bytes = 100_000
    early = await sessions.start_login(pending(), binding=None, client="203.0.113.7")
    long = replace(pending(), return_to=f"https://{HOST}/?{'q' * 4000}")
    begun = [
        await sessions.start_login(long, binding=None, client="198.51.100.1") for _ in range(60)
    ]
    late = await sessions.start_login(pending(), binding=None, client="203.0.113.8")
    kept = [key for key in await redis.command("KEYS", "gw:*") if b"}:p:" in key]
    used = sum([await redis.command("MEMORY", "USAGE", key) for key in kept])
    assert 60_000 < used <= 100_000
    for honest in (early, late, begun[-1]):
        assert isinstance(
            await sessions.consume_login(
                honest.state.reveal(), bindings=(honest.binding.reveal(),)
            ),
            LoginConsumed,
        )
    assert (
        await sessions.consume_login(begun[0].state.reveal(), bindings=(begun[0].binding.reveal(),))
        is None
    )
    assert sessions._pending.held_bytes >= used, "nothing is kept that is not accounted for"


async def test_codes_of_strangers_are_bounded_in_the_same_way(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    sessions._codes.max_bytes = 3_200
    await sessions.spend_code("victims", client="203.0.113.7")
    for n in range(100):
        await sessions.spend_code(f"flood-{n}", client="198.51.100.1")
    assert await sessions.code_spent("victims") and await sessions.code_spent("flood-99")
    assert not await sessions.code_spent("flood-0")
    kept = await redis.command("KEYS", "gw:code:*")
    assert len(kept) == 20
    assert sum([await redis.command("MEMORY", "USAGE", key) for key in kept]) <= 3_200


async def test_the_tenant_clock_only_goes_forward(login: Login, redis: RedisClient) -> None:
    values = [await login.begin() for _ in range(5)]
    ahead = int(time.time() * 1e6) + 3_600_000_000
    await redis.command("SET", f"{prefix(bucket_of('acme'))}c:acme", ahead)
    values += [await login.begin() for _ in range(5)]
    assert values == sorted(set(values))
    assert values[5] == ahead + 1


# --- finish ---------------------------------------------------------------------------------------


async def test_more_families_than_allowed_end_the_oldest(sessions: RedisSessions) -> None:
    login = Login(sessions, tenant(max_per_user=2))
    stored = [await login.finish() for _ in range(4)]
    alive = [await sessions.find(s.cookie.reveal(), host=HOST) is not None for s in stored]
    assert alive == [False, False, True, True]


async def test_families_of_other_people_do_not_count(sessions: RedisSessions) -> None:
    login = Login(sessions, tenant(max_per_user=1))
    alice = await login.finish()
    await login.finish(identity=identity("bob"))
    assert await sessions.find(alice.cookie.reveal(), host=HOST) is not None


async def test_families_that_idled_out_do_not_count(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    login = Login(sessions, tenant(max_per_user=2))
    first, second = await login.finish(), await login.finish()
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}s:{second.session.digest}")
    await login.finish()
    assert await sessions.find(first.cookie.reveal(), host=HOST) is not None


async def test_what_ends_is_pushed_in_the_same_step(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    pubsub = redis.client.pubsub()
    await pubsub.subscribe("gw:push")
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    async with asyncio.timeout(5):
        while (
            message := await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)
        ) is None:
            pass
    await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    assert message["data"].decode() == f"{bucket_of('acme'):03x} 1 {stored.session.digest}"


# --- tickets --------------------------------------------------------------------------------------


async def ticket(
    sessions: RedisSessions, stored: SessionCreated, *, host: str = CHILD
) -> tuple[str, str]:
    binding = seal.new_binding(bytes)
    binding_id = sessions.binding_id(binding)
    assert binding_id is not None
    made = await sessions.issue_ticket(
        stored.session,
        cookie=stored.cookie.reveal(),
        host=host,
        return_to=f"https://{host}/deep?x=1",
        binding_id=binding_id,
    )
    assert made is not None
    return made.reveal(), binding


async def child_of(sessions: RedisSessions, stored: SessionCreated) -> SessionCreated:
    made, binding = await ticket(sessions, stored)
    redeemed = await sessions.redeem_ticket(made, host=CHILD, bindings=(binding,), served=anybody)
    assert isinstance(redeemed, tuple)
    return redeemed[0]


async def test_a_ticket_makes_a_child_session_of_the_same_family(
    sessions: RedisSessions, login: Login
) -> None:
    parent = await login.finish()
    made, binding = await ticket(sessions, parent)
    redeemed = await sessions.redeem_ticket(made, host=CHILD, bindings=(binding,), served=anybody)
    assert isinstance(redeemed, tuple)
    child, return_to = redeemed
    assert return_to == f"https://{CHILD}/deep?x=1"
    assert (child.session.family, child.session.expires_at, child.session.began) == (
        parent.session.family,
        parent.session.expires_at,
        parent.session.began,
    )
    assert await sessions.find(child.cookie.reveal(), host=CHILD) == child.session
    assert await sessions.find(child.cookie.reveal(), host=HOST) is None
    assert (
        await sessions.redeem_ticket(made, host=CHILD, bindings=(binding,), served=anybody) is None
    )


async def test_a_ticket_shown_by_another_browser_or_at_another_host_is_deleted(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    for host, stranger in (
        ("evil.example.com", None),
        (CHILD, seal.new_binding(lambda n: b"x" * n)),
        (CHILD, ""),
        (CHILD, "x"),
    ):
        made, binding = await ticket(sessions, stored)
        shown_by = binding if stranger is None else stranger
        assert (
            await sessions.redeem_ticket(made, host=host, bindings=(shown_by,), served=anybody)
            is OTHER_BROWSER
        ), (host, stranger)
        assert (
            await sessions.redeem_ticket(made, host=CHILD, bindings=(binding,), served=anybody)
            is None
        ), (host, stranger)
    made, _ = await ticket(sessions, stored)
    assert (
        await sessions.redeem_ticket(made, host=CHILD, bindings=(), served=anybody) is OTHER_BROWSER
    )
    assert await redis.command("KEYS", "gw:*:t:*") == []


async def test_a_ticket_of_a_tenant_that_is_not_served_here_any_more_makes_no_session(
    sessions: RedisSessions, login: Login
) -> None:
    """Asked after the ticket is read: a tenant may lose its host, or be suspended, while the store
    is asked.
    """
    made, binding = await ticket(sessions, await login.finish())
    assert (
        await sessions.redeem_ticket(
            made, host=CHILD, bindings=(binding,), served=lambda name: name != "acme"
        )
        is None
    )
    assert (
        await sessions.redeem_ticket(made, host=CHILD, bindings=(binding,), served=anybody) is None
    )


async def test_a_sign_in_goes_on_handing_over_to_however_many_hosts(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    """The sessions that were used the longest ago make room; the parent never does, nor what was in
    use since.
    """
    parent = await login.finish()
    children = [await child_of(sessions, parent) for _ in range(256)]
    assert await sessions.find(children[0].cookie.reveal(), host=CHILD) is not None
    await redis.command(
        "PEXPIRE", f"{prefix(bucket_of('acme'))}s:{children[0].session.digest}", 1_900_000
    )
    for idle in (children[7], children[8]):
        await redis.command(
            "PEXPIRE", f"{prefix(bucket_of('acme'))}s:{idle.session.digest}", 900_000
        )
    pubsub = redis.client.pubsub()
    await pubsub.subscribe("gw:push")
    more = [await child_of(sessions, parent) for _ in range(2)]
    async with asyncio.timeout(5):
        while (
            message := await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)
        ) is None:
            pass
    await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    alive = [
        await sessions.find(child.cookie.reveal(), host=CHILD) is not None
        for child in [*children, *more]
    ]
    assert [n for n, living in enumerate(alive) if not living] == [7, 8]
    assert await sessions.find(parent.cookie.reveal(), host=HOST) is not None
    assert message["data"].decode().endswith(children[7].session.digest), (
        "caches are told in the same step"
    )
    assert (
        await redis.command("HLEN", f"{prefix(bucket_of('acme'))}f:{parent.session.family}")
        < 256 + 10
    )


async def test_a_ticket_of_an_ended_family_is_worth_nothing(
    sessions: RedisSessions, login: Login
) -> None:
    parent = await login.finish()
    made, binding = await ticket(sessions, parent)
    await sessions.end_family(parent.session, cookie=parent.cookie.reveal())
    assert await sessions.redeem_ticket(
        made, host=CHILD, bindings=(binding,), served=anybody
    ) == SessionRefused(Reason.SESSION_REVOKED)


async def test_a_ticket_lives_for_thirty_seconds(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    made, _ = await ticket(sessions, await login.finish())
    token = seal.parse_token(made)
    assert token is not None
    assert 25 < await redis.command("TTL", f"{prefix(token.bucket)}t:{token.digest}") <= 30


async def test_touching_a_child_touches_its_parent(
    sessions: RedisSessions, login: Login, redis: RedisClient, clock: Clock
) -> None:
    parent = await login.finish()
    child = await child_of(sessions, parent)
    await redis.command("PEXPIRE", f"{prefix(bucket_of('acme'))}s:{parent.session.digest}", 5000)
    clock.advance(1800 / FRACTION)
    await shown(sessions, child.cookie.reveal(), host=CHILD)
    await sessions.touches.settle()
    assert await ttl_ms(redis, parent) > 1700_000


async def test_a_hand_over_is_a_use_of_the_parent_and_never_shortens_its_idle_time(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    parent = await login.finish()
    key = f"{prefix(bucket_of('acme'))}s:{parent.session.digest}"
    for left_s, expected in ((5, 1700), (5000, 4900)):
        await redis.command("EXPIRE", key, left_s)
        child = await child_of(sessions, parent)
        assert await ttl_ms(redis, parent) > expected * 1000
    before = (await redis.command("INFO", "commandstats"))["cmdstat_evalsha"]["calls"]
    await shown(sessions, parent.cookie.reveal())
    await shown(sessions, child.cookie.reveal(), host=CHILD)
    await sessions.touches.settle()
    after = (await redis.command("INFO", "commandstats"))["cmdstat_evalsha"]["calls"]
    assert after == before, "what was made just now is not touched"


async def test_no_ticket_of_a_login_that_was_ended_since_though_memory_knows_it(
    sessions: RedisSessions, login: Login
) -> None:
    parent = await login.finish()
    cookie, other = parent.cookie.reveal(), (await login.finish()).cookie.reveal()

    async def issue(session: Session, cookie: str) -> Secret | None:
        binding = "0" * 64
        return await sessions.issue_ticket(
            session, cookie=cookie, host=CHILD, return_to="/", binding_id=binding
        )

    assert await issue(parent.session, other) is None, "another session's cookie"
    assert await issue(replace(parent.session, tenant="other"), cookie) is None
    assert await issue(parent.session, cookie) is not None
    await sessions.end_family(parent.session, cookie=cookie)
    assert await issue(parent.session, cookie) is None


# --- logout and lists -----------------------------------------------------------------------------


async def test_a_refresh_token_takes_less_room_than_its_text(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    token = secrets.token_urlsafe(825)
    stored = await login.finish(refresh_token=Secret(token))
    kept = await redis.command("HGET", f"{prefix(bucket_of('acme'))}f:{stored.session.family}", "r")
    assert len(kept) < 0.85 * len(token)
    ended = await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert ended.refresh_token is not None
    assert ended.refresh_token.reveal() == token


async def test_logout_ends_the_whole_family_from_any_member_and_hands_back_the_refresh_token(
    sessions: RedisSessions, login: Login
) -> None:
    parent = await login.finish()
    child = await child_of(sessions, parent)
    ended = await sessions.end_family(child.session, cookie=child.cookie.reveal())
    assert ended.refresh_token is not None
    assert ended.refresh_token.reveal() == "refresh"
    assert await sessions.find(parent.cookie.reveal(), host=HOST) is None
    assert await sessions.find(child.cookie.reveal(), host=CHILD) is None


async def written(redis: RedisClient) -> int:
    """Writes that replicas would have been sent so far."""
    return int((await redis.command("INFO", "persistence"))["rdb_changes_since_last_save"])


async def test_a_replaced_session_ends_and_its_family_with_the_last_of_its_sessions(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    parent = await login.finish()
    child, again = await child_of(sessions, parent), await login.finish()
    first = await sessions.end_replaced(parent.session, cookie=parent.cookie.reveal())
    assert first.refresh_token is None, "a tab at another host goes on"
    assert [
        await sessions.find(s.cookie.reveal(), host=h) is not None
        for s, h in ((parent, HOST), (child, CHILD), (again, HOST))
    ] == [False, True, True]
    before = await written(redis)
    await sessions.end_replaced(parent.session, cookie=parent.cookie.reveal())
    assert await written(redis) > before, (
        "as whoever never heard that it was done: WAIT speaks of a connection's own writes"
    )
    last = await sessions.end_replaced(child.session, cookie=child.cookie.reveal())
    assert last.refresh_token == Secret("refresh")
    assert (
        await sessions.end_replaced(child.session, cookie=child.cookie.reveal())
    ).refresh_token is None
    assert [
        view.session
        for view in await sessions.list_user(again.session, cookie=again.cookie.reveal())
    ] == [again.session.family]


async def test_a_later_login_ends_what_is_outdated_of_the_same_person_and_began_before_it(
    sessions: RedisSessions, login: Login
) -> None:
    first, other = await login.finish(), await login.finish(user_agent="Phone/2")
    bob = await login.finish(identity=identity("bob"))
    began = await login.begin()
    later = await login.finish()

    async def alive() -> list[bool]:
        return [
            await sessions.find(s.cookie.reveal(), host=HOST) is not None
            for s in (first, other, bob, later)
        ]

    assert (
        await sessions.end_earlier(
            "acme",
            user="sub-alice",
            began=began,
            outdated=lambda view: view.user_agent == "Phone/2",
        )
        == 1
    )
    assert await alive() == [True, False, True, True]
    assert (
        await sessions.end_earlier("acme", user="sub-alice", began=began, outdated=lambda _: True)
        == 1
    )
    assert await alive() == [False, False, True, True]


async def test_logout_leaves_nothing_of_the_family_but_group_names_that_expire(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    before = await login.finish()
    await sessions.end_family(before.session, cookie=before.cookie.reveal())
    kinds = {key.decode().split(":")[2] for key in await redis.command("KEYS", "*")}
    # The event log names digests, which are no credentials; the link record is for bearer tokens;
    # what is not on record yet is sealed.
    assert kinds == {"c", "p", "m", "n", "e", "k", "v"}


async def test_people_list_and_end_their_own_sessions_only(
    sessions: RedisSessions, login: Login
) -> None:
    first, second = await login.finish(), await login.finish(user_agent="Phone/2")
    bob = await login.finish(identity=identity("bob"))
    views = await sessions.list_user(second.session, cookie=second.cookie.reveal())
    assert {(v.session, v.current, v.user_agent) for v in views} == {
        (first.session.family, False, "Browser/1"),
        (second.session.family, True, "Phone/2"),
    }
    assert await sessions.end_own(second.session, family=bob.session.family) == 0
    assert await sessions.end_own(second.session, family=first.session.family) == 1
    assert [
        await sessions.find(s.cookie.reveal(), host=HOST) is not None for s in (first, second, bob)
    ] == [False, True, True]
    assert await sessions.end_own(second.session, family=None) == 1
    assert await sessions.find(bob.cookie.reveal(), host=HOST) is not None


async def test_signing_out_everywhere_outdates_logins_in_flight(
    sessions: RedisSessions, login: Login
) -> None:
    first, _ = await login.finish(), await login.finish()
    in_flight = await login.begin()
    assert await sessions.end_own(first.session, family=None) == 2
    assert await sessions.finish_login(login.new(in_flight)) == SessionRefused(
        Reason.SESSION_REVOKED
    )


async def test_tenants_that_share_a_bucket_do_not_share_people(sessions: RedisSessions) -> None:
    names = [f"t{n}" for n in range(5000)]
    other = next(n for n in names if bucket_of(n) == bucket_of("acme"))
    ours, theirs = (
        await Login(sessions, tenant()).finish(),
        await Login(sessions, tenant(other)).finish(),
    )
    assert [
        v.session for v in await sessions.list_user(ours.session, cookie=ours.cookie.reveal())
    ] == [ours.session.family]
    forged = replace(ours.session, family=theirs.session.family)
    assert await sessions.end_own(ours.session, family=theirs.session.family) == 0
    await sessions.end_family(forged, cookie=ours.cookie.reveal())
    assert await sessions.find(theirs.cookie.reveal(), host=HOST) is not None


# --- another primary ------------------------------------------------------------------------------


async def test_a_login_needs_a_store_that_was_restored(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    began = await login.begin()
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    with pytest.raises(UnavailableError):
        await login.begin()
    with pytest.raises(UnavailableError):
        await sessions.finish_login(login.new(began))


async def test_a_pending_login_dies_with_the_server_that_it_began_on(
    sessions: RedisSessions, redis: RedisClient
) -> None:
    begun = await sessions.start_login(pending(), binding=None)
    state, binding = begun.state.reveal(), begun.binding.reveal()
    (key,) = await redis.command("KEYS", "gw:*:p:*")
    await redis.command("HSET", key, "s", "0" * 40)
    assert await sessions.consume_login(state, bindings=(binding,)) is None


async def test_a_login_taken_at_one_server_cannot_finish_at_another(
    sessions: RedisSessions, login: Login
) -> None:
    assert await sessions.finish_login(
        login.new(await login.begin(), server="0" * 40)
    ) == SessionRefused(Reason.LOGIN_STATE)
    assert await sessions.finish_login(login.new(await login.begin(), server="")) == SessionRefused(
        Reason.LOGIN_STATE
    )


async def test_sessions_of_one_address_and_two_people_are_two_peoples(
    sessions: RedisSessions,
) -> None:
    """(EML-08) Whoever takes somebody's address neither has nor ends their sessions: they are
    counted and found by ``sub``.
    """
    login = Login(sessions, tenant(max_per_user=1))
    victim = await login.finish(identity=identity("alice"))
    other = await login.finish(identity=replace(identity("mallory"), email="alice@acme.test"))
    assert await sessions.find(victim.cookie.reveal(), host=HOST) == victim.session
    assert await sessions.find(other.cookie.reveal(), host=HOST) == other.session
    assert other.session.identity.sub == "sub-mallory"
