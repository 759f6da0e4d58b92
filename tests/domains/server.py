"""A DNS server of the tests' own, on loopback, over UDP and TCP: recursive and authoritative at
once, and as unkind as servers and people in between are.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from gateway.domains.exchange import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Fault = Literal[
    "",
    "servfail",
    "refused",
    "silent",
    "garbage",
    "spoofed_id",
    "other_question",
    "truncated",
    "truncated_without_tcp",
    "long",
    "many",
    "not_authoritative",
]
NAME_SERVER = "ns1.dns.test"
OVER_TCP = frozenset({"truncated", "truncated_without_tcp", "long", "many"})


@dataclass(slots=True)
class Dns:
    """``texts``: records by name, each a list of strings. ``aliases``: CNAMEs. ``delegated``: zones
    whose name server this is.
    """

    texts: dict[str, list[list[str]]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    delegated: set[str] = field(default_factory=lambda: {"acme.com"})
    name_server: str = "127.0.0.1"
    fault: Fault = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Protocol, name and type."""

    def put(self, name: str, *texts: str) -> None:
        self.texts[name] = [[text] for text in texts]

    def _answer(self, query: dns.message.Message, protocol: str) -> list[bytes]:
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name
        self.asked.append((protocol, name, kind))
        response = dns.message.make_response(query)
        if self.fault == "silent":
            return []
        if self.fault == "garbage":
            return [b"\x00" * 7]
        if self.fault in {"servfail", "refused"}:
            response.set_rcode(
                dns.rcode.SERVFAIL if self.fault == "servfail" else dns.rcode.REFUSED
            )
            return [response.to_wire()]
        if not query.flags & dns.flags.RD and self.fault != "not_authoritative":
            response.flags |= dns.flags.AA
        self._records(response, name, kind)
        if not response.answer and kind == "TXT":
            response.set_rcode(dns.rcode.NXDOMAIN)
        if self.fault in OVER_TCP and protocol == "udp" and kind == "TXT":
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return [short.to_wire()]
        wire = response.to_wire(max_size=65535)
        if self.fault in {"long", "many"} and kind == "TXT" and protocol == "tcp":
            # Beside the record itself: 70 long records, or 200 short ones.
            count, quoted = (70, f'"{"a" * 250}"') if self.fault == "long" else (200, '"a"')
            response.additional += [
                dns.rrset.from_text(f"x{number}.test.", 60, "IN", "TXT", quoted)
                for number in range(count)
            ]
            wire = response.to_wire(max_size=65535)
        if self.fault == "spoofed_id" and kind == "TXT":
            return [struct.pack("!H", query.id ^ 1) + wire[2:]]
        if self.fault == "other_question" and kind == "TXT":
            other = dns.message.make_response(dns.message.make_query("other.test", "TXT"))
            other.id = query.id
            return [other.to_wire()]
        return [wire]

    def _records(self, response: dns.message.Message, name: str, kind: str) -> None:
        if kind == "NS" and name in self.delegated:
            response.answer.append(
                dns.rrset.from_text(f"{name}.", 60, "IN", "NS", f"{NAME_SERVER}.")
            )
        if kind == "A" and name == NAME_SERVER:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "A", self.name_server))
        if kind != "TXT":
            return
        for _ in range(40):
            target = self.aliases.get(name)
            if target is None:
                break
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{target}."))
            name = target
        if name in self.texts:
            quoted = [" ".join(f'"{part}"' for part in parts) for parts in self.texts[name]]
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *quoted))

    @asynccontextmanager
    async def serving(self, port: int = 0, address: str = "127.0.0.1") -> AsyncIterator[Server]:
        loop, owner = asyncio.get_running_loop(), self

        class Udp(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = cast("asyncio.DatagramTransport", transport)

            def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
                for wire in owner._answer(dns.message.from_wire(data), "udp"):
                    self.transport.sendto(wire, peer)

        async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                query = dns.message.from_wire(await reader.readexactly(length))
                if self.fault != "truncated_without_tcp":
                    for wire in self._answer(query, "tcp"):
                        writer.write(struct.pack("!H", len(wire)) + wire)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(tcp, address, port)
        taken = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(Udp, local_addr=(address, taken))
        try:
            yield Server(address, taken)
        finally:
            transport.close()
            server.close()
            await server.wait_closed()
