"""The canonical path, and when two readers could differ about one."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.paths import CanonicalPath, canonical

PLAIN = {
    "/": "/",
    "/admin": "/admin",
    "/%41dmin": "/Admin",
    "/a%2eb/c.d": "/a.b/c.d",
    "/a%40b:c,d": "/a@b:c,d",
    "/gr%C3%B6%C3%9fe": "/größe",
    "/größe": "/größe",
    "/my%20file": "/my file",
    "/100%25": "/100%25",
    "/a...b/...": "/a...b/...",
    "/.well-known/x": "/.well-known/x",
    "/trailing/": "/trailing/",
}


@pytest.mark.parametrize(("raw", "path"), PLAIN.items(), ids=PLAIN)
def test_one_spelling_for_what_an_application_would_take_for_one_path(raw: str, path: str) -> None:
    assert canonical(raw) == CanonicalPath(path, ambiguous=False)


AMBIGUOUS = {
    "PATH-01 dots": "/public/../admin",
    "PATH-01 encoded dots": "/public/%2e%2e/admin",
    "PATH-01 half encoded dots": "/public/.%2E/admin",
    "PATH-01 encoded slash": "/public/..%2fadmin",
    "PATH-01 all encoded": "/public/%2e%2e%2fadmin",
    "PATH-01 empty segment": "/public//../admin",
    "PATH-01 single dot": "/public/./../admin",
    "PATH-01 last dots": "/public/..",
    "PATH-02": "/public%2f..%2fone/x",
    "PATH-04 encoded": "/public/secret%23/endpoint",
    "PATH-04 raw": "/public/secret#/endpoint",
    "PATH-05 question mark": "/secret%3f/public",
    "PATH-05 parameter": "/secret;/public",
    "PATH-05 parameter with value": "/secret;x=/public",
    "PATH-05 dots with parameter": "/..;/admin",
    "PATH-05 encoded parameter": "/admin%3b.css",
    "PATH-06": "/admin%0a.css",
    "PATH-06 delete": "/admin%7f.css",
    "PATH-09": "/public/%252e%252e/admin",
    "PATH-08 encoded": "/public%5c..%5Cadmin",
    "PATH-10 overlong": "/%c0%ae%c0%ae/admin",
    "PATH-10 not UTF-8": "/%ff",
    "Latin-1": "/caf%E9",
    "surrogate": "/%ed%a0%80",
    "RD-03": "//evil.test/x",
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_proxies_and_applications_read_differently_is_ambiguous(raw: str) -> None:
    found = canonical(raw)
    assert found is not None
    assert found.ambiguous


def test_what_stays_escaped_is_written_in_one_way() -> None:
    for raw in ("/caf%e9/%C3%A9%5c%c3", "/caf%E9/é%5C%C3"):
        assert canonical(raw) == CanonicalPath("/caf%E9/é%5C%C3", ambiguous=True)


MALFORMED = {
    "FWD-04 empty": "",
    "FWD-04 star": "*",
    "RD-04": "https://evil.example/path",
    "PATH-05 NUL": "/admin%00.css",
    "PATH-08 raw": "/public\\..\\admin",
    "PATH-10 raw bytes": "/\udcff",
    "PATH-10 no hex": "/%zz",
    "PATH-10 lone percent": "/%",
    "PATH-10 cut off": "/a%2",
    "control": "/a\nb",
    "space": "/a b",
    "NUL": "/\x00",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_what_no_honest_client_sends_is_malformed(raw: str) -> None:
    assert canonical(raw) is None


anything = st.text(
    alphabet=st.one_of(st.sampled_from("/.%;#?\\25eEfF0 aZ"), st.characters()), max_size=40
).map(lambda tail: "/" + tail)


@given(anything)
def test_canonicalising_twice_changes_nothing(raw: str) -> None:
    found = canonical(raw)
    if found is not None:
        assert canonical(quote(found.path, safe="/%;#?!$&'()*+,=:@")) == found


@given(anything)
def test_an_unambiguous_path_is_what_every_decoder_gets(raw: str) -> None:
    found = canonical(raw)
    if found is not None and not found.ambiguous:
        assert unquote(raw, errors="strict") == found.path.replace("%25", "%")
        assert ".." not in found.path.split("/")
        assert not any(ord(character) < 0x20 for character in found.path)


@given(
    st.text(
        alphabet=st.characters(
            exclude_characters="/;#?%\\\x7f", min_codepoint=0x20, exclude_categories=["Cs"]
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_escape_of_a_path_meets_the_same_rule(text: str) -> None:
    if text in {".", ".."}:
        return
    all_escaped = "/" + "".join(f"%{byte:02x}" for byte in text.encode())
    assert (
        canonical(all_escaped)
        == canonical("/" + quote(text))
        == CanonicalPath("/" + text, ambiguous=False)
    )
