"""Memory of a session in the store, and what a read costs with so many of them there.

    python -m tests.bench.sessions [--counts 1 10000] [--seconds 3]

Sessions are made by the shipped login, one person each, five groups, a refresh token. Bytes are the store's ``used_memory`` less what it held
empty, by session. Latencies are of the shipped ``get`` without memory in front; quote their ratio to the first count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway import keys
from gateway.core.model import Secret
from gateway.ports import Refused
from gateway.sessions.connect import Link, Target, link_to
from gateway.sessions.redis import RedisSessions
from tests.sessions import servers
from tests.sessions.conftest import HOST, Login, believe, identity, tenant

AT_ONCE = 24
PEOPLE_PER_TENANT = 1000
GROUPS = tuple(f"group-{n}" for n in range(5))
KEPT_COOKIES = 2000


async def memory(link: Link) -> int:
    info: dict[str, Any] = await link.command("INFO", "memory")
    return int(info["used_memory"])


async def fill(sessions: RedisSessions, began: int, first: int, last: int, cookies: list[str]) -> None:
    numbers = iter(range(first, last))

    async def make() -> None:
        for number in numbers:
            login = Login(sessions, tenant(f"tenant-{number // PEOPLE_PER_TENANT}"))
            who = identity(f"person-{number}", groups=GROUPS)
            stored = await sessions.finish(login.new(began, identity=who, refresh_token=Secret("r" * 1100)))
            if isinstance(stored, Refused):
                raise RuntimeError(stored.reason)  # noqa: TRY004 - a refusal is an outcome, no wrong type
            if len(cookies) < KEPT_COOKIES:
                cookies.append(stored.cookie.reveal())

    await asyncio.gather(*(make() for _ in range(AT_ONCE)))


async def latency_us(sessions: RedisSessions, cookies: list[str], seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of one ``get`` after the other."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for cookie in cookies[:200]:
            began = time.perf_counter()
            found = await sessions.get(cookie, host=HOST)
            took.append((time.perf_counter() - began) * 1e6)
            if found is None:
                msg = "a session is missing"
                raise RuntimeError(msg)
    await sessions.touches.settle()
    cuts = statistics.quantiles(took, n=100)
    return statistics.median(took), cuts[98]


async def measure(counts: list[int], seconds: float) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, servers.running(Path(folder)) as server:
        link = link_to(Target("single", (("127.0.0.1", server.port),)), ca_file=None, replicas=0)
        await believe(link)
        ring = keys.generate()
        sessions = RedisSessions(link, lambda: ring)
        warm = Login(sessions, tenant("warm"))
        began = await warm.begin()
        await sessions.finish(warm.new(began))
        empty, made = await memory(link), 0
        cookies: list[str] = []
        for count in counts:
            await fill(sessions, began, made, count, cookies)
            made = count
            held = await memory(link) - empty
            median, worst = await latency_us(sessions, cookies, seconds)
            rows.append({"sessions": count, "bytes_per_session": round(held / count), "get_us_p50": round(median), "get_us_p99": round(worst)})
            print(json.dumps(rows[-1]), flush=True)
        await sessions.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10_000])
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    rows = asyncio.run(measure(sorted(chosen.counts), chosen.seconds))
    first = rows[0]
    for row in rows[1:]:
        print(f"{row['sessions']} sessions: p50 {row['get_us_p50'] / first['get_us_p50']:.2f}, p99 {row['get_us_p99'] / first['get_us_p99']:.2f} of {first['sessions']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
