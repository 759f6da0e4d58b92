"""What is built from a tenant is written only while that tenant stands: the customer's server and
the pool set the pace, and operators do not wait for them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert, select

from gateway.cognito.pools import Pools
from gateway.core.model import Secret
from gateway.database.schema import audit, domains
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunKind, RunState
from gateway.tenants.api import Rejected
from gateway.tenants.document import TenantDocument
from gateway.tenants.stored import Actor
from tests.provisioning.bench import Bench
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.provisioning.discovery import Discovered, DiscoveryFetcher
    from gateway.provisioning.service import Onboarding


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


@dataclass(slots=True)
class SlowServer:
    """A customer's server that answers discovery when it is told to."""

    real: DiscoveryFetcher
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self, issuer: str) -> Discovered:
        self.asked.set()
        await self.answer.wait()
        return await self.real.fetch(issuer)


async def narrowed(bench: Bench, **changes: Any) -> None:
    """What an operator does over the admin API: another version of the document."""
    stored = await bench.tenants.get("initech")
    assert stored is not None
    answer = await bench.tenants.put(
        stored.document.model_copy(
            update={"active": False, "allowed_groups": frozenset(), **changes}
        ),
        version=stored.version,
        by=Actor("operator"),
    )
    assert not isinstance(answer, Rejected)


async def stands(bench: Bench) -> tuple[bool, frozenset[str] | None]:
    stored = await bench.tenants.get("initech")
    assert stored is not None
    return stored.document.active, stored.document.allowed_groups


@pytest.mark.parametrize("bound", [False, True], ids=["operator", "bound key"])
async def test_provisioning_does_not_undo_what_an_operator_did_during_discovery(
    bench: Bench, bound: bool
) -> None:
    await bench.apply()
    body = (
        await bench.body()
        if not bound
        else (await bench.body()).model_copy(update={"hosts": None, "allowed_domain": None})
    )
    server = SlowServer(bench.service.discovery)
    service = replace(bench.service, discovery=server)  # type: ignore[arg-type]  # a fetcher, in its own time
    proposing = asyncio.create_task(service.propose("initech", body, update=True, bound=bound))
    await server.asked.wait()
    await narrowed(bench)
    server.answer.set()
    proposal = await proposing
    assert [(p.kind, p.where) for p in proposal.problems] == [("conflict", "tenant")]
    assert await stands(bench) == (False, frozenset())


async def narrow(bench: Bench) -> None:
    await narrowed(bench)


async def another_run(bench: Bench) -> None:
    assert isinstance(await bench.service.rotate("initech", actor="operator"), Done)


async def other_clients(bench: Bench) -> None:
    await bench.tenants.put_credentials(
        "initech", replace_secret(await bench.tenants.credentials("initech")), by=Actor("operator")
    )


def replace_secret(held: Any) -> Any:
    return replace(held, client_secret=Secret("another"))


async def test_a_client_that_another_tenant_has_claimed_does_not_come_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.apply()
    first = await bench.tenants.credentials("initech")
    assert first is not None
    rotated = await bench.service.rotate("initech", actor="operator")
    assert isinstance(rotated, Done)
    now = await bench.tenants.credentials("initech")
    assert now is not None
    await bench.tenants.put_credentials("initech", replace(now, retired=()), by=Actor("operator"))
    document = TenantDocument.model_validate(
        sample("globex", client_id=first.client_id, hosts=["globex.localhost"])
    )
    answer = await bench.tenants.put(document, version=None, by=Actor("operator"))
    assert not isinstance(answer, Rejected), answer

    refusal = await bench.service.roll_back("initech", rotated.run)
    assert isinstance(refusal, PreflightProblem)
    assert (refusal.kind, first.client_id in str(refusal)) == ("taken", True)
    journal = bench.service.provisioning.journal
    assert await journal.reopen(rotated.run)
    assert await bench.service.provisioning.undo(rotated.run) is RunState.ROLLED_BACK
    assert await bench.tenants.credentials("initech") is None
    assert bench.clients == {first.client_id}, "globex's; the one of the run is gone"
    assert "provision_clients_not_restored" in caplog.text
    assert await journal.busy("initech") is None


MEANWHILE: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "the document": narrow,
    "a run": another_run,
    "the app clients": other_clients,
}


@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
async def test_a_proposal_whose_basis_has_changed_is_not_applied(
    bench: Bench, change: Callable[[Bench], Awaitable[None]]
) -> None:
    await bench.apply()
    proposal = await bench.service.propose(
        "initech", (await bench.body()).model_copy(update={"group": "others"}), update=True
    )
    assert proposal.problems == ()
    await change(bench)
    before = (
        await bench.left_behind(),
        await stands(bench),
        await bench.tenants.credentials("initech"),
    )
    outcome = await bench.service.apply(proposal, actor="test")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.state) == ("conflict", RunState.ROLLED_BACK)
    assert (
        await bench.left_behind(),
        await stands(bench),
        await bench.tenants.credentials("initech"),
    ) == before


def while_the_pool_is_read(bench: Bench, change: Callable[[Bench], Awaitable[None]]) -> Onboarding:
    """The service, with a pool that answers after ``change`` was made."""
    pool = bench.service.provisioning.pools.named("default")

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(pool, name)

        async def actual(self, **what: Any) -> Any:
            found = await pool.actual(**what)
            await change(bench)
            return found

    slow = Pools({"default": Slow()})  # type: ignore[dict-item]  # a pool, a little later
    return replace(bench.service, provisioning=replace(bench.service.provisioning, pools=slow))


async def test_a_rotation_is_made_from_the_tenant_as_it_stands(bench: Bench) -> None:
    await bench.apply()
    held, clients = await bench.tenants.credentials("initech"), bench.clients
    outcome = await while_the_pool_is_read(bench, narrow).rotate("initech", actor="test")
    assert isinstance(outcome, Failed)
    assert outcome.code == "conflict"
    assert (await bench.tenants.credentials("initech"), bench.clients) == (held, clients)


async def test_mending_is_made_from_the_tenant_as_it_stands(bench: Bench) -> None:
    await bench.apply()
    (client,) = bench.cloud.cognito.pool.clients.values()
    bench.cloud.cognito.pool.clients[client.client_id] = replace(
        client,
        settings={**client.settings, "CallbackURLs": ["http://elsewhere.localhost/_auth/callback"]},
    )
    drift = await while_the_pool_is_read(bench, narrow).verify("initech", fix=True, actor="test")
    assert drift is not None
    assert isinstance(drift.fixed, Failed)
    assert drift.fixed.code == "conflict"


async def test_only_the_latest_run_is_held_again_to_be_undone(bench: Bench) -> None:
    """Whoever asks has looked before; in between another run may have ended."""
    outcome = await bench.apply()
    assert isinstance(outcome, Done)
    journal = bench.service.provisioning.journal
    await another_run(bench)
    latest = await journal.latest("initech")
    assert latest is not None
    assert latest.kind is RunKind.ROTATE
    assert not await journal.reopen(outcome.run)
    assert await journal.reopen(latest.id)


async def test_a_domain_that_is_not_proven_any_more_is_not_provisioned_by_a_tenants_own_key(
    bench: Bench,
) -> None:
    await bench.apply()
    body = (await bench.body()).model_copy(
        update={
            "hosts": None,
            "allowed_domain": None,
            "email_domains": frozenset({"initech.test", "other.test"}),
        }
    )
    await proven(bench, "initech")
    proposal = await bench.service.propose("initech", body, update=True, bound=True)
    assert proposal.problems == ()
    assert proposal.if_held == {"other.test"}
    async with bench.database.write() as connection:
        await connection.execute(delete(domains))
    outcome = await bench.service.apply(proposal, actor="key:bound")
    assert isinstance(outcome, Failed) and "other.test: not proven any more" in str(outcome)
    stored = await bench.tenants.get("initech")
    assert stored is not None and stored.document.email_domains == {"initech.test"}


async def proven(bench: Bench, tenant: str) -> None:
    claim = {
        "tenant": tenant,
        "domain": "other.test",
        "holder": "other.test",
        "value": "v",
        "state": "verified",
        "added_at": 1.0,
        "result": [],
    }
    async with bench.database.write() as connection:
        await connection.execute(insert(domains).values(claim))


async def gives_up(bench: Bench, **more: Any) -> str:
    """A run that takes a domain out of the document; its id."""
    both = {"allowed_domain": None, "email_domains": frozenset({"initech.test", "other.test"})}
    await bench.apply(body=(await bench.body()).model_copy(update=both))
    outcome = await bench.apply(
        body=(await bench.body()).model_copy(update=more),
        update=True,
    )
    assert isinstance(outcome, Done)
    return outcome.run


async def domains_of(bench: Bench) -> frozenset[str]:
    stored = await bench.tenants.get("initech")
    assert stored is not None
    return stored.document.email_domains


async def test_a_run_whose_domain_is_another_tenants_by_now_is_not_taken_back(
    bench: Bench,
) -> None:
    run = await gives_up(bench)
    await proven(bench, "hooli")
    refused = await bench.service.roll_back("initech", run)
    assert isinstance(refused, PreflightProblem)
    assert (refused.kind, refused.message) == (
        "taken",
        "domain other.test: another tenant has proven it",
    )
    latest = await bench.service.provisioning.journal.latest("initech")
    assert latest is not None and (latest.id, latest.state) == (run, RunState.DONE)
    assert await bench.service.provisioning.journal.busy("initech") is None


async def test_undoing_ends_without_a_domain_that_is_another_tenants_by_now(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a run that failed nobody was asked."""
    provisioning, run = bench.service.provisioning, await gives_up(bench, name="Initech Ltd.")
    await proven(bench, "hooli")
    assert await provisioning.journal.reopen(run)
    assert await provisioning.undo(run) is RunState.ROLLED_BACK
    stored = await bench.tenants.get("initech")
    assert stored is not None and stored.document.name != "Initech Ltd."
    assert stored.document.email_domains == {"initech.test"}
    (line,) = [r for r in caplog.records if r.message == "provision_tenant_not_restored"]
    assert "other.test" in str(vars(line))
    async with bench.database.read() as connection:
        actors = (await connection.execute(select(audit.c.actor))).scalars().all()
    assert "provisioning" in actors


async def test_undoing_ends_where_a_host_is_another_tenants_by_now(bench: Bench) -> None:
    await bench.apply(body=await bench.body(hosts=["initech.localhost", "other.localhost"]))
    outcome = await bench.apply(update=True)
    assert isinstance(outcome, Done)
    stored = await bench.tenants.get("initech")
    assert stored is not None
    (provider,) = stored.document.providers
    hooli = stored.document.model_copy(
        update={
            "id": "hooli",
            "hosts": ("other.localhost",),
            "email_domains": frozenset(),
            "providers": (provider.model_copy(update={"name": "hooli-okta"}),),
        }
    )
    assert not isinstance(
        await bench.tenants.put(hooli, version=None, by=Actor("operator")), Rejected
    )
    refused = await bench.service.roll_back("initech", outcome.run)
    assert isinstance(refused, PreflightProblem) and "other.localhost" in refused.message
    assert await bench.service.provisioning.journal.reopen(outcome.run)
    assert await bench.service.provisioning.undo(outcome.run) is RunState.ROLLED_BACK
    assert await bench.tenants.get("initech") == stored


async def test_a_tenants_own_key_brings_back_only_a_domain_that_is_proven(bench: Bench) -> None:
    run = await gives_up(bench)
    refused = await bench.service.roll_back("initech", run, bound=True)
    assert isinstance(refused, PreflightProblem)
    assert refused.message == "other.test: not proven, only an operator changes it"
    await proven(bench, "initech")
    assert await bench.service.roll_back("initech", run, bound=True) is RunState.ROLLED_BACK
    assert await domains_of(bench) == {"initech.test", "other.test"}
