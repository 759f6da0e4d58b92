"""The one outgoing HTTP client: bounded in time and size, follows no redirect, and finds
``*.localhost`` on loopback in development.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.core.hosts import is_localhost
from gateway.errors import PeerError, UnavailableError
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.connection_error import why_at
from gateway.tracing.spans import called

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = aiohttp.ClientTimeout(total=6, connect=2)
"""A person is waiting at the callback; Cognito answers in tens of milliseconds. Longer, and the
browser gives up first.
"""
MAX_BODY_BYTES = 256 * 1024


class LoopbackResolver(AbstractResolver):
    """``localhost`` and ``*.localhost`` are loopback; the rest is the system's resolver's."""

    def __init__(self) -> None:
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if is_localhost(host):
            return [
                ResolveResult(
                    hostname=host,
                    host="127.0.0.1",
                    port=port,
                    family=socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
            ]
        return await self._system.resolve(host, port, family)

    async def close(self) -> None:
        await self._system.close()


def client_session(*, development: bool) -> aiohttp.ClientSession:
    """No cookies, no redirects by default of our calls, a small pool; close it when done."""
    connector = aiohttp.TCPConnector(limit=64, resolver=LoopbackResolver() if development else None)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


async def read_json(response: aiohttp.ClientResponse) -> dict[str, object]:
    """A JSON object of at most ``MAX_BODY_BYTES``; ``PeerError("malformed_answer")`` for anything
    else.
    """
    try:
        document = json.loads(await read_body(response.content, limit=MAX_BODY_BYTES))
    except BodyTooLargeError:
        response.close()
        raise PeerError(
            "malformed_answer", f"the answer is larger than {MAX_BODY_BYTES} bytes"
        ) from None
    except (ValueError, RecursionError) as error:
        raise PeerError(
            "malformed_answer", f"the answer is not JSON (status {response.status})"
        ) from error
    if not isinstance(document, dict):
        raise PeerError(
            "malformed_answer", f"the answer is not a JSON object (status {response.status})"
        )
    return document


async def request_json(
    client: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    what: str,
    data: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, object]]:
    """Status and JSON object. ``UnavailableError`` for connection trouble, time-outs and 5xx;
    ``PeerError`` for nonsense.
    """
    with called(method, url) as span:
        try:
            async with client.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                span.set("http.response.status_code", response.status)
                if response.status >= 500:
                    raise UnavailableError(f"{what} answered {response.status}")
                if 300 <= response.status < 400:
                    raise PeerError(
                        "malformed_answer", f"{what} answered a redirect, which is never followed"
                    )
                return response.status, await read_json(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{what} cannot be reached: {why_at(url, error)}") from error
