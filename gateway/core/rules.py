"""Which rule of a tenant speaks about a request: the first that matches, or none. Compiled once per tenant.

Rules:
- A tree of the globs' leading literal segments leaves out what the path cannot match, so a check costs what could match,
  not what the tenant has. ``/x/**`` matches whatever comes to its place in the tree, and a path without stars is compared;
  any other glob is judged by its pattern. The patterns alone, one after the other, say the same (held by a property test).
- Paths are canonical and unambiguous: no empty and no dot segments (``core.paths``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.model import Rule

_PERHAPS_MAGIC: Final = frozenset("*?[]{}()|!+@~^\\")
"""More than any glob syntax takes for itself: a segment with one of these is left to the pattern."""


@dataclass(frozen=True, slots=True)
class Match:
    """What the rules said before anybody looked at credentials; tells the caller which store it needs, if any."""

    index: int | None
    rule: Rule | None
    refused: Reason | None = None

    @property
    def public(self) -> bool:
        return self.rule is not None and self.rule.everyone


NO_RULE: Final = Match(None, None)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A rule, with all that can be said about it before a path is there."""

    match: Match
    methods: frozenset[str] | None
    matches: Callable[[str], object] | None
    """None: every path that comes here."""
    only_as_written: bool = False


@dataclass(slots=True)
class _Node:
    """``candidates``: rules whose leading literal segments lead here or to a node on the way, in the tenant's order."""

    candidates: tuple[_Candidate, ...] = ()
    below: dict[str, _Node] = field(default_factory=dict)


class CompiledRules:
    """The rules of one tenant."""

    __slots__ = ("_any", "_root")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._any = bool(rules)
        self._root = _Node()
        for index, rule in enumerate(rules):
            node, head = self._root, tuple(_literal_head(rule.path))
            for segment in head:
                node = node.below.setdefault(segment, _Node())
            node.candidates += (_candidate(index, rule, "".join(f"/{segment}" for segment in head)),)
        _hand_down(self._root)

    def __bool__(self) -> bool:
        return self._any

    def find(self, *, method: str, path: str) -> Match:
        """The first match, or ``NO_RULE``. ``path`` is canonical and unambiguous."""
        node = self._root
        for segment in path.split("/")[1:]:
            below = node.below.get(segment)
            if below is None:
                break
            node = below
        for candidate in node.candidates:
            if (
                (candidate.methods is None or method in candidate.methods)
                and (candidate.matches is None or candidate.matches(path))
                and not (candidate.only_as_written and path.endswith("/"))
            ):  # fmt: skip
                return candidate.match
        return NO_RULE


def _literal_head(glob: str) -> Iterator[str]:
    """The segments before the first that is not plain text, or that proxies read in more than one way."""
    for segment in glob.split("/")[1:]:
        if segment in {"", ".", ".."} or not _PERHAPS_MAGIC.isdisjoint(segment):
            return
        yield segment


def _hand_down(root: _Node) -> None:
    """What may match at a node may match everywhere below it."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        for below in node.below.values():
            below.candidates = tuple(sorted(node.candidates + below.candidates, key=lambda candidate: candidate.match.index or 0))
            waiting.append(below)


def _candidate(index: int, rule: Rule, head: str) -> _Candidate:
    match, methods, as_written = Match(index, rule, Reason.RULE_DENIED if rule.deny else None), _methods(rule), _only_as_written(rule)
    if rule.path == f"{head}/**":
        return _Candidate(match, methods, None)
    if rule.path == head:
        return _Candidate(match, methods, frozenset({head} if as_written else {head, f"{head}/"}).__contains__)
    return _Candidate(match, methods, rule.pattern.fullmatch, as_written)


def _methods(rule: Rule) -> frozenset[str] | None:
    """A rule for GET speaks about HEAD as well (RFC 9110 §9.3.2: HEAD is GET without the body), so a method list that forgets HEAD opens nothing."""
    return rule.methods | {"HEAD"} if rule.methods is not None and "GET" in rule.methods else rule.methods


def _only_as_written(rule: Rule) -> bool:
    """Whether the rule gives something away, so that the final slash that globs forgive is not forgiven.

    Applications take ``/admin`` and ``/admin/`` for one page, so a rule that restricts speaks about both. But ``/**/*.css``
    for everyone must not open ``/admin.css/``, which an application may well take for a folder.
    """
    gives = rule.everyone or rule.replace or rule.bearer is not None
    return gives and not rule.path.endswith(("/", "**"))


__all__ = ["NO_RULE", "CompiledRules", "Match"]
