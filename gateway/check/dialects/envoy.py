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

from gateway.check.dialects.forwarded import Malformed, RawRequest, parse_below
from gateway.check.dialects.responses import Answer, Verdict, passed_through, with_clients_own
from gateway.core.decision import Allow

if TYPE_CHECKING:
    from gateway.core.model import AuthRequest

PREFIX = "/auth/envoy"


class Envoy:
    """The ``envoy`` dialect."""

    name = "envoy"

    def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
        return parse_below(PREFIX, request, cookie_name=cookie_name)

    def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
        answer = with_clients_own(passed_through(verdict), verdict, request)
        if not isinstance(verdict.decision, Allow) or request is None:
            return answer
        gone = ",".join(
            name
            for name, text in (
                ("cookie", request.other_cookies),
                ("authorization", request.authorization),
            )
            if not text
        )
        return (
            Answer(answer.status, (*answer.headers, ("X-Envoy-Auth-Headers-To-Remove", gone)))
            if gone
            else answer
        )
