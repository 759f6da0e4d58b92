"""Fetch a stranger's discovery document without becoming their means of reaching our network.

Rules:
- https only, no redirects, no proxies from the environment, no cookies, no compressed answers.
- Every address that the name resolves to must be public; the connection goes to exactly those addresses, so that a name
  which changes between look and call (DNS rebinding) gains nothing.
- ``development`` also permits loopback and private networks, and http there. Link-local addresses, where clouds keep
  their metadata service, are never permitted.
- The answer is bounded in time and size, and its text is never repeated in an error.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    Look = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_BYTES = 512 * 1024
"""Entra's key sets are about 20 kB; what is larger is no key set."""
TOTAL_S = 8.0
_ENTRA_ISSUER = re.compile(r"/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/v2\.0$")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Discovered:
    """The document and the keys it points to."""

    document: Mapping[str, object]
    keys: Mapping[str, object]


def permitted(address: Address, *, development: bool) -> bool:
    """Whether we may connect there on a stranger's word. Addresses within addresses count as what they hold."""
    inner = _inner(address)
    if inner is not None:
        return permitted(inner, development=development)
    if address.is_loopback:
        return development
    if address.is_multicast or address.is_unspecified or address.is_reserved or address.is_link_local:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global or (development and address.is_private)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


async def look_up(host: str, port: int) -> Sequence[str]:
    """The system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class _Guard(AbstractResolver):
    """Resolves for one connection, and hands out nothing unless all of it is permitted."""

    def __init__(self, look: Look, *, development: bool) -> None:
        self._look, self._development = look, development

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:  # noqa: ARG002 - the signature is the library's
        if self._development and (host == "localhost" or host.endswith(".localhost")):
            texts: Sequence[str] = ["127.0.0.1"]  # RFC 6761 §6.3; not every system's resolver knows the names below
        else:
            texts = await self._look(host, port)
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        for address in addresses:
            if not permitted(address, development=self._development):
                raise PeerError("discovery_address", f"{host} is at {address}, which is not a public address")
        return [
            ResolveResult(hostname=host, host=str(a), port=port, family=socket.AF_INET6 if a.version == 6 else socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST)
            for a in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class DiscoveryFetcher:
    """One use per provisioning. ``look`` is a parameter so that tests can say where names lead."""

    def __init__(self, *, development: bool, look: Look = look_up) -> None:
        self._development, self._look = development, look

    async def fetch(self, issuer: str) -> Discovered:
        """Raises ``PeerError`` with a sentence that says what to mend."""
        try:
            async with asyncio.timeout(TOTAL_S):
                connector = aiohttp.TCPConnector(resolver=_Guard(self._look, development=self._development), use_dns_cache=False, limit=2, force_close=True)
                async with aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False, headers={"Accept-Encoding": "identity"}
                ) as session:
                    document = await self._json(session, f"{issuer}/.well-known/openid-configuration", "the discovery document")
                    jwks_uri = document.get("jwks_uri")
                    keys = await self._json(session, jwks_uri, "the key set (jwks_uri)") if isinstance(jwks_uri, str) else {}
                    return Discovered(document, keys)
        except TimeoutError:
            raise PeerError("discovery_unreachable", f"{issuer} did not answer within {TOTAL_S:.0f} seconds") from None

    async def _json(self, session: aiohttp.ClientSession, url: str, what: str) -> dict[str, Any]:
        self._check_url(url, what)
        try:
            async with session.get(url, allow_redirects=False) as response:
                _check_answer(response, url, what)
                body = await response.content.read(MAX_BYTES + 1)
                while len(body) <= MAX_BYTES and (chunk := await response.content.read(MAX_BYTES + 1 - len(body))):
                    body += chunk
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error.__cause__, PeerError):
                raise error.__cause__ from None
            raise PeerError("discovery_unreachable", f"{what} at {url} cannot be fetched ({_reason(error)})") from error
        if len(body) > MAX_BYTES:
            raise PeerError("discovery_size", f"{what} at {url} is larger than {MAX_BYTES // 1024} kB")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise PeerError("discovery_form", f"{what} at {url} is not JSON") from None
        if not isinstance(document, dict):
            raise PeerError("discovery_form", f"{what} at {url} is not a JSON object")
        return document

    def _check_url(self, url: str, what: str) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            port = parts.port
        except ValueError:
            raise PeerError("discovery_url", f"the address of {what} is not a URL") from None
        local = self._development and (host == "localhost" or host.endswith(".localhost") or _is_local_literal(host))
        if not host or parts.username is not None or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
            raise PeerError("discovery_url", f"{what} must be at an https:// address")
        if port not in {None, 443, 80} and not local:
            raise PeerError("discovery_url", f"{what} must be on port 443 or 80: Cognito calls no other")
        try:
            literal = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return
        # The connector does not ask the resolver about addresses.
        if not permitted(literal, development=self._development):
            raise PeerError("discovery_address", f"{host} is not a public address")


def _check_answer(response: aiohttp.ClientResponse, url: str, what: str) -> None:
    if 300 <= response.status < 400:
        raise PeerError("discovery_redirect", f"{what} at {url} redirects; use the address it leads to")
    if response.status != 200:
        raise PeerError("discovery_status", f"{what} at {url} answered {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise PeerError("discovery_encoding", f"{what} at {url} is compressed though that was not asked for")


def _is_local_literal(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def _reason(error: BaseException) -> str:
    """The kind only: texts of connection errors can quote what the peer sent."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    return type(error).__name__


def looks_like(document: Mapping[str, object]) -> str | None:
    """``entra`` or ``okta`` by what only their discovery documents hold; for custom domains, where the host says nothing."""
    issuer = document.get("issuer")
    if "msgraph_host" in document or "tenant_region_scope" in document or (isinstance(issuer, str) and _ENTRA_ISSUER.search(issuer)):
        return "entra"
    endpoint = document.get("authorization_endpoint")
    # Okta's paths: /oauth2/v1/authorize (org server), /oauth2/{server}/v1/authorize (custom authorization servers).
    if isinstance(endpoint, str) and "/oauth2/" in endpoint and endpoint.endswith("/v1/authorize"):
        return "okta"
    return None
