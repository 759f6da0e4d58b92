"""The pool's signing keys: cached, refreshed on an unknown ``kid`` at a bounded rate, kept through
an outage.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.errors import PeerError, UnavailableError
from gateway.http.client import request_json
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

_LOG = logging.getLogger(__name__)
MAX_AGE_S = 3600.0
"""Keys older than this are fetched again before use, so that a withdrawn key stops verifying within
the hour.
"""
RETRY_S = 10.0
"""At most one fetch in this time, whatever arrives: a flood of unknown ``kid`` must not become a
flood at the issuer.
"""
MIN_RSA_BITS = 2048
MAX_KEYS = 64


class KeySet:
    """Public RSA keys by ``kid``."""

    def __init__(
        self, client: aiohttp.ClientSession, url: str, *, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._url = url
        self._monotonic = monotonic
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    def known(self, kid: str) -> RSAPublicKey | None:
        """The key, where it is in memory and needs no new fetch."""
        fresh = self._monotonic() - self._fetched_at < MAX_AGE_S
        return self._keys.get(kid) if fresh else None

    async def get(self, kid: str) -> RSAPublicKey | None:
        """The key, or None if the issuer does not publish it. ``UnavailableError`` only when no key
        was ever fetched.
        """
        if (key := self.known(kid)) is not None:
            return key
        async with self._lock:
            now = self._monotonic()
            fresh = now - self._fetched_at < MAX_AGE_S
            if not (kid in self._keys and fresh) and now - self._tried_at >= RETRY_S:
                self._tried_at = now
                try:
                    self._keys = await self._fetch()
                    self._fetched_at = self._monotonic()
                except (UnavailableError, PeerError) as error:
                    _LOG.warning(
                        "jwks_refresh_failed",
                        extra=fields(url=self._url, error=str(error), keys_kept=len(self._keys)),
                    )
        if not self._keys:
            raise UnavailableError("the issuer's signing keys have never been fetched")
        return self._keys.get(kid)

    async def _fetch(self) -> dict[str, RSAPublicKey]:
        status, document = await request_json(
            self._client, "GET", self._url, what="the JWKS endpoint"
        )
        entries = document.get("keys")
        if status != 200 or not isinstance(entries, list) or len(entries) > MAX_KEYS:
            raise PeerError(
                "malformed_answer", f"the JWKS endpoint answered {status} without a list of keys"
            )
        keys = {}
        for entry in entries:
            if (
                not isinstance(entry, dict)
                or entry.get("kty") != "RSA"
                or entry.get("use", "sig") != "sig"
                or entry.get("alg", "RS256") != "RS256"
            ):
                continue
            kid = entry.get("kid")
            try:
                key = jwt.algorithms.RSAAlgorithm.from_jwk(json.dumps(entry))
            except (jwt.InvalidKeyError, ValueError, TypeError):
                continue
            if (
                isinstance(kid, str)
                and kid
                and isinstance(key, RSAPublicKey)
                and key.key_size >= MIN_RSA_BITS
            ):
                keys[kid] = key
        if not keys:
            raise PeerError("malformed_answer", "the JWKS endpoint publishes no usable RS256 key")
        return keys
