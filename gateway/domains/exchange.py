"""One question to one DNS server, over UDP and, where the answer does not fit, over TCP.

Rules:
- An answer is looked into only if it is no longer than ``MAX_ANSWER_BYTES`` and claims no more
  records than ``MAX_RECORDS``: reading one of 64 kB takes the event loop most of a second.
- What is no answer to the question is passed over until ``timeout_s`` ends, so that whoever guesses
  an id first has not silenced the server.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.message

MAX_ANSWER_BYTES: Final = 16_384
"""Fifty records of 255 characters, their servers and signatures."""
MAX_RECORDS: Final = 100
"""In all sections together."""
_WAITING: Final = 8
"""Datagrams that are kept until they are looked at."""
_HEADER: Final = struct.Struct("!HHHHHH")
_RESPONSE, _TRUNCATED = 0x8000, 0x0200


@dataclass(frozen=True, slots=True)
class Server:
    """Where DNS is spoken. ``port``: of both UDP and TCP."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address}:{self.port}"


async def ask(
    query: dns.message.Message, server: Server, *, timeout_s: float
) -> dns.message.Message | None:
    """None: nothing that could be looked into came in time."""
    wire = query.to_wire()
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _over_udp(query, wire, server)
            return answer if answer is not None else await _over_tcp(query, wire, server)
    except (TimeoutError, OSError, EOFError):
        return None


def parsed(query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    """The answer to ``query``, if it is one and small enough."""
    if not _HEADER.size <= len(wire) <= MAX_ANSWER_BYTES:
        return None
    _, _, questions, *records = _HEADER.unpack_from(wire)
    if questions > 1 or sum(records) > MAX_RECORDS:
        return None
    try:
        answer = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, EOFError, struct.error):
        return None
    return answer if query.is_response(answer) else None


class _Datagrams(asyncio.DatagramProtocol):
    """Of the one address that the socket is connected to."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes | Exception] = asyncio.Queue(_WAITING)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - as above
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc)

    def _put(self, what: bytes | Exception) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait(what)


async def _over_udp(
    query: dns.message.Message, wire: bytes, server: Server
) -> dns.message.Message | None:
    """None: the answer is too long for a packet."""
    transport, datagrams = await asyncio.get_running_loop().create_datagram_endpoint(
        _Datagrams, remote_addr=(server.address, server.port)
    )
    try:
        transport.sendto(wire)
        while True:
            arrived = await datagrams.arrived.get()
            if isinstance(arrived, Exception):
                raise arrived
            if _is_truncated(query, arrived):
                return None
            if (answer := parsed(query, arrived)) is not None:
                return answer
    finally:
        transport.close()


def _is_truncated(query: dns.message.Message, wire: bytes) -> bool:
    if len(wire) < _HEADER.size:
        return False
    number, flags, *_ = _HEADER.unpack_from(wire)
    return bool(number == query.id and flags & _RESPONSE and flags & _TRUNCATED)


async def _over_tcp(
    query: dns.message.Message, wire: bytes, server: Server
) -> dns.message.Message | None:
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        if length > MAX_ANSWER_BYTES:
            return None
        return parsed(query, await reader.readexactly(length))
    finally:
        writer.close()
