"""Signed messages of identity providers, verified in one place: logout tokens, security event
tokens, revocation requests.

Rules:
- Asymmetric algorithms only, and only what the key itself is for. ``none`` and HMAC do not exist
  here (RFC 8725 §3.1).
- ``typ`` is checked: an ID token of the same issuer is not a logout token (RFC 8725 §3.11).
- Keys, clock and expectations are arguments; nothing is fetched and no header of the token
  (``jku``, ``x5u``, ``jwk``) is followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from gateway.hooks.event import DeliveryRejectedError, EntryError, RejectionReason, epoch, text

if TYPE_CHECKING:
    from collections.abc import Collection

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
MAX_TOKEN = 16_384
LEEWAY_S = 60
"""Clocks of honest machines differ by less; a message replayed within it is caught by its id."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a message must say about itself. ``typ`` lower case; "" in it tolerates a missing
    header.
    """

    typ: frozenset[str]
    issuers: frozenset[str]
    audiences: frozenset[str]
    max_age_s: int | None
    """Oldest acceptable ``iat``; None where the message may be as old as its sender likes."""


class UnknownKeyError(DeliveryRejectedError):
    """No key of the set has this ``kid``: the caller may fetch the set once more, for the issuer
    may have rotated.
    """

    def __init__(self) -> None:
        super().__init__(RejectionReason.KEY, "signed with an unknown key")


def verify(
    token: str,
    keys: jwt.PyJWKSet,
    expected: Expected,
    *,
    now: float,
    require: Collection[str] = ("iss", "aud", "iat"),
) -> dict[str, Any]:
    """The claims of a valid message; ``DeliveryRejectedError`` otherwise. ``now``: UTC epoch
    seconds.
    """
    if not token or len(token) > MAX_TOKEN or not token.isascii():
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "not a signed token")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "not a signed token") from error
    if "crit" in header or "b64" in header or "zip" in header:
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED,
            "the token demands an extension (crit) that is not understood",
        )
    typ = header.get("typ", "")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in expected.typ:
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED,
            f"typ is not {' or '.join(sorted(t for t in expected.typ if t))}",
        )
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise DeliveryRejectedError(
            RejectionReason.KEY, "signed with an algorithm that is not accepted"
        )
    key = _key(keys, header.get("kid"), str(algorithm))
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            # Time, issuer and audience are compared below, against the caller's clock and sets.
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise DeliveryRejectedError(RejectionReason.KEY, "the signature does not verify") from error
    _check(claims, expected, now=now, require=require)
    return claims


def _key(keys: jwt.PyJWKSet, kid: object, algorithm: str) -> jwt.PyJWK:
    candidates = [
        k for k in keys.keys if k.public_key_use in (None, "sig") and k.algorithm_name == algorithm
    ]
    if kid is not None:
        candidates = [k for k in candidates if k.key_id == kid]
    elif len(candidates) > 1:
        raise DeliveryRejectedError(
            RejectionReason.KEY, "the token names no key and the issuer has several"
        )
    if not candidates:
        raise UnknownKeyError
    return candidates[0]


def _check(
    claims: dict[str, Any], expected: Expected, *, now: float, require: Collection[str]
) -> None:
    for name in require:
        if name not in claims:
            raise DeliveryRejectedError(RejectionReason.MALFORMED, f"{name} is missing")
    if not isinstance(claims.get("iss"), str) or claims["iss"] not in expected.issuers:
        raise DeliveryRejectedError(RejectionReason.ISSUER, "iss is not this provider's issuer")
    audience = claims.get("aud")
    audiences = (
        {audience}
        if isinstance(audience, str)
        else {a for a in audience if isinstance(a, str)}
        if isinstance(audience, list)
        else set()
    )
    if not audiences & expected.audiences:
        raise DeliveryRejectedError(RejectionReason.AUDIENCE, "aud does not name this receiver")
    try:
        times = {
            name: epoch(claims[name], name) for name in ("iat", "exp", "nbf") if name in claims
        }
    except EntryError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
    if times.get("exp", now) < now - LEEWAY_S:
        raise DeliveryRejectedError(RejectionReason.EXPIRED, "exp has passed")
    if times.get("nbf", now) > now + LEEWAY_S or times.get("iat", now) > now + LEEWAY_S:
        raise DeliveryRejectedError(RejectionReason.EXPIRED, "issued in the future")
    if expected.max_age_s is not None and times.get("iat", now) < now - expected.max_age_s:
        raise DeliveryRejectedError(RejectionReason.EXPIRED, "iat is too long ago")


def identifier(claims: dict[str, Any]) -> str:
    """``jti``, the message's own id; ``DeliveryRejectedError`` without one."""
    try:
        return text(claims.get("jti"), "jti")
    except EntryError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
