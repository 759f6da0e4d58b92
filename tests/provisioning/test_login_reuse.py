"""Cognito's own sessions: where the pool tracks them, its login cookie signs nobody in again, and a
revocation ends it. Where the pool does not, all is as without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from demo.cognito.pool import BrowserSession
from gateway.cognito.api import (
    CognitoApi,
    CognitoRejectedError,
    UnansweredError,
    open_cognito,
)
from gateway.cognito.aws_error import try_credentials
from gateway.cognito.feature_plan import features_sentence, plan_of
from gateway.cognito.native_sessions import LoginCookies
from gateway.cognito.users import CognitoUsers
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunState
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cognito.pool import Pool
    from gateway.provisioning.service import Drift


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path, second="two") as started:
        for each in (started.cloud.cognito, *started.cloud.further_pools.values()):
            each.pool.session_tracking = True
        yield started


@pytest.fixture
def pool(bench: Bench) -> Pool:
    return bench.cloud.cognito.pool


async def verified(bench: Bench, *, fix: bool = False) -> Drift:
    drift = await bench.service.verify("initech", fix=fix, actor="test")
    assert drift is not None
    return drift


async def test_no_client_takes_the_login_cookie_whichever_way_it_was_made(
    bench: Bench, pool: Pool
) -> None:
    applied = await bench.apply()
    assert isinstance(applied, Done)
    (first,) = pool.clients
    assert pool.login_reuse == {first: 0}
    drift = await verified(bench)
    assert drift.clean
    assert "plan ESSENTIALS and tracks sessions" in drift.notes[0]
    # Somebody changes it in the console.
    pool.login_reuse[first] = 30
    (step,) = [s for s in (await verified(bench)).steps if s.does]
    assert [(d.setting, d.now, d.wanted) for d in step.differences] == [
        ("SSOSession.MaxValidityMinutes", 30, 0)
    ]
    fixed = (await verified(bench, fix=True)).fixed
    assert isinstance(fixed, Done)
    assert pool.login_reuse == {first: 0}
    # Taken back, it is as somebody had it.
    assert await bench.service.roll_back("initech", fixed.run) is RunState.ROLLED_BACK
    assert pool.login_reuse == {first: 30}
    await verified(bench, fix=True)
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    assert {pool.login_reuse[client] for client in pool.clients} == {0}
    move = bench.service.pool_move
    assert isinstance(await move.apply(await move.propose("initech", "two"), actor="test"), Done)
    second = bench.cloud.further_pools["two"].pool
    assert {second.login_reuse[client] for client in second.clients} == {0}


@pytest.mark.parametrize(
    "code",
    [
        "FeatureUnavailableInTierException",
        "OperationNotEnabledException",
        "AccessDeniedException",
        "UnknownOperationException",
    ],
)
async def test_what_cognito_refuses_of_it_fails_nothing(
    bench: Bench, pool: Pool, code: str
) -> None:
    refused = faults.fail(ApiError(code, "no"))
    bench.cloud.cognito.control.faults.plan(
        "SetUserPoolClientSessionConfiguration", refused, times=9
    )
    assert isinstance(await bench.apply(), Done)
    assert pool.login_reuse == {}
    assert [str(s.resource) for s in (await verified(bench)).steps if s.does] == ["login_reuse"]
    bench.cloud.cognito.control.faults.plan("GetUserPoolSessionConfiguration", refused, times=9)
    drift = await verified(bench)
    assert drift.clean
    assert f"does not say whether it tracks sessions ({code})" in drift.notes[0]


async def test_a_plan_says_that_the_pool_does_not_track_sessions(bench: Bench, pool: Pool) -> None:
    pool.session_tracking = False
    (note,) = (await bench.service.propose("initech", await bench.body(), update=False)).plan.notes
    assert "of plan ESSENTIALS, and it does not track sessions" in note
    assert "without asking the identity provider" in note
    await bench.apply()
    assert (await verified(bench)).notes == (note,)
    pool.behaviour.tier = "LITE"
    note, lacks = (await verified(bench)).notes
    assert "of plan LITE, and it cannot track sessions" in note
    assert lacks == features_sentence("LITE")


@pytest.mark.parametrize("tier", ["", "SOMETHING", None])
def test_a_plan_that_is_not_known_is_none(tier: str | None) -> None:
    assert plan_of({"UserPoolTier": tier}) == plan_of({}) == ""


@pytest.mark.parametrize(
    ("tier", "text"),
    [
        ("LITE", "; feature plan: Lite lacks managed login (version 2): the classic pages"),
        ("ESSENTIALS", "; feature plan: Essentials has managed login (version 2), refresh token "),
        ("PLUS", "the gateway uses nothing"),
    ],
)
async def test_the_check_of_the_configuration_says_which_plan_the_pool_has(
    bench: Bench, pool: Pool, tier: str, text: str
) -> None:
    pool.behaviour.tier = tier
    async with open_cognito(bench.config, pool="default", read_s=5, per_second=1000.0) as api:
        sentence = await try_credentials(api)
    assert text in sentence


async def test_a_call_that_nobody_answers_takes_the_run_back(bench: Bench, pool: Pool) -> None:
    bench.cloud.cognito.control.faults.plan(
        "SetUserPoolClientSessionConfiguration", faults.internal_error, times=9
    )
    assert isinstance(await bench.apply(), Failed)
    assert pool.clients == {}


async def test_a_revocation_ends_the_login_cookies_of_its_user_alone(
    bench: Bench, pool: Pool
) -> None:
    for name in ("acme-okta_1", "acme-okta_2"):
        pool.add_user(name, password="x")
        pool.sessions[name] = BrowserSession(name, "acme-okta", 1, began=pool.clock())
        pool.sessions[f"{name}-b"] = BrowserSession(name, "acme-okta", 1, began=pool.clock())
    api = bench.service.provisioning.pools.named("default").api
    users, control = CognitoUsers(api), bench.cloud.cognito.control
    assert await users.sign_out("acme-okta_1")
    assert set(pool.sessions) == {"acme-okta_2", "acme-okta_2-b"}
    assert {
        call.request.get("RevokeAssociatedSessions")
        for call in control.calls_of("AdminRevokeUserSession")
    } == {"LINKED"}
    # One that has ended meanwhile keeps no other.
    control.faults.plan(
        "AdminRevokeUserSession", faults.fail(ApiError("ResourceNotFoundException", "gone"))
    )
    assert await users.disable("acme-okta_2")
    assert len(pool.sessions) == 1
    assert not await users.sign_out("acme-okta_3")


async def test_a_pool_without_sessions_is_asked_again_a_quarter_of_an_hour_later(
    bench: Bench, pool: Pool
) -> None:
    pool.session_tracking = False
    pool.add_user("acme-okta_1", password="x")
    pool.sessions["c"] = BrowserSession("acme-okta_1", "acme-okta", 1, began=pool.clock())
    now = [0.0]
    api = bench.service.provisioning.pools.named("default").api
    cookies, control = LoginCookies(api, monotonic=lambda: now[0]), bench.cloud.cognito.control
    for _ in range(2):
        await cookies.end("acme-okta_1")
    assert len(control.calls_of("AdminListUserSessions")) == 1
    pool.session_tracking = True
    now[0] = 901.0
    control.faults.plan("AdminListUserSessions", faults.internal_error, times=9)
    with pytest.raises(UnansweredError):
        await cookies.end("acme-okta_1")
    control.faults.clear()
    await cookies.end("acme-okta_1")
    assert pool.sessions == {}


class Refusing:
    """Cognito's API: refuses the first user's list with ``code``."""

    def __init__(self, code: str) -> None:
        self.code, self.asked = code, list[str]()

    async def call(self, operation: str, *, idempotent: bool, **request: Any) -> dict[str, Any]:
        assert (operation, idempotent) == ("AdminListUserSessions", True)
        self.asked.append(request["Username"])
        if len(self.asked) == 1:
            raise CognitoRejectedError(self.code, "no")
        return {"Sessions": []}


@pytest.mark.parametrize(
    ("code", "repeated", "others"),
    [
        ("TooManyRequestsException", True, True),
        ("ConcurrentModificationException", True, True),
        ("InvalidParameterException", False, True),
        ("UserNotFoundException", False, True),
        ("OperationNotEnabledException", False, False),
        ("SomethingElseException", False, False),
    ],
)
async def test_what_cognito_says_of_one_user_keeps_the_cookies_of_nobody_else(
    code: str, *, repeated: bool, others: bool
) -> None:
    api = Refusing(code)
    cookies = LoginCookies(cast("CognitoApi", api), monotonic=lambda: 1.0)
    if repeated:
        with pytest.raises(UnansweredError, match=code):
            await cookies.end("one")
    else:
        await cookies.end("one")
    await cookies.end("two")
    assert api.asked == (["one", "two"] if others else ["one"])
