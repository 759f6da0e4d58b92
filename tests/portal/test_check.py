"""The form of the connection is looked at while it is typed: what saving would find, no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import FormData

from gateway.cognito.oidc_presets import ISSUERS, OidcPreset
from gateway.portal.application import CHECKS
from gateway.portal.guides import COPY, GUIDES, THEIR_NAMES
from gateway.provisioning.request import MAX_ISSUER
from tests.portal.conftest import EVIL, ISSUER
from tests.portal.test_walk import choose

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from tests.portal.conftest import Browser, Desk

CHECK, VALUES = "/setup/connection/check", "/setup/connection/values"
SECRET = "the client's secret"


def document(**changes: object) -> dict[str, object]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "userinfo_endpoint": f"{ISSUER}/userinfo",
        "jwks_uri": f"{ISSUER}/keys",
        **changes,
    }


async def check(browser: Browser, **typed: str) -> ClientResponse:
    return await browser.post(CHECK, {"token": await token(browser), **typed})


async def token(browser: Browser) -> str:
    """As it stands in what sends the check, outside of the form."""
    found = re.search(r"hx-vals='\{\"token\": \"([^\"]+)\"\}'", await browser.page(VALUES))
    assert found is not None
    return found[1]


async def test_what_was_found_stands_beside_the_field_and_nothing_is_stored(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser)
    before, records = await desk.link_of(browser), await desk.audit()
    desk.published.documents[ISSUER] = document()
    answer = await check(browser, issuer=f" {ISSUER} ", client_id="a b", client_secret=SECRET)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    issuer, client_id = re.findall(r'<span id="(?:issuer|client_id)-check".*', browser.last)
    assert f"{ISSUER}/authorize" in issuer
    assert f"{ISSUER}/token" in issuer
    assert "has no spaces" in client_id
    assert SECRET not in browser.last
    assert await desk.link_of(browser) == before
    assert await desk.audit() == records
    assert desk.onboarding.bodies == []


async def test_an_address_that_saving_would_find_too_long_is_not_asked(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser)
    long = f"{ISSUER}/{'a' * MAX_ISSUER}"
    desk.published.documents[long] = document(issuer=long)
    await check(browser, issuer=long)
    assert "This address is too long." in browser.last
    assert len(browser.last) < 4 * MAX_ISSUER
    assert "/authorize" not in browser.last


async def test_what_saving_would_refuse_is_said_in_its_words(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser)
    await check(browser, issuer=f"https://not.{ISSUER.removeprefix('https://')}")
    assert "answered 404" in browser.last
    desk.published.documents[ISSUER] = document(issuer=EVIL, token_endpoint=None)
    await check(browser, issuer=ISSUER)
    assert "names the issuer" in browser.last
    assert "has no token_endpoint" in browser.last
    assert "<script" not in browser.last
    assert "<img" not in browser.last
    desk.published.asked.clear()
    await check(browser, issuer="http://initech.okta.com")
    assert "must be https" in browser.last
    for broken in ("https://[", "https://a]b"):
        assert (await check(browser, issuer=broken)).status == 200
        assert "not a URL" in browser.last
    await check(browser, issuer="")
    assert 'class="bad"' not in browser.last, "what is empty is not wrong yet"
    assert desk.published.asked == []


async def test_metadata_are_read_from_an_address_or_a_file(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser, "okta/saml")
    desk.published.texts["https://idp.example/metadata"] = b"<html>"
    await check(browser, metadata_url="https://idp.example/metadata")
    assert "not XML" in browser.last
    form = FormData()
    form.add_field("token", await token(browser))
    form.add_field("metadata_url", "")
    form.add_field("metadata_file", b"<html></html>", filename="page.xml")
    assert (await browser.post(CHECK, form)).status == 200
    assert "This is a web page, not SAML metadata." in browser.last
    await check(browser, metadata="<x>", metadata_url="https://idp.example/metadata")
    assert "one of the three" in browser.last


async def test_nobody_elses_page_asks_and_nobody_asks_without_end(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser)
    own = await token(browser)
    foreign = await browser.post(
        CHECK, {"token": own, "issuer": ISSUER}, Origin="https://evil.test"
    )
    assert foreign.status == 403
    assert (await browser.post(CHECK, {"token": "x", "issuer": ISSUER})).status == 403
    assert desk.published.asked == []
    for _ in range(CHECKS):
        assert (await browser.post(CHECK, {"token": own, "issuer": ""})).status == 200
    assert (await browser.post(CHECK, {"token": own, "issuer": ISSUER})).status == 429
    assert desk.published.asked == []
    # What is saved is counted by itself.
    assert (await browser.send("/setup/provider", "/setup/provider/choose", choice="okta/oidc")).ok


async def test_only_this_page_has_a_script_and_the_secret_is_outside_of_what_it_sends(
    desk: Desk,
) -> None:
    browser = await desk.claimed()
    await choose(browser)
    response = await browser.get(VALUES)
    [nonce] = re.findall(r"script-src 'nonce-([^']+)'", response.headers["Content-Security-Policy"])
    assert set(re.findall(r'nonce="([^"]+)"', browser.last)) == {nonce}
    [script] = re.findall(r'<script[^>]*src="([^"]+)"', browser.last)
    [asks] = re.findall(r"<div hx-post.*", browser.last)
    assert "secret" not in asks
    assert browser.last.index("</form>\n<div") > browser.last.index('id="client_secret"')
    assert (await browser.get(script)).content_type == "text/javascript"
    other = await browser.get("/setup/provider")
    assert "script-src" not in other.headers["Content-Security-Policy"]
    assert "<script" not in browser.last


def test_what_they_call_a_value_is_what_the_guide_says_to_copy() -> None:
    for provider, names in THEIR_NAMES.items():
        steps = [
            step
            for (name, _), guide in GUIDES.items()
            if name is provider
            for screen in guide.screens
            for step in screen.steps
        ]
        assert set(names.values()) <= {step.label for step in steps if step.kind == COPY}


async def test_the_form_names_values_as_they_do_and_types_what_is_always_the_same(
    desk: Desk,
) -> None:
    browser = await desk.claimed()
    await choose(browser, "entra/oidc")
    page = await browser.page(VALUES)
    assert "<strong>Directory (tenant) ID</strong>" in page
    assert "<strong>Application (client) ID</strong>" in page
    await choose(browser, "jumpcloud/oidc")
    assert f'value="{ISSUERS[OidcPreset.JUMPCLOUD]}"' in await browser.page(VALUES)
