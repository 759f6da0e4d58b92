"""Every redirect of the corpus, and the property behind it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.returns import MAX_RETURN_CHARACTERS, safe_return

DATA = Path(__file__).parents[1] / "data"
HOST = "app.acme.test"
ORIGIN = f"https://{HOST}"
REFUSED = [unquote(line) for line in (DATA / "openredirects.txt").read_text("utf-8").splitlines()]
ACCEPTED = [
    line.split("\t") for line in (DATA / "redirect_ok.tsv").read_text("utf-8").splitlines()[1:]
]


def allowed(host: str) -> str | None:
    return ORIGIN if host == HOST else None


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_every_redirect_of_the_corpus_is_refused(value: str) -> None:
    assert safe_return(value, origin=ORIGIN, allowed=allowed) is None


@pytest.mark.parametrize(("encoded", "expected"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_every_allowed_redirect_is_accepted_and_leads_where_it_says(
    encoded: str, expected: str
) -> None:
    absolute = expected if expected.startswith("https://") else ORIGIN + expected
    result = safe_return(unquote(encoded), origin=ORIGIN, allowed=allowed)
    assert result is not None
    assert unquote(result) == unquote(absolute)


def test_what_is_encoded_again_and_again_is_refused() -> None:
    assert safe_return("/%25252541", origin=ORIGIN, allowed=allowed)
    assert safe_return("/%2525252525252541", origin=ORIGIN, allowed=allowed) is None


def test_another_tenants_host_is_refused() -> None:
    assert safe_return("https://app.globex.test/", origin=ORIGIN, allowed=allowed) is None


def test_a_port_that_is_not_the_origins_is_refused() -> None:
    def local(host: str) -> str | None:
        return "http://app.localhost:8000" if host == "app.localhost" else None

    assert (
        safe_return("http://app.localhost:8000/x", origin=ORIGIN, allowed=local)
        == "http://app.localhost:8000/x"
    )
    assert safe_return("http://app.localhost/x", origin=ORIGIN, allowed=local) is None
    assert safe_return("https://app.localhost:8000/x", origin=ORIGIN, allowed=local) is None


def test_what_is_too_long_is_refused() -> None:
    assert safe_return("/" + "a" * (MAX_RETURN_CHARACTERS - 1), origin=ORIGIN, allowed=allowed)
    assert safe_return("/" + "a" * MAX_RETURN_CHARACTERS, origin=ORIGIN, allowed=allowed) is None
    # As it is kept: twelve characters for each of these.
    assert safe_return(
        "/" + "\U0001f600" * (MAX_RETURN_CHARACTERS // 12), origin=ORIGIN, allowed=allowed
    )
    assert (
        safe_return(
            "/" + "\U0001f600" * (MAX_RETURN_CHARACTERS // 12 + 1), origin=ORIGIN, allowed=allowed
        )
        is None
    )


@pytest.mark.parametrize(
    "value",
    [
        "/_auth/logout",
        "/_AUTH/x",
        "/a/../_auth/login",
        "/%5fauth/logout",
        "/%255fauth",
        "//_auth",
        f"{ORIGIN}/_auth",
    ],
)
def test_the_gateways_own_pages_are_no_target(value: str) -> None:
    assert safe_return(value, origin=ORIGIN, allowed=allowed) is None


PIECES = [
    *"/\\:@?#.%25cfehtps;ajvrx \t\n\r\u3002\uff0f",
    HOST,
    "evil.test",
    "https:",
    "%2f",
    "%5c",
    "%09",
]
URLISH = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@given(st.one_of(URLISH, st.text(max_size=60)))
def test_nothing_that_is_accepted_leaves_the_host(value: str) -> None:
    result = safe_return(value, origin=ORIGIN, allowed=allowed)
    if result is None:
        return
    assert result.startswith(f"{ORIGIN}/")
    parts = urlsplit(result)
    assert (parts.scheme, parts.netloc) == ("https", HOST)
    assert result.isascii()
    assert "\\" not in result
    assert not any(ord(c) <= 0x20 for c in result)


@given(URLISH)
def test_accepting_twice_changes_nothing(value: str) -> None:
    once = safe_return(value, origin=ORIGIN, allowed=allowed)
    if once is not None:
        assert safe_return(once, origin=ORIGIN, allowed=allowed) == once
