"""Refresh tokens of ended sessions, behind the answer: bounded, repeated, and never the one of the
session that took over.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from gateway.core.model import Secret
from gateway.errors import PeerError, UnavailableError
from gateway.log import of_request
from gateway.sessions import token_revocation
from gateway.sessions.token_revocation import AGAIN_S, GRACE_S, TokenRevocation
from tests.sessions.conftest import (
    HOST,
    Login,
    clock,
    database,
    database_url,
    login,
    redis,
    ring,
    sessions,
    tenant,
)

if TYPE_CHECKING:
    import pytest

    from gateway.cognito.relying_party import RelyingParty
    from gateway.core.model import Tenant
    from gateway.sessions.api import TenantSource
    from gateway.sessions.store import RedisSessions

__all__ = [
    "clock",
    "database",
    "database_url",
    "login",
    "redis",
    "ring",
    "sessions",
]


class Cognito:
    """Answers ``revoke`` as told; ``slept`` are the pauses, each over at once."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.revoked: list[str] = []
        self.slept: list[float] = []

    async def revoke(self, _: Tenant, token: Secret, *, client_id: str) -> None:
        assert client_id == "client"
        if self.faults:
            raise self.faults.pop(0)
        self.revoked.append(token.reveal())

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def service(sessions: RedisSessions, cognito: Cognito) -> TokenRevocation:
    tenants = SimpleNamespace(
        table=SimpleNamespace(by_id=lambda name: tenant(name) if name == "acme" else None)
    )
    return TokenRevocation(
        cast("Any", sessions),
        cast("RelyingParty", cognito),
        cast("TenantSource", tenants),
        sleep=cognito.sleep,
    )


async def test_a_replaced_session_ends_after_its_grace_and_only_its_own_token_is_revoked(
    sessions: RedisSessions, login: Login
) -> None:
    former = await login.finish(refresh_token=Secret("former"))
    present = await login.finish(refresh_token=Secret("present"))
    cognito = Cognito()
    revocation = service(sessions, cognito)
    revocation.end_replaced_soon(former.session, former.cookie.reveal())
    assert await sessions.find(former.cookie.reveal(), host=HOST) is not None, (
        "what is under way arrives"
    )
    await asyncio.wait_for(revocation.settle(), 20)
    assert (cognito.revoked, cognito.slept) == (["former"], [GRACE_S])
    assert await sessions.find(former.cookie.reveal(), host=HOST) is None
    assert await sessions.find(present.cookie.reveal(), host=HOST) is not None
    await revocation.close()


async def test_an_outage_of_cognito_is_outlasted_a_refusal_is_not(
    sessions: RedisSessions, caplog: pytest.LogCaptureFixture
) -> None:
    cognito = Cognito(
        UnavailableError("down"), UnavailableError("down"), PeerError("revoke_refused", "400")
    )
    revocation = service(sessions, cognito)
    with of_request("the logout"):
        revocation.revoke_soon("acme", Secret("one"), client_id="client")
    await asyncio.wait_for(revocation.settle(), 20)
    (told,) = [record.gateway_fields for record in caplog.records]  # type: ignore[attr-defined]  # what log.fields attaches
    assert (told["request_id"], told["code"], told["cause"]) == (
        "the logout",
        "revoke_refused",
        "400",
    )
    assert (cognito.revoked, tuple(cognito.slept), cognito.faults) == ([], AGAIN_S[:2], [])
    revocation.revoke_soon("acme", Secret("two"), client_id="client")
    revocation.revoke_soon("acme", None, client_id="client")
    revocation.revoke_soon("gone", Secret("three"), client_id="client")
    await asyncio.wait_for(revocation.settle(), 20)
    assert cognito.revoked == ["two"]
    await revocation.close()


async def test_what_waits_is_bounded_and_ends_with_the_process(
    sessions: RedisSessions, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_revocation, "MAX_WAITING", 3)
    cognito = Cognito()
    revocation = service(sessions, cognito)
    for number in range(5):
        revocation.revoke_soon("acme", Secret(str(number)), client_id="client")
    assert revocation.waiting == 3
    await asyncio.wait_for(revocation.settle(), 20)
    assert sorted(cognito.revoked) == ["0", "1", "2"]
    former = await login.finish()
    for _ in range(5):
        revocation.end_replaced_soon(former.session, former.cookie.reveal())
    revocation.revoke_soon("acme", Secret("other"), client_id="client")
    assert revocation.waiting == 4
    await asyncio.wait_for(revocation.settle(), 20)
    assert "other" in cognito.revoked, (
        "whoever replaces sessions without end keeps no token of others from being revoked"
    )
    await revocation.close()
