"""What a last login leaves for a person's bearer tokens, and what stands against them, on a real
Valkey.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.core.revocation import Who
from gateway.errors import UnavailableError
from gateway.keys import ring as ring_keys
from gateway.sessions.api import BearerLink
from gateway.sessions.bearer_links import LIFE_S, MARGIN_S
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks
from tests.sessions.conftest import CHILD, Login, anybody, identity, tenant
from tests.sessions.test_lease_client import Worker, markers, worker
from tests.sessions.test_store import ticket
from tests.sessions.test_watermarks import ALIASES, OTHERS, at, marks

if TYPE_CHECKING:
    from gateway.revocation.restore import Markers
    from gateway.sessions.connection import RedisClient


__all__ = ["markers", "marks", "worker"]

ALICE = BearerLink(replace(identity(), groups=(), roles=(), claims=()))
KEY = f"{prefix(bucket_of('acme'))}k:"


async def ask(
    sessions: RedisSessions, *, name: str = "acme", user: str = "sub-alice", later_s: float = 0
) -> BearerLink | None:
    return await sessions.bearer_link(name, user=user, auth_time=int(time.time() + later_s))


async def link_key(redis: RedisClient) -> str:
    found = await link_keys(redis)
    assert len(found) == 1
    return found[0]


async def link_keys(redis: RedisClient) -> list[str]:
    return [key.decode() for key in await redis.command("KEYS", f"{KEY}*")]


async def test_a_login_leaves_a_record_and_without_one_there_is_no_entry(
    sessions: RedisSessions, login: Login
) -> None:
    assert await ask(sessions) is None
    await login.finish()
    assert await ask(sessions) == ALICE
    assert await ask(sessions, user="sub-bob") is None
    assert await ask(sessions, name="globex") is None, "another tenant's slot knows nothing of her"


async def test_it_outlives_the_session_and_is_one_of_the_last_login(
    sessions: RedisSessions, login: Login
) -> None:
    stored = await login.finish()
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert await ask(sessions) == ALICE
    await login.finish(
        identity=replace(identity(), email="alice@other.test", email_domain="other.test")
    )
    assert await ask(sessions) == BearerLink(
        replace(ALICE.identity, email="alice@other.test", email_domain="other.test")
    )


async def test_a_login_that_began_earlier_and_ended_later_does_not_replace_it(
    sessions: RedisSessions, login: Login
) -> None:
    slow = await login.begin()
    await login.finish()
    await sessions.finish_login(
        login.new(
            slow, identity=replace(identity(), email="alice@old.test", email_domain="old.test")
        )
    )
    assert await ask(sessions) == ALICE


@pytest.mark.parametrize("name", ["email", "idp_subject", "oid"])
async def test_a_name_that_somebody_else_signed_in_with_since_is_theirs(
    sessions: RedisSessions, redis: RedisClient, ring: ring_keys.KeyRing, name: str
) -> None:
    """An address that was given to another person: whoever had it before arrives by their own id
    alone, also while keys rotate.
    """
    alice = replace(identity(), oid="oid-alice")
    kept = BearerLink(replace(ALICE.identity, oid="oid-alice"))
    both = replace(ring, sealing=(*ring_keys.generate().sealing, *ring.sealing))
    for store in (sessions, RedisSessions(redis, lambda: both)):
        await Login(store, tenant()).finish(identity=alice)
        assert await ask(store) == kept
        await Login(store, tenant()).finish(identity=alice)
        assert await ask(store) == kept, "a further login of her own"
        await Login(store, tenant()).finish(
            identity=replace(identity("bob"), **{name: getattr(alice, name)})
        )
        assert await ask(store) == BearerLink(
            replace(kept.identity, email="", preferred_username="", name="", idp_subject="", oid="")
        )
        assert (bob := await ask(store, user="sub-bob")) is not None and getattr(
            bob.identity, name
        ) == getattr(alice, name)
        await Login(store, tenant()).finish(identity=alice)
        assert await ask(store) == kept, "hers again, by her own later login"


async def test_a_hand_over_to_another_host_leaves_none(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    value, binding = await ticket(sessions, stored)
    await redis.command("DEL", await link_key(redis))
    assert (
        await sessions.redeem_ticket(value, host=CHILD, bindings=(binding,), served=anybody)
        is not None
    )
    assert await ask(sessions) is None


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_revocation_by_any_alias_refuses_tokens_of_before(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    await login.finish()
    await marks.revoke("acme", at(marks, who))
    assert await ask(sessions) is None
    assert await ask(sessions, later_s=MARGIN_S - 1) is None, (
        "Cognito's clock may be ahead: not clearly later is not later"
    )
    assert await ask(sessions, later_s=MARGIN_S + 2) == ALICE


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_block_by_any_alias_refuses_every_token_until_it_is_lifted(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    await login.finish()
    await marks.revoke("acme", at(marks, who), block_source="okta")
    assert await ask(sessions, later_s=60) is None
    await marks.lift("acme", at(marks, who), sources="okta")
    assert await ask(sessions) is None, "what authenticated before it was lifted"
    assert await ask(sessions, later_s=60) == ALICE


@pytest.mark.parametrize("who", OTHERS.values(), ids=OTHERS)
async def test_a_revocation_of_somebody_else_refuses_nothing(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    await login.finish()
    await marks.revoke("acme", at(marks, who), block_source="okta")
    assert await ask(sessions) == ALICE


async def test_a_person_who_never_signed_in_here_again_after_a_key_rotation_is_still_reached(
    redis: RedisClient, ring: ring_keys.KeyRing, login: Login
) -> None:
    """The record was written under the old key, the revocation under both."""
    await login.finish()
    both = replace(ring, sealing=(*ring_keys.generate().sealing, *ring.sealing))
    rotated = RedisSessions(redis, lambda: both)
    assert await ask(rotated) == ALICE
    newer = Watermarks(redis, lambda: both)
    await newer.revoke("acme", at(newer, Who(email="alice@acme.test")))
    assert await ask(rotated) is None


async def test_of_two_records_the_newest_counts(
    redis: RedisClient, ring: ring_keys.KeyRing, login: Login
) -> None:
    await login.finish()
    for order in ((0, 1), (1, 0)):
        pair = (*ring_keys.generate().sealing, *ring.sealing)
        both = replace(ring, sealing=tuple(pair[n] for n in order))
        rotated = RedisSessions(redis, lambda both=both: both)  # type: ignore[misc]  # binds the loop's value
        await Login(rotated, tenant()).finish(
            identity=replace(identity(), email_domain=f"order{order[0]}.test")
        )
        assert await ask(rotated) == BearerLink(
            replace(ALICE.identity, email_domain=f"order{order[0]}.test")
        )


async def test_what_is_older_than_a_mark_is_kept_is_refused(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    await login.finish()
    assert await ask(sessions, later_s=60 - LIFE_S) == ALICE
    assert await ask(sessions, later_s=-60 - LIFE_S) is None
    assert 0 < await redis.command("TTL", await link_key(redis)) <= LIFE_S


async def test_a_record_that_was_written_by_somebody_else_is_none(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    await login.finish()
    key = await link_key(redis)
    sealed = await redis.command("HGET", key, "d")
    await redis.command("HSET", key, "d", b"x" * len(sealed))
    assert await ask(sessions) is None
    await redis.command("HSET", key, "d", sealed)
    await login.finish(identity=identity("bob"))
    bob = next(found for found in await link_keys(redis) if found != key)
    await redis.command("HSET", bob, "d", sealed)
    assert await ask(sessions, user="sub-bob") is None, "alice's record under bob's name"


async def test_a_store_that_was_not_restored_says_nothing(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    await login.finish()
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    with pytest.raises(UnavailableError):
        await ask(sessions)


# --- under a lease
# -------------------------------------------------------------------------------------


async def test_a_worker_asks_inside_its_lease(worker: Worker, redis: RedisClient) -> None:
    await Login(worker.sessions, tenant()).finish()
    assert await ask(worker.sessions) == ALICE
    marks = Watermarks(redis, lambda: worker.ring)
    await marks.revoke("acme", at(marks, Who(user="sub-alice")))
    assert await ask(worker.sessions) is None


async def test_a_worker_does_not_believe_another_primary_than_its_leases(
    worker: Worker, redis: RedisClient, markers: Markers
) -> None:
    await Login(worker.sessions, tenant()).finish()
    lease = await worker.replica.lease(bucket_of("acme"))
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    with pytest.raises(UnavailableError):
        await ask(worker.sessions)
    await markers.look()
    incarnation = lease.incarnation
    assert await ask(worker.sessions) == ALICE
    assert lease.incarnation > incarnation
