"""How a header's text is written: as an application reads it, and so that two texts never look
alike.
"""

from __future__ import annotations

import quopri
from email.header import decode_header, make_header
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.header_encoding import LIST_ENCODINGS, Encoding, encode_list, encode_value

if TYPE_CHECKING:
    from collections.abc import Callable


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
    assert [
        unquote(part, errors="surrogatepass") for part in encoded.split(",") if encoded
    ] == items


DECODERS: dict[Encoding, Callable[[str], str]] = {
    Encoding.PERCENT: lambda sent: unquote(sent, errors="surrogatepass"),
    Encoding.UTF8: lambda sent: unquote(sent, errors="surrogatepass"),
    Encoding.QUOTED_PRINTABLE: lambda sent: quopri.decodestring(sent.encode()).decode(
        "utf-8", "surrogatepass"
    ),
    Encoding.RFC2047: lambda sent: str(make_header(decode_header(sent))),
}
"""What others wrote to read each encoding."""
ZOE = "Zoë Ångström"


@pytest.mark.parametrize(
    ("encoding", "text", "sent"),
    [
        (Encoding.UTF8, ZOE, ZOE),
        (Encoding.UTF8, "100% \x85\u2028\n", "100%25 %C2%85%E2%80%A8%0A"),
        (Encoding.QUOTED_PRINTABLE, ZOE, "Zo=C3=AB =C3=85ngstr=C3=B6m"),
        (Encoding.QUOTED_PRINTABLE, "1 + 1 = 2 ", "1 + 1 =3D 2=20"),
        (Encoding.RFC2047, "Zoe Angstrom", "Zoe Angstrom"),
        (Encoding.RFC2047, ZOE, "=?utf-8?b?Wm/DqyDDhW5nc3Ryw7Zt?="),
        (
            Encoding.RFC2047,
            "é" * 23,
            "=?utf-8?b?" + "w6nDqcOp" * 7 + "w6k=?= =?utf-8?b?w6k=?=",
        ),
        (Encoding.RFC2047, "=?utf-8?b?eA==?=", "=?utf-8?b?PT91dGYtOD9iP2VBPT0/PQ==?="),
        (Encoding.ASCII, ZOE, "Zoe Angstrom"),
        (Encoding.ASCII, "Łukasz Groß-Sørensen", "Lukasz Gross-Sorensen"),
        (Encoding.ASCII, "李 小龍\r\n ", "? ????"),
    ],
)
def test_a_name_is_written_as_the_application_reads_it(
    encoding: Encoding, text: str, sent: str
) -> None:
    assert encode_value(text, encoding) == sent


@pytest.mark.parametrize("encoding", DECODERS)
@given(text=st.text(max_size=120))
def test_every_encoding_but_ascii_gives_the_text_back(encoding: Encoding, text: str) -> None:
    sent = encode_value(text, encoding)
    assert sent == sent.strip(" ")
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in sent)
    if encoding is Encoding.RFC2047 and any(
        "\ud800" <= character <= "\udfff" for character in text
    ):
        # no reader of encoded words takes half a character; what is sent is still plain ASCII
        return
    assert DECODERS[encoding](sent) == text


@pytest.mark.parametrize("encoding", sorted(LIST_ENCODINGS))
@given(items=st.lists(st.text(min_size=1, max_size=12), max_size=5))
def test_a_list_in_any_encoding_splits_into_its_items(encoding: Encoding, items: list[str]) -> None:
    assert [
        DECODERS[encoding](part) for part in encode_list(items, encoding).split(",") if part
    ] == items


@given(text=st.text(max_size=40))
def test_ascii_is_ascii(text: str) -> None:
    sent = encode_value(text, Encoding.ASCII)
    assert sent.isascii()
    assert sent == "" or (sent.isprintable() and sent == sent.strip(" "))
