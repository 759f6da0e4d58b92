"""Watermarks, blocks and overlays against a real Valkey: who is ended, who is refused, and what is
given back.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.core.reason import Reason
from gateway.core.revocation import Who
from gateway.keys import ring as keys
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import (
    PAGE,
    RevocationKeys,
    RevokeBatch,
    Watermarks,
    revocation_keys,
)
from tests.sessions.conftest import HOST, Login, anybody, identity
from tests.sessions.test_store import ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sessions.connection import RedisClient, Script

ALIASES = {
    "user": Who(user="sub-alice"),
    "idp_subject": Who(idp_subject="00u-alice"),
    "idp_subject_at_provider": Who(idp_subject="00u-alice", provider="acme-okta"),
    "oid": Who(oid="oid-alice"),
    "oid_at_provider": Who(oid="oid-alice", provider="acme-okta"),
    "email": Who(email="alice@acme.test"),
    "email_in_capitals": Who(email="ALICE@ACME.test"),
    "email_at_provider": Who(email="alice@acme.test", provider="acme-okta"),
    "group": Who(group="admins"),
    "group_at_provider": Who(group="admins", provider="acme-okta"),
    "tenant": Who(),
    "tenant_at_provider": Who(provider="acme-okta"),
}


@pytest.fixture
def marks(redis: RedisClient, ring: keys.KeyRing) -> Watermarks:
    return Watermarks(redis, lambda: ring)


def at(marks: Watermarks, who: Who, *, group: str | None = None) -> RevocationKeys:
    return revocation_keys(marks.alias_index("acme"), who, group=group)


async def alive(sessions: RedisSessions, stored: SessionCreated) -> bool:
    return await sessions.find(stored.cookie.reveal(), host=HOST) is not None


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_revocation_by_any_alias_ends_the_sessions_and_outdates_the_login_in_flight(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    stored, in_flight = await login.finish(), await login.begin()
    swept = await marks.revoke("acme", at(marks, who))
    assert (swept.sessions, swept.cursors, [f.family for f in swept.families]) == (
        1,
        "",
        [stored.session.family],
    )
    assert swept.families[0].display is not None
    assert swept.families[0].display.username == "acme-okta_alice"
    assert not await alive(sessions, stored)
    assert await sessions.finish_login(login.new(in_flight)) == SessionRefused(
        Reason.SESSION_REVOKED
    )
    later = await login.finish(auth_time=int(time.time()) + 1)
    assert await alive(sessions, later)


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_block_by_any_alias_refuses_every_login_until_it_is_lifted(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    await marks.revoke("acme", at(marks, who), block_source="okta")
    assert await sessions.finish_login(login.new(await login.begin())) == SessionRefused(
        Reason.USER_BLOCKED
    )
    _, lifted, *_ = await marks.lift("acme", at(marks, who), sources="scim")
    assert not lifted
    assert await sessions.finish_login(login.new(await login.begin())) == SessionRefused(
        Reason.USER_BLOCKED
    )
    _, lifted, *_ = await marks.lift("acme", at(marks, who), sources="okta")
    assert lifted
    assert await alive(sessions, await login.finish())


OTHERS = {
    "another_user": Who(user="sub-bob"),
    "another_email": Who(email="bob@acme.test"),
    "another_group": Who(group="finance"),
    "same_subject_at_another_provider": Who(idp_subject="00u-alice", provider="acme-entra"),
    "same_email_at_another_provider": Who(email="alice@acme.test", provider="acme-entra"),
    "another_provider": Who(provider="acme-entra"),
    "a_name_in_the_wrong_kind": Who(oid="00u-alice"),
}


@pytest.mark.parametrize("who", OTHERS.values(), ids=OTHERS)
async def test_a_revocation_of_somebody_else_changes_nothing(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    stored, in_flight = await login.finish(), await login.begin()
    assert (await marks.revoke("acme", at(marks, who), block_source="admin")).sessions == 0
    assert await alive(sessions, stored)
    assert isinstance(await sessions.finish_login(login.new(in_flight)), SessionCreated)


async def test_a_revocation_in_another_tenant_changes_nothing(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    other = next(n for n in (f"t{n}" for n in range(5000)) if bucket_of(n) == bucket_of("acme"))
    stored = await login.finish()
    for who in ALIASES.values():
        await marks.revoke(
            other, revocation_keys(marks.alias_index(other), who), block_source="admin"
        )
    await marks.revoke(other, RevocationKeys((), (), (), stored.session.family))
    assert await alive(sessions, stored)
    assert isinstance(await sessions.finish_login(login.new(await login.begin())), SessionCreated)


async def test_a_single_session_is_revoked_with_its_family_and_nobody_else(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    first, second = await login.finish(), await login.finish()
    made, binding = await ticket(sessions, first)
    swept = await marks.revoke("acme", at(marks, Who(session=first.session.family)))
    assert swept.sessions == 1
    assert (await alive(sessions, first), await alive(sessions, second)) == (False, True)
    assert await sessions.redeem_ticket(
        made, host="app.acme.example.com", bindings=(binding,), served=anybody
    ) == SessionRefused(Reason.SESSION_REVOKED)


async def test_a_ticket_does_not_outlive_a_revocation_of_its_person(
    sessions: RedisSessions, login: Login, marks: Watermarks, redis: RedisClient
) -> None:
    stored = await login.finish()
    made, binding = await ticket(sessions, stored)
    at_ = prefix(bucket_of("acme"))
    names = (f"{at_}s:{stored.session.digest}", f"{at_}f:{stored.session.family}")
    kept = {name: await redis.command("DUMP", name) for name in names}
    await marks.revoke("acme", at(marks, Who(email="alice@acme.test")))
    for (
        name,
        value,
    ) in kept.items():  # as an old primary, or somebody with write access, could bring them back
        await redis.command("RESTORE", name, 60_000, value)
    assert await sessions.redeem_ticket(
        made, host="app.acme.example.com", bindings=(binding,), served=anybody
    ) == SessionRefused(Reason.SESSION_REVOKED)


async def test_a_login_that_authenticated_before_the_revocation_is_refused_even_if_it_began_later(
    login: Login, sessions: RedisSessions, marks: Watermarks
) -> None:
    await marks.revoke("acme", at(marks, Who(user="sub-alice")))
    began = await login.begin()
    assert await sessions.finish_login(
        login.new(began, auth_time=int(time.time()) - 10)
    ) == SessionRefused(Reason.REAUTHENTICATE)
    assert await sessions.finish_login(login.new(began, auth_time=0)) == SessionRefused(
        Reason.REAUTHENTICATE
    )
    assert isinstance(
        await sessions.finish_login(login.new(began, auth_time=int(time.time()))), SessionCreated
    )


FRESHNESS = {
    "mapped_and_asked": ({"idp_iat_mapped": True, "idp_iat": 0}, True),
    "mapped_within_the_margin": ({"idp_iat_mapped": True, "idp_iat": -4}, True),
    "mapped_a_little_ahead": ({"idp_iat_mapped": True, "idp_iat": 20}, True),
    "mapped_and_far_ahead": ({"idp_iat_mapped": True, "idp_iat": 600}, False),
    "mapped_and_resumed": ({"idp_iat_mapped": True, "idp_iat": -60}, False),
    "mapped_and_missing": ({"idp_iat_mapped": True, "idp_iat": None}, False),
    "mapped_and_resumed_after_the_hop": (
        {"idp_iat_mapped": True, "idp_iat": -60, "hopped": True},
        False,
    ),
    "unmapped": ({"idp_iat_mapped": False, "idp_iat": None}, False),
    "unmapped_after_the_hop": ({"idp_iat_mapped": False, "idp_iat": None, "hopped": True}, True),
}


@pytest.mark.parametrize(("evidence", "accepted"), FRESHNESS.values(), ids=FRESHNESS)
@pytest.mark.parametrize(
    "lifted_block", [False, True], ids=["after_end_sessions", "after_a_lifted_block"]
)
async def test_soon_after_a_revocation_a_login_shows_that_it_asked_the_identity_provider(
    sessions: RedisSessions,
    login: Login,
    marks: Watermarks,
    *,
    evidence: dict[str, object],
    accepted: bool,
    lifted_block: bool,
) -> None:
    where = at(marks, Who(idp_subject="00u-alice", provider="acme-okta"))
    await marks.revoke("acme", where, block_source="okta" if lifted_block else "")
    if lifted_block:
        await marks.lift("acme", where, sources="okta")
    began = await login.begin()
    iat = evidence["idp_iat"]
    changes = evidence | {"idp_iat": None if iat is None else began // 1_000_000 + int(str(iat))}
    result = await sessions.finish_login(
        login.new(began, auth_time=began // 1_000_000 + 1, **changes)
    )
    assert (
        isinstance(result, SessionCreated)
        if accepted
        else result == SessionRefused(Reason.REAUTHENTICATE)
    )


async def test_what_one_login_has_shown_is_no_evidence_for_another(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    """Cognito keeps the time by person: a stolen device that resumes shows what its owner's login
    elsewhere has brought there.
    """
    before = int(time.time()) + 1
    await login.finish(idp_iat=before)
    await marks.revoke("acme", at(marks, Who(user="sub-alice")))
    by_the_thief = await login.begin()
    await login.finish(
        idp_iat=before, auth_time=before + 3
    )  # shown before the revocation: as good as any other time within the margin
    for shown in (before, before - 1):
        assert await sessions.finish_login(
            login.new(by_the_thief, idp_iat=shown, auth_time=before + 3)
        ) == SessionRefused(Reason.REAUTHENTICATE)
    assert isinstance(
        await sessions.finish_login(login.new(await login.begin(), idp_iat=before + 1)),
        SessionCreated,
    )
    assert await sessions.finish_login(
        login.new(by_the_thief, idp_iat=before + 1, auth_time=before + 3)
    ) == SessionRefused(Reason.REAUTHENTICATE)
    assert isinstance(
        await sessions.finish_login(
            login.new(
                by_the_thief, identity=identity("bob"), idp_iat=before + 1, auth_time=before + 3
            )
        ),
        SessionCreated,
    )


async def test_two_logins_within_one_second_after_a_revocation_are_two_logins(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    await marks.revoke("acme", at(marks, Who(user="sub-alice")))
    second = int(time.time())
    for auth_time, accepted in (
        (second, True),
        (second + 1, True),
        (second + 2, False),
        (second - 2, False),
    ):
        result = await sessions.finish_login(
            login.new(await login.begin(), idp_iat=second, auth_time=auth_time)
        )
        assert isinstance(result, SessionCreated) is accepted


async def test_what_a_login_has_shown_is_known_through_a_rotation_of_the_key_ring(
    sessions: RedisSessions, login: Login, marks: Watermarks, redis: RedisClient, ring: keys.KeyRing
) -> None:
    await marks.revoke("acme", at(marks, Who(user="sub-alice")))
    shown = int(time.time()) + 1
    await login.finish(idp_iat=shown)
    rotated = replace(ring, sealing=(keys.Key("new", bytes(range(32))), *ring.sealing))
    later = RedisSessions(redis, lambda: rotated)
    assert await later.finish_login(
        login.new(await login.begin(), idp_iat=shown, auth_time=shown + 3)
    ) == SessionRefused(Reason.REAUTHENTICATE)


async def test_seventy_minutes_later_no_evidence_is_asked_for(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    long_ago = int((time.time() - 70 * 60 - 1) * 1e6)
    await marks.revoke("acme", at(marks, Who(user="sub-alice")), watermark=long_ago)
    assert isinstance(
        await sessions.finish_login(login.new(await login.begin(), idp_iat=None)), SessionCreated
    )


async def test_without_a_revocation_no_evidence_is_asked_for(login: Login) -> None:
    await login.finish(idp_iat=None)
    await login.finish(idp_iat_mapped=False, idp_iat=None)


# --- overlays -------------------------------------------------------------------------------------


async def test_a_group_that_was_taken_away_stays_away_though_cognito_still_reports_it(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    where = at(marks, Who(idp_subject="00u-alice", provider="acme-okta"), group="admins")
    stored = await login.finish()
    await marks.revoke("acme", where)
    assert not await alive(sessions, stored)
    for _ in range(2):
        assert (await login.finish()).session.identity.groups == ("app-users",)
    assert (await login.finish(identity=identity("bob"))).session.identity.groups == (
        "app-users",
        "admins",
    )
    _, _, given_back, _ = await marks.lift("acme", where, sources="")
    assert given_back
    assert (await login.finish()).session.identity.groups == ("app-users", "admins")


async def test_an_overlay_binds_people_who_were_never_seen(login: Login, marks: Watermarks) -> None:
    await marks.revoke("acme", at(marks, Who(email="alice@acme.test"), group="admins"))
    assert (await login.finish()).session.identity.groups == ("app-users",)


async def test_a_deleted_group_is_taken_from_everybody(login: Login, marks: Watermarks) -> None:
    await marks.revoke("acme", at(marks, Who(group="admins", provider="acme-okta"), group="admins"))
    for name in ("alice", "bob"):
        assert (await login.finish(identity=identity(name))).session.identity.groups == (
            "app-users",
        )
    assert (
        await login.finish(identity=identity("eve", provider="acme-entra"))
    ).session.identity.groups == ("app-users", "admins")


async def test_a_login_lifts_an_overlay_only_if_the_stored_attribute_was_cleared_in_between(
    login: Login, sessions: RedisSessions, marks: Watermarks
) -> None:
    where = at(marks, Who(oid="oid-alice"), group="admins")
    swept = await marks.revoke("acme", where)
    before_clearing = await login.begin()
    await marks.cleared("acme", where, watermark=swept.watermark)
    in_flight = await sessions.finish_login(login.new(before_clearing))
    assert isinstance(in_flight, SessionCreated)
    assert in_flight.session.identity.groups == ("app-users",)
    absent = await login.finish(identity=identity(groups=("app-users",)))
    assert absent.session.identity.groups == ("app-users",)
    anew = await login.finish()
    assert anew.session.identity.groups == ("app-users", "admins")
    assert (await login.finish()).session.identity.groups == ("app-users", "admins")


async def test_clearing_does_not_count_for_a_later_removal(login: Login, marks: Watermarks) -> None:
    where = at(marks, Who(oid="oid-alice"), group="admins")
    first = await marks.revoke("acme", where)
    await marks.revoke("acme", where)
    await marks.cleared("acme", where, watermark=first.watermark)
    assert (await login.finish()).session.identity.groups == ("app-users",)


async def test_what_is_taken_away_is_not_indexed_but_still_revocable(
    login: Login, sessions: RedisSessions, marks: Watermarks
) -> None:
    await marks.revoke("acme", at(marks, Who(user="sub-alice"), group="admins"))
    stored = await login.finish()
    assert (await marks.revoke("acme", at(marks, Who(group="admins")))).sessions == 0
    assert await alive(sessions, stored)


# --- blocks of several, large tenants, restoring --------------------------------------------------


async def test_a_block_of_two_sources_stands_until_both_have_lifted_it(
    login: Login, sessions: RedisSessions, marks: Watermarks
) -> None:
    where = at(marks, Who(user="sub-alice"))
    await marks.revoke("acme", where, block_source="okta")
    await marks.revoke("acme", where, block_source="admin")
    await marks.revoke("acme", where)
    await marks.lift("acme", where, sources="okta")
    assert await sessions.finish_login(login.new(await login.begin())) == SessionRefused(
        Reason.USER_BLOCKED
    )
    await marks.lift("acme", where, sources="*")
    assert isinstance(await sessions.finish_login(login.new(await login.begin())), SessionCreated)


async def test_a_watermark_expires_and_a_block_does_not(
    marks: Watermarks, redis: RedisClient
) -> None:
    where = at(marks, Who(user="sub-alice"))
    key = f"{prefix(bucket_of('acme'))}w:{where.marks[0]}"
    await marks.revoke("acme", where, block_source="okta")
    assert await redis.command("TTL", key) == -1
    await marks.revoke("acme", where)
    assert await redis.command("TTL", key) == -1
    await marks.lift("acme", where, sources="okta")
    assert await redis.command("TTL", key) > 30 * 86400


async def sweep(
    marks: Watermarks,
    where: RevocationKeys,
    swept: RevokeBatch,
    *,
    between: Callable[[], object] = lambda: None,
) -> int:
    total = swept.sessions
    while swept.cursors:
        between()
        swept = await marks.sweep("acme", where, swept)
        total += swept.sessions
    return total


async def test_a_whole_tenant_ends_page_by_page_and_later_logins_stay(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    people = PAGE + 300
    stored = [
        await login.finish(identity=identity(f"p{n}", groups=()), refresh_token=None)
        for n in range(people)
    ]
    where = at(marks, Who())
    swept = await marks.revoke("acme", where)
    assert swept.cursors
    assert swept.sessions < people
    later = await login.finish(auth_time=int(time.time()) + 1)
    assert await sweep(marks, where, swept) == people
    assert not any([await alive(sessions, one) for one in stored[:: people // 50]])
    assert await alive(sessions, later)


async def test_restoring_a_revocation_with_its_original_watermark_spares_later_logins(
    login: Login, sessions: RedisSessions, marks: Watermarks, redis: RedisClient
) -> None:
    where = at(marks, Who(user="sub-alice"))
    before = await login.finish()
    began = await login.begin()
    swept = await marks.revoke("acme", where)
    after = await login.finish()
    await redis.command("DEL", *(f"{prefix(bucket_of('acme'))}w:{name}" for name in where.marks))
    again = await marks.revoke("acme", where, watermark=swept.watermark)
    assert again.watermark == swept.watermark
    assert (await alive(sessions, before), await alive(sessions, after)) == (False, True)
    assert await sessions.finish_login(login.new(began)) == SessionRefused(Reason.SESSION_REVOKED)


async def test_the_clock_is_set_past_the_record(login: Login, marks: Watermarks) -> None:
    ahead = int(time.time() * 1e6) + 10**9
    assert await marks.advance("acme", past=ahead) > ahead
    assert await login.begin() > ahead
    assert await marks.advance("acme", past=5) > ahead


async def test_a_group_taken_away_while_a_login_finishes_is_taken_from_that_login(
    sessions: RedisSessions, login: Login, marks: Watermarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the overlay and writing the session: only what does not ask for the group's
    sessions to end can fall there.
    """
    began = await login.begin()
    where = at(marks, Who(user="sub-alice"), group="admins")
    original, asked = sessions.redis.run, 0

    async def meanwhile(
        script: Script, names: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> object:
        nonlocal asked
        answer = await original(script, names, arguments)
        if script.name == "finish_login" and answer[0] == b"overlay":
            asked += 1
            if (
                asked == 1
            ):  # the reply is on its way; now the group is given back, and another one goes
                await marks.lift("acme", replace(where, marks=()), sources="*")
                await marks.revoke(
                    "acme",
                    replace(
                        at(marks, Who(user="sub-alice"), group="app-users"), marks=(), indexes=()
                    ),
                    watermark=began - 2,
                )
        return answer

    await marks.revoke("acme", where, watermark=began - 1)
    monkeypatch.setattr(sessions.redis, "run", meanwhile)
    stored = await sessions.finish_login(login.new(began, idp_iat=began // 1_000_000 + 1))
    assert isinstance(stored, SessionCreated)
    assert stored.session.identity.groups == ("admins",)
    assert asked == 2
