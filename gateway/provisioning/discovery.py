"""Fetch a stranger's discovery document without becoming their means of reaching our network.

Rules:
- What ``gateway.http.ssrf_guard`` permits and nothing else, ``hooks.private_networks`` included: a
  name may lead inside from here and elsewhere from Cognito. Ports 443 and 80 only, no compressed
  answers.
- The answer is bounded in time and size, and its text is never repeated in an error.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from gateway.errors import PeerError
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.connection_error import why
from gateway.http.ssrf_guard import SsrfGuardResolver, is_local, literal, permitted, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from gateway.http.ssrf_guard import Network, Resolve

MAX_BYTES = 512 * 1024
"""Entra's key sets are about 20 kB; what is larger is no key set."""
TOTAL_S = 8.0
_PUBLIC_ONLY = (
    "; Cognito calls public addresses only. Where the name leads elsewhere from the internet, add "
    "its network here to hooks.private_networks"
)
_ENTRA_ISSUER = re.compile(r"/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/v2\.0$")


@dataclass(frozen=True, slots=True)
class Discovered:
    """The document and the keys it points to."""

    document: Mapping[str, object]
    keys: Mapping[str, object]


class DiscoveryFetcher:
    """One use per provisioning. ``networks`` are the operator's own that may be reached all the
    same. ``look`` is a parameter so that tests can say where names lead.
    """

    def __init__(
        self, *, development: bool, networks: Collection[Network] = (), look: Resolve = resolve
    ) -> None:
        self._development, self._networks, self._look = development, networks, look

    async def fetch(self, issuer: str) -> Discovered:
        """``issuer`` with or without a slash at its end. Raises ``PeerError`` with a sentence that
        says what to mend.
        """
        self._check_url(issuer, "the issuer")
        async with self._session(issuer) as session:
            document = await self._json(
                session,
                f"{issuer.removesuffix('/')}/.well-known/openid-configuration",
                "the discovery document",
            )
            jwks_uri = document.get("jwks_uri")
            keys = (
                await self._json(session, jwks_uri, "the key set (jwks_uri)")
                if isinstance(jwks_uri, str)
                else {}
            )
            return Discovered(document, keys)

    async def fetch_metadata(self, url: str) -> bytes:
        """SAML metadata, not read yet. Raises as ``fetch``."""
        async with self._session(url) as session:
            return await self._bytes(session, url, "the metadata")

    @asynccontextmanager
    async def _session(self, asked: str) -> AsyncIterator[aiohttp.ClientSession]:
        try:
            async with asyncio.timeout(TOTAL_S):
                connector = aiohttp.TCPConnector(
                    resolver=SsrfGuardResolver(
                        self._look,
                        development=self._development,
                        networks=self._networks,
                        code="discovery_address",
                        hint=_PUBLIC_ONLY,
                    ),
                    use_dns_cache=False,
                    limit=2,
                    force_close=True,
                )
                async with aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    auto_decompress=False,
                    headers={"Accept-Encoding": "identity"},
                ) as session:
                    yield session
        except TimeoutError:
            raise PeerError(
                "discovery_unreachable", f"{asked} did not answer within {TOTAL_S:.0f} seconds"
            ) from None

    async def _bytes(self, session: aiohttp.ClientSession, url: str, what: str) -> bytes:
        checked = self._check_url(url, what)
        try:
            async with session.get(checked, allow_redirects=False) as response:
                _check_answer(response, url, what)
                return await read_body(response.content, limit=MAX_BYTES)
        except BodyTooLargeError:
            raise PeerError(
                "discovery_size", f"{what} at {url} is larger than {MAX_BYTES // 1024} kB"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error.__cause__, PeerError):
                raise error.__cause__ from None
            raise PeerError(
                "discovery_unreachable", f"{what} at {url} cannot be fetched: {why(error)}"
            ) from error

    async def _json(self, session: aiohttp.ClientSession, url: str, what: str) -> dict[str, Any]:
        body = await self._bytes(session, url, what)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise PeerError("discovery_form", f"{what} at {url} is not JSON") from None
        if not isinstance(document, dict):
            raise PeerError("discovery_form", f"{what} at {url} is not a JSON object")
        return document

    def _check_url(self, url: str, what: str) -> URL:
        """Read as the connector reads it, which takes the digits of any script for an address
        (``https://①②⑦.0.0.1``) and does not ask the resolver about it.
        """
        try:
            parts = URL(url)
            host = parts.raw_host or ""
        except ValueError:
            raise PeerError("discovery_url", f"the address of {what} is not a URL") from None
        local = self._development and is_local(host)
        if (
            not host
            or "@" in parts.raw_authority
            or (parts.scheme != "https" and not (parts.scheme == "http" and local))
        ):
            raise PeerError("discovery_url", f"{what} must be at an https:// address")
        if parts.port not in {443, 80} and not local:
            raise PeerError(
                "discovery_url", f"{what} must be on port 443 or 80: Cognito calls no other"
            )
        address = literal(host)
        if address is not None and not permitted(
            address, development=self._development, networks=self._networks
        ):
            raise PeerError("discovery_address", f"{host} is a private address{_PUBLIC_ONLY}")
        return parts


def _check_answer(response: aiohttp.ClientResponse, url: str, what: str) -> None:
    if 300 <= response.status < 400:
        raise PeerError(
            "discovery_redirect", f"{what} at {url} redirects; use the address it leads to"
        )
    if response.status != 200:
        raise PeerError("discovery_status", f"{what} at {url} answered {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise PeerError(
            "discovery_encoding", f"{what} at {url} is compressed though that was not asked for"
        )


def looks_like(document: Mapping[str, object]) -> str | None:
    """``entra`` or ``okta`` by what only their discovery documents hold; for custom domains, where
    the host says nothing.
    """
    issuer = document.get("issuer")
    if (
        "msgraph_host" in document
        or "tenant_region_scope" in document
        or (isinstance(issuer, str) and _ENTRA_ISSUER.search(issuer))
    ):
        return "entra"
    endpoint = document.get("authorization_endpoint")
    # Okta's paths: /oauth2/v1/authorize (org server), /oauth2/{server}/v1/authorize (custom
    # authorization servers).
    if isinstance(endpoint, str) and "/oauth2/" in endpoint and endpoint.endswith("/v1/authorize"):
        return "okta"
    return None
