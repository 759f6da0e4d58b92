"""OpenID Connect Back-Channel Logout 1.0: a logout token in a form field.

Rules (§2.4, §2.6):
- ``typ`` is ``logout+jwt`` where present; the logout event is there, with an object; a ``nonce`` is
  not, so that no ID token passes.
- Behind Cognito the provider's ``sid`` is never seen, so ``sub`` is required; a token with ``sid``
  alone is refused rather than shrugged at.
- The same token again is answered like the first time and has no second effect: the inbox knows its
  ``jti``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from gateway.hooks.event import (
    Delivery,
    DeliveryRejectedError,
    Effect,
    EntryError,
    HookEvent,
    RejectionReason,
    Source,
    Subject,
    epoch,
    text,
)
from gateway.hooks.sources.signed_token import Expected, identifier, verify

if TYPE_CHECKING:
    import jwt

EVENT = "http://schemas.openid.net/event/backchannel-logout"
MAX_AGE_S = 3600


def parse_delivery(
    body: bytes,
    *,
    keys: jwt.PyJWKSet,
    issuers: frozenset[str],
    audiences: frozenset[str],
    now: float,
) -> Delivery:
    """The form body of one logout request. ``audiences``: our client id at the provider."""
    token = logout_token(body)
    expected = Expected(
        typ=frozenset({"logout+jwt", "jwt", ""}),
        issuers=issuers,
        audiences=audiences,
        max_age_s=MAX_AGE_S,
    )
    claims = verify(token, keys, expected, now=now)
    event_id = identifier(claims)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED, "events does not hold the logout event"
        )
    if "nonce" in claims:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "a logout token has no nonce")
    if "sub" not in claims:
        raise DeliveryRejectedError(
            RejectionReason.UNKNOWN_SUBJECT,
            "sub is missing; a session id of the provider names nobody here",
        )
    try:
        subject = Subject(idp_subject=text(claims["sub"], "sub"))
        issued = epoch(claims["iat"], "iat")
    except EntryError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
    event = HookEvent(
        Source.BACKCHANNEL,
        "backchannel-logout",
        Effect.END_SESSIONS,
        subject,
        None,
        issued,
        event_id,
    )
    return Delivery(Source.BACKCHANNEL, (event,), (), event_id)


def logout_token(body: bytes) -> str:
    """Exactly one ``logout_token`` of an application/x-www-form-urlencoded body."""
    try:
        tokens = parse_qs(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16
        ).get("logout_token", [])
    except ValueError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "the body is not a form") from error
    if len(tokens) != 1:
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED, "logout_token is missing or repeated"
        )
    return tokens[0]
