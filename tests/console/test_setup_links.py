"""Setup links in the console: made, shown once, looked at, decided, ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.admin.test_authorization import SUBMITTED, submit_link
from tests.admin.test_dispatch import TENANT
from tests.console.conftest import EVIL, changes, document, inputs_of

if TYPE_CHECKING:
    from tests.console.conftest import Desk

NEW = "/console/setup-links/new"
LINK = "/console/setup-links/acme/0000000000000001"
ME = "person:dana-sub"
TYPED = {"tenant_id": "acme", "parts.sign_in": "", "parts.offboarding": "1"}


async def make(desk: Desk, typed: dict[str, str], *groups: str, status: int = 200) -> str:
    page = await desk.text(NEW, *groups)
    form = {**inputs_of(page, NEW), "recipients": "it@acme.test", **typed}
    response = await desk.post(NEW, {n: v for n, v in form.items() if v}, *groups)
    text = await response.text()
    assert response.status == status, text
    return text


async def send(desk: Desk, action: str, *groups: str, **typed: str) -> str:
    """The form of the link's page; where it led."""
    page = await desk.text(LINK, *groups)
    path = f"{LINK}/{action}"
    response = await desk.post(path, {**inputs_of(page, path), **typed}, *groups)
    return response.headers.get("Location") or await response.text()


async def test_address_and_phrase_are_on_one_page_once(desk: Desk) -> None:
    made = await make(desk, TYPED, "admins")
    address = made.partition('id="address" value="')[2].partition('"')[0]
    phrase = made.partition('id="phrase" value="')[2].partition('"')[0]
    assert address.startswith("https://login.example.com/setup/l/0000000000000001/")
    assert len(phrase.split()) == 4 or len(phrase.split("-")) == 4
    assert await changes(desk) == [(ME, "create_setup_link", "done")]
    for path in ("/console/setup-links", LINK, "/console/audit"):
        text = await desk.text(path, "admins")
        assert address.rpartition("/")[2] not in text
        assert phrase not in text


async def test_links_of_all_tenants_are_listed_by_tenant_and_state(desk: Desk) -> None:
    await make(desk, TYPED, "admins")
    await make(desk, {**TYPED, "tenant_id": "globex"}, "admins")
    rows = await desk.text("/console/setup-links", "admins")
    assert LINK in rows
    assert "/console/setup-links/globex/" in rows
    assert LINK not in await desk.text("/console/setup-links?tenant=globex", "admins")
    assert LINK in await desk.text("/console/setup-links?stage=open", "admins")
    for stage in ("completed", "ended"):
        text = await desk.text(f"/console/setup-links?stage={stage}", "admins")
        assert "No setup links match." in text
    assert (await send(desk, "revoke", "admins")).endswith("notice=link_revoked")
    assert LINK in await desk.text("/console/setup-links?stage=ended", "admins")
    assert LINK not in await desk.text("/console/setup-links?stage=open", "admins")


async def test_another_address_ends_the_old_one(desk: Desk) -> None:
    await make(desk, TYPED, "admins")
    assert 'id="phrase"' in await send(desk, "replace", "admins")
    assert "replaced" in await desk.text(LINK, "admins")
    assert "not opened yet" in await desk.text(f"{LINK[:-1]}2", "admins")


@pytest.mark.parametrize(
    ("action", "typed", "notice"),
    [("approve", {}, "link_approved"), ("return", {"note": "another group"}, "link_returned")],
)
async def test_what_was_submitted_is_decided(
    desk: Desk, action: str, typed: dict[str, str], notice: str
) -> None:
    await desk.api.call("PUT", "/tenants/acme", json=TENANT, headers={"If-Match": '"1"'})
    await submit_link(desk.api)
    page = await desk.text(LINK, "admins")
    assert "waits for approval" in page
    assert SUBMITTED.name in page
    assert (await send(desk, action, "admins", **typed)).endswith(f"notice={notice}")
    assert f"{LINK}/approve" not in await desk.text(LINK, "admins")


async def test_whoever_may_not_approve_sees_no_way_to(desk: Desk) -> None:
    await submit_link(desk.api)
    page = await desk.text(LINK, "setup")
    assert f"{LINK}/approve" not in page
    assert "setup:approve" in page
    assert (await desk.post(f"{LINK}/approve", {"token": "x"}, "setup")).status == 403


async def test_what_is_wrong_stands_beside_its_field(desk: Desk) -> None:
    text = await make(desk, {**TYPED, "recipients": "nobody"}, "admins", status=422)
    assert 'href="#field-recipients"' in text
    text = await make(desk, {**TYPED, "tenant_id": "Not One"}, "admins", status=422)
    assert 'href="#field-tenant_id"' in text.replace("tenant-id", "tenant_id")
    text = await make(desk, {**TYPED, "approval": "none"}, "setup", status=422)
    assert "setup:approve" in text


async def test_nothing_that_a_recipient_typed_becomes_markup(desk: Desk) -> None:
    desk.tenants.stored["acme"] = document("acme", name=EVIL)
    await make(desk, {**TYPED, "note": EVIL}, "admins")
    for path in ("/console/setup-links", LINK):
        assert not re.search(r"<(script>|img)", await desk.text(path, "admins"))
