"""Several user pools: which one a new tenant gets, and that everything of it happens there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.cognito.pool import IdentityProvider
from gateway.cognito.pools import Pools
from gateway.core.model import DEFAULT_POOL, Secret
from gateway.errors import UnavailableError
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunState
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cognito.server import Cognito
    from gateway.provisioning.credentials import ClientCredentials


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path, second="b") as started:
        yield started


def second(bench: Bench) -> Cognito:
    return bench.cloud.further_pools["b"]


def fill(cognito: Cognito, providers: int) -> None:
    """Identity providers of tenants from elsewhere, until there are so many."""
    held = cognito.pool.providers
    for number in range(len(held), providers):
        name = f"other-{number}"
        held[name] = IdentityProvider(
            name,
            {
                "ProviderName": name,
                "ProviderType": "OIDC",
                "ProviderDetails": {},
                "AttributeMapping": {},
                "IdpIdentifiers": [],
            },
        )


def quotas(bench: Bench, **of_pool: int) -> None:
    """Of identity providers, as configured and at the stand-in."""
    pools = bench.service.provisioning.pools.by_name
    for name, providers in of_pool.items():
        pools[name].quotas = pools[name].quotas.model_copy(update={"providers": providers})
        at = bench.cloud.cognito if name == DEFAULT_POOL else bench.cloud.further_pools[name]
        at.control.state.quotas.providers = providers


async def credentials(bench: Bench, tenant: str = "initech") -> ClientCredentials:
    found = await bench.service.provisioning.registrar.credentials(tenant)
    assert found is not None
    return found


async def test_the_default_pool_is_filled_first(bench: Bench) -> None:
    assert isinstance(await bench.apply(), Done)
    assert (await credentials(bench)).pool == DEFAULT_POOL
    assert (bench.providers, bench.clients) != (set(), set())
    assert not second(bench).pool.clients
    assert not second(bench).pool.providers


async def test_a_full_pool_is_followed_by_the_next(bench: Bench) -> None:
    quotas(bench, default=2, b=2)
    fill(bench.cloud.cognito, 2)
    before = dict(bench.cloud.cognito.pool.providers)
    assert isinstance(await bench.apply(), Done)
    held = await credentials(bench)
    assert held.pool == "b"
    assert set(second(bench).pool.clients) == {held.client_id}
    assert len(second(bench).pool.providers) == 1
    assert bench.cloud.cognito.pool.providers == before
    assert not bench.clients
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean


async def test_what_is_there_is_changed_rotated_and_destroyed_where_it_is(bench: Bench) -> None:
    body = (await bench.body()).model_copy(update={"pool": "b"})
    assert isinstance(await bench.apply(body=body), Done)
    first = await credentials(bench)
    changed = body.model_copy(update={"hosts": ("initech.localhost", "two.localhost")})
    assert isinstance(await bench.apply(body=changed, update=True), Done)
    client = second(bench).pool.clients[first.client_id]
    assert len(client.callback_urls) == 2
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    rotated = await credentials(bench)
    assert (rotated.pool, rotated.retired[0].pool) == ("b", "b")
    assert isinstance(await bench.service.retire("initech", actor="test"), Done)
    assert set(second(bench).pool.clients) == {rotated.client_id}
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert (second(bench).pool.clients, second(bench).pool.providers) == ({}, {})
    assert not bench.clients


async def test_a_run_in_another_pool_is_taken_back_there(bench: Bench) -> None:
    body = (await bench.body()).model_copy(update={"pool": "b"})
    done = await bench.apply(body=body)
    assert isinstance(done, Done)
    assert await bench.service.roll_back("initech", done.run) is RunState.ROLLED_BACK
    assert (second(bench).pool.clients, second(bench).pool.providers) == ({}, {})


async def test_without_room_anywhere_it_is_said_how_full_each_is(bench: Bench) -> None:
    quotas(bench, default=3, b=2)
    fill(bench.cloud.cognito, 3)
    fill(second(bench), 2)
    proposal = await bench.service.propose("initech", await bench.body(), update=False)
    (problem,) = proposal.problems
    assert (problem.kind, problem.where) == ("quota", "pool")
    assert "default has 3 of 3 identity providers and 0 of 1000 app clients" in problem.message
    assert "b has 2 of 2 identity providers" in problem.message


async def test_two_admins_who_take_the_last_place_leave_nothing_and_repeat(bench: Bench) -> None:
    """Both have counted one free place; Cognito gives it to one of them."""
    quotas(bench, default=1, b=1)
    bodies = {tenant: await bench.body(tenant) for tenant in ("initech", "hooli")}
    other = await bench.replica()
    pools = other.provisioning.pools.by_name
    for pool in pools.values():
        pool.quotas = pool.quotas.model_copy(update={"providers": 1})
    proposals = [
        await bench.service.propose("initech", bodies["initech"], update=False),
        await other.propose("hooli", bodies["hooli"], update=False),
    ]
    assert [proposal.pool for proposal in proposals] == [DEFAULT_POOL, DEFAULT_POOL]
    outcomes = await asyncio.gather(
        bench.service.apply(proposals[0], actor="one"), other.apply(proposals[1], actor="two")
    )
    (failed,) = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert (failed.code, failed.state) == ("LimitExceededException", RunState.ROLLED_BACK)
    loser = ("initech", "hooli")[outcomes.index(failed)]
    service = (bench.service, other)[outcomes.index(failed)]
    again = await bench.apply(loser, bodies[loser], service=service)
    assert isinstance(again, Done)
    assert (await credentials(bench, loser)).pool == "b"
    assert len(bench.providers) == len(second(bench).pool.providers) == 1
    assert len(bench.clients) == len(second(bench).pool.clients) == 1


async def test_what_is_adopted_says_where(bench: Bench) -> None:
    body = await bench.body(adopt=True)
    body = body.model_copy(
        update={"provider": body.provider.model_copy(update={"name": "initech-sso"})}  # type: ignore[union-attr]  # it is one
    )
    bench.cloud.connect(bench.cloud.customers["initech-idp"])
    provider = bench.cloud.cognito.pool.providers.pop("initech-idp")
    second(bench).pool.providers["initech-sso"] = replace(
        provider, name="initech-sso", settings={**provider.settings, "ProviderName": "initech-sso"}
    )
    proposal = await bench.service.propose("initech", body, update=False)
    assert (proposal.problems, proposal.pool) == ((), "b")


async def test_a_tenant_does_not_change_its_pool_by_a_request(bench: Bench) -> None:
    body = await bench.body()
    await bench.apply(body=body)
    proposal = await bench.service.propose(
        "initech", body.model_copy(update={"pool": "b"}), update=True
    )
    (problem,) = proposal.problems
    assert (problem.kind, problem.where) == ("exists", "pool")
    assert "is in pool default, and stays there" in problem.message
    unknown = await bench.service.propose(
        "hooli", (await bench.body("hooli")).model_copy(update={"pool": "c"}), update=False
    )
    assert [p.where for p in unknown.problems] == ["pool"]


async def test_a_run_in_a_pool_that_is_not_configured_any_more_waits(bench: Bench) -> None:
    body = (await bench.body()).model_copy(update={"pool": "b"})
    await bench.apply(body=body)
    held = replace(await credentials(bench), client_secret=Secret("s"))
    assert held.ids_in("b") == (held.client_id,)
    only = Pools({DEFAULT_POOL: bench.service.provisioning.pools.named(DEFAULT_POOL)})
    service = replace(bench.service, provisioning=replace(bench.service.provisioning, pools=only))
    with pytest.raises(UnavailableError, match=r"user pool b is not in cognito\.pools"):
        await service.rotate("initech", actor="test")
    assert held.client_id in second(bench).pool.clients


async def test_two_thousand_providers_fit_into_two_pools_and_no_more(bench: Bench) -> None:
    quotas(bench, default=1000, b=1000)
    fill(bench.cloud.cognito, 1000)
    fill(second(bench), 999)
    assert isinstance(await bench.apply(), Done)
    assert (await credentials(bench)).pool == "b"
    assert len(bench.providers) + len(second(bench).pool.providers) == 2000
    # A minute later: a count is good for so long.
    bench.service.provisioning.pools.named("b").forget_counts()
    proposal = await bench.service.propose("hooli", await bench.body("hooli"), update=False)
    (problem,) = proposal.problems
    assert "default has 1000 of 1000 identity providers" in problem.message
    assert "b has 1000 of 1000 identity providers" in problem.message
