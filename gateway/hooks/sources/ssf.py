"""Shared Signals: CAEP and RISC security event tokens, pushed (RFC 8935, RFC 8417, SSF 1.0).

Rules:
- ``typ`` is ``secevent+jwt``; ``exp`` and ``sub`` are not expected (RFC 8417 §2.2, §4.5).
- The subject is the token's ``sub_id`` (SSF 1.0) or the event's own ``subject`` (Okta).
- An event's time is its ``event_timestamp``, in seconds or milliseconds, else when the token was
  issued.
- Type and payload are read by table: what took nothing away has no effect, what a table does not
  name ends sessions.
- An event type that is not known has no effect and is answered 202: the stream may carry more than
  was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.hooks.event import (
    Delivery,
    DeliveryRejectedError,
    Effect,
    EntryError,
    HookEvent,
    RejectionReason,
    Skipped,
    SkipReason,
    Source,
    epoch,
    mapping,
    shown,
)
from gateway.hooks.sources.signed_token import Expected, identifier, verify
from gateway.hooks.sources.subject import subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jwt

_BASE = "https://schemas.openid.net/secevent/"
VERIFICATION = f"{_BASE}ssf/event-type/verification"
_CAEP, _RISC = f"{_BASE}caep/event-type/", f"{_BASE}risc/event-type/"
TOKEN_CLAIMS = f"{_CAEP}token-claims-change"
EFFECTS: Mapping[str, Effect] = {
    # CAEP 1.0 §3
    f"{_CAEP}session-revoked": Effect.END_SESSIONS,
    TOKEN_CLAIMS: Effect.END_SESSIONS,
    f"{_CAEP}credential-change": Effect.END_SESSIONS,
    f"{_CAEP}assurance-level-change": Effect.END_SESSIONS,
    f"{_CAEP}device-compliance-change": Effect.END_SESSIONS,
    f"{_CAEP}risk-level-change": Effect.END_SESSIONS,
    f"{_CAEP}session-established": Effect.NOTICE,
    f"{_CAEP}session-presented": Effect.NOTICE,
    # RISC 1.0 §2
    f"{_RISC}account-credential-change-required": Effect.END_SESSIONS,
    f"{_RISC}account-purged": Effect.BLOCK,
    f"{_RISC}account-disabled": Effect.BLOCK,
    f"{_RISC}account-enabled": Effect.LIFT,
    f"{_RISC}identifier-changed": Effect.END_SESSIONS,
    f"{_RISC}identifier-recycled": Effect.END_SESSIONS,
    f"{_RISC}credential-compromise": Effect.END_SESSIONS,
    f"{_RISC}sessions-revoked": Effect.END_SESSIONS,
    f"{_RISC}opt-in": Effect.NOTICE,
    f"{_RISC}opt-out-initiated": Effect.NOTICE,
    f"{_RISC}opt-out-cancelled": Effect.NOTICE,
    f"{_RISC}opt-out-effective": Effect.NOTICE,
    f"{_RISC}recovery-activated": Effect.NOTICE,
    f"{_RISC}recovery-information-changed": Effect.NOTICE,
    # SSF 1.0 §8.1.4, §8.1.5
    VERIFICATION: Effect.NOTICE,
    f"{_BASE}ssf/event-type/stream-updated": Effect.NOTICE,
}
"""What each event type asks for, unless ``HARMLESS`` says that this one of the type took nothing
away.
"""
HARMLESS: Mapping[str, Mapping[str, frozenset[str]]] = {
    # A passkey, a certificate or a phone that somebody adds leaves everything that was trusted as
    # trustworthy as it was. A password or PIN that is "created" takes the place of another way in,
    # so it is not among them.
    f"{_CAEP}credential-change": {
        "change_type": frozenset({"create"}),
        "credential_type": frozenset(
            {
                "fido2-platform",
                "fido2-roaming",
                "fido-u2f",
                "x509",
                "verifiable-credential",
                "phone-voice",
                "phone-sms",
                "app",
            }
        ),
    },
    f"{_CAEP}assurance-level-change": {"change_direction": frozenset({"increase"})},
    f"{_CAEP}device-compliance-change": {"current_status": frozenset({"compliant"})},
    f"{_CAEP}risk-level-change": {"current_level": frozenset({"LOW"})},
}
"""Events without effect: every field named here has one of these values. A value that is missing or
unknown has the type's effect.
"""
_MAX_EVENTS = 16


def parse_delivery(
    body: bytes,
    *,
    keys: jwt.PyJWKSet,
    issuers: frozenset[str],
    audiences: frozenset[str],
    now: float,
    entra: bool = False,
) -> Delivery:
    """One pushed token, the request's whole body."""
    try:
        token = body.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "the body is not a token") from error
    expected = Expected(
        typ=frozenset({"secevent+jwt"}), issuers=issuers, audiences=audiences, max_age_s=None
    )
    claims = verify(token, keys, expected, now=now)
    token_id = identifier(claims)
    event_claims = claims.get("events")
    if not isinstance(event_claims, dict) or not 0 < len(event_claims) <= _MAX_EVENTS:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "events is missing")
    events: list[HookEvent] = []
    skipped: list[Skipped] = []
    for index, (kind, payload) in enumerate(event_claims.items()):
        effect = EFFECTS.get(kind)
        if effect is None:
            skipped.append(Skipped(index, shown(kind), SkipReason.UNKNOWN_TYPE))
            continue
        try:
            events.append(
                _event(
                    kind,
                    _effect(kind, effect, payload),
                    mapping(payload, "event"),
                    claims,
                    issuers=issuers,
                    entra=entra,
                    token_id=token_id,
                    alone=len(event_claims) == 1,
                )
            )
        except EntryError as error:
            # Claims of one token, which may name nobody but the token, are no mistake of its
            # sender's.
            if len(event_claims) == 1 and kind != TOKEN_CLAIMS:
                raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
            skipped.append(Skipped(index, shown(kind), SkipReason.MALFORMED, str(error)))
    return Delivery(Source.SSF, tuple(events), tuple(skipped), token_id)


def _effect(kind: str, effect: Effect, payload: object) -> Effect:
    harmless = HARMLESS.get(kind)
    if harmless is None or not isinstance(payload, dict):
        return effect
    values = {name: payload.get(name) for name in harmless}
    return (
        Effect.NOTICE
        if all(isinstance(value, str) and value in harmless[name] for name, value in values.items())
        else effect
    )


def _event(
    kind: str,
    effect: Effect,
    payload: dict[str, Any],
    claims: dict[str, Any],
    *,
    issuers: frozenset[str],
    entra: bool,
    token_id: str,
    alone: bool,
) -> HookEvent:
    name = kind.removeprefix(_BASE)
    event_id = token_id if alone else f"{token_id}#{name}"
    if effect is Effect.NOTICE:
        return HookEvent(Source.SSF, name, effect, None, None, None, event_id)
    subject = subject_of(claims.get("sub_id", payload.get("subject")), issuers=issuers, entra=entra)
    stamp = payload.get("event_timestamp")
    when = epoch(stamp, "event_timestamp") if stamp is not None else epoch(claims["iat"], "iat")
    return HookEvent(Source.SSF, name, effect, subject, None, when, event_id)
