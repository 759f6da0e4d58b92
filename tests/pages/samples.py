"""A tenant, and the values of every page, as a customer's people would meet them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.core.model import Branding, Secret, SessionLimits, Tenant
from gateway.core.reason import Reason
from gateway.login.my_app_passwords import Offer
from gateway.pages.texts import TrialLack, TrialStep
from gateway.sessions.api import AppPasswordView, SessionView

PRODUCT: Final = "Example Cloud"
PRODUCT_BRANDING: Final = Branding(support="help@example.com")
REQUEST_ID: Final = "7f3a9c0e1b2d4f5a8c6e7d8f9a0b1c2d"
NOW: Final = 1_790_007_900
ACME: Final = Tenant(
    id="acme",
    name="Acme Corporation",
    active=True,
    hosts=frozenset({"acme.example.com"}),
    wildcards=frozenset(),
    email_domains=frozenset({"acme.com"}),
    allowed_groups=frozenset({"app-users"}),
    allowed_roles=None,
    client_id="c",
    client_secret=Secret("s"),
    scopes=("openid",),
    providers=(),
    rules=(),
    shadow_rules=(),
    headers=(),
    session=SessionLimits(idle_s=1, absolute_s=1, max_per_user=1),
    branding=Branding(logo="https://cdn.acme.com/logo.svg", color="#ffe600", support="it@acme.com"),
)
FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SESSION: Final = SessionView(
    session="f1",
    tenant="acme",
    user="u",
    email="alice@acme.com",
    provider="acme-okta",
    hosts=("acme.example.com",),
    created_at=1_790_000_000,
    expires_at=1_790_040_000,
    user_agent=FIREFOX,
    current=True,
    client="203.0.113.7",
    place="Leipzig, DE",
    last_seen_at=1_790_003_600,
)
VALUES: Final[dict[str, dict[str, Any]]] = {
    "error": {
        "reason": Reason.IDP_ERROR,
        "code": "not_assigned",
        "retry": "/_auth/login?rd=%2F",
        "others": (("Sign in with Google", "/_auth/login?provider=acme-google"),),
        "change": "/_auth/login?change=1",
        "start": "/",
    },
    "denied": {
        "reason": Reason.GROUP_MISSING,
        "email": "mallory@acme.com",
        "groups": (
            ("app-users", ""),
            ("3f2b8c1e-9d4a-4c7b-8e21-6a5f0c9d7b42", "Finance, Northern Europe"),
        ),
        "no_groups": True,
        "roles": ("owner",),
        "rule": "/admin/**",
        "return_to": "https://acme.example.com/admin?token=t",
        "change": "/_auth/login?change=1",
        "provider_sign_out": "https://acme.okta.com/login/signout",
    },
    "other_person": {
        "typed": "alice@acme.com",
        "email": "bob@acme.com",
        "go_on": "https://acme.example.com/",
        "again": "/_auth/login?switch=1",
        "provider_sign_out": "https://acme.okta.com/login/signout",
    },
    "signed_out": {
        "providers": ("Okta",),
        "login": "/_auth/login",
        "change": "/_auth/login?change=1",
    },
    "logout": {"email": "alice@acme.com", "return_to": "/"},
    "email": {
        "return_to": "https://app.example.com/",
        "email": "alice@acme.con",
        "problem": "unknown",
        "host": "app.example.com",
    },
    "chooser": {
        "choices": (
            ("Sign in with Okta", "Okta", "/_auth/login?provider=acme-okta"),
            ("Staff of Globex", "Microsoft", "/_auth/login?provider=acme-entra"),
        ),
        "change": "/_auth/login",
    },
    "frame": {"login": "/_auth/login"},
    "retry": {"login": "/_auth/login"},
    "sessions": {
        "now": NOW,
        "sessions": (
            SESSION,
            replace(
                SESSION,
                session="f2",
                user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/"
                "605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
                current=False,
                created_at=1_789_830_000,
                expires_at=1_790_009_000,
                hosts=("acme.example.com", "calendar.acme.example.com"),
            ),
            replace(SESSION, session="f3", user_agent="", current=False, created_at=1_790_007_890),
        ),
        "email": "alice@acme.com",
        "app_passwords": (
            replace(
                SESSION,
                session="p1",
                app_password=AppPasswordView(
                    "laptop, git", ("acme.example.com",), ("/dav",), 1_790_000_500
                ),
                expires_at=1_792_000_000,
            ),
            replace(SESSION, session="p2", app_password=AppPasswordView("phone", (), ("/",), None)),
        ),
        "offer": Offer(("acme.example.com",), 30, everywhere=True, moved=True),
        "problem": "fields",
        "reauthenticate": "",
    },
    "end_all": {"sessions": 3, "app_passwords": 2, "email": "alice@acme.com"},
    "app_password": {
        "text": f"gwap_{'9fJ2kQ7mXw4T1bLr8VnZ6cPd3HsY5gUa' * 3}"[:74],
        "label": "laptop, git",
        "expires_at": 1_792_000_000,
    },
    "test_result": {
        "steps": (
            (TrialStep.SIGN_IN, 212.4, True, "Okta"),
            (TrialStep.EXCHANGE, 80.0, True, ""),
            (TrialStep.CLAIMS, 0.2, True, ""),
            (TrialStep.DECISION, 0.1, False, "group_missing"),
        ),
        "claims": (
            ("cognito:username", "acme-okta_00u1x8k2jv9QdTzBn5d7"),
            ("custom:department", "Research and Development, Northern Europe"),
            ("custom:groups", "everyone,wiki-readers"),
            ("email", "alice@acme.com"),
            ("iss", "https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_Demo12345"),
        ),
        "groups": (("everyone", ""), ("wiki-readers", "Readers of the wiki")),
        "missing": (
            (TrialLack.GROUPS, "app-users, <admins>"),
            (TrialLack.IDP_IAT, ""),
            (TrialLack.DETAIL, "custom:oid"),
        ),
        "allowed": False,
        "reason": Reason.GROUP_MISSING,
    },
    "too_long": {"login": "/_auth/login"},
    "not_found": {"start": "/"},
    "unavailable": {"seconds": 5},
}
WITHOUT_TENANT: Final = frozenset({"email", "unavailable"})
"""Pages that are shown before the tenant is known, or where it must not show."""
LOGO: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 36 36"><path fill="#0b5fff" d="M18 3 33 '
    '31H3z"/><path fill="#fff" d="M18 14l6 11H12z"/></svg>'
)
"""What is at the tenant's ``branding.logo``."""
