"""Every arrangement of Redis that a URL can name, and what comes of each way it can fail."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from redis.asyncio.cluster import ClusterNode

from gateway.config.model import Redis as RedisSettings
from gateway.core.model import Secret
from gateway.errors import ConfigError, UnavailableError
from gateway.sessions.api import SessionCreated
from gateway.sessions.cluster import NO_ANSWER, on_one_connection
from gateway.sessions.connection import (
    DEADLINE_S,
    RedisClient,
    Target,
    client_to,
    connect,
    parse_url,
    unavailable,
)
from gateway.sessions.store import RedisSessions
from tests.sessions import servers
from tests.sessions.acl import documented_rights
from tests.sessions.conftest import HOST, Login, believe, identity, pending, shown, tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.keys import ring as keys

URLS = {
    "redis://h": Target("single", (("h", 6379),)),
    "redis://h:1/3": Target("single", (("h", 1),), database=3),
    "redis://u:p%40@h": Target("single", (("h", 6379),), username="u", password="p@"),
    "redis://:p@h": Target("single", (("h", 6379),), password="p"),
    "rediss://[::1]:7": Target("single", (("::1", 7),), tls=True),
    "unix:///run/v.sock": Target("unix", path="/run/v.sock"),
    "unix://u:p@/run/v.sock?db=2": Target(
        "unix", path="/run/v.sock", username="u", password="p", database=2
    ),
    "redis+sentinel://a:1,b/main": Target("sentinel", (("a", 1), ("b", 26379)), service="main"),
    "rediss+sentinel://u:p@a/main/2?sentinel_password=s": Target(
        "sentinel",
        (("a", 26379),),
        service="main",
        database=2,
        username="u",
        password="p",
        tls=True,
        sentinel_password="s",
    ),
    "redis+cluster://u:p@a,b:2": Target(
        "cluster", (("a", 6379), ("b", 2)), username="u", password="p"
    ),
}


@pytest.mark.parametrize(("url", "target"), URLS.items(), ids=URLS)
def test_urls(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://",
        "redis://h:x",
        "redis://h/x",
        "redis://h/1/2",
        "redis://h,i",
        "redis://h?ssl_cert_reqs=none",
        "unix://",
        "unix://h/p",
        "unix:///p?x=1",
        "redis+sentinel://h",
        "redis+sentinel://h/a/b/c",
        "redis+cluster://h/1",
        "redis+other://h",
        "redis://h:99999",
    ],
)
def test_other_urls_are_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_url(url.replace("//", "//user:hunter2@", 1))
    assert "hunter2" not in str(refused.value)


async def walk(redis: RedisClient, ring: keys.KeyRing, *, name: str = "acme") -> None:
    """A login, a check, a hand-over and a logout."""
    await believe(redis)
    sessions = RedisSessions(redis, lambda: ring)
    stored = await Login(sessions, tenant(name)).finish()
    assert await shown(sessions, stored.cookie.reveal(), host=HOST) == stored.session
    await sessions.touches.settle()
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is None


async def test_an_acl_user_with_a_password(tmp_path: Path, ring: keys.KeyRing) -> None:
    rights = ("--user", "gw", "on", ">secret", *documented_rights(), "--user", "default", "off")
    with servers.running(tmp_path, *rights) as server:
        for login, works in (("gw:secret@", True), ("gw:wrong@", False), ("", False)):
            redis = client_to(
                parse_url(f"redis://{login}127.0.0.1:{server.port}"), ca_file=None, replicas=0
            )
            if works:
                await walk(redis, ring)
            else:
                with pytest.raises(UnavailableError):
                    await walk(redis, ring)
            await redis.close()


async def test_tls_is_verified(
    tmp_path: Path, ring: keys.KeyRing, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with servers.running(tmp_path) as server:
        async with servers.relay(server.port, tls=context) as front:
            url = Secret(f"rediss://127.0.0.1:{front.port}")
            trusted = connect(RedisSettings(url=url, ca_file=certificate[0]))
            await walk(trusted, ring)
            await trusted.close()
            untrusted = connect(RedisSettings(url=url))
            with pytest.raises(UnavailableError):
                await walk(untrusted, ring)
            await untrusted.close()


async def test_sentinel_finds_the_primary_and_a_logout_waits_for_its_replica(
    tmp_path: Path, ring: keys.KeyRing
) -> None:
    with servers.sentinel(tmp_path) as (_primary, replica, watcher):
        settings = RedisSettings(
            url=Secret(f"redis+sentinel://127.0.0.1:{watcher.port}/gw"), min_replicas=1
        )
        redis, again = connect(settings), connect(settings)
        await walk(redis, ring)
        sessions = RedisSessions(redis, lambda: ring)
        stored = await Login(sessions, tenant()).finish()
        os.kill(replica.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(UnavailableError, match="0 of 1 replicas confirmed"):
                await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
            with pytest.raises(UnavailableError, match="0 of 1 replicas confirmed"):
                # The session is gone here and not yet there: also a connection that has written
                # nothing before promises nothing.
                await RedisSessions(again, lambda: ring).end_family(
                    stored.session, cookie=stored.cookie.reveal()
                )
        finally:
            os.kill(replica.process.pid, signal.SIGCONT)
        await again.close()
        await redis.close()


# --- the store in trouble: 503, never a logout and never an allow (invariant 8)
# --------------------


@pytest.fixture
async def trouble(
    tmp_path: Path,
) -> AsyncIterator[tuple[servers.Server, servers.Relay, RedisClient]]:
    with servers.running(tmp_path) as server:
        async with servers.relay(server.port) as front:
            redis = client_to(
                Target("single", (("127.0.0.1", front.port),)), ca_file=None, replicas=0
            )
            await believe(redis)
            yield server, front, redis
            await redis.close()


def down(_server: servers.Server, front: servers.Relay) -> None:
    front.cut = True
    front.drop()


def silent(_server: servers.Server, front: servers.Relay) -> None:
    front.delay_s = 60


def full(server: servers.Server, _front: servers.Relay) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.ask("CONFIG", "SET", "maxmemory", "1")


def read_only(server: servers.Server, _front: servers.Relay) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")
    server.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")


def stale(server: servers.Server, _front: servers.Relay) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")
    server.ask("CONFIG", "SET", "replica-serve-stale-data", "no")


def password_changed(server: servers.Server, front: servers.Relay) -> None:
    server.ask("CONFIG", "SET", "requirepass", "changed")
    front.drop()


def renamed_scripts(server: servers.Server, front: servers.Relay) -> None:
    server.ask("ACL", "SETUSER", "default", "-@scripting", "-get")
    front.drop()


# What is broken; whether checks go on; whether sessions can still be ended. Nobody can come in with
# any of them.
TROUBLES: dict[str, tuple[Callable[[servers.Server, servers.Relay], None], bool, bool]] = {
    "down": (down, False, False),
    "silent": (silent, False, False),
    "full": (full, True, True),
    "read_only": (read_only, True, False),
    "stale_replica": (stale, False, False),
    "wrong_password": (password_changed, False, False),
    "no_rights": (renamed_scripts, False, False),
}


@pytest.mark.parametrize(
    ("begins", "checks_go_on", "endings_go_on"), TROUBLES.values(), ids=TROUBLES
)
async def test_a_store_in_trouble_logs_nobody_out_and_lets_nobody_in(
    trouble: tuple[servers.Server, servers.Relay, RedisClient],
    ring: keys.KeyRing,
    *,
    begins: Callable[[servers.Server, servers.Relay], None],
    checks_go_on: bool,
    endings_go_on: bool,
) -> None:
    server, front, redis = trouble
    sessions = RedisSessions(redis, lambda: ring)
    login = Login(sessions, tenant())
    stored, other, began = (
        await login.finish(),
        await login.finish(identity=identity("bob")),
        await login.begin(),
    )
    begins(server, front)

    async def expect(attempt: Awaitable[object], *, goes_on: bool) -> object:
        if goes_on:
            return await attempt
        with pytest.raises(UnavailableError):
            await attempt
        return None

    before = time.monotonic()
    found = await expect(sessions.find(stored.cookie.reveal(), host=HOST), goes_on=checks_go_on)
    assert found == (stored.session if checks_go_on else None)
    await asyncio.gather(
        expect(sessions.start_login(pending(), binding=None), goes_on=False),
        expect(sessions.finish_login(login.new(began)), goes_on=False),
        expect(sessions.end_own(stored.session, family=None), goes_on=endings_go_on),
        expect(
            sessions.end_family(other.session, cookie=other.cookie.reveal()), goes_on=endings_go_on
        ),
    )
    assert time.monotonic() - before < 3 * DEADLINE_S
    await sessions.touches.close()


async def test_a_connection_that_flaps_heals_by_itself(
    trouble: tuple[servers.Server, servers.Relay, RedisClient], ring: keys.KeyRing
) -> None:
    _server, front, redis = trouble
    sessions = RedisSessions(redis, lambda: ring)
    stored = await Login(sessions, tenant()).finish()
    for _ in range(10):
        front.drop()
        assert await shown(sessions, stored.cookie.reveal(), host=HOST) == stored.session
    front.cut = True
    front.drop()
    with pytest.raises(UnavailableError):
        await shown(sessions, stored.cookie.reveal(), host=HOST)
    front.cut = False
    assert await sessions.find(stored.cookie.reveal(), host=HOST) == stored.session
    await sessions.touches.close()


async def test_more_requests_than_connections_wait_their_turn(
    redis: RedisClient, ring: keys.KeyRing
) -> None:
    sessions = RedisSessions(redis, lambda: ring)
    stored = await Login(sessions, tenant()).finish(identity=identity("busy"))
    found = await asyncio.gather(
        *(shown(sessions, stored.cookie.reveal(), host=HOST) for _ in range(300))
    )
    assert all(one == stored.session for one in found)
    await sessions.touches.settle()


async def test_a_server_that_forgot_the_scripts_is_taught_again(
    redis: RedisClient, ring: keys.KeyRing
) -> None:
    login = Login(RedisSessions(redis, lambda: ring), tenant())
    assert isinstance(await login.finish(), SessionCreated)
    await redis.command("SCRIPT", "FLUSH")
    assert isinstance(await login.finish(), SessionCreated)


@pytest.mark.parametrize("mistake", ["AttributeError", "RuntimeError"])
async def test_a_mistake_in_our_own_code_is_not_taken_for_a_store_that_is_away(
    mistake: str,
) -> None:
    """Who waits would be told to come again for ever, and nobody be told of the mistake. The same
    error in a library is what a dead connection looks like there.
    """

    def raised_in(module: str) -> None:
        with unavailable("get"):
            exec(f"raise {mistake}", {"__name__": module})

    with pytest.raises(UnavailableError, match="closed while it was in use"):
        raised_in("redis.asyncio.connection")
    with pytest.raises((AttributeError, RuntimeError)):
        raised_in("gateway.sessions.memory")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_connection_that_was_reset_while_nobody_used_it_is_made_anew(
    tmp_path: Path, run: Callable[[Any], None]
) -> None:
    """By a middlebox, or a server that died. Each loop has an error of its own for whoever writes
    to it, and none of them is a fault of ours: that would be a 500 for a check, and the end of
    whatever goes on in the background.
    """

    async def use(port: int) -> None:
        async with servers.relay(port) as front:

            async def reset(pooled: Any) -> None:
                for writer in list(front.writers):
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    writer.transport.abort()
                async with asyncio.timeout(10):
                    while pooled._reader.exception() is None:  # noqa: ASYNC110 - of a library, without an event to wait for
                        await asyncio.sleep(0.001)

            redis = client_to(
                Target("single", (("127.0.0.1", front.port),)), ca_file=None, replicas=0
            )
            assert await redis.get("gw:x") is None
            await reset(redis.client.connection_pool._available_connections[0])  # type: ignore[union-attr]  # it is no Cluster
            assert await redis.get("gw:x") is None
            await redis.close()
            node = ClusterNode("127.0.0.1", front.port)
            assert await on_one_connection(node, (("GET", "gw:x"),)) == [None]
            await reset(node._free[0])
            with pytest.raises(NO_ANSWER):
                await on_one_connection(node, (("GET", "gw:x"),))
            assert await on_one_connection(node, (("GET", "gw:x"),)) == [None], (
                "so it is asked again"
            )
            await node.disconnect()

    with servers.running(tmp_path) as server:
        run(use(server.port))
