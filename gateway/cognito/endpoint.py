"""One user pool as tokens and browsers know it: its domain, its issuers, their keys. A token is
verified against the keys of the pool that is asked about, never against another's.

Every token is verified here and nowhere else. What is not checked in this file is not checked.
Sources: RFC 8725; AWS "Verifying JSON web tokens".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt

from gateway.http.jwks import KeySet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LEEWAY_S = 30
"""Clock difference to AWS that is forgiven."""
MAX_TOKEN_LIFE_S = 86_400 + LEEWAY_S
"""Cognito's own limit for ID and access tokens; a token that claims more did not come from
there.
"""
MAX_TOKEN_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class PoolAddress:
    """``domain``: where browsers and token requests go. ``issuers``: each ``iss`` that tokens of
    this pool may have, with keys of its own. ``secondary``: the domain of a replica, which is used
    while the pool is failed over; "" where there is none.
    """

    domain: str
    issuers: tuple[str, ...]
    secondary: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token says of itself: good for choosing whom to ask, and for nothing else."""

    issuer: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)


class PoolEndpoint:
    """One per pool and process."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        address: PoolAddress,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.domain = address.domain.rstrip("/")
        self.secondary = address.secondary.rstrip("/")
        self._keys = {
            issuer: KeySet(client, f"{issuer}/.well-known/jwks.json", monotonic=monotonic)
            for issuer in address.issuers
        }
        self._clock = clock

    def issues(self, issuer: str) -> bool:
        """Whether tokens of this pool may say that they come from there."""
        return issuer in self._keys

    async def verify(
        self, token: str, *, audience: str | None, claimed: Claimed | None = None
    ) -> dict[str, Any] | None:
        """Claims if signature (RS256, a key of the issuer that the token names, which must be one
        of this pool's), aud, exp, iat and nbf hold; None otherwise. ``claimed``: what this token
        says, where the caller has read it.
        """
        judged = ""
        if claimed is None:
            issuer, key = self._known_key(token)
            if key is not None:
                claims = self._decode(token, key, issuer=issuer, audience=audience)
                if claims is not None:
                    return claims
                judged = issuer
            claimed = read_claimed(token)
        issuer, header = claimed.issuer, claimed.header
        keys = self._keys.get(issuer)
        if keys is None or issuer == judged:
            return None
        kid = header.get("kid")
        if header.get("alg") != "RS256" or not isinstance(kid, str):
            return None
        key = await keys.get(kid)
        return None if key is None else self._decode(token, key, issuer=issuer, audience=audience)

    def _known_key(self, token: str) -> tuple[str, RSAPublicKey | None]:
        """The one issuer of this pool whose keys in memory hold the key that the token's header
        names: then its claims need not be read to find out whose keys to ask for. Whether it is
        the issuer that the token names is verified with the rest.
        """
        kid = _read_key_id(token)
        known = [
            (issuer, key)
            for issuer, keys in self._keys.items()
            if (key := keys.known(kid)) is not None
        ]
        return known[0] if len(known) == 1 else ("", None)

    def _decode(
        self, token: str, key: RSAPublicKey, *, issuer: str, audience: str | None
    ) -> dict[str, Any] | None:
        """Claims, if this key has signed them, and all else holds."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=audience,
                issuer=issuer,
                leeway=LEEWAY_S,
                options={
                    "require": [
                        "exp",
                        "iat",
                        "iss",
                        "sub",
                        "token_use",
                        *(["aud"] if audience else []),
                    ],
                    "verify_aud": audience is not None,
                    "strict_aud": audience is not None,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        now = self._clock()
        exp, iat = claims["exp"], claims["iat"]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (exp, iat))
        return (
            claims
            if numbers and now - LEEWAY_S < exp <= now + MAX_TOKEN_LIFE_S and iat <= now + LEEWAY_S
            else None
        )


def _read_key_id(token: str) -> str:
    """``kid`` of the header, which is not verified; "" where it cannot be read. The library reads
    that part alone: of the others each character would cost a step in Python.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        return ""
    try:
        kid = jwt.get_unverified_header(f"{token.partition('.')[0]}..").get("kid")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return ""
    return kid if isinstance(kid, str) else ""


def read_claimed(token: str) -> Claimed:
    """Nothing of it is verified. ``Claimed()`` for what cannot be read."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        return Claimed()
    try:
        token_parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return Claimed()
    issuer = token_parts["payload"].get("iss")
    return Claimed(issuer if isinstance(issuer, str) else "", token_parts["header"])
