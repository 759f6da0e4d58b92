"""The gateway's half of ``gateway ingress doctor``: records what arrived under a nonce, at the
check and at the test location.

Rules:
- A check with a nonce is answered exactly as it would have been; the record is made beside it.
- Only at the test location, however it is spelled, is a probe let through, with values that name
  nobody: its upstream is the gateway itself, and that shows what an application would receive. A
  third of the managed headers is filled, a third empty, a third left out.
- There too the doctor can have the check answer with an error: an ingress that then lets the
  request through fails open.
- Nothing that was recorded goes back through the ingress; it is read from the admin API.
- Values are recorded only where the doctor can have sent them; of cookies and keys only that they
  were there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import ClientPayloadError, web

from gateway.check.dialects import DIALECTS, PATHS, Malformed, Verdict
from gateway.check.dialects.names import X_FORWARDED_URI
from gateway.check.handler import PREFIX
from gateway.check.response import CheckResponse, encode
from gateway.check.trusted_peer import KEY_HEADER
from gateway.core.cookies import own_values
from gateway.core.decision import Allow
from gateway.core.probe import FORGED, LARGE, answer_in, is_ours, nonce_in, spells_location
from gateway.core.reason import Reason
from gateway.errors import UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from multidict import CIMultiDictProxy

    from gateway.check.dialects import Dialect, RawRequest
    from gateway.check.handler import Checks
    from gateway.check.trusted_peer import Trust
    from gateway.core.model import AuthRequest
    from gateway.sessions.api import ProbeRecords

_LOG = logging.getLogger(__name__)
CANARY = "gateway-doctor"
"""Value of a filled header at the test location. No identity provider has such a person; no
application receives it.
"""
LARGE_VALUE = "x" * 11_000
"""With the rest, the largest identity head that the gateway ever answers (12 kB)."""
BODY_TIMEOUT_S = 3.0
"""A trailer section that cannot be parsed ends no body; the doctor's own bodies are a few bytes
long and are there at once.
"""
MAX_RECORDED = 400
MAX_VALUE = 200


class ProbedChecks:
    """The check listener's handler: ``Checks`` and, for a request that carries a nonce, a record of
    it.
    """

    def __init__(
        self,
        checks: Checks,
        records: ProbeRecords,
        *,
        trust: Trust,
        keys: Callable[[], Sequence[bytes]],
        managed: Sequence[str],
        cookie_name: str,
        clock: Callable[[], float],
    ) -> None:
        self._checks = checks
        self._records = records
        self._trust = trust
        self._keys = keys
        self._managed = managed
        self._cookie_name = cookie_name
        self._clock = clock

    def __call__(self, request: RawRequest) -> CheckResponse | Awaitable[CheckResponse]:
        uri = request.uri
        if uri is None:
            uri = next(iter(request.headers.getall(X_FORWARDED_URI, ())), "")
        nonce = nonce_in(request.raw_path) or nonce_in(uri)
        if nonce is None or not is_ours(self._keys(), nonce, now=self._clock()):
            return self._checks(request)
        path, _, _ = request.raw_path.partition("?")
        dialect = DIALECTS.get(path.removeprefix(PREFIX).partition("/")[0]) or PATHS.get(path)
        if dialect is None:
            return self._checks(request)
        return self._probed(request, dialect, nonce)

    async def _probed(self, request: RawRequest, dialect: Dialect, nonce: str) -> CheckResponse:
        is_trusted = self._trust.is_trusted(request.headers, request.peer)
        auth_request = dialect.parse(request, cookie_name=self._cookie_name)
        record: dict[str, Any] = {
            "dialect": dialect.name,
            "believed": is_trusted,
            "key": bool(request.headers.getall(KEY_HEADER, ())),
            "own_query": nonce_in(request.raw_path) == nonce,
            "lines": len(request.headers),
            "repeated": max(Counter(name.lower() for name in request.headers).values(), default=0),
        }
        if isinstance(auth_request, Malformed):
            record["malformed"] = auth_request.detail
        else:
            record |= {
                "method": auth_request.method,
                "scheme": auth_request.scheme,
                "host": auth_request.host,
                "target": auth_request.original_uri,
                "path": auth_request.path,
                "cookies": len(auth_request.cookies),
            }
        if (
            is_trusted
            and not isinstance(auth_request, Malformed)
            and spells_location(auth_request.original_uri.partition("?")[0])
        ):
            response = self._at_location(dialect, auth_request)
        else:
            answer = self._checks(request)
            response = answer if isinstance(answer, CheckResponse) else await answer
        record["status"] = response.status
        await note(self._records, nonce, "check", record)
        return response

    def _at_location(self, dialect: Dialect, asked: AuthRequest) -> CheckResponse:
        status = answer_in(asked.original_uri)
        if status is not None:
            return CheckResponse(status)
        return encode(
            dialect.render(
                Verdict(
                    decision=Allow(Reason.PUBLIC),
                    headers=canary_headers(self._managed, large=f"{LARGE}=1" in asked.original_uri),
                ),
                asked,
            )
        )


def canary_headers(managed: Sequence[str], *, large: bool) -> tuple[tuple[str, str], ...]:
    """Filled, empty and left out in turn; the last filled one is as long as it may be if
    ``large``.
    """
    value_names = [name for number, name in enumerate(managed) if number % 3 == 0]
    return tuple(
        (
            name,
            (LARGE_VALUE if large and name == value_names[-1] else CANARY)
            if number % 3 == 0
            else "",
        )
        for number, name in enumerate(managed)
        if number % 3 != 2
    )


def location_handler(
    records: ProbeRecords,
    *,
    keys: Callable[[], Sequence[bytes]],
    cookie_name: str,
    clock: Callable[[], float],
) -> Callable[[web.Request], Any]:
    """Handler of ``core.probe.LOCATION`` on the public listener: records the request as an
    application would have received it.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        nonce = nonce_in(request.raw_path)
        if nonce is None or not is_ours(keys(), nonce, now=clock()):
            raise web.HTTPNotFound
        await note(
            records,
            nonce,
            "location",
            {
                "method": request.method,
                "target": request.raw_path,
                "headers": _shown(request.headers),
                "body": await _body(request),
                "own_cookies": _own_cookies(request.headers.getall("Cookie", ()), cookie_name),
            },
        )
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    return handle


async def _body(request: web.Request) -> str:
    """``ended``; ``cut`` where the connection ended first; ``unreadable`` where the parser stopped
    at what it was sent. Nothing of it is kept.
    """
    if not request.body_exists:
        return "ended"
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for _ in request.content.iter_any():
                pass
    except TimeoutError:
        # A proxy that cut the request off has closed the connection by now; one that handed on what
        # cannot be read waits for the answer.
        transport = request.transport
        return "cut" if transport is None or transport.is_closing() else "unreadable"
    except (OSError, ClientPayloadError):
        return "cut"
    return "ended"


def _own_cookies(lines: Sequence[str], name: str) -> int:
    """How often the session cookie is there, also where lines were joined with a comma and it is a
    part of another's value.
    """
    return max(len(own_values(lines, name)), sum(line.count(f"{name}=") for line in lines))


def _shown(headers: CIMultiDictProxy[str]) -> list[list[str]]:
    """Names and values in order; of secrets and cookies only the names (of a cookie header, the
    cookies' names).
    """
    rows = []
    for name, value in list(headers.items())[:MAX_RECORDED]:
        lowered = name.lower()
        if (
            lowered in {"authorization", "proxy-authorization"}
            or "key" in lowered
            or "secret" in lowered
            or "token" in lowered
        ):
            value = FORGED if FORGED in value else "***"  # noqa: PLW2901 - the value is not to be kept, unless it is the doctor's
        elif lowered == "cookie":
            value = "; ".join(pair.partition("=")[0].strip() for pair in value.split(";"))  # noqa: PLW2901
        rows.append([ascii(name[:MAX_VALUE])[1:-1], ascii(value[:MAX_VALUE])[1:-1]])
    return rows


async def note(records: ProbeRecords, nonce: str, place: str, record: Mapping[str, Any]) -> None:
    """A record that cannot be kept is the doctor's loss, never the request's."""
    try:
        await records.write(nonce, place, record)
    except UnavailableError as error:
        _LOG.warning("probe_not_recorded", extra=fields(error=str(error)))
