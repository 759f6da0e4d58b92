"""One listening socket: who may hold how many connections for how long, and what is said to bytes
that are no HTTP.

Rules:
- Each listener has its own bound of connections. At the bound, the connection that was idle for
  longest makes room for a new one; where none is idle, new ones wait in the kernel's queue. So
  nobody at one listener takes what the others need.
- A request head that has begun arrives within ``HEAD_S``, its body within ``BODY_S``; what was
  answered is taken within ``TAKEN_S``.
- A process without free descriptors says so, and accepts again when it has some.
- At the end every answer says ``Connection: close``, then what the kernel has accepted already is
  answered too (``draining``).

aiohttp answers and logs bytes that it could not read with the line they stood in: a cookie that is
too long, or the ingress' key with one wrong byte, would come back to a script that may not read it.
Here every such answer is a fixed text, and the log names the kind of mistake alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
from collections import OrderedDict
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestPayloadError

from gateway.background import background_task
from gateway.core.decision import RETRY_AFTER_S
from gateway.errors import ConfigError
from gateway.log import Throttled, fields
from gateway.metrics import (
    ACCEPT_ERRORS,
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    CONNECTIONS_OPENED,
    begin_at_zero,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import StreamReader
    from aiohttp.web_request import BaseRequest

_LOG = logging.getLogger(__name__)
NOT_HTTP = (http_exceptions.HttpProcessingError, RequestPayloadError)
"""What the bytes of a request may raise, at its head or while its body is read."""
UNREADABLE = (*NOT_HTTP, ConnectionError)
"""What reading a body may raise: the same, and a client that has gone. Of a handler's own it is a
refusal, never a fault.
"""
BACKLOG: Final = 1024
HEAD_S: Final = 10.0
"""From the first byte of a request to the end of its head. Proxies send a head at once."""
BODY_S: Final = 30.0
"""From the end of a head to the end of its body; bodies are a megabyte at most."""
TAKEN_S: Final = 30.0
"""How long a client may leave answers that the kernel has no more room for. Without it, whoever
asks and never reads keeps a place for good.
"""
MAX_CONNECTIONS: Final = 4096
"""Of a listener that is given no bound of its own."""
_AT_ONCE: Final = 16
"""Connections accepted before others have their turn: workers share the queue."""
_LOOKED_AT: Final = 64
"""Connections that are looked at for an idle one, beginning with the one that was silent for
longest.
"""
_SWEEP_S: Final = 1.0
_PAUSE_S: Final = 0.1
"""After an error of ``accept``. The connection stays in the queue, so without a pause the loop
would spin.
"""
_TELL_EVERY_S: Final = 10.0
CLOSED_FOR: Final = ("slow_head", "slow_body", "unread", "idle")
"""Why a connection is cut off."""


class Connection(Protocol):
    """What a listener needs to know of a connection, whichever server reads it. Hashable."""

    starting: asyncio.Task[None] | None
    """What makes a connection of what was accepted."""

    @property
    def idle(self) -> bool:
        """Nothing of a request is here that somebody waits to be answered."""

    @property
    def unused(self) -> bool:
        """No request came yet."""

    @property
    def missing_body(self) -> StreamReader | None:
        """Of the newest request, where part of it is still to come."""

    def force_close(self) -> None:
        """Without another answer."""


class AiohttpConnection(web.RequestHandler):
    """A client's connection whose faults quote nothing of what was sent."""

    __slots__ = ("_listener", "starting")

    def __init__(
        self,
        listener: Listener,
        manager: web.Server,
        *,
        starting: asyncio.Task[None] | None,
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._listener = listener
        self.starting = starting

    @property
    def idle(self) -> bool:
        return not self._messages and (self._waiter is not None or not self._request_count)

    @property
    def unused(self) -> bool:
        return not self._request_count

    @property
    def missing_body(self) -> StreamReader | None:
        body = self._messages[-1][1] if self._messages else None
        return None if body is None or body.is_eof() else body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.opened(self, self.transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._listener.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        self._listener.heard(self, request=self._request_count != before)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's
    ) -> web.StreamResponse:
        """``message`` is aiohttp's, with the line in it: dropped."""
        if isinstance(exc, http_exceptions.LineTooLong):
            # RFC 6585 §5
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.log_exception("Error handling request", exc_info=exc)
        if request.writer.output_size > 0:
            text = "an answer is on its way already"
            raise ConnectionError(text)
        phrase = HTTPStatus(status).phrase
        response = web.Response(
            status=status, text=f"{phrase}\n", headers={"Cache-Control": "no-store"}
        )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Of what the peer sent wrongly only the kind; of our own faults the trace."""
        error = kw.get("exc_info")
        if isinstance(error, NOT_HTTP):
            peer = self.transport and self.transport.get_extra_info("peername")
            self._listener.not_http(type(error).__name__, peer)
        else:
            self._listener.fault(
                error, listener=self._listener.name, detail=str(args[0]) if args else None
            )

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """``Expect`` of a kind that nobody knows is quoted by aiohttp too."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp.text = f"{resp.reason}\n"
        self._listener.answered += 1
        if self._listener.ending:
            resp.force_close()
        before = self._request_count
        result = await super().finish_response(request, resp, start_time)
        if self._request_count != before:
            # What came behind a declined upgrade is read only now, and not as bytes that arrive.
            self._listener.heard(self, request=True)
        return result


def cannot_listen(error: OSError) -> str:
    """Why, and what to do."""
    return {
        errno.EADDRINUSE: "another process, or another of the listeners, has that port",
        errno.EADDRNOTAVAIL: "this machine has no such address",
        errno.EACCES: "permission denied (a port below 1024 needs CAP_NET_BIND_SERVICE; a socket a "
        "folder that this user may write)",
        errno.ENOENT: "there is no such folder",
    }.get(error.errno or 0, error.strerror or "the path of a socket has at most 107 bytes")


class Listener:
    """Accepts from one bound socket; the socket stays its owner's."""

    def __init__(
        self,
        make: Callable[[Listener, asyncio.Task[None] | None], asyncio.Protocol],
        bound: socket.socket,
        *,
        name: str,
        limit: int,
    ) -> None:
        """``make``: a ``Connection`` for what was accepted, and the task that makes it one."""
        self._make = make
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._open: OrderedDict[Connection, asyncio.Transport | None] = OrderedDict()
        """The one that was silent for longest first. aiohttp forgets the transport of a connection
        that it closes, although answers may wait there.
        """
        self._heads: dict[Connection, float] = {}
        """Whose request head has begun, and when it must have ended (the loop's time); in that
        order.
        """
        self._bodies: dict[Connection, tuple[float, StreamReader]] = {}
        """Whose request has a body that is still to come, until when, and the body."""
        self._unread: dict[Connection, float] = {}
        """Who has left answers at every look so far, and until when."""
        self._starting: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._told: dict[str, float] = {}
        self._gauge, self._count = CONNECTIONS.labels(name), CONNECTIONS_OPENED.labels(name)
        begin_at_zero(ACCEPT_ERRORS, [name])
        begin_at_zero(CONNECTIONS_CLOSED, [name], CLOSED_FOR)
        self.fault = Throttled(_LOG, logging.ERROR, "unexpected_error")
        self._not_http = Throttled(_LOG, logging.WARNING, "invalid_http_request")
        self.name, self.limit = name, limit
        self.ending = False
        """Each answer from now on is the last of its connection."""
        self.answered = 0
        self.accepting = False

    @property
    def bound(self) -> socket.socket:
        return self._bound

    @property
    def new(self) -> int:
        """Connections that have not asked anything yet."""
        return len(self._starting) + sum(
            connection.unused and connection.idle for connection in self._open
        )

    # --- accepting -------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises ``ConfigError`` where another process listens there by now."""
        if not self._bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            try:
                self._bound.listen(BACKLOG)
            except OSError as error:
                host, port = self._bound.getsockname()[:2]
                msg = f"listen.{self.name}: cannot listen on {host}:{port}: {cannot_listen(error)}"
                raise ConfigError(msg) from error
        # ``accept`` asks until nobody waits: on a blocking socket that would be the end of this
        # loop.
        self._bound.setblocking(False)
        self.accepting = True
        self._loop.add_reader(self._bound.fileno(), self.accept)

    def stop(self) -> None:
        """Accepts no more; who is connected goes on."""
        self.accepting = False
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._loop.remove_reader(self._bound.fileno())

    def accept(self, at_once: int = _AT_ONCE) -> int:
        """What waits in the kernel's queue, ``at_once`` at most; how many came."""
        for count in range(at_once):
            if len(self._open) + len(self._starting) >= self.limit:
                if not self._somebody_waits():
                    return count
                if not self._make_room():
                    self._pause()
                    return count
            try:
                client, _ = self._bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return count
            except OSError as error:
                if error.errno == errno.EINVAL:
                    # The queue of a Unix socket that was closed at its entrance is empty.
                    self._pause()
                    return count
                # Of the process (EMFILE) or the machine (ENFILE, ENOBUFS, ENOMEM): said, since
                # nothing else in the log would tell why nobody is answered.
                ACCEPT_ERRORS.labels(self.name).inc()
                self._tell(
                    "accept_failed",
                    error=os.strerror(error.errno or 0),
                    connections=len(self._open),
                )
                self._pause()
                return count
            client.setblocking(False)
            task = self._loop.create_task(self._serve(client))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
        return at_once

    async def _serve(self, client: socket.socket) -> None:
        try:
            task = asyncio.current_task()
            await self._loop.connect_accepted_socket(lambda: self._make(self, task), client)
        except OSError:
            client.close()

    def _somebody_waits(self) -> bool:
        queue = select.poll()
        queue.register(self._bound.fileno(), select.POLLIN)
        return bool(queue.poll(0))

    def _pause(self) -> None:
        """Other workers may have room; and this one has again when a connection ends."""
        if self.accepting and self._paused is None:
            self._loop.remove_reader(self._bound.fileno())
            self._paused = self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._paused = None
        if self.accepting:
            self._loop.add_reader(self._bound.fileno(), self.accept)

    def _make_room(self) -> bool:
        self._tell(
            "connections_at_limit",
            limit=self.limit,
            detail="idle connections make room for new ones",
        )
        for connection, _ in zip(self._open, range(_LOOKED_AT), strict=False):
            if connection.idle:
                self._close(connection, "idle")
                return True
        return False

    def not_http(self, kind: str, peer: object) -> None:
        """Bytes that are no request. ``kind`` of mistake; ``peer``: its socket address."""
        client = str(peer[0]) if isinstance(peer, tuple) and peer else None
        self._not_http(listener=self.name, client=client, error=kind)

    def _tell(self, event: str, **values: object) -> None:
        """Once in ``_TELL_EVERY_S``: whoever causes it may cause it a thousand times a second."""
        now = self._loop.time()
        if now - self._told.get(event, -_TELL_EVERY_S) >= _TELL_EVERY_S:
            self._told[event] = now
            _LOG.error(event, extra=fields(listener=self.name, **values))

    # --- connections -----------------------------------------------------------------------------

    def opened(self, connection: Connection, transport: asyncio.Transport | None) -> None:
        if connection.starting is not None:
            self._starting.discard(connection.starting)  # from here on counted once, as open
            connection.starting = None
        self._open[connection] = transport
        self._gauge.inc()
        self._count.inc()

    def closed(self, connection: Connection) -> None:
        self._heads.pop(connection, None)
        self._bodies.pop(connection, None)
        self._unread.pop(connection, None)
        if connection in self._open:
            del self._open[connection]
            self._gauge.dec()

    def heard(self, connection: Connection, *, request: bool) -> None:
        """Bytes came; ``request``: with them the end of a head."""
        if connection not in self._open:
            return
        self._open.move_to_end(connection)
        if request:
            self._heads.pop(connection, None)
            if (body := connection.missing_body) is not None:
                self._bodies[connection] = (self._loop.time() + BODY_S, body)
        elif connection not in self._heads and connection.idle:
            self._heads[connection] = self._loop.time() + HEAD_S

    def begun(self, connection: Connection) -> None:
        """What was asked is answered, and part of another head is here."""
        if connection in self._open:
            self._heads.setdefault(connection, self._loop.time() + HEAD_S)

    def _close(self, connection: Connection, reason: str) -> None:
        CONNECTIONS_CLOSED.labels(self.name, reason).inc()
        transport = self._open.get(connection)
        self.closed(connection)
        connection.force_close()
        if transport is not None:
            transport.abort()  # at once, whatever was not sent yet

    async def sweep(self) -> None:
        """Until cancelled: closes whose head or body takes too long, and who does not take the
        answer.
        """
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            for connection in [late for late, ends in self._heads.items() if ends <= now]:
                self._close(connection, "slow_head")
            for connection, (ends, body) in list(self._bodies.items()):
                if body.is_eof():
                    del self._bodies[connection]
                elif ends <= now:
                    self._close(connection, "slow_body")
            self._unread = {
                connection: self._unread.get(connection, now + TAKEN_S)
                for connection, transport in self._open.items()
                if transport is not None and transport.get_write_buffer_size()
            }
            for connection in [late for late, ends in self._unread.items() if ends <= now]:
                self._close(connection, "unread")


@asynccontextmanager
async def listening(
    runner: web.BaseRunner,
    bound: socket.socket,
    *,
    name: str = "",
    limit: int = MAX_CONNECTIONS,
    **options: Any,
) -> AsyncIterator[Listener]:
    """Serve ``runner`` on a bound socket, non-blocking; ``options`` are those of aiohttp's
    ``RequestHandler``. Leaving waits for what is being answered.
    """
    await runner.setup()
    try:
        server = runner.server
        if server is None:
            msg = "aiohttp: a runner that was set up has no server"
            raise RuntimeError(msg)

        def make(listener: Listener, starting: asyncio.Task[None] | None) -> AiohttpConnection:
            return AiohttpConnection(
                listener,
                server,
                starting=starting,
                loop=asyncio.get_running_loop(),
                access_log=None,
                **options,
            )

        async with accepting(Listener(make, bound, name=name, limit=limit)) as listener:
            yield listener
    finally:
        await runner.cleanup()


@asynccontextmanager
async def accepting(listener: Listener) -> AsyncIterator[Listener]:
    """It accepts connections, until the block is left; those that are open stay open."""
    async with background_task(listener.sweep()):
        listener.start()
        try:
            yield listener
        finally:
            listener.stop()
