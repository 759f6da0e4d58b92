"""What every delivery goes through: who is meant, how large, within what time, what is counted and
logged.

Rules:
- Authentic, then durable, then acknowledged; everything within ``DEADLINE_S``, else 503 and the
  sender or the backfill brings it again.
- A refusal says no more than its status and a fixed word; what was wrong goes to the log, without
  secrets and without the body.
- A tenant or provider that does not exist, or is of another kind than the address says, is a target
  that nothing proves itself to: the same steps, the same answer as a wrong secret. What a target
  lacks in its configuration is told to its operator, not to the sender.
- Failed proofs are counted by source address and target; beyond a number they are 429, and neither
  logged nor told one by one. A right proof is never looked up there: nobody is shut out by what a
  stranger does in their name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.core.hook_target import HookTarget
from gateway.core.model import Secret
from gateway.core.request_id import parse_request_id
from gateway.errors import UnavailableError
from gateway.hooks.activity import HANDSHAKE
from gateway.hooks.event import DeliveryRejectedError, RejectionReason, SkipReason, Source
from gateway.hooks.issuer_keys import IssuerUnavailableError
from gateway.hooks.receive.outcomes import OUTCOMES, SETTINGS, STATUS, UNAVAILABLE, UNPROVEN
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.listener import UNREADABLE
from gateway.http.rate_limit import RateLimit
from gateway.http.served import answered, served_request
from gateway.log import Throttled, fields, of_request
from gateway.metrics import HOOK_ACK_DURATION, HOOK_DELIVERIES, begin_at_zero
from gateway.tracing.spans import current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from aiohttp.typedefs import Middleware

    from gateway.core.model import ProviderKind
    from gateway.hooks.event import Delivery
    from gateway.hooks.inbox import Accepted
    from gateway.hooks.receive.services import HookServices

DEADLINE_S = 2.5
"""Okta and Graph give up after three seconds."""
MAX_BODY_BYTES = 1024 * 1024
"""A Graph batch of a hundred is about 80 kB, an Okta batch less."""
MAX_TOKEN_BYTES = 64 * 1024
RETRY_AFTER_S = 5
STARTED = web.RequestKey("started", float)
REQUEST_ID = web.RequestKey("request_id", str)

SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = logging.getLogger(__name__)
_fault = Throttled(log, logging.ERROR, "hook_fault")


_NOT_DERIVED = "clientState is not derived from one of this provider's secrets"
FAILURES_PER_S, FAILURES_AT_ONCE = 0.5, 30
"""Of one address against one target: a sender with yesterday's secret is told so for a while, a
guesser is not kept on record.
"""


def nobody(kind: ProviderKind) -> HookTarget:
    """The target behind a name that is nobody's; ``tenant`` is empty, and its secret is known to no
    one.
    """
    unknown = secrets.token_urlsafe(32)
    return HookTarget(
        tenant="",
        provider="",
        kind=kind,
        issuer=None,
        secrets=(Secret(unknown),),
        directory_id=None,
        client_id=unknown,
        client_secret=None,
        api_token=None,
        api_url=None,
        audience=None,
        groups_used=None,
        allowed_groups=None,
    )


def json_error(_request: web.Request, status: int, word: str) -> web.Response:
    """``{"error": word}``."""
    return web.json_response({"error": word}, status=status)


class Reception:
    """Shared by the routes of all senders."""

    def __init__(self, services: HookServices) -> None:
        self.services = services
        sources = [source.value for source in Source]
        begin_at_zero(HOOK_DELIVERIES, sources, OUTCOMES)
        begin_at_zero(HOOK_ACK_DURATION, sources)
        self._failures = RateLimit(
            rate=FAILURES_PER_S, burst=FAILURES_AT_ONCE, clock=time.monotonic
        )

    def target(self, request: web.Request, kinds: Collection[ProviderKind]) -> HookTarget:
        """Whose address this is; ``nobody`` where it is nobody's."""
        target = self.services.targets.find(
            request.match_info["tenant"], request.match_info["provider"]
        )
        if target is None or target.kind not in kinds:
            return nobody(min(kinds))
        return target

    def lacks(self, request: web.Request, target: HookTarget, source: Source, what: str) -> str:
        """Tell the operator what is not configured; what no proof can fit, to go on with like
        everybody's wrong one.
        """
        if target.tenant:
            self._tell(request, source, RejectionReason.NOT_CONFIGURED.value, what)
        return secrets.token_urlsafe(32)

    def endpoint(self, request: web.Request) -> str:
        """The request's address as its sender knows it; "" where ``hooks.url`` is not configured.
        Never from the Host header.
        """
        return f"{self.services.url}{request.path}" if self.services.url is not None else ""

    async def accept(
        self, request: web.Request, target: HookTarget, delivery: Delivery
    ) -> Accepted | None:
        """Durable on return. None where the delivery held nothing that is ours to keep."""
        strangers = sum(1 for s in delivery.skipped if s.reason is SkipReason.CLIENT_STATE)
        if strangers == len(delivery.skipped) and not delivery.events:
            # Nothing in it came with a proof, an empty list included.
            HOOK_DELIVERIES.labels(delivery.source.value, SkipReason.CLIENT_STATE.value).inc(
                max(1, strangers)
            )
            if not self._too_many(request):
                if target.tenant:
                    self.services.activity_counter.note(
                        target, delivery.source.value, SkipReason.CLIENT_STATE.value, _NOT_DERIVED
                    )
                said(
                    request,
                    target,
                    delivery.source,
                    SkipReason.CLIENT_STATE.value,
                    level=logging.WARNING,
                    code=SkipReason.CLIENT_STATE.value,
                    cause=_NOT_DERIVED,
                    setting=SETTINGS[SkipReason.CLIENT_STATE],
                )
            return None
        if strangers:
            HOOK_DELIVERIES.labels(delivery.source.value, SkipReason.CLIENT_STATE.value).inc(
                strangers
            )
            self.services.activity_counter.note(
                target, delivery.source.value, SkipReason.CLIENT_STATE.value, _NOT_DERIVED
            )
        received_at = self.services.clock()
        current().set("gateway.tenant", target.tenant)
        current().set("gateway.provider", target.provider)
        accepted = await self.services.accept(
            target, delivery, received_at=received_at, request_id=request_id(request)
        )
        outcome = (
            "accepted" if accepted.stored else "duplicate" if accepted.duplicates else "ignored"
        )
        HOOK_DELIVERIES.labels(delivery.source.value, outcome).inc()
        if accepted.skipped - strangers:
            HOOK_DELIVERIES.labels(delivery.source.value, "skipped").inc(
                accepted.skipped - strangers
            )
        said(
            request,
            target,
            delivery.source,
            outcome,
            delivery=accepted.delivery,
            stored=accepted.stored,
            duplicates=accepted.duplicates,
            skipped=accepted.skipped,
        )
        return accepted

    def handled(
        self,
        source: Source,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        refused: Callable[[DeliveryRejectedError], web.StreamResponse] | None = None,
        unavailable: Callable[[], web.StreamResponse] | None = None,
        expected: tuple[type[DeliveryRejectedError], ...] = (),
        problem: Callable[[web.Request, int, str], web.Response] = json_error,
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler within the deadline; refusals and outages as their sender expects them.
        ``expected``: answers, not signs of a wrong set-up.

        ``problem``: the shape of what is answered before the handler has looked.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            start = request[STARTED] = time.monotonic()
            response: web.StreamResponse
            try:
                async with asyncio.timeout(DEADLINE_S):
                    response = await handler(request)
            except DeliveryRejectedError as error:
                if error.reason in UNPROVEN and (wait_s := self._too_many(request)):
                    HOOK_DELIVERIES.labels(source.value, "throttled").inc()
                    response = problem(request, 429, "too_many_failures")
                    response.headers["Retry-After"] = str(math.ceil(wait_s))
                else:
                    self._failed(
                        request, source, error.reason.value, str(error), level=logging.WARNING
                    )
                    if not isinstance(error, expected):
                        self._tell(request, source, error.reason.value, str(error))
                    response = refused(error) if refused is not None else rejection_response(error)
            except (UnavailableError, TimeoutError) as error:
                cause = str(error) or f"not stored within {DEADLINE_S:g} s"
                self._failed(request, source, UNAVAILABLE, cause, level=logging.ERROR)
                self._tell(
                    request,
                    source,
                    "unavailable",
                    str(error)
                    if isinstance(error, IssuerUnavailableError)
                    else "a store did not answer in time",
                )
                response = (
                    unavailable()
                    if unavailable is not None
                    else web.json_response({"error": "temporarily_unavailable"}, status=503)
                )
                response.headers["Retry-After"] = str(RETRY_AFTER_S)
            HOOK_ACK_DURATION.labels(source.value).observe(time.monotonic() - start)
            return response

        return handle

    def _too_many(self, request: web.Request) -> float:
        """Counts a failed proof; 0, or the seconds until the next is looked at like the first."""
        return self._failures.wait_s(
            f"{request.remote} {request.match_info['tenant'][:64]}/"
            f"{request.match_info['provider'][:64]}"
        )

    def _failed(
        self, request: web.Request, source: Source, outcome: str, cause: str, *, level: int
    ) -> None:
        HOOK_DELIVERIES.labels(source.value, outcome).inc()
        setting = SETTINGS[outcome]
        said(
            request, None, source, outcome, level=level, code=outcome, cause=cause, setting=setting
        )

    def _tell(self, request: web.Request, source: Source, outcome: str, detail: str) -> None:
        """Whoever sets this up hears of it; names that do not exist are nobody's."""
        with contextlib.suppress(UnavailableError):
            target = self.services.targets.find(
                request.match_info["tenant"], request.match_info["provider"]
            )
            if target is not None:
                self.services.activity_counter.note(target, source.value, outcome, detail)

    def proved(self, target: HookTarget, source: Source, secret: int) -> None:
        """The sender has this one of the target's secrets, by its place."""
        if target.tenant:
            self.services.activity_counter.proved(target, source.value, secret)

    def shook_hands(self, request: web.Request, target: HookTarget, source: Source) -> None:
        """The provider asked whether this address is ours, and was answered."""
        if target.tenant:
            said(request, target, source, HANDSHAKE)
            self.services.activity_counter.note(target, source.value, HANDSHAKE)


def request_id(request: web.Request) -> str:
    """The ingress's, if it has the shape of one, else our own; the same for the whole request."""
    identifier = request.get(REQUEST_ID)
    if identifier is None:
        header = parse_request_id(request.headers.get("X-Request-Id", ""))
        identifier = request[REQUEST_ID] = header or uuid.uuid4().hex
    return identifier


def said(
    request: web.Request,
    target: HookTarget | None,
    source: Source,
    outcome: str,
    *,
    level: int = logging.INFO,
    **more: object,
) -> None:
    """The one log line of a delivery."""
    where = (
        {
            "tenant": request.match_info.get("tenant", "")[:64],
            "provider": request.match_info.get("provider", "")[:64],
        }
        if target is None
        else {"tenant": target.tenant, "provider": target.provider}
    )
    took_ms = round((time.monotonic() - request[STARTED]) * 1000, 1)
    log.log(
        level,
        "hook",
        extra=fields(
            request_id=request_id(request),
            **where,
            source=source.value,
            outcome=outcome,
            duration_ms=took_ms,
            **more,
        ),
    )


def media_type(request: web.Request, allowed: Collection[str]) -> None:
    """Raises for another Content-Type, and for a compressed body: no sender compresses, and a bomb
    would.
    """
    if (
        request.content_type not in allowed
        or request.headers.get("Content-Encoding", "identity").lower() != "identity"
    ):
        raise DeliveryRejectedError(
            RejectionReason.CONTENT_TYPE, f"send {' or '.join(sorted(allowed))}"
        )


async def body(request: web.Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body; never more than ``limit`` is read."""
    if (request.content_length or 0) > limit:
        raise DeliveryRejectedError(RejectionReason.TOO_LARGE, f"more than {limit} bytes")
    try:
        return await read_body(request.content, limit=limit)
    except BodyTooLargeError:
        raise DeliveryRejectedError(RejectionReason.TOO_LARGE, f"more than {limit} bytes") from None
    except UNREADABLE as error:
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED, f"the body cannot be read ({type(error).__name__})"
        ) from None


def rejection_response(error: DeliveryRejectedError) -> web.Response:
    """Status and one word."""
    response = web.json_response({"error": error.reason.value}, status=STATUS[error.reason])
    if error.reason is RejectionReason.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def answering(problem: Callable[[web.Request, int, str], web.Response] = json_error) -> Middleware:
    """Headers of every answer. A fault of ours is 500 without a word about it; ``problem``
    (request, status, word) answers what no handler did.
    """

    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            with of_request(request_id(request)), served_request(request) as span:
                span.set("gateway.request_id", request_id(request))
                response = await handler(request)
                answered(span, response.status)
        except web.HTTPException as error:
            response = problem(request, error.status, error.reason.lower().replace(" ", "_"))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception as error:  # noqa: BLE001 - the edge: the sender gets 500, the log the trace
            _fault(
                error,
                request_id=request_id(request),
                path=request.path[:200],
                method=request.method,
            )
            response = problem(request, 500, "internal")
        response.headers.update(SAFE_HEADERS)
        response.headers["X-Request-Id"] = request_id(request)
        return response

    return answer
