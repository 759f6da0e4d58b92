"""What a check says to a person, or to a program, when it does not say yes. Not the hot path."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.check.dialects.responses import STATUS_OF_DENIAL
from gateway.check.page_links import change_address, provider_sign_out
from gateway.core.decide import match
from gateway.core.decision import Allow, Deny, Login
from gateway.core.model import RequestKind
from gateway.core.reason import Reason
from gateway.core.returns import MAX_LOCATION_CHARACTERS
from gateway.pages.language import negotiate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.check.dialects.responses import HeaderList
    from gateway.check.services import Services
    from gateway.core.decision import Decision
    from gateway.core.model import AuthRequest, Identity, Session, Tenant
    from gateway.core.rules import Match


@dataclass(frozen=True, slots=True)
class Explained:
    """A page where a person would see it, else ``application/problem+json`` (RFC 9457)."""

    body: bytes = b""
    content_type: str = ""
    headers: HeaderList = ()
    """What belongs to a page besides its type: its policy, above all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for what, as far as the check came. ``location``: of the login, or of the
    explanation page. ``html``: whether a page would be seen.
    """

    tenant: Tenant | None
    request: AuthRequest | None
    session: Session | None
    location: str
    languages: Sequence[str]
    html: bool
    request_id: str


def explain(services: Services, decision: Decision, asked: Asked) -> Explained:
    """Words for a decision that is not an allow."""
    request = asked.request
    if isinstance(decision, Allow) or (
        isinstance(decision, Login)
        and decision.redirect
        and request is not None
        and request.kind is RequestKind.NAVIGATION
    ):
        return Explained()
    if not asked.html or (
        isinstance(decision, Login) and (request is None or request.kind is RequestKind.OTHER)
    ):
        return _problem(decision, asked.location)
    pages, tenant, language = services.pages, asked.tenant, negotiate(",".join(asked.languages))
    name, values = _page(services, decision, asked, tenant, request)
    html = pages.render(name, tenant, language, request_id=asked.request_id, **values)
    headers = tuple(
        (n, v)
        for n, v in pages.headers(name, tenant, language)
        if n not in {"Content-Type", "Cache-Control"}
    )
    return Explained(html.encode(), "text/html; charset=utf-8", headers)


def _page(
    services: Services,
    decision: Login | Deny,
    asked: Asked,
    tenant: Tenant | None,
    request: AuthRequest | None,
) -> tuple[str, dict[str, object]]:
    """Which page tells it, with its values. It is shown at a protected host, whose start page is
    ``/``.
    """
    if request is None:
        return "error", {
            "reason": decision.reason,
            "code": "",
            "retry": None,
            "change": None,
            "start": "/",
            "others": (),
        }
    if isinstance(decision, Login) and request.kind is RequestKind.FRAME:
        return "frame", {"login": asked.location}
    if isinstance(decision, Login) and request.kind is RequestKind.FORM:
        return "retry", {"login": asked.location}
    origin = services.config.origin(request.host)
    back = origin + (
        request.original_uri if len(request.original_uri) <= MAX_LOCATION_CHARACTERS else "/"
    )
    change = change_address(origin, back) if request.host in services.config.shared_hosts else None
    if isinstance(decision, Deny) and tenant is not None and asked.session is not None:
        return "denied", denied_values(
            tenant,
            match(tenant, request),
            asked.session.identity,
            decision,
            return_to=back,
            change=change,
        )
    return "error", {
        "reason": decision.reason,
        "code": "",
        "retry": asked.location or None,
        "change": change,
        "start": "/",
        "others": (),
    }


def denied_values(
    tenant: Tenant,
    rule_match: Match,
    identity: Identity,
    decision: Deny,
    *,
    return_to: str,
    change: str | None,
) -> dict[str, object]:
    """What the page ``denied`` says to a person who is signed in."""
    return {
        "reason": decision.reason,
        "email": identity.email,
        "groups": tenant.branding.labeled(decision.groups),
        "roles": decision.roles,
        "rule": rule_match.rule.path if rule_match.rule is not None else "",
        "return_to": return_to,
        "change": change,
        "no_groups": decision.reason is Reason.GROUP_MISSING and not identity.groups,
        "provider_sign_out": provider_sign_out(tenant.provider(identity.provider)),
    }


def _problem(decision: Login | Deny, location: str) -> Explained:
    login = isinstance(decision, Login)
    status = 401 if login else STATUS_OF_DENIAL.get(decision.reason, 403)
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": decision.reason.value,
    }
    if login and location:
        problem["login"] = location
    return Explained(json.dumps(problem).encode(), "application/problem+json")
