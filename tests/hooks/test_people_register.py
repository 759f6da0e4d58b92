"""A login in Redis becomes a row and messages in SQL, once, whatever ends in between."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, insert, select, update

from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.core.person import Person
from gateway.database.group_commit import GroupCommitter
from gateway.database.schema import people, people_names, tenants, webhooks_outbox
from gateway.errors import UnavailableError
from gateway.hooks.effects import Notice
from gateway.hooks.event import Subject
from gateway.hooks.people_register import CLOCKS_S, KEPT_S, PeopleFilter, PeopleRegister
from gateway.hooks.sign_in_recorder import SignInRecorder
from gateway.hooks.webhooks.outbox import News, Origin, Outbox
from gateway.sessions import sign_ins as sign_ins_module
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.sign_ins import SignIn, SignIns
from tests.sessions.conftest import (
    Login,
    clock,
    identity,
    login,
    redis,
    ring,
    sessions,
)
from tests.sessions.test_store import child_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import aiohttp

    from gateway.database.engine import Database
    from gateway.keys.ring import KeyRing
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.store import RedisSessions

pytestmark = pytest.mark.every_database

__all__ = ["clock", "login", "redis", "ring", "sessions"]

ALL = frozenset({"user.created", "user.updated", "user.signed_in", "user.deprovisioned"})
NOW = 1_800_000_000.0


@dataclass
class Targets:
    """An app that hears of everything at both tenants."""

    events: frozenset[str] | None = ALL

    def webhook(self, tenant: str) -> WebhookTarget | None:
        return WebhookTarget(tenant, "https://app.test", (Secret("s" * 32),), self.events)


async def leads() -> bool:
    return True


class Dying(SignIns):
    """The process ends after the commit, before the entries are taken away."""

    async def forget(self, bucket: int, entries: Sequence[bytes]) -> int:
        msg = "killed"
        raise UnavailableError(msg)


@dataclass
class World:
    database: Database
    redis: RedisClient
    ring: KeyRing
    committer: GroupCommitter
    outbox: Outbox
    register: PeopleRegister
    targets: Targets
    served: set[str] = field(default_factory=lambda: {"acme", "globex"})
    now: float = NOW

    def recorder(self, kind: type[SignIns] = SignIns) -> SignInRecorder:
        return SignInRecorder(
            kind(self.redis, lambda: self.ring),
            self.register,
            self.committer,
            self.outbox,
            tenants=lambda: self.served,
            leads=leads,
            clock=lambda: self.now,
        )

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and data of every message, in order."""
        async with self.database.read() as connection:
            rows = (
                await connection.execute(select(webhooks_outbox).order_by(webhooks_outbox.c.number))
            ).all()
        bodies = [
            json.loads(
                self.database.crypt.open(
                    row.payload, table="webhooks_outbox", row=row.id, column="payload"
                ).reveal()
            )
            for row in rows
        ]
        return [(body["type"], body["data"]) for body in bodies]

    async def types(self) -> list[str]:
        return [type_ for type_, _ in await self.told()]

    async def waiting(self, name: str = "acme") -> int:
        return int(await self.redis.command("LLEN", f"{prefix(bucket_of(name))}v"))

    async def record(self, *sign_ins: SignIn) -> None:
        await self.committer.run(
            lambda c: self.register.signed_in(c, sign_ins, outbox=self.outbox, now=self.now)
        )

    async def tell(self, type_: str, cause: str, **names: Any) -> None:
        notice = Notice(type_, cause, Subject(**names), (), None, None)
        await self.add(notice)

    async def add(self, notice: Notice, provider: str = "acme-okta") -> None:
        await self.committer.run(
            lambda c: self.outbox.add(
                c, News(notice, Origin("acme", provider, "okta", "x"), lane="x", now=self.now)
            )
        )

    async def status(self, user: str) -> str:
        found = await self.register.find("acme", user)
        assert found is not None
        return found.status

    async def users(self, name: str = "acme", **wanted: str) -> list[str]:
        page = await self.register.page(
            tenant=name, wanted=PeopleFilter(**wanted), position=None, limit=100
        )
        return sorted(person.user for person in page.items)


@pytest.fixture
async def world(
    database: Database, redis: RedisClient, ring: KeyRing, http: aiohttp.ClientSession
) -> AsyncIterator[World]:
    committer, targets, register = GroupCommitter(database), Targets(), PeopleRegister(database)
    found = World(
        database,
        redis,
        ring,
        committer,
        Outbox(
            database,
            committer,
            targets=targets,  # type: ignore[arg-type]  # only an app is asked for
            http=http,
            clock=lambda: NOW,
            register=register,
        ),
        register,
        targets,
    )
    async with committer.running():
        yield found


def sign_in(name: str = "alice", **changes: Any) -> SignIn:
    values: dict[str, Any] = {
        "id": f"id-{name}",
        "tenant": "acme",
        "at": int(NOW),
        "began": 1000,
        "user": f"sub-{name}",
        "email": f"{name}@acme.test",
        "username": f"acme-okta_{name}",
        "preferred_username": name,
        "name": name.title(),
        "provider": "acme-okta",
        "groups": ("app-users",),
        "roles": (),
        "idp_subject": f"00u-{name}",
        "oid": "",
    }
    return SignIn(**{**values, **changes})


async def test_a_first_login_makes_a_person_whom_the_application_hears_of(
    world: World, login: Login
) -> None:
    await login.finish()
    assert await world.waiting() == 1
    assert await world.recorder().round() == 1
    assert await world.waiting() == 0
    found = await world.register.find("acme", "sub-alice")
    assert found is not None
    who = identity()
    assert (found.email, found.username, found.name) == (who.email, who.username, who.name)
    assert (found.groups, found.provider, found.status) == (who.groups, who.provider, "active")
    assert (found.idp_subject, found.oid) == (who.idp_subject, who.oid)
    [(created, data), (signed_in, _)] = await world.told()
    assert (created, signed_in) == ("user.created", "user.signed_in")
    assert data["users"] == [
        {
            "user": who.sub,
            "email": who.email,
            "idp_subject": who.idp_subject,
            "oid": who.oid,
        }
    ]
    assert data["profile"]["groups"] == list(who.groups)
    assert (data["cause"], data["source"]) == ("sign_in", "sign_in")


async def test_a_login_is_told_only_to_an_application_that_asked_for_it(
    world: World, login: Login
) -> None:
    world.targets.events = None
    await login.finish()
    await login.finish()
    await world.recorder().round()
    assert await world.types() == ["user.created"]


async def test_what_a_later_login_says_otherwise_is_an_update_that_names_it(
    world: World, login: Login
) -> None:
    await login.finish()
    await login.finish(identity=replace(identity(), groups=("app-users",), name="Alice B."))
    await world.recorder().round()
    updated = [data for type_, data in await world.told() if type_ == "user.updated"]
    assert [data["profile"]["changed"] for data in updated] == [["name", "groups"]]
    assert await world.users(group="app-users") == ["sub-alice"]
    assert await world.users(group="admins") == []


async def test_nothing_is_lost_or_doubled_where_the_process_ends_after_the_commit(
    world: World, login: Login
) -> None:
    """Both logins are of one second, and the second says something else."""
    await login.finish()
    await login.finish(identity=replace(identity(), groups=("app-users",)))
    for _ in range(2):
        with pytest.raises(UnavailableError, match="killed"):
            await world.recorder(Dying).round()
    assert await world.waiting() == 2
    await world.recorder().round()
    assert await world.waiting() == 0
    assert sorted(await world.types()) == [
        "user.created",
        "user.signed_in",
        "user.signed_in",
        "user.updated",
    ]
    found = await world.register.find("acme", "sub-alice")
    assert found is not None
    assert found.groups == ("app-users",)


async def test_two_admin_processes_at_once_record_each_login_once(
    world: World, login: Login
) -> None:
    for name in ("alice", "bob"):
        for _ in range(6):
            await login.finish(identity=identity(name))
    await asyncio.gather(*(world.recorder().round() for _ in range(3)))
    await world.recorder().round()
    assert await world.waiting() == 0
    types = await world.types()
    assert {type_: types.count(type_) for type_ in set(types)} == {
        "user.created": 2,
        "user.signed_in": 12,
    }


async def test_a_process_that_is_late_takes_away_nothing_that_it_has_not_read(
    world: World, login: Login
) -> None:
    lists, bucket = SignIns(world.redis, lambda: world.ring), bucket_of("acme")
    for _ in range(4):
        await login.finish()
    slow = [raw for raw, _ in await lists.read(bucket, limit=2)]
    quick = [raw for raw, _ in await lists.read(bucket, limit=3)]
    assert await lists.forget(bucket, quick) == 3
    assert await lists.forget(bucket, slow) == 0
    assert await world.waiting() == 1
    await login.finish()
    left = [raw for raw, _ in await lists.read(bucket, limit=9)]
    assert await lists.forget(bucket, [*quick[-1:], *left[:1]]) == 1
    assert [raw for raw, _ in await lists.read(bucket, limit=9)] == left[1:]


async def test_a_login_that_is_recorded_late_says_nothing_new(world: World) -> None:
    await world.record(sign_in(began=2000, id="later", groups=("admins",)))
    await world.record(sign_in(began=1000, id="earlier", groups=("app-users",)))
    assert await world.types() == ["user.created", "user.signed_in", "user.signed_in"]
    assert await world.users(group="admins") == ["sub-alice"]
    assert await world.users(group="app-users") == []


async def test_a_list_that_nobody_reads_is_bounded_and_keeps_nobody_out(
    world: World, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins_module, "MAX_WAITING", 3)
    for _ in range(5):
        await login.finish()
    assert await world.waiting() == 3
    left_s = await world.redis.command("TTL", f"{prefix(bucket_of('acme'))}v")
    assert 0 < left_s <= sign_ins_module.LIFE_S


async def test_what_does_not_open_keeps_nothing_else_from_being_recorded(
    world: World, login: Login
) -> None:
    await world.redis.command("RPUSH", f"{prefix(bucket_of('acme'))}v", b"acme \x00junk", b"?")
    await login.finish()
    assert await world.recorder().round() == 1
    assert (await world.waiting(), await world.users()) == (0, ["sub-alice"])


async def test_an_entry_that_cannot_be_recorded_keeps_no_other_from_it(
    world: World, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    await login.finish(identity=identity("mallory"))
    await login.finish()
    real = world.register.signed_in

    async def failing(connection: Any, sign_ins: Sequence[SignIn], **more: Any) -> None:
        if any(one.user == "sub-mallory" for one in sign_ins):
            msg = "nobody foresaw it"
            raise ValueError(msg)
        await real(connection, sign_ins, **more)

    monkeypatch.setattr(world.register, "signed_in", failing)
    assert await world.recorder().round() == 1
    assert (await world.waiting(), await world.users()) == (0, ["sub-alice"])


async def test_people_of_a_tenant_that_is_gone_are_nobodys(world: World, login: Login) -> None:
    await login.finish()
    world.served = {"globex"}
    assert await world.recorder().round() == 0
    world.served = {"acme"}
    async with world.database.write() as connection:
        await connection.execute(
            insert(tenants).values(
                id="acme",
                version=1,
                document={},
                secrets="",
                created_at=NOW * 2,
                updated_at=NOW * 2,
            )
        )
    assert await world.recorder().round() >= 0
    assert (await world.users(), await world.types()) == ([], [])


async def test_access_that_ends_and_comes_back_is_the_persons_status(world: World) -> None:
    await world.record(sign_in())
    await world.record(sign_in("bob"))
    await world.tell("user.deprovisioned", "account", idp_subject="00u-alice")
    assert await world.status("sub-alice") == "deprovisioned"
    await world.tell("user.deprovisioned", "operator", email="ALICE@acme.test")
    assert await world.status("sub-alice") == "blocked"
    await world.tell("user.restored", "operator", email="alice@acme.test")
    assert await world.status("sub-alice") == "deprovisioned"
    assert await world.users(status="deprovisioned") == ["sub-alice"]
    assert await world.users(status="active") == ["sub-bob"]
    await world.tell("user.restored", "account", idp_subject="00u-alice")
    assert await world.users(status="active") == ["sub-alice", "sub-bob"]


async def test_only_whom_a_notice_means_loses_access(world: World) -> None:
    """An address has owners one after another, and a provider speaks of its own people."""
    await world.record(sign_in())
    await world.record(sign_in("alice", id="b", user="sub-2", idp_subject="00u-2"))
    await world.record(sign_in("alice", id="c", user="sub-3", provider="acme-entra"))
    await world.tell(
        "user.deprovisioned", "account", idp_subject="00u-alice", email="alice@acme.test"
    )
    assert await world.users(status="deprovisioned") == ["sub-alice"]
    named = Person("sub-2", "alice@acme.test", "00u-2")
    subject = Subject(email="alice@acme.test")
    await world.add(Notice("user.deprovisioned", "group", subject, (named,), None, None))
    assert await world.users(status="deprovisioned") == ["sub-2", "sub-alice"]


async def test_a_silent_application_changes_nothing_of_the_status(world: World) -> None:
    world.targets.events = frozenset({"user.signed_in"})
    await world.record(sign_in())
    await world.tell("user.deprovisioned", "account", idp_subject="00u-alice")
    assert await world.status("sub-alice") == "deprovisioned"
    assert await world.types() == ["user.signed_in"]


@pytest.mark.parametrize(
    ("later_s", "status"), [(CLOCKS_S, "deprovisioned"), (CLOCKS_S + 1, "active")]
)
async def test_a_login_clearly_after_the_end_of_access_proves_that_it_is_back(
    world: World, later_s: float, status: str
) -> None:
    await world.record(sign_in())
    await world.tell("user.deprovisioned", "account", idp_subject="00u-alice")
    await world.record(sign_in(began=2000, id="again", at=int(NOW + later_s)))
    assert await world.status("sub-alice") == status


async def test_a_list_has_pages_filters_and_nobody_of_another_tenant(world: World) -> None:
    for number in range(7):
        groups = ("app-users", "admins") if number % 2 else ("app-users",)
        await world.record(sign_in(f"p{number}", groups=groups))
    await world.record(sign_in("carol", tenant="globex", provider="globex-okta"))
    seen: list[str] = []
    position = None
    for _ in range(3):
        page = await world.register.page(
            tenant="acme", wanted=PeopleFilter(), position=position, limit=3
        )
        seen += [person.user for person in page.items]
        position = page.position
    assert position is None
    assert sorted(seen) == [f"sub-p{number}" for number in range(7)]
    assert await world.users(group="ADMINS") == []
    assert await world.users(group="admins") == ["sub-p1", "sub-p3", "sub-p5"]
    assert await world.users(email="P3@ACME.TEST") == ["sub-p3"]
    assert await world.users(email="p3@acme.test", group="app-users") == ["sub-p3"]
    assert await world.users("globex") == ["sub-carol"]
    assert await world.register.find("acme", "sub-carol") is None


async def test_personal_data_are_sealed(world: World) -> None:
    await world.record(sign_in())
    async with world.database.read() as connection:
        rows = [
            *(await connection.execute(select(people))).all(),
            *(await connection.execute(select(people_names))).all(),
        ]
    shown = repr(rows)
    for told in ("alice", "Alice", "acme.test", "00u", "app-users"):
        assert told not in shown, told


async def test_one_that_does_not_open_is_listed_without_what_is_sealed(world: World) -> None:
    await world.record(sign_in())
    async with world.database.write() as connection:
        await connection.execute(update(people).values(document="gone.AAAA"))
    page = await world.register.page(tenant="acme", wanted=PeopleFilter(), position=None, limit=10)
    assert [(person.user, person.status) for person in page.items] == [("", "active")]
    await world.record(sign_in(began=2000, id="again"))
    assert await world.users() == ["sub-alice"]


async def test_who_was_not_seen_for_long_is_forgotten(world: World) -> None:
    await world.record(sign_in())
    await world.record(sign_in("bob", at=int(NOW + 10)))
    world.now = NOW + KEPT_S + 5
    await world.recorder().round()
    assert await world.users() == ["sub-bob"]
    async with world.database.read() as connection:
        left = (await connection.execute(select(func.count()).select_from(people_names))).scalar()
    assert left == 4


def test_an_entry_of_another_release_or_tenant_is_none(ring: KeyRing) -> None:
    def entropy(count: int) -> bytes:
        return bytes(range(count))

    key, keys = ring.sealing[0], ring.sealing
    raw = sign_ins_module.entry(sign_in(), key=key, entropy=entropy)
    assert sign_ins_module.parse_entry(raw, keys) == sign_in()
    assert sign_ins_module.parse_entry(raw.replace(b"acme ", b"evil "), keys) is None
    assert sign_ins_module.parse_entry(raw[:-1], keys) is None
    assert b"alice" not in raw


async def test_a_child_session_is_no_login(
    world: World, login: Login, sessions: RedisSessions
) -> None:
    await child_of(sessions, await login.finish())
    assert await world.waiting() == 1


AGAIN: dict[str, list[SignIn]] = {
    "nobody": [],
    "returning": [sign_in("alice", id="a2", began=2000), sign_in("bob", id="b2", began=2000)],
    "recorded before": [sign_in("alice"), sign_in("bob")],
    "late": [sign_in("alice", id="a0", began=500, groups=("other",)), sign_in("bob", id="b0")],
    "a change among others": [
        sign_in("alice", id="a2", began=2000, groups=("admins",)),
        sign_in("bob", id="b2", began=2000),
        sign_in("carol", id="c1"),
    ],
    "one person twice": [
        sign_in("alice", id="a2", began=2000, roles=("boss",)),
        sign_in("alice", id="a3", began=3000),
        sign_in("bob", id="b2", began=2000),
    ],
    "back after the end of access": [
        sign_in("alice", id="a2", began=2000, at=int(NOW + 2 * CLOCKS_S)),
        sign_in("bob", id="b2", began=2000, at=int(NOW + CLOCKS_S / 2)),
    ],
    "another tenant's of the same name": [
        sign_in("alice", id="g1", tenant="globex", began=2000),
        sign_in("alice", id="a2", began=2000),
    ],
}


async def rows(world: World) -> list[tuple[Any, ...]]:
    async with world.database.read() as connection:
        found = await connection.execute(
            select(
                people.c.tenant,
                people.c.key,
                people.c.status,
                people.c.deprovisioned,
                people.c.blocked,
                people.c.last_began,
                people.c.last_sign_in_at,
            ).order_by(people.c.tenant, people.c.key)
        )
        names = await connection.execute(select(people_names.c.name).order_by(people_names.c.name))
        return [*map(tuple, found), *map(tuple, names)]


@pytest.mark.parametrize("later", AGAIN.values(), ids=AGAIN)
async def test_logins_recorded_together_leave_what_they_would_one_by_one(
    world: World, later: list[SignIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object) -> frozenset[str]:
        return frozenset()

    outcomes = []
    for together in (False, True):
        async with world.database.write() as connection:
            for table in (people_names, people, webhooks_outbox):
                await connection.execute(table.delete())
        await world.record(sign_in("alice"), sign_in("bob"))
        for name in ("alice", "bob"):
            await world.tell("user.deprovisioned", "idp", idp_subject=f"00u-{name}")
        if together:
            await world.record(*later)
        else:
            with monkeypatch.context() as patch:
                patch.setattr(world.register, "_returning", nobody)
                for one in later:
                    await world.record(one)
        outcomes.append((await rows(world), await world.told()))
    assert outcomes[0] == outcomes[1]


async def test_people_who_return_cost_two_statements_together(world: World) -> None:
    world.targets.events = frozenset({"user.created"})
    names = [f"p{number}" for number in range(40)]
    said: list[str] = []

    @event.listens_for(world.database._engine.sync_engine, "before_cursor_execute")
    def _said(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(" ".join(statement.split(maxsplit=3)[:3]))

    await world.record(*(sign_in(name) for name in names))
    assert said.count("INSERT INTO webhooks_outbox") == 1, "messages are written together"
    assert len(await world.told()) == 40
    said.clear()
    await world.record(*(sign_in(name, id=f"{name}-2", began=2000) for name in names))
    verbs = [statement.split()[0] for statement in said]
    assert verbs.count("SELECT") == 1
    assert verbs.count("UPDATE") == 1
    assert "INSERT" not in verbs
