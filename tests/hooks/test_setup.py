"""What an administrator is handed, and what is still missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.model import ProviderKind, Secret
from gateway.hooks.deliveries import last_arrivals
from gateway.hooks.okta import EFFECTS
from gateway.hooks.setup import setup
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import entra_target, okta_target

if TYPE_CHECKING:
    from tests.hooks.world import World

URL = "https://hooks.example.com"


def test_okta_is_handed_its_address_and_the_events_to_tick() -> None:
    found = setup(okta_target(api_token=Secret("t")), URL)
    assert dict(found.addresses)["okta"] == f"{URL}/hooks/okta/acme/acme-okta"
    assert set(found.events) == set(EFFECTS)
    assert found.missing == ()


def test_entra_needs_no_events_and_a_registration() -> None:
    assert setup(entra_target(), URL).missing == ()
    bare = setup(replace(entra_target(), client_secret=None, secrets=()), None)
    assert {key for key, _ in bare.missing} == {"hooks.url", "providers[].hooks.secrets", "providers[].hooks.client_secret"}
    assert bare.events == ()


def test_the_pools_own_users_have_scim_only() -> None:
    assert [name for name, _ in setup(replace(okta_target(), kind=ProviderKind.COGNITO), URL).addresses] == ["scim"]


async def test_what_arrived_last_is_told_by_sender(world: World) -> None:
    assert await last_arrivals(world.database, "acme", "acme-okta") == ()
    for _ in range(2):
        await world.okta(okta_delivery(okta_event("user.session.clear")))
    [arrival] = await last_arrivals(world.database, "acme", "acme-okta")
    assert (arrival.source, arrival.channel, arrival.outcome) == ("okta", "push", "duplicate")
