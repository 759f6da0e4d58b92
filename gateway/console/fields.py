"""Fields of a form and the part of a document that each of them is: how it is written into inputs,
and read from what comes back. Pure.

Rules:
- No secret is written into an input: an empty one keeps what is stored.
- What cannot be read as the field's type goes into the document as it was typed, for the admin
  API's own error beside the field.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

STORED: Final = "***"
"""How the API shows a secret, and is told to keep it."""


class Kind(StrEnum):
    """``several``: any number of the options; ``lines``: one text a line; ``names``: any, or one a
    line; ``pairs``: ``name`` + ``between`` + ``value``, one a line; ``json``: a nested value.
    """

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    SWITCH = "switch"
    CHOICE = "choice"
    SEVERAL = "several"
    LINES = "lines"
    NAMES = "names"
    PAIRS = "pairs"
    JSON = "json"
    SECRET = "secret"
    SECRETS = "secrets"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Field:
    """``path`` within the part of the document that the form is of. ``empty``: what stands in the
    document where nothing is typed. ``options``: value and label. ``between``: of a pair.
    """

    path: str
    label: str
    kind: Kind = Kind.TEXT
    help: str = ""
    empty: object = None
    options: tuple[tuple[str, str], ...] = ()
    between: str = ": "
    required: bool = False

    @property
    def id(self) -> str:
        """Of the input, for labels and links."""
        return "field-" + re.sub(r"[^a-zA-Z0-9]+", "-", self.path)


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What the API says is wrong. ``of``: by path of the field; ``rest``: of none of them."""

    of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rest: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.of or self.rest)


def page_number(text: str) -> int:
    """Of a page of a long list; 1 for what is none."""
    is_number = len(text) <= 4 and text.isascii() and text.isdecimal()
    return max(int(text), 1) if is_number else 1


def get(document: Any, path: str) -> Any:
    """None where something on the way is not there."""
    for name in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def put(document: dict[str, Any], path: str, value: object) -> None:
    """Makes what is missing on the way."""
    *way, last = path.split(".")
    for name in way:
        if not isinstance(document.get(name), dict):
            document[name] = {}
        document = document[name]
    document[last] = value


def values_of(fields: Iterable[Field], document: Any) -> dict[str, str]:
    """Name of an input → what stands in it. ``PATH.any``: of names; ``PATH.OPTION``: of several;
    ``PATH.stored``: how many secrets there are.
    """
    values: dict[str, str] = {}
    for one in fields:
        value = get(document, one.path)
        match one.kind:
            case Kind.SECRET:
                values[f"{one.path}.stored"] = "1" if value else ""
            case Kind.SECRETS:
                values[f"{one.path}.stored"] = str(len(value)) if value else ""
            case Kind.FILE:
                pass
            case Kind.SEVERAL:
                for option, _ in one.options:
                    values[f"{one.path}.{option}"] = "1" if option in (value or ()) else ""
            case Kind.NAMES:
                everybody = value is None or value == "any"
                values[f"{one.path}.any"] = "1" if everybody else ""
                values[one.path] = "" if everybody else _lines(value)
            case _:
                values[one.path] = _text(one, value)
    return values


def _text(one: Field, value: Any) -> str:
    match one.kind:
        case Kind.SWITCH:
            return "1" if value else ""
        case Kind.LINES:
            return _lines(value or ())
        case Kind.PAIRS:
            pairs = value.items() if isinstance(value, dict) else ()
            return "\n".join(
                f"{k}{one.between}{v if isinstance(v, str) else json.dumps(v)}" for k, v in pairs
            )
        case Kind.JSON:
            return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
        case _:
            return "" if value is None else str(value)


def _lines(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return "\n".join(sorted(texts) if isinstance(values, set | frozenset) else texts)


def written(
    fields: Iterable[Field], base: Mapping[str, Any], form: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The document with what the form says, and what could not be read at all, by path."""
    document: dict[str, Any] = copy.deepcopy(dict(base))
    unread: dict[str, list[str]] = {}
    for one in fields:
        typed = form.get(one.path, "").replace("\r\n", "\n")
        try:
            value = _read(one, typed, form, get(base, one.path))
        except ValueError as error:
            unread[one.path] = [str(error)]
        else:
            put(document, one.path, value)
    return document, unread


def _read(one: Field, typed: str, form: Mapping[str, str], stored: Any) -> Any:
    match one.kind:
        case Kind.SWITCH:
            return bool(typed)
        case Kind.NAMES:
            return "any" if form.get(f"{one.path}.any") else lines(typed)
        case Kind.SEVERAL:
            return [option for option, _ in one.options if form.get(f"{one.path}.{option}")]
        case Kind.LINES:
            return lines(typed) or one.empty
        case Kind.PAIRS:
            return dict(_pairs(one, typed))
        case Kind.JSON:
            return _json(typed) if typed.strip() else one.empty
        case Kind.SECRET | Kind.SECRETS:
            return _secret(one, typed, stored, removed=bool(form.get(f"{one.path}.remove")))
        case Kind.FILE:
            return typed or one.empty
        case Kind.NUMBER:
            text = typed.strip()
            return int(text) if re.fullmatch(r"-?[0-9]{1,12}", text) else text or one.empty
        case _:
            return typed.strip() or one.empty


def _secret(one: Field, typed: str, stored: Any, *, removed: bool) -> Any:
    if one.kind is Kind.SECRET:
        return typed.strip() or (one.empty if removed or not stored else STORED)
    return lines(typed) or ([] if removed or not stored else [STORED for _ in stored])


def lines(typed: str) -> list[str]:
    """One text a line; blank lines are none."""
    return [text for line in typed.split("\n") if (text := line.strip())]


def _pairs(one: Field, typed: str) -> Iterator[tuple[str, Any]]:
    for line in lines(typed):
        # The name of a header has no colon; that of a group may hold what stands between.
        name, between, value = (
            line.partition(":") if one.between == ": " else line.rpartition(one.between.strip())
        )
        if not between:
            msg = f"{line[:80]}: NAME{one.between}VALUE, one a line"
            raise ValueError(msg)
        value = value.strip()
        yield name.strip(), _json(value) if value.startswith("{") else value


def _json(typed: str) -> Any:
    try:
        return json.loads(typed)
    except (ValueError, RecursionError):
        msg = "not JSON"
        raise ValueError(msg) from None


_LEADING: Final = re.compile(r"[a-z_]+(?:\.[A-Za-z0-9_-]+)*")


def placed(
    paths: Iterable[str],
    errors: Iterable[Mapping[str, str]],
    detail: str,
    *,
    prefixes: Sequence[str] = (),
) -> Mistakes:
    """The API's ``errors`` (``where``, ``problem``), each beside the field that it is about.
    ``prefixes``: how the API writes where in the document the form's part stands, with a dot at the
    end. Without errors, ``detail`` is what is wrong.
    """
    field_paths = sorted(paths, key=len, reverse=True)
    by_field: dict[str, list[str]] = {}
    rest: list[str] = []
    problems = [(str(e.get("where", "")), str(e.get("problem", ""))) for e in errors] or [
        ("", detail)
    ]
    for where, problem in problems:
        spoken = _LEADING.match(problem)
        for place in (where, f"{where}.{spoken[0]}" if spoken else "", spoken[0] if spoken else ""):
            within = _within(place, prefixes)
            path = _field_of(field_paths, within) if within else None
            if path is not None:
                part = within[len(path) + 1 :]
                by_field.setdefault(path, []).append(f"{_item(part)}{problem}")
                break
        else:
            rest.append(f"{where}: {problem}" if where and not where.startswith("(") else problem)
    return Mistakes(by_field, rest)


def _within(place: str, prefixes: Sequence[str]) -> str:
    return next((place.removeprefix(p) for p in prefixes if place.startswith(p)), place)


def _field_of(known: Iterable[str], place: str) -> str | None:
    return next((p for p in known if place == p or place.startswith(f"{p}.")), None)


def _item(part: str) -> str:
    """Which of several; they count from 0, people from 1."""
    first = part.partition(".")[0]
    return f"{int(first) + 1}: " if first.isdecimal() else ""
