"""Users of the pool of one tenant: who is seen, what is done to them, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from demo.cognito.passwords import Outcome, check_password, conforms
from demo.cognito.pool import Group
from gateway.cognito.api import CognitoRejectedError, UnansweredError, open_cognito
from gateway.cognito.own_users import OwnUsers, temporary_password
from gateway.cognito.pool import Pool
from gateway.cognito.pool_users import read_settings
from gateway.cognito.users import CognitoUsers
from gateway.core.model import ProviderKind
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.database.engine import open_database
from gateway.errors import UnavailableError
from gateway.provisioning.creations import Creations
from gateway.provisioning.invitations import MAX_GROUPS
from gateway.provisioning.member_changes import MemberChanges, Members
from gateway.provisioning.members import Caller, Changed, Member, MemberDirectory, NewMember
from gateway.revocation.api import OPERATORS, Standing
from gateway.tenants.api import Rejected
from tests.core.build import provider, tenant
from tests.database.fixtures import database_keys
from tests.database.template import config_with, embedded_database
from tests.demo.conftest import clock, cloud
from tests.provisioning.bench import READ_S, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from demo.cognito.pool import Pool as StandIn
    from demo.cognito.pool import User

__all__ = ["clock", "cloud"]
OPERATOR, BOUND = Caller("admin", sees_all=True), Caller("tenant", sees_all=False)
ACME = tenant(
    email_domains=frozenset({"acme.com"}),
    providers=(
        provider(
            "acme-cognito",
            kind=ProviderKind.COGNITO,
            domains=frozenset({"acme.com"}),
            members_group="tenants/acme",
        ),
    ),
)


@dataclass(slots=True)
class Gateway:
    """The revoker, and what it does in the pool. Remembers, and what the pool was like then."""

    pool: StandIn
    done: list[tuple[str, str, bool]] = field(default_factory=list)
    """Kind, sub, and whether they could still sign in."""
    told: list[bool] = field(default_factory=list)
    blocks: dict[str, set[str]] = field(default_factory=dict)
    """Of a sub: who imposed what stands against it."""
    down: bool = False

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        if self.down:
            raise UnavailableError("Redis is down")
        sub = request.who.user or ""
        user = next((u for u in self.pool.users.values() if u.sub == sub), None)
        member = user is not None and user.enabled and "tenants/acme" in user.groups
        can = member and user is not None and user.own_status == "CONFIRMED"
        self.done.append((str(request.kind), sub, can))
        self.told.append(request.by_hand)
        if request.kind is RevocationKind.BLOCK:
            self.blocks.setdefault(sub, set()).add(request.source)
        return RevocationStatus("r1", request, 1.0, 1.0, (), 2.0, 1)

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        """As the record does it: an operator's lift is of everything, another's of its own."""
        blocks = self.blocks.get(request.who.user or "", set())
        blocks -= set(blocks) if request.source in OPERATORS else {request.source}
        self.told.append(request.by_hand)
        return RevocationStatus("r2", request, 1.0, 1.0, (), 2.0, 0, lifted=1)

    async def disable_now(self, request: RevocationRequest, username: str, *, pool: str) -> None:
        assert pool == "default"
        assert request.source in self.blocks[request.who.user or ""]
        self.pool.users[username].enabled = False

    async def blocks_of(
        self, tenant: str, *, sub: str, email: str, provider: str
    ) -> Sequence[Standing]:
        assert (tenant, provider) == ("acme", "acme-cognito")
        return [
            Standing(source, "acme", Who(user=sub), source, "", 1.0, 1)
            for source in self.blocks.get(sub, ())
        ]


@pytest.fixture
def pool(cloud: DemoCloud) -> StandIn:
    pool = cloud.cognito.pool
    for name in ("tenants/acme", "tenants/acme/admins", "tenants/globex"):
        pool.groups[name] = Group(name, "", 1.0)
    return pool


@pytest.fixture
def gateway(pool: StandIn) -> Gateway:
    return Gateway(pool)


@pytest.fixture
async def members(
    cloud: DemoCloud, clock: MovableClock, tmp_path: Path, gateway: Gateway
) -> AsyncIterator[MemberChanges]:
    cognito = cloud.cognito
    config = config_for(
        tmp_path,
        endpoint_url=cognito.endpoint_url,
        domain=cognito.url,
        issuer=cognito.issuer,
        pool_id=cognito.pool.pool_id,
    )
    embedded_database(tmp_path / "state")
    database = open_database(config_with(tmp_path / "state"), database_keys())
    await database.prepare()
    async with open_cognito(config, read_s=READ_S, per_second=1000.0) as api:
        directory = MemberDirectory(
            Pool(api, config.cognito.quotas),
            CognitoUsers(api),
            OwnUsers(api),
            cast("Any", gateway),
            Creations(database, "default", clock),
            {"acme": ACME, "okta": tenant(id="okta")}.get,
        )
        yield MemberChanges(directory, cast("Any", gateway))
    await database.close()


def add(pool: StandIn, name: str, *groups: str, status: str = "CONFIRMED", **more: str) -> User:
    attributes = {"email": f"{name}@acme.com", "email_verified": "true", **more}
    user = pool.add_user(f"{name}@acme.com", password="Passw0rd-1", **attributes)
    user.groups, user.own_status = [f"tenants/{group}" for group in groups], status
    return user


def new(email: str = "new@acme.com", **more: Any) -> NewMember:
    values = {"name": "", "username": "", "groups": (), "by_mail": False, "adopt": False}
    return NewMember(email, **{**values, **more})


async def listed(members: MemberChanges, by: Caller, **more: Any) -> list[str]:
    page = await members.directory.page(
        "acme", **{"email": None, "token": None, "limit": 20} | more, by=by
    )
    assert not isinstance(page, Rejected)
    return [m.user.sub for m in page.members]


def changed(outcome: Changed | Rejected) -> Changed:
    assert isinstance(outcome, Changed), outcome
    return outcome


CHANGES: dict[str, Callable[[MemberChanges, str, Caller], Awaitable[Changed | Rejected]]] = {
    "invite": lambda m, sub, by: m.invitations.invite("acme", sub, by_mail=False, by=by),
    "disable": lambda m, sub, by: m.disable("acme", sub, reason="left", by=by),
    "enable": lambda m, sub, by: m.enable("acme", sub, by=by),
    "reset": lambda m, sub, by: m.reset("acme", sub, by=by),
    "groups": lambda m, sub, by: m.set_groups("acme", sub, (), by=by),
    "remove": lambda m, sub, by: m.remove("acme", sub, by=by),
    "delete": lambda m, sub, by: m.delete("acme", sub, by=by),
}


# --- who is seen --------------------------------------------------------------------------------


async def test_nobody_of_another_tenant_is_listed_found_or_touched(
    members: MemberChanges, pool: StandIn, gateway: Gateway
) -> None:
    mine = add(pool, "mine", "acme", "acme/admins")
    foreign = [
        add(pool, "globex", "globex"),
        add(pool, "named", "acme/admins"),
        add(pool, "nobody"),
        add(pool, "both", "acme", "globex"),
    ]
    federated = add(pool, "federated", "acme")
    federated.provider = "acme-okta"
    assert await listed(members, BOUND) == [mine.sub]
    for user in [*foreign, federated]:
        assert await listed(members, BOUND, email=user.attributes["email"]) == []
        for name in (user.sub, user.username):
            found = await members.directory.find("acme", name, by=BOUND)
            assert found == Rejected("not_found", ""), user.username
            for verb, change in CHANGES.items():
                outcome = await change(members, name, BOUND)
                assert outcome == Rejected("not_found", ""), (verb, user.username)
        assert user.enabled
    assert gateway.done == []
    found = await members.directory.find("acme", mine.sub, by=BOUND)
    assert isinstance(found, Member)
    assert (found.groups, found.shared) == (("admins",), False)


async def test_who_is_two_tenants_is_shown_to_an_operator_and_only_taken_out(
    members: MemberChanges, pool: StandIn, gateway: Gateway
) -> None:
    both = add(pool, "both", "acme", "acme/admins", "globex")
    found = await members.directory.find("acme", both.sub, by=OPERATOR)
    assert isinstance(found, Member)
    assert (found.shared, found.groups) == (True, ("admins",))
    for verb, change in CHANGES.items():
        if verb != "remove":
            outcome = await change(members, both.sub, OPERATOR)
            assert isinstance(outcome, Rejected), verb
            assert outcome.code == "conflict", verb
    assert gateway.done == []
    assert changed(await members.remove("acme", both.sub, by=OPERATOR)).member is None
    assert both.groups == ["tenants/globex"]


async def test_a_users_name_that_is_anothers_sub_leads_to_the_other(
    members: MemberChanges, pool: StandIn
) -> None:
    mine, trap = add(pool, "mine", "acme"), add(pool, "trap", "globex")
    del pool.users[trap.username]
    trap.username = mine.sub
    pool.users[trap.username] = trap
    found = await members.directory.find("acme", mine.sub, by=BOUND)
    assert isinstance(found, Member)
    assert found.user.username == mine.username


async def test_pages_follow_each_other_and_an_address_finds_exactly_its_people(
    members: MemberChanges, pool: StandIn
) -> None:
    users = [add(pool, f"user-{number}", "acme") for number in range(5)]
    pool.behaviour.lists_begin_empty = True
    seen: list[str] = []
    token = None
    while True:
        page = await members.directory.page("acme", email=None, token=token, limit=2, by=BOUND)
        assert not isinstance(page, Rejected)
        seen += [m.user.sub for m in page.members]
        token = page.token
        if token is None:
            break
    assert seen == [user.sub for user in users]
    assert await listed(members, BOUND, email="USER-3@acme.com") == [users[3].sub]
    assert await listed(members, BOUND, email="user-") == []


async def test_a_new_user_is_found_before_lists_show_them(
    members: MemberChanges, pool: StandIn
) -> None:
    pool.behaviour.listed_after_s = 60.0
    made = changed(await members.invitations.create("acme", new(), by=BOUND))
    assert made.member is not None
    assert isinstance(await members.directory.find("acme", made.member.user.sub, by=BOUND), Member)


async def test_a_tenant_without_users_of_the_pool_has_none(members: MemberChanges) -> None:
    for name, code in (("okta", "conflict"), ("nobody", "not_found")):
        for outcome in (
            await members.directory.settings(name),
            await members.directory.find(name, "sub", by=OPERATOR),
            await members.invitations.create(name, new(), by=OPERATOR),
        ):
            assert isinstance(outcome, Rejected)
            assert outcome.code == code


# --- inviting -----------------------------------------------------------------------------------


async def test_who_is_created_signs_in_with_the_password_that_is_shown_once(
    members: MemberChanges, pool: StandIn
) -> None:
    made = changed(
        await members.invitations.create(
            "acme", new("New@ACME.com", name="New", groups=("admins", "editors")), by=BOUND
        )
    )
    assert made.password is not None
    assert made.member is not None
    assert made.password.reveal() not in repr(made)
    (user,) = pool.users.values()
    assert user.sub == made.member.user.sub
    assert sorted(user.groups) == ["tenants/acme", "tenants/acme/admins", "tenants/acme/editors"]
    assert user.attributes == {
        "email": "new@acme.com",
        "email_verified": "true",
        "name": "New",
    }
    assert pool.outbox == []
    outcome, _ = check_password(pool, user.username, made.password.reveal())
    assert outcome is Outcome.NEW_PASSWORD
    again = changed(
        await members.invitations.invite("acme", user.sub, by_mail=False, by=BOUND)
    ).password
    assert again is not None
    assert again.reveal() != made.password.reveal()
    assert check_password(pool, user.username, again.reveal())[0] is Outcome.NEW_PASSWORD


async def test_an_invitation_is_mailed_when_everything_is_in_place_and_shown_to_nobody(
    members: MemberChanges, pool: StandIn
) -> None:
    made = changed(await members.invitations.create("acme", new(by_mail=True), by=BOUND))
    assert made.password is None
    (mail,) = pool.outbox
    assert mail.address == "new@acme.com"
    (user,) = pool.users.values()
    assert user.groups == ["tenants/acme"]
    changed(await members.invitations.invite("acme", user.sub, by_mail=True, by=BOUND))
    assert len(pool.outbox) == 2
    user.own_status = "CONFIRMED"
    refused = await members.invitations.invite("acme", user.sub, by_mail=True, by=BOUND)
    assert isinstance(refused, Rejected)
    assert refused.code == "conflict"


@pytest.mark.parametrize(
    ("operation", "after"),
    [
        ("AdminAddUserToGroup", False),
        ("AdminAddUserToGroup", True),
        ("CreateGroup", False),
        ("AdminCreateUser", False),
    ],
)
async def test_what_fails_on_the_way_leaves_nobody_behind(
    members: MemberChanges, pool: StandIn, cloud: DemoCloud, operation: str, *, after: bool
) -> None:
    cloud.cognito.control.faults.plan(
        operation, faults.fail(ApiError("NotAuthorizedException", "no")), after=after
    )
    with pytest.raises(CognitoRejectedError):
        await members.invitations.create("acme", new(groups=("fresh",)), by=BOUND)
    assert pool.users == {}


async def test_mail_that_cannot_be_sent_leaves_nobody_behind(
    members: MemberChanges, pool: StandIn
) -> None:
    pool.mail_fails = True
    with pytest.raises(CognitoRejectedError):
        await members.invitations.create("acme", new(by_mail=True), by=BOUND)
    assert (pool.users, pool.outbox) == ({}, [])


async def test_a_creation_that_is_not_answered_is_made_once_and_asked_about(
    members: MemberChanges, pool: StandIn, cloud: DemoCloud
) -> None:
    control = cloud.cognito.control
    control.faults.plan("AdminCreateUser", faults.drop_connection, after=True)
    made = changed(await members.invitations.create("acme", new(), by=BOUND))
    assert len(control.calls_of("AdminCreateUser")) == 1
    (user,) = pool.users.values()
    assert made.password is not None
    assert check_password(pool, user.username, made.password.reveal())[0] is Outcome.NEW_PASSWORD
    control.faults.plan("AdminCreateUser", faults.drop_connection)
    with pytest.raises(UnansweredError):
        await members.invitations.create("acme", new("second@acme.com"), by=BOUND)
    assert len(pool.users) == 1


async def test_a_user_that_may_be_somebody_elses_is_not_deleted(
    members: MemberChanges, pool: StandIn, cloud: DemoCloud
) -> None:
    control = cloud.cognito.control
    control.faults.plan("AdminCreateUser", faults.drop_connection, after=True)
    control.faults.plan(
        "AdminAddUserToGroup", faults.fail(ApiError("NotAuthorizedException", "no"))
    )
    with pytest.raises(CognitoRejectedError):
        await members.invitations.create("acme", new(), by=BOUND)
    (user,) = pool.users.values()
    assert user.groups == []


@pytest.mark.parametrize("email", ["x@globex.com", "x@sub.acme.com", "x", "a@b@acme.com", "@"])
async def test_an_address_of_another_domain_is_refused(
    members: MemberChanges, pool: StandIn, email: str
) -> None:
    for by in (BOUND, OPERATOR):
        refused = await members.invitations.create("acme", new(email), by=by)
        assert isinstance(refused, Rejected)
        assert refused.code == "conflict"
    assert pool.users == {}


async def test_somebody_who_is_there_is_not_created_and_adopted_by_an_operator_only(
    members: MemberChanges, pool: StandIn
) -> None:
    there = add(pool, "there")
    for by in (BOUND, OPERATOR):
        refused = await members.invitations.create("acme", new("There@acme.com"), by=by)
        assert isinstance(refused, Rejected)
        assert refused.code == "exists"
    adopt = new("there@acme.com", adopt=True, groups=("admins",))
    assert isinstance(await members.invitations.create("acme", adopt, by=BOUND), Rejected)
    there.attributes["email_verified"] = "false"
    assert isinstance(await members.invitations.create("acme", adopt, by=OPERATOR), Rejected)
    there.attributes["email_verified"] = "true"
    there.groups = ["tenants/globex"]
    assert isinstance(await members.invitations.create("acme", adopt, by=OPERATOR), Rejected)
    there.groups = ["editors"]
    assert changed(await members.invitations.create("acme", adopt, by=OPERATOR)).password is None
    assert there.groups == ["editors", "tenants/acme/admins", "tenants/acme"]


@pytest.mark.parametrize(
    ("settings", "asked", "username"),
    [
        ({}, "", "new@acme.com"),
        ({}, "newton", "newton"),
        ({"AliasAttributes": ["email"]}, "newton", "newton"),
        ({"AliasAttributes": ["email"]}, "", None),
        ({"UsernameAttributes": ["email"]}, "", None),
        ({"UsernameAttributes": ["email"]}, "newton", Rejected),
        ({"UsernameAttributes": ["phone_number"]}, "", Rejected),
    ],
)
async def test_the_user_name_is_what_the_pool_takes(
    members: MemberChanges,
    pool: StandIn,
    settings: dict[str, Any],
    asked: str,
    username: str | type[Rejected] | None,
) -> None:
    pool.settings = settings
    outcome = await members.invitations.create("acme", new(username=asked), by=BOUND)
    if username is Rejected:
        assert isinstance(outcome, Rejected)
        return
    made = changed(outcome).member
    assert made is not None
    assert made.user.username == username or username is None
    assert isinstance(await members.directory.find("acme", made.user.sub, by=BOUND), Member)


@pytest.mark.parametrize("length", [6, 8, 24, 99])
def test_a_temporary_password_satisfies_the_strictest_policy(length: int) -> None:
    kinds = ("Uppercase", "Lowercase", "Numbers", "Symbols")
    policy = {"MinimumLength": length, **{f"Require{kind}": True for kind in kinds}}
    strict = SimpleNamespace(settings={"Policies": {"PasswordPolicy": policy}})
    made = {temporary_password(read_settings(strict.settings)).reveal() for _ in range(20)}
    assert len(made) == 20
    assert {conforms(cast("Any", strict), text) for text in made} == {""}
    assert all(20 <= len(text) <= 99 and text.isascii() for text in made)


# --- taking away --------------------------------------------------------------------------------


async def test_a_disabled_user_is_blocked_first_and_enabled_with_the_lift(
    members: MemberChanges, pool: StandIn, gateway: Gateway
) -> None:
    user = add(pool, "bob", "acme")
    done = changed(await members.disable("acme", user.sub, reason="left", by=BOUND))
    assert gateway.done == [("block", user.sub, True)]
    assert done.status is not None
    assert done.status.request.reason == "left"
    assert done.member is not None
    assert (done.member.blocked, done.member.user.enabled) == (True, False)
    back = changed(await members.enable("acme", user.sub, by=BOUND)).member
    assert back is not None
    assert (back.blocked, back.user.enabled, user.enabled) == (False, True, True)


async def test_whom_another_block_is_against_is_not_enabled(
    members: MemberChanges, pool: StandIn, gateway: Gateway
) -> None:
    user = add(pool, "bob", "acme")
    user.enabled, gateway.blocks = False, {user.sub: {"okta"}}
    refused = await members.enable("acme", user.sub, by=BOUND)
    assert isinstance(refused, Rejected)
    assert (refused.code, user.enabled) == ("conflict", False)


@pytest.mark.parametrize("other", ["admin", "cli", "tenant", "okta"])
@pytest.mark.parametrize("by", [OPERATOR, BOUND], ids=["operator", "bound"])
async def test_enabling_lifts_the_block_of_disabling_and_none_that_somebody_else_imposed(
    members: MemberChanges, pool: StandIn, gateway: Gateway, by: Caller, other: str
) -> None:
    user = add(pool, "bob", "acme")
    changed(await members.disable("acme", user.sub, reason="left", by=by))
    gateway.blocks[user.sub].add(other)
    refused = await members.enable("acme", user.sub, by=by)
    assert isinstance(refused, Rejected)
    assert (refused.code, user.enabled) == ("conflict", False)
    assert "the block of disabling them is lifted, but another" in refused.message
    assert (f"imposed by: {other}" in refused.message) == by.sees_all
    assert gateway.blocks[user.sub] == {other}
    assert gateway.told == [True, False], "to the application they are not back"
    gateway.blocks.clear()
    changed(await members.enable("acme", user.sub, by=by))
    assert user.enabled


@pytest.mark.parametrize("by", [OPERATOR, BOUND], ids=["operator", "bound"])
async def test_what_followed_a_disabled_user_to_another_pool_is_lifted_with_it(
    members: MemberChanges, pool: StandIn, gateway: Gateway, by: Caller
) -> None:
    user = add(pool, "bob", "acme")
    user.enabled, gateway.blocks = False, {user.sub: {"moved:pool-users:tenant"}}
    changed(await members.enable("acme", user.sub, by=by))
    assert (gateway.blocks[user.sub], user.enabled) == (set(), True)


async def test_whom_an_operator_disabled_a_tenants_own_key_does_not_enable(
    members: MemberChanges, pool: StandIn, gateway: Gateway
) -> None:
    user = add(pool, "bob", "acme")
    changed(await members.disable("acme", user.sub, reason="left", by=OPERATOR))
    refused = await members.enable("acme", user.sub, by=BOUND)
    assert isinstance(refused, Rejected)
    assert (gateway.blocks[user.sub], user.enabled) == ({"pool-users:operator"}, False)
    changed(await members.disable("acme", user.sub, reason="left", by=BOUND))
    changed(await members.enable("acme", user.sub, by=OPERATOR))
    assert (gateway.blocks[user.sub], user.enabled) == (set(), True)


@pytest.mark.parametrize("verb", ["reset", "groups", "remove", "delete"])
async def test_sessions_end_before_and_after_what_takes_something_away(
    members: MemberChanges, pool: StandIn, gateway: Gateway, verb: str
) -> None:
    user = add(pool, "bob", "acme", "acme/admins")
    done = changed(await CHANGES[verb](members, user.sub, BOUND))
    still = verb == "groups"
    assert gateway.done == [("end_sessions", user.sub, True), ("end_sessions", user.sub, still)]
    assert gateway.told == [False, True], "the application hears of it once"
    assert (done.member is None) == (verb in {"remove", "delete"})
    assert done.status is not None


@pytest.mark.parametrize("verb", ["disable", "reset", "groups", "remove", "delete"])
async def test_what_cannot_be_acknowledged_is_not_done_in_the_pool(
    members: MemberChanges, pool: StandIn, gateway: Gateway, verb: str
) -> None:
    """And done when it is asked for again."""
    user = add(pool, "bob", "acme", "acme/admins")
    gateway.down = True
    with pytest.raises(UnavailableError):
        await CHANGES[verb](members, user.sub, BOUND)
    assert user.username in pool.users
    assert (user.enabled, user.own_status) == (True, "CONFIRMED")
    assert user.groups == ["tenants/acme", "tenants/acme/admins"]
    gateway.down = False
    changed(await CHANGES[verb](members, user.sub, BOUND))


async def test_groups_become_exactly_those_named_and_new_ones_are_made(
    members: MemberChanges, pool: StandIn, gateway: Gateway
) -> None:
    user = add(pool, "bob", "acme", "acme/admins")
    user.groups.append("editors")
    done = changed(await members.set_groups("acme", user.sub, ("admins", "a/b"), by=BOUND))
    assert done.status is None
    assert gateway.done == [], "what is added ends nothing"
    assert sorted(user.groups) == [
        "editors",
        "tenants/acme",
        "tenants/acme/a/b",
        "tenants/acme/admins",
    ]
    done = changed(await members.set_groups("acme", user.sub, ("a/b",), by=BOUND))
    assert done.member is not None
    assert done.member.groups == ("a/b",)
    assert sorted(user.groups) == ["editors", "tenants/acme", "tenants/acme/a/b"]
    assert len(gateway.done) == 2


async def test_groups_of_a_tenant_are_bounded(members: MemberChanges, pool: StandIn) -> None:
    user = add(pool, "bob", "acme")
    for number in range(MAX_GROUPS - 1):  # beside admins
        name = f"tenants/acme/{number}"
        pool.groups[name] = Group(name, "", 1.0)
    refused = await members.set_groups("acme", user.sub, ("one-more",), by=BOUND)
    assert isinstance(refused, Rejected)
    assert refused.code == "quota_reached"
    assert "tenants/acme/one-more" not in pool.groups
    changed(await members.set_groups("acme", user.sub, ("7",), by=BOUND))
    long = await members.set_groups("acme", user.sub, ("x" * 120,), by=BOUND)
    assert isinstance(long, Rejected)


async def test_a_reset_password_opens_nothing_and_a_code_is_sent(
    members: MemberChanges, pool: StandIn
) -> None:
    user = add(pool, "bob", "acme")
    changed(await members.reset("acme", user.sub, by=BOUND))
    assert check_password(pool, user.username, "Passw0rd-1")[0] is Outcome.RESET_REQUIRED
    assert [mail.kind for mail in pool.outbox] == ["reset"]
    invited = add(pool, "eve", "acme", status="FORCE_CHANGE_PASSWORD")
    refused = await members.reset("acme", invited.sub, by=BOUND)
    assert isinstance(refused, Rejected)
    assert refused.code == "conflict"


async def test_a_members_group_that_is_gone_is_said(members: MemberChanges, pool: StandIn) -> None:
    del pool.groups["tenants/acme"]
    for outcome in (
        await members.directory.page("acme", email=None, token=None, limit=20, by=BOUND),
        await members.invitations.create("acme", new(), by=BOUND),
    ):
        assert isinstance(outcome, Rejected)
        assert "provision verify acme --fix" in outcome.message
    assert pool.users == {}


def test_a_tenants_users_are_those_of_the_pool_it_lives_in() -> None:
    """One of the same name in another pool is another person."""
    tenants = {"acme": ACME, "globex": tenant(id="globex", pool="second")}
    tenants["gone"] = tenant(id="gone", pool="third")
    first, second = cast("MemberChanges", object()), cast("MemberChanges", object())
    members = Members({"default": first, "second": second}, tenants.get)
    assert members.of("acme") is first
    assert members.of("globex") is second
    with pytest.raises(UnavailableError, match="third is not in"):
        members.of("gone")
