"""Deliveries in the console: what came in, what went out, and have it done again."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.admin.rooms import Deliveries, Messages
from tests.console.conftest import EVIL, changes, token_for

if TYPE_CHECKING:
    from gateway.core.json_types import Json
    from tests.console.conftest import Desk

IN, OUT = "/console/deliveries/acme/in/d1", "/console/deliveries/acme/out/msg_1"
ME = "person:dana-sub"


async def test_both_directions_are_listed_and_filtered(desk: Desk) -> None:
    assert IN in await desk.text("/console/deliveries", "admins")
    assert OUT in await desk.text("/console/deliveries?direction=out", "admins")
    for query in ("state=applied", "tenant=globex", "direction=out&state=sent"):
        text = await desk.text(f"/console/deliveries?{query}", "admins")
        assert "No deliveries match." in text
    assert IN in await desk.text("/console/deliveries?state=nonsense", "admins")


async def test_a_day_narrows_the_list_and_goes_on_with_it(desk: Desk) -> None:
    """The delivery arrived on 1 January 1970."""
    for days, there in (
        ("since=1970-01-01&until=1970-01-02", True),
        ("since=1970-01-02", False),
        ("until=1970-01-01", False),
        ("since=yesterday", True),
    ):
        page = await desk.text(f"/console/deliveries?{days}", "admins")
        assert (IN in page) is there, days
    page = await desk.text("/console/deliveries?since=1970-01-02", "admins")
    assert "No deliveries match." in page
    assert 'value="1970-01-02"' in page


@pytest.mark.parametrize(("path", "operation"), [(IN, "replay_delivery"), (OUT, "replay_message")])
async def test_one_is_done_again_by_its_form(desk: Desk, path: str, operation: str) -> None:
    page = await desk.text(path, "admins")
    again = f"{path}/replay"
    response = await desk.post(again, {"token": token_for(page, again)}, "admins")
    assert response.headers["Location"] == f"{path}?notice=replayed"
    assert await changes(desk) == [(ME, operation, "done")]
    foreign = await desk.post(again, {"token": "x"}, "admins")
    assert foreign.status == 403


async def test_what_was_sent_is_shown_without_whom(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = await desk.text(IN, "admins")
    assert "…@acme.test" in text
    assert "user.deprovisioned" in await desk.text(OUT, "admins")

    async def gone(_self: Deliveries, _delivery: str) -> None:
        return None

    monkeypatch.setattr(Deliveries, "said", gone)
    assert "cannot be opened any more" in await desk.text(IN, "admins")


async def test_what_is_held_is_decided_for_one_tenant(desk: Desk) -> None:
    rows = desk.api.services.deliveries
    assert isinstance(rows, Deliveries)
    rows.stored["d1"] = replace(rows.stored["d1"], state="held")
    assert "/held/release" not in await desk.text("/console/deliveries?state=held", "admins")
    page = await desk.text("/console/deliveries?state=held&tenant=acme", "admins")
    path = "/console/deliveries/acme/held/drop"
    response = await desk.post(path, {"token": token_for(page, path)}, "admins")
    assert response.status == 303
    assert await changes(desk) == [(ME, "decide_held", "done")]


async def test_whether_hooks_work_is_shown_for_each_provider(desk: Desk) -> None:
    text = await desk.text("/console/deliveries/acme/hooks", "admins")
    assert "acme-okta" in text
    await desk.text("/console/deliveries/nowhere/hooks", "admins", status=404)


async def test_a_delivery_of_another_tenant_is_not_found(desk: Desk) -> None:
    await desk.text("/console/deliveries/acme/in/none", "admins", status=404)
    await desk.text("/console/deliveries/acme/sideways/d1", "admins", status=404)
    await desk.text(IN, "support", status=403)


async def test_nothing_that_a_sender_says_becomes_markup(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def evil(_self: Deliveries, _delivery: str) -> Json:
        return {EVIL: EVIL}

    rows, messages = desk.api.services.deliveries, desk.api.services.messages
    assert isinstance(rows, Deliveries)
    assert isinstance(messages, Messages)
    rows.stored["d1"] = replace(
        rows.stored["d1"], summary=EVIL, error=EVIL, provider=EVIL, source=EVIL
    )
    messages.stored["msg_1"] = replace(messages.stored["msg_1"], event=EVIL, error=EVIL)
    monkeypatch.setattr(Deliveries, "said", evil)
    for path in ("/console/deliveries", IN):
        assert not re.search(r"<(script>|img)", await desk.text(path, "admins"))
