"""Values for tests of the core: a tenant, a request and a session that fit together, each field
replaceable.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.core.model import (
    AuthRequest,
    EmailTrust,
    HeaderSpec,
    Identity,
    Provider,
    ProviderKind,
    RequestKind,
    Secret,
    Session,
    SessionLimits,
    Tenant,
)
from gateway.core.rule import Rule

NOW = 1_800_000_000


def provider(
    name: str = "acme-okta", kind: ProviderKind = ProviderKind.OKTA, **changes: Any
) -> Provider:
    made = Provider(
        name,
        kind,
        "Sign in",
        "https://acme.okta.com",
        frozenset({"acme.com"}),
        EmailTrust.TENANT_IDP,
    )
    return replace(made, **changes)


def rule(path: str, **changes: Any) -> Rule:
    methods = changes.pop("methods", None)
    return replace(Rule(path), methods=frozenset(methods) if methods else None, **changes)


def tenant(**changes: Any) -> Tenant:
    made = Tenant(
        id="acme",
        name="Acme",
        active=True,
        hosts=frozenset({"app.acme.com"}),
        wildcards=frozenset(),
        email_domains=frozenset({"acme.com"}),
        allowed_groups=frozenset({"users"}),
        allowed_roles=None,
        client_id="client",
        client_secret=Secret("s"),
        scopes=("openid",),
        providers=(provider(),),
        rules=(),
        shadow_rules=(),
        headers=(
            HeaderSpec("X-User", "sub"),
            HeaderSpec("X-Groups", "groups"),
            HeaderSpec("X-Jwt", "assertion"),
        ),
        session=SessionLimits(1800, 43200, 20),
    )
    own = {"providers": (provider(f"{changes['id']}-okta"),)} if "id" in changes else {}
    return replace(made, **{**own, **changes})


def identity(**changes: Any) -> Identity:
    made = Identity(
        sub="sub-1",
        email="alice@acme.com",
        email_domain="acme.com",
        username="acme-okta_1",
        preferred_username="alice",
        name="Alice",
        groups=("users",),
        roles=(),
        provider="acme-okta",
        idp_subject="1",
    )
    return replace(made, **changes)


def session(**changes: Any) -> Session:
    who = changes.pop("identity", None) or identity()
    made = Session(
        digest="d",
        tenant="acme",
        host="app.acme.com",
        family="f",
        identity=who,
        began=1,
        auth_time=NOW - 10,
        created_at=NOW - 10,
        expires_at=NOW + 100,
        client_id="client",
    )
    return replace(made, **changes)


def request(path: str = "/", **changes: Any) -> AuthRequest:
    made = AuthRequest(
        scheme="https",
        host="app.acme.com",
        method="GET",
        path=path,
        ambiguous=False,
        original_uri=path,
        kind=RequestKind.NAVIGATION,
        html=True,
        cookies=(),
        other_cookies="",
        bearer=None,
        preflight=False,
        client="",
        request_id="",
    )
    return replace(made, **changes)
