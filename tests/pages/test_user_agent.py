from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.user_agent import MAX_CHARACTERS, Agent, parse_user_agent

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
LINUX = "Mozilla/5.0 (X11; Linux x86_64)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
ANDROID = "Mozilla/5.0 (Linux; Android 10; K)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15"
HEADERS = {
    f"{LINUX} {WEBKIT} Chrome/141.0.0.0 Safari/537.36": ("Chrome", "Linux"),
    f"{WINDOWS} {WEBKIT} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0": ("Edge", "Windows"),
    f"{WINDOWS} {WEBKIT} Chrome/141.0.0.0 Safari/537.36 OPR/124.0.0.0": ("Opera", "Windows"),
    f"{WINDOWS} Gecko/20100101 Firefox/145.0": ("Firefox", "Windows"),
    f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605.1.15": (
        "Safari",
        "macOS",
    ),
    f"{ANDROID} {WEBKIT} Chrome/141.0.0.0 Mobile Safari/537.36": ("Chrome", "Android"),
    f"{ANDROID} {WEBKIT} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": (
        "Samsung Internet",
        "Android",
    ),
    f"{IPHONE} (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": ("Safari", "iPhone"),
    f"{IPHONE} (KHTML, like Gecko) CriOS/141.0.0.0 Mobile/15E148 Safari/604.1": (
        "Chrome",
        "iPhone",
    ),
    f"{IPHONE} (KHTML, like Gecko) FxiOS/145.0 Mobile/15E148 Safari/605.1.15": (
        "Firefox",
        "iPhone",
    ),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/141.0.0.0 Safari/537.36": (
        "Chrome",
        "ChromeOS",
    ),
    "curl/8.5.0": ("", ""),
    "": ("", ""),
}


def test_browsers_and_systems_are_named_as_people_know_them() -> None:
    for header, (browser, system) in HEADERS.items():
        assert parse_user_agent(header) == Agent(browser, system), header
        assert parse_user_agent(header[:200]) == Agent(browser, system), "sessions keep 200"


@given(st.text())
def test_nothing_of_the_header_itself_is_in_the_words(header: str) -> None:
    found = parse_user_agent(header)
    assert found.browser in {"", *(browser for browser, _ in HEADERS.values()), "Vivaldi"}
    assert found.system in {"", "iPad", *(system for _, system in HEADERS.values())}


def test_what_is_far_too_long_is_not_read() -> None:
    assert parse_user_agent("x" * MAX_CHARACTERS + "Firefox/1") == Agent("", "")
