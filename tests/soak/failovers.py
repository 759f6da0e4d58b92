"""One fail-over after the other, in one fleet: how long checks are 503, and how long a revocation
that was under way waits.

``python -m tests.soak.failovers sentinel-failover|cluster-failover [--rounds 50]`` prints a line
for each and their quantiles; exit code 1 where a check that was sent after an acknowledgement was
allowed, somebody was logged out by nobody, a 503 did not say when to ask again, or a round took
longer than ``--back`` and ``--acknowledged`` permit. With sentinels
each round takes half a minute: they do not fail over again for twice ``failover-timeout``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from redis.crc import key_slot

from gateway.sessions.keyspace import bucket_of, prefix
from tests.sessions.servers import Cluster, Server, cluster, start
from tests.soak.fleet import Connection, Fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.soak.fleet import Person

SERVER = ("--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1", "--appendonly", "yes")
FAILOVER_MS = 10_000
PROBE_S = 0.02
QUIET_S = 3.0
"""Checks must have been answered for so long by every replica before a fail-over counts as over: a
second outage is part of it.
"""
PATIENCE_S = 90.0


@dataclass(slots=True)
class Outage:
    """What one replica answered about somebody who is signed in, since the primary was struck
    (seconds).
    """

    first: float | None = None
    last: float = 0.0
    again: int = 0
    """How often checks went away after they had been back."""
    answered: float = field(default=-1.0, repr=False)

    def note(self, at: float, *, unavailable: bool) -> None:
        if not unavailable:
            self.answered = at
        else:
            if self.first is None:
                self.first = at
            elif self.answered > self.last:
                self.again += 1
            self.last = at


@dataclass(frozen=True, slots=True)
class Round:
    """One fail-over, in seconds since it was struck; ``again`` are outages after the first."""

    at: str
    switched: float
    """Until another server was the primary and had a replica that follows it: what no gateway can
    shorten.
    """
    back: float
    acknowledged: tuple[float, ...]
    again: int

    def __str__(self) -> str:
        return (
            f"switched {self.switched:5.2f} s, checks back {self.back:5.2f} s, acknowledged "
            f"{', '.join(f'{seconds:.2f}' for seconds in self.acknowledged)} "
            f"s{f', {self.again} further outages' if self.again else ''}"
        )


@dataclass(slots=True)
class Sentinels:
    """Three servers and three sentinels, as ``gateway config check`` demands them but for what a
    scenario changes.
    """

    folder: Path
    down_after_ms: int
    servers: list[Server] = field(default_factory=list)
    watchers: list[Server] = field(default_factory=list)
    started: int = 0

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{w.port}' for w in self.watchers)}/gw"

    def start(self) -> None:
        self.add(None)
        for _ in range(2):
            self.add(self.servers[0].port)
        watch = (
            f"sentinel monitor gw 127.0.0.1 {self.servers[0].port} 2\nsentinel "
            f"down-after-milliseconds gw {self.down_after_ms}\n"
            f"sentinel failover-timeout gw {FAILOVER_MS}\nsentinel parallel-syncs gw 1\n"
        )
        self.watchers += [start(self.folder / f"s{n}", sentinel=watch) for n in range(3)]
        for watcher in self.watchers:
            watcher.until(lambda reply: b"slaves=2,sentinels=3" in reply, "INFO", "sentinel")

    def add(self, primary: int | None) -> None:
        following = () if primary is None else ("--replicaof", f"127.0.0.1 {primary}")
        self.started += 1
        server = start(self.folder / f"v{self.started}", *SERVER, *following)
        self.servers.append(server)
        if primary is not None:
            server.until(lambda reply: b"master_link_status:up" in reply, "INFO", "replication")

    def primary(self) -> Server:
        """The one that all others follow, once there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for server in self.servers:
                info = b""
                with contextlib.suppress(OSError):
                    info = server.ask("INFO", "replication")
                if b"role:master" in info and info.count(b"state=online") == len(self.servers) - 1:
                    return server
            time.sleep(0.02)
        raise TimeoutError

    def settle(self) -> None:
        """Replace the server that was killed, and wait until every sentinel would fail over
        again.
        """
        primary = self.primary()
        self.add(primary.port)
        for watcher in self.watchers:
            # Those who are gone would stay on the list.
            watcher.ask("SENTINEL", "RESET", "gw")
            watcher.until(
                lambda reply: b"status=ok" in reply and b"slaves=2,sentinels=3" in reply,
                "INFO",
                "sentinel",
                seconds=PATIENCE_S,
            )

    def kill(self) -> float:
        """Returns when another is the primary, and is followed: how long that took, in seconds."""
        primary = self.primary()
        self.servers.remove(primary)
        struck = time.monotonic()
        primary.stop()
        self.primary()
        return time.monotonic() - struck

    def stop(self) -> None:
        for server in (*self.watchers, *self.servers):
            server.stop()


async def watch(
    fleet: Fleet, port: int | str, person: Person, struck: float, outage: Outage
) -> None:
    """Until cancelled: one check after the other of somebody who stays signed in."""
    connection = Connection(port)
    try:
        while True:
            sent = time.monotonic()
            try:
                await connection.send(person.cookies[0])
                status, answer = await connection.answer()
            except (OSError, asyncio.IncompleteReadError):
                await connection.close()
                status, answer = 503, b"retry-after: 2"
            fleet.note(person, sent, status, answer)
            outage.note(time.monotonic() - struck, unavailable=status == 503)
            await asyncio.sleep(PROBE_S)
    finally:
        await connection.close()


async def fail_over(fleet: Fleet, strike: Callable[[], float], *, under_way: int) -> Round:
    """Strike while revocations are under way; returns when every replica has answered for a
    while.
    """
    witness = fleet.fresh_person()
    others = [
        person for person in fleet.people if person.revoking_since is None and person is not witness
    ]
    struck, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    outages = [Outage() for _ in fleet.check_ports]
    watching = [
        asyncio.create_task(watch(fleet, port, witness, struck, outage))
        for port, outage in zip(fleet.check_ports, outages, strict=True)
    ]
    try:
        revoking = [
            asyncio.create_task(fleet.revoke(person, seconds=PATIENCE_S))
            for person in others[:under_way]
        ]
        switched = await asyncio.to_thread(strike)
        revoked = [(await task)[0] for task in revoking]
        async with asyncio.timeout(PATIENCE_S):
            # A replica whose lease outlasts the fail-over has no outage at all.
            while any(outage.answered < max(outage.last, switched) + QUIET_S for outage in outages):  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.1)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    acknowledged = tuple((person.acknowledged_at or 0.0) - struck for person in revoked)
    return Round(
        at,
        switched,
        max(outage.last for outage in outages),
        acknowledged,
        sum(outage.again for outage in outages),
    )


@dataclass(slots=True)
class Shards:
    """A Cluster of three primaries with replicas; the one that holds the tenant is killed each
    time.
    """

    folder: Path
    node_timeout_ms: int
    nodes: Cluster = field(init=False)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _key: str = f"{prefix(bucket_of('acme'))}m"

    @property
    def url(self) -> str:
        return self.nodes.url

    @property
    def _shard(self) -> int:
        return int(key_slot(self._key.encode())) * 3 // 16384

    def start(self) -> None:
        replicas = tuple(2 if shard == self._shard else 1 for shard in range(3))
        self.nodes = self._stack.enter_context(
            cluster(self.folder / "c", replicas=replicas, node_timeout_ms=self.node_timeout_ms)
        )

    def _primary(self, *, replicas: int) -> Server:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                owner = self.nodes.owner(self._key)
                if (
                    owner is not None
                    and owner.ask("INFO", "replication").count(b"state=online") >= replicas
                ):
                    return owner
            time.sleep(0.02)
        raise TimeoutError

    def kill(self) -> float:
        primary = self._primary(replicas=2)
        struck = time.monotonic()
        primary.stop()
        self._primary(replicas=1)
        return time.monotonic() - struck

    def settle(self) -> None:
        """Another replica for the shard; the node that was killed is forgotten."""
        primary = self._primary(replicas=1)
        self.nodes.add_replica(self._shard, of=primary)
        gone = [
            line.split()[0].decode()
            for line in primary.ask("CLUSTER", "NODES").split(b"\n")
            if b"fail" in line and b"fail?" not in line
        ]
        for node in self.nodes.alive():
            for name in gone:
                node.ask("CLUSTER", "FORGET", name)
        self._primary(replicas=2)

    def stop(self) -> None:
        self._stack.close()


class Store(Protocol):
    """What fails over."""

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> float: ...
    def settle(self) -> None: ...
    def stop(self) -> None: ...


@contextlib.asynccontextmanager
async def running(store: Store) -> AsyncIterator[None]:
    try:
        await asyncio.to_thread(store.start)
        yield
    finally:
        store.stop()


STORES: dict[str, Callable[[Path, argparse.Namespace], Store]] = {
    "sentinel-failover": lambda folder, arguments: Sentinels(folder, arguments.down_after),
    "cluster-failover": lambda folder, arguments: Shards(folder, arguments.node_timeout),
}


async def fail_overs(arguments: argparse.Namespace) -> int:
    """The primary is killed, and another server takes its place; again and again."""
    with (
        contextlib.nullcontext(arguments.keep)
        if arguments.keep
        else tempfile.TemporaryDirectory() as name
    ):
        store = STORES[arguments.scenario](Path(name), arguments)
        async with running(store):  # noqa: SIM117 - the fleet is told its address
            async with Fleet(
                Path(name) / "fleet",
                store.url,
                replicas=arguments.replicas,
                workers=1,
                min_replicas=1,
            ) as fleet:
                await fleet.log_in(
                    arguments.rounds * (arguments.under_way + 1) + 10, sessions_each=1
                )
                await asyncio.sleep(fleet.staleness_s + 1)
                fleet.load(4, pause_s=PROBE_S)  # of those, too, about whom a promise was made
                rounds = []
                for number in range(arguments.rounds):
                    result = await fail_over(fleet, store.kill, under_way=arguments.under_way)
                    sys.stdout.write(
                        f"{number + 1:3}: {result}"
                        f"{f', struck at {result.at}' if arguments.keep else ''}\n"
                    )
                    sys.stdout.flush()
                    rounds.append(result)
                    if number + 1 < arguments.rounds:
                        settling = time.monotonic()
                        await asyncio.to_thread(store.settle)
                        rest_s = (
                            2 * FAILOVER_MS / 1000
                            if isinstance(store, Sentinels)
                            else fleet.staleness_s + 1
                        )
                        await asyncio.sleep(max(0.0, rest_s - (time.monotonic() - settling)))
                return report(
                    rounds, fleet, back_s=arguments.back, acknowledged_s=arguments.acknowledged
                )


def report(rounds: list[Round], fleet: Fleet, *, back_s: float, acknowledged_s: float) -> int:
    """Exit code 1 also where one of the rounds took longer than it may."""
    back, acknowledged = (
        [r.back for r in rounds],
        [seconds for r in rounds for seconds in r.acknowledged],
    )
    switched, account = [r.switched for r in rounds], fleet.account
    sys.stdout.write(
        f"{len(rounds)} fail-overs: another primary p50 {statistics.median(switched):.2f} "
        f"s, max {max(switched):.2f} s; checks back p50 {statistics.median(back):.2f} s, "
        f"max {max(back):.2f} s; acknowledged p50 {statistics.median(acknowledged):.2f} s, "
        f"max {max(acknowledged):.2f} s; further outages {sum(r.again for r in rounds)}; "
        f"allowed after an acknowledgement {account.broken}, wrong logouts "
        f"{account.wrong_logouts}, "
        f"without Retry-After {account.without_retry_after.total()}\n  logged: {fleet.logged()}\n"
    )
    slow = max(back) > back_s or max(acknowledged) > acknowledged_s
    if slow:
        sys.stdout.write(
            f"too slow: checks back within {back_s:g} s and acknowledged within "
            f"{acknowledged_s:g} s are asked for\n"
        )
    return int(
        slow
        or account.broken > 0
        or account.wrong_logouts > 0
        or account.without_retry_after.total() > 0
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=STORES)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--replicas", type=int, default=2, help="of the gateway")
    parser.add_argument("--under-way", type=int, default=3, help="revocations when it strikes")
    parser.add_argument(
        "--down-after", type=int, default=2000, help="down-after-milliseconds of the sentinels"
    )
    parser.add_argument("--node-timeout", type=int, default=2000, help="cluster-node-timeout")
    parser.add_argument(
        "--back", type=float, default=4.0, help="seconds after which checks must be answered again"
    )
    parser.add_argument(
        "--acknowledged",
        type=float,
        default=6.0,
        help="seconds within which revocations that were under way are acknowledged",
    )
    parser.add_argument(
        "--keep", help="a new folder for logs and data, kept; each round then tells when it struck"
    )
    arguments = parser.parse_args()
    return asyncio.run(fail_overs(arguments))


if __name__ == "__main__":
    sys.exit(main())
