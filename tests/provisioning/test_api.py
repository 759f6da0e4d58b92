"""Provisioning as callers meet it: over HTTP with keys, and as commands."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner

from demo.cognito.control import faults
from gateway.admin.application import PREFIX, AdminServices, admin_application, local_application
from gateway.admin.callers import LocalCallers, peer_uid
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.cli import run
from gateway.database.audit import AuditLog
from gateway.database.audit_entries import AuditFilter
from gateway.provisioning.creations import Creations
from gateway.runtime.local_socket import local_socket
from gateway.tenants.batch import TenantBatches
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from aiohttp import ClientResponse
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

ROOT = Path(__file__).parents[2]


class Api:
    """The admin API over a bench."""

    def __init__(
        self, bench: Bench, client: TestClient[web.Request, web.Application], keys: AdminKeys
    ) -> None:
        self.bench, self.client, self.keys = bench, client, keys

    async def key(self, *scopes: Scope, tenant: str | None = None) -> str:
        new = await self.keys.create(
            name=secrets.token_hex(4), scopes=scopes, tenant=tenant, lifetime_s=None, made_by="test"
        )
        assert new is not None
        return new.presented.reveal()

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> ClientResponse:
        presented = key or await self.key(Scope.OPERATOR)
        return await self.client.request(
            method,
            PREFIX + path,
            json=body,
            headers={"Authorization": f"Bearer {presented}", **(headers or {})},
        )

    async def body(self, tenant: str = "initech", **more: Any) -> dict[str, Any]:
        name = f"{tenant}-idp"
        customer = self.bench.cloud.customers.get(name) or await self.bench.cloud.add_idp(
            name, kind="okta"
        )
        provider = {
            "client_id": customer.app.client_id,
            "client_secret": customer.app.client_secret,
            "oidc_issuer": customer.issuer,
        }
        return {
            "provider": provider,
            "group": "app-users",
            "allowed_domain": f"{tenant}.test",
            "hosts": [f"{tenant}.localhost"],
            **more,
        }


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


@pytest.fixture
async def api(bench: Bench, aiohttp_client: AiohttpClient) -> AsyncIterator[Api]:
    keys = AdminKeys(bench.database, clock=time.time)
    services = AdminServices(
        keys=keys,
        audit=AuditLog(bench.database, clock=time.time),
        idempotency=IdempotencyRecords(bench.database, clock=time.time),
        tenants=bench.service.records,
        onboarding=bench.service,
        tenant_batches=TenantBatches(
            bench.tenants,
            bench.config,
            cast("Any", None),
            cast("Any", None),
            files=dict,
            in_force=all_in_force,
        ),
    )
    application = web.Application()
    application.add_subapp(PREFIX, admin_application(services))
    callers = LocalCallers(uid=os.geteuid(), user_of=peer_uid)
    local = web.AppRunner(local_application(services, callers), access_log=None)
    async with local_socket(bench.state_dir, local):
        yield Api(bench, await aiohttp_client(application), keys)


async def all_in_force(_tenants: Collection[str]) -> bool:
    return True


PATH = "/tenants/initech/provision"


async def test_users_of_the_pool_are_not_left_there_by_deleting_their_tenant(api: Api) -> None:
    body = {
        "provider": {"kind": "cognito"},
        "groups": "any",
        "allowed_domain": "initech.test",
        "hosts": ["initech.localhost"],
    }
    assert (await api.call("POST", PATH, body=body)).status == 201
    assert (await api.call("POST", "/tenants/acme/provision", body=await api.body("acme"))).ok
    kept = (await (await api.call("GET", "/tenants/acme")).json())["tenant"]
    for answer in (
        await api.call("DELETE", "/tenants/initech"),
        await api.call("PUT", "/tenants?prune=true", body={"tenants": [kept]}),
        await api.call("PUT", "/tenants?prune=true&dry_run=true", body={"tenants": [kept]}),
    ):
        refused = await answer.json()
        assert (answer.status, refused["code"]) == (409, "conflict")
        assert "gateway provision destroy initech" in refused["detail"]
    assert (await api.call("GET", "/tenants/initech")).ok
    assert "tenants/initech" in api.bench.cloud.cognito.pool.groups
    assert (await api.call("DELETE", PATH)).status == 204
    assert "tenants/initech" not in api.bench.cloud.cognito.pool.groups
    assert (await api.call("DELETE", "/tenants/acme")).status == 204


async def test_verify_tells_of_users_half_made_and_names_them_to_who_may_read_users(
    api: Api,
) -> None:
    assert (await api.call("POST", PATH, body=await api.body())).ok
    creations = Creations(api.bench.database, "default", time.time)
    begun = await creations.begin("initech", "u1", "bob@initech.test", instead=None)
    assert begun is not None
    (untracked,) = (await (await api.call("POST", f"{PATH}/verify")).json())["notes"]
    assert "track sessions" in untracked
    await creations.release(begun)
    _, note = (await (await api.call("POST", f"{PATH}/verify")).json())["notes"]
    assert "bob@initech.test: their creation in the pool was interrupted" in note
    blind = await api.key(Scope.PROVISION)
    _, note = (await (await api.call("POST", f"{PATH}/verify", key=blind)).json())["notes"]
    assert "bob@" not in note
    assert "gateway users create initech ADDRESS" in note


async def test_dry_run_create_conflict_run_and_rollback(api: Api) -> None:
    body = await api.body()
    planned = await api.call("POST", f"{PATH}?dry_run=true", body=body)
    assert planned.status == 200
    assert [s["verb"] for s in (await planned.json())["steps"]] == [
        "keep",
        "create",
        "create",
        "create",
    ]
    assert await api.bench.left_behind() == {}
    made = await api.call("POST", PATH, body=body)
    assert made.status == 201
    answer = await made.json()
    assert (answer["providers"], answer["hosts"], answer["in_force"]) == (
        ["initech-okta"],
        ["initech.localhost"],
        True,
    )
    assert {answer["client_id"]} == api.bench.clients
    assert answer["hooks"] == {"initech-okta": "/admin/v1/tenants/initech/hooks/initech-okta"}
    again = await api.call("POST", PATH, body=body)
    assert (again.status, (await again.json())["code"]) == (409, "exists")
    run = await (await api.call("GET", f"{PATH}/{answer['run']}")).json()
    assert (run["state"], [s["action"] for s in run["steps"]]) == (
        "done",
        ["create_provider", "create_client", "put_tenant", "put_credentials"],
    )
    assert made.headers["Location"].endswith(f"{PATH}/{answer['run']}")
    rolled = await api.call("POST", f"{PATH}/{answer['run']}/rollback")
    assert (rolled.status, (await rolled.json())["state"]) == (200, "rolled_back")
    assert await api.bench.left_behind() == {}
    twice = await api.call("POST", f"{PATH}/{answer['run']}/rollback")
    assert (twice.status, (await twice.json())["code"]) == (409, "conflict")
    listed = await (await api.call("GET", PATH)).json()
    assert [r["id"] for r in listed["items"]] == [answer["run"]]


async def test_no_secret_is_in_any_answer_or_record(api: Api) -> None:
    body = await api.body()
    secret = body["provider"]["client_secret"]
    made = await api.call("POST", PATH, body=body)
    (client,) = api.bench.cloud.cognito.pool.clients.values()
    shown = [
        await made.text(),
        await (await api.call("GET", PATH)).text(),
        await (await api.call("GET", "/audit")).text(),
        await (await api.call("GET", "/tenants/initech")).text(),
    ]
    assert client.secret is not None
    assert not any(secret in text or client.secret in text for text in shown)


async def test_a_repeated_create_after_a_lost_answer_gets_the_first_answer(api: Api) -> None:
    body, key = await api.body(), await api.key(Scope.PROVISION)
    first = await api.call(
        "POST", PATH, key=key, body=body, headers={"Idempotency-Key": "onboard initech"}
    )
    again = await api.call(
        "POST", PATH, key=key, body=body, headers={"Idempotency-Key": "onboard initech"}
    )
    assert (first.status, again.status) == (201, 201)
    assert await first.read() == await again.read()
    assert len(api.bench.clients) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code", "error"),
    [
        ("quota", 400, "quota_reached", "LimitExceededException"),
        ("refused", 400, "cognito_refused", "InvalidParameterException"),
        ("gone", 503, "unavailable", None),
    ],
)
async def test_what_cognito_says_is_handed_on_and_nothing_is_left(
    api: Api, fault: str, status: int, code: str, error: str | None
) -> None:
    body, control = await api.body(), api.bench.cloud.cognito.control
    if fault == "quota":
        control.state.quotas.clients = 0
    elif fault == "refused":
        from demo.cognito.control.errors import ApiError

        control.faults.plan(
            "CreateUserPoolClient",
            faults.fail(ApiError("InvalidParameterException", "planned by the test")),
        )
    else:
        control.faults.plan("CreateUserPoolClient", faults.internal_error, times=9)
    answer = await api.call("POST", PATH, body=body)
    document = await answer.json()
    assert (answer.status, document["code"], document.get("cognito_error")) == (status, code, error)
    if fault == "quota":
        assert document["detail"] == "Maximum number of user pool clients (0) reached."
    assert document["left"] in {
        "nothing of it is left",
        "nothing of it is to be seen; watched for a late effect",
    }
    assert await api.bench.left_behind() == {}


async def test_every_mistake_comes_at_once_with_its_place(api: Api) -> None:
    body = await api.body(allowed_domain=None)
    body["provider"] |= {"name": "a_b", "identifiers": [f"d{n}" for n in range(51)]}
    answer = await api.call(
        "POST", PATH, body={k: v for k, v in body.items() if k != "allowed_domain"}
    )
    document = await answer.json()
    assert (answer.status, document["code"]) == (400, "preflight_failed")
    assert [e["where"] for e in document["errors"]] == [
        "providers.a_b.name",
        "providers.a_b.identifiers",
        "email_domains",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"hosts": ["two.localhost"]},
        {"allowed_domain": "two.test"},
        {"adopt": True},
        {"adopt_client": "x"},
    ],
    ids=["hosts", "domains", "adopt", "adopt_client"],
)
async def test_a_tenants_own_key_changes_neither_hosts_nor_domains_and_adopts_nothing(
    api: Api, change: dict[str, Any]
) -> None:
    await api.call("POST", PATH, body=await api.body())
    own = await api.key(Scope.PROVISION, tenant="initech")
    refused = await api.call("PUT", PATH, key=own, body={**await api.body(), **change})
    assert (refused.status, (await refused.json())["code"]) == (403, "tenant_bound")
    same = await api.call("PUT", PATH, key=own, body={**await api.body(), "group": "other"})
    assert same.status == 200


async def test_a_tenants_own_key_creates_no_tenant_and_takes_back_no_operators_run(
    api: Api,
) -> None:
    own = await api.key(Scope.PROVISION, tenant="initech")
    refused = await api.call("POST", PATH, key=own, body=await api.body())
    assert (refused.status, (await refused.json())["code"]) == (403, "tenant_bound")
    run = (await (await api.call("POST", PATH, body=await api.body())).json())["run"]
    taken_back = await api.call("POST", f"{PATH}/{run}/rollback", key=own)
    assert (taken_back.status, (await taken_back.json())["code"]) == (403, "tenant_bound")
    other = await api.call(
        "GET", f"{PATH}/{run}", key=await api.key(Scope.PROVISION, tenant="hooli")
    )
    assert other.status == 403


async def test_every_change_is_on_record_with_the_run(api: Api) -> None:
    body = await api.body()
    body["provider"] |= {"secret_expires": "2030-01-02"}
    await api.call("POST", f"{PATH}?dry_run=true", body=body)
    await api.call("POST", PATH, body=body)
    await api.call("DELETE", PATH)
    rows = (await (await api.call("GET", "/audit?tenant=initech")).json())["items"]
    assert [(r["action"], r["outcome"]) for r in rows] == [
        ("destroy", "done"),
        ("provision", "done"),
        ("provision", "dry_run"),
    ]
    assert rows[1]["after"]["run"]
    # As they are restored: what only sounds like a secret is none.
    for version in (rows[0]["before"], rows[1]["after"]["tenant"]):
        assert version["providers"][0]["secret_expires"] == "2030-01-02"
        assert version["app_passwords"] != "***"


async def test_a_client_is_rotated_and_the_old_one_retired(api: Api) -> None:
    first = await (await api.call("POST", PATH, body=await api.body())).json()
    own = await api.key(Scope.PROVISION, tenant="initech")
    rotated = await api.call("POST", f"{PATH}/rotate", key=own)
    answer = await rotated.json()
    assert (rotated.status, [r["client_id"] for r in answer["retired"]]) == (
        201,
        [first["client_id"]],
    )
    assert api.bench.clients == {first["client_id"], answer["client_id"]}
    run = await (await api.call("GET", f"{PATH}/{answer['run']}")).json()
    assert (run["kind"], run["state"], [s["action"] for s in run["steps"]]) == (
        "rotate",
        "done",
        ["create_client", "put_credentials"],
    )
    assert first["client_id"] in run["plan"][0]["why"]
    retired = await api.call("POST", f"{PATH}/retire")
    assert (retired.status, (await retired.json())["retired"]) == (200, [])
    assert api.bench.clients == {answer["client_id"]}
    nothing_left = await api.call("POST", f"{PATH}/retire")
    assert (nothing_left.status, (await nothing_left.json())["code"]) == (404, "not_found")
    rows = (await (await api.call("GET", "/audit?tenant=initech")).json())["items"]
    assert [(r["action"], r["outcome"]) for r in rows] == [
        ("retire", "refused:404"),
        ("retire", "done"),
        ("rotate", "done"),
        ("provision", "done"),
    ]
    secrets_made = [c.secret for c in api.bench.cloud.cognito.pool.clients.values()]
    assert not any(secret and secret in str(answer) for secret in secrets_made)


# --- commands
# ----------------------------------------------------------------------------------------


def configured(bench: Bench, arguments: tuple[str, ...]) -> list[str]:
    cognito = bench.cloud.cognito
    config = bench.state_dir / "gateway.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "development": True,
                "public_scheme": "http",
                "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
                "state_dir": str(bench.state_dir),
                "cognito": {
                    "region": "eu-north-1",
                    "user_pool_id": cognito.pool.pool_id,
                    "domain": cognito.url,
                    "issuer": cognito.issuer,
                    "endpoint_url": cognito.endpoint_url,
                },
            }
        )
    )
    return [*arguments, "-c", str(config)]


ENVIRONMENT = {"IDP_SECRET": "from-the-environment"}


async def process(bench: Bench, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``python -m gateway``."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *configured(bench, arguments),
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await started.communicate(stdin.encode())
    return started.returncode or 0, out.decode(), err.decode()


async def gateway(bench: Bench, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """The same from a thread of this process, which has imported already what a command needs."""

    def command() -> tuple[int, str, str]:
        with CliRunner().isolation(input=stdin, env=ENVIRONMENT) as (out, err, _):
            code = run(configured(bench, arguments))
            sys.stderr.flush()
            return code, out.getvalue().decode(), err.getvalue().decode()

    return await asyncio.to_thread(command)


async def test_the_commands_plan_apply_verify_and_destroy(api: Api) -> None:
    bench, text = api.bench, json.dumps(await api.body())
    code, out, _ = await process(bench, "provision", "plan", "initech", "-f", "-", stdin=text)
    assert code == 0
    assert "create  provider initech-okta: okta at" in out
    assert await bench.left_behind() == {}
    code, out, err = await gateway(
        bench, "provision", "apply", "initech", "-f", "-", "--json", stdin=text
    )
    assert code == 0, err
    made = json.loads(out)
    assert {made["client_id"]} == bench.clients
    code, out, _ = await gateway(bench, "provision", "verify", "initech")
    assert (code, out.strip().splitlines()[-1]) == (0, "as it was provisioned")
    assert "note: the pool is of plan ESSENTIALS, and it does not track sessions" in out
    await bench.service.provisioning.pools.named("default").api.call(
        "UpdateUserPoolClient",
        idempotent=True,
        ClientId=made["client_id"],
        ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH"],
    )
    code, out, _ = await gateway(bench, "provision", "verify", "initech")
    assert code == 1
    assert "CallbackURLs: (unset) → http://initech.localhost/_auth/callback" in out
    code, out, err = await gateway(bench, "provision", "destroy", "initech", "--yes")
    assert (code, out) == (0, "tenant initech is gone\n"), err
    assert await bench.left_behind() == {}
    page = await AuditLog(bench.database, clock=time.time).page(
        AuditFilter(), position=None, limit=10
    )
    me = f"local:{pwd.getpwuid(os.geteuid()).pw_name}"
    assert [(e.actor, e.action, e.outcome) for e in page.items] == [
        (me, "destroy", "done"),
        (me, "verify", "done"),
        (me, "verify", "done"),
        (me, "reprovision", "done"),
        (me, "reprovision", "dry_run"),
    ]
    made_of, destroyed = page.items[3].after, page.items[0].before
    assert isinstance(made_of, dict)
    assert isinstance(destroyed, dict)
    assert made_of["tenant"]["hosts"] == destroyed["hosts"] == ["initech.localhost"]


async def test_the_commands_rotate_and_retire(api: Api) -> None:
    await api.bench.apply()
    (old,) = api.bench.clients
    code, out, err = await gateway(api.bench, "provision", "rotate", "initech", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["in_force"], [r["client_id"] for r in answer["retired"]]) == (True, [old])
    code, out, err = await gateway(api.bench, "provision", "rotate", "initech", "--retire-now")
    assert code == 0, err
    (left,) = api.bench.clients
    assert f"client {left}" in out
    code, _, err = await gateway(api.bench, "provision", "retire", "initech")
    assert code == 1
    assert "initech has no replaced client" in err


async def test_a_wrong_request_is_exit_2_and_an_unready_one_is_exit_1(api: Api) -> None:
    code, _, err = await gateway(
        api.bench,
        "provision",
        "plan",
        "initech",
        "-f",
        "-",
        stdin="{provider: {client_id: x}, surprise: 1}",
    )
    assert code == 2
    assert "standard input: surprise: unknown key" in err
    code, _, err = await gateway(
        api.bench,
        "provision",
        "plan",
        "initech",
        "-f",
        "-",
        stdin=json.dumps({**await api.body(), "group": None}),
    )
    assert code == 1
    assert 'groups: needed (or group): the groups that have access, or "any"' in err


async def test_admin_keys_are_shown_once_listed_without_secret_and_revoked(api: Api) -> None:
    code, out, err = await gateway(
        api.bench,
        "admin-keys",
        "create",
        "ci",
        "--scope",
        "audit:read",
        "--expires",
        "90d",
        "--json",
    )
    assert code == 0, err
    key = json.loads(out)["key"]
    assert (await api.call("GET", "/audit", key=key)).status == 200
    assert (await api.call("GET", "/tenants", key=key)).status == 403
    code, out, _ = await gateway(api.bench, "admin-keys", "list")
    assert "audit:read" in out
    assert key not in out
    assert (await gateway(api.bench, "admin-keys", "create", "ci", "--scope", "audit:read"))[0] == 1
    assert (await gateway(api.bench, "admin-keys", "create", "x", "--scope", "everything"))[0] == 2
    assert (await gateway(api.bench, "admin-keys", "revoke", "ci"))[0] == 0
    assert (await api.call("GET", "/audit", key=key)).status == 401
    assert (await gateway(api.bench, "admin-keys", "revoke", "ci"))[0] == 1
    for tenant in ("acme", "globex"):
        made = ("admin-keys", "create", " ci ", "--scope", "hooks", "--tenant", tenant)
        assert (await gateway(api.bench, *made))[0] == 0
    code, _, err = await gateway(api.bench, "admin-keys", "revoke", "ci")
    assert (code, "2 keys are named 'ci'" in err) == (1, True), err
    code, out, _ = await gateway(api.bench, "admin-keys", "list", "--json")
    theirs = {key["tenant"]: key for key in json.loads(out)}
    assert {key["made_by"] for key in theirs.values() if key["name"] == "ci"} == {"cli"}
    assert (await gateway(api.bench, "admin-keys", "revoke", theirs["acme"]["id"]))[0] == 0
    assert (await gateway(api.bench, "admin-keys", "revoke", "ci"))[0] == 0, "one is left"
