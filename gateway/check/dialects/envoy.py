"""Envoy ``ext_authz`` over HTTP: the check request *is* the client's request with ``/auth/envoy``
put before its path.

So method, host, path and query are those of the check request; forwarded host, URI and method are
somebody else's words and are not read. The path is cut off as raw text: ``/auth/envoy/../healthz``
asks about ``/../healthz``, nothing else. An allow carries the cookies and the Authorization without
what is ours; a header that the answer omits stays as the client sent it, so where nothing is left
the answer asks for the removal of the whole header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.check.dialects.forwarded import Malformed, parse_below
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

PREFIX = "/auth/envoy"


class Envoy:
    """The ``envoy`` dialect."""

    name = "envoy"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_below(PREFIX, request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        return passed_through(verdict, () if request is None else self.clients_own(request))

    def clients_own(self, request: AuthRequest) -> HeaderList:
        header_names = ",".join(
            name
            for name, text in (
                ("cookie", request.other_cookies),
                ("authorization", request.authorization),
            )
            if not text
        )
        own = cookie_and_authorization(request)
        return (*own, ("X-Envoy-Auth-Headers-To-Remove", header_names)) if header_names else own
