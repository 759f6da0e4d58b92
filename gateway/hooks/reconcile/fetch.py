"""One call of a provider's API: bounded in time and size, no redirects, outages told apart from
refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from gateway.errors import PeerError, UnavailableError
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.connection_error import why_at
from gateway.tracing.spans import called

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

TIMEOUT_S = 15.0
MAX_BYTES = 16 * 1024 * 1024
"""A page of a thousand log events is a few megabytes."""
ATTEMPTS = 3


MAX_AFTER_S = 3600.0
"""Longest that a provider may ask to be left alone: longer, and what it forgets to tell is found
too late.
"""


UNNAMED_S = 60.0
"""How long a provider is left alone that does not say for how long."""


class ThrottledError(UnavailableError):
    """429: the provider is to be left alone for ``after_s``. Graph lengthens it for those who ask
    again before.
    """

    def __init__(self, after_s: float, *, named_s: float = 0.0) -> None:
        super().__init__(f"the provider's API answered 429, not to be asked for {after_s:.0f} s")
        self.after_s = after_s
        self.named_s = named_s
        """What the provider itself said; 0: nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, JSON (None where there is no body) and the address of the next page."""

    status: int
    document: Any
    next_url: str | None = None


class Fetch:
    """``http`` is guarded (``gateway.http.ssrf_guard``): an address that it does not permit is a
    ``PeerError``. ``sleep`` waits between attempts.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http, self._sleep = http, sleep

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Reply:
        """Anything below 500 but 429 is a reply. Raises ``UnavailableError`` after some attempts,
        ``PeerError`` for nonsense.
        """
        # Only what may be repeated: a POST that timed out may have been done.
        attempts = ATTEMPTS if method == "GET" else 1
        retry_policy = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, UnavailableError) and not isinstance(error, ThrottledError)
                )
            ),
            stop=stop_after_attempt(attempts),
            wait=wait_exponential_jitter(multiplier=0.2, max=2.0),
            sleep=self._sleep,
            reraise=True,
        )
        async for attempt in retry_policy:
            with attempt:
                return await self._once(method, url, headers=headers, body=body, form=form)
        raise AssertionError

    async def _once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Any,
        form: Mapping[str, str] | None,
    ) -> Reply:
        with called(method, url) as span:
            try:
                async with (
                    asyncio.timeout(TIMEOUT_S),
                    self._http.request(
                        method,
                        url,
                        headers=headers,
                        json=body,
                        data=form,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                    ) as response,
                ):
                    span.set("http.response.status_code", response.status)
                    raw = await read_body(response.content, limit=MAX_BYTES)
                    status, link, headers_of = (
                        response.status,
                        response.links.get("next"),
                        response.headers,
                    )
            except BodyTooLargeError:
                raise PeerError(
                    "malformed_answer", "the provider's API answered too much"
                ) from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                msg = f"the provider's API cannot be reached ({why_at(url, error)})"
                raise UnavailableError(msg) from error
        if status == 429:
            named_s = _named_s(headers_of)
            raise ThrottledError(named_s or UNNAMED_S, named_s=named_s)
        if status >= 500:
            msg = f"the provider's API answered {status}"
            raise UnavailableError(msg)
        try:
            document = json.loads(raw) if raw else None
        except (ValueError, RecursionError) as error:
            raise PeerError(
                "malformed_answer", f"the provider's API answered {status} without JSON"
            ) from error
        return Reply(status, document, str(link["url"]) if link is not None else None)


def _named_s(headers: Mapping[str, str]) -> float:
    """``Retry-After`` in seconds (Graph), else ``X-Rate-Limit-Reset`` as a moment that ``Date`` is
    compared with (Okta); 0: neither.
    """
    after, reset = headers.get("Retry-After", ""), headers.get("X-Rate-Limit-Reset", "")
    seconds = UNNAMED_S
    if after.isascii() and after.isdigit() and len(after) < 10:
        seconds = float(after)
    elif reset.isascii() and reset.isdigit() and len(reset) < 12:
        with contextlib.suppress(ValueError, TypeError):
            seconds = float(reset) - parsedate_to_datetime(headers.get("Date", "")).timestamp()
    else:
        return 0.0
    return min(MAX_AFTER_S, max(1.0, seconds))


def said(reply: Reply) -> str:
    """The provider's own words about a refusal, short and without line breaks."""
    document = reply.document
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, dict):
        text = error.get("message") or error.get("errorSummary") or error.get("code") or ""
    else:
        text = document.get("error_description", error) if isinstance(document, dict) else ""
    return " ".join(str(text).split())[:200]
