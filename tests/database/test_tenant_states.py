"""What was last seen of the tenants of a page, in real tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.database.attention import DAY_S
from gateway.database.schema import (
    connections,
    credential_expiries,
    hook_arrivals,
    hook_inbox,
    people,
)
from gateway.database.tenant_states import HookState, TenantState, TenantStates
from tests.admin.conftest import database
from tests.database.test_attention import NOW, put

if TYPE_CHECKING:
    from gateway.database.engine import Database

__all__ = ["database"]


async def of(database: Database, tenant: str) -> TenantState:
    return (await TenantStates(database, clock=lambda: NOW).of([tenant, "another"]))[tenant]


async def test_the_worst_connection_the_first_end_and_the_last_sign_in(database: Database) -> None:
    for provider, state in (("a", "active"), ("b", "failing"), ("c", "unchecked")):
        await put(database, connections, tenant="acme", provider=provider, state=state)
        at = NOW + ord(provider)
        await put(database, credential_expiries, tenant="acme", provider=provider, expires_at=at)
        await put(database, people, id=provider, key=provider, tenant="acme", last_sign_in_at=at)
    await put(database, connections, tenant="globex", state="failing")
    await put(database, people, tenant="globex", last_sign_in_at=NOW + 1000)
    assert await of(database, "acme") == TenantState(
        "failing", NOW + ord("a"), HookState.SILENT, NOW + ord("c")
    )
    assert await of(database, "another") == TenantState()
    assert await TenantStates(database, clock=lambda: NOW).of([]) == {}


@pytest.mark.parametrize(
    ("state", "hooks"),
    [
        ("applied", HookState.ARRIVING),
        ("ignored", HookState.ARRIVING),
        ("failed", HookState.FAILING),
        ("held", HookState.FAILING),
    ],
)
async def test_events_say_whether_hooks_work(
    database: Database, state: str, hooks: HookState
) -> None:
    await put(database, hook_inbox, tenant="acme", state="applied", received_at=NOW - 9)
    await put(database, hook_inbox, id="2", event="2", tenant="acme", state=state, received_at=NOW)
    assert (await of(database, "acme")).hooks is hooks
    assert (await of(database, "another")).hooks is HookState.SILENT


@pytest.mark.parametrize(
    ("outcome", "ago_s", "hooks"),
    [
        ("bad_signature", 60, HookState.FAILING),
        ("bad_signature", DAY_S + 120, HookState.SILENT),
        ("handshake", 60, HookState.SILENT),
    ],
)
async def test_refused_requests_of_the_last_day_count(
    database: Database, outcome: str, ago_s: float, hooks: HookState
) -> None:
    minute = int(NOW - ago_s) // 60
    await put(database, hook_arrivals, tenant="acme", outcome=outcome, minute=minute, times=1)
    assert (await of(database, "acme")).hooks is hooks


async def test_a_page_of_200_is_one_look_each(database: Database) -> None:
    names = [f"t{n}" for n in range(200)]
    await put(database, people, tenant="t199", last_sign_in_at=NOW)
    found = await TenantStates(database, clock=lambda: NOW).of(names)
    assert found.keys() == set(names)
    assert found["t199"].last_sign_in_at == NOW
