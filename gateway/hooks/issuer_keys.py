"""Public keys of identity providers, for signed messages: discovery, then the key set, cached.

Rules:
- Only issuers that a tenant's configuration names are ever fetched; nothing in a token chooses an address.
- A key set is kept for an hour and used on while the issuer does not answer; an unknown key fetches again, at most once a minute.
- Without any key set there is no verdict: ``UnavailableError``, and the sender tries again.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import jwt

from gateway.core.model import ProviderKind
from gateway.errors import PeerError, UnavailableError
from gateway.hooks.event import HookRefusedError, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.ports_hooks import HookTarget

FRESH_S = 3600.0
REFRESH_S = 60.0
RETRY_S = 5.0
"""Before an issuer that was never reached is asked again: anybody can send us a token that needs its keys."""
TIMEOUT_S = 1.5
"""A sender waits three seconds for everything."""
MAX_BYTES = 262_144
_DOCUMENTS = ("/.well-known/openid-configuration", "/.well-known/ssf-configuration")


@dataclass(frozen=True, slots=True)
class _Cached:
    keys: jwt.PyJWKSet
    fetched_at: float


def issuers_of(target: HookTarget) -> frozenset[str]:
    """Names under which this provider signs: its issuer and, for an Okta authorization server, the organisation itself."""
    if target.issuer is None:
        raise HookRefusedError(Refusal.NOT_CONFIGURED, "the provider has no issuer")
    parts = urlsplit(target.issuer)
    return frozenset({target.issuer, f"{parts.scheme}://{parts.netloc}"} if target.kind is ProviderKind.OKTA else {target.issuer})


class IssuerKeys:
    """``http`` is guarded (``gateway.outward``): whoever configures an issuer also names where its keys are. ``monotonic``: seconds."""

    def __init__(self, http: aiohttp.ClientSession, *, monotonic: Callable[[], float]) -> None:
        self._http = http
        self._monotonic = monotonic
        self._cache: dict[str, _Cached] = {}
        self._tried_at: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def keys(self, issuers: Iterable[str], *, again: bool = False) -> jwt.PyJWKSet:
        """All keys of these issuers. ``again``: a message named a key that is not among them. Raises ``UnavailableError``."""
        found = [keys for issuer in sorted(issuers) if (keys := await self._one(issuer, again=again)) is not None]
        if not found:
            msg = "the provider's signing keys cannot be fetched"
            raise UnavailableError(msg)
        merged = found[0]
        if len(found) > 1:
            merged = jwt.PyJWKSet.__new__(jwt.PyJWKSet)
            merged.keys = [k for keys in found for k in keys.keys]
        return merged

    async def _one(self, issuer: str, *, again: bool) -> jwt.PyJWKSet | None:
        async with self._locks.setdefault(issuer, asyncio.Lock()):
            cached, now = self._cache.get(issuer), self._monotonic()
            recently = now - self._tried_at.get(issuer, -REFRESH_S) < REFRESH_S
            if cached is not None and (recently or (not again and now - cached.fetched_at < FRESH_S)):
                return cached.keys
            if cached is None and now - self._tried_at.get(issuer, -RETRY_S) < RETRY_S:
                return None
            self._tried_at[issuer] = now
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    keys = await self._fetch(issuer)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, jwt.PyJWTError, PeerError):
                return cached.keys if cached is not None else None
            self._cache[issuer] = _Cached(keys, now)
            return keys

    async def _fetch(self, issuer: str) -> jwt.PyJWKSet:
        last: Exception = ValueError(issuer)
        for document in _DOCUMENTS:
            try:
                discovered = await self._json(issuer + document)
                if discovered.get("issuer") != issuer:
                    msg = "discovery names another issuer"
                    raise ValueError(msg)  # noqa: TRY301 - joins what the library raises
                return jwt.PyJWKSet.from_dict(await self._json(str(discovered.get("jwks_uri"))))
            except (aiohttp.ClientError, ValueError, jwt.PyJWTError, PeerError) as error:
                last = error
        raise last

    async def _json(self, url: str) -> dict[str, Any]:
        async with self._http.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response:
            response.raise_for_status()
            if response.status != 200:
                msg = "not answered with 200"
                raise ValueError(msg)
            body = await response.content.read(MAX_BYTES + 1)
            while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES + 1 - len(body))):
                body += more
            if len(body) > MAX_BYTES:
                msg = "larger than any key set"
                raise ValueError(msg)
            document = json.loads(body)
        if not isinstance(document, dict):
            msg = "not an object"
            raise ValueError(msg)  # noqa: TRY004 - handled with the other malformed answers
        return document
