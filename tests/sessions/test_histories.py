"""Invariants 5 to 8 in every history: random ones, and the shortest that each mutant of the
protocol fails.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.check.handler import Checks
from gateway.check.response import CheckResponse
from gateway.check.server import CheckServer
from gateway.core.revocation import RevocationKind
from gateway.keys import ring
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.sessions import connection
from gateway.sessions.api import SessionCreated
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import Script, Target, client_to
from gateway.sessions.keyspace import bucket_of
from gateway.sessions.lease import Lease, Renewed
from gateway.sessions.lease_client import LeaseClient
from tests.sessions import servers
from tests.sessions.histories import AT, STALENESS_S, History, Known, MemoryRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gateway.check.dialects import RawRequest
    from gateway.sessions.lease import Renewal

RING = ring.generate()
USERS = ("alice", "bob")
REPLICAS = st.integers(0, 1)
EXAMPLES = int(os.environ.get("SOAK_HISTORIES", "25"))
"""Random histories of fifty steps. scripts/soak asks for thousands."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with (
        servers.running(
            tmp_path_factory.mktemp("histories"), "--enable-debug-command", "local"
        ) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Time-outs are another test's; here a busy machine must not play a part.
        for name in ("COMMAND_TIMEOUT_S", "CONNECT_TIMEOUT_S", "DEADLINE_S"):
            patch.setattr(connection, name, 60.0)
        yield running


# --- random histories
# -------------------------------------------------------------------------------


class Histories(RuleBasedStateMachine):
    """Two replicas, one store, one admin role; any step at any time."""

    port = 0

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = client_to(
            Target("single", (("127.0.0.1", self.port),)), ca_file=None, replicas=0
        )
        self.world = History(self.redis, RING)
        self.fresh_store = True
        self.do(self.world.begin())
        for user in USERS:
            self.do(self.world.login(user))

    def do(self, work: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(20):
                return await work

        return self.loop.run_until_complete(bounded())

    @rule(user=st.sampled_from(USERS))
    @precondition(lambda self: self.fresh_store and len(self.world.begun) < 3)
    def begin_login(self, user: str) -> None:
        self.do(self.world.begin_login(user))

    @rule(replica=REPLICAS, data=st.data())
    @precondition(lambda self: self.world.begun)
    def finish_login(self, replica: int, data: st.DataObject) -> None:
        self.do(self.world.finish_login(data.draw(st.sampled_from(self.world.begun)), replica))

    @rule(replica=REPLICAS, data=st.data())
    def check(self, replica: int, data: st.DataObject) -> None:
        self.do(self.world.check(data.draw(st.sampled_from(self.world.known)), replica))

    @rule(data=st.data())
    @precondition(lambda self: sum(bool(known.password) for known in self.world.known) < 3)
    def make_password(self, data: st.DataObject) -> None:
        self.do(
            self.world.make_password(
                data.draw(
                    st.sampled_from([known for known in self.world.known if not known.password])
                )
            )
        )

    @rule(user=st.sampled_from(USERS), kind=st.sampled_from(RevocationKind))
    @precondition(lambda self: len(self.world.promises) < 5)
    def revoke(self, user: str, kind: RevocationKind) -> None:
        self.do(self.world.revoke(user, kind))

    @rule(user=st.sampled_from(USERS))
    @precondition(lambda self: len(self.world.promises) < 5)
    def take_group(self, user: str) -> None:
        self.do(self.world.take_group(user))

    @rule(user=st.sampled_from(USERS))
    def give_group(self, user: str) -> None:
        self.do(self.world.give_group(user))

    @rule(user=st.sampled_from(USERS))
    def clear_group(self, user: str) -> None:
        self.do(self.world.clear_group(user))

    @rule(user=st.sampled_from(USERS))
    def lift(self, user: str) -> None:
        self.do(self.world.lift(user))

    @rule()
    @precondition(lambda self: len(self.world.promises) < 5)
    def narrow(self) -> None:
        self.do(self.world.narrow())

    @rule(replica=REPLICAS)
    def apply_snapshot(self, replica: int) -> None:
        self.do(self.world.apply_snapshot(replica))

    @rule(replica=REPLICAS)
    def deliver_push(self, replica: int) -> None:
        self.do(self.world.deliver(replica))

    @rule(replica=REPLICAS)
    def lose_push(self, replica: int) -> None:
        self.do(self.world.lose(replica))

    @rule(data=st.data())
    @precondition(lambda self: self.world.schedule.held)
    def one_goes_on(self, data: st.DataObject) -> None:
        self.do(self.world.schedule.release(data.draw(st.sampled_from(self.world.schedule.held))))

    @rule(actor=st.sampled_from(["r0", "r1", "admin", "keeper"]))
    def one_flows(self, actor: str) -> None:
        """The others are frozen meanwhile."""
        self.do(self.world.flow(actor, steps=12))

    @rule()
    def all_flow(self) -> None:
        self.do(self.world.flow(steps=40))

    @rule(part=st.sampled_from([0.1, 0.5, 1.0]))
    def time_passes(self, part: float) -> None:
        self.do(self.world.schedule.advance(part * STALENESS_S))

    @rule(replica=REPLICAS)
    def restart(self, replica: int) -> None:
        self.do(self.world.restart(replica))

    @rule()
    def keeper_looks(self) -> None:
        self.do(self.world.look())

    @rule()
    def flush(self) -> None:
        self.fresh_store = False
        self.do(self.world.flush())

    @rule()
    def copy(self) -> None:
        self.do(self.world.copy())

    @rule()
    def fail_over(self) -> None:
        self.fresh_store = False
        self.do(self.world.fail_over())

    @invariant()
    def no_promise_is_broken(self) -> None:
        assert not self.world.broken, self.world.broken

    def teardown(self) -> None:
        try:
            self.do(self.world.flow(steps=300))
            assert not self.world.broken, self.world.broken
        finally:
            self.do(self.world.end())
            self.do(self.redis.close())
            self.loop.close()


def test_no_history_breaks_a_promise(server: servers.Server) -> None:
    class Here(Histories):
        port = server.port

    case = Here.TestCase
    case.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    case("runTest").runTest()


# --- mutants
# ----------------------------------------------------------------------------------------


class UnguardedFill(CachedSessions):
    """A read is remembered whatever happened since it was sent."""

    def counts(self, lease: Lease, epoch: int) -> bool:
        return True


class BacklogLater(LeaseClient):
    """A renewal extends the lease without applying what it brought."""

    async def _renew(self, buckets: Any, redis: Any) -> None:
        for bucket in buckets:
            self.leases[bucket].__class__ = _Forgetful
        await super()._renew(buckets, redis)


class _Forgetful(Lease):
    __slots__ = ()

    def renewed(
        self, renewal: Renewal, answer: Renewed | None, *, sent_at: float, now: float
    ) -> bool:
        if answer is not None and self.applied is not None:
            answer = Renewed(answer.marker, renewal.applied or 0, answer.generation, ())
        return super().renewed(renewal, answer, sent_at=sent_at, now=now)


class LateCount(LeaseClient):
    """A lease counts from the reply."""

    async def _renew(self, buckets: Any, redis: Any) -> None:
        for bucket in buckets:
            self.leases[bucket].__class__ = _Late
        await super()._renew(buckets, redis)


class _Late(Lease):
    __slots__ = ()

    def renewed(
        self, renewal: Renewal, answer: Renewed | None, *, sent_at: float, now: float
    ) -> bool:
        return super().renewed(renewal, answer, sent_at=now, now=now)


class ListedFirst(Acknowledgements):
    """Holders are those that were there before the deletion (as the test noted them)."""

    early: dict[str, Any] = {}  # noqa: RUF012 - set by the test

    async def fence(self, bucket: int) -> tuple[bytes, int, dict[str, Any]]:
        marker, number, _ = await super().fence(bucket)
        return marker, number, dict(self.early)


class Impatient(Acknowledgements):
    """Nobody is waited for."""

    async def fence(self, bucket: int) -> tuple[bytes, int, dict[str, Any]]:
        marker, number, _ = await super().fence(bucket)
        return marker, number, {}


class AnyServer(Acknowledgements):
    """Whichever server is there acknowledges, not the one that ended the sessions."""

    async def confirm(
        self, tenant: str, report: Callable[[str, float | None], None], *, server: str
    ) -> None:
        marker, _ = await self.holders(bucket_of(tenant))
        await super().confirm(
            tenant, report, server=(marker or b"  ")[2:].split(b" ")[0].decode("ascii")
        )


class ReadsAnywhere(CachedSessions):
    """A direct read is used though its lease ran out meanwhile."""

    def counts(self, lease: Lease, epoch: int) -> bool:
        return True


class DecidedByOldTenants(Checks):
    """The tenants are those from before the session was read."""

    async def _decide_by_current_tenants(self, request: Any) -> Any:
        return await self._decide(request, self._services.tenants.table)


class AnswersAgain(CheckServer):
    """What was answered to the same cookie is answered again."""

    def __init__(self, handler: Any) -> None:
        self._known: dict[str, Any] = {}
        super().__init__(self._again)
        self._shipped = handler

    def _again(self, request: RawRequest) -> Any:
        """The check decides, and is not asked for its answer."""
        decided, cookie = self._shipped(request), "".join(request.headers.getall("Cookie", ()))
        if isinstance(decided, CheckResponse):
            return self._known.setdefault(cookie, decided)
        return self._later(cookie, decided)

    async def _later(self, cookie: str, decided: Any) -> Any:
        return self._known.setdefault(cookie, await decided)


async def answered_twice(w: History) -> None:
    """Somebody is revoked between two checks that are answered from memory."""
    alice = await w.login("alice")
    for _ in range(2):
        await w.check(alice, 0)
        await w.flow("r0")
    await w.revoke("alice")
    await w.flow("admin")
    await renew_fully(w)
    await w.schedule.advance(0.1)
    await w.flow("admin")
    await w.check(alice, 0)
    await w.flow("r0")


async def older_tenants(w: History) -> None:
    """The tenants are replaced, and the narrowing acknowledged, while a check waits for its
    session.
    """
    alice = await w.login("alice")
    await w.check(alice, 0)
    await w.pass_on("r0", "renew", "send")
    await w.pass_on("r0", "renew", "reply")
    await w.pass_on("r0", "read", "send")
    await w.narrow()
    await w.apply_snapshot(0)
    await w.flow("admin")
    await renew_fully(w)
    await w.schedule.advance(0.1)
    await w.flow("admin")
    assert w.promises[0].kept_since is not None
    await w.flow("r0")
    assert alice.last is not None and alice.last.done()


async def renew_fully(w: History) -> None:
    """The first replica renews until it is up to date; its reads stay where they are."""
    for _ in range(3):
        await w.renew(0)
        for stage in ("send", "reply"):
            await w.pass_on("r0", "renew", stage)


async def unguarded_fill(w: History) -> None:
    """The reply to a read is used after the event that outdated it."""
    await outdated_reply(w, await w.login("alice"), "read")


async def unguarded_password(w: History) -> None:
    """The same of an app password."""
    password = await w.make_password(await w.login("alice"))
    assert password is not None
    await outdated_reply(w, password, "app_password")


async def password_in_memory(w: History) -> None:
    """An app password is in use, and its person is revoked by an address."""
    password = await w.make_password(await w.login("alice"))
    assert password is not None
    await w.check(password, 0)
    await w.flow("r0")
    assert password.last is not None
    assert await password.last == "allow"
    await w.revoke("alice")
    for what in ("revoke", "fence"):
        await w.flow("admin", steps=1)
        await w.pass_on("admin", what, "reply")
    for _ in range(len(w.workers[0].pushes)):
        await w.deliver(0)
    await w.flow("admin")
    await renew_fully(w)
    await w.schedule.advance(0.1)
    await w.flow("admin")
    assert w.promises[0].kept_since is not None
    await w.check(password, 0)
    await w.flow("r0")
    assert password.last.done()


async def outdated_reply(w: History, alice: Known, read: str) -> None:
    await w.check(alice, 0)
    await w.pass_on("r0", "renew", "send")
    await w.pass_on("r0", "renew", "reply")
    await w.pass_on("r0", read, "send")
    await w.revoke("alice")
    for what in ("revoke", "fence"):
        await w.flow("admin", steps=1)
        await w.pass_on("admin", what, "reply")
    await w.deliver(0)
    await w.deliver(0)
    await w.flow("admin")
    await renew_fully(w)
    await w.schedule.advance(0.1)
    await w.flow("admin")
    await w.pass_on("r0", read, "reply")
    await w.check(alice, 0)


async def backlog_later(w: History) -> None:
    """No push arrives; the holder renews, and stays silent about the event, for longer than a
    staleness.
    """
    alice = await w.login("alice")
    await w.check(alice, 0)
    await w.flow("r0")
    await w.revoke("alice")
    for _ in range(8):
        await w.flow("admin", steps=6)
        await w.schedule.advance(STALENESS_S / 5)
        await w.renew(0)
        await w.flow("r0")
    await w.flow("admin", steps=6)
    await w.schedule.advance(0.1)
    await w.flow("admin", steps=6)
    await w.check(alice, 0)


async def counted_late(w: History) -> None:
    """The reply to a renewal dawdles while the revoker waits its staleness."""
    alice = await w.login("alice")
    await w.check(alice, 0)
    await w.flow("r0")
    await w.schedule.advance(STALENESS_S / 2)
    await w.pass_on("r0", "renew", "send")
    await w.schedule.advance(0.1 * STALENESS_S)
    await w.revoke("alice")
    await w.flow("admin", steps=4)
    await w.schedule.advance(0.28 * STALENESS_S)
    await w.pass_on("r0", "renew", "reply")
    for _ in range(3):
        await w.flow("admin", steps=6)
        await w.schedule.advance(0.25 * STALENESS_S)
    await w.flow("admin", steps=6)
    await w.check(alice, 0)


async def time_to_live(w: History) -> None:
    """The store's clock jumps: leases that had a time to live are gone, their holders are not."""
    alice = await w.login("alice")
    await w.check(alice, 0)
    await w.flow("r0")
    if await w.real.command("PTTL", f"{AT}l") >= 0:
        await w.real.command("PEXPIRE", f"{AT}l", 0)
    await w.revoke("alice")
    await w.flow("admin")
    await w.check(alice, 0)


async def listed_first(w: History) -> None:
    """A replica joins, and reads, between the list and the deletion."""
    alice = await w.login("alice")
    if isinstance(w.acknowledgements, ListedFirst):
        _, w.acknowledgements.early = await Acknowledgements(
            w.real, staleness_s=1, monotonic=lambda: 0
        ).holders(0)
    await w.check(alice, 0)
    await w.flow("r0")
    await w.revoke("alice")
    await w.flow("admin")
    await w.check(alice, 0)


async def impatient(w: History) -> None:
    """Nobody confirms, and the acknowledgement comes all the same."""
    alice = await w.login("alice")
    await w.check(alice, 0)
    await w.flow("r0")
    await w.revoke("alice")
    await w.flow("admin")
    await w.check(alice, 0)


async def read_outside(w: History) -> None:
    """A read is sent inside a lease and used long after: it only speaks for whoever waited for it,
    and is not remembered.
    """
    alice = await w.login("alice")
    await w.check(alice, 0)
    await w.pass_on("r0", "renew", "send")
    await w.pass_on("r0", "renew", "reply")
    await w.pass_on("r0", "read", "send")
    await w.schedule.advance(STALENESS_S)
    await w.revoke("alice")
    for _ in range(6):
        await w.flow("admin", steps=6)
        await w.schedule.advance(STALENESS_S / 4)
    await w.flow("admin", steps=6)
    await renew_fully(w)
    await w.pass_on("r0", "read", "reply")
    await w.check(alice, 0)
    await w.flow("r0")


async def watermark(w: History) -> None:
    """A login that began before the revocation comes back after it."""
    await w.begin_login("alice")
    await w.revoke("alice")
    await w.flow()
    await w.finish_login(w.begun[0], 0)
    await w.flow()


async def watermark_at_the_same_tick(w: History) -> None:
    """The login began at the very value of the clock that the revocation wrote."""
    await w.begin_login("alice")
    login = w.begun[0]
    await w.revoke("alice")
    await w.flow()
    (recorded,) = w.record.recorded.values()
    login.began = recorded.watermark
    await w.finish_login(login, 0)
    await w.flow()


async def taken_group(w: History) -> None:
    """A group is taken away, and Cognito goes on reporting it."""
    await w.take_group("alice")
    await w.flow()
    await w.begin_login("alice")
    await w.finish_login(w.begun[0], 0)
    await w.flow()


async def cleared_too_early(w: History) -> None:
    """A login began before Cognito's stored groups were cleared: what it reports may be the old
    ones.
    """
    await w.take_group("alice")
    await w.flow()
    await w.begin_login("alice")
    await w.clear_group("alice")
    await w.flow()
    await w.finish_login(w.begun[0], 0)
    await w.flow()


async def taken_group_after_a_fail_over(w: History) -> None:
    """The server that takes over has never heard of the removal."""
    await w.copy()
    await w.take_group("alice")
    await w.flow()
    await w.fail_over()
    await w.look()
    await w.flow("keeper")
    await w.begin_login("alice")
    await w.finish_login(w.begun[0], 0)
    await w.flow()


async def ticket(w: History) -> None:
    """A ticket of a family that was revoked by another session's login, redeemed afterwards."""
    alice = await w.login("alice")
    redeeming = await w.ticket(alice, 0)
    await w.revoke("alice")
    await w.flow()
    task = w.start(redeeming)
    await w.schedule.settle()
    await w.flow()
    assert task.done()
    if isinstance(task.result(), tuple):
        stored = task.result()[0]
        assert isinstance(stored, SessionCreated)
        w.broken.append("a ticket of a family that has ended made a session")


async def marker(w: History) -> None:
    """Another server takes over with a copy from before the revocation."""
    alice = await w.login("alice")
    await w.copy()
    await w.revoke("alice")
    await w.flow()
    await w.fail_over()
    await w.check(alice, 0)
    await w.flow("r0")
    await w.look()
    await w.flow("keeper")
    await w.check(alice, 0)
    await w.flow("r0")


async def deposed_before_the_record(w: History) -> None:
    """Another server takes over, and is restored, between the end of the sessions and its entry in
    the record.
    """
    alice = await w.login("alice")
    await w.copy()
    await w.revoke("alice")
    await w.pass_on("admin", "revoke", "send")
    await w.fail_over()
    await w.look()
    await w.flow("keeper")
    for _ in range(4):
        await w.flow("admin", steps=8)
        await w.schedule.advance(STALENESS_S / 2)
    await w.check(alice, 0)
    await w.flow("r0")


def _script(name: str, *changes: tuple[str, str]) -> Callable[[pytest.MonkeyPatch], None]:
    """A mutant of one Lua script."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        import hashlib

        from gateway.revocation import acknowledgement, restore
        from gateway.sessions import app_passwords, cached_store, session_writer, store, watermarks
        from gateway.sessions import lease_client as replica

        for module in (
            acknowledgement,
            app_passwords,
            cached_store,
            restore,
            watermarks,
            session_writer,
            store,
            replica,
        ):
            for attribute, script in list(vars(module).items()):
                if isinstance(script, Script) and (
                    script.name == name or (name == "*" and changes[0][0] in script.text)
                ):
                    text = script.text
                    for before, after in changes:
                        assert before in text, before
                        text = text.replace(before, after)
                    patch.setattr(
                        module,
                        attribute,
                        Script(name, text, hashlib.sha1(text.encode()).hexdigest()),
                    )

    return mutate


def _lifted_by_any_clearing(patch: pytest.MonkeyPatch) -> None:
    from gateway.sessions import session_writer

    shipped: Any = vars(session_writer)["overlaid"]
    patch.setattr(
        session_writer,
        "overlaid",
        lambda reported, taken, *, began: shipped(reported, taken, began=2**62),
    )


def _nothing_stands(patch: pytest.MonkeyPatch) -> None:
    async def standing(self: MemoryRecord, tenant: str) -> list[Any]:
        return []

    patch.setattr(MemoryRecord, "standing", standing)


def _nothing_recorded(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: MemoryRecord, *_: Any, **__: Any) -> None:
        """Lost, and nobody noticed."""

    patch.setattr(MemoryRecord, "revocation", nothing)
    patch.setattr(MemoryRecord, "acknowledged", nothing)


def _nothing(_: pytest.MonkeyPatch) -> None:
    pass


SCENES: dict[str, tuple[Any, dict[str, Any], Callable[[pytest.MonkeyPatch], None]]] = {
    "unguarded cache fill": (unguarded_fill, {"sessions_type": UnguardedFill}, _nothing),
    "unguarded cache fill with an app password": (
        unguarded_password,
        {"sessions_type": UnguardedFill},
        _nothing,
    ),
    "app password not in the index": (
        password_in_memory,
        {},
        _script(
            "make_app_password",
            ("for i = 5, #KEYS do enter(KEYS[i], ARGV[3], expires) end", ""),
            ("do enter(prefix .. 'i:' .. name, ARGV[3], expires) end", "do end"),
        ),
    ),
    "app password that ends without a word": (
        password_in_memory,
        {},
        _script(
            "revoke",
            (
                "  end_family(prefix, family, ended)\n  rows",
                (
                    "  end_family(prefix, family, redis.call('HEXISTS', prefix .. 'f:' .. "
                    "family, 'p') == 1 and {} or ended)\n  rows"
                ),
            ),
        ),
    ),
    "lease renewed before the backlog": (backlog_later, {"replica_type": BacklogLater}, _nothing),
    "lease counted from the reply": (counted_late, {"replica_type": LateCount}, _nothing),
    "lease with a TTL": (
        time_to_live,
        {},
        _script(
            "renew",
            ("    local last =", "    redis.call('PEXPIRE', KEYS[i], 60000)\n    local last ="),
        ),
    ),
    "leases listed before deleting": (
        listed_first,
        {"acknowledgements_type": ListedFirst},
        _nothing,
    ),
    "acknowledgement not awaited": (impatient, {"acknowledgements_type": Impatient}, _nothing),
    "read used after its lease": (read_outside, {"sessions_type": ReadsAnywhere}, _nothing),
    "tenants from before the read": (older_tenants, {"checks_type": DecidedByOldTenants}, _nothing),
    "answer of the server given again": (
        answered_twice,
        {"server_type": AnswersAgain},
        _nothing,
    ),
    "watermark not compared": (
        watermark,
        {},
        _script(
            "finish_login",
            ("if latest >= began then return", "if latest >= began + 1e12 then return"),
        ),
    ),
    "watermark comparison loosened": (
        watermark_at_the_same_tick,
        {},
        _script(
            "finish_login", ("if latest >= began then return", "if latest > began then return")
        ),
    ),
    "overlay not looked up": (
        taken_group,
        {},
        _script(
            "finish_login", ("if overlay ~= ARGV[16] then return {'overlay', overlay} end", "")
        ),
    ),
    "overlay not written with the watermark": (
        taken_group,
        {},
        _script("revoke", ("if known < since then redis", "if false then redis")),
    ),
    "clearing not compared with the login's beginning": (
        cleared_too_early,
        {},
        _lifted_by_any_clearing,
    ),
    "overlay not restored": (taken_group_after_a_fail_over, {}, _nothing_stands),
    "ticket that skips the family": (
        ticket,
        {},
        _script(
            "finish_login",
            (
                (
                    "redis.call('EXISTS', prefix .. 's:' .. parent) == 0 or redis.call('HGET', "
                    "family_key, 't') ~= ARGV[19]"
                ),
                "false",
            ),
            ("if latest >= began then return", "if parent == '' and latest >= began then return"),
            ("if auth_time + 5 <", "if parent == '' and auth_time + 5 <"),
        ),
    ),
    "acknowledged by another server": (
        deposed_before_the_record,
        {"acknowledgements_type": AnyServer},
        _nothing,
    ),
    "acknowledged and not on record": (marker, {}, _nothing_recorded),
    "marker not compared": (
        marker,
        {},
        _script("*", (" and string.sub(marker, 3, 42) == server", "")),
    ),
}


async def play(scene: Any, server: servers.Server, **types: Any) -> list[str]:
    redis = client_to(Target("single", (("127.0.0.1", server.port),)), ca_file=None, replicas=0)
    world = History(redis, RING, **types)
    try:
        await world.begin()
        async with asyncio.timeout(30):
            await scene(world)
        return world.broken
    finally:
        await world.end()
        await redis.close()


@pytest.mark.parametrize("name", SCENES)
async def test_the_protocol_stands_where_its_mutant_falls(
    server: servers.Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, types, mutate = SCENES[name]
    assert await play(scene, server) == []
    mutate(monkeypatch)
    assert await play(scene, server, **types) != []
