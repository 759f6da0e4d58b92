"""The HTTP server of the check listener: one question after the other from an ingress that keeps
its connections.

Rules:
- What can be answered from memory is answered in the turn of the loop in which its bytes arrive: no
  task, no await. All connections that asked in a turn are answered one after the other, then the
  answers are written: a processor that goes to the kernel and back between two answers takes twice
  as long for each. Not more than ``MAX_UNWRITTEN`` answers wait for that.
- Whatever has to wait is a task; what was sent behind it waits for it, and answers keep their
  order.
- A check is answered from its head. Where a body is announced, or another protocol asked for, that
  answer is the connection's last: what follows is thrown away, and never read as a request. A
  version that is not 1.0 or 1.1, and an expectation that nobody knows, are refused.
- Bytes that are one whole head, and were read as a request before, are not parsed again
  (``known_heads.py``); the parser stands between two requests then.
- Bytes that are no HTTP are answered with a fixed text, quoted nowhere, and end the connection.
- Requests that are sent ahead are read up to ``MAX_PIPELINED``, then the connection is not read
  until those are answered; so it is while the client does not take its answers.
- Who sends a last request and closes its side is answered first.
- How many connections there are, and how long a head or an unread answer may take, is the
  listener's business (``listener.py``).

Every other listener is aiohttp's; so is the parser here (``http_parser.py``).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from gateway.check.dialects.names import EXPECT, X_REQUEST_ID
from gateway.check.dialects.raw_request import KnownRequest, RawRequest
from gateway.check.http_parser import (
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    NotHttpError,
    RequestParser,
    has_body,
    is_http_1,
    is_http_1_0,
)
from gateway.check.known_heads import KnownHeads
from gateway.check.response import CheckResponse, header_lines, status_line
from gateway.core.decision import RETRY_AFTER_S
from gateway.core.request_id import parse_request_id
from gateway.http.listener import MAX_CONNECTIONS, Listener, accepting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from gateway.check.http_parser import Head, HeadLine

KEEPALIVE_S: Final = 3630.0
"""Longer than any proxy keeps an idle connection, so it is never we who close one that is about to
be used.
"""
LINGER_S: Final = 2.0
"""After a last answer behind which more may follow: for how long that is taken and thrown away.
Closing at once would reset the connection, and the client might lose the answer.
"""
MAX_UNWRITTEN: Final = 32
"""Answers of one turn, of all connections, that are collected before they are written."""
MAX_UNWRITTEN_BYTES: Final = 16 * 1024
"""Of one connection's answers that are collected."""
STOP_GRACE_S: Final = 5.0
"""For answers that wait for a store when the process ends."""
NAME: Final = "gateway"
_HEAD_END: Final = b"\r\n\r\n"
_EMPTY: Final = b"Content-Length: 0\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"


class Handler(Protocol):
    """Answers one request: at once, or once something was waited for."""

    def __call__(self, request: RawRequest, /) -> CheckResponse | Awaitable[CheckResponse]: ...


def _refusal(status: HTTPStatus) -> CheckResponse:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        headers.append(("Retry-After", str(RETRY_AFTER_S)))
    return CheckResponse(status, header_lines(headers), f"{status.phrase}\n".encode())


_BAD_REQUEST: Final = _refusal(HTTPStatus.BAD_REQUEST)
_EXPECTATION: Final = _refusal(HTTPStatus.EXPECTATION_FAILED)
_VERSION: Final = _refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
_TOO_LONG: Final = _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
_FAULT: Final = _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


class CheckServer:
    """What all connections of one listener share."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections: set[CheckConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Answers that wait for something; referred to here, since a loop keeps tasks weakly."""
        self._loop = asyncio.get_running_loop()
        self.known = KnownHeads(self._loop)
        self._asking: list[CheckConnection] = []
        """Connections with something to answer, in the order in which they asked."""
        self._collects = False
        self._unwritten: list[CheckConnection] = []
        self._second, self._stamp, self._empty_end = 0, b"", b""
        self._status_lines: dict[int, bytes] = {}

    def response_bytes(
        self, response: CheckResponse, head: HeadLine | None, *, close: bool
    ) -> bytes:
        """The whole answer to ``head``; None where it could not be read."""
        status, lines, body = response
        first_line = self._status_lines.get(status)
        if first_line is None:
            first_line = self._status_lines[status] = status_line(status)
        if not self._collects:
            self._set_date()
        if close:
            connection = _CLOSE
        elif head is not None and is_http_1_0(head):
            connection = _KEEP_ALIVE
        elif not body:
            return first_line + lines + self._empty_end
        else:
            connection = b""
        length = b"Content-Length: %d\r\n" % len(body)
        if head is not None and head.method == "HEAD":
            body = b""
        return b"".join((first_line, lines, length, self._stamp, connection, b"\r\n", body))

    def _set_date(self) -> None:
        """Of the answers that are made now: those of one turn have the same."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = formatdate(second, usegmt=True)
            self._stamp = f"Date: {date}\r\nServer: {NAME}\r\n".encode("ascii")
            self._empty_end = _EMPTY + self._stamp + b"\r\n"

    def answer_soon(self, connection: CheckConnection) -> None:
        """In this turn of the loop, once every connection was read that has something to read."""
        if not self._asking:
            self._loop.call_soon(self._answer_all)
        self._asking.append(connection)

    def _answer_all(self) -> None:
        connections, self._asking = self._asking, []
        self._set_date()
        self._collects = True
        try:
            for connection in connections:
                try:
                    connection.answer()
                except Exception as error:  # noqa: BLE001 - one connection's fault is no other's
                    connection.give_up(error)
        finally:
            self._collects = False
            self._write_all()

    def write_soon(self, connection: CheckConnection) -> bool:
        """Whether its answer is written with others; else it is to be written now."""
        if not self._collects:
            return False
        self._unwritten.append(connection)
        if len(self._unwritten) >= MAX_UNWRITTEN:
            self._write_all()
        return True

    def _write_all(self) -> None:
        connections, self._unwritten = self._unwritten, []
        for connection in connections:
            connection.write_answers()

    async def close(self) -> None:
        """What waits is answered, within ``STOP_GRACE_S``; then every connection ends."""
        self._answer_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_S):
                while self.tasks:  # what was sent ahead may wait too
                    await asyncio.wait(self.tasks)
        for task in (given_up := tuple(self.tasks)):
            task.cancel()
        if given_up:
            await asyncio.wait(given_up, timeout=1.0)
        for connection in tuple(self.connections):
            connection.force_close()


class _Read(NamedTuple):
    """A request that the parser handed out. ``whole``: all of its bytes, where they came at once
    and by themselves, and no body follows; else none. ``last``: what follows is no request.
    """

    head: Head
    whole: bytes
    last: bool


class CheckConnection(asyncio.Protocol):
    """One connection of an ingress."""

    __slots__ = (
        "_address",
        "_between",
        "_ends",
        "_eof",
        "_head_bytes",
        "_head_end",
        "_heard_at",
        "_keepalive",
        "_last_came",
        "_listener",
        "_loop",
        "_parser",
        "_paused",
        "_queue",
        "_reading",
        "_server",
        "_task",
        "_transport",
        "_unparsed",
        "_unwritten",
        "starting",
        "unused",
    )

    def __init__(
        self, server: CheckServer, listener: Listener, *, starting: asyncio.Task[None] | None
    ) -> None:
        self.starting = starting
        self.unused = True
        self._server = server
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self._loop)
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._queue: deque[KnownRequest | _Read | CheckResponse] = deque()
        """What was read and is not answered yet; a response stands for what could not be read."""
        self._task: asyncio.Task[None] | None = None
        """Answers the request that was taken from the queue last."""
        self._unparsed = False
        """The parser may hold bytes of further requests."""
        self._unwritten = b""
        """Answers that are written at the end of this turn."""
        self._between = True
        """The parser holds nothing of what comes next: it is known to have read all that it was
        given as whole heads.
        """
        self._head_bytes = 0
        """Of a head that has begun and not ended."""
        self._head_end = b""
        """What came last, as far as the end of a head may be cut there."""
        self._last_came = False
        """The newest that was read is the last of the connection: nothing behind it is looked
        at.
        """
        self._reading = True
        self._paused = False
        """The client does not take its answers."""
        self._eof = False
        """The client has closed its side."""
        self._ends = False
        """The last answer was given: whatever comes is thrown away."""
        self._heard_at = 0.0
        self._keepalive: asyncio.TimerHandle | None = None

    # --- for the listener ------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        transport = self._transport
        return self._all_answered and (transport is None or transport.get_write_buffer_size() == 0)

    @property
    def missing_body(self) -> None:
        """No body is waited for."""
        return

    def force_close(self) -> None:
        self._ends = True
        if self._transport is not None:
            self._transport.close()

    def give_up(self, error: BaseException) -> None:
        """Of what it asked nothing more can be answered."""
        self._queue.clear()
        try:
            self._listener.fault(error, detail="Error answering a connection")
            self.write_answers()
        finally:
            self.force_close()

    @property
    def _all_answered(self) -> bool:
        """What was read is; the client may not have taken it yet."""
        return self._task is None and not self._queue and not self._unparsed

    # --- of asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast("asyncio.Transport", transport)
        peer = stream.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        wire = stream.get_extra_info("socket")
        if wire is not None and wire.family != socket.AF_UNIX:
            # An ingress that lost its power says nothing; the kernel finds out.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)
        self._listener.opened(self, stream)
        self._heard_at = self._loop.time()
        self._keepalive = self._loop.call_at(self._heard_at + KEEPALIVE_S, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's
        self._listener.closed(self)
        self._server.connections.discard(self)
        self._transport, self._ends = None, True
        self._queue.clear()
        self._unparsed = False
        if self._keepalive is not None:
            self._keepalive.cancel()

    def data_received(self, data: bytes) -> None:
        if self._ends:
            return
        self._heard_at = self._loop.time()
        between = self._between and not (self._queue or self._unparsed or self._last_came)
        request = self._server.known.find(data, self._address) if between else None
        if request is not None:
            self._queue.append(request)
        self._listener.heard(
            self, request=request is not None or self._parse(data, between=between)
        )
        if self._task is None:
            self._server.answer_soon(self)

    def eof_received(self) -> bool:
        """True: the connection stays open for the answers that are still to come."""
        self._eof = True
        return not self._all_answered

    def pause_writing(self) -> None:
        self._paused = True
        self._read_on()

    def resume_writing(self) -> None:
        self._paused = False
        self._read_on()
        self.answer()

    # --- reading ---------------------------------------------------------------------------------

    def _parse(self, data: bytes, *, between: bool = False) -> bool:
        """Whether a request is complete now, or can be none any more. ``between``: the parser holds
        nothing of what comes next.
        """
        if self._last_came:
            return False
        try:
            messages = self._parser.feed(data)
            whole = False
            # Each blank line was the end of a head. What the parser passes over without a word, as
            # HTTP/2's preface, has one too.
            self._between = (
                data.endswith(_HEAD_END)
                and (self._head_end + data).count(_HEAD_END) == len(messages) > 0
            )
            if messages and data.endswith(_HEAD_END):
                self._head_bytes, self._head_end = 0, b""
                whole = between and self._between and len(messages) == 1
            else:
                self._measure(data, complete=bool(messages))
        except NotHttpError as error:
            self._listener.not_http(str(error), (self._address,))
            self._queue.append(_TOO_LONG if error.too_long else _BAD_REQUEST)
            self._last_came = True
            return True
        for head, token in messages:
            last = head.upgrade or has_body(token)
            self._queue.append(_Read(head, data if whole and not last else b"", last))
            if last:
                self._last_came, self._head_bytes = True, 0
                return True
        self._unparsed = len(self._queue) >= MAX_PIPELINED
        if self._unparsed or not self._reading:
            self._read_on()
        return bool(messages)

    def _measure(self, data: bytes, *, complete: bool) -> None:
        """The head that has begun; what came before a head in the same bytes counts with it. Raises
        ``NotHttpError`` where it is too long.
        """
        self._head_end = (self._head_end + data[-len(_HEAD_END) :])[-len(_HEAD_END) :]
        if complete:
            if data:
                self._head_bytes = 0 if self._head_end == _HEAD_END else len(data)
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise NotHttpError("HeadTooLong", too_long=True)

    def _read_on(self) -> None:
        """Read from the socket, unless answers or requests pile up."""
        should_read = not (self._paused or self._unparsed)
        transport = self._transport
        if should_read == self._reading or transport is None or self._eof or transport.is_closing():
            return
        self._reading = should_read
        if should_read:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _parse_rest(self) -> None:
        """In a turn of the loop of its own: whoever sends many requests at once holds up nobody for
        longer than ``MAX_PIPELINED`` of them take.
        """
        if self._ends or not self._unparsed or self._queue:
            return
        self._unparsed = False
        self._parse(b"")
        self._read_on()
        self.answer()
        if self._eof and self._all_answered:
            self.force_close()

    # --- answering -------------------------------------------------------------------------------

    def answer(self) -> None:
        """All that was read, until something has to be waited for."""
        head: HeadLine
        request: RawRequest
        while self._task is None and self._queue and not self._paused and not self._ends:
            item = self._queue.popleft()
            if isinstance(item, CheckResponse):
                self._write(item, None, last=True)
                return
            self.unused = False
            if isinstance(item, KnownRequest):
                head, last, request = item.known, False, item
            else:
                head, last = item.head, item.last
                self._parser.consumed()
                refusal = _refused(item.head)
                if refusal is not None:
                    self._write(refusal, head, last=True)
                    return
                request = _raw(item.head, self._address)
            try:
                response = self._server.handler(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, one request's fault is no other's
                self._fault(error, request, head)
                return
            if not isinstance(response, CheckResponse):
                coroutine = self._answer_later(response, request, head, last=last)
                self._task = self._loop.create_task(coroutine)
                self._server.tasks.add(self._task)
                self._task.add_done_callback(self._server.tasks.discard)
                return
            if request.of_somebody and isinstance(item, _Read) and item.whole:
                self._server.known.note(item.whole, item.head)
            self._write(response, head, last=last)
        if self._task is not None or self._queue or self._ends:
            return
        if self._unparsed:
            self._loop.call_soon(self._parse_rest)
        elif self._head_bytes and not self._paused:
            self._listener.begun(self)

    async def _answer_later(
        self, waits: Awaitable[CheckResponse], request: RawRequest, head: HeadLine, *, last: bool
    ) -> None:
        try:
            try:
                response = await waits
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
                # Cancelled is also whoever waited for what somebody else gave up.
                self._task = None
                self._fault(error, request, head)
                return
            self._task = None
            self._write(response, head, last=last)
            self.answer()
        except Exception as error:  # noqa: BLE001 - or the next answer is read as this one
            self.give_up(error)

    def _fault(self, error: BaseException, request: RawRequest, head: HeadLine) -> None:
        self._listener.fault(
            error,
            listener=self._listener.name,
            path=request.raw_path.partition("?")[0],
            request_id=_number(request) or None,
        )
        self._write(_FAULT, head, last=True)

    def _write(self, response: CheckResponse, head: HeadLine | None, *, last: bool = False) -> None:
        """``last``: something may follow that is no request, and is not to be read as one."""
        transport = self._transport
        if transport is None or self._ends:
            return
        listener = self._listener
        listener.answered += 1
        close = last or listener.ending or head is None or head.should_close
        answer = self._server.response_bytes(response, head, close=close)
        if close or (self._eof and not self._queue and not self._unparsed):
            transport.write(self._unwritten + answer)
            self._unwritten = b""
            self._end(transport, linger=last)
        elif self._unwritten:
            self._unwritten += answer
        else:
            self._unwritten = answer
            if not self._server.write_soon(self):
                self.write_answers()
        if len(self._unwritten) > MAX_UNWRITTEN_BYTES:
            self.write_answers()  # the transport says when the client does not take them

    def write_answers(self) -> None:
        """What was answered and not written yet."""
        answers, self._unwritten = self._unwritten, b""
        if answers and self._transport is not None:
            self._transport.write(answers)

    def _end(self, transport: asyncio.Transport, *, linger: bool) -> None:
        self._ends, self._unparsed = True, False
        self._queue.clear()
        if not linger or self._eof or not transport.can_write_eof():
            transport.close()
            return
        self._loop.call_later(LINGER_S, transport.abort)
        with suppress(OSError):  # the client has gone
            transport.write_eof()
        self._paused = False
        self._read_on()

    def _close_if_silent(self) -> None:
        at = self._heard_at + KEEPALIVE_S
        if self.idle and at <= self._loop.time():
            self.force_close()
            return
        self._keepalive = self._loop.call_at(
            max(at, self._loop.time() + 1.0), self._close_if_silent
        )


def _raw(head: Head, peer: str) -> RawRequest:
    return RawRequest(head.method, head.path, head.headers, peer, head.raw_headers)


def _number(request: RawRequest) -> str:
    """The ID of a request that failed, even where its headers are what cannot be read."""
    if request.request_id is not None:
        return request.request_id
    try:
        return parse_request_id(",".join(request.headers.getall(X_REQUEST_ID, ())))
    except Exception:  # noqa: BLE001 - the fault that is told already is the one that counts
        return ""


def _refused(head: Head) -> CheckResponse | None:
    """What no ingress sends."""
    if not is_http_1(head):
        return _VERSION
    expectation = head.headers.get(EXPECT)
    # RFC 9110 §10.1.1: the final answer may come at once; proxies hand the header on.
    return None if expectation is None or expectation.lower() == "100-continue" else _EXPECTATION


@asynccontextmanager
async def serving(
    handler: Handler, bound: socket.socket, *, name: str = "check", limit: int = MAX_CONNECTIONS
) -> AsyncIterator[Listener]:
    """Answer checks on a bound socket, non-blocking. Leaving waits for what is being answered."""
    server = CheckServer(handler)

    def make(listener: Listener, starting: asyncio.Task[None] | None) -> CheckConnection:
        return CheckConnection(server, listener, starting=starting)

    try:
        async with accepting(Listener(make, bound, name=name, limit=limit)) as listener:
            yield listener
    finally:
        await server.close()


__all__ = ["CheckConnection", "CheckServer", "Handler", "serving"]
