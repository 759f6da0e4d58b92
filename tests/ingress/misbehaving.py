"""A server in the place of the gateway that does not behave: says nothing, resets, or answers
something odd.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTITY = b"X-Auth-Request-Email: nobody@evil.test\r\n"


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """``answer`` is sent after the head of the request arrived; then the connection is closed,
    reset or kept open.
    """

    answer: bytes = b""
    reset: bool = False
    hang: bool = False
    then: Misbehaviour | None = None
    """What it does from the next request on."""


def status(code: int, *headers: bytes, body: bytes = b"") -> Misbehaviour:
    lines = b"".join(line + b"\r\n" for line in headers)
    return Misbehaviour(
        b"HTTP/1.1 %d Odd\r\n%sContent-Length: %d\r\n\r\n%s"
        % (code, IDENTITY + lines, len(body), body)
    )


class MisbehavingGateway:
    """Listens on a port of its own; ``close`` leaves the port without a listener."""

    def __init__(self) -> None:
        self.behaviour = Misbehaviour()
        self.asked = 0
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._start()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        return listener

    def _start(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens on the port."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        try:
            yield
        finally:
            self._listener = self._listen(self.port)
            self._start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                head += chunk
            self.asked += 1
            behaviour = self.behaviour
            self.behaviour = behaviour.then or behaviour
            if behaviour.reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(behaviour.answer)
            if behaviour.hang:
                while connection.recv(65536):
                    pass
            elif not behaviour.reset:
                connection.shutdown(socket.SHUT_WR)
