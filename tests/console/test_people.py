"""People in the console: found, explained, ended, blocked, given back."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.paging import Page
from gateway.core.revocation import Who
from gateway.revocation.blocks import BlockView
from tests.admin.rooms import Blocks, Register, Revocations
from tests.console.conftest import EVIL, changes, token_for

if TYPE_CHECKING:
    from tests.console.conftest import Desk

ONE = "/console/people/acme/u1"
ME = "person:dana-sub"


async def test_people_are_found_by_tenant_and_by_address_alone(desk: Desk) -> None:
    by_tenant = await desk.text("/console/people?tenant=acme", "support")
    assert "/console/people/acme/u1" in by_tenant
    person = (await Register().find("acme", "u1")).email  # type: ignore[union-attr]  # there is one
    desk.tenants.stored = {person.rpartition("@")[2]: desk.tenants.stored["acme"]}
    by_address = await desk.text(f"/console/people?email={person}", "support")
    assert "/console/people/acme/u1" in by_address
    assert "Enter an e-mail address" in await desk.text("/console/people?email=x", "support")


async def test_whoever_is_limited_to_a_tenant_finds_nobody_of_another(desk: Desk) -> None:
    await desk.text("/console/people?tenant=globex", "acme-team", status=403)
    await desk.text("/console/people/globex/u1", "acme-team", status=403)
    await desk.text(ONE, "acme-team")


async def test_a_request_of_theirs_is_explained(desk: Desk) -> None:
    text = await desk.text(f"{ONE}?host=acme.example.com&path=/admin", "support")
    assert "<code>group_missing</code>" in text
    assert "not allowed" in text
    assert "group_missing" not in await desk.text(ONE, "support")


@pytest.mark.parametrize(
    ("who", "theirs"),
    [
        (Who(), True),
        (Who(group="app-users"), True),
        (Who(group="others"), False),
        (Who(email="mallory@acme.test"), False),
        (Who(session="f"), False),
        (Who(provider="other"), False),
    ],
)
async def test_what_stands_against_them_is_shown_with_who_imposed_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, who: Who, theirs: bool
) -> None:
    await desk.text(ONE, "support")
    known = await Register().find("acme", "u1")
    assert known is not None
    named = replace(who, user=known.user) if who == Who() else who

    async def page(_self: Blocks, **_: Any) -> Page[BlockView]:
        return Page([BlockView("acme:7", "acme", named, "left us", "okta:acme-okta", 1.0)])

    monkeypatch.setattr(Blocks, "page", page)
    monkeypatch.setattr(Register, "person", replace(known, groups=("app-users",)), raising=False)
    text = await desk.text(ONE, "support")
    if named.group is not None and "app-users" not in known.groups:
        theirs = False
    assert ("left us" in text) is theirs
    assert ("okta:acme-okta" in text) is theirs


async def test_what_was_not_looked_at_is_never_told_as_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(_self: Blocks, **_: Any) -> Page[BlockView]:
        other = BlockView("acme:7", "acme", Who(user="u9"), "left us", "okta:acme-okta", 1.0)
        return Page([other], "1.0 acme-7")

    assert "Nothing stands against this person." in await desk.text(ONE, "support")
    monkeypatch.setattr(Blocks, "page", page)
    text = await desk.text(ONE, "support")
    assert "Nothing stands against this person." not in text
    assert "more blocks than were looked at" in text


async def test_what_is_remembered_of_them_is_shown_and_given_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await Register().find("acme", "u1")
    assert known is not None

    async def remembered(_self: Blocks, **_: Any) -> Page[BlockView]:
        who = Who(email=known.email, provider=known.provider or None)
        return Page(
            [BlockView("s7", "acme", who, "group.remove", "okta", 1.0, "interns", in_force=False)]
        )

    monkeypatch.setattr(Blocks, "remembered", remembered)
    for path in (ONE, "/console/blocks?tenant=acme&kind=remembered"):
        text = await desk.text(path, "support")
        assert "interns" in text
        assert "remembered only" in text
        assert "Give back" in text


async def test_all_blocks_of_a_tenant_are_listed_and_lifted(desk: Desk) -> None:
    page = await desk.text("/console/blocks?tenant=acme", "support")
    assert "mallory@acme.test" in page
    lift = "/console/blocks/acme/acme:1/lift"
    response = await desk.post(lift, {"token": token_for(page, lift)}, "support")
    assert response.headers["Location"] == "/console/blocks?tenant=acme&notice=lifted"
    assert await changes(desk) == [(ME, "remove_block", "done")]
    nobody = await desk.text("/console/blocks?tenant=acme&kind=remembered", "support")
    assert "Nothing is remembered." in nobody
    await desk.text("/console/blocks?tenant=globex", "acme-team", status=403)


async def test_sessions_end_a_block_stands_and_is_lifted_by_forms(desk: Desk) -> None:
    page = await desk.text(ONE, "support")
    end, block = f"{ONE}/end", f"{ONE}/block"
    response = await desk.post(end, {"token": token_for(page, end)}, "support")
    assert response.headers["Location"].startswith("/console/revocations/acme/")
    form = {"token": token_for(page, block), "reason": "stolen laptop"}
    response = await desk.post(block, form, "support")
    assert response.headers["Location"] == f"{ONE}?notice=blocked"
    revoker = desk.api.services.revoker
    assert isinstance(revoker, Revocations)
    known = await Register().find("acme", "u1")
    assert known is not None
    assert [one.request.who.user for one in revoker.done.values()] == [known.user] * 2
    assert [one.request.reason for one in revoker.done.values()][1] == "stolen laptop"
    assert await changes(desk) == [(ME, "add_block", "done"), (ME, "revoke", "done")]


async def test_what_an_operator_imposed_nobody_of_one_tenant_lifts(desk: Desk) -> None:
    path = f"{ONE}/blocks/acme:1/lift"
    page = (await desk.text(ONE, "support")).replace(f"{ONE}/end", path)
    token = await form_token(desk, path, "support")
    assert token_for(page, path) != token, "a token is of one form"
    response = await desk.post(path, {"token": token}, "support")
    assert response.headers["Location"] == f"{ONE}?notice=lifted"
    token = await form_token(desk, path, "acme-team")
    refused = await desk.post(path, {"token": token}, "acme-team")
    assert refused.status == 403
    foreign = f"{ONE}/blocks/globex:1/lift"
    token = await form_token(desk, foreign, "acme-team")
    assert (await desk.post(foreign, {"token": token}, "acme-team")).status == 404


async def form_token(desk: Desk, path: str, *groups: str) -> str:
    """As a page of that person would have it for a form that is sent to ``path``."""
    from gateway.console.sign_in import Person
    from gateway.pages.forms import FormTokens

    person = Person("dana-sub", "", "", "ops", "", frozenset(groups), int(desk.clock()) - 60)
    return FormTokens("console form", lambda: (b"form key of this ring",)).issue(
        person.sign_in, path
    )


@pytest.mark.parametrize("path", ["/console/people", ONE, "/console/deliveries"])
async def test_nothing_that_a_provider_names_becomes_markup(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    known = await Register().find("acme", "u1")
    assert known is not None
    evil = replace(
        known, email=EVIL, name=EVIL, provider=EVIL, groups=(EVIL,), roles=(EVIL,), idp_subject=EVIL
    )

    async def find(*_: Any) -> Any:
        return evil

    async def page(*_: Any, **__: Any) -> Any:
        return Page([evil])

    monkeypatch.setattr(Register, "find", find)
    monkeypatch.setattr(Register, "page", page)
    response = await desk.client.get(
        path,
        params={"tenant": "acme", "email": EVIL, "group": EVIL, "host": EVIL[:60], "path": EVIL},
        headers={"X-Auth-Request-Jwt": desk.assertion("admins")},
    )
    assert not re.search(r"<(script>|img)", await response.text())
