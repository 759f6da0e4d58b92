"""Memory of a session in the store, and what a check, a login and a revocation cost with so many of
them there.

    scripts/soak sessions [--counts 1 10000 1000000] [--seconds 10]

Of each thousand sessions (a tenant's people: five groups, a refresh token of 1,100 characters) the
first is made by the shipped login, the others are copies of its records under names of their own,
made inside the store; a run begins by weighing copies against shipped sessions and stops if they
differ by more than a twentieth. Bytes are the store's ``used_memory`` less what it held empty, by
session; the server is set as ``docs/operator/production.md`` says. Times are of the shipped code
without memory in front, one after the other, spread over all tenants; quote their ratios to the
first count.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import random
import secrets
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.model import Secret
from gateway.core.revocation import Who
from gateway.keys import ring as keys
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.connection import RedisClient, Script, Target, client_to
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks, revocation_keys
from tests.sessions import servers
from tests.sessions.conftest import HOST, Login, believe, identity, tenant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PEOPLE_PER_TENANT = 1000
STEP = 500
"""Copies by one script: some 20 ms."""
GROUPS = tuple(f"group-{n}" for n in range(5))
WEIGHED = 500
SAMPLES = 32
TOLERANCE = 0.05
RARE = 200
"""Logins and revocations that are timed at each count; each leaves the store as it was."""
_LUA = Path(__file__).with_name("copies.lua").read_text("utf-8")
COPIES = Script("copies", _LUA, hashlib.sha1(_LUA.encode()).hexdigest())
KINDS = {
    "s": "session",
    "f": "family",
    "r": "refresh token",
    "i": "index",
    "k": "last login of the person",
    "n": "names of the person",
}
OF_A_SESSION = ("session", "family", "index")
"""A session's own: its refresh token, and what is kept for the person, are counted apart."""
MOST_BYTES = 1500


@dataclass(slots=True)
class Crowd:
    """So many people, signed in."""

    redis: RedisClient
    ring: keys.KeyRing
    sessions: RedisSessions
    began: int = 0
    made: int = 0
    cookies: list[str] = field(default_factory=list)
    tenants: int = 0

    async def log_in(self, tenant_name: str, person: str) -> SessionCreated:
        login = Login(self.sessions, tenant(tenant_name))
        stored = await self.sessions.finish_login(
            login.new(
                self.began,
                identity=identity(person, groups=GROUPS),
                refresh_token=Secret(secrets.token_urlsafe(825)),
            )
        )
        if isinstance(stored, SessionRefused):
            raise RuntimeError(stored.reason)  # noqa: TRY004 - a refusal is an outcome, no wrong type
        return stored

    async def grow(self, count: int) -> None:
        """To this many sessions."""
        while self.made < count:
            name = f"tenant-{self.tenants}"
            people = min(PEOPLE_PER_TENANT, count - self.made)
            stored = await self.log_in(name, f"first-of-{name}")
            self.cookies.append(stored.cookie.reveal())
            await self.copy(stored, people - 1)
            self.made, self.tenants = self.made + people, self.tenants + 1

    async def copy(self, stored: SessionCreated, count: int) -> None:
        session = stored.session
        at, index = (
            prefix(bucket_of(session.tenant)),
            self.sessions.alias_index(session.tenant).index(session.identity),
        )
        personal, shared = index[: -len(GROUPS) - 1], index[-len(GROUPS) - 1 :]
        for first in range(1, count + 1, STEP):
            arguments: list[str | bytes | int] = [
                at,
                session.family,
                session.digest,
                first,
                min(first + STEP - 1, count),
                " ".join(personal),
                " ".join(shared),
            ]
            await self.redis.run(COPIES, [f"{at}c:{session.tenant}"], arguments)

    async def memory(self) -> int:
        info: dict[str, Any] = await self.redis.command("INFO", "memory")
        return int(info["used_memory"])

    async def weigh(self) -> tuple[float, float]:
        """Bytes of a shipped session, and of a copy, in stores of equal size."""
        found = []
        for shipped in (True, False):
            before = await self.memory()
            if shipped:
                for number in range(WEIGHED):
                    await self.log_in("weighed", f"person-{number}")
            else:
                await self.copy(await self.log_in("weighed", "person-0"), WEIGHED - 1)
            found.append((await self.memory() - before) / WEIGHED)
            await self.empty()
        return found[0], found[1]

    async def empty(self) -> None:
        await self.redis.command("FLUSHALL")
        await believe(self.redis)
        warm = Login(self.sessions, tenant("warm"))
        self.began = await warm.begin()
        await self.sessions.finish_login(warm.new(self.began))

    async def by_kind(self) -> dict[str, int]:
        """Bytes of a session's keys, by what they are, the refresh token apart from its family;
        shared index entries not counted. The last two are kept for each person, not session.
        The mean of some: a sorted set draws its levels, and takes up to an eighth more by chance.
        """
        found = [await self._one_by_kind() for _ in range(SAMPLES)]
        return {kind: round(sum(each[kind] for each in found) / SAMPLES) for kind in found[0]}

    async def _one_by_kind(self) -> dict[str, int]:
        stored = await self.log_in("kinds", "somebody")
        at, people = prefix(bucket_of("kinds")), self.sessions.alias_index("kinds")
        session = stored.session
        user = people.user(session.identity)
        names = [
            f"s:{session.digest}",
            f"f:{session.family}",
            f"k:{user}",
            *(
                f"{kind}:{alias}"
                for alias in people.index(session.identity)[: -len(GROUPS) - 1]
                for kind in "in"
            ),
        ]
        weights: dict[str, int] = {}
        for name in names:
            kind = KINDS[name[0]]
            weights[kind] = weights.get(kind, 0) + await self._weight(at + name)
        family = f"{at}f:{session.family}"
        with_token = await self._weight(family)
        await self.redis.command("HDEL", family, "r")
        weights["family"] = await self._weight(family)
        weights["refresh token"] = with_token - weights["family"]
        await self.sessions.end_family(session, cookie=stored.cookie.reveal())
        return weights

    async def _weight(self, name: str) -> int:
        return int(await self.redis.command("MEMORY", "USAGE", name, "SAMPLES", 0) or 0)

    # --- times -----------------------------------------------------------------------------------

    async def check(self) -> None:
        if await self.sessions.find(random.choice(self.cookies), host=HOST) is None:
            msg = "a session is missing"
            raise RuntimeError(msg)

    async def come_and_go(self) -> float:
        """Seconds of a login; the session ends again."""
        began = time.perf_counter()
        stored = await self.log_in(f"tenant-{random.randrange(self.tenants)}", "visitor")
        took = time.perf_counter() - began
        await self.sessions.end_family(stored.session, cookie=stored.cookie.reveal())
        return took

    async def revoke(self) -> float:
        """Seconds until one person's session is ended in the slot."""
        name = f"tenant-{random.randrange(self.tenants)}"
        stored = await self.log_in(name, "revoked")
        marks = Watermarks(self.redis, lambda: self.ring)
        where = revocation_keys(marks.alias_index(name), Who(session=stored.session.family))
        began = time.perf_counter()
        swept = await marks.revoke(name, where)
        took = time.perf_counter() - began
        if swept.sessions != 1:
            msg = f"{swept.sessions} sessions ended"
            raise RuntimeError(msg)
        return took


async def checks_us(crowd: Crowd, seconds: float) -> tuple[float, float]:
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        await crowd.check()
        took.append((time.perf_counter() - began) * 1e6)
    await crowd.sessions.touches.settle()
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


async def median_us(step: Callable[[], Awaitable[float]]) -> float:
    return statistics.median([await step() for _ in range(RARE)]) * 1e6


async def measure(counts: list[int], seconds: float) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.running(Path(folder), "--hash-max-listpack-value", "2048") as server,
    ):
        redis = client_to(
            Target("single", (("127.0.0.1", server.port),)),
            ca_file=None,
            replicas=0,
            command_timeout_s=30,
        )
        ring = keys.generate()
        crowd = Crowd(redis, ring, RedisSessions(redis, lambda: ring))
        await crowd.empty()
        shipped, copied = await crowd.weigh()
        print(f"a shipped session {shipped:.0f} bytes, a copy {copied:.0f}", flush=True)
        if abs(copied - shipped) > TOLERANCE * shipped:
            msg = "copies do not weigh what sessions do"
            raise RuntimeError(msg)
        kinds = await crowd.by_kind()
        own = sum(kinds[kind] for kind in OF_A_SESSION)
        print(json.dumps({"bytes_by_kind": kinds}), flush=True)
        print(
            f"of it a session's own, without its refresh token: {own} bytes (goal: {MOST_BYTES})",
            flush=True,
        )
        empty = await crowd.memory()
        for count in counts:
            began = time.perf_counter()
            await crowd.grow(count)
            grown = time.perf_counter() - began
            held = await crowd.memory() - empty
            median, worst = await checks_us(crowd, seconds)
            rows.append(
                {
                    "sessions": count,
                    "bytes_per_session": round(held / count),
                    "gigabytes": round(held / 1e9, 3),
                    "made_in_s": round(grown, 1),
                    "check_us_p50": round(median),
                    "check_us_p99": round(worst),
                    "login_us_p50": round(await median_us(crowd.come_and_go)),
                    "revoke_us_p50": round(await median_us(crowd.revoke)),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
        await crowd.sessions.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=10.0, help="of checks at each count")
    chosen = parser.parse_args()
    logging.getLogger("gateway").setLevel(
        logging.ERROR
    )  # an emptied store is told as a restored one
    rows = asyncio.run(measure(sorted(chosen.counts), chosen.seconds))
    first = rows[0]
    for row in rows[1:]:
        ratios = ", ".join(
            f"{name} {row[name] / first[name]:.2f}"
            for name in first
            if name.endswith(("p50", "p99"))
        )
        print(f"{row['sessions']} sessions, as ratios to {first['sessions']}: {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
