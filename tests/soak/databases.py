"""Two admin processes on one PostgreSQL and an auth process, under a stream of events, while
something happens to SQL or to a clock.

``python -m tests.soak.databases sql-locked|sql-hung|sql-killed|sql-full|clocks [--seconds 10]``
prints a table: what senders, an operator and people who are signed in saw, what was lost, how soon
all is normal again, what was logged. Exit code 1 where an acknowledged event was not applied, a
check that was sent after an acknowledgement was allowed, somebody was logged out by nobody, or a
bound of the scenario was passed. ``sql-full`` needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
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
from gateway.keys import ring
from gateway.sessions.embedded import EmbeddedValkey
from tests.database.postgres import Postgres
from tests.hooks.samples import okta_delivery, okta_event
from tests.sessions.conftest import HOST
from tests.soak.fleet import CONFIG, HOOK_SECRET, ROOT, TENANT, Connection, events_in, quantiles
from tests.soak.flood_cookies import log_in
from tests.support.small_disk import may_mount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHIFT_S = 300
EVERY_S = 0.05
SENDER_GIVES_UP_S = 3.0
APPLIED_WITHIN_S = 45.0
"""Since one was applied: a lease, and what it takes. A busy machine has more of them to catch up
with.
"""
ADMIN_ANSWERS_S = 5.0
SIGNED_IN = 40
"""People with a session; an operator ends some of them."""
STAYS = 4
"""Of them whom nobody ends."""
ROOM_BYTES = 96 << 20
RESTARTS_EVERY_S = 1.0
"""As a supervisor starts a server again that ended."""
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
    revocations: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    """Of people whom nobody has ended."""
    without_retry_after: int = 0
    """Refusals that do not tell a sender to come again."""

    def __str__(self) -> str:
        return (
            f"{_counted(self.answers)}; {quantiles(self.seconds) if self.seconds else 'no answer'}"
        )


def _counted(answers: Counter[str]) -> str:
    return ", ".join(f"{number} × {answer}" for answer, number in sorted(answers.items())) or "none"


class World:
    """The processes, and what was acknowledged."""

    def __init__(self, folder: Path, postgres: Postgres, http: aiohttp.ClientSession) -> None:
        self.folder, self.postgres, self.http = folder, postgres, http
        self.url = postgres.new_database()
        self.admins: list[tuple[subprocess.Popen[bytes], int, int]] = []
        self.senders: list[int] = []
        """Which admins are sent to."""
        self.acknowledged: set[str] = set()
        self.others: list[subprocess.Popen[bytes]] = []
        self.check_port = 0
        self.cookies: list[str] = []
        self.ended: list[str] = []
        """Cookies of whom an operator has been told that they are ended."""
        self.broken = 0
        """Checks that were sent after that, and allowed."""
        self.phase = Seen()
        self.key = ""
        self._numbers = itertools.count()

    def start(self, *, shift_s: float = 0.0) -> None:
        admin, hooks = free_port(), free_port()
        process = self._serve("admin", {"ADMIN": admin, "HOOKS": hooks}, shift_s)
        self.admins.append((process, admin, hooks))

    def _serve(self, role: str, ports: dict[str, int], shift_s: float) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        environment |= {
            f"GATEWAY_LISTEN__{name}": f"127.0.0.1:{port}" for name, port in ports.items()
        }
        command = [
            sys.executable,
            "-c",
            _SHIFTED,
            str(shift_s),
            "serve",
            "-c",
            str(self.folder / "gateway.yaml"),
            "--role",
            role,
        ]
        with (self.folder / f"{role}-{len(self.admins)}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )
        self.others += [process]
        return process

    async def sign_in(self, redis_url: str) -> None:
        """People, and an auth process that answers their checks."""
        ports = {"CHECK": free_port(), "PUBLIC": free_port(), "ADMIN": free_port()}
        self._serve("auth", ports, 0.0)
        self.check_port = ports["CHECK"]
        await self.ready(ports["ADMIN"])
        self.cookies = [
            await log_in(self.folder, redis_url, 0, name=str(number)) for number in range(SIGNED_IN)
        ]

    async def check_for_ever(self) -> None:
        """Of one of those who stay, and of the last who was ended, in turn."""
        connection = Connection(self.check_port)
        try:
            for number in itertools.count():
                status = await self._check(connection, self.cookies[number % STAYS])
                self.phase.checks[status] += 1
                if self.ended:
                    self.broken += await self._check(connection, self.ended[-1]) == "200"
                await asyncio.sleep(EVERY_S)
        finally:
            await connection.close()

    async def _check(self, connection: Connection, cookie: str) -> str:
        try:
            await connection.send(cookie)
            async with asyncio.timeout(30):
                return str((await connection.answer())[0])
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await connection.close()
            return type(error).__name__

    async def revoke_for_ever(self, which: int) -> None:
        """One after the other, each until it is acknowledged."""
        headers = {"Authorization": f"Bearer {self.key}"}
        for number in range(STAYS, SIGNED_IN):
            status = ""
            while status != "200":
                body = {
                    "tenant": "acme",
                    "user": f"sub-{number}",
                    "kind": "end_sessions",
                    "reason": "soak",
                }
                try:
                    url = f"http://127.0.0.1:{self.admins[which][1]}/admin/v1/revocations"
                    async with self.http.post(
                        url, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=60)
                    ) as response:
                        status = "200" if response.ok else str(response.status)
                        self.phase.without_retry_after += (
                            response.status == 503 and "Retry-After" not in response.headers
                        )
                except aiohttp.ClientError as error:
                    status = type(error).__name__
                self.phase.revocations[status] += 1
                await asyncio.sleep(0.25)
            self.ended.append(self.cookies[number])

    async def account(self) -> tuple[int, int]:
        """Of those who were ended, how many are allowed; of all others, how many are not."""
        connection = Connection(self.check_port)
        allowed = {
            cookie for cookie in self.cookies if await self._check(connection, cookie) == "200"
        }
        await connection.close()
        return len(allowed & set(self.ended)), len(set(self.cookies[:STAYS]) - allowed)

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
                group.create_task(
                    self._send(number, self.senders[number % len(self.senders)], self.phase)
                )
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
            async with self.http.post(
                url, json=body, headers={"Authorization": HOOK_SECRET}, timeout=timeout
            ) as response:
                status = str(response.status)
                if response.status == 200:
                    self.acknowledged.add(f"u-{number}")
                elif "Retry-After" not in response.headers:
                    phase.without_retry_after += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            status = type(error).__name__
        phase.answers[status] += 1
        phase.seconds.append(time.monotonic() - began)

    async def operate_for_ever(self, which: int) -> None:
        while True:
            began = time.monotonic()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.get(
                    f"http://127.0.0.1:{self.admins[which][1]}/admin/v1/tenants",
                    headers={"Authorization": f"Bearer {self.key}"},
                    timeout=aiohttp.ClientTimeout(total=60),
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
            rows = await connection.fetch(
                "SELECT event FROM hook_inbox WHERE state LIKE 'applied%'"
            )
        finally:
            await connection.close()
        return self.acknowledged - {row["event"] for row in rows}


@contextlib.asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """One admin process is frozen in the middle of its work, and somebody's idle transaction is on
    rows of the others.
    """
    holder = await asyncpg.connect(world.url.replace("+asyncpg", ""))
    transaction = holder.transaction()
    await transaction.start()
    world.senders = [1]
    os.kill(world.admins[0][0].pid, signal.SIGSTOP)
    try:
        await holder.fetch("SELECT 1 FROM hook_lanes FOR UPDATE SKIP LOCKED")
        await holder.fetch(
            "SELECT 1 FROM hook_inbox WHERE state = 'new' ORDER BY number DESC LIMIT 3 FOR "
            "UPDATE SKIP LOCKED"
        )
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
async def full(world: World) -> AsyncIterator[None]:
    """PostgreSQL's disk is full to the last byte, its write-ahead log included; a supervisor starts
    it again when it ends.
    """
    disk = world.postgres.disk
    assert disk is not None
    supervising = asyncio.create_task(_start_again_and_again(world.postgres))
    try:
        with disk.full():
            yield
    finally:
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        if not world.postgres.alive():
            await asyncio.to_thread(world.postgres.start)


async def _start_again_and_again(postgres: Postgres) -> None:
    while True:
        if not postgres.alive():
            await asyncio.to_thread(postgres.launch)
        await asyncio.sleep(RESTARTS_EVERY_S)


@contextlib.asynccontextmanager
async def clocks(world: World) -> AsyncIterator[None]:
    """One machine's clock is five minutes ahead, and its process dies with what it had taken."""
    yield
    world.senders = [1]
    world.admins[0][0].kill()


SCENARIOS = {
    "sql-locked": locked,
    "sql-hung": hung,
    "sql-killed": killed,
    "sql-full": full,
    "clocks": clocks,
}


def _prepare(folder: Path) -> None:
    (folder / "state").mkdir(mode=0o700)
    ring.load(folder / "state" / "keys.json", create=True)
    (folder / "tenants").mkdir()
    (folder / "tenants" / "acme.yaml").write_text(TENANT.format(host=HOST, hook_secret=HOOK_SECRET))


async def run(name: str, folder: Path, *, seconds: float) -> bool:
    """Whether everything was kept; prints the table."""
    _prepare(folder)
    valkey, postgres = (
        EmbeddedValkey.start(folder / "valkey"),
        Postgres(room_bytes=ROOM_BYTES if name == "sql-full" else None),
    )
    processes: list[subprocess.Popen[bytes]] = []
    try:
        await asyncio.to_thread(postgres.start)
        async with aiohttp.ClientSession() as http:
            world = World(folder, postgres, http)
            processes = world.others
            redis_url = f"unix://{valkey.socket_path}"
            config = CONFIG.format(
                folder=folder, redis=redis_url, min_replicas=0, staleness_ms=2000
            )
            (folder / "gateway.yaml").write_text(
                config
                + (
                    f'database: {{url: "{world.url}"}}\nhooks: {{mass_removal: {{unknown: '
                    f"1000000, people: 1000000}}}}\n"
                )
            )
            made = await asyncio.to_thread(
                subprocess.run,
                [
                    sys.executable,
                    "-m",
                    "gateway",
                    "admin-keys",
                    "create",
                    "soak",
                    "--scope",
                    "operator",
                    "--json",
                    "-c",
                    str(folder / "gateway.yaml"),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            world.key = json.loads(made.stdout)["key"]
            world.start(shift_s=SHIFT_S if name == "clocks" else 0.0)
            world.start()
            for _, admin, _ in world.admins:
                await world.ready(admin)
            await world.sign_in(redis_url)
            return await _measure(name, world, seconds)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        postgres.remove()
        valkey.stop()


async def _measure(name: str, world: World, seconds: float) -> bool:
    world.senders = [0, 1]
    tasks = [
        asyncio.create_task(work)
        for work in (
            world.send_for_ever(),
            world.operate_for_ever(1),
            world.revoke_for_ever(1),
            world.check_for_ever(),
        )
    ]
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
    lost, progress_at = world.acknowledged, time.monotonic()
    while lost and time.monotonic() - progress_at < APPLIED_WITHIN_S:
        left = await world.unapplied()
        if left != lost:
            lost, progress_at = left, time.monotonic()
        await asyncio.sleep(0.2)
    applied_s = time.monotonic() - over_at
    allowed, logged_out = await world.account()
    allowed += world.broken
    phases = (quiet, during, after)
    mute = sum(seen.without_retry_after for seen in phases)
    faults = sum(
        number
        for seen in phases
        for answer, number in (seen.answers + seen.revocations).items()
        if answer.startswith("5") and answer != "503"
    )
    failed = sum(
        number for seen in phases for answer, number in seen.checks.items() if answer != "200"
    )
    admin_s = max(during.admin_seconds + after.admin_seconds, default=0.0)
    rows: list[tuple[str, Any]] = [
        ("senders before", quiet),
        ("senders during", during),
        ("senders after", after),
        ("revocations before", _counted(quiet.revocations)),
        ("revocations during", _counted(during.revocations)),
        ("revocations after", _counted(after.revocations)),
        (
            "checks of people signed in",
            f"{sum(seen.checks.total() for seen in phases)}, {failed} failed",
        ),
        ("503 without Retry-After, other 5xx", f"{mute}, {faults}"),
        ("admin API, slowest answer", f"{admin_s:.1f} s"),
        ("normal again (20 in a row, each < 1 s)", f"{normal_s:.1f} s"),
        ("everything acknowledged applied", f"{applied_s:.1f} s"),
        ("acknowledged, and lost", f"{len(lost)} of {len(world.acknowledged)}"),
        (
            "allowed after an acknowledgement, wrong logouts",
            f"{allowed} of {len(world.ended)} who were ended, {logged_out}",
        ),
        ("logged", events_in(world.folder.glob("*.log"))),
    ]
    print(f"{name}: {(SCENARIOS[name].__doc__ or '').strip()}")
    for what, value in rows:
        print(f"  {what:48} {value}")
    unanswered = (
        sum(number for status, number in during.answers.items() if status != "200")
        if name in {"sql-locked", "clocks"}
        else 0
    )
    kept = not (lost or allowed or logged_out or mute or faults)
    return (
        kept
        and not failed
        and admin_s < ADMIN_ANSWERS_S + 1
        and unanswered <= sum(during.answers.values()) / 10
    )


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
    parser.add_argument("--keep", help="a new folder for logs and data, kept")
    asked = parser.parse_args()
    if asked.scenario == "sql-full" and not may_mount():
        parser.error("sql-full mounts a small file system: it needs root")
    with (
        contextlib.nullcontext(asked.keep)
        if asked.keep
        else tempfile.TemporaryDirectory(prefix="gateway-soak-") as folder
    ):
        return 0 if asyncio.run(run(asked.scenario, Path(folder), seconds=asked.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
