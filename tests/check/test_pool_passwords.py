"""Passwords of the pool's users at the check: a whole gateway and the stand-in Cognito."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.cognito.control import faults
from demo.jose import SigningKey
from tests.support.passwords import PASSWORD, PasswordWorld, basic
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.cognito.pool import User
    from tests.support.world import Checked

ACME = "acme.localhost"
FOREIGN = SigningKey.generate()
IDENTITY = ("X-Auth-Request-Email", "X-Auth-Request-User", "X-Auth-Request-Groups")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(PasswordWorld(tmp_path_factory.mktemp("passwords"), central=False)) as world:
        yield world


@pytest.fixture
def user(running: RunningWorld) -> Iterator[User]:
    """Somebody new, so that nothing is kept of them."""
    world = running.world
    assert isinstance(world, PasswordWorld)
    yield world.add_member(f"bob-{secrets.token_hex(4)}", "staff")
    world.cloud.cognito.control.faults.clear()
    world.cloud.cognito.pool.settings.pop("MfaConfiguration", None)


def ask(
    running: RunningWorld, name: str, password: str = PASSWORD, path: str = "/dav/x"
) -> Checked:
    return running.check(ACME, path, headers=basic(name, password))


def told(answer: Checked) -> tuple[int, str | None]:
    return answer.status, answer.header("X-Auth-Reason")


def calls(running: RunningWorld, name: str) -> int:
    """How often Cognito was asked about them."""
    return sum(
        call.request.get("AuthParameters", {}).get("USERNAME") == name
        for call in running.world.cloud.cognito.control.calls_of("InitiateAuth")
    )


async def call(running: RunningWorld, method: str, path: str, body: Any = None) -> Any:
    key = running.run(running.world.make_admin_key())
    url = f"http://127.0.0.1:{running.world.gateways[0].ports['admin']}/admin/v1{path}"
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, json=body, headers=headers) as response,
    ):
        assert response.status in (200, 201), await response.text()
        return await response.json()


def test_a_user_of_the_pool_arrives_as_after_a_login_and_cognito_is_asked_once_a_minute(
    running: RunningWorld, user: User
) -> None:
    for _ in range(5):
        answer = ask(running, user.username)
        assert answer.status == 200
        assert answer.header("X-Auth-Request-User") == user.sub
        assert answer.header("X-Auth-Request-Email") == user.attributes["email"]
        assert answer.header("X-Auth-Request-Groups") == "staff"
        assert answer.header("Authorization") is None, "no application gets a password"
    assert calls(running, user.username) == 1


def test_what_is_asked_of_a_session_is_asked_of_a_password(
    running: RunningWorld, user: User
) -> None:
    assert told(ask(running, user.username, path="/admins/x")) == (403, "group_missing")
    assert told(ask(running, user.username, path="/elsewhere")) == (401, "no_session"), "no rule"
    outsider = running.world.cloud.cognito.pool.add_user(
        f"eve-{secrets.token_hex(4)}",
        password=PASSWORD,
        email="eve@people.acme.test",
        email_verified="true",
    )
    assert told(ask(running, outsider.username)) == (403, "email_domain"), "none of acme's"
    outsider.groups, outsider.attributes["email_verified"] = ["tenants/acme"], "false"
    assert told(ask(running, outsider.username, PASSWORD)) == (403, "email_domain"), "kept"
    other = running.world.cloud.cognito.pool.add_user(
        f"eve-{secrets.token_hex(4)}", password=PASSWORD, email="x@people.acme.test"
    )
    other.groups = ["tenants/acme"]
    assert told(ask(running, other.username)) == (403, "email_untrusted")


def test_a_wrong_password_is_challenged_and_repeated_it_locks_nobody_out(
    running: RunningWorld, user: User
) -> None:
    for _ in range(20):
        answer = ask(running, user.username, "wrong")
        assert told(answer) == (401, "pool_password_invalid")
        assert answer.header("X-Auth-Challenge") == f'Basic realm="{ACME}", charset="UTF-8", Bearer'
        assert all(answer.header(name) is None for name in IDENTITY)
    assert calls(running, user.username) == 1
    assert ask(running, user.username).status == 200
    assert told(ask(running, "nobody-at-all")) == (401, "pool_password_invalid")


def test_guessing_a_password_ends_after_some_in_a_minute_and_what_is_kept_goes_on(
    running: RunningWorld, user: User
) -> None:
    assert ask(running, user.username).status == 200
    reasons = [told(ask(running, user.username, f"wrong-{n}")) for n in range(12)]
    assert reasons[0] == (401, "pool_password_invalid")
    # Cognito locks them out itself after five; both are 503.
    last = ask(running, user.username, "wrong-last")
    assert told(last) == (503, "too_many_attempts")
    assert last.header("Retry-After") == "60"
    before = calls(running, user.username)
    assert before <= 1 + 11
    assert told(ask(running, user.username, "wrong-again")) == (503, "too_many_attempts")
    assert calls(running, user.username) == before
    assert ask(running, user.username).status == 200


@pytest.mark.parametrize("factor", ["SOFTWARE_TOKEN_MFA", "SMS_MFA", "EMAIL_OTP", ""])
def test_a_second_factor_is_asked_of_a_browser_only(
    running: RunningWorld, user: User, factor: str
) -> None:
    running.world.cloud.cognito.pool.settings["MfaConfiguration"] = "OPTIONAL" if factor else "ON"
    user.second_factor = factor
    assert told(ask(running, user.username, "wrong")) == (401, "pool_password_invalid")
    answer = ask(running, user.username)
    assert told(answer) == (403, "second_factor_required")
    assert answer.header("X-Auth-Challenge") is None


@pytest.mark.parametrize("status", ["FORCE_CHANGE_PASSWORD", "RESET_REQUIRED", "UNCONFIRMED"])
def test_a_password_that_has_to_be_changed_opens_nothing(
    running: RunningWorld, user: User, status: str
) -> None:
    user.own_status, user.password_set_at = status, running.world.cloud.clock()
    assert told(ask(running, user.username)) == (403, "new_password_required")


def test_who_signs_in_with_an_identity_provider_is_told_so_and_cognito_is_not_asked(
    running: RunningWorld, user: User
) -> None:
    before = len(running.world.cloud.cognito.control.calls_of("InitiateAuth"))
    names = ["acme-okta_00u1", "ACME-OKTA_00u1"]
    for name in names:
        assert told(ask(running, name)) == (403, "no_pool_password")
    for name, password in (("", "x"), ("x", ""), ("a b", "x"), ("x" * 129, "x"), ("x", "y" * 257)):
        assert told(ask(running, name, password)) == (401, "pool_password_invalid")
    for header in ("Basic", "Basic !", "Basic YQ==", "basic  YTpi", f"Basic {'YTpi' * 5000}"):
        answer = running.check(ACME, "/dav/x", headers={**basic("a", "b"), "Authorization": header})
        assert answer.status == 401
    assert len(running.world.cloud.cognito.control.calls_of("InitiateAuth")) == before


async def test_every_revocation_ends_what_is_kept(running: RunningWorld, user: User) -> None:
    assert ask(running, user.username).status == 200
    ended = await call(
        running,
        "POST",
        "/revocations",
        {"tenant": "acme", "user": user.sub, "kind": "end_sessions", "reason": "test"},
    )
    assert ended["ended"] == 1
    assert ask(running, user.username).status == 200, "Cognito was asked again"
    assert calls(running, user.username) == 2


@pytest.mark.parametrize("by", ["user", "email", "tenant"])
async def test_a_block_by_whatever_name_ends_what_is_kept_and_keeps_them_out(
    running: RunningWorld, user: User, by: str
) -> None:
    assert ask(running, user.username).status == 200
    who = {"user": {"user": user.sub}, "email": {"email": user.attributes["email"]}}.get(by, {})
    await call(running, "POST", "/blocks", {"tenant": "acme", **who, "reason": "left"})
    try:
        assert ask(running, user.username).status in {401, 403}
        user.enabled = True
        user.password = f"{PASSWORD}-{secrets.token_hex(4)}"
        answer = ask(running, user.username, user.password)
        assert answer.status in {401, 403}, "in the pool they are disabled, too"
    finally:
        for row in (await call(running, "GET", "/blocks?tenant=acme"))["items"]:
            await call(running, "DELETE", f"/blocks/{row['id']}")


async def test_it_is_no_session_that_counts_or_is_listed(running: RunningWorld, user: User) -> None:
    assert ask(running, user.username).status == 200
    listed = await call(running, "GET", f"/sessions?tenant=acme&user={user.sub}")
    assert listed["items"] == []


@pytest.mark.parametrize(
    "fault",
    [faults.throttle, faults.internal_error, faults.drop_connection],
    ids=["throttled", "failing", "lost"],
)
def test_an_outage_or_throttling_is_503_and_not_remembered(
    running: RunningWorld, user: User, fault: faults.Fault
) -> None:
    control = running.world.cloud.cognito.control
    control.faults.plan("InitiateAuth", fault)
    answer = ask(running, user.username)
    assert told(answer) == (503, "cognito_unavailable")
    assert answer.header("Retry-After") == "2"
    assert ask(running, user.username).status == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda draft: replace(draft, key=FOREIGN),
        lambda draft: replace(draft, algorithm=None),
        lambda draft: draft.with_claims(aud="another-client"),
        lambda draft: draft.with_claims(iss="https://elsewhere.test"),
        lambda draft: draft.with_claims(token_use="access"),
        lambda draft: draft.with_claims(exp=1),
    ],
    ids=["signature", "unsigned", "client", "issuer", "use", "expired"],
)
def test_an_id_token_that_does_not_verify_lets_nobody_in(
    running: RunningWorld, user: User, spoil: Any
) -> None:
    cognito = running.world.cloud.cognito
    cognito.faults.spoil_token = lambda draft: spoil(draft) if draft.use == "id" else draft
    try:
        assert told(ask(running, user.username)) == (503, "cognito_unavailable")
    finally:
        cognito.faults.spoil_token = None
    records = [json.loads(line) for line in running.log().splitlines() if "_refused" in line]
    assert records[-1]["code"] == "id_token_invalid"
    assert ask(running, user.username).status == 200


def test_no_application_of_the_tenant_gets_a_basic_credential(
    running: RunningWorld, user: User
) -> None:
    """On a path of no such rule, or a public one, a program sends it too."""
    answer = running.check(ACME, "/open/x", headers=basic(user.username))
    assert (answer.status, answer.header("Authorization")) == (200, None)
    bearer = running.check(ACME, "/open/x", headers={"Authorization": "Bearer theirs"})
    assert bearer.header("Authorization") == "Bearer theirs"


def test_an_app_password_is_never_sent_to_cognito(running: RunningWorld) -> None:
    before = len(running.world.cloud.cognito.control.calls_of("InitiateAuth"))
    text = "gwap_" + "A" * 69
    assert told(ask(running, "x", text)) == (401, "app_password_invalid")
    assert told(ask(running, "x", text, path="/admins/x"))[0] == 401
    assert len(running.world.cloud.cognito.control.calls_of("InitiateAuth")) == before


def test_neither_name_nor_password_is_logged_or_in_redis(running: RunningWorld, user: User) -> None:
    wrong = f"wrong-{secrets.token_hex(8)}"
    ask(running, user.username, wrong)
    ask(running, user.username)
    log = running.log()
    records = [json.loads(line) for line in log.splitlines() if "pool_password_" in line]
    accepted = [r for r in records if r["event"] == "pool_password_accepted"]
    assert user.sub in {r["user"] for r in accepted}
    refused = [r for r in records if r["event"] == "pool_password_refused"]
    assert refused[-1]["code"] == "NotAuthorizedException"
    for text in (wrong, PASSWORD, user.username):
        assert text not in log
    dump = (running.world.directory / "state").rglob("*")
    for file in dump:
        if file.is_file() and file.suffix in {".aof", ".rdb"}:
            held = file.read_bytes()
            for text in (wrong, PASSWORD, user.username):
                assert text.encode() not in held, file.name
