"""What is kept of passwords of the pool, on a real Valkey: who finds it, and everything that ends
it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.core.authorization import Basic
from gateway.core.login import Accepted
from gateway.core.model import AppClient, ProviderKind, Secret, Session
from gateway.core.reason import Reason
from gateway.core.rule import Rule
from gateway.errors import UnavailableError
from gateway.keys import ring as ring_keys
from gateway.sessions.api import Miss
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.pool_password_store import PoolPasswordStore
from gateway.sessions.pool_passwords import (
    KEPT_S,
    READ_POOL_PASSWORD,
    PoolPasswordBegun,
    parse,
    read_args,
)
from tests.core.build import provider
from tests.sessions.conftest import Login, identity
from tests.sessions.conftest import tenant as tenant_of
from tests.sessions.test_lease_client import Worker, markers, running, until, worker
from tests.sessions.test_watermarks import ALIASES, OTHERS, at, marks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.model import Tenant
    from gateway.sessions.watermarks import Watermarks

__all__ = ["markers", "marks", "worker"]
ALICE = Basic("alice", "Passw0rd-secret")
ACCEPTED = Accepted(identity(), int(time.time()), None, idp_iat_mapped=False, warnings=())


def tenant() -> Tenant:
    return replace(
        tenant_of(),
        rules=(Rule("/**", pool_passwords=True),),
        providers=(provider("acme-okta", kind=ProviderKind.COGNITO),),
        password_client=AppClient("passwords", Secret("s")),
    )


LATER = [0.0]
"""Seconds that have passed for what memory holds; the worker's leases do not notice."""


def store_of(one: Worker) -> PoolPasswordStore:
    return PoolPasswordStore(
        one.redis,
        lambda: one.ring,
        cache=one.cache,
        lease_client=one.replica,
        monotonic=lambda: one.clock.steady + LATER[0],
    )


@pytest.fixture
async def store(worker: Worker) -> AsyncIterator[PoolPasswordStore]:
    LATER[0] = 0.0
    async with running(worker):
        yield store_of(worker)


async def keep(store: PoolPasswordStore, begun: PoolPasswordBegun | None = None) -> Reason | None:
    begun = begun or await store.begin("acme")
    return await store.keep(tenant(), store.token(tenant(), ALICE), begun, ACCEPTED)


async def find(store: PoolPasswordStore) -> object:
    return await store.find(store.token(tenant(), ALICE))


async def test_it_is_found_by_every_replica_with_the_same_name_and_password_and_no_other(
    store: PoolPasswordStore, worker: Worker
) -> None:
    assert await find(store) is None
    assert await keep(store) is None
    token = store.token(tenant(), ALICE)
    assert isinstance(store.cached(token), Miss)
    found = await store.find(token)
    assert isinstance(found, Session)
    assert (found.identity, found.host, found.amr) == (identity(), "", ("pwd",))
    assert (found.client_id, found.tenant) == ("passwords", "acme")
    assert found.expires_at - found.created_at == KEPT_S
    assert store.cached(token) == found
    for other in (Basic("alice", "other"), Basic("bob", ALICE.password), Basic("alice:P", "x")):
        assert await store.find(store.token(tenant(), other)) is None
    assert await worker.sessions.find(token.text, host="") is None, "no cookie is made of it"
    LATER[0] = KEPT_S + 1.0
    assert isinstance(store.cached(token), Miss)


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_revocation_by_any_alias_ends_it_everywhere_and_outdates_who_is_being_asked(
    store: PoolPasswordStore, worker: Worker, marks: Watermarks, who: object
) -> None:
    begun = await store.begin("acme")
    await keep(store)
    token = store.token(tenant(), ALICE)
    assert isinstance(await store.find(token), Session)
    assert (await marks.revoke("acme", at(marks, who))).sessions == 1  # type: ignore[arg-type]  # a table of Who
    await until(lambda: isinstance(store.cached(token), Miss))
    assert await store.find(token) is None
    assert await keep(store, begun) is Reason.SESSION_REVOKED
    assert await keep(store) is None, "who is asked after that"


@pytest.mark.parametrize("who", ALIASES.values(), ids=ALIASES)
async def test_a_block_by_any_alias_keeps_out_whatever_cognito_says(
    store: PoolPasswordStore, marks: Watermarks, who: object
) -> None:
    await marks.revoke("acme", at(marks, who), block_source="okta")  # type: ignore[arg-type]  # a table of Who
    assert await keep(store) is Reason.USER_BLOCKED
    assert await find(store) is None


@pytest.mark.parametrize("who", OTHERS.values(), ids=OTHERS)
async def test_a_revocation_of_somebody_else_changes_nothing(
    store: PoolPasswordStore, marks: Watermarks, who: object
) -> None:
    await keep(store)
    await marks.revoke("acme", at(marks, who), block_source="admin")  # type: ignore[arg-type]  # a table of Who
    assert isinstance(await find(store), Session)


async def test_a_group_that_was_taken_away_is_not_held(
    store: PoolPasswordStore, marks: Watermarks
) -> None:
    await marks.revoke("acme", at(marks, ALIASES["user"], group="admins"))
    assert await keep(store) is None
    found = await find(store)
    assert isinstance(found, Session)
    assert "admins" not in found.identity.groups


async def test_it_takes_no_place_of_a_session_and_is_in_no_list(
    store: PoolPasswordStore, worker: Worker
) -> None:
    few = replace(tenant_of(), session=replace(tenant_of().session, max_per_user=1))
    stored = await Login(worker.sessions, few).finish()
    await keep(store)
    views = await worker.sessions.list_user(stored.session, cookie=stored.cookie.reveal())
    assert [view.session for view in views] == [stored.session.family]
    await Login(worker.sessions, few).finish()
    assert isinstance(await find(store), Session), "a login ends no password"


async def test_a_refusal_is_shared_for_a_minute(
    store: PoolPasswordStore, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = store.token(tenant(), ALICE)
    await store.refuse(token, Reason.POOL_PASSWORD_INVALID)
    assert store.cached(token) is Reason.POOL_PASSWORD_INVALID
    another = store_of(worker)
    assert isinstance(another.cached(token), Miss)
    assert await another.find(token) is Reason.POOL_PASSWORD_INVALID
    assert another.cached(token) is Reason.POOL_PASSWORD_INVALID
    LATER[0] = KEPT_S + 1.0
    assert isinstance(another.cached(token), Miss)
    monkeypatch.setattr("gateway.sessions.pool_password_store.MAX_REFUSALS", 3)
    for n in range(5):
        await store.refuse(store.token(tenant(), Basic(f"u{n}", "x")), Reason.EMAIL_DOMAIN)
    assert len(store._refused) == 3


async def test_nobody_without_the_key_of_the_ring_finds_or_opens_what_is_kept(
    worker: Worker,
) -> None:
    store = store_of(worker)
    assert await keep(store) is None
    before = store.token(tenant(), ALICE)
    answer = await worker.redis.run(READ_POOL_PASSWORD, *read_args(before))
    opened = parse(answer, before, keys=worker.ring.sealing, now=time.time())
    assert opened is not None
    assert isinstance(opened.result, Session)
    other = ring_keys.new_key()
    assert parse(answer, before, keys=(other,), now=time.time()) is None
    assert parse(answer, before, keys=worker.ring.sealing, now=time.time() + KEPT_S) is None
    worker.ring = replace(worker.ring, sealing=(other, *worker.ring.sealing))
    assert store.token(tenant(), ALICE).random != before.random


async def test_a_store_that_was_not_restored_is_not_believed(worker: Worker) -> None:
    store = store_of(worker)
    begun = await store.begin("acme")
    await worker.redis.command("DEL", f"{prefix(bucket_of('acme'))}m")
    with pytest.raises(UnavailableError):
        await store.begin("acme")
    with pytest.raises(UnavailableError):
        await keep(store, begun)


async def test_what_began_on_another_server_is_not_kept(worker: Worker) -> None:
    store = store_of(worker)
    begun = await store.begin("acme")
    with pytest.raises(UnavailableError):
        await keep(store, replace(begun, server="0" * 40))
