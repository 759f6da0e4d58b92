"""The crash matrix for providers of SAML and Google: what ``test_crashes`` shows of Okta's holds of
what they have instead, metadata and a hosted domain.

Runs of several tenants end at one point each, and one recovery takes them all up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done, Failed
from tests.provisioning.bench import Bench
from tests.provisioning.test_crashes import FAULTS, HOLD_S, Pools, applying, die_at, until_settled

if TYPE_CHECKING:
    from pathlib import Path

every_kind = pytest.mark.parametrize("kind", ["saml", "google"])
ENDS = ["move:done:before", "move:done:after"]
CREATIONS = [
    f"{write}:{number}:{side}"
    for number in range(1, 5)  # provider, client, tenant, credentials: the pool has the attributes
    for write in ("intend", "settle")
    for side in ("before", "after")
] + ENDS
CHANGES = [
    f"{write}:{number}:{side}"
    for number in range(1, 4)  # provider, client, tenant
    for write, side in (("intend", "after"), ("settle", "before"))
] + ENDS


async def body(bench: Bench, tenant: str, kind: str, *, changed: bool = False) -> ProvisionBody:
    """``changed``: other metadata or another secret, one more attribute, and another name."""
    customer = bench.cloud.customers.get("one-idp")
    if customer is None and kind == "google":
        host = "accounts.google.localhost"
        customer = await bench.cloud.add_idp("one-idp", kind="google", host=host)
    customer = customer or await bench.cloud.add_idp("one-idp", kind="okta", saml=True)
    provider: dict[str, Any]
    if kind == "saml":
        assert customer.saml is not None
        provider = {"kind": "saml", "metadata_url": customer.saml.metadata_url}
        if changed:
            provider = {"kind": "saml", "metadata": customer.saml.metadata()}
    else:
        provider = {
            "kind": "google",
            "client_id": customer.app.client_id,
            "client_secret": "another-client-secret" if changed else customer.app.client_secret,
            "oidc_issuer": customer.issuer,
        }
    if changed:
        provider["attributes"] = {"nickname": "alias"}
    return ProvisionBody.model_validate(
        {
            "provider": provider,
            "name": f"{tenant} changed" if changed else tenant,
            "group": "app-users",
            "allowed_domain": f"{tenant}.test",
            "hosts": [f"{tenant}.localhost"],
        }
    )


async def provisioned(bench: Bench, kind: str, *tenants: str) -> None:
    for tenant in tenants:
        assert isinstance(await bench.apply(tenant, await body(bench, tenant, kind)), Done)


async def state_of(bench: Bench, tenant: str, kind: str) -> dict[str, Any]:
    """All that there is of a tenant, in the pool and in the registry."""
    pool = bench.cloud.cognito.pool
    provider = pool.providers.get(f"{tenant}-{kind}")
    stored = await bench.tenants.get(tenant)
    credentials = await bench.tenants.credentials(tenant)
    clients = {
        name: client.settings
        for name, client in pool.clients.items()
        if f"{tenant}-{kind}" in client.providers
    }
    found = {
        "provider": provider and dict(provider.settings),
        "clients": clients,
        "document": stored and stored.document,
        "client": credentials and credentials.client_id,
    }
    return {name: what for name, what in found.items() if what}


async def is_whole(bench: Bench, tenant: str) -> None:
    drift = await bench.service.verify(tenant, fix=False, actor="test")
    assert drift is not None
    assert drift.clean


@every_kind
async def test_killed_between_any_two_writes_of_a_first_provisioning(
    tmp_path: Path, kind: str
) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        await provisioned(bench, kind, "other")
        other = await state_of(bench, "other", kind)
        cells = {f"t{number}": point for number, point in enumerate(CREATIONS)}
        for tenant, point in cells.items():
            await die_at(bench, point, applying(bench, tenant, await body(bench, tenant, kind)))
        await until_settled(bench)
        for tenant, point in cells.items():
            if point == "move:done:after":
                await is_whole(bench, tenant)
            else:
                assert await state_of(bench, tenant, kind) == {}, point
        # The same request once more comes to the same end: nothing is in its way.
        for tenant in ("t0", f"t{CREATIONS.index('settle:1:before')}", "t15"):
            await provisioned(bench, kind, tenant)
            await is_whole(bench, tenant)
        assert await state_of(bench, "other", kind) == other
        assert len(bench.providers) == len(bench.clients) == 1 + 1 + 3


@every_kind
async def test_killed_between_any_two_writes_of_a_change(tmp_path: Path, kind: str) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        cells = {f"t{number}": point for number, point in enumerate(CHANGES)}
        await provisioned(bench, kind, *cells)
        before = {tenant: await state_of(bench, tenant, kind) for tenant in cells}
        for tenant, point in cells.items():
            change = await body(bench, tenant, kind, changed=True)

            async def run(service: Any, tenant: str = tenant, to: ProvisionBody = change) -> Any:
                return await bench.apply(tenant, to, update=True, service=service)

            await die_at(bench, point, run)
        await until_settled(bench)
        for tenant, point in cells.items():
            after = await state_of(bench, tenant, kind)
            assert (after == before[tenant]) is (point != "move:done:after"), point
            await is_whole(bench, tenant)


@every_kind
async def test_faults_of_a_first_provisioning(tmp_path: Path, kind: str) -> None:
    async with Bench(tmp_path) as bench:
        for number, (fault, plan) in enumerate(FAULTS.items()):
            if fault == "timeout before":
                continue  # half a second each time, and no other answer than for Okta's
            tenant = f"t{number}"
            request = await body(bench, tenant, kind)
            plan(bench, "CreateIdentityProvider")
            outcome = await bench.apply(tenant, request)
            bench.cloud.cognito.control.faults.clear()
            await until_settled(bench)
            if isinstance(outcome, Done):
                await is_whole(bench, tenant)
            else:
                assert await state_of(bench, tenant, kind) == {}, fault


@every_kind
@pytest.mark.parametrize("operation", ["UpdateIdentityProvider", "UpdateUserPoolClient"])
async def test_a_change_that_fails_leaves_the_earlier_state(
    tmp_path: Path, kind: str, operation: str
) -> None:
    async with Bench(tmp_path) as bench:
        await provisioned(bench, kind, "acme")
        before, pools = await state_of(bench, "acme", kind), Pools(bench)
        for fault in ("error before", "errors after, to the end", "error after, then refused"):
            FAULTS[fault](bench, operation)
            change = await body(bench, "acme", kind, changed=True)
            outcome = await bench.apply("acme", change, update=True)
            bench.cloud.cognito.control.faults.clear()
            await until_settled(bench)
            if isinstance(outcome, Failed):
                assert await state_of(bench, "acme", kind) == before, fault
                await pools.holds_nothing_new("acme")
            else:
                assert fault != "error before"
                await is_whole(bench, "acme")
                back = await bench.apply("acme", await body(bench, "acme", kind), update=True)
                assert isinstance(back, Done)
                before, pools = await state_of(bench, "acme", kind), Pools(bench)
