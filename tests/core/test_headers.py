"""Managed headers: all of them, always, and nothing that a proxy could read otherwise."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.headers import MAX_HEAD_BYTES, encode_list, encode_value, identity_headers, needs_assertion
from gateway.core.model import HeaderSpec
from tests.core.build import identity, tenant

SOURCES = ("sub", "email", "username", "preferred_username", "name", "groups", "roles", "tenant", "provider", "assertion", "claim:custom:department")
EVERYTHING = tuple(HeaderSpec(f"X-{s.replace(':', '-')}", s, "none" if s.startswith("claim:") else "") for s in SOURCES)


def test_every_managed_header_is_there_with_and_without_an_identity() -> None:
    at = tenant(headers=EVERYTHING)
    full, empty = identity_headers(at, identity(), assertion="t"), identity_headers(at, None)
    assert full is not None
    assert empty is not None
    assert [n for n, _ in full] == [n for n, _ in empty] == [s.name for s in EVERYTHING]
    assert {v for _, v in empty} == {""}
    assert dict(full)["X-claim-custom-department"] == "none"


def test_a_claim_fills_its_header() -> None:
    headers = identity_headers(tenant(headers=EVERYTHING), identity(claims=(("custom:department", "R&D, Core"),)))
    assert headers is not None
    assert dict(headers)["X-claim-custom-department"] == "R&D, Core"


def test_with_the_policy_form_only_names_of_the_policy_leave() -> None:
    headers = identity_headers(tenant(group_header_names=frozenset({"a"})), identity(groups=("b", "a")))
    assert headers is not None
    assert dict(headers)["X-Groups"] == "a"


def test_what_does_not_fit_is_refused_whole() -> None:
    assert identity_headers(tenant(), identity(groups=("g" * MAX_HEAD_BYTES,))) is None
    assert identity_headers(tenant(), identity(groups=("g" * (MAX_HEAD_BYTES - 200),))) is not None


def test_the_assertion_is_made_only_where_a_header_carries_it() -> None:
    assert needs_assertion(tenant())
    assert not needs_assertion(tenant(headers=(HeaderSpec("X-User", "sub"),)))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("José", "Jos%C3%A9"),
        ("100%", "100%25"),
        ("a\r\nX: y", "a%0D%0AX: y"),
        ("\x00\x7f", "%00%7F"),
        (" a b ", "%20a b%20"),
        ("{{7*7}} $host", "{{7*7}} $host"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_value(text: str, encoded: str) -> None:
    assert encode_value(text) == encoded


@given(st.text(max_size=40))
def test_a_value_is_plain_ascii_keeps_its_edges_and_decodes_to_itself(text: str) -> None:
    encoded = encode_value(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded == encoded.strip()
    assert unquote(encoded, errors="surrogatepass") == text


@given(st.lists(st.text(min_size=1, max_size=12), max_size=5))
def test_a_list_splits_into_its_items(items: list[str]) -> None:
    encoded = encode_list(items)
    assert [unquote(part, errors="surrogatepass") for part in encoded.split(",") if encoded] == items
