"""Bearer tokens at the check: machine clients, and people by their last login. Tokens come from the
stand-in Cognito.

Ids in parentheses are those of the attack corpus for forward-auth gateways, of which the cases are
an adaptation.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec
from urllib.parse import urlencode

import pytest

from demo.faults import status
from demo.jose import SigningKey, b64url
from demo.world import MACHINE_CLIENT
from gateway.check.bearer import Machines
from gateway.cognito.relying_party import RelyingParty
from gateway.config.types import DEFAULT_HEADERS
from gateway.core.model import Identity, MachineToken
from gateway.sessions.api import BearerLink, SessionStore
from tests.check.test_denial import post
from tests.core.build import identity, provider, tenant
from tests.login.test_start import embedded_jwk, hs256_with_public_key
from tests.support.policy import OWN_CLIENT
from tests.support.tokens import machine_token, token_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from demo.jose import TokenDraft
    from tests.support.browserless import Person
    from tests.support.world import Checked, RunningWorld

ACME = "acme.localhost"
FOREIGN = SigningKey.generate()
NOT_NAVIGATING = {"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": ""}


def check(
    world: RunningWorld,
    path: str,
    token: str | None,
    *,
    host: str = ACME,
    cookie: str | None = None,
    **headers: str,
) -> Checked:
    sent = {
        **NOT_NAVIGATING,
        **({"Authorization": f"Bearer {token}"} if token is not None else {}),
        **headers,
    }
    return world.check(host, path, cookie=cookie, headers=sent)


def refused(answer: Checked) -> bool:
    """401 and nowhere to go; no identity."""
    assert answer.header("Location") is None, "a machine is never redirected"
    assert answer.header("X-Auth-Request-Email") is None
    assert answer.header("Set-Cookie") is None
    return answer.status == 401


def machine(world: RunningWorld, spoil: Callable[[TokenDraft], TokenDraft | str]) -> str:
    """A machine's token, spoiled before it was signed."""
    world.world.cloud.cognito.faults.spoil_token = spoil
    try:
        return machine_token(world)
    finally:
        world.world.cloud.cognito.faults.spoil_token = None


async def sign_in(
    world: RunningWorld, person: Person, email: str = "alice@acme.test", host: str = ACME
) -> dict[str, str]:
    """Cognito's tokens of a login at the gateway, which itself keeps neither; and the session
    cookie.
    """
    kept: dict[str, str] = {}

    def keep(body: dict[str, Any]) -> dict[str, Any]:
        kept.update(access=body["access_token"], id=body["id_token"], refresh=body["refresh_token"])
        return body

    world.world.cloud.cognito.faults.spoil_token_response = keep
    try:
        await person.log_in(f"{world.world.url(host)}/_auth/login?{urlencode({'rd': '/'})}", email)
    finally:
        world.world.cloud.cognito.faults.spoil_token_response = None
    return {**kept, "cookie": person.cookies(host)["__Host-gw"]}


# --- machines
# ------------------------------------------------------------------------------------------


def named(answer: Checked) -> dict[str, str]:
    """What the application is told, and that every managed header is there to overwrite what the
    client sent; the assertion without its times.
    """
    assert answer.status == 200
    told = {name: answer.header(name) for name in DEFAULT_HEADERS}
    assert None not in told.values()
    signed = told.pop("X-Auth-Request-Jwt") or ""
    claims = {
        name: value
        for name, value in claims_of(signed).items()
        if name not in {"iat", "exp", "iss", "aud", "auth_time"}
    }
    return {name: text for name, text in told.items() if text} | {
        "claims": json.dumps(claims, sort_keys=True)
    }


def said(**claims: Any) -> str:
    return json.dumps({"tenant": "acme", "groups": [], "roles": [], **claims}, sort_keys=True)


def test_the_right_client_and_scope_come_in_as_that_client_and_as_no_person(
    policy: RunningWorld,
) -> None:
    for token in (machine_token(policy), machine_token(policy, "acme/read", "acme/write")):
        answer = check(
            policy,
            "/api/x",
            token,
            **{
                "X-Auth-Request-Email": "alice@acme.test",
                "Remote-User": "alice@acme.test",
                "X-Auth-Request-Tenant": "globex",
            },
        )
        assert named(answer) == {
            "X-Auth-Request-User": MACHINE_CLIENT,
            "X-Auth-Request-Tenant": "acme",
            "claims": said(sub=MACHINE_CLIENT, client_id=MACHINE_CLIENT),
        }


async def test_a_rule_says_what_a_machine_is_called_and_never_what_a_person_is(
    policy: RunningWorld, visitor: Person
) -> None:
    told = named(check(policy, "/bot/x", machine_token(policy)))
    assert told == {
        "X-Auth-Request-User": MACHINE_CLIENT,
        "X-Auth-Request-Tenant": "acme",
        "X-Auth-Request-Groups": "ci,readers",
        "Remote-User": "deploy-bot",
        "claims": said(sub=MACHINE_CLIENT, client_id=MACHINE_CLIENT),
    }
    held = await sign_in(policy, visitor, "bob@acme.test")
    told = named(check(policy, "/bot/x", held["access"]))
    assert (told["Remote-User"], "X-Auth-Request-Groups" in told) == ("bob@acme.test", False), (
        "a person's token"
    )
    session = check(policy, "/bot/x", None, cookie=held["cookie"])
    assert (session.header("Remote-User"), session.header("X-Auth-Request-Groups")) == (
        "bob@acme.test",
        "app-users",
    ), "a person's session"


def test_the_wrong_scope_stays_out(policy: RunningWorld) -> None:
    assert refused(check(policy, "/api/x", machine_token(policy, "acme/write")))


@pytest.mark.parametrize("path", ["/", "/admin/x", "/elsewhere"])
def test_where_no_rule_takes_tokens_a_token_is_nothing(policy: RunningWorld, path: str) -> None:
    assert refused(check(policy, path, machine_token(policy)))


def test_a_client_of_another_tenant_stays_out(policy: RunningWorld) -> None:
    """(TOK-06) The pool's issuer and keys are shared: the client list is what separates tenants."""
    client = policy.world.cloud.add_client(
        "globex-machine",
        providers=[],
        callback_urls=[],
        logout_urls=[],
        client_id="globexmachine00000000000",
        AllowedOAuthFlows=["client_credentials"],
        AllowedOAuthScopes=["acme/read"],
    )
    token = str(
        token_request(
            policy,
            client.client_id,
            client.secret or "",
            {"grant_type": "client_credentials", "scope": "acme/read"},
        )["access_token"]
    )
    assert refused(check(policy, "/api/x", token))


def test_a_token_that_was_good_at_acme_is_judged_anew_at_globex(policy: RunningWorld) -> None:
    """(TOK-16)"""
    token = machine_token(policy)
    assert check(policy, "/api/x", token).status == 200
    assert refused(check(policy, "/api/x", token, host="globex.localhost"))
    assert refused(check(policy, "/api/x", token, host="app.localhost"))


BAD: dict[str, Callable[[TokenDraft], TokenDraft | str]] = {
    "alg-none": lambda d: replace(d, algorithm=None),
    "hs256-public-key (TOK-02)": hs256_with_public_key,
    "rs512 (TOK-02)": lambda d: replace(d, algorithm="RS512"),
    "foreign-key-same-kid": lambda d: replace(d, key=replace(FOREIGN, kid=d.key.kid)),
    "embedded-jwk (TOK-03)": embedded_jwk,
    "jku (TOK-03)": lambda d: replace(d, key=FOREIGN, headers={"jku": "http://127.0.0.1:9/jwks"}),
    "x5u (TOK-03)": lambda d: replace(d, key=FOREIGN, headers={"x5u": "http://127.0.0.1:9/x5u"}),
    "kid-path (TOK-03)": lambda d: replace(d, headers={"kid": "../../dev/null"}),
    "kid-sql (TOK-03)": lambda d: replace(d, headers={"kid": "x' UNION SELECT 'k"}),
    "kid-empty (TOK-03)": lambda d: replace(d, headers={"kid": ""}),
    "kid-missing (TOK-03)": lambda d: replace(d, headers={"kid": None}),
    "kid-of-another-issuer (TOK-05)": lambda d: replace(d, key=FOREIGN),
    "iss-slash (TOK-07)": lambda d: d.with_claims(iss=d.claims["iss"] + "/"),
    "iss-other-pool (TOK-07)": lambda d: d.with_claims(iss=d.claims["iss"][:-3] + "xyz"),
    "iss-real-aws (TOK-07)": lambda d: d.with_claims(
        iss="https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_Other1234"
    ),
    "iss-scheme (TOK-07)": lambda d: d.with_claims(
        iss=d.claims["iss"].replace("http://", "https://")
    ),
    "iss-missing (TOK-07)": lambda d: d.with_claims(iss=None),
    "token-use-id (TOK-08)": lambda d: d.with_claims(token_use="id"),
    "token-use-missing (TOK-08)": lambda d: d.with_claims(token_use=None),
    "client-missing (TOK-09)": lambda d: d.with_claims(client_id=None),
    "client-array (TOK-09)": lambda d: d.with_claims(
        client_id=[MACHINE_CLIENT, "globexdemo00000000000000"]
    ),
    "client-other (TOK-09)": lambda d: d.with_claims(
        client_id="globexdemo00000000000000", sub="globexdemo00000000000000"
    ),
    "sub-of-nobody": lambda d: d.with_claims(sub="somebody-else"),
    "exp-missing (TOK-10)": lambda d: d.with_claims(exp=None),
    "exp-past (TOK-10)": lambda d: d.with_claims(exp=int(time.time()) - 120),
    "exp-huge (TOK-10)": lambda d: d.with_claims(exp=1e99),
    "exp-string (TOK-10)": lambda d: d.with_claims(exp=str(d.claims["exp"])),
    "exp-true (TOK-10)": lambda d: d.with_claims(exp=True),
    "exp-far (TOK-10)": lambda d: d.with_claims(exp=d.claims["exp"] + 10 * 86400),
    "nbf-future (TOK-10)": lambda d: d.with_claims(nbf=int(time.time()) + 3600),
    "iat-future (TOK-10)": lambda d: d.with_claims(iat=int(time.time()) + 3600),
    "iat-missing (TOK-10)": lambda d: d.with_claims(iat=None),
    "scope-array": lambda d: d.with_claims(scope=["acme/read"]),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_a_token_that_is_not_quite_right_stays_out(
    policy: RunningWorld, spoil: Callable[[TokenDraft], TokenDraft | str]
) -> None:
    assert refused(check(policy, "/api/x", machine(policy, spoil)))


def test_a_fraction_of_a_second_in_exp_is_a_number(policy: RunningWorld) -> None:
    """(TOK-10)"""
    assert (
        check(
            policy, "/api/x", machine(policy, lambda d: d.with_claims(exp=d.claims["exp"] + 0.5))
        ).status
        == 200
    )


def test_a_tampered_token_stays_out(policy: RunningWorld) -> None:
    head, body, signature = machine_token(policy).split(".")
    other = machine_token(policy, "acme/write").split(".")[1]
    for token in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        "x",
        f"{head}.{body}.{signature}." + "x" * 60_000,
    ):
        assert refused(check(policy, "/api/x", token))


def test_a_hundred_unknown_keys_ask_cognito_a_few_times(policy: RunningWorld) -> None:
    """(TOK-04)"""
    faults = policy.world.cloud.cognito.faults
    check(policy, "/api/x", machine_token(policy))
    before = faults.calls.get("jwks", 0)
    _, body, signature = machine_token(policy).split(".")
    for number in range(100):
        head = b64url(json.dumps({"alg": "RS256", "kid": f"unknown-{number}"}).encode())
        assert refused(check(policy, "/api/x", f"{head}.{body}.{signature}"))
    assert faults.calls.get("jwks", 0) - before <= 3
    faults.always("jwks", status(500))
    assert check(policy, "/api/x", machine_token(policy)).status == 200, "keys that are known go on"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bearer {}", 200),
        ("BEARER {}", 200),
        ("Bearer  {}", 401),
        ("Bearer {} ", 200),
        ("Bearer {},{}", 401),
        ("Bearer", 401),
        ("Bearer {} x", 401),
        ("Basic {}", 401),
        ("{}", 401),
        ("Bearer\t{}", 401),
    ],
)
def test_one_reading_of_the_scheme_and_what_is_ambiguous_stays_out(
    policy: RunningWorld, line: str, expected: int
) -> None:
    """(TOK-14)"""
    token = machine_token(policy)
    answer = policy.check(
        ACME, "/api/x", headers={**NOT_NAVIGATING, "Authorization": line.replace("{}", token)}
    )
    assert answer.status == expected


def test_a_machine_is_never_redirected_not_even_as_a_navigation(policy: RunningWorld) -> None:
    for path, dialect in [
        (p, d) for p in ("/api/x", "/machines/x") for d in ("nginx", "traefik", "caddy", "haproxy")
    ]:
        answer = policy.check(
            ACME,
            path,
            dialect=dialect,
            headers={"Authorization": "Bearer nonsense", "Accept": "text/html"},
        )
        assert (answer.status, answer.header("Location")) == (401, None)


async def test_an_invalid_credential_is_not_ignored_in_favour_of_a_cookie(
    policy: RunningWorld, visitor: Person
) -> None:
    """(TOK-15)"""
    held = await sign_in(policy, visitor)
    assert check(policy, "/api/x", None, cookie=held["cookie"]).status == 200
    assert refused(check(policy, "/api/x", "nonsense", cookie=held["cookie"]))
    assert check(policy, "/api/x", machine_token(policy), cookie="000" + "A" * 43).status == 200
    assert refused(check(policy, "/machines/x", None, cookie=held["cookie"])), (
        "browser_sessions: false"
    )
    for own in (
        {"Authorization": "token abc"},
        {"Authorization": "Basic YTpi"},
        {"X-Api-Key": "abc"},
    ):
        assert check(policy, "/api/x", None, cookie=held["cookie"], **own).status == 200, (
            "an application's own token beside a session"
        )
        assert refused(check(policy, "/api/x", None, **own)), "is no sign-in"
    assert check(policy, "/api/x", machine_token(policy), **{"X-Api-Key": "abc"}).status == 200
    assert check(policy, "/elsewhere", "nonsense", cookie=held["cookie"]).status == 200, (
        "an application's own bearer token is its own business where no rule takes tokens"
    )


# --- people
# --------------------------------------------------------------------------------------------


async def test_a_persons_token_comes_in_only_where_the_rule_says_groups_any(
    policy: RunningWorld, visitor: Person
) -> None:
    held = await sign_in(policy, visitor)
    told = named(check(policy, "/people/x", held["access"]))
    claims = json.loads(told.pop("claims"))
    sub = claims_of(held["access"])["sub"]
    session = check(policy, "/people/x", None, cookie=held["cookie"])
    unknown = {"X-Auth-Request-Groups", "X-Auth-Request-Roles", "X-Auth-Request-Jwt"}
    assert told == {
        name: text
        for name in DEFAULT_HEADERS
        if name not in unknown and (text := session.header(name))
    }, "as by a session, without groups"
    assert (told["X-Auth-Request-User"], told["Remote-User"]) == (sub, "alice@acme.test")
    assert (claims["sub"], claims["email"], claims["client_id"], claims["groups"]) == (
        sub,
        "alice@acme.test",
        OWN_CLIENT,
        [],
    )
    assert refused(check(policy, "/grouped/x", held["access"])), (
        "it carries no groups, so nothing can be checked"
    )
    assert refused(check(policy, "/api/x", held["access"])), "its client is not named there"
    assert refused(check(policy, "/people/x", held["access"], host="globex.localhost"))


async def test_an_id_token_is_no_credential(policy: RunningWorld, visitor: Person) -> None:
    """(TOK-08)"""
    held = await sign_in(policy, visitor)
    assert refused(check(policy, "/people/x", held["id"]))
    assert refused(check(policy, "/people/x", held["refresh"][:2000]))


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def as_person(draft: TokenDraft, claims: Mapping[str, Any], *, later_s: int = 7) -> TokenDraft:
    """A person's access token as Cognito would sign it, authenticated so much later than now: past
    every margin after a revocation.
    """
    return draft.with_claims(
        **{n: v for n, v in claims.items() if n not in ("iat", "exp", "jti")}
        | {"auth_time": int(time.time()) + later_s}
    )


def revoke(world: RunningWorld, **who: str) -> None:
    status_code, body = post(
        world,
        "/revocations",
        {"tenant": "acme", "reason": "test", **who},
        key=world.run(world.world.make_admin_key()),
    )
    assert status_code in (200, 201), body


def refreshed(world: RunningWorld, held: Mapping[str, str]) -> str:
    """A new token of the same authentication: its ``iat`` is new, its ``auth_time`` is not."""
    client = world.world.cloud.cognito.pool.clients["acmedemo0000000000000000"]
    return str(
        token_request(
            world,
            client.client_id,
            client.secret or "",
            {"grant_type": "refresh_token", "refresh_token": held["refresh"]},
        )["access_token"]
    )


@pytest.fixture
def newcomer(policy: RunningWorld) -> str:
    """The address of somebody whom no other test knows: for seconds after a revocation a login of
    the same person is refused.
    """
    email = f"{secrets.token_hex(4)}@acme.test"
    policy.world.cloud.customers["acme-okta"].server.directory.add_person(
        email, name="New", groups=("app-users",)
    )
    return email


async def test_a_revocation_reaches_the_tokens_that_are_out_and_those_refreshed_later(
    policy: RunningWorld, visitor: Person, newcomer: str
) -> None:
    """(TOK-13)"""
    held = await sign_in(policy, visitor, newcomer)
    assert check(policy, "/people/x", held["access"]).status == 200
    revoke(policy, email=newcomer, kind="end_sessions")
    assert refused(check(policy, "/people/x", held["access"]))
    policy.world.cloud.cognito.pool.refresh_tokens[held["refresh"]].grant.revoked = False
    assert refused(check(policy, "/people/x", refreshed(policy, held)))


def block_ids(policy: RunningWorld) -> set[str]:
    """Of everything that keeps somebody of acme out, whatever other tests left."""
    return {
        block["id"]
        for block in json.loads(
            policy.run(policy.world.command("blocks", "list", "--tenant", "acme", "--json"))
        )["items"]
    }


async def test_a_block_reaches_every_token_and_lifting_it_brings_none_of_before_back(
    policy: RunningWorld, visitor: Person, newcomer: str
) -> None:
    held = await sign_in(policy, visitor, newcomer)
    assert check(policy, "/people/x", held["access"]).status == 200, "groups: any"
    earlier = block_ids(policy)
    revoke(policy, email=newcomer, kind="block")
    assert refused(check(policy, "/people/x", held["access"]))
    (block,) = block_ids(policy) - earlier
    policy.run(policy.world.command("blocks", "remove", block))
    assert refused(check(policy, "/people/x", held["access"]))


async def test_after_end_sessions_a_token_of_a_later_authentication_passes_and_after_a_block_none(
    policy: RunningWorld, visitor: Person, newcomer: str
) -> None:
    """Whoever holds Cognito's cookie may get one without asking the identity provider, where
    Cognito renews ``auth_time``: only a block closes that.
    """
    held = await sign_in(policy, visitor, newcomer)

    claims = claims_of(held["access"])

    def later(seconds: int) -> str:
        return machine(policy, lambda draft: as_person(draft, claims, later_s=seconds))

    assert check(policy, "/people/x", later(0)).status == 200
    revoke(policy, email=newcomer, kind="end_sessions")
    assert refused(check(policy, "/people/x", later(0))), "within the margin of five seconds"
    assert check(policy, "/people/x", later(7)).status == 200
    earlier = block_ids(policy)
    revoke(policy, email=newcomer, kind="block")
    assert refused(check(policy, "/people/x", later(7)))
    (block,) = block_ids(policy) - earlier
    policy.run(policy.world.command("blocks", "remove", block))


PERSONS: dict[str, Callable[[TokenDraft], TokenDraft | str]] = {
    "another tenant's client (TOK-06)": lambda d: d.with_claims(
        client_id="globexdemo00000000000000"
    ),
    "expired (TOK-10)": lambda d: d.with_claims(exp=int(time.time()) - 120),
    "an ID token's use (TOK-08)": lambda d: d.with_claims(
        token_use="id", aud="acmedemo0000000000000000"
    ),
    "an ID token's shape (TOK-08)": lambda d: d.with_claims(
        client_id=None, aud="acmedemo0000000000000000"
    ),
    "alg-none (TOK-02)": lambda d: replace(d, algorithm=None),
    "hs256 with the public key (TOK-02)": hs256_with_public_key,
    "embedded-jwk (TOK-03)": embedded_jwk,
    "without a subject": lambda d: d.with_claims(sub=None),
    "with an empty subject": lambda d: d.with_claims(sub="", username=""),
    "a subject that is the client's": lambda d: d.with_claims(sub="acmedemo0000000000000000"),
    "a subject of nobody": lambda d: d.with_claims(sub="00000000-0000-4000-8000-000000000000"),
    "without auth_time": lambda d: d.with_claims(auth_time=None),
    "auth_time that is no number": lambda d: d.with_claims(auth_time=str(int(time.time()))),
    "auth_time true": lambda d: d.with_claims(auth_time=True),
    "auth_time before anything is remembered": lambda d: d.with_claims(
        auth_time=int(time.time()) - 31 * 86400
    ),
}


@pytest.mark.parametrize("spoil", PERSONS.values(), ids=PERSONS.keys())
async def test_a_persons_token_that_is_not_quite_right_stays_out(
    policy: RunningWorld, visitor: Person, spoil: Callable[[TokenDraft], TokenDraft | str]
) -> None:
    held = await sign_in(policy, visitor, "bob@acme.test")
    claims = claims_of(held["access"])
    assert refused(
        check(policy, "/people/x", machine(policy, lambda draft: spoil(as_person(draft, claims))))
    )
    assert (
        check(policy, "/people/x", machine(policy, lambda draft: as_person(draft, claims))).status
        == 200
    )


async def test_a_token_counts_for_whom_tenant_and_provider_both_know() -> None:
    """What its user's last login said is compared with what they are now."""
    here = tenant(
        email_domains=frozenset({"acme.test", "acme.example"}),
        providers=(
            provider("acme-okta", domains=frozenset({"acme.test", "former.test"})),
            provider("acme-entra", domains=frozenset({"acme.example"})),
        ),
    )
    whose = identity(sub="alice", provider="acme-okta", email_domain="acme.test")
    token = MachineToken("client", frozenset(), "alice", "okta_alice", int(time.time()))

    async def found(link: Identity | None, *, sub: str = "alice") -> MachineToken | None:
        relying_party, sessions = create_autospec(RelyingParty), create_autospec(SessionStore)
        relying_party.verify_access_token.return_value = replace(token, sub=sub)
        sessions.bearer_link.return_value = None if link is None else BearerLink(link)
        return await Machines(relying_party, sessions).authenticate(here, "token")

    assert await found(whose) == replace(token, person=whose)
    for link in (
        None,
        replace(whose, sub="bob"),
        replace(whose, provider="acme-former"),
        replace(whose, email_domain="acme.example"),  # the tenant's, and another provider's
        replace(whose, email_domain="former.test"),  # the provider's, and no more the tenant's
        replace(whose, email_domain=""),
    ):
        assert await found(link) is None
    assert await found(whose, sub="") is None


async def test_without_a_login_here_there_is_no_entry(
    policy: RunningWorld, visitor: Person
) -> None:
    """A person of another tenant with a token of acme's own client: the pool would sign it."""
    held = await sign_in(policy, visitor, "carol@globex.test", "globex.localhost")
    subject = next(
        u
        for u in policy.world.cloud.cognito.pool.users.values()
        if u.attributes.get("email") == "carol@globex.test"
    )
    token = machine(
        policy,
        lambda d: d.with_claims(
            sub=subject.sub,
            username=subject.username,
            client_id="acmedemo0000000000000000",
            scope="openid",
        ),
    )
    assert refused(check(policy, "/people/x", token))
    assert refused(check(policy, "/people/x", held["access"]))


def test_keys_that_cannot_be_asked_for_are_no_entry_and_no_refusal(policy: RunningWorld) -> None:
    """The keys of a fresh process cannot be fetched: 503, not 401."""
    faults = policy.world.cloud.cognito.faults
    token = machine_token(policy)
    policy.run(policy.world.stop_gateways())
    policy.run(policy.world.start_gateways())
    faults.always("jwks", status(500))
    faults.always("discovery", status(500))
    assert check(policy, "/api/x", token).status == 503
    faults.clear()
    # Without keys it asks again only after a while: whoever comes next gets a process that has not
    # tried yet.
    policy.run(policy.world.stop_gateways())
    policy.run(policy.world.start_gateways())
