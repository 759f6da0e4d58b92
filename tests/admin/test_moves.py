"""Moves of tenants between user pools over the API: what is said before one, and what it waits
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.admin.test_dispatch import problem

if TYPE_CHECKING:
    from tests.admin.conftest import Api

MOVE = "/tenants/acme/provision/move"


async def planned(api: Api, **body: object) -> Any:
    answer = await api.call("POST", f"{MOVE}?dry_run=true", json={"pool": "second", **body})
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_a_plan_says_how_many_app_passwords_end(api: Api) -> None:
    found = await planned(api)
    assert found["app_passwords"] == 5
    assert "app passwords that end: 5, of 1 people" in found["notes"][-1]


async def test_a_move_waits_until_a_saml_provider_is_said_to_know_the_other_pool(api: Api) -> None:
    half = {"pool": "second", "registered": ["acme-okta"]}
    assert (await planned(api, **half))["waits_for"] == ["acme-saml"]
    refused = await problem(await api.call("POST", MOVE, json=half))
    assert refused["code"] == "conflict"
    assert "entity ID urn:" in refused["detail"] and "registered: acme-saml" in refused["detail"]
    both = {**half, "registered": ["acme-okta", "acme-saml"]}
    assert (await api.call("POST", MOVE, json=both)).status == 201


async def test_a_link_tests_the_other_pool_before_the_move(api: Api) -> None:
    answer = await api.call("POST", f"{MOVE}/test", json={"pool": "second"})
    text = await answer.text()
    assert (answer.status, "s3cr3t" in text) == (201, False)
    trial = await answer.json()
    assert trial["url"].startswith("https://login.example.com/_auth/test/")
    assert (trial["run"], trial["at_provider"]) == ("abcdef012345", ["acme-saml: entity ID urn:…"])
    refused = await problem(await api.call("POST", f"{MOVE}/test", json={"pool": "third"}))
    assert refused["code"] == "preflight_failed"
