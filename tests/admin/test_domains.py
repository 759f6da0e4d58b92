"""``/tenants/ID/domains``: the record to add, what DNS says, and whose a domain is that is never
said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.admin.keys import Scope

if TYPE_CHECKING:
    from tests.admin.conftest import Api

HERE = "/tenants/acme/domains"


async def test_a_claim_is_answered_with_its_record(api: Api) -> None:
    response = await api.call("POST", HERE, json={"domain": "Bücher.example"})
    answer = await response.json()
    assert response.status == 201 and answer["domain"] == "xn--bcher-kva.example"
    assert answer["record"] == {
        "type": "TXT",
        "name": "_gateway-verify.xn--bcher-kva.example",
        "value": "gateway-verify=abcdefghijklmnopqrstuvwxyz",
    }
    again = await api.call("POST", HERE, json={"domain": "acme.test"})
    assert again.status == 200


@pytest.mark.parametrize(
    ("domain", "status", "detail"),
    [
        ("taken.test", 409, "This domain can't be added here."),
        ("it@acme.test", 400, "Enter a domain, not an address."),
        ("gmail.com", 400, "gmail.com is a public e-mail service."),
        ("co.uk", 400, "public suffix"),
    ],
)
async def test_what_cannot_be_added_is_told_and_whose_it_is_not(
    api: Api, domain: str, status: int, detail: str
) -> None:
    response = await api.call("POST", HERE, json={"domain": domain})
    answer = await response.json()
    assert response.status == status and detail in answer["detail"]


async def test_what_an_operator_vouched_for_only_an_operator_removes(api: Api) -> None:
    bound = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    refused = await api.call("POST", f"{HERE}/acme.test/vouch", key=bound, json={"reason": "mine"})
    assert refused.status == 403
    done = await api.call("POST", f"{HERE}/acme.test/vouch", json={"reason": "by contract"})
    assert (await done.json())["state"] == "vouched"
    assert (await api.call("DELETE", f"{HERE}/acme.test", key=bound)).status == 403
    assert (await api.call("DELETE", f"{HERE}/acme.test")).status == 204


async def test_a_bound_key_gives_up_no_claim_that_is_in_use(api: Api) -> None:
    bound = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    refused = await api.call("DELETE", f"{HERE}/proven.test", key=bound)
    assert refused.status == 403
    assert "in use" in (await refused.json())["detail"]
    assert (await api.call("DELETE", f"{HERE}/acme.test", key=bound)).status == 204
    assert (await api.call("DELETE", f"{HERE}/proven.test")).status == 204


async def test_what_was_never_claimed_is_not_found(api: Api) -> None:
    for method, path in (("POST", "/check"), ("DELETE", "")):
        assert (await api.call(method, f"{HERE}/other.test{path}")).status == 404
