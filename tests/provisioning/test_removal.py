"""A provider that the request does not name any more: off the client, out of the document, and
deleted last, if it is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunKind
from gateway.tenants.document import TenantDocument
from gateway.tenants.secrets import show
from tests.provisioning.bench import Bench
from tests.provisioning.test_apply import both

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.provisioning.request import ProvisionBody


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Initech with an Okta and an Entra."""
    async with Bench(tmp_path) as started:
        assert isinstance(await started.apply(body=await both(started)), Done)
        yield started


async def names(bench: Bench) -> list[str]:
    stored = await bench.tenants.get("initech")
    assert stored is not None
    return [p.name for p in stored.document.providers]


async def test_what_we_made_is_taken_off_the_client_and_deleted_and_the_plan_says_so(
    bench: Bench,
) -> None:
    proposal = await bench.service.propose("initech", await bench.body(), update=True)
    said = [
        (str(s.verb), s.name, s.why)
        for s in proposal.plan.steps
        if s.does and str(s.resource) == "provider"
    ]
    last = "and deleted from the pool when everything else is done, since the gateway made it"
    assert said == [
        (
            "remove",
            "initech-entra",
            f"it is not in the request any more: it is taken from the client, {last}",
        )
    ]
    assert bench.providers == {"initech-okta", "initech-entra"}, "a plan changes nothing"
    outcome = await bench.service.apply(proposal, actor="test")
    assert outcome == Done(outcome.run) if isinstance(outcome, Done) else False
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert (client.providers, bench.providers, await names(bench)) == (
        ("initech-okta",),
        {"initech-okta"},
        ["initech-okta"],
    )
    journal = bench.service.provisioning.journal
    latest = await journal.latest("initech")
    assert latest is not None
    assert (latest.kind, [s.action for s in latest.steps]) == (
        RunKind.RETIRE,
        ["delete_credentials", "delete_provider"],
    )
    assert [p["name"] for p in latest.request["providers"]] == ["initech-okta"]
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean
    too_late = await bench.service.roll_back("initech", latest.id)
    assert isinstance(too_late, PreflightProblem)
    again = await bench.service.propose("initech", await both(bench), update=True)
    assert next((str(s.verb), s.name) for s in again.plan.changes) == ("create", "initech-entra")


async def test_what_was_adopted_stays_in_the_pool(bench: Bench) -> None:
    bench.cloud.connect(await bench.cloud.add_idp("made-by-hand", kind="okta"))
    adopted = await bench.body(idp="made-by-hand")
    adopted = adopted.model_copy(
        update={
            "adopt": True,
            "provider": adopted.all_providers[0].model_copy(update={"name": "made-by-hand"}),
        }
    )
    assert isinstance(await bench.apply(body=adopted, update=True), Done)
    assert bench.providers == {"made-by-hand"}
    proposal = await bench.service.propose("initech", await bench.body(), update=True)
    (step,) = [s for s in proposal.plan.steps if str(s.verb) == "remove"]
    assert step.why.endswith("and stays in the pool, since the gateway did not make it")
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    assert bench.providers == {"made-by-hand", "initech-okta"}


async def test_a_change_that_fails_takes_nothing_away(bench: Bench) -> None:
    before = await names(bench)
    bench.cloud.cognito.control.faults.plan(
        "UpdateUserPoolClient", faults.fail(ApiError("InvalidParameterException", "planned"))
    )
    assert isinstance(await bench.apply(body=await bench.body(), update=True), Failed)
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert (sorted(client.providers), bench.providers, await names(bench)) == (
        ["initech-entra", "initech-okta"],
        {"initech-okta", "initech-entra"},
        before,
    )


async def test_a_deletion_that_is_interrupted_is_finished(bench: Bench) -> None:
    bench.cloud.cognito.control.faults.plan(
        "DeleteIdentityProvider", faults.internal_error, times=3
    )
    outcome = await bench.apply(body=await bench.body(), update=True)
    assert isinstance(outcome, Done)
    assert outcome.deleting is not None
    assert (bench.providers, await names(bench)) == (
        {"initech-okta", "initech-entra"},
        ["initech-okta"],
    )
    busy = await bench.service.propose("initech", await bench.body(), update=True)
    assert [f.kind for f in busy.problems] == ["busy"]
    assert await bench.service.provisioning.recover() == 1
    assert bench.providers == {"initech-okta"}


async def test_what_another_tenant_uses_by_now_is_not_deleted(bench: Bench) -> None:
    stored = await bench.tenants.get("initech")
    assert stored is not None
    document = show(stored.document)
    rest = {
        **document,
        "providers": [p for p in document["providers"] if p["name"] == "initech-okta"],
    }
    await bench.tenants.put(TenantDocument.model_validate(rest), version=stored.version, by=None)
    theirs = (
        (await bench.body("hooli", kind="entra", idp="initech-second"))
        .all_providers[0]
        .model_copy(update={"name": "initech-entra"})
    )
    adopting = (await bench.body("hooli", kind="entra", idp="initech-second")).model_copy(
        update={"adopt": True, "provider": theirs}
    )
    assert isinstance(await bench.apply("hooli", adopting), Done)
    assert isinstance(await bench.apply(body=await bench.body(), update=True), Done)
    assert bench.providers == {"initech-okta", "initech-entra"}


async def test_the_pools_own_users_stay_though_a_request_cannot_name_them(bench: Bench) -> None:
    stored = await bench.tenants.get("initech")
    assert stored is not None
    document = show(stored.document)
    with_own = {
        **document,
        "providers": [*document["providers"], {"name": "staff", "kind": "cognito"}],
    }
    await bench.tenants.put(
        TenantDocument.model_validate(with_own), version=stored.version, by=None
    )
    assert isinstance(await bench.apply(body=await bench.body(), update=True), Done)
    assert await names(bench) == ["initech-okta", "staff"]
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == ("initech-okta", "COGNITO")


async def test_who_made_a_provider_is_who_made_it_last(bench: Bench) -> None:
    """Whoever changes it did not make it; whoever makes it anew did."""

    async def apply(body: ProvisionBody, actor: str) -> None:
        proposal = await bench.service.propose("initech", body, update=True)
        assert isinstance(await bench.service.apply(proposal, actor=actor), Done)

    made = {"initech-okta": "test", "initech-entra": "test"}
    await apply(await both(bench), "key:1")
    assert await bench.service.makers("initech") == made
    await apply(await bench.body(), "key:2")
    await apply(await both(bench), "setup:1/it@initech.test")
    assert await bench.service.makers("initech") == {
        **made,
        "initech-entra": "setup:1/it@initech.test",
    }
    assert await bench.service.makers("hooli") == {}
