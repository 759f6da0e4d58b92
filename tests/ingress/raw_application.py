"""An application that keeps the bytes it received, and accepts every WebSocket."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"(?im)^sec-websocket-key:[ \t]*([^\r\n]*)")
_UPGRADE = re.compile(rb"(?im)^upgrade:[ \t]*([^\r\n]*)")


class RawApplication:
    """Listens on a port of its own; one request a connection."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._received: list[bytes] = []
        self._arriving: dict[int, bytes] = {}
        self._accepted: set[int] = set()
        self._open = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def forget(self) -> None:
        with self._changed:
            self._received.clear()
            self._arriving.clear()
            self._accepted.clear()

    def received(self, timeout_s: float = 10.0) -> list[bytes]:
        """What came over each connection since ``forget``, head and all, once none is open any
        more. Raises ``TimeoutError``.
        """
        with socket.create_connection(
            ("127.0.0.1", self.port)
        ) as last:  # connections are accepted in turn
            port = last.getsockname()[1]
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._open == 0 and port in self._accepted, timeout_s
            ):
                raise TimeoutError
            return list(self._received)

    def wait_for(self, ending: bytes, timeout_s: float = 10.0) -> None:
        """Until some request has come as far as ``ending``. Raises ``TimeoutError``."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: any(data.endswith(ending) for data in self._arriving.values()), timeout_s
            ):
                raise TimeoutError

    def upgrades(self) -> list[bytes]:
        """The values of every Upgrade line that came in HTTP/1."""
        return [
            value.strip()
            for data in self.received()
            for value in _UPGRADE.findall(data.partition(b"\r\n\r\n")[0])
        ]

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._open += 1
                self._accepted.add(peer[1])
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        connection.settimeout(5)
        with connection, contextlib.suppress(OSError):
            for chunk in _chunks(connection):
                data += chunk
                if b"\r\n\r\n" in data:
                    break
            head = data.partition(b"\r\n\r\n")[0]
            if b"websocket" in b",".join(_UPGRADE.findall(head)):
                key = _KEY.search(head)
                accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + _GUID).digest())
                connection.sendall(
                    (
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
                        b"websocket\r\nSec-WebSocket-Accept: "
                    )
                    + accept
                    + b"\r\n\r\n"
                )
                data += b"".join(_chunks(connection))
            else:
                if b"chunked" in head.lower() and not data.endswith(b"\r\n0\r\n\r\n"):
                    self._arrived(connection, data)
                    for chunk in _chunks(connection):
                        data += chunk
                        self._arrived(connection, data)
                        if b"\r\n0\r\n" in data and data.endswith(b"\r\n\r\n"):
                            break
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
                )
                connection.shutdown(socket.SHUT_WR)
                data += b"".join(_chunks(connection))
        with self._changed:
            if data:
                self._received.append(data)
            self._open -= 1
            self._changed.notify_all()

    def _arrived(self, connection: socket.socket, data: bytes) -> None:
        with self._changed:
            self._arriving[connection.fileno()] = data
            self._changed.notify_all()


def _chunks(connection: socket.socket) -> Iterator[bytes]:
    """Until the other side ends, or says nothing for as long as the socket's timeout."""
    with contextlib.suppress(OSError):
        while chunk := connection.recv(65536):
            yield chunk
