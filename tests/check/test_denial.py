"""``POST /admin/v1/explain`` and the denied page, of the running product."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from demo.world import MACHINE_CLIENT

if TYPE_CHECKING:
    from tests.support.browserless import Person
    from tests.support.world import RunningWorld

ACME = "acme.localhost"


def post(
    world: RunningWorld, path: str, body: dict[str, Any] | None, *, key: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", world.world.gateways[0].ports["admin"], timeout=10
    )
    try:
        headers = {
            "Authorization": f"Bearer {key}",
            **({"Content-Type": "application/json"} if body is not None else {}),
        }
        connection.request(
            "POST", f"/admin/v1{path}", json.dumps(body) if body is not None else None, headers
        )
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        return response.status, answer
    finally:
        connection.close()


def bound_key(world: RunningWorld, tenant: str) -> str:
    name = f"of {tenant}"
    made = json.loads(
        world.run(
            world.world.command(
                "admin-keys",
                "create",
                name,
                "--scope",
                "tenants:read",
                "--scope",
                "tenants:write",
                "--tenant",
                tenant,
                "--json",
            )
        )
    )
    return str(made["key"])


async def test_the_api_explains_what_the_check_says(policy: RunningWorld, visitor: Person) -> None:
    key = policy.run(policy.world.make_admin_key())
    await visitor.log_in(
        f"{policy.world.url(ACME)}/_auth/login?{urlencode({'rd': '/'})}", "bob@acme.test"
    )
    answer = policy.check(ACME, "/admin/x", cookie=visitor.cookies(ACME)["__Host-gw"])
    status, told = post(
        policy,
        "/explain",
        {"host": ACME, "path": "/admin/x", "email": "bob@acme.test", "groups": ["app-users"]},
        key=key,
    )
    assert (status, told["decision"], told["reason"]) == (
        200,
        "deny",
        answer.header("X-Auth-Reason"),
    )
    assert (told["tenant"], told["rule"], told["would_do"]["groups"], told["support"]) == (
        "acme",
        {"index": 1, "path": "/admin/**"},
        ["admins"],
        "it@acme.test",
    )
    status, told = post(policy, "/explain", {"host": "nobody.localhost"}, key=key)
    assert (status, told["reason"]) == (200, "unknown_host")
    asked = {
        "host": ACME,
        "path": "/x",
        "method": "MOVE",
        "email": "bob@acme.test",
        "groups": ["app-users"],
    }
    assert [
        post(policy, "/explain", {**asked, **more}, key=key)[1]["reason"]
        for more in ({"destination": "/y"}, {"destination": "/admin/y"}, {})
    ] == [
        "ok",
        "group_missing",
        "bad_request",
    ]


def test_a_tenants_own_key_hears_nothing_of_another_tenant(policy: RunningWorld) -> None:
    key = bound_key(policy, "globex")
    assert post(policy, "/explain", {"host": "globex.localhost"}, key=key)[0] == 200
    answers = []
    for host in (ACME, "nobody.localhost"):
        status, told = post(
            policy,
            "/explain",
            {"host": host, "path": "/admin/x", "email": "bob@acme.test"},
            key=key,
        )
        answers.append(
            (status, {k: v for k, v in told.items() if k not in {"request_id", "instance"}})
        )
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_the_denied_page_tells_rule_groups_and_who_helps_and_nothing_of_other_tenants(
    policy: RunningWorld, visitor: Person
) -> None:
    await visitor.log_in(
        f"{policy.world.url(ACME)}/_auth/login?{urlencode({'rd': '/'})}", "bob@acme.test"
    )
    page = await visitor.open(
        policy.world.url(ACME)
        + "/_auth/denied?"
        + urlencode({"rd": policy.world.url(ACME) + "/admin/x"})
    )
    assert page.status == 403
    for said in ("/admin/**", "admins", "it@acme.test", "bob@acme.test"):
        assert said in page.text
    assert "obex" not in page.text
    for rd in (
        policy.world.url("globex.localhost") + "/admin/x",
        "https://evil.test/admin/x",
        "//globex.localhost/",
    ):
        page = await visitor.open(policy.world.url(ACME) + "/_auth/denied?" + urlencode({"rd": rd}))
        assert "obex" not in page.text
        assert "evil" not in page.text


async def test_a_session_of_one_tenant_explains_nothing_at_anothers_host(
    policy: RunningWorld, visitor: Person
) -> None:
    await visitor.log_in(
        f"{policy.world.url(ACME)}/_auth/login?{urlencode({'rd': '/'})}", "bob@acme.test"
    )
    visitor.set_cookie("globex.localhost", "__Host-gw", visitor.cookies(ACME)["__Host-gw"])
    page = await visitor.open(
        policy.world.url("globex.localhost")
        + "/_auth/denied?"
        + urlencode({"rd": policy.world.url("globex.localhost") + "/x"}),
        follow=False,
    )
    assert page.status in (302, 303)
    assert "/_auth/login" in (page.headers.header("Location") or "")


def test_who_is_blocked_is_told_as_such_and_what_cannot_be_told_by_an_address_is_said(
    policy: RunningWorld,
) -> None:
    key = policy.run(policy.world.make_admin_key())
    for who in ({"email": "eve@acme.test"}, {"user": "somebody"}):
        assert post(policy, "/blocks", {"tenant": "acme", "reason": "test", **who}, key=key)[0] in {
            200,
            201,
        }
    status, told = post(
        policy,
        "/explain",
        {"host": ACME, "email": "Eve@acme.test", "groups": ["app-users"]},
        key=key,
    )
    assert (status, told["decision"], told["reason"]) == (200, "login", "no_session")
    steps = {row["step"]: row for row in told["steps"]}
    assert steps["block"]["passed"] is False
    assert steps["block"]["detail"].startswith("user_blocked: since ")
    assert steps["blocks"]["detail"].startswith("1 more of this tenant")


def test_a_machines_token_is_explained_as_the_check_decides(policy: RunningWorld) -> None:
    key = policy.run(policy.world.make_admin_key())
    asked = {"host": ACME, "path": "/machines/x", "client": MACHINE_CLIENT}
    assert (
        post(policy, "/explain", {**asked, "scopes": ["acme/read"]}, key=key)[1]["reason"]
        == "bearer"
    )
    told = post(policy, "/explain", {**asked, "path": "/bot/x"}, key=key)[1]
    steps = {row["step"]: row["detail"] for row in told["steps"]}
    assert steps["identity"] == (
        f"the client {MACHINE_CLIENT}; Remote-User: deploy-bot; X-Auth-Request-Groups: ci, readers"
    )
    assert (
        post(policy, "/explain", {**asked, "scopes": ["acme/write"]}, key=key)[1]["reason"]
        == "bearer_invalid"
    )


def test_an_app_password_is_explained_as_the_check_decides(policy: RunningWorld) -> None:
    key = policy.run(policy.world.make_admin_key())
    bob = {"email": "bob@acme.test", "groups": ["app-users"]}
    asked = {"host": ACME, "path": "/dav/x", "app_password_path": "/dav"}
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"app_password_path": "/davx"},
        {"path": "/x"},
        {"groups": []},
    )
    assert [
        post(policy, "/explain", {**asked, **bob, **more}, key=key)[1]["reason"] for more in changes
    ] == ["app_password", "app_password_scope", "no_session", "group_missing"]
    for body in (asked, {**asked, **bob, "client": MACHINE_CLIENT}):
        assert post(policy, "/explain", body, key=key)[0] == 400
