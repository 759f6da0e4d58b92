"""An explanation is the decision: never another one, and never about somebody else's tenant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decide import decide, match
from gateway.core.decision import Allow, Deny, Login, Reason
from gateway.core.explain import Explained, Hypothesis, explain
from gateway.core.model import BearerRule, ProviderKind
from gateway.core.tenants import TenantTable
from tests.core.build import NOW, identity, provider, request, rule, session, tenant

ACME = tenant(
    rules=(
        rule("/public/**", everyone=True), rule("/closed/**", deny=True), rule("/admin/**", groups=frozenset({"admins"})),
        rule("/guests/**", groups=frozenset({"guests"}), replace=True), rule("/api/**", bearer=BearerRule(frozenset({"m"}), frozenset()), session=False),
    ),
    rules_next=(rule("/public/**", deny=True),),
)  # fmt: skip
GLOBEX = tenant(
    id="globex", name="Globex", hosts=frozenset({"globex.com"}), email_domains=frozenset({"globex.com"}), client_id="other",
    allowed_groups=frozenset({"secret-group"}), providers=(provider("globex-entra", ProviderKind.ENTRA, domains=frozenset({"globex.com"})),), rules=(rule("/hidden/**", deny=True),),
)  # fmt: skip
OFF = tenant(id="off", active=False, hosts=frozenset({"off.com"}), email_domains=frozenset({"off.com"}), client_id="third")
TABLE = TenantTable([ACME, GLOBEX, OFF], shared_hosts=["app.example.com"], login_host="login.example.com")


def ask(host: str = "app.acme.com", path: str = "/", method: str = "GET", *, only: str | None = None, **who: Any) -> Explained | None:
    return explain(TABLE, Hypothesis(host, path, method, **who), now=NOW, only=only)


def told(found: Explained | None) -> tuple[type[object], Reason]:
    assert found is not None
    return type(found.decision), found.decision.reason


ALICE: dict[str, Any] = {"email": "alice@acme.com", "groups": ("users",)}
CASES: dict[str, tuple[dict[str, Any], type[object], Reason]] = {
    "nobody": ({}, Login, Reason.NO_SESSION),
    "alice": (ALICE, Allow, Reason.OK),
    "without the group": ({"email": "alice@acme.com"}, Deny, Reason.GROUP_MISSING),
    "from another domain": ({"email": "a@evil.com", "groups": ("users",)}, Deny, Reason.EMAIL_DOMAIN),
    "an address that is none": ({"email": "a@b@acme.com"}, Login, Reason.NO_SESSION),
    "a provider that is none": ({**ALICE, "provider": "gone"}, Login, Reason.REAUTHENTICATE),
    "public": ({"path": "/public/x"}, Allow, Reason.PUBLIC),
    "closed": ({**ALICE, "path": "/closed/x"}, Deny, Reason.RULE_DENIED),
    "the path as the application reads it": ({**ALICE, "path": "/%61dmin/x?y=1"}, Deny, Reason.GROUP_MISSING),
    "an ambiguous path": ({**ALICE, "path": "/public/../admin"}, Deny, Reason.BAD_REQUEST),
    "a malformed path": ({**ALICE, "path": "/%zz"}, Deny, Reason.BAD_REQUEST),
    "machines only": ({**ALICE, "path": "/api/x"}, Login, Reason.BEARER_INVALID),
    "an unknown host": ({"host": "nobody.example.org"}, Deny, Reason.UNKNOWN_HOST),
    "a malformed host": ({"host": "a b"}, Deny, Reason.BAD_REQUEST),
    "an inactive tenant": ({"host": "off.com"}, Deny, Reason.TENANT_INACTIVE),
    "a shared host, nobody": ({"host": "app.example.com"}, Login, Reason.NO_SESSION),
    "a shared host, alice": ({**ALICE, "host": "App.Example.com:443"}, Allow, Reason.OK),
    "a shared host, an unknown domain": ({"host": "app.example.com", "email": "a@nowhere.org"}, Login, Reason.NO_SESSION),
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
        ("login", True), ("tenant", True), ("rule", True), ("session", True), ("e-mail domain", True), ("tenant's groups", True), ("rule's groups", False),
    ]  # fmt: skip
    assert (found.groups, found.roles, found.matched and found.matched.index) == (("admins",), (), 2)


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
def test_it_says_what_the_check_would_do_for_that_session(path: str, groups: set[str], email: str, method: str) -> None:
    held = tuple(sorted(groups))
    asked = request(path, method=method)
    real = decide(ACME, asked, match(ACME, asked), session=session(identity=identity(email=email, email_domain=email.partition("@")[2], groups=held)), machine=None, now=NOW)
    found = ask(path=path, method=method, email=email, groups=held)
    assert told(found) == (type(real), real.reason)


# --- whose data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"host": "globex.com"}, {"host": "globex.com", "path": "/hidden/x", "email": "a@globex.com"}, {"host": "nobody.example.org"}, {"host": "a b"},
        {"host": "app.example.com", "email": "a@globex.com"}, {"host": "app.example.com", "email": "a@nowhere.org"}, {"host": "login.example.com"}, {"host": "globex.com", "path": "/%zz"},
    ],
    ids=str,
)  # fmt: skip
def test_a_tenants_own_key_hears_the_same_of_other_tenants_and_of_nobody(asked: dict[str, Any]) -> None:
    assert ask(**asked, only="acme") is None


@pytest.mark.parametrize("asked", [ALICE, {**ALICE, "host": "app.example.com"}, {"host": "app.example.com"}, {"path": "/%zz"}], ids=str)
def test_a_tenants_own_key_may_ask_about_its_own(asked: dict[str, Any]) -> None:
    assert ask(**asked, only="acme") is not None


@given(
    host=st.sampled_from(["app.acme.com", "app.example.com"]), email=st.sampled_from([None, "a@acme.com", "a@globex.com", "a@off.com"]), path=st.sampled_from(["/", "/hidden/x"])
)
def test_nothing_of_another_tenant_is_ever_said(host: str, email: str | None, path: str) -> None:
    found = ask(host, path, email=email, only="acme")
    said = repr(replace(found, tenant=None)) if found is not None else ""
    assert "secret-group" not in said
    assert "globex-entra" not in said
    assert found is None or found.tenant in (None, ACME)
