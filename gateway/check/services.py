"""What the web edge works with: one frozen value, built by ``app`` and reached through an
``AppKey``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.check.trusted_peer import Trust
    from gateway.cognito.relying_party import RelyingParty
    from gateway.config.model import Config
    from gateway.keys.assertion import Assertions
    from gateway.pages.render import Pages
    from gateway.sessions.api import (
        MachineAuthenticator,
        PoolPasswordAuthenticator,
        SessionStore,
        TenantSource,
    )
    from gateway.sessions.rate_limit import AttemptCounter
    from gateway.sessions.tested_connections import TestedConnections
    from gateway.sessions.token_revocation import TokenRevocation


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need. Clock and entropy are arguments, so tests can hold them."""

    config: Config
    trust: Trust
    tenants: TenantSource
    sessions: SessionStore
    relying_party: RelyingParty
    machines: MachineAuthenticator
    pool_passwords: PoolPasswordAuthenticator
    attempts: AttemptCounter
    trials: TestedConnections
    token_revocation: TokenRevocation
    assertions: Assertions
    pages: Pages
    clock: Callable[[], float]
    """UTC epoch seconds."""
    random_token: Callable[[], str]
    """32 random bytes, base64url."""
    signing_keys: Callable[[], Sequence[bytes]]
    """For values that go through a browser and are no credentials: the first signs, each
    verifies.
    """


SERVICES = web.AppKey("services", Services)
