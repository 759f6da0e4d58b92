"""Rules as rows of a form: one rule a row, in the order of their numbers. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.console.fields import Mistakes, lines, page_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STEP: Final = 10
"""Between two numbers, so that a rule fits between two others."""
BLANK: Final = 2
"""Rows for more rules."""
MAX_ROWS: Final = 520
"""256 of each kind, and blank ones."""
PAGE: Final = 25
"""Rows at once: 45 kB. What is on other pages goes along in the form, sealed."""
LISTS: Final = ("rules", "shadow_rules")
NEEDS: Final = ("tenant", "groups", "any", "public", "deny")
_OWN: Final = frozenset({"path", "methods", "allow", "groups"})
_DEFAULTS: Final[Mapping[str, Any]] = {
    "roles": "unset",
    "override_tenant_groups": False,
    "bearer": None,
    "browser_sessions": True,
    "hosts": None,
    "identity": {},
    "app_passwords": False,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One rule as it is typed. ``more``: JSON of what has no input of its own."""

    order: str
    path: str = ""
    methods: str = ""
    needs: str = NEEDS[0]
    groups: str = ""
    more: str = ""
    shadow: bool = False
    remove: bool = False

    @property
    def is_blank(self) -> bool:
        return not self.path.strip()


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    """The rules, then the shadow rules. The numbers go on from one list to the other: a row that is
    added, or moved to the other list, stands where it is shown.
    """
    rules = [(name, rule) for name in LISTS for rule in document.get(name) or ()]
    return [
        _row(rule, str((n + 1) * STEP), shadow=name == "shadow_rules")
        for n, (name, rule) in enumerate(rules)
    ]


def blank_rows(rows: Iterable[Row], count: int, *, following: Row | None = None) -> list[Row]:
    """Behind the last of ``rows``, and before ``following``. Where no number is free between them,
    the last one comes again: rows of one number keep their places.
    """
    last = max((_number(row.order) for row in rows), default=0)
    if following is None:
        return [Row(str(last // STEP * STEP + (n + 1) * STEP)) for n in range(count)]
    end = _number(following.order) - 1
    return [Row(str(min(last + n + 1, end))) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Part:
    """Which of ``rows`` one page shows; ``number`` counts from 1."""

    rows: Sequence[Row]
    number: int

    @classmethod
    def of(cls, rows: Sequence[Row], number: str) -> Part:
        """The page with this number; the nearest where there is none."""
        return cls(rows, min(page_number(number), pages_of(rows)))

    @property
    def pages(self) -> int:
        return pages_of(self.rows)

    @property
    def first(self) -> int:
        return (self.number - 1) * PAGE

    @property
    def shown(self) -> list[Row]:
        """With rows for more."""
        own = list(self.rows[self.first : self.first + PAGE])
        return [*own, *self.blank(own, BLANK)]

    def blank(self, rows: Iterable[Row], count: int) -> list[Row]:
        """Before the next page's first row, where there is one."""
        following = next(iter(self.rows[self.first + PAGE :]), None)
        return blank_rows(rows, count, following=following)

    def with_typed(self, typed: Sequence[Row]) -> list[Row]:
        """All rows, with ``typed`` in the place of those that the page showed."""
        return [*self.rows[: self.first], *typed, *self.rows[self.first + PAGE :]]


def pages_of(rows: Sequence[Row]) -> int:
    return max(1, -(-len(rows) // PAGE))


def _row(rule: Mapping[str, Any], order: str, *, shadow: bool) -> Row:
    groups = rule.get("groups", "unset")
    needs = rule.get("allow") or (
        "tenant" if groups == "unset" else "any" if groups in ("any", None) else "groups"
    )
    more = {
        name: value
        for name, value in rule.items()
        if name not in _OWN and value != _DEFAULTS.get(name)
    }
    return Row(
        order,
        str(rule.get("path", "")),
        " ".join(sorted(rule.get("methods") or ())),
        str(needs),
        "\n".join(groups) if needs == "groups" else "",
        json.dumps(more, ensure_ascii=False) if more else "",
        shadow=shadow,
    )


def typed_rows(form: Mapping[str, str]) -> list[Row]:
    count = form.get("rows", "")
    many = min(int(count), MAX_ROWS) if count.isascii() and count.isdecimal() else 0

    def of(number: int, name: str) -> str:
        return form.get(f"rule.{number}.{name}", "").replace("\r\n", "\n")

    return [
        Row(
            of(n, "order").strip(),
            of(n, "path").strip(),
            of(n, "methods").strip(),
            of(n, "needs") if of(n, "needs") in NEEDS else NEEDS[0],
            of(n, "groups"),
            of(n, "more").strip(),
            shadow=bool(of(n, "shadow")),
            remove=bool(of(n, "remove")),
        )
        for n in range(many)
    ]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rows say. ``places``: list and index in it → row; ``unread``: by row."""

    lists: Mapping[str, list[dict[str, Any]]]
    places: Mapping[str, int]
    unread: Mapping[int, Sequence[str]]


def rules_of(rows: Sequence[Row]) -> Rules:
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    places: dict[str, int] = {}
    unread: dict[int, list[str]] = {}
    ordered = sorted(range(len(rows)), key=lambda n: (_number(rows[n].order), n))
    for number in ordered:
        row = rows[number]
        if row.is_blank or row.remove:
            continue
        try:
            rule = _rule(row)
        except ValueError as error:
            unread[number] = [str(error)]
            continue
        name = LISTS[row.shadow]
        places[f"{name}.{len(lists[name])}"] = number
        lists[name].append(rule)
    return Rules(lists, places, unread)


def _rule(row: Row) -> dict[str, Any]:
    if row.order and not re.fullmatch(r"[0-9]{1,9}", row.order):
        msg = "the order is a number"
        raise ValueError(msg)
    try:
        more = json.loads(row.more) if row.more else {}
    except (ValueError, RecursionError):
        more = None
    if not isinstance(more, dict) or _OWN & more.keys():
        msg = f"more: a JSON object, without {', '.join(sorted(_OWN))}"
        raise ValueError(msg)
    methods = re.findall(r"[^\s,]+", row.methods)
    rule: dict[str, Any] = {"path": row.path, "methods": methods or None, **more}
    if row.needs in ("public", "deny"):
        rule["allow"] = row.needs
    elif row.needs == "any":
        rule["groups"] = "any"
    elif row.needs == "groups":
        rule["groups"] = lines(row.groups)
    return rule


def _number(order: str) -> int:
    return int(order) if re.fullmatch(r"[0-9]{1,9}", order) else 10**9


def mistakes_of_rows(
    rules: Rules, errors: Iterable[Mapping[str, str]], detail: str
) -> tuple[dict[int, list[str]], Mistakes]:
    """What the API says is wrong, by row; and what is of no row."""
    of_row: dict[int, list[str]] = {}
    rest: list[str] = []
    for error in list(errors) or [{"where": "", "problem": detail}]:
        where, problem = str(error["where"]).removeprefix("draft."), str(error["problem"])
        problem_match = re.match(r"((?:shadow_)?rules\.\d+)[.:\w]*", problem)
        place_match = re.match(r"((?:shadow_)?rules\.\d+)(?:\.(.*))?$", where)
        place = place_match[1] if place_match else problem_match[1] if problem_match else ""
        if place in rules.places:
            part = place_match[2] if place_match and place_match[2] else ""
            of_row.setdefault(rules.places[place], []).append(
                f"{part}: {problem}" if part else problem
            )
        else:
            rest.append(f"{where}: {problem}" if where and where[0] != "(" else problem)
    return of_row, Mistakes(rest=rest)
