"""The store is killed, and comes back from its append-only file without the end of it: what is
lost, and what is restored.

``python -m tests.soak.cut aof-cut [--rounds 10]`` prints a line for each round and what came of
all; exit code 1 where a check that was sent after an acknowledgement was allowed, somebody was
logged out whose sign-in was in what was left of the file, or somebody who is blocked could sign in.
The file is cut at any byte that was written in the round: in the middle of a command, of a
transaction, of a revocation.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.reason import Reason
from gateway.sessions.api import SessionRefused
from tests.sessions import servers
from tests.sessions.conftest import identity
from tests.soak.fleet import Connection, Fleet

if TYPE_CHECKING:
    from tests.sessions.servers import Server
    from tests.soak.fleet import Person

OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
"""As production has them; the file is not rewritten meanwhile, so that where a byte is stays where
it is.
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Of one round. Revocations follow the last sign-ins: a block is the last thing that is
    acknowledged before the store is killed.
    """

    people: int
    sign_ins: int
    revocations: int
    under_way: int


FULL, SMALL = (
    Size(people=300, sign_ins=10, revocations=6, under_way=3),
    Size(people=60, sign_ins=4, revocations=3, under_way=2),
)


@dataclass(slots=True)
class Store:
    """One server and its file."""

    folder: Path
    server: Server = field(init=False)

    def start(self, *, port: int | None = None) -> None:
        self.server = servers.start(self.folder, *OPTIONS, port=port)

    def written(self) -> int:
        """Bytes of the file, once nothing waits to be written to it."""
        self.server.until(lambda reply: b"aof_buffer_length:0\r" in reply, "INFO", "persistence")
        return self.file.stat().st_size

    @property
    def file(self) -> Path:
        return max(
            (self.folder / "appendonlydir").glob("*.incr.aof"),
            key=lambda path: path.stat().st_mtime,
        )

    def cut(self, since: int, chance: random.Random) -> tuple[int, int]:
        """Kill, cut, start: bytes that are left, bytes that are gone."""
        self.server.stop()
        there = self.file.stat().st_size
        left = chance.randrange(since, there)
        with self.file.open("r+b") as file:
            file.truncate(left)
        self.start(port=self.server.port)
        return left, there - left


@dataclass(frozen=True, slots=True)
class Round:
    """``back`` and ``acknowledged`` in seconds since the server was killed."""

    gone_bytes: int
    back: float
    acknowledged: tuple[float, ...]
    sign_ins: int
    lost: int
    """Sign-ins of the part that is gone: these people are asked to sign in again."""
    wrong_logouts: int
    """Sign-ins of the part that is left."""
    allowed: int
    """Of everybody who was ended before, at every replica, when checks are back."""
    blocked: int
    entered: int
    """Of people who are blocked, who could sign in afterwards."""

    def __str__(self) -> str:
        took = ", ".join(f"{seconds:.2f}" for seconds in self.acknowledged)
        return (
            f"{self.gone_bytes:6} bytes gone; checks back {self.back:.2f} s, acknowledged "
            f"{took} s; {self.lost} of {self.sign_ins} sign-ins lost, {self.wrong_logouts} "
            "wrongly; "
            f"of all who were ended allowed {self.allowed}, of {self.blocked} blocked let "
            f"in {self.entered}"
        )


async def one_round(fleet: Fleet, store: Store, size: Size, chance: random.Random) -> Round:
    since = await asyncio.to_thread(store.written)
    signed_in: list[tuple[Person, int]] = []
    for number in range(size.sign_ins):
        [person] = await fleet.sign_in(1, sessions_each=1)
        signed_in.append((person, await asyncio.to_thread(store.written)))
        if number >= size.sign_ins - size.revocations:
            await fleet.revoke(kind="block" if number % 2 else "end_sessions")
    revoking = [asyncio.create_task(fleet.revoke()) for _ in range(size.under_way)]
    struck = time.monotonic()
    left, gone = await asyncio.to_thread(store.cut, since, chance)
    await fleet.store_answers()
    back = time.monotonic() - struck
    revoked = [(await task)[0] for task in revoking]
    ended = [person for person in fleet.people if person.acknowledged_at is not None]
    allowed = sum(
        [await is_allowed(fleet, port, person) for person in ended for port in fleet.check_ports]
    )
    there = {
        person.name: await is_allowed(fleet, fleet.check_ports[0], person)
        for person, _ in signed_in
    }
    lost = sum(not there[person.name] for person, at in signed_in if at > left)
    wrong = sum(not there[person.name] for person, at in signed_in if at <= left)
    fleet.people += [person for person, _ in signed_in if there[person.name]]
    blocked = [person for person in ended if person.kind == "block"]
    acknowledged = tuple((person.acknowledged_at or 0.0) - struck for person in revoked)
    return Round(
        gone,
        back,
        acknowledged,
        len(signed_in),
        lost,
        wrong,
        allowed,
        len(blocked),
        await let_in(fleet, blocked),
    )


async def is_allowed(fleet: Fleet, port: int | str, person: Person) -> bool:
    """Also counted by the fleet, as each check is."""
    connection = Connection(port)
    try:
        sent = time.monotonic()
        await connection.send(person.cookies[0])
        status, head = await connection.answer()
    finally:
        await connection.close()
    if person.revoking_since is not None:
        fleet.note(person, sent, status, head)
    return status == 200


async def let_in(fleet: Fleet, people: list[Person]) -> int:
    """How many of them can sign in, as a callback would try it."""
    entered = 0
    async with fleet.store() as login:
        for person in people:
            answer = await login.sessions.finish_login(
                login.new(await login.begin(), identity=identity(person.name))
            )
            entered += answer != SessionRefused(Reason.USER_BLOCKED)
    return entered


async def aof_cut(rounds: int, size: Size, *, seed: int) -> list[Round]:
    """Raises ``AssertionError`` where a promise was broken."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "valkey")
        await asyncio.to_thread(store.start)
        try:
            async with Fleet(
                Path(name) / "fleet",
                f"redis://127.0.0.1:{store.server.port}",
                replicas=2,
                workers=1,
            ) as fleet:
                await fleet.log_in(size.people, sessions_each=1)
                await asyncio.sleep(fleet.staleness_s + 1)
                fleet.load(4, pause_s=0.02)
                results = []
                for number in range(rounds):
                    result = await one_round(fleet, store, size, chance)
                    sys.stdout.write(f"{number + 1:3}: {result}\n")
                    sys.stdout.flush()
                    results.append(result)
                await fleet.rest()
                report(results, fleet)
                return results
        finally:
            store.server.stop()


def report(rounds: list[Round], fleet: Fleet) -> None:
    account, back = fleet.account, [r.back for r in rounds]
    acknowledged = [seconds for r in rounds for seconds in r.acknowledged]
    wrong = account.wrong_logouts + sum(r.wrong_logouts for r in rounds)
    sys.stdout.write(
        f"aof-cut, {len(rounds)} rounds: checks back p50 {statistics.median(back):.2f} s, "
        f"max {max(back):.2f} s; acknowledged max {max(acknowledged):.2f} s; "
        f"sign-ins lost with the file's end {sum(r.lost for r in rounds)} of "
        f"{sum(r.sign_ins for r in rounds)}; {account.unavailable} of "
        f"{len(account.seconds)} checks answered 503, "
        f"{account.without_retry_after.total()} without Retry-After; allowed after an "
        f"acknowledgement {account.broken}, wrong logouts {wrong}, blocked and let in "
        f"{sum(r.entered for r in rounds)}\n  logged: {fleet.logged()}\n"
    )
    assert (
        account.broken,
        wrong,
        sum(r.allowed + r.entered for r in rounds),
        account.without_retry_after.total(),
    ) == (0, 0, 0, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=["aof-cut"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    sys.stdout.write(f"seed {seed}\n")
    try:
        asyncio.run(aof_cut(arguments.rounds, FULL, seed=seed))
    except AssertionError as error:
        sys.stdout.write(f"NOT OK: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
