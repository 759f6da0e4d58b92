"""One call of a provider's API: bounded in time and size, no redirects, outages told apart from refusals."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from gateway.errors import PeerError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 15.0
MAX_BYTES = 16 * 1024 * 1024
"""A page of a thousand log events is a few megabytes."""
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, JSON (None where there is no body) and the address of the next page."""

    status: int
    document: Any
    next_url: str | None = None


class Fetch:
    """``http`` is guarded (``gateway.outward``): an address that it does not permit is a ``PeerError``."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def call(self, method: str, url: str, *, headers: Mapping[str, str], body: Any = None, form: Mapping[str, str] | None = None) -> Reply:
        """Anything below 500 but 429 is a reply. Raises ``UnavailableError`` after some attempts, ``PeerError`` for nonsense."""
        # Only what may be repeated: a POST that timed out may have been done.
        attempts = ATTEMPTS if method == "GET" else 1
        waiting = AsyncRetrying(
            retry=retry_if_exception_type(UnavailableError), stop=stop_after_attempt(attempts), wait=wait_exponential_jitter(multiplier=0.2, max=2.0), reraise=True
        )  # fmt: skip
        async for attempt in waiting:
            with attempt:
                return await self._once(method, url, headers=headers, body=body, form=form)
        raise AssertionError

    async def _once(self, method: str, url: str, *, headers: Mapping[str, str], body: Any, form: Mapping[str, str] | None) -> Reply:
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http.request(method, url, headers=headers, json=body, data=form, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as response,
            ):
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > MAX_BYTES:
                        raise PeerError("malformed_answer", "the provider's API answered too much")
                status, link = response.status, response.links.get("next")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            msg = f"the provider's API cannot be reached ({type(error).__name__})"
            raise UnavailableError(msg) from error
        if status >= 500 or status == 429:
            msg = f"the provider's API answered {status}"
            raise UnavailableError(msg)
        try:
            document = json.loads(raw) if raw else None
        except (ValueError, RecursionError) as error:
            raise PeerError("malformed_answer", f"the provider's API answered {status} without JSON") from error
        return Reply(status, document, str(link["url"]) if link is not None else None)


def said(reply: Reply) -> str:
    """The provider's own words about a refusal, short and without line breaks."""
    document = reply.document
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, dict):
        text = error.get("message") or error.get("errorSummary") or error.get("code") or ""
    else:
        text = document.get("error_description", error) if isinstance(document, dict) else ""
    return " ".join(str(text).split())[:200]
