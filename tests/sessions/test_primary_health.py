"""How each primary does, told while real servers stop, lose their replicas, forget and come back;
and whether a process is ready then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway import metrics
from gateway.background import background_task
from gateway.config.model import Redis as RedisSettings
from gateway.core.model import Secret
from gateway.runtime.dependencies import clock_state, store_state
from gateway.sessions.clock_offset import APART_S, CERTAIN_S
from gateway.sessions.connection import RedisClient, connect
from gateway.sessions.keyspace import BUCKETS
from gateway.sessions.lease_client import LeaseClient
from gateway.sessions.memory import SessionCache
from gateway.sessions.primary_health import KNOWN_S, Primaries, Primary, State
from tests.sessions import servers
from tests.sessions.conftest import believe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).parents[2]


def watching(redis: RedisClient, *, generation: int = 0, in_use: tuple[int, ...] = ()) -> Primaries:
    return Primaries(redis, generation=lambda: generation, in_use=lambda: in_use)


def gauge(state: State) -> float:
    value = metrics.REGISTRY.get_sample_value("gateway_store_primaries", {"state": state.value})
    assert value is not None
    return value


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """State and state before of every record about one."""
    told = [
        vars(record)["gateway_fields"]
        for record in caplog.records
        if record.message == "store_state"
    ]
    return [(fields["state"], fields["was"]) for fields in told]


async def becomes(
    primaries: Primaries, wanted: Callable[[tuple[Primary, ...]], bool]
) -> tuple[Primary, ...]:
    async with asyncio.timeout(30):
        while not wanted(await primaries.look()):  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(0.02)
    return primaries.found


@contextlib.asynccontextmanager
async def replicated(server: servers.Server, *, replicas: int) -> AsyncIterator[RedisClient]:
    """A link that waits for replicas of the one server that it knows, which a service may
    replace.
    """
    redis = connect(
        RedisSettings(url=Secret(f"redis://127.0.0.1:{server.port}"), min_replicas=replicas)
    )
    await believe(redis)
    try:
        yield redis
    finally:
        await redis.close()


def test_every_state_is_documented_and_every_bad_one_is_alerted_of() -> None:
    page = (ROOT / "docs/operator/metrics.md").read_text("utf-8")
    documented = re.findall(
        r"^\| `(\w+)` \|", page[page.index("| `state` | meaning | what to do |") :], re.MULTILINE
    )
    assert documented == ["state", *(state.value for state in State)]
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8")
    named = [
        state
        for matcher in re.findall(r'gateway_store_primaries\{state=~?"([\w|]+)"\}', rules)
        for state in matcher.split("|")
    ]
    assert sorted(named) == sorted(state.value for state in State if state is not State.ANSWERING)


async def test_it_answers_where_a_check_would_be_answered(
    redis: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.sessions")
    primaries = watching(redis)
    assert primaries.known() == ()
    (found,) = await primaries.look()
    assert (found.state, found.answers) == (State.ANSWERING, True)
    assert events(caplog) == []

    await redis.command("FLUSHALL")
    for _ in range(3):
        (found,) = await primaries.look()
        assert (found.state, found.answers) == (State.NOT_RESTORED, False)
    assert gauge(State.NOT_RESTORED) == 1
    assert gauge(State.ANSWERING) == 0

    await believe(redis)
    (found,) = await becomes(primaries, lambda all_of: all_of[0].state is State.ANSWERING)
    assert events(caplog) == [("not_restored", "answering"), ("answering", "not_restored")], (
        "once for each change"
    )


async def test_one_bucket_of_all_is_found_and_stays_found_until_it_answers(
    redis: RedisClient,
) -> None:
    primaries = watching(redis)
    await redis.command("DEL", f"gw:{{{BUCKETS - 1:03x}}}:m")
    (found,) = await becomes(primaries, lambda all_of: all_of[0].state is not State.ANSWERING)
    assert (found.state, found.answers) == (State.NOT_RESTORED, True), "the others answer"
    assert (await primaries.look())[0].state is State.NOT_RESTORED
    used = watching(redis, in_use=(BUCKETS - 1,))
    assert (await used.look())[0].state is State.NOT_RESTORED, (
        "what people use is asked about first"
    )
    await believe(redis)
    assert (await primaries.look())[0].state is State.ANSWERING


async def test_it_does_not_answer_by_tenants_that_something_was_taken_from_since(
    redis: RedisClient,
) -> None:
    await redis.command(
        "MSET", *(word for bucket in range(BUCKETS) for word in (f"gw:{{{bucket:03x}}}:g", "7"))
    )
    behind = watching(redis, generation=6)
    (found,) = await behind.look()
    assert found.state is State.ANSWERING, "for a moment that is so with every change"
    (found,) = await behind.look()
    assert (found.state, found.answers) == (State.OUTDATED, False)
    assert "snapshot 7" in found.detail
    (found,) = await watching(redis, generation=7).look()
    assert found.state is State.ANSWERING


async def test_a_mistake_about_a_primary_does_not_end_the_asking(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    primaries = watching(redis)

    def mistaken(_: object) -> list[int]:
        raise KeyError

    monkeypatch.setattr(primaries, "_sample", mistaken)
    (found,) = await primaries.look()
    assert (found.state, found.answers) == (State.UNAVAILABLE, False)
    monkeypatch.undo()
    assert (await primaries.look())[0].answers


async def test_what_was_seen_long_ago_is_not_told_any_more(redis: RedisClient) -> None:
    now = 0.0
    primaries = Primaries(redis, generation=lambda: 0, in_use=tuple, monotonic=lambda: now)
    await primaries.look()
    now = KNOWN_S - 1
    assert store_state(primaries.known(), needed=True).ok
    now = KNOWN_S
    assert not store_state(primaries.known(), needed=True).ok


def offset_told() -> float | None:
    return metrics.REGISTRY.get_sample_value("gateway_clock_offset_seconds", {"reference": "redis"})


async def test_a_machines_clock_that_differs_from_the_stores_is_told_and_takes_nothing_away(
    redis: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The store runs on this machine, whose clock is right; ``shift_s`` is the gateway's own."""
    caplog.set_level(logging.INFO, "gateway")
    shift_s = 0.0
    primaries = Primaries(
        redis, generation=lambda: 0, in_use=tuple, wall=lambda: time.time() + shift_s
    )
    assert clock_state(primaries.clock).ok, "not yet asked is not wrong"
    for shift_s in (0.0, 600.0, 600.0, -3600.0, 0.0):
        for _ in range(50):  # a busy machine may be asked too slowly to tell
            (found,) = await primaries.look()
            assert (found.state, found.answers) == (State.ANSWERING, True)
            if found.clock_offset_s is not None:
                break
        seconds = primaries.clock.seconds
        assert seconds is not None
        assert abs(seconds - shift_s) <= CERTAIN_S
        assert offset_told() == seconds
        finding = clock_state(primaries.clock)
        assert (finding.ok, finding.needed) == (not shift_s, False), "told, and ready"
        assert f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} redis" in (
            finding.detail
        )
    told = [record for record in caplog.records if record.message.startswith("clock_")]
    assert [record.message for record in told] == ["clock_apart", "clock_together"]
    assert {vars(record)["gateway_fields"]["reference"] for record in told} == {"redis"}


async def test_of_several_primaries_the_one_that_is_furthest_away_is_told_until_it_is_known_better(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(redis), "clustered", property(lambda _: True))
    primaries = watching(redis)

    def seen(**offsets: float | None) -> str:
        primaries._tell(
            tuple(
                Primary(name, State.ANSWERING, "", answers=True, clock_offset_s=offset)
                for name, offset in offsets.items()
            )
        )
        return clock_state(primaries.clock).detail.removeprefix("this machine's clock is ")

    assert seen(a=None, b=None) == "not compared with redis"
    assert seen(a=0.1, b=-APART_S - 1) == "6.0 s behind redis (b)"
    assert not primaries.clock.is_right
    assert seen(a=0.1, b=None) == "6.0 s behind redis (b)", "a slow answer tells nothing new"
    assert seen(a=0.1) == "0.1 s ahead of redis (a)", "it is no primary any more"
    assert primaries.clock.is_right


@pytest.mark.parametrize(
    "refuses", [False, True], ids=["nothing_confirms", "min_replicas_to_write"]
)
async def test_a_primary_without_a_replica_that_confirms_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, refuses: bool
) -> None:
    options = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1") if refuses else ()
    with (
        servers.running(tmp_path / "p", "--repl-diskless-sync-delay", "0") as server,
        servers.running(tmp_path / "r", "--replicaof", f"127.0.0.1 {server.port}") as replica,
    ):
        replica.until(lambda reply: b"master_link_status:up" in reply, "INFO", "replication")
        async with replicated(server, replicas=1) as redis:
            primaries = watching(redis)
            (found,) = await becomes(primaries, lambda all_of: all_of[0].answers)
            assert found.state is State.NO_SPARE, "it answers, and after a fail-over it would not"
            for words in zip(options[::2], options[1::2], strict=True):
                server.ask("CONFIG", "SET", words[0].removeprefix("--"), words[1])
            rounds = asyncio.Semaphore(0)
            leases = LeaseClient(
                redis,
                SessionCache(),
                name="worker",
                staleness_s=0.5,
                monotonic=time.monotonic,
                each_round=rounds.release,
            )
            await leases.lease(0)
            os.kill(replica.process.pid, signal.SIGSTOP)
            try:
                async with background_task(leases.run()):
                    for _ in range(
                        20
                    ):  # rounds of renewals, of which each that began waits 0.8 s for the replica
                        await rounds.acquire()
                (found,) = await becomes(
                    primaries,
                    lambda all_of: (
                        all_of[0].state is State.NO_REPLICA
                        and (not refuses or "min-replicas-to-write" in all_of[0].detail)
                    ),
                )
                assert not found.answers
                assert gauge(State.NO_REPLICA) == 1
                finding = store_state(primaries.known(), needed=True)
                assert not finding.ok
                assert finding.needed, "not ready"
                assert finding.parts["redis"]["state"] == "no_replica"
                await primaries.look()
            finally:
                os.kill(replica.process.pid, signal.SIGCONT)
            await becomes(primaries, lambda all_of: all_of[0].answers)
            assert gauge(State.NO_REPLICA) == 0
            assert events(caplog) == [
                ("no_spare", "answering"),
                ("no_replica", "no_spare"),
                ("no_spare", "no_replica"),
            ]
            await leases.renew([0])
            assert [record.message for record in caplog.records].count(
                "cache_lease_renewal_failed"
            ) == 1


async def test_of_three_shards_one_that_is_down_is_told_and_takes_no_replica_away(
    tmp_path: Path,
) -> None:
    with servers.cluster(tmp_path) as nodes:
        for node in nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        redis = connect(
            RedisSettings(
                url=Secret(
                    "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
                ),
                min_replicas=0,
            )
        )
        try:
            await believe(redis)
            primaries = watching(redis)
            await primaries.look()
            finding = store_state(primaries.known(), needed=True)
            assert finding.ok
            assert len(finding.parts) == 3
            for primary in await becomes(
                primaries, lambda all_of: all(one.clock_offset_s is not None for one in all_of)
            ):
                assert abs(primary.clock_offset_s or 0) <= CERTAIN_S, "each runs on this machine"

            nodes[1].stop()
            await becomes(primaries, lambda all_of: sum(primary.answers for primary in all_of) == 2)
            finding = store_state(primaries.known(), needed=True)
            assert (finding.ok, finding.needed) == (False, False), "told, and ready"
            assert finding.parts[f"127.0.0.1:{nodes[1].port}"]["state"] == "unavailable"

            nodes[0].stop()
            nodes[2].stop()
            await becomes(primaries, lambda all_of: not any(primary.answers for primary in all_of))
            finding = store_state(primaries.known(), needed=True)
            assert (finding.ok, finding.needed) == (False, True), "not ready"
            assert not store_state(primaries.known(), needed=False).needed, (
                "of an admin role alone it is told: hooks are kept in SQL"
            )
        finally:
            await redis.close()
