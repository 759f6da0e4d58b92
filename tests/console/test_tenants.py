from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import lxml.html
import pytest

from gateway.database.schema import connections, credential_expiries, hook_inbox, people
from tests.console.conftest import EVIL, document
from tests.database.test_attention import put

if TYPE_CHECKING:
    from gateway.database.engine import Database
    from tests.console.conftest import Desk


async def test_a_list_is_paged_by_the_id_of_its_last_row(desk: Desk) -> None:
    for number in range(120):
        desk.tenants.stored[f"t{number:03}"] = document(f"t{number:03}")
    shown, path = [], "/console/tenants?search=t"
    while path:
        text = await desk.text(path, "admins")
        shown += re.findall(r'href="/console/tenants/(t\d+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = html.unescape(following[1]) if following else ""
        assert len(shown) <= 120
    assert shown == [f"t{number:03}" for number in range(120)]


async def test_a_search_without_a_match_says_so(desk: Desk) -> None:
    assert "No tenants match." in await desk.text("/console/tenants?search=nobody", "admins")
    desk.tenants.stored.clear()
    assert "No tenants yet." in await desk.text("/console/tenants", "admins")


async def test_a_cursor_of_another_list_is_told_and_not_followed(desk: Desk) -> None:
    await desk.text("/console/tenants?after=bm90LWEtY3Vyc29y", "admins", status=400)


TABS = ["", "/providers", "/access", "/domains", "/removals", "/history"]


@pytest.mark.parametrize("tab", TABS)
async def test_no_text_of_a_tenant_becomes_markup(desk: Desk, tab: str) -> None:
    desk.tenants.stored["acme"] = document(
        "acme",
        name=EVIL,
        hosts=[EVIL],
        email_domains=[EVIL],
        allowed_groups=[EVIL],
        allowed_roles=[EVIL],
        client_id=EVIL,
        providers=[
            {
                "name": EVIL,
                "label": EVIL,
                "kind": EVIL,
                "issuer": EVIL,
                "entity_id": EVIL,
                "domains": [EVIL],
                "groups": [EVIL],
            }
        ],
        rules=[
            {
                "path": EVIL,
                "methods": [EVIL],
                "hosts": [EVIL],
                "allow": None,
                "groups": [EVIL],
                "roles": [EVIL],
                "bearer": None,
                "app_passwords": False,
                "basic": None,
            }
        ],
    )
    for path in (f"/console/tenants/acme{tab}", "/console/tenants"):
        text = await desk.text(path, "admins")
        assert "<script>" not in text
        assert "<img" not in text
        assert html.escape(EVIL, quote=False)[:12] in text


async def test_what_is_searched_for_is_shown_as_text(desk: Desk) -> None:
    response = await desk.client.get(
        "/console/tenants",
        params={"search": EVIL},
        headers={"X-Auth-Request-Jwt": desk.assertion("admins")},
    )
    text = await response.text()
    assert "<script>" not in text
    assert "<img" not in text


async def test_a_tenants_secret_is_on_no_page(desk: Desk) -> None:
    for tab in (*TABS, "/document"):
        assert "s3cr3t" not in await desk.text(f"/console/tenants/acme{tab}", "admins")


async def test_the_document_is_json_and_no_page(desk: Desk) -> None:
    desk.tenants.stored["acme"] = document("acme", name=EVIL)
    response = await desk.get("/console/tenants/acme/document", "support")
    assert response.content_type == "application/json"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert (await response.json())["name"] == EVIL
    await desk.text("/console/tenants/none/document", "support", status=404)


async def test_many_rules_are_paged_within_60_kb(desk: Desk) -> None:
    rule = {
        **dict.fromkeys(("allow", "methods", "hosts", "bearer", "basic")),
        "roles": "unset",
        "app_passwords": False,
    }
    rules = [{**rule, "path": f"/part/{n}/**", "groups": ["app-users"]} for n in range(256)]
    desk.tenants.stored["acme"] = document("acme", rules=rules, shadow_rules=rules)
    shown: list[str] = []
    path = "/console/tenants/acme/access"
    while path:
        text = await desk.text(path, "support")
        assert len(text.encode()) <= 60_000
        shown += re.findall(r"<code>/part/(\d+)/", text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1] if following else ""
    assert sorted(map(int, shown)) == sorted([*range(256)] * 2)
    assert len((await desk.text("/console/tenants/acme", "support")).encode()) <= 60_000


async def test_history_needs_its_scope(desk: Desk) -> None:
    text = await desk.text("/console/tenants/acme", "support")
    assert "/acme/history" not in text
    assert "/acme/history" in await desk.text("/console/tenants/acme", "auditors")
    await desk.text("/console/tenants/acme/history", "support", status=403)


async def test_the_list_says_what_was_last_seen_of_each(desk: Desk, database: Database) -> None:
    now = desk.clock()
    await put(database, connections, tenant="acme", state="failing")
    await put(database, people, tenant="acme", last_sign_in_at=now - 7200)
    await put(database, hook_inbox, tenant="acme", state="failed", received_at=now)
    for tenant, days in (("acme", 12), ("globex", -1)):
        at = now + days * 86_400 + 60
        await put(database, credential_expiries, tenant=tenant, expires_at=at)

    async def row(tenant: str, *groups: str) -> list[str]:
        page = lxml.html.document_fromstring(await desk.text("/console/tenants", *groups))
        (found,) = page.xpath(f"//tr[th/code='{tenant}']")
        return [" ".join(cell.text_content().split()) for cell in found.xpath("td")][2:]

    assert await row("acme", "admins") == [
        "acme-okta ✕ failing",
        "! failing",
        "2 hours ago",
        "! in 12 days",
    ]
    assert await row("globex", "admins") == ["acme-okta", "–", "–", "✕ expired"]
    assert await row("acme", "writers") == ["acme-okta ✕ failing", "–", "–", "! in 12 days"]
    assert await row("acme", "support") == [
        "acme-okta ✕ failing",
        "–",
        "2 hours ago",
        "! in 12 days",
    ]


async def test_an_address_finds_the_tenants_of_its_domain_and_leads_to_the_person(
    desk: Desk,
) -> None:
    page = await desk.text("/console/tenants?search=alice@acme", "support")
    assert "/console/tenants/acme" in page
    assert "/console/tenants/globex" not in page
    assert 'href="/console/people?email=alice%40acme"' in page
    assert "/console/people?email" not in await desk.text("/console/tenants?search=a@b", "writers")
