"""A Cluster with replicas: tenants on all its primaries, slots that move, and a primary that is
killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from redis.crc import key_slot

from gateway.background import end
from gateway.config.model import Redis as RedisSettings
from gateway.core.model import Secret
from gateway.core.revocation import Who
from gateway.errors import UnavailableError
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.restore import Markers
from gateway.sessions.api import MISS
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import RedisClient, connect
from gateway.sessions.keyspace import BUCKETS, bucket_of, prefix
from gateway.sessions.lease import Lease
from gateway.sessions.lease_client import LeaseClient, steady
from gateway.sessions.memory import SessionCache
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks, revocation_keys
from tests.sessions import servers
from tests.sessions.conftest import HOST, Login, identity, tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.keys import ring as keys
    from gateway.sessions.api import SessionCreated
    from gateway.sessions.connection import Script

Answer = TypeVar("Answer")
STALENESS_S = 2.0
NAMES = [f"tenant-{number}" for number in range(12)]
"""Enough for each of three primaries."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Cluster]:
    """For tests after which every node still answers."""
    with servers.cluster(tmp_path_factory.mktemp("cluster"), replicas=(1, 1, 1)) as nodes:
        yield nodes


class Gateway:
    """An admin role and one worker of the auth role, each with a link of its own, as ``app`` puts
    them together.
    """

    def __init__(self, cluster: servers.Cluster, ring: keys.KeyRing) -> None:
        self.cluster, self.ring = cluster, ring
        self.redis, self.admin_link = (self.connect() for _ in range(2))
        cache = SessionCache()
        self.replica = LeaseClient(
            self.redis, cache, name="one", staleness_s=STALENESS_S, monotonic=steady()
        )
        self.sessions = CachedSessions(
            self.redis,
            lambda: ring,
            cache=cache,
            lease_client=self.replica,
            monotonic=steady(),
            clock=time.time,
        )
        self.acknowledgements = Acknowledgements(
            self.admin_link, staleness_s=STALENESS_S, monotonic=steady()
        )
        self.marks = Watermarks(self.admin_link, lambda: ring)
        self.markers = Markers(
            self.admin_link,
            tenants=self._recorded,
            restore=self._restore,
            generation=lambda: 0,
            staleness_s=STALENESS_S,
            monotonic=steady(),
        )

    def connect(self) -> RedisClient:
        return connect(RedisSettings(url=Secret(self.cluster.url), min_replicas=1))

    async def _recorded(self) -> list[str]:
        return []

    async def _restore(self, name: str) -> None:
        raise AssertionError(name)

    async def log_in(self, name: str, user: str = "alice") -> SessionCreated:
        return await Login(self.sessions, tenant(name)).finish(
            identity=identity(user, provider=f"{name}-okta")
        )

    async def check(self, stored: SessionCreated) -> bool:
        return await self.sessions.find(stored.cookie.reveal(), host=HOST) == stored.session

    async def revoke(self, name: str, user: str) -> None:
        """Until it is acknowledged, as the caller repeats it."""
        swept = await self.marks.revoke(
            name, revocation_keys(self.marks.alias_index(name), Who(user=f"sub-{user}"))
        )
        await self.acknowledgements.confirm(name, lambda _name, _at: None, server=swept.server)


@pytest.fixture
async def gateway(cluster: servers.Cluster, ring: keys.KeyRing) -> AsyncIterator[Gateway]:
    async with running(Gateway(cluster, ring)) as made:
        yield made


@contextlib.asynccontextmanager
async def running(made: Gateway) -> AsyncIterator[Gateway]:
    await made.markers.look()
    tasks = [
        asyncio.create_task(work)
        for work in (made.markers.run(), made.replica.run(), made.replica.listen())
    ]
    try:
        await until(lambda: made.replica.hearing)
        yield made
    finally:
        await end(tasks)
        await made.acknowledgements.close()
        await made.sessions.touches.close()
        for redis in (made.redis, made.admin_link):
            await redis.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of another room, without an event to wait for
            await asyncio.sleep(0.001)


async def answered(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """What comes of it once the store answers again."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(UnavailableError):
                return await attempt()
            await asyncio.sleep(0.01)


async def test_tenants_live_on_all_primaries_and_the_push_is_heard_whichever_sent_it(
    gateway: Gateway,
) -> None:
    owners = set()
    for name in NAMES:
        stored = await gateway.log_in(name)
        assert await gateway.check(stored)
        owners.add((await gateway.redis.primary_of(prefix(bucket_of(name)))).name)
        await gateway.revoke(name, "alice")
        assert gateway.sessions.cached(stored.cookie.reveal(), host=HOST) is MISS
        assert not await gateway.check(stored)
    assert len(owners) == 3


async def test_a_logout_waits_for_the_replicas_of_its_primary(gateway: Gateway) -> None:
    stored = await gateway.log_in("tenant-0")
    gateway.redis.replicas = 3  # more than there are
    sessions = RedisSessions(gateway.redis, lambda: gateway.ring)
    with pytest.raises(UnavailableError, match="of 3 replicas confirmed"):
        await sessions.end_family(stored.session, cookie=stored.cookie.reveal())


async def test_the_leases_of_every_bucket_are_renewed_with_few_connections(
    gateway: Gateway, cluster: servers.Cluster
) -> None:
    buckets = range(BUCKETS)
    await asyncio.gather(*(gateway.replica.lease(bucket) for bucket in buckets))
    joined = max(lease.ends for lease in gateway.replica.leases.values())
    await until(lambda: all(lease.ends > joined for lease in gateway.replica.leases.values()))
    for node in cluster:
        clients = int(node.ask("INFO", "clients").split(b"connected_clients:")[1].split(b"\r\n")[0])
        assert clients < 64, "a connection for each bucket"


async def test_more_requests_than_connections_wait_their_turn(gateway: Gateway) -> None:
    stored = await gateway.log_in("tenant-0")
    assert await gateway.check(stored)
    found = await asyncio.gather(
        *(
            gateway.sessions.find(f"{bucket_of('tenant-0'):03x}{number:043}", host=HOST)
            for number in range(400)
        )
    )
    assert found == [None] * 400


class Move:
    """One slot on its way from its primary to another, key by key, as ``valkey-cli --cluster
    reshard`` does it.
    """

    def __init__(self, cluster: servers.Cluster, key: str) -> None:
        self.nodes, self.slot = list(cluster), str(key_slot(key.encode()))
        source = cluster.owner(key)
        assert source is not None
        self.source, self.target = source, next(node for node in self.nodes if node is not source)

    async def begin(self) -> None:
        await asyncio.to_thread(
            self.target.ask,
            "CLUSTER",
            "SETSLOT",
            self.slot,
            "IMPORTING",
            servers.node_id(self.source),
        )
        await asyncio.to_thread(
            self.source.ask,
            "CLUSTER",
            "SETSLOT",
            self.slot,
            "MIGRATING",
            servers.node_id(self.target),
        )

    async def keys(self, *names: str) -> None:
        said = await asyncio.to_thread(
            self.source.ask,
            "MIGRATE",
            "127.0.0.1",
            str(self.target.port),
            "",
            "0",
            "5000",
            "KEYS",
            *names,
        )
        assert said.startswith((b"+OK", b"+NOKEY")), said

    async def left(self) -> list[str]:
        return [
            name.decode()
            for name in (
                await asyncio.to_thread(
                    self.source.ask, "CLUSTER", "GETKEYSINSLOT", self.slot, "1000"
                )
            ).split(b"\r\n")[2::2]
            if name
        ]

    async def finish(self) -> None:
        await self.keys(*await self.left())
        for node in (self.target, self.source, *self.nodes):
            await asyncio.to_thread(
                node.ask, "CLUSTER", "SETSLOT", self.slot, "NODE", servers.node_id(self.target)
            )


async def test_while_a_slot_is_moved_its_tenant_is_answered(
    gateway: Gateway, cluster: servers.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From memory; what must be read waits for the rest of the slot. Nobody is revoked where the
    one half is: the other has their sessions.
    """
    monkeypatch.setattr(
        "gateway.revocation.restore.TURNS", 100_000
    )  # what moved is looked at at once, not when its turn comes
    await until(lambda: not gateway.markers._untrusted)
    remembered = await gateway.log_in("tenant-0")
    await gateway.log_in("tenant-0", "bob")
    await gateway.revoke(
        "tenant-0", "bob"
    )  # so that a node that is asked for the next one finds every key it needs
    other = await gateway.log_in("tenant-0", "bob")
    at = prefix(bucket_of("tenant-0"))
    assert await gateway.check(remembered)
    move = Move(cluster, f"{at}m")
    await move.begin()
    await move.keys(
        *[name for name in await move.left() if name != f"{at}s:{other.session.digest}"]
    )
    assert gateway.sessions.cached(remembered.cookie.reveal(), host=HOST) == remembered.session
    who = revocation_keys(gateway.marks.alias_index("tenant-0"), Who(user="sub-bob"))
    waiting = [
        asyncio.create_task(answered(lambda: gateway.check(other))),
        asyncio.create_task(answered(lambda: gateway.marks.revoke("tenant-0", who))),
    ]
    ended, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not ended
    await move.finish()
    await asyncio.wait(waiting)
    await answered(lambda: gateway.revoke("tenant-0", "bob"))
    assert not await answered(lambda: gateway.check(other))
    assert await answered(lambda: gateway.check(remembered))
    later = await answered(lambda: gateway.log_in("tenant-0", "carol"))
    assert await answered(lambda: gateway.check(later))


async def test_a_single_key_is_asked_for_where_it_is_on_its_way_to(
    gateway: Gateway, cluster: servers.Cluster
) -> None:
    move = Move(cluster, "gw:code:x")
    await move.begin()
    await gateway.sessions.spend_code("x")
    spent = f"gw:code:{hashlib.sha256(b'x').hexdigest()}"
    elsewhere = Move(cluster, spent)
    await elsewhere.begin()
    await elsewhere.keys(spent)
    assert await gateway.sessions.code_spent("x")
    await gateway.redis.command("SET", "gw:code:x", "1")
    assert await gateway.redis.command("GET", "gw:code:x") == b"1"
    await move.finish()
    await elsewhere.finish()
    assert await gateway.sessions.code_spent("x")


@pytest.fixture
def breakable(tmp_path: Path) -> Iterator[servers.Cluster]:
    # The second primary is killed: whoever takes over needs one that confirms.
    with servers.cluster(tmp_path, replicas=(1, 2, 1), node_timeout_ms=500) as nodes:
        yield nodes


async def test_another_primary_takes_over_from_one_that_stands_still(
    breakable: servers.Cluster, ring: keys.KeyRing
) -> None:
    """Checks, renewals, logins, logout and revocation, none of which may ask for ever at the
    address of the dead.
    """
    async with running(Gateway(breakable, ring)) as gateway:
        await takes_over(gateway, victim=breakable[1])


async def takes_over(gateway: Gateway, *, victim: servers.Server) -> None:
    cluster = gateway.cluster
    names = [
        name
        for name in NAMES
        if (await gateway.redis.primary_of(prefix(bucket_of(name)))).port == victim.port
    ]
    others = [name for name in NAMES if name not in names]
    here, there, mine = (
        [await gateway.log_in(name) for name in names],
        [await gateway.log_in(name) for name in others],
        await gateway.log_in(names[0], "bob"),
    )
    for stored in (*here, *there, mine):
        assert await gateway.check(stored)
    os.kill(victim.process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    refused = 0

    async def elsewhere() -> None:
        nonlocal refused
        while True:
            for stored in there:
                try:
                    assert await gateway.check(stored)
                except UnavailableError:
                    refused += 1
            await asyncio.sleep(0.01)

    beside = asyncio.create_task(elsewhere())
    key = f"{prefix(bucket_of(names[0]))}m"
    async with asyncio.timeout(60):
        while await asyncio.to_thread(cluster.owner, key, but=victim) is None:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.02)
    promoted_s = time.monotonic() - stopped
    for stored in here:
        assert await answered(lambda stored=stored: gateway.check(stored))  # type: ignore[misc]  # mypy does not infer a lambda's default
    back_s = time.monotonic() - stopped
    # Seasoned or not, held and renewed at the new primary.
    for name in names:
        lease = await answered(lambda name=name: gateway.replica.lease(bucket_of(name)))  # type: ignore[misc]  # as above
        ends = lease.ends
        await until(lambda lease=lease, ends=ends: lease.ends > ends)  # type: ignore[misc]  # as above
    later = await answered(lambda: gateway.log_in(names[0], "carol"))
    assert await gateway.check(later)
    await answered(lambda: gateway.sessions.end_family(mine.session, cookie=mine.cookie.reveal()))
    assert not await gateway.check(mine)
    await answered(lambda: gateway.revoke(names[0], "carol"))
    assert not await gateway.check(later)
    beside.cancel()
    await asyncio.gather(beside, return_exceptions=True)
    victim.stop()
    assert refused == 0, "the other primaries' tenants noticed"
    assert back_s < promoted_s + 3


class Halves(RedisClient):
    """Two primaries, of which the first does not answer."""

    clustered = True

    def __init__(self) -> None:
        self.rounds = {"gone": 0, "here": 0}

    def apart(self, *, at_once: int) -> Halves:
        return self

    async def by_primary(self, keys: Mapping[int, str]) -> dict[str, list[int]]:
        return {
            name: there
            for name, there in {
                "gone": [b for b in keys if b % 2],
                "here": [b for b in keys if not b % 2],
            }.items()
            if there
        }

    async def run_together_durably(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int]]]
    ) -> list[Any]:
        primary = "gone" if calls[0][0][0] == f"{prefix(1)}l" else "here"
        self.rounds[primary] += 1
        if primary == "gone":
            await asyncio.Event().wait()
        return [[[b"s " + b"a" * 40 + b" nonce", b"0", b"0", []]] for _ in calls]


async def test_a_primary_that_does_not_answer_delays_the_leases_of_no_other() -> None:
    redis, cache = Halves(), SessionCache()
    replica = LeaseClient(redis, cache, name="one", staleness_s=0.05, monotonic=time.monotonic)
    replica.leases |= {
        bucket: Lease(bucket, 60.0, cache, used_at=time.monotonic()) for bucket in range(4)
    }
    running = asyncio.create_task(replica.run())
    await until(lambda: redis.rounds["here"] >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert redis.rounds["gone"] == 1
    assert [replica.leases[bucket].held(time.monotonic()) for bucket in range(4)] == [
        True,
        False,
        True,
        False,
    ]
