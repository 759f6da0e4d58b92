"""One HTTP/1.1 request as exact bytes, and whatever comes back, in bounded time and size."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

TIMEOUT_S = 12.0
"""Longer than any configuration here gives the check (8 s); what takes longer is itself a finding."""
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


async def exchange(address: tuple[str, int], raw: bytes, *, tls: ssl.SSLContext | None, server_name: str, timeout_s: float = TIMEOUT_S) -> Reply:
    """Send ``raw`` (with ``Connection: close``) on a new connection and read the answer. Never raises for what the peer does."""
    started = time.monotonic()
    host, port = address
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=server_name if tls else None)
            try:
                # A proxy may refuse while we are still sending; its answer counts all the same.
                with contextlib.suppress(ConnectionError):
                    writer.write(raw)
                    await writer.drain()
                received = await _read(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return Reply(0, seconds=time.monotonic() - started, problem=f"no answer within {timeout_s:.0f} s")
    except OSError as error:
        return Reply(0, seconds=time.monotonic() - started, problem=error.strerror or type(error).__name__)
    return parse(received, seconds=time.monotonic() - started)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Until the answer is complete by its own length, the peer closes, or it is too long to matter."""
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
    lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:") and line[15:].strip().isdigit()]
    return bool(lengths) and len(body) >= lengths[0]


def parse(received: bytes, *, seconds: float) -> Reply:
    """Status, headers and the raw body; interim answers (100) are skipped."""
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return parse(body, seconds=seconds)
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return Reply(0, seconds=seconds, problem="closed without an answer" if not received else "not HTTP")
    pairs = tuple((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:]))
    return Reply(int(words[1]), pairs, body, seconds)
