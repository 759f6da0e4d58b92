"""An explanation is the decision: never another one, and never about somebody else's tenant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.check.dialects import RawRequest
from gateway.check.dialects.forwarded import parse_forwarded
from gateway.core.decide import decide, match
from gateway.core.decision import Allow, Deny, Login
from gateway.core.explain import (
    NO_RESTRICTIONS,
    ActiveRestrictions,
    Explanation,
    Hypothesis,
    explain,
    tenant_for,
)
from gateway.core.model import AppClient, AuthRequest, ProviderKind, Secret
from gateway.core.reason import Reason
from gateway.core.rule import BearerRule
from gateway.core.tenants import TenantTable
from tests.core.build import NOW, identity, provider, request, rule, session, tenant

ACME = tenant(
    rules=(
        rule("/public/**", public=True),
        rule("/closed/**", deny=True),
        rule("/admin/**", groups=frozenset({"admins"})),
        rule("/guests/**", groups=frozenset({"guests"}), override_tenant_groups=True),
        rule("/api/**", bearer=BearerRule(frozenset({"m"}), frozenset()), browser_sessions=False),
        rule("/scoped/**", bearer=BearerRule(frozenset({"m"}), frozenset({"read"}))),
        rule("/people/**", any_group=True, bearer=BearerRule(frozenset({"m"}), frozenset())),
        rule("/dav/**", app_passwords=True),
        rule("/staff/**", app_passwords=True, groups=frozenset({"staff"})),
        rule("/basic/staff/**", pool_passwords=True, groups=frozenset({"staff"})),
        rule("/basic/**", pool_passwords=True),
    ),
    providers=(provider(), provider("acme-cognito", ProviderKind.COGNITO)),
    password_client=AppClient("passwords", Secret("s")),
    shadow_rules=(rule("/public/**", deny=True), rule("/dav/**", app_passwords=True)),
)
GLOBEX = tenant(
    id="globex",
    name="Globex",
    hosts=frozenset({"globex.com"}),
    email_domains=frozenset({"globex.com"}),
    client_id="other",
    allowed_groups=frozenset({"secret-group"}),
    providers=(provider("globex-entra", ProviderKind.ENTRA, domains=frozenset({"globex.com"})),),
    rules=(rule("/hidden/**", deny=True),),
)
OFF = tenant(
    id="off",
    active=False,
    hosts=frozenset({"off.com"}),
    email_domains=frozenset({"off.com"}),
    client_id="third",
)
TABLE = TenantTable.of(
    [ACME, GLOBEX, OFF], shared_hosts=["app.example.com"], login_host="login.example.com"
)


def ask(
    host: str = "app.acme.com",
    path: str = "/",
    method: str = "GET",
    *,
    only: str | None = None,
    restrictions: ActiveRestrictions = NO_RESTRICTIONS,
    **who: Any,
) -> Explanation | None:
    return explain(
        TABLE, Hypothesis(host, path, method, **who), now=NOW, only=only, restrictions=restrictions
    )


def told(found: Explanation | None) -> tuple[type[object], Reason]:
    assert found is not None
    return type(found.decision), found.decision.reason


ALICE: dict[str, Any] = {"email": "alice@acme.com", "groups": ("users",)}
CASES: dict[str, tuple[dict[str, Any], type[object], Reason]] = {
    "nobody": ({}, Login, Reason.NO_SESSION),
    "alice": (ALICE, Allow, Reason.OK),
    "without the group": ({"email": "alice@acme.com"}, Deny, Reason.GROUP_MISSING),
    "from another domain": (
        {"email": "a@evil.com", "groups": ("users",)},
        Deny,
        Reason.EMAIL_DOMAIN,
    ),
    "an address that is none": ({"email": "a@b@acme.com"}, Login, Reason.NO_SESSION),
    "a provider that is none": ({**ALICE, "provider": "gone"}, Login, Reason.REAUTHENTICATE),
    "public": ({"path": "/public/x"}, Allow, Reason.PUBLIC),
    "closed": ({**ALICE, "path": "/closed/x"}, Deny, Reason.RULE_DENIED),
    "the path as the application reads it": (
        {**ALICE, "path": "/%61dmin/x?y=1"},
        Deny,
        Reason.GROUP_MISSING,
    ),
    "an ambiguous path": ({**ALICE, "path": "/public/../admin"}, Deny, Reason.BAD_REQUEST),
    "a malformed path": ({**ALICE, "path": "/%zz"}, Deny, Reason.BAD_REQUEST),
    "machines only": ({**ALICE, "path": "/api/x"}, Login, Reason.BEARER_INVALID),
    "an unknown host": ({"host": "nobody.example.org"}, Deny, Reason.UNKNOWN_HOST),
    "a malformed host": ({"host": "a b"}, Deny, Reason.BAD_REQUEST),
    "an inactive tenant": ({"host": "off.com"}, Deny, Reason.TENANT_INACTIVE),
    "a shared host, nobody": ({"host": "app.example.com"}, Login, Reason.NO_SESSION),
    "a shared host, alice": ({**ALICE, "host": "App.Example.com:443"}, Allow, Reason.OK),
    "a shared host, an unknown domain": (
        {"host": "app.example.com", "email": "a@nowhere.org"},
        Login,
        Reason.NO_SESSION,
    ),
    "login_host": ({**ALICE, "host": "login.example.com"}, Login, Reason.NO_SESSION),
}


@pytest.mark.parametrize(("asked", "kind", "reason"), CASES.values(), ids=CASES.keys())
def test_what_it_comes_to(asked: dict[str, Any], kind: type[object], reason: Reason) -> None:
    found = ask(**asked)
    assert told(found) == (kind, reason)
    assert found is not None and found.steps


def test_the_steps_are_those_of_the_decision() -> None:
    found = ask(path="/admin/x", **ALICE)
    assert found is not None
    assert [(step, passed) for step, passed, _ in found.steps] == [
        ("login", True),
        ("tenant", True),
        ("rule", True),
        ("session", True),
        ("e-mail domain", True),
        ("tenant's groups", True),
        ("rule's groups", False),
    ]
    assert isinstance(found.decision, Deny)
    assert (found.decision.groups, found.decision.roles) == (["admins"], [])
    assert found.matched is not None
    assert found.matched.index == 2


def test_the_next_rules_are_told_beside() -> None:
    found = ask(path="/public/x")
    assert found is not None
    assert (found.decision, found.next) == (Allow(Reason.PUBLIC), Deny(Reason.RULE_DENIED))
    other = ask("globex.com")
    assert other is not None and other.next is None


@given(
    path=st.sampled_from(["/", "/public/a", "/closed/a", "/admin", "/guests/a", "/api/a"]),
    groups=st.sets(st.sampled_from(["users", "admins", "guests"])),
    email=st.sampled_from(["alice@acme.com", "alice@globex.com"]),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
)
def test_it_says_what_the_check_would_do_for_that_session(
    path: str, groups: set[str], email: str, method: str
) -> None:
    held = tuple(sorted(groups))
    asked = request(path, method=method)
    real = decide(
        ACME,
        asked,
        match(ACME, asked),
        session=session(
            identity=identity(email=email, email_domain=email.partition("@")[2], groups=held)
        ),
        machine=None,
        now=NOW,
    )
    found = ask(path=path, method=method, email=email, groups=held)
    assert told(found) == (type(real), real.reason)


DAV = tenant(
    rules=(
        rule("/public/**", public=True),
        rule("/admin/**", groups=frozenset({"admins"})),
        rule("/closed/**", methods={"MOVE"}, deny=True),
    )
)


@given(
    method=st.sampled_from(["DELETE", "MOVE", "COPY", "PROPFIND", "PUT"]),
    path=st.sampled_from(["/", "/public/a", "/admin/a", "/x", "/public//a"]),
    destination=st.sampled_from(
        [
            None,
            "/admin/b",
            "https://APP.acme.com/admin/b?q",
            "/public/b",
            "/closed",
            "//b",
            "/x,/admin",
            "https://globex.com/b",
            "b",
            "",
        ]
    ),
    depth=st.sampled_from([None, "0", "1", " Infinity", "x"]),
    signed_in=st.booleans(),
)
@example("MOVE", "/x", None, None, True)
@example("COPY", "/x", "/admin/b", "0", True)
@example("PROPFIND", "/", None, "1", True)
@example("PROPFIND", "/", None, None, True)
def test_a_webdav_request_is_explained_as_the_check_judges_it(
    method: str, path: str, destination: str | None, depth: str | None, signed_in: bool
) -> None:
    said = {
        "X-Forwarded-Method": method,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.acme.com",
        "X-Forwarded-Uri": path,
        "Destination": destination,
        "Depth": depth,
    }
    headers = CIMultiDict({name: value for name, value in said.items() if value is not None})
    asked = parse_forwarded(RawRequest("GET", "/", headers, "127.0.0.1"), cookie_name="__Host-gw")
    assert isinstance(asked, AuthRequest)
    held = session(identity=identity(groups=("users",))) if signed_in else None
    real = decide(DAV, asked, match(DAV, asked), session=held, machine=None, now=NOW)
    who = Hypothesis(
        "app.acme.com",
        path,
        method,
        "alice@acme.com" if signed_in else None,
        ("users",),
        destination=destination,
        depth=depth,
    )
    assert told(explain(TenantTable.of([DAV]), who, now=NOW)) == (type(real), real.reason)


# --- tokens, and what stands against a person
# -----------------------------------------------------------

TOKENS: dict[str, tuple[dict[str, Any], type[object], Reason]] = {
    "a machine": ({"path": "/api/x", "client": "m"}, Allow, Reason.BEARER),
    "another machine": ({"path": "/api/x", "client": "other"}, Login, Reason.BEARER_INVALID),
    "a machine with a scope": (
        {"path": "/scoped/x", "client": "m", "scopes": ("read",)},
        Allow,
        Reason.BEARER,
    ),
    "a machine without it": ({"path": "/scoped/x", "client": "m"}, Login, Reason.BEARER_INVALID),
    "a person's token": ({**ALICE, "path": "/people/x", "client": "m"}, Allow, Reason.BEARER),
    "a person's token where groups count": (
        {**ALICE, "path": "/api/x", "client": "m"},
        Login,
        Reason.BEARER_INVALID,
    ),
    "no rule for tokens": ({"path": "/", "client": "m"}, Login, Reason.NO_SESSION),
    "public all the same": ({"path": "/public/x", "client": "m"}, Allow, Reason.PUBLIC),
    "a shared host": (
        {"host": "app.example.com", "path": "/api/x", "client": "m"},
        Login,
        Reason.NO_SESSION,
    ),
    "a shared host, a person's": (
        {**ALICE, "host": "app.example.com", "path": "/people/x", "client": "m"},
        Login,
        Reason.NO_SESSION,
    ),
}


@pytest.mark.parametrize(("asked", "kind", "reason"), TOKENS.values(), ids=TOKENS.keys())
def test_what_a_token_comes_to(asked: dict[str, Any], kind: type[object], reason: Reason) -> None:
    assert told(ask(**asked)) == (kind, reason)


def test_a_token_that_no_rule_asks_for_is_told_to_be_the_applications_business() -> None:
    found = ask(client="m")
    assert found is not None and found.steps[-1][0] == "token"


PASSWORDS: dict[str, tuple[dict[str, Any], type[object], Reason]] = {
    "good for all": ({"path": "/dav/x"}, Allow, Reason.APP_PASSWORD),
    "good for the path": ({"path": "/dav/x", "scope": "/%64av"}, Allow, Reason.APP_PASSWORD),
    "good for another": ({"path": "/dav/x", "scope": "/staff"}, Deny, Reason.APP_PASSWORD_SCOPE),
    "moved out of what it is good for": (
        {"path": "/dav/x", "method": "MOVE", "scope": "/dav/x", "destination": "/dav/y"},
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "for a path that none is made for": (
        {"path": "/dav/x", "scope": "/dav//y"},
        Login,
        Reason.APP_PASSWORD_INVALID,
    ),
    "without the rule's group": ({"path": "/staff/x"}, Deny, Reason.GROUP_MISSING),
    "no rule for app passwords": ({}, Login, Reason.NO_SESSION),
    "where only a session passes": ({"path": "/admin/x"}, Login, Reason.NO_SESSION),
    "public all the same": ({"path": "/public/x"}, Allow, Reason.PUBLIC),
    "a shared host": ({"host": "app.example.com", "path": "/dav/x"}, Login, Reason.NO_SESSION),
    "an ambiguous path": ({"path": "/dav//x"}, Deny, Reason.BAD_REQUEST),
}


@pytest.mark.parametrize("case", PASSWORDS)
def test_what_an_app_password_comes_to(case: str) -> None:
    asked, kind, reason = PASSWORDS[case]
    about = {name: value for name, value in asked.items() if name != "scope"}
    found = ask(**ALICE, app_password_path=asked.get("scope", "/"), **about)
    assert told(found) == (kind, reason)
    assert found is not None
    steps = {step: (passed, detail) for step, passed, detail in found.steps}
    if reason is Reason.NO_SESSION and "host" not in steps:
        assert steps["app password"] == (False, "no rule takes app passwords here")
    if reason is Reason.APP_PASSWORD:
        assert found.next == found.decision
    if reason is Reason.GROUP_MISSING:
        assert isinstance(found.decision, Deny)
        assert (found.decision.groups, found.provider) == (["staff"], "acme-okta")
    if reason is Reason.APP_PASSWORD_SCOPE:
        assert steps["scope"][0] is False


POOL_PASSWORDS: dict[str, tuple[dict[str, Any], type[object], Reason]] = {
    "of a user of the pool": ({"path": "/basic/x"}, Allow, Reason.POOL_PASSWORD),
    "of a provider's user": (
        {"path": "/basic/x", "provider": "acme-okta"},
        Deny,
        Reason.NO_POOL_PASSWORD,
    ),
    "of nobody": ({"path": "/basic/x", "email": None}, Login, Reason.POOL_PASSWORD_INVALID),
    "without the rule's group": ({"path": "/basic/staff/x"}, Deny, Reason.GROUP_MISSING),
    "no rule takes it": ({"path": "/admin/x"}, Login, Reason.NO_SESSION),
    "public all the same": ({"path": "/public/x"}, Allow, Reason.PUBLIC),
    "a shared host": ({"host": "app.example.com", "path": "/basic/x"}, Login, Reason.NO_SESSION),
}


@pytest.mark.parametrize("case", POOL_PASSWORDS)
def test_what_a_password_of_the_pool_comes_to(case: str) -> None:
    asked, kind, reason = POOL_PASSWORDS[case]
    found = ask(**{**ALICE, "provider": "acme-cognito", "pool_password": True, **asked})
    assert told(found) == (kind, reason)
    assert found is not None
    steps = {step: (passed, detail) for step, passed, detail in found.steps}
    if case == "no rule takes it":
        assert not steps["password of the pool"][0]
    if case == "a shared host":
        assert "passwords of the pool" in steps["host"][1]


def test_passwords_of_the_pool_have_to_wait_for_their_client() -> None:
    table = TenantTable.of([replace(ACME, password_client=None)])
    asked = Hypothesis(
        "app.acme.com", "/basic/x", "GET", **ALICE, provider="acme-cognito", pool_password=True
    )
    found = explain(table, asked, now=NOW, restrictions=NO_RESTRICTIONS)
    assert told(found) == (Deny, Reason.COGNITO_UNAVAILABLE)


BLOCKED = ActiveRestrictions(block="since 2026-11-01 10:00 UTC by okta")


@pytest.mark.parametrize(
    ("asked", "kind", "reason"),
    [
        (ALICE, Login, Reason.NO_SESSION),
        ({**ALICE, "path": "/people/x", "client": "m"}, Login, Reason.BEARER_INVALID),
        (
            {**ALICE, "path": "/dav/x", "app_password_path": "/"},
            Login,
            Reason.APP_PASSWORD_INVALID,
        ),
        (
            {**ALICE, "provider": "acme-cognito", "path": "/basic/x", "pool_password": True},
            Deny,
            Reason.USER_BLOCKED,
        ),
        ({**ALICE, "path": "/public/x"}, Allow, Reason.PUBLIC),
    ],
)
def test_who_is_blocked_has_no_session_no_token_and_no_app_password(
    asked: dict[str, Any], kind: type[object], reason: Reason
) -> None:
    found = ask(restrictions=BLOCKED, **asked)
    assert told(found) == (kind, reason)
    assert (
        found is not None
        and (
            "block",
            False,
            (
                "user_blocked: since 2026-11-01 10:00 UTC by okta; no login, token or "
                "password of this person is accepted"
            ),
        )
        in found.steps
    )


def test_a_group_that_was_taken_away_is_not_held() -> None:
    taken = ActiveRestrictions(
        groups=(("users", "since then by okta"), ("strangers", "since then by okta")),
        unknown="not looked at: SQL does not answer",
    )
    found = ask(restrictions=taken, **ALICE)
    assert told(found) == (Deny, Reason.GROUP_MISSING)
    assert found is not None
    assert [step for step, _, _ in found.steps if step.startswith(("group taken", "blocks"))] == [
        "group taken away",
        "blocks",
    ]


@pytest.mark.parametrize(
    ("asked", "tenant"),
    [
        ({}, "acme"),
        ({"host": "app.example.com", **ALICE}, "acme"),
        ({"host": "app.example.com"}, None),
        ({"host": "a b"}, None),
        ({"host": "nobody.org"}, None),
    ],
)
def test_whose_a_question_is(asked: dict[str, Any], tenant: str | None) -> None:
    assert (
        tenant_for(
            TABLE,
            Hypothesis(asked.get("host", "app.acme.com"), "/", "GET", email=asked.get("email")),
        )
        == tenant
    )


# --- whose data
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"host": "globex.com"},
        {"host": "globex.com", "path": "/hidden/x", "email": "a@globex.com"},
        {"host": "nobody.example.org"},
        {"host": "a b"},
        {"host": "app.example.com", "email": "a@globex.com"},
        {"host": "app.example.com", "email": "a@nowhere.org"},
        {"host": "login.example.com"},
        {"host": "globex.com", "path": "/%zz"},
    ],
    ids=str,
)
def test_a_tenants_own_key_hears_the_same_of_other_tenants_and_of_nobody(
    asked: dict[str, Any],
) -> None:
    assert ask(**asked, only="acme") is None


@pytest.mark.parametrize(
    "asked",
    [ALICE, {**ALICE, "host": "app.example.com"}, {"host": "app.example.com"}, {"path": "/%zz"}],
    ids=str,
)
def test_a_tenants_own_key_may_ask_about_its_own(asked: dict[str, Any]) -> None:
    assert ask(**asked, only="acme") is not None


@given(
    host=st.sampled_from(["app.acme.com", "app.example.com"]),
    email=st.sampled_from([None, "a@acme.com", "a@globex.com", "a@off.com"]),
    path=st.sampled_from(["/", "/hidden/x"]),
)
def test_nothing_of_another_tenant_is_ever_said(host: str, email: str | None, path: str) -> None:
    found = ask(host, path, email=email, only="acme")
    said = repr(replace(found, tenant=None)) if found is not None else ""
    assert "secret-group" not in said
    assert "globex-entra" not in said
    assert found is None or found.tenant in (None, ACME)


@pytest.mark.parametrize("path", ["/console/link", "/console/link/tenants?x=1", "/console", "/%2e"])
def test_one_time_links_of_the_console_are_explained_as_the_check_judges_them(path: str) -> None:
    hypothesis = Hypothesis(host="console.com", path=path, method="GET")
    found = explain(TABLE, hypothesis, now=NOW, console_host="console.com")
    assert found is not None
    is_link = path.startswith("/console/link")
    expected = Allow(Reason.PUBLIC) if is_link else Deny(Reason.UNKNOWN_HOST)
    assert found.decision == expected
    assert explain(TABLE, hypothesis, now=NOW, console_host="console.com", only="acme") is None
    elsewhere = explain(TABLE, hypothesis, now=NOW)
    assert elsewhere is not None
    assert elsewhere.decision == Deny(Reason.UNKNOWN_HOST)
