"""Which rule of a tenant speaks about a request: the first that matches, or none. Compiled once per tenant.

Rules:
- A tree of the globs' leading literal segments leaves out what the path cannot match, so a check costs what could match,
  not what the tenant has. ``/x/**`` matches whatever comes to its place in the tree, and a path without stars is told by its depth;
  any other glob is matched by its segments. The globs alone, one after the other, say the same (held by a property test).
- Paths are canonical and unambiguous: no empty and no dot segments (``core.paths``).
- An application may read one path by several names (``core.readings``): the strictest of their matches counts, and where none is at
  least as strict as the others, nobody is let in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Final

from gateway.core.decision import Reason
from gateway.core.glob import Glob
from gateway.core.readings import DIFFERENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import Rule


@dataclass(frozen=True, slots=True)
class Match:
    """What the rules said before anybody looked at credentials; tells the caller which store it needs, if any."""

    index: int | None
    rule: Rule | None
    refused: Reason | None = None
    detail: str = ""
    """Why no rule was asked, for explanations."""

    @property
    def public(self) -> bool:
        return self.rule is not None and self.rule.everyone


NO_RULE: Final = Match(None, None)


_DIFFERENT: Final = Match(None, None, Reason.BAD_REQUEST, DIFFERENT)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A rule, with all that can be said about it before a path is there."""

    match: Match
    methods: frozenset[str] | None
    fits: Callable[[Sequence[str]], bool] | None
    """None: every path that comes here, or of ``depth``."""
    depth: int | None
    """How many segments the path must have; None: any number."""
    slash: bool | None
    """Whether the path must end with ``/``; None: either way."""


@dataclass(slots=True)
class _Node:
    """``candidates``: rules whose leading literal segments lead here or to a node on the way, in the tenant's order."""

    candidates: tuple[_Candidate, ...] = ()
    below: dict[str, _Node] = field(default_factory=dict)


class CompiledRules:
    """The rules of one tenant. Raises ``ValueError`` for a path that is no glob."""

    __slots__ = ("_any", "_root")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._any = bool(rules)
        self._root = _Node()
        for index, rule in enumerate(rules):
            glob = Glob(rule.path)
            node = self._root
            for segment in glob.head:
                node = node.below.setdefault(segment, _Node())
            node.candidates += (_candidate(index, rule, glob),)
        _hand_down(self._root)

    def __bool__(self) -> bool:
        return self._any

    def judge(self, names: Sequence[str], *, method: str) -> Match:
        """The strictest of what the rules say about each name of one path."""
        if len(names) == 1:
            return self.find(method=method, path=names[0])
        return reduce(_stricter, (self.find(method=method, path=name) for name in names))

    def find(self, *, method: str, path: str) -> Match:
        """The first match, or ``NO_RULE``. ``path`` is canonical and unambiguous."""
        segments = path[1:].split("/")
        slash = segments[-1] == ""
        if slash:
            segments.pop()
        node = self._root
        for segment in segments:
            below = node.below.get(segment)
            if below is None:
                break
            node = below
        for candidate in node.candidates:
            if (
                (candidate.methods is None or method in candidate.methods)
                and (candidate.slash is None or candidate.slash is slash)
                and (candidate.depth is None or candidate.depth == len(segments))
                and (candidate.fits is None or candidate.fits(segments))
            ):
                return candidate.match
        return NO_RULE


def _hand_down(root: _Node) -> None:
    """What may match at a node may match everywhere below it."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        for below in node.below.values():
            own = below.candidates
            below.candidates = tuple(sorted(node.candidates + own, key=lambda candidate: candidate.match.index or 0)) if own else node.candidates
            waiting.append(below)


def _candidate(index: int, rule: Rule, glob: Glob) -> _Candidate:
    return _Candidate(
        match=Match(index, rule, Reason.RULE_DENIED if rule.deny else None),
        methods=_methods(rule),
        fits=None if glob.rest in ((), ("**",)) else glob.matches,
        depth=None if glob.rest else len(glob.head),
        slash=glob.slash if _gives(rule) and not glob.text.endswith("**") else None,
    )


def _methods(rule: Rule) -> frozenset[str] | None:
    """A rule for GET speaks about HEAD as well (RFC 9110 §9.3.2: HEAD is GET without the body), so a method list that forgets HEAD opens nothing."""
    return rule.methods | {"HEAD"} if rule.methods is not None and "GET" in rule.methods else rule.methods


def _gives(rule: Rule) -> bool:
    """Whether the rule gives something away, so that a final slash more or less is not forgiven.

    Applications take ``/admin`` and ``/admin/`` for one page, so a rule that restricts speaks about both. But ``/**/*.css``
    for everyone must not open ``/admin.css/``, which an application may well take for a folder.
    """
    return rule.everyone or rule.replace or rule.bearer is not None


def _stricter(one: Match, other: Match) -> Match:
    """Whichever lets in nobody whom the other would not; a refusal where neither does."""
    if _covers(one, other):
        return one
    return other if _covers(other, one) else _DIFFERENT


def _covers(strict: Match, other: Match) -> bool:
    """Whether everybody whom ``strict`` lets in, ``other`` would let in too."""
    if strict.refused is not None or other.public:
        return True
    if other.refused is not None or strict.public:
        return False
    rule, than = strict.rule, other.rule
    if rule is not None and than is not None and (rule is than or replace(rule, path="", methods=None) == replace(than, path="", methods=None)):
        return True
    if (rule is not None and _gives(rule)) or (than is not None and _gives(than)):
        return False
    # Both ask for the tenant's own groups and roles, and each rule for its own on top.
    return than is None or (rule is not None and _asks_more(rule.groups, than.groups) and _asks_more(rule.roles, than.roles))


def _asks_more(one_of: frozenset[str] | None, than: frozenset[str] | None) -> bool:
    return than is None or (one_of is not None and one_of <= than)


__all__ = ["NO_RULE", "CompiledRules", "Match"]
