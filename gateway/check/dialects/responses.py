"""What a verdict looks like on the wire, for every proxy that hands our answer on as it is.

Rules:
- Allow is exactly 200 with an empty body: Envoy denies on 204, and nginx drops the connection after
  a body.
- A denial carries no identity header, whatever the caller passed: four of five proxies show a
  denial's headers to the client.
- No answer sets a cookie.
- Every denial says ``no-store``: an intermediary that kept one would lock people out after they
  signed in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.core.decision import RETRY_AFTER_S, Allow, Login
from gateway.core.reason import Reason

if TYPE_CHECKING:
    from gateway.core.decision import Decision
    from gateway.core.model import AuthRequest

STATUS_OF_DENIAL = {
    Reason.BAD_REQUEST: 400,
    Reason.UNKNOWN_HOST: 421,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.COGNITO_UNAVAILABLE: 503,
    Reason.TOO_MANY_ATTEMPTS: 503,
}
"""Every other denial is 403."""
RETRY_AFTER_LIMIT_S = 60
"""After too many wrong passwords: when the next minute of the limit has begun."""

HeaderList = tuple[tuple[str, str], ...]
_PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision with what is needed to tell it to a browser, an app or a script."""

    decision: Decision
    headers: HeaderList = ()
    """On Allow: every managed header exactly once, encoded."""
    location: str = ""
    """Absolute; the login or the explanation page. Given for a navigation only."""
    login: str = ""
    """Of a Login, whoever asks: the login's absolute address, or "" where it would be too long."""
    realm: str = ""
    """Of a Login, where a Basic credential would be taken and no browser asks: what the challenge
    for one names (RFC 7617 §2).
    """
    content_type: str = ""
    body: bytes = b""
    """A page or a problem document for whoever may see one; without it the dialect writes a short
    problem document.
    """
    page_headers: HeaderList = ()
    """With a page: its policy and the like. Never identity."""
    retry_after: int | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of the check answer. The server adds Content-Length."""

    status: int
    headers: HeaderList
    body: bytes = b""


def allow(verdict: Verdict, clients_own: HeaderList = ()) -> Answer:
    """Let it through, with the identity and what the application gets of the client's own."""
    return Answer(200, (*verdict.headers, *clients_own))


def cookie_and_authorization(request: AuthRequest) -> HeaderList:
    """The client's cookies without the gateway's own, and its Authorization unless that is the
    gateway's, for proxies that replace the client's headers by the answer's. An absent one is none.
    """
    cookie = (("Cookie", request.other_cookies),) if request.other_cookies else ()
    if not request.authorization:
        return cookie
    return (*cookie, ("Authorization", request.authorization))


def challenge(verdict: Verdict) -> str:
    """``WWW-Authenticate`` of a 401, in one line: proxies relay one. Basic comes first, for clients
    that read only the first.
    """
    return f'Basic realm="{verdict.realm}", charset="UTF-8", Bearer' if verdict.realm else "Bearer"


def passed_through(verdict: Verdict, clients_own: HeaderList = ()) -> Answer:
    """For proxies that relay status, headers and body of a denial to the client."""
    decision = verdict.decision
    if isinstance(decision, Allow):
        return allow(verdict, clients_own)
    if isinstance(decision, Login):
        if verdict.location:
            return Answer(302, (("Location", verdict.location), *_no_store()))
        return _explained(
            verdict, 401, decision.reason, (("WWW-Authenticate", challenge(verdict)),)
        )
    status = STATUS_OF_DENIAL.get(decision.reason, 403)
    return _explained(
        verdict, status, decision.reason, retry_after(verdict) if status == 503 else ()
    )


def retry_after(verdict: Verdict) -> HeaderList:
    """When to come back after a 503."""
    usual = RETRY_AFTER_S
    if verdict.decision.reason is Reason.TOO_MANY_ATTEMPTS:
        usual = RETRY_AFTER_LIMIT_S
    return (("Retry-After", str(usual if verdict.retry_after is None else verdict.retry_after)),)


def is_outage(decision: Decision) -> bool:
    """Whether a denial is 503: it says nothing of whoever asked."""
    return STATUS_OF_DENIAL.get(decision.reason) == 503


def _no_store() -> HeaderList:
    return (("Cache-Control", "no-store"),)


def _explained(verdict: Verdict, status: int, reason: Reason, headers: HeaderList) -> Answer:
    body, content_type = verdict.body, verdict.content_type
    if not body or not content_type:
        # RFC 9457
        document = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": reason.value,
        }
        body, content_type = json.dumps(document).encode(), _PROBLEM
    return Answer(
        status,
        (*headers, *verdict.page_headers, ("Content-Type", content_type), *_no_store()),
        body,
    )
