"""Every admin request's way: key, rate, scope, body, idempotency, audit."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web

from gateway import metrics
from gateway.admin import recording
from gateway.admin.application import (
    BURST,
    FAILURES_BURST,
    PREFIX,
    AdminServices,
    admin_application,
    admin_routes,
)
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.admin.long_answer import LONG_LIST, in_slices
from gateway.admin.parsing import POSITIONS, read_cursor, secret_fields, write_cursor
from gateway.admin.problem import Code, Problem
from gateway.admin.route import AnswerModel
from gateway.admin.routes import revocations
from gateway.database.audit_entries import AuditFilter
from gateway.errors import UnavailableError
from gateway.provisioning.request import ProvisionBody
from gateway.tenants.document import TenantDocument
from tests.database.test_writer import Commits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import ClientResponse
    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.database.engine import Database
    from tests.admin.conftest import Api, Clock

TENANT: dict[str, Any] = {
    "id": "acme",
    "name": "Acme",
    "hosts": ["acme.example.com"],
    "email_domains": ["acme.test"],
    "allowed_groups": ["app-users"],
    "client_id": "4r8abc",
    "client_secret": "s3cr3t-of-the-client",
    "providers": [{"name": "acme-okta", "kind": "okta", "issuer": "https://acme.okta.com"}],
}


async def problem(response: ClientResponse) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = await response.json()
    assert document["status"] == response.status
    assert document["request_id"]
    return document


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "no_key"),
        ("", "no_key"),
        ("Basic Zm9vOmJhcg==", "no_key"),
        ("Bearer", "no_key"),
        ("Bearer nonsense", "key_unknown"),
        ("Bearer gwk_000000000000_" + "A" * 43, "key_unknown"),
    ],
)
async def test_without_a_good_key_nothing_is_told(api: Api, header: str | None, code: str) -> None:
    await api.operator()
    response = await api.client.get(
        f"{PREFIX}/tenants", headers={} if header is None else {"Authorization": header}
    )
    assert response.status == 401
    assert (await problem(response))["code"] == code
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_two_authorization_headers_are_none(api: Api) -> None:
    key = await api.operator()
    response = await api.client.get(
        f"{PREFIX}/tenants",
        headers=[("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")],
    )
    assert (await problem(response))["code"] == "no_key"


async def test_a_revoked_key_stops_at_the_next_request(api: Api) -> None:
    key = await api.key(Scope.TENANTS_READ)
    assert (await api.call("GET", "/tenants", key=key)).status == 200
    (found,) = await api.keys.named(f"{Scope.TENANTS_READ}/None/None")
    assert await api.keys.revoke(found.id)
    assert (await problem(await api.call("GET", "/tenants", key=key)))["code"] == "key_revoked"


async def test_an_expired_key_says_so(api: Api, clock: Clock) -> None:
    key = await api.key(Scope.OPERATOR, lifetime_s=60)
    clock.now += 61
    assert (await problem(await api.call("GET", "/tenants", key=key)))["code"] == "key_expired"


async def test_a_dump_of_the_keys_table_holds_no_key(api: Api, database: Database) -> None:
    from sqlalchemy import select

    from gateway.database.schema import admin_keys

    secret = (await api.operator()).split("_", 2)[2]
    async with database.read() as connection:
        rows = (await connection.execute(select(admin_keys))).mappings().all()
    assert secret not in repr(rows)


async def test_on_a_reachable_address_nothing_is_served_before_the_first_key(
    aiohttp_client: AiohttpClient, database: Database, clock: Clock, api: Api
) -> None:
    admin_keys = AdminKeys(database, clock=clock)
    services = AdminServices(
        keys=admin_keys,
        audit=api.services.audit,
        idempotency=api.services.idempotency,
        exposed=True,
    )
    application = web.Application()
    application.add_subapp(PREFIX, admin_application(services))
    client = await aiohttp_client(application)
    assert (await problem(await client.get(f"{PREFIX}/audit")))["code"] == "no_admin_key"
    new = await admin_keys.create(
        name="first", scopes=[Scope.OPERATOR], tenant=None, lifetime_s=None, made_by="test"
    )
    assert new is not None
    assert (
        await client.get(
            f"{PREFIX}/audit", headers={"Authorization": f"Bearer {new.presented.reveal()}"}
        )
    ).status == 200


async def test_keys_that_open_nothing_are_slowed_down_per_address(api: Api, clock: Clock) -> None:
    for _ in range(FAILURES_BURST):
        assert (await api.call("GET", "/audit", key="wrong")).status == 401
    response = await api.call("GET", "/audit", key="wrong")
    assert (await problem(response))["code"] == "rate_limited"
    assert int(response.headers["Retry-After"]) >= 1
    clock.now += 60
    assert (await api.call("GET", "/audit", key="wrong")).status == 401


async def test_wrong_keys_never_shut_out_a_right_one_of_the_same_address(api: Api) -> None:
    good = await api.operator()
    for _ in range(FAILURES_BURST + 5):
        await api.call("GET", "/audit", key="wrong")
    assert (await api.call("GET", "/audit", key=good)).status == 200
    assert (
        await api.call(
            "POST", "/revocations", key=good, json={"tenant": "acme", "kind": "end_sessions"}
        )
    ).status == 201


async def test_a_key_is_limited_and_recovers(api: Api, clock: Clock) -> None:
    key = await api.operator()
    answers = [(await api.call("GET", "/audit", key=key)).status for _ in range(BURST + 1)]
    assert answers == [200] * BURST + [429]
    clock.now += 1
    assert (await api.call("GET", "/audit", key=key)).status == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "not_json"),
        (b"\xff", "application/json", 400, "not_json"),
        (
            b'{"tenant": "acme", "tenant": "globex", "kind": "block"}',
            "application/json",
            400,
            "not_json",
        ),
        (b'{"tenant": NaN}', "application/json", 400, "not_json"),
        (
            b'{"tenant": "acme", "kind": "block", "email": "a\\u0000@b.test"}',
            "application/json",
            400,
            "not_json",
        ),
        (
            b'{"tenant": "acme", "kind": "block", "a\\ud800": 1}',
            "application/json",
            400,
            "not_json",
        ),
        (
            b'{"tenant": "acme", "kind": "block", "reason": "a\\u202eb"}',
            "application/json",
            400,
            "invalid_body",
        ),
        (b"[" * 100_000, "application/json", 400, "not_json"),
        (b"[]", "application/json", 400, "invalid_body"),
        (b'{"tenant": "acme", "kind": "destroy"}', "application/json", 400, "invalid_body"),
        (
            b'{"tenant": "acme", "kind": "block", "surprise": 1}',
            "application/json",
            400,
            "invalid_body",
        ),
        (
            b'{"tenant": "acme", "kind": "block", "email": "a@b.test", "user": "x"}',
            "application/json",
            400,
            "invalid_body",
        ),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"x" * 300_000, "application/json", 413, "too_large"),
    ],
    ids=[
        "cut",
        "not-utf8",
        "duplicate-name",
        "nan",
        "nul",
        "surrogate",
        "direction",
        "deep",
        "list",
        "unknown-kind",
        "unknown-member",
        "two-persons",
        "not-json",
        "huge",
    ],
)
async def test_bodies_that_are_refused(
    api: Api, body: bytes, content_type: str, status: int, code: str
) -> None:
    response = await api.call(
        "POST", "/revocations", data=body, headers={"Content-Type": content_type}
    )
    assert response.status == status
    assert (await problem(response))["code"] == code


async def test_every_mistake_is_named_and_no_value_is_quoted(api: Api) -> None:
    body = {**TENANT, "client_secret": "", "hosts": ["http://x y"], "sekret": "hunter2-hunter2"}
    response = await api.call("PUT", "/tenants/acme", json=body)
    found = await problem(response)
    assert found["code"] == "invalid_body"
    assert {e["where"] for e in found["errors"]} == {"client_secret", "hosts.0", "sekret"}
    assert "hunter2" not in json.dumps(found)


async def test_secret_references_are_for_files_only(api: Api) -> None:
    for reference in ("env:HOME", "file:/etc/hostname"):
        found = await problem(
            await api.call("PUT", "/tenants/acme", json={**TENANT, "client_secret": reference})
        )
        assert found["code"] == "secret_reference"
    for hooks in (
        {"secrets": ["env:HOME"]},
        {"client_secret": "file:/etc/hostname"},
        {"api_token": "file:/etc/hostname"},
    ):
        nested = {**TENANT, "providers": [{**TENANT["providers"][0], "hooks": hooks}]}
        assert (await problem(await api.call("PUT", "/tenants/acme", json=nested)))[
            "code"
        ] == "secret_reference"


def test_every_field_that_holds_a_secret_is_known_by_its_model() -> None:
    assert secret_fields(TenantDocument) == {
        "client_secret",
        "secrets",
        "api_token",
        "service_account",
        "secret",
        "previous_secret",
    }
    assert secret_fields(ProvisionBody) == {"client_secret", "private_key"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/audit?limit=0", "invalid_query"),
        ("/audit?limit=1000", "invalid_query"),
        ("/audit?nonsense=1", "invalid_query"),
        ("/audit?limit=1&limit=2", "invalid_query"),
        ("/audit?since=nan", "invalid_query"),
        ("/audit?cursor=%00", "invalid_query"),
        ("/audit?cursor=xyz", "invalid_cursor"),
        ("/audit?cursor=WyJsaXN0X2F1ZGl0IiwgImFiYyJd", "invalid_cursor"),
        ("/sessions", "invalid_query"),
        ("/app-passwords", "invalid_query"),
    ],
)
async def test_queries_that_are_refused(api: Api, path: str, code: str) -> None:
    response = await api.call("GET", path)
    assert response.status == 400
    assert (await problem(response))["code"] == code


async def test_a_cursor_of_one_list_is_none_of_another(api: Api) -> None:
    page = await (await api.call("GET", "/sessions?tenant=acme&limit=2")).json()
    assert (await problem(await api.call("GET", f"/audit?cursor={page['next']}")))[
        "code"
    ] == "invalid_cursor"


LISTS = {
    "list_tenants": "/tenants",
    "list_runs": "/tenants/acme/provision",
    "list_all_runs": "/provision-runs",
    "list_sessions": "/sessions?tenant=acme",
    "list_app_passwords": "/app-passwords?tenant=acme",
    "list_blocks": "/blocks?tenant=acme",
    "list_audit": "/audit",
    "list_deliveries": "/hooks/deliveries",
    "list_messages": "/hooks/webhooks",
    "list_people": "/tenants/acme/users",
    "list_pool_users": "/tenants/acme/pool-users",
    "list_setup_links": "/tenants/acme/setup-links",
    "list_all_setup_links": "/setup-links",
    "list_admin_keys": "/keys",
    "list_all_connections": "/connections",
}
MADE_UP = [
    "",
    "x",
    "\x00",
    "acme\x00",
    "-1",
    "1e999/abcdef012345",
    "nan/abcdef012345",
    "inf a",
    "1/\x00",
    "1 \x00",
    "nan 1",
    "9" * 19,
    "9" * 400,
    "0:-1",
    "-1:0",
    "0:" + "9" * 30,
    "0:0:0",
    "١",
    "\ud800",
    "1\n",
]


@pytest.mark.parametrize("operation", LISTS)
async def test_a_cursor_that_no_list_gave_out_is_refused_before_anything_is_looked_up(
    api: Api, operation: str
) -> None:
    assert (
        set(LISTS)
        == {
            route.operation
            for route in admin_routes(api.services, closing=asyncio.Event())
            if "cursor" in route.query.model_fields
        }
        == set(POSITIONS)
    )
    path = LISTS[operation]
    for position in MADE_UP:
        cursor = (
            base64.urlsafe_b64encode(json.dumps([operation, position]).encode())
            .decode()
            .rstrip("=")
        )
        answer = await api.call("GET", f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
        document = await answer.json()
        if operation == "list_tenants" and position in {"x", "9" * 19}:
            assert answer.status == 200, "ids like any other"
            continue
        if operation == "list_pool_users" and POSITIONS[operation].fullmatch(position):
            assert answer.status == 200, "Cognito's own token, which it judges"
            continue
        assert (answer.status, document["code"]) == (
            400,
            "invalid_cursor" if len(cursor) <= 512 else "invalid_query",
        ), position


@pytest.mark.parametrize(
    ("operation", "position"),
    [
        ("list_tenants", "acme"),
        ("list_all_runs", "1795954874.0861986/abcdef012345"),
        ("list_runs", "1795954874.0861986/abcdef012345"),
        ("list_runs", "1795954874.0/abcdef012345"),
        ("list_setup_links", "1795954874.0861986/0123456789abcdef"),
        ("list_all_connections", "acme acme-okta"),
        ("list_sessions", "2:5000"),
        ("list_app_passwords", "2:5000"),
        ("list_blocks", "1795954874.0861986 0123456789abcdef0123456789abcdef"),
        ("list_audit", "7"),
        ("list_deliveries", "7"),
        ("list_messages", "7"),
        ("list_people", "0123456789abcdef0123456789abcdef"),
        ("list_pool_users", "a+/=" * 1000),
    ],
)
def test_a_cursor_of_every_list_comes_back_as_it_was(operation: str, position: str) -> None:
    assert read_cursor(operation, write_cursor(operation, position)) == position


async def test_pages_follow_each_other_without_gap_or_repeat(api: Api) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = await (await api.call("GET", f"/sessions?tenant=acme&limit=2{cursor}")).json()
        seen += [row["session"] for row in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [f"acme-{n}" for n in range(5)]


async def test_app_passwords_are_apart_from_sessions_and_say_what_they_are_good_for(
    api: Api,
) -> None:
    page = await (await api.call("GET", "/app-passwords?tenant=acme&limit=1")).json()
    assert page["items"] == [
        {
            "app_password": "acme-0",
            "tenant": "acme",
            "user": "user",
            "email": "bob@acme.test",
            "provider": "acme-okta",
            "name": "laptop",
            "hosts": [],
            "paths": ["/dav"],
            "created_at": 1,
            "expires_at": 2,
            "last_used_at": 3,
        }
    ]
    assert page["next"] is not None
    for path in ("/sessions/acme-9", "/app-passwords/acme-1", "/app-passwords/nobodys"):
        assert (await problem(await api.call("DELETE", path)))["code"] == "not_found", path
    revoked = await (await api.call("DELETE", "/app-passwords/acme-9")).json()
    assert revoked["who"] == {"session": "acme-9"}


async def test_the_audit_record_names_whose_a_thing_is_that_its_address_does_not_tell(
    api: Api,
) -> None:
    for path in ("/sessions/acme-1", "/app-passwords/acme-9", "/blocks/acme:1"):
        assert (await api.call("DELETE", path)).status == 200
    page = await (await api.call("GET", "/audit?tenant=acme")).json()
    assert [entry["target"] for entry in page["items"]] == ["acme:1", "r0002", "r0001"]


async def test_unknown_paths_and_methods_answer_as_problems(api: Api) -> None:
    assert (await problem(await api.call("GET", "/nothing")))["code"] == "not_found"
    assert (await problem(await api.call("GET", "/tenants/UPPER")))["code"] == "not_found"
    response = await api.call("PATCH", "/tenants/acme")
    assert (await problem(response))["code"] == "method_not_allowed"
    assert "GET" in response.headers["Allow"]


async def test_a_repeated_create_gets_the_first_answer_and_has_one_effect(api: Api) -> None:
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    first = await api.call("POST", "/revocations", json=body, headers={"Idempotency-Key": "once"})
    again = await api.call("POST", "/revocations", json=body, headers={"Idempotency-Key": "once"})
    assert (first.status, again.status) == (201, 201)
    assert await first.read() == await again.read()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Location"] == again.headers["Location"]
    assert api.services.revoker is not None
    assert await api.services.revoker.status("r0002") is None


async def test_an_idempotency_key_is_for_one_request_of_one_caller(api: Api) -> None:
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    await api.call("POST", "/revocations", json=body, headers={"Idempotency-Key": "once"})
    other_body = await api.call(
        "POST",
        "/revocations",
        json={**body, "email": "eve@acme.test"},
        headers={"Idempotency-Key": "once"},
    )
    assert (await problem(other_body))["code"] == "idempotency_key_reused"
    other_caller = await api.call(
        "POST",
        "/revocations",
        json=body,
        key=await api.key(Scope.SESSIONS_REVOKE),
        headers={"Idempotency-Key": "once"},
    )
    assert (await other_caller.json())["id"] == "r0002"


def _raises(error: Exception) -> Callable[..., Any]:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


async def test_what_was_refused_for_the_moment_is_not_kept_for_a_retry(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    key, revoker = await api.operator(), api.services.revoker
    assert revoker is not None
    for failure, status in (
        (Problem(Code.CONFLICT, "another run"), 409),
        (Problem(Code.PREFLIGHT_FAILED, "discovery"), 400),
        (UnavailableError("store"), 503),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(revoker), "revoke", _raises(failure))
            refused = await api.call(
                "POST", "/revocations", json=body, key=key, headers={"Idempotency-Key": "again"}
            )
        assert refused.status == status
        told = [r for r in caplog.records if r.message == "admin"][-1]
        values = told.gateway_fields  # type: ignore[attr-defined]  # what log.fields attaches
        document = await refused.json()
        assert (values["request_id"], values["code"], values["cause"]) == (
            refused.headers["X-Request-Id"],
            document["code"],
            str(failure),
        )
        assert told.levelname == ("WARNING" if status == 503 else "INFO")
    done = await api.call(
        "POST", "/revocations", json=body, key=key, headers={"Idempotency-Key": "again"}
    )
    assert done.status == 201
    assert "Idempotent-Replayed" not in done.headers


async def test_a_request_in_flight_renews_its_key(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = asyncio.Event()
    records = api.services.idempotency
    monkeypatch.setattr(recording, "RENEW_CLAIM_S", 0.001)

    async def renew(owner: str, key: str) -> None:
        await IdempotencyRecords.renew(records, owner, key)
        renewed.set()

    monkeypatch.setattr(records, "renew", renew)
    revoker = type(api.services.revoker)
    revoke = revoker.revoke  # type: ignore[union-attr]  # the fixture gives one

    async def slow(*args: Any, **kwargs: Any) -> Any:
        await renewed.wait()
        return await revoke(*args, **kwargs)

    monkeypatch.setattr(revoker, "revoke", slow)
    done = await api.call(
        "POST",
        "/revocations",
        json={"tenant": "acme", "kind": "end_sessions"},
        headers={"Idempotency-Key": "slow"},
    )
    assert done.status == 201


async def test_a_request_in_flight_is_not_started_twice(api: Api) -> None:
    await api.services.idempotency.claim(
        (await api.operator()).split("_")[1], "slow", fingerprint="x"
    )
    response = await api.call(
        "POST",
        "/revocations",
        json={"tenant": "acme", "kind": "end_sessions"},
        headers={"Idempotency-Key": "slow"},
    )
    assert (await problem(response))["code"] in {
        "idempotency_key_in_flight",
        "idempotency_key_reused",
    }


async def test_every_change_leaves_a_record_without_secrets(api: Api) -> None:
    key = await api.operator()
    await api.call("PUT", "/tenants/acme", json=TENANT)
    await api.call(
        "PUT",
        "/tenants/acme",
        json={**TENANT, "name": "Acme Ltd", "client_secret": "another-secret"},
        headers={"If-Match": '"1"'},
    )
    await api.call(
        "PUT",
        "/tenants/acme",
        json={**TENANT, "hosts": ["taken.example.com"]},
        headers={"If-Match": '"2"'},
    )
    page = await api.services.audit.page(AuditFilter(tenant="acme"), position=None, limit=10)
    refused, changed, created = page.items
    assert [e.outcome for e in page.items] == ["refused:409", "done", "done"]
    assert created.before is None
    assert isinstance(changed.before, dict)
    assert isinstance(changed.after, dict)
    assert (changed.before["name"], changed.after["name"]) == ("Acme", "Acme Ltd")
    assert {e.actor for e in page.items} == {f"key:{key.split('_')[1]}"}
    assert refused.after is None
    shown = await (await api.call("GET", "/audit?tenant=acme")).text()
    assert "s3cr3t" not in shown
    assert "another-secret" not in shown


async def test_a_record_that_cannot_be_written_is_told_of_what_was_done_and_of_nothing_else(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused, failed or taken back was not done: its own answer stands, whether or not it
    is on record.
    """
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    monkeypatch.setattr(
        type(api.services.audit),
        "finish",
        _raises(UnavailableError("SQL does not answer (LockNotAvailableError)")),
    )
    done = await api.call("POST", "/revocations", json=body)
    assert (done.status, done.headers["Retry-After"]) == (503, "2")
    assert (
        "the change was applied, but writing the audit log failed: SQL does not answer"
        in (await problem(done))["detail"]
    )
    for failure, status in (
        (Problem(Code.CONFLICT, "taken back"), 409),
        (UnavailableError("the store"), 503),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(api.services.revoker), "revoke", _raises(failure))
            told = await api.call("POST", "/revocations", json=body)
        assert (told.status, (await problem(told))["detail"]) == (status, str(failure))


async def test_an_answer_does_not_wait_for_a_record_that_hangs_after_its_store_failed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "SETTLE_S", 0.01)
    hanging = asyncio.Event()

    async def finish(*_: Any, **__: Any) -> None:
        await hanging.wait()

    monkeypatch.setattr(type(api.services.audit), "finish", finish)
    monkeypatch.setattr(
        type(api.services.revoker), "revoke", _raises(UnavailableError("SQL does not answer"))
    )
    async with asyncio.timeout(5):
        told = await api.call(
            "POST", "/revocations", json={"tenant": "acme", "kind": "end_sessions"}
        )
    assert (told.status, told.headers["Retry-After"]) == (503, "2")
    hanging.set()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}], ids=["plain", "once"])
async def test_a_change_is_put_on_record_by_two_commits_with_or_without_idempotency_key(
    api: Api, database: Database, headers: dict[str, str]
) -> None:
    """One before the change begins, one after it: each is a write to the disk that the caller waits
    for. The revoker of these tests writes nothing.
    """
    key = await api.operator()
    await api.call("GET", "/tenants", key=key)  # notes when the key was used
    commits = Commits(database)
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    made = await api.call("POST", "/revocations", json=body, key=key, headers=headers)
    assert made.status == 201
    assert commits.count == 2
    page = await api.services.audit.page(AuditFilter(), position=None, limit=10)
    assert [(e.outcome, e.target) for e in page.items] == [("done", (await made.json())["id"])]


async def test_a_claim_that_fails_leaves_no_record_that_something_began(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record without its claim would say for ever that something stopped half-way."""
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    headers = {"Idempotency-Key": "once"}
    with pytest.MonkeyPatch.context() as patch:
        begin = type(api.services.audit).begin_within

        async def begun_and_lost(*given: Any, **more: Any) -> int:
            await begin(*given, **more)
            raise UnavailableError("SQL does not answer")

        patch.setattr(type(api.services.audit), "begin_within", begun_and_lost)
        lost = await api.call("POST", "/revocations", json=body, headers=headers)
    assert lost.status == 503
    page = await api.services.audit.page(AuditFilter(), position=None, limit=10)
    assert page.items == []
    again = await api.call("POST", "/revocations", json=body, headers=headers)
    assert (again.status, "Idempotent-Replayed" in again.headers) == (201, False)


async def test_a_reader_leaves_no_audit_record(api: Api) -> None:
    await api.call("GET", "/tenants")
    await api.call("POST", "/explain", json={"host": "acme.example.com"})
    page = await api.services.audit.page(AuditFilter(), position=None, limit=10)
    assert page.items == []


async def test_updates_need_the_version_they_replace(api: Api) -> None:
    created = await api.call("PUT", "/tenants/acme", json=TENANT)
    assert (created.status, created.headers["ETag"]) == (201, '"1"')
    assert (await problem(await api.call("PUT", "/tenants/acme", json=TENANT)))[
        "code"
    ] == "precondition_required"
    stale = await api.call("PUT", "/tenants/acme", json=TENANT, headers={"If-Match": '"7"'})
    assert stale.status == 412
    weak = await api.call("PUT", "/tenants/acme", json=TENANT, headers={"If-Match": 'W/"1"'})
    assert (await problem(weak))["code"] == "invalid_header"
    assert (
        await api.call("PUT", "/tenants/acme", json=TENANT, headers={"If-Match": '"1"'})
    ).status == 200
    assert (await api.call("DELETE", "/tenants/acme", headers={"If-Match": '"1"'})).status == 412
    assert (await api.call("DELETE", "/tenants/acme", headers={"If-Match": '"2"'})).status == 204
    assert (await api.call("GET", "/tenants/acme")).status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"hosts": ["globex.example.com"]},
        {"email_domains": ["globex.test"]},
        {"client_id": "9zz"},
        {"client_secret": "mine-now"},
        {
            "providers": [
                *TENANT["providers"],
                {"name": "globex-okta", "kind": "okta", "issuer": "https://acme.okta.com"},
            ]
        },
    ],
    ids=["hosts", "domains", "client", "secret", "provider"],
)
async def test_a_tenants_own_key_cannot_take_names_or_clients(
    api: Api, change: dict[str, Any]
) -> None:
    await api.call("PUT", "/tenants/acme", json=TENANT)
    key = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    kept = {**TENANT, "client_secret": "***"}
    refused = await api.call(
        "PUT", "/tenants/acme", json={**kept, **change}, key=key, headers={"If-Match": '"1"'}
    )
    assert (await problem(refused))["code"] == "tenant_bound"
    allowed = await api.call(
        "PUT",
        "/tenants/acme",
        json={**kept, "name": "Acme Ltd"},
        key=key,
        headers={"If-Match": '"1"'},
    )
    assert allowed.status == 200


async def test_a_tenants_own_key_creates_no_tenant(api: Api) -> None:
    key = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    assert (await problem(await api.call("PUT", "/tenants/acme", json=TENANT, key=key)))[
        "code"
    ] == "tenant_bound"


async def test_the_stream_tells_each_revocation_and_resumes(api: Api) -> None:
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"}
    await api.call("POST", "/revocations", json=body)
    await api.call("POST", "/revocations", json={**body, "tenant": "globex"})
    await api.call("POST", "/revocations", json=body)
    key = await api.key(Scope.SESSIONS_READ, tenant="acme")
    async with await api.call("GET", "/revocations/stream", key=key) as stream:
        assert stream.content_type == "text/event-stream"
        assert [await _event(stream), await _event(stream)] == ["r0001", "r0003"]
    async with await api.call(
        "GET", "/revocations/stream", headers={"Last-Event-ID": "r0001"}
    ) as stream:
        assert await _event(stream) == "r0002"


async def test_streams_have_a_limit_for_each_key_and_for_all(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "MAX_STREAMS_OF_A_KEY", 2)
    monkeypatch.setattr(revocations, "MAX_STREAMS", 3)
    one, other = (
        await api.key(Scope.SESSIONS_READ),
        await api.key(Scope.SESSIONS_READ, tenant="acme"),
    )
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(await api.call("GET", "/revocations/stream", key=one))
            for _ in range(2)
        ]
        assert [await stream.content.readline() for stream in streams] == [b": revocations\n"] * 2
        assert metrics.REVOCATION_STREAMS._value.get() == 2
        refused = await api.call("GET", "/revocations/stream", key=one)
        assert (
            refused.status,
            refused.headers["Retry-After"],
            (await problem(refused))["code"],
        ) == (429, "15", "rate_limited")
        third = await stack.enter_async_context(
            await api.call("GET", "/revocations/stream", key=other)
        )
        assert third.status == 200
        refused = await api.call("GET", "/revocations/stream", key=other)
        assert (refused.status, (await problem(refused))["detail"]) == (
            429,
            "3 streams are open, which is all that there are",
        )
        streams[0].close()
        await api.call(
            "POST",
            "/revocations",
            json={"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"},
        )  # what is written to a closed connection ends it
        async with asyncio.timeout(10):
            while (again := await api.call("GET", "/revocations/stream", key=one)).status == 429:
                await asyncio.sleep(0.01)
                await api.call(
                    "POST",
                    "/revocations",
                    json={"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions"},
                )
                api.clock.now += 1
        again.close()


async def test_a_stream_that_is_never_silent_ends_with_its_key_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocations, "KEEP_ALIVE_S", 0.0)
    answers = iter([True, True, False])

    async def endless() -> AsyncIterator[Any]:
        number = 0
        while True:
            number += 1
            yield number

    async def still_allowed() -> bool:
        return next(answers)

    async with asyncio.timeout(5):
        seen = [
            n
            async for n in revocations._until_closed(
                endless(),
                cast("Any", Unheard()),
                still_allowed=still_allowed,
                closing=asyncio.Event(),
            )
        ]
    assert len(seen) <= 2


class Unheard:
    """A response that nobody reads."""

    async def write(self, _: bytes) -> None: ...


async def _event(stream: ClientResponse) -> str:
    async for line in stream.content:
        if line.startswith(b"data: "):
            return str(json.loads(line[6:])["id"])
    msg = "the stream ended"
    raise AssertionError(msg)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (
            "POST",
            "/revocations",
            {"tenant": "amce", "email": "bob@acme.test", "kind": "end_sessions"},
        ),
        ("POST", "/blocks", {"tenant": "amce", "email": "bob@acme.test", "reason": "left"}),
        ("GET", "/sessions?tenant=amce", None),
    ],
)
async def test_a_mistyped_tenant_is_told_and_never_taken_for_done(
    aiohttp_client: AiohttpClient, api: Api, method: str, path: str, body: object
) -> None:
    async def is_tenant(tenant: str) -> bool:
        return tenant == "acme"

    application = web.Application()
    application.add_subapp(PREFIX, admin_application(replace(api.services, is_tenant=is_tenant)))
    strict = replace(api, client=await aiohttp_client(application))
    answer = await strict.call(method, path, json=body)
    assert (answer.status, (await answer.json())["detail"]) == (404, "there is no tenant amce")


class Item(AnswerModel):
    """One line of a long list."""

    name: str
    at: float | None


class Listed(AnswerModel):
    """A long list between short values."""

    first: str
    items: list[Item]
    names: list[str]
    last: dict[str, int]


def test_an_answer_written_in_slices_is_the_same_answer() -> None:
    for count in (0, 1, LONG_LIST, LONG_LIST + 1, 3 * LONG_LIST):
        items = [Item(name=f'n"{number}', at=number / 3 or None) for number in range(count)]
        body = Listed(first="ü", items=items, names=["x"] * count, last={"a": 1})
        assert in_slices(body) == body.model_dump_json().encode()
