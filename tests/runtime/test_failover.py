"""A user pool that is failed over to its secondary region: where logins, token requests and changes
go.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from demo.cloud import DemoCloud
from demo.jose import SigningKey, TokenDraft
from gateway.background import background_task
from gateway.cognito.endpoint import PoolAddress
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.config.user_pools import UserPool
from gateway.core.model import AppClient, PendingLogin, Secret
from gateway.errors import UnavailableError
from gateway.http.client import client_session
from gateway.metrics import REGISTRY
from gateway.runtime.failover import AutomaticFailover, domain_answers
from gateway.sessions.pool_failover import KEY, FailoverView, PoolFailovers
from tests.core.build import tenant
from tests.sessions.conftest import redis, ring
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.sessions.connection import RedisClient

__all__ = ["redis", "ring"]

CLIENT = "client-of-acme"


def pool(**secondary: Any) -> UserPool:
    return UserPool.model_validate(
        {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_AbCdEfGhI",
            "domain": "https://primary.test",
            "secondary": {
                "region": "eu-west-1",
                "domain": "https://secondary.test",
                **secondary,
            },
        }
    )


def pending() -> PendingLogin:
    return PendingLogin(
        "acme",
        "acme-okta",
        "app.acme.com",
        "https://app.acme.com/",
        "n",
        "verifier",
        "https://app.acme.com/_auth/callback",
        CLIENT,
        pool="default",
    )


class Replicated:
    """Two stand-ins, one for each region, and what was asked of which."""

    def __init__(self, party: CognitoRelyingParty, first: DemoCloud, second: DemoCloud) -> None:
        self.party, self.first, self.second = party, first, second
        self.over: set[str] = set()

    def token(self, cloud: DemoCloud, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "sub": "5f0c1f9e-0000-4000-8000-000000000001",
            "iss": cloud.cognito.issuer,
            "client_id": CLIENT,
            "token_use": "access",
            "scope": "openid",
            "auth_time": now,
            "iat": now,
            "exp": now + 600,
            **changes,
        }
        return TokenDraft("access", claims, cloud.cognito.pool.keys[1]).sign()


@pytest.fixture
async def replicated() -> AsyncIterator[Replicated]:
    async with (
        DemoCloud(people=False, new_key=spare_keys()) as first,
        DemoCloud(people=False, new_key=spare_keys()) as second,
        client_session(development=True) as http,
    ):
        for cloud in (first, second):
            # Key ids say nothing: they are the same in both.
            cloud.cognito.pool.keys = (
                SigningKey("1", SigningKey.generate().private),
                SigningKey("2", SigningKey.generate().private),
            )
        made: list[Replicated] = []
        party = CognitoRelyingParty(
            http,
            {
                "default": PoolAddress(
                    first.cognito.url,
                    (first.cognito.issuer, second.cognito.issuer),
                    second.cognito.url,
                )
            },
            clock=time.time,
            monotonic=time.monotonic,
            failed_over=lambda name: name in made[0].over,
        )
        made.append(Replicated(party, first, second))
        yield made[0]


async def test_logins_and_token_requests_go_where_the_pool_is_served(
    replicated: Replicated,
) -> None:
    acme = tenant(client_id=CLIENT)
    first, second = replicated.first.cognito.url, replicated.second.cognito.url

    def places() -> list[str]:
        return [
            replicated.party.authorize_url(acme, pending(), state=Secret("s")),
            replicated.party.logout_url(acme, logout_uri="https://app.acme.com/"),
        ]

    assert all(url.startswith(f"{first}/") for url in places())
    replicated.over.add("default")
    assert all(url.startswith(f"{second}/") for url in places())
    replicated.over.clear()
    assert all(url.startswith(f"{first}/") for url in places())


async def test_a_token_of_either_region_counts_with_its_own_keys_only(
    replicated: Replicated,
) -> None:
    acme = tenant(client_id=CLIENT)
    for over in (False, True):
        replicated.over = {"default"} if over else set()
        for cloud, other in (
            (replicated.first, replicated.second),
            (replicated.second, replicated.first),
        ):
            verify = replicated.party.verify_access_token
            assert await verify(acme, replicated.token(cloud)) is not None
            forged = replicated.token(cloud, iss=other.cognito.issuer)
            assert await verify(acme, forged) is None


async def test_a_refresh_goes_to_the_secondary_and_a_revocation_to_the_primary(
    replicated: Replicated,
) -> None:
    """Whether a replica revokes is not documented."""
    from gateway.errors import PeerError

    acme = tenant(client_id=CLIENT, retired=(AppClient("former", Secret("s"), 1e12, "default"),))
    asked: list[str] = []

    class Http:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            inner = getattr(self._inner, name)

            def ask(*words: Any, **more: Any) -> Any:
                asked.append(next(str(w) for w in words if str(w).startswith("http")))
                return inner(*words, **more)

            return ask

    replicated.party._client = cast("Any", Http(replicated.party._client))
    replicated.over.add("default")
    with pytest.raises((PeerError, UnavailableError)):
        await replicated.party.refresh(acme, Secret("r"), client_id=CLIENT)
    with pytest.raises((PeerError, UnavailableError)):
        await replicated.party.revoke(acme, Secret("r"), client_id=CLIENT)
    assert asked == [
        f"{replicated.second.cognito.url}/oauth2/token",
        f"{replicated.first.cognito.url}/oauth2/revoke",
    ]


async def test_every_process_follows_what_an_operator_says(redis: RedisClient) -> None:
    failovers = PoolFailovers(redis, clock=lambda: 1234.5)
    view = FailoverView(failovers, ("default",))
    await view.look()
    assert not view.is_over("default")
    made = await failovers.begin("default", by="key:ops")
    assert (made.since, made.by) == (1234.5, "key:ops")
    again = await PoolFailovers(redis, clock=lambda: 9.0).begin("default", by="automatic")
    assert again == made, "who said it first is kept"
    await failovers.begin("elsewhere", by="key:ops")
    await view.look()
    assert view.is_over("default")
    assert not view.is_over("elsewhere"), "a pool without a secondary is failed over nowhere"
    value = REGISTRY.get_sample_value("gateway_pool_failed_over", {"pool": "default"})
    assert value == 1.0
    assert await failovers.end("default", by="key:ops")
    assert not await failovers.end("default", by="key:ops")
    await view.look()
    assert not view.is_over("default")
    await redis.command("DEL", KEY)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"since": "x", "by": "y"}'])
async def test_a_word_of_another_format_was_never_said(redis: RedisClient, text: str) -> None:
    failovers = PoolFailovers(redis, clock=lambda: 1.0)
    await redis.command("HSET", KEY, "default", text)
    await failovers.begin("other", by="key:ops")
    assert list(await failovers.read()) == ["other"]
    await redis.command("DEL", KEY)


async def test_what_cannot_be_read_changes_nothing() -> None:
    answers: list[Any] = [{b"default": b'{"since": 1, "by": "x"}'}]

    async def command(*_words: Any) -> Any:
        if not answers:
            msg = "Redis: does not answer"
            raise UnavailableError(msg)
        return answers.pop()

    link = cast("RedisClient", SimpleNamespace(command=command))
    view = FailoverView(PoolFailovers(link, clock=time.time), ("default",))
    await view.look()
    with pytest.raises(UnavailableError):
        await view.look()
    assert view.is_over("default")


class Said:
    """``PoolFailovers`` in memory."""

    def __init__(self) -> None:
        self.over: dict[str, str] = {}

    async def read(self) -> dict[str, str]:
        return self.over

    async def begin(self, name: str, *, by: str) -> None:
        self.over[name] = by


class Watched:
    def __init__(self, **secondary: Any) -> None:
        self.now, self.leads, self.up = (
            0.0,
            True,
            {"https://primary.test", "https://secondary.test"},
        )
        self.said = Said()

        async def answers(domain: str) -> bool:
            return domain in self.up

        async def leads() -> bool:
            return self.leads

        self.automatic = AutomaticFailover(
            {"default": pool(**secondary)},
            cast("Any", self.said),
            answers,
            leads,
            monotonic=lambda: self.now,
        )

    async def after(self, seconds: float) -> dict[str, str]:
        self.now += seconds
        await self.automatic.look()
        return self.said.over


async def test_without_the_operators_wish_nothing_fails_over_by_itself() -> None:
    watched = Watched()
    watched.up.discard("https://primary.test")
    assert await watched.after(0) == {}
    assert await watched.after(86_400) == {}


async def test_a_pool_fails_over_when_its_primary_has_been_out_for_so_long() -> None:
    watched = Watched(automatic_after="1m")
    watched.up.discard("https://primary.test")
    assert await watched.after(0) == {}
    assert await watched.after(59) == {}
    watched.up.add("https://primary.test")
    assert await watched.after(1) == {}
    watched.up.discard("https://primary.test")
    assert await watched.after(1) == {}, "it answered meanwhile: the time begins anew"
    assert await watched.after(59) == {}
    watched.leads = False
    assert await watched.after(2) == {}, "another process looks"
    watched.leads = True
    assert await watched.after(0) == {}
    watched.up.discard("https://secondary.test")
    assert await watched.after(61) == {}, "there is nowhere to go"
    watched.up.add("https://secondary.test")
    assert await watched.after(1) == {"default": "automatic"}
    watched.up.add("https://primary.test")
    assert await watched.after(86_400) == {"default": "automatic"}, "an operator fails it back"


async def test_an_outage_before_an_operators_failover_counts_for_nothing_afterwards() -> None:
    watched = Watched(automatic_after="5m")
    watched.up.discard("https://primary.test")
    assert await watched.after(0) == {}
    watched.said.over["default"] = "key:1"
    await watched.after(10)
    watched.up.add("https://primary.test")
    watched.said.over.clear()
    watched.up.discard("https://primary.test")
    assert await watched.after(7200) == {}, "one failed look is no outage"
    assert await watched.after(299) == {}
    assert await watched.after(1) == {"default": "automatic"}


async def test_what_was_not_looked_at_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(automatic_after="1m")
    watched.up.discard("https://primary.test")
    assert await watched.after(0) == {}
    looked = asyncio.Event()

    async def unread() -> dict[str, str]:
        looked.set()
        raise UnavailableError("Redis is away")

    monkeypatch.setattr(watched.said, "read", unread)
    async with background_task(watched.automatic.run()):
        await asyncio.wait_for(looked.wait(), 10)
        monkeypatch.undo()
        watched.now += 3600
        assert watched.automatic.out_since == {}
        assert await watched.after(0) == {}


async def test_a_domain_answers_unless_it_errs_or_is_silent(replicated: Replicated) -> None:
    async with client_session(development=True) as http:
        assert await domain_answers(http, replicated.first.cognito.url)
        assert not await domain_answers(http, "http://127.0.0.1:9")


async def test_readiness_says_that_a_pool_is_failed_over(replicated: Replicated) -> None:
    from gateway.runtime.dependencies import probe_cognito

    first, second = replicated.first.cognito, replicated.second.cognito
    here = UserPool.model_validate(
        {
            "region": "eu-north-1",
            "user_pool_id": first.pool.pool_id,
            "domain": first.url,
            "issuer": first.issuer,
            "secondary": {
                "region": "eu-west-1",
                "domain": second.url,
                "issuer": second.issuer,
            },
        }
    )
    config = cast("Any", SimpleNamespace(cognito=SimpleNamespace(all_pools={"default": here})))
    async with client_session(development=True) as http:
        assert (await probe_cognito(config, http)).ok
        over = await probe_cognito(config, http, lambda _pool: True)
        assert not over.ok
        assert not over.needed
        assert over.detail.startswith("default is failed over to eu-west-1: discovery of")
        gone = here.model_copy(
            update={
                "secondary": here.secondary
                and here.secondary.model_copy(update={"issuer": "http://127.0.0.1:9"})
            }
        )
        config.cognito.all_pools["default"] = gone
        assert not (await probe_cognito(config, http)).ok, "before it is needed"
