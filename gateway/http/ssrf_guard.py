"""Calls to addresses that somebody else named, without becoming their means of reaching our
network.

A customer names an issuer, a provider's API, an application's webhook; the admin role, which stands
inside, calls them.

Rules:
- https only. No redirects by default of our calls, no proxies from the environment, no cookies.
- Every address that the name resolves to must be public; the connection goes to exactly those
  addresses, so that a name which changes between look and call (DNS rebinding) gains nothing.
- ``networks`` are the operator's own that may be reached all the same. ``development`` also permits
  loopback and private networks, and http there.
- Addresses where clouds keep their metadata service are never permitted, link-local or not, in any
  form (IPv4 within IPv6).
- A refusal does not say where the name led: that would map our network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.core.hosts import is_localhost
from gateway.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from yarl import URL

    Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_LOOKUPS: Final = 8
"""Names that are resolved at one time, in each process."""
TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)
HINT = "; add its network to hooks.private_networks to allow it"
CODE = "address_not_permitted"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Bits 64 to 95 of an address that tunnels to an IPv4 one (RFC 5214 §6.1)."""
_METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        # Azure: platform services of every virtual network, at a public address
        "168.63.129.16/32",
        "192.0.0.192/32",  # Oracle Cloud
        "100.100.100.200/32",  # Alibaba Cloud
        "169.254.0.0/16",
        "fd00:ec2::/64",  # AWS: metadata, DNS and time
        "fd20:ce::254/128",  # Google Cloud
        "fe80::/10",
    )
)
"""Where clouds keep what a machine may ask about itself: credentials. Not even the operator's
``networks`` lead there.
"""
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "100:0:0:1::/64",
        "2001::/23",
        "3fff::/20",
        "5f00::/16",
    )
)
"""IANA's special-purpose registries, what of them the oldest Python that we run on still calls
global.
"""


def permitted(address: Address, *, development: bool, networks: Collection[Network] = ()) -> bool:
    """Whether we may connect there on a stranger's word. Addresses within addresses count as what
    they hold.
    """
    inner = _inner(address)
    if inner is not None:
        return permitted(inner, development=development, networks=networks)
    if isinstance(address, ipaddress.IPv6Address) and (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        # A router between may take it for the IPv4 address in it; both have to be permitted.
        tunnelled = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if not permitted(tunnelled, development=development, networks=networks):
            return False
    if (
        address.is_multicast
        or address.is_unspecified
        or address.is_link_local
        or _within(address, _METADATA)
    ):
        return False
    if _within(address, networks):
        return True
    if address.is_loopback:
        return development
    if (
        _within(address, _SPECIAL)
        or address.is_reserved
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    ):
        return False
    return address.is_global or (development and address.is_private)


def _within(address: Address, networks: Collection[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver, in threads of its own: a name whose servers are silent takes one for
    long after whoever asked has given up, and keeps nothing else waiting.
    """
    entries = await asyncio.get_running_loop().run_in_executor(
        _threads(os.getpid()), partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    )
    return [str(entry[4][0]) for entry in entries]


@lru_cache(maxsize=1)
def _threads(_process: int) -> ThreadPoolExecutor:
    """Threads do not survive ``fork``."""
    return ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="resolve")


def literal(host: str) -> Address | None:
    """The address that a host is, without its zone; None for a name. The connector does not ask the
    resolver about these.
    """
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_local(host: str) -> bool:
    """Names and addresses of this machine and its private network: what ``development`` may call
    over http.
    """
    address = literal(host)
    return is_localhost(host) if address is None else address.is_loopback or address.is_private


class SsrfGuardResolver(AbstractResolver):
    """Resolves for one connection, and hands out nothing unless all of it is permitted. Raises
    ``PeerError`` with ``code``.
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        development: bool,
        networks: Collection[Network] = (),
        code: str = CODE,
        hint: str = HINT,
    ) -> None:
        self._hint = hint
        self._resolve, self._development, self._networks, self._code = (
            resolve,
            development,
            networks,
            code,
        )

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the signature is the library's
    ) -> list[ResolveResult]:
        if self._development and is_localhost(host):
            texts: Sequence[str] = ["127.0.0.1"]
        else:
            texts = await self._resolve(host, port)
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        if not all(
            permitted(address, development=self._development, networks=self._networks)
            for address in addresses
        ):
            raise PeerError(self._code, f"{host} resolves to a private address{self._hint}")
        return [
            ResolveResult(
                hostname=host,
                host=str(a),
                port=port,
                family=socket.AF_INET6 if a.version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for a in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def check_url(url: URL, *, development: bool, networks: Collection[Network] = ()) -> None:
    """Raises ``PeerError`` for what is not even looked up."""
    host = url.host or ""
    if (
        not host
        or url.user is not None
        or (url.scheme != "https" and not (url.scheme == "http" and development and is_local(host)))
    ):
        raise PeerError(CODE, "only https:// addresses are called")
    address = literal(host)
    if address is not None and not permitted(address, development=development, networks=networks):
        raise PeerError(CODE, f"{host} is a private address{HINT}")


def guarded_session(
    *, development: bool, networks: Collection[Network] = (), resolve: Resolve = resolve
) -> aiohttp.ClientSession:
    """Every call through it is guarded, whatever names its address. Close it when done. ``look`` is
    a parameter so that tests can say where names lead.
    """

    async def guard(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        check_url(request.url, development=development, networks=networks)
        return await handler(request)

    connector = aiohttp.TCPConnector(
        limit=64,
        resolver=SsrfGuardResolver(resolve, development=development, networks=networks),
        use_dns_cache=False,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=(guard,),
    )
