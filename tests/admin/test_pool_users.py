"""Users of the pool over the API: what an answer shows, and what nothing else does."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.admin.keys import Scope
from gateway.admin.problem import Problem
from gateway.admin.routes.pool_users import PLACES, PLACES_OF_A_TENANT, Places
from tests.admin.rooms import PoolMembers
from tests.admin.test_dispatch import problem

if TYPE_CHECKING:
    from tests.admin.conftest import Api

BASE = "/tenants/acme/pool-users"


async def test_a_temporary_password_is_in_one_answer_and_nowhere_else(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await api.key(Scope.USERS_WRITE, tenant="acme")
    for path, body in (
        (BASE, {"email": "new@acme.test", "invitation": "none"}),
        (f"{BASE}/u1/invite", {"invitation": "none"}),
    ):
        shown = await (await api.call("POST", path, key=key, json=body)).json()
        assert shown["temporary_password"] == PoolMembers.password
        mailed = await (
            await api.call("POST", path, key=key, json={**body, "invitation": "email"})
        ).json()
        assert mailed["temporary_password"] is None
    audit = await (await api.call("GET", "/audit")).json()
    assert {row["action"] for row in audit["items"]} >= {"create_pool_user", "invite_pool_user"}
    assert PoolMembers.password not in json.dumps(audit)
    assert PoolMembers.password not in caplog.text


async def test_what_ended_their_sessions_is_told_and_on_record(api: Api) -> None:
    answer = await api.call("POST", f"{BASE}/u1/disable", json={"reason": "left"})
    told = await answer.json()
    assert (told["user"]["user"], told["revocation"]["ended"]) == ("u1", 1)
    assert told["revocation"]["acknowledged_ms"] == 2.0
    audit = await (await api.call("GET", "/audit")).json()
    (row,) = [r for r in audit["items"] if r["action"] == "disable_pool_user"]
    assert (row["tenant"], row["target"]) == ("acme", "acme/u1")
    assert row["after"] == {"reason": "left"}


async def test_pages_follow_by_cognitos_own_token_and_a_stale_one_is_no_fault(api: Api) -> None:
    first = await (await api.call("GET", BASE)).json()
    second = await (await api.call("GET", f"{BASE}?cursor={first['next']}")).json()
    assert (len(second["items"]), second["next"]) == (1, None)
    for wrong in (
        "WyJsaXN0X3Bvb2xfdXNlcnMiLCAic3RhbGUiXQ",
        "WyJsaXN0X3Blb3BsZSIsICJzdGFsZSJd",
    ):
        refused = await problem(await api.call("GET", f"{BASE}?cursor={wrong}"))
        assert refused["code"] == "invalid_cursor"


async def test_only_an_operator_adopts_somebody_of_the_pool(api: Api) -> None:
    body = {"email": "there@acme.test", "adopt": True}
    bound = await api.key(Scope.USERS_WRITE, tenant="acme")
    refused = await problem(await api.call("POST", BASE, key=bound, json=body))
    assert refused["code"] == "tenant_bound"
    refused = await problem(await api.call("POST", BASE, json=body))
    assert refused["code"] == "exists"


@pytest.mark.parametrize(
    "body",
    [
        {"email": "a@acme.test", "groups": ["two words"]},
        {"email": "a@acme.test", "groups": [""]},
        {"email": "a@acme.test", "groups": ["x"] * 101},
        {"email": "a@acme.test\x07"},
        {"email": "a@acme.test", "invitation": "sms"},
        {"email": "a@acme.test", "temporary_password": "chosen"},
    ],
)
async def test_what_no_user_can_be_is_refused(api: Api, body: dict[str, object]) -> None:
    assert (await problem(await api.call("POST", BASE, json=body)))["code"] == "invalid_body"


async def test_cognitos_refusal_comes_in_its_words(api: Api) -> None:
    refused = await problem(await api.call("POST", f"{BASE}/often/reset"))
    assert (refused["code"], refused["cognito_error"]) == (
        "quota_reached",
        "LimitExceededException",
    )
    assert refused["detail"] == "Attempt limit exceeded"


def test_one_tenant_takes_not_all_of_the_few_places() -> None:
    places = Places()
    held = [places.taken("acme") for _ in range(PLACES_OF_A_TENANT)]
    for place in held:
        place.__enter__()
    with pytest.raises(Problem, match="at most 2 of a tenant"), places.taken("acme"):
        raise AssertionError
    others = [places.taken(f"t{n}") for n in range(PLACES - PLACES_OF_A_TENANT)]
    for place in others:
        place.__enter__()
    with pytest.raises(Problem), places.taken("late"):
        raise AssertionError
    for place in (*held, *others):
        place.__exit__(None, None, None)
    with places.taken("acme"):
        pass
