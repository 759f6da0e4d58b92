"""An app client that somebody else made becomes the tenant's, and stays theirs when the tenant
ends.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.provisioning.runner import Done, Failed
from gateway.tenants.document import TenantDocument
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MADE = "madebyhand0000000000000000"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        started.cloud.add_client(
            "by-hand",
            providers=[],
            callback_urls=["http://old.localhost/cb"],
            logout_urls=[],
            client_id=MADE,
        )
        yield started


async def test_it_is_taken_over_with_its_secret_and_left_when_the_tenant_ends(bench: Bench) -> None:
    before = bench.cloud.cognito.pool.clients[MADE]
    proposal = await bench.service.propose(
        "initech", await bench.body(adopt_client=MADE), update=False
    )
    (step,) = [s for s in proposal.plan.steps if str(s.resource) == "client"]
    assert (str(step.verb), step.name) == ("adopt", MADE)
    assert "CallbackURLs" in [d.setting for d in step.differences]
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    held = await bench.tenants.credentials("initech")
    assert held is not None
    assert (held.client_id, held.client_secret.reveal()) == (MADE, before.secret)
    assert bench.clients == {MADE}
    assert bench.cloud.cognito.pool.clients[MADE].providers == ("initech-okta",)
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert (bench.clients, bench.providers, await bench.tenants.get("initech")) == (
        {MADE},
        set(),
        None,
    )


async def test_a_failure_puts_it_back_as_it_was(bench: Bench) -> None:
    before = bench.cloud.cognito.pool.clients[MADE]
    proposal = await bench.service.propose(
        "initech", await bench.body(adopt_client=MADE), update=False
    )
    bench.cloud.cognito.control.faults.plan(
        "UpdateUserPoolClient", faults.fail(ApiError("InvalidParameterException", "planned"))
    )
    assert isinstance(await bench.service.apply(proposal, actor="test"), Failed)
    stale = replace(proposal, before={"document": {}, "secrets": {}, "version": 7})
    assert isinstance(await bench.service.apply(stale, actor="test"), Failed), (
        "refused by the registry, after the client was changed"
    )
    after = bench.cloud.cognito.pool.clients[MADE]
    assert (after.name, after.callback_urls, after.logout_urls, after.providers, after.scopes) == (
        before.name,
        before.callback_urls,
        before.logout_urls,
        before.providers,
        before.scopes,
    )
    assert await bench.tenants.credentials("initech") is None


async def test_a_tenant_with_a_client_of_its_own_hands_it_over(bench: Bench) -> None:
    secret = bench.cloud.cognito.pool.clients[MADE].secret
    document = {
        "id": "initech",
        "name": "Initech",
        "hosts": ["initech.localhost"],
        "email_domains": ["initech.test"],
        "allowed_groups": ["app-users"],
        "client_id": MADE,
        "client_secret": secret,
        "providers": [{"name": "staff", "kind": "cognito"}],
        "session": {"max_lifetime": "8h"},
    }
    await bench.tenants.put(TenantDocument.model_validate(document), version=None, by=None)
    assert isinstance(await bench.apply(body=await bench.body(adopt_client=MADE)), Done)
    stored = await bench.tenants.get("initech")
    assert stored is not None
    assert (
        stored.document.client,
        stored.document.client_id,
        [p.name for p in stored.document.providers],
    ) == ("managed", None, ["initech-okta", "staff"])


async def test_what_cannot_be_adopted(bench: Bench) -> None:
    pool = bench.cloud.cognito.pool
    pool.clients["nosecret"] = type(pool.clients[MADE])(
        "nosecret", None, {**pool.clients[MADE].settings, "ClientId": "nosecret"}
    )
    assert isinstance(await bench.apply("hooli", await bench.body("hooli")), Done)
    theirs = await bench.tenants.credentials("hooli")
    assert theirs is not None
    for client_id, message in (
        ("nowhere", "adopt_client: nowhere is not an app client of the pool"),
        ("nosecret", "adopt_client: nosecret has no secret: the gateway needs one"),
        (theirs.client_id, f"tenant: client {theirs.client_id}: claimed by hooli and by initech"),
    ):
        refused = await bench.service.propose(
            "initech", await bench.body(adopt_client=client_id), update=False
        )
        assert [str(f) for f in refused.problems] == [message]
