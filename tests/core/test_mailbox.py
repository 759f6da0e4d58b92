"""What mail is sent to."""

from __future__ import annotations

import pytest

from gateway.core.mailbox import mailbox


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("it@example.com", "it@example.com"),
        ("first.last+tag@Example.COM", "first.last+tag@example.com"),
        ("it@bücher.example", "it@xn--bcher-kva.example"),
    ],
)
def test_an_address_is_sent_with_its_domain_in_ascii(written: str, sent: str) -> None:
    assert mailbox(written) == sent


@pytest.mark.parametrize(
    "text",
    [
        "",
        "it",
        "it@localhost",
        "it@@example.com",
        "it@example.com\r\nBcc: x@example.com",
        "it@example.com, x@example.com",
        '"it x"@example.com',
        "<it@example.com>",
        "it..x@example.com",
        ".it@example.com",
        "ït@example.com",
        "it@exa mple.com",
        "it@[127.0.0.1]",
        "it@example.com\x00",
        "a" * 65 + "@example.com",
        "it@" + "a" * 250 + ".com",
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        mailbox(text)
