"""From the hook to the first refused check, on real processes, while other people's events stream
in with duplicates and reorderings.

``python -m tests.soak.hook_to_deny [--people 200] [--deliveries 3000] [--replicas 2]``, first with
nothing else going on, then beside so many deliveries, which eight senders send as fast as they are
answered. One person at a time is deactivated, spread over the deliveries; every replica is asked
about their session all the while. Times are from just before the POST of the hook to the answer of
the first check that denied.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from tests.hooks.samples import okta_delivery, okta_event
from tests.sessions import servers
from tests.soak.fleet import HOOK_SECRET, Connection, Fleet, Person, quantiles

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("user.lifecycle.suspend", "user.lifecycle.unsuspend", "user.session.clear")
STRANGERS = 40
ASK_EVERY_S = 0.002


@dataclass
class Outcome:
    """Seconds. ``first`` and ``last``: until one replica, and until every replica, denied."""

    ack: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    background: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        return (
            f"{len(self.first)} people removed beside {self.background} deliveries in "
            f"{self.seconds:.1f} s; acknowledged {quantiles(self.ack)}; "
            f"hook to first deny {quantiles(self.first)}; hook to the last replica "
            f"{quantiles(self.last)} (goal: p99 {500 if self.background else 150} ms)"
        )


async def run(
    folder: Path,
    *,
    people: int,
    deliveries: int,
    replicas: int,
    workers: int = 1,
    parallel: int = 8,
    seed: int = 1,
) -> Outcome:
    """Raises ``AssertionError`` where somebody is let in again after a denial, or not denied at
    all.
    """
    chance, outcome = random.Random(seed), Outcome()
    with servers.running(folder / "valkey") as server:
        async with (
            Fleet(
                folder / "fleet",
                f"redis://127.0.0.1:{server.port}",
                replicas=replicas,
                workers=workers,
            ) as fleet,
            aiohttp.ClientSession() as http,
        ):
            await fleet.log_in(people + 1, sessions_each=1)
            await fleet.store_answers()
            # What a process does once, and a primary that is trusted after a staleness.
            await _remove(fleet, http, fleet.people.pop(), people, Outcome())
            await asyncio.sleep(fleet.staleness_s + 1)
            started = time.monotonic()
            left = asyncio.Queue[int]()
            for n in _order(deliveries, chance):
                left.put_nowait(n)
            senders = [
                asyncio.create_task(_stream(fleet, http, left, chance, outcome))
                for _ in range(parallel)
            ]
            try:
                for number, person in enumerate(fleet.people):
                    while outcome.background < number * deliveries // people:  # noqa: ASYNC110 - of eight senders
                        await asyncio.sleep(ASK_EVERY_S)
                    await _remove(fleet, http, person, number, outcome)
                    outcome.seconds = time.monotonic() - started
            finally:
                for task in senders:
                    task.cancel()
                await asyncio.gather(*senders, return_exceptions=True)
    return outcome


def _order(deliveries: int, chance: random.Random) -> list[int]:
    """Every fifth twice, neighbours out of order."""
    order = [n for n in range(deliveries) for _ in range(2 if chance.random() < 0.2 else 1)]
    for n in range(len(order)):
        other = min(len(order) - 1, n + chance.randrange(20))
        order[n], order[other] = order[other], order[n]
    return order


async def _stream(
    fleet: Fleet,
    http: aiohttp.ClientSession,
    left: asyncio.Queue[int],
    chance: random.Random,
    outcome: Outcome,
) -> None:
    while not left.empty():
        n = left.get_nowait()
        second, milli = divmod(n, 1000)
        published = (
            f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{milli:03}Z"
        )
        event = okta_event(
            KINDS[n % len(KINDS)],
            uuid=f"s-{n}",
            user=f"00u-stranger-{n * 7 % STRANGERS}",
            published=published,
        )
        event["target"][0]["alternateId"] = "unknown"
        if await _post(fleet, http, event, f"s-{n}-{chance.getrandbits(32)}", outcome):
            outcome.background += 1


async def _post(
    fleet: Fleet,
    http: aiohttp.ClientSession,
    event: dict[str, object],
    envelope: str,
    outcome: Outcome,
) -> bool:
    while True:
        began = time.monotonic()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post(
                f"http://127.0.0.1:{fleet.hooks_port}/hooks/okta/acme/acme-okta",
                json=okta_delivery(event, event_id=envelope),
                headers={"Authorization": HOOK_SECRET},
                timeout=aiohttp.ClientTimeout(total=3),
            ) as response:
                if response.status == 200:
                    outcome.ack.append(time.monotonic() - began)
                    return True
                assert response.status == 503, response.status
        await asyncio.sleep(0.05)


async def _remove(
    fleet: Fleet, http: aiohttp.ClientSession, person: Person, number: int, outcome: Outcome
) -> None:
    asked = asyncio.Event()
    watching = [
        asyncio.create_task(_until_denied(port, person.cookies[0], asked))
        for port in fleet.check_ports
    ]
    try:
        await asked.wait()
        began = time.monotonic()
        event = okta_event(
            "user.lifecycle.deactivate",
            uuid=f"r-{number}",
            user=f"00u-{person.name}",
            published="2026-06-01T00:00:00.000Z",
        )
        event["target"][0]["alternateId"] = f"{person.name}@acme.test"
        await _post(fleet, http, event, f"r-{number}", outcome)
        async with asyncio.timeout(120):
            denied = await asyncio.gather(*watching)
    finally:
        for task in watching:
            task.cancel()
    outcome.first.append(min(denied) - began)
    outcome.last.append(max(denied) - began)


async def _until_denied(port: int | str, cookie: str, asked: asyncio.Event) -> float:
    """When the first check that denied was answered; the ones right after it deny too."""
    connection = Connection(port)
    try:
        while True:
            await connection.send(cookie)
            status, _ = await connection.answer()
            if status in {401, 403}:
                denied_at = time.monotonic()
                break
            assert status in {200, 503}, status
            if status == 200:
                asked.set()
            await asyncio.sleep(ASK_EVERY_S)
        for _ in range(3):
            await connection.send(cookie)
            assert (await connection.answer())[0] != 200, "let in again after a denial"
        return denied_at
    finally:
        await connection.close()


if __name__ == "__main__":
    import argparse
    import sys
    import tempfile
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="scripts/soak hook-to-deny", description=__doc__)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--deliveries", type=int, default=3000)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=8)
    arguments = parser.parse_args()
    chosen = vars(arguments)
    for beside in dict.fromkeys((0, chosen.pop("deliveries"))):
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(run(Path(folder), deliveries=beside, **chosen))
        sys.stdout.write(found.line() + "\n")
        sys.stdout.flush()
