"""A client whose secret Cognito exchanges by itself: whichever of two it takes, and whenever, no
login and no session is lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from demo.cognito.control.clients import publish_secret
from gateway.cognito.endpoint import PoolAddress
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.cognito.password_login import PasswordAccepted, PasswordLogin, PasswordRefused
from gateway.core.authorization import Basic
from gateway.core.model import DEFAULT_POOL, AppClient, PendingLogin, RotatedSecret, Secret
from gateway.core.reason import Reason
from gateway.errors import PeerError, UnavailableError
from gateway.http.client import client_session
from gateway.tenants.stale_secrets import IN_VAIN_S, STALE, NewerSecrets, take_stale, tell_stale
from tests.demo.conftest import app, aws, clock, cloud, person
from tests.demo.relying_party import query
from tests.sessions.conftest import tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from gateway.core.model import Tenant
    from tests.demo.relying_party import RelyingParty
    from tests.support.browserless import Person

__all__ = ["app", "aws", "clock", "cloud", "person"]


@dataclass
class Heard:
    """What this process was told, and the newer client that it is about to hear of."""

    told: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    following: AppClient | None = None

    async def tell_stale(self, client_id: str) -> None:
        self.told.append(client_id)

    async def newer(self, tenant: str, client: AppClient) -> AppClient | None:
        self.waited.append(f"{tenant} {client.client_id}")
        return self.following


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def cognito(cloud: DemoCloud, heard: Heard) -> AsyncIterator[CognitoRelyingParty]:
    async with client_session(development=True) as http:
        yield CognitoRelyingParty(
            http,
            {DEFAULT_POOL: PoolAddress(cloud.cognito.url, (cloud.cognito.issuer,))},
            clock=cloud.cognito.pool.clock,
            monotonic=time.monotonic,
            secrets=heard,
        )


@pytest.fixture
def known(cloud: DemoCloud, app: RelyingParty) -> AppClient:
    """The client as it is known here: Secrets Manager keeps its secret."""
    found = publish_secret(cloud.cognito.pool, app.client)
    app.client = found
    return AppClient(
        found.client_id, Secret(found.secret or ""), rotated=RotatedSecret(found.secret_arn)
    )


def of(client: AppClient) -> Tenant:
    return replace(
        tenant(),
        client_id=client.client_id,
        client_secret=client.client_secret,
        rotated=client.rotated,
    )


def exchanged(cloud: DemoCloud, known: AppClient, *, known_here: bool) -> AppClient:
    """Cognito does it; whether this process has heard of it."""
    found = cloud.cognito.pool.exchange_secret(known.client_id)
    assert known.rotated is not None
    if not known_here:
        return known
    return replace(
        known,
        client_secret=Secret(found.secret or ""),
        rotated=RotatedSecret(known.rotated.arn, known.client_secret),
    )


async def pending(
    cognito: CognitoRelyingParty, app: RelyingParty, person: Person, client: AppClient
) -> tuple[PendingLogin, str]:
    """A login that has come back from Cognito, and its code."""
    page = await person.log_in(app.authorize_url(), "alice@acme.test")
    begun = PendingLogin(
        tenant=tenant().id,
        provider="acme-okta",
        host="app.localhost",
        return_to="http://app.localhost/",
        nonce="nonce-1",
        code_verifier=app.verifier,
        redirect_uri=app.callback,
        client_id=client.client_id,
    )
    return begun, query(page)["code"]


@pytest.mark.parametrize("before_counts", [True, False])
async def test_a_login_survives_an_exchange_that_nobody_here_has_heard_of(
    cloud: DemoCloud,
    cognito: CognitoRelyingParty,
    app: RelyingParty,
    person: Person,
    known: AppClient,
    heard: Heard,
    *,
    before_counts: bool,
) -> None:
    cloud.cognito.pool.behaviour.secret_before_counts = before_counts
    begun, code = await pending(cognito, app, person, known)
    heard.following = exchanged(cloud, known, known_here=True)
    tokens = await cognito.exchange(of(known), begun, code=code)
    assert tokens.claims["email"] == "alice@acme.test"
    assert heard.told == ([] if before_counts else [known.client_id])
    assert heard.waited == ([] if before_counts else [f"{tenant().id} {known.client_id}"])


async def test_a_login_that_no_newer_secret_comes_for_fails_and_says_why(
    cloud: DemoCloud,
    cognito: CognitoRelyingParty,
    app: RelyingParty,
    person: Person,
    known: AppClient,
) -> None:
    cloud.cognito.pool.behaviour.secret_before_counts = False
    begun, code = await pending(cognito, app, person, known)
    later = exchanged(cloud, known, known_here=True)
    with pytest.raises(PeerError) as refused:
        await cognito.exchange(of(known), begun, code=code)
    assert refused.value.code == "invalid_client"
    # The code is good still: who asks again is let in.
    await cognito.exchange(of(later), begun, code=code)


async def test_a_new_secret_that_cognito_does_not_take_yet_costs_nothing(
    cloud: DemoCloud,
    clock: MovableClock,
    cognito: CognitoRelyingParty,
    app: RelyingParty,
    person: Person,
    known: AppClient,
    heard: Heard,
) -> None:
    behaviour = cloud.cognito.pool.behaviour
    behaviour.new_secret_after_s, behaviour.secret_before_counts = 60.0, False
    begun, code = await pending(cognito, app, person, known)
    now = exchanged(cloud, known, known_here=True)
    tokens = await cognito.exchange(of(now), begun, code=code)
    assert tokens.refresh_token is not None
    token = tokens.refresh_token
    token = await cognito.refresh(of(now), token, client_id=now.client_id) or token
    assert heard.waited == []
    clock.advance(61)
    heard.told.clear()
    await cognito.refresh(of(now), token, client_id=now.client_id)
    assert heard.told == []


async def test_a_refresh_and_a_revocation_are_put_off_until_the_secret_is_known(
    cloud: DemoCloud,
    cognito: CognitoRelyingParty,
    app: RelyingParty,
    person: Person,
    known: AppClient,
    heard: Heard,
) -> None:
    cloud.cognito.pool.behaviour.secret_before_counts = False
    token = Secret((await app.log_in(person, "alice@acme.test"))["refresh_token"])
    later = exchanged(cloud, known, known_here=True)
    for call in (cognito.refresh, cognito.revoke):
        with pytest.raises(UnavailableError, match="neither the client secret nor the one before"):
            await call(of(known), token, client_id=known.client_id)
    assert heard.told == [known.client_id] * 2
    assert heard.waited == [], "nobody waits for these"
    await cognito.refresh(of(later), token, client_id=known.client_id)
    await cognito.revoke(of(later), token, client_id=known.client_id)
    with pytest.raises(PeerError) as refused:
        await cognito.refresh(of(later), token, client_id=known.client_id)
    assert refused.value.code == "invalid_grant"


async def test_the_secret_of_another_client_is_tried_once(
    cognito: CognitoRelyingParty, app: RelyingParty, heard: Heard
) -> None:
    client = AppClient(app.client.client_id, Secret("wrong"))
    with pytest.raises(PeerError):
        await cognito.refresh(of(client), Secret("t"), client_id=client.client_id)
    with pytest.raises(PeerError):
        await cognito.revoke(of(client), Secret("t"), client_id=client.client_id)
    assert heard == Heard()


@pytest.mark.parametrize("before_counts", [True, False])
async def test_a_password_is_checked_with_the_secret_that_cognito_takes(
    cloud: DemoCloud, heard: Heard, *, before_counts: bool
) -> None:
    pool = cloud.cognito.pool
    pool.behaviour.secret_before_counts = before_counts
    pool.add_user("bob", password="Right-Horse-9")
    made = cloud.add_client(
        "passwords",
        providers=[],
        callback_urls=[],
        logout_urls=[],
        ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
    )
    found = publish_secret(pool, made)
    known = AppClient(
        found.client_id, Secret(found.secret or ""), rotated=RotatedSecret(found.secret_arn)
    )

    async def verify(*_: str) -> dict[str, object]:
        return {"token_use": "id"}

    async with client_session(development=True) as http:
        login = PasswordLogin(http, {DEFAULT_POOL: cloud.cognito.endpoint_url}, verify, heard)
        right, wrong = Basic("bob", "Right-Horse-9"), Basic("bob", "wrong")
        later = exchanged(cloud, known, known_here=True)
        answer = await login(known, right)
        if before_counts:
            assert isinstance(answer, PasswordAccepted)
        else:
            # Nothing is said of the person, and nothing is remembered of it.
            assert isinstance(answer, PasswordRefused)
            assert answer.reason is Reason.COGNITO_UNAVAILABLE
            assert heard.told == [known.client_id]
        assert isinstance(await login(later, right), PasswordAccepted)
        refused = await login(later, wrong)
        assert isinstance(refused, PasswordRefused)
        assert refused.reason is Reason.POOL_PASSWORD_INVALID
        pool.behaviour.new_secret_after_s = 60.0
        assert isinstance(await login(later, right), PasswordAccepted), "with the one before"


# --- how a process tells it, and hears of it ----------------------------------------------------


class FakeRedis:
    def __init__(self) -> None:
        self.words: list[tuple[object, ...]] = []
        self.names: set[bytes] = set()
        self.down = False

    async def command(self, *words: str | bytes | int) -> Any:
        if self.down:
            raise UnavailableError
        self.words.append(words)
        match words:
            case ("SADD", key, str(name)):
                assert key == STALE
                self.names.add(name.encode())
            case ("SPOP", _, _):
                taken, self.names = self.names, set()
                return list(taken)
        return 1


class Table:
    def __init__(self, *tenants: Tenant) -> None:
        self.tenants = tenants

    def by_id(self, name: str) -> Tenant | None:
        return next((each for each in self.tenants if each.id == name), None)


@dataclass
class Tenants:
    """Serves the first table, and the next ones when it is waited for."""

    tables: list[Table]
    now: list[float]

    @property
    def table(self) -> Any:
        return self.tables[0]

    async def replaced(self, table: object, *, within_s: float) -> bool:
        if len(self.tables) > 1:
            self.tables.pop(0)
            return True
        self.now[0] += within_s
        return False


async def test_who_waits_gets_the_newer_client_and_who_waited_in_vain_does_not_wait_again() -> None:
    first = AppClient("a", Secret("1"), rotated=RotatedSecret("arn"))
    second = replace(first, client_secret=Secret("2"))
    other = replace(tenant(), id="other")
    now, redis = [0.0], FakeRedis()
    tenants = Tenants([Table(of(first)), Table(of(first), other), Table(of(second))], now)
    newer = NewerSecrets(redis, cast("Any", tenants), monotonic=lambda: now[0])
    for _ in range(3):
        await newer.tell_stale("a")
    assert [words[0] for words in redis.words] == ["SADD", "EXPIRE"]
    assert await newer.newer(tenant().id, first) == second
    assert await newer.newer(tenant().id, first) == second, "it is known by now"
    assert await newer.newer(tenant().id, second) is None
    waited = now[0]
    assert waited > 1
    assert await newer.newer(tenant().id, second) is None
    assert now[0] == waited, "it was waited for a moment ago"
    now[0] += IN_VAIN_S
    assert await newer.newer(tenant().id, second) is None
    assert now[0] > waited + IN_VAIN_S
    tenants.tables = [Table()]
    assert await newer.newer(tenant().id, second) is None
    redis.down = True
    await newer.tell_stale("a")


async def test_what_was_told_is_taken_once() -> None:
    redis = FakeRedis()
    for name in ("a", "b", "a"):
        await tell_stale(redis, name)
    assert await take_stale(redis) == {"a", "b"}
    assert await take_stale(redis) == frozenset()
