"""One spelling for each person and group."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.canonical import (
    MAX_MARKS,
    address_spellings,
    canonical_address,
    canonical_id,
    has_long_marks,
    id_spellings,
)
from gateway.core.hosts import email_domain
from tests.core.build import rule, tenant
from tests.core.test_login import accepted

GUID = "6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01"
TEXTS = st.one_of(
    st.text(max_size=40), st.text("aAéÉ\u0301\u0345ßſK\u212aİ@.ü。.xn-- \u0315\u0300", max_size=40)
)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("Alice@ACME.test", "alice@acme.test"),
        (" alice@acme.test. ", "alice@acme.test"),
        ("x@bücher.test", "x@xn--bcher-kva.test"),
        ("x@BÜCHER.test", "x@xn--bcher-kva.test"),
        ("x@bu\u0308cher.test", "x@xn--bcher-kva.test"),
        ("X@XN--BCHER-KVA.TEST", "x@xn--bcher-kva.test"),
        ("jose\u0301@acme.test", "josé@acme.test"),
        ("JOSÉ@acme.test", "josé@acme.test"),
        ("x@faß.test", "x@xn--fa-hia.test"),
        ("x@xn--a.test", "x@xn--a.test"),
        ("no address", "no address"),
        ("", ""),
    ],
)
def test_an_address_has_one_spelling(spelling: str, canonical: str) -> None:
    assert canonical_address(spelling) == canonical


def test_what_are_two_domains_stay_two() -> None:
    assert canonical_address("x@faß.test") != canonical_address("x@fass.test")


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        (GUID.upper(), GUID),
        ("00uABC", "00uABC"),
        ("Café", "Café"),
        ("Cafe\u0301", "Café"),
        (f"x{GUID.upper()}", f"x{GUID.upper()}"),
        ("", ""),
    ],
)
def test_an_id_is_exact_but_for_composition_and_the_case_of_guids(
    spelling: str, canonical: str
) -> None:
    assert canonical_id(spelling) == canonical


@given(TEXTS)
def test_canonical_twice_is_canonical_once_and_says_the_same_of_every_composition(
    text: str,
) -> None:
    for canonical in (canonical_address, canonical_id):
        once = canonical(text)
        assert canonical(once) == once
        assert (
            canonical(unicodedata.normalize("NFD", text))
            == canonical(unicodedata.normalize("NFC", text))
            == once
        )


@given(TEXTS)
def test_every_spelling_that_is_tried_elsewhere_is_the_same_person(text: str) -> None:
    address, identifier = canonical_address(text), canonical_id(text)
    assert address_spellings(address)[0] == address
    assert {canonical_address(spelling) for spelling in address_spellings(address)} == {address}
    assert id_spellings(identifier)[0] == identifier
    assert {canonical_id(spelling) for spelling in id_spellings(identifier)} == {identifier}


def test_the_spellings_that_a_pool_may_hold() -> None:
    assert address_spellings("josé@xn--bcher-kva.test") == (
        "josé@xn--bcher-kva.test",
        "jose\u0301@xn--bcher-kva.test",
        "josé@bücher.test",
        "jose\u0301@bu\u0308cher.test",
    )
    assert address_spellings("bob@acme.test") == ("bob@acme.test",)
    assert address_spellings("bob@xn--a.test") == ("bob@xn--a.test",), "stands for nothing"
    assert id_spellings(GUID) == (GUID, GUID.upper())


def test_marks_without_end_are_left_alone() -> None:
    many = "a" + "\u0315\u0300" * MAX_MARKS
    assert canonical_id(many) == many
    hidden = "a" + "\u0f73\u0f81" * MAX_MARKS
    assert canonical_id(hidden) == hidden
    few = "a" + "\u0315\u0300" * (MAX_MARKS // 2)
    assert canonical_id(few) == unicodedata.normalize("NFC", few) != few


def test_every_character_that_becomes_a_mark_counts_as_one() -> None:
    starters = (
        chr(point)
        for point in range(0x110000)
        if not 0xD800 <= point < 0xE000 and not unicodedata.combining(chr(point))
    )
    become = [
        character
        for character in starters
        if unicodedata.combining(unicodedata.normalize("NFKD", character)[0])
    ]
    assert all(has_long_marks(character * (MAX_MARKS + 1)) for character in become)
    assert become


def test_a_login_with_a_decomposed_domain_is_the_domains_and_one_with_a_sign_that_nobody_types_is_not() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    assert email_domain("x@bu\u0308cher.test") == "xn--bcher-kva.test"
    assert email_domain("x@boo\u212a.test") is None
    assert email_domain("x@\uf900.test") is None, "a compatibility ideograph"


def test_group_and_role_names_of_claims_and_policy_meet_however_they_were_typed() -> None:
    composed, decomposed = frozenset({"Café", GUID}), frozenset({"Cafe\u0301", GUID.upper()})
    claims = accepted(
        {"custom:groups": f"[Cafe\u0301, {GUID.upper()}]", "custom:roles": "Cafe\u0301"}
    ).identity
    assert (claims.groups, claims.roles) == (("Café", GUID), ("Café",))
    policy = tenant(
        allowed_groups=decomposed, allowed_roles=decomposed, group_header_names=decomposed
    )
    assert (policy.allowed_groups, policy.allowed_roles, policy.group_header_names) == (
        composed,
        composed,
        composed,
    )
    limited = rule("/x", groups=decomposed, roles=decomposed)
    assert (limited.groups, limited.roles) == (composed, composed)
