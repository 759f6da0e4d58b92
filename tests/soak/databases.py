"""Two admin processes on one PostgreSQL, under a stream of events, while something happens to SQL or to a clock.

``python -m tests.soak.databases sql-locked|sql-hung|sql-killed|clocks [--seconds 10]`` prints a table: what senders saw, what was lost, how soon all is
normal again, what was logged. Exit code 1 where an acknowledged event was not applied, or a bound of the scenario was passed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg

from demo.processes import die_with_parent, free_port
from gateway import keys
from gateway.sessions.embedded import EmbeddedValkey
from tests.hooks.samples import okta_delivery, okta_event
from tests.sessions.conftest import HOST
from tests.soak.fleet import CONFIG, HOOK_SECRET, ROOT, TENANT, quantiles
from tests.sql.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHIFT_S = 300
EVERY_S = 0.05
SENDER_GIVES_UP_S = 3.0
APPLIED_WITHIN_S = 45.0
"""After the fault: a lease, and what it takes."""
ADMIN_ANSWERS_S = 5.0
_SHIFTED = """
import runpy, sys, time
real, shift = time.time, float(sys.argv.pop(1))
time.time = lambda: real() + shift
runpy.run_module("gateway", run_name="__main__", alter_sys=True)
"""


@dataclass
class Seen:
    """What senders saw of one phase, and an operator of the admin API."""

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    admin_seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{number} × {status}" for status, number in sorted(self.answers.items()))
        return f"{told}; {quantiles(self.seconds) if self.seconds else 'no answer'}"


class World:
    """The processes, and what was acknowledged."""

    def __init__(self, folder: Path, postgres: Postgres, http: aiohttp.ClientSession) -> None:
        self.folder, self.postgres, self.http = folder, postgres, http
        self.url = postgres.new_database()
        self.admins: list[tuple[subprocess.Popen[bytes], int, int]] = []
        self.senders: list[int] = []
        """Which admins are sent to."""
        self.acknowledged: set[str] = set()
        self.phase = Seen()
        self.key = ""
        self._numbers = itertools.count()

    def start(self, *, shift_s: float = 0.0) -> None:
        admin, hooks = free_port(), free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        environment |= {"GATEWAY_LISTEN__ADMIN": f"127.0.0.1:{admin}", "GATEWAY_LISTEN__HOOKS": f"127.0.0.1:{hooks}"}
        command = [sys.executable, "-c", _SHIFTED, str(shift_s), "serve", "-c", str(self.folder / "gateway.yaml"), "--role", "admin"]
        with (self.folder / f"admin-{len(self.admins)}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, preexec_fn=die_with_parent)  # noqa: PLW1509 - it calls the kernel and nothing else
        self.admins.append((process, admin, hooks))

    async def ready(self, admin: int) -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.http.get(f"http://127.0.0.1:{admin}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.1)

    async def send_for_ever(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                number = next(self._numbers)
                group.create_task(self._send(number, self.senders[number % len(self.senders)], self.phase))
                await asyncio.sleep(EVERY_S)

    async def _send(self, number: int, which: int, phase: Seen) -> None:
        """One event of somebody of its own, once: who repeats it is another number."""
        event = okta_event("user.lifecycle.suspend", uuid=f"u-{number}", user=f"00u{number}")
        event["target"][0]["alternateId"] = f"user{number}@acme.test"
        body = okta_delivery(event, event_id=f"e-{number}")
        began = time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(total=SENDER_GIVES_UP_S)
            url = f"http://127.0.0.1:{self.admins[which][2]}/hooks/okta/acme/acme-okta"
            async with self.http.post(url, json=body, headers={"Authorization": HOOK_SECRET}, timeout=timeout) as response:
                status = str(response.status)
                if response.status == 200:
                    self.acknowledged.add(f"u-{number}")
        except (aiohttp.ClientError, TimeoutError) as error:
            status = type(error).__name__
        phase.answers[status] += 1
        phase.seconds.append(time.monotonic() - began)

    async def operate_for_ever(self, which: int) -> None:
        while True:
            began = time.monotonic()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.get(
                    f"http://127.0.0.1:{self.admins[which][1]}/admin/v1/tenants", headers={"Authorization": f"Bearer {self.key}"}, timeout=aiohttp.ClientTimeout(total=60)
                ) as response:
                    await response.read()
            self.phase.admin_seconds.append(time.monotonic() - began)
            await asyncio.sleep(0.5)

    def next_phase(self) -> Seen:
        before, self.phase = self.phase, Seen()
        return before

    async def unapplied(self) -> set[str]:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""), timeout=5)
        try:
            rows = await connection.fetch("SELECT event FROM hook_inbox WHERE state LIKE 'applied%'")
        finally:
            await connection.close()
        return self.acknowledged - {row["event"] for row in rows}

    def logged(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for log in self.folder.glob("admin-*.log"):
            found.update(re.findall(r'"event": ?"(\w+)"', log.read_text(errors="replace")))
        return found


@contextlib.asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """One admin process is frozen in the middle of its work, and somebody's idle transaction is on rows of the others."""
    holder = await asyncpg.connect(world.url.replace("+asyncpg", ""))
    transaction = holder.transaction()
    await transaction.start()
    world.senders = [1]
    os.kill(world.admins[0][0].pid, signal.SIGSTOP)
    try:
        await holder.fetch("SELECT 1 FROM hook_lanes FOR UPDATE SKIP LOCKED")
        await holder.fetch("SELECT 1 FROM hook_inbox WHERE state = 'new' ORDER BY number DESC LIMIT 3 FOR UPDATE SKIP LOCKED")
        await holder.fetch("SELECT 1 FROM hook_leaders FOR UPDATE SKIP LOCKED")
        yield
    finally:
        os.kill(world.admins[0][0].pid, signal.SIGCONT)
        await transaction.rollback()
        await holder.close()
        world.senders = [0, 1]


@contextlib.asynccontextmanager
async def hung(world: World) -> AsyncIterator[None]:
    """Every process of PostgreSQL stands still, and no connection breaks."""
    stopped = world.postgres.process_ids()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def killed(world: World) -> AsyncIterator[None]:
    """PostgreSQL is gone without a goodbye, and comes back."""
    await asyncio.to_thread(world.postgres.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(world.postgres.start)


@contextlib.asynccontextmanager
async def clocks(world: World) -> AsyncIterator[None]:
    """One machine's clock is five minutes ahead, and its process dies with what it had taken."""
    yield
    world.senders = [1]
    world.admins[0][0].kill()


SCENARIOS = {"sql-locked": locked, "sql-hung": hung, "sql-killed": killed, "clocks": clocks}


def _prepare(folder: Path) -> None:
    (folder / "state").mkdir(mode=0o700)
    keys.load(folder / "state" / "keys.json", create=True)
    (folder / "tenants").mkdir()
    (folder / "tenants" / "acme.yaml").write_text(TENANT.format(host=HOST, hook_secret=HOOK_SECRET))


async def run(name: str, folder: Path, *, seconds: float) -> bool:
    """Whether everything was kept; prints the table."""
    _prepare(folder)
    valkey, postgres = EmbeddedValkey.start(folder / "valkey"), Postgres()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        await asyncio.to_thread(postgres.start)
        async with aiohttp.ClientSession() as http:
            world = World(folder, postgres, http)
            config = CONFIG.format(folder=folder, redis=f"unix://{valkey.socket_path}", min_replicas=0, staleness_ms=2000)
            (folder / "gateway.yaml").write_text(config + f'database: {{url: "{world.url}"}}\nhooks: {{mass_removal: {{unknown: 1000000, people: 1000000}}}}\n')
            made = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "gateway", "admin-keys", "create", "soak", "--scope", "operator", "--json", "-c", str(folder / "gateway.yaml")],
                cwd=ROOT, stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            world.key = json.loads(made.stdout)["key"]
            world.start(shift_s=SHIFT_S if name == "clocks" else 0.0)
            world.start()
            processes = [process for process, _, _ in world.admins]
            for _, admin, _ in world.admins:
                await world.ready(admin)
            return await _measure(name, world, seconds)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        postgres.remove()
        valkey.stop()


async def _measure(name: str, world: World, seconds: float) -> bool:
    world.senders = [0, 1]
    tasks = [asyncio.create_task(world.send_for_ever()), asyncio.create_task(world.operate_for_ever(1))]
    try:
        await asyncio.sleep(3)
        quiet = world.next_phase()
        async with SCENARIOS[name](world):
            await asyncio.sleep(seconds)
            during = world.next_phase()
        over_at = time.monotonic()
        normal_s = await _until_normal(world)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    after = world.next_phase()
    lost: set[str] = world.acknowledged
    while lost and time.monotonic() - over_at < APPLIED_WITHIN_S:
        lost = await world.unapplied()
        await asyncio.sleep(0.2)
    applied_s = time.monotonic() - over_at
    admin_s = max(during.admin_seconds + after.admin_seconds, default=0.0)
    rows: list[tuple[str, Any]] = [
        ("senders before", quiet), ("senders during", during), ("senders after", after), ("admin API, slowest answer", f"{admin_s:.1f} s"),
        ("normal again (20 in a row, each < 1 s)", f"{normal_s:.1f} s"), ("everything acknowledged applied", f"{applied_s:.1f} s"),
        ("acknowledged, and lost", f"{len(lost)} of {len(world.acknowledged)}"), ("logged", ", ".join(f"{n} × {e}" for e, n in world.logged().most_common(8))),
    ]  # fmt: skip
    print(f"{name}: {(SCENARIOS[name].__doc__ or '').strip()}")
    for what, value in rows:
        print(f"  {what:40} {value}")
    unanswered = sum(number for status, number in during.answers.items() if status != "200") if name in {"sql-locked", "clocks"} else 0
    return not lost and admin_s < ADMIN_ANSWERS_S + 1 and unanswered <= sum(during.answers.values()) / 10


async def _until_normal(world: World) -> float:
    """Seconds until twenty answers in a row were good and quick."""
    began = time.monotonic()
    async with asyncio.timeout(120):
        while True:
            recent = list(world.phase.seconds)
            if len(recent) >= 20 and max(recent[-20:]) < 1 and set(world.phase.answers) <= {"200"}:
                return max(0.0, time.monotonic() - began - 20 * EVERY_S)
            if set(world.phase.answers) - {"200"}:
                world.next_phase()
            await asyncio.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS])
    parser.add_argument("--seconds", type=float, default=10.0, help="of the fault")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-soak-") as folder:
        return 0 if asyncio.run(run(asked.scenario, Path(folder), seconds=asked.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
