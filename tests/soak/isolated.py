"""A primary that reaches neither its replicas nor a sentinel, and still answers: what it promises,
and what is believed of it.

``python -m tests.soak.isolated isolated-primary [--small]`` prints what it measured; exit code 1
where a check that was sent after an acknowledgement was allowed, somebody was logged out by nobody,
or the isolated side promised something. Network namespaces are the network: one holds the primary
and an auth replica, one holds its replicas, the sentinels and another auth replica; a third auth
replica and the admin role are between them and reach both, before and after the cut. Everything
lives in a namespace of its own, so that it needs root (or user namespaces) and changes nothing
outside.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from demo.processes import die_with_parent
from tests.sessions import servers
from tests.sessions.conftest import HOST
from tests.soak.failovers import FAILOVER_MS, PATIENCE_S, Outage, watch
from tests.soak.fleet import Fleet

if TYPE_CHECKING:
    from tests.sessions.servers import Server
    from tests.soak.fleet import Person

INSIDE = "SOAK_NAMESPACE"
"""Set for the process that is in its own network namespace: it may write there."""
NET = "10.83.{}.{}"
"""Nobody else's: the namespaces are ours."""
APART, AMONG, BETWEEN = 0, 1, 2
"""The auth replicas: with the primary that is cut off, with its replicas and the sentinels, in
reach of both.
"""
SERVER = ("--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1", "--appendonly", "yes")
DOWN_AFTER_MS = 2000
SETTLES_S = 60.0
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Size:
    """``apart_s``: how long nobody mends the network after another primary was found."""

    people: int
    under_way: int
    later: int
    leaving: int
    apart_s: float


FULL = Size(people=200, under_way=5, later=20, leaving=60, apart_s=10.0)
SMALL = Size(people=40, under_way=2, later=1, leaving=20, apart_s=0.5)


def command_prefix() -> list[str] | None:
    """What a command begins with that gets a network namespace of its own and may change it; None
    where this machine allows none.
    """
    for prefix in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        with contextlib.suppress(OSError):
            if (
                subprocess.run(
                    [*prefix, "ip", "link", "set", "lo", "up"], check=False, capture_output=True
                ).returncode
                == 0
            ):
                return prefix
    return None


class Network:
    """Two namespaces beside this process's own, which forwards between them until it is told not
    to.
    """

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        _ip("link", "set", "lo", "up")
        for number in (APART, AMONG):
            holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo there && exec sleep infinity"],
                stdout=subprocess.PIPE,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )
            self._holders.append(holder)
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"there\n"
            _ip(
                "link",
                "add",
                f"side{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                str(holder.pid),
            )
            _ip("address", "add", f"{NET.format(number, 1)}/24", "dev", f"side{number}")
            _ip("link", "set", f"side{number}", "up")
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{self.host(number)}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("route", "add", "default", "via", NET.format(number, 1)),
            ):
                subprocess.run([*self.within(number), "ip", *words], check=True)
        self.mend()

    def host(self, side: int) -> str:
        return NET.format(side, 2)

    def within(self, side: int) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._holders[side].pid}/ns/net"]

    def cut(self) -> None:
        """What either side sends to the other is lost without a word."""
        FORWARDING.write_text("0")

    def mend(self) -> None:
        FORWARDING.write_text("1")

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
            if holder.stdout is not None:
                holder.stdout.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Deployment:
    """A primary on one side; two replicas and three sentinels on the other."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.network = network
        self.primary = servers.start(
            folder / "p", *SERVER, host=network.host(APART), within=network.within(APART)
        )
        self.all: list[Server] = [self.primary]
        following = (*SERVER, "--replicaof", f"{self.primary.host} {self.primary.port}")
        self.replicas = [self._start(folder / f"r{number}", *following) for number in range(2)]
        for replica in self.replicas:
            replica.until(lambda reply: b"master_link_status:up" in reply, "INFO", "replication")
        watching = (
            f"sentinel monitor gw {self.primary.host} {self.primary.port} 2\nsentinel "
            f"down-after-milliseconds gw {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout gw {FAILOVER_MS}\nsentinel parallel-syncs gw 1\n"
        )
        self.sentinels = [
            self._start(folder / f"s{number}", sentinel=watching) for number in range(3)
        ]
        for sentinel in self.sentinels:
            sentinel.until(lambda reply: b"slaves=2,sentinels=3" in reply, "INFO", "sentinel")

    def _start(self, folder: Path, *options: str, sentinel: str | None = None) -> Server:
        server = servers.start(
            folder,
            *options,
            sentinel=sentinel,
            host=self.network.host(AMONG),
            within=self.network.within(AMONG),
        )
        self.all.append(server)
        return server

    @property
    def url(self) -> str:
        return (
            "redis+sentinel://"
            f"{','.join(f'{sentinel.host}:{sentinel.port}' for sentinel in self.sentinels)}/gw"
        )

    def switched(self) -> None:
        """Returns when one of the replicas is the primary, and the other one follows it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for replica in self.replicas:
                reply = replica.ask("INFO", "replication")
                if b"role:master" in reply and b"state=online" in reply:
                    return
            time.sleep(0.02)
        raise TimeoutError

    def stop(self) -> None:
        for server in reversed(self.all):
            server.stop()


@dataclass(slots=True)
class Measured:
    """Seconds since the cut, but for ``mended``: since the network was whole again."""

    switched: float = 0.0
    back: float = 0.0
    """Until every replica that reaches the other side answered for good."""
    memory: float = 0.0
    """How long the replica with the isolated primary still answered."""
    mended: float = 0.0
    acknowledged: tuple[float, ...] = ()
    too_early: int = 0
    """Revocations that were acknowledged while the isolated primary was the only one."""
    sign_outs: Counter[str] = field(default_factory=Counter)
    """Answers of the replica with the isolated primary, until the network was mended."""


async def sign_out_for_ever(
    fleet: Fleet, where: int | str, people: list[Person], answers: Counter[str]
) -> None:
    """One person after the other at a public listener. A sign-out that is answered counts a
    staleness later: other replicas hear of it by push.
    """
    connector = aiohttp.UnixConnector(where) if isinstance(where, str) else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector) as http:
        for person in people:
            person.revoking_since = time.monotonic()
            headers = {
                "Host": HOST,
                "Origin": f"https://{HOST}",
                "Cookie": f"__Host-gw={person.cookies[0]}",
            }
            try:
                async with http.post(
                    "http://gateway/_auth/logout", headers=headers, allow_redirects=False
                ) as response:
                    if response.status < 400:
                        person.acknowledged_at = time.monotonic() + fleet.staleness_s
                    answers[str(response.status)] += 1
            except aiohttp.ClientError as error:
                answers[type(error).__name__] += 1
            await asyncio.sleep(0.2)


async def measure(fleet: Fleet, stores: Deployment, size: Size) -> Measured:
    """Cut, wait for another primary and for every replica that reaches it, go on for a while, mend,
    wait for the last replica.
    """
    measured = Measured()
    witness, *others = [person for person in fleet.people if person.revoking_since is None]
    leaving, others = others[: size.leaving], others[size.leaving :]
    await asyncio.to_thread(stores.network.cut)
    struck = time.monotonic()
    outages = [Outage() for _ in fleet.check_ports]
    watching = [
        asyncio.create_task(watch(fleet, port, witness, struck, outage))
        for port, outage in zip(fleet.check_ports, outages, strict=True)
    ]
    leave = asyncio.create_task(
        sign_out_for_ever(fleet, fleet.public_ports[APART], leaving, measured.sign_outs)
    )
    watching.append(leave)
    revoking: list[asyncio.Task[tuple[Person, float, dict[str, Any]]]] = []
    try:
        revoking += [
            asyncio.create_task(fleet.revoke(person, seconds=PATIENCE_S))
            for person in others[: size.under_way]
        ]
        await asyncio.to_thread(stores.switched)
        measured.switched = time.monotonic() - struck
        revoked = [(await task)[0] for task in revoking]
        measured.acknowledged = tuple(
            (person.acknowledged_at or struck) - struck for person in revoked
        )
        measured.too_early = sum(
            seconds < measured.switched - 0.5 for seconds in measured.acknowledged
        )
        async with asyncio.timeout(
            SETTLES_S
        ):  # a replica that was never away believes the isolated primary
            await asyncio.gather(*(_answers(outages[side]) for side in (AMONG, BETWEEN)))
        measured.back = max(outages[AMONG].last, outages[BETWEEN].last)
        for person in others[size.under_way : size.under_way + size.later]:
            await fleet.revoke(person)
        await asyncio.sleep(size.apart_s)
        leave.cancel()
        await asyncio.gather(leave, return_exceptions=True)
        measured.memory = outages[APART].answered
        await asyncio.to_thread(stores.network.mend)
        mended = time.monotonic() - struck
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(_answers(outage) for outage in outages))
        measured.mended = max(0.0, outages[APART].last - mended)
    finally:
        for task in (*watching, *revoking):
            task.cancel()
        await asyncio.gather(*watching, *revoking, return_exceptions=True)
    return measured


async def _answers(outage: Outage) -> None:
    """Until it was away, and has answered for two seconds since."""
    while outage.first is None or outage.answered < outage.last + 2:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.05)


async def isolated_primary(size: Size) -> int:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        network = Network()
        stack.callback(network.close)
        stores = await asyncio.to_thread(Deployment, Path(name), network)
        stack.callback(stores.stop)
        within = (network.within(APART), network.within(AMONG), ())
        async with Fleet(
            Path(name) / "fleet", stores.url, replicas=3, workers=1, min_replicas=1, within=within
        ) as fleet:
            await fleet.log_in(size.people, sessions_each=1)
            await asyncio.sleep(fleet.staleness_s + 1)
            fleet.load(6, pause_s=0.02)
            measured = await measure(fleet, stores, size)
            await fleet.rest()
            return report(measured, fleet)


def report(measured: Measured, fleet: Fleet) -> int:
    account, answers = fleet.account, measured.sign_outs
    promised = (
        sum(number for answer, number in answers.items() if answer < "400") + measured.too_early
    )
    lines = (
        (
            f"isolated-primary: another primary after {measured.switched:.2f} s; checks back "
            f"where it can be reached after {measured.back:.2f} s"
        ),
        (
            f"beside the isolated one: answered from memory for {measured.memory:.2f} s, then "
            f"503 until the network was mended, and for {measured.mended:.2f} s more"
        ),
        (
            "revocations that were under way acknowledged after "
            f"{', '.join(f'{seconds:.2f}' for seconds in measured.acknowledged)} s; by the "
            f"isolated primary: {measured.too_early}"
        ),
        (
            "sign-outs there: "
            f"{', '.join(f'{number} × {answer}' for answer, number in answers.items())}"
        ),
        (
            f"{account.allowed + account.denied + account.unavailable} checks, "
            f"{account.unavailable} answered 503, {account.without_retry_after.total()} "
            f"without Retry-After, {account.failed} without an answer"
        ),
        (
            f"allowed after an acknowledgement {account.broken}, wrong logouts "
            f"{account.wrong_logouts}, promised by the isolated side {promised}"
        ),
        f"logged: {fleet.logged()}",
    )
    sys.stdout.write("\n  ".join(lines) + "\n")
    return int(
        account.broken > 0
        or account.wrong_logouts > 0
        or account.without_retry_after.total() > 0
        or promised > 0
        or not answers
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=["isolated-primary"])
    parser.add_argument("--small", action="store_true", help="as the tests run it")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        prefix = command_prefix()
        if prefix is None:
            parser.error(
                "isolated-primary makes network namespaces: it needs root, or user "
                "namespaces that are permitted"
            )
        os.execvpe(
            prefix[0],
            [*prefix, sys.executable, "-m", "tests.soak.isolated", *sys.argv[1:]],
            os.environ | {INSIDE: "1"},
        )
    return asyncio.run(isolated_primary(SMALL if arguments.small else FULL))


if __name__ == "__main__":
    sys.exit(main())
