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
MAX_CACHED = 20_000


class Assertions:
    """Signs with the ring's first assertion key; publishes all of them."""

    def __init__(self, keys: KeyRing, *, issuer: str | None) -> None:
        self._keys = keys
        self._issuer = issuer
        self._cache: OrderedDict[tuple[str, str], tuple[float, Session, str]] = OrderedDict()

    def replace_keys(self, keys: KeyRing) -> None:
        """After a rotation: sign with the new first key."""
        self._keys = keys
        self._cache.clear()

    def sign(self, session: Session, *, origin: str, now: float) -> str:
        """The assertion of ``session`` for the app at ``origin`` (``scheme://host[:port]``)."""
        cached = self._cache.get((session.digest, origin))
        if cached is not None and cached[0] - RENEW_BEFORE_S > now and (cached[1] is session or cached[1] == session):
            return cached[2]
        key = self._keys.assertion[0]
        identity = session.identity
        expires = min(int(now) + LIFETIME_S, session.expires_at)
        claims = {
            "iss": self._issuer or origin,
            "aud": origin,
            "sub": identity.sub,
            "email": identity.email,
            "name": identity.name,
            "preferred_username": identity.preferred_username,
            "groups": list(identity.groups),
            "roles": list(identity.roles),
            "tenant": session.tenant,
            "provider": identity.provider,
            "auth_time": session.auth_time,
            "iat": int(now),
            "exp": expires,
        }
        token = jwt.encode(claims, key.private, algorithm="ES256", headers={"kid": key.kid})
        self._cache[session.digest, origin] = (expires, session, token)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return token

    def jwks(self) -> dict[str, Any]:
        """Public halves, for ``/_auth/jwks.json`` (RFC 7517)."""
        return {
            "keys": [{**jwt.algorithms.ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True), "kid": key.kid, "use": "sig", "alg": "ES256"} for key in self._keys.assertion]
        }
