"""Which cookies of an application are expired, and with which lines."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.app_cookies import MAX_LINES_BYTES, MAX_SENT, AppCookie, expired

HOST = "app.example.com"


def names(entry: str, *sent: str) -> list[str]:
    """Of what is expired."""
    lines, left = expired(
        ["; ".join(f"{name}=x" for name in sent)],
        [AppCookie.parse(entry)],
        host=HOST,
        own="__Host-gw",
    )
    assert left == ()
    return list(dict.fromkeys(line.partition("=")[0] for line in lines))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("session", AppCookie("session")),
        ("jupyterhub-*", AppCookie("jupyterhub-*")),
        ("*", AppCookie("*")),
        ("hub; Path=/hub/", AppCookie("hub", "/hub/")),
        ("a*z;Path=/; Domain=example.com", AppCookie("a*z", "/", "example.com")),
        ("__Host-id", AppCookie("__Host-id")),
    ],
)
def test_an_entry_is_read_as_set_cookie_writes_it(text: str, entry: AppCookie) -> None:
    assert AppCookie.parse(text) == entry


@pytest.mark.parametrize(
    "text",
    [
        "",
        " session",
        "a b",
        "a=b",
        "a;b",
        "a,b",
        "ä",
        "a\r\nX: y",
        "a\n",
        "a**",
        "*a*",
        "x" * 129,
        "a; Path=hub",
        "a; Path=/x y",
        "a; Path=/x;y",
        "a; Path=/x\n",
        "a*; Path=/hub/",
        "a; Domain=com",
        "a; Domain=.example.com",
        "a; Domain=EXAMPLE.com",
        "a; Domain=a_b.com",
        "a; Domain=example.com; Path=/",
        "a; Secure",
        "__Host-id; Domain=example.com",
        "__Host-id; Path=/x",
        "a; Path=/" + "x" * 300,
    ],
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cookie|Domain"):
        AppCookie.parse(text)


def test_what_the_browser_sent_is_expired_by_name_and_pattern() -> None:
    sent = ("session", "Session", "jupyterhub-session-id", "jupyterhub-", "theme", "a-z", "az")
    assert names("session", *sent) == ["session"]
    assert names("jupyterhub-*", *sent) == ["jupyterhub-session-id", "jupyterhub-"]
    assert names("a*z", *sent) == ["a-z", "az"]
    assert names("az*z", *sent) == [], "no character counts twice"
    assert names("absent", *sent) == []
    assert names("*", "a[b]", "c,d", "e f", "x" * 200, "\xe9") == ["a[b]"], (
        "only what a line can carry"
    )


def test_the_gateways_own_cookies_are_never_expired() -> None:
    own = ("__Host-gw", "__Host-gw-login-abc", "__Host-gw-person", "__Host-gw-at-acme")
    assert names("*", *own, "session") == ["session"]
    assert names("__Host-gw", *own) == names("__Host-gw-*", *own) == []


def test_a_cookie_is_expired_for_the_host_and_for_its_domain() -> None:
    lines, _ = expired(
        ["session=1", "__Host-id=2"],
        [AppCookie.parse("session"), AppCookie.parse("__Host-*")],
        host=HOST,
        own="__Host-gw",
    )
    attributes = [
        (morsel["path"], morsel["domain"], morsel["max-age"], morsel["secure"])
        for line in lines
        for morsel in SimpleCookie(line).values()
    ]
    assert attributes == [("/", "", "0", True), ("/", HOST, "0", True), ("/", "", "0", True)]


def test_another_path_and_domain_are_written_down() -> None:
    lines, _ = expired([], [AppCookie.parse("hub; Path=/hub/")], host=HOST, own="__Host-gw")
    assert [line.split("; ")[1] for line in lines] == ["Path=/hub/", "Path=/hub/"], (
        "the browser does not send it here"
    )
    entry = AppCookie.parse("sso; Domain=example.com")
    lines, _ = expired(["sso=1"], [entry], host=HOST, own="__Host-gw")
    assert [line.rpartition("; ")[2] for line in lines] == ["Domain=example.com"]
    assert expired(["sso=1"], [entry], host="app.notexample.com", own="__Host-gw") == ((), ())


def test_of_a_pattern_no_more_is_expired_than_fits_and_whole_names_come_first() -> None:
    flood = "; ".join(f"app-{number}=1" for number in range(200))
    lines, left = expired(
        [f"{flood}; session=1"],
        [AppCookie.parse("app-*"), AppCookie.parse("session")],
        host=HOST,
        own="__Host-gw",
    )
    assert lines[0].startswith("session=;")
    assert sum(map(len, lines)) <= MAX_LINES_BYTES
    assert len(lines) // 2 + len(left) == 201
    more = "; ".join(f"app-{number}=1" for number in range(2 * MAX_SENT))
    lines, left = expired([more], [AppCookie.parse("app-*")], host=HOST, own="__Host-gw")
    assert len(lines) // 2 + len(left) == MAX_SENT, "more than any browser keeps"


@given(
    st.lists(st.text(max_size=200), max_size=4),
    st.sampled_from(["*", "session", "a*", "hub; Path=/hub/"]),
)
def test_whatever_is_sent_no_line_breaks_out_of_its_header(sent: list[str], entry: str) -> None:
    lines, _ = expired(sent, [AppCookie.parse(entry)], host=HOST, own="__Host-gw")
    assert all(line.isprintable() and line.isascii() and "; Max-Age=0; " in line for line in lines)
    assert not any(line.startswith("__Host-gw") for line in lines)
