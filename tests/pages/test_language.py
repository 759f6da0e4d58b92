from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.language import LANGUAGES, negotiate


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        ("fr-CA, en;q=0.9", "fr"),
        ("en;q=0.5, es;q=0.8", "es"),
        ("ES", "es"),
        ("sv, nb;q=0.9", "en"),
        ("sv, fr;q=0.3", "fr"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("en;q=0, *;q=0.5", "de"),
        ("de;q=2", "en"),
        ("de;q=x, es;q=0.1", "es"),
        ("de ; q = 0.7 , fr ; q=0.8", "fr"),
        ("de;q=0.8,fr;q=0.8", "de"),
        ("x" * 5000 + ",de", "en"),
        ("\x00\r\nSet-Cookie: a=b", "en"),
    ],
)
def test_the_browsers_preference_is_followed(header: str, language: str) -> None:
    assert negotiate(header) == language


@given(st.text())
def test_anything_ends_in_a_language_we_have(header: str) -> None:
    assert negotiate(header) in LANGUAGES


@given(
    st.lists(
        st.tuples(st.sampled_from(LANGUAGES), st.integers(1, 1000)),
        min_size=1,
        max_size=8,
        unique_by=(lambda t: t[0], lambda t: t[1]),
    )
)
def test_the_highest_quality_wins(ranges: list[tuple[str, int]]) -> None:
    header = ",".join(f"{language};q={quality / 1000:.3f}" for language, quality in ranges)
    assert negotiate(header) == max(ranges, key=lambda t: t[1])[0]
