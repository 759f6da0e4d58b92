"""A fleet of real gateway processes under load, and an account of every check: when it was sent,
and what had been promised by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from demo.processes import die_with_parent, free_port
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.cli.local import configured_database
from gateway.config.model import Redis
from gateway.core.model import Secret
from gateway.errors import UnavailableError
from gateway.keys import ring
from gateway.sessions.connection import connect
from gateway.sessions.keyspace import bucket_of
from gateway.sessions.store import RedisSessions
from tests.sessions.conftest import HOST, Login, identity, tenant
from tests.support.fork_server import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType

    from tests.support.fork_server import Forked

ROOT = Path(__file__).parents[2]
HOOK_SECRET = "soak-hook-secret-0123456789-0123456789"
CONFIG = """
ingress: {{trusted_proxies: [127.0.0.1/32]}}
cognito: {{region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}}
state_dir: {folder}/state
key_ring: {{file: {folder}/state/keys.json}}
redis: {{url: "{redis}", min_replicas: {min_replicas}}}
session: {{max_revocation_delay: {staleness_ms}ms}}
tenants: {{directory: {folder}/tenants}}
log: {{level: warning}}
"""
TENANT = """
id: acme
name: Acme
hosts: [{host}]
email_domains: [acme.test]
allowed_groups: any
client_id: client
client_secret: secret
providers: [{{name: acme-okta, kind: okta, label: Okta, issuer: https://idp.example, domains: [acme.test], hooks: {{secrets: [{hook_secret}]}}}}]
"""  # noqa: E501 - one text, as it is


OUTAGE_PAUSE_S = 0.02
"""Between two checks of one connection of a paced load while they are 503."""


@dataclass(eq=False, slots=True)
class Person:
    """One user's sessions, and what was promised about them (monotonic seconds)."""

    name: str
    cookies: list[str] = field(default_factory=list)
    revoking_since: float | None = None
    acknowledged_at: float | None = None
    kind: str = ""
    """Of the revocation."""


@dataclass(slots=True)
class Account:
    """What came of all checks."""

    allowed: int = 0
    denied: int = 0
    unavailable: int = 0
    broken: int = 0
    """Sent after the acknowledgement, and allowed."""
    wrong_logouts: int = 0
    failed: int = 0
    """No answer at all: a connection broke, or the deadline passed."""
    without_retry_after: Counter[str] = field(default_factory=Counter)
    """Of ``unavailable``, by status and reason: whoever is told nothing else must be told when to
    ask again.
    """
    seconds: list[float] = field(default_factory=list, repr=False)


def reason_in(head: bytes, body: bytes) -> str:
    """What nginx is told in the head, else ``code`` of a problem document, else how the body
    begins.
    """
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"x-auth-reason:"):
            return line.partition(b":")[2].strip().decode("ascii", "replace")
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return str(json.loads(body)["code"])
    return ascii(body[:40].decode("utf-8", "replace"))


class Connection:
    """One keep-alive connection of an ingress to a check listener."""

    def __init__(self, where: int | str) -> None:
        """A loopback port, or the path of a Unix socket."""
        self._where = where
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, cookie: str) -> None:
        if self._streams is None:
            self._streams = await (
                asyncio.open_connection("127.0.0.1", self._where)
                if isinstance(self._where, int)
                else asyncio.open_unix_connection(self._where)
            )
        request = (
            "GET /auth/nginx HTTP/1.1\r\nHost: gateway\r\nX-Forwarded-Method: "
            f"GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: {HOST}\r\n"
            f"X-Forwarded-Uri: /\r\nCookie: __Host-gw={cookie}\r\n\r\n"
        )
        self._streams[1].write(request.encode("ascii"))

    async def answer(self) -> tuple[int, bytes]:
        """Status, and all of it: head and body."""
        assert self._streams is not None
        head, body = await self._streams[0].readuntil(b"\r\n\r\n"), b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await self._streams[0].readexactly(int(line.split(b":")[1]))
        return int(head.split(b" ", 2)[1]), head + body

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Fleet:
    """Processes, people and load. ``async with Fleet(...)``."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        *,
        replicas: int,
        workers: int,
        staleness_s: float = 2.0,
        min_replicas: int = 0,
        within: Sequence[Sequence[str]] = (),
        last_redis_url: str = "",
    ) -> None:
        """``within``: for each replica what a command begins with that runs in another network
        namespace; it listens at Unix sockets then. ``last_redis_url``: the last replica's own way
        to the same store.
        """
        self.folder, self.redis_url, self.replicas, self.workers = (
            folder,
            redis_url,
            replicas,
            workers,
        )
        self.staleness_s, self.min_replicas = staleness_s, min_replicas
        self._within = within or [()] * replicas
        self._last_redis_url = last_redis_url or redis_url
        self.account = Account()
        self.people: list[Person] = []
        self.check_ports: list[int | str] = []
        self.public_ports: list[int | str] = []
        """Of each replica: a loopback port, or the path of a Unix socket."""
        self.admin_port, self.hooks_port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes] | Forked] = []
        self.admin_key = ""
        self._random = random.Random(1)
        self._load: list[asyncio.Task[None]] = []
        self._touched: list[Person] = []
        self._numbers = itertools.count()
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "state").chmod(0o700)
        (self.folder / "tenants").mkdir()
        (self.folder / "tenants" / "acme.yaml").write_text(
            TENANT.format(host=HOST, hook_secret=HOOK_SECRET)
        )
        self.config = self.folder / "gateway.yaml"
        self.config.write_text(
            CONFIG.format(
                folder=self.folder,
                redis=self.redis_url,
                min_replicas=max(self.min_replicas, 0),
                staleness_ms=round(self.staleness_s * 1000),
            )
        )
        self.ring = ring.load(self.folder / "state" / "keys.json", create=True)
        self._http = aiohttp.ClientSession()
        self.admin_key = await self._make_admin_key()
        try:
            self._serve("admin", {"admin": self.admin_port, "hooks": self.hooks_port})
            for number, within in enumerate(self._within):
                ports = {
                    name: str(self.folder / f"{name}-{number}.sock") if within else free_port()
                    for name in ("check", "public", "admin")
                }
                last = number == len(self._within) - 1
                self._serve("auth", ports, within, self._last_redis_url if last else "")
                self.check_ports.append(ports["check"])
                self.public_ports.append(ports["public"])
            for port in (self.admin_port, *self.check_ports):
                await self._answers(port)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _make_admin_key(self) -> str:
        """As ``gateway admin-keys create`` does, without a process for it."""
        async with configured_database(str(self.config)) as (_, database):
            made = await AdminKeys(database, clock=time.time).create(
                name="soak", scopes=(Scope.OPERATOR,), tenant=None, lifetime_s=None, made_by="test"
            )
        assert made is not None
        return made.presented.reveal()

    def _serve(
        self,
        role: str,
        ports: Mapping[str, int | str],
        within: Sequence[str] = (),
        redis_url: str = "",
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        environment |= {
            f"GATEWAY_LISTEN__{name.upper()}": f"127.0.0.1:{port}"
            if isinstance(port, int)
            else f"unix:{port}"
            for name, port in ports.items()
        }
        if redis_url:
            environment["GATEWAY_REDIS__URL"] = redis_url
        workers = ["--workers", str(self.workers)] if role == "auth" else []
        command = ["serve", "-c", str(self.config), "--role", role, *workers]
        with (self.folder / f"{role}-{len(self.processes)}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [*within, sys.executable, "-m", "gateway", *command],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
                )
                if any(self._within)  # a fork server costs more than one start
                else start(
                    *command,
                    cwd=ROOT,
                    environment=environment,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                )
            )

    async def _answers(self, port: int | str) -> None:
        async with asyncio.timeout(60):
            while True:
                # First: where one of ours could not begin, whoever answers there is somebody else.
                assert all(p.poll() is None for p in self.processes), [
                    log.read_text()[-2000:] for log in self.folder.glob("*.log")
                ]
                with contextlib.suppress(OSError):
                    _, writer = await (
                        asyncio.open_connection("127.0.0.1", port)
                        if isinstance(port, int)
                        else asyncio.open_unix_connection(port)
                    )
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
                    return
                await asyncio.sleep(0.05)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.rest()
        await self._http.close()
        for process in self.processes:
            for pid in self.worker_pids(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def worker_pids(self, process: subprocess.Popen[bytes] | Forked) -> list[int]:
        """Forked workers of one ``gateway serve``; the process itself where it forked none."""
        try:
            children = [
                int(pid)
                for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children")
                .read_text()
                .split()
            ]
        except OSError:
            return []
        return children or [process.pid]

    def logged(self) -> str:
        """What the processes said at ``warning`` or above: how often each event."""
        return events_in(self.folder.glob("*.log"))

    # --- people ----------------------------------------------------------------------------------

    async def log_in(self, people: int, *, sessions_each: int) -> None:
        """Directly at the store, as callbacks would."""
        self.people += await self.sign_in(people, sessions_each=sessions_each)

    async def sign_in(self, people: int, *, sessions_each: int) -> list[Person]:
        """As ``log_in``, of people about whom no check is asked yet."""
        gate = asyncio.Semaphore(8)

        async def one(login: Login, person: Person) -> None:
            async with gate:
                while len(person.cookies) < sessions_each:
                    with contextlib.suppress(UnavailableError):  # a busy machine: once more
                        stored = await login.finish(identity=identity(person.name))
                        person.cookies.append(stored.cookie.reveal())

        async with asyncio.timeout(600), self.store() as login:
            await self.store_answers()
            await login.sessions.redis.command(
                "EXISTS", "gw:probe"
            )  # one before many: they would otherwise all discover the Cluster at once
            fresh = [Person(f"user{next(self._numbers)}") for _ in range(people)]
            await asyncio.gather(*(one(login, person) for person in fresh))
        return fresh

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Login]:
        """Logins of the tenant, as an auth role makes them."""
        redis = connect(_settings(self.redis_url, self.min_replicas))
        sessions = RedisSessions(redis, lambda: self.ring)
        try:
            yield Login(sessions, tenant())
        finally:
            await sessions.touches.close()
            await redis.close()

    async def store_answers(self, *, seconds: float = 60) -> float:
        """How long until a check of nobody's session is answered (and not 503) by every replica."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            for port in self.check_ports:
                while await self._ask(port) == 503:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def _ask(self, port: int | str) -> int:
        connection = Connection(port)
        try:
            await connection.send(f"{bucket_of('acme'):03x}" + "A" * 43)
            return (await connection.answer())[0]
        except (OSError, asyncio.IncompleteReadError):
            return 503
        finally:
            await connection.close()

    # --- load ------------------------------------------------------------------------------------

    def load(self, connections: int, *, pause_s: float = 0.0) -> None:
        """Closed loops, spread over the replicas, that prefer whom a promise was made about."""
        self._load = [
            asyncio.create_task(self._loop(self.check_ports[n % len(self.check_ports)], pause_s))
            for n in range(connections)
        ]

    async def rest(self) -> None:
        for task in self._load:
            task.cancel()
        await asyncio.gather(*self._load, return_exceptions=True)
        self._load = []

    def somebody(self) -> Person:
        """Two in five checks are of those about whom a promise was made lately."""
        return self._random.choice(
            self._touched[-40:] if self._touched and self._random.random() < 0.4 else self.people
        )

    async def _loop(self, port: int | str, pause_s: float) -> None:
        connection = Connection(port)
        try:
            await self._ask_for_ever(connection, pause_s)
        finally:
            await connection.close()

    async def _ask_for_ever(self, connection: Connection, pause_s: float) -> None:
        while True:
            person = self.somebody()
            cookie = self._random.choice(person.cookies)
            sent = time.monotonic()
            try:
                await connection.send(cookie)
                async with asyncio.timeout(30):
                    status, answer = await connection.answer()
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self.account.failed += 1
                await connection.close()
                await asyncio.sleep(0.02)
                continue
            self.note(person, sent, status, answer)
            if pause_s:
                # Of an outage enough is told at this rate; faster would only take the processor
                # from whoever fails over.
                await asyncio.sleep(
                    pause_s if status in {200, 401, 403} else max(pause_s, OUTAGE_PAUSE_S)
                )

    async def ask_everywhere(self, person: Person) -> None:
        """Every session of the person by every replica, over more connections than it has
        workers.
        """

        async def one(port: int | str) -> None:
            connection = Connection(port)
            try:
                for cookie in person.cookies:
                    sent = time.monotonic()
                    await connection.send(cookie)
                    async with asyncio.timeout(30):
                        self.note(person, sent, *await connection.answer())
            finally:
                await connection.close()

        await asyncio.gather(
            *(one(port) for port in self.check_ports for _ in range(4 * self.workers))
        )

    def note(self, person: Person, sent: float, status: int, answer: bytes = b"") -> None:
        account = self.account
        account.seconds.append(time.monotonic() - sent)
        if status == 200:
            account.allowed += 1
            if person.acknowledged_at is not None and sent > person.acknowledged_at:
                account.broken += 1
        elif status in {401, 403}:
            account.denied += 1
            if person.revoking_since is None:
                account.wrong_logouts += 1
        else:
            account.unavailable += 1
            head, _, body = answer.partition(b"\r\n\r\n")
            if b"retry-after:" not in head.lower():
                account.without_retry_after[f"{status} {reason_in(head, body)}"] += 1

    # --- revoking --------------------------------------------------------------------------------

    def fresh_person(self) -> Person:
        return self._random.choice([p for p in self.people if p.revoking_since is None])

    async def revoke(
        self, person: Person | None = None, *, kind: str = "end_sessions", seconds: float = 60
    ) -> tuple[Person, float, dict[str, Any]]:
        """Through the admin API until it is acknowledged; who, how long the last request took, what
        it said.
        """
        person = person or self.fresh_person()
        person.revoking_since, person.kind = time.monotonic(), kind
        self._touched = [*self._touched, person]
        body = {"tenant": "acme", "user": f"sub-{person.name}", "kind": kind, "reason": "soak"}
        async with asyncio.timeout(seconds):
            while True:
                began = time.monotonic()
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with self._http.post(
                        f"http://127.0.0.1:{self.admin_port}/admin/v1/revocations",
                        json=body,
                        headers={"Authorization": f"Bearer {self.admin_key}"},
                        timeout=aiohttp.ClientTimeout(total=20),
                    ) as response:
                        said = await response.json()
                        if response.status < 300:
                            person.acknowledged_at = time.monotonic()
                            return person, person.acknowledged_at - began, said
                        assert response.status == 503, (response.status, said)
                await asyncio.sleep(0.1)


def _settings(url: str, min_replicas: int) -> Redis:
    return Redis(url=Secret(url), min_replicas=min_replicas)


def events_in(logs: Iterable[Path], *, most: int = 8) -> str:
    """The most frequent events of JSON logs."""
    found = Counter(
        name
        for log in logs
        for name in re.findall(r'"event": ?"(\w+)"', log.read_text(errors="replace"))
    )
    return ", ".join(f"{number} × {name}" for name, number in found.most_common(most))


def quantiles(values: list[float]) -> str:
    """p50, p99 and maximum, in milliseconds."""
    ordered = sorted(values)
    return (
        f"p50 {statistics.median(ordered) * 1000:.1f} ms, p99 "
        f"{ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000:.1f} ms, max "
        f"{ordered[-1] * 1000:.1f} ms"
    )
