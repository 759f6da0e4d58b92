"""The pool follows the record: what stands when a write runs decides, and nothing is done to
somebody else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.cognito.users import PoolUser
from gateway.core.model import AppClient, ProviderKind, Secret
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.core.tenants import TenantTable
from gateway.errors import ConfigError
from gateway.metrics import REGISTRY
from gateway.revocation import cognito_sync
from gateway.revocation.api import LIFT, Closed, DisabledUser, Recorded, Standing
from gateway.revocation.cognito_sync import (
    DELAYS_S,
    PER_TENANT,
    SECOND_CLEARING_S,
    PoolPeople,
    Turns,
)
from tests.core.build import provider, tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import Tenant

SUBJECT = Who(idp_subject="00u1", provider="acme-okta")


class Pool:
    """Remembers what was asked of it; ``trouble`` answers are refused first. Everybody is there,
    and enabled unless among ``disabled``.
    """

    def __init__(
        self,
        *,
        addresses: dict[str, tuple[str, ...]] | None = None,
        trouble: int = 0,
        disabled: Sequence[str] = (),
        oids: dict[str, str] | None = None,
    ) -> None:
        self.done: list[tuple[str, ...]] = []
        self.addresses = addresses or {}
        self.trouble = trouble
        self.disabled = set(disabled)
        self.oids = oids or {}
        self.gone: set[str] = set()
        self.groups: dict[str, set[str]] = {}
        self.unreadable: set[str] = set()
        self.own: dict[str, tuple[str, ...]] = {}
        """The pool's own users, with the groups that they are in."""

    def __getattr__(self, name: str) -> Any:
        async def call(*words: str, **_: object) -> bool:
            if self.trouble:
                self.trouble -= 1
                raise UnansweredError("AdminDisableUser", "no answer")
            self.done.append((name, *words))
            if name == "disable":
                self.disabled.add(words[0])
            elif name == "enable":
                self.disabled.discard(words[0])
            return True

        return call

    async def find(self, username: str) -> PoolUser | None:
        address = next(
            (address for address, names in self.addresses.items() if username in names), ""
        )
        return (
            None
            if username in self.gone
            else PoolUser(
                username,
                username not in self.disabled,
                f"sub-{username}",
                address,
                self.oids.get(username, ""),
                username in self.own,
            )
        )

    async def groups_of(self, username: str) -> tuple[str, ...]:
        return self.own.get(username, ())

    async def with_group(
        self, provider: str, group: str, *, url_decode_groups: bool
    ) -> tuple[str, ...]:
        return tuple(
            name
            for name, names in self.groups.items()
            if name.startswith(f"{provider}_") and group in names
        )

    async def remove_group(self, name: str, group: str, *, url_decode_groups: bool) -> bool:
        self.done.append(("remove_group", name, group))
        return name not in self.unreadable

    async def usernames_of_sub(self, sub: str) -> tuple[str, ...]:
        return (sub.removeprefix("sub-"),)

    async def usernames(self, email: str) -> tuple[str, ...]:
        return self.addresses.get(email, ())


class Record:
    def __init__(self, recorded: Sequence[Recorded], standing: Sequence[Standing] = ()) -> None:
        self.recorded, self.standing_now = list(recorded), list(standing)
        self.users: dict[str, tuple[str, ...]] = {}
        self.cleared: list[str] = []
        self.closed: set[str] = set()
        """Ids of what does not open."""

    def _opened(
        self, rows: Sequence[Recorded], closed: Callable[[Closed], None] | None
    ) -> list[Recorded]:
        for one in rows:
            if one.status.id in self.closed:
                assert closed is not None
                closed(
                    Closed(
                        one.status.id, "acme", one.durable_at, ConfigError("a row does not open")
                    )
                )
        return [
            one
            for one in sorted(rows, key=lambda r: (r.durable_at, r.status.id))
            if one.status.id not in self.closed
        ]

    async def these(
        self, ids: Sequence[str], *, closed: Callable[[Closed], None] | None = None
    ) -> list[Recorded]:
        return self._opened([r for r in self.recorded if r.status.id in ids], closed)

    async def clear(self, standing: Standing, *, at: float) -> None:
        assert at == NOW
        self.cleared.append(standing.id)

    async def users_of(self, revocation: str) -> tuple[str, ...]:
        return self.users.get(revocation, ())

    async def since(
        self,
        durable_at: float,
        *,
        after: str,
        limit: int,
        closed: Callable[[Closed], None] | None = None,
    ) -> list[Recorded]:
        return self._opened(
            [r for r in self.recorded if (r.durable_at, r.status.id) > (durable_at, after)], closed
        )[:limit]

    async def of_tenant(
        self,
        tenant: str,
        *,
        durable_after: float,
        limit: int | None = None,
        closed: Callable[[Closed], None] | None = None,
    ) -> list[Recorded]:
        return self._opened(
            [
                r
                for r in self.recorded
                if r.status.request.tenant == tenant and r.durable_at > durable_after
            ],
            closed,
        )[:limit]

    async def standing(self, tenant: str) -> list[Standing]:
        return [s for s in self.standing_now if s.tenant == tenant]

    async def standing_of(self, tenant: str, aliases: tuple[Who, ...]) -> list[Standing]:
        return [s for s in await self.standing(tenant) if s.who in aliases]


class Disabled:
    """``DisabledUsers`` in memory, beside the blocks of ``record``."""

    def __init__(self, record: Record, *users: DisabledUser) -> None:
        self.record, self.users = record, list(users)

    def _in_force(self, block: str) -> bool:
        return any(s.id == block for s in self.record.standing_now)

    async def add(self, disabled: DisabledUser, *, at: float) -> None:
        assert at == NOW
        self.users += [] if disabled in self.users else [disabled]

    async def has(self, username: str, *, pool: str) -> bool:
        return any((u.username, u.pool) == (username, pool) for u in self.users)

    async def tenants_to_enable(self) -> list[str]:
        return list({u.tenant for u in self.users if not self._in_force(u.block)})

    async def to_enable(
        self, tenant: str, *, after: DisabledUser | None, limit: int
    ) -> list[DisabledUser]:
        beyond = ("", "") if after is None else (after.username, after.block)
        due = [
            u
            for u in self.users
            if u.tenant == tenant and not self._in_force(u.block) and (u.username, u.block) > beyond
        ]
        return sorted(due, key=lambda u: (u.username, u.block))[:limit]

    async def is_held(self, disabled: DisabledUser) -> bool:
        return any(
            (u.username, u.pool) == (disabled.username, disabled.pool)
            and u.block != disabled.block
            and self._in_force(u.block)
            for u in self.users
        )

    async def move(self, disabled: DisabledUser, *, block: str) -> None:
        self.users.remove(disabled)
        await self.add(replace(disabled, block=block), at=NOW)

    async def remove(self, disabled: DisabledUser) -> bool:
        self.users.remove(disabled)
        return True


class Watermarks:
    def __init__(self) -> None:
        self.cleared_with: list[int] = []

    async def cleared(self, _tenant: str, _where: object, *, watermark: int) -> int:
        self.cleared_with.append(watermark)
        return 1


class Revoker:
    def revocation_keys(self, request: RevocationRequest) -> SimpleNamespace:
        return SimpleNamespace(marks=(request.who,))


NOW = 1_000_000.0


def recorded(
    who: Who,
    kind: str = "end_sessions",
    *,
    number: int = 1,
    at: float = NOW + 1,
    group: str | None = None,
) -> Recorded:
    request = RevocationRequest(
        "acme",
        who,
        RevocationKind.BLOCK if kind == "block" else RevocationKind.END_SESSIONS,
        "",
        "okta",
        group_overlay=group,
    )
    return Recorded(RevocationStatus(f"r{number}", request, at, 1.0, (), 1.0, 0), kind, 7, at)


def block(who: Who) -> Standing:
    return Standing("b", "acme", who, "okta", "", NOW, 7)


async def follow(
    pool: Pool,
    record: Record,
    *,
    users: dict[str, tuple[str, ...]] | None = None,
    of: Tenant | None = None,
    disabled: Disabled | None = None,
    other: Pool | None = None,
) -> tuple[list[tuple[str, ...]], Watermarks, list[float]]:
    """Run until nothing is left to do; every wait is over at once."""
    record.users |= users or {}
    marks, waited = Watermarks(), []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    people = PoolPeople(
        {"default": cast("Any", pool), **({"b": cast("Any", other)} if other else {})},
        cast("Any", record),
        cast("Any", Revoker()),
        cast("Any", marks),
        disabled or Disabled(record),
        table=lambda: TenantTable.of([of or tenant()]),
        clock=lambda: NOW,
        sleep=sleep,
    )
    task = asyncio.create_task(people.run())
    for _ in range(300):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return pool.done, marks, waited


async def test_a_block_disables_the_pool_user_of_that_provider() -> None:
    done, _, _ = await follow(Pool(), Record([recorded(SUBJECT, "block")], [block(SUBJECT)]))
    assert done == [("disable", "acme-okta_00u1")]


def moving() -> Tenant:
    """From the pool ``default`` to the pool ``b``."""
    return replace(tenant(), pool="b", retired=(AppClient("former", Secret("s"), 1e12),))


async def test_a_block_reaches_a_tenant_in_its_own_pool_and_in_no_other() -> None:
    here, there = Pool(), Pool()
    record = Record([recorded(SUBJECT, "block")], [block(SUBJECT)])
    await follow(here, record, other=there, of=replace(tenant(), pool="b"))
    assert (here.done, there.done) == ([], [("disable", ALICE)])


async def test_while_a_tenant_moves_its_people_are_blocked_in_both_pools_and_let_in_again() -> None:
    here, there = Pool(), Pool(disabled=[ALICE])
    record = Record([recorded(SUBJECT, "block")], [block(SUBJECT)])
    disabled = Disabled(record)
    await follow(here, record, other=there, of=moving(), disabled=disabled)
    # In the other pool somebody else has disabled them.
    assert (here.done, there.done) == ([("disable", ALICE)], [])
    assert disabled.users == [DisabledUser("b", "acme", ALICE)]
    lifted = Record([recorded(SUBJECT, LIFT)])
    again = Disabled(lifted, DisabledUser("b", "acme", ALICE, "b"))
    # The lift comes when the move is over.
    here, there = Pool(disabled=[ALICE]), Pool(disabled=[ALICE])
    await follow(here, lifted, other=there, of=tenant(), disabled=again)
    assert (here.done, there.done, again.users) == ([], [("enable", ALICE)], [])


async def test_a_pool_that_does_not_answer_does_not_keep_the_other() -> None:
    here, there = Pool(trouble=1), Pool()
    record = Record([recorded(SUBJECT, "end_sessions")])
    await follow(there, record, other=here, of=moving())
    assert there.done[0] == ("sign_out", ALICE)
    assert here.done == [("sign_out", ALICE)]


async def test_a_group_is_cleared_in_both_pools_and_who_is_in_one_is_cleared_there() -> None:
    overlay = replace(block(SUBJECT), group="admins")
    for gone_there in (True, False):
        here, there = Pool(), Pool()
        there.gone |= {ALICE} if gone_there else set()
        record = Record([recorded(SUBJECT, "end_sessions", group="admins")], [overlay])
        _, marks, _ = await follow(here, record, other=there, of=moving())
        assert marks.cleared_with == [7]
        removed = ("remove_group", ALICE, "admins")
        assert removed in here.done
        assert gone_there or removed in there.done
    here, there = Pool(), Pool()
    there.unreadable.add(ALICE)
    record = Record([recorded(SUBJECT, "end_sessions", group="admins")], [overlay])
    _, marks, _ = await follow(here, record, other=there, of=moving())
    assert marks.cleared_with == []


async def test_a_block_that_was_lifted_meanwhile_disables_nobody() -> None:
    done, _, _ = await follow(
        Pool(), Record([recorded(SUBJECT, "block"), recorded(SUBJECT, LIFT, number=2, at=NOW + 2)])
    )
    assert done == [("sign_out", "acme-okta_00u1")]


OURS = DisabledUser("b", "acme", "acme-okta_00u1")
"""Disabled because of the block ``b``."""
ALICE = "acme-okta_00u1"


@pytest.mark.parametrize(
    "recorded_lift",
    [True, False],
    ids=["the lift is in the record", "the lift is older than what a start reads"],
)
async def test_a_lift_enables_exactly_whom_the_block_disabled_also_after_a_restart(
    *, recorded_lift: bool
) -> None:
    record = Record([recorded(Who(oid="o-1"), LIFT)] if recorded_lift else [])
    disabled = Disabled(record, OURS)
    done, _, _ = await follow(Pool(disabled=[ALICE, "acme-okta_other"]), record, disabled=disabled)
    assert done == [("enable", ALICE)]
    assert disabled.users == []


async def test_whom_somebody_else_disabled_no_lift_enables() -> None:
    record = Record([recorded(SUBJECT, "block")], [block(SUBJECT)])
    disabled, pool = Disabled(record), Pool(disabled=[ALICE])
    assert (await follow(pool, record, disabled=disabled))[0] == []
    record.standing_now, record.recorded = [], [recorded(SUBJECT, LIFT, number=2)]
    assert (await follow(pool, record, disabled=disabled))[0] == []
    assert pool.disabled == {ALICE}


@pytest.mark.parametrize(
    "other",
    [
        SUBJECT,
        Who(user=f"sub-{ALICE}"),
        Who(oid="o-1", provider="acme-okta"),
        Who(email="Alice@acme.com"),
    ],
    ids=["subject", "user", "oid", "email"],
)
async def test_a_lift_leaves_disabled_whom_another_block_is_against_and_the_last_lift_enables(
    other: Who,
) -> None:
    another = Standing("b2", "acme", other, "admin", "", NOW, 8)
    record = Record([recorded(Who(oid="o-1"), LIFT)], [another])
    disabled, pool = (
        Disabled(record, OURS),
        Pool(disabled=[ALICE], addresses={"alice@acme.com": (ALICE,)}, oids={ALICE: "o-1"}),
    )
    assert (await follow(pool, record, disabled=disabled))[0] == []
    assert disabled.users == [DisabledUser("b2", "acme", ALICE)]
    record.standing_now = []
    assert (await follow(pool, record, disabled=disabled))[0] == [("enable", ALICE)]


@pytest.mark.parametrize(
    "who",
    [Who(oid="o-2"), Who(idp_subject="00u1", provider="acme-entra"), Who(group="admins"), Who()],
    ids=["oid", "provider", "group", "tenant"],
)
async def test_a_block_against_somebody_else_or_a_group_keeps_nobody_disabled(who: Who) -> None:
    record = Record([recorded(SUBJECT, LIFT)], [Standing("b2", "acme", who, "admin", "", NOW, 8)])
    done, _, _ = await follow(
        Pool(disabled=[ALICE], oids={ALICE: "o-1"}), record, disabled=Disabled(record, OURS)
    )
    assert done == [("enable", ALICE)]


@pytest.mark.parametrize(
    "who", [Who(group="admins"), Who(session="f1"), Who()], ids=["group", "session", "tenant"]
)
async def test_a_block_that_names_no_person_signs_out_and_disables_nobody(who: Who) -> None:
    done, _, _ = await follow(
        Pool(), Record([recorded(who, "block")], [block(who)]), users={"r1": (ALICE,)}
    )
    assert done == [("sign_out", ALICE)]


async def test_a_mass_removal_reads_what_stands_against_each_person_and_never_against_all() -> None:
    class Counting(Record):
        async def standing(self, tenant: str) -> list[Standing]:
            raise AssertionError(tenant)

        async def standing_of(self, tenant: str, aliases: tuple[Who, ...]) -> list[Standing]:
            return [s for s in self.standing_now if s.who in aliases]

    people = [Who(idp_subject=f"00u{number}", provider="acme-okta") for number in range(40)]
    record = Counting(
        [
            recorded(who, "block", number=number, at=NOW + 1 + number)
            for number, who in enumerate(people)
        ],
        [block(who) for who in people],
    )
    done, _, _ = await follow(Pool(), record)
    assert sorted(done) == sorted(("disable", f"acme-okta_00u{number}") for number in range(40))


async def test_whom_the_pool_refuses_to_enable_keeps_nobody_else_waiting_and_is_not_forgotten() -> (
    None
):
    class Refusing(Pool):
        async def enable(self, name: str) -> bool:
            if name == ALICE:
                raise CognitoRejectedError("AccessDeniedException", "no")
            self.done.append(("enable", name))
            return True

    record = Record([recorded(SUBJECT, LIFT)])
    disabled = Disabled(record, OURS, DisabledUser("b3", "acme", "acme-okta_00u9"))
    done, _, _ = await follow(
        Refusing(disabled=[ALICE, "acme-okta_00u9"]), record, disabled=disabled
    )
    assert done == [("enable", "acme-okta_00u9")]
    assert disabled.users == [OURS]


async def test_a_fault_that_nobody_foresaw_ends_neither_the_following_nor_the_enabling(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(Record):
        async def since(
            self,
            durable_at: float,
            *,
            after: str,
            limit: int,
            closed: Callable[[Closed], None] | None = None,
        ) -> list[Recorded]:
            msg = "a row does not open"
            raise ConfigError(msg)

    class Surprising(Pool):
        surprises = 1

        async def find(self, username: str) -> PoolUser | None:
            self.surprises -= 1
            if self.surprises >= 0:
                raise RuntimeError(username)
            return await super().find(username)

    record = Faulty([])
    pool = Surprising(disabled=[ALICE])
    pool.surprises = 0
    assert (await follow(pool, record, disabled=Disabled(record, OURS)))[0] == [("enable", ALICE)]
    assert len([one for one in caplog.records if one.message == "cognito_sync_fault"]) > 1, (
        "it is asked again and again"
    )

    done, _, waited = await follow(
        Surprising(), Record([recorded(SUBJECT, "block")], [block(SUBJECT)])
    )
    assert done == [("disable", ALICE)]
    assert DELAYS_S[0] in waited


async def test_a_revocation_that_does_not_open_keeps_no_other_from_being_followed_and_is_followed_when_it_opens(  # noqa: E501 - a test's name is a sentence
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = Who(idp_subject="00u9", provider="acme-okta")
    record = Record(
        [recorded(SUBJECT, "block"), recorded(other, "block", number=2, at=NOW + 2)],
        [block(SUBJECT), replace(block(other), id="b2")],
    )
    record.closed = {"r1"}
    pool, marks, now, rounds = Pool(), Watermarks(), NOW, 0

    async def sleep(_: float) -> None:
        nonlocal now, rounds
        rounds, now = rounds + 1, now + 61
        await asyncio.sleep(0)

    class AtAnyTime(Disabled):
        async def add(self, disabled: DisabledUser, *, at: float) -> None:
            await super().add(disabled, at=NOW)

    people = PoolPeople(
        {"default": cast("Any", pool)},
        cast("Any", record),
        cast("Any", Revoker()),
        cast("Any", marks),
        AtAnyTime(record),
        table=lambda: TenantTable.of([tenant()]),
        clock=lambda: now,
        sleep=sleep,
    )
    before = (
        REGISTRY.get_sample_value(
            "gateway_task_failures_total", {"task": "cognito_sync_does_not_open"}
        )
        or 0
    )
    task = asyncio.create_task(people.run())
    while rounds < 20:  # noqa: ASYNC110 - rounds of another task
        await asyncio.sleep(0)
    assert pool.done == [("disable", "acme-okta_00u9")]
    record.closed = set()
    async with asyncio.timeout(5):
        while len(pool.done) < 2:  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pool.done[1:] == [("disable", ALICE)], (
        "long after the window in which the record is read"
    )
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "cognito_sync_does_not_open"
    ], "once, however often it is met"
    assert (
        REGISTRY.get_sample_value(
            "gateway_task_failures_total", {"task": "cognito_sync_does_not_open"}
        )
        == before + 1
    )


async def test_who_is_not_in_the_pool_any_more_is_forgotten() -> None:
    record, pool = Record([]), Pool(disabled=[ALICE])
    pool.gone.add(ALICE)
    disabled = Disabled(record, OURS)
    assert (await follow(pool, record, disabled=disabled))[0] == []
    assert disabled.users == []


async def test_ended_sessions_sign_out_and_are_not_repeated_at_the_next_start() -> None:
    done, _, _ = await follow(
        Pool(),
        Record(
            [
                recorded(SUBJECT),
                recorded(Who(idp_subject="old", provider="acme-okta"), number=2, at=NOW - 60),
            ]
        ),
    )
    assert done == [("sign_out", "acme-okta_00u1")]


async def test_a_group_is_taken_out_twice_before_a_later_login_is_believed() -> None:
    overlay = Standing("o", "acme", SUBJECT, "okta", "", NOW, 9, "admins")
    done, marks, waited = await follow(
        Pool(), Record([recorded(SUBJECT, group="admins")], [overlay])
    )
    assert [d for d in done if d[0] == "remove_group"] == [
        ("remove_group", "acme-okta_00u1", "admins")
    ] * 2
    assert marks.cleared_with == [9]
    assert SECOND_CLEARING_S in waited


@pytest.mark.parametrize("unreadable", [False, True])
async def test_a_group_taken_from_everybody_is_cleared_in_the_whole_pool_before_a_login_is_believed(
    unreadable: bool,
) -> None:
    everybody = Who(group="admins", provider="acme-okta")
    overlay = Standing("o", "acme", everybody, "okta", "", NOW, 9, "admins")
    pool, record = Pool(), Record([recorded(everybody, group="admins")], [overlay])
    pool.groups = {ALICE: {"admins"}, "acme-okta_bob": {"users"}, "globex-okta_1": {"admins"}}
    pool.unreadable = {ALICE} if unreadable else set()
    done, marks, _ = await follow(pool, record)
    assert done == [("remove_group", ALICE, "admins")], "though nobody of them was signed in"
    assert (marks.cleared_with, record.cleared) == (([], []) if unreadable else ([9], ["o"]))


async def test_an_address_that_two_people_have_disables_neither() -> None:
    who = Who(email="bob@acme.com", provider="acme-okta")
    done, _, _ = await follow(
        Pool(addresses={"bob@acme.com": ("acme-okta_1", "acme-okta_2")}),
        Record([recorded(who, "block")], [block(who)]),
    )
    assert done == []


@pytest.mark.parametrize(
    "who",
    [
        Who(email="bob@globex.com"),
        Who(idp_subject="9", provider="globex-entra"),
        Who(idp_subject="9"),
    ],
)
async def test_what_a_tenant_calls_the_pools_own_users_begins_nobodys_name(who: Who) -> None:
    """It is its own business, and may be what another tenant's provider is called."""
    own = tenant(providers=(provider("globex-entra", kind=ProviderKind.COGNITO),))
    done, _, _ = await follow(
        Pool(addresses={"bob@globex.com": ("globex-entra_9",)}),
        Record([recorded(who, "block")], [block(who)]),
        of=own,
    )
    assert done == []


OWN = tenant(
    providers=(provider("acme-okta"), provider("acme-cognito", kind=ProviderKind.COGNITO)),
)
"""A tenant of which the pool's own users may be, too."""
MEMBER, BOTH, FOREIGN, NOBODYS = "bob-own", "bob-both", "bob-globex", "bob-nobodys"
OWN_USERS = {
    MEMBER: ("tenants/acme", "tenants/acme/admins"),
    BOTH: ("tenants/acme", "tenants/globex"),
    FOREIGN: ("tenants/globex",),
    NOBODYS: ("editors",),
}


def own_pool(**more: Any) -> Pool:
    pool = Pool(**more)
    pool.own = OWN_USERS
    return pool


@pytest.mark.parametrize(
    "names",
    [
        lambda name: Who(user=f"sub-{name}"),
        lambda name: Who(idp_subject=f"sub-{name}"),
        lambda name: Who(idp_subject=f"sub-{name}", provider="acme-cognito"),
        lambda _: Who(email="bob@acme.com"),
        lambda _: Who(email="bob@acme.com", provider="acme-cognito"),
    ],
    ids=["sub", "subject", "subject of the provider", "address", "address of the provider"],
)
async def test_a_block_disables_the_pools_own_user_who_is_this_tenants_and_no_other(
    names: Callable[[str], Who],
) -> None:
    for name in OWN_USERS:
        who = names(name)
        done, _, _ = await follow(
            own_pool(addresses={"bob@acme.com": (name,)}),
            Record([recorded(who, "block")], [block(who)]),
            of=OWN,
        )
        done = [step for step in done if step[1] in OWN_USERS]
        assert done == ([("disable", name)] if name == MEMBER else []), name


async def test_whose_sessions_ended_is_left_alone_in_the_pool_if_another_tenants_too() -> None:
    """They were signed in here, and blocked here; the pool would keep them out everywhere."""
    who = Who(email="bob@acme.com")
    for name in OWN_USERS:
        done, _, _ = await follow(
            own_pool(),
            Record([recorded(who, "end_sessions")]),
            of=OWN,
            users={"r1": (name, "acme-okta_1")},
        )
        alone = [] if name in {BOTH, FOREIGN} else [("sign_out", name)]
        assert done == [*alone, ("sign_out", "acme-okta_1")], name


async def test_a_tenant_without_users_of_the_pool_means_none_of_them() -> None:
    who = Who(user=f"sub-{MEMBER}")
    done, _, _ = await follow(own_pool(), Record([recorded(who, "block")], [block(who)]))
    assert done == []


async def test_a_user_of_the_pool_whom_another_block_is_against_stays_disabled() -> None:
    for other in (
        Who(user=f"sub-{MEMBER}"),
        Who(idp_subject=f"sub-{MEMBER}", provider="acme-cognito"),
    ):
        pool = own_pool(disabled=[MEMBER])
        record = Record([], [replace(block(other), id="c")])
        disabled = Disabled(record, DisabledUser("b", "acme", MEMBER))
        done, _, _ = await follow(pool, record, disabled=disabled, of=OWN)
        assert ("enable", MEMBER) not in done, other
        record.standing_now.clear()
        done, _, _ = await follow(pool, record, disabled=disabled, of=OWN)
        assert ("enable", MEMBER) in done, other


async def test_an_address_means_people_of_this_tenants_providers_only() -> None:
    who = Who(email="bob@acme.com")
    done, _, _ = await follow(
        Pool(addresses={"bob@acme.com": ("globex-entra_9", "acme-okta_1")}),
        Record([recorded(who, "block")], [block(who)]),
    )
    assert done == [("disable", "acme-okta_1")]


async def test_an_oid_leads_to_the_pool_user_whose_family_ended() -> None:
    who = Who(oid="o-1", provider="acme-okta")
    done, _, _ = await follow(
        Pool(),
        Record([recorded(who, "block")], [block(who)]),
        users={"r1": ("acme-okta_pairwise",)},
    )
    assert done == [("disable", "acme-okta_pairwise")]


@pytest.mark.parametrize("trouble", [1, 3])
async def test_a_pool_that_does_not_answer_is_asked_again(trouble: int) -> None:
    done, _, waited = await follow(
        Pool(trouble=trouble), Record([recorded(SUBJECT, "block")], [block(SUBJECT)])
    )
    assert done == [("disable", "acme-okta_00u1")]
    assert len([w for w in waited if w > 3 or w == 1.0]) >= trouble


class Held(Pool):
    """A pool whose calls for ``slow`` people end when told, and that counts what is under way."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.slow, self.gate = slow, asyncio.Event()
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def sign_out(self, name: str) -> bool:
        whose = name.partition("_")[0]
        self.under_way[whose] += 1
        self.most[whose] = max(self.most[whose], self.under_way[whose])
        if whose == self.slow:
            await self.gate.wait()
        else:
            await asyncio.sleep(0)
        self.under_way[whose] -= 1
        self.done.append(("sign_out", name))
        return True


def ended(tenant_id: str, number: int, *, at: float = NOW + 1) -> Recorded:
    request = RevocationRequest(
        tenant_id,
        Who(idp_subject=f"{number:05}", provider=f"{tenant_id}-okta"),
        RevocationKind.END_SESSIONS,
        "",
        "okta",
    )
    return Recorded(
        RevocationStatus(f"{tenant_id}{number:05}", request, at, 1.0, (), 1.0, 0),
        "end_sessions",
        7,
        at,
    )


async def test_a_flood_of_one_tenant_and_its_slow_calls_delay_nobody_else_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("MAX_WAITING_OF_TENANT", 20), ("MAX_WAITING", 60)):
        monkeypatch.setattr(cognito_sync, name, value)
    pool, record = (
        Held("acme-okta"),
        Record([ended("acme", n, at=NOW + n / 1000) for n in range(1, 301)]),
    )
    late = ended("acme", 999, at=NOW + 0.0005)
    most = 0

    async def sleep(seconds: float) -> None:
        nonlocal most
        most = max(most, len(people._tasks))
        await asyncio.sleep(0)

    tenants = TenantTable.of(
        [
            tenant(id="acme"),
            tenant(
                id="globex",
                hosts=frozenset({"g.test"}),
                email_domains=frozenset({"g.test"}),
                client_id="g",
            ),
        ]
    )
    people = PoolPeople(
        {"default": cast("Any", pool)},
        cast("Any", record),
        cast("Any", Revoker()),
        cast("Any", Watermarks()),
        Disabled(record),
        table=lambda: tenants,
        clock=lambda: NOW,
        sleep=sleep,
    )
    task = asyncio.create_task(people.run())

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other tasks without a signal of its own
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await until(lambda: pool.under_way["acme-okta"] == PER_TENANT)
        record.recorded += [ended("globex", n, at=NOW + 1) for n in range(10)]
        await until(lambda: len(pool.done) >= 10)
        assert {name for _, name in pool.done} == {f"globex-okta_{n:05}" for n in range(10)}, (
            "though every call for acme still hangs"
        )
        record.recorded.append(late)  # of another process, whose clock is behind
        record.recorded.append(ended("globex", 10, at=NOW + 2))
        await until(lambda: len(pool.done) == 11)
        record.recorded.append(
            ended("globex", 11, at=NOW + 100)
        )  # and from now on nobody looks back so far
        await until(lambda: len(pool.done) == 12)
        pool.gate.set()
        await until(lambda: len(pool.done) >= 313)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert Counter(pool.done).most_common(1)[0][1] == 1, "none twice"
    assert len(pool.done) == 313
    assert pool.most["acme-okta"] == PER_TENANT
    assert most <= 20 + 10


async def test_places_are_taken_in_turn_and_given_back_by_who_goes_away() -> None:
    turns, order = Turns(1, per_tenant=1), []

    async def work(tenant_id: str) -> None:
        async with turns.place(tenant_id):
            order.append(tenant_id)
            await asyncio.sleep(0)

    async with turns.place("x"):
        waiting = [asyncio.create_task(work(name)) for name in ("a", "a", "a", "b", "c", "b")]
        gone = asyncio.create_task(work("d"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c", "a", "b", "a"]
    granted = asyncio.create_task(work("e"))
    await asyncio.sleep(0)
    granted.cancel()  # holds the place already
    await asyncio.gather(granted, return_exceptions=True)
    async with asyncio.timeout(5), turns.place("f"):
        pass


@pytest.mark.parametrize("kind", ["block", "end_sessions"])
@pytest.mark.parametrize("name", ["Facebook_1", "signinwithapple_1", "LoginWithAmazon_1"])
async def test_a_user_of_a_shared_provider_is_left_alone(name: str, kind: str) -> None:
    """They may be another tenant's too: what ends here is ended by the gateway alone."""
    who = Who(user="sub-1")
    facebook = provider("acme-facebook", kind=ProviderKind.FACEBOOK)
    done, _, _ = await follow(
        Pool(),
        Record([recorded(who, kind)], [block(who)] if kind == "block" else []),
        of=tenant(providers=(provider(), facebook)),
        users={"r1": (name, "acme-okta_9")},
    )
    assert {user for _, user in done} <= {"acme-okta_9"}
