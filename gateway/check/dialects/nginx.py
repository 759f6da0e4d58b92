"""nginx ``auth_request``: it understands 2xx, 401 and 403; everything else becomes a 500.

A 401 with ``Location`` is a login that the rendered configuration turns into a 302; a body of even
two bytes would cost the kept-alive connection. So a refusal that a person would see says
``X-Auth-Page`` and nothing more, and the rendered configuration asks again, at
``/auth/nginx-page``, for what the other proxies relay. The answer's ``Cookie`` and
``Authorization`` are what the application gets: the client's without the gateway's own. Method,
scheme, host and URI come from ``X-Forwarded-*`` that the configuration sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.check.dialects.forwarded import Malformed, parse_forwarded
from gateway.check.dialects.responses import (
    Answer,
    HeaderList,
    Verdict,
    allow,
    challenge,
    cookie_and_authorization,
    is_outage,
    passed_through,
    retry_after,
)
from gateway.core.decision import Allow, Login

if TYPE_CHECKING:
    from gateway.check.dialects.raw_request import RawRequest
    from gateway.check.dialects.responses import HeaderList
    from gateway.core.model import AuthRequest


class Nginx:
    """The ``nginx`` dialect."""

    name = "nginx"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_forwarded(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        decision = verdict.decision
        if isinstance(decision, Allow):
            return allow(verdict, () if request is None else self.clients_own(request))
        where = (("Location", verdict.location),) if verdict.location else ()
        why: HeaderList = (("X-Auth-Reason", decision.reason.value),)
        if not where and verdict.content_type.startswith("text/html"):
            why = (*why, ("X-Auth-Page", "yes"))
        if isinstance(decision, Login):
            login = (("X-Auth-Login", verdict.login),) if verdict.login and not where else ()
            basic = (
                (("X-Auth-Challenge", challenge(verdict)),) if verdict.realm and not where else ()
            )
            return Answer(401, (*where, *why, *login, *basic))
        if is_outage(decision):
            return Answer(503, (*retry_after(verdict), *why))
        return Answer(403, (*where, *why))

    def clients_own(self, request: AuthRequest) -> HeaderList:
        return cookie_and_authorization(request)


class NginxPage:
    """What the ``nginx`` dialect refused, asked again for the answer that a person sees. It lets
    nobody in.

    Whoever has come to be allowed meanwhile gets 502, for which the rendered configuration has a
    page that says to try again.
    """

    name = "nginx-page"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_forwarded(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:  # noqa: ARG002 - the protocol's
        return Answer(502, ()) if isinstance(verdict.decision, Allow) else passed_through(verdict)

    def clients_own(self, request: AuthRequest) -> None:  # noqa: ARG002 - the protocol's
        return None
