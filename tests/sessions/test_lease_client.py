"""Memory, leases, push and acknowledgement against a real Valkey: docs/sessions.md, "Lease" and
"Acknowledgement".
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from gateway.background import background_task, forever
from gateway.core.reason import Reason
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.restore import Markers
from gateway.sessions.api import MISS
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import Target, client_to
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.lease_client import LeaseClient, steady
from gateway.sessions.memory import SessionCache
from gateway.sessions.negative_cache import LIFE_S, MAX_UNKNOWN, HostBuckets, Unknown
from tests.sessions.conftest import CHILD, HOST, Clock, Login, identity, shown, tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.keys import ring as keys
    from gateway.sessions.api import SessionCreated
    from gateway.sessions.codec import Record
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.embedded import EmbeddedValkey

STALENESS_S = 1.0
LEASES = f"{prefix(bucket_of('acme'))}l"


@dataclass
class Worker:
    """One worker as it is put together in ``app``, with a clock of its own."""

    redis: RedisClient
    ring: keys.KeyRing
    name: str
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.cache = SessionCache()
        self.replica = LeaseClient(
            self.redis,
            self.cache,
            name=self.name,
            staleness_s=STALENESS_S,
            monotonic=lambda: self.clock.steady,
        )
        self.sessions = CachedSessions(
            self.redis,
            lambda: self.ring,
            cache=self.cache,
            lease_client=self.replica,
            monotonic=lambda: self.clock.steady,
            clock=time.time,
        )

    def cached(self, stored: SessionCreated) -> object:
        return self.sessions.cached(stored.cookie.reveal(), host=HOST)

    async def get(self, stored: SessionCreated) -> object:
        return await shown(self.sessions, stored.cookie.reveal())


@pytest.fixture
async def markers(redis: RedisClient, clock: Clock) -> Markers:
    async def restore(tenant: str) -> None:
        assert tenant == "acme"

    async def recorded() -> list[str]:
        return ["acme"]

    return Markers(
        redis,
        tenants=recorded,
        restore=restore,
        generation=lambda: 0,
        staleness_s=STALENESS_S,
        monotonic=lambda: clock.steady,
    )


async def trust(keeper: Markers, clock: Clock) -> None:
    await keeper.look()
    await keeper.look()
    clock.advance(STALENESS_S)
    await keeper.look()


@pytest.fixture
async def worker(
    valkey: EmbeddedValkey, markers: Markers, ring: keys.KeyRing
) -> AsyncIterator[Worker]:
    redis = client_to(Target("unix", path=valkey.socket_path), ca_file=None, replicas=0)
    made = Worker(redis, ring, "one")
    yield made
    await made.sessions.touches.close()
    await redis.close()


@pytest.fixture
async def stored(worker: Worker) -> SessionCreated:
    return await Login(worker.sessions, tenant()).finish()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of another room, without an event to wait for
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Renewing and listening, and hearing the channel already."""
    tasks = [
        asyncio.create_task(work) for w in workers for work in (w.replica.run(), w.replica.listen())
    ]
    try:
        await until(lambda: all(w.replica.hearing for w in workers))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- memory
# -----------------------------------------------------------------------------------------


async def test_the_second_check_is_answered_from_memory_without_a_command(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    assert worker.cached(stored) is MISS
    assert await worker.get(stored) == stored.session
    await worker.sessions.touches.settle()
    before = (await redis.command("INFO", "stats"))["total_commands_processed"]
    assert worker.cached(stored) == stored.session
    assert await worker.get(stored) == stored.session
    assert (await redis.command("INFO", "stats"))["total_commands_processed"] == before + 1


async def test_what_cannot_be_a_session_here_is_not_asked_for_and_what_was_none_not_twice_a_second(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    other_tenant = replace(
        tenant("globex"),
        hosts=frozenset({CHILD}),
        email_domains=frozenset({"globex.test"}),
        client_id="other",
    )
    table = TenantTable.of([tenant("acme"), other_tenant], shared_hosts=["apps.example.com"])
    worker.sessions._may_hold = HostBuckets(lambda: table)
    assert await worker.get(stored) == stored.session
    await worker.sessions.touches.settle()

    async def asked(cookie: str, host: str = HOST) -> bool:
        """Whether it took a command to find none."""
        before = (await redis.command("INFO", "stats"))["total_commands_processed"]
        assert await worker.sessions.find(cookie, host=host) is None
        return (await redis.command("INFO", "stats"))["total_commands_processed"] > before + 1  # type: ignore[no-any-return]  # redis-py's

    free = next(
        bucket for bucket in range(1024) if bucket not in {bucket_of("acme"), bucket_of("globex")}
    )
    here, there, nobodys = (
        f"{bucket:03x}{'A' * 43}" for bucket in (bucket_of("acme"), bucket_of("globex"), free)
    )
    assert [
        await asked(there),
        await asked(nobodys),
        await asked(here, CHILD),
        await asked(nobodys, "apps.example.com"),
        await asked(here, "unknown.example.com"),
    ] == [False] * 5
    assert [await asked(here), await asked(here), await asked(here, "apps.example.com")] == [
        True,
        False,
        False,
    ]
    assert worker.sessions.why_not(there, tenant="acme") is Reason.WRONG_TENANT
    worker.clock.advance(LIFE_S)
    assert await asked(here)
    # What is there is not taken for unknown, wherever it was shown before.
    other = await Login(worker.sessions, tenant()).finish(identity=identity("bob"))
    assert await worker.sessions.find(other.cookie.reveal(), host="apps.example.com") is None
    assert await worker.get(other) == other.session


def test_of_unknown_cookies_only_the_latest_are_remembered() -> None:
    unknown = Unknown()
    for number in range(MAX_UNKNOWN + 1):
        unknown.add(str(number), 0.0)
    assert [unknown.has("0", 0.5), unknown.has("1", 0.5), unknown.has(str(MAX_UNKNOWN), 0.5)] == [
        False,
        True,
        True,
    ]


async def test_memory_answers_for_the_host_of_the_session_only(
    worker: Worker, stored: SessionCreated
) -> None:
    await worker.get(stored)
    assert worker.sessions.cached(stored.cookie.reveal(), host="other.example.com") is None


async def test_outside_the_lease_memory_is_silent(worker: Worker, stored: SessionCreated) -> None:
    await worker.get(stored)
    worker.clock.advance(STALENESS_S)
    assert worker.cached(stored) is MISS


async def test_a_session_idles_out_of_memory_when_it_does_in_the_store(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    await redis.command("PEXPIRE", f"{prefix(bucket_of('acme'))}s:{stored.session.digest}", 500)
    await worker.get(stored)
    worker.clock.advance(0.6)
    assert worker.cached(stored) is MISS


async def test_a_replica_whose_clock_is_behind_answers_no_longer_than_the_store_has_the_session(
    worker: Worker, redis: RedisClient
) -> None:
    stored = await Login(worker.sessions, tenant(absolute_s=60)).finish()
    key = f"{prefix(bucket_of('acme'))}s:{stored.session.digest}"
    worker.sessions._clock = lambda: time.time() - 3600
    assert await worker.get(stored) == stored.session
    await worker.sessions.touches.settle()
    assert 0 < await redis.command("PTTL", key) <= 60_000, "its limit, by the store's clock"
    entry = worker.cache.found[stored.cookie.reveal()]
    assert entry.until - worker.clock.steady <= 60, "and in memory"
    await redis.command("PEXPIRE", key, 0)
    worker.clock.advance(60)
    assert worker.cached(stored) is MISS
    assert await worker.get(stored) is None


async def test_a_session_used_from_memory_keeps_its_idle_time(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    key = f"{prefix(bucket_of('acme'))}s:{stored.session.digest}"
    await worker.get(stored)
    await worker.sessions.touches.settle()
    await redis.command("PEXPIRE", key, 900_000)
    for _ in range(2):
        worker.clock.advance(1800 / 8)
        await worker.replica.renew([bucket_of("acme")])
        await worker.get(stored)
        await worker.sessions.touches.settle()
    assert await redis.command("PTTL", key) > 1_700_000


async def test_a_touch_that_failed_is_made_up_for_at_the_next_answer_from_memory(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    key = f"{prefix(bucket_of('acme'))}s:{stored.session.digest}"
    touch, fails = worker.sessions.touches._touch, [True]

    async def once(record: Record, active_s: float) -> None:
        if fails and fails.pop():
            raise UnavailableError("Redis: touch")
        await touch(record, active_s)

    worker.sessions.touches._touch = once
    await worker.get(stored)
    worker.clock.advance(1800 / 8)
    await worker.replica.renew([bucket_of("acme")])
    await worker.get(stored)
    await worker.sessions.touches.settle()
    await redis.command("PEXPIRE", key, 900_000)
    await worker.get(stored)
    await worker.sessions.touches.settle()
    assert await redis.command("PTTL", key) > 1_700_000


async def test_a_hit_takes_about_a_microsecond(worker: Worker, stored: SessionCreated) -> None:
    await worker.get(stored)
    cookie, cached = stored.cookie.reveal(), worker.sessions.cached
    best = min(_timed(lambda: cached(cookie, host=HOST), 2000) for _ in range(20))
    assert best < 10e-6


def _timed(call: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


async def test_an_unknown_or_malformed_cookie_is_no_session(
    worker: Worker, stored: SessionCreated
) -> None:
    assert await worker.sessions.find("x", host=HOST) is None
    assert await worker.sessions.find(stored.cookie.reveal()[:3] + "A" * 43, host=HOST) is None


async def test_logging_out_empties_this_memory_at_once(
    worker: Worker, stored: SessionCreated
) -> None:
    await worker.get(stored)
    await worker.sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert worker.cached(stored) is MISS
    assert await worker.get(stored) is None


# --- markers
# ----------------------------------------------------------------------------------------


async def test_without_a_marker_nothing_is_answered(
    worker: Worker, stored: SessionCreated, redis: RedisClient, markers: Markers
) -> None:
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    with pytest.raises(UnavailableError, match="not yet restored"):
        await worker.get(stored)
    assert await markers.look() == 1
    assert await worker.get(stored) == stored.session


async def test_a_marker_of_another_server_does_not_fit(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    await redis.command("SET", f"{prefix(bucket_of('acme'))}m", "s " + "0" * 40 + " nonce")
    with pytest.raises(UnavailableError, match="not yet restored"):
        await worker.get(stored)


async def test_a_restored_server_ends_every_incarnation(
    worker: Worker, stored: SessionCreated, redis: RedisClient, markers: Markers
) -> None:
    await worker.get(stored)
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    await markers.look()
    await worker.replica.renew([bucket_of("acme")])
    assert worker.cached(stored) is MISS


async def test_a_direct_read_at_another_server_than_the_lease_does_not_count(
    worker: Worker, stored: SessionCreated, redis: RedisClient, markers: Markers
) -> None:
    lease = await worker.replica.lease(bucket_of("acme"))
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    await markers.look()
    incarnation = lease.incarnation
    assert await worker.get(stored) == stored.session
    assert lease.incarnation > incarnation


async def test_flushing_the_store_logs_nobody_out_until_it_was_restored(
    worker: Worker, stored: SessionCreated, redis: RedisClient, markers: Markers
) -> None:
    await worker.get(stored)
    await redis.command("FLUSHALL")
    worker.clock.advance(STALENESS_S)
    with pytest.raises(UnavailableError):
        await worker.get(stored)
    assert await markers.look() == 1024
    assert await worker.get(stored) is None


async def test_a_tenant_whose_record_cannot_be_restored_keeps_no_other_one_out(
    redis: RedisClient, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of ours, met at the worst time: it is logged once, tried again, and nobody but
    those of its bucket waits for it.
    """
    broken, lost, looked = True, False, asyncio.Semaphore(0)

    async def restore(tenant: str) -> None:
        if tenant == "broken" and broken:
            raise KeyError

    async def recorded() -> list[str]:
        if lost:
            raise LookupError
        return ["acme", "broken"]

    async def sleep(_: float) -> None:
        looked.release()
        await asyncio.sleep(0)

    keeper = Markers(
        redis,
        tenants=recorded,
        restore=restore,
        generation=lambda: 0,
        staleness_s=0,
        monotonic=lambda: clock.steady,
        sleep=sleep,
    )
    await redis.command("FLUSHALL")
    for _ in range(3):
        with pytest.raises(UnavailableError, match="KeyError"):
            await keeper.look()
    missing = [
        bucket
        for bucket in range(1024)
        if await redis.command("EXISTS", f"gw:{{{bucket:03x}}}:m") == 0
    ]
    assert missing == [bucket_of("broken")]
    assert [record.message for record in caplog.records].count("redis_restore_failed") == 1

    lost = True
    async with background_task(keeper.run()), asyncio.timeout(20):
        for _ in range(3):
            await looked.acquire()  # nor does anything else end the loop
        lost = broken = False
        while await redis.command("EXISTS", f"gw:{{{bucket_of('broken'):03x}}}:m") == 0:
            await looked.acquire()


async def test_no_mistake_of_ours_ends_the_renewals(
    worker: Worker,
    stored: SessionCreated,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever waits for a lease is told, and what keeps all of them alive goes on."""
    failed: list[str] = []

    def fail(*_: object) -> None:
        failed.append("")
        raise LookupError

    with monkeypatch.context() as broken:
        broken.setattr(worker.replica, "_renew", fail)
        with pytest.raises(UnavailableError, match="no lease"):
            await worker.get(stored)
    async with background_task(forever(worker.replica.run)):
        assert await worker.get(stored) == stored.session
        for name in ("_renew", "sweep", "_begin_rounds"):
            failed.clear()
            with monkeypatch.context() as broken:
                broken.setattr(worker.replica, name, fail)
                await until(lambda: len(failed) > 1)
        beat = worker.replica._beat
        await until(lambda: worker.replica._beat > beat + 1)
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert told.count("cache_lease_renewal_failed") == 2, (
        "once for those who wait for a lease, once for the rounds"
    )
    assert told.count("task_failed") == 4


# --- acknowledgement
# --------------------------------------------------------------------------------


@dataclass
class Reports:
    at: dict[str, float | None] = field(default_factory=dict)

    def __call__(self, replica: str, at: float | None) -> None:
        self.at[replica] = at


async def server_of(redis: RedisClient) -> str:
    return str((await redis.command("INFO", "replication"))["master_replid"])


def acknowledgements(redis: RedisClient) -> Acknowledgements:
    return Acknowledgements(redis, staleness_s=STALENESS_S, monotonic=steady())


async def test_a_revocation_is_acknowledged_when_every_lease_holder_confirmed(
    worker: Worker, stored: SessionCreated, redis: RedisClient, ring: keys.KeyRing
) -> None:
    other = Worker(worker.redis, ring, "two")
    async with running(worker, other):
        for each in (worker, other):
            assert await each.get(stored) == stored.session
        await RedisLogout(redis, ring).end(stored)
        reports, began = Reports(), steady()()
        await acknowledgements(redis).confirm("acme", reports, server=await server_of(redis))
        took = steady()() - began
        assert worker.cached(stored) is MISS
        assert other.cached(stored) is MISS
        assert [name for name, at in reports.at.items() if at is not None] == ["one", "two"]
        assert took < STALENESS_S / RENEWALS_IN_STALENESS


async def test_a_revocation_costs_each_worker_one_renewal(
    worker: Worker, stored: SessionCreated, redis: RedisClient, ring: keys.KeyRing
) -> None:
    workers = (worker, Worker(worker.redis, ring, "two"))
    for each in workers:
        each.replica._interval_s = 3600.0  # none but what is wanted
    async with running(*workers):
        for each in workers:
            assert await each.get(stored) == stored.session
        await until(lambda: all(not w.replica._rounds and not w.replica._wanted for w in workers))
        before = [w.replica._beat for w in workers]
        await RedisLogout(redis, ring).end(stored)
        await until(lambda: all(w.cached(stored) is MISS for w in workers))
        assert [w.replica._beat for w in workers] == before, "a push was confirmed to nobody"
        await acknowledgements(redis).confirm("acme", Reports(), server=await server_of(redis))
        await until(lambda: all(not w.replica._rounds and not w.replica._wanted for w in workers))
        assert [w.replica._beat - b for w, b in zip(workers, before, strict=True)] == [1, 1]


RENEWALS_IN_STALENESS = 5


@dataclass
class RedisLogout:
    """Ends a family from elsewhere."""

    redis: RedisClient
    ring: keys.KeyRing

    async def end(self, stored: SessionCreated) -> None:
        await CachedSessions(
            self.redis,
            lambda: self.ring,
            cache=SessionCache(),
            lease_client=LeaseClient(
                self.redis, SessionCache(), name="x", staleness_s=1, monotonic=steady()
            ),
            monotonic=steady(),
        ).end_family(stored.session, cookie=stored.cookie.reveal())


async def test_without_the_push_channel_a_renewal_brings_the_event(
    worker: Worker, stored: SessionCreated, redis: RedisClient, ring: keys.KeyRing
) -> None:
    renewing = asyncio.create_task(worker.replica.run())
    await worker.get(stored)
    await RedisLogout(redis, ring).end(stored)
    reports = Reports()
    await acknowledgements(redis).confirm("acme", reports, server=await server_of(redis))
    assert worker.cached(stored) is MISS
    assert reports.at["one"] is not None
    renewing.cancel()


async def test_what_a_renewal_brought_is_confirmed_at_once(
    worker: Worker, stored: SessionCreated, redis: RedisClient, ring: keys.KeyRing
) -> None:
    renewing = asyncio.create_task(worker.replica.run())
    await worker.get(stored)
    await RedisLogout(redis, ring).end(stored)
    waiting = asyncio.create_task(
        acknowledgements(redis).confirm("acme", Reports(), server=await server_of(redis))
    )
    async with asyncio.timeout(5):
        while b"-" not in (  # noqa: ASYNC110 - the store tells nobody
            await redis.command("LINDEX", f"{prefix(bucket_of('acme'))}e", -1) or b""
        ):
            await asyncio.sleep(0.001)
    await worker.replica.renew([bucket_of("acme")])
    beat = worker.replica._beat
    await waiting
    assert worker.replica._beat <= beat + 2, "it took another regular round"
    renewing.cancel()


@pytest.mark.parametrize("renewed", [False, True], ids=["joined", "renewed"])
async def test_a_silent_replica_is_waited_for_a_full_staleness_and_then_forgotten(
    worker: Worker,
    stored: SessionCreated,
    redis: RedisClient,
    ring: keys.KeyRing,
    *,
    renewed: bool,
) -> None:
    await worker.get(stored)
    if renewed:
        # From now on the store knows an event that was applied, one before the fence.
        await worker.replica.renew([bucket_of("acme")])
    await RedisLogout(redis, ring).end(stored)
    reports, began = Reports(), steady()()
    await acknowledgements(redis).confirm("acme", reports, server=await server_of(redis))
    assert STALENESS_S <= steady()() - began < STALENESS_S + 0.25
    assert reports.at == {"one": None}
    assert await redis.command("HGETALL", LEASES) == {}


async def test_leases_have_no_time_to_live(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    await worker.get(stored)
    assert await redis.command("PTTL", LEASES) == -1


async def test_on_a_primary_that_is_not_known_for_long_a_full_staleness_passes(
    redis: RedisClient, clock: Clock, markers: Markers
) -> None:
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    await markers.look()
    began = steady()()
    await acknowledgements(redis).confirm("acme", Reports(), server=await server_of(redis))
    assert steady()() - began >= STALENESS_S
    await trust(markers, clock)
    began = steady()()
    await acknowledgements(redis).confirm("acme", Reports(), server=await server_of(redis))
    assert steady()() - began < STALENESS_S / 2


async def test_nothing_is_acknowledged_on_a_store_that_was_not_restored(redis: RedisClient) -> None:
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    with pytest.raises(UnavailableError, match="not yet restored"):
        await acknowledgements(redis).confirm("acme", Reports(), server=await server_of(redis))


async def test_nothing_is_acknowledged_when_another_primary_takes_over_meanwhile(
    worker: Worker, stored: SessionCreated, redis: RedisClient, markers: Markers
) -> None:
    await worker.get(stored)
    waiting = asyncio.create_task(
        acknowledgements(redis).confirm("acme", Reports(), server=await server_of(redis))
    )
    async with asyncio.timeout(5):
        while b"-" not in (  # noqa: ASYNC110 - the store tells nobody
            await redis.command("LINDEX", f"{prefix(bucket_of('acme'))}e", -1) or b""
        ):
            await asyncio.sleep(0.001)
    await redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    await markers.look()
    with pytest.raises(UnavailableError, match="another primary"):
        await waiting


async def test_those_who_wait_together_each_wait_no_longer_than_a_staleness(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    await worker.get(stored)
    acks = acknowledgements(redis)
    first = asyncio.create_task(acks.confirm("acme", Reports(), server=await server_of(redis)))
    await asyncio.sleep(STALENESS_S / 2)
    began = steady()()
    await acks.confirm("acme", Reports(), server=await server_of(redis))
    assert steady()() - began < STALENESS_S + 0.25
    await first


async def test_a_narrowing_is_acknowledged_when_no_replica_answers_by_the_older_snapshot(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    worker.replica.applied(1)
    async with running(worker):
        await worker.get(stored)
        assert not worker.sessions.is_suspended("acme")
        await worker.sessions.wait_for_snapshot("acme")
        reports = Reports()
        await acknowledgements(redis).narrow(["acme"], 2, reports)
        assert reports.at["one"] is not None
        assert worker.sessions.is_suspended("acme")
        assert worker.cached(stored) is MISS
        with pytest.raises(UnavailableError, match="snapshot"):
            await worker.get(stored)
        with pytest.raises(UnavailableError, match="snapshot"):
            await worker.sessions.wait_for_snapshot("acme")
        worker.replica.applied(2)
        assert worker.cached(stored) == stored.session
        assert not worker.sessions.is_suspended("acme")


async def test_whoever_starts_after_a_narrowing_must_have_the_snapshot_too(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    await acknowledgements(redis).narrow(["acme"], 2, Reports())
    with pytest.raises(UnavailableError, match="snapshot"):
        await worker.get(stored)
    worker.replica.applied(2)
    assert await worker.get(stored) == stored.session


async def test_a_worker_that_leaves_is_not_waited_for(
    worker: Worker, stored: SessionCreated, redis: RedisClient
) -> None:
    await worker.get(stored)
    await worker.replica.leave()
    assert worker.cached(stored) is MISS
    assert await redis.command("HGETALL", LEASES) == {}


async def test_a_bucket_that_nobody_asks_for_is_given_up_memory_first(
    worker: Worker, stored: SessionCreated
) -> None:
    await worker.get(stored)
    worker.clock.advance(200)
    assert worker.replica.sweep() == [bucket_of("acme")]
    assert worker.cached(stored) is MISS
    assert worker.cache.found == {}
