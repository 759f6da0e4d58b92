"""One HTTP/2 request with prior knowledge (RFC 9113 §3.3), headers as given, however odd."""

from __future__ import annotations

import socket

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.ingress.wire import Received


def send(
    port: int, headers: list[tuple[str, str]], *, body: bytes = b"", timeout_s: float = 20.0
) -> Received:
    """Status 0 where the stream was reset or the connection ended without an answer."""
    configuration = H2Configuration(
        client_side=True,
        header_encoding="utf-8",
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = H2Connection(configuration)
    status, got, data = 0, [], b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as wire:
        connection.initiate_connection()
        connection.send_headers(1, headers, end_stream=not body)
        if body:
            connection.send_data(1, body, end_stream=True)
        wire.sendall(connection.data_to_send())
        try:
            while chunk := wire.recv(65536):
                for event in connection.receive_data(chunk):
                    if isinstance(event, ResponseReceived):
                        got = [(_text(name), _text(value)) for name, value in event.headers]
                        status = int(dict(got)[":status"])
                    elif isinstance(event, DataReceived):
                        data += event.data
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    elif isinstance(event, StreamEnded | StreamReset | ConnectionTerminated):
                        return Received(
                            status, tuple(pair for pair in got if not pair[0].startswith(":")), data
                        )
                wire.sendall(connection.data_to_send())
        except (OSError, ProtocolError):
            pass
    return Received(status, (), data)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
