"""How each proxy asks and how it wants to be answered. Pure: headers in, ``AuthRequest`` out;
verdict in, answer out.

A new dialect is one file here, one line in ``DIALECTS``, one test file and one folder in
``deploy/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.check.dialects.caddy import Caddy
from gateway.check.dialects.envoy import Envoy
from gateway.check.dialects.forwarded import Malformed
from gateway.check.dialects.haproxy import HAProxy
from gateway.check.dialects.nginx import Nginx, NginxPage
from gateway.check.dialects.oauth2_proxy import PATH, OAuth2Proxy
from gateway.check.dialects.raw_request import Headers, RawRequest
from gateway.check.dialects.responses import Answer, Verdict
from gateway.check.dialects.traefik import Traefik

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from gateway.check.dialects.responses import HeaderList
    from gateway.core.model import AuthRequest

    class Dialect(Protocol):
        """One proxy's way of asking."""

        @property
        def name(self) -> str:
            """The last part of ``/auth/<name>``, and the metric label."""

        def parse(self, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
            """What the ingress asks about. Never raises, whatever the bytes."""

        def render(self, verdict: Verdict, request: AuthRequest | None) -> Answer:
            """The whole answer; ``request`` is None where it could not be parsed or was not
            believed.
            """

        def clients_own(self, request: AuthRequest) -> HeaderList | None:
            """What an allow carries besides the managed headers; ``render`` adds the same. None:
            whoever asks here is let in nowhere.
            """


DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect for dialect in (Nginx(), Traefik(), Caddy(), Envoy(), HAProxy())
}
ENDPOINTS: Final[Mapping[str, Dialect]] = {**DIALECTS, "nginx-page": NginxPage()}
"""What the check listener answers: a dialect for each proxy, and nginx's second question, which
only ever refuses.
"""
PATHS: Final[Mapping[str, Dialect]] = {PATH: OAuth2Proxy()}
"""Whole addresses that another product's configurations ask at."""

__all__ = [
    "DIALECTS",
    "ENDPOINTS",
    "PATHS",
    "Answer",
    "Dialect",
    "Headers",
    "Malformed",
    "RawRequest",
    "Verdict",
]
