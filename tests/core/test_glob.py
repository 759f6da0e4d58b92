"""Path globs, held against the plainest matcher that could be written."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core import glob as glob_module
from gateway.core.glob import MAX_GLOB_CHARACTERS, MAX_GLOB_SEGMENTS, MAX_GLOB_STARS, Glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.glob import Segment

SEGMENTS = ["a", "b", "ab", "*", "**", "*.b", "a*", "*a", "a*b", "*a*", "a*a", ".a", "é"]
GLOBS = (
    st.lists(st.sampled_from(SEGMENTS), max_size=6)
    .filter(lambda segments: sum("*" in segment for segment in segments) <= MAX_GLOB_STARS)
    .map(lambda segments: "/" + "/".join(segments))
)
PATHS = st.lists(st.text(alphabet="ab.é", min_size=1, max_size=4), max_size=7)


def plainly(glob: str, segments: tuple[str, ...]) -> bool:
    """By trying everything: slow, and obviously what the documentation says."""

    @cache
    def text(pattern: str, segment: str) -> bool:
        if not pattern:
            return not segment
        if pattern[0] == "*":
            return any(text(pattern[1:], segment[skip:]) for skip in range(len(segment) + 1))
        return bool(segment) and pattern[0] == segment[0] and text(pattern[1:], segment[1:])

    @cache
    def path(patterns: tuple[str, ...], rest: tuple[str, ...]) -> bool:
        if not patterns:
            return not rest
        if patterns[0] == "**":
            return any(path(patterns[1:], rest[skip:]) for skip in range(len(rest) + 1))
        return bool(rest) and text(patterns[0], rest[0]) and path(patterns[1:], rest[1:])

    return path(tuple(segment for segment in glob.split("/") if segment), segments)


@given(GLOBS, PATHS)
@example("/**/a/**/a/b", ["a", "x", "a", "a", "b"])
@example("/a*a", ["a"])
@example("/**/a/a/**/a/a/**", ["a", "a", "a", "b"])
@example("/*aa*aa*", ["aaab"])
@example("/**/a/b/**/b", ["a", "b"])
def test_a_glob_matches_what_the_plain_matcher_matches(glob: str, segments: list[str]) -> None:
    assert Glob(glob).matches(segments) == plainly(glob, tuple(segments))


@pytest.mark.parametrize(
    ("glob", "matched", "not_matched"),
    [
        ("/admin", ["admin"], ["admin/x", "Admin", ""]),
        ("/*", ["a", ".well-known"], ["", "a/b"]),
        ("/**", ["", "a", "a/b/c"], []),
        ("/x/**", ["x", "x/y/z"], ["xy", "y/x"]),
        ("/**/*.css", ["a.css", "x/y/.css"], ["a.css/x", "css"]),
        ("/**/.git/**", [".git", "a/.git/config"], ["git", "a/.gitignore"]),
        ("/**/api/**/admin", ["api/admin", "x/api/v1/admin"], ["api", "admin/api", "api/admin/x"]),
        ("/**/**", ["", "a", "a/b"], []),
        ("/a/**/b/**/c", ["a/b/c", "a/x/b/y/c"], ["b/a/x/c", "a/x/bc/c", "a/b/b"]),
        ("/*/**/b/**/c", ["x/b/c"], ["b/x/c"]),
        ("/**/*.b/**", ["x.b", "a/x.b/c"], ["a/xb", "a/b/c"]),
        ("/a*b*c*d", ["abcd", "a-b-c-d"], ["acbd", "abd", "ad", "xabcd"]),
        ("/odata/Orders(*)", ["odata/Orders(1)"], ["odata/Orders"]),
    ],
)
def test_what_globs_say(glob: str, matched: list[str], not_matched: list[str]) -> None:
    assert [
        path for path in matched if not Glob(glob).matches(path.split("/") if path else [])
    ] == []
    assert [
        path for path in not_matched if Glob(glob).matches(path.split("/") if path else [])
    ] == []


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("/{admin,internal}/**", "one rule for each"),
        ("/[ab]/x", "one rule for each"),
        ("/a?c", "one rule for each"),
        ("/a|b", "one rule for each"),
        ("/!(admin)/**", "one rule for each"),
        ("/+(a)", "one rule for each"),
        ("/a**", "must be alone"),
        ("/**.css", "must be alone"),
        ("/***", "must be alone"),
        ("/a//b", "empty or dot segments"),
        ("/a/../b", "empty or dot segments"),
        ("//", "empty or dot segments"),
        ("/a/.", "empty or dot segments"),
        ("admin", "starts with /"),
        ("", "starts with /"),
        ("/" + "a" * MAX_GLOB_CHARACTERS, "at most"),
        ("/a" * (MAX_GLOB_SEGMENTS + 1), "at most"),
        ("/**/a" * (MAX_GLOB_STARS + 1), "at most"),
    ],
)
def test_what_is_no_glob_is_refused_and_says_what_to_write(glob: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Glob(glob)


def test_the_longest_glob_is_taken() -> None:
    assert Glob("/a" * MAX_GLOB_SEGMENTS).matches(["a"] * MAX_GLOB_SEGMENTS)
    assert Glob("/**/a" * MAX_GLOB_STARS).matches(["a"] * MAX_GLOB_STARS)


@pytest.mark.parametrize(
    "path", [["x"] * 128, ["n"] * 127 + ["m"]], ids=["neither is there", "one of two"]
)
def test_a_long_path_is_not_walked_for_plain_segments_that_it_lacks(
    path: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 rules with 16 names of a path would be a fifth of a second for everybody else."""
    compared: list[Sequence[str]] = []
    fits_at = glob_module._fits_at

    def counted(run: tuple[Segment, ...], segments: Sequence[str], start: int) -> bool:
        compared.append(segments)
        return fits_at(run, segments, start)

    monkeypatch.setattr(glob_module, "_fits_at", counted)
    for text in ("/**/y/**", "/**/y/n/**", "/**/n/**/y/x/**"):
        assert not Glob(text).matches(path)
    assert len(compared) == 6, "the beginning and the end of each"
    assert Glob("/**/x/**").matches(["n", "x"])


def test_a_glob_shows_how_it_was_written() -> None:
    assert repr(Glob("/a/**/*.b/")) == "Glob('/a/**/*.b/')"
