"""Many at once: distinct tenants all succeed, the same tenant has one winner, and nothing is left
over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from pathlib import Path

MANY = 20


async def test_twenty_tenants_at_once_under_cognitos_own_rates(tmp_path: Path) -> None:
    async with Bench(tmp_path, per_second=5.0, hold_s=30.0) as bench:
        bench.cloud.cognito.control.rates_enforced = True
        bodies = {f"t{n}": await bench.body(f"t{n}", idp="one-idp") for n in range(MANY)}
        replicas = [bench.service, await bench.replica()]
        outcomes = await asyncio.gather(
            *(bench.apply(t, b, service=replicas[n % 2]) for n, (t, b) in enumerate(bodies.items()))
        )
        assert Counter(map(type, outcomes)) == {Done: MANY}
        assert (len(bench.providers), len(bench.clients)) == (MANY, MANY)
        credentials = [await bench.tenants.credentials(t) for t in bodies]
        assert {c.client_id for c in credentials if c} == bench.clients


async def test_twenty_times_the_same_tenant_has_one_winner_and_no_orphan(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=30.0) as bench:
        body = await bench.body()
        replicas = [bench.service, await bench.replica()]

        async def one(number: int) -> str:
            service = replicas[number % 2]
            proposal = await service.propose("initech", body, update=False)
            if proposal.problems:
                return proposal.problems[0].kind
            outcome = await service.apply(proposal, actor=str(number))
            return {Done: "done", Busy: "busy"}.get(type(outcome), getattr(outcome, "code", "?"))

        outcomes = Counter(await asyncio.gather(*(one(n) for n in range(MANY))))
        assert outcomes["done"] == 1
        assert set(outcomes) <= {"done", "busy", "exists", "DuplicateProviderException"}
        assert bench.providers == {"initech-okta"}
        credentials = await bench.tenants.credentials("initech")
        assert credentials is not None
        assert bench.clients == {credentials.client_id}


async def test_two_tenants_that_want_one_host_have_one_winner(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=30.0) as bench:
        bodies = {
            t: await bench.body(t, idp="one-idp", hosts=["contested.localhost"])
            for t in ("initech", "hooli")
        }
        proposals = [await bench.service.propose(t, b, update=False) for t, b in bodies.items()]
        assert [p.problems for p in proposals] == [(), ()]
        outcomes = await asyncio.gather(*(bench.service.apply(p, actor="test") for p in proposals))
        assert Counter(map(type, outcomes)) == {Done: 1, Failed: 1}
        (lost,) = [o for o in outcomes if isinstance(o, Failed)]
        assert (lost.code, lost.refused_by) == ("taken", "registry")
        assert "host contested.localhost" in lost.message
        assert (len(bench.providers), len(bench.clients)) == (1, 1)
