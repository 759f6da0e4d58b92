"""Writes docs/operator/logs.md: events, levels and fields from the log calls of the code, words
from logs.yaml beside it.

``python -m tests.docs.log_events`` writes; ``test_log_events`` fails while the committed file
differs, and for an event that has no words or is no longer logged.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.log import FIELDS
from tests.support.source import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
WORDS = ROOT / "docs" / "operator" / "logs.yaml"
TARGET = ROOT / "docs" / "operator" / "logs.md"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class Given:
    """An event that is an argument, with its levels (None: an argument too, ``logging.ERROR``) and
    the fields that whoever is called adds.
    """

    levels: tuple[str, ...] | None
    fields: tuple[str, ...] = ()
    open: bool = False
    """Whether its fields are given later; else the call names the others."""


CARRIERS: Final[Mapping[str, Mapping[int | str, Given]]] = {
    "fault": {0: Given(("error",), ("error",))},
    "in_rounds": {
        "unavailable": Given(("warning",), ("error",)),
        "failed": Given(("error",), ("error",)),
    },
    "Throttled": {2: Given(None, ("held_back",), open=True)},
    "Troubles": {
        0: Given(("warning", "error"), ("error", "primary")),
        1: Given(("info",), ("primary",)),
    },
    "Unopened": {"event": Given(("error",), ("error", "held_back", "revocation", "tenant"))},
    "_tell": {0: Given(("error",), ("listener",))},
    "JsonEvent": {0: Given(("info",), open=True)},
    "LogRecord": {4: Given(None, open=True)},
}
"""By the name that is called. A log call with an event that is no text stands within one of them,
or is none of these.
"""


@dataclass(slots=True)
class Event:
    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    open: bool = False
    """Whether some fields are only known when it is logged."""


class UnreadableError(Exception):
    """A log call whose event cannot be read off the code."""


@cache
def events() -> dict[str, Event]:
    """Every event that the gateway can log. Raises ``UnreadableError`` with the place."""
    return read(ROOT)


def read(root: Path) -> dict[str, Event]:
    """Of the package ``gateway`` in ``root``, as ``events``."""
    found: dict[str, Event] = {}
    for path in sorted((root / "gateway").rglob("*.py")):
        for name, levels, fields, is_open in _Reader(path).read():
            event = found.setdefault(name, Event())
            event.levels |= levels
            event.fields |= fields
            event.open |= is_open
    return found


_Found = tuple[str, set[str], set[str], bool]


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._within: list[ast.AST] = []

    def read(self) -> Iterator[_Found]:
        yield from self._visit(parsed(self._path))

    def _visit(self, node: ast.AST) -> Iterator[_Found]:
        self._within.append(node)
        if isinstance(node, ast.Call):
            yield from self._call(node)
        elif (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]).startswith("(record.msg")
            and isinstance(node.value, ast.Tuple)
        ):
            yield _texts(node.value.elts[0])[0], {"warning"}, {"error"}, False
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child)
        self._within.pop()

    def _call(self, call: ast.Call) -> Iterator[_Found]:
        called = call.func.attr if isinstance(call.func, ast.Attribute) else _name(call.func)
        if isinstance(call.func, ast.Attribute) and _is_logger(call.func.value):
            yield from self._logged(call, called)
        elif called in CARRIERS and not self._defines(called):
            named = {k.arg: k.value for k in call.keywords if k.arg is not None}
            own = {k for given in CARRIERS.values() for k in given if isinstance(k, str)}
            for place, given in CARRIERS[called].items():
                argument = (
                    named.get(place)
                    if isinstance(place, str)
                    else call.args[place]
                    if place < len(call.args)
                    else None
                )
                for text in _texts(argument):
                    levels = _levels(call.args[1]) if given.levels is None else {*given.levels}
                    more = set() if given.open else {*self._keywords(call)} - own - {"pause_s"}
                    yield text, levels, more | {*given.fields}, given.open or _unpacks(call)

    def _logged(self, call: ast.Call, method: str) -> Iterator[_Found]:
        if method not in {*LEVELS, "exception", "log"}:
            return
        at = 1 if method == "log" else 0
        texts = _texts(call.args[at])
        if not texts and not any(self._defines(name) for name in CARRIERS):
            raise UnreadableError(f"{self._path}:{call.lineno}: {ast.unparse(call)}")
        levels = (
            self._levels_of(call.args[0])
            if method == "log"
            else {"error" if method == "exception" else method}
        )
        extra = next((k.value for k in call.keywords if k.arg == "extra"), None)
        fields = set(self._keywords(extra)) if isinstance(extra, ast.Call) else set()
        traced = method == "exception" or any(k.arg == "exc_info" for k in call.keywords)
        is_open = isinstance(extra, ast.Call) and _unpacks(extra)
        choice = call.args[at], call.args[0]
        for text in texts:
            if all(isinstance(one, ast.IfExp) for one in choice) and at:
                # One condition chooses both.
                branch = "body" if text in _texts(call.args[at].body) else "orelse"  # type: ignore[attr-defined]
                levels = _levels(getattr(call.args[0], branch))
            yield text, levels, fields | ({"error"} if traced else set()), is_open

    def _keywords(self, call: ast.Call) -> Iterator[str]:
        for keyword in call.keywords:
            if keyword.arg is not None:
                yield keyword.arg
            else:
                for part in ast.walk(keyword.value):
                    if isinstance(part, ast.Dict):
                        yield from (
                            key.value
                            for key in part.keys
                            if isinstance(key, ast.Constant) and isinstance(key.value, str)
                        )

    def _levels_of(self, level: ast.expr) -> set[str]:
        """Of an expression, or of whatever the name is given in the same function."""
        found = _levels(level)
        if found or not isinstance(level, ast.Name):
            return found
        function = next(
            n
            for n in reversed(self._within)
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and level.id in {
                name.id
                for target in node.targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }:
                found |= _levels(node.value)
        return found

    def _defines(self, name: str) -> bool:
        return any(
            getattr(node, "name", "") == name
            for node in self._within
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        )


def _unpacks(call: ast.Call) -> bool:
    """Whether it is given fields that do not stand in it."""
    return any(
        k.arg is None and not isinstance(k.value, ast.Dict | ast.IfExp) for k in call.keywords
    )


def _is_logger(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) == "logging.getLogger"
    return _name(node).lower().strip("_") == "log"


def _name(node: ast.AST) -> str:
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )


def _texts(node: ast.AST | None) -> list[str]:
    """The texts that an argument may be; none where that cannot be told."""
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _levels(node: ast.AST) -> set[str]:
    return {
        part.attr.lower()
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and part.attr.lower() in LEVELS and part.attr.isupper()
    }


def render() -> str:
    """The whole page."""
    words: dict[str, Any] = yaml.safe_load(WORDS.read_text("utf-8"))
    known, out = events(), [_HEAD]
    for names, meaning in words["fields"].items():
        out.append(f"| {_code(names.split(', '))} | {meaning} |\n")
    for section in words["sections"]:
        out.append(f"\n## {section['title']}\n")
        if text := section.get("text"):
            out.append("\n" + textwrap.fill(text, 120) + "\n")
        out.append(_TABLE)
        for name, told in section["events"].items():
            event = known.get(name, Event())
            levels = {*event.levels, *told.get("levels", ())}
            fields = sorted({*event.fields, *told.get("fields", ())}, key=_order)
            cells = (
                f"`{name}`",
                ", ".join(level for level in LEVELS if level in levels),
                _code(fields) or "–",
                told["means"],
                told["do"] if told["do"] != "Nothing." else "–",
            )
            out.append(f"| {' | '.join(cells)} |\n")
    return "".join(out)


_HEAD = """# Log events

Every line of the log is one event: a JSON object with `time`, `level`, `event` and the fields
below, or readable text on a terminal (`log.format`). [Metrics, health checks and
logs](metrics.md#logs) says what is never logged.

This page names every event that the gateway can log. `scripts/reference` writes it from the code
and `logs.yaml`. Empty fields are left out.

## Find why a request failed

The error page shows the last 8 characters of the request ID, and all of it under "Technical
details". Search the log for either: `request_id` ends with it. The `check` or
`http_request` line says `reason`, and for a login also `code`, `cause` and `setting`. Other events
of that request have the same number.

## Fields

| field | meaning |
|---|---|
"""
_TABLE = """
| event | level | fields | what it means | what to do |
|---|---|---|---|---|
"""


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _order(name: str) -> tuple[int, str]:
    """As in the line."""
    return FIELDS.index(name) if name in FIELDS else len(FIELDS), name


def main() -> None:
    TARGET.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
