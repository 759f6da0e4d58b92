"""SCIM filters and attribute paths (RFC 7644 §3.4.2.2, §3.5.2): text becomes a tree, and a tree
holds for a value or not.

Rules:
- All operators, ``and``, ``or``, ``not``, parentheses and ``attribute[filter].sub``. Operators and
  names are read without regard to case, a value may lack its quotes (authentik). A schema URN
  before a name is left out: names are looked for in the resource and its extensions.
- What is not understood, or has no meaning (``gt`` of a boolean), is ``invalidFilter``, never
  "matches nothing".
- Text compares without case, as the published schemas say; ``id`` and ``externalId`` do not (GUIDs
  apart). A multi-valued attribute holds where one of its entries does, and an entry without a named
  part is compared by its ``value``.
- ``ne`` is the opposite of ``eq``, also where nothing is there; ``eq null`` says that nothing is
  there.
- Whatever is sent, it is cut up once, from left to right; its length, its terms and its depth are
  bounded. What it makes of long resources is bounded by a ``Budget``: a hundred terms on twenty
  thousand members are two million comparisons.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.canonical import canonical_id
from gateway.hooks.event import DeliveryRejectedError, EntryError, RejectionReason, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_EXPRESSION = 4096
"""Characters of a path or a filter: room for two names of the greatest length, or eighty ids."""
MAX_TERMS = 100
MAX_DEPTH = 8
"""Parentheses and brackets inside one another."""
_NAME = re.compile(r"[A-Za-z$][\w$-]{0,255}")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.){0,1024}+"?|[()\[\]]|[^\s()\[\]"]{1,1024}')
"""A text that does not end is a token too: it is no JSON string, and is not read twice."""
_OPERATORS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_EXACT = frozenset({"id", "externalid"})

Value = str | bool | int | float | None
Attribute = tuple[str, ...]
"""Lower case: the name, then the sub-attribute where there is one."""


class ScimError(DeliveryRejectedError):
    """400 with a ``scimType`` of RFC 7644 §3.12."""

    def __init__(self, scim_type: str, message: str) -> None:
        super().__init__(RejectionReason.MALFORMED, message)
        self.scim_type = scim_type


@dataclass(slots=True)
class Budget:
    """How many names and values may still be compared: about a million in a second of one
    processor.
    """

    left: int

    def look(self, entries: int) -> None:
        """Raises ``ScimError`` (``tooMany``) beyond that."""
        self.left -= entries
        if self.left < 0:
            msg = "tooMany"
            raise ScimError(
                msg,
                (
                    "too many values would have to be compared: use fewer terms, or send fewer "
                    "operations at once"
                ),
            )


@dataclass(frozen=True, slots=True)
class Term:
    """``attribute operator value``; for ``pr`` the value is None."""

    attribute: Attribute
    operator: str
    value: Value = None


@dataclass(frozen=True, slots=True)
class Not:
    inner: Expression


@dataclass(frozen=True, slots=True)
class AllOf:
    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a multi-valued attribute for which ``inner`` holds."""

    attribute: Attribute
    inner: Expression


Expression = Term | Not | AllOf | AnyOf | Entry


@dataclass(frozen=True, slots=True)
class Filter:
    """A whole filter. ``terms``: how many comparisons it makes."""

    expression: Expression
    terms: int

    def holds(self, value: object, budget: Budget) -> bool:
        """Raises ``ScimError`` (``tooMany``) where nothing is left of ``budget``."""
        return isinstance(value, dict) and _holds(self.expression, value, budget)

    @property
    def values(self) -> tuple[str, ...]:
        """What the entries that hold are called, where the filter names them by ``value`` and by
        nothing else; () elsewhere.
        """
        terms = self.expression.of if isinstance(self.expression, AnyOf) else (self.expression,)
        values = tuple(
            t.value
            for t in terms
            if isinstance(t, Term)
            and (t.attribute, t.operator) == (("value",), "eq")
            and isinstance(t.value, str)
        )
        return values if len(values) == len(terms) else ()

    @property
    def equalities(self) -> dict[str, Value]:
        """The entry that this filter describes, where it is nothing but ``name eq value`` joined by
        ``and``; else empty.
        """
        terms = self.expression.of if isinstance(self.expression, AllOf) else (self.expression,)
        pairs = {
            t.attribute[0]: t.value
            for t in terms
            if isinstance(t, Term)
            and t.operator == "eq"
            and len(t.attribute) == 1
            and t.value is not None
        }
        return dict(pairs) if len(pairs) == len(terms) else {}


@dataclass(frozen=True, slots=True)
class Path:
    """Where an operation points; names as they were sent."""

    attribute: str
    filter: Filter | None = None
    sub: str | None = None


def parse_filter(expression: str) -> Filter:
    """Raises ``ScimError`` (``invalidFilter``) for what is not understood."""
    reader = _Reader(_tokens(expression, "invalidFilter"))
    tree = reader.expression(MAX_DEPTH)
    if reader.token is not None:
        raise _invalid(reader.token)
    return Filter(tree, reader.terms)


def parse_path(text: str) -> Path:
    """``attribute``, ``attribute.sub``, ``attribute[filter]`` or ``attribute[filter].sub``. Raises
    ``ScimError`` (``invalidPath``, ``invalidFilter``).
    """
    reader = _Reader(_tokens(text, "invalidPath"))
    name, _, sub = _without_schema(reader.take() or "").partition(".")
    value_filter = None
    if not sub and reader.token == "[":
        reader.take()
        value_filter = Filter(reader.expression(MAX_DEPTH), reader.terms)
        reader.expect("]")
        rest = reader.take()
        sub = "" if rest is None else rest[1:] if rest[0] == "." else "?"
    if reader.token is not None or not _NAME.fullmatch(name) or (sub and not _NAME.fullmatch(sub)):
        msg = "invalidPath"
        raise ScimError(msg, "path is not attribute[filter].sub")
    return Path(name, value_filter, sub or None)


def _tokens(text: str, scim_type: str) -> list[str]:
    """Quoted texts, brackets and words; every character but blanks is part of one."""
    if len(text) > MAX_EXPRESSION:
        raise ScimError(scim_type, f"a filter or path has at most {MAX_EXPRESSION} characters")
    tokens: list[str] = []
    at = 0
    for match in _TOKEN.finditer(text):
        if text[at : match.start()].strip():
            break
        tokens.append(match[0])
        at = match.end()
    if text[at:].strip():
        raise ScimError(scim_type, "a filter or path cannot be read")
    return tokens


def _invalid(what: object) -> ScimError:
    return ScimError("invalidFilter", f"not expected in a filter: {str(what)[:40]}")


class _Reader:
    """Recursive descent, at most ``MAX_DEPTH`` deep."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self.terms = 0

    @property
    def token(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def take(self) -> str | None:
        token = self.token
        self._at += token is not None
        return token

    def expect(self, token: str) -> None:
        if (next_token := self.take()) != token:
            raise _invalid(next_token)

    def _word(self, word: str) -> bool:
        if self.token is None or self.token.lower() != word:
            return False
        self.take()
        return True

    def expression(self, depth: int) -> Expression:
        """``and`` binds before ``or`` (RFC 7644 §3.4.2.2)."""
        if not depth:
            msg = "invalidFilter"
            raise ScimError(
                msg, f"more than {MAX_DEPTH} parentheses and brackets inside one another"
            )
        return self._joined(
            "or", lambda: self._joined("and", lambda: self._one(depth), AllOf), AnyOf
        )

    def _joined(
        self, word: str, read: Callable[[], Expression], kind: type[AllOf | AnyOf]
    ) -> Expression:
        expressions = [read()]
        while self._word(word):
            expressions.append(read())
        return expressions[0] if len(expressions) == 1 else kind(tuple(expressions))

    def _one(self, depth: int) -> Expression:
        negated = self._word("not")
        if self.token == "(":
            self.take()
            inner = self.expression(depth - 1)
            self.expect(")")
            return Not(inner) if negated else inner
        if negated:
            raise _invalid(self.token)
        attribute = _attribute(self.take())
        if self.token != "[":
            return self._term(attribute)
        self.take()
        inner = self.expression(depth - 1)
        self.expect("]")
        if not (self.token or "").startswith("."):
            return Entry(attribute, inner)
        part = _attribute(str(self.take())[1:])
        return Entry(attribute, AllOf((inner, self._term(part))))

    def _term(self, attribute: Attribute) -> Term:
        self.terms += 1
        if self.terms > MAX_TERMS:
            msg = "invalidFilter"
            raise ScimError(msg, f"a filter has at most {MAX_TERMS} terms")
        operator = (self.take() or "").lower()
        if operator == "pr":
            return Term(attribute, operator)
        value = _value(self.take())
        ordered, text = operator in {"gt", "ge", "lt", "le"}, operator in {"co", "sw", "ew"}
        if (
            operator not in _OPERATORS
            or (ordered and (value is None or isinstance(value, bool)))
            or (text and not isinstance(value, str))
        ):
            raise _invalid(f"{operator} {value}")
        return Term(attribute, operator, value)


def _attribute(token: str | None) -> Attribute:
    names = tuple(_without_schema((token or "").lower()).split("."))
    if len(names) > 2 or not all(_NAME.fullmatch(name) for name in names):
        raise _invalid(token)
    return names


def _value(token: str | None) -> Value:
    if token is None or token in "()[]":
        raise _invalid(token)
    if token[0] != '"':
        word = token.lower()
        if word in {"true", "false", "null"}:
            return {"true": True, "false": False}.get(word)
        return token
    try:
        value = json.loads(token)
    except ValueError as error:
        raise _invalid("a value that is not a JSON string") from error
    return str(value)


def _without_schema(text: str) -> str:
    """An attribute name without the schema URN before it."""
    return text if text[:4].lower() != "urn:" else text[text.rfind(":") + 1 :]


# --- whether it holds ---


def _holds(expression: Expression, value: dict[str, Any], budget: Budget) -> bool:
    match expression:
        case AllOf(of):
            return all(_holds(one, value, budget) for one in of)
        case AnyOf(of):
            return any(_holds(one, value, budget) for one in of)
        case Not(inner):
            return not _holds(inner, value, budget)
        case Entry(attribute, inner):
            return any(
                _holds(inner, one if isinstance(one, dict) else {"value": one}, budget)
                for one in _found(value, attribute, budget)
            )
        case Term():
            return _compares(expression, value, budget)


def _compares(term: Term, value: dict[str, Any], budget: Budget) -> bool:
    values = [
        one for entry in _found(value, term.attribute, budget) if (one := _plain(entry)) is not None
    ]
    exact = term.attribute[-1] in _EXACT
    match term.operator:
        case "pr":
            return any(one not in ("", [], {}) for one in values)
        case "eq":
            return (
                not values
                if term.value is None
                else any(_equal(one, term.value, exact=exact) for one in values)
            )
        case "ne":
            return (
                bool(values)
                if term.value is None
                else not any(_equal(one, term.value, exact=exact) for one in values)
            )
        case "co" | "sw" | "ew":
            operand = str(term.value) if exact else str(term.value).casefold()
            texts = (one if exact else one.casefold() for one in values if isinstance(one, str))
            return any(
                {"co": operand in one, "sw": one.startswith(operand), "ew": one.endswith(operand)}[
                    term.operator
                ]
                for one in texts
            )
        case _:
            return any(_ordered(term.operator, one, term.value) for one in values)


def _found(value: dict[str, Any], attribute: Attribute, budget: Budget) -> list[object]:
    """What an attribute names: the entries of multi-valued ones one by one."""
    entries: list[object] = [
        value,
        *(one for name, one in value.items() if name[:4].lower() == "urn:"),
    ]
    for name in attribute:
        budget.look(sum(len(one) for one in entries if isinstance(one, dict)))
        parts = [
            one[key]
            for one in entries
            if isinstance(one, dict)
            for key in one
            if key.lower() == name
        ]
        entries = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    budget.look(len(entries))
    return entries


def _plain(entry: object) -> object:
    """An entry of a multi-valued attribute is compared by its ``value`` (RFC 7643 §2.4)."""
    return (
        next((entry[key] for key in entry if key.lower() == "value"), entry)
        if isinstance(entry, dict)
        else entry
    )


def _equal(found: object, wanted: Value, *, exact: bool) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(found, str):
        return (
            canonical_id(found) == canonical_id(str(wanted))
            if exact
            else found.casefold() == str(wanted).casefold()
        )
    number = _number(wanted)
    return isinstance(found, int | float) and number is not None and found == number


def _ordered(operator: str, found: object, wanted: Value) -> bool:
    pair: tuple[Any, Any] | None = None
    if isinstance(found, str):
        at = moment(wanted)
        pair = (
            (found.casefold(), str(wanted).casefold())
            if at is None
            else (then, at)
            if (then := moment(found)) is not None
            else None
        )
    elif (
        isinstance(found, int | float)
        and not isinstance(found, bool)
        and (number := _number(wanted)) is not None
    ):
        pair = found, number
    if pair is None:
        return False
    left, right = pair
    return bool(
        {"gt": left > right, "ge": left >= right, "lt": left < right, "le": left <= right}[operator]
    )


def _number(value: Value) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def moment(value: object) -> float | None:
    """UTC epoch seconds of a dateTime (RFC 7643 §2.3.5); None for other values."""
    try:
        return rfc3339(value, "value")
    except EntryError:
        return None
