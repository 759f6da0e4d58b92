"""What an administrator is handed, and what is still missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select

from gateway.core.model import ProviderKind, Secret
from gateway.database.schema import hook_arrivals, hook_deliveries, hook_inbox, tenants
from gateway.database.tenant_deletion import forget_tenant
from gateway.errors import UnavailableError
from gateway.hooks.event import Source
from gateway.hooks.setup import HookSetup, setup_instructions
from gateway.hooks.sources.okta import EFFECTS
from gateway.tenants.hook_targets import can_say
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import SECRET, entra_target, okta_target

if TYPE_CHECKING:
    from tests.hooks.world import World

URL = "https://hooks.example.com"


def test_okta_is_handed_its_address_and_the_events_to_tick() -> None:
    found = setup_instructions(okta_target(api_token=Secret("t")), URL)
    assert dict(found.addresses)["okta"] == f"{URL}/hooks/okta/acme/acme-okta"
    assert set(found.events) == set(EFFECTS)
    assert found.missing == ()


def test_entra_needs_no_events_and_a_registration() -> None:
    assert setup_instructions(entra_target(), URL).missing == ()
    bare = setup_instructions(replace(entra_target(), client_secret=None, secrets=()), None)
    assert {key for key, _ in bare.missing} == {
        "hooks.url",
        "providers[].hooks.secrets",
        "providers[].hooks.client_secret",
    }
    assert bare.events == ()


def test_the_pools_own_users_have_scim_only() -> None:
    assert [
        name
        for name, _ in setup_instructions(
            replace(okta_target(), kind=ProviderKind.COGNITO), URL
        ).addresses
    ] == ["scim"]


async def test_nothing_then_a_handshake_then_a_wrong_secret_then_it_works(world: World) -> None:
    setup = HookSetup(
        world.database, world.activity_counter, targets=world.targets, url=URL, clock=world.clock
    )

    async def verdict() -> str:
        return (await setup.activity("acme", "acme-okta", since=None)).verdict

    assert await verdict() == "nothing"
    async with world.http.get(
        f"{world.url}/hooks/okta/acme/acme-okta", headers={"X-Okta-Verification-Challenge": "abc"}
    ) as response:
        assert response.status == 200
    assert await verdict() == "handshake"
    world.clock.ahead += 1
    for _ in range(3):
        assert (
            await world.okta(okta_delivery(okta_event("user.session.clear")), secret="guessed")
            == 401
        )
    assert await verdict() == "refused"
    world.clock.ahead += 1
    assert (
        await world.okta(
            okta_delivery(
                okta_event("user.session.clear"), okta_event("user.unheard.of", uuid="u2")
            )
        )
        == 200
    )
    await world.settled()
    assert await verdict() == "works"

    told = await setup.activity("acme", "acme-okta", since=None)
    [refused], [handshake], [taken] = told.refused, told.handshakes, told.taken
    assert (refused.outcome, refused.count, refused.detail) == (
        "unauthenticated",
        3,
        "the Authorization header is not this provider's secret",
    )
    assert (handshake.source, handshake.count) == ("okta", 1)
    assert (taken.source, taken.channel, taken.outcome, taken.count) == (
        "okta",
        "push",
        "accepted",
        1,
    )
    assert told.skipped == (("unknown_type", 1),)
    assert told.last_event is not None
    assert (told.last_event.type, told.last_event.state) == ("user.session.clear", "applied")


async def test_what_was_before_is_not_told(world: World) -> None:
    setup = HookSetup(
        world.database, world.activity_counter, targets=world.targets, url=URL, clock=world.clock
    )
    await world.okta(okta_delivery(okta_event("user.session.clear")), secret="guessed")
    await world.okta(okta_delivery(okta_event("user.session.clear")))
    await world.settled()
    world.clock.ahead += 3600
    told = await setup.activity("acme", "acme-okta", since=world.clock() - 60)
    assert (told.taken, told.refused, told.last_event, told.verdict) == ((), (), None, "nothing")
    assert (await setup.activity("globex", "globex-entra", since=0)).verdict == "nothing"


async def test_a_tenant_made_again_is_not_told_what_its_predecessor_was_sent(world: World) -> None:
    """Also what its predecessor's requests leave behind after the deletion: it is older than the
    tenant.
    """
    setup = HookSetup(
        world.database, world.activity_counter, targets=world.targets, url=URL, clock=world.clock
    )
    await world.okta(okta_delivery(okta_event("user.session.clear")), secret="guessed")
    await world.okta(okta_delivery(okta_event("user.session.clear")))
    await world.settled()
    assert (await setup.activity("acme", "acme-okta", since=0)).taken
    made = {"version": 1, "document": {}, "secrets": "", "updated_at": 0.0}
    async with world.database.write() as connection:
        await connection.execute(
            insert(tenants).values(id="acme", created_at=world.clock() + 1, **made)
        )
    told = await setup.activity("acme", "acme-okta", since=0)
    assert (told.taken, told.refused, told.last_event, told.verdict) == ((), (), None, "nothing")
    async with world.database.write() as connection:
        await forget_tenant(connection, "acme", version=1, at=world.clock())
    async with world.database.read() as connection:
        for table in (hook_arrivals, hook_deliveries, hook_inbox):
            assert (await connection.execute(select(table))).all() == []


async def test_refusals_cost_a_row_a_minute_and_invented_names_cost_none(world: World) -> None:
    for _ in range(20):
        await world.okta(okta_delivery(okta_event("user.session.clear")), secret="guessed")
        await world.okta(
            okta_delivery(okta_event("user.session.clear")), path="/hooks/okta/acme/nobody"
        )
        await world.activity_counter.flush()
    async with world.database.read() as connection:
        rows = (await connection.execute(select(hook_arrivals))).all()
    assert {(r.tenant, r.provider, r.outcome) for r in rows} == {
        ("acme", "acme-okta", "unauthenticated")
    }
    assert sum(r.times for r in rows) == 20
    assert len(rows) <= 2  # a minute may end meanwhile


async def test_what_could_not_be_written_is_counted_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = world.targets.by_key["acme", "acme-okta"]

    async def away(_work: object, **_: object) -> None:
        msg = "SQL is away"
        raise UnavailableError(msg)

    world.activity_counter.note(target, "okta", "unauthenticated", "first")
    with monkeypatch.context() as broken:
        broken.setattr(world.committer, "run", away)
        with pytest.raises(UnavailableError):
            await world.activity_counter.flush()
    world.activity_counter.note(target, "okta", "unauthenticated", "second")
    await world.activity_counter.flush()
    told = await HookSetup(
        world.database, world.activity_counter, targets=world.targets, url=URL, clock=world.clock
    ).activity("acme", "acme-okta", since=0)
    assert sum(a.count for a in told.refused) == 2
    assert told.refused[0].detail == "second"


async def test_a_scim_client_that_asks_is_seen_and_what_it_does_not_find_is_no_refusal(
    world: World,
) -> None:
    setup = HookSetup(
        world.database, world.activity_counter, targets=world.targets, url=URL, clock=world.clock
    )
    for path, status in (("/Users", 200), (f"/Users/{'0' * 8}-0000-0000-0000-{'0' * 12}", 404)):
        async with world.http.get(
            f"{world.url}/scim/v2/acme/acme-okta{path}",
            headers={"Authorization": f"Bearer {SECRET}"},
        ) as response:
            assert response.status == status
    told = await setup.activity("acme", "acme-okta", since=None)
    assert (told.verdict, told.refused) == ("works", ())


@pytest.mark.parametrize("source", Source)
def test_of_every_source_it_is_known_whose_hooks_it_comes_from(source: Source) -> None:
    """Else nobody learns that only an operator lifts what a provider said that is gone."""
    google = replace(
        okta_target(), kind=ProviderKind.GOOGLE, service_account=Secret("its key, as JSON")
    )
    assert any(can_say(target, source.value) for target in (okta_target(), entra_target(), google))
