"""Tenants by what people remember of them: id, name, host or e-mail domain.

Rules:
- It reads the records that are in memory anyway: a search touches no database, and what it found is
  read there by id.
- A name is in the compressed part of a record. It is read once for each version of a tenant, beside
  the event loop.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal

from gateway.tenants.offload import in_background
from gateway.tenants.snapshot_record import shown_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.tenants.snapshot_record import Record


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """What a tenant has to have, each where it is set. ``text``: part of its id, name, a host or
    an e-mail domain, in any case; ``within``: globs of ids.
    """

    text: str = ""
    state: Literal["active", "inactive"] | None = None
    within: tuple[str, ...] = ()


EVERY_TENANT: Final = TenantFilter()


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: str
    text: str
    active: bool


class TenantIndex:
    """``records``: every tenant as it is published now."""

    def __init__(self, records: Callable[[], Mapping[str, Record]]) -> None:
        self._records = records
        self._entries: dict[str, _Entry] = {}

    async def find(self, wanted: TenantFilter, *, after: str, limit: int) -> list[str]:
        """Ids in order, those behind ``after``; at most ``limit``."""
        records = self._records()
        index = self._entries
        changed_records = [r for r in records.values() if _is_new(index.get(r.id), r)]
        if changed_records or len(index) != len(records):
            entries = {name: index[name] for name in records if name in index}
            entries |= await in_background(_entries_of, changed_records)
            self._entries = index = entries
        return await in_background(_matching, index, wanted, after, limit)


def _is_new(entry: _Entry | None, record: Record) -> bool:
    return entry is None or entry.digest != record.digest


def _entries_of(records: list[Record]) -> dict[str, _Entry]:
    return {record.id: _entry(record) for record in records}


def _entry(record: Record) -> _Entry:
    name = ""
    with contextlib.suppress(ValueError):  # another release's: found by everything but its name
        name = str(shown_of(record).get("name", ""))
    words = (
        record.id,
        name,
        *record.hosts,
        *(f"*.{part}" for part in record.wildcards),
        *record.email_domains,
    )
    return _Entry(record.digest, "\n".join(words).casefold(), record.active)


def _matching(
    entries: Mapping[str, _Entry], wanted: TenantFilter, after: str, limit: int
) -> list[str]:
    text = wanted.text.strip().casefold()
    active = None if wanted.state is None else wanted.state == "active"
    return sorted(
        name
        for name, entry in entries.items()
        if name > after
        and text in entry.text
        and active in (None, entry.active)
        and (not wanted.within or is_within(name, wanted.within))
    )[:limit]


def is_within(tenant: str, globs: tuple[str, ...]) -> bool:
    """Whether one of ``globs``, in which ``*`` is any text, is for the tenant."""
    return any(fnmatchcase(tenant, glob) for glob in globs)
