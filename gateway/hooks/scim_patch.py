"""SCIM PATCH (RFC 7644 §3.5.2) on a plain document, in the dialects that identity providers really send.

Rules:
- ``op``, attribute names and schema URNs are case-insensitive; ``op`` comes capitalised from Entra.
- A path is ``attribute``, ``attribute.sub``, ``attribute[filter]`` or ``attribute[filter].sub``; no path merges the value into the resource.
- A filter is one or more ``name eq "value"`` joined by ``and``. Anything else is ``invalidFilter``, never "matches nothing".
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import Any

from gateway.hooks.event import EntryError, HookRefusedError, Refusal, items, mapping

MAX_OPERATIONS = 1000
_PATH = re.compile(r"(?P<attribute>[A-Za-z$][\w$-]*)(?:\[(?P<filter>[^\]]{1,512})\])?(?:\.(?P<sub>[A-Za-z$][\w$-]*))?")
_TERM = re.compile(r'(?P<name>[A-Za-z$][\w$.-]*)\s+eq\s+(?P<value>"(?:[^"\\]|\\.){0,1024}"|true|false)', re.IGNORECASE)
_SCHEMA = re.compile(r"urn:[\w.:-]+:(?=[A-Za-z$][\w$-]*(?:[\[.]|$))", re.IGNORECASE)


class ScimError(HookRefusedError):
    """400 with a ``scimType`` of RFC 7644 §3.12."""

    def __init__(self, scim_type: str, message: str) -> None:
        super().__init__(Refusal.MALFORMED, message)
        self.scim_type = scim_type


@dataclass(frozen=True, slots=True)
class Filter:
    """``name eq value`` terms, all of which must hold; names lower case."""

    terms: tuple[tuple[str, str | bool], ...]

    def holds(self, value: object) -> bool:
        return isinstance(value, dict) and all(_equal(_member(value, name), wanted) for name, wanted in self.terms)


def parse_filter(expression: str) -> Filter:
    """Raises ``ScimError`` (``invalidFilter``) for what is not understood."""
    terms: list[tuple[str, str | bool]] = []
    rest = expression.strip()
    while True:
        rest = _SCHEMA.sub("", rest, count=1) if rest.lower().startswith("urn:") else rest
        match = _TERM.match(rest)
        if match is None:
            msg = "invalidFilter"
            raise ScimError(msg, "only name eq value, joined by and")
        try:
            value = json.loads(match["value"].lower() if match["value"][0] != '"' else match["value"])
        except ValueError as error:
            msg = "invalidFilter"
            raise ScimError(msg, "a value is not a JSON string") from error
        terms.append((match["name"].lower(), value))
        rest = rest[match.end() :].strip()
        if not rest:
            return Filter(tuple(terms))
        if rest[:4].lower() != "and ":
            msg = "invalidFilter"
            raise ScimError(msg, "only name eq value, joined by and")
        rest = rest[4:].strip()


def apply(document: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The document after all operations; ``ScimError`` if one of them cannot be understood (then none is applied)."""
    result = copy.deepcopy(document)
    try:
        operations = items(body.get(_name(body, "Operations")), "Operations")
    except EntryError as error:
        msg = "invalidSyntax"
        raise ScimError(msg, str(error)) from error
    if not 0 < len(operations) <= MAX_OPERATIONS:
        msg = "invalidSyntax"
        raise ScimError(msg, f"1 to {MAX_OPERATIONS} Operations")
    for operation in operations:
        try:
            one = {k.lower(): v for k, v in mapping(operation, "operation").items()}
        except EntryError as error:
            msg = "invalidSyntax"
            raise ScimError(msg, str(error)) from error
        op = one.get("op")
        op = op.lower() if isinstance(op, str) else ""
        if op not in {"add", "replace", "remove"}:
            msg = "invalidSyntax"
            raise ScimError(msg, "op is add, replace or remove")
        path = one.get("path")
        if path is None or path == "":
            _merge(result, op, one.get("value"))
        elif isinstance(path, str):
            _at(result, op, path, one.get("value"))
        else:
            msg = "invalidPath"
            raise ScimError(msg, "path is not a string")
    return result


def _merge(document: dict[str, Any], op: str, value: object) -> None:
    if op == "remove" or not isinstance(value, dict):
        msg = "noTarget"
        raise ScimError(msg, "without a path the value is an object, and remove needs a path")
    for name, one in value.items():
        if name.lower() == "schemas":
            continue
        if _SCHEMA.sub("", name) == name and name.lower().startswith("urn:"):
            # A whole extension: kept as it is, nothing here reads it.
            document[_name(document, name)] = one
        else:
            _at(document, op, name, one)


def _at(document: dict[str, Any], op: str, path: str, value: object) -> None:
    match = _PATH.fullmatch(_SCHEMA.sub("", path.strip(), count=1))
    if match is None:
        msg = "invalidPath"
        raise ScimError(msg, "path is not attribute[filter].sub")
    name = _name(document, match["attribute"])
    if match["filter"] is not None:
        _filtered(document, name, op=op, found=parse_filter(match["filter"]), sub=match["sub"], value=value)
    elif match["sub"] is not None:
        holder = document.get(name)
        holder = holder if isinstance(holder, dict) else {}
        if op == "remove":
            holder.pop(_name(holder, match["sub"]), None)
        else:
            holder[_name(holder, match["sub"])] = value
        document[name] = holder
    elif op == "remove":
        _remove(document, name, value)
    elif op == "add" and isinstance(document.get(name), list):
        document[name] = _union(document[name], value if isinstance(value, list) else [value])
    else:
        document[name] = value


def _remove(document: dict[str, Any], name: str, value: object) -> None:
    """Entra removes members by value beside the path; without a value the attribute goes."""
    present = document.get(name)
    if value is None or value == [] or not isinstance(present, list):
        document.pop(name, None)
        return
    gone = {_identity(v) for v in (value if isinstance(value, list) else [value])}
    document[name] = [v for v in present if _identity(v) not in gone]


def _filtered(document: dict[str, Any], name: str, *, op: str, found: Filter, sub: str | None, value: object) -> None:
    present = document.get(name)
    present = present if isinstance(present, list) else []
    if op == "remove" and sub is None:
        document[name] = [v for v in present if not found.holds(v)]
        return
    targets = [v for v in present if found.holds(v)]
    if not targets and op != "remove":
        # Entra writes emails[type eq "work"].value to resources that have none yet.
        targets = [dict(found.terms)]
        present = [*present, *targets]
    for target in targets:
        if sub is None and isinstance(value, dict):
            target.update(value)
        elif sub is not None and op == "remove":
            target.pop(_name(target, sub), None)
        elif sub is not None:
            target[_name(target, sub)] = value
    document[name] = present


def _union(present: list[Any], more: list[Any]) -> list[Any]:
    known = {_identity(v) for v in present}
    return [*present, *(v for v in more if _identity(v) not in known)]


def _identity(value: object) -> str:
    """What makes two entries of a multi-valued attribute the same: their ``value``, else all of them."""
    one = value.get(_name(value, "value"), value) if isinstance(value, dict) else value
    return json.dumps(one, sort_keys=True, default=str)


def _name(document: dict[str, Any], name: str) -> str:
    """The spelling that the document already uses."""
    return next((k for k in document if k.lower() == name.lower()), name)


def _member(value: dict[str, Any], name: str) -> object:
    found: object = value
    for part in name.split("."):
        found = found.get(_name(found, part)) if isinstance(found, dict) else None
    return found


def _equal(found: object, wanted: str | bool) -> bool:  # noqa: FBT001 - a JSON value, not a switch
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    return isinstance(found, str) and found.lower() == wanted.lower()
