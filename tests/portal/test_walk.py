"""From the address to live, as a customer's administrator walks it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData

from gateway.core import signed_link
from gateway.portal.guides import GUIDES, NAMES, protocols_of
from gateway.portal.views import PAGES, offboarding
from gateway.provisioning.plan_rows import Plan
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.proposal import Proposal
from gateway.setup.model import Approval, LinkState, Part, Phase, Protocol, SetupProvider
from tests.portal.conftest import ALL_PARTS, ISSUER, NEW, Browser, Desk, Provisioned, token_for

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from gateway.portal.visit import Visit

VALUES = {"issuer": ISSUER, "client_id": "0oa1", "client_secret": "s3cr3t-of-okta"}


def result(**changes: Any) -> signed_link.Result:
    values: dict[str, Any] = {
        "state": "done",
        "at": 1_800_000_000.0,
        "provider": "initech-okta",
        "detail": "provider_inactive",
        "groups": ("app-users", "staff"),
        "claims": ("email", "custom:groups"),
    }
    return signed_link.Result(**{**values, **changes})


def moved(response: ClientResponse, to: str) -> None:
    assert (response.status, response.headers["Location"]) == (303, to)


async def choose(browser: Browser, choice: str = "okta/oidc") -> None:
    response = await browser.send("/setup/provider", "/setup/provider/choose", choice=choice)
    moved(response, "/setup/connection/1")


async def connect(browser: Browser, **values: str) -> ClientResponse:
    return await browser.send(
        "/setup/connection/values", "/setup/connection/save", **{**VALUES, **values}
    )


async def run_test(desk: Desk, browser: Browser) -> None:
    await choose(browser)
    moved(await connect(browser), "/setup/test?notice=connected")
    moved(await browser.send("/setup/test", "/setup/test/start"), "/setup/test?notice=test_ready")
    desk.tests.result_of_all = result()
    moved(await browser.send("/setup/test", "/setup/test/check"), "/setup/test?notice=passed")


async def test_from_nothing_to_live(desk: Desk) -> None:
    browser = await desk.claimed()
    page = await browser.page("/setup")
    assert page.count("Later") == 5
    await run_test(desk, browser)
    (body,) = desk.onboarding.bodies
    assert (body.name, body.hosts, body.allowed_groups) == (NEW.name, NEW.hosts, [])
    assert body.all_providers[0].active is False
    document = desk.tenants.stored["initech"].document
    assert document["allowed_groups"] == []  # closed until somebody chose
    page = await browser.page("/setup/access")
    assert "app-users" in page
    saved = await browser.send(
        "/setup/access", "/setup/access/save", who="groups", group="app-users", others="extra\n"
    )
    moved(saved, "/setup/access?notice=saved")
    page = await browser.page("/setup/review")
    assert VALUES["client_secret"] not in page
    assert not desk.tenants.stored["initech"].document["providers"][0]["active"]
    done = await browser.send("/setup/review", "/setup/review/finish")
    moved(done, "/setup/review?notice=live")
    document = desk.tenants.stored["initech"].document
    assert document["providers"][0]["active"]
    assert sorted(document["allowed_groups"]) == ["app-users", "extra"]
    link = await desk.link_of(browser)
    assert (link.stored_state, link.work.phase) == (LinkState.COMPLETED, Phase.LIVE)
    assert "You are live" in await browser.page("/setup/review?notice=live")


async def test_every_step_is_on_record_as_the_links_holder(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    link = await desk.link_of(browser)
    actor = f"setup:{link.id}/it@initech.test"
    done = [entry.removeprefix(f"{actor} ") for entry in await desk.audit() if actor in entry]
    assert done[::-1] == [
        "setup.link.claimed",
        "setup.provider.chosen",
        "provision",
        "setup.connection.saved",
        "test_tenant",
        "setup.test.started",
        "setup.test.passed",
    ]


async def test_where_an_operator_approves_nothing_goes_live_by_itself(desk: Desk) -> None:
    parts = ALL_PARTS - {Part.ACCESS}
    browser = await desk.claimed(approval=Approval.REQUIRED, parts=parts)
    await run_test(desk, browser)
    sent = await browser.send("/setup/review", "/setup/review/finish")
    moved(sent, "/setup/review?notice=submitted")
    link = await desk.link_of(browser)
    assert link.work.phase is Phase.SUBMITTED
    assert not desk.tenants.stored["initech"].document["providers"][0]["active"]
    assert "Waiting for approval" in await browser.page("/setup/review")
    approve = f"/tenants/initech/setup-links/{link.id}/approve"
    assert (await desk.api.call("POST", approve)).status == 200
    assert desk.tenants.stored["initech"].document["providers"][0]["active"]


async def test_another_value_has_to_be_tested_again(desk: Desk) -> None:
    browser = await desk.claimed(approval=Approval.REQUIRED)
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="everyone", confirmed="yes")
    await browser.send("/setup/review", "/setup/review/finish")
    assert (await desk.link_of(browser)).work.phase is Phase.SUBMITTED
    await connect(browser, client_id="0oa2")
    link = await desk.link_of(browser)
    assert (link.work.phase, link.work.tested_at, link.ready) == (Phase.SAVED, None, False)
    moved(await browser.get("/setup/review"), "/setup")
    assert desk.onboarding.bodies[-1].name is None  # the tenant is the operator's now


async def test_nothing_goes_live_while_other_values_are_stored(desk: Desk) -> None:
    """The operator approves at the moment that the provider in the pool has changed."""
    browser = await desk.claimed(approval=Approval.REQUIRED)
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="everyone", confirmed="yes")
    await browser.send("/setup/review", "/setup/review/finish")
    link, statuses = await desk.link_of(browser), list[int]()

    async def approve() -> None:
        answer = await desk.api.call("POST", f"/tenants/initech/setup-links/{link.id}/approve")
        statuses.append(answer.status)

    desk.onboarding.applied = approve
    moved(await connect(browser, client_id="0oa2"), "/setup/test?notice=connected")
    assert statuses == [409]
    assert not desk.tenants.stored["initech"].document["providers"][0]["active"]
    assert (await desk.link_of(browser)).work.phase is Phase.SAVED


async def test_a_form_that_came_second_changes_no_provider(desk: Desk) -> None:
    browser = await desk.claimed(approval=Approval.REQUIRED)
    await run_test(desk, browser)
    statuses = list[int]()

    async def press_again() -> None:
        desk.onboarding.applied = None
        statuses.append((await connect(browser, client_id="0oa3")).status)

    desk.onboarding.applied = press_again
    assert (await connect(browser, client_id="0oa2")).status == 409
    assert statuses == [303]
    link = await desk.link_of(browser)
    assert (link.work.values["client_id"], link.work.tested_at) == ("0oa3", None)


async def test_other_groups_have_to_be_submitted_again(desk: Desk) -> None:
    browser = await desk.claimed(approval=Approval.REQUIRED)
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="groups", group="app-users")
    await browser.send("/setup/review", "/setup/review/finish")
    await browser.send("/setup/access", "/setup/access/save", who="groups", group="staff")
    link = await desk.link_of(browser)
    assert link.work.phase is Phase.TESTED
    refused = await desk.api.call("POST", f"/tenants/initech/setup-links/{link.id}/approve")
    assert refused.status == 409


@pytest.mark.parametrize(
    "change",
    [
        {"state": "begun"},
        {"state": "cognito", "detail": "invalid_client"},
        {"provider": "initech-entra"},
        {"detail": "email_domain"},
        {"detail": "idp_error"},
    ],
)
async def test_only_a_sign_in_that_came_all_the_way_passes(
    desk: Desk, change: dict[str, Any]
) -> None:
    browser = await desk.claimed()
    await choose(browser)
    await connect(browser)
    await browser.send("/setup/test", "/setup/test/start")
    desk.tests.result_of_all = result(**change)
    await browser.send("/setup/test", "/setup/test/check")
    assert (await desk.link_of(browser)).work.tested_at is None
    moved(await browser.get("/setup/access"), "/setup")
    moved(await browser.get("/setup/review"), "/setup")


async def test_what_people_sign_in_with_is_not_replaced(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    record = desk.tenants.stored["initech"]
    record.document["providers"][0]["active"] = True
    refused = await connect(browser)
    assert refused.status == 409
    assert len(desk.onboarding.bodies) == 1


@pytest.mark.parametrize("active", [True, False])
async def test_another_provider_of_the_tenant_is_not_taken_away(desk: Desk, active: bool) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    providers = desk.tenants.stored["initech"].document["providers"]
    providers.append({**providers[0], "name": "initech-entra", "active": active})
    assert (await connect(browser, client_id="0oa2")).status == 409
    assert len(desk.onboarding.bodies) == 1


async def test_the_links_own_provider_gives_way_to_another(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    await choose(browser, "okta/saml")
    saved = await browser.send(
        "/setup/connection/values", "/setup/connection/save", metadata_url="https://idp.example/m"
    )
    moved(saved, "/setup/test?notice=connected")
    names = [p["name"] for p in desk.tenants.stored["initech"].document["providers"]]
    assert names == ["initech-saml"]


@pytest.mark.parametrize("chosen_again", [True, False])
async def test_a_tenant_that_was_taken_away_is_not_made_again(
    desk: Desk, chosen_again: bool
) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    if chosen_again:
        await choose(browser, "okta/saml")
        await choose(browser)
    del desk.tenants.stored["initech"]
    assert (await connect(browser)).status == 409
    assert "was removed here" in browser.last
    assert "initech" not in desk.tenants.stored


async def test_what_is_live_is_changed_by_no_form(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="everyone", confirmed="yes")
    page = {
        "/setup/provider/choose": await browser.page("/setup/provider"),
        "/setup/connection/save": await browser.page("/setup/connection/values"),
        "/setup/test/start": await browser.page("/setup/test"),
        "/setup/access/save": await browser.page("/setup/access"),
    }
    await browser.send("/setup/review", "/setup/review/finish")
    for action, text in page.items():
        token = re.search(rf'action="{action}".*?name="token" value="([^"]+)"', text, re.DOTALL)
        assert token is not None
        assert (await browser.post(action, {"token": token[1], **VALUES})).status == 409, action


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"issuer": ""}, "Enter a value"),
        ({"client_secret": "0oa1"}, "This is the client ID"),
        ({"secret_expires": "2020-01-01"}, "This date has passed"),
        ({"secret_expires": "soon"}, "YYYY-MM-DD"),
        ({"issuer": "https://login.microsoftonline.com/common/v2.0"}, "own ID instead of common"),
    ],
)
async def test_mistakes_are_told_beside_the_field(
    desk: Desk, fields: dict[str, str], words: str
) -> None:
    browser = await desk.claimed()
    await choose(browser)
    response = await connect(browser, **fields)
    assert response.status == 422
    assert words in html.unescape(browser.last)
    assert VALUES["client_secret"] not in browser.last
    assert desk.onboarding.bodies == []


async def test_what_provisioning_refuses_is_told_in_its_words(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser)
    response = await connect(browser, issuer="https://refused.okta.com")
    assert response.status == 422
    assert "https://refused.okta.com" in browser.last
    assert 'value="0oa1"' in browser.last  # nothing is typed twice
    assert (await desk.link_of(browser)).work.name == ""


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"metadata_url": "https://idp.example/metadata"}, 303),
        ({"metadata": "<EntityDescriptor><IDPSSODescriptor/></EntityDescriptor>"}, 303),
        ({"metadata": "<!doctype html><html></html>"}, 422),
        ({"metadata": "<EntityDescriptor><SPSSODescriptor/></EntityDescriptor>"}, 422),
        ({"metadata_url": "https://a.example", "metadata": "<EntityDescriptor/>"}, 422),
        ({"metadata_url": "javascript:alert(1)"}, 422),
        ({}, 422),
    ],
)
async def test_saml_is_an_address_or_a_file(desk: Desk, form: dict[str, str], status: int) -> None:
    browser = await desk.claimed()
    await choose(browser, "okta/saml")
    response = await browser.send("/setup/connection/values", "/setup/connection/save", **form)
    assert response.status == status, browser.last


async def test_everyone_is_confirmed_and_nobody_is_a_mistake(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    for fields in ({"who": "everyone"}, {"who": "groups"}, {"who": "groups", "others": " \n"}):
        response = await browser.send("/setup/access", "/setup/access/save", **fields)
        assert response.status == 422, fields
    many = "\n".join(f"g{n}" for n in range(101))
    response = await browser.send("/setup/access", "/setup/access/save", who="g", others=many)
    assert response.status == 422
    assert not (await desk.link_of(browser)).work.access_decided


METADATA = """<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata"><IDPSSODescriptor/>
</EntityDescriptor>"""


async def upload(browser: Browser, text: str | bytes, **fields: str) -> ClientResponse:
    page = await browser.page("/setup/connection/values")
    assert 'enctype="multipart/form-data"' in page
    form = FormData({"token": token_for(page, "/setup/connection/save"), **fields})
    form.add_field("metadata_file", text, filename="metadata.xml", content_type="text/xml")
    return await browser.post("/setup/connection/save", form)


async def test_metadata_is_uploaded_as_a_file(desk: Desk) -> None:
    browser = await desk.claimed()
    await choose(browser, "okta/saml")
    for wrong in ("<html>", "<EntityDescriptor><SPSSODescriptor/></EntityDescriptor>", ""):
        assert (await upload(browser, wrong)).status == 422, wrong
    assert (await upload(browser, METADATA, metadata_url="https://a.test/m")).status == 422
    assert (await upload(browser, "x" * 300_000)).status == 413
    assert (await upload(browser, METADATA.encode("utf-16"))).status == 400
    assert desk.onboarding.bodies == []
    saved = await upload(browser, METADATA, metadata_url="", metadata="")
    moved(saved, "/setup/test?notice=connected")
    assert desk.onboarding.bodies[0].all_providers[0].metadata == METADATA  # type: ignore[union-attr]  # it is of SAML
    # No other form takes one.
    token = token_for(await browser.page("/setup/provider"), "/setup/provider/choose")
    form = FormData({"token": token, "choice": "okta/oidc"})
    form.add_field("file", "x", filename="x")
    assert (await browser.post("/setup/provider/choose", form)).status == 403


async def test_a_removal_is_timed_and_the_secret_shown_once(desk: Desk) -> None:
    browser = await desk.claimed("acme", parts=frozenset({Part.OFFBOARDING}), new_tenant=None)
    made = await browser.send("/setup/offboarding", "/setup/offboarding/secret")
    assert made.status == 200
    secret = re.search(r'id="secret" readonly value="([^"]+)"', browser.last)
    assert secret is not None
    again = await browser.page("/setup/offboarding")
    assert secret[1] not in again
    audit = await (await desk.api.call("GET", "/audit")).text()
    assert secret[1] not in audit
    waiting = await browser.get("/setup/offboarding/wait")
    assert (waiting.status, waiting.headers["Refresh"]) == (200, "3")
    assert "Refresh" not in (await browser.get("/setup/offboarding")).headers
    assert "Denied everywhere" not in browser.last
    desk.removal_ms.append(411.6)
    moved(await browser.get("/setup/offboarding/wait"), "/setup/offboarding?notice=saved")
    assert "412 ms" in await browser.page("/setup/offboarding")


async def test_another_secret_does_not_end_the_one_in_use(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = [1]
    before = offboarding._hooks

    async def hooks(visit: Visit) -> Any:
        rows = await before(visit)
        assert isinstance(rows, list)
        return [{**row, "secrets": valid[0]} for row in rows]

    monkeypatch.setattr(offboarding, "_hooks", hooks)
    browser = await desk.claimed("acme", parts=frozenset({Part.OFFBOARDING}), new_tenant=None)
    page, action = "/setup/offboarding", "/setup/offboarding/secret"
    assert (await browser.send(page, action)).status == 200
    valid[0] = 2  # the live one, and the new one
    refused = await browser.send(page, action)
    assert refused.status == 409
    assert "Try again tomorrow" in browser.last
    other = await desk.claimed("acme", parts=frozenset({Part.OFFBOARDING}), new_tenant=None)
    assert (await other.send(page, action)).status == 409, "whichever link asks"
    desk.clock.now += 86400
    other = await desk.claimed(
        "acme", parts=frozenset({Part.OFFBOARDING}), new_tenant=None, lifetime_s=3 * 86400.0
    )
    assert (await other.send(page, action)).status == 200


async def test_whom_a_name_belongs_to_is_not_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def taken(*_: object, **__: object) -> Proposal:
        said = "host initech.example.com belongs to tenant globex"
        return Proposal("initech", Plan((), problems=(PreflightProblem("taken", "tenant", said),)))

    monkeypatch.setattr(Provisioned, "propose", taken)
    browser = await desk.claimed()
    await choose(browser)
    assert (await connect(browser)).status == 422
    assert "a name in it is already in use" in browser.last
    assert "globex" not in browser.last


@pytest.mark.parametrize("approval", [Approval.NONE, Approval.REQUIRED])
async def test_what_ended_half_way_goes_live_after_all(desk: Desk, approval: Approval) -> None:
    browser = await desk.claimed(approval=approval)
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="everyone", confirmed="yes")
    link = await desk.link_of(browser)
    record = desk.tenants.stored["initech"]
    # As a process leaves it that ends between the link and the tenant.
    half = replace(link.work, phase=Phase.LIVE, basis=record.etag)
    assert await desk.links.decide(link, half) is not None
    assert not record.document["providers"][0]["active"]
    page = await browser.page("/setup/review")
    if approval is Approval.NONE:
        done = await browser.send("/setup/review", "/setup/review/finish")
        moved(done, "/setup/review?notice=live")
    else:
        assert "Waiting for approval" in page
        approve = f"/tenants/initech/setup-links/{link.id}/approve"
        assert (await desk.api.call("POST", approve)).status == 200
    assert desk.tenants.stored["initech"].document["providers"][0]["active"]
    assert "People can sign in now" in await browser.page("/setup/review")


async def test_what_came_to_nothing_is_not_on_record(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="everyone", confirmed="yes")
    token = token_for(await browser.page("/setup/review"), "/setup/review/finish")
    # Somebody signs in with another provider by now.
    document = desk.tenants.stored["initech"].document
    providers = [*document["providers"], {"name": "x", "kind": "oidc", "active": True}]
    desk.tenants.stored["initech"] = replace(
        desk.tenants.stored["initech"], document={**document, "providers": providers}
    )
    before = await desk.audit()
    for _ in range(2):
        assert (await browser.post("/setup/review/finish", {"token": token})).status == 409
    # Two forms of one page: the second has another link before it.
    link = await desk.link_of(browser)
    cookie = browser.cookie or ""
    assert await desk.links.save(link, link.work, cookie=cookie, action="setup.first")
    assert not await desk.links.save(link, link.work, cookie=cookie, action="setup.second")
    new = (await desk.audit())[: -len(before)]
    assert [entry.partition(" ")[2] for entry in new] == ["setup.first"]


async def test_what_an_operator_switched_off_is_not_switched_on_by_its_link(desk: Desk) -> None:
    browser = await desk.claimed()
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="everyone", confirmed="yes")
    page = await browser.page("/setup/review")
    await browser.send("/setup/review", "/setup/review/finish")
    desk.tenants.stored["initech"].document["providers"][0]["active"] = False
    token = token_for(page, "/setup/review/finish")
    assert (await browser.post("/setup/review/finish", {"token": token})).status == 409
    link = await desk.link_of(browser)
    approve = f"/tenants/initech/setup-links/{link.id}/approve"
    assert (await desk.api.call("POST", approve)).status == 409
    assert not desk.tenants.stored["initech"].document["providers"][0]["active"]


def test_every_provider_has_a_guide_and_a_name() -> None:
    assert set(NAMES) == set(SetupProvider)
    assert all(protocols_of(name) for name in SetupProvider)
    assert {name for name, _ in GUIDES} == set(SetupProvider)


@pytest.mark.parametrize(("provider", "protocol"), list(GUIDES))
async def test_a_guide_shows_our_values_on_its_screens(
    desk: Desk, provider: SetupProvider, protocol: Protocol
) -> None:
    browser = await desk.claimed()
    await choose(browser, f"{provider}/{protocol}")
    text = ""
    for number in range(1, len(GUIDES[provider, protocol].screens) + 1):
        text += await browser.page(f"/setup/connection/{number}")
    await browser.page(f"/setup/connection/{number + 1}", status=404)
    wanted = "/oauth2/idpresponse" if protocol is Protocol.OIDC else "/saml2/idpresponse"
    assert wanted in text
    assert (protocol is Protocol.SAML) == ("urn:amazon:cognito:sp:" in text)
    await browser.page("/setup/connection/values")


async def test_every_page_is_drawn_in_every_language(desk: Desk) -> None:
    for language in ("en", "de", "fr", "es"):
        browser = await desk.claimed(language=language)
        await run_test(desk, browser)
        for page in PAGES:
            if not page.form and "{" not in page.path and page.is_of(await desk.link_of(browser)):
                response = await browser.get(f"/setup{page.path}")
                assert response.status in {200, 303}, (language, page.path)
                if response.status == 200:
                    assert f'<html lang="{language}">' in browser.last
        desk.tenants.stored.clear()
        desk.tests.result_of_all = None
