"""The step about e-mail domains: a record to copy, what DNS says, and taking it into use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.setup.model import Approval, Part
from tests.portal.test_walk import choose, connect, moved

if TYPE_CHECKING:
    from tests.portal.conftest import Browser, Desk

HERE = "/setup/domains"


async def opened(desk: Desk) -> Browser:
    parts = frozenset({Part.DOMAINS})
    return await desk.claimed("acme", parts=parts, new_tenant=None)


async def test_the_record_is_there_to_copy_and_what_each_server_said(desk: Desk) -> None:
    browser = await opened(desk)
    assert "Waiting for DNS" in await browser.page("/setup")
    page = await browser.page(HERE)
    for text in (
        "_gateway-verify.acme.test",
        "gateway-verify=abcdefghijklmnopqrstuvwxyz",
        "9.9.9.9",
        "not found",
    ):
        assert text in page
    moved(
        await browser.send(HERE, f"{HERE}/add", domain="Bücher.test"), f"{HERE}?notice=domain_added"
    )
    checked = await browser.send(HERE, f"{HERE}/check", domain="acme.test")
    moved(checked, f"{HERE}?notice=domain_checked")


async def test_only_what_is_proven_is_used(desk: Desk) -> None:
    browser = await opened(desk)
    refused = await browser.send(HERE, f"{HERE}/use", domain="acme.test")
    assert refused.status == 409
    used = await browser.send(HERE, f"{HERE}/use", domain="proven.test")
    moved(used, f"{HERE}?notice=domain_used")
    assert "proven.test" in desk.tenants.stored["acme"].document["email_domains"]
    assert "acme.test: " not in "".join(desk.tenants.stored["acme"].document["email_domains"])
    assert "In use for sign-in" in await browser.page(HERE)


async def test_where_somebody_approves_a_domain_is_proven_and_not_used(desk: Desk) -> None:
    parts = frozenset({Part.DOMAINS})
    browser = await desk.claimed("acme", parts=parts, new_tenant=None, approval=Approval.REQUIRED)
    page = await browser.page(HERE)
    assert "decides about the use" in page
    assert "Use for sign-in" not in page
    refused = await browser.send_without_form(f"{HERE}/use", domain="proven.test")
    assert refused.status == 403
    assert "proven.test" not in desk.tenants.stored["acme"].document["email_domains"]


async def test_a_domain_of_another_tenant_is_refused_without_saying_whose(desk: Desk) -> None:
    browser = await opened(desk)
    refused = await browser.send(HERE, f"{HERE}/add", domain="taken.test")
    assert refused.status == 422
    assert "be added here. Ask whoever sent you the link." in browser.last
    for typed in ("", "it@acme.test", "<b>"):
        assert (await browser.send(HERE, f"{HERE}/add", domain=typed)).status == 422
        assert "<b>" not in browser.last


async def test_what_an_operator_vouched_for_is_not_taken_away(desk: Desk) -> None:
    browser = await opened(desk)
    vouch = await desk.api.call(
        "POST", "/tenants/acme/domains/acme.test/vouch", json={"reason": "known customer"}
    )
    assert vouch.status == 200
    assert "Your operator vouched for it" in await browser.page(HERE)
    page = await browser.page("/setup/domains")
    assert "Remove: acme.test" not in page
    refused = await browser.send(HERE, f"{HERE}/check", domain="elsewhere.test")
    assert refused.status == 404


NEW_PARTS = frozenset({Part.SIGN_IN, Part.ACCESS, Part.DOMAINS})


async def draft(desk: Desk, *, proof: str = "required") -> Browser:
    """A link for a tenant that does not exist before it is saved."""

    async def is_tenant(tenant: str) -> bool:
        return tenant in desk.tenants.stored

    desk.is_tenant.append(is_tenant)
    # The section's default is shared by all configurations.
    own = desk.config.domains.model_copy(update={"proof": proof})
    desk.config.__dict__["domains"] = own
    return await desk.claimed(parts=NEW_PARTS)


async def test_a_new_tenant_proves_its_domains_before_it_is_made(desk: Desk) -> None:
    browser = await draft(desk)
    link = await desk.link_of(browser)
    page = await browser.page("/setup")
    assert page.index("Prove your e-mail domains") < page.index("Choose your identity provider")
    assert "Show the record: initech.test" in await browser.page(HERE)
    await choose(browser)
    refused = await connect(browser)
    assert refused.status == 422
    assert "Prove your e-mail domains first: initech.test" in browser.last
    assert desk.onboarding.bodies == []
    added = await browser.send(HERE, f"{HERE}/add", domain="initech.test")
    moved(added, f"{HERE}?notice=domain_added")
    assert desk.claims.drafts == {link.id: ["initech.test"]}
    page = await browser.page(HERE)
    assert "gateway-verify=" in page
    assert "Use for sign-in" not in page
    assert (await connect(browser)).status == 422
    desk.claims.proven.add("initech.test")
    assert "Done" in await browser.page("/setup")
    moved(await connect(browser), "/setup/test?notice=connected")
    # From now on they are the tenant's.
    assert (await desk.link_of(browser)).draft_of == ""
    await browser.send(HERE, f"{HERE}/add", domain="second.test")
    assert desk.claims.drafts == {link.id: ["initech.test"]}


async def test_where_no_proof_is_required_domains_come_after_the_connection(desk: Desk) -> None:
    browser = await draft(desk, proof="optional")
    page = await browser.page("/setup")
    assert page.index("Prove your e-mail domains") > page.index("Choose your identity provider")
    await choose(browser)
    moved(await connect(browser), "/setup/test?notice=connected")


async def test_a_colleagues_domains_are_held_by_the_link_that_asked(desk: Desk) -> None:
    browser = await draft(desk)
    asked = await browser.send(
        "/setup/colleague", "/setup/colleague/ask", email="dns@initech.test", part="domains"
    )
    assert asked.status == 200
    (child,) = await desk.links.of_parent(await desk.link_of(browser))
    assert child.draft_of == (await desk.link_of(browser)).id


async def test_a_link_of_a_tenant_that_is_gone_holds_nothing(desk: Desk) -> None:
    browser = await desk.claimed("acme", parts=frozenset({Part.DOMAINS}), new_tenant=None)

    async def nobody(_tenant: str) -> bool:
        return False

    desk.is_tenant.append(nobody)
    assert "Connect your identity provider first" in await browser.page(HERE)
    assert (await browser.send_without_form(f"{HERE}/add", domain="x.test")).status == 404
    assert desk.claims.drafts == {}
