"""``/oauth2/auth``: the address at which configurations for oauth2-proxy ask, for moving over.

It answers 200 with the managed headers (oauth2-proxy says 202, which proxies treat alike), 401 for
whoever has to sign in, 403 for everybody else. A proxy of that kind tells the request in
``X-Forwarded-*`` (Traefik, Caddy) or in ``X-Original-URL`` and ``X-Original-Method``
(ingress-nginx). Which of them the proxy writes, and which a client could have, is not known here:
where both are there, they must say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.check.dialects.forwarded import Malformed, parse_either
from gateway.check.dialects.responses import (
    Answer,
    Verdict,
    allow,
    cookie_and_authorization,
    is_outage,
    retry_after,
)
from gateway.core.decision import Allow, Login

if TYPE_CHECKING:
    from gateway.check.dialects.raw_request import RawRequest
    from gateway.check.dialects.responses import HeaderList
    from gateway.core.model import AuthRequest

PATH = "/oauth2/auth"


class OAuth2Proxy:
    """The ``oauth2-proxy`` dialect."""

    name = "oauth2-proxy"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_either(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        decision = verdict.decision
        if isinstance(decision, Allow):
            return allow(verdict, () if request is None else self.clients_own(request))
        why = (("X-Auth-Reason", decision.reason.value), ("Cache-Control", "no-store"))
        if isinstance(decision, Login):
            return Answer(401, why)
        if is_outage(decision):
            return Answer(503, (*retry_after(verdict), *why))
        return Answer(403, why)

    def clients_own(self, request: AuthRequest) -> HeaderList:
        return cookie_and_authorization(request)
