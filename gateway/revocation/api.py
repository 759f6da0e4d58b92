"""The record of revocations and the replicas' confirmations, as protocols and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.core.model import DEFAULT_POOL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.core.person import Person
    from gateway.core.revocation import RevocationRequest, RevocationStatus, Who

LIFT = "lift"
"""``kind`` of a recorded lift, beside the values of ``RevocationKind``."""

OPERATORS = frozenset({"admin", "cli"})
"""Sources that may lift what any source imposed."""

DISABLED_BY_OPERATOR, DISABLED_BY_TENANT = "pool-users:operator", "pool-users:tenant"
"""Sources of the blocks of users of the pool whom somebody disabled there: who enables them lifts
these and no others. A tenant's own key lifts none of an operator's.
"""
MOVED = "moved:"
"""Begins the source of what stands by a further name of somebody (``across_pools``)."""


def moved_source(source: str) -> str:
    """Of what stands by further names because of what ``source`` said. At most 40 characters, as
    the record has them.
    """
    return f"{MOVED}{source.removeprefix('scim:')}"


IMPOSED_BY_OPERATORS = frozenset(
    name for source in (*OPERATORS, DISABLED_BY_OPERATOR) for name in (source, moved_source(source))
)
"""What a tenant's own key lifts nowhere."""

SOURCES = (
    *("okta", "entra", "scim", "backchannel", "ssf", "universal-logout", "pool-users"),
    *sorted(OPERATORS),
)
"""Whoever revokes (``hooks.event.Source``, operators)."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A revocation as it stands in the record. ``watermark`` is the tenant's clock (µs) when it was
    first applied.
    """

    status: RevocationStatus
    kind: str
    watermark: int
    durable_at: float


@dataclass(frozen=True, slots=True)
class Closed:
    """A revocation on record of which nobody can say what it is: what it says does not open, since
    its key is away or it was damaged.
    """

    id: str
    tenant: str
    durable_at: float
    error: Exception


@dataclass(frozen=True, slots=True)
class Standing:
    """A block (``group`` None) or overlay in force."""

    id: str
    tenant: str
    who: Who
    source: str
    reason: str
    since: float
    watermark: int
    group: str | None = None
    cleared: bool = False
    """Of an overlay: the pool holds the group no more from before the removal, so a login that
    reports it is believed.
    """
    exempt: int = 0
    """Of an overlay of everybody: how many people were added to a group of this name since."""
    follows: tuple[str, ...] = ()
    """Of what stands by a further name of somebody: ids of the blocks or overlays because of
    which it stands.
    """


@dataclass(frozen=True, slots=True)
class Exemption:
    """A person who has a group although it was taken from everybody with this ``watermark``, or an
    earlier one.
    """

    who: Who
    group: str
    watermark: int


@dataclass(frozen=True, slots=True)
class Lifted:
    """What a lift came to in the record."""

    count: int
    """Blocks or overlays that are not in force any more."""
    disabled_users: int
    """Cognito users whom these blocks had disabled."""
    others_stand: bool
    """Whether another source's block or overlay of the same who still stands."""


@dataclass(frozen=True, slots=True)
class DisabledUser:
    """A Cognito user whom the gateway disabled because of one block. ``pool``: the name of the user
    pool; another one may have a user of the same name.
    """

    block: str
    tenant: str
    username: str
    pool: str = DEFAULT_POOL


class Change(Protocol):
    """One open transaction of the record, alone with this person of this tenant: what it writes
    stands if it is left without an error.
    """

    async def block(self, request: RevocationRequest, *, watermark: int, at: float) -> bool:
        """Whether it is new: a block of the same who and source that stands already is kept."""

    async def overlay(self, request: RevocationRequest, *, watermark: int, at: float) -> None: ...

    async def said_already(self, request: RevocationRequest, *, at: float) -> int | None:
        """The watermark of a group's removal from everybody that is in force and not cleared, if
        this request says the same of the same group again.

        Then those who were added to another group of the name meanwhile keep it. Who was added to
        this very one makes it another removal: None.
        """

    async def exempt(self, request: RevocationRequest, everybody: Sequence[str]) -> int | None:
        """The watermark of the removal that the person is exempt from; None where nothing was taken
        from ``everybody`` (aliases) by this source before ``request.event_time``, or is not in
        force any more, or is believed again.
        """

    async def lift(self, request: RevocationRequest, *, at: float) -> Lifted:
        """End what this source (an operator: any source) imposed."""

    async def is_open(self, revocation: str) -> bool:
        """Whether it is on record and not acknowledged; nobody else acknowledges it before this
        transaction ends.
        """

    async def revocation(
        self,
        recorded: Recorded,
        *,
        users: Sequence[str] = (),
        to_tell: bool = False,
        people: Sequence[Person] = (),
    ) -> None:
        """One that is not on record. ``users``: usernames at Cognito of those whose sessions it
        ended. ``to_tell``: the tenant's application, of these ``people``.
        """

    async def repeated(self, recorded: Recorded) -> None:
        """One that ``is_open``, brought up to date."""


class RevocationRecord(Protocol):
    """SQL is the record; Redis holds working copies. Raises ``UnavailableError``.

    ``closed`` is told of each revocation that does not open, and the others are read; without it
    the first of them raises. ``aliases``: HMACs that stand for the who of a request, the writing
    key's first; the record looks blocks and overlays up by them.
    """

    def change(
        self, tenant: str, aliases: Sequence[str]
    ) -> AbstractAsyncContextManager[Change]: ...

    async def acknowledged(
        self, revocation: str, *, at: float, replicas: Sequence[tuple[str, float | None]]
    ) -> None: ...

    async def find(self, revocation: str) -> Recorded | None: ...

    async def users_of(self, revocation: str) -> Sequence[str]:
        """Usernames at Cognito of those whose sessions this revocation ended."""

    async def since(
        self,
        durable_at: float,
        *,
        after: str,
        limit: int,
        closed: Callable[[Closed], None] | None = None,
    ) -> Sequence[Recorded]:
        """By ``durable_at`` and id, oldest first, beyond that pair: fewer than ``limit`` only where
        there are no more, and fewer than twice as many.
        """

    async def of_tenant(
        self,
        tenant: str,
        *,
        durable_after: float,
        limit: int | None = None,
        closed: Callable[[Closed], None] | None = None,
    ) -> Sequence[Recorded]:
        """By ``durable_at`` and id, oldest first; ``limit`` as of ``since``."""

    async def unacknowledged(
        self, *, closed: Callable[[Closed], None] | None = None
    ) -> Sequence[Recorded]: ...

    async def these(
        self, ids: Sequence[str], *, closed: Callable[[Closed], None] | None = None
    ) -> Sequence[Recorded]:
        """Those of these ids (500 at most) that are on record, in the order of ``since``."""

    async def tenants(self) -> Sequence[str]:
        """Every tenant of which anything is recorded."""

    async def standing(self, tenant: str) -> Sequence[Standing]:
        """Blocks and overlays in force, with the first watermark of each."""

    async def is_taken_from_everybody(self, tenant: str, group: str, *, source: str) -> bool:
        """Whether the group is, by this source, and is not believed again."""

    async def exemptions(self, tenant: str) -> Sequence[Exemption]:
        """From overlays in force."""

    async def standing_of(self, tenant: str, aliases: Sequence[str]) -> Sequence[Standing]:
        """Those of one who, however many others there are."""

    async def clear(self, standing: Standing, *, at: float) -> None:
        """The overlay is cleared, unless the group was taken away again since this was read."""

    async def rename(self, standing: Standing, alias: str) -> None:
        """After a new key: the block or overlay is looked up by this alias from now on."""

    async def highest_watermark(self, tenant: str) -> int:
        """0 where nothing is recorded."""

    async def forget(self, *, before: float) -> int:
        """Delete revocations that no session can be old enough for."""


class DisabledUsers(Protocol):
    """What was done in the pool, kept with the block because of which it was done. Raises
    ``UnavailableError``.
    """

    async def add(self, disabled: DisabledUser, *, at: float) -> None:
        """Before the user is disabled, so that a crash in between leaves nobody disabled whom
        nothing enables. Repeats harmlessly.
        """

    async def has(self, username: str, *, pool: str) -> bool:
        """Whether any block disabled this user of this pool."""

    async def tenants_to_enable(self) -> Sequence[str]:
        """Tenants with users whose block was lifted."""

    async def to_enable(
        self, tenant: str, *, after: DisabledUser | None, limit: int
    ) -> Sequence[DisabledUser]:
        """Users whose block was lifted, in a fixed order, beyond ``after``: none only where there
        are no more. Who does not open is left out, and logged.
        """

    async def is_held(self, disabled: DisabledUser) -> bool:
        """Whether a block in force disabled the same user too."""

    async def move(self, disabled: DisabledUser, *, block: str) -> None:
        """Another block has this user now."""

    async def remove(self, disabled: DisabledUser) -> bool:
        """Whether it was there."""


class Confirmations(Protocol):
    """The replicas that may still answer from memory."""

    async def confirm(
        self, tenant: str, report: Callable[[str, float | None], None], *, server: str
    ) -> None:
        """Returns when every replica that holds a lease on the tenant's primary, listed after this
        call, has dropped what was pushed before it.

        A replica that stays silent is waited for until its lease has surely run out.
        ``report(replica, at)`` is called with None when a replica is listed and with this process's
        monotonic seconds when it confirmed. Raises ``UnavailableError``, also when the primary is
        another one than ``server``, which ended the sessions: that one may have been restored
        before this was on record.
        """
