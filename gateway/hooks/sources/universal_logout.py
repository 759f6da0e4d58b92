"""Okta Universal Logout: a Global Token Revocation request
(draft-parecki-oauth-global-token-revocation).

Rules:
- The bearer token is a JWT of type ``global-token-revocation+jwt``, signed with the organization's
  ID-token keys, for this very endpoint, at most five minutes old.
- It ends sessions; it does not block. What Okta then does with the person arrives as an event of
  its own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.hooks.event import (
    Delivery,
    DeliveryRejectedError,
    Effect,
    EntryError,
    HookEvent,
    RejectionReason,
    Source,
    epoch,
    json_object,
)
from gateway.hooks.sources.signed_token import Expected, UnknownKeyError, verify
from gateway.hooks.sources.subject import subject_of

if TYPE_CHECKING:
    import jwt

MAX_AGE_S = 300


def parse_delivery(
    body: bytes,
    *,
    token: str,
    keys: jwt.PyJWKSet,
    issuers: frozenset[str],
    endpoint: str,
    client_id: str | None,
    now: float,
) -> Delivery:
    """One request. ``client_id``: where configured, the token's ``sub`` must be it."""
    expected = Expected(
        typ=frozenset({"global-token-revocation+jwt"}),
        issuers=issuers,
        audiences=frozenset({endpoint}),
        max_age_s=MAX_AGE_S,
    )
    try:
        claims = verify(token, keys, expected, now=now, require=("iss", "aud", "iat", "exp"))
    except UnknownKeyError:
        raise
    except DeliveryRejectedError as error:
        # Whatever is wrong with the credential is one answer to its sender: 401.
        raise DeliveryRejectedError(RejectionReason.UNAUTHENTICATED, str(error)) from error
    if client_id is not None and claims.get("sub") != client_id:
        raise DeliveryRejectedError(
            RejectionReason.UNAUTHENTICATED, "sub is not the configured client_id"
        )
    try:
        subject = subject_of(json_object(body).get("sub_id"), issuers=issuers)
        issued = epoch(claims["iat"], "iat")
    except EntryError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
    # A token may carry no jti; the signature is as unique, and the body it came with is not signed.
    event_id = hashlib.sha256(token.encode("ascii") + b"\0" + body).hexdigest()
    event = HookEvent(
        Source.UNIVERSAL_LOGOUT,
        "global-token-revocation",
        Effect.END_SESSIONS,
        subject,
        None,
        issued,
        event_id,
    )
    return Delivery(Source.UNIVERSAL_LOGOUT, (event,), (), event_id)
