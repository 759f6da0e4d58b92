"""A real Valkey for the whole run (one per test worker), emptied before each test, and a store on
it with a clock that the test turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gateway.core.model import (
    EmailTrust,
    Identity,
    PendingLogin,
    Provider,
    ProviderKind,
    Secret,
    Session,
    SessionLimits,
    Tenant,
)
from gateway.keys import ring as keys
from gateway.revocation.restore import Markers
from gateway.sessions.api import LoginConsumed, NewSession, SessionCreated
from gateway.sessions.connection import RedisClient, Target, client_to
from gateway.sessions.store import RedisSessions
from tests.database.fixtures import database, database_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.sessions.embedded import EmbeddedValkey

__all__ = ["database", "database_url"]

HOST = "acme.example.com"
CHILD = "app.acme.example.com"


@pytest.fixture
async def redis(valkey: EmbeddedValkey) -> AsyncIterator[RedisClient]:
    # Patient: a busy machine is no failure of these tests. What time-outs do is tested where they
    # are the matter.
    made = client_to(
        Target("unix", path=valkey.socket_path), ca_file=None, replicas=0, command_timeout_s=30
    )
    await made.command("FLUSHALL")
    await believe(made)
    yield made
    await nothing_goes_on()
    await made.close()


@contextlib.asynccontextmanager
async def full(redis: RedisClient) -> AsyncIterator[None]:
    """A store without memory to spare refuses what needs some. It is restored all the same: until
    then it answers nobody.
    """
    await redis.command("CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        await redis.command("CONFIG", "SET", "maxmemory", "0")


async def nothing_goes_on() -> None:
    """Stores that a test made beside the fixture's note uses in the background, which would open a
    closed link again.
    """
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def believe(redis: RedisClient) -> None:
    """As an admin role leaves an empty store that it has known for a while."""

    async def nobody() -> tuple[str, ...]:
        return ()

    async def nothing(tenant: str) -> None:
        raise AssertionError(tenant)

    keeper = Markers(
        redis,
        tenants=nobody,
        restore=nothing,
        generation=lambda: 0,
        staleness_s=0,
        monotonic=time.monotonic,
    )
    await keeper.look()
    await keeper.look()


SERVERS: dict[int, str] = {}
"""Which server gave a ``began``, for tests that only carry the number."""


@dataclass
class Clock:
    """Wall and monotonic time of the gateway under test; the store's own clock is its own."""

    wall: float = field(default_factory=time.time)
    steady: float = 1000.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def ring() -> keys.KeyRing:
    return keys.generate()


@pytest.fixture
async def sessions(
    redis: RedisClient, clock: Clock, ring: keys.KeyRing
) -> AsyncIterator[RedisSessions]:
    store = RedisSessions(
        redis, lambda: ring, clock=lambda: clock.wall, monotonic=lambda: clock.steady
    )
    yield store
    with contextlib.suppress(RuntimeError):
        await store.touches.close()


def tenant(
    name: str = "acme", *, idle_s: int = 1800, absolute_s: int = 43200, max_per_user: int = 20
) -> Tenant:
    provider = Provider(
        f"{name}-okta",
        ProviderKind.OKTA,
        "Okta",
        "https://idp.example",
        frozenset({"acme.test"}),
        EmailTrust.TENANT_IDP,
    )
    return Tenant(
        id=name,
        name=name,
        active=True,
        hosts=frozenset({HOST}),
        wildcards=frozenset(),
        email_domains=frozenset({"acme.test"}),
        allowed_groups=None,
        allowed_roles=None,
        client_id="client",
        client_secret=Secret("s"),
        scopes=("openid",),
        providers=(provider,),
        rules=(),
        shadow_rules=(),
        headers=(),
        session=SessionLimits(idle_s, absolute_s, max_per_user),
    )


def identity(
    name: str = "alice",
    *,
    groups: tuple[str, ...] = ("app-users", "admins"),
    provider: str = "acme-okta",
) -> Identity:
    return Identity(
        sub=f"sub-{name}",
        email=f"{name}@acme.test",
        email_domain="acme.test",
        username=f"{provider}_{name}",
        preferred_username=name,
        name=name.title(),
        groups=groups,
        roles=(),
        provider=provider,
        idp_subject=f"00u-{name}",
        oid=f"oid-{name}",
        claims=(("custom:department", "R&D"),),
    )


async def shown(
    sessions: RedisSessions, cookie: str, *, host: str = HOST, active_s: float | None = 0.0
) -> Session | None:
    """A request with this cookie."""
    session = await sessions.find(cookie, host=host)
    if session is not None:
        sessions.used(session, active_s=active_s)
    return session


def anybody(_: str) -> bool:
    """Every tenant is served."""
    return True


def pending(name: str = "acme", *, host: str = HOST) -> PendingLogin:
    return PendingLogin(
        tenant=name,
        provider=f"{name}-okta",
        host=host,
        return_to=f"https://{host}/",
        nonce="nonce",
        code_verifier="verifier",
        redirect_uri=f"https://{host}/_auth/callback",
        client_id="client",
    )


@dataclass(frozen=True)
class Login:
    """One login, from the clock value that it began with."""

    sessions: RedisSessions
    tenant: Tenant

    async def begin(self) -> int:
        begun = await self.sessions.start_login(pending(self.tenant.id), binding=None)
        taken = await self.sessions.consume_login(
            begun.state.reveal(), bindings=(begun.binding.reveal(),)
        )
        assert isinstance(taken, LoginConsumed)
        SERVERS[taken.began] = taken.server
        return taken.began

    def new(self, began: int, **changes: object) -> NewSession:
        values: dict[str, object] = {
            "tenant": self.tenant,
            "host": HOST,
            "identity": identity(),
            "began": began,
            "server": SERVERS.get(began, ""),
            "auth_time": int(time.time()),
            "idp_iat": int(time.time()),
            "idp_iat_mapped": True,
            "client_id": "client",
            "refresh_token": Secret("refresh"),
            "user_agent": "Browser/1",
            "client": "2001:db8:85a3::8a2e:370:7334",
            "place": "Frankfurt am Main, DE",
            "prompted_for": HOST,
        }
        return NewSession(**(values | changes))  # type: ignore[arg-type]  # the table above has every field

    async def finish(self, **changes: object) -> SessionCreated:
        stored = await self.sessions.finish_login(self.new(await self.begin(), **changes))
        assert isinstance(stored, SessionCreated)
        return stored


@pytest.fixture
def login(sessions: RedisSessions) -> Login:
    return Login(sessions, tenant())
