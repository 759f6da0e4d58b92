"""App passwords on a real Valkey: what makes one, as whom it arrives, and everything that ends
it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.model import AppPassword, AppPasswordLimits, Identity, Secret
from gateway.core.revocation import Who
from gateway.core.rule import Rule
from gateway.errors import UnavailableError
from gateway.keys import ring as ring_keys
from gateway.sessions.api import (
    MISS,
    AppPasswordRefusal,
    NewAppPassword,
    SessionCreated,
    SessionView,
    StoredAppPassword,
)
from gateway.sessions.app_passwords import parse_text
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.recheck import RECHECKED
from gateway.sessions.store import RedisSessions
from gateway.sessions.watermarks import Watermarks
from tests.sessions.conftest import CHILD, HOST, Clock, Login, identity
from tests.sessions.conftest import tenant as tenant_of
from tests.sessions.test_lease_client import Worker, markers, running, until, worker
from tests.sessions.test_store import child_of
from tests.sessions.test_watermarks import ALIASES, OTHERS, at, marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.model import Tenant
    from gateway.revocation.restore import Markers
    from gateway.sessions.connection import RedisClient, Script

__all__ = ["markers", "marks", "worker"]

TAKES = (Rule("/dav/**", app_passwords=True),)
WANTED = NewAppPassword("laptop", frozenset({HOST}), ("/dav",), 3600)
SLOT = prefix(bucket_of("acme"))


def tenant(**changes: int) -> Tenant:
    return replace(tenant_of(), rules=TAKES, app_passwords=AppPasswordLimits(**changes))


@pytest.fixture
def login(sessions: RedisSessions) -> Login:
    return Login(sessions, tenant())


async def make(
    sessions: RedisSessions,
    stored: SessionCreated,
    wanted: NewAppPassword = WANTED,
    at: Tenant | None = None,
) -> StoredAppPassword | AppPasswordRefusal:
    return await sessions.make_app_password(
        stored.session, cookie=stored.cookie.reveal(), tenant=at or tenant(), new=wanted
    )


async def made(
    sessions: RedisSessions, stored: SessionCreated, wanted: NewAppPassword = WANTED
) -> str:
    password = await make(sessions, stored, wanted)
    assert isinstance(password, StoredAppPassword)
    return password.text.reveal()


async def use(sessions: RedisSessions, text: str) -> AppPassword | None:
    return await sessions.app_password(text, host=HOST)


async def who(sessions: RedisSessions, text: str) -> Identity | None:
    found = await use(sessions, text)
    return None if found is None else found.session.identity


async def test_it_arrives_as_its_person_with_its_scope_and_is_no_session(
    sessions: RedisSessions, login: Login
) -> None:
    stored = await login.finish()
    password = await make(sessions, stored)
    assert isinstance(password, StoredAppPassword)
    text = password.text.reveal()
    found = await use(sessions, text)
    assert found is not None
    assert (found.session.identity, found.session.tenant, found.hosts, found.paths) == (
        stored.session.identity,
        "acme",
        frozenset({HOST}),
        ("/dav",),
    )
    assert (found.session.began, found.session.amr, found.session.host) == (
        stored.session.began,
        ("app_password",),
        "",
    )
    assert abs(found.signed_in_at - time.time()) < 60
    assert text not in repr(password), "a secret shows itself to nobody"
    parsed = parse_text(text, sessions._keys)
    assert parsed is not None
    assert (parsed.family, text.startswith(f"gwap_{parsed.family}_")) == (
        found.session.family,
        True,
    )
    # Neither is the other, though both are found by a digest.
    assert await sessions.find(parsed.token.text, host=HOST) is None
    assert await sessions.find(parsed.token.text, host="") is None
    assert await use(sessions, f"gwap_{parsed.family}_{stored.cookie.reveal()[3:]}") is None


async def test_a_text_that_no_key_made_costs_no_command(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    text = await made(sessions, await login.finish())
    other = await made(sessions, await login.finish(identity=identity("bob")))
    await sessions.uses.settle()
    calls = await commands(redis)
    spoiled = [
        "",
        "gwap_",
        text[:-1],
        text + "x",
        text[:-2] + ("AA" if text[-2:] != "AA" else "QQ"),
        text.replace("gwap_", "gwaq_"),
        text[:30] + "_" + other[31:],
        "gwap_" + "4" + text[6:],
        text.upper(),
    ]
    for wrong in spoiled:
        assert await use(sessions, wrong) is None
    assert await commands(redis) == calls
    assert await use(sessions, text) is not None


async def commands(redis: RedisClient) -> int:
    """Scripts that were run."""
    stats = await redis.command("INFO", "commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_its_groups_are_those_of_the_last_login_whatever_that_adds_or_takes(
    sessions: RedisSessions, login: Login
) -> None:
    text = await made(sessions, await login.finish())
    for groups in (("app-users",), ("app-users", "finance"), ()):
        await login.finish(identity=identity(groups=groups))
        found = await who(sessions, text)
        assert found is not None
        assert found.groups == groups
    older = await login.begin()
    await login.finish(identity=identity(groups=("app-users",)))
    assert isinstance(
        await sessions.finish_login(login.new(older, identity=identity(groups=("finance",)))),
        SessionCreated,
    )
    found = await who(sessions, text)
    assert found is not None
    assert found.groups == ("app-users",), "a login that began earlier says nothing"


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_revocation_by_any_alias_ends_it_for_good(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    text = await made(sessions, await login.finish())
    swept = await marks.revoke("acme", at(marks, who))
    assert swept.sessions == 2
    assert await use(sessions, text) is None
    await login.finish(auth_time=int(time.time()) + 1)
    assert await use(sessions, text) is None, "a later login brings nothing back"
    assert (
        await sessions.list_app_passwords(
            (await login.finish(auth_time=int(time.time()) + 1)).session
        )
        == []
    )


@pytest.mark.parametrize(
    ("changes", "later_s", "fresh"),
    # Times are seconds from now.
    [
        ({}, 540, True),
        ({}, 660, False),
        ({"prompted_for": ""}, 0, False),
        ({"prompted_for": "calendar.example.com"}, 0, False),
        ({"auth_time": -660}, 0, False),
        ({"auth_time": 3600}, 660, False),
        ({"idp_iat": -300}, 0, True),
        ({"idp_iat": -660}, 0, False),
        ({"idp_iat": 660}, 0, False),
        ({"idp_iat": None}, 0, False),
        ({"idp_iat": None, "idp_iat_mapped": False}, 0, True),
    ],
)
async def test_none_is_made_but_within_minutes_of_a_login_that_asked_the_person(
    sessions: RedisSessions,
    login: Login,
    clock: Clock,
    changes: dict[str, object],
    later_s: int,
    fresh: bool,
) -> None:
    """Whatever the form says: a stolen cookie has no such login behind it."""
    now = int(time.time())
    times = {name: now + s for name, s in changes.items() if type(s) is int}
    stored = await login.finish(**{**changes, **times})
    clock.advance(later_s)
    password = await make(sessions, stored)
    assert (password is not AppPasswordRefusal.STALE_LOGIN) is fresh
    assert isinstance(password, StoredAppPassword) is fresh


async def test_what_the_person_was_asked_for_at_one_host_makes_none_at_another(
    sessions: RedisSessions, login: Login
) -> None:
    """The login host hands its session on unseen."""
    for asked_for, fresh in ((CHILD, True), (HOST, False)):
        child = await child_of(sessions, await login.finish(prompted_for=asked_for))
        assert isinstance(await make(sessions, child), StoredAppPassword) is fresh


@pytest.mark.parametrize("who", OTHERS.values(), ids=OTHERS)
async def test_a_revocation_of_somebody_else_leaves_it(
    sessions: RedisSessions, login: Login, marks: Watermarks, who: Who
) -> None:
    text = await made(sessions, await login.finish())
    await marks.revoke("acme", at(marks, who), block_source="okta")
    assert await use(sessions, text) is not None


async def test_what_a_later_login_brought_ends_it_too(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    """Names and groups that the person had not when it was made."""
    text = await made(sessions, await login.finish())
    later = replace(
        identity(groups=("app-users", "finance")),
        email="alice@new.test",
        oid="oid-new",
        idp_subject="00u-new",
    )
    for name in (
        Who(group="finance"),
        Who(email="alice@new.test"),
        Who(oid="oid-new"),
        Who(idp_subject="00u-new"),
    ):
        await login.finish(identity=later, auth_time=int(time.time()) + 1)
        assert await use(sessions, text) is not None
        assert (await marks.revoke("acme", at(marks, name))).sessions >= 1
        assert await use(sessions, text) is None, name
        text = await made(
            sessions, await login.finish(identity=later, auth_time=int(time.time()) + 1)
        )


async def test_one_that_is_made_after_another_device_signed_in_has_that_logins_names(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    first = await login.finish()
    await login.finish(identity=identity(groups=("app-users", "admins", "finance")))
    text = await made(sessions, first)
    await marks.revoke("acme", at(marks, Who(group="finance")))
    assert await use(sessions, text) is None


async def test_its_id_alone_ends_it_and_nothing_else(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    stored = await login.finish()
    first, second = await made(sessions, stored), await made(sessions, stored)
    views = await sessions.list_app_passwords(stored.session)
    assert {view.session for view in views} == {text[5:30] for text in (first, second)}
    await marks.revoke("acme", at(marks, Who(session=first[5:30])))
    assert (await use(sessions, first), await use(sessions, second) is not None) == (None, True)
    assert await sessions.end_own(stored.session, family=second[5:30]) == 1
    assert await use(sessions, second) is None
    assert await sessions.find(stored.cookie.reveal(), host=HOST) is not None
    bob = await login.finish(identity=identity("bob"))
    third = await made(sessions, stored)
    assert await sessions.end_own(bob.session, family=third[5:30]) == 0, "nobody else's"


async def test_an_older_copy_of_the_store_brings_back_what_its_person_revoked_and_the_record_ends_it(  # noqa: E501 - a test's name is a sentence
    sessions: RedisSessions, login: Login, marks: Watermarks, redis: RedisClient
) -> None:
    """What a person ends is in no other store; what an operator ends is on record, and is carried
    out again on whatever comes back.
    """
    stored = await login.finish()
    text = await made(sessions, stored)
    password = parse_text(text, sessions._keys)
    assert password is not None
    keys = [f"{SLOT}s:{password.token.digest}", f"{SLOT}f:{password.family}"]
    copy = {key: await redis.command("DUMP", key) for key in keys}
    assert await sessions.end_own(stored.session, family=password.family) == 1
    assert await use(sessions, text) is None
    for key, value in copy.items():
        await redis.command("RESTORE", key, 3_600_000, value)
    assert await use(sessions, text) is not None
    swept = await marks.revoke("acme", at(marks, Who(session=password.family)))
    for key, value in copy.items():
        await redis.command("RESTORE", key, 3_600_000, value)
    await marks.revoke("acme", at(marks, Who(session=password.family)), watermark=swept.watermark)
    assert await use(sessions, text) is None


async def test_signing_out_leaves_it_and_signing_out_everywhere_does_not(
    sessions: RedisSessions, login: Login
) -> None:
    stored = await login.finish()
    text = await made(sessions, stored)
    await sessions.end_family(stored.session, cookie=stored.cookie.reveal())
    assert await use(sessions, text) is not None
    assert await make(sessions, stored) is AppPasswordRefusal.GONE
    again = await login.finish()
    assert await sessions.end_own(again.session, family=None) == 2
    assert await use(sessions, text) is None


async def test_a_later_login_that_contradicts_ends_it_and_one_that_is_refused_too(
    sessions: RedisSessions, login: Login
) -> None:
    stored = await login.finish()
    text = await made(sessions, stored)
    seen: list[SessionView] = []

    def outdated(view: SessionView) -> bool:
        seen.append(view)
        return view.app_password is not None

    assert (
        await sessions.end_earlier(
            "acme", user="sub-alice", began=stored.session.began, outdated=outdated
        )
        == 0
    ), "no later login"
    assert (
        await sessions.end_earlier(
            "acme", user="sub-alice", began=await login.begin(), outdated=outdated
        )
        == 1
    )
    assert await use(sessions, text) is None
    assert {view.groups for view in seen} == {("app-users", "admins")}
    text = await made(sessions, stored)
    await sessions.unlink("acme", user="sub-alice", began=await login.begin())
    assert await use(sessions, text) is None
    assert await make(sessions, stored) is AppPasswordRefusal.LOGIN_AGAIN


async def test_whom_cognito_knows_no_more_loses_it(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    text = await made(sessions, stored)
    family = f"{SLOT}f:{stored.session.family}"
    refresh = await redis.command("HGET", family, "r")
    assert (
        await redis.run(RECHECKED, [family], [refresh, "", "refused", SLOT, stored.session.family])
        == 2
    )
    assert await use(sessions, text) is None


async def test_what_stands_against_the_person_keeps_one_from_being_made(
    sessions: RedisSessions, login: Login, marks: Watermarks
) -> None:
    """While a revocation of a large tenant is on its way to this session."""
    stored = await login.finish()
    for name in (Who(group="admins"), Who()):
        where = replace(at(marks, name), indexes=())
        await marks.revoke("acme", where)
        assert await make(sessions, stored) is AppPasswordRefusal.GONE
        stored = await login.finish(auth_time=int(time.time()) + 1)
        assert isinstance(await make(sessions, stored), StoredAppPassword)
    await login.finish(identity=identity(groups=("app-users",)), auth_time=int(time.time()) + 1)
    await marks.revoke("acme", replace(at(marks, Who(group="admins")), indexes=()))
    assert await make(sessions, stored) is AppPasswordRefusal.GONE, (
        "what the session says counts, whatever the last login says"
    )
    stored = await login.finish(auth_time=int(time.time()) + 1)
    blocked = replace(at(marks, Who(email="alice@acme.test")), indexes=())
    text = await made(sessions, stored)
    await marks.revoke("acme", blocked, block_source="okta")
    assert await use(sessions, text) is None, "a mark counts though nothing was deleted yet"


async def test_a_person_has_so_many_and_sessions_do_not_count(
    sessions: RedisSessions, login: Login
) -> None:
    at_most = tenant(max_per_user=2)
    login = Login(sessions, replace(at_most, session=replace(at_most.session, max_per_user=2)))
    stored = [await login.finish() for _ in range(2)][-1]
    texts = [await made(sessions, stored) for _ in range(2)]
    assert await make(sessions, stored, at=at_most) is AppPasswordRefusal.TOO_MANY
    for _ in range(3):
        stored = await login.finish()
    assert [await use(sessions, text) is not None for text in texts] == [True, True], (
        "logins do not push them out"
    )
    assert len(await sessions.list_user(stored.session, cookie=stored.cookie.reveal())) == 2, (
        "nor are they listed as sessions"
    )
    assert (
        len(
            (
                await sessions.directory.page(
                    tenant="acme", user=None, email=None, position=None, limit=10
                )
            ).items
        )
        == 2
    )
    page = await sessions.directory.app_passwords(
        tenant="acme", user="sub-alice", email=None, position=None, limit=10
    )
    assert [
        (view.email, view.app_password and view.app_password.name, view.hosts, view.user_agent)
        for view in page.items
    ] == [("alice@acme.test", "laptop", (), "")] * 2
    await sessions.end_own(stored.session, family=texts[0][5:30])
    assert isinstance(await make(sessions, stored, at=at_most), StoredAppPassword)


async def test_an_answer_that_was_lost_is_given_again(
    sessions: RedisSessions, login: Login, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first one took the last place."""
    stored, durably = await login.finish(), sessions.redis.run_durably

    async def twice(
        script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        assert (await durably(script, keys, arguments))[0] == b"stored"
        return await durably(script, keys, arguments)

    monkeypatch.setattr(sessions.redis, "run_durably", twice)
    password = await make(sessions, stored, at=tenant(max_per_user=1))
    assert isinstance(password, StoredAppPassword)
    assert await use(sessions, password.text.reveal()) is not None


async def test_it_lasts_as_long_as_the_tenant_permits(
    sessions: RedisSessions, login: Login, redis: RedisClient, clock: Clock
) -> None:
    stored = await login.finish()
    for lifetime_s, allowed in ((3600, 3600), (90 * 86400, 86400)):
        password = await make(
            sessions, stored, replace(WANTED, lifetime_s=lifetime_s), at=tenant(lifetime_s=86400)
        )
        assert isinstance(password, StoredAppPassword)
        assert abs(password.view.expires_at - clock.wall - allowed) < 5
        for key in (
            f"{SLOT}f:{password.view.session}",
            f"{SLOT}s:{digest(sessions, password.text)}",
        ):
            assert abs(await redis.command("TTL", key) - allowed) < 60
    text = await made(sessions, stored)
    clock.advance(3601)
    assert await use(sessions, text) is None, "also where the server's clock is behind"


def digest(sessions: RedisSessions, text: Secret) -> str:
    parsed = parse_text(text.reveal(), sessions._keys)
    assert parsed is not None
    return parsed.token.digest


async def test_its_last_use_is_kept_and_not_written_by_every_request(
    sessions: RedisSessions, login: Login, clock: Clock
) -> None:
    stored = await login.finish()
    text = await made(sessions, stored)

    async def last_used() -> int | None:
        await sessions.uses.settle()
        (view,) = await sessions.list_app_passwords(stored.session)
        assert view.app_password is not None
        return view.app_password.last_used_at

    assert await last_used() is None
    assert await use(sessions, text) is not None
    first = await last_used()
    assert first is not None
    assert abs(first - time.time()) < 60
    found = await sessions.directory.find(text[5:30])
    assert found is not None
    assert found.app_password is not None
    writes = len(sessions.uses._noted)
    assert await use(sessions, text) is not None
    assert not sessions.uses._waiting
    assert len(sessions.uses._noted) == writes == 1
    await sessions.end_own(stored.session, family=text[5:30])
    clock.advance(3601)
    assert await use(sessions, text) is None
    assert await sessions.directory.find(text[5:30]) is None, "what is gone is not written to"


async def test_nobody_arrives_by_a_record_of_another(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    alice, bob = (
        await made(sessions, await login.finish()),
        await made(sessions, await login.finish(identity=identity("bob"))),
    )
    assert (await who(sessions, alice), await who(sessions, bob)) == (identity(), identity("bob"))
    family = f"{SLOT}f:{alice[5:30]}"
    of_alice, of_bob = [
        await redis.command("HGET", f"{SLOT}f:{text[5:30]}", "u") for text in (alice, bob)
    ]
    await redis.command("HSET", family, "u", of_bob)
    assert await use(sessions, alice) is None, "alice's password, bob's login"
    await redis.command("HSET", family, "u", of_alice)
    identity_of_bob = await redis.command("HGET", f"{SLOT}k:{of_bob.decode()}", "g")
    await redis.command("HSET", f"{SLOT}k:{of_alice.decode()}", "g", identity_of_bob)
    assert await use(sessions, alice) is None, "bob's identity in alice's record"
    parsed = parse_text(bob, sessions._keys)
    assert parsed is not None
    await redis.command("SET", f"{SLOT}s:{parsed.token.digest}", b"\x01" * 80)
    assert await use(sessions, bob) is None


async def test_a_login_before_any_rule_took_them_is_not_enough_to_make_one(
    sessions: RedisSessions,
) -> None:
    stored = await Login(sessions, tenant_of()).finish()
    assert await make(sessions, stored) is AppPasswordRefusal.LOGIN_AGAIN
    text = await made(sessions, await Login(sessions, tenant()).finish())
    await Login(sessions, tenant_of()).finish()
    assert await use(sessions, text) is None, (
        "what a login before the last one said is not what the person is now"
    )


async def test_a_rotation_of_the_key_ring_ends_none_and_forgets_no_revocation(
    redis: RedisClient, ring: ring_keys.KeyRing, login: Login, sessions: RedisSessions
) -> None:
    first = await login.finish()
    text = await made(sessions, first)
    both = replace(ring, sealing=(*ring_keys.generate().sealing, *ring.sealing))
    rotated = RedisSessions(redis, lambda: both)
    assert await use(rotated, text) is not None
    later = await Login(rotated, tenant()).finish(identity=identity(groups=("finance",)))
    found = await use(rotated, text)
    assert found is not None
    assert found.session.identity.groups == ("finance",), "the login under the new key"
    assert isinstance(await make(rotated, later), StoredAppPassword)
    assert isinstance(await make(rotated, first), StoredAppPassword)
    assert len(await rotated.list_app_passwords(later.session)) == 3
    newer = Watermarks(redis, lambda: both)
    await newer.revoke("acme", at(newer, Who(group="finance")))
    assert await use(rotated, text) is None
    for store in (rotated, sessions):
        await store.uses.close()


async def test_a_store_that_was_not_restored_says_nothing(
    sessions: RedisSessions, login: Login, redis: RedisClient
) -> None:
    stored = await login.finish()
    text = await made(sessions, stored)
    await redis.command("DEL", f"{SLOT}m")
    assert await use(sessions, text) is None
    with pytest.raises(UnavailableError):
        await make(sessions, stored)


# --- under a lease
# -------------------------------------------------------------------------------------


async def test_memory_answers_until_whatever_ends_it_and_until_a_login_says_otherwise(
    worker: Worker, redis: RedisClient
) -> None:
    login = Login(worker.sessions, tenant())
    async with running(worker):
        stored = await login.finish()
        text = await made(worker.sessions, stored)
        assert worker.sessions.cached_app_password(text) is MISS
        first = await use(worker.sessions, text)
        assert first is not None
        assert worker.sessions.cached_app_password(text) is first
        assert worker.sessions.cached(text, host=HOST) is MISS, "memory knows it by no cookie"
        await login.finish(identity=identity(groups=("app-users",)))
        await until(lambda: worker.sessions.cached_app_password(text) is MISS)
        second = await use(worker.sessions, text)
        assert second is not None
        assert second.session.identity.groups == ("app-users",)
        marks = Watermarks(redis, lambda: worker.ring)
        await marks.revoke("acme", at(marks, Who(user="sub-alice")))
        await until(lambda: worker.sessions.cached_app_password(text) is MISS)
        calls = await commands(redis)
        assert await use(worker.sessions, text) is None
        assert await use(worker.sessions, text) is None
        assert await commands(redis) - calls <= 2, (
            "one that is unknown is remembered for a moment; a renewal may come between"
        )
        # A lapse takes memory away, as of sessions.
        text = await made(worker.sessions, await login.finish(auth_time=int(time.time()) + 1))
        assert await use(worker.sessions, text) is not None
        worker.replica.leases[bucket_of("acme")].lapse()
        assert worker.sessions.cached_app_password(text) is MISS
        await worker.sessions.uses.settle()


async def test_memory_forgets_it_by_every_name_of_the_last_login(
    worker: Worker, redis: RedisClient
) -> None:
    """Whether that login came before the password was made, on another device, or after."""
    login, richer = (
        Login(worker.sessions, tenant()),
        identity(groups=("app-users", "admins", "finance")),
    )
    marks = Watermarks(redis, lambda: worker.ring)
    async with running(worker):
        for later in (False, True):
            stored = await login.finish(auth_time=int(time.time()) + 1)
            if not later:
                await login.finish(identity=richer, auth_time=int(time.time()) + 1)
            text = await made(worker.sessions, stored)
            if later:
                await login.finish(identity=richer, auth_time=int(time.time()) + 1)
            found = await use(worker.sessions, text)
            assert found is not None
            assert found.session.identity.groups == richer.groups
            assert isinstance(worker.sessions.cached_app_password(text), AppPassword)
            assert (await marks.revoke("acme", at(marks, Who(group="finance")))).sessions >= 2
            await until(lambda text=text: worker.sessions.cached_app_password(text) is MISS)  # type: ignore[misc]  # binds the loop's value
            assert await use(worker.sessions, text) is None
        await worker.sessions.uses.settle()


async def test_a_worker_asks_inside_its_lease_and_believes_no_other_primary(
    worker: Worker, redis: RedisClient, markers: Markers
) -> None:
    text = await made(worker.sessions, await Login(worker.sessions, tenant()).finish())
    assert await use(worker.sessions, text) is not None
    lease = await worker.replica.lease(bucket_of("acme"))
    worker.cache.empty(bucket_of("acme"))
    await redis.command("DEL", f"{SLOT}m")
    with pytest.raises(UnavailableError):
        await use(worker.sessions, text)
    await markers.look()
    incarnation = lease.incarnation
    assert await use(worker.sessions, text) is not None
    assert lease.incarnation > incarnation
    await worker.sessions.uses.settle()
