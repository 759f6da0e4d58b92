"""Delta queries: everything first, then what changed since a token, until the token is seven days
old.

Source: Microsoft Graph documentation, "Use delta query to track changes", "user: delta", "group:
delta". A token that is too old answers 410 ``syncStateNotFound``; changes may be repeated; removals
are objects here, not strings.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.idp.delivery import Switches
from demo.idp.directory import Change, Directory, DirectoryEvent, Status
from demo.idp.graph_errors import GraphError
from demo.idp.past import Past

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.clock import Clock
    from demo.idp.directory import Person

TOKEN_LIFETIME_S = 7 * 86400
PAGE = 100


@dataclass(frozen=True, slots=True)
class _Entry:
    """One change, remembered by number. ``purged`` for people and groups that are gone for good."""

    number: int
    kind: str
    ref: str
    member: str | None = None
    purged: bool = False
    renamed: bool = False
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Token:
    """What a ``$deltatoken`` or ``$skiptoken`` carries. ``since=None`` is the first, full round."""

    since: int | None
    upto: int
    offset: int
    issued_at: float
    kind: str

    def text(self) -> str:
        return base64.urlsafe_b64encode(
            json.dumps([self.since, self.upto, self.offset, self.issued_at, self.kind]).encode()
        ).decode()


class Deltas:
    """The change log of one directory."""

    def __init__(
        self, directory: Directory, origin: str, *, clock: Clock, past: Past | None = None
    ) -> None:
        self._directory = directory
        self._past = past or Past(directory, Switches(), clock=clock)
        self._origin = origin
        self._clock = clock
        self._log: list[_Entry] = []

    async def on_event(self, event: DirectoryEvent) -> None:
        number = len(self._log) + 1
        if (
            event.change in (Change.GROUP_ADDED, Change.GROUP_REMOVED)
            and event.group
            and event.person
        ):
            self._log.append(
                _Entry(number, "groups", event.group.id, member=event.person.id, at=event.at)
            )
        elif event.change is Change.GROUP_RENAMED and event.group:
            self._log.append(_Entry(number, "groups", event.group.id, renamed=True, at=event.at))
        elif event.change is Change.GROUP_DELETED and event.group:
            self._log.append(_Entry(number, "groups", event.group.id, purged=True, at=event.at))
        elif event.person and event.change not in (Change.SIGNED_OUT, Change.SESSIONS_CLEARED):
            self._log.append(
                _Entry(
                    number,
                    "users",
                    event.person.id,
                    purged=event.change is Change.PURGED,
                    at=event.at,
                )
            )

    def answer(self, kind: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of ``/users/delta`` or ``/groups/delta``."""
        select = query.get("$select", "")
        visible = sum(self._past.is_visible(entry.at) for entry in self._log)
        if query.get("$deltatoken") == "latest":
            return self._page(kind, [], self._fresh(kind, since=visible), select)
        if "$deltatoken" in query:
            given = self._read(query["$deltatoken"], kind)
            token = _Token(given.upto, max(given.upto, visible), 0, given.issued_at, kind)
        elif "$skiptoken" in query:
            token = self._read(query["$skiptoken"], kind)
        else:
            token = _Token(None, visible, 0, self._clock(), kind)
        items = (
            self._all(kind) if token.since is None else self._changed(kind, token.since, token.upto)
        )
        return self._page(kind, items, token, select)

    def _page(
        self, kind: str, items: list[dict[str, Any]], token: _Token, select: str
    ) -> dict[str, Any]:
        shown = items[token.offset : token.offset + PAGE]
        body: dict[str, Any] = {
            "@odata.context": f"{self._origin}/v1.0/$metadata#{kind}",
            "value": shown,
        }
        suffix = f"&$select={select}" if select else ""
        address = f"{self._origin}/v1.0/{kind}/delta"
        if token.offset + PAGE < len(items):
            onward = _Token(token.since, token.upto, token.offset + PAGE, token.issued_at, kind)
            return {**body, "@odata.nextLink": f"{address}?$skiptoken={onward.text()}{suffix}"}
        return {
            **body,
            "@odata.deltaLink": (
                f"{address}?$deltatoken={self._fresh(kind, since=token.upto).text()}{suffix}"
            ),
        }

    def _fresh(self, kind: str, *, since: int) -> _Token:
        return _Token(since, since, 0, self._clock(), kind)

    def _read(self, text: str, kind: str) -> _Token:
        try:
            since, upto, offset, issued_at, of = json.loads(base64.urlsafe_b64decode(text.encode()))
            token = _Token(
                None if since is None else int(since),
                int(upto),
                int(offset),
                float(issued_at),
                str(of),
            )
        except (ValueError, TypeError) as malformed:
            raise GraphError(400, "Request_BadRequest", "Badly formed token.") from malformed
        if token.kind != kind or self._clock() - token.issued_at > TOKEN_LIFETIME_S:
            raise GraphError(
                410,
                "syncStateNotFound",
                "The sync state generation is not found; start a full synchronization.",
            )
        return token

    def _all(self, kind: str) -> list[dict[str, Any]]:
        if kind == "users":
            return [
                self._user(person)
                for person in self._directory.people.values()
                if not self._past.of(person).deleted
            ]
        return [
            {
                "id": group.id,
                "displayName": group.name,
                "members@delta": [_member(person.id) for person in self._members(group.id)],
            }
            for group in self._directory.groups.values()
        ]

    def _members(self, group_id: str) -> list[Person]:
        seen = ((person, self._past.of(person)) for person in self._directory.people.values())
        return [person for person, then in seen if group_id in then.group_ids and not then.deleted]

    def _changed(self, kind: str, since: int, upto: int) -> list[dict[str, Any]]:
        """The present state of whatever changed: two changes of one object are one entry."""
        entries = [entry for entry in self._log[since:upto] if entry.kind == kind]
        refs = dict.fromkeys(entry.ref for entry in entries)
        if kind == "users":
            return [
                self._changed_user(ref, purged=any(e.purged for e in entries if e.ref == ref))
                for ref in refs
            ]
        return [
            self._changed_group(ref, [entry for entry in entries if entry.ref == ref])
            for ref in refs
        ]

    def _changed_user(self, ref: str, *, purged: bool) -> dict[str, Any]:
        person = self._directory.people.get(ref)
        if person is None or self._past.of(person).deleted:
            return {"id": ref, "@removed": {"reason": "deleted" if purged else "changed"}}
        return self._user(person)

    def _user(self, person: Person) -> dict[str, Any]:
        return {
            "id": person.id,
            "accountEnabled": self._past.of(person).status is Status.ACTIVE,
            "displayName": person.name,
            "userPrincipalName": person.email,
            "mail": person.email,
        }

    def _changed_group(self, ref: str, entries: list[_Entry]) -> dict[str, Any]:
        group = self._directory.groups.get(ref)
        if group is None:
            return {"id": ref, "@removed": {"reason": "deleted"}}
        present = {person.id for person in self._members(ref)}
        members = dict.fromkeys(entry.member for entry in entries if entry.member)
        changes = [
            _member(oid) if oid in present else {**_member(oid), "@removed": {"reason": "deleted"}}
            for oid in members
        ]
        # Only what changed need come ("Use delta query to track changes"), and then a name that did
        # not is left out.
        name = {"displayName": group.name} if any(entry.renamed for entry in entries) else {}
        return {"id": ref, **name, "members@delta": changes}


def _member(oid: str) -> dict[str, Any]:
    return {"@odata.type": "#microsoft.graph.user", "id": oid}
