"""The app client for passwords of the pool's users: a tenant's own, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.config.user_pools import CognitoQuotas
from gateway.provisioning.credentials import SPARE_S
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunState
from gateway.tenants.api import Rejected
from gateway.tenants.document import PasswordClientDocument
from tests.provisioning.bench import Bench
from tests.provisioning.test_crashes import (
    FAULTS,
    HOLD_S,
    Pools,
    applying,
    die_at,
    until_settled,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cognito.pool import AppClient, Pool
    from gateway.provisioning.service import Drift
    from gateway.tenants.snapshot_record import Credentials

MADE = "passwordsbyhand00000000000"
RULES = [{"path": "/dav/**", "basic": "cognito"}]
MANAGED = {"client": "managed"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


@pytest.fixture
def pool(bench: Bench) -> Pool:
    return bench.cloud.cognito.pool


def body(tenant: str = "initech", **more: Any) -> ProvisionBody:
    return ProvisionBody.model_validate(
        {
            "provider": {"kind": "cognito"},
            "groups": "any",
            "allowed_domain": f"{tenant}.test",
            "hosts": [f"{tenant}.localhost"],
            **more,
        }
    )


def asking(tenant: str = "initech", **more: Any) -> ProvisionBody:
    return body(tenant, password_client=more)


async def held(bench: Bench, tenant: str = "initech") -> Credentials:
    found = await bench.tenants.credentials(tenant)
    assert found is not None
    return found


async def of_passwords(bench: Bench, tenant: str = "initech") -> AppClient:
    """The one in use, of which the gateway has the secret that Cognito has."""
    client = (await held(bench, tenant)).password_client
    assert client is not None
    found = bench.cloud.cognito.pool.clients[client.client_id]
    assert client.client_secret.reveal() == (found.secret or "")
    return found


async def verified(bench: Bench, *, fix: bool = False) -> Drift:
    drift = await bench.service.verify("initech", fix=fix, actor="test")
    assert drift is not None
    return drift


async def edited(bench: Bench, **changes: object) -> None:
    """Somebody changes the document."""
    stored = await bench.tenants.get("initech")
    assert stored is not None
    document = stored.document.model_validate(
        {**stored.document.model_dump(mode="python"), **changes}
    )
    put = await bench.tenants.put(document, version=stored.version, by=None)
    assert not isinstance(put, Rejected), put.message


async def test_one_call_makes_it_beside_the_client_of_logins(bench: Bench, pool: Pool) -> None:
    proposal = await bench.service.propose("initech", asking(), update=False)
    assert [(str(s.verb), str(s.resource)) for s in proposal.plan.steps if s.does] == [
        ("create", "group"),
        ("create", "client"),
        ("create", "password_client"),
        ("create", "tenant"),
    ]
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    found, credentials = await of_passwords(bench), await held(bench)
    assert set(pool.clients) == {credentials.client_id, found.client_id}
    assert found.secret
    assert {
        name: found.settings.get(name)
        for name in (
            "ExplicitAuthFlows",
            "AllowedOAuthFlowsUserPoolClient",
            "AllowedOAuthFlows",
            "SupportedIdentityProviders",
            "PreventUserExistenceErrors",
            "WriteAttributes",
        )
    } == {
        "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH"],
        "AllowedOAuthFlowsUserPoolClient": False,
        "AllowedOAuthFlows": None,
        "SupportedIdentityProviders": None,
        "PreventUserExistenceErrors": "ENABLED",
        "WriteAttributes": ["email", "name"] if pool.schema["email"].required else ["name"],
    }
    assert (found.access_token_s, found.id_token_s, found.refresh_token_s) == (300, 300, 3600)
    login = pool.clients[credentials.client_id]
    assert found.settings["ReadAttributes"] == login.settings["ReadAttributes"]
    assert (await verified(bench)).clean
    again = await bench.service.propose("initech", body(), update=True)
    assert not again.plan.changes, "what was asked for once is in the document"


async def test_a_rule_in_the_document_is_enough_for_verify_to_make_it(bench: Bench) -> None:
    await bench.apply("initech", body())
    await edited(bench, rules=RULES, password_client=MANAGED)
    drift = await verified(bench)
    (step,) = [step for step in drift.steps if step.does]
    assert (str(step.verb), str(step.resource)) == ("create", "password_client")
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    await of_passwords(bench)
    # And goes when the document stops asking for it: not before no replica uses it.
    await edited(bench, rules=[], password_client=None)
    assert [str(s.verb) for s in (await verified(bench)).steps if s.does] == ["remove"]
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert (await held(bench)).password_client is None
    assert len(bench.clients) == 2
    assert await bench.service.rotation.retire_due() == 1
    assert bench.clients == {(await held(bench)).client_id}
    assert (await held(bench)).password_clients == ()
    assert (await verified(bench)).clean


async def test_whether_it_has_a_secret_is_changed_by_another_one(bench: Bench, pool: Pool) -> None:
    await bench.apply("initech", asking(secret=False))
    first = await of_passwords(bench)
    assert first.secret is None
    proposal = await bench.service.propose("initech", asking(), update=True)
    (step,) = [s for s in proposal.plan.steps if str(s.resource) == "password_client"]
    assert f"takes the place of {first.client_id}, which has no secret" in step.why
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    second = await of_passwords(bench)
    assert second.secret
    assert {first.client_id, second.client_id} < set(pool.clients), "a replica may be late"
    assert (await verified(bench)).clean


async def test_what_somebody_changed_in_the_console_is_drift_and_mended(
    bench: Bench, pool: Pool
) -> None:
    await bench.apply("initech", asking())
    found = await of_passwords(bench)
    changed = {
        **found.settings,
        "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        "CallbackURLs": ["https://elsewhere.test/"],
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthScopes": ["openid"],
        "AllowedOAuthFlowsUserPoolClient": True,
        "AuthSessionValidity": 5,
    }
    pool.clients[found.client_id] = replace(found, settings=changed)
    (step,) = [s for s in (await verified(bench)).steps if s.does]
    assert (str(step.verb), step.name) == ("change", found.client_id)
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    after = pool.clients[found.client_id]
    assert after.settings["AuthSessionValidity"] == 5, "what we do not set stays"
    assert (after.callback_urls, after.allows_flow("code")) == ((), False)
    assert (await verified(bench)).clean
    # Another secret in Cognito than here: nobody's password would be checked.
    pool.clients[found.client_id] = replace(after, secret="somebodyelses")
    (problem,) = (await verified(bench, fix=True)).problems
    assert (problem.where, "rotate it" in problem.message) == ("password_client", True)
    # Deleted: another one is made.
    del pool.clients[found.client_id]
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert (await of_passwords(bench)).client_id != found.client_id
    assert len((await held(bench)).password_clients) == 1, "what is gone waits for nothing"


async def test_a_rotation_replaces_it_too_and_deletes_it_an_hour_later(
    bench: Bench, pool: Pool
) -> None:
    await bench.apply("initech", asking())
    before, first = await held(bench), await of_passwords(bench)
    rotated = await bench.service.rotate("initech", actor="test")
    assert isinstance(rotated, Done)
    second = await of_passwords(bench)
    assert second.secret != first.secret
    assert len(pool.clients) == 4
    # Taken back, all of it is as it was.
    assert await bench.service.roll_back("initech", rotated.run) is RunState.ROLLED_BACK
    assert await held(bench) == before
    assert len(pool.clients) == 2
    await bench.service.rotate("initech", actor="test")
    provisioning = bench.service.provisioning
    now = provisioning.clock()
    late = replace(
        bench.service, provisioning=replace(provisioning, clock=lambda: now + SPARE_S + 60)
    )
    assert await late.rotation.retire_due() == 1
    assert first.client_id not in pool.clients
    assert before.client_id in pool.clients, "its sessions last longer"
    assert (await verified(bench)).clean
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert set(pool.clients) == {
        (await held(bench)).client_id,
        (await of_passwords(bench)).client_id,
    }
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert pool.clients == {}


async def test_a_full_pool_says_so_before_anything_is_made(bench: Bench) -> None:
    await bench.apply("initech", body())
    pool = bench.service.provisioning.pools.named("default")
    pool.quotas = CognitoQuotas(clients=1)
    pool.forget_counts()
    await edited(bench, password_client=MANAGED)
    (problem,) = (await verified(bench)).problems
    assert problem.kind == "quota"


async def test_one_that_somebody_made_is_adopted_and_stays_when_the_tenant_goes(
    bench: Bench, pool: Pool
) -> None:
    bench.cloud.add_client(
        "by-hand",
        providers=[],
        callback_urls=["http://old.localhost/cb"],
        logout_urls=[],
        client_id=MADE,
    )
    await bench.apply("initech", body())
    login = (await held(bench)).client_id
    for adopt, words in (
        ("nobody", "nobody is not an app client of the pool"),
        (login, f"{login} is a client of logins"),
    ):
        proposal = await bench.service.propose("initech", asking(adopt=adopt), update=True)
        (problem,) = proposal.problems
        assert words in problem.message
    refused = await bench.service.propose("initech", asking(adopt=MADE, secret=False), update=True)
    assert [p.message for p in refused.problems] == [f"{MADE} has a secret: leave secret out"]
    proposal = await bench.service.propose("initech", asking(adopt=MADE), update=True)
    (step,) = [s for s in proposal.plan.steps if str(s.resource) == "password_client"]
    assert (str(step.verb), step.name) == ("adopt", MADE)
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    assert (await of_passwords(bench)).client_id == MADE
    assert pool.clients[MADE].callback_urls == ()
    assert (await verified(bench)).clean
    other = await bench.service.propose("hooli", asking("hooli", adopt=MADE), update=False)
    assert [(p.kind, p.where) for p in other.problems] == [("taken", "tenant")]
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert set(pool.clients) == {MADE}


async def test_a_move_makes_another_one_in_the_other_pool(tmp_path: Path) -> None:
    async with Bench(tmp_path, second="two") as bench:
        await bench.apply("initech", await bench.body(password_client={}))
        first = await of_passwords(bench)
        move = bench.service.pool_move
        proposal = await move.propose("initech", "two")
        assert [
            str(s.verb) for s in proposal.plan.steps if str(s.resource) == "password_client"
        ] == ["create"]
        assert isinstance(await move.apply(proposal, actor="test"), Done)
        now = (await held(bench)).password_client
        assert now is not None
        assert now.pool == "two"
        assert now.client_id in bench.cloud.further_pools["two"].pool.clients
        assert (await verified(bench)).clean
        assert isinstance(await bench.service.retire("initech", actor="test"), Done)
        assert first.client_id not in bench.clients
        await edited(bench, password_client={"client_id": "byhand"})
        refused = await move.propose("initech", "default")
        assert [p.where for p in refused.plan.problems] == ["password_client"]


async def test_faults_leave_all_of_it_or_nothing(bench: Bench, pool: Pool) -> None:
    """Of the second CreateUserPoolClient of a run: the first one's client must not be taken for
    it.
    """
    for number, (name, plan) in enumerate(FAULTS.items()):
        tenant = f"t{number}"
        await bench.apply(tenant, body(tenant))
        clients, before = set(pool.clients), await held(bench, tenant)
        plan(bench, "CreateUserPoolClient")
        outcome = await bench.apply(tenant, asking(tenant), update=True)
        bench.cloud.cognito.control.faults.clear()
        await until_settled(bench)
        if isinstance(outcome, Done):
            assert set(pool.clients) - clients == {(await of_passwords(bench, tenant)).client_id}
        else:
            assert name not in {"throttled", "error after", "timeout after"}
            assert set(pool.clients) == clients
            assert await held(bench, tenant) == before
            stored = await bench.tenants.get(tenant)
            assert stored is not None
            assert stored.document.password_client is None


async def test_a_run_that_makes_both_tells_them_apart_when_an_answer_is_lost(
    bench: Bench, pool: Pool
) -> None:
    bench.cloud.cognito.control.faults.plan(
        "CreateUserPoolClient", faults.internal_error, after=True, times=2
    )
    assert isinstance(await bench.apply("initech", asking()), Done)
    credentials, passwords = await held(bench), await of_passwords(bench)
    assert passwords.client_id != credentials.client_id
    assert (
        "ALLOW_USER_PASSWORD_AUTH"
        not in pool.clients[credentials.client_id].settings["ExplicitAuthFlows"]
    )
    # And a refusal of the last call takes both back.
    bench.cloud.cognito.control.faults.plan(
        "CreateUserPoolClient", faults.fail(ApiError("LimitExceededException", "full"))
    )
    assert isinstance(await bench.apply("hooli", asking("hooli")), Failed)
    assert set(pool.clients) == {credentials.client_id, passwords.client_id}


def moments(*steps: int) -> list[str]:
    return [
        f"{write}:{step}:{side}"
        for step in steps
        for write in ("intend", "settle")
        for side in ("before", "after")
    ]


async def test_killed_while_it_is_made_in_a_pool_that_tracks_sessions(tmp_path: Path) -> None:
    """Steps of a first run: group, client, this client, the login cookie, and what is stored."""
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        pool = bench.cloud.cognito.pool
        pool.session_tracking = True
        for number, point in enumerate(moments(3, 4)):
            tenant, pools = f"t{number}", Pools(bench)
            await die_at(bench, point, applying(bench, tenant, asking(tenant)))
            await until_settled(bench)
            await pools.holds_nothing_new(tenant)
            assert pool.groups == {}, point
        await bench.apply("initech", asking())
        before = await held(bench)
        assert pool.login_reuse.get(before.client_id) == 0
        # Of a rotation: client, the login cookie, this client, and what is stored.
        for point in moments(2, 3):
            pools = Pools(bench)
            await die_at(bench, point, lambda service: service.rotate("initech", actor="crash"))
            await until_settled(bench)
            await pools.holds_nothing_new("initech")
            assert await held(bench) == before, point
        # Of a change in the console that is mended: the cookie is as somebody had it.
        pool.login_reuse[before.client_id] = 30
        for point in moments(1):
            await die_at(
                bench,
                point,
                lambda service: service.verify("initech", fix=True, actor="crash"),
            )
            await until_settled(bench)
            assert pool.login_reuse[before.client_id] == 30, point


def test_a_document_names_its_own_or_leaves_it_to_the_gateway() -> None:
    for wrong in (
        {},
        {"client": "managed", "client_id": "a"},
        {"client": "managed", "client_secret": "s"},
        {"client_id": "a", "secret": False},
    ):
        with pytest.raises(ValueError, match=r"stands with|either client_id"):
            PasswordClientDocument.model_validate(wrong)
    managed = PasswordClientDocument.model_validate({"client": "managed", "secret": False})
    assert managed.client == "managed"
