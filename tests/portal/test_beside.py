"""A setup link for a tenant that people sign in to: one more identity provider, and nothing of the
others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.portal.reach import OutOfReachError, Reach
from gateway.setup.model import Approval, NewConnection, Part, Phase, Work
from gateway.tenants.document import TenantDocument
from gateway.tenants.secrets import show
from tests.portal.conftest import Browser
from tests.portal.test_walk import choose, connect, moved, result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.portal.conftest import Desk

PARTS = frozenset({Part.SIGN_IN, Part.ACCESS})
BETA = NewConnection(("beta.test",))
GROUPS = NewConnection(("beta.test",), ("beta",))
"""Without the part ``access``."""


def acme(desk: Desk) -> Mapping[str, Any]:
    return desk.tenants.stored["acme"].document


async def claimed(desk: Desk, **changes: Any) -> Browser:
    words = {"parts": PARTS, "connection": BETA, "new_tenant": None}
    return await desk.claimed("acme", **{**words, **changes})


async def walk_to_test(desk: Desk, browser: Browser) -> None:
    await choose(browser)
    moved(await connect(browser), "/setup/test?notice=connected")
    moved(await browser.send("/setup/test", "/setup/test/start"), "/setup/test?notice=test_ready")
    name = (await desk.link_of(browser)).work.name
    desk.tests.result_of_all = result(provider=name)
    moved(await browser.send("/setup/test", "/setup/test/check"), "/setup/test?notice=passed")


async def test_one_more_provider_goes_live_and_the_other_stays_as_it_was(desk: Desk) -> None:
    (before,) = show(TenantDocument.model_validate(acme(desk)))["providers"]
    browser = await claimed(desk)
    await walk_to_test(desk, browser)
    (body,) = desk.onboarding.bodies
    (provider,) = body.all_providers
    assert (body.prune, provider.name, provider.active) == (False, None, False)
    assert (body.email_domains, body.hosts, body.allowed_groups) == (
        frozenset({"beta.test"}),
        None,
        None,
    )
    other, own = acme(desk)["providers"]
    assert other == before
    assert (own["name"], own["active"], own["domains"]) == ("acme-okta-2", False, ["beta.test"])
    page = await browser.page("/setup/access")
    assert "who-everyone" not in page
    saved = await browser.send("/setup/access", "/setup/access/save", who="groups", group="staff")
    moved(saved, "/setup/access?notice=saved")
    page = await browser.page("/setup/review")
    assert ("beta.test" in page, "acme.test" in page) == (True, False)
    done = await browser.send("/setup/review", "/setup/review/finish")
    moved(done, "/setup/review?notice=live")
    other, own = acme(desk)["providers"]
    assert other == {**before, "groups": ["app-users"]}, "nobody of it comes in by another's group"
    assert (own["active"], sorted(own["groups"])) == (True, ["staff"])
    assert sorted(acme(desk)["allowed_groups"]) == ["app-users", "staff"]
    assert (await desk.link_of(browser)).work.phase is Phase.LIVE


async def test_saved_again_it_changes_its_own_provider_and_no_other(desk: Desk) -> None:
    (before,) = show(TenantDocument.model_validate(acme(desk)))["providers"]
    browser = await claimed(desk, connection=GROUPS, parts=frozenset({Part.SIGN_IN}))
    await walk_to_test(desk, browser)
    moved(await connect(browser, client_id="0oa2"), "/setup/test?notice=connected")
    names = [body.all_providers[0].name for body in desk.onboarding.bodies]
    assert names == [None, "acme-okta-2"]
    assert [body.groups for body in desk.onboarding.bodies] == [("beta",), ("beta",)]
    other, own = acme(desk)["providers"]
    assert other == {**before, "groups": ["app-users"]}
    own["active"] = True
    assert (await connect(browser, client_id="0oa3")).status == 409


async def test_a_save_that_ended_half_way_leaves_the_link_its_own_provider(desk: Desk) -> None:
    browser = await claimed(desk)
    await choose(browser)
    page_sent_twice = Browser(browser.client, cookie=browser.cookie)

    async def twice() -> None:
        """The same form once more, while the first answer is on its way."""
        desk.onboarding.applied = None
        moved(await connect(page_sent_twice), "/setup/test?notice=connected")

    desk.onboarding.applied = twice
    assert (await connect(browser)).status == 409
    assert [p["name"] for p in acme(desk)["providers"]] == ["acme-okta", "acme-okta-2"]
    assert [body.all_providers[0].name for body in desk.onboarding.bodies] == [None, "acme-okta-2"]
    assert (await desk.link_of(browser)).work.name == "acme-okta-2"


async def test_a_provider_made_anew_under_its_name_is_not_the_links(desk: Desk) -> None:
    browser = await claimed(desk)
    await walk_to_test(desk, browser)
    desk.onboarding.made_by["acme-okta-2"] = "key:7"
    before = acme(desk)["providers"][1]
    moved(await connect(browser, client_id="0oa2"), "/setup/test?notice=connected")
    _, remade, own = acme(desk)["providers"]
    assert (remade, own["name"]) == (before, "acme-okta-3")


@pytest.mark.parametrize("is_its_own", [True, False])
async def test_it_makes_a_hook_secret_of_what_it_made_and_not_of_the_name(
    desk: Desk, is_its_own: bool
) -> None:
    browser = await claimed(desk, parts=PARTS | {Part.OFFBOARDING})
    link = await desk.put_work(browser, Work(name="acme-okta"))
    desk.onboarding.made_by["acme-okta"] = f"setup:{link.actor}" if is_its_own else "key:7"
    page = await browser.page("/setup/offboarding")
    assert ("/setup/offboarding/secret" in page) is is_its_own


async def test_what_was_made_with_the_address_before_is_the_links_still(desk: Desk) -> None:
    browser = await claimed(desk)
    await walk_to_test(desk, browser)
    link = await desk.link_of(browser)
    other = await desk.links.replace("acme", link.id, by="key:1", confirm=link.request.confirm)
    assert other is not None
    again = desk.browser()
    await again.claim(other)
    moved(await connect(again, client_id="0oa2"), "/setup/test?notice=connected")
    assert desk.onboarding.bodies[-1].all_providers[0].name == "acme-okta-2"


async def test_everyone_is_no_answer_beside_a_provider_of_which_groups_are_asked(
    desk: Desk,
) -> None:
    browser = await claimed(desk)
    await walk_to_test(desk, browser)
    page = await browser.page("/setup/access")
    assert "who-everyone" not in page
    refused = await browser.send(
        "/setup/access", "/setup/access/save", who="everyone", confirmed="yes"
    )
    assert refused.status == 422
    acme(desk)["allowed_groups"] = "any"  # type: ignore[index]  # an operator's word
    assert "who-everyone" in await browser.page("/setup/access")


async def test_what_somebody_provisioned_since_is_tested_again(desk: Desk) -> None:
    browser = await claimed(desk, connection=GROUPS, parts=frozenset({Part.SIGN_IN}))
    await walk_to_test(desk, browser)
    acme(desk)["providers"][1]["domains"] = ["acme.test"]
    refused = await browser.send("/setup/review", "/setup/review/finish")
    assert refused.status == 409
    assert not acme(desk)["providers"][1]["active"]


@pytest.mark.parametrize(
    "operation",
    ["use_domain", "remove_domain", "provision", "put_tenant", "delete_tenant", "list_connections"],
)
async def test_it_reaches_nothing_of_the_others(desk: Desk, operation: str) -> None:
    browser = await claimed(desk, parts=PARTS | {Part.DOMAINS, Part.OFFBOARDING})
    link = await desk.link_of(browser)
    assert link.request.approval is Approval.NONE
    with pytest.raises(OutOfReachError):
        await Reach(None, link).ask(operation)  # type: ignore[arg-type]  # nobody is asked


async def test_it_sees_and_proves_the_domains_that_the_operator_named(desk: Desk) -> None:
    browser = await claimed(desk, parts=PARTS | {Part.DOMAINS})
    page = await browser.page("/setup/domains")
    assert ("beta.test" in page, "/setup/domains/remove" in page) == (True, False)
    for path, domain in (("add", "acme.test"), ("add", "gamma.test")):
        response = await browser.send("/setup/domains", f"/setup/domains/{path}", domain=domain)
        assert response.status == 422, domain
    added = await browser.send("/setup/domains", "/setup/domains/add", domain="beta.test")
    moved(added, "/setup/domains?notice=domain_added")
    token = {"token": "", "domain": "acme.test"}
    assert (await browser.post("/setup/domains/remove", token)).status in {403, 404}


async def test_a_colleague_gets_nothing_of_the_others_either(desk: Desk) -> None:
    parts = PARTS | {Part.OFFBOARDING}
    browser = await claimed(desk, parts=parts)
    await browser.page("/setup/colleague", status=404)
    link = await desk.link_of(browser)
    assert link.request.connection == BETA
    await browser.page("/setup/offboarding")
    assert "/setup/offboarding/secret" not in browser.last, "its provider is not there yet"
