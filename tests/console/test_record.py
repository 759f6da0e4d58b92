"""What the console puts on record of operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.console.record import DENIED_EVERY_S
from tests.console.conftest import HEADER, ORIGIN, token_for
from tests.console.test_link import actions

if TYPE_CHECKING:
    from tests.console.conftest import Desk

ME = "person:dana-sub"


async def test_a_sign_in_is_on_record_once(desk: Desk) -> None:
    for _ in range(3):
        await desk.text("/console/tenants", "support")
    assert await actions(desk) == [(ME, "console.signed_in", "done")]
    desk.clock.now += 90
    await desk.text("/console/tenants", "support")
    assert (await actions(desk)).count((ME, "console.signed_in", "done")) == 2


async def test_a_refusal_is_on_record_and_a_row_of_them_once(desk: Desk) -> None:
    assertion = desk.assertion("support")
    for _ in range(3):
        response = await desk.client.get("/console/audit", headers={HEADER: assertion})
        assert response.status == 403
    assert await actions(desk) == [
        (ME, "console.signed_in", "done"),
        (ME, "console.denied", "done"),
    ]
    assert (await desk.client.get("/console/audit")).status == 403
    assert len(await actions(desk)) == 2, "nobody who is known"
    desk.clock.now += DENIED_EVERY_S - 400
    await desk.client.get("/console/audit", headers={HEADER: assertion})
    assert len(await actions(desk)) == 2


async def test_an_export_is_on_record(desk: Desk) -> None:
    await desk.text("/console/audit/export/csv?action=put_tenant", "auditors")
    assert (ME, "console.exported", "done") in await actions(desk)


async def test_a_sign_out_is_on_record_and_goes_on_to_the_gateways(desk: Desk) -> None:
    page = await desk.text("/console/tenants", "support")
    path = "/console/sign-out"
    response = await desk.post(path, {"token": token_for(page, path)}, "support")
    assert (response.status, response.headers["Location"]) == (303, "/_auth/logout")
    assert (await actions(desk))[-1] == (ME, "console.signed_out", "done")
    assert (await desk.client.post(path, headers={"Origin": ORIGIN})).status == 403
