"""The way of every request of the console."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway.console.sign_in import Person
from gateway.console.texts import SECTIONS
from gateway.console.views import PAGES
from gateway.pages.forms import FormTokens, is_own_origin
from tests.console.conftest import ORIGIN, changes, document

if TYPE_CHECKING:
    from tests.console.conftest import Desk

EXAMPLES = {
    "tenant": "acme",
    "tab": "access",
    "session": "acme-1",
    "person": "u1",
    "revocation": "r0001",
    "block": "acme:1",
    "delivery": "acme-1",
    "message": "acme-1",
    "kind": "csv",
    "form": "okta",
    "section": "general",
    "entry": "1",
    "provider": "acme-okta",
    "run": "abcdef012345",
    "way": "in",
    "decision": "release",
    "app_password": "x",
    "admin_key": "000000000001",
    "setup_link": "0000000000000001",
    "domain": "acme.test",
    "what": "check",
}


MOVING_PAGES = (
    "/console/tenants",
    "/console/new-tenant",
    "/console/provision/okta",
    "/console/tenants/acme/connect/okta",
    "/console/tenants/acme/add-provider",
    "/console/tenants/acme/edit/general",
    "/console/tenants/acme/providers/acme-okta/edit",
    "/console/tenants/acme/runs/abcdef012345",
)


def addresses() -> list[str]:
    pages = [page for page in PAGES if not page.form and not page.path.endswith("/events")]
    return ["/console" + page.path.format(**EXAMPLES) for page in pages]


@pytest.mark.parametrize("path", [*addresses(), "/console/nowhere", "/console/tenants/none"])
async def test_every_answer_is_stored_nowhere_framed_nowhere_and_runs_nothing(
    desk: Desk, path: str
) -> None:
    for groups in (("admins",), ("sales",), ()):
        response = await desk.get(path, *groups)
        headers = response.headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        text = await response.text()
        assert " style=" not in text
        scripts = [rule for rule in policy if rule.startswith("script-src")]
        if response.status == 200 and path in MOVING_PAGES:
            [script] = scripts
            [nonce] = re.findall(r"script-src 'nonce-([A-Za-z0-9_-]{22})'$", script)
            assert re.findall(r"<script[^>]*>", text) == [
                f'<script nonce="{nonce}" src="{desk.script}" defer>'
            ]
            assert "require-trusted-types-for 'script'" in policy
        else:
            assert not scripts
            assert "<script" not in text
            assert "hx-" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
async def test_without_the_scope_a_page_is_refused_and_names_it(desk: Desk, page: object) -> None:
    assert page in PAGES
    known = next(one for one in PAGES if one is page)
    path = "/console" + known.path.format(**EXAMPLES)
    response = await desk.post(path, {}, "sales") if known.form else await desk.get(path, "sales")
    text = await response.text()
    assert response.status == 403
    assert f"<code>{known.scope}</code>" in text
    assert "ops@example.com" in text


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
async def test_the_navigation_shows_what_the_groups_open(desk: Desk, section: object) -> None:
    known = next(one for one in SECTIONS if one is section)
    item = f'href="/console{known.path}"'
    assert item in await desk.text("/console/tenants", "admins")
    may = {"support": {"tenants:read", "sessions:read"}, "auditors": {"tenants:read", "audit:read"}}
    for group, scopes in may.items():
        assert (item in await desk.text("/console/tenants", group)) is (str(known.scope) in scopes)


@pytest.mark.parametrize("path", ["/", "/console", "/console/"])
async def test_the_first_page_is_one_that_the_person_may_open(desk: Desk, path: str) -> None:
    response = await desk.get(path, "support")
    assert response.status == 303
    await desk.text(response.headers["Location"], "support")
    assert (await desk.get(path, "sales")).status == 403
    assert (await desk.client.get(path)).status == 403


async def test_the_style_sheet_is_named_by_its_content(desk: Desk) -> None:
    text = await desk.text("/console/tenants", "admins")
    path = text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    response = await desk.client.get(path)
    assert response.status == 200
    assert "immutable" in response.headers["Cache-Control"]


async def test_a_page_is_in_the_language_of_the_browser(desk: Desk) -> None:
    response = await desk.get("/console/tenants", "admins", **{"Accept-Language": "de"})
    assert response.headers["Content-Language"] == "de"
    assert "Mandanten" in await response.text()


async def test_a_read_leaves_no_audit_record(desk: Desk) -> None:
    await desk.text("/console/tenants/acme", "admins")
    assert not await changes(desk)


async def test_whoever_is_limited_to_a_tenant_sees_no_other(desk: Desk) -> None:
    text = await desk.text("/console/tenants", "acme-team")
    assert "acme.example.com" in text
    assert "globex" not in text
    await desk.text("/console/tenants/acme", "acme-team")
    await desk.text("/console/tenants/globex", "acme-team", status=403)
    await desk.text("/console/tenants/globex/history", "acme-team", status=403)


async def test_what_a_path_may_not_hold_is_not_found(desk: Desk) -> None:
    for path in ("/console/tenants/ACME", "/console/tenants/acme/secrets", "/console/tenants/a%0A"):
        assert (await desk.get(path, "admins")).status == 404
    response = await desk.client.delete("/console/tenants")
    assert response.status == 405


PERSON = Person("sub", "e", "n", "ops", "p", frozenset({"g"}), 1000)


@pytest.mark.parametrize(
    ("person", "path", "key"),
    [
        (Person("other", "e", "n", "ops", "p", frozenset({"g"}), 1000), "/a", b"k"),
        (Person("sub", "e", "n", "ops", "p", frozenset({"g"}), 1001), "/a", b"k"),
        (PERSON, "/b", b"k"),
        (PERSON, "/a", b"l"),
    ],
    ids=["another person", "another sign-in", "another form", "another key"],
)
def test_a_token_is_good_for_one_person_one_sign_in_and_one_form(
    person: Person, path: str, key: bytes
) -> None:
    holder, tokens = PERSON.sign_in, FormTokens("console form", lambda: (b"k",))
    token = tokens.issue(holder, "/a")
    assert FormTokens("console form", lambda: (b"new", b"k")).accepts(token, holder, "/a")
    others = FormTokens("console form", lambda: (key,))
    assert not others.accepts(token, person.sign_in, path)
    assert not FormTokens("setup form", lambda: (b"k",)).accepts(token, holder, "/a")
    assert not tokens.accepts("", holder, "/a")
    assert not tokens.accepts("\u00fc" + token, holder, "/a")


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"Origin": ORIGIN}, True),
        ({"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}, True),
        ({}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://acme.example.com"}, False),
        ({"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_a_form_says_where_it_stood(headers: dict[str, str], own: bool) -> None:
    assert is_own_origin(headers, ORIGIN) is own


async def test_a_page_that_fails_says_so_and_tells_no_detail(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.tenants.stored["broken"] = document("broken")
    del desk.tenants.stored["broken"].document["name"]
    text = await desk.text("/console/tenants/broken", "admins", status=500)
    assert "Traceback" not in text
    assert "Undefined" not in text
