"""Caddy ``forward_auth``: sets the four ``X-Forwarded-*`` itself and relays every denial with
headers and body.

It also passes on most of what the client sent, including ``Connection`` and ``Upgrade`` and the
client's query as the query of the check; the query of the check request is therefore never read,
here or anywhere. ``copy_headers`` replaces the client's ``Cookie`` and ``Authorization`` by the
answer's, which hold nothing of the gateway's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.check.dialects.forwarded import Malformed, parse_forwarded
from gateway.check.dialects.responses import (
    Answer,
    HeaderList,
    Verdict,
    cookie_and_authorization,
    passed_through,
)

if TYPE_CHECKING:
    from gateway.check.dialects.raw_request import RawRequest
    from gateway.core.model import AuthRequest


class Caddy:
    """The ``caddy`` dialect."""

    name = "caddy"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_forwarded(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        return passed_through(verdict, () if request is None else self.clients_own(request))

    def clients_own(self, request: AuthRequest) -> HeaderList:
        return cookie_and_authorization(request)
