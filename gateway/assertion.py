"""The signed assertion that apps can verify: who is there, for which origin, said by whom.

ES256, valid for at most five minutes. A signature costs about as much as a whole check, so one is kept per session and
origin and handed out until a minute before it expires.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from gateway.core.model import Session
    from gateway.keys import KeyRing

LIFETIME_S = 300
"""An app that verifies only the assertion trusts it this long after a revocation; longer would break what the gateway promises."""
RENEW_BEFORE_S = 60
JWKS_MAX_AGE_S = 300
"""Apps, and caches between them and us, may keep the published keys this long."""
PUBLISHED_BEFORE_S = 2 * JWKS_MAX_AGE_S
"""How long a key is published before it signs: a cache may hand on keys that are as old as it may keep them, to an app that starts to count then."""
MAX_CACHED = 20_000


class Assertions:
    """Signs with the ring's first assertion key whose time has come; publishes all of them."""

    def __init__(self, keys: KeyRing, *, issuer: str | None) -> None:
        self._keys = keys
        self._issuer = issuer
        self._cache: OrderedDict[tuple[str, str], tuple[float, Session, frozenset[str] | None, str]] = OrderedDict()

    def replace_keys(self, keys: KeyRing) -> None:
        """After a rotation: publish them from now on, and sign with the new first key when its time comes."""
        self._keys = keys
        self._cache.clear()

    def sign(self, session: Session, *, origin: str, now: float, groups: frozenset[str] | None = None) -> str:
        """The assertion of ``session`` for the app at ``origin`` (``scheme://host[:port]``). ``groups``: no others are in it; None, all are."""
        cached = self._cache.get((session.digest, origin))
        if cached is not None and cached[0] - RENEW_BEFORE_S > now and (cached[1] is session or cached[1] == session) and cached[2] == groups:
            return cached[3]
        key = next((key for key in self._keys.assertion if key.writes_from <= now), self._keys.assertion[-1])
        identity = session.identity
        expires = min(int(now) + LIFETIME_S, session.expires_at)
        claims = {
            "iss": self._issuer or origin,
            "aud": origin,
            "sub": identity.sub,
            "oid": identity.oid,
            "email": identity.email,
            "name": identity.name,
            "preferred_username": identity.preferred_username,
            "groups": [g for g in identity.groups if groups is None or g in groups],
            "roles": list(identity.roles),
            "tenant": session.tenant,
            "provider": identity.provider,
            "auth_time": session.auth_time,
            "iat": int(now),
            "exp": expires,
        }
        token = jwt.encode(claims, key.private, algorithm="ES256", headers={"kid": key.kid})
        self._cache[session.digest, origin] = (expires, session, groups, token)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return token

    def jwks(self) -> dict[str, Any]:
        """Public halves, for ``/_auth/jwks.json`` (RFC 7517)."""
        return {
            "keys": [{**jwt.algorithms.ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True), "kid": key.kid, "use": "sig", "alg": "ES256"} for key in self._keys.assertion]
        }
