"""``/revocations``: end sessions or block, watch it arrive at every replica, follow all of them as
a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, model_validator

from gateway.admin.problem import Code, Problem
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, ApiModel, Call, Route
from gateway.config.types import VISIBLE
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.metrics import REVOCATION_STREAMS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from gateway.core.revocation import RevocationStatus
    from gateway.sessions.api import Revoker

    IsTenant = Callable[[str], Awaitable[bool]]

KEEP_ALIVE_S = 15.0
"""Proxies cut a silent response after 30 to 60 s; also how soon a revoked key loses its stream."""
WRITE_TIMEOUT_S = 30.0
"""A client that takes nothing in for so long loses its place."""
MAX_STREAMS = 200
"""Of one process: each is a connection, and a copy of every revocation."""
MAX_STREAMS_OF_A_KEY = 10
"""One application follows with a stream or two for each of its replicas; one key must not take
everybody's places.
"""
Name = Annotated[str, Field(min_length=1, max_length=320)]


class WhoBody(ApiModel):
    """At most one of these names a person; none means the whole tenant. ``provider`` narrows."""

    email: Name | None = None
    user: Name | None = None
    session: Name | None = None
    idp_subject: Name | None = None
    oid: Name | None = None
    group: Name | None = None
    provider: Annotated[str, Field(min_length=1, max_length=32)] | None = None

    @model_validator(mode="after")
    def _one(self) -> WhoBody:
        names = [
            n
            for n in ("email", "user", "session", "idp_subject", "oid", "group")
            if getattr(self, n) is not None
        ]
        if len(names) > 1:
            msg = f"only one of {', '.join(names)}"
            raise ValueError(msg)
        return self

    def who(self) -> Who:
        return Who(
            session=self.session,
            user=self.user,
            idp_subject=self.idp_subject,
            oid=self.oid,
            email=self.email,
            group=self.group,
            provider=self.provider,
        )


class RevocationBody(WhoBody):
    """``end_sessions`` ends what there is; ``block`` also refuses later logins until lifted."""

    tenant: Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")]
    kind: Literal["end_sessions", "block"]
    reason: Annotated[str, Field(max_length=400), VISIBLE] = ""


class ReplicaConfirmation(AnswerModel):
    """``confirmed_ms`` is null while it has not confirmed, or where its lease ran out instead."""

    replica: str
    confirmed_ms: float | None


class RevocationAnswer(AnswerModel):
    """The time line: milliseconds since ``received_at`` (UTC epoch seconds)."""

    id: str
    tenant: str
    who: dict[str, str]
    kind: str
    reason: str
    source: str
    received_at: float
    durable_ms: float | None
    replicas: list[ReplicaConfirmation]
    acknowledged_ms: float | None
    ended: int
    lifted: int | None = Field(
        description=(
            "blocks or removed groups that a lift ended; null for anything else, 0 where none "
            "was in force"
        )
    )
    users_to_enable: int = Field(
        description=(
            "Cognito users whom these blocks had disabled: enabled again unless another block "
            "is against them"
        )
    )


class StreamQuery(ApiModel):
    """``after``: the id of the last one seen (also as Last-Event-ID)."""

    after: Annotated[str, Field(pattern=f"^{PARAMETERS['revocation']}$")] | None = None


class StreamPlaces:
    """How many streams are open, of whom."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, key: str) -> Iterator[None]:
        """A place while it is used. Raises ``Problem`` (429) where there is none."""
        if self._open[key] >= MAX_STREAMS_OF_A_KEY:
            raise Problem(
                Code.RATE_LIMITED,
                f"this key has {MAX_STREAMS_OF_A_KEY} open streams, which is all that one may have",
                headers={"Retry-After": str(int(KEEP_ALIVE_S))},
            )
        if self._open.total() >= MAX_STREAMS:
            raise Problem(
                Code.RATE_LIMITED,
                f"{MAX_STREAMS} streams are open, which is all that there are",
                headers={"Retry-After": str(int(KEEP_ALIVE_S))},
            )
        self._open[key] += 1
        REVOCATION_STREAMS.set(self._open.total())
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
            REVOCATION_STREAMS.set(self._open.total())


def describe(status: RevocationStatus) -> RevocationAnswer:
    request = status.request
    return RevocationAnswer(
        id=status.id,
        tenant=request.tenant,
        who={n: v for n, v in asdict(request.who).items() if v is not None},
        kind=str(request.kind),
        reason=request.reason,
        source=request.source,
        received_at=status.received_at,
        durable_ms=status.durable_ms,
        replicas=[
            ReplicaConfirmation(replica=name, confirmed_ms=ms) for name, ms in status.replicas
        ],
        acknowledged_ms=status.acknowledged_ms,
        ended=status.ended,
        lifted=status.lifted,
        users_to_enable=status.users_to_enable,
    )


async def expect_tenant(is_tenant: IsTenant, tenant: str) -> None:
    """A mistyped tenant ends nothing, and "done, 0 sessions" would be believed. Raises
    ``Problem``.
    """
    if not await is_tenant(tenant):
        raise Problem(Code.NOT_FOUND, f"there is no tenant {tenant}")


@dataclass(frozen=True, slots=True)
class RevocationRoutes:
    """Ending what people have. ``still_allowed``: asked again while a stream is open."""

    revoker: Revoker
    is_tenant: IsTenant
    still_allowed: Callable[[Call], Awaitable[bool]]
    closing: asyncio.Event
    places: StreamPlaces = field(default_factory=StreamPlaces)

    async def revoke(self, call: Call) -> Answer:
        body = call.body(RevocationBody)
        call.note.after = body
        await expect_tenant(self.is_tenant, body.tenant)
        status = await self.revoker.revoke(
            RevocationRequest(
                body.tenant,
                body.who(),
                RevocationKind(body.kind),
                body.reason,
                call.source,
                by_hand=True,
            )
        )
        call.note.target = status.id
        return Answer(
            describe(status), status=201, headers={"Location": f"/admin/v1/revocations/{status.id}"}
        )

    async def get_revocation(self, call: Call) -> Answer:
        status = await self.revoker.status(call.path["revocation"])
        if status is None:
            raise Problem(Code.NOT_FOUND)
        call.own(status.request.tenant)
        return Answer(describe(status))

    async def stream_revocations(self, call: Call) -> web.StreamResponse:
        after = call.query(StreamQuery).after or call.request.headers.get("Last-Event-ID")
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Request-Id": call.request_id,
        }
        response = web.StreamResponse(headers=headers)
        request = call.request.over_http
        if request is None:
            raise Problem(Code.NOT_FOUND)
        with self.places.taken(call.key.id), contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            await _write(response, b": revocations\n\n")
            source = self.revoker.stream(after=after)
            events = _until_closed(
                source,
                response,
                still_allowed=lambda: self.still_allowed(call),
                closing=self.closing,
            )
            async with contextlib.aclosing(source), contextlib.aclosing(events):
                async for status in events:
                    if call.key.tenant in (None, status.request.tenant):
                        data = json.dumps(describe(status).model_dump(mode="json"))
                        await _write(
                            response,
                            f"id: {status.id}\nevent: revocation\ndata: {data}\n\n".encode(),
                        )
        return response

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "revoke",
                "POST",
                "/revocations",
                "End sessions or block; answers when acknowledged",
                self.revoke,
                {201: RevocationAnswer},
                body=RevocationBody,
                creates=True,
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "stream_revocations",
                "GET",
                "/revocations/stream",
                "All revocations as server-sent events",
                self.stream_revocations,
                {200: None},
                query=StreamQuery,
                stream="text/event-stream",
            ),
            Route(
                "get_revocation",
                "GET",
                "/revocations/{revocation}",
                "The time line of one revocation",
                self.get_revocation,
                {200: RevocationAnswer},
            ),
        )


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Raises ``ConnectionResetError`` for a client that takes nothing in: its place is somebody
    else's.
    """
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError from None


async def _until_closed(
    source: AsyncIterator[RevocationStatus],
    response: web.StreamResponse,
    *,
    still_allowed: Callable[[], Awaitable[bool]],
    closing: asyncio.Event,
) -> AsyncGenerator[RevocationStatus, None]:
    """Events as they come, a comment when none came for a while; ends with the key, the server or
    the client.
    """
    shutdown = asyncio.ensure_future(closing.wait())
    upcoming: asyncio.Future[RevocationStatus] | None = None
    clock = asyncio.get_running_loop().time
    allowed_at = clock()
    try:
        while not closing.is_set():
            upcoming = upcoming or asyncio.ensure_future(anext(source))
            futures: set[asyncio.Future[Any]] = {upcoming, shutdown}
            await asyncio.wait(futures, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            # A busy stream ends with its key as soon as a silent one.
            if not closing.is_set() and (
                not upcoming.done() or clock() - allowed_at >= KEEP_ALIVE_S
            ):
                if not await still_allowed():
                    return
                allowed_at = clock()
            if upcoming.done():
                try:
                    status = upcoming.result()
                except StopAsyncIteration:
                    return
                upcoming = None
                yield status
            elif not closing.is_set():
                await _write(response, b": still here\n\n")
    except ConnectionResetError:
        return
    finally:
        for task in (shutdown, upcoming):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                    await task
