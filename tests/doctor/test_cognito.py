"""``gateway doctor cognito`` against the stand-in, with each answer switched both ways."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from demo.cognito.control.clients import publish_secret
from demo.cognito.control.errors import ApiError
from gateway.cli import run
from gateway.cognito.api import OPERATIONS, UnansweredError, open_cognito
from gateway.cognito.client_secrets import ClientSecrets
from gateway.cognito.desired import ActualClient, WantedPasswordClient
from gateway.cognito.password_login import PasswordRefused
from gateway.cognito.shapes import client_settings
from gateway.core.model import Secret
from gateway.core.reason import Reason
from gateway.doctor.client_findings import refused_secret
from gateway.doctor.cognito_findings import TRIAL_PREFIX, Verdict
from gateway.doctor.cognito_login import PATH, LoginTrial
from gateway.doctor.cognito_pool import PoolDoctor
from gateway.http.client import client_session
from gateway.http.ssrf_guard import guarded_session
from tests.demo.conftest import clock, cloud, person
from tests.provisioning.bench import READ_S, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from gateway.config.model import Config
    from tests.support.browserless import Person

__all__ = ["clock", "cloud", "person"]
V, U, N = Verdict.VERIFIED, Verdict.UNEXPECTED, Verdict.UNCHECKED
WRITES = ("Create", "Update", "Delete", "Add", "Admin")


@pytest.fixture
def config(cloud: DemoCloud, tmp_path: Path) -> Config:
    cognito = cloud.cognito
    return config_for(
        tmp_path,
        endpoint_url=cognito.endpoint_url,
        domain=cognito.url,
        issuer=cognito.issuer,
        pool_id=cognito.pool.pool_id,
    )


@asynccontextmanager
async def doctor_of(config: Config) -> AsyncIterator[PoolDoctor]:
    async with (
        open_cognito(config, read_s=READ_S, per_second=1000.0) as api,
        client_session(development=True) as http,
        guarded_session(development=True) as guarded,
        ClientSecrets(endpoint_url=config.cognito.endpoint_url) as secrets,
    ):
        yield PoolDoctor(api, http, guarded, config, config.cognito, client_secrets=secrets)


async def read(config: Config) -> dict[str, tuple[Verdict, str]]:
    async with doctor_of(config) as doctor:
        await doctor.read()
        return {finding.name: (finding.verdict, finding.detail) for finding in doctor.findings}


async def test_a_pool_as_it_should_be_is_verified_and_nothing_is_written(
    cloud: DemoCloud, config: Config
) -> None:
    cloud.cognito.pool.behaviour.lists_begin_empty = True
    client()(cloud)
    cloud.add_client("somebody else", providers=[], callback_urls=[], logout_urls=[])
    found = await read(config)
    assert {name for name, (verdict, _) in found.items() if verdict is U} == set()
    assert {name for name, (verdict, _) in found.items() if verdict is N} == {
        "acme-okta: custom:idp_iat stored",
        "globex-entra: custom:idp_iat stored",
        "sessions of the pool",
    }
    assert {
        "feature plan",
        "attribute custom:groups",
        "required attributes",
        "issuer of the pool",
        "acme-okta: issuer",
        "acme-okta: iat",
        "client gateway-acme-1: rotation",
        "client gateway-acme-1: token validity",
        "app clients",
    } <= found.keys()
    assert not any("somebody else" in name for name in found)
    called = {call.operation for call in cloud.cognito.control.calls}
    assert not any(operation.startswith(WRITES) for operation in called)


def immutable(cloud: DemoCloud) -> None:
    cloud.cognito.pool.add_attribute("custom:groups", mutable=False)


def short(cloud: DemoCloud) -> None:
    cloud.cognito.pool.add_attribute("custom:groups", max_length=256)


def missing(cloud: DemoCloud) -> None:
    del cloud.cognito.pool.schema["custom:hd"]


def demanding(cloud: DemoCloud) -> None:
    cloud.cognito.pool.add_attribute("phone_number", required=True)


def without_case(cloud: DemoCloud) -> None:
    cloud.cognito.pool.case_sensitive = False


def lite(cloud: DemoCloud) -> None:
    cloud.cognito.pool.behaviour.tier = "LITE"


def nearly_full(cloud: DemoCloud) -> None:
    for number in range(270):
        cloud.cognito.pool.providers[f"p{number}"] = cloud.cognito.pool.providers["acme-okta"]


def setting(cloud: DemoCloud, member: str, name: str, value: str | None) -> None:
    settings: Any = cloud.cognito.pool.providers["acme-okta"].settings
    settings[member].pop(name, None)
    if value is not None:
        settings[member][name] = value


def unmapped(cloud: DemoCloud) -> None:
    setting(cloud, "AttributeMapping", "custom:idp_iat", None)


def slash(cloud: DemoCloud) -> None:
    issuer = cloud.customers["acme-okta"].issuer
    setting(cloud, "ProviderDetails", "oidc_issuer", f"{issuer}/")


def elsewhere(cloud: DemoCloud) -> None:
    issuer = cloud.customers["acme-okta"].issuer
    setting(cloud, "ProviderDetails", "oidc_issuer", f"{issuer}/oauth2/nobody")


def google(cloud: DemoCloud) -> None:
    setting(cloud, "AttributeMapping", "custom:hd", "hd")
    attributes = {"custom:idp_iat": "1796000000.5", "custom:hd": "acme.test"}
    cloud.cognito.pool.add_user("acme-okta_1", password="", **attributes)


def left_over(cloud: DemoCloud) -> None:
    cloud.add_client(f"{TRIAL_PREFIX}0", providers=[], callback_urls=[], logout_urls=[])


def client(**settings: Any) -> Callable[[DemoCloud], None]:
    def add(cloud: DemoCloud) -> None:
        cloud.add_client(
            "gateway-acme-1",
            providers=["acme-okta"],
            callback_urls=["http://localhost/cb"],
            logout_urls=["http://localhost/bye"],
            **settings,
        )

    return add


PASSWORDS = "client gateway-acme-1-passwords"


def tracking(minutes: int | None = None) -> Callable[[DemoCloud], None]:
    def change(cloud: DemoCloud) -> None:
        client()(cloud)
        pool = cloud.cognito.pool
        pool.session_tracking = True
        if minutes is not None:
            pool.login_reuse |= dict.fromkeys(pool.clients, minutes)

    return change


def refusing(operation: str) -> Callable[[DemoCloud], None]:
    def change(cloud: DemoCloud) -> None:
        cloud.cognito.control.allowed_operations = OPERATIONS - {operation}

    return change


def passwords(*, generate_secret: bool = True, **settings: Any) -> Callable[[DemoCloud], None]:
    def add(cloud: DemoCloud) -> None:
        wanted = client_settings(WantedPasswordClient(("email", "name"), ("email", "name")))
        empty = {"SupportedIdentityProviders", "CallbackURLs", "LogoutURLs"}
        made = {n: v for n, v in wanted.items() if n not in empty} | settings
        added = cloud.add_client(
            "gateway-acme-1-passwords", providers=[], callback_urls=[], logout_urls=[], **made
        )
        if not generate_secret:
            cloud.cognito.pool.clients[added.client_id] = replace(added, secret=None)

    return add


def other_words(cloud: DemoCloud) -> None:
    passwords()(cloud)
    refused = faults.fail(ApiError("NotAuthorizedException", "Something is not right."))
    cloud.cognito.control.faults.plan("InitiateAuth", refused)


def published(*, allowed: bool = True) -> Callable[[DemoCloud], None]:
    def change(cloud: DemoCloud) -> None:
        client()(cloud)
        pool = cloud.cognito.pool
        for each in list(pool.clients.values()):
            if each.name == "gateway-acme-1":
                publish_secret(pool, each)
        if not allowed:
            cloud.cognito.control.allowed_operations = OPERATIONS

    return change


def failing(cloud: DemoCloud) -> None:
    cloud.cognito.control.faults.plan("DescribeUserPool", faults.internal_error, times=3)


POOLS: dict[str, tuple[Callable[[DemoCloud], None], str, Verdict, str]] = {
    "immutable": (immutable, "attribute custom:groups", U, "create the pool again"),
    "short": (short, "attribute custom:groups", U, "2048"),
    "missing": (missing, "attribute custom:hd", U, "gateway provision adds it"),
    "a required attribute": (demanding, "required attributes", U, "acme-okta (phone_number)"),
    "ignores case": (without_case, "usernames", U, "cannot be changed"),
    "Lite": (lite, "feature plan", U, "Move the pool to Essentials"),
    "nearly full": (nearly_full, "identity providers", U, "cognito.quotas.providers"),
    "too many to describe": (nearly_full, "other identity providers", N, "the first 50 of 272"),
    "iat is not mapped": (unmapped, "acme-okta: iat", U, "Map it"),
    "a slash": (slash, "acme-okta: issuer", U, "only a slash differs"),
    "nobody there": (elsewhere, "acme-okta: issuer", N, "status 404"),
    "iat with a fraction": (google, "acme-okta: custom:idp_iat stored", U, "0 of 1"),
    "hd stored": (google, "acme-okta: custom:hd stored", V, "1 of 1"),
    "hd gone": (google, "acme-okta: hd when it is absent", N, "leaves its organization"),
    "left over": (left_over, "temporary app clients", U, "--provision"),
    "no rotation": (
        client(RefreshTokenRotation={"Feature": "DISABLED"}),
        "client gateway-acme-1: rotation",
        U,
        "is off",
    ),
    "a day": (
        client(AccessTokenValidity=1, TokenValidityUnits={"AccessToken": "days"}),
        "client gateway-acme-1: token validity",
        U,
        "1440 minutes",
    ),
    "unwritable": (
        client(WriteAttributes=["email"]),
        "client gateway-acme-1: attributes",
        U,
        "custom:groups",
    ),
    "unreadable": (
        client(ReadAttributes=["email"]),
        "client gateway-acme-1: attributes",
        U,
        "cannot read custom:groups",
    ),
    "sessions tracked": (
        tracking(),
        "sessions of the pool",
        V,
        "each login asks the identity provider",
    ),
    "cookie not taken": (tracking(0), "client gateway-acme-1: login cookie", V, "is not taken"),
    "cookie taken": (tracking(30), "client gateway-acme-1: login cookie", U, "for 30 minutes"),
    "end of a cookie": (tracking(0), "end of a login cookie", N, "sign in again at once"),
    "sessions refused": (
        refusing("GetUserPoolSessionConfiguration"),
        "sessions of the pool",
        N,
        "AccessDeniedException",
    ),
    "passwords": (passwords(), f"{PASSWORDS}: settings", V, "and nothing else"),
    "passwords, another flow": (
        passwords(ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]),
        f"{PASSWORDS}: settings",
        U,
        "takes ALLOW_REFRESH_TOKEN_AUTH, ALLOW_USER_PASSWORD_AUTH",
    ),
    "passwords, writes groups": (
        passwords(WriteAttributes=["email", "name", "custom:groups"]),
        f"{PASSWORDS}: settings",
        U,
        "writes attributes of the gateway",
    ),
    "passwords, a month": (
        passwords(RefreshTokenValidity=30, TokenValidityUnits={"RefreshToken": "days"}),
        f"{PASSWORDS}: settings",
        U,
        "more than 60 minutes",
    ),
    "passwords, a wrong secret": (
        passwords(),
        f"{PASSWORDS}: wrong client secret",
        V,
        "is told from a wrong password",
    ),
    "passwords, a wrong secret in other words": (
        other_words,
        f"{PASSWORDS}: wrong client secret",
        U,
        "looks like pool_password_invalid",
    ),
    "passwords, without a secret": (
        passwords(generate_secret=False),
        f"{PASSWORDS}: wrong client secret",
        N,
        "it has no client secret",
    ),
    "a secret elsewhere": (published(), "client gateway-acme-1: secret", V, "may read it"),
    "a secret that may not be read": (
        published(allowed=False),
        "client gateway-acme-1: secret",
        U,
        "secretsmanager:GetSecretValue",
    ),
    "no answer": (failing, "pool", N, "Cognito failed at DescribeUserPool"),
}


@pytest.mark.parametrize(("change", "name", "verdict", "said"), POOLS.values(), ids=POOLS.keys())
async def test_what_is_not_as_it_should_be_is_told_with_what_to_do(
    cloud: DemoCloud,
    config: Config,
    change: Callable[[DemoCloud], None],
    name: str,
    verdict: Verdict,
    said: str,
) -> None:
    change(cloud)
    found = await read(config)
    assert name in found, found
    assert found[name][0] is verdict and said in found[name][1], found[name]


@pytest.mark.parametrize("code", ["timeout", "TooManyRequestsException"])
def test_an_answer_that_is_about_no_secret_leaves_the_question_open(code: str) -> None:
    client = ActualClient("c", "gateway-acme-passwords", Secret("s"), {})
    outage = PasswordRefused(Reason.COGNITO_UNAVAILABLE, code, "no answer")
    finding = refused_secret(client, outage)
    assert finding.verdict is Verdict.UNCHECKED
    assert code in finding.detail


async def sign_in(
    config: Config, cloud: DemoCloud, clock: MovableClock, person: Person
) -> dict[str, Verdict]:
    """``--provision --login acme-okta``, and alice opens the address that it prints."""

    async def pass_time(seconds: float) -> None:
        clock.advance(seconds)

    with socket.create_server(("127.0.0.1", 0)) as bound:
        origin = f"http://localhost:{bound.getsockname()[1]}"
        async with doctor_of(config) as doctor:
            async with doctor.trial("acme-okta", origin + PATH) as trial:
                login = LoginTrial(
                    doctor.http, cloud.cognito.url, trial, "acme-okta", sleep=pass_time
                )
                running = asyncio.create_task(login.run(bound, within_s=30))
                page = await person.log_in(f"{origin}/", "alice@acme.test")
                assert "close this tab" in page.text
                doctor.findings += await running
            names = [c.name for c in cloud.cognito.pool.clients.values()]
            assert not any(name.startswith(TRIAL_PREFIX) for name in names), "it is deleted"
            return {finding.name: finding.verdict for finding in doctor.findings}


BARE, NAMED = "resumption without identity_provider", "resumption with identity_provider"
TIME, ROTATED = "auth_time of a resumed login", "refresh token rotation"
PLAN, IAT = "rotation in this plan", "login: iat"
AS_EXPECTED = {PLAN: V, IAT: V, BARE: V, NAMED: V, TIME: V, ROTATED: V}
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Verdict]]] = {
    "as expected": ({}, AS_EXPECTED),
    "resumed though named": ({"resume_with_provider": True}, {**AS_EXPECTED, NAMED: U}),
    "never resumed": ({"resume_without_provider": False}, {**AS_EXPECTED, BARE: U, TIME: N}),
    "a new auth_time": ({"resumed_auth_time_renewed": True}, {**AS_EXPECTED, TIME: U}),
    "Lite without rotation": ({"tier": "LITE"}, {**AS_EXPECTED, PLAN: U, ROTATED: N}),
    "Lite with rotation": ({"tier": "LITE", "rotation_in_lite": True}, AS_EXPECTED),
}


@pytest.mark.parametrize(("switches", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_three_logins_in_a_row_tell_what_cognito_does(
    cloud: DemoCloud,
    config: Config,
    clock: MovableClock,
    person: Person,
    switches: dict[str, Any],
    expected: dict[str, Verdict],
) -> None:
    for name, value in switches.items():
        setattr(cloud.cognito.pool.behaviour, name, value)
    assert await sign_in(config, cloud, clock, person) == expected


async def test_a_login_without_iat_tells_nothing_of_resumption(
    cloud: DemoCloud, config: Config, clock: MovableClock, person: Person
) -> None:
    unmapped(cloud)
    expected = {PLAN: V, IAT: U, BARE: N, NAMED: N, TIME: N, ROTATED: V}
    assert await sign_in(config, cloud, clock, person) == expected


async def test_a_login_that_cognito_refuses_is_told(
    cloud: DemoCloud, config: Config, clock: MovableClock, person: Person
) -> None:
    cloud.cognito.pool.add_attribute("custom:groups", max_length=3)
    assert await sign_in(config, cloud, clock, person) == {PLAN: V, "login": N}


async def test_nobody_signs_in(cloud: DemoCloud, config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        callback = f"http://localhost:{bound.getsockname()[1]}{PATH}"
        async with doctor_of(config) as doctor, doctor.trial("acme-okta", callback) as trial:
            login = LoginTrial(doctor.http, cloud.cognito.url, trial, "acme-okta")
            (finding,) = await login.run(bound, within_s=0.01)
    assert (finding.verdict, finding.name) == (N, "login")
    assert finding.detail.startswith("nobody signed in")


async def test_a_callback_of_no_login_of_ours_is_none(
    cloud: DemoCloud, config: Config, person: Person
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        origin = f"http://localhost:{bound.getsockname()[1]}"
        async with doctor_of(config) as doctor, doctor.trial("acme-okta", origin + PATH) as trial:
            login = LoginTrial(doctor.http, cloud.cognito.url, trial, "acme-okta")
            running = asyncio.create_task(login.run(bound, within_s=30))
            page = await person.open(f"{origin}{PATH}?code=stolen&state=")
            assert page.status == 400
            assert cloud.cognito.faults.calls.get("token", 0) == 0
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_client_whose_creation_went_unanswered_is_deleted(
    cloud: DemoCloud, config: Config
) -> None:
    before = set(cloud.cognito.pool.clients)
    cloud.cognito.control.faults.plan("CreateUserPoolClient", faults.drop_connection, after=True)
    async with doctor_of(config) as doctor:
        with pytest.raises(UnansweredError):
            async with doctor.trial("acme-okta", "http://localhost/cb"):
                pass
    assert set(cloud.cognito.pool.clients) == before


async def test_a_client_that_cannot_be_deleted_is_told(cloud: DemoCloud, config: Config) -> None:
    cloud.cognito.control.faults.plan("DeleteUserPoolClient", faults.internal_error, times=3)
    async with doctor_of(config) as doctor:
        async with doctor.trial("acme-okta", "http://localhost/cb"):
            pass
        assert doctor.findings[-1].verdict is U
        assert TRIAL_PREFIX in doctor.findings[-1].detail


async def test_the_command_prints_a_line_each_and_leaves_other_clients_alone(
    cloud: DemoCloud, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clients of a tenant called ``doctor`` have names that are almost the temporary ones'."""
    cloud.add_client("gateway-doctor-1", providers=[], callback_urls=[], logout_urls=[])
    left_over(cloud)
    document = {
        "development": True,
        "public_scheme": "http",
        "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
        "cognito": config.cognito.model_dump(mode="json"),
        "state_dir": str(tmp_path),
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(document), "utf-8")
    arguments = ["doctor", "cognito", "-c", str(file), "--provision"]
    code = await asyncio.to_thread(run, [*arguments, "--json"])
    found = {each["check"]: each["verdict"] for each in json.loads(capsys.readouterr().out)}
    assert (code, found["temporary app clients"]) == (1, "not as expected")
    assert (found[PLAN], found[ROTATED]) == ("verified", "not checked")
    assert [c.name for c in cloud.cognito.pool.clients.values()] == ["gateway-doctor-1"]
    cloud.cognito.pool.clients.clear()
    assert await asyncio.to_thread(run, arguments) == 0
    lines = capsys.readouterr().out
    assert "verified        feature plan: Essentials has managed login (version 2), " in lines
    assert "not checked     resumption with identity_provider: needs " in lines
    assert await asyncio.to_thread(run, ["doctor", "cognito", "--login", "acme-okta"]) == 2
