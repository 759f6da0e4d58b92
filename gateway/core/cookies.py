r"""The Cookie header: every value of ours, and what is left for the application.

Rules:
- Every Cookie line counts, and every pair of our name in it, in order: a stale twin must not hide
  the good one.
- Names compare exactly (RFC 6265 §5.4 sends them as stored); values are handed on as they are,
  never unquoted.
- Around a name only space and tab are nothing (§5.2). Other space belongs to the name: a browser
  lets any sibling host set ``\u00a0__Host-gw`` for the whole domain, and forgiving it would undo
  what ``__Host-`` promises.
- Proxies that join two Cookie lines with a comma (Envoy, HTTP/1.1) make of our pair a part of
  another's value. It is never read there, since a sibling host can set such a value; and it is not
  handed on.
- What the application receives holds none of our pairs, however they are spaced. The companions of
  a login (``__Host-gw-login`` and its like) and names that begin with our cookie's name and a dash
  are ours too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


COMPANIONS = "__Host-gw-"
"""How the names of the cookies of a login in progress begin, whatever the session cookie is
called.
"""
MAX_TRIED = 2
"""Values of one cookie that are looked up: a browser keeps one; more come only from somebody who
plays.
"""
_SPACE = " \t"


_MAX_REMEMBERED: Final = 1024
"""Characters of a Cookie line that is remembered: with 2,048 of them at most some 6 MB."""


def own_values(lines: Iterable[str], name: str) -> tuple[str, ...]:
    """The value of every pair called ``name``."""
    return _parted(lines, name)[0]


def parted(lines: Sequence[str], name: str) -> tuple[tuple[str, ...], str]:
    """What ``own_values`` and ``without`` say: every request is asked for both, and a browser sends
    the same line again and again.
    """
    if len(lines) == 1 and len(lines[0]) <= _MAX_REMEMBERED:
        return _parted_line(lines[0], name)
    return _parted(lines, name)


@lru_cache(maxsize=2048)
def _parted_line(line: str, name: str) -> tuple[tuple[str, ...], str]:
    return _parted((line,), name)


def _parted(lines: Iterable[str], name: str) -> tuple[tuple[str, ...], str]:
    ours: list[str] = []
    others: list[str] = []
    below = (f"{name}-", COMPANIONS)
    for line in lines:
        for part in line.split(";"):
            pair = part.strip(_SPACE)
            if not pair:
                continue
            key, equals, value = pair.partition("=")
            key = key.strip(_SPACE)
            if key == name and equals:
                ours.append(value.strip(_SPACE))
            # Behind a comma another pair may stand; without one, the name says it all.
            if "," in pair:
                pair = _less_ours(pair, name)
            elif key == name or key.startswith(below):
                continue
            if pair and pair.isprintable():
                others.append(pair)
    return tuple(ours), "; ".join(others)


def names_below(lines: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Names that begin with ``prefix``, each once, in order."""
    return tuple(
        dict.fromkeys(
            key
            for key, equals, _ in map(_split, _pairs(lines))
            if equals and key.startswith(prefix)
        )
    )


def pairs_below(lines: Iterable[str], prefix: str) -> tuple[tuple[str, str], ...]:
    """Name and value of every pair whose name begins with ``prefix``, in order."""
    return tuple(
        (key, value.strip(_SPACE))
        for key, equals, value in map(_split, _pairs(lines))
        if equals and key.startswith(prefix)
    )


def without(lines: Iterable[str], name: str) -> str:
    """All pairs but ours, joined with ``; ``; pairs that hold undecodable bytes are left out, for
    no header can carry them back.
    """
    return _parted(lines, name)[1]


def _less_ours(pair: str, name: str) -> str:
    """Nothing of a pair of ours; of any other pair what does not look like ours behind a comma."""
    first, *others = pair.split(",")
    if is_ours(_split(first)[0], name):
        return ""
    return ",".join(
        [first, *(part for part in others if not is_ours(_split(part)[0], name))]
    ).strip(_SPACE)


def is_ours(key: str, name: str) -> bool:
    """Whether a cookie called ``key`` is the gateway's, whose session cookie is called ``name``."""
    return key == name or key.startswith((f"{name}-", COMPANIONS))


def _pairs(lines: Iterable[str]) -> Iterator[str]:
    return (pair for line in lines for part in line.split(";") if (pair := part.strip(_SPACE)))


def _split(pair: str) -> tuple[str, str, str]:
    key, equals, value = pair.partition("=")
    return key.strip(_SPACE), equals, value
