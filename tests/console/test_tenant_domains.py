"""Domains of a tenant, and whether removals are told, in the console."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from gateway.console.sign_in import Person
from gateway.database.schema import domains
from gateway.domains.state import DomainState
from gateway.hooks.coverage import Coverage, Gap, Missing, State, Way
from gateway.pages.forms import FormTokens
from tests.admin.rooms import Claims, Coverages
from tests.console.conftest import EVIL, changes, token_for

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from gateway.database.engine import Database
    from gateway.domains.records import Domain
    from tests.console.conftest import Desk, Forms

DOMAINS = "/console/tenants/acme/domains"
REMOVALS = "/console/tenants/acme/removals"
ME = "person:dana-sub"


async def test_each_domain_is_shown_with_its_record_state_and_use(desk: Desk) -> None:
    text = await desk.text(DOMAINS, "support")
    assert "<code>_gateway-verify.acme.test</code>" in text
    assert "<code>gateway-verify=abcdefghijklmnopqrstuvwxyz</code>" in text
    assert "waiting for DNS" in text
    assert "proven" in text
    assert "9.9.9.9: not there" in text
    assert "<form" not in text.partition("<main")[2], "support changes nothing"
    assert "has claimed no domain" in await desk.text("/console/tenants/globex/domains", "support")


async def test_a_domain_is_claimed_looked_for_used_and_given_up(desk: Desk) -> None:
    page = await desk.text(DOMAINS, "admins")
    for action, form, notice in (
        (DOMAINS, {"domain": "new.test"}, "domain_added"),
        (f"{DOMAINS}/acme.test/check", {}, "domain_checked"),
        (f"{DOMAINS}/acme.test/vouch", {"reason": "their contract"}, "domain_vouched"),
        (f"{DOMAINS}/acme.test/remove", {}, "domain_removed"),
    ):
        response = await desk.post(action, {"token": token_for(page, action), **form}, "admins")
        assert response.headers.get("Location") == f"{DOMAINS}?notice={notice}"
    done = [(who, what) for who, what, outcome in await changes(desk) if outcome == "done"]
    assert done == [
        (ME, f"{operation}_domain") for operation in ("remove", "vouch", "check", "add")
    ]


async def test_a_proven_domain_is_used_once_it_was_seen_who_gets_in(
    forms: Forms, database: Database
) -> None:
    apply = "/console/tenants/acme/apply"
    shown = await (await use(forms.desk, "proven.test")).text()
    assert "Nothing has been changed yet." in shown
    assert "0 people lose access" in shown
    assert "proven.test" not in (await forms.stored())["tenant"]["email_domains"]
    # The database does not hold it: the proof ended since.
    await forms.send(shown, apply, {}, "admins", status=409)
    assert "proven.test" not in (await forms.stored())["tenant"]["email_domains"]
    row = {"tenant": "acme", "domain": "proven.test", "holder": "proven.test", "value": "x"}
    async with database.write() as connection:
        await connection.execute(
            insert(domains).values(**row, state="verified", added_at=1.0, result=[])
        )
    await forms.send(shown, apply, {}, "admins", status=303)
    assert "proven.test" in (await forms.stored())["tenant"]["email_domains"]
    assert (ME, "use_domain", "done") in await changes(forms.desk)


@pytest.mark.parametrize("domain", ["acme.test", "unclaimed.test"])
async def test_a_domain_that_is_not_held_is_not_used(forms: Forms, domain: str) -> None:
    response = await use(forms.desk, domain)
    assert response.status == 422
    assert "the domain is not proven" in await response.text()


async def use(desk: Desk, domain: str) -> ClientResponse:
    path = f"{DOMAINS}/{domain}/use"
    person = Person("dana-sub", "", "", "ops", "", frozenset(), int(desk.clock()) - 60)
    tokens = FormTokens("console form", lambda: (b"form key of this ring",))
    return await desk.post(path, {"token": tokens.issue(person.sign_in, path)}, "admins")


@pytest.mark.parametrize("typed", ["not a domain", "taken.test", ""])
async def test_what_the_api_refuses_is_told_above_the_form(desk: Desk, typed: str) -> None:
    page = await desk.text(DOMAINS, "admins")
    form = {"token": token_for(page, DOMAINS), "domain": typed}
    response = await desk.post(DOMAINS, form, "admins")
    assert response.status == 422
    text = await response.text()
    assert '<p class="problem" role="alert" id="wrong">' in text
    assert f'value="{typed}"' in text


async def test_only_an_operator_of_all_tenants_takes_a_domain_by_word(desk: Desk) -> None:
    vouch = f"{DOMAINS}/acme.test/vouch"
    assert vouch in await desk.text(DOMAINS, "admins")
    assert vouch not in await desk.text(DOMAINS, "acme-writers")
    await desk.text("/console/tenants/globex/domains", "acme-writers", status=403)


async def test_a_removal_is_told_completely_or_what_is_missing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = await desk.text(REMOVALS, "setup")
    assert "not told" in text
    assert "Okta System Log" in text

    async def complete(_self: Coverages, tenant: str) -> list[Coverage]:
        return [Coverage(tenant, "p", "okta", State.COMPLETE, (Way.OKTA_LOG,), (Way.SCIM,), ())]

    monkeypatch.setattr(Coverages, "of", complete)
    text = await desk.text(REMOVALS, "setup")
    assert "told completely" in text
    assert "What is missing" not in text
    await desk.text(REMOVALS, "support", status=403)
    assert "/acme/removals" not in await desk.text("/console/tenants/acme", "support")


async def test_no_text_of_a_domain_or_a_provider_becomes_markup(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Claims._one

    def evil(self: Claims, tenant: str, domain: str) -> Domain:
        found = one(self, tenant, domain)
        standing = replace(found.standing, state=DomainState.LOST)
        servers = ((EVIL, "absent"),)
        return replace(
            found, standing=standing, others=(EVIL,), servers=servers, vouched_by=EVIL, reason=EVIL
        )

    async def missing(_self: Coverages, tenant: str) -> list[Coverage]:
        gap = Missing(Way.SCIM, Gap.SILENT, EVIL, EVIL)
        return [Coverage(tenant, EVIL, EVIL, State.INCOMPLETE, (), (), (gap,))]

    monkeypatch.setattr(Claims, "_one", evil)
    monkeypatch.setattr(Coverages, "of", missing)
    for path in (DOMAINS, REMOVALS):
        text = await desk.text(path, "admins")
        assert "<img" not in text
        assert "&lt;script&gt;" in text
