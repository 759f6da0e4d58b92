"""Faults before and after the effect, rates, policy and signature (facts §3, §8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError, HTTPClientError, ReadTimeoutError

from demo.cloud import POOL_ID, DemoCloud
from demo.cognito.control import faults
from tests.demo.aws import CLIENT, control_plane, refused

if TYPE_CHECKING:
    from demo.clock import MovableClock
    from tests.demo.relying_party import RelyingParty


async def test_planned_faults_strike_before_or_after_the_effect(cloud: DemoCloud, aws: Any) -> None:
    control = cloud.cognito.control
    control.faults.plan("CreateUserPoolClient", faults.throttle)
    control.faults.plan("CreateUserPoolClient", faults.internal_error, after=True)
    create = {"UserPoolId": POOL_ID, **CLIENT}
    assert (await refused(aws.create_user_pool_client(**create)))[0] == "TooManyRequestsException"
    assert cloud.cognito.pool.clients == {}
    assert (await refused(aws.create_user_pool_client(**create)))[0] == "InternalErrorException"
    assert len(cloud.cognito.pool.clients) == 1
    await aws.create_user_pool_client(**create)
    assert [call.outcome for call in control.calls_of("CreateUserPoolClient")] == [
        "TooManyRequestsException",
        "InternalErrorException",
        "ok",
    ]


async def test_lost_answer_leaves_the_effect_behind(cloud: DemoCloud, aws: Any) -> None:
    cloud.cognito.control.faults.plan("CreateUserPoolClient", faults.drop_connection, after=True)
    with pytest.raises((HTTPClientError, EndpointConnectionError)):
        await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT)
    assert len(cloud.cognito.pool.clients) == 1
    assert cloud.cognito.control.calls[-1].outcome == "lost"


async def test_hanging_call_times_out_at_the_caller(cloud: DemoCloud) -> None:
    release = asyncio.Event()
    cloud.cognito.control.faults.plan("DescribeUserPool", faults.hang(release))
    async with control_plane(cloud, read_timeout=0.2) as impatient:
        with pytest.raises(ReadTimeoutError):
            await impatient.describe_user_pool(UserPoolId=POOL_ID)
    release.set()


async def test_rates_are_enforced_per_operation_and_second(
    cloud: DemoCloud, aws: Any, clock: MovableClock
) -> None:
    cloud.cognito.control.rates_enforced = True
    frozen = clock()
    cloud.cognito.pool.clock = lambda: frozen
    for _ in range(5):
        await aws.describe_user_pool(UserPoolId=POOL_ID)
    assert (await refused(aws.describe_user_pool(UserPoolId=POOL_ID)))[
        0
    ] == "TooManyRequestsException"
    await aws.list_user_pool_clients(UserPoolId=POOL_ID)
    cloud.cognito.pool.clock = lambda: frozen + 1
    await aws.describe_user_pool(UserPoolId=POOL_ID)


async def test_policy_and_signature_are_asked_for(
    cloud: DemoCloud, aws: Any, app: RelyingParty
) -> None:
    cloud.cognito.control.allowed_operations = frozenset({"DescribeUserPool"})
    await aws.describe_user_pool(UserPoolId=POOL_ID)
    code, message = await refused(aws.list_users(UserPoolId=POOL_ID))
    assert code == "AccessDeniedException" and "cognito-idp:ListUsers" in message
    status, _ = await app.post("/", {})
    assert status == 400
