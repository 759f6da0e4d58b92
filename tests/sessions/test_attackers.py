"""Somebody reads all of Redis; somebody writes to it. What each can do, and what not (invariant
1).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.model import Secret
from gateway.core.reason import Reason
from gateway.core.revocation import Who
from gateway.keys import ring as keys
from gateway.sessions import seal
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks, revocation_keys
from tests.sessions.conftest import CHILD, HOST, Login, anybody, identity, pending
from tests.sessions.test_store import child_of, ticket

if TYPE_CHECKING:
    from gateway.sessions.connection import RedisClient

AT = prefix(bucket_of("acme"))


async def dump(redis: RedisClient) -> dict[bytes, object]:
    """Everything that Redis holds, key by key."""
    found: dict[bytes, object] = {}
    for key in await redis.command("KEYS", "*"):
        match await redis.command("TYPE", key):
            case b"string":
                found[key] = await redis.command("GET", key)
            case b"hash":
                found[key] = await redis.command("HGETALL", key)
            case b"zset":
                found[key] = await redis.command("ZRANGE", key, 0, -1)
            case b"list":
                found[key] = await redis.command("LRANGE", key, 0, -1)
            case other:
                raise AssertionError(other)
    return found


def session_key(stored: SessionCreated) -> str:
    return f"{AT}s:{stored.session.digest}"


# --- read access ----------------------------------------------------------------------------------


async def test_invariant_1_a_dump_of_redis_is_not_a_credential_and_names_nobody(
    sessions: RedisSessions, login: Login, redis: RedisClient, ring: keys.KeyRing
) -> None:
    parent = await login.finish(refresh_token=Secret("refresh-token-of-alice"))
    child = await child_of(sessions, parent)
    begun = await sessions.start_login(pending(), binding=None)
    made, _ = await ticket(sessions, parent)
    marks = Watermarks(redis, lambda: ring)
    bob = Who(email="bob@acme.test", provider="acme-okta")
    await marks.revoke(
        "acme", revocation_keys(marks.alias_index("acme"), bob, group="admins"), block_source="okta"
    )

    everything = repr(await dump(redis)).casefold()
    alice = identity()
    personal = [
        alice.sub,
        alice.email,
        alice.username,
        alice.name,
        alice.idp_subject,
        alice.oid,
        "alice",
        "bob@",  # three letters alone come up in what is sealed
        *alice.groups,
        "R&D",
        "Browser/1",
        "refresh-token",
        "nonce",
        "verifier",
    ]
    assert [word for word in personal if word.casefold() in everything] == []
    credentials = [parent.cookie, child.cookie, begun.state, begun.binding]
    tokens = [made, *(c.reveal() for c in credentials)]
    assert [
        token
        for token in tokens
        if token[3:].casefold() in everything or token.casefold() in everything
    ] == []
    for token in tokens:
        raw = base64.urlsafe_b64decode(token[-43:] + "=")
        assert repr(raw)[2:-1].casefold() not in everything
    # What is there does not work as a cookie, state or ticket either: not the digest, in no
    # spelling.
    for stored in (parent, child):
        encoded = (
            base64.urlsafe_b64encode(bytes.fromhex(stored.session.digest)).decode().rstrip("=")
        )
        for attempt in (
            stored.session.digest,
            encoded,
            f"{bucket_of('acme'):03x}{encoded}",
            stored.session.family,
        ):
            assert await sessions.find(attempt, host=stored.session.host) is None


async def test_a_dump_and_the_key_ring_still_open_no_session(
    sessions: RedisSessions, login: Login, redis: RedisClient, ring: keys.KeyRing
) -> None:
    stored = await login.finish()
    value = await redis.command("GET", session_key(stored))
    # The key comes from the cookie's random part; the digest is all that the thief has of it.
    assert (
        seal.unseal(
            "session",
            seal.Token(bucket_of("acme"), bytes.fromhex(stored.session.digest)),
            value,
            keys=ring.sealing,
        )
        is None
    )


async def test_a_cookie_without_the_key_ring_opens_nothing(
    login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    stranger = RedisSessions(redis, keys.generate)
    assert await stranger.find(stored.cookie.reveal(), host=HOST) is None


# --- write access ---------------------------------------------------------------------------------


async def test_invariant_1_a_write_to_redis_forges_no_session(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    mallory = await login.finish(identity=identity("mallory", groups=()))
    alice = await login.finish()
    cookie = mallory.cookie.reveal()
    token = seal.parse_token(cookie)
    assert token is not None
    own = await redis.command("GET", session_key(mallory))
    others = await redis.command("GET", session_key(alice))
    forged_ring = keys.generate().sealing[0]
    plants = {
        "another person's value under one's own digest": others,
        "one's own header on another person's ciphertext": own[
            : own.index(HOST.encode()) + len(HOST)
        ]
        + others[others.index(HOST.encode()) + len(HOST) :],
        "sealed under a key of one's own": seal.seal(
            "session",
            token,
            b"[1]",
            tenant="acme",
            host=HOST,
            key=forged_ring,
            entropy=secrets.token_bytes,
        ),
        "sealed under a key of one's own with a known name": seal.seal(
            "session",
            token,
            b"[1]",
            tenant="acme",
            host=HOST,
            key=replace(forged_ring, kid=own[2:10].decode()),
            entropy=secrets.token_bytes,
        ),
        "another tenant in the header": own.replace(b"\x04acme", b"\x04evil"),
        "another host in the header": own.replace(HOST.encode(), b"evil.example.com"),
        "cut short": own[:-1],
        "empty": b"",
        "plain JSON": b'[1,"family",["admin"]]',
    }
    for what, value in plants.items():
        await redis.command("SET", session_key(mallory), value)
        assert await sessions.find(cookie, host=HOST) is None, what
    new = seal.new_token(bucket_of("acme"), secrets.token_bytes)
    await redis.command("SET", f"{AT}s:{new.digest}", others)
    assert await sessions.find(new.text, host=HOST) is None


async def test_a_session_moved_to_another_host_or_bucket_opens_nowhere(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    token = seal.parse_token(stored.cookie.reveal())
    assert token is not None
    assert await sessions.find(stored.cookie.reveal(), host=CHILD) is None
    moved = seal.Token((token.bucket + 1) % 1024, token.random)
    await redis.command(
        "SET",
        f"{prefix(moved.bucket)}s:{moved.digest}",
        await redis.command("GET", session_key(stored)),
    )
    assert await sessions.find(moved.text, host=HOST) is None


async def test_pending_logins_and_tickets_cannot_be_rebound_to_another_browser(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    begun = await sessions.start_login(pending(), binding=None)
    made, _ = await ticket(sessions, await login.finish())
    thief = seal.new_binding(secrets.token_bytes)
    for token_text, kind in ((begun.state.reveal(), "p"), (made, "t")):
        token = seal.parse_token(token_text)
        assert token is not None
        await redis.command(
            "HSET", f"{AT}{kind}:{token.digest}", "k", hashlib.sha256(thief.encode()).hexdigest()
        )
    assert await sessions.consume_login(begun.state.reveal(), bindings=(thief,)) is None
    assert await sessions.redeem_ticket(made, host=CHILD, bindings=(thief,), served=anybody) is None


async def test_a_ticket_for_one_host_cannot_be_rewritten_for_another(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    made, binding = await ticket(sessions, await login.finish())
    token = seal.parse_token(made)
    assert token is not None
    await redis.command("HSET", f"{AT}t:{token.digest}", "h", "evil.example.com")
    assert (
        await sessions.redeem_ticket(
            made, host="evil.example.com", bindings=(binding,), served=anybody
        )
        is None
    )


async def test_a_display_record_cannot_be_planted(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    alice, bob = await login.finish(), await login.finish(identity=identity("bob"))
    display = await redis.command("HGET", f"{AT}f:{bob.session.family}", "d")
    await redis.command("HSET", f"{AT}f:{alice.session.family}", "d", display)
    assert await sessions.list_user(alice.session, cookie=alice.cookie.reveal()) == []


async def test_a_refresh_token_of_another_family_does_not_open(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    alice, bob = (
        await login.finish(),
        await login.finish(identity=identity("bob"), refresh_token=Secret("bob's")),
    )
    await redis.command(
        "HSET",
        f"{AT}f:{alice.session.family}",
        "r",
        await redis.command("HGET", f"{AT}f:{bob.session.family}", "r"),
    )
    assert (
        await sessions.end_family(alice.session, cookie=alice.cookie.reveal())
    ).refresh_token is None


async def test_what_write_access_can_do_is_end_sessions_and_bring_back_ended_ones_for_their_own_cookie(  # noqa: E501 - a test's name is a sentence
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    """What remains, and docs/threat-model.md says so: whoever writes to Redis can undo a revocation
    for somebody who kept the old cookie, until its absolute limit.
    """
    stored = await login.finish()
    value = await redis.command("GET", session_key(stored))
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is None
    await redis.command("SET", session_key(stored), value)
    assert await sessions.find(stored.cookie.reveal(), host=HOST) == stored.session
    await redis.command("DEL", session_key(stored))
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is None


async def test_an_ended_family_cannot_be_brought_back_by_a_ticket(
    sessions: RedisSessions, login: Login, redis: RedisClient, ring: keys.KeyRing
) -> None:
    stored = await login.finish()
    made, binding = await ticket(sessions, stored)
    marks = Watermarks(redis, lambda: ring)
    await marks.revoke(
        "acme", revocation_keys(marks.alias_index("acme"), Who(session=stored.session.family))
    )
    assert await sessions.redeem_ticket(
        made, host=CHILD, bindings=(binding,), served=anybody
    ) == SessionRefused(Reason.SESSION_REVOKED)
