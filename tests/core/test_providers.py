"""What one provider of a tenant asks for: at every check, for every credential, beside what the
tenant asks for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.core.decide import Trace, decide, match
from gateway.core.decision import Allow, Decision, Deny, Login
from gateway.core.explain import Hypothesis, explain
from gateway.core.login import Accepted, Refusal, accept
from gateway.core.model import AppPassword, Identity, MachineToken, Provider, ProviderKind, Tenant
from gateway.core.outdated import groups_that_count
from gateway.core.reason import Reason
from gateway.core.rule import BearerRule
from gateway.core.tenants import TenantTable
from tests.core.build import NOW, identity, provider, request, rule, session, tenant

PEOPLE = BearerRule(frozenset({"app"}), frozenset())
RULES = (
    rule("/guests/**", any_group=True, any_role=True, override_tenant_groups=True),
    rule("/api/**", bearer=PEOPLE, any_group=True, any_role=True),
    rule("/dav/**", app_passwords=True),
    rule("/public/**", public=True),
)
TOKEN = MachineToken("app", frozenset(), sub="sub-1", username="acme-okta_1", auth_time=0)


def at(*, inactive: bool = False, **changes: Any) -> Tenant:
    one = provider(**changes)
    other = provider("acme-entra", ProviderKind.ENTRA, domains=frozenset({"acme.org"}))
    return tenant(
        providers=(other,) if inactive else (one, other),
        inactive_providers=(one,) if inactive else (),
        email_domains=frozenset({"acme.com", "acme.org"}),
        rules=RULES,
    )


def check(
    where: Tenant, path: str, who: Identity, *, trace: Trace | None = None
) -> tuple[type[Decision], Reason]:
    """With what each path takes: a session, an access token or an app password."""
    held = session(identity=who)
    asked = request(
        path,
        bearer="t" if path.startswith("/api") else None,
        app_password="p" if path.startswith("/dav") else None,
    )
    decision = decide(
        where,
        asked,
        match(where, asked),
        session=held,
        machine=replace(TOKEN, person=who) if asked.bearer else None,
        password=AppPassword(replace(held, host=""), frozenset(), ("/",), NOW)
        if asked.app_password
        else None,
        now=NOW,
        trace=trace,
    )
    return type(decision), decision.reason


FINANCE = frozenset({"finance"})
BOTH = identity(groups=("users", "finance"))
CASES: dict[str, tuple[dict[str, Any], str, Identity, type[Decision], Reason]] = {
    "the tenant's group alone": ({"groups": FINANCE}, "/", identity(), Deny, Reason.GROUP_MISSING),
    "the provider's group alone": (
        {"groups": FINANCE},
        "/",
        identity(groups=("finance",)),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "both groups": ({"groups": FINANCE}, "/", BOTH, Allow, Reason.OK),
    "no group of the provider": ({"groups": frozenset()}, "/", BOTH, Deny, Reason.GROUP_MISSING),
    "no rule replaces it": (
        {"groups": FINANCE},
        "/guests/x",
        identity(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "what a rule replaces is the tenant's": (
        {"groups": FINANCE},
        "/guests/x",
        identity(groups=("finance",)),
        Allow,
        Reason.OK,
    ),
    "a role": ({"roles": FINANCE}, "/", identity(), Deny, Reason.ROLE_MISSING),
    "a role that is held": (
        {"roles": FINANCE},
        "/",
        identity(roles=("finance",)),
        Allow,
        Reason.OK,
    ),
    "an app password": ({"groups": FINANCE}, "/dav/x", identity(), Deny, Reason.GROUP_MISSING),
    "an app password of both": ({"groups": FINANCE}, "/dav/x", BOTH, Allow, Reason.APP_PASSWORD),
    "a person's token": ({}, "/api/x", identity(), Allow, Reason.BEARER),
    "a person's token, which has no groups": (
        {"groups": FINANCE},
        "/api/x",
        BOTH,
        Login,
        Reason.BEARER_INVALID,
    ),
    "a person's token, which has no roles": (
        {"roles": FINANCE},
        "/api/x",
        BOTH,
        Login,
        Reason.BEARER_INVALID,
    ),
    "a session of an inactive provider": (
        {"inactive": True},
        "/",
        identity(),
        Login,
        Reason.PROVIDER_INACTIVE,
    ),
    "an app password of an inactive provider": (
        {"inactive": True},
        "/dav/x",
        identity(),
        Login,
        Reason.APP_PASSWORD_INVALID,
    ),
    "a token of an inactive provider": (
        {"inactive": True},
        "/api/x",
        identity(),
        Login,
        Reason.BEARER_INVALID,
    ),
    "a session of a provider that is gone": (
        {},
        "/",
        identity(provider="acme-gone"),
        Login,
        Reason.REAUTHENTICATE,
    ),
    "a domain of another provider": (
        {},
        "/",
        identity(email_domain="acme.org"),
        Deny,
        Reason.EMAIL_DOMAIN,
    ),
    "an inactive provider's session at a public path is nobody's": (
        {"inactive": True},
        "/public/x",
        identity(),
        Allow,
        Reason.PUBLIC,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_provider_asks_for_holds_at_every_check(case: str) -> None:
    changes, path, who, kind, reason = CASES[case]
    where, trace = at(**changes), Trace()
    assert check(where, path, who, trace=trace) == (kind, reason)
    assert check(where, path, who) == (kind, reason), "the trace changes nothing"


def test_a_session_of_an_inactive_provider_is_nobody_at_a_public_path() -> None:
    where, asked = at(inactive=True), request("/public/x")
    decision = decide(where, asked, match(where, asked), session=session(), machine=None, now=NOW)
    assert decision == Allow(Reason.PUBLIC)


def test_a_token_of_somebody_whom_nobody_looked_up_counts_as_of_any_provider() -> None:
    where, asked = at(groups=FINANCE), request("/api/x", bearer="t")
    decision = decide(where, asked, match(where, asked), session=None, machine=TOKEN, now=NOW)
    assert decision == Login(Reason.BEARER_INVALID, redirect=False)


def test_a_machine_has_no_provider() -> None:
    where, asked = at(groups=FINANCE), request("/api/x", bearer="t")
    machine = replace(TOKEN, sub="", username="")
    decision = decide(where, asked, match(where, asked), session=None, machine=machine, now=NOW)
    assert isinstance(decision, Allow)


CLAIMS: dict[str, Any] = {
    "sub": "sub-1",
    "cognito:username": "acme-entra_1",
    "identities": [{"providerName": "acme-entra", "userId": "1"}],
    "email": "alice@acme.com",
    "custom:groups": "[users]",
}


def test_a_provider_asserts_no_domain_of_another_one_at_a_login() -> None:
    where = at()
    entra = where.provider("acme-entra")
    assert entra is not None
    refused = accept(CLAIMS, where, entra, pool_id="pool")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.EMAIL_DOMAIN
    accepted = accept({**CLAIMS, "email": "alice@acme.org"}, where, entra, pool_id="pool")
    assert isinstance(accepted, Accepted)


@pytest.mark.parametrize("own", [True, False], ids=["the provider asks", "nobody asks"])
def test_a_login_without_groups_is_told_where_only_the_provider_asks_for_some(*, own: bool) -> None:
    entra = provider("acme-entra", ProviderKind.ENTRA, groups=FINANCE if own else None)
    where = tenant(allowed_groups=None, providers=(entra,))
    accepted = accept({**CLAIMS, "custom:groups": ""}, where, entra, pool_id="pool")
    assert isinstance(accepted, Accepted)
    assert bool(accepted.warnings) is own


def test_names_of_a_provider_are_canonical_and_count_for_older_sessions() -> None:
    one: Provider = provider(groups=frozenset({"Équipe"}), roles=frozenset({"Ro\u0301le"}))
    assert (one.groups, one.roles) == (frozenset({"Équipe"}), frozenset({"Róle"}))
    where = tenant(allowed_groups=None, providers=(), inactive_providers=(one,))
    assert groups_that_count(where) == frozenset({"Équipe"})


def explained(where: Tenant, **more: Any) -> dict[str, tuple[bool, str]]:
    asked = Hypothesis(
        **{"host": "app.acme.com", "path": "/", "method": "GET", "email": "alice@acme.com", **more}
    )
    found = explain(TenantTable.of([where]), asked, now=NOW)
    assert found is not None
    return {step: (passed, detail) for step, passed, detail in found.steps}


def test_an_explanation_names_the_provider_whose_rule_refused() -> None:
    steps = explained(at(groups=FINANCE), groups=("users",))
    assert steps["groups of provider acme-okta"] == (False, "any of: finance")
    steps = explained(at(), groups=("users",), provider="acme-entra")
    assert steps["e-mail domain"] == (False, "acme.com is none of provider acme-entra's")
    steps = explained(at(), email="eve@evil.com", groups=("users",), provider="acme-entra")
    assert steps["e-mail domain"] == (False, "evil.com is none of the tenant's")
    steps = explained(at(inactive=True), groups=("users",))
    assert steps["login"] == (False, "taken to be through acme-okta, which is not active")
    assert steps["session"] == (False, "provider_inactive")


def test_an_explanation_judges_a_token_by_its_persons_provider() -> None:
    steps = explained(at(groups=FINANCE), path="/api/x", client="app")
    assert steps["bearer"] == (
        False,
        "a person's token carries no groups or roles, and provider acme-okta asks for some",
    )
    steps = explained(at(inactive=True), path="/api/x", client="app")
    assert steps["bearer"] == (False, "provider acme-okta: provider_inactive")
    assert explained(at(), path="/api/x", client="app")["bearer"] == (True, "app")
