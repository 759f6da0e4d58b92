"""Users of the pool whose creation was interrupted: who finishes them, and who does not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from demo.cognito.passwords import Outcome, check_password
from demo.cognito.pool import Group
from gateway.cognito.api import CognitoRejectedError, UnansweredError, open_cognito
from gateway.cognito.own_users import OwnUsers
from gateway.cognito.pool import Pool
from gateway.cognito.users import CognitoUsers
from gateway.core.model import ProviderKind
from gateway.errors import UnavailableError
from gateway.provisioning.creations import EMPTY_S, HOLD_S, Creations, interrupted
from gateway.provisioning.invitations import Invitations
from gateway.provisioning.members import MemberDirectory
from gateway.tenants.api import Rejected
from tests.core.build import provider, tenant
from tests.demo.conftest import clock, cloud
from tests.provisioning.bench import READ_S, config_for
from tests.provisioning.test_members import BOUND, OPERATOR, add, changed, new

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from demo.cognito.pool import Pool as StandIn
    from gateway.database.engine import Database

__all__ = ["clock", "cloud"]
TENANTS = {
    name: tenant(
        id=name,
        email_domains=frozenset({"acme.com"}),
        providers=(
            provider(
                f"{name}-cognito",
                kind=ProviderKind.COGNITO,
                domains=frozenset({"acme.com"}),
                members_group=f"tenants/{name}",
            ),
        ),
    )
    for name in ("acme", "globex")
}
CHANGES = {"AdminCreateUser", "AdminSetUserPassword", "AdminAddUserToGroup", "CreateGroup"}
WRITES = {"begin", "take", "learn", "settle", "release", "hold"}


class Killed(BaseException):
    """The process ended: nothing after it runs."""


@dataclass(slots=True)
class Death:
    """Of the process, before or after a write or a call: the ``at``-th of these moments."""

    at: int | None = None
    passed: list[str] = field(default_factory=list)

    def moment(self, name: str) -> None:
        self.passed.append(name)
        if self.at == len(self.passed):
            raise Killed(name)


class Mortal:
    """Whatever it stands for, until the process ends."""

    def __init__(self, real: Any, death: Death, names: set[str]) -> None:
        self._real, self._death, self._names = real, death, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name != "call" and name not in self._names:
            return found

        async def asked(*args: Any, **more: Any) -> Any:
            what = args[0] if name == "call" else name
            if what not in self._names:
                return await found(*args, **more)
            self._death.moment(f"before {what}")
            answer = await found(*args, **more)
            self._death.moment(f"after {what}")
            return answer

        return asked


@pytest.fixture
def pool(cloud: DemoCloud) -> StandIn:
    pool = cloud.cognito.pool
    for name in ("tenants/acme", "tenants/globex"):
        pool.groups[name] = Group(name, "", 1.0)
    return pool


@pytest.fixture
def death() -> Death:
    return Death()


@pytest.fixture
async def invitations(
    cloud: DemoCloud, clock: MovableClock, tmp_path: Path, database: Database, death: Death
) -> AsyncIterator[Invitations]:
    cognito = cloud.cognito
    config = config_for(
        tmp_path,
        endpoint_url=cognito.endpoint_url,
        domain=cognito.url,
        issuer=cognito.issuer,
        pool_id=cognito.pool.pool_id,
    )
    async with open_cognito(config, read_s=READ_S, per_second=1000.0) as api:
        mortal = cast("Any", Mortal(api, death, CHANGES))
        directory = MemberDirectory(
            Pool(api, config.cognito.quotas),
            CognitoUsers(mortal),
            OwnUsers(mortal),
            cast("Any", None),
            cast("Any", Mortal(Creations(database, "default", clock), death, WRITES)),
            TENANTS.get,
        )
        yield Invitations(directory)


async def refused(invitations: Invitations, tenant: str, address: str, **more: Any) -> str:
    """The code."""
    by = OPERATOR if more.get("adopt") else BOUND
    outcome = await invitations.create(tenant, new(address, **more), by=by)
    assert isinstance(outcome, Rejected), outcome
    return outcome.code


async def left(database: Database, clock: MovableClock, tenant: str = "acme") -> list[str]:
    return [c.address for c in await interrupted(database, tenant, now=clock())]


async def test_whenever_the_process_ends_the_tenant_asks_again_and_nobody_else_gets_the_user(
    invitations: Invitations,
    pool: StandIn,
    database: Database,
    clock: MovableClock,
    death: Death,
) -> None:
    changed(await invitations.create("acme", new("probe@acme.com", groups=("admins",)), by=BOUND))
    moments = list(death.passed)
    assert moments[:6] == [
        f"{side} {what}"
        for what in ("begin", "AdminCreateUser", "learn")
        for side in ("before", "after")
    ]
    # With the group there, nothing but its creation is left out.
    moments = [m for m in moments if "CreateGroup" not in m]
    for number, moment in enumerate(moments, 1):
        address = f"u{number}@acme.com"
        death.at, death.passed = number, []
        with pytest.raises(Killed, match=moment):
            await invitations.create("acme", new(address, groups=("admins",)), by=BOUND)
        death.at = None
        begun, settled = moment != "before begin", moment == "after settle"
        made = any(u.attributes["email"] == address for u in pool.users.values())
        if begun:
            assert await refused(invitations, "acme", address) == (
                "exists" if settled else "conflict"
            )
            assert await left(database, clock) == [], moment
        clock.advance(HOLD_S + 1)
        if begun:
            assert await left(database, clock) == ([] if settled else [address]), moment
            assert await refused(invitations, "globex", address) == "exists", moment
            if made:
                assert await refused(invitations, "globex", address, adopt=True) == "conflict"
        if settled:
            continue
        again = changed(
            await invitations.create("acme", new(address, groups=("editors",)), by=BOUND)
        )
        (user,) = [u for u in pool.users.values() if u.attributes["email"] == address]
        assert sorted(user.groups) == ["tenants/acme", "tenants/acme/editors"], moment
        assert again.password is not None
        outcome, _ = check_password(pool, user.username, again.password.reveal())
        assert outcome is Outcome.NEW_PASSWORD, moment
        assert await left(database, clock) == [], moment
        assert await refused(invitations, "acme", address) == "exists", moment


async def test_a_row_without_a_user_takes_nobody_and_keeps_others_out_for_an_hour(
    invitations: Invitations, pool: StandIn, clock: MovableClock, death: Death
) -> None:
    death.at = 2
    with pytest.raises(Killed, match="after begin"):
        await invitations.create("acme", new(), by=BOUND)
    death.at = None
    clock.advance(EMPTY_S - 1)
    assert await refused(invitations, "globex", "new@acme.com") == "exists"
    somebody = add(pool, "new", status="FORCE_CHANGE_PASSWORD")
    assert await refused(invitations, "acme", "new@acme.com") == "exists", "made long after it"
    assert somebody.groups == []
    del pool.users[somebody.username]
    clock.advance(2)
    changed(await invitations.create("globex", new(), by=BOUND))
    (user,) = pool.users.values()
    assert user.groups == ["tenants/globex"]


async def test_who_is_another_person_by_now_or_came_in_another_way_is_not_taken(
    invitations: Invitations,
    pool: StandIn,
    database: Database,
    clock: MovableClock,
    death: Death,
) -> None:
    for number, change in enumerate(("sub", "status", "groups")):
        address = f"u{number}@acme.com"
        death.at, death.passed = 6, []
        with pytest.raises(Killed, match="after learn"):
            await invitations.create("acme", new(address), by=BOUND)
        death.at = None
        clock.advance(HOLD_S + 1)
        (user,) = [u for u in pool.users.values() if u.attributes["email"] == address]
        match change:
            case "sub":  # deleted, and made anew by somebody else
                user.sub = "00000000-another"
            case "status":
                user.own_status = "CONFIRMED"
            case _:
                user.groups = ["tenants/globex"]
        before = list(user.groups)
        assert await refused(invitations, "acme", address) == "exists", change
        assert user.groups == before
        assert (address in await left(database, clock)) == (change == "sub")


async def test_who_cannot_be_taken_back_is_finished_at_once_by_the_next_request(
    invitations: Invitations,
    pool: StandIn,
    cloud: DemoCloud,
    database: Database,
    clock: MovableClock,
) -> None:
    plan = cloud.cognito.control.faults.plan
    no = faults.fail(ApiError("NotAuthorizedException", "no"))
    plan("AdminAddUserToGroup", no)
    plan("AdminDeleteUser", no)
    with pytest.raises(CognitoRejectedError):
        await invitations.create("acme", new(), by=BOUND)
    assert await left(database, clock) == ["new@acme.com"]
    plan("AdminAddUserToGroup", no)
    with pytest.raises(CognitoRejectedError):
        await invitations.create("acme", new(), by=BOUND)
    assert len(pool.users) == 1, "who was there before is not deleted"
    changed(await invitations.create("acme", new(by_mail=True), by=BOUND))
    (user,) = pool.users.values()
    assert (user.groups, len(pool.outbox)) == (["tenants/acme"], 1)
    # Without an answer they may be there later.
    plan("AdminCreateUser", faults.drop_connection)
    with pytest.raises(UnansweredError):
        await invitations.create("acme", new("late@acme.com"), by=BOUND)
    assert await left(database, clock) == ["late@acme.com"]
    late = add(pool, "late", status="FORCE_CHANGE_PASSWORD")
    changed(await invitations.create("acme", new("late@acme.com"), by=BOUND))
    assert late.groups == ["tenants/acme"]


async def test_a_request_that_another_has_taken_over_from_deletes_nobody(
    invitations: Invitations, pool: StandIn, clock: MovableClock
) -> None:
    """It was slow, not dead."""
    own = invitations.directory.own
    joins = 0

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(own, name)

        async def add_to_group(self, *_: str) -> None:
            nonlocal joins
            joins += 1
            clock.advance(HOLD_S + 1)
            changed(await invitations.create("acme", new(), by=BOUND))
            msg = "too late"
            raise UnavailableError(msg)

    slow = Invitations(replace(invitations.directory, own=cast("Any", Slow())))
    with pytest.raises(UnavailableError, match="too late"):
        await slow.create("acme", new(), by=BOUND)
    (user,) = pool.users.values()
    assert (user.groups, joins) == (["tenants/acme"], 1)


async def test_who_is_adopted_by_the_tenant_that_began_is_on_record_no_more(
    invitations: Invitations,
    pool: StandIn,
    database: Database,
    clock: MovableClock,
    death: Death,
) -> None:
    death.at = 10
    with pytest.raises(Killed, match="after AdminAddUserToGroup"):
        await invitations.create("acme", new(groups=("admins",)), by=BOUND)
    death.at = None
    (user,) = pool.users.values()
    assert user.groups == ["tenants/acme/admins"]
    clock.advance(HOLD_S + 1)
    changed(await invitations.create("acme", new(adopt=True), by=OPERATOR))
    assert (user.groups, await left(database, clock)) == (["tenants/acme"], [])
