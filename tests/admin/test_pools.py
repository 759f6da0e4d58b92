"""``/pools``: who switches a user pool between its regions, and which can be switched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.admin.conftest import Api


async def told(api: Api, method: str, path: str) -> Any:
    return await (await api.call(method, path)).json()


async def test_an_operator_fails_a_pool_over_and_back(api: Api) -> None:
    listed = (await told(api, "GET", "/pools"))["items"]
    assert [(row["name"], row["secondary_region"]) for row in listed] == [
        ("default", None),
        ("second", "eu-west-1"),
    ]
    assert (await told(api, "POST", "/pools/second/failover"))["failed_over_since"] == 1.0
    listed = (await told(api, "GET", "/pools"))["items"]
    assert [row["failed_over_since"] for row in listed] == [None, 1.0]
    assert (await told(api, "DELETE", "/pools/second/failover"))["failed_over_since"] is None


async def test_what_has_no_secondary_or_is_no_pool_is_not_failed_over(api: Api) -> None:
    assert (await told(api, "POST", "/pools/default/failover"))["code"] == "conflict"
    for method in ("POST", "DELETE"):
        assert (await told(api, method, "/pools/third/failover"))["code"] == "not_found"
