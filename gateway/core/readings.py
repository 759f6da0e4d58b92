"""The names that an application may read in a canonical path. Rules are asked about each, and the
strictest answer counts.

Rules:
- Where it costs ordinary applications nothing, other names are always asked about: without the dots
  and spaces at the end of segments (Windows), and in Unicode's composed and compatibility forms,
  NFC and NFKC (``/‥/``, full-width letters). All under one rule: nothing changes.
- What only some applications do is told per tenant (``paths`` of the tenant document). Rules are
  then written in the folded form (``spelling``), so that every spelling of a name meets the same
  rule. Readers do not fold alike; where they differ, each one's name is asked.
- No name at all: a path that no rule is asked about, refused where a tenant has rules.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from gateway.core.canonical import has_long_marks
from gateway.core.paths import is_ambiguous

MAX_PATH_CHARACTERS: Final = 4096
"""As long as a path of Linux or an object's key may be four times over; rules, normalization and
folding are done to no longer one.
"""
MAX_PATH_SEGMENTS: Final = 128
"""It bounds what one rule with stars may cost (``core.glob``)."""
MAX_NAMES: Final = 16
"""Of one path. An honest one has one or two; each asks all rules again."""
MAX_NAME_SEGMENTS: Final = 2 * MAX_PATH_SEGMENTS
"""Of all names of one path together: what rules with stars cost grows with it. All sixteen names
may have sixteen segments, the deepest path two names.
"""

_NOT_WINDOWS = re.compile(r'[:<>"|*?]|~[0-9]|/\([A-Za-z]\(')
"""Streams (``::$DATA``), wildcards of FindFirstFile, short names (``ADMINI~1``), and ASP.NET's
session in the path (``/(S(x))/``).
"""
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_QUERY_MARK = re.compile(r"[?#]")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")

LONG: Final = f"longer than {MAX_PATH_CHARACTERS} characters or {MAX_PATH_SEGMENTS} segments"
DIFFERENT: Final = "two readers could take this path for different ones"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No rule is asked about this path. ``why`` is for explanations."""

    why: str


@dataclass(frozen=True, slots=True)
class PathReader:
    """How a tenant's application reads paths. ``windows`` includes ``ignore_case``."""

    ignore_case: bool = False
    windows: bool = False
    unicode: bool = False
    suffixes: bool = False
    as_written: bool = field(init=False, repr=False)
    """No option is on."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "as_written",
            not (self.ignore_case or self.windows or self.unicode or self.suffixes),
        )

    def names(self, path: str) -> tuple[str, ...] | Unreadable:
        """At least one name; ``path`` is canonical and unambiguous."""
        if len(path) > MAX_PATH_SEGMENTS and _is_long(path):
            return Unreadable(LONG)
        if (
            self.as_written
            and path.isascii()
            and path[-1] not in ". "
            and "./" not in path
            and " /" not in path
        ):
            return (path,)
        return self._names(path)

    def _names(self, path: str) -> tuple[str, ...] | Unreadable:
        names = {path: None}
        if not path.isascii():
            if self.unicode and any(unicodedata.category(character) == "Cf" for character in path):
                return Unreadable("invisible characters, which some readers drop")
            if has_long_marks(path):
                return Unreadable("more combining marks in a row than any script has")
            names = _normalized(path, keep=not self.unicode)
            if any(map(_is_long, names)):
                return Unreadable(LONG)
        if self.windows and any(_NOT_WINDOWS.search(name) for name in names):
            return Unreadable('characters that Windows gives a meaning: < > : " | * ?, ~1')
        names |= dict.fromkeys(map(_trimmed, names))
        if self.ignore_case or self.windows:
            names = dict.fromkeys(folded for name in names for folded in _case_names(name))
            if self.unicode and not path.isascii():
                names |= dict.fromkeys(self._folded(name) for name in tuple(names))
        if self.suffixes:
            names = dict.fromkeys(shorter for name in names for shorter in _without_suffixes(name))
        if len(names) > MAX_NAMES or sum(name.count("/") for name in names) > MAX_NAME_SEGMENTS:
            return Unreadable("more readings than rules are asked about")
        if any(is_ambiguous(_QUERY_MARK.sub("", name)) or _HIDDEN.search(name) for name in names):
            return Unreadable(DIFFERENT)
        return tuple(names)

    def _folded(self, name: str) -> str:
        folded = fold_case(name)
        return (
            fold_case(unicodedata.normalize("NFKC", folded))
            if self.unicode and not folded.isascii()
            else folded
        )

    def spelling(self, glob: str) -> str:
        """How a rule for this glob is written: the name by which all its spellings are looked for.

        Raises ``ValueError`` for one that speaks about no path that would be read.
        """
        text = glob
        if not text.isascii():
            if has_long_marks(text):
                msg = "more combining marks in a row than any script has"
                raise ValueError(msg)
            text = unicodedata.normalize("NFKC" if self.unicode else "NFC", text)
        if self.windows:
            if _NOT_WINDOWS.search(text.replace("*", "")):
                msg = 'with paths.windows, no path with : < > " | or ~1 is ever matched'
                raise ValueError(msg)
            text = _trimmed(text)
        return self._folded(text) if self.ignore_case or self.windows else text


AS_WRITTEN: Final = PathReader()


def fold_case(text: str) -> str:
    """One text for all that differ by case to some reader: simple or full mappings, either way, and
    Turkish ones (``ı``, ``İ``, ``ſ``, Kelvin's K).
    """
    return (
        text.lower()
        if text.isascii()
        else text.casefold().upper().casefold().replace("i\u0307", "i")
    )


def _case_names(text: str) -> tuple[str, ...]:
    """What readers that ignore case make of a text: by lower or upper case, each simple (one
    character for one) or full, or by folding.
    """
    if text.isascii():
        return (text.lower(),)
    simply_upper = "".join(
        upper if len(upper := character.upper()) == 1 else character for character in text
    )
    return (
        text.lower(),
        text.replace("\u0130", "i").lower(),
        simply_upper.lower(),
        text.upper().lower(),
        text.casefold(),
        fold_case(text),
    )


def _is_long(name: str) -> bool:
    return len(name) > MAX_PATH_CHARACTERS or name.count("/") > MAX_PATH_SEGMENTS


def _normalized(path: str, *, keep: bool) -> dict[str, None]:
    """``keep``: as it is, too. A query or fragment that the compatibility form has made (``？``) may
    be cut off or stay text.
    """  # noqa: E501 - one text, as it is
    compatible = unicodedata.normalize("NFKC", path)
    names = [unicodedata.normalize("NFC", path), compatible, _QUERY.sub("", compatible) or "/"]
    return dict.fromkeys([path, *names] if keep else names)


def _trimmed(name: str) -> str:
    """Without the dots and spaces that end a segment; one of nothing else becomes a dot segment,
    which no rule is asked about.
    """
    return "/".join(segment and (segment.rstrip(". ") or ".") for segment in name.split("/"))


def _without_suffixes(name: str) -> list[str]:
    """The name, and what is left of its last segment as suffixes are taken off: ``/a/b.tar.gz``,
    ``/a/b.tar``, ``/a/b``. Of too many, one more than are asked about.
    """
    head, slash, last = name.rpartition("/")
    shorter = [name]
    while "." in last and len(shorter) <= MAX_NAMES:
        last = last.rpartition(".")[0]
        shorter.append(head + slash + last)
    return shorter


__all__ = [
    "AS_WRITTEN",
    "DIFFERENT",
    "LONG",
    "MAX_PATH_CHARACTERS",
    "MAX_PATH_SEGMENTS",
    "PathReader",
    "Unreadable",
    "fold_case",
]
