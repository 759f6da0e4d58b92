"""Public keys of identity providers, for signed messages: discovery, then the key set, cached.

Rules:
- Only issuers that a tenant's configuration names are ever fetched; nothing in a token chooses an
  address.
- A terminating slash of the configured issuer is stripped to build the address (OpenID Connect
  Discovery §4.1), and a message is compared with the issuer exactly as the discovery document
  spells it (§4.3).
- A key set is kept for an hour and used on while the issuer does not answer; an unknown key fetches
  again, at most once a minute.
- An issuer that does not answer is an outage: the sender tries again. One that answers and is not
  that issuer is a mistake in the configuration: its operator is told, and to the sender its
  messages are signed with an unknown key.
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
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.connection_error import why

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hook_target import HookTarget

FRESH_S = 3600.0
REFRESH_S = 60.0
RETRY_S = 5.0
"""Before an issuer whose keys were never fetched is asked again: anybody can send us a token that
needs its keys.
"""
TIMEOUT_S = 1.5
"""A sender waits three seconds for everything."""
MAX_BYTES = 262_144
_DOCUMENTS = ("/.well-known/openid-configuration", "/.well-known/ssf-configuration")
_PASSING = frozenset({408, 425, 429})
"""Statuses of the client's fault that another attempt may not meet; so are all of the server's."""


class IssuerUnavailableError(UnavailableError):
    """The issuer does not answer, or not now; the text says which one and how."""


class IssuerConfigError(PeerError):
    """The issuer answers, and not as the configured one; the text names the setting."""

    def __init__(self, message: str, *, not_found: bool = False) -> None:
        super().__init__("issuer_keys", message)
        self.not_found = not_found


@dataclass(frozen=True, slots=True)
class Signers:
    """Who may sign for one provider: keys, and the names that ``iss`` may have. ``missing``: why
    keys of an issuer are not among them.
    """

    keys: jwt.PyJWKSet
    issuers: frozenset[str]
    missing: IssuerUnavailableError | IssuerConfigError | None = None


@dataclass(frozen=True, slots=True)
class _Cached:
    issuer: str
    keys: jwt.PyJWKSet
    fetched_at: float


def _addresses(target: HookTarget) -> tuple[str, ...]:
    """What discovery is asked under, the configured issuer first; for an Okta authorization server
    also the organization itself.
    """
    if target.issuer is None:
        return ()
    issuer, parts = target.issuer.removesuffix("/"), urlsplit(target.issuer)
    return tuple(
        dict.fromkeys(
            (issuer, f"{parts.scheme}://{parts.netloc}")
            if target.kind is ProviderKind.OKTA
            else (issuer,)
        )
    )


class IssuerKeys:
    """``http`` is guarded (``gateway.http.ssrf_guard``): whoever configures an issuer also names
    where its keys are. ``monotonic``: seconds.
    """

    def __init__(self, http: aiohttp.ClientSession, *, monotonic: Callable[[], float]) -> None:
        self._http = http
        self._monotonic = monotonic
        self._cache: dict[str, _Cached] = {}
        self._failed: dict[str, IssuerUnavailableError | IssuerConfigError] = {}
        self._tried_at: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def signers(self, target: HookTarget, *, again: bool = False) -> Signers:
        """Never raises; nobody signs for a target without issuer. ``again``: a message named a key
        that is not among the known ones.
        """
        addresses = _addresses(target)
        results = await asyncio.gather(*(self._one(address, again=again) for address in addresses))
        keys, issuers = jwt.PyJWKSet.__new__(jwt.PyJWKSet), set[str]()
        keys.keys = []
        for address, one in zip(addresses, results, strict=True):
            if isinstance(one, _Cached):
                keys.keys += one.keys.keys
                issuers.add(one.issuer)
            else:
                # Its own messages fail for want of a key; a sibling's may name it as the issuer of
                # their subject.
                issuers |= {address, f"{address}/"}
        failure = next((one for one in results if isinstance(one, IssuerUnavailableError)), None)
        return Signers(
            keys,
            frozenset(issuers),
            failure
            or next((one for one in results[:1] if isinstance(one, IssuerConfigError)), None),
        )

    async def _one(
        self, address: str, *, again: bool
    ) -> _Cached | IssuerUnavailableError | IssuerConfigError:
        async with self._locks.setdefault(address, asyncio.Lock()):
            cached, failure, now = (
                self._cache.get(address),
                self._failed.get(address),
                self._monotonic(),
            )
            since = now - self._tried_at.get(address, -FRESH_S)
            if cached is not None and (
                since < REFRESH_S or (not again and now - cached.fetched_at < FRESH_S)
            ):
                return cached
            if cached is None and failure is not None and since < RETRY_S:
                return failure
            self._tried_at[address] = now
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    issuer, keys = await self._fetch(address)
            except TimeoutError:
                failure = IssuerUnavailableError(
                    f"the issuer {address} did not answer within {TIMEOUT_S} s"
                )
            except (IssuerUnavailableError, IssuerConfigError) as error:
                failure = error
            else:
                self._failed.pop(address, None)
                entry = self._cache[address] = _Cached(issuer, keys, now)
                return entry
            self._failed[address] = failure
            return cached if cached is not None else failure

    async def _fetch(self, address: str) -> tuple[str, jwt.PyJWKSet]:
        """The issuer as it spells itself, and its keys."""
        wrong: IssuerConfigError | None = None
        for document in _DOCUMENTS:
            try:
                return await self._discover(address, address + document)
            except IssuerConfigError as error:
                wrong = error if wrong is None or wrong.not_found else wrong
        raise wrong or IssuerConfigError(address)

    async def _discover(self, address: str, url: str) -> tuple[str, jwt.PyJWKSet]:
        setting = f"providers[].issuer {address}"
        document = await self._json(url, setting)
        issuer, jwks_uri = document.get("issuer"), document.get("jwks_uri")
        if not isinstance(issuer, str) or issuer.removesuffix("/") != address:
            raise IssuerConfigError(
                f"{setting}: its discovery document names the issuer {ascii(issuer)[:100]}"
            )
        if not isinstance(jwks_uri, str):
            raise IssuerConfigError(f"{setting}: its discovery document has no jwks_uri")
        try:
            return issuer, jwt.PyJWKSet.from_dict(await self._json(jwks_uri, setting))
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise IssuerConfigError(
                f"{setting}: its jwks_uri holds no key that can be used"
            ) from error

    async def _json(self, url: str, setting: str) -> dict[str, Any]:
        try:
            async with self._http.get(
                url, allow_redirects=False, headers={"Accept": "application/json"}
            ) as response:
                if response.status >= 500 or response.status in _PASSING:
                    raise IssuerUnavailableError(f"{setting} answers {response.status}")
                if response.status != 200:
                    raise IssuerConfigError(
                        f"{setting}: {_shown(url)} answers {response.status}",
                        not_found=response.status in {404, 410},
                    )
                body = await read_body(response.content, limit=MAX_BYTES)
        except BodyTooLargeError:
            raise IssuerConfigError(
                f"{setting}: {_shown(url)} is larger than any key set"
            ) from None
        except PeerError as error:
            raise (
                error
                if isinstance(error, IssuerConfigError)
                else IssuerConfigError(f"{setting}: {error}")
            ) from error
        except aiohttp.InvalidURL as error:
            raise IssuerConfigError(f"{setting}: its jwks_uri is not an http address") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, PeerError):
                raise IssuerConfigError(f"{setting}: {error.__cause__}") from error
            raise IssuerUnavailableError(f"{setting} does not answer ({why(error)})") from error
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise IssuerConfigError(f"{setting}: {_shown(url)} is not JSON") from error
        if not isinstance(document, dict):
            raise IssuerConfigError(f"{setting}: {_shown(url)} is not a JSON object")
        return document


def _shown(url: str) -> str:
    """An address that somebody else chose, for a message."""
    return ascii(url)[1:101]
