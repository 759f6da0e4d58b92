"""Ending sessions in the console: a form, its token, its count; and the time line that follows."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.admin.keys import Scope
from gateway.console.operator import FRESH_S
from tests.admin.rooms import Revocations
from tests.console.conftest import EVIL, HEADER, ORIGIN, changes, token_for

if TYPE_CHECKING:
    from tests.console.conftest import Desk

ONE = "/console/sessions/acme/end-one"
ALL = "/console/sessions/acme/end"


async def test_sessions_are_listed_for_a_tenant_alone(desk: Desk) -> None:
    assert "acme-1" not in await desk.text("/console/sessions", "support")
    text = await desk.text("/console/sessions?tenant=acme", "support")
    assert "bob@acme.test" in text
    assert "Leipzig, DE <code>203.0.113.7</code>" in text
    await desk.text("/console/sessions?tenant=globex", "acme-team", status=403)


async def test_a_session_is_ended_by_its_form_and_the_person_is_on_record(desk: Desk) -> None:
    page = await desk.text("/console/sessions?tenant=acme", "support")
    response = await desk.post(ONE, {"token": token_for(page, ONE), "session": "acme-1"}, "support")
    assert response.status == 303
    assert response.headers["Location"] == "/console/revocations/acme/r0001?notice=ended"
    shown = await desk.text(response.headers["Location"], "support")
    assert 'role="status"' in shown
    drawn = re.findall(
        r'<th scope="row"[^>]*>(.*?)</th>.*?<rect class="(\w+)" width="(\d+)"', shown
    )
    assert drawn == [
        ("stored", "bar", "320"),
        ("replica-1", "bar", "427"),
        ("replica-2", "silent", "640"),
        ("acknowledged", "bar", "640"),
    ]
    assert "not confirmed" in shown
    assert "<dd>admin</dd>" in shown, "whoever may not read the audit log sees no name"
    revoker = desk.api.services.revoker
    assert isinstance(revoker, Revocations)
    revoker.done["r0001"] = replace(revoker.done["r0001"], received_at=desk.clock() - 1)
    refused = await desk.api.call(
        "DELETE", "/sessions/acme-1", key=await desk.api.key(Scope.SESSIONS_READ)
    )
    assert refused.status == 403
    shown = await desk.text(response.headers["Location"], "admins")
    assert "<dd>person:dana-sub</dd>" in shown
    assert ("person:dana-sub", "end_session", "done") in await changes(desk)


async def test_a_form_from_elsewhere_ends_nothing(desk: Desk) -> None:
    page = await desk.text("/console/sessions?tenant=acme", "support")
    token = token_for(page, ONE)
    other = token_for(page, "/console/sign-out")
    sent = {HEADER: desk.assertion("support"), "Origin": ORIGIN}
    for form, headers in (
        ({}, sent),
        ({"token": ""}, sent),
        ({"token": other}, sent),
        ({"token": token}, {**sent, "Origin": "https://acme.example.com"}),
        ({"token": token}, {**sent, "Origin": "null"}),
        ({"token": token}, {HEADER: sent[HEADER]}),
        ({"token": token}, {**sent, "Sec-Fetch-Site": "cross-site"}),
        ({"token": token}, {**sent, HEADER: desk.assertion("support", sub="sam-sub")}),
        (
            {"token": token},
            {**sent, HEADER: desk.assertion("support", auth_time=int(desk.clock()))},
        ),
    ):
        data = {**form, "session": "acme-1"}
        response = await desk.client.post(ONE, data=data, headers=headers, allow_redirects=False)
        assert response.status == 403, (form, headers)
    text = await desk.client.post(
        ONE, data=f"token={token}&session=acme-1", headers={**sent, "Content-Type": "text/plain"}
    )
    assert text.status == 403
    assert (await desk.get(ONE, "support")).status == 405
    assert not await changes(desk)


async def test_all_that_match_are_ended_once_their_count_was_typed(desk: Desk) -> None:
    page = await desk.text(f"{ALL}?email=bob@acme.test", "support")
    form = {"token": token_for(page, ALL), "email": "bob@acme.test"}
    for count in ("", "4", "all"):
        wrong = await desk.post(ALL, {**form, "count": count}, "support")
        assert wrong.status == 422
        assert "Nothing was ended" in await wrong.text()
    response = await desk.post(ALL, {**form, "count": "5"}, "support")
    assert response.status == 303
    shown = await desk.text("/console/revocations/acme/r0001", "support")
    assert "bob@acme.test" in shown


async def test_to_end_all_needs_a_fresh_sign_in(desk: Desk) -> None:
    page = await desk.text(ALL, "support")
    old = int(desk.clock()) - FRESH_S - 1
    assertion = desk.assertion("support", auth_time=old)
    page = await (await desk.client.get(ALL, headers={HEADER: assertion})).text()
    response = await desk.client.post(
        ALL,
        data={"token": token_for(page, ALL), "count": "5"},
        headers={HEADER: assertion, "Origin": ORIGIN},
        allow_redirects=False,
    )
    assert response.status == 403
    assert "reauthenticate=1" in await response.text()
    assert not await changes(desk)


async def test_whoever_is_limited_to_a_tenant_ends_no_session_of_another(desk: Desk) -> None:
    page = await desk.text("/console/sessions?tenant=acme", "acme-team")
    token = token_for(page, ONE)
    response = await desk.post(ONE, {"token": token, "session": "acme-1"}, "acme-team")
    await desk.text(response.headers["Location"], "acme-team")
    # Named with their own tenant, the session of another one is not found; nor is what is none.
    for session in ("globex-1", "", "../x"):
        form = {"token": token, "session": session}
        assert (await desk.post(ONE, form, "acme-team")).status == 404, session


@pytest.mark.parametrize("path", ["/console/sessions", ALL, "/console/audit"])
async def test_what_is_typed_comes_back_as_text(desk: Desk, path: str) -> None:
    response = await desk.client.get(
        path,
        params={"tenant": "acme", "email": EVIL, "actor": EVIL[:60], "action": EVIL[:60]},
        headers={HEADER: desk.assertion("admins")},
    )
    text = await response.text()
    assert not re.search(r"<(script>|img)", text)
