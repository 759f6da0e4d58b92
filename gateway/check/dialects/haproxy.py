"""HAProxy with the Lua action of ``deploy/haproxy``: it sets the four ``X-Forwarded-*`` and relays
every denial.

The action takes cookies that are not ours from the request, and ``Authorization`` from the answer.
HAProxy's HTTP client asks up to four times when an answer does not come; a check changes nothing,
so asking twice is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.check.dialects.forwarded import Malformed, parse_forwarded
from gateway.check.dialects.responses import Answer, HeaderList, Verdict, passed_through

if TYPE_CHECKING:
    from gateway.check.dialects.raw_request import RawRequest
    from gateway.core.model import AuthRequest


class HAProxy:
    """The ``haproxy`` dialect."""

    name = "haproxy"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_forwarded(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        return passed_through(verdict, () if request is None else self.clients_own(request))

    def clients_own(self, request: AuthRequest) -> HeaderList:
        return (("Authorization", request.authorization),) if request.authorization else ()
