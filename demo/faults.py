"""The seam through which a test makes a stand-in misbehave.

A server names its endpoints (``token``, ``jwks``, ``discovery``, …). A fault answers in an
endpoint's place, or waits and lets it answer; spoilers change a token before it is signed or a
token response before it is sent. No faults: no effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from demo.jose import TokenDraft, TokenSpoiler

Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Returns the response to send instead, or ``None`` to let the real endpoint answer."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Faults:
    """What is to go wrong in one server; empty until a test says otherwise."""

    def __init__(self) -> None:
        self._always: dict[str, Answer] = {}
        self._once: dict[str, deque[Answer]] = {}
        self.spoil_token: TokenSpoiler | None = None
        self.spoil_token_response: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.calls: dict[str, int] = {}
        """How often each endpoint was called, faulty or not."""

    def always(self, endpoint: str, answer: Answer) -> None:
        """Answer every call of the endpoint so, until ``clear``."""
        self._always[endpoint] = answer

    def once(self, endpoint: str, answer: Answer) -> None:
        """Answer the next call so; several queue up."""
        self._once.setdefault(endpoint, deque()).append(answer)

    def clear(self) -> None:
        """Back to honest behaviour; the call counts stay."""
        self._always.clear()
        self._once.clear()
        self.spoil_token = None
        self.spoil_token_response = None

    def endpoint(self, name: str, handler: Handler) -> Handler:
        """Wrap a handler so that faults of this name come first."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            self.calls[name] = self.calls.get(name, 0) + 1
            queue = self._once.get(name)
            answer = queue.popleft() if queue else self._always.get(name)
            instead = await answer(request) if answer else None
            return instead if instead is not None else await handler(request)

        return guarded

    def sign(self, draft: TokenDraft) -> str:
        """Sign a token, spoiled if a test asked for it."""
        outcome = self.spoil_token(draft) if self.spoil_token else draft
        return outcome if isinstance(outcome, str) else outcome.sign()

    def token_response(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a token response, spoiled if a test asked for it."""
        return self.spoil_token_response(body) if self.spoil_token_response else body


def status(code: int, body: str = "", content_type: str = "text/plain") -> Answer:
    """A fault that answers with this status and body."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=body, content_type=content_type)

    return answer


def throttled(*, retry_after_s: int | None = None, reset_at: int | None = None) -> Answer:
    """A fault that answers 429 as Graph (``retry_after_s``) or Okta (``reset_at``, UTC epoch
    seconds) do.
    """
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s is not None else {}
    if reset_at is not None:
        headers |= {
            "X-Rate-Limit-Limit": "60",
            "X-Rate-Limit-Remaining": "0",
            "X-Rate-Limit-Reset": str(reset_at),
        }

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "error": {"code": "TooManyRequests", "message": "Too many requests"},
                "errorCode": "E0000047",
            },
            status=429,
            headers=headers,
        )

    return answer


def redirect(location: str) -> Answer:
    """A fault that answers with a redirect."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    return answer
