"""SCIM PATCH (RFC 7644 §3.5.2) on a plain document, in the dialects that identity providers really
send.

Rules:
- ``op``, attribute names and schema URNs are case-insensitive; ``op`` comes capitalised from Entra.
- A path is ``attribute``, ``attribute.sub``, ``attribute[filter]`` or ``attribute[filter].sub``; no
  path merges the value into the resource.
- A filter is any of RFC 7644 §3.4.2.2 (``scim_filter``).
- ``remove`` with an empty list removes nothing; without a value it removes the attribute.
- Whatever is sent, the work is linear in its length and in the length of the document: all
  operations together look at no more than ``MAX_LOOKS`` entries.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from gateway.hooks.event import EntryError, items, mapping
from gateway.hooks.scim.filter import MAX_EXPRESSION, Budget, Filter, Path, ScimError, parse_path

MAX_OPERATIONS = 1000
MAX_ATTRIBUTES = 256
"""Names in one object: each is looked up among the others without regard to case."""
MAX_LOOKS = 600_000
"""Names and values that one request may compare: well under a second of one processor, and seven
passes over the largest group.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of ``Operations``. ``path`` None: ``value`` is an object, already cut up into
    ``parts``.
    """

    op: str
    path: Path | None
    value: object
    parts: tuple[tuple[Path, object], ...] = ()
    """Of a value without a path: where each of its attributes goes."""
    extensions: tuple[tuple[str, object], ...] = ()
    """Whole schema extensions, by URN: kept as they are, nothing here reads them."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A whole request, understood before any resource was read."""

    operations: tuple[Operation, ...]

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document after all operations; ``ScimError`` if one of them cannot be done (then none
        is).
        """
        resource = _Resource(dict(document))
        for one in self.operations:
            for name, extension in one.extensions:
                resource.put(name, extension)
            for path, value in ((one.path, one.value),) if one.path is not None else one.parts:
                resource.at(one.op, path, value)
        return resource.finished()

    @property
    def members_removed(self) -> frozenset[str]:
        """Ids in ``remove`` operations, members or not: beside the path (Entra), or in its filter
        (RFC 7644 §3.5.2.2).
        """
        ids: set[str] = set()
        for one in self.operations:
            if (
                one.op != "remove"
                or one.path is None
                or one.path.attribute.lower() != "members"
                or one.path.sub is not None
            ):
                continue
            if one.path.filter is not None:
                ids.update(one.path.filter.values)
            else:
                entries = one.value if isinstance(one.value, list) else [one.value]
                values = (m.get(_name(m, "value")) if isinstance(m, dict) else m for m in entries)
                ids |= {value for value in values if isinstance(value, str)}
        return frozenset(ids)

    def speaks_of(self, attribute: str) -> bool:
        """Whether an operation names this attribute."""
        return any(
            path.attribute.lower() == attribute
            for one in self.operations
            for path in ((one.path,) if one.path is not None else (p for p, _ in one.parts))
        )


def parse_patch(body: dict[str, Any]) -> Patch:
    """A PATCH body; ``ScimError`` for what is not understood."""
    try:
        operations = items(body.get(_name(body, "Operations")), "Operations")
        if not 0 < len(operations) <= MAX_OPERATIONS:
            msg = "invalidSyntax"
            raise ScimError(msg, f"1 to {MAX_OPERATIONS} Operations")
        return Patch(
            tuple(
                _operation({k.lower(): v for k, v in mapping(one, "operation").items()})
                for one in operations
            )
        )
    except EntryError as error:
        msg = "invalidSyntax"
        raise ScimError(msg, str(error)) from error


def _operation(one: dict[str, Any]) -> Operation:
    op = one.get("op")
    op = op.lower() if isinstance(op, str) else ""
    if op not in {"add", "replace", "remove"}:
        msg = "invalidSyntax"
        raise ScimError(msg, "op is add, replace or remove")
    path, value = one.get("path"), one.get("value")
    if path is not None and path != "":
        if not isinstance(path, str):
            msg = "invalidPath"
            raise ScimError(msg, "path is not a string")
        return Operation(op, parse_path(path), value)
    if op == "remove" or not isinstance(value, dict):
        msg = "noTarget"
        raise ScimError(msg, "without a path the value is an object, and remove needs a path")
    if len(value) > MAX_ATTRIBUTES:
        msg = "invalidValue"
        raise ScimError(msg, f"a value has at most {MAX_ATTRIBUTES} attributes")
    attributes = [(name, entry) for name, entry in value.items() if name.lower() != "schemas"]
    whole = [
        (name, entry)
        for name, entry in attributes
        if name[:4].lower() == "urn:" and isinstance(entry, dict) and len(name) <= MAX_EXPRESSION
    ]
    parts = tuple(
        (parse_path(name), entry) for name, entry in attributes if (name, entry) not in whole
    )
    return Operation(op, None, value, parts, tuple(whole))


class _Resource:
    """A document while operations change it. Multi-valued attributes that are changed by value are
    held by value until the end.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._by_value: dict[str, dict[str, Any]] = {}
        self._budget = Budget(MAX_LOOKS)

    def finished(self) -> dict[str, Any]:
        return {
            name: list(self._by_value[name].values()) if name in self._by_value else value
            for name, value in self._document.items()
        }

    def put(self, name: str, value: object) -> None:
        name = self._named(name)
        self._by_value.pop(name, None)
        self._document[name] = copy.deepcopy(value)

    def _named(self, name: str) -> str:
        if name not in self._document:
            self._budget.look(len(self._document))
            name = _name(self._document, name)
        if name not in self._document and len(self._document) >= MAX_ATTRIBUTES:
            msg = "invalidValue"
            raise ScimError(msg, f"a resource has at most {MAX_ATTRIBUTES} attributes")
        return name

    def _values(self, name: str) -> dict[str, Any]:
        """The entries of a multi-valued attribute by what makes them the same, in order."""
        entries = self._by_value.get(name)
        if entries is None:
            present = self._document.get(name)
            present = present if isinstance(present, list) else []
            self._budget.look(len(present))
            entries = self._by_value[name] = {_identity(value): value for value in present}
            self._document.setdefault(name, [])
        return entries

    def _list(self, name: str) -> list[Any]:
        """The entries as a list of our own, to be compared with a filter and changed one by one."""
        by_identity = self._by_value.pop(name, None)
        present = (
            list(by_identity.values()) if by_identity is not None else self._document.get(name)
        )
        present = present if isinstance(present, list) else []
        self._budget.look(len(present))
        entries = [dict(v) if isinstance(v, dict) else v for v in present]
        self._document[name] = entries
        return entries

    def at(self, op: str, path: Path, value: object) -> None:
        name = self._named(path.attribute)
        if path.filter is not None:
            self._filtered(name, op=op, wanted=path.filter, sub=path.sub, value=value)
        elif path.sub is not None:
            holder = self._document.get(name)
            holder = dict(holder) if isinstance(holder, dict) else {}
            if op == "remove":
                holder.pop(_name(holder, path.sub), None)
            else:
                holder[_name(holder, path.sub)] = value
            self.put(name, holder)
        elif op == "remove":
            self._remove(name, value)
        elif op == "add" and isinstance(self._document.get(name), list):
            entries = self._values(name)
            for one in value if isinstance(value, list) else [value]:
                entries.setdefault(_identity(one), copy.deepcopy(one))
        else:
            self.put(name, value)

    def _remove(self, name: str, value: object) -> None:
        """Entra removes members by value beside the path; without a value the attribute goes."""
        if value == []:
            return
        if value is None or not isinstance(self._document.get(name), list):
            self._by_value.pop(name, None)
            self._document.pop(name, None)
            return
        entries = self._values(name)
        for one in value if isinstance(value, list) else [value]:
            entries.pop(_identity(one), None)

    def _filtered(
        self, name: str, *, op: str, wanted: Filter, sub: str | None, value: object
    ) -> None:
        if op == "remove" and sub is None:
            if wanted.values:
                # Members by id: what RFC 7644 §3.5.2.2 shows, and what comes a thousand to a
                # request.
                for one in wanted.values:
                    self._values(name).pop(_identity(one), None)
            else:
                self._document[name] = [
                    v for v in self._list(name) if not wanted.holds(v, self._budget)
                ]
            return
        present = self._list(name)
        targets = [v for v in present if wanted.holds(v, self._budget)]
        if not targets and op != "remove" and wanted.equalities:
            # Entra writes emails[type eq "work"].value to resources that have none yet.
            targets = [dict(wanted.equalities)]
            present += targets
        for target in targets:
            if sub is None and isinstance(value, dict):
                target.update(value)
            elif sub is not None and op == "remove":
                target.pop(_name(target, sub), None)
            elif sub is not None:
                target[_name(target, sub)] = value


def _identity(value: object) -> str:
    """What makes two entries of a multi-valued attribute the same: their ``value``, else all of
    them. Text compares without case.
    """
    one = value.get(_name(value, "value"), value) if isinstance(value, dict) else value
    return (
        f'"{one.lower()}"' if isinstance(one, str) else json.dumps(one, sort_keys=True, default=str)
    )


def _name(document: dict[str, Any], name: str) -> str:
    """The spelling that the document already uses."""
    return (
        name if name in document else next((k for k in document if k.lower() == name.lower()), name)
    )
