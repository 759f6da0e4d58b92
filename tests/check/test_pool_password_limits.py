"""How often, for whom and how many at once Cognito is asked about a password; and what a person's
end does meanwhile. Cognito and the store are stand-ins that answer when they are told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.check.pool_passwords import (
    PER_ADDRESS,
    PER_NAME,
    PLACES,
    PLACES_OF_A_TENANT,
    WAITING,
    WAITING_OF_ONE,
    PoolPasswords,
)
from gateway.cognito.password_login import (
    PasswordAccepted,
    PasswordLogin,
    PasswordRefused,
    refusal,
    request,
    secret_hash,
)
from gateway.core.authorization import Basic
from gateway.core.model import AppClient, EmailTrust, ProviderKind, Secret, Session
from gateway.core.reason import Reason
from gateway.errors import UnavailableError
from gateway.sessions import pool_passwords
from gateway.sessions.api import MISS, Miss
from gateway.sessions.pool_passwords import PoolPasswordBegun
from tests.core import build
from tests.core.build import provider, rule, session

if TYPE_CHECKING:
    from gateway.core.login import Accepted
    from gateway.core.model import AuthRequest, PoolPasswordResult, Tenant
    from gateway.sessions.seal import Token

POOLS = provider("acme-cognito", kind=ProviderKind.COGNITO, email_trust=EmailTrust.VERIFIED_CLAIM)
CLIENT = AppClient("passwords", Secret("hush"))
WRONG = PasswordRefused(Reason.POOL_PASSWORD_INVALID, "NotAuthorizedException", "")
CLAIMS = {"sub": "s1", "email": "bob@acme.com", "email_verified": True, "auth_time": 1}


def tenant(name: str = "acme", **changes: Any) -> Tenant:
    values = {
        "id": name,
        "rules": (rule("/**", pool_passwords=True),),
        "providers": (POOLS, provider("acme-okta", domains=frozenset({"okta.acme.com"}))),
        "password_client": CLIENT,
        "allowed_groups": None,
    }
    return build.tenant(**{**values, **changes})


def ask(name: str = "bob", password: str = "p", client: str = "192.0.2.1") -> AuthRequest:
    return build.request("/x", basic=Basic(name, password), client=client)


@dataclass
class Store:
    """What is kept, by token; and what stands against whoever would be."""

    kept: dict[str, PoolPasswordResult] = field(default_factory=dict)
    against: Reason | None = None
    down: bool = False
    ended: bool = False

    def token(self, at: Tenant, basic: Basic) -> Token:
        return pool_passwords.token_of(b"k" * 32, pool_passwords.basis(at), basic, bucket=1)

    def cached(self, token: Token) -> PoolPasswordResult | Miss:
        return self.kept.get(token.text, MISS)

    async def find(self, token: Token) -> PoolPasswordResult | None:
        if self.down:
            raise UnavailableError("Redis")
        return self.kept.get(token.text)

    async def begin(self, _: str) -> PoolPasswordBegun:
        return PoolPasswordBegun(1, "server")

    async def keep(
        self, at: Tenant, token: Token, _: PoolPasswordBegun, accepted: Accepted
    ) -> Reason | None:
        if self.against is None and not self.ended:
            self.kept[token.text] = session(
                host="", tenant=at.id, identity=accepted.identity, client_id=CLIENT.client_id
            )
        return self.against

    async def refuse(self, token: Token, reason: Reason) -> None:
        self.kept[token.text] = reason


class Attempts:
    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()

    async def hit(self, who: str, *, at_most: int, kind: str) -> bool:
        self.counted[kind, who] += 1
        return self.counted[kind, who] <= at_most

    async def is_exhausted(self, who: str, *, at_most: int, kind: str) -> bool:
        return self.counted[kind, who] >= at_most


class Room:
    """``PoolPasswords``, of whose Cognito every answer is let go by ``go``."""

    def __init__(self, answer: PasswordAccepted | PasswordRefused | None = None) -> None:
        self.store, self.attempts, self.go = Store(), Attempts(), asyncio.Event()
        self.answer = answer or PasswordAccepted(CLAIMS)
        self.asked: list[Basic] = []
        self.now = self.most = 0
        self.passwords = PoolPasswords(
            self._login,
            cast("Any", self.store),
            cast("Any", self.attempts),
            pool_ids={"default": "eu-north-1_x"},
        )

    async def _login(self, _: AppClient, basic: Basic) -> PasswordAccepted | PasswordRefused:
        self.asked.append(basic)
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1
        return self.answer

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


async def test_one_password_is_asked_about_once_however_many_wait() -> None:
    room = Room()
    waiting = [asyncio.create_task(room.passwords.authenticate(tenant(), ask())) for _ in range(20)]
    await room.settle()
    waiting[0].cancel()
    await room.settle()
    room.go.set()
    found = await asyncio.gather(*waiting[1:])
    assert len(room.asked) == 1
    assert all(isinstance(result, Session) for result in found)
    assert room.passwords.cached(tenant(), ask()) == found[0]


async def test_one_tenant_takes_not_all_places_and_who_waits_too_long_is_told_to_come_back() -> (
    None
):
    room = Room()
    flood = [
        asyncio.create_task(
            room.passwords.authenticate(tenant(), ask(f"u{n}", client=f"192.0.2.{n}"))
        )
        for n in range(WAITING)
    ]
    await room.settle()
    assert room.most == PLACES_OF_A_TENANT < PLACES
    refused = await room.passwords.authenticate(tenant(), ask("late", client="192.0.2.200"))
    assert refused is Reason.COGNITO_UNAVAILABLE
    globex = tenant("globex", providers=(POOLS,))
    other = asyncio.create_task(room.passwords.authenticate(globex, ask()))
    await room.settle()
    assert len(room.asked) == PLACES_OF_A_TENANT + 1, "another tenant's is asked at once"
    room.go.set()
    assert isinstance(await other, Session)
    await asyncio.gather(*flood)
    assert isinstance(await room.passwords.authenticate(tenant(), ask("late")), Session)


async def test_nobody_alone_fills_the_queue_of_a_tenant() -> None:
    room = Room()
    flood = [
        asyncio.create_task(room.passwords.authenticate(tenant(), ask("bob", f"p{n}")))
        for n in range(WAITING)
    ]
    await room.settle()
    assert sum(task.done() for task in flood) == WAITING - WAITING_OF_ONE
    other = asyncio.create_task(
        room.passwords.authenticate(tenant(), ask("eve", client="192.0.2.9"))
    )
    room.go.set()
    assert isinstance(await other, Session)
    await asyncio.gather(*flood)


async def test_what_waits_is_counted_before_it_is_asked() -> None:
    room = Room(WRONG)
    flood = [
        asyncio.create_task(
            room.passwords.authenticate(tenant(), ask("bob", f"p{n}", f"192.0.2.{n}"))
        )
        for n in range(WAITING)
    ]
    await room.settle()
    room.go.set()
    found = Counter(await asyncio.gather(*flood))
    assert len(room.asked) <= PER_NAME + PLACES_OF_A_TENANT - 1
    assert found[Reason.TOO_MANY_ATTEMPTS] == WAITING - len(room.asked)


@pytest.mark.parametrize(
    "reason",
    [Reason.NEW_PASSWORD_REQUIRED, Reason.SECOND_FACTOR_REQUIRED, Reason.TOO_MANY_ATTEMPTS],
)
async def test_whatever_cognito_refuses_is_counted(reason: Reason) -> None:
    """It says of some users that they need a new password before it looks at theirs."""
    room = Room(PasswordRefused(reason, "x", ""))
    room.go.set()
    for n in range(PER_NAME + 5):
        await room.passwords.authenticate(tenant(), ask("bob", f"p{n}"))
    assert len(room.asked) == PER_NAME


async def test_who_is_taken_away_before_the_answer_reaches_who_waits_is_not_let_in() -> None:
    room = Room()
    waiting = asyncio.create_task(room.passwords.authenticate(tenant(), ask()))
    await room.settle()
    (task,) = room.passwords._under_way.values()
    task.add_done_callback(lambda _: room.store.kept.clear())
    room.go.set()
    assert await waiting is Reason.SESSION_REVOKED


@pytest.mark.parametrize("reason", [Reason.SESSION_REVOKED, Reason.USER_BLOCKED])
async def test_who_is_taken_away_while_cognito_answers_is_not_let_in(reason: Reason) -> None:
    room = Room()
    room.go.set()
    room.store.against = reason
    assert await room.passwords.authenticate(tenant(), ask()) is reason
    room.store.against, room.store.ended = None, True
    room.store.kept.clear()
    assert await room.passwords.authenticate(tenant(), ask()) is Reason.SESSION_REVOKED


async def test_wrong_passwords_are_counted_by_name_and_by_address_and_right_ones_are_not() -> None:
    room = Room(WRONG)
    room.go.set()
    for n in range(PER_NAME):
        assert await room.passwords.authenticate(tenant(), ask("bob", f"p{n}")) is WRONG.reason
    assert (
        await room.passwords.authenticate(tenant(), ask("BOB", "x", "192.0.2.9"))
        is Reason.TOO_MANY_ATTEMPTS
    ), "whoever asks, and however the name is written"
    for n in range(PER_ADDRESS - PER_NAME):
        await room.passwords.authenticate(tenant(), ask(f"u{n}"))
    spray = await room.passwords.authenticate(tenant(), ask("another"))
    assert spray is Reason.TOO_MANY_ATTEMPTS
    room.answer = PasswordAccepted(CLAIMS)
    for n in range(PER_NAME + 5):
        found = await room.passwords.authenticate(tenant(), ask("eve", f"p{n}", "192.0.2.7"))
        assert isinstance(found, Session)


async def test_what_says_nothing_of_the_password_is_neither_counted_nor_kept() -> None:
    room = Room(PasswordRefused(Reason.COGNITO_UNAVAILABLE, "TooManyRequestsException", ""))
    room.go.set()
    for _ in range(3):
        found = await room.passwords.authenticate(tenant(), ask())
        assert found is Reason.COGNITO_UNAVAILABLE
    assert (len(room.asked), room.attempts.counted, room.store.kept) == (3, Counter(), {})
    room.store.down = True
    with pytest.raises(UnavailableError):
        await room.passwords.authenticate(tenant(), ask())


async def test_a_changed_tenant_asks_again() -> None:
    room = Room()
    room.go.set()
    assert isinstance(await room.passwords.authenticate(tenant(), ask()), Session)
    for changes in (
        {"password_client": AppClient("another", Secret("s"))},
        {"pool": "b"},
        {"email_domains": frozenset({"acme.com", "b.com"})},
        {"providers": (replace(POOLS, members_group="tenants/acme"),)},
        {"providers": (replace(POOLS, name="people"),)},
        {"providers": (replace(POOLS, domains=frozenset({"b.com"})),)},
    ):
        assert isinstance(room.passwords.cached(tenant(**changes), ask()), Miss), changes
    assert isinstance(room.passwords.cached(tenant(name="globex"), ask()), Miss)
    assert isinstance(room.passwords.cached(tenant(active=False), ask()), Session)


def test_without_a_client_or_a_provider_of_the_pool_nobody_is_asked() -> None:
    room = Room()
    # Of a managed one, until it is made: nothing is said of the person.
    assert room.passwords.cached(tenant(password_client=None), ask()) is Reason.COGNITO_UNAVAILABLE
    assert room.passwords.cached(tenant(providers=()), ask()) is Reason.NO_POOL_PASSWORD
    assert room.passwords.cached(tenant(), ask("bob@okta.acme.com")) is Reason.NO_POOL_PASSWORD, (
        "that domain signs in with the identity provider"
    )
    assert isinstance(room.passwords.cached(tenant(), ask("bob@elsewhere.com")), Miss)


async def test_closing_leaves_nothing_under_way() -> None:
    room = Room()
    waiting = asyncio.create_task(room.passwords.authenticate(tenant(), ask()))
    await room.settle()
    await room.passwords.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- what Cognito says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("NotAuthorizedException", "Incorrect username or password.", "pool_password_invalid"),
        ("NotAuthorizedException", "User is disabled.", "pool_password_invalid"),
        ("com.amazonaws#UserNotFoundException", "", "pool_password_invalid"),
        ("NotAuthorizedException", "Password attempts exceeded", "too_many_attempts"),
        (
            "NotAuthorizedException",
            "Temporary password has expired and must be reset by an administrator.",
            "new_password_required",
        ),
        ("PasswordResetRequiredException", "", "new_password_required"),
        ("UserNotConfirmedException", "", "new_password_required"),
        ("NotAuthorizedException", "Unable to verify secret hash for x", "cognito_unavailable"),
        (
            "NotAuthorizedException",
            "Client x is configured with secret but SECRET_HASH was not received",
            "cognito_unavailable",
        ),
        (
            "InvalidParameterException",
            "USER_PASSWORD_AUTH flow not enabled for this client",
            "cognito_unavailable",
        ),
        ("ResourceNotFoundException", "", "cognito_unavailable"),
        ("TooManyRequestsException", "", "cognito_unavailable"),
        ("ForbiddenException", "WAF", "cognito_unavailable"),
        ("SomethingNew", "", "cognito_unavailable"),
        ("", "", "cognito_unavailable"),
    ],
)
def test_what_an_error_of_cognitos_means(code: str, text: str, reason: str) -> None:
    told = refusal({"__type": code, "message": text})
    assert told.reason.value == reason
    assert text == "" or text not in f"{told.cause}{told.setting}", "it may name the person"


def test_the_secret_hash_is_as_cognito_documents_it() -> None:
    """HMAC-SHA256 of user name and client id under the secret, in base64 (developer guide,
    "Computing secret hash values").
    """
    body = request(CLIENT, Basic("bob", "p"))
    assert body["AuthParameters"] == {
        "USERNAME": "bob",
        "PASSWORD": "p",
        "SECRET_HASH": secret_hash(CLIENT, "bob"),
    }
    assert secret_hash(CLIENT, "bob") == "FSKZzH9DbxF3ctZqHaKBYohjLu6WcJK0iuZsu0GpO6s="
    without = request(AppClient("public", Secret("")), Basic("bob", "p"))
    assert "SECRET_HASH" not in cast("dict[str, str]", without["AuthParameters"])


async def test_a_challenge_is_refused_whatever_comes_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def both(*_: object, **__: object) -> tuple[int, dict[str, object]]:
        return 200, {
            "ChallengeName": "SOFTWARE_TOKEN_MFA",
            "AuthenticationResult": {"IdToken": "a.b.c"},
        }

    async def verify(*_: str) -> dict[str, object]:
        return {**CLAIMS, "token_use": "id"}

    monkeypatch.setattr("gateway.cognito.password_login.request_json", both)
    login = PasswordLogin(cast("Any", None), {"default": "https://x.test"}, verify)
    told = await login(CLIENT, Basic("bob", "p"))
    assert isinstance(told, PasswordRefused)
    assert told.reason is Reason.SECOND_FACTOR_REQUIRED


async def test_a_pool_that_this_process_does_not_know_is_an_outage() -> None:
    login = PasswordLogin(cast("Any", None), {}, cast("Any", None))
    told = await login(CLIENT, Basic("bob", "p"))
    assert isinstance(told, PasswordRefused)
    assert (told.reason, told.code) == (Reason.COGNITO_UNAVAILABLE, "pool_unknown")
