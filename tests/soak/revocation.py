"""Revocation under load, with the push channel cut, with a worker frozen, and through fail-overs.

``python -m tests.soak.revocation [load|saturated|frozen|sentinel|isolated|cluster|all] [--small]``
prints what it measured; exit code 1 where a check that was sent after an acknowledgement was
allowed, or somebody was logged out by nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from redis.crc import key_slot

from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.seal import parse_token
from tests.sessions import servers
from tests.soak.fleet import Account, Connection, Fleet, quantiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    replicas: int
    workers: int
    people: int
    sessions_each: int
    revocations: int
    disturbed: int
    connections: int
    pause_s: float = 0.0


FULL = Size(
    replicas=3,
    workers=2,
    people=500,
    sessions_each=20,
    revocations=200,
    disturbed=20,
    connections=24,
    pause_s=0.05,
)
SMALL = Size(
    replicas=2,
    workers=1,
    people=60,
    sessions_each=2,
    revocations=15,
    disturbed=3,
    connections=4,
    pause_s=0.01,
)
MARGIN_S = 0.25
"""Beyond a staleness, for everything that is not waiting."""
HELD_S = 0.3
"""How late a replica hears: of a revocation; and of the reply to a frozen worker's read, which
arrives while the worker stands still.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a scenario promises to have measured."""

    name: str
    lines: tuple[str, ...]
    account: Account
    late: int = 0
    """Acknowledgements that took longer than a staleness and ``MARGIN_S``."""

    @property
    def kept(self) -> bool:
        """What holds on any machine, however busy."""
        return (
            self.account.broken == 0
            and self.account.wrong_logouts == 0
            and not self.account.without_retry_after
        )

    @property
    def ok(self) -> bool:
        return self.kept and self.late == 0

    def __str__(self) -> str:
        a = self.account
        total = a.allowed + a.denied + a.unavailable
        head = (
            f"{self.name}: {total} checks ({a.allowed} allowed, {a.denied} denied, "
            f"{a.unavailable} answered otherwise, {a.failed} without an answer)"
        )
        return "\n  ".join(
            [
                head,
                *self.lines,
                (
                    f"sent after an acknowledgement and allowed: {a.broken}; wrong logouts: "
                    f"{a.wrong_logouts}; acknowledged too late: {self.late}; answers without "
                    f"Retry-After, by status and reason: {dict(a.without_retry_after)}"
                ),
            ]
        )


@contextlib.asynccontextmanager
async def single(size: Size) -> AsyncIterator[tuple[Fleet, servers.Server, servers.Relay]]:
    """The relay is the last replica's way to the store."""
    with tempfile.TemporaryDirectory() as name, servers.running(Path(name) / "valkey") as server:
        async with (
            servers.relay(server.port) as far,
            Fleet(
                Path(name) / "fleet",
                f"redis://127.0.0.1:{server.port}",
                replicas=size.replicas,
                workers=size.workers,
                last_redis_url=f"redis://127.0.0.1:{far.port}",
            ) as fleet,
        ):
            await fleet.log_in(size.people, sessions_each=size.sessions_each)
            yield fleet, server, far


async def under_load(size: Size) -> Result:
    """Nothing is wrong; then the push channel is cut again and again; then one replica hears
    everything late, and is asked at the moment of the acknowledgement.
    """
    async with single(size) as (fleet, server, far):
        # A primary is trusted after a staleness.
        await asyncio.sleep(fleet.staleness_s + 1)
        fleet.load(size.connections, pause_s=size.pause_s)
        await asyncio.sleep(1)
        usual = [(await fleet.revoke())[1:] for _ in range(size.revocations)]
        durable, confirmed, acknowledged = (
            [_seconds(said, field) for _, said in usual]
            for field in ("durable_ms", "confirmed_ms", "acknowledged_ms")
        )
        cutting = asyncio.create_task(_cut_push(server))
        await asyncio.sleep(0.5)
        cut = [(await fleet.revoke())[1] for _ in range(size.disturbed)]
        cutting.cancel()
        await asyncio.sleep(0.5)
        await fleet.rest()
        late_push = [await _revoke_behind(fleet, far) for _ in range(size.disturbed)]
        late = sum(
            took > fleet.staleness_s + MARGIN_S
            for took in [*(took for took, _ in usual), *cut, *late_push]
        )
        lines = (
            (
                f"{len(fleet.people) * size.sessions_each} sessions, {size.replicas} replicas "
                f"x {size.workers} workers; check: {quantiles(fleet.account.seconds)}"
            ),
            (
                f"{len(usual)} revocations, received to acknowledged: {quantiles(acknowledged)} "
                f"(goal: p99 25 ms); of it to durable: {quantiles(durable)}, to the last replica's "
                f"confirmation: {quantiles(confirmed)}"
            ),
            f"asked to answered, with the audit log: {quantiles([took for took, _ in usual])}",
            f"{len(cut)} with the push channel cut: {quantiles(cut)}",
            f"{len(late_push)} with a replica that hears late: {quantiles(late_push)}",
        )
        return Result("under load", lines, fleet.account, late)


async def _revoke_behind(fleet: Fleet, far: servers.Relay) -> float:
    """Seconds to the acknowledgement. Every worker has the sessions in its memory; those of the
    last replica hear of the end after ``HELD_S``, well within their leases.
    """
    person = fleet.fresh_person()
    await fleet.store_answers()
    await fleet.ask_everywhere(person)
    far.delay_s = HELD_S
    try:
        _, took, _ = await fleet.revoke(person)
        await fleet.ask_everywhere(person)
    finally:
        far.delay_s = 0.0
    return took


async def saturated(size: Size) -> Result:
    """As many checks as the machine can take, all the time: what a revocation costs when nothing
    has room.
    """
    result = await under_load(
        replace(
            size, connections=4 * size.connections, pause_s=0.0, revocations=size.revocations // 4
        )
    )
    return replace(
        result,
        name="saturated",
        lines=(
            *result.lines,
            f"{result.late} of them took longer than a staleness and {MARGIN_S * 1000:.0f} ms",
        ),
        late=0,
    )


def _seconds(said: dict[str, object], field: str) -> float:
    """Of an answer of the admin API; for ``confirmed_ms``, the last replica's."""
    replicas = said.get("replicas")
    rows = replicas if field == "confirmed_ms" and isinstance(replicas, list) else [said]
    times = [row.get(field) for row in rows if isinstance(row, dict)]
    return max((float(t) for t in times if isinstance(t, (int, float))), default=0.0) / 1000


async def _cut_push(server: servers.Server) -> None:
    while True:
        await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.02)


async def frozen(size: Size) -> Result:
    """A worker is stopped while it waits for the store's reply about one request, with more behind
    it; the person is revoked; more follow; it thaws.
    """
    # The world's size plays no part in this.
    size = replace(size, people=min(size.people, 60), sessions_each=2)
    with tempfile.TemporaryDirectory() as name, servers.running(Path(name) / "valkey") as server:
        async with (
            servers.relay(server.port) as front,
            Fleet(
                Path(name) / "fleet",
                f"redis://127.0.0.1:{front.port}",
                replicas=size.replicas,
                workers=size.workers,
            ) as fleet,
        ):
            await fleet.log_in(size.people, sessions_each=size.sessions_each)
            await asyncio.sleep(fleet.staleness_s + 1)
            took: list[float] = []
            behind = 0
            for _ in range(size.disturbed):
                seconds, waiting = await _freeze_once(fleet, front)
                took.append(seconds)
                behind += waiting
            late = sum(seconds > fleet.staleness_s + MARGIN_S for seconds in took)
            lines = (
                f"{len(took)} revocations beside a frozen replica: {quantiles(took)}",
                (
                    "in each round one request in flight (the store's reply on its way to the "
                    f"stopped worker), and {behind // len(took)} behind it"
                ),
            )
            return Result("frozen", lines, fleet.account, late)


async def _freeze_once(fleet: Fleet, front: servers.Relay) -> tuple[float, int]:
    """Seconds to the acknowledgement, and how many requests waited behind the one in flight."""
    pids = fleet.worker_pids(fleet.processes[1])
    person = fleet.fresh_person()
    warm, cold = person.cookies[:2]
    connections = [Connection(fleet.check_ports[0]) for _ in range(8)]
    for connection in connections:  # every worker's memory
        await connection.send(warm)
        await connection.answer()
    token, under_way = parse_token(cold), asyncio.Event()
    assert token is not None
    digest = token.digest.encode()
    front.watch = lambda data: under_way.set() if digest in data else None
    front.delay_s = HELD_S
    in_flight = Connection(fleet.check_ports[0])
    sent = [(in_flight, person, time.monotonic())]
    await in_flight.send(cold)
    async with asyncio.timeout(30):
        await under_way.wait()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    front.watch, front.delay_s = None, 0.0

    async def more() -> None:
        for connection in (in_flight, *connections):
            sent.append((connection, person, time.monotonic()))
            await connection.send(warm)

    await more()
    _, seconds, _ = await fleet.revoke(person)
    await more()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    waited = len(sent) - 1
    for connection, whose, at in sent:
        status, answer = await connection.answer()
        fleet.note(whose, at, status, answer)
    # What the reply of before said is in nobody's memory.
    for connection in (in_flight, *connections):
        for cookie in (warm, cold):
            at = time.monotonic()
            await connection.send(cookie)
            fleet.note(person, at, *await connection.answer())
        await connection.close()
    await fleet.store_answers()
    return seconds, waited


async def through_failover(
    size: Size, name: str, url: str, fleet: Fleet, strike: Callable[[], Coroutine[None, None, None]]
) -> Result:
    """Load and revocations before, during and after a fail-over."""
    await asyncio.sleep(fleet.staleness_s + 1)
    fleet.load(size.connections, pause_s=size.pause_s)
    await asyncio.sleep(0.5)
    before = [(await fleet.revoke())[1] for _ in range(size.disturbed)]
    under_way = [asyncio.create_task(fleet.revoke()) for _ in range(size.disturbed)]
    struck = time.monotonic()
    await strike()
    during = [(await task)[1] for task in under_way]
    recovered = await _recovered(fleet, struck)
    after = [(await fleet.revoke())[1] for _ in range(size.disturbed)]
    await asyncio.sleep(0.5)
    await fleet.rest()
    lines = (
        (
            f"acknowledged before: {quantiles(before)}; asked for when it struck: "
            f"{quantiles(during)}; after: {quantiles(after)}"
        ),
        f"checks answered again by every replica {recovered:.1f} s after the fail-over began",
    )
    return Result(name, lines, fleet.account)


async def _recovered(fleet: Fleet, struck: float) -> float:
    await fleet.store_answers()
    return time.monotonic() - struck


SENTINEL = (
    "sentinel monitor gw 127.0.0.1 {port} 2\nsentinel down-after-milliseconds gw "
    "2000\nsentinel failover-timeout gw 10000\nsentinel parallel-syncs gw 1\n"
)
REPLICATED = ("--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1")
"""As ``gateway config check`` demands it: sooner, and sentinels fail over again and again."""


async def sentinel_kill(size: Size) -> Result:
    """Three sentinels, a primary and two replicas; the primary is killed."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        primary = stack.enter_context(servers.running(folder / "p", *REPLICATED))
        replicas = [
            stack.enter_context(
                servers.running(
                    folder / f"r{n}", *REPLICATED, "--replicaof", f"127.0.0.1 {primary.port}"
                )
            )
            for n in (1, 2)
        ]
        for replica in replicas:
            replica.until(lambda reply: b"master_link_status:up" in reply, "INFO", "replication")
        watchers = [
            stack.enter_context(
                servers.running(folder / f"s{n}", sentinel=SENTINEL.format(port=primary.port))
            )
            for n in (1, 2, 3)
        ]
        for watcher in watchers:
            watcher.until(lambda reply: b"slaves=2,sentinels=3" in reply, "INFO", "sentinel")
        hosts = ",".join(f"127.0.0.1:{w.port}" for w in watchers)
        url = f"redis+sentinel://{hosts}/gw"
        async with Fleet(
            folder / "fleet", url, replicas=size.replicas, workers=size.workers, min_replicas=1
        ) as fleet:
            await fleet.log_in(size.people, sessions_each=size.sessions_each)

            async def strike() -> None:
                await asyncio.to_thread(primary.stop)

            return await through_failover(size, "sentinel, primary killed", url, fleet, strike)


async def sentinel_isolated(size: Size) -> Result:
    """The primary answers the gateway, but reaches neither its replicas nor a sentinel: both know
    it by the port of a relay, which is cut.

    Less than ``scripts/soak fleet isolated-primary``, which needs network namespaces: here the
    gateways cannot connect anew.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        primary = stack.enter_context(servers.running(folder / "p", *REPLICATED[:2]))
        async with servers.relay(primary.port) as front:
            copies = [
                await asyncio.to_thread(
                    servers.start,
                    folder / f"r{n}",
                    *REPLICATED[:2],
                    "--replicaof",
                    f"127.0.0.1 {front.port}",
                )
                for n in (1, 2)
            ]
            for copy in copies:
                stack.callback(copy.stop)
                await asyncio.to_thread(
                    copy.until,
                    lambda reply: b"master_link_status:up" in reply,
                    "INFO",
                    "replication",
                )
            start = [
                asyncio.to_thread(
                    servers.start, folder / f"s{n}", sentinel=SENTINEL.format(port=front.port)
                )
                for n in (1, 2, 3)
            ]
            watchers = await asyncio.gather(*start)
            for watcher in watchers:
                stack.callback(watcher.stop)
                await asyncio.to_thread(
                    watcher.until,
                    lambda reply: b"slaves=2,sentinels=3" in reply,
                    "INFO",
                    "sentinel",
                )
            url = f"redis+sentinel://{','.join(f'127.0.0.1:{w.port}' for w in watchers)}/gw"
            # The gateways' own connections are made before, and are kept: theirs are the pairs that
            # are not cut.
            async with Fleet(
                folder / "fleet", url, replicas=size.replicas, workers=size.workers, min_replicas=1
            ) as fleet:
                await fleet.log_in(size.people, sessions_each=size.sessions_each)
                machinery = {*(c.process.pid for c in copies), *(w.process.pid for w in watchers)}

                async def strike() -> None:
                    front.cut = True
                    await asyncio.to_thread(_cut_machinery, front, machinery)
                    old = f"\r\n{front.port}\r\n".encode()
                    await asyncio.to_thread(
                        watchers[0].until,
                        lambda reply: old not in reply,
                        "SENTINEL",
                        "GET-MASTER-ADDR-BY-NAME",
                        "gw",
                        seconds=60,
                    )

                return await through_failover(
                    size, "sentinel, primary isolated", url, fleet, strike
                )


def _cut_machinery(front: servers.Relay, pids: set[int]) -> None:
    """Abort the relay's connections that come from these processes; the others go on."""
    inodes = {
        str(link.readlink())
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if _is_socket(link)
    }
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in inodes:
            ports.add(int(fields[1].split(":")[1], 16))
    for writer in list(front.writers):
        peer = writer.get_extra_info("peername")
        if peer is not None and peer[1] in ports:
            loop = (
                writer.transport.get_loop()
                if hasattr(writer.transport, "get_loop")
                else writer._loop  # type: ignore[attr-defined]  # asyncio keeps it there
            )
            loop.call_soon_threadsafe(writer.transport.abort)


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:
        return False


async def cluster_kill(size: Size) -> Result:
    """A Cluster of three primaries with replicas, two where one must be left; the primary that
    holds the tenant is killed.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        nodes = await asyncio.to_thread(
            stack.enter_context,
            servers.cluster(folder / "c", replicas=_replicas_for("acme"), node_timeout_ms=1000),
        )
        async with Fleet(
            folder / "fleet",
            nodes.url,
            replicas=size.replicas,
            workers=size.workers,
            min_replicas=1,
        ) as fleet:
            await fleet.log_in(size.people, sessions_each=size.sessions_each)
            owner = nodes.owner(f"{prefix(bucket_of('acme'))}m")
            assert owner is not None

            async def strike() -> None:
                await asyncio.to_thread(owner.stop)

            return await through_failover(size, "cluster, primary killed", nodes.url, fleet, strike)


def _replicas_for(tenant: str) -> tuple[int, ...]:
    """Two for the primary that holds the tenant: when it is gone, the one that took over needs one
    that confirms.
    """
    shard = key_slot(prefix(bucket_of(tenant)).encode()) * 3 // 16384
    return tuple(2 if n == shard else 1 for n in range(3))


SCENARIOS: dict[str, Callable[[Size], Coroutine[None, None, Result]]] = {
    "load": under_load,
    "saturated": saturated,
    "frozen": frozen,
    "sentinel": sentinel_kill,
    "isolated": sentinel_isolated,
    "cluster": cluster_kill,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak revocation", description=__doc__)
    parser.add_argument("scenario", nargs="?", default="all", choices=[*SCENARIOS, "all"])
    parser.add_argument("--small", action="store_true", help="as the tests run it: seconds")
    arguments = parser.parse_args()
    failed = False
    for name, scenario in SCENARIOS.items():
        if arguments.scenario in {name, "all"}:
            began = time.monotonic()
            result = asyncio.run(scenario(SMALL if arguments.small else FULL))
            sys.stdout.write(
                f"{result}\n  {'ok' if result.ok else 'NOT OK'}; took "
                f"{time.monotonic() - began:.0f} s\n"
            )
            sys.stdout.flush()
            failed |= not result.ok
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
