"""Nonces of the doctor: ours, unexpired, and recognised in a URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.probe import CHANCE_BYTES, answer_in, is_ours, issue, nonce_in, spells_location
from gateway.doctor.probes import CONFUSING

KEY = b"k" * 32
NOW = 1_800_000_000
chances = st.binary(min_size=CHANCE_BYTES, max_size=CHANCE_BYTES)


@given(chances, st.integers(min_value=NOW + 1, max_value=2**32 - 1))
def test_a_nonce_is_ours_until_it_expires(chance: bytes, expires_at: int) -> None:
    nonce = issue(KEY, chance=chance, expires_at=expires_at)
    assert is_ours((b"another", KEY), nonce, now=NOW)
    assert not is_ours((KEY,), nonce, now=expires_at)
    assert not is_ours((b"another",), nonce, now=NOW)
    assert not is_ours((), nonce, now=NOW)


def test_who_made_a_nonce_and_when_it_expires_is_told_by_whoever_holds_the_key() -> None:
    nonce = issue(KEY, chance=bytes(CHANCE_BYTES), expires_at=NOW + 1)
    assert is_ours((b"another", KEY), nonce, now=NOW)
    assert not is_ours((KEY,), nonce, now=NOW + 1)
    assert not is_ours((b"another",), nonce, now=NOW)
    assert nonce_in(f"/x?a=1&gateway-doctor={nonce}&b=2") == nonce
    for text in ("", "é", "A", nonce[:-1], nonce + "A"):
        assert not is_ours((KEY,), text, now=NOW)


@given(chances, st.integers(0, 42), st.sampled_from("AbZ09-_"))
def test_a_changed_nonce_is_nobodys(chance: bytes, place: int, letter: str) -> None:
    nonce = issue(KEY, chance=chance, expires_at=NOW + 60)
    changed = nonce[:place] + letter + nonce[place + 1 :]
    assert changed[:-1] == nonce[:-1] or not is_ours((KEY,), changed, now=NOW)


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_nonce_or_breaks_the_reader(text: str) -> None:
    assert not is_ours((KEY,), text, now=NOW)


@given(chances)
def test_it_is_found_in_the_query_wherever_it_stands(chance: bytes) -> None:
    nonce = issue(KEY, chance=chance, expires_at=NOW)
    for url in (
        f"/x?gateway-doctor={nonce}",
        f"/auth/envoy/x?a=1&gateway-doctor={nonce}&b=2",
        f"https://a.test/?gateway-doctor={nonce}#x",
    ):
        assert nonce_in(url) == nonce


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/?gateway-doctor=",
        "/?gateway-doctor=short",
        "/gateway-doctor=" + "a" * 43,
        "/?gateway-doctor=" + "a" * 44,
    ],
)
def test_what_is_no_nonce_is_not_found(url: str) -> None:
    assert nonce_in(url) is None


@pytest.mark.parametrize(
    "path",
    [
        "/_auth/doctor",
        "/x/../_auth/doctor",
        "//_auth//doctor",
        "/_auth%2fdoctor",
        "/_auth%252fdoctor",
        "/_AUTH/doctor",
        "/_auth/doctor;x",
        "/_auth/./doctor",
        "/_auth\\doctor",
    ],
)
def test_the_test_location_is_known_however_it_is_spelled(path: str) -> None:
    assert spells_location(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/doctor",
        "/_auth/login",
        "/admin/_auth",
        "/_auth/doctors",
        "/x_auth/doctor",
        "/_auth/doctor/" + "x" * 64,
    ],
)
def test_nothing_else_is_taken_for_the_test_location(path: str) -> None:
    assert not spells_location(path)


@pytest.mark.parametrize(
    "path",
    [
        "/_auth/doctor/../../admin",
        "/_auth/doctor/..%2f..%2fadmin",
        "/_auth/doctor/..;/..;/admin",
        "/admin;/_auth/doctor",
        "/admin/_auth/doctor",
        "/admin;_auth/doctor",
        "/_auth/../doctor",
        "/_auth/doctor/../..",
        "/_auth/doctor/../../",
        "/_auth/doctor%3f/admin",
        "/admin%2f_auth%2fdoctor",
        "/_auth/doctor#/../../admin",
        "/_auth/doctor\\..\\..\\admin",
    ],
)
def test_a_path_that_somebody_resolves_to_a_real_page_is_not_the_test_location(path: str) -> None:
    """Else a nonce would let its holder in there, past the tenant's rules."""
    assert not spells_location(path)


@pytest.mark.parametrize("path", CONFUSING)
def test_every_spelling_that_the_doctor_sends_is_known(path: str) -> None:
    assert spells_location(path)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/_auth/doctor?gateway-doctor-answer=399", 399),
        ("/_auth/doctor?gateway-doctor=x&gateway-doctor-answer=404&b=2", 404),
        ("/_auth/doctor?gateway-doctor-answer=503", 503),
        ("/_auth/doctor?gateway-doctor-answer=600", 600),
        ("/_auth/doctor?gateway-doctor-answer=200", None),
        ("/_auth/doctor?gateway-doctor-answer=302", None),
        ("/_auth/doctor?gateway-doctor-answer=4040", None),
        ("/_auth/doctor?xgateway-doctor-answer=404", None),
        ("/_auth/doctor?gateway-doctor-answer=", None),
        ("/_auth/doctor", None),
    ],
)
def test_a_probe_may_ask_for_a_status_that_no_proxy_takes_for_an_allow(
    url: str, status: int | None
) -> None:
    assert answer_in(url) == status
