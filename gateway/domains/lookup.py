"""What DNS says of a domain's record now.

Rules:
- One whole TXT record must equal the value; its strings are joined, and a value within another text
  is none.
- Proven: two of the resolvers say so (all, where there are fewer), and so does a server that is
  authoritative for the zone. A resolver alone may be fooled, or remember.
- Absent is proven the same way. SERVFAIL, REFUSED, silence and nonsense prove nothing.
- Whatever a server answers, the work is bounded: one answer that is not too long (``exchange``),
  some records, some aliases, some name servers, a few seconds in all. Answers to another question,
  with another id or from another address are passed over.
- Name servers are named by whoever owns the domain: only public addresses are asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT

from gateway.domains.exchange import Server, ask
from gateway.domains.name import LABEL, PREFIX, zones

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

QUERY_S: Final = 3.0
LOOK_S: Final = 15.0
SLOW_S: Final = QUERY_S
"""At least one question went unanswered, or nearly."""
PAYLOAD_BYTES: Final = 1232
MAX_TEXTS: Final = 50
MAX_ALIASES: Final = 4
MAX_SERVERS: Final = 3
"""Name servers of a zone that are asked, and addresses of each."""
MAX_ZONES: Final = 6
SHOWN: Final = 3
"""Other values of ours that a result names."""
_AGREE: Final = 2


class Said(StrEnum):
    """What one server said. ``other``: values of ours, and not this one."""

    FOUND = "found"
    OTHER = "other"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """What all of them prove together."""

    FOUND = "found"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """``servers``: what each said, by its address. ``others``: values of ours that were there
    instead; ``doubled``: the record was found with the domain written twice; ``slow``: it took
    ``SLOW_S`` or more.
    """

    outcome: Outcome
    servers: tuple[tuple[str, Said], ...] = ()
    others: tuple[str, ...] = ()
    doubled: bool = False
    slow: bool = False


@dataclass(frozen=True, slots=True)
class _Texts:
    said: Said
    others: tuple[str, ...] = ()


class Lookup:
    """``resolvers``: recursive servers. ``port``: of authoritative servers. ``networks``: where
    these may be although it is not public.
    """

    def __init__(
        self,
        resolvers: Sequence[Server],
        *,
        port: int = 53,
        networks: Iterable[str] = (),
    ) -> None:
        self._resolvers, self._port = tuple(resolvers), port
        self._networks = [ipaddress.ip_network(network) for network in networks]

    async def look(self, domain: str, value: str) -> Look:
        """Ends within ``LOOK_S``, and raises nothing of what the servers do."""
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(LOOK_S):
                result = await self._look(domain, value)
        except TimeoutError:
            result = Look(Outcome.UNKNOWN)
        return replace(result, slow=now() - began >= SLOW_S)

    async def _look(self, domain: str, value: str) -> Look:
        name = f"{LABEL}.{domain}"
        answers, (authority, authority_server) = await asyncio.gather(
            asyncio.gather(*(self._texts(server, name, value) for server in self._resolvers)),
            self._authoritative(domain, value),
        )
        servers = tuple(
            (str(server), texts.said)
            for server, texts in zip(self._resolvers, answers, strict=True)
        ) + (((str(authority_server), authority.said),) if authority_server is not None else ())
        others = dict.fromkeys(text for texts in (*answers, authority) for text in texts.others)
        outcome = _together([texts.said for texts in answers], authority.said)
        doubled = False
        if outcome is not Outcome.FOUND and self._resolvers:
            twice = await self._texts(self._resolvers[0], f"{name}.{domain}", value)
            doubled = twice.said is Said.FOUND
        return Look(outcome, servers, tuple(others)[:SHOWN], doubled)

    async def _authoritative(self, domain: str, value: str) -> tuple[_Texts, Server | None]:
        """What the zone's own server says; that of the alias' zone, where it names one."""
        name, zone = f"{LABEL}.{domain}", domain
        for _ in range(MAX_ALIASES + 1):
            texts, server = _Texts(Said.UNKNOWN), None
            for server in await self._servers(zone):
                answer = await self._ask(server, name, "TXT", recursive=False)
                if answer is None or not answer.flags & dns.flags.AA:
                    continue
                texts = _read(answer, value)
                alias = _alias(answer, name) if texts.said is Said.ABSENT else None
                if alias is None:
                    return texts, server
                name, zone = alias, alias
                break
            else:
                return texts, server
        return _Texts(Said.UNKNOWN), None

    async def _servers(self, domain: str) -> list[Server]:
        """Some that are authoritative for the zone in which a domain is."""
        for zone in zones(domain)[:MAX_ZONES]:
            for resolver in self._resolvers:
                answer = await self._ask(resolver, zone, "NS", recursive=True)
                names = [] if answer is None else _values(answer, zone, "NS")
                if names:
                    servers: list[Server] = []
                    for name in names[:MAX_SERVERS]:
                        servers += await self._addresses(resolver, name)
                    return servers[:MAX_SERVERS]
        return []

    async def _addresses(self, resolver: Server, name: str) -> list[Server]:
        for kind in ("A", "AAAA"):
            answer = await self._ask(resolver, name, kind, recursive=True)
            addresses = [] if answer is None else _values(answer, name, kind)
            usable = [address for address in addresses if self._may_ask(address)]
            if usable:
                return [Server(address, self._port) for address in usable[:1]]
        return []

    def _may_ask(self, address: str) -> bool:
        try:
            ip_address = ipaddress.ip_address(address)
        except ValueError:
            return False
        return ip_address.is_global or any(ip_address in network for network in self._networks)

    async def _texts(self, server: Server, name: str, value: str) -> _Texts:
        answer = await self._ask(server, name, "TXT", recursive=True)
        return _Texts(Said.UNKNOWN) if answer is None else _read(answer, value)

    async def _ask(
        self, server: Server, name: str, kind: str, *, recursive: bool
    ) -> dns.message.Message | None:
        """None: no answer that says anything."""
        try:
            query = dns.message.make_query(
                name,
                kind,
                use_edns=0,
                payload=PAYLOAD_BYTES,
                flags=dns.flags.RD if recursive else 0,
            )
        except (dns.exception.DNSException, ValueError):
            return None
        answer = await ask(query, server, timeout_s=QUERY_S)
        if answer is None or answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            return None
        return answer


def _together(resolvers: Sequence[Said], authority: Said) -> Outcome:
    quorum = min(_AGREE, len(resolvers))
    if not quorum:
        return Outcome.UNKNOWN
    if authority is Said.FOUND and resolvers.count(Said.FOUND) >= quorum:
        return Outcome.FOUND
    absences = sum(answer in {Said.ABSENT, Said.OTHER} for answer in resolvers)
    if authority in {Said.ABSENT, Said.OTHER} and absences >= quorum:
        return Outcome.ABSENT
    return Outcome.UNKNOWN


def _read(answer: dns.message.Message, value: str) -> _Texts:
    """The records at the end of the chain of aliases, if the answer has it."""
    try:
        rrset = (
            answer.resolve_chaining().answer
            if isinstance(answer, dns.message.QueryMessage)
            else None
        )
    except dns.exception.DNSException:
        return _Texts(Said.UNKNOWN)
    others = []
    for record in list(rrset or ())[:MAX_TEXTS]:
        if not isinstance(record, dns.rdtypes.ANY.TXT.TXT):
            continue
        text = b"".join(record.strings).decode("utf-8", "replace")
        if text == value:
            return _Texts(Said.FOUND)
        if text.startswith(PREFIX) and text.isprintable():
            others.append(text[:100])
    return _Texts(Said.OTHER, tuple(others)) if others else _Texts(Said.ABSENT)


def _alias(answer: dns.message.Message, name: str) -> str | None:
    """Where the chain of aliases leads out of the answer."""
    current = dns.name.from_text(name)
    for _ in range(MAX_ALIASES):
        rrset = answer.get_rrset(answer.answer, current, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if not rrset:
            break
        current = rrset[0].target
    leads = current.to_text(omit_final_dot=True).lower()
    return leads if leads != name.lower() else None


def _values(answer: dns.message.Message, name: str, kind: str) -> list[str]:
    try:
        rrset = answer.get_rrset(
            answer.answer,
            dns.name.from_text(name),
            dns.rdataclass.IN,
            dns.rdatatype.from_text(kind),
        )
    except dns.exception.DNSException:
        return []
    return sorted(record.to_text().rstrip(".") for record in list(rrset or ())[:MAX_TEXTS])
