"""Whose an address is, as a Google directory told last.

Rules:
- One row for each address, with the user who has it. A deleted user's rows stay until somebody else
  has the address: what stands against the deleted one then gives it up.
- Who has another primary address, or has lost one, signs in anew: tokens and sessions may carry the
  old one.
- Whoever is refused is refused under new addresses too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from gateway.core.canonical import canonical_address
from gateway.database.engine import insert_new
from gateway.database.schema import directory_addresses
from gateway.hooks.event import Effect, HookEvent, Source, Subject
from gateway.hooks.inbox import digest, lane_key
from gateway.hooks.reconcile.google_client import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.reconcile.google_client import GoogleUser

_ROWS = 500


@dataclass(slots=True)
class _Changes:
    events: list[HookEvent] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """New, or of another user or kind than before."""
    gone: list[str] = field(default_factory=list)
    """Digests."""


class GoogleAddresses:
    """Rows of ``directory_addresses``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def owner(self, target: HookTarget, value: str) -> str:
        """The id of the user who has the address; "" where that is not known. Raises
        ``UnavailableError``.
        """
        query = select(directory_addresses.c.member).where(
            *_of(target), directory_addresses.c.address == address_digest(value)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar() or ""

    async def names(
        self, target: HookTarget, users: Sequence[str]
    ) -> dict[str, tuple[tuple[str, str], ...]]:
        """Of each user, the id and the addresses that nobody else has. Raises
        ``UnavailableError``.
        """
        by_user: dict[str, list[str]] = {user: [] for user in users}
        async with self._database.read() as connection:
            for row in await self._rows_of(connection, target, users):
                value = self._value(row)
                (
                    by_user[row.member].insert(0, value)
                    if row.is_primary
                    else by_user[row.member].append(value)
                )
        return {user: names_of(user, tuple(addresses)) for user, addresses in by_user.items()}

    async def learn(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        users: Iterable[GoogleUser],
        *,
        refused: frozenset[str],
        at: float,
    ) -> list[HookEvent]:
        """In the caller's transaction: the users have these addresses now. ``refused``: lanes of
        whoever is refused something. What follows for them, and for who had an address before.
        """
        current = {user.id: user for user in users}
        digests = {
            address_digest(value): (user, value, number == 0)
            for user in current.values()
            for number, value in enumerate(user.addresses)
        }
        changes = _Changes()
        before = await self._rows_of(connection, target, list(current))
        rows_by_address = {row.address: row for row in before}
        rows_by_address |= {
            row.address: row
            for row in await self._rows(
                connection, target, directory_addresses.c.address, list(digests)
            )
        }
        moved_addresses: dict[str, list[str]] = {}
        for key, (user, value, primary) in digests.items():
            row = rows_by_address.get(key)
            if row is None or row.member != user.id or bool(row.is_primary) != primary:
                changes.rows.append(self._row(target, user.id, key, value, primary=primary))
            if row is not None and row.member != user.id:
                moved_addresses.setdefault(row.member, []).append(value)
        for row in before:
            if row.address not in digests:
                changes.gone.append(row.address)
        for member, values in moved_addresses.items():
            changes.events += _given_up(target, member, values, refused=refused, at=at)
        for member, mine in _by_member(before).items():
            changes.events += self._renamed(
                target, current[member], mine, digests, refused=refused, at=at
            )
        await self._write(connection, target, changes)
        return changes.events

    def _renamed(
        self,
        target: HookTarget,
        user: GoogleUser,
        before: Sequence[Any],
        digests: Mapping[str, tuple[GoogleUser, str, bool]],
        *,
        refused: frozenset[str],
        at: float,
    ) -> list[HookEvent]:
        mine = {key for key, (one, _, _) in digests.items() if one.id == user.id}
        lost_rows = [row for row in before if row.address not in digests]
        first = next((key for key in digests if digests[key][0].id == user.id), "")
        renamed = any(row.is_primary and row.address != first for row in before)
        who = Subject.of_record(user.id, user.names)
        events = []
        if renamed or lost_rows:
            old = tuple(dict.fromkeys(self._value(row) for row in lost_rows))
            names = (*user.names, *names_of(user.id, old)[1:])
            events.append(
                HookEvent(
                    Source.GOOGLE,
                    "reading/renamed",
                    Effect.END_SESSIONS,
                    Subject.of_record(user.id, names),
                    event_time=at,
                )
            )
        event = HookEvent(Source.GOOGLE, "reading/renamed", Effect.RENAMED, who, event_time=at)
        if mine - {row.address for row in before} and lane_key(target, event) in refused:
            events.append(event)
        return events

    def _row(
        self, target: HookTarget, member: str, key: str, value: str, *, primary: bool
    ) -> dict[str, Any]:
        return {
            "tenant": target.tenant,
            "provider": target.provider,
            "address": key,
            "member": member,
            "is_primary": int(primary),
            "value": self._database.crypt.seal(
                value,
                table="directory_addresses",
                row=f"{target.tenant}/{target.provider}/{key}",
                column="value",
            ),
        }

    def _value(self, row: Any) -> str:
        return self._database.crypt.open(
            row.value,
            table="directory_addresses",
            row=f"{row.tenant}/{row.provider}/{row.address}",
            column="value",
        ).reveal()

    async def _write(
        self, connection: AsyncConnection, target: HookTarget, changes: _Changes
    ) -> None:
        for start in range(0, len(changes.gone), _ROWS):
            await connection.execute(
                delete(directory_addresses).where(
                    *_of(target),
                    directory_addresses.c.address.in_(changes.gone[start : start + _ROWS]),
                )
            )
        for start in range(0, len(changes.rows), _ROWS):
            new = insert_new(self._database, directory_addresses).values(
                changes.rows[start : start + _ROWS]
            )
            await connection.execute(
                new.on_conflict_do_update(
                    index_elements=["tenant", "provider", "address"],
                    set_={
                        "member": new.excluded.member,
                        "is_primary": new.excluded.is_primary,
                        "value": new.excluded.value,
                    },
                )
            )

    async def _rows_of(
        self, connection: AsyncConnection, target: HookTarget, users: Sequence[str]
    ) -> list[Any]:
        return await self._rows(connection, target, directory_addresses.c.member, users)

    @staticmethod
    async def _rows(
        connection: AsyncConnection,
        target: HookTarget,
        column: ColumnElement[str],
        values: Sequence[str],
    ) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(values), _ROWS):
            query = select(directory_addresses).where(
                *_of(target), column.in_(values[start : start + _ROWS])
            )
            rows += (await connection.execute(query)).all()
        return rows


def address_digest(value: str) -> str:
    return digest("address", canonical_address(value))


def _by_member(rows: Iterable[Any]) -> dict[str, list[Any]]:
    by_member: dict[str, list[Any]] = {}
    for row in rows:
        by_member.setdefault(row.member, []).append(row)
    return by_member


def _given_up(
    target: HookTarget, member: str, values: Sequence[str], *, refused: frozenset[str], at: float
) -> list[HookEvent]:
    """Of whoever had the addresses before: their sessions under them end, and what stands against
    them holds for these names no more.
    """
    who = Subject.of_record(member, names_of(member, tuple(values))[1:])
    events = [
        HookEvent(Source.GOOGLE, "reading/address-moved", Effect.END_SESSIONS, who, event_time=at)
    ]
    event = HookEvent(Source.GOOGLE, "reading/address-moved", Effect.RELEASED, who, event_time=at)
    return [*events, event] if lane_key(target, event) in refused else events


def _of(target: HookTarget) -> tuple[ColumnElement[bool], ...]:
    return (
        directory_addresses.c.tenant == target.tenant,
        directory_addresses.c.provider == target.provider,
    )
