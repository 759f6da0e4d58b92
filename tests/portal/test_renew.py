"""A link that renews a connection that people sign in with: entered, tested beside it, exchanged,
put back.
"""

from __future__ import annotations

import html
import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import UnavailableError
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.renewal import NewMetadata, NewSecret
from gateway.provisioning.runner import Failed
from gateway.provisioning.runs import RunState
from gateway.setup.model import PUT_BACK_S, Approval, Confirm, LinkState, Part, Phase
from gateway.setup.trials import AGAIN_S, Trials
from tests.portal.conftest import EVIL, Browser, Desk
from tests.portal.test_walk import moved, result

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from gateway.provisioning.renewal import Renewal

HERE = "/setup/renew"
FORM = f"{HERE}/values/acme-okta"
REVIEW = f"{HERE}/review"
SECRET = "another-s3cr3t"
RENEW = frozenset({Part.RENEW})


async def claimed(desk: Desk, *, approval: Approval = Approval.NONE, **more: Any) -> Browser:
    return await desk.claimed(
        "acme", **{"parts": RENEW, "new_tenant": None, "approval": approval, **more}
    )


async def enter(browser: Browser, page: str = FORM, **values: str) -> ClientResponse:
    provider = page.rpartition("/")[2]
    fields = {"client_secret": SECRET, "secret_expires": "", **values}
    return await browser.send(page, f"{HERE}/save", provider=provider, **fields)


async def run_test(desk: Desk, browser: Browser, **values: str) -> None:
    moved(await enter(browser, **values), "/setup/test?notice=renewal_saved")
    moved(await browser.send("/setup/test", "/setup/test/start"), "/setup/test?notice=test_ready")
    desk.tests.result_of_all = result(provider="acme-okta-2")
    moved(await browser.send("/setup/test", "/setup/test/check"), "/setup/test?notice=passed")


def saml(desk: Desk) -> None:
    """Acme's people come from a SAML provider, too."""
    entry = {
        **desk.tenants.stored["acme"].document["providers"][0],
        "name": "acme-saml",
        "kind": "saml",
        "issuer": None,
        "entity_id": "https://idp.acme.test",
    }
    desk.tenants.stored["acme"].document["providers"].append(entry)


async def test_a_secret_is_tested_before_it_takes_the_place_of_the_live_one(desk: Desk) -> None:
    browser = await claimed(desk)
    moved(await browser.get(HERE), FORM)
    await run_test(desk, browser, secret_expires="2099-01-31")
    link = await desk.link_of(browser)
    actor = f"setup:{link.actor}"
    ((tenant, name, new, owner, by),) = desk.renewals.begun
    assert (tenant, name, owner, by) == ("acme", "acme-okta", link.id, actor)
    assert isinstance(new, NewSecret)
    assert (new.client_secret.reveal(), new.expires) == (SECRET, date(2099, 1, 31))
    assert desk.renewals.exchanged == []
    page = await browser.page(REVIEW)
    assert "Replace now" in page
    moved(await browser.send(REVIEW, f"{HERE}/finish"), f"{REVIEW}?notice=renewed")
    ((tenant, name, trial, expires, by),) = desk.renewals.exchanged
    assert (tenant, name, trial.name, trial.run) == ("acme", "acme-okta", "acme-okta-2", "run1")
    assert (expires, by) == (date(2099, 1, 31), actor)
    link = await desk.link_of(browser)
    assert (link.stored_state, link.work.phase, link.work.since) == (
        LinkState.COMPLETED,
        Phase.LIVE,
        "exchange1",
    )
    done = [entry.removeprefix(f"{actor} ") for entry in await desk.audit() if actor in entry]
    assert done[::-1] == [
        "setup.link.claimed",
        "setup.renewal.saved",
        "test_tenant",
        "setup.test.started",
        "setup.test.passed",
        "setup.live",
    ]
    assert SECRET not in await (await desk.api.call("GET", "/audit?limit=200")).text()


async def test_it_can_be_put_back_for_a_day_and_once(desk: Desk) -> None:
    desk.tenants.stored["acme"].document["providers"][0]["secret_expires"] = "2098-05-01"
    browser = await claimed(desk)
    await run_test(desk, browser)
    await browser.send(REVIEW, f"{HERE}/finish")
    page = await browser.page(REVIEW)
    assert "Put the former values back" in page
    moved(await browser.send(REVIEW, f"{HERE}/put-back"), f"{REVIEW}?notice=put_back")
    (_, (_, _, trial, expires, _)) = desk.renewals.exchanged
    assert (trial.since, expires) == ("exchange1", date(2098, 5, 1))
    assert "Put the former values back" not in await browser.page(REVIEW)
    assert (await browser.send_without_form(f"{HERE}/put-back")).status == 409
    assert len(desk.renewals.exchanged) == 2
    assert any(entry.endswith("setup.put_back") for entry in await desk.audit())


async def test_after_a_day_the_former_values_are_gone(desk: Desk) -> None:
    made = await desk.make("acme", parts=RENEW, new_tenant=None, lifetime_s=7 * 86400.0)
    browser = desk.browser()
    await browser.claim(made)
    await run_test(desk, browser)
    await browser.send(REVIEW, f"{HERE}/finish")
    desk.clock.now += PUT_BACK_S
    await browser.claim(made)
    assert "Put the former values back" not in await browser.page(REVIEW)
    assert (await browser.send_without_form(f"{HERE}/put-back")).status == 409
    assert len(desk.renewals.exchanged) == 1


async def test_the_link_holds_for_as_long_as_the_former_values_are_kept(desk: Desk) -> None:
    made = await desk.make("acme", parts=RENEW, new_tenant=None, lifetime_s=3600.0)
    browser = desk.browser()
    await browser.claim(made)
    await run_test(desk, browser)
    # What came to nothing makes it hold no longer.
    desk.renewals.answer = PreflightProblem("conflict", "provider", "renewed since")
    assert (await browser.send(REVIEW, f"{HERE}/finish")).status == 409
    assert (await desk.link_of(browser)).expires_at == made.link.expires_at
    desk.renewals.answer = None
    await browser.send(REVIEW, f"{HERE}/finish")
    desk.clock.now += PUT_BACK_S - 60
    await browser.claim(made)
    moved(await browser.send(REVIEW, f"{HERE}/put-back"), f"{REVIEW}?notice=put_back")
    assert len(desk.renewals.exchanged) == 2


async def test_whoever_stops_a_renewal_reads_that_the_former_values_go_with_it(
    desk: Desk,
) -> None:
    made = await desk.make("acme", parts=RENEW, new_tenant=None)
    browser = desk.browser()
    await browser.claim(made)
    await run_test(desk, browser)
    await browser.claim(made)
    stop = str(desk.letters.sent[-1][2]["link"]).removeprefix("https://login.example.com")
    assert "former ones are deleted" not in await browser.page(stop)
    await browser.send(REVIEW, f"{HERE}/finish")
    assert "former ones are deleted" in await browser.page(stop)


async def test_an_operator_approves_as_for_going_live(desk: Desk) -> None:
    desk.letters.configured = True
    browser = await claimed(desk, approval=Approval.OTHER_PERSON, parts=RENEW | {Part.MAINTAIN})
    await run_test(desk, browser)
    moved(await browser.send(REVIEW, f"{HERE}/finish"), f"{REVIEW}?notice=submitted")
    assert desk.renewals.exchanged == []
    link = await desk.link_of(browser)
    ((what, to, words),) = desk.letters.sent
    assert (what, to, words["provider"]) == ("renewal_submitted", "ops@example.com", "acme-okta")
    assert (await browser.send_without_form(f"{HERE}/finish")).status == 409
    approve = f"/tenants/acme/setup-links/{link.id}/approve"
    answer = await desk.api.call("POST", approve)
    assert answer.status == 200, await answer.text()
    ((_, _, _, _, by),) = desk.renewals.exchanged
    assert not by.startswith("setup:")
    assert [sent[:2] for sent in desk.letters.sent[1:]] == [
        ("renewed", "ops@example.com"),
        ("renewed", "it@initech.test"),
    ]
    assert "People sign in with the new values now" in await browser.page(REVIEW)


@pytest.mark.parametrize(
    "change", [{"provider": "acme-okta"}, {"state": "cognito"}, {"detail": "idp_error"}]
)
async def test_only_a_sign_in_with_the_new_values_passes(
    desk: Desk, change: dict[str, Any]
) -> None:
    browser = await claimed(desk)
    await enter(browser)
    await browser.send("/setup/test", "/setup/test/start")
    desk.tests.result_of_all = result(**{"provider": "acme-okta-2", **change})
    await browser.send("/setup/test", "/setup/test/check")
    moved(await browser.get(REVIEW), "/setup")
    assert (await browser.send_without_form(f"{HERE}/finish")).status == 409
    assert desk.renewals.exchanged == []


async def test_other_values_have_to_be_tested_and_submitted_again(desk: Desk) -> None:
    browser = await claimed(desk, approval=Approval.REQUIRED)
    await run_test(desk, browser)
    await browser.send(REVIEW, f"{HERE}/finish")
    await enter(browser, client_secret="a-third")
    link = await desk.link_of(browser)
    assert (link.work.phase, link.work.tested_at, link.ready) == (Phase.SAVED, None, False)
    refused = await desk.api.call("POST", f"/tenants/acme/setup-links/{link.id}/approve")
    assert refused.status == 409
    # The provider for tests is the link's still.
    assert {begun[3] for begun in desk.renewals.begun} == {link.id}


async def test_of_several_connections_one_is_chosen(desk: Desk) -> None:
    saml(desk)
    browser = await claimed(desk)
    page = await browser.page(HERE)
    assert "/setup/renew/values/acme-saml" in page
    form = f"{HERE}/values/acme-saml"
    for fields in ({"metadata": "<html>"}, {"metadata_url": "ftp://x"}, {}):
        assert (await enter(browser, form, **fields)).status == 422, fields
    desk.renewals.keeps_certificate = False
    metadata = "<EntityDescriptor><IDPSSODescriptor/></EntityDescriptor>"
    moved(await enter(browser, form, metadata=metadata), "/setup/test?notice=renewal_saved")
    ((_, name, new, _, _),) = desk.renewals.begun
    assert (name, new) == ("acme-saml", NewMetadata(text=metadata))
    await browser.send("/setup/test", "/setup/test/start")
    desk.tests.result_of_all = result(provider="acme-saml-2", groups=())
    await browser.send("/setup/test", "/setup/test/check")
    page = await browser.page("/setup/test")
    assert "No groups arrived." in page
    assert "Project-Id" not in page
    assert "sign-ins fail until you replace" in await browser.page(REVIEW)


@pytest.mark.parametrize("provider", ["globex-okta", "acme-okta-2", "..", EVIL])
async def test_no_other_connection_is_renewed(desk: Desk, provider: str) -> None:
    browser = await claimed(desk)
    sent = await browser.send(FORM, f"{HERE}/save", provider=provider, client_secret=SECRET)
    assert sent.status == 409
    assert desk.renewals.begun == []


async def test_what_the_pool_refuses_is_said_and_the_connection_stays(desk: Desk) -> None:
    browser = await claimed(desk)
    desk.renewals.answer = PreflightProblem("invalid", "metadata", f"no {EVIL}")
    assert (await enter(browser)).status == 422
    assert EVIL not in browser.last
    assert html.escape("<script>") in browser.last
    desk.renewals.answer = None
    await run_test(desk, browser)
    for answer in (
        PreflightProblem("conflict", "provider", "renewed since"),
        Failed("run9", "InvalidParameterException", "no", RunState.ROLLED_BACK, "cognito"),
    ):
        desk.renewals.answer = answer
        assert (await browser.send(REVIEW, f"{HERE}/finish")).status == 409
        link = await desk.link_of(browser)
        assert (link.stored_state, link.work.phase) == (LinkState.CLAIMED, Phase.TESTED)
    desk.renewals.answer = Failed("run9", "unavailable", "", RunState.UNDOING, "nobody")
    assert (await browser.send(REVIEW, f"{HERE}/finish")).status == 503
    desk.renewals.answer = None
    moved(await browser.send(REVIEW, f"{HERE}/finish"), f"{REVIEW}?notice=renewed")


async def test_secrets_are_on_no_page(desk: Desk) -> None:
    browser = await claimed(desk)
    await run_test(desk, browser)
    await browser.send(REVIEW, f"{HERE}/finish")
    for path in ("/setup", FORM, "/setup/test", REVIEW):
        assert SECRET not in await browser.page(path)
    refused = await enter(browser, secret_expires="1999-01-01")
    assert refused.status == 409
    other = await claimed(desk)
    assert (await enter(other, secret_expires="1999-01-01")).status == 422
    assert SECRET not in other.last
    assert not re.search(r'type="password"[^>]*value=', other.last)


def trials(desk: Desk) -> Trials:
    async def leads() -> bool:
        return True

    renewal: Renewal = desk.renewals  # type: ignore[assignment]  # in memory
    return Trials(desk.links, renewal, leads, desk.clock)


async def test_the_provider_for_tests_ends_with_the_link_or_a_day_after_it_went_live(
    desk: Desk,
) -> None:
    live, revoked, expired = [await claimed(desk) for _ in range(3)]
    ids = [(await desk.link_of(browser)).id for browser in (live, revoked, expired)]
    for browser in (live, revoked, expired):
        await run_test(desk, browser)
    await live.send(REVIEW, f"{HERE}/finish")
    assert await trials(desk).round() == 0
    await desk.links.revoke("acme", ids[1])
    assert await trials(desk).round() == 1
    assert desk.renewals.ended == [("acme", ids[1])]
    desk.clock.now += PUT_BACK_S
    assert await trials(desk).round() == 2
    assert set(desk.renewals.ended[1:]) == {("acme", ids[0]), ("acme", ids[2])}
    assert await trials(desk).round() == 0


async def test_one_that_cannot_be_deleted_is_tried_again_and_holds_up_no_other(
    desk: Desk,
) -> None:
    browser = await claimed(desk)
    await enter(browser)
    link = await desk.link_of(browser)
    # What replaces the link goes on with it.
    made = await desk.links.replace("acme", link.id, by="key:1", confirm=Confirm.PHRASE)
    assert made is not None
    assert made.link.work.owner == link.id
    await desk.links.revoke("acme", made.link.id)
    desk.renewals.answer = PreflightProblem("busy", "tenant", "another run")
    assert await trials(desk).round() == 0
    desk.renewals.answer = None
    assert await trials(desk).round() == 0
    desk.clock.now += AGAIN_S
    assert await trials(desk).round() == 1
    assert desk.renewals.ended == [("acme", link.id)]


@pytest.mark.parametrize("error", [UnavailableError("failed over"), KeyError("a mistake")])
async def test_one_whose_pool_does_not_answer_holds_up_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    owners = []
    for _ in range(2):
        browser = await claimed(desk)
        await enter(browser)
        owners.append((await desk.link_of(browser)).id)
    for owner in owners:
        desk.clock.now += 1
        await desk.links.revoke("acme", owner)
    end = desk.renewals.end

    async def end_but_the_first(tenant: str, owner: str, *, actor: str) -> Any:
        if owner == owners[0]:
            raise error
        return await end(tenant, owner, actor=actor)

    monkeypatch.setattr(type(desk.renewals), "end", staticmethod(end_but_the_first))
    assert await trials(desk).round() == 1
    assert desk.renewals.ended == [("acme", owners[1])]


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
async def test_every_page_is_drawn_in_every_language(desk: Desk, language: str) -> None:
    saml(desk)
    browser = await claimed(desk, language=language)
    await run_test(desk, browser)
    for path in ("/setup", HERE, FORM, f"{HERE}/values/acme-saml", "/setup/test", REVIEW):
        assert f'<html lang="{language}">' in await browser.page(path)
        assert "Project-Id" not in browser.last
    await browser.send(REVIEW, f"{HERE}/finish")
    await browser.send(REVIEW, f"{HERE}/put-back")
    assert f'<html lang="{language}">' in await browser.page(REVIEW)


async def test_a_link_of_other_parts_renews_nothing(desk: Desk) -> None:
    browser = await claimed(desk, parts=frozenset({Part.MAINTAIN, Part.DOMAINS}))
    for path in (HERE, FORM, REVIEW, "/setup/test"):
        await browser.page(path, status=404)
    for action in ("save", "finish", "put-back"):
        assert (await browser.send_without_form(f"{HERE}/{action}")).status == 404
    # Nor is it handed on to a colleague.
    holder = await claimed(desk, parts=RENEW | {Part.MAINTAIN})
    asked = await holder.send(
        "/setup/colleague", "/setup/colleague/ask", email="x@initech.test", part="renew"
    )
    assert asked.status == 422
