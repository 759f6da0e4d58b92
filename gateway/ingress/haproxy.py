"""HAProxy with the Lua action of ``deploy/haproxy``: it sets the four ``X-Forwarded-*`` and relays every denial.

HAProxy's HTTP client asks up to four times when an answer does not come; a check changes nothing, so asking twice is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingress.answers import Answer, Verdict, passed_through
from gateway.ingress.forwarded import Malformed, RawRequest, parse_forwarded

if TYPE_CHECKING:
    from gateway.core.model import AuthRequest


class HAProxy:
    """The ``haproxy`` dialect."""

    name = "haproxy"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_forwarded(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:  # noqa: ARG002 - the protocol's
        return passed_through(verdict)
