"""Which domains can be proven, and by which record."""

from __future__ import annotations

import re

import pytest

from gateway.domains.name import DomainError, provable, record_value, zones

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("acme.com", "acme.com"),
        (" ACME.com. ", "acme.com"),
        ("eu.mail.acme.co.uk", "eu.mail.acme.co.uk"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("acme.github.io", "acme.github.io"),
    ],
)
def test_a_domain_in_its_one_spelling(text: str, domain: str) -> None:
    assert provable(text) == domain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("it@acme.com", "not an address"),
        ("acme", "such as acme.com"),
        ("", "such as acme.com"),
        ("a" * 300, "such as acme.com"),
        (".".join(["a" * 60] * 4) + ".com", "such as acme.com"),
        ("10.0.0.1", "such as acme.com"),
        ("*.acme.com", "such as acme.com"),
        ("_gateway-verify.acme.com", "such as acme.com"),
        ("acme.com/x", "such as acme.com"),
        ("com", "such as acme.com"),
        ("co.uk", "public suffix"),
        ("github.io", "public suffix"),
        ("gmail.com", "public e-mail service"),
        ("x.gmail.com", "public e-mail service"),
        ("yahoo.co.jp", "public e-mail service"),
        ("hotmail.fr", "public e-mail service"),
    ],
)
def test_what_nobody_can_prove_is_refused(text: str, said: str) -> None:
    with pytest.raises(DomainError, match=said):
        provable(text)


def test_the_value_is_of_the_tenant_and_the_domain_alone() -> None:
    value = record_value(KEY, "acme", "acme.com")
    assert re.fullmatch(r"gateway-verify=[a-z2-7]{26}", value)
    assert value == record_value(KEY, "acme", "acme.com")
    others = {
        record_value(KEY, "globex", "acme.com"),
        record_value(KEY, "acme", "eu.acme.com"),
        record_value(bytes(32), "acme", "acme.com"),
    }
    assert value not in others and len(others) == 3


def test_zones_end_before_the_public_suffix() -> None:
    assert zones("a.eu.acme.co.uk") == ("a.eu.acme.co.uk", "eu.acme.co.uk", "acme.co.uk")
