"""Shared Signals: CAEP and RISC security event tokens, pushed (RFC 8935, RFC 8417, SSF 1.0).

Rules:
- ``typ`` is ``secevent+jwt``; ``exp`` and ``sub`` are not expected (RFC 8417 §2.2, §4.5).
- The subject is the token's ``sub_id`` (SSF 1.0) or the event's own ``subject`` (Okta).
- An event's time is its ``event_timestamp``, in seconds or milliseconds, else when the token was issued.
- An event type that is not known has no effect and is answered 202: the stream may carry more than was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.hooks.event import Delivery, Effect, EntryError, HookEvent, HookRefusedError, Refusal, Skipped, SkipReason, Source, epoch, mapping, shown
from gateway.hooks.signed import Expected, identifier, verify
from gateway.hooks.subject_identifier import subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jwt

_BASE = "https://schemas.openid.net/secevent/"
VERIFICATION = f"{_BASE}ssf/event-type/verification"
EFFECTS: Mapping[str, Effect] = {
    f"{_BASE}caep/event-type/session-revoked": Effect.END_SESSIONS,
    f"{_BASE}caep/event-type/credential-change": Effect.END_SESSIONS,
    f"{_BASE}risc/event-type/account-disabled": Effect.BLOCK,
    f"{_BASE}risc/event-type/account-purged": Effect.BLOCK,
    f"{_BASE}risc/event-type/account-enabled": Effect.LIFT,
    f"{_BASE}risc/event-type/account-credential-change-required": Effect.END_SESSIONS,
    f"{_BASE}risc/event-type/credential-compromise": Effect.END_SESSIONS,
    f"{_BASE}risc/event-type/sessions-revoked": Effect.END_SESSIONS,
    f"{_BASE}risc/event-type/identifier-recycled": Effect.END_SESSIONS,
    VERIFICATION: Effect.NOTICE,
    f"{_BASE}ssf/event-type/stream-updated": Effect.NOTICE,
}
_MAX_EVENTS = 16


def parse(body: bytes, *, keys: jwt.PyJWKSet, issuers: frozenset[str], audiences: frozenset[str], now: float, entra: bool = False) -> Delivery:
    """One pushed token, the request's whole body."""
    try:
        token = body.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise HookRefusedError(Refusal.MALFORMED, "the body is not a token") from error
    expected = Expected(typ=frozenset({"secevent+jwt"}), issuers=issuers, audiences=audiences, max_age_s=None)
    claims = verify(token, keys, expected, now=now)
    token_id = identifier(claims)
    found = claims.get("events")
    if not isinstance(found, dict) or not 0 < len(found) <= _MAX_EVENTS:
        raise HookRefusedError(Refusal.MALFORMED, "events is missing")
    events: list[HookEvent] = []
    skipped: list[Skipped] = []
    for index, (kind, payload) in enumerate(found.items()):
        effect = EFFECTS.get(kind)
        if effect is None:
            skipped.append(Skipped(index, shown(kind), SkipReason.UNKNOWN_TYPE))
            continue
        try:
            events.append(_event(kind, effect, mapping(payload, "event"), claims, issuers=issuers, entra=entra, token_id=token_id, alone=len(found) == 1))
        except EntryError as error:
            if len(found) == 1:
                raise HookRefusedError(Refusal.MALFORMED, str(error)) from error
            skipped.append(Skipped(index, shown(kind), SkipReason.MALFORMED, str(error)))
    return Delivery(Source.SSF, tuple(events), tuple(skipped), token_id)


def _event(
    kind: str, effect: Effect, payload: dict[str, Any], claims: dict[str, Any], *, issuers: frozenset[str], entra: bool, token_id: str, alone: bool
) -> HookEvent:  # fmt: skip
    name = kind.removeprefix(_BASE)
    event_id = token_id if alone else f"{token_id}#{name}"
    if effect is Effect.NOTICE:
        return HookEvent(Source.SSF, name, effect, None, None, None, event_id)
    subject = subject_of(claims.get("sub_id", payload.get("subject")), issuers=issuers, entra=entra)
    stamp = payload.get("event_timestamp")
    when = epoch(stamp, "event_timestamp") if stamp is not None else epoch(claims["iat"], "iat")
    return HookEvent(Source.SSF, name, effect, subject, None, when, event_id)
