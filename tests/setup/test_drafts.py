"""Domains that a link holds for the tenant that it makes: they end with it, or become the
tenant's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert

from gateway.database.schema import tenants
from gateway.domains.records import DomainRecords, TakenError
from gateway.domains.state import HELD
from gateway.setup.links import SetupLinks
from gateway.setup.model import Confirm
from tests.setup.test_links import REQUEST

if TYPE_CHECKING:
    from gateway.database.engine import Database
    from gateway.setup.model import SetupLink
    from tests.admin.conftest import Clock


class Held:
    """What tenants hold, and links for them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.links = SetupLinks(database, clock=clock)
        self.records = DomainRecords(database, clock=clock)

    async def link(self, tenant: str = "initech") -> SetupLink:
        return (await self.links.create(tenant, REQUEST, by="key:1")).link

    async def add(self, link: SetupLink, domain: str = "initech.test") -> None:
        await self.records.add(
            link.tenant, domain, "v", of_others=lambda _: False, link=link.draft_of
        )
        await self.records.vouch(
            link.tenant, domain, by="key:1", reason="known", of_others=lambda _: False
        )

    async def of(self, tenant: str = "initech") -> list[str]:
        return [
            each.domain for each in await self.records.of(tenant) if each.standing.state in HELD
        ]

    async def make(self, tenant: str = "initech") -> None:
        async with self.database.write() as connection:
            await connection.execute(
                insert(tenants).values(
                    id=tenant,
                    version=1,
                    document={},
                    secrets="",
                    created_at=0.0,
                    updated_at=0.0,
                )
            )


@pytest.fixture
def held(database: Database, clock: Clock) -> Held:
    return Held(database, clock)


async def test_what_a_link_holds_nobody_else_proves_and_it_ends_with_the_link(held: Held) -> None:
    link = await held.link()
    await held.add(link)
    other = await held.link("globex")
    with pytest.raises(TakenError):
        await held.add(other)
    await held.links.revoke("globex", other.id)
    assert await held.of() == ["initech.test"]
    await held.links.revoke("initech", link.id)
    assert await held.of() == []
    await held.add(await held.link("globex"))
    assert await held.of("globex") == ["initech.test"]


async def test_it_ends_with_the_links_time(held: Held, clock: Clock) -> None:
    await held.add(await held.link())
    await held.links.forget_drafts()
    assert await held.of() == ["initech.test"]
    clock.now += REQUEST.lifetime_s
    await held.links.forget_drafts()
    assert await held.of() == []


async def test_another_address_for_the_link_goes_on_with_it(held: Held) -> None:
    link = await held.link()
    await held.add(link)
    made = await held.links.replace("initech", link.id, by="key:2", confirm=Confirm.PHRASE)
    assert made is not None
    await held.links.forget_drafts()
    assert await held.of() == ["initech.test"]
    await held.links.revoke("initech", made.link.id)
    assert await held.of() == []


@pytest.mark.parametrize("told", [True, False], ids=["told", "its page did not come to its end"])
async def test_made_the_tenant_keeps_it_whatever_becomes_of_the_link(
    held: Held, clock: Clock, *, told: bool
) -> None:
    link = await held.link()
    await held.add(link)
    await held.make()
    if told:
        await held.links.take_over_domains(link)
    await held.links.revoke("initech", link.id)
    assert await held.of() == ["initech.test"]
    clock.now += REQUEST.lifetime_s
    await held.links.forget_drafts()
    assert await held.of() == ["initech.test"]
    # Taken over, it is not the link's any more, even where the tenant is gone later.
    async with held.database.write() as connection:
        await connection.execute(delete(tenants))
    await held.links.forget_drafts()
    assert await held.of() == ["initech.test"]


async def test_a_link_of_a_tenant_that_exists_holds_nothing(held: Held) -> None:
    request = replace(REQUEST, new_tenant=None)
    assert (await held.links.create("acme", request, by="key:1")).link.draft_of == ""
    link = await held.link()
    made = replace(link, work=replace(link.work, made=("initech-okta",)))
    assert made.draft_of == ""
