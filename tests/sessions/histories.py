"""A world in which every task can be held between a command, its reply and the use of that reply.

The shipped check server, cache, leases, login, revocation, acknowledgement and markers run on a
real Valkey; only the clock, the push channel, the wire of a check, and the moments at which things
happen belong to the test. Each command
of an actor waits twice: before it is sent and before its reply is used. ``History`` keeps account
of what was promised, and notes every broken promise.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from gateway.check.handler import Checks, _Decided
from gateway.check.server import CheckConnection, CheckServer
from gateway.config.model import Config
from gateway.core.decision import Allow
from gateway.core.reason import Reason
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.core.rule import Rule
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.pages.render import Pages
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.api import LIFT, Closed, Exemption, Lifted, Recorded, Standing
from gateway.revocation.restore import Markers
from gateway.revocation.service import StoreRevoker
from gateway.sessions.aliases import AliasIndex
from gateway.sessions.api import (
    LoginConsumed,
    NewAppPassword,
    SessionCreated,
    SessionRefused,
    StoredAppPassword,
)
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import RedisClient
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.lease_client import LeaseClient
from gateway.sessions.memory import SessionCache
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks, revocation_keys
from tests.check.oracle import Unbounded, Wire
from tests.sessions.conftest import CHILD, HOST, anybody, believe, identity, pending, tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from gateway.core.decision import Decision
    from gateway.core.model import Tenant
    from gateway.core.person import Person
    from gateway.keys import ring as keys
    from gateway.sessions.connection import Script

STALENESS_S = 10.0
GROUP, GROUP_TAKEN = "group", "admins"
"""What Cognito reports of everybody, whatever the customer has taken away."""
BUCKET = bucket_of("acme")
CONFIG = Config.model_validate(
    {
        "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
        "cognito": {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_TestTest1",
            "domain": "https://pool.auth.eu-north-1.amazoncognito.com",
        },
    }
)
PAGES = Pages()
TENANT = replace(tenant(), rules=(Rule("/dav/**", app_passwords=True),))
AT = prefix(BUCKET)


@dataclass(eq=False)
class Held:
    """Somebody waits for the test's word."""

    actor: str
    what: str
    stage: str
    go: asyncio.Future[None]


def _request(known: Known, number: str) -> bytes:
    """As nginx asks: a program's request, so that an answer needs no page."""
    facts = {
        "Method": "GET",
        "Proto": "https",
        "Host": known.stored.session.host,
        "Uri": "/dav" if known.password else "/",
    }
    headers = {f"X-Forwarded-{name}": value for name, value in facts.items()}
    held = (
        f"Basic {base64.b64encode(f'x:{known.password}'.encode()).decode()}"
        if known.password
        else f"{CONFIG.cookie.name}={known.stored.cookie.reveal()}"
    )
    headers |= {
        "Host": "gateway",
        "Authorization" if known.password else "Cookie": held,
        "X-Request-Id": number,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET /auth/nginx HTTP/1.1\r\n{lines}\r\n".encode("ascii")


class Answering(Wire):
    """The wire of one check, and whether its answer has come."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    def write(self, data: bytes) -> None:
        super().write(data)
        self.answered.set()


class Schedule:
    """Who waits for what, and what time it is."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.held: list[Held] = []
        self.executing = 0
        self._timers: list[tuple[float, asyncio.Future[None]]] = []

    async def hold(self, actor: str, what: str, stage: str) -> None:
        held = Held(actor, what, stage, asyncio.get_running_loop().create_future())
        self.held.append(held)
        try:
            await held.go
        finally:
            if held in self.held:
                self.held.remove(held)

    async def sleep(self, seconds: float) -> None:
        go = asyncio.get_running_loop().create_future()
        self._timers.append((self.now + seconds, go))
        await go

    async def settle(self) -> None:
        """Until nobody can go on without a word or the time."""
        quiet = 0
        while quiet < 8:
            await asyncio.sleep(0)
            quiet = 0 if self.executing else quiet + 1

    async def release(self, held: Held) -> None:
        self.held.remove(held)
        held.go.set_result(None)
        await self.settle()

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [go for at, go in self._timers if at <= self.now]
        self._timers = [(at, go) for at, go in self._timers if at > self.now]
        for go in due:
            if not go.done():
                go.set_result(None)
        await self.settle()


class HeldLink(RedisClient):
    """A link whose every command waits before it is sent and before its reply is used."""

    def __init__(
        self,
        schedule: Schedule,
        real: RedisClient,
        actor: str,
        executed: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(real.client)
        self._schedule, self._real, self._actor, self._executed = schedule, real, actor, executed

    async def _through(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        await self._schedule.hold(self._actor, what, "send")
        self._schedule.executing += 1
        try:
            reply = await call()
            await self._executed()
        except UnavailableError as error:
            reply = error
        finally:
            self._schedule.executing -= 1
        await self._schedule.hold(self._actor, what, "reply")
        if isinstance(reply, UnavailableError):
            raise reply
        return reply

    async def command(self, *words: str | bytes | int) -> Any:
        if words[0] == "EXISTS":
            # Whether the store answers at all: changes nothing, and nothing hangs on when.
            self._schedule.executing += 1
            try:
                return await self._real.command(*words)
            finally:
                self._schedule.executing -= 1
        return await self._through(str(words[0]), lambda: self._real.command(*words))

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        return await self._through(script.name, lambda: self._real.run(script, keys, arguments))

    async def run_durably(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        return await self._through(
            script.name, lambda: self._real.run_durably(script, keys, arguments)
        )


class MemoryRecord:
    """``RevocationRecord`` in memory: durable in every history."""

    def __init__(self, people: AliasIndex) -> None:
        self.recorded: dict[str, Recorded] = {}
        self.stands: list[Standing] = []
        self.people = people

    @contextlib.asynccontextmanager
    async def change(self, tenant: str, aliases: Sequence[str]) -> AsyncIterator[MemoryRecord]:
        kept = dict(self.recorded), list(self.stands)
        try:
            yield self
        except BaseException:
            self.recorded, self.stands = kept
            raise

    async def block(self, request: RevocationRequest, *, watermark: int, at: float) -> bool:
        new = all((s.who, s.group) != (request.who, None) for s in self.stands)
        if new:
            self.stands.append(
                Standing(
                    f"b{len(self.stands)}",
                    request.tenant,
                    request.who,
                    request.source,
                    "",
                    at,
                    watermark,
                )
            )
        return new

    async def overlay(self, request: RevocationRequest, *, watermark: int, at: float) -> None:
        self.stands = [
            s for s in self.stands if (s.who, s.group) != (request.who, request.group_overlay)
        ]
        self.stands.append(
            Standing(
                f"o{watermark}",
                request.tenant,
                request.who,
                request.source,
                "",
                at,
                watermark,
                request.group_overlay,
            )
        )

    async def said_already(self, request: RevocationRequest, *, at: float) -> int | None:
        return None

    async def exempt(self, request: RevocationRequest, everybody: Sequence[str]) -> int | None:
        return None

    async def is_taken_from_everybody(self, tenant: str, group: str, *, source: str) -> bool:
        return False

    async def exemptions(self, tenant: str) -> Sequence[Exemption]:
        return ()

    async def lift(self, request: RevocationRequest, *, at: float) -> Lifted:
        self.stands = [
            s for s in self.stands if (s.who, s.group) != (request.who, request.group_overlay)
        ]
        return Lifted(1, 0, others_stand=False)

    async def is_open(self, revocation: str) -> bool:
        return (
            revocation in self.recorded and self.recorded[revocation].status.acknowledged_ms is None
        )

    async def revocation(
        self,
        recorded: Recorded,
        *,
        users: Sequence[str] = (),
        to_tell: bool = False,
        people: Sequence[Person] = (),
    ) -> None:
        assert recorded.status.id not in self.recorded
        self.recorded[recorded.status.id] = recorded

    async def repeated(self, recorded: Recorded) -> None:
        assert recorded.status.id in self.recorded
        self.recorded[recorded.status.id] = recorded

    async def acknowledged(
        self, revocation: str, *, at: float, replicas: Sequence[tuple[str, float | None]]
    ) -> None:
        known = self.recorded[revocation]
        self.recorded[revocation] = replace(known, status=replace(known.status, acknowledged_ms=at))

    async def find(self, revocation: str) -> Recorded | None:
        return self.recorded.get(revocation)

    async def users_of(self, revocation: str) -> Sequence[str]:
        return ()

    async def since(
        self,
        durable_at: float,
        *,
        after: str,
        limit: int,
        closed: Callable[[Closed], None] | None = None,
    ) -> Sequence[Recorded]:
        return []

    async def of_tenant(
        self,
        tenant: str,
        *,
        durable_after: float,
        limit: int | None = None,
        closed: Callable[[Closed], None] | None = None,
    ) -> Sequence[Recorded]:
        return list(self.recorded.values())

    async def these(
        self, ids: Sequence[str], *, closed: Callable[[Closed], None] | None = None
    ) -> Sequence[Recorded]:
        return [self.recorded[one] for one in ids if one in self.recorded]

    async def unacknowledged(
        self, *, closed: Callable[[Closed], None] | None = None
    ) -> Sequence[Recorded]:
        return [
            r for r in self.recorded.values() if r.status.acknowledged_ms is None and r.kind != LIFT
        ]

    async def tenants(self) -> Sequence[str]:
        return ["acme"] if self.recorded else []

    async def standing(self, tenant: str) -> Sequence[Standing]:
        return list(self.stands)

    async def standing_of(self, tenant: str, aliases: Sequence[str]) -> Sequence[Standing]:
        return [
            s
            for s in await self.standing(tenant)
            if revocation_keys(self.people, s.who).marks[0] in aliases
        ]

    async def clear(self, standing: Standing, *, at: float) -> None: ...

    async def rename(self, standing: Standing, alias: str) -> None: ...

    async def highest_watermark(self, tenant: str) -> int:
        return max((r.watermark for r in self.recorded.values()), default=0)

    async def forget(self, *, before: float) -> int:
        return 0


@dataclass(eq=False)
class Known:
    """A session, or an app password that was made with one, as the world knows it. Moments are
    numbers of the history.
    """

    stored: SessionCreated
    user: str
    began_at: int
    lost: bool = False
    """The store lost data since: that it is gone proves nothing."""
    last: asyncio.Task[Any] | None = None
    password: str = ""


@dataclass(eq=False)
class Begun:
    """A login on its way."""

    user: str
    began_at: int
    began: int
    server: str


@dataclass(eq=False)
class Promise:
    """A revocation (``lifted``: a block), a group taken away from a user (``lifted``: given back),
    or a narrowing.
    """

    user: str
    kind: str
    started_at: int
    kept_since: int | None = None
    lifted_at: int | None = None
    cleared_at: int | None = None
    """Cognito's stored groups were cleared: what a login that begins later reports was given
    anew.
    """
    generation: int = 0

    def holds_back(self, groups: tuple[str, ...], *, began_at: int) -> bool:
        """Whether a session with these groups breaks it (invariant 7)."""
        return (
            self.kind == GROUP
            and GROUP_TAKEN in groups
            and self.lifted_at is None
            and (self.cleared_at is None or began_at < self.cleared_at)
        )


class Served:
    """The tenants of one process. What a generation is called is what its tenant is called, so that
    an answer tells which one it was decided by.
    """

    def __init__(self) -> None:
        self.serve(0)

    def serve(self, generation: int) -> None:
        self.table = TenantTable.of(
            (replace(TENANT, name=str(generation)),),
            shared_hosts=(),
            login_host=None,
            generation=generation,
        )

    async def replaced(self, table: TenantTable, *, within_s: float) -> bool:
        """Nothing is waited for: when the snapshot comes is the test's to say."""
        return self.table is not table


class Worker:
    """One auth worker: shipped store, memory and leases, behind links that can be held."""

    def __init__(self, history: History, number: int, life: int) -> None:
        name = f"r{number}"
        redis = HeldLink(history.schedule, history.real, name, history.collect)
        self.number = number
        self.cache = SessionCache()
        self.replica = history.replica_type(
            redis,
            self.cache,
            name=f"{name}.{life}",
            staleness_s=STALENESS_S,
            monotonic=lambda: history.schedule.now,
            sleep=history.schedule.sleep,
        )
        self.sessions = history.sessions_type(
            redis,
            lambda: history.ring,
            cache=self.cache,
            lease_client=self.replica,
            monotonic=lambda: history.schedule.now,
        )
        self.sessions.touches.used = lambda record, **_: None  # type: ignore[method-assign]  # idle times are not this world's
        self.sessions.uses.used = lambda session: None  # type: ignore[method-assign]  # nor is when something was used last
        self.tenants = Served()
        self.server = history.server_type(history.noting(self))
        self.pushes: list[str] = []
        self.tasks = [asyncio.get_running_loop().create_task(self.replica.run())]


class History:
    """The world, its steps, and what was promised in it."""

    def __init__(
        self,
        real: RedisClient,
        ring: keys.KeyRing,
        *,
        replica_type: type[LeaseClient] = LeaseClient,
        sessions_type: type[CachedSessions] = CachedSessions,
        acknowledgements_type: type[Acknowledgements] = Acknowledgements,
        checks_type: type[Checks] = Checks,
        server_type: type[CheckServer] = CheckServer,
    ) -> None:
        self.real, self.ring = real, ring
        self.server_type = server_type
        self.replica_type, self.sessions_type = replica_type, sessions_type
        self.checks_type = checks_type
        self.answered: dict[str, tuple[Decision, Tenant | None]] = {}
        """What the check came to, by request id."""
        self.schedule = Schedule()
        self.broken: list[str] = []
        self.known: list[Known] = []
        self.begun: list[Begun] = []
        self.promises: list[Promise] = []
        self.generation = 0
        self._moment = 0
        self._heard = 0
        self._life = 0
        self._copy: list[tuple[bytes, bytes]] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        admin = HeldLink(self.schedule, real, "admin", self.collect)
        self.record = MemoryRecord(AliasIndex("acme", ring.sealing))
        self.acknowledgements = acknowledgements_type(
            admin,
            staleness_s=STALENESS_S,
            monotonic=lambda: self.schedule.now,
            sleep=self.schedule.sleep,
        )
        self.revoker = StoreRevoker(
            Watermarks(admin, lambda: ring),
            self.record,
            self.acknowledgements,
            clock=time.time,
            monotonic=lambda: self.schedule.now,
        )
        self.keeper = Markers(
            HeldLink(self.schedule, real, "keeper", self.collect),
            tenants=self.record.tenants,
            restore=StoreRevoker(
                Watermarks(HeldLink(self.schedule, real, "keeper", self.collect), lambda: ring),
                self.record,
                self.acknowledgements,
                clock=time.time,
                monotonic=lambda: 0.0,
            ).restore,
            generation=lambda: self.generation,
            staleness_s=STALENESS_S,
            monotonic=lambda: self.schedule.now,
        )
        self.direct = RedisSessions(real, lambda: ring)
        self.workers: list[Worker] = []

    def noting(self, worker: Worker) -> Checks:
        """The shipped check of one worker; what it comes to is read where it is put on record."""
        answered = self.answered

        class Noting(self.checks_type):  # type: ignore[name-defined,misc]  # the shipped class, or a mutant of it
            def _record(
                self,
                dialect: Any,
                decision: Decision,
                decided: _Decided,
                request: Any,
                *rest: Any,
                **more: Any,
            ) -> None:
                answered[request.request_id] = decision, decided.tenant

        services = SimpleNamespace(
            config=CONFIG,
            trust=SimpleNamespace(believes=lambda _: True),
            tenants=worker.tenants,
            sessions=worker.sessions,
            pages=PAGES,
            assertions=SimpleNamespace(ring_number=0),
            clock=time.time,
        )
        made: Checks = Noting(services)
        return made

    async def begin(self) -> None:
        await self.real.command("FLUSHALL")
        await believe(self.real)
        self.workers = [Worker(self, number, 0) for number in (0, 1)]
        await self.schedule.settle()

    async def end(self) -> None:
        running = [
            *self.tasks,
            *(task for w in self.workers for task in w.tasks),
            *self.acknowledgements._pollers.values(),
            *self.revoker._tasks,
        ]
        for w in self.workers:
            running += [*w.replica._joining.values(), *w.server.tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def moment(self) -> int:
        self._moment += 1
        return self._moment

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def collect(self) -> None:
        """What was published by the command just executed, for the replicas to hear when the test
        says so.
        """
        number, events = await asyncio.gather(
            self.real.command("GET", f"{AT}n"), self.real.command("LRANGE", f"{AT}e", 0, -1)
        )
        last = int(number or 0)
        if last < self._heard:
            self._heard = 0
        for n in range(self._heard + 1, last + 1):
            back = n - last - 1
            if -back <= len(events):
                for worker in self.workers:
                    worker.pushes.append(f"{BUCKET:03x} {n} {events[back].decode()}")
        self._heard = last

    # --- steps -----------------------------------------------------------------------------------

    async def login(self, user: str) -> Known:
        """A whole login without a pause, on a store that is believed."""
        began_at = self.moment()
        begun = await self.direct.start_login(pending(), binding=None)
        taken = await self.direct.consume_login(
            begun.state.reveal(), bindings=(begun.binding.reveal(),)
        )
        assert isinstance(taken, LoginConsumed)
        stored = await self.direct.finish_login(self._new(user, taken.began, taken.server))
        assert isinstance(stored, SessionCreated)
        known = Known(stored, user, began_at)
        self.known.append(known)
        return known

    async def make_password(self, known: Known) -> Known | None:
        """With a session, without a pause; None where that has ended, or the store is not
        believed.
        """
        new = NewAppPassword("program", frozenset(), ("/",), 3600)
        try:
            made = await self.direct.make_app_password(
                known.stored.session, cookie=known.stored.cookie.reveal(), tenant=TENANT, new=new
            )
        except UnavailableError:
            return None
        if not isinstance(made, StoredAppPassword):
            return None
        password = Known(known.stored, known.user, known.began_at, password=made.text.reveal())
        self.known.append(password)
        return password

    def _new(self, user: str, began: int, server: str) -> Any:
        from gateway.sessions.api import NewSession

        # Fresh by the identity provider's own word, so that only watermarks and blocks decide.
        now = int(time.time())
        return NewSession(
            tenant=TENANT,
            host=HOST,
            identity=identity(user),
            began=began,
            auth_time=now,
            idp_iat=now,
            idp_iat_mapped=True,
            client_id="client",
            refresh_token=None,
            server=server,
            prompted_for=HOST,
        )

    async def begin_login(self, user: str) -> None:
        moment = self.moment()
        begun = await self.direct.start_login(pending(), binding=None)
        taken = await self.direct.consume_login(
            begun.state.reveal(), bindings=(begun.binding.reveal(),)
        )
        assert isinstance(taken, LoginConsumed)
        self.begun.append(Begun(user, moment, taken.began, taken.server))

    async def finish_login(self, login: Begun, number: int) -> None:
        self.begun.remove(login)
        self.start(self._finish(login, self.workers[number], self.moment()))
        await self.schedule.settle()

    async def _finish(self, login: Begun, worker: Worker, started_at: int) -> None:
        try:
            stored = await worker.sessions.finish_login(
                self._new(login.user, login.began, login.server)
            )
        except UnavailableError:
            return
        if isinstance(stored, SessionRefused):
            return
        for promise in self._kept(login.user, before=started_at):
            if login.began_at < promise.started_at:
                self.broken.append(
                    f"a login of {login.user} that began before a revocation made a session"
                )
            elif promise.kind == RevocationKind.BLOCK and promise.lifted_at is None:
                self.broken.append(f"a login of {login.user}, who is blocked, made a session")
            elif promise.holds_back(stored.session.identity.groups, began_at=login.began_at):
                self.broken.append(
                    f"a login of {login.user} brought back a group that was taken away"
                )
        self.known.append(Known(stored, login.user, login.began_at))

    async def check(self, known: Known, number: int) -> None:
        """A check arrives now."""
        known.last = self.start(self._check(known, self.workers[number], self.moment()))
        known.last.add_done_callback(self._checked)
        await self.schedule.settle()

    def _checked(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.broken.append(f"a check, or what is made of it here, failed: {fault!r}")

    async def _check(self, known: Known, worker: Worker, arrived_at: int) -> str:
        number = f"check-{self.moment()}"
        status = await self._ask(worker, _request(known, number))
        decision, decided_by = self.answered.pop(number)
        if (status == b"200") is not isinstance(decision, Allow):
            self.broken.append(f"{status!r} was written, and {decision.reason} decided")
        if decision.reason is Reason.STORE_UNAVAILABLE:
            return "503"
        if not isinstance(decision, Allow) or decision.session is None or decided_by is None:
            if not known.lost and all(p.user != known.user for p in self.promises):
                self.broken.append(f"{known.user} was logged out by nobody")
            return "no"
        for promise in self._kept(known.user, before=arrived_at):
            if known.began_at < promise.started_at:
                self.broken.append(
                    f"a check of {known.user} that arrived after the acknowledgement was allowed"
                )
            # With a password a person arrives as their last login said.
            said_at = (
                max(other.began_at for other in self.known if other.user == known.user)
                if known.password
                else known.began_at
            )
            if promise.holds_back(decision.session.identity.groups, began_at=said_at):
                self.broken.append(f"a check told of a group that was taken away from {known.user}")
        # Also of what was acknowledged after the check arrived: it was never the last word of a
        # process that had heard better.
        for promise in self._kept("", before=self.moment()):
            if int(decided_by.name) < promise.generation:
                self.broken.append(
                    f"a check was decided by tenants {decided_by.name}, narrowed since by "
                    f"{promise.generation}"
                )
        return "allow"

    async def _ask(self, worker: Worker, request: bytes) -> bytes:
        """The status that the server wrote, in whichever turn of the loop."""
        wire = Answering()
        connection = CheckConnection(worker.server, cast("Any", Unbounded()), starting=None)
        connection.connection_made(cast("Any", wire))
        try:
            connection.data_received(request)
            await wire.answered.wait()
        finally:
            connection.connection_lost(None)
        return bytes(wire.written).split(b" ")[1]

    def _kept(self, user: str, *, before: int) -> list[Promise]:
        return [
            p
            for p in self.promises
            if p.user == user and p.kept_since is not None and p.kept_since < before
        ]

    async def revoke(self, user: str, kind: str = RevocationKind.END_SESSIONS) -> None:
        promise = Promise(user, kind, self.moment())
        self.promises.append(promise)
        self.start(self._revoke(promise))
        await self.schedule.settle()

    async def _revoke(self, promise: Promise) -> None:
        request = (
            self._taking(promise.user)
            if promise.kind == GROUP
            else RevocationRequest(
                "acme", Who(user=f"sub-{promise.user}"), RevocationKind(promise.kind), "", "admin"
            )
        )
        try:
            status = await self.revoker.revoke(request)
        except UnavailableError:
            return
        assert isinstance(status, RevocationStatus)
        promise.kept_since = self.moment()

    async def take_group(self, user: str) -> None:
        """The customer takes the group away; Cognito goes on reporting it."""
        await self.revoke(user, GROUP)

    async def give_group(self, user: str) -> None:
        for promise in self.promises:
            if promise.user == user and promise.kind == GROUP:
                promise.lifted_at = self.moment()
        self.start(self._give_group(user))
        await self.schedule.settle()

    async def _give_group(self, user: str) -> None:
        with contextlib.suppress(UnavailableError):
            await self.revoker.lift(self._taking(user))

    async def clear_group(self, user: str) -> None:
        """The admin role has taken the group out of what Cognito stores, and confirms it."""
        standing = [
            s
            for s in self.record.stands
            if s.group is not None and s.who == Who(user=f"sub-{user}")
        ]
        for promise in self.promises:
            if (
                standing
                and promise.user == user
                and promise.kind == GROUP
                and promise.cleared_at is None
            ):
                promise.cleared_at = self.moment()
        for one in standing:
            self.start(self._clear(one))
        await self.schedule.settle()

    async def _clear(self, standing: Standing) -> None:
        with contextlib.suppress(UnavailableError):
            await self.revoker._watermarks.cleared(
                "acme",
                self.revoker.revocation_keys(self._taking(str(standing.who.user)[4:])),
                watermark=standing.watermark,
            )

    def _taking(self, user: str) -> RevocationRequest:
        return RevocationRequest(
            "acme",
            Who(user=f"sub-{user}"),
            RevocationKind.END_SESSIONS,
            "",
            "admin",
            group_overlay=GROUP_TAKEN,
        )

    async def lift(self, user: str) -> None:
        for promise in self.promises:
            if promise.user == user and promise.kind != GROUP:
                promise.lifted_at = self.moment()
        self.start(self._lift(user))
        await self.schedule.settle()

    async def _lift(self, user: str) -> None:
        with contextlib.suppress(UnavailableError):
            await self.revoker.lift(
                RevocationRequest(
                    "acme", Who(user=f"sub-{user}"), RevocationKind.BLOCK, "", "admin"
                )
            )

    async def narrow(self) -> None:
        self.generation += 1
        promise = Promise("", "narrowing", self.moment(), generation=self.generation)
        self.promises.append(promise)
        self.start(self._narrow(promise))
        await self.schedule.settle()

    async def _narrow(self, promise: Promise) -> None:
        with contextlib.suppress(UnavailableError):
            await self.acknowledgements.narrow(
                ["acme"], promise.generation, lambda _replica, _at: None
            )
            promise.kept_since = self.moment()

    async def apply_snapshot(self, number: int) -> None:
        worker = self.workers[number]
        worker.tenants.serve(self.generation)
        worker.replica.applied(self.generation)

    async def deliver(self, number: int) -> None:
        worker = self.workers[number]
        if worker.pushes:
            worker.replica.heard(worker.pushes.pop(0))
            await self.schedule.settle()

    async def lose(self, number: int) -> None:
        del self.workers[number].pushes[:1]

    async def restart(self, number: int) -> None:
        old = self.workers[number]
        for task in [*old.tasks, *old.replica._joining.values()]:
            task.cancel()
        await asyncio.gather(*old.tasks, *old.replica._joining.values(), return_exceptions=True)
        self._life += 1
        self.workers[number] = Worker(self, number, self._life)
        await self.schedule.settle()

    async def renew(self, number: int) -> None:
        worker = self.workers[number]
        worker.replica._wanted |= worker.replica.leases.keys()
        worker.replica._wake.set()
        await self.schedule.settle()

    async def look(self) -> None:
        self.start(self._look())
        await self.schedule.settle()

    async def _look(self) -> None:
        with contextlib.suppress(UnavailableError):
            await self.keeper.look()

    async def flush(self) -> None:
        await self.real.command("FLUSHALL")
        await self._lost()

    async def copy(self) -> None:
        """What a fail-over may go back to."""
        names = await self.real.command("KEYS", "*")
        self._copy = [(name, await self.real.command("DUMP", name)) for name in names]

    async def fail_over(self) -> None:
        """Another server takes over, with the data of the last copy (its times to live start anew),
        or without any.
        """
        await self.real.command("FLUSHALL")
        for name, value in self._copy or []:
            await self.real.command("RESTORE", name, 0, value)
        await self.real.command("DEBUG", "CHANGE-REPL-ID")
        await self._lost()

    async def _lost(self) -> None:
        for known in self.known:
            known.lost = True
        for worker in self.workers:
            worker.pushes.clear()
        self._heard = int(await self.real.command("GET", f"{AT}n") or 0)

    # --- whole sentences -------------------------------------------------------------------------

    def held(self, actor: str, what: str, stage: str) -> Held:
        (found,) = [
            h for h in self.schedule.held if (h.actor, h.what, h.stage) == (actor, what, stage)
        ]
        return found

    async def pass_on(self, actor: str, what: str, stage: str) -> None:
        await self.schedule.release(self.held(actor, what, stage))

    async def flow(self, *actors: str, steps: int = 200) -> None:
        """These actors (all, if none is named) go on, in order, until they wait for others or for
        the time.
        """
        for _ in range(steps):
            held = next((h for h in self.schedule.held if not actors or h.actor in actors), None)
            if held is None:
                return
            await self.schedule.release(held)

    async def ticket(self, parent: Known, number: int) -> Any:
        from gateway.sessions import seal

        sessions = self.workers[number].sessions
        binding = seal.new_binding(bytes)
        token = await self.direct.issue_ticket(
            parent.stored.session,
            cookie=parent.stored.cookie.reveal(),
            host=CHILD,
            return_to=f"https://{CHILD}/",
            binding_id=seal.binding_id(binding),
        )
        assert token is not None
        return sessions.redeem_ticket(
            token.reveal(), host=CHILD, bindings=(binding,), served=anybody
        )
