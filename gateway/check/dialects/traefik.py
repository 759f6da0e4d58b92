"""Traefik ``forwardAuth``: sets ``X-Forwarded-*`` itself, relays denials, and copies listed headers
of an allow upstream.

The rendered configuration lists ``Cookie`` and ``Authorization`` among them, so the answer carries
both without what is ours; where nothing is left the header is absent, and Traefik then removes the
client's own.
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


class Traefik:
    """The ``traefik`` dialect."""

    name = "traefik"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_forwarded(request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        return passed_through(verdict, () if request is None else self.clients_own(request))

    def clients_own(self, request: AuthRequest) -> HeaderList:
        return cookie_and_authorization(request)
