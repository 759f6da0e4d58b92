"""Nothing but one good assertion of an operator opens the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest

from gateway.keys.ring import generate
from tests.console.conftest import HEADER, ORIGIN, RING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.console.conftest import Desk


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def signed(desk: Desk, **changes: Any) -> str:
    """With the right key, and ``changes`` of the claims; None takes one away."""
    claims = {**claims_of(desk.assertion("admins")), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    key = RING.assertion[0]
    return jwt.encode(claims, key.private, algorithm="ES256", headers={"kid": key.kid})


def unsigned(desk: Desk) -> str:
    claims = claims_of(desk.assertion("admins"))
    return jwt.encode(claims, "", algorithm="none", headers={"kid": RING.assertion[0].kid})


def symmetric(desk: Desk) -> str:
    """Signed with what everybody knows, the public key's id."""
    claims = claims_of(desk.assertion("admins"))
    kid = RING.assertion[0].kid
    return jwt.encode(claims, kid * 8, algorithm="HS256", headers={"kid": kid})


REFUSED: dict[str, Callable[[Desk], str]] = {
    "for another app": lambda desk: desk.assertion("admins", origin="https://acme.example.com"),
    "for a host that begins alike": lambda desk: desk.assertion("admins", origin=f"{ORIGIN}.evil"),
    "by another issuer": lambda desk: desk.assertion("admins", issuer="https://evil.example"),
    "of another tenant": lambda desk: desk.assertion("admins", tenant="acme"),
    "of another ring": lambda desk: desk.assertion("admins", ring=generate()),
    "expired": lambda desk: signed(desk, exp=int(desk.clock())),
    "without an end": lambda desk: signed(desk, exp=None),
    "with an end in words": lambda desk: signed(desk, exp="tomorrow"),
    "for several audiences": lambda desk: signed(desk, aud=[ORIGIN, "https://acme.example.com"]),
    "of nobody": lambda desk: signed(desk, sub=""),
    "without the time of the sign-in": lambda desk: signed(desk, auth_time=None),
    "with groups in one text": lambda desk: signed(desk, groups="admins"),
    "of a program": lambda desk: signed(desk, client_id="client"),
    "unsigned": unsigned,
    "symmetric": symmetric,
    "no token": lambda _desk: "admins",
    "empty": lambda _desk: "",
    "longer than a header": lambda desk: desk.assertion("admins") + "x" * 17_000,
}


async def test_an_operator_is_known_by_the_assertion(desk: Desk) -> None:
    text = await desk.text("/console/tenants", "admins")
    assert "dana@ops.test" in text
    assert "acme.example.com" in text


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_not_one_good_assertion_of_an_operator_opens_nothing(
    desk: Desk, kind: str
) -> None:
    response = await desk.client.get("/console/tenants", headers={HEADER: REFUSED[kind](desk)})
    assert response.status in {400, 403}, kind
    assert "acme" not in await response.text()


async def test_two_assertions_are_none(desk: Desk) -> None:
    good = desk.assertion("admins")
    response = await desk.client.get("/console/tenants", headers=[(HEADER, good), (HEADER, good)])
    assert response.status == 403


async def test_plain_headers_say_nothing(desk: Desk) -> None:
    plain = {
        "X-Auth-Request-User": "dana-sub",
        "X-Auth-Request-Email": "dana@ops.test",
        "X-Auth-Request-Groups": "admins",
        "X-Auth-Request-Tenant": "ops",
        "Remote-User": "dana@ops.test",
        "Authorization": f"Bearer {desk.assertion('admins')}",
    }
    response = await desk.client.get("/console/tenants", headers=plain)
    assert response.status == 403
    assert "acme" not in await response.text()


async def test_a_plain_header_beside_the_assertion_adds_no_group(desk: Desk) -> None:
    response = await desk.get("/console/tenants", "sales", **{"X-Auth-Request-Groups": "admins"})
    assert response.status == 403
