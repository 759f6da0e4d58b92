"""What a check says to a person, or to a program, when it does not say yes. Not the hot path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.core.decision import Allow, Login
from gateway.core.model import RequestKind
from gateway.ingress.answers import STATUS_OF_DENIAL
from gateway.web.language import negotiate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.decision import Decision
    from gateway.core.model import AuthRequest, Tenant
    from gateway.web.pages import Pages

UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def explain_body(pages: Pages, decision: Decision, tenant: Tenant | None, request: AuthRequest | None, location: str, languages: Sequence[str]) -> tuple[bytes, str]:
    """Body and content type: a page where a person would see it, else ``application/problem+json`` (RFC 9457)."""
    if isinstance(decision, Allow):
        return b"", ""
    login = isinstance(decision, Login)
    if request is None or not request.html:
        status = 401 if login else STATUS_OF_DENIAL.get(decision.reason, 403)
        problem = {"type": "about:blank", "title": "Unauthorized" if login else "Refused", "status": status, "code": decision.reason.value}
        if login and location:
            problem["login"] = location
        return json.dumps(problem).encode(), "application/problem+json"
    language = negotiate(",".join(languages))
    if login and request.kind is RequestKind.FRAME:
        html = pages.render("frame", tenant, language, request_id=request.request_id, login=location)
    elif login and request.method in UNSAFE_METHODS:
        html = pages.render("retry", tenant, language, request_id=request.request_id, login=location, method=request.method)
    else:
        html = pages.render("error", tenant, language, request_id=request.request_id, reason=decision.reason, code="", retry=location or None)
    return html.encode(), "text/html; charset=utf-8"
