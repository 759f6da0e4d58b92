"""Host names and e-mail domains: one spelling, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.hosts import (
    canonical_host,
    client_key,
    email_domain,
    is_localhost,
    parse_host_header,
    plain_address,
)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("app.acme.test", "app.acme.test"),
        ("APP.ACME.TEST", "app.acme.test"),
        ("app.acme.test.", "app.acme.test"),
        ("app.acme.test:8443", "app.acme.test"),
        ("app.acme.test:evil", None),
        ("app.acme.test:0", None),
        ("app.acme.test:65536", None),
        ("app.acme.test:", None),
        ("app.acme.test@evil.test", None),
        ("app.acme.test, evil.test", None),
        ("app.acme.test evil", None),
        ("app.acme.test/evil", None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("127.0.0.1", None),
        ("[::1]", None),
        ("[::1]:80", None),
        ("\u0430pp.acme.test", None),
        ("xn--pp-5ka.acme.test", "xn--pp-5ka.acme.test"),
        ("a" * 64 + ".test", None),
        ("a." * 127 + "toolong", None),
        ("-a.test", None),
        ("a-.test", None),
    ],
    ids=repr,
)
def test_host_on_the_wire(sent: str, expected: str | None) -> None:
    """(HOST-02 to HOST-13 of the attack corpus)"""
    assert parse_host_header(sent) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("xn--a.example", None),
        ("App.Example.", "app.example"),
        (" a.example", None),
        ("a_b.example", "a_b.example"),
        ("\u200b.example", None),
        ("10.0.0.1", None),
    ],
    ids=repr,
)
def test_configured_host(written: str, expected: str | None) -> None:
    assert canonical_host(written) == expected


def test_this_machine_is_localhost_and_every_name_below_it() -> None:
    assert all(map(is_localhost, ("localhost", "a.localhost", "a.b.localhost")))
    assert not any(map(is_localhost, ("alocalhost", "localhost.test", "", "127.0.0.1")))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@good.com", "good.com"),
        ("A+x.y@GOOD.com", "good.com"),
        ("a@bücher.example", "xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a@straße.de", "xn--strae-oqa.de"),
        ("attacker@evil.com@good.com", None),
        ('"a@evil.com"@good.com', None),
        ("a@good.com@evil.com", None),
        ("a@good.com.", None),
        (" a@good.com", None),
        ("a@good.com ", None),
        ("a\t@good.com", None),
        ("a\u200b@good.com", None),
        ("a\u00a0@good.com", None),
        ("a@g\u043eod.com", "xn--god-sed.com"),
        ("a@good\u3002com", None),
        ("a@\uff47ood.com", None),
        ("a@\u212aelvin.com", None),
        ("@good.com", None),
        ("a@", None),
        ("a", None),
        ("a" * 65 + "@good.com", None),
        ("a@" + "g" * 254 + ".com", None),
        ("a@10.0.0.1", None),
        ("a,b@good.com", None),
        ("a@\U0001f600.com", None),
    ],
    ids=repr,
)
def test_domain_of_an_address(address: str, expected: str | None) -> None:
    """(EML-01 to EML-06)"""
    assert email_domain(address) == expected


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[A-Za-z0-9.:-]{1,30}", fullmatch=True)))
def test_canonicalising_twice_changes_nothing(text: str) -> None:
    for function in (parse_host_header, canonical_host):
        once = function(text)
        if once is not None:
            assert function(once) == once
            assert once == once.lower()
            assert once.isascii()


@given(st.text(max_size=60))
def test_an_address_with_a_domain_has_one_at_sign_and_nothing_invisible(text: str) -> None:
    domain = email_domain(text)
    if domain is not None:
        assert text.count("@") == 1
        assert text.isprintable()
        assert canonical_host(domain) == domain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("::10.0.0.1", "::a00:1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_an_ipv4_address_within_ipv6_is_the_ipv4_address(text: str, plain: str) -> None:
    assert str(plain_address(text)) == plain


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("192.0.2.1:80", "unknown"),
    ],
)
def test_a_client_is_counted_by_its_address_or_its_line(client: str, counted: str) -> None:
    assert client_key(client) == counted
