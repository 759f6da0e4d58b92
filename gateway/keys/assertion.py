"""The signed assertion that apps can verify: who is there, for which origin, said by whom.

ES256, valid for at most five minutes. A signature costs about as much as a whole check, so one is
kept per session, or token's client and person, and origin, and handed out until a minute before it
expires.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import MachineToken, Session
    from gateway.keys.ring import KeyRing

LIFETIME_S = 300
"""An app that verifies only the assertion trusts it this long after a revocation; longer would
break what the gateway promises.
"""
RENEW_BEFORE_S = 60
JWKS_MAX_AGE_S = 300
"""Apps, and caches between them and us, may keep the published keys this long."""
PUBLISHED_BEFORE_S = 2 * JWKS_MAX_AGE_S
"""How long a key is published before it signs: a cache may hand on keys that are as old as it may
keep them, to an app that starts to count then.
"""
MAX_CACHED = 20_000


class Assertions:
    """Signs with the ring's first assertion key whose time has come; publishes all of them."""

    def __init__(self, keys: KeyRing, *, issuer: str | None) -> None:
        self._keys = keys
        self._issuer = issuer
        self.ring_number = 0
        """Of the ring that signs: another one has another number."""
        self._cache: OrderedDict[tuple[str, ...], tuple[float, _Said, str]] = OrderedDict()

    def replace_keys(self, keys: KeyRing) -> None:
        """After a rotation: publish them from now on, and sign with the new first key when its time
        comes.
        """
        self._keys = keys
        self.ring_number += 1
        self._cache.clear()

    def sign(
        self, session: Session, *, origin: str, now: float, groups: frozenset[str] | None = None
    ) -> str:
        """The assertion of ``session`` for the app at ``origin`` (``scheme://host[:port]``).
        ``groups``: no others are in it; None, all are.
        """
        return self._signed(
            (session.digest, origin),
            (session, groups),
            lambda: _claims(session, groups),
            origin=origin,
            now=now,
            ends_at=session.expires_at,
        )

    def sign_bearer(self, machine: MachineToken, *, tenant: str, origin: str, now: float) -> str:
        """The assertion of whoever sent a token to the app at ``origin``; empty for nobody. A claim
        that is not known is left out, so that nobody is found by it.
        """
        identity = machine.identity
        if not identity.sub:
            return ""
        facts = (identity, machine.client_id, tenant, machine.auth_time)
        at = (tenant, machine.client_id, identity.sub, origin)
        return self._signed(
            at,
            facts,
            lambda: _bearer_claims(machine, tenant),
            origin=origin,
            now=now,
            ends_at=machine.expires_at,
        )

    def _signed(
        self,
        at: tuple[str, ...],
        said: _Said,
        claims: Callable[[], dict[str, Any]],
        *,
        origin: str,
        now: float,
        ends_at: int,
    ) -> str:
        """One that was signed before, or a new one with ``claims``; good until ``ends_at`` (UTC
        epoch seconds) at the latest.
        """
        cached = self._cache.get(at)
        if cached is not None and ends_at >= cached[0] > now + RENEW_BEFORE_S and cached[1] == said:
            return cached[2]
        key = next(
            (key for key in self._keys.assertion if key.writes_from <= now),
            self._keys.assertion[-1],
        )
        expires = min(int(now) + LIFETIME_S, ends_at)
        dated = {"iss": self._issuer or origin, "aud": origin, "iat": int(now), "exp": expires}
        token = jwt.encode(
            claims() | dated, key.private, algorithm="ES256", headers={"kid": key.kid}
        )
        self._cache[at] = (expires, said, token)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return token

    def jwks(self) -> dict[str, Any]:
        """Public halves, for ``/_auth/jwks.json`` (RFC 7517)."""
        return {
            "keys": [
                {
                    **jwt.algorithms.ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True),
                    "kid": key.kid,
                    "use": "sig",
                    "alg": "ES256",
                }
                for key in self._keys.assertion
            ]
        }


_Said = tuple[object, ...]
"""All that the claims are made of, but for the times."""


def _claims(session: Session, groups: frozenset[str] | None) -> dict[str, Any]:
    identity = session.identity
    return {
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
        **({"amr": list(session.amr)} if session.amr else {}),
    }


def _bearer_claims(machine: MachineToken, tenant: str) -> dict[str, Any]:
    identity = machine.identity
    names = ("oid", "email", "name", "preferred_username", "provider")
    claims = {name: text for name in names if (text := getattr(identity, name))}
    when = {"auth_time": machine.auth_time} if machine.is_persons else {}
    return {
        "sub": identity.sub,
        "client_id": machine.client_id,
        "tenant": tenant,
        "groups": [],
        "roles": [],
        **claims,
        **when,
    }
