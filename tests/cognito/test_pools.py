"""Tokens of two user pools that have everything else in common: client ids, key ids, subjects.

The stand-in's second pool is as unkind as can be: what AWS draws at random is the same in both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from demo.cloud import DemoCloud
from demo.jose import SigningKey, TokenDraft
from gateway.cognito.endpoint import PoolAddress, PoolEndpoint, read_claimed
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.core.model import DEFAULT_POOL, AppClient, PendingLogin, Secret
from gateway.errors import PeerError, UnavailableError
from gateway.http.client import client_session
from tests.core.build import tenant
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.cognito.server import Cognito
    from gateway.core.model import Tenant

CLIENT = "the-same-in-both"
SUB = "5f0c1f9e-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class TwoPools:
    """``one`` is the pool ``default``, ``other`` the pool ``b``."""

    party: CognitoRelyingParty
    one: Cognito
    other: Cognito

    def token(self, pool: Cognito, client_id: str = CLIENT, **changes: Any) -> str:
        """An access token of a person, signed by the pool."""
        now = int(time.time())
        claims = {
            "sub": SUB,
            "iss": pool.issuer,
            "client_id": client_id,
            "token_use": "access",
            "scope": "openid",
            "auth_time": now,
            "iat": now,
            "exp": now + 600,
            "username": "acme-okta_00u1",
            **changes,
        }
        return TokenDraft("access", claims, pool.pool.keys[1]).sign()

    def id_token(self, pool: Cognito, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "sub": SUB,
            "iss": pool.issuer,
            "aud": CLIENT,
            "token_use": "id",
            "nonce": "n",
            "iat": now,
            "exp": now + 600,
            **changes,
        }
        return TokenDraft("id", claims, pool.pool.keys[0]).sign()


@pytest.fixture
async def pools() -> AsyncIterator[TwoPools]:
    async with (
        DemoCloud(people=False, new_key=spare_keys()) as first,
        DemoCloud(people=False, new_key=spare_keys()) as second,
        client_session(development=True) as http,
    ):
        one, other = first.cognito, second.cognito
        # AWS would have to draw the same 32 bytes twice.
        other.pool.keys = (
            SigningKey(one.pool.keys[0].kid, SigningKey.generate().private),
            SigningKey(one.pool.keys[1].kid, SigningKey.generate().private),
        )
        party = CognitoRelyingParty(
            http,
            {
                DEFAULT_POOL: PoolAddress(one.url, (one.issuer,)),
                "b": PoolAddress(other.url, (other.issuer,)),
            },
            clock=time.time,
            monotonic=time.monotonic,
        )
        yield TwoPools(party, one, other)


def lives_in(pool: str, **changes: Any) -> Tenant:
    return tenant(client_id=CLIENT, pool=pool, **changes)


def pending(pool: str, client_id: str = CLIENT) -> PendingLogin:
    return PendingLogin(
        "acme",
        "acme-okta",
        "app.acme.com",
        "https://app.acme.com/",
        "n",
        "verifier",
        "https://app.acme.com/_auth/callback",
        client_id,
        pool=pool,
    )


async def test_a_token_counts_for_tenants_of_its_own_pool_alone(pools: TwoPools) -> None:
    for home, away, name, elsewhere in (
        (pools.one, pools.other, DEFAULT_POOL, "b"),
        (pools.other, pools.one, "b", DEFAULT_POOL),
    ):
        mine, theirs = lives_in(name), lives_in(elsewhere)
        found = await pools.party.verify_access_token(mine, pools.token(home))
        assert found is not None
        assert (found.pool, found.client_id, found.sub) == (name, CLIENT, SUB)
        assert await pools.party.verify_access_token(theirs, pools.token(home)) is None
        # The issuer of the tenant's pool, signed by the other: the key id is the same.
        forged = pools.token(away, iss=home.issuer)
        assert await pools.party.verify_access_token(mine, forged) is None


async def test_the_claims_of_an_id_token_are_read_once_where_its_key_is_in_memory(
    pools: TwoPools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is what a token costs beside its signature. An access token is read before, to choose
    the pool.
    """
    read: list[object] = []
    load = jwt.api_jws.PyJWS._load

    def counted(self: jwt.api_jws.PyJWS, token: str) -> Any:
        read.append(token)
        return load(self, token)

    monkeypatch.setattr(jwt.api_jws.PyJWS, "_load", counted)
    access = pools.token(pools.one)
    assert await pools.party.verify_access_token(lives_in(DEFAULT_POOL), access) is not None
    assert read == [access, access]
    token = pools.id_token(pools.one)
    claims = await pools.party.validate_id_token(
        token, access_token="", client_id=CLIENT, nonce="n", pool=DEFAULT_POOL
    )
    assert claims["sub"] == SUB
    assert read[2:] == [f"{token.split('.')[0]}..", token]


async def test_a_key_in_memory_speaks_for_its_own_issuer_alone(pools: TwoPools) -> None:
    """A pool with two issuers whose keys have the same ids."""
    one, other = pools.one, pools.other
    async with client_session(development=True) as http:
        endpoint = PoolEndpoint(
            http,
            PoolAddress(one.url, (one.issuer, other.issuer)),
            clock=time.time,
            monotonic=time.monotonic,
        )

        async def valid(token: str) -> bool:
            return await endpoint.verify(token, audience=CLIENT) is not None

        # First nothing is in memory, then one's keys, then the keys of both.
        for issuer in (one, one, other, one, other):
            assert await valid(pools.id_token(issuer))
            assert not await valid(pools.id_token(issuer, aud="somebody else"))
            assert not await valid(pools.id_token(issuer, exp=int(time.time()) - 600))
            assert not await valid(pools.id_token(one, iss=other.issuer))
            assert not await valid(pools.id_token(other, iss=one.issuer))
            assert not await valid(pools.id_token(one, iss="https://stranger.test"))


async def test_while_a_tenant_moves_each_client_counts_in_its_own_pool(pools: TwoPools) -> None:
    moving = lives_in("b", retired=(AppClient("former", Secret("s"), 1e12, DEFAULT_POOL),))
    assert moving.pools == ("b", DEFAULT_POOL)
    for pool, client_id, counts in (
        (pools.other, CLIENT, True),
        (pools.one, "former", True),
        (pools.one, CLIENT, False),
        (pools.other, "former", False),
        # A machine's, that a rule names: in both, until the move is over.
        (pools.one, "machine", True),
        (pools.other, "machine", True),
    ):
        found = await pools.party.verify_access_token(moving, pools.token(pool, client_id))
        assert (found is not None) is counts, (pool.issuer, client_id)
    moved = replace(moving, retired=())
    for client_id in (CLIENT, "former", "machine"):
        token = pools.token(pools.one, client_id)
        assert await pools.party.verify_access_token(moved, token) is None


async def test_an_id_token_counts_in_the_pool_where_the_login_began(pools: TwoPools) -> None:
    async def valid(token: str, pool: str) -> bool:
        try:
            await pools.party.validate_id_token(
                token, access_token="a", client_id=CLIENT, nonce="n", pool=pool
            )
        except PeerError as refused:
            return refused.code != "id_token_invalid"
        return True

    assert await valid(pools.id_token(pools.one), DEFAULT_POOL)
    assert await valid(pools.id_token(pools.other), "b")
    assert not await valid(pools.id_token(pools.one), "b")
    assert not await valid(pools.id_token(pools.other), DEFAULT_POOL)
    for named in (DEFAULT_POOL, "b"):
        # One pool's word in the other's name.
        assert not await valid(pools.id_token(pools.other, iss=pools.one.issuer), named)


async def test_a_login_ends_with_the_pool_it_was_begun_with(pools: TwoPools) -> None:
    """The tenant was taken to another pool meanwhile, and kept the name of its client."""
    for began, now in ((DEFAULT_POOL, "b"), ("b", DEFAULT_POOL)):
        with pytest.raises(PeerError) as refused:
            await pools.party.exchange(lives_in(now), pending(began), code="c")
        assert refused.value.code == "client_gone"


async def test_browsers_go_to_the_pool_of_the_client(pools: TwoPools) -> None:
    moving = lives_in("b", retired=(AppClient("former", Secret("s"), 1e12, DEFAULT_POOL),))
    url = pools.party.authorize_url(moving, pending("b"), state=Secret("s"))
    assert url.startswith(f"{pools.other.url}/oauth2/authorize?")
    began = pools.party.authorize_url(moving, pending(DEFAULT_POOL, "former"), state=Secret("s"))
    assert began.startswith(f"{pools.one.url}/oauth2/authorize?")
    for client_id, url in (
        (CLIENT, f"{pools.other.url}/logout?client_id={CLIENT}&"),
        ("former", f"{pools.one.url}/logout?client_id=former&"),
        ("", f"{pools.other.url}/logout?client_id={CLIENT}&"),
        ("nobody's", f"{pools.other.url}/logout?client_id={CLIENT}&"),
    ):
        found = pools.party.logout_url(moving, logout_uri="https://x.test/", client_id=client_id)
        assert found.startswith(url)


async def test_a_pool_that_this_process_does_not_know_is_an_outage(pools: TwoPools) -> None:
    away = lives_in("c")
    with pytest.raises(UnavailableError):
        pools.party.authorize_url(away, pending("c"), state=Secret("s"))
    with pytest.raises(UnavailableError):
        await pools.party.verify_access_token(away, pools.token(pools.one))
    with pytest.raises(UnavailableError):
        await pools.party.refresh(away, Secret("t"), client_id=CLIENT)
    with pytest.raises(UnavailableError):
        await pools.party.revoke(away, Secret("t"), client_id=CLIENT)


@pytest.mark.parametrize(
    "token",
    ["", "a", "a.b.c", "e30.e30.e30", "e30.W10.", "e30." + "W1tb" * 40_000 + ".", "x" * 70_000],
    ids=["empty", "word", "no base64", "no issuer", "list", "deep", "long"],
)
def test_what_is_no_token_names_no_issuer(token: str) -> None:
    assert read_claimed(token).issuer == ""
