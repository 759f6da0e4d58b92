"""``/connections`` and ``/tenants/ID/connections``: what is known, and a look now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.admin.conftest import Api


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/check")])
async def test_a_tenants_connections_are_shown_with_what_ends(
    api: Api, method: str, path: str
) -> None:
    response = await api.call(method, f"/tenants/acme/connections{path}")
    assert response.status == 200
    assert (await response.json())["items"] == [
        {
            "provider": "acme-saml",
            "state": "active",
            "checked_at": 1.0,
            "failing_since": None,
            "detail": "",
            "certificates": [{"fingerprint": "ab" * 32, "expires_at": 2_000_000_000.0}],
            "credentials": [
                {
                    "credential": "saml_certificate",
                    "expires_at": 2_000_000_000.0,
                    "days_left": 7,
                }
            ],
        }
    ]


async def test_connections_of_all_tenants_are_a_list_in_pages(api: Api) -> None:
    first = await (await api.call("GET", "/connections?limit=1")).json()
    assert [(row["tenant"], row["provider"]) for row in first["items"]] == [("acme", "acme-saml")]
    rest = await (await api.call("GET", f"/connections?limit=1&cursor={first['next']}")).json()
    assert [row["tenant"] for row in rest["items"]] == ["globex"]
    assert rest["next"] is None
    failing = await (await api.call("GET", "/connections?state=failing")).json()
    assert failing == {"items": [], "next": None}
    assert (await api.call("GET", "/connections?state=broken")).status == 400
