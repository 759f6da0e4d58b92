"""One request as exact bytes (HTTP/1) or exact fields (HTTP/2), and whatever comes back, in bounded
time and size.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from gateway.http.connection_error import why

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

TIMEOUT_S = 12.0
"""Longer than any configuration here gives the check (8 s); what takes longer is itself a
finding.
"""
LATE_S = 0.5
MAX_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` 0: no answer that is HTTP; ``problem`` then says why."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0
    problem: str = ""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


async def exchange(
    address: tuple[str, int],
    raw: bytes,
    *,
    tls: ssl.SSLContext | None,
    server_name: str,
    late: bytes = b"",
    timeout_s: float = TIMEOUT_S,
) -> Reply:
    """Send ``raw`` (with ``Connection: close``) and ``LATE_S`` after it ``late`` on a new
    connection, and read the answer.

    Never raises for what the peer does.
    """
    start_time = time.monotonic()
    host, port = address
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname=server_name if tls else None
            )
            try:
                # A proxy may refuse while we are still sending; its answer counts all the same.
                with contextlib.suppress(ConnectionError):
                    writer.write(raw)
                    await writer.drain()
                    if late:
                        await asyncio.sleep(LATE_S)
                        writer.write(late)
                        await writer.drain()
                received = await _read(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return Reply(
            0, seconds=time.monotonic() - start_time, problem=f"no answer within {timeout_s:.0f} s"
        )
    except OSError as error:
        return Reply(0, seconds=time.monotonic() - start_time, problem=why(error))
    return parse_reply(received, seconds=time.monotonic() - start_time)


NO_HTTP2 = "no HTTP/2"


async def exchange_http2(
    address: tuple[str, int],
    fields: Sequence[tuple[str, str]],
    *,
    tls: ssl.SSLContext | None,
    server_name: str,
    timeout_s: float = TIMEOUT_S,
) -> Reply:
    """Send one request without a body on a new HTTP/2 connection, by ALPN or, without TLS, with
    prior knowledge (RFC 9113 §3).

    ``fields`` go out as they are. An extended CONNECT (RFC 8441) is sent only to a peer that
    announced it. ``problem`` is ``NO_HTTP2`` where the peer speaks none of it. Never raises for
    what the peer does.
    """
    start_time = time.monotonic()
    reply = Reply(0, problem=NO_HTTP2)
    with contextlib.suppress(TimeoutError, OSError, ProtocolError):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                *address, ssl=tls, server_hostname=server_name if tls else None
            )
            try:
                if (
                    tls is None
                    or writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
                ):
                    reply = await _converse(reader, writer, fields)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    return replace(reply, seconds=time.monotonic() - start_time)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fields: Sequence[tuple[str, str]]
) -> Reply:
    connection = H2Connection(
        H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    extended = any(name == ":protocol" for name, _ in fields)
    is_sent = False
    status, headers, body = 0, [], b""
    while len(body) < MAX_BYTES:
        chunk = await reader.read(16384)
        if not chunk:
            break
        for event in connection.receive_data(chunk):
            if isinstance(event, RemoteSettingsChanged) and not is_sent:
                if extended and not connection.remote_settings.get(
                    SettingCodes.ENABLE_CONNECT_PROTOCOL
                ):
                    return Reply(0, problem=NO_HTTP2)
                # The stream of an extended CONNECT stays open: what follows on it is the other
                # protocol's.
                connection.send_headers(1, list(fields), end_stream=not extended)
                is_sent = True
            elif isinstance(event, ResponseReceived):
                headers = [(_text(name), _text(value)) for name, value in event.headers]
                status = int(dict(headers)[":status"])
                if extended:
                    connection.reset_stream(1, ErrorCodes.CANCEL)
                    writer.write(connection.data_to_send())
                    return _reply(status, headers, body)
            elif isinstance(event, DataReceived):
                body += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded | StreamReset | ConnectionTerminated):
                return _reply(status, headers, body)
        writer.write(connection.data_to_send())
        await writer.drain()
    return _reply(status, headers, body) if is_sent else Reply(0, problem=NO_HTTP2)


def _reply(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> Reply:
    return Reply(
        status,
        tuple(pair for pair in headers if not pair[0].startswith(":")),
        body,
        problem="" if status else "closed without an answer",
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Until the answer is complete by its own length, the peer closes, or it is too long to
    matter.
    """
    received = b""
    while len(received) < MAX_BYTES and not _complete(received):
        try:
            chunk = await reader.read(16384)
        except ConnectionError:
            break
        if not chunk:
            break
        received += chunk
    return received


def _complete(received: bytes) -> bool:
    """RFC 9112 §6.3, as far as an examination needs it."""
    head, blank, body = received.partition(b"\r\n\r\n")
    status = head[9:12]
    if not blank or status == b"100":
        return False
    if status in {b"101", b"204", b"304"}:
        return True
    lines = head.lower().split(b"\r\n")[1:]
    if any(line.startswith(b"transfer-encoding:") for line in lines):
        return body.endswith(b"0\r\n\r\n")
    lengths = [
        int(line[15:])
        for line in lines
        if line.startswith(b"content-length:") and line[15:].strip().isdigit()
    ]
    return bool(lengths) and len(body) >= lengths[0]


def parse_reply(received: bytes, *, seconds: float) -> Reply:
    """Status, headers and the raw body; interim answers (100) are skipped."""
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return parse_reply(body, seconds=seconds)
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return Reply(
            0, seconds=seconds, problem="closed without an answer" if not received else "not HTTP"
        )
    pairs = tuple(
        (name.strip(), value.strip())
        for name, _, value in (line.partition(":") for line in lines[1:])
    )
    return Reply(int(words[1]), pairs, body, seconds)
