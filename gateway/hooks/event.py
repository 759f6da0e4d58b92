"""What a hook said, as values. Every source parses into these; the inbox stores and applies them.

Rules:
- A sender's text becomes a value here or is refused: no control characters, no lone surrogates,
  bounded length.
- A refusal (something is taken away) may come without an event time and applies at once; what gives
  something back never does.
- One bad entry of a batch is kept as ``Skipped`` and visible; it neither stops nor hides the
  others.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.core.canonical import canonical_address, canonical_id
from gateway.core.hosts import email_domain
from gateway.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EVENTS = 2000
"""Entries of one delivery. Okta batches a few dozen, Graph up to a hundred; more than this is not a
hook.
"""
MAX_NAMED = 200
"""People named by one event: read, sealed and stored at once when it is applied."""
BY_HAND = "operator.lift"
"""Type of an event with which an operator gives back what the provider took."""
MAX_ID = 256
MAX_NAME = 1024
_LATEST = 4_102_444_800.0
"""2100-01-01: a time beyond it is a unit mix-up."""


class RejectionReason(StrEnum):
    """Why a whole delivery was not taken. The web edge turns each into a status."""

    UNAUTHENTICATED = "unauthenticated"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    CONTENT_TYPE = "content_type"
    KEY = "invalid_key"
    ISSUER = "invalid_issuer"
    AUDIENCE = "invalid_audience"
    EXPIRED = "expired"
    UNKNOWN_SUBJECT = "unknown_subject"
    NOT_CONFIGURED = "not_configured"


class DeliveryRejectedError(PeerError):
    """The sender's mistake; nothing of the delivery was stored. The only exception that parsing
    raises.
    """

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(f"hook_{reason.value}", message)
        self.reason = reason


class Source(StrEnum):
    """Who spoke. A block or overlay is lifted only by the source that imposed it (or by an
    operator).
    """

    OKTA = "okta"
    ENTRA = "entra"
    GOOGLE = "google"
    SCIM = "scim"
    BACKCHANNEL = "backchannel"
    SSF = "ssf"
    UNIVERSAL_LOGOUT = "universal-logout"


class Effect(StrEnum):
    """What an event asks for. ``LOOK_UP_*`` says that something changed and the provider must be
    asked what it is now.

    ``MEMBERS_*`` names several people by their records and becomes one ``GROUP_*`` event for each.
    ``RENAMED``: the person's record has these names now, and what stands against the person holds
    for them too. ``RELEASED``: these names are another record's from now on. ``TELL``: the app is
    told, and nothing else follows.
    """

    END_SESSIONS = "end_sessions"
    BLOCK = "block"
    LIFT = "lift"
    GROUP_REMOVED = "group_removed"
    GROUP_ADDED = "group_added"
    GROUP_DELETED = "group_deleted"
    GROUP_RENAMED = "group_renamed"
    MEMBERS_REMOVED = "members_removed"
    MEMBERS_ADDED = "members_added"
    RENAMED = "renamed"
    RELEASED = "released"
    APP_REMOVED = "app_removed"
    LOOK_UP_ACCOUNT = "look_up_account"
    LOOK_UP_MEMBERSHIP = "look_up_membership"
    SUBSCRIPTION = "subscription"
    TELL = "tell"
    NOTICE = "notice"


GIVES_BACK = frozenset({Effect.LIFT, Effect.GROUP_ADDED})
"""Effects that need an event time (or a look-up): without one, an old message could undo a newer
refusal.
"""


TAKES_AWAY = frozenset(
    {
        Effect.END_SESSIONS,
        Effect.BLOCK,
        Effect.GROUP_REMOVED,
        Effect.GROUP_DELETED,
        Effect.APP_REMOVED,
        Effect.LOOK_UP_ACCOUNT,
        Effect.LOOK_UP_MEMBERSHIP,
    }
)
"""Effects that take something from the one whom they name, or may."""


class SkipReason(StrEnum):
    """Why one entry of a delivery has no effect."""

    UNKNOWN_TYPE = "unknown_type"
    MALFORMED = "malformed"
    NOT_SUCCESSFUL = "not_successful"
    CLIENT_STATE = "client_state"
    WRONG_DIRECTORY = "wrong_directory"
    UNKNOWN_RESOURCE = "unknown_resource"


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as the provider names them, canonical however it is made. ``email`` is a fallback
    for when the ids were never seen.

    ``record``: the sender's own record of the person, which outlives every name. All names of a
    record are its person's, and of one weight: nothing tells which of them a token will carry.
    ``further``: (``idp_subject`` | ``oid`` | ``email``, value) beside the first ones.
    """

    idp_subject: str = ""
    oid: str = ""
    email: str = ""
    record: str = ""
    further: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "idp_subject", canonical_id(self.idp_subject))
        object.__setattr__(self, "oid", canonical_id(self.oid))
        object.__setattr__(self, "email", canonical_address(self.email))
        object.__setattr__(
            self,
            "further",
            tuple(
                (kind, canonical_address(value) if kind == "email" else canonical_id(value))
                for kind, value in self.further
            ),
        )

    @classmethod
    def of_record(cls, record: str, names: Iterable[tuple[str, str]]) -> Subject:
        """``names``: (kind, value), the strongest of each kind first."""
        first: dict[str, str] = {}
        further = [
            (kind, value)
            for kind, value in names
            if value and first.setdefault(kind, value) != value
        ]
        return cls(**first, record=record, further=tuple(dict.fromkeys(further)))

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Every name, ids before addresses."""
        own = (("idp_subject", self.idp_subject), ("oid", self.oid), ("email", self.email))
        return tuple(
            dict.fromkeys(
                sorted((n for n in (*own, *self.further) if n[1]), key=lambda n: n[0] == "email")
            )
        )

    def joined(self, other: Subject) -> Subject:
        """The same record with the other's names too."""
        return (
            self
            if set(other.names) <= set(self.names)
            else replace(
                self, further=(*self.further, *(n for n in other.names if n not in self.names))
            )
        )

    @property
    def key(self) -> str:
        """The lane: events of one key are applied one after another. The record, else the strongest
        id that is there.
        """
        if self.record:
            return f"record:{self.record}"
        if self.idp_subject:
            return f"id:{self.idp_subject}"
        if self.oid:
            return f"oid:{self.oid}"
        return f"email:{self.email}"

    def __bool__(self) -> bool:
        return bool(self.idp_subject or self.oid or self.email or self.further)


@dataclass(frozen=True, slots=True)
class Group:
    """A group (or, for ``APP_REMOVED``, an application) by id, name or both, canonical; tokens may
    carry either.
    """

    id: str = ""
    name: str = ""
    former: tuple[str, ...] = ()
    """What else it is or was called."""
    spelling: str = ""
    """The id or the name, where an event speaks of membership as tokens spell it that way, and of
    no other.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", canonical_id(self.id))
        object.__setattr__(self, "name", canonical_id(self.name))
        object.__setattr__(self, "former", tuple(map(canonical_id, self.former)))
        object.__setattr__(self, "spelling", canonical_id(self.spelling))

    @property
    def spellings(self) -> tuple[str, ...]:
        """What tokens may carry, the id first."""
        return tuple(dict.fromkeys(s for s in (self.id, self.name) if s))

    @property
    def key(self) -> str:
        """The one spelling that is meant, else the id where there is one: names change."""
        return f"spelled:{self.spelling}" if self.spelling else self.id or f"name:{self.name}"

    def __bool__(self) -> bool:
        return bool(self.id or self.name)


@dataclass(frozen=True, slots=True)
class HookEvent:
    """One thing that happened at the provider. ``event_time`` is UTC epoch seconds, None where the
    sender gave none.
    """

    source: Source
    type: str
    """The sender's own name of it, for people."""
    effect: Effect
    subject: Subject | None
    group: Group | None = None
    event_time: float | None = None
    id: str | None = None
    """The sender's id; the same id twice is the same event. None where the sender has none
    (Graph).
    """
    reference: str = ""
    """``SUBSCRIPTION``: the subscription's id. Graph notifications: the subscription that they came
    through. ``MEMBERS_*``: the group's record. ``TELL``: what the record says of a user
    (``scim.told``).
    """
    members: tuple[str, ...] = ()
    """``MEMBERS_*``: records of people, at most ``MAX_NAMED``."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry without effect: kept, counted, shown."""

    index: int
    type: str
    reason: SkipReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request of a sender, understood."""

    source: Source
    events: tuple[HookEvent, ...]
    skipped: tuple[Skipped, ...] = ()
    id: str | None = None
    proven_by: frozenset[int] = frozenset()
    """Places of the secrets by which entries proved themselves, where each does so by itself."""


class EntryError(ValueError):
    """Raised and caught inside one source file: this entry is malformed. The message names the
    field, never its value.
    """


def refuse_constant(_name: str) -> None:
    """JSON has no NaN and no Infinity (RFC 8259 §6)."""
    msg = "not a JSON number"
    raise EntryError(msg)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # RFC 8259 §4: two readers may take different ones.
        msg = "a name occurs twice in one object"
        raise EntryError(msg)
    return members


def json_object(body: bytes) -> dict[str, Any]:
    """The body as one JSON object; ``DeliveryRejectedError`` for anything else."""
    try:
        document = json.loads(
            body.decode("utf-8"), parse_constant=refuse_constant, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED, "the body is not a JSON object"
        ) from error
    if not isinstance(document, dict):
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "the body is not a JSON object")
    return document


def mapping(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EntryError(f"{field} is not an object")
    return value


def items(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise EntryError(f"{field} is not an array")
    if len(value) > MAX_EVENTS:
        raise EntryError(f"{field} has more than {MAX_EVENTS} entries")
    return value


def text(value: object, field: str, *, limit: int = MAX_ID) -> str:
    """A non-empty string that every store, log and header can hold."""
    if not isinstance(value, str) or not value or len(value) > limit or not is_clean(value):
        raise EntryError(f"{field} is not a string of 1 to {limit} printable characters")
    return value


def optional(value: object, field: str, *, limit: int = MAX_ID) -> str:
    return "" if value is None or value == "" else text(value, field, limit=limit)


def is_clean(value: str) -> bool:
    """No controls, no surrogates, no line or paragraph separators."""
    return (value.isascii() and value.isprintable()) or not any(
        c < " " or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029" or "\ud800" <= c <= "\udfff"
        for c in value
    )


def shown(value: object) -> str:
    """A sender's type name for the log: cut and cleaned, never refused."""
    return value[:120] if isinstance(value, str) and is_clean(value[:120]) else ""


def address(value: object) -> str:
    """An e-mail address in the form that is compared, or "" if it is none; a login need not be an
    address.
    """
    if not isinstance(value, str) or not is_clean(value):
        return ""
    email = canonical_address(value)
    return email if email_domain(email) is not None else ""


def rfc3339(value: object, field: str) -> float:
    """UTC epoch seconds of a timestamp with an offset (RFC 3339 §5.6)."""
    if not isinstance(value, str) or len(value) > 40:
        raise EntryError(f"{field} is not a timestamp")
    try:
        moment = datetime.fromisoformat(value)
        seconds = moment.timestamp() if moment.tzinfo is not None else math.nan
    except (ValueError, OverflowError) as error:
        raise EntryError(f"{field} is not a timestamp") from error
    return plausible(seconds, field)


def epoch(value: object, field: str) -> float:
    """UTC epoch seconds, also where the sender counts milliseconds (Okta's CAEP events do)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EntryError(f"{field} is not a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise EntryError(f"{field} is not a time") from error
    return plausible(number / 1000 if number > _LATEST else number, field)


def plausible(seconds: float, field: str) -> float:
    if not 0 < seconds <= _LATEST:
        raise EntryError(f"{field} is not a time between 1970 and 2100")
    return seconds
