"""One-time links: opened once, for a while, and not after an operator has signed in."""

from __future__ import annotations

import asyncio
import html
import logging
import re
from typing import TYPE_CHECKING

import pytest

from gateway.admin.keys import LINK_KEY_S
from gateway.console.link import COOKIE, rebased
from gateway.console.operator import FRESH_S
from gateway.console.sign_in import Person
from gateway.core.console_link import PREFIX
from gateway.database.audit_entries import AuditFilter
from gateway.pages.forms import FormTokens
from gateway.sessions.console_links import LINK_S, LONGEST_S
from tests.console.conftest import EVIL, HEADER, ORIGIN, document, token_for

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from tests.console.conftest import Desk

FROM_HERE = {"Origin": ORIGIN}


async def made(desk: Desk) -> str:
    link = await desk.links.create()
    assert link is not None
    return link.code


async def press(desk: Desk, code: str, **headers: str) -> ClientResponse:
    """The button of the landing page."""
    return await desk.client.post(
        PREFIX, data={"code": code}, headers={**FROM_HERE, **headers}, allow_redirects=False
    )


async def opened(desk: Desk) -> str:
    """The cookie of whoever opened a link."""
    response = await press(desk, await made(desk))
    assert response.status == 303, await response.text()
    cookie = response.cookies[COOKIE]
    assert (cookie["secure"], cookie["httponly"]) == (True, True)
    assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Strict", "/", "")
    desk.client.session.cookie_jar.clear()
    return cookie.value


async def get(desk: Desk, path: str, cookie: str) -> ClientResponse:
    return await desk.client.get(
        path, headers={"Cookie": f"{COOKIE}={cookie}"}, allow_redirects=False
    )


async def actions(desk: Desk) -> list[tuple[str, str, str]]:
    page = await desk.api.services.audit.page(AuditFilter(), position=None, limit=20)
    return [(one.actor, one.action, one.outcome) for one in reversed(page.items)]


async def test_a_link_opens_once(desk: Desk) -> None:
    code = await made(desk)
    first = await press(desk, code)
    assert (first.status, first.headers["Location"]) == (303, f"{PREFIX}/")
    assert code not in str(first.headers)
    second = await press(desk, code)
    assert second.status == 403
    assert COOKIE not in second.cookies


async def test_of_two_who_press_at_once_one_is_in(desk: Desk) -> None:
    code = await made(desk)
    answers = await asyncio.gather(*(press(desk, code) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [303, *[403] * 7]


async def test_to_look_at_a_link_uses_nothing_up(desk: Desk) -> None:
    code = await made(desk)
    for _ in range(3):
        response = await desk.client.get(PREFIX, params={"code": code})
        assert response.status == 200
        assert response.headers["Referrer-Policy"] == "strict-origin"
        assert response.headers["Cache-Control"] == "no-store"
        assert COOKIE not in response.cookies
        assert (await desk.client.head(PREFIX, params={"code": code})).status == 200
    assert (await press(desk, code)).status == 303


async def test_a_link_ends_after_a_quarter_of_an_hour(desk: Desk) -> None:
    code = await made(desk)
    desk.clock.now += LINK_S
    assert (await press(desk, code)).status == 403


@pytest.mark.parametrize(
    "code",
    ["", "x", "0123456789ab", "0123456789ab." + "s" * 43, "." + "s" * 43, "s" * 5000, EVIL],
)
async def test_what_is_no_code_of_a_link_opens_nothing(desk: Desk, code: str) -> None:
    await made(desk)
    response = await press(desk, code)
    assert response.status in {403, 413}
    assert not re.search(r"<(script>|img)", await response.text())
    landing = await desk.client.get(PREFIX, params={"code": code[:2000]})
    assert not re.search(r"<(script>|img)", await landing.text())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://acme.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_a_form_from_elsewhere_opens_nothing(desk: Desk, headers: dict[str, str]) -> None:
    code = await made(desk)
    assert (await press(desk, code, **headers)).status == 403
    bare = await desk.client.post(PREFIX, data={"code": code}, allow_redirects=False)
    assert bare.status == 403
    assert (await press(desk, code)).status == 303


async def test_the_holder_has_every_page_below_the_prefix(desk: Desk) -> None:
    cookie = await opened(desk)
    home = await get(desk, f"{PREFIX}/", cookie)
    assert home.status == 303
    assert home.headers["Location"].startswith(f"{PREFIX}/")
    for path in ("/tenants", "/tenants/acme", "/sessions?tenant=acme", "/audit"):
        response = await get(desk, PREFIX + path, cookie)
        text = await response.text()
        assert response.status == 200, path
        addresses = re.findall(r'(?:href|action)="(/console[^"]*)"', text)
        assert len(addresses) > 3
        assert not [one for one in addresses if not one.startswith(f"{PREFIX}/")], path
    style = re.search(r'rel="stylesheet" href="([^"]+)"', text)
    assert style is not None
    assert (await desk.client.get(style[1])).status == 200


async def test_a_name_of_a_tenant_is_no_address_that_moves(desk: Desk) -> None:
    name = 'x="/console/y'
    desk.tenants.stored["acme"] = document("acme", name=name)
    text = await (await get(desk, f"{PREFIX}/tenants/acme", await opened(desk))).text()
    assert html.escape(name, quote=False) in html.unescape(text).replace("&#34;", '"')
    assert rebased('<a href="/console/a">/console/b</a>') == (
        f'<a href="{PREFIX}/a">/console/b</a>'
    )


async def test_a_form_of_the_holder_is_theirs_alone(desk: Desk) -> None:
    cookie = await opened(desk)
    path = f"{PREFIX}/sessions/acme/end-one"
    page = await (await get(desk, f"{PREFIX}/sessions?tenant=acme", cookie)).text()
    headers = {**FROM_HERE, "Cookie": f"{COOKIE}={cookie}"}
    operators = FormTokens("console form", lambda: (b"form key of this ring",)).issue(
        Person("dana-sub", "", "", "ops", "", frozenset(), 0).sign_in,
        "/console/sessions/acme/end-one",
    )
    for token in ("", operators, token_for(page, f"{PREFIX}/sign-out")):
        refused = await desk.client.post(
            path, data={"token": token, "session": "acme-1"}, headers=headers, allow_redirects=False
        )
        assert refused.status == 403
    response = await desk.client.post(
        path,
        data={"token": token_for(page, path), "session": "acme-1"},
        headers=headers,
        allow_redirects=False,
    )
    assert response.headers["Location"] == f"{PREFIX}/revocations/acme/r0001?notice=ended"
    name = cookie.partition(".")[0]
    assert await actions(desk) == [
        (f"console-link:{name}", "console.signed_in", "done"),
        (f"console-link:{name}", "end_session", "done"),
    ]


async def test_the_cookie_is_nobody_at_the_pages_behind_the_check(desk: Desk) -> None:
    cookie = await opened(desk)
    assert (await get(desk, "/console/tenants", cookie)).status == 403
    assert (await get(desk, "/", cookie)).status == 403


async def test_an_assertion_is_nobody_below_the_prefix(desk: Desk) -> None:
    response = await desk.client.get(
        f"{PREFIX}/tenants", headers={HEADER: desk.assertion("admins")}
    )
    assert response.status == 403
    assert "acme" not in await response.text()


@pytest.mark.parametrize("cookie", ["", "x", "0123456789ab." + "s" * 43, "a" * 9000])
async def test_what_is_no_cookie_of_ours_is_nobody(desk: Desk, cookie: str) -> None:
    await opened(desk)
    response = await get(desk, f"{PREFIX}/tenants", cookie)
    assert response.status in {400, 403}


async def test_the_code_of_a_link_is_no_cookie(desk: Desk) -> None:
    code = await made(desk)
    assert (await get(desk, f"{PREFIX}/tenants", code)).status == 403
    cookie = await opened(desk)
    assert (await press(desk, cookie)).status == 403


async def test_it_ends_after_a_working_day_whatever_is_done(desk: Desk) -> None:
    cookie = await opened(desk)
    desk.clock.now += LONGEST_S - 1
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 200
    desk.clock.now += 1
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 403


async def test_what_needs_a_fresh_sign_in_needs_a_fresh_link(desk: Desk) -> None:
    cookie = await opened(desk)
    path = f"{PREFIX}/sessions/acme/end"
    page = await (await get(desk, path, cookie)).text()
    desk.clock.now += FRESH_S + 1
    response = await desk.client.post(
        path,
        data={"token": token_for(page, path), "count": "5"},
        headers={**FROM_HERE, "Cookie": f"{COOKIE}={cookie}"},
        allow_redirects=False,
    )
    text = await response.text()
    assert response.status == 403
    assert "gateway console link" in text
    assert "reauthenticate" not in text


async def test_a_key_that_the_holder_makes_has_an_end(desk: Desk) -> None:
    cookie, path = await opened(desk), f"{PREFIX}/keys/new"
    page = await (await get(desk, path, cookie)).text()
    assert "90 days" in page
    assert "until it is revoked" not in page and "1 year" not in page
    form = {"token": token_for(page, path), "name": "ci", "scopes.tenants:read": "1"}
    headers = {**FROM_HERE, "Cookie": f"{COOKIE}={cookie}"}
    for life, status in (("", 422), (str(LINK_KEY_S + 1), 422), (str(LINK_KEY_S), 200)):
        response = await desk.client.post(
            path, data={**form, "expires_in": life}, headers=headers, allow_redirects=False
        )
        assert response.status == status, await response.text()
    (key,) = await desk.api.keys.list()
    assert key.expires_at == key.created_at + LINK_KEY_S
    assert key.made_by == f"console-link:{cookie.partition('.')[0]}"


async def test_the_first_sign_in_with_every_scope_ends_all_links(desk: Desk) -> None:
    code, cookie = await made(desk), await opened(desk)
    await desk.text("/console/tenants", "support")
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 200
    await desk.text("/console/tenants", "admins", "support")
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 403
    assert (await press(desk, code)).status == 403
    assert await desk.links.create() is None


async def test_whoever_is_limited_to_a_tenant_ends_no_link(desk: Desk) -> None:
    cookie = await opened(desk)
    await desk.text("/console/tenants", "acme-team")
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 200


async def test_all_links_end_at_a_command(desk: Desk) -> None:
    code, cookie = await made(desk), await opened(desk)
    await desk.links.end_all()
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 403
    assert (await press(desk, code)).status == 403
    desk.clock.now += 1
    assert (await press(desk, await made(desk))).status == 303


async def test_a_sign_out_ends_it(desk: Desk) -> None:
    cookie = await opened(desk)
    page = await (await get(desk, f"{PREFIX}/tenants", cookie)).text()
    path = f"{PREFIX}/sign-out"
    headers = {**FROM_HERE, "Cookie": f"{COOKIE}={cookie}"}
    foreign = await desk.client.post(path, headers=headers, allow_redirects=False)
    assert foreign.status == 403
    response = await desk.client.post(
        path, data={"token": token_for(page, path)}, headers=headers, allow_redirects=False
    )
    assert response.status == 303
    assert response.cookies[COOKIE]["max-age"] == "0"
    assert (await get(desk, f"{PREFIX}/tenants", cookie)).status == 403


async def test_neither_code_nor_cookie_is_in_a_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = await made(desk)
    await desk.client.get(PREFIX, params={"code": code})
    response = await press(desk, code)
    cookie = response.cookies[COOKIE].value
    await press(desk, code)
    await get(desk, f"{PREFIX}/tenants", cookie)
    await get(desk, f"{PREFIX}/nowhere", cookie)
    told = "\n".join(str(vars(record)) for record in caplog.records if "gateway" in record.name)
    for secret in (code, cookie):
        assert secret.partition(".")[2] not in told
