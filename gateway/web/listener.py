"""One listening socket of aiohttp's, and what it says to bytes that are no HTTP.

aiohttp answers and logs those with the line that it could not read: a cookie that is too long, or the ingress' key with one wrong byte,
would come back to a script that may not read it. Here every such answer is a fixed text, and the log names the kind of mistake alone.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestPayloadError

from gateway.log import fields

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from aiohttp.web_request import BaseRequest

_LOG = logging.getLogger("gateway")
NOT_HTTP = (http_exceptions.HttpProcessingError, RequestPayloadError)
"""What the bytes of a request may raise, at its head or while its body is read."""
BACKLOG = 1024


class Connection(web.RequestHandler):
    """A client's connection whose faults quote nothing of what was sent."""

    __slots__ = ()

    def handle_error(self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None) -> web.StreamResponse:  # noqa: ARG002 - aiohttp's
        """``message`` is aiohttp's, with the line in it: dropped."""
        if isinstance(exc, http_exceptions.LineTooLong):
            # RFC 6585 §5
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.log_exception("Error handling request", exc_info=exc)
        if request.writer.output_size > 0:
            text = "an answer is on its way already"
            raise ConnectionError(text)
        phrase = HTTPStatus(status).phrase
        response = web.Response(status=status, text=f"{phrase}\n", headers={"Cache-Control": "no-store"})
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Of what the peer sent wrongly only the kind; of our own faults the trace."""
        error = kw.get("exc_info")
        if isinstance(error, NOT_HTTP):
            _LOG.warning("no_http", extra=fields(error=type(error).__name__))
        else:
            _LOG.error("unexpected_error", extra=fields(detail=str(args[0]) if args else None), exc_info=error)

    async def finish_response(self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None) -> tuple[web.StreamResponse, bool]:
        """``Expect`` of a kind that nobody knows is quoted by aiohttp too."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp.text = f"{resp.reason}\n"
        return await super().finish_response(request, resp, start_time)


@asynccontextmanager
async def listening(runner: web.BaseRunner, bound: socket.socket, **options: Any) -> AsyncIterator[None]:
    """Serve ``runner`` on a bound socket; ``options`` are those of aiohttp's ``RequestHandler``. Leaving waits for what is being answered."""
    await runner.setup()
    try:
        loop = asyncio.get_running_loop()
        if runner.server is None:
            msg = "aiohttp: a runner that was set up has no server"
            raise RuntimeError(msg)
        connection = partial(Connection, runner.server, loop=loop, access_log=None, **options)  # type: ignore[arg-type]  # None is no access log, as aiohttp's own servers pass it
        server = await loop.create_server(connection, sock=bound, backlog=BACKLOG)
        try:
            yield
        finally:
            server.close()
    finally:
        await runner.cleanup()
