"""Which rule of a tenant speaks about a request: the first that matches, or none. Compiled once per
tenant.

Rules:
- A tree of the globs' leading literal segments leaves out what the path cannot match, so a check
  costs what could match, not what the tenant has. ``/x/**`` matches whatever comes to its place in
  the tree, and a path without stars is told by its depth; any other glob is matched by its
  segments. The globs alone, one after the other, say the same (held by a property test).
- Paths are canonical and unambiguous: no empty and no dot segments (``core.paths``).
- An application may read one path by several names (``core.readings``): the strictest of their
  matches counts, and all of them where none is strictest.
- Where nobody can say which rule an application would meet (an ambiguous path), every rule of the
  host that speaks about the method counts at once, and so does "no rule". Whatever path a reader
  makes of it, one of these speaks about it. Where the first of them is for ``/**``, and has no
  ``allow``, it is the rule, as every reading meets it.
- A request that acts on all that is below its path (WebDAV, ``acts_below``) meets the rules for
  what is below, too.
- A rule may be for some hosts of its tenant only. Which rules a host has is settled when they are
  compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Final

from gateway.core.glob import Glob
from gateway.core.hosts import includes, wildcards_above
from gateway.core.reason import Reason
from gateway.core.rule import Credential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.core.rule import Rule


@dataclass(frozen=True, slots=True)
class Match:
    """What the rules said before anybody looked at credentials; tells the caller which store it
    needs, if any.
    """

    index: int | None
    rule: Rule | None
    refused: Reason | None = None
    detail: str = ""
    """Why no single rule was asked, for explanations."""
    all_of: tuple[Rule | None, ...] = ()
    """Not empty: a session must satisfy each of these, in place of ``rule``; None is what holds
    where no rule matches.
    """

    @property
    def public(self) -> bool:
        return self.rule is not None and self.rule.public


SEVERAL: Final = "several rules speak about this request"
NO_RULE: Final = Match(None, None)
_ALWAYS_BELOW: Final = frozenset({"DELETE", "MOVE", "REPORT", "SEARCH", "BIND", "UNBIND", "REBIND"})
"""On a collection these act on its members, whatever ``Depth`` says: a report or search names its
scope in the body (RFC 3253 §3.6, RFC 5323 §2.2, RFC 6578 §3.3).
"""


def acts_below(method: str, depth: str) -> bool:
    """Whether a request acts on everything below its path, if that is a WebDAV collection (RFC 4918
    §9).

    ``depth``: of the request, lower case; it is infinity where it is left out. A PROPFIND of depth
    1 lists the members, as any index page does.
    """
    return (
        method in _ALWAYS_BELOW
        or (method in {"COPY", "LOCK"} and depth != "0")
        or (method == "PROPFIND" and depth not in {"0", "1"})
    )


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
    """``candidates``: rules whose leading literal segments lead here or to a node on the way, in
    the tenant's order.
    """

    candidates: tuple[_Candidate, ...] = ()
    below: dict[str, _Node] = field(default_factory=dict)


class CompiledRules:
    """The rules of one tenant, by host. Raises ``ValueError`` for a path that is no glob."""

    __slots__ = ("_made", "_named", "_rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = tuple((index, rule, Glob(rule.path)) for index, rule in enumerate(rules))
        self._named = frozenset(host for rule in rules for host in rule.hosts or ())
        self._made = {
            "": HostRules(
                (index, rule, glob) for index, rule, glob in self._rules if rule.hosts is None
            )
        }

    def at(self, host: str) -> HostRules:
        """Those for a host, canonical. A host that no rule names has those that name none."""
        name = self._name(host) if self._named else ""
        host_rules = self._made.get(name)
        if host_rules is None:
            # Kept: there are no more than names in the rules. Compiling all beforehand would hold
            # up the first check of a tenant.
            host_rules = self._made[name] = HostRules(
                (index, rule, glob)
                for index, rule, glob in self._rules
                if rule.hosts is None or includes(rule.hosts, name)
            )
        return host_rules

    def _name(self, host: str) -> str:
        """The name in the rules that tells most about a host: its own, else that of the nearest
        wildcard; empty where there is none.
        """
        return (
            host
            if host in self._named
            else next(
                (wildcard for wildcard in wildcards_above(host) if wildcard in self._named), ""
            )
        )


class HostRules:
    """The rules of one host, each with its place among the tenant's and its parsed path."""

    __slots__ = ("_globs", "_root", "_unlike")
    _globs: tuple[tuple[Glob, _Candidate], ...]
    _unlike: tuple[tuple[int, Rule, frozenset[str] | None], ...]
    """In order, each with its place and its methods: one of those that differ by path alone, for
    what needs all of them. ``/**``, which no path gets past, is one of its own.
    """

    def __init__(self, rules: Iterable[tuple[int, Rule, Glob]]) -> None:
        self._root = _Node()
        globs: list[tuple[Glob, _Candidate]] = []
        unlike: dict[object, tuple[int, Rule, frozenset[str] | None]] = {}
        for index, rule, glob in rules:
            unlike.setdefault(
                (rule.path == "/**", rule.methods, _demand(rule)), (index, rule, _methods(rule))
            )
            node = self._root
            for segment in glob.head:
                node = node.below.setdefault(segment, _Node())
            candidate = _candidate(index, rule, glob)
            node.candidates += (candidate,)
            globs.append((glob, candidate))
        self._globs = tuple(globs)
        _hand_down(self._root)
        self._unlike = tuple(unlike.values())

    def __bool__(self) -> bool:
        return bool(self._unlike)

    def judge(self, names: Sequence[str], *, method: str, credential: Credential | None) -> Match:
        """What the rules say about each name of one path, all of it. ``credential``: what the
        request carries.
        """
        if len(names) == 1:
            return self.find(method=method, path=names[0])
        return combined(
            (self.find(method=method, path=name) for name in names), credential=credential
        )

    def below(
        self, match: Match, names: Sequence[str], *, method: str, credential: Credential | None
    ) -> Match:
        """``match``, and what the rules say about all that is below these names, as far as it asks
        for anything. So does what no rule speaks about.
        """
        below: dict[int | None, Match] = {}
        for name in names:
            segments = [segment for segment in name.split("/") if segment]
            for glob, candidate in self._globs:
                if (
                    candidate.methods is not None and method not in candidate.methods
                ) or not glob.reaches_below(segments):
                    continue
                if not candidate.match.public:
                    below[candidate.match.index] = candidate.match
                if glob.rest[-1:] == ("**",) and glob.matches(segments):
                    break  # It speaks about everything below, so that no later rule does.
            else:
                below[None] = NO_RULE
        return combined((match, *below.values()), credential=credential)

    def strictest(self, why: str, *, method: str, credential: Credential | None) -> Match:
        """What holds whichever path a reader makes of this one. ``why`` no single rule is asked,
        for explanations.
        """
        every: list[Rule | None] = []
        otherwise: tuple[Rule | None, ...] = (None,)
        first = True
        for index, rule, methods in self._unlike:
            if methods is not None and method not in methods:
                continue
            if first and rule.path == "/**" and not rule.deny and not rule.public:
                # The rule for whatever path a reader makes of this one.
                return Match(index, rule)
            first = False
            if rule.deny or not rule.browser_sessions or rule.judges(credential):
                what = (
                    "allow: deny"
                    if rule.deny
                    else credential
                    if credential is not None and rule.judges(credential)
                    else "bearer"
                )
                return Match(
                    None,
                    None,
                    Reason.BAD_REQUEST,
                    f"{why}, and a rule with {what} ({rule.path}) could be the one for it",
                )
            if not rule.public:
                every.append(rule)
            if rule.path == "/**":
                otherwise = () if every else otherwise  # nothing gets past it
                break
        return Match(None, None, detail=why, all_of=(*otherwise, *every))

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
    queue = [root]
    while queue:
        node = queue.pop()
        for below in node.below.values():
            own = below.candidates
            below.candidates = (
                tuple(
                    sorted(node.candidates + own, key=lambda candidate: candidate.match.index or 0)
                )
                if own
                else node.candidates
            )
            queue.append(below)


def _candidate(index: int, rule: Rule, glob: Glob) -> _Candidate:
    return _Candidate(
        match=Match(index, rule, Reason.RULE_DENIED if rule.deny else None),
        methods=_methods(rule),
        fits=None if glob.rest in ((), ("**",)) else glob.matches,
        depth=None if glob.rest else len(glob.head),
        slash=glob.slash if _gives(rule) and not glob.text.endswith("**") else None,
    )


def _methods(rule: Rule) -> frozenset[str] | None:
    """A rule for GET speaks about HEAD as well (RFC 9110 §9.3.2: HEAD is GET without the body), so
    a method list that forgets HEAD opens nothing.
    """
    return (
        rule.methods | {"HEAD"}
        if rule.methods is not None and "GET" in rule.methods
        else rule.methods
    )


def _gives(rule: Rule) -> bool:
    """Whether the rule gives something away, so that a final slash more or less is not forgiven.

    Applications take ``/admin`` and ``/admin/`` for one page, so a rule that restricts speaks about
    both. But ``/**/*.css`` for everyone must not open ``/admin.css/``, which an application may
    well take for a folder.
    """
    return rule.public or rule.override_tenant_groups or rule.bearer is not None or rule.takes_basic


def combined(matches: Iterable[Match], *, credential: Credential | None) -> Match:
    """Lets in nobody whom any of these would not: the strictest of them, else what needs all.
    ``credential``: what the request carries.
    """
    every = tuple(matches)
    strictest = reduce(
        lambda one, other: other if not _covers(one, other) and _covers(other, one) else one, every
    )
    if all(match is strictest or _covers(strictest, match) for match in every):
        return strictest
    rules_by_demand = {
        _demand(rule): rule
        for match in every
        for rule in (match.all_of or (match.rule,))
        if rule is None or not rule.public
    }
    if any(
        rule is not None and (not rule.browser_sessions or rule.judges(credential))
        for rule in rules_by_demand.values()
    ):
        what = "a bearer token" if credential in {None, Credential.BEARER} else "a password"
        return Match(
            None,
            None,
            Reason.BAD_REQUEST,
            f"{SEVERAL}, and one that takes {what} is never one of several",
        )
    return Match(
        None,
        None,
        detail=next((match.detail for match in every if match.detail), SEVERAL),
        all_of=tuple(rules_by_demand.values()),
    )


def _covers(strict: Match, other: Match) -> bool:
    """Whether everybody whom ``strict`` lets in, ``other`` would let in too."""
    if strict.refused is not None or other.public:
        return True
    if other.refused is not None or strict.public or strict.all_of or other.all_of:
        return False
    rule, than = strict.rule, other.rule
    if rule is not None and than is not None and (rule is than or _demand(rule) == _demand(than)):
        return True
    if (rule is not None and _gives(rule)) or (than is not None and _gives(than)):
        return False
    # Both ask for the tenant's own groups and roles, and each rule for its own on top.
    return than is None or (
        rule is not None
        and _asks_more(rule.groups, than.groups)
        and _asks_more(rule.roles, than.roles)
    )


def _demand(rule: Rule | None) -> tuple[object, ...]:
    """What a rule says, and calls a machine, without where and of which methods."""
    if rule is None:
        return ()
    return (
        rule.public,
        rule.deny,
        rule.groups,
        rule.any_group,
        rule.roles,
        rule.any_role,
        rule.override_tenant_groups,
        rule.bearer,
        rule.browser_sessions,
        rule.identity,
        rule.app_passwords,
        rule.pool_passwords,
    )


def _asks_more(one_of: frozenset[str] | None, than: frozenset[str] | None) -> bool:
    return than is None or (one_of is not None and one_of <= than)


__all__ = ["NO_RULE", "CompiledRules", "HostRules", "Match", "acts_below", "combined"]
