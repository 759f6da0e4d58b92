"""A refresh against the demo Cognito: it rotates, it refuses whom it does not know any more, and
being down is not a refusal.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.cloud import POOL_ID
from gateway.cognito.endpoint import PoolAddress
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.core.model import DEFAULT_POOL, AppClient, Secret
from gateway.errors import PeerError, UnavailableError
from gateway.http.client import client_session
from tests.demo.conftest import app, aws, clock, cloud, person
from tests.sessions.conftest import tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from demo.cloud import DemoCloud
    from gateway.core.model import Tenant
    from tests.demo.relying_party import RelyingParty
    from tests.support.browserless import Person

__all__ = ["app", "aws", "clock", "cloud", "person"]


@pytest.fixture
async def cognito(cloud: DemoCloud) -> AsyncIterator[CognitoRelyingParty]:
    async with client_session(development=True) as http:
        yield CognitoRelyingParty(
            http,
            {DEFAULT_POOL: PoolAddress(cloud.cognito.url, (cloud.cognito.url,))},
            clock=time.time,
            monotonic=time.monotonic,
        )


def client_of(app: RelyingParty) -> Tenant:
    return replace(
        tenant(), client_id=app.client.client_id, client_secret=Secret(app.client.secret or "")
    )


async def test_a_token_is_honoured_until_the_person_is_disabled(
    cognito: CognitoRelyingParty, app: RelyingParty, person: Person, aws: Any
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    token = Secret(tokens["refresh_token"])
    successor = await cognito.refresh(client_of(app), token, client_id=app.client.client_id)
    current = successor or token
    username = app.verified(tokens["id_token"])["cognito:username"]
    await aws.admin_disable_user(UserPoolId=POOL_ID, Username=username)
    with pytest.raises(PeerError) as refused:
        await cognito.refresh(client_of(app), current, client_id=app.client.client_id)
    assert refused.value.code == "invalid_grant"


async def test_a_wrong_secret_is_not_a_refusal_of_the_person(
    cognito: CognitoRelyingParty, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    with pytest.raises(PeerError) as refused:
        await cognito.refresh(
            replace(client_of(app), client_secret=Secret("wrong")),
            Secret(tokens["refresh_token"]),
            client_id=app.client.client_id,
        )
    assert refused.value.code == "invalid_client"


async def test_nobody_there_is_not_a_refusal_of_the_person() -> None:
    async with client_session(development=True) as http:
        nowhere = CognitoRelyingParty(
            http,
            {DEFAULT_POOL: PoolAddress("http://127.0.0.1:1", ("http://127.0.0.1:1",))},
            clock=time.time,
            monotonic=time.monotonic,
        )
        with pytest.raises(UnavailableError):
            await nowhere.refresh(tenant(), Secret("token"), client_id=tenant().client_id)


async def test_a_token_of_a_replaced_client_goes_with_that_clients_secret(
    cognito: CognitoRelyingParty, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    old = AppClient(app.client.client_id, Secret(app.client.secret or ""), retires_at=1.0)
    rotated = replace(
        tenant(), client_id="thenewone", client_secret=Secret("its secret"), retired=(old,)
    )
    successor = await cognito.refresh(
        rotated, Secret(tokens["refresh_token"]), client_id=old.client_id
    )
    await cognito.revoke(
        rotated, successor or Secret(tokens["refresh_token"]), client_id=old.client_id
    )
    with pytest.raises(PeerError) as refused:
        await cognito.refresh(
            rotated, successor or Secret(tokens["refresh_token"]), client_id=old.client_id
        )
    assert refused.value.code == "invalid_grant"


async def test_a_token_of_a_client_that_is_gone_is_sent_nowhere(
    cognito: CognitoRelyingParty,
) -> None:
    for ask in (cognito.refresh, cognito.revoke):
        with pytest.raises(PeerError) as refused:
            await ask(tenant(), Secret("token"), client_id="gone")
        assert refused.value.code == "client_gone"
