"""A link for a colleague: less than its parent's, and never longer."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from gateway.setup.links import Refusal
from gateway.setup.model import (
    COLLEAGUES,
    COLLEAGUES_ASKED,
    COLLEAGUES_WINDOW_S,
    LETTERS,
    Confirm,
    LinkState,
    Part,
)
from tests.portal.conftest import Browser, Desk, token_for
from tests.portal.test_walk import moved

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from gateway.setup.model import SetupLink

HERE = "/setup/colleague"
DNS = "dns@initech.test"


async def ask(browser: Browser, *, email: str = DNS, part: str = "domains") -> ClientResponse:
    return await browser.send(HERE, f"{HERE}/ask", email=email, part=part)


async def opened(desk: Desk, browser: Browser) -> Browser:
    """By the address and the phrase that are on the page."""
    shown = re.findall(r'readonly value="([^"]+)"', browser.last)
    address, phrase = html.unescape(shown[0]), shown[1]
    other = desk.browser()
    path = address.partition("login.example.com")[2]
    response = await other.post(path, {"email": DNS, "phrase": phrase})
    assert response.status == 303, other.last
    other.cookie = response.cookies["__Host-setup"].value
    return other


async def children(desk: Desk, browser: Browser) -> list[SetupLink]:
    return list(await desk.links.of_parent(await desk.link_of(browser)))


async def test_a_colleague_does_what_they_were_asked_for_and_nothing_else(desk: Desk) -> None:
    browser = await desk.claimed()
    parent = await desk.link_of(browser)
    assert (await ask(browser)).status == 200
    other = await opened(desk, browser)
    child = await desk.link_of(other)
    assert (child.request.parts, child.request.recipients) == (frozenset({Part.DOMAINS}), (DNS,))
    assert (child.parent, child.created_by) == (parent.id, f"setup:{parent.id}/it@initech.test")
    assert child.expires_at <= parent.expires_at
    assert child.request.new_tenant is None
    await other.page("/setup/domains")
    for path in ("/setup/provider", "/setup/access", "/setup/offboarding", HERE):
        await other.page(path, status=404)
    # Both work at once, each in a browser of their own.
    await browser.page("/setup")
    delegated = [entry for entry in await desk.audit() if entry.endswith("setup.link.delegated")]
    assert delegated == [f"setup:{parent.id}/it@initech.test setup.link.delegated"]


async def test_no_part_is_handed_on_that_the_link_has_not_or_that_connects(desk: Desk) -> None:
    browser = await desk.claimed(parts=frozenset({Part.SIGN_IN, Part.ACCESS, Part.DOMAINS}))
    for part in ("sign_in", "access", "offboarding", "nonsense"):
        assert (await ask(browser, part=part)).status == 422, part
    assert (await ask(browser, email="nobody")).status == 422
    assert await children(desk, browser) == []

    # Nor whatever a page lets through.
    async def nobody(_connection: object, _made: object) -> bool:
        raise AssertionError

    link = await desk.link_of(browser)
    for parts in ({Part.SIGN_IN}, {Part.DOMAINS, Part.ACCESS}, {Part.OFFBOARDING}, set[Part]()):
        made = await desk.links.delegate(
            link,
            frozenset(parts),
            DNS,
            cookie=browser.cookie or "",
            by_mail=False,
            tell=nobody,
        )
        assert made is Refusal.DEAD, parts
    without = await desk.claimed(parts=frozenset({Part.SIGN_IN}))
    await without.page(HERE, status=404)


async def test_it_ends_with_its_parent_and_by_whoever_asked(desk: Desk) -> None:
    browser = await desk.claimed()
    await ask(browser)
    first = await opened(desk, browser)
    await ask(browser)
    second = await opened(desk, browser)
    ended = (await desk.link_of(first)).id
    stranger = await desk.claimed()
    token = token_for(await browser.page(HERE), f"{HERE}/end")
    foreign = token_for(await stranger.page(HERE), f"{HERE}/ask")
    assert (await stranger.post(f"{HERE}/end", {"token": foreign, "link": ended})).status == 403
    assert not await desk.links.end_colleague(
        await desk.link_of(stranger), ended, cookie=stranger.cookie or ""
    )
    moved(
        await browser.post(f"{HERE}/end", {"token": token, "link": ended}), f"{HERE}?notice=ended"
    )
    await first.page("/setup", status=403)
    await second.page("/setup")
    # Another address for the parent leaves colleagues at work; its end does not.
    parent = await desk.link_of(browser)
    made = await desk.links.replace("initech", parent.id, by="key:other", confirm=Confirm.PHRASE)
    assert made is not None
    await second.page("/setup")
    await desk.links.revoke("initech", made.link.id)
    await second.page("/setup", status=403)


async def test_three_colleagues_at_once(desk: Desk) -> None:
    browser = await desk.claimed()
    for _ in range(COLLEAGUES):
        assert (await ask(browser)).status == 200
    assert (await ask(browser)).status == 422
    first = (await children(desk, browser))[0]
    await desk.links.revoke("initech", first.id)
    assert (await ask(browser)).status == 200
    states = [link.stored_state for link in await children(desk, browser)]
    assert states.count(LinkState.ISSUED) == COLLEAGUES


async def test_where_mail_is_configured_the_link_is_mailed_and_not_shown(desk: Desk) -> None:
    desk.letters.configured = True
    browser = await desk.claimed()
    assert (await ask(browser)).status == 200
    ((what, to, words),) = desk.letters.sent
    assert (what, to, words["name"]) == ("colleague", DNS, "it@initech.test")
    assert str(words["link"]) not in browser.last
    (child,) = await children(desk, browser)
    assert child.request.confirm is Confirm.MAIL


async def test_a_colleague_proves_a_domain_and_does_not_use_it(desk: Desk) -> None:
    browser = await desk.claimed("acme", new_tenant=None)
    assert "Use for sign-in" in await browser.page("/setup/domains")
    assert (await ask(browser)).status == 200
    other = await opened(desk, browser)
    assert "Use for sign-in" not in await other.page("/setup/domains")
    here = "/setup/domains"
    refused = await other.send_without_form(f"{here}/use", domain="proven.test")
    assert refused.status == 403
    assert "decides about the use of a proven domain" in other.last
    assert "proven.test" not in desk.tenants.stored["acme"].document["email_domains"]


async def test_asking_and_ending_again_and_again_sends_five_letters_an_hour(desk: Desk) -> None:
    desk.letters.configured = True
    browser = await desk.claimed()
    for number in range(COLLEAGUES_ASKED):
        assert (await ask(browser, email=f"dns{number}@initech.test")).status == 200
        child = (await children(desk, browser))[0]
        ended = await browser.send(HERE, f"{HERE}/end", link=child.id)
        moved(ended, f"{HERE}?notice=ended")
    assert (await ask(browser, email="another@initech.test")).status == 422
    assert "Five colleagues were asked" in browser.last
    assert len(desk.letters.sent) == COLLEAGUES_ASKED
    # Another address for the link does not begin anew.
    link = await desk.link_of(browser)
    made = await desk.links.replace("initech", link.id, by="key:1", confirm=Confirm.PHRASE)
    assert made is not None
    again = desk.browser()
    await again.claim(made)
    assert (await ask(again)).status == 422
    desk.clock.now += COLLEAGUES_WINDOW_S
    await again.claim(made)
    assert (await ask(again)).status == 200


async def test_one_address_gets_five_letters_an_hour_whoever_asks(desk: Desk) -> None:
    desk.letters.configured = True
    for _ in range(LETTERS):
        assert (await ask(await desk.claimed())).status == 200
    another = await desk.claimed()
    assert (await ask(another)).status == 422
    assert "several letters" in another.last
    assert (await ask(another, email="other@initech.test")).status == 200
    assert len(desk.letters.sent) == LETTERS + 1


async def test_what_is_refused_uses_up_nobodys_letters(desk: Desk) -> None:
    desk.letters.configured = desk.letters.full = True
    browser = await desk.claimed()
    for _ in range(LETTERS):
        assert (await ask(browser)).status == 422
    desk.letters.full = False
    assert (await ask(await desk.claimed())).status == 200


async def test_where_the_letter_is_not_taken_there_is_no_link(desk: Desk) -> None:
    desk.letters.configured = desk.letters.full = True
    browser = await desk.claimed()
    assert (await ask(browser)).status == 422
    assert "was not sent and does not exist" in browser.last
    assert await children(desk, browser) == []
    assert not any("delegated" in entry for entry in await desk.audit())
