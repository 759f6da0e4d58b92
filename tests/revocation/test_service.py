"""The revoker on a real Valkey and a real database: what is durable, what is acknowledged, and what
is left after a crash.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from gateway.core.reason import Reason
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.database.schema import blocks, revocations
from gateway.errors import ConfigError, UnavailableError
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.api import LIFT, DisabledUser
from gateway.revocation.disabled_users import SqlDisabledUsers
from gateway.revocation.records import SqlBlocks, SqlRevocations
from gateway.revocation.restore import Markers
from gateway.revocation.service import StoreRevoker
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.connection import WAIT_MS, Target, client_to
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks
from tests.sessions import servers
from tests.sessions.conftest import HOST, Login, believe, full, identity, tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.database.engine import Database
    from gateway.keys import ring as keys
    from gateway.revocation.api import Closed, Recorded
    from gateway.revocation.blocks import BlockView
    from gateway.sessions.connection import RedisClient, Script
    from gateway.sessions.watermarks import RevokeBatch

ALICE = Who(email="alice@acme.test")


class Gate:
    """Confirmations that come when the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def confirm(
        self, tenant: str, report: Callable[[str, float | None], None], *, server: str
    ) -> None:
        report("r1", None)
        self.asked.set()
        await self.open.wait()
        report("r1", time.monotonic())


@pytest.fixture
def record(database: Database) -> SqlRevocations:
    return SqlRevocations(database)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def revoker(
    redis: RedisClient, ring: keys.KeyRing, record: SqlRevocations, gate: Gate
) -> AsyncIterator[StoreRevoker]:
    made = StoreRevoker(
        Watermarks(redis, lambda: ring), record, gate, clock=time.time, monotonic=time.monotonic
    )
    yield made
    gate.open.set()
    await made.close()


def request(
    who: Who = ALICE,
    *,
    kind: RevocationKind = RevocationKind.END_SESSIONS,
    source: str = "admin",
    group: str | None = None,
) -> RevocationRequest:
    return RevocationRequest("acme", who, kind, "left the company", source, group_overlay=group)


async def alive(sessions: RedisSessions, stored: SessionCreated) -> bool:
    return await sessions.find(stored.cookie.reveal(), host=HOST) is not None


async def test_a_revocation_ends_sessions_and_tells_its_time_line(
    sessions: RedisSessions, login: Login, revoker: StoreRevoker
) -> None:
    stored = await login.finish()
    status = await revoker.revoke(request())
    assert not await alive(sessions, stored)
    assert status.ended == 1
    assert status.durable_ms is not None
    assert status.acknowledged_ms is not None
    assert status.replicas[0][0] == "r1"
    assert 0 < status.durable_ms <= (status.replicas[0][1] or 0) <= status.acknowledged_ms
    assert await revoker.status(status.id) == status
    assert await revoker.status("unknown") is None


async def test_nothing_is_acknowledged_before_every_replica_confirmed(
    sessions: RedisSessions, login: Login, revoker: StoreRevoker, gate: Gate
) -> None:
    stored = await login.finish()
    gate.open.clear()
    asked = asyncio.create_task(revoker.revoke(request()))
    await gate.asked.wait()
    assert not await alive(sessions, stored)
    assert not asked.done()
    under_way = next(iter(revoker._under_way))
    status = await revoker.status(under_way)
    assert status is not None
    assert (status.durable_ms is not None, status.acknowledged_ms, status.replicas) == (
        True,
        None,
        (("r1", None),),
    )
    gate.open.set()
    assert (await asked).acknowledged_ms is not None


async def test_a_caller_that_goes_away_does_not_stop_it(
    login: Login, revoker: StoreRevoker, gate: Gate
) -> None:
    await login.finish()
    gate.open.clear()
    asked = asyncio.create_task(revoker.revoke(request()))
    await gate.asked.wait()
    under_way = next(iter(revoker._under_way))
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open.set()
    await revoker.close()
    status = await revoker.status(under_way)
    assert status is not None
    assert status.acknowledged_ms is not None


async def test_removed_groups_are_listed_with_blocks_page_by_page_and_given_back_from_the_list(
    sessions: RedisSessions, login: Login, revoker: StoreRevoker, database: Database
) -> None:
    directory = SqlBlocks(database)
    everybody = Who(group="admins", provider="acme-okta")
    await revoker.revoke(request(kind=RevocationKind.BLOCK, who=Who(email="bob@acme.test")))
    await revoker.revoke(request(who=everybody, source="entra", group="admins"))
    await revoker.revoke(request(kind=RevocationKind.BLOCK, who=Who(email="carol@acme.test")))
    await revoker.revoke(request(source="okta", group="app-users"))
    listed: list[BlockView] = []
    position: str | None = None
    for _ in range(4):
        page = await directory.page(tenant="acme", position=position, limit=1)
        listed += page.items
        position = page.position
    assert position is None
    assert [(b.who, b.group, b.source) for b in listed] == [
        (Who(email="bob@acme.test"), None, "admin"),
        (everybody, "admins", "entra"),
        (Who(email="carol@acme.test"), None, "admin"),
        (ALICE, "app-users", "okta"),
    ]
    assert (await directory.page(tenant="globex", position=None, limit=10)).items == []

    async def groups() -> set[str]:
        stored = await sessions.finish_login(login.new(await login.begin()))
        assert isinstance(stored, SessionCreated)
        return set(stored.session.identity.groups)

    before = await groups()
    removed = await directory.find(listed[1].id)
    assert removed is not None
    assert removed == listed[1]
    lifted = await revoker.lift(request(who=removed.who, group=removed.group))
    assert lifted.lifted == 1
    assert await groups() - before == {"admins"}
    assert await directory.find(removed.id) is None


async def test_a_group_that_the_pool_lost_is_given_back_by_a_login_also_after_the_slot_was_lost(
    sessions: RedisSessions,
    login: Login,
    revoker: StoreRevoker,
    record: SqlRevocations,
    redis: RedisClient,
) -> None:
    await revoker.revoke(request(who=Who(group="admins"), source="entra", group="admins"))
    (overlay,) = await record.standing("acme")
    await record.clear(replace(overlay, watermark=overlay.watermark - 1), at=1.0)
    assert not (await record.standing("acme"))[0].cleared, "taken away again since"
    await record.clear(overlay, at=1.0)
    await redis.command("FLUSHALL")
    async with full(redis):
        await revoker.restore("acme")
    await believe(redis)
    stored = await sessions.finish_login(login.new(await login.begin()))
    assert isinstance(stored, SessionCreated)
    assert "admins" in stored.session.identity.groups


GROUP_X, GROUP_Y = "00g-deleted", "00g-made-again"


def deleted(at: float, *, group_id: str = GROUP_X) -> RevocationRequest:
    everybody = Who(group="app-users", provider="acme-okta")
    return RevocationRequest(
        "acme",
        everybody,
        RevocationKind.END_SESSIONS,
        "group.lifecycle.delete",
        "okta",
        at,
        "app-users",
        group_id,
    )


def added(
    at: float,
    name: str = "alice",
    *,
    group_id: str = GROUP_Y,
    source: str = "okta",
    provider: str = "acme-okta",
) -> RevocationRequest:
    who = Who(idp_subject=f"00u-{name}", provider=provider)
    return RevocationRequest(
        "acme",
        who,
        RevocationKind.END_SESSIONS,
        "group.user_membership.add",
        source,
        at,
        "app-users",
        group_id,
    )


async def who_has_it(login: Login) -> set[str]:
    return {
        name
        for name in ("alice", "bob")
        if "app-users" in (await login.finish(identity=identity(name))).session.identity.groups
    }


async def test_a_group_made_again_is_theirs_whom_the_provider_added_after_the_deletion_and_of_nobody_else(  # noqa: E501 - a test's name is a sentence
    login: Login,
    revoker: StoreRevoker,
    record: SqlRevocations,
    database: Database,
    redis: RedisClient,
) -> None:
    now = time.time() - 1000
    assert not await revoker.exempt(added(now)), "nothing was taken from everybody"
    await revoker.revoke(deleted(now))
    for replayed in (
        added(now - 1),
        added(now),
        added(now + 5, group_id=GROUP_Y, source="entra"),
        added(now + 5, provider="acme-entra"),
        replace(added(now + 5), event_time=None),
    ):
        assert not await revoker.exempt(replayed), replayed
    assert await who_has_it(login) == set()
    assert await revoker.exempt(added(now + 5))
    assert await revoker.exempt(added(now + 5)), "a delivery that comes again says the same"
    assert await who_has_it(login) == {"alice"}
    await revoker.revoke(deleted(now + 60))
    assert await who_has_it(login) == {"alice"}, (
        "the deletion of the other group, told once more, says nothing of this one"
    )
    assert not await revoker.exempt(added(now + 50, "bob", group_id=GROUP_X)), (
        "a member of the deleted group, before it was said to be gone again"
    )
    await redis.command("FLUSHALL")
    async with full(redis):
        await revoker.restore("acme")
    await believe(redis)
    assert await who_has_it(login) == {"alice"}
    # Out of the new group, then in it again.
    await revoker.revoke(replace(added(now + 70), reason="group.user_membership.remove"))
    assert await who_has_it(login) == set()
    await revoker.lift(added(now + 80))
    assert await who_has_it(login) == {"alice"}
    await revoker.revoke(deleted(now + 90, group_id=GROUP_Y))
    assert await who_has_it(login) == set()
    assert not await revoker.exempt(added(now + 85, group_id="00g-another"))
    assert not await record.exemptions("acme")


async def test_a_group_restored_under_its_id_and_deleted_again_is_lost_by_those_who_were_added_to_it(  # noqa: E501 - a test's name is a sentence
    login: Login, revoker: StoreRevoker, record: SqlRevocations
) -> None:
    now = time.time() - 1000
    await revoker.revoke(deleted(now))
    assert await revoker.exempt(added(now + 5, group_id=GROUP_X))
    assert await who_has_it(login) == {"alice"}
    await revoker.revoke(deleted(now + 10))
    assert await who_has_it(login) == set()
    assert await revoker.exempt(added(now + 20))
    (overlay,) = await record.standing("acme")
    await record.clear(overlay, at=1.0)
    assert not await record.exemptions("acme"), "not needed any more"
    assert not await revoker.exempt(added(now + 30, "bob")), (
        "a login that reports it is believed anyway"
    )
    await revoker.revoke(deleted(now + 40))
    assert await who_has_it(login) == set(), "deleted again after it had been believed"


async def test_deletions_and_additions_told_in_any_order_let_nobody_in_whose_group_is_gone(
    login: Login, revoker: StoreRevoker
) -> None:
    now = time.time() - 1000
    first, again, last = deleted(now), added(now + 5), deleted(now + 10, group_id=GROUP_Y)
    for number, order in enumerate(itertools.permutations((first, again, last))):
        for one in order:
            # A round of its own: what an earlier order left behind is older.
            told = replace(one, event_time=(one.event_time or 0) + 20 * number)
            await (revoker.exempt(told) if one is again else revoker.revoke(told))
        assert await who_has_it(login) == set(), [
            f"{one.reason} of {one.group_id}" for one in order
        ]
    # The first group was said to be gone once more; then the second one's deletion is heard of.
    await revoker.revoke(deleted(now + 200))
    await revoker.revoke(deleted(now + 260))
    await revoker.revoke(deleted(now + 210, group_id=GROUP_Y))
    assert not await revoker.exempt(added(now + 250, group_id=GROUP_X))
    assert await revoker.exempt(added(now + 270))


async def test_an_event_of_the_future_happened_now(revoker: StoreRevoker) -> None:
    status = await revoker.revoke(replace(request(), event_time=time.time() + 3600))
    assert status.request.event_time is not None
    assert status.request.event_time <= time.time()


async def test_the_record_knows_whose_sessions_ended_and_what_a_lift_came_to(
    login: Login, revoker: StoreRevoker, database: Database
) -> None:
    await login.finish()
    status = await revoker.revoke(request(kind=RevocationKind.BLOCK))
    assert await SqlRevocations(database).users_of(status.id) == ("acme-okta_alice",)
    block = (await SqlBlocks(database).page(tenant="acme", position=None, limit=10)).items[0]
    await SqlDisabledUsers(database).add(DisabledUser(block.id, "acme", "acme-okta_alice"), at=1.0)
    lifted = await revoker.lift(request(kind=RevocationKind.BLOCK))
    assert (lifted.lifted, lifted.users_to_enable) == (1, 1)
    assert await revoker.status(lifted.id) == lifted
    assert (await revoker.lift(request(kind=RevocationKind.BLOCK))).lifted == 0
    assert status.lifted is None


async def test_a_block_is_on_record_until_lifted(
    sessions: RedisSessions, login: Login, revoker: StoreRevoker, database: Database
) -> None:
    await revoker.revoke(request(kind=RevocationKind.BLOCK))
    await revoker.revoke(request(kind=RevocationKind.BLOCK))
    directory = SqlBlocks(database)
    page = await directory.page(tenant="acme", position=None, limit=10)
    assert [(b.who, b.source, b.reason) for b in page.items] == [
        (ALICE, "admin", "left the company")
    ]
    assert await directory.find(page.items[0].id) == page.items[0]
    assert await sessions.finish_login(login.new(await login.begin())) == SessionRefused(
        Reason.USER_BLOCKED
    )
    lifted = await revoker.lift(request(kind=RevocationKind.BLOCK))
    assert lifted.acknowledged_ms is not None
    assert (await directory.page(tenant=None, position=None, limit=10)).items == []
    assert await directory.find(page.items[0].id) is None
    assert isinstance(await sessions.finish_login(login.new(await login.begin())), SessionCreated)


LIFTS = {
    "a_hook_lifts_its_own": ("okta", "okta", True),
    "a_hook_does_not_lift_another_hooks": ("okta", "scim", False),
    "a_hook_does_not_lift_an_operators": ("admin", "okta", False),
    "an_operator_lifts_a_hooks": ("okta", "admin", True),
    "an_operator_lifts_another_operators": ("admin", "cli", True),
}


@pytest.mark.parametrize(("imposed", "lifter", "free"), LIFTS.values(), ids=LIFTS)
async def test_who_may_lift_a_block(
    sessions: RedisSessions,
    login: Login,
    revoker: StoreRevoker,
    record: SqlRevocations,
    *,
    imposed: str,
    lifter: str,
    free: bool,
) -> None:
    await revoker.revoke(request(kind=RevocationKind.BLOCK, source=imposed))
    await revoker.lift(request(kind=RevocationKind.BLOCK, source=lifter))
    assert (len(await record.standing("acme")) == 0) is free
    assert (
        isinstance(await sessions.finish_login(login.new(await login.begin())), SessionCreated)
        is free
    )


async def test_a_group_taken_away_by_two_sources_comes_back_when_both_gave_it_back(
    login: Login, revoker: StoreRevoker
) -> None:
    for source in ("okta", "scim"):
        await revoker.revoke(request(source=source, group="admins"))
    await revoker.lift(request(source="okta", group="admins"))
    assert (await login.finish()).session.identity.groups == ("app-users",)
    await revoker.lift(request(source="scim", group="admins"))
    assert (await login.finish()).session.identity.groups == ("app-users", "admins")
    await revoker.revoke(request(source="okta", group="admins"))
    assert (await login.finish()).session.identity.groups == ("app-users",)


async def test_what_stands_against_one_is_read_without_what_stands_against_others(
    revoker: StoreRevoker, record: SqlRevocations
) -> None:
    await revoker.revoke(request(source="okta", kind=RevocationKind.BLOCK))
    await revoker.revoke(request(source="okta", group="admins"))
    await revoker.revoke(
        replace(request(source="okta", kind=RevocationKind.BLOCK), who=Who(user="sub-bob"))
    )
    found = await record.standing_of("acme", revoker.revocation_keys(request(source="okta")).marks)
    assert {(s.who, s.group) for s in found} == {
        (request(source="okta").who, None),
        (request(source="okta").who, "admins"),
    }
    assert len(await record.standing("acme")) == 3


async def test_lifting_an_overlay_leaves_a_block_alone(
    sessions: RedisSessions, login: Login, revoker: StoreRevoker
) -> None:
    await revoker.revoke(request(source="okta", kind=RevocationKind.BLOCK))
    await revoker.revoke(request(source="okta", group="admins"))
    await revoker.lift(request(source="okta", group="admins"))
    assert await sessions.finish_login(login.new(await login.begin())) == SessionRefused(
        Reason.USER_BLOCKED
    )


async def test_without_the_store_nothing_is_acknowledged_and_nothing_recorded(
    revoker: StoreRevoker, record: SqlRevocations, ring: keys.KeyRing
) -> None:
    nowhere = client_to(Target("unix", path="/nonexistent/valkey.sock"), ca_file=None, replicas=0)
    revoker._watermarks = Watermarks(nowhere, lambda: ring)
    with pytest.raises(UnavailableError):
        await revoker.revoke(request(kind=RevocationKind.BLOCK))
    assert await record.standing("acme") == []
    assert await record.tenants() == []
    await nowhere.close()


async def test_after_the_slot_was_lost_it_is_brought_up_to_the_record(
    sessions: RedisSessions,
    login: Login,
    revoker: StoreRevoker,
    record: SqlRevocations,
    redis: RedisClient,
) -> None:
    ended, in_flight = await login.finish(), await login.begin()
    spared = await login.finish(identity=identity("bob"))
    dump = {key: await redis.command("DUMP", key) for key in await redis.command("KEYS", "*")}
    await revoker.revoke(request())
    await revoker.revoke(request(Who(oid="oid-carol"), kind=RevocationKind.BLOCK, source="entra"))
    await revoker.revoke(
        request(Who(idp_subject="00u-bob", provider="acme-okta"), source="okta", group="admins")
    )
    await revoker.revoke(request(Who(user="sub-dan"), kind=RevocationKind.BLOCK, source="okta"))
    await revoker.lift(request(Who(user="sub-dan"), kind=RevocationKind.BLOCK, source="okta"))
    watermarks = [r.watermark for r in await record.of_tenant("acme", durable_after=0)]

    await redis.command("FLUSHALL")
    for key, value in dump.items():  # an older copy
        await redis.command("RESTORE", key, 0, value)
    await revoker.restore("acme")

    assert not await alive(sessions, ended)
    assert not await alive(sessions, spared), "bob lost a group, so his session of then ended"
    assert await sessions.finish_login(login.new(in_flight)) == SessionRefused(
        Reason.SESSION_REVOKED
    )
    began = await login.begin()
    assert began > max(watermarks)
    assert await sessions.finish_login(
        login.new(began, identity=identity("carol"))
    ) == SessionRefused(Reason.USER_BLOCKED)
    assert isinstance(
        await sessions.finish_login(login.new(began, identity=identity("dan"))), SessionCreated
    )
    bob = await login.finish(identity=identity("bob"))
    assert bob.session.identity.groups == ("app-users",)
    again = await login.finish()
    await revoker.restore("acme")
    assert await alive(sessions, again)
    assert await alive(sessions, bob)


async def test_many_revocations_are_restored_at_once_and_one_that_fails_keeps_the_slot_from_being_believed(  # noqa: E501 - a test's name is a sentence
    revoker: StoreRevoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks wait for the last."""
    for number in range(4):
        await revoker.revoke(request(Who(email=f"user{number}@acme.test")))
    begun, all_begun, fails, revoke = itertools.count(1), asyncio.Event(), False, Watermarks.revoke

    async def together(self: Watermarks, *words: Any, **named: Any) -> Any:
        if next(begun) == 4:
            all_begun.set()
        async with asyncio.timeout(10):
            await all_begun.wait()
        if fails:
            raise UnavailableError
        return await revoke(self, *words, **named)

    monkeypatch.setattr(Watermarks, "revoke", together)
    await revoker.restore("acme")
    fails = True
    with pytest.raises(UnavailableError):
        await revoker.restore("acme")


@pytest.mark.parametrize("kept", ["dump.rdb", "appendonlydir"])
async def test_a_server_that_comes_back_with_an_older_copy_keeps_every_promise(
    tmp_path: Path, ring: keys.KeyRing, record: SqlRevocations, kept: str
) -> None:
    """A backup from before is put back and the server started from it, as an operator would."""
    folder, options = (
        tmp_path / "valkey",
        () if kept == "dump.rdb" else ("--appendonly", "yes", "--appendfsync", "always"),
    )
    server = servers.start(folder, *options)
    redis = client_to(
        Target("single", (("127.0.0.1", server.port),)),
        ca_file=None,
        replicas=0,
        command_timeout_s=30,
    )
    await believe(redis)
    sessions = RedisSessions(redis, lambda: ring)
    login, revoker = (
        Login(sessions, tenant()),
        StoreRevoker(
            Watermarks(redis, lambda: ring),
            record,
            Gate(),
            clock=time.time,
            monotonic=time.monotonic,
        ),
    )
    ended, in_flight, other = (
        await login.finish(),
        await login.begin(),
        await login.finish(identity=identity("frank")),
    )
    dan, erin = (
        request(Who(user="sub-dan"), kind=RevocationKind.BLOCK, source="okta"),
        request(Who(user="sub-erin"), source="okta", group="admins"),
    )
    await revoker.revoke(dan)
    await revoker.revoke(erin)

    await redis.command("SAVE")
    shutil.copytree(folder / kept, tmp_path / "kept") if (folder / kept).is_dir() else shutil.copy(
        folder / kept, tmp_path / "kept"
    )
    await revoker.revoke(request())
    await revoker.revoke(request(Who(oid="oid-carol"), kind=RevocationKind.BLOCK, source="entra"))
    await revoker.revoke(
        request(Who(idp_subject="00u-bob", provider="acme-okta"), source="okta", group="admins")
    )
    await revoker.lift(dan)
    await revoker.lift(erin)
    watermarks = [r.watermark for r in await record.of_tenant("acme", durable_after=0)]
    server.stop()
    await redis.close()
    shutil.rmtree(folder / kept) if (folder / kept).is_dir() else (folder / kept).unlink()
    shutil.move(tmp_path / "kept", folder / kept)

    server = servers.start(folder, *options)
    try:
        redis = client_to(
            Target("single", (("127.0.0.1", server.port),)),
            ca_file=None,
            replicas=0,
            command_timeout_s=30,
        )
        sessions = RedisSessions(redis, lambda: ring)
        login, revoker = (
            Login(sessions, tenant()),
            StoreRevoker(
                Watermarks(redis, lambda: ring),
                record,
                Gate(),
                clock=time.time,
                monotonic=time.monotonic,
            ),
        )
        assert await alive(sessions, ended), (
            "the copy is from before, and so a replica with a lease would not ask it"
        )
        with pytest.raises(UnavailableError):
            await sessions.finish_login(login.new(in_flight))
        keeper = Markers(
            redis,
            tenants=record.tenants,
            restore=revoker.restore,
            generation=lambda: 0,
            staleness_s=0,
            monotonic=time.monotonic,
        )
        assert await keeper.look() > 0

        assert not await alive(sessions, ended)
        assert await alive(sessions, other), "logged out by nobody"
        assert isinstance(await sessions.finish_login(login.new(in_flight)), SessionRefused), (
            "pending logins die with the server"
        )
        began = await login.begin()
        assert began > max(watermarks)
        assert await sessions.finish_login(
            login.new(began, identity=identity("carol"))
        ) == SessionRefused(Reason.USER_BLOCKED)
        assert (await login.finish(identity=identity("bob"))).session.identity.groups == (
            "app-users",
        )
        assert isinstance(
            await sessions.finish_login(login.new(await login.begin(), identity=identity("dan"))),
            SessionCreated,
        ), "the block was lifted since"
        assert (await login.finish(identity=identity("erin"))).session.identity.groups == (
            "app-users",
            "admins",
        ), "the group was given back since"
        await redis.close()
    finally:
        server.stop()


async def test_what_a_crash_left_unacknowledged_is_acknowledged_on_start(
    revoker: StoreRevoker, record: SqlRevocations, database: Database
) -> None:
    status = await revoker.revoke(request())
    await revoker.close()  # its acknowledgement is on record
    async with database.write() as connection:
        await connection.execute(update(revocations).values(acknowledged_at=None, replicas=None))
    assert await revoker.acknowledge_open() == 1
    found = await revoker.status(status.id)
    assert found is not None
    assert found.acknowledged_ms is not None
    assert await record.unacknowledged() == []


async def test_one_that_cannot_be_carried_on_keeps_none_of_the_others_open(
    revoker: StoreRevoker,
    record: SqlRevocations,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three shards one may be away for long; and a mistake of ours may be in one."""
    told = [await revoker.revoke(request(Who(user=name))) for name in ("away", "mistake", "well")]
    await revoker.close()  # their acknowledgements are on record
    async with database.write() as connection:
        await connection.execute(update(revocations).values(acknowledged_at=None))
    apply = revoker._apply

    async def failing(recorded: Recorded) -> RevokeBatch:
        if recorded.status.id == told[0].id:
            raise UnavailableError("its primary is away")
        if recorded.status.id == told[1].id:
            raise LookupError
        return await apply(recorded)

    monkeypatch.setattr(revoker, "_apply", failing)
    with pytest.raises(UnavailableError):
        await revoker.acknowledge_open()
    assert {one.status.id for one in await record.unacknowledged()} == {told[0].id, told[1].id}
    async with database.write() as connection:
        await connection.execute(
            update(revocations)
            .where(revocations.c.id == told[2].id)
            .values(received_at=time.time() - 31 * 86400)
        )

    async def ends(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await revoker.run_maintenance(sleep=ends)
    assert await revoker.status(told[2].id) is None, "nothing is kept for ever because of them"


async def test_whatever_keeps_an_acknowledgement_off_the_record_is_told_and_made_up_for(
    revoker: StoreRevoker,
    record: SqlRevocations,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise LookupError

    with monkeypatch.context() as broken:
        broken.setattr(record, "acknowledged", fails)
        status = await revoker.revoke(request())
        await revoker.close()
    assert status.acknowledged_ms is not None, "it is in force, whatever the record says"
    assert [one.message for one in caplog.records].count("revocation_not_carried_on") == 1
    assert await revoker.acknowledge_open() == 1
    assert await record.unacknowledged() == []


async def test_one_that_does_not_open_is_left_out_of_what_is_read_and_stays_open_on_record(
    revoker: StoreRevoker,
    record: SqlRevocations,
    database: Database,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [(await revoker.revoke(request(Who(user=f"u{number}")))).id for number in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(gate, "confirm", Broken().confirm)
        with pytest.raises(UnavailableError):
            await revoker.revoke(request(Who(user="u3")))
    await revoker.close()  # the acknowledgements of the three are on record
    [left_open] = await record.unacknowledged()
    told += [left_open.status.id, (await revoker.revoke(request(Who(user="u4")))).id]
    await revoker.close()

    async def change(values: dict[str, Any], *ids: str) -> None:
        async with database.write() as connection:
            await connection.execute(
                update(revocations).where(revocations.c.id.in_(ids)).values(**values)
            )

    async with database.read() as connection:
        sealed = {
            row.id: row.request
            for row in await connection.execute(select(revocations.c.id, revocations.c.request))
        }
    for one in told[1:4]:
        await change({"request": "k0.AAAA", "acknowledged_at": None}, one)
    await change({"acknowledged_at": None}, told[4])

    closed: list[Closed] = []
    assert [
        one.status.id for one in await record.since(0.0, after="", limit=2, closed=closed.append)
    ] == [told[0], told[4]], "a page is full where there is more"
    assert [(one.id, one.tenant) for one in closed] == [(one, "acme") for one in told[1:4]]
    assert [
        one.status.id
        for one in await record.of_tenant("acme", durable_after=0.0, limit=1, closed=closed.append)
    ] == [told[0]]
    assert [one.status.id for one in await record.these(told[3:], closed=closed.append)] == [
        told[4]
    ]
    with pytest.raises(ConfigError):
        await record.of_tenant("acme", durable_after=0.0)

    caplog.clear()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="3 revocations on record do not open"):
            await revoker.acknowledge_open()
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "revocation_not_carried_on"
    ], "once for all of them"
    closed.clear()
    assert await record.unacknowledged(closed=closed.append) == [], (
        "the one that opens was carried on"
    )
    assert {one.id for one in closed} == set(told[1:4])
    for one in told[1:4]:
        await change({"request": sealed[one]}, one)
    assert (await revoker.revoke(request(Who(user="u3")))).id == told[3], (
        "who repeats it goes on with it"
    )
    await revoker.close()
    assert await revoker.acknowledge_open() == 2
    assert await record.unacknowledged() == []


async def test_a_block_that_does_not_open_hides_no_other_from_the_list_and_stands(
    revoker: StoreRevoker, record: SqlRevocations, database: Database
) -> None:
    for name in ("a", "b", "c", "d"):
        await revoker.revoke(request(Who(user=name), kind=RevocationKind.BLOCK))
    directory = SqlBlocks(database)
    listed = await directory.all_of("acme")
    async with database.write() as connection:
        await connection.execute(
            update(blocks)
            .where(blocks.c.id.in_([listed[1].id, listed[2].id]))
            .values(who="k0.AAAA")
        )
    first = await directory.page(tenant="acme", position=None, limit=1)
    second = await directory.page(tenant=None, position=first.position, limit=1)
    assert [*first.items, *second.items] == [listed[0], listed[3]]
    assert second.position is None
    with pytest.raises(ConfigError):
        await record.standing("acme")
    with pytest.raises(ConfigError):
        await directory.find(listed[1].id)


async def test_revocations_are_tended(
    revoker: StoreRevoker, record: SqlRevocations, database: Database
) -> None:
    old, new = (
        await revoker.revoke(request(Who(user="a"))),
        await revoker.revoke(request(Who(user="b"))),
    )
    await revoker.close()  # their acknowledgements are on record
    async with database.write() as connection:
        await connection.execute(
            update(revocations)
            .where(revocations.c.id == old.id)
            .values(received_at=time.time() - 31 * 86400)
        )
        await connection.execute(
            update(revocations).where(revocations.c.id == new.id).values(acknowledged_at=None)
        )
    slept: list[float] = []

    async def until_the_third(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            revoker._record = Broken()  # type: ignore[assignment]  # only what is used of it
        elif len(slept) == 2:
            revoker._record = record
        else:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await revoker.run_maintenance(sleep=until_the_third)
    assert slept == [3600, 5, 3600]
    assert await revoker.status(old.id) is None
    assert await record.unacknowledged() == []


class Broken:
    async def confirm(self, *_: object, server: str) -> None:
        raise UnavailableError(server)

    async def forget(self, *, before: float) -> None:
        """Nothing is old enough."""

    async def unacknowledged(self, *, closed: object) -> None:
        raise UnavailableError("down")


async def test_the_stream_shows_each_revocation_once_from_a_known_one_on(
    revoker: StoreRevoker,
) -> None:
    first = await revoker.revoke(request(Who(user="a")))
    second = await revoker.revoke(request(Who(user="b"), kind=RevocationKind.BLOCK))
    await revoker.lift(request(Who(user="b"), kind=RevocationKind.BLOCK))
    stream = revoker.stream(after=first.id)
    assert (await anext(stream)).id == second.id
    upcoming = asyncio.ensure_future(anext(stream))
    third = await revoker.revoke(request(Who(user="c")))
    async with asyncio.timeout(5):
        assert (await upcoming).id == third.id
    await stream.aclose()


async def test_many_revocations_at_once_each_arrive(
    login: Login, revoker: StoreRevoker, sessions: RedisSessions
) -> None:
    stored = [await login.finish(identity=identity(f"p{n}")) for n in range(20)]
    await asyncio.gather(*(revoker.revoke(request(Who(user=f"sub-p{n}"))) for n in range(20)))
    assert not any([await alive(sessions, one) for one in stored])


async def test_a_tenant_that_ends_takes_along_what_keeps_its_people_out(
    login: Login, revoker: StoreRevoker, record: SqlRevocations, sessions: RedisSessions
) -> None:
    """Whoever has its id next is another tenant: nothing there could give back what providers of
    the former one imposed.
    """
    for name, source in (("bob", "scim:record"), ("carol", "admin")):
        await revoker.revoke(
            request(Who(email=f"{name}@acme.test"), kind=RevocationKind.BLOCK, source=source)
        )
    await revoker.revoke(request(Who(group="admins"), source="okta", group="admins"))
    kept_in = await login.finish(identity=identity("alice"))
    await revoker.end_tenant("acme", lift_until=0.0)
    assert len(await record.standing("acme")) == 3, (
        "a file that is taken away and put back is the same tenant"
    )
    assert not await alive(sessions, kept_in)
    until = time.time()
    await revoker.revoke(
        request(Who(email="dan@acme.test"), kind=RevocationKind.BLOCK, source="scim:of-the-next")
    )
    for _ in range(2):
        await revoker.end_tenant("acme", lift_until=until)
    await revoker.restore("acme")
    assert [one.who.email for one in await record.standing("acme")] == ["dan@acme.test"]
    for name in ("bob", "carol"):
        assert (await login.finish(identity=identity(name))).session.identity.groups == (
            "app-users",
            "admins",
        )
    assert await sessions.finish_login(
        login.new(await login.begin(), identity=identity("dan"))
    ) == SessionRefused(Reason.USER_BLOCKED)


@pytest.fixture
async def unconfirmed(
    redis: RedisClient, ring: keys.KeyRing, record: SqlRevocations
) -> AsyncIterator[StoreRevoker]:
    """The revoker of an admin role whose primary has lost its replicas (until ``replicas_are``):
    WAIT waits in vain.
    """
    confirmations = Acknowledgements(redis, staleness_s=0.2, monotonic=time.monotonic)
    made = StoreRevoker(
        Watermarks(redis, lambda: ring),
        record,
        confirmations,
        clock=time.time,
        monotonic=time.monotonic,
    )
    replicas_are(made, 1)
    yield made
    await made.close()
    await confirmations.close()


def replicas_are(revoker: StoreRevoker, wanted: int) -> None:
    """How many must confirm, of the none that there are."""
    assert isinstance(revoker._confirmations, Acknowledgements)
    revoker._watermarks.redis.replicas = revoker._confirmations._redis.replicas = wanted


async def test_a_revocation_holds_the_record_for_its_script_and_never_while_replicas_confirm(
    sessions: RedisSessions,
    login: Login,
    unconfirmed: StoreRevoker,
    record: SqlRevocations,
    database: Database,
) -> None:
    """Twenty at once while no replica confirms: nothing is acknowledged, everything is in force and
    on record, and who writes to SQL beside waits for none of it.
    """
    stored = [await login.finish(identity=identity(f"p{n}")) for n in range(20)]
    began = time.monotonic()
    asked = [
        asyncio.create_task(
            unconfirmed.revoke(request(Who(user=f"sub-p{n}"), kind=RevocationKind.BLOCK))
        )
        for n in range(20)
    ]
    slowest = 0.0
    while not all(task.done() for task in asked):
        one = time.monotonic()
        async with database.write() as connection:
            await connection.execute(
                update(revocations).where(revocations.c.id == "").values(ended=0)
            )
        slowest = max(slowest, time.monotonic() - one)
        await asyncio.sleep(0.01)
    assert all(
        isinstance(error, UnavailableError)
        for error in await asyncio.gather(*asked, return_exceptions=True)
    )
    assert time.monotonic() - began < 20 * WAIT_MS / 1000 / 2
    assert slowest < 20 * WAIT_MS / 1000 / 4, "it waited for some commits, and for no replica"
    assert not any([await alive(sessions, one) for one in stored])
    waiting = await record.unacknowledged()
    assert len(waiting) == 20
    # Their callers repeat: the same revocations go on, and are not others.
    replicas_are(unconfirmed, 0)
    again = [
        await unconfirmed.revoke(request(Who(user=f"sub-p{n}"), kind=RevocationKind.BLOCK))
        for n in range(10)
    ]
    assert {status.id for status in again} < {one.status.id for one in waiting}
    await unconfirmed.close()
    # The others' do not.
    assert await unconfirmed.acknowledge_open() == 10
    assert await record.unacknowledged() == []
    assert len(await record.standing("acme")) == 20


async def test_what_another_process_has_carried_on_is_repeated_as_a_revocation_of_its_own(
    unconfirmed: StoreRevoker, record: SqlRevocations
) -> None:
    for ask in (unconfirmed.revoke, unconfirmed.lift):
        with pytest.raises(UnavailableError):
            await ask(request(kind=RevocationKind.BLOCK))
    carried_on = {one.status.id for one in await record.unacknowledged()}
    for one in carried_on:
        await record.acknowledged(one, at=time.time(), replicas=())
    replicas_are(unconfirmed, 0)
    statuses = [
        await ask(request(kind=RevocationKind.BLOCK))
        for ask in (unconfirmed.revoke, unconfirmed.lift)
    ]
    assert not carried_on & {status.id for status in statuses}
    assert all(
        [
            (await record.find(status.id)) is not None
            and await unconfirmed.status(status.id) == status
            for status in statuses
        ]
    )
    await unconfirmed.close()
    assert await record.unacknowledged() == []
    assert [await unconfirmed.status(status.id) for status in statuses] == statuses


async def test_a_store_that_is_silent_is_not_waited_for_with_the_record_in_hand(
    revoker: StoreRevoker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten wait for the writer when the store falls silent: one of them finds out with the writer in
    hand, the others do not try.
    """
    silent, tried = asyncio.Event(), 0
    redis = revoker._watermarks.redis
    run = redis.run

    async def running(script: Script, *rest: Any) -> Any:
        nonlocal tried
        if script.name == "revoke":
            tried += 1
            await silent.wait()
            msg = "Redis: revoke: TimeoutError"
            raise UnavailableError(msg)
        return await run(script, *rest)

    monkeypatch.setattr(redis, "run", running)
    async with database.write("revoke:acme:" + revoker.revocation_keys(request()).marks[0]):
        asked = [asyncio.create_task(revoker.revoke(request())) for _ in range(10)]
        await asyncio.sleep(0.1)
    silent.set()
    assert all(
        isinstance(error, UnavailableError)
        for error in await asyncio.gather(*asked, return_exceptions=True)
    )
    assert tried == 1

    async def away(*_: Any) -> None:
        msg = "Redis: EXISTS: TimeoutError"
        raise UnavailableError(msg)

    monkeypatch.setattr(redis, "command", away)
    with pytest.raises(UnavailableError):
        await revoker.revoke(request())
    assert tried == 1, "who comes while it is silent does not take the writer at all"


async def test_what_was_left_open_is_carried_on_without_a_caller_and_a_lift_ends_no_session(
    sessions: RedisSessions, login: Login, unconfirmed: StoreRevoker, record: SqlRevocations
) -> None:
    block = request(kind=RevocationKind.BLOCK)
    for ask in (unconfirmed.revoke, unconfirmed.lift):
        with pytest.raises(UnavailableError):
            await ask(block)
    assert [one.kind for one in await record.unacknowledged()] == [RevocationKind.BLOCK, LIFT], (
        "a lift is not the repetition of what it lifts"
    )
    replicas_are(unconfirmed, 0)
    stored = await login.finish()
    slept: list[float] = []

    async def twice(seconds: float) -> None:
        slept.append(seconds)
        if seconds == 3600 and slept.count(3600) == 1:
            await asyncio.Event().wait()
        if len(slept) > 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await unconfirmed.run_maintenance(sleep=twice)
    assert slept == [3600, 5, 3600]
    assert await record.unacknowledged() == []
    assert await alive(sessions, stored), "begun after the lift"


async def test_a_block_written_at_a_primary_that_was_deposed_stands_at_the_other_when_it_is_acknowledged(  # noqa: E501 - a test's name is a sentence
    login: Login, redis: RedisClient, unconfirmed: StoreRevoker, sessions: RedisSessions
) -> None:
    """The other one was restored before the block was on record, and its caller never came
    again.
    """
    with pytest.raises(UnavailableError):
        await unconfirmed.revoke(request(kind=RevocationKind.BLOCK))
    replicas_are(unconfirmed, 0)
    await redis.command("FLUSHALL")
    await believe(redis)
    assert await unconfirmed.acknowledge_open() == 1
    assert isinstance(await sessions.finish_login(login.new(await login.begin())), SessionRefused)


async def test_a_lift_that_is_carried_on_ends_no_session(
    sessions: RedisSessions, login: Login, unconfirmed: StoreRevoker, record: SqlRevocations
) -> None:
    stored = await login.finish()
    with pytest.raises(UnavailableError):
        await unconfirmed.lift(request(group="admins"))
    replicas_are(unconfirmed, 0)
    assert await unconfirmed.acknowledge_open() == 1
    assert await record.unacknowledged() == []
    assert await alive(sessions, stored)
