"""One person in two user pools: what keeps them out reaches every name of theirs, and what is
lifted is lifted by every name and of nobody else.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.cognito.api import CognitoRejectedError
from gateway.cognito.users import FederatedIdentity, FederatedUser
from gateway.core.model import Identity, ProviderKind
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.revocation.across_pools import PersonNames, RevokerAcrossPools
from gateway.revocation.api import IMPOSED_BY_OPERATORS, moved_source
from gateway.revocation.records import SqlRevocations
from gateway.revocation.service import StoreRevoker, Uncached
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.watermarks import Watermarks
from tests.core.build import provider, tenant
from tests.sessions.conftest import HOST, Login

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.database.engine import Database
    from gateway.keys import ring as keys
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.store import RedisSessions

OKTA, SAML = "acme-okta", "acme-saml"


def identity(
    *,
    sub: str,
    idp_subject: str,
    provider: str,
    email: str = "alice@acme.test",
    groups: tuple[str, ...] = ("users",),
) -> Identity:
    return Identity(
        sub=sub,
        email=email,
        email_domain="acme.test",
        username=f"{provider}_{idp_subject}",
        preferred_username="",
        name="",
        groups=groups,
        roles=(),
        provider=provider,
        idp_subject=idp_subject,
    )


async def log_in(login: Login, who: Identity) -> SessionCreated | SessionRefused:
    return await login.sessions.finish_login(login.new(await login.begin(), identity=who))


class Users:
    """Of one pool: by user name."""

    def __init__(self, **users: FederatedUser) -> None:
        self.by_name = {name.replace("__", "_", 1): user for name, user in users.items()}
        self.refuses = False
        self.asked = 0

    async def usernames_of_sub(self, sub: str) -> tuple[str, ...]:
        self.asked += 1
        if self.refuses:
            raise CognitoRejectedError("AccessDeniedException", "not allowed")
        return tuple(name for name, user in self.by_name.items() if user.sub == sub)

    async def usernames(self, email: str) -> tuple[str, ...]:
        return tuple(name for name, user in self.by_name.items() if user.email == email)

    async def federated(self, username: str) -> FederatedUser | None:
        return self.by_name.get(username)


def user(sub: str, *subjects: tuple[str, str], email: str = "alice@acme.test") -> FederatedUser:
    return FederatedUser(sub, email, tuple(FederatedIdentity(*each) for each in subjects))


class Pools:
    """Alice and Bob by OpenID Connect, Carol by SAML with a NameID for each pool."""

    def __init__(self) -> None:
        self.of_tenant: tuple[str, ...] = ("second", "default")
        self.default, self.second = Users(), Users()
        for pool, at in ((self.default, "a"), (self.second, "b")):
            pool.by_name = {
                f"{OKTA}_00u1": user(f"alice-{at}", (OKTA, "00u1")),
                f"{OKTA}_00u2": user(f"bob-{at}", (OKTA, "00u2"), email="bob@acme.test"),
                f"{SAML}_n{at}": user(f"carol-{at}", (SAML, f"n{at}"), email="carol@acme.test"),
                "other-okta_00u1": user(f"elsewhere-{at}", ("other-okta", "00u1")),
            }

    async def pools_of(self, tenant: str) -> tuple[str, ...]:
        return self.of_tenant


@pytest.fixture
def pools() -> Pools:
    return Pools()


@pytest.fixture
async def revoker(
    redis: RedisClient, ring: keys.KeyRing, database: Database, pools: Pools
) -> AsyncIterator[RevokerAcrossPools]:
    record = SqlRevocations(database)
    inner = StoreRevoker(
        Watermarks(redis, lambda: ring),
        record,
        Uncached(),
        clock=time.time,
        monotonic=time.monotonic,
    )
    acme = tenant(
        providers=(provider(name=OKTA), provider(name=SAML, kind=ProviderKind.SAML)),
    )
    table = TenantTable.of([acme])
    names = PersonNames(
        cast("Any", {"default": pools.default, "second": pools.second}), pools, lambda: table
    )
    yield RevokerAcrossPools(inner, record, names)
    await inner.close()


def block(who: Who, *, source: str = "okta", group: str | None = None) -> RevocationRequest:
    kind = RevocationKind.BLOCK if group is None else RevocationKind.END_SESSIONS
    return RevocationRequest("acme", who, kind, "left", source, group_overlay=group)


async def standing(revoker: RevokerAcrossPools) -> set[tuple[str, Who]]:
    return {(s.source, s.who) for s in await revoker.record.standing("acme")}


async def test_a_user_is_blocked_by_what_both_pools_call_them(
    revoker: RevokerAcrossPools, login: Login
) -> None:
    status = await revoker.revoke(block(Who(user="alice-a")))
    assert status.request.who == Who(user="alice-a")
    assert await standing(revoker) == {
        ("okta", Who(user="alice-a")),
        ("moved:okta", Who(idp_subject="00u1", provider=OKTA)),
    }
    in_the_other_pool = identity(sub="alice-b", idp_subject="00u1", provider=OKTA)
    assert isinstance(await log_in(login, in_the_other_pool), SessionRefused)
    somebody = identity(sub="bob-b", idp_subject="00u2", provider=OKTA, email="bob@acme.test")
    assert isinstance(await log_in(login, somebody), SessionCreated)


async def test_a_session_of_either_pool_ends_by_the_name_of_the_other(
    revoker: RevokerAcrossPools, sessions: RedisSessions, login: Login
) -> None:
    stored = [
        await log_in(login, identity(sub=f"alice-{at}", idp_subject="00u1", provider=OKTA))
        for at in ("a", "b")
    ]
    request = replace(block(Who(user="alice-b")), kind=RevocationKind.END_SESSIONS)
    await revoker.revoke(request)
    for each in stored:
        assert isinstance(each, SessionCreated)
        assert await sessions.find(each.cookie.reveal(), host=HOST) is None
    assert await standing(revoker) == set()


@pytest.mark.parametrize("who", [Who(user="carol-a"), Who(idp_subject="na", provider=SAML)])
async def test_whom_another_pool_may_know_by_another_subject_is_blocked_by_address_too(
    revoker: RevokerAcrossPools, who: Who, login: Login
) -> None:
    await revoker.revoke(block(who))
    blocked = {each for source, each in await standing(revoker) if source == "moved:okta"}
    assert Who(email="carol@acme.test", provider=SAML) in blocked
    at_b = identity(sub="carol-b", idp_subject="nb", provider=SAML, email="carol@acme.test")
    assert isinstance(await log_in(login, at_b), SessionRefused)


async def test_a_lift_of_one_name_lifts_all_and_nothing_of_anybody_else(
    revoker: RevokerAcrossPools,
) -> None:
    alice, subject = Who(user="alice-a"), Who(idp_subject="00u1", provider=OKTA)
    await revoker.revoke(block(alice, source="scim:0123"))
    await revoker.revoke(block(subject, source="entra"))
    await revoker.revoke(block(Who(user="bob-a"), source="scim:0123"))
    before = await standing(revoker)
    await revoker.lift(block(alice, source="okta"))
    assert await standing(revoker) == before, "another source lifts nothing of it"
    await revoker.lift(block(alice, source="scim:0123"))
    assert {who for source, who in await standing(revoker) if source != "entra"} == {
        Who(user="bob-a"),
        Who(idp_subject="00u2", provider=OKTA),
    }
    assert ("entra", subject) in await standing(revoker)


async def test_by_the_name_that_followed_an_operator_lifts_what_it_followed(
    revoker: RevokerAcrossPools,
) -> None:
    await revoker.revoke(block(Who(user="bob-a"), source="okta"))
    others = await standing(revoker)
    await revoker.revoke(block(Who(user="alice-a"), source="okta"))
    await revoker.lift(block(Who(idp_subject="00u1", provider=OKTA), source="admin"))
    assert await standing(revoker) == others
    assert await revoker.carry("acme", moved=True) == 0


async def test_two_blocks_of_one_source_share_a_further_name_until_the_last_is_lifted(
    revoker: RevokerAcrossPools,
) -> None:
    for sub in ("alice-a", "alice-b"):
        await revoker.revoke(block(Who(user=sub)))
    await revoker.lift(block(Who(user="alice-a")))
    assert await standing(revoker) == {
        ("okta", Who(user="alice-b")),
        ("moved:okta", Who(idp_subject="00u1", provider=OKTA)),
    }
    await revoker.lift(block(Who(user="alice-b")))
    assert await standing(revoker) == set()


@pytest.mark.parametrize("group", [None, "editors"])
async def test_a_further_name_stands_as_long_as_what_it_follows_whatever_cognito_knows(
    revoker: RevokerAcrossPools, pools: Pools, group: str | None
) -> None:
    by_sub = block(Who(user="alice-a"), source="admin", group=group)
    await revoker.revoke(by_sub)
    await revoker.revoke(block(Who(email="alice@acme.test"), source="admin"))
    kept = ("moved:admin", Who(idp_subject="00u1", provider=OKTA))
    del pools.default.by_name[f"{OKTA}_00u1"]
    await revoker.lift(block(Who(email="alice@acme.test"), source="admin"))
    assert await standing(revoker) == {("admin", Who(user="alice-a")), kept}
    pools.default.refuses = pools.second.refuses = True
    await revoker.lift(by_sub)
    assert await standing(revoker) == set()


async def test_an_address_of_two_people_is_lifted_without_what_keeps_out_either(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    for pool, at in ((pools.default, "a"), (pools.second, "b")):
        pool.by_name[f"{SAML}_d{at}"] = user(
            f"dave-{at}", (SAML, f"d{at}"), email="carol@acme.test"
        )
    carol, dave = block(Who(user="carol-a")), block(Who(user="dave-a"))
    for each in (carol, dave):
        await revoker.revoke(each)
    address = Who(email="carol@acme.test", provider=SAML)
    before = await standing(revoker)
    await revoker.lift(replace(carol, who=address, source="admin"))
    assert await standing(revoker) == before - {("moved:okta", address)}
    for each in (carol, dave):
        await revoker.lift(each)
    assert await standing(revoker) == set()


@pytest.mark.parametrize("who", [Who(user="carol-a"), Who(idp_subject="na", provider=SAML)])
async def test_an_address_of_one_person_lifts_what_keeps_them_out(
    revoker: RevokerAcrossPools, who: Who
) -> None:
    for each in {who, Who(user="carol-a")}:
        await revoker.revoke(block(each))
    await revoker.lift(block(Who(email="carol@acme.test", provider=SAML), source="admin"))
    assert await standing(revoker) == set()


async def test_what_is_lifted_while_its_further_names_are_looked_up_leaves_nothing(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    async def pools_of(_tenant: str) -> tuple[str, ...]:
        await revoker.revoker.lift(block(Who(user="alice-a")))
        return pools.of_tenant

    pools.pools_of = pools_of  # type: ignore[method-assign, assignment]  # somebody lifts it at that moment
    await revoker.revoke(block(Who(user="alice-a")))
    assert await standing(revoker) == set()


@pytest.mark.parametrize("group", [None, "editors"])
async def test_what_another_block_has_begun_to_need_is_not_lifted_as_left_over(
    revoker: RevokerAcrossPools, group: str | None
) -> None:
    first, second = (block(Who(user=f"alice-{at}"), group=group) for at in "ab")
    await revoker.revoke(first)
    await revoker.revoker.lift(first)
    stale = await revoker.record.orphans("acme")
    await revoker.revoker.revoke(second)
    (origin,) = [s for s in await revoker.record.standing("acme") if s.who == second.who]
    subject = Who(idp_subject="00u1", provider=OKTA)
    further = replace(second, who=subject, source="moved:okta", follows=origin.id)
    await revoker.revoker.revoke(further)
    (orphan,) = stale
    late = await revoker.revoker.lift(replace(further, follows=orphan.follows[0]))
    assert late.lifted == 0
    assert ("moved:okta", subject) in await standing(revoker)
    marks = revoker.revoker.revocation_keys(further)
    stands = revoker.revoker._watermarks.stands(
        "acme", marks if group is None else replace(marks, marks=())
    )
    assert await stands, "in the store, too"


async def test_what_stood_before_the_move_is_carried_once_and_a_taken_group_ends_no_session(
    revoker: RevokerAcrossPools, sessions: RedisSessions, login: Login
) -> None:
    await revoker.revoker.revoke(block(Who(user="alice-a")))
    await revoker.revoker.revoke(block(Who(user="bob-a"), group="editors"))
    bob = identity(sub="bob-a", idp_subject="00u2", provider=OKTA, email="bob@acme.test")
    stored = await log_in(login, replace(bob, groups=("editors", "users")))
    assert isinstance(stored, SessionCreated)
    assert await revoker.carry("acme", moved=False) == 2
    assert await revoker.carry("acme", moved=False) == 0
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is not None
    there = await log_in(login, replace(bob, sub="bob-b", groups=("editors", "users")))
    assert isinstance(there, SessionCreated)
    found = await sessions.find(there.cookie.reveal(), host=HOST)
    assert found is not None
    assert found.identity.groups == ("users",)
    alice = identity(sub="alice-b", idp_subject="00u1", provider=OKTA)
    assert isinstance(await log_in(login, alice), SessionRefused)


async def test_a_process_that_ended_between_two_names_is_made_up_for(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    await revoker.revoker.revoke(block(Who(user="alice-a")))
    assert await revoker.carry("acme", moved=True) == 1
    asked = pools.default.asked
    assert await revoker.carry("acme", moved=True) == 0
    assert pools.default.asked == asked, "what is known to be carried is not asked for again"


async def test_a_pool_that_refuses_fails_what_was_asked_after_it_is_on_record(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    pools.second.refuses = True
    with pytest.raises(UnavailableError, match="user pool second does not say who that is"):
        await revoker.revoke(block(Who(user="alice-a")))
    assert ("okta", Who(user="alice-a")) in await standing(revoker)


async def test_a_pool_that_the_tenant_left_may_go_and_one_that_it_is_in_may_not(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    pools.of_tenant = ("default", "gone")
    await revoker.revoke(block(Who(user="alice-a")))
    assert ("moved:okta", Who(idp_subject="00u1", provider=OKTA)) in await standing(revoker)
    only = {"second": pools.second, "third": Users()}
    names = replace(revoker.names, users=cast("Any", only))
    with pytest.raises(UnavailableError, match=r"default is not in cognito\.pools"):
        await replace(revoker, names=names).revoke(block(Who(user="alice-a")))


async def test_a_subject_that_is_the_same_in_every_pool_is_asked_of_none(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    """So that what an identity provider says does not hang on Cognito."""
    pools.default.refuses = pools.second.refuses = True
    subject = Who(idp_subject="00u1", provider=OKTA)
    await revoker.revoke(block(subject))
    assert await standing(revoker) == {("okta", subject)}


async def test_a_tenant_of_one_pool_asks_cognito_nothing(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    pools.of_tenant = ("default",)
    await revoker.revoke(block(Who(user="alice-a")))
    await revoker.lift(block(Who(user="alice-a")))
    assert (pools.default.asked, pools.second.asked) == (0, 0)


async def test_the_pool_is_read_after_what_was_asked_is_on_record(
    revoker: RevokerAcrossPools, pools: Pools
) -> None:
    """A move that begins meanwhile finds one of the two."""
    seen: list[set[tuple[str, Who]]] = []

    async def pools_of(_tenant: str) -> tuple[str, ...]:
        seen.append(await standing(revoker))
        return ("default",)

    pools.pools_of = pools_of  # type: ignore[method-assign, assignment]  # looks at the record at that moment
    await revoker.revoke(block(Who(user="alice-a")))
    assert seen == [{("okta", Who(user="alice-a"))}]


def test_a_source_fits_into_the_record() -> None:
    assert moved_source("admin") == "moved:admin"
    assert "moved:admin" in IMPOSED_BY_OPERATORS, "a tenant's own key does not lift it"
    assert len(moved_source(f"scim:{'0' * 32}")) <= 40


async def test_the_rest_is_the_revokers(revoker: RevokerAcrossPools) -> None:
    status = await revoker.revoke(block(Who(user="alice-a")))
    assert await revoker.status(status.id) == status
    assert not await revoker.exempt(block(Who(idp_subject="00u1"), group="editors"))
    streamed = revoker.stream()
    assert isinstance(streamed, type(revoker.revoker.stream()))
    await streamed.aclose()
