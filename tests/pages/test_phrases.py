"""Words for a time and for a browser."""

from __future__ import annotations

import gettext

import pytest

from gateway.pages.phrases import phrases_of

PHRASES = phrases_of(gettext.NullTranslations())
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("seconds", "since", "until"),
    [
        (-5, "just now", "in 1 minute"),
        (0, "just now", "in 1 minute"),
        (59, "just now", "in 1 minute"),
        (60, "1 minute ago", "in 1 minute"),
        (3599, "59 minutes ago", "in 59 minutes"),
        (3600, "1 hour ago", "in 1 hour"),
        (86_399, "23 hours ago", "in 23 hours"),
        (86_400, "1 day ago", "in 1 day"),
        (200_000, "2 days ago", "in 2 days"),
    ],
)
def test_a_time_is_told_in_its_largest_unit(seconds: int, since: str, until: str) -> None:
    assert PHRASES.since(NOW - seconds, NOW) == since
    assert PHRASES.until(NOW + seconds, NOW) == until


def test_nothing_of_a_header_is_on_a_page() -> None:
    assert PHRASES.agent("<b>Firefox/1 Linux</b>") == "Firefox on Linux"
    assert PHRASES.agent("<b>CrOS</b>") == "ChromeOS"
    assert PHRASES.agent("<script>") == "Unknown browser"
