"""How the text of a managed header is written, for applications that decode nothing and for those
that decode something else.

All encodings but ``ASCII`` are injective: two texts never look alike, so that nobody arrives as
somebody else. What a header cannot carry (controls, line ends, a blank at an edge that proxies
trim) is never sent raw, whatever the encoding.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Encoding(StrEnum):
    """Of a header's value."""

    PERCENT = "percent"
    """RFC 3986: UTF-8, everything but printable ASCII as ``%XX``; ``%`` as ``%25``."""
    UTF8 = "utf8"
    """The characters themselves, in UTF-8; only ``%``, controls, line separators and blanks at an
    edge as ``%XX``.
    """
    QUOTED_PRINTABLE = "quoted-printable"
    """RFC 2045 §6.7 in one line: UTF-8, everything but printable ASCII as ``=XX``; ``=`` as
    ``=3D``. Grafana's ``headers_encoded``.
    """
    RFC2047 = "rfc2047"
    """Printable ASCII as it is, else encoded words (``=?utf-8?b?…?=``) with a blank between
    them.
    """
    ASCII = "ascii"
    """The nearest letters of ASCII, ``?`` where there are none. Not injective: for names that
    people read.
    """


LIST_ENCODINGS: Final = frozenset({Encoding.PERCENT, Encoding.UTF8, Encoding.QUOTED_PRINTABLE})
"""In these a comma inside an item differs from one between two items."""
_WORD_BYTES: Final = 45
"""Of text in one encoded word, which may have 75 characters."""
_NEAREST: Final = str.maketrans(
    {
        "ß": "ss",
        "ẞ": "SS",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "ð": "d",
        "Ð": "D",
        "þ": "th",
        "Þ": "Th",
        "ı": "i",
        "’": "'",
        "‘": "'",
        "–": "-",
        "—": "-",
    }
)
"""Letters that have no decomposition in Unicode."""

_PERCENT = re.compile(r"[^\x20-\x24\x26-\x7e]|^ | $")
_PERCENT_ITEM = re.compile(r"[^\x20-\x24\x26-\x2b\x2d-\x7e]|^ | $")
_UTF8 = re.compile(r"[\x00-\x1f%\x7f-\x9f\u2028\u2029\ud800-\udfff]|^ | $")
_UTF8_ITEM = re.compile(r"[\x00-\x1f%,\x7f-\x9f\u2028\u2029\ud800-\udfff]|^ | $")
_QUOTED = re.compile(r"[^\x20-\x3c\x3e-\x7e]|^ | $")
_QUOTED_ITEM = re.compile(r"[^\x20-\x2b\x2d-\x3c\x3e-\x7e]|^ | $")
_PLAIN = re.compile(r"(?! )(?:(?!=\?)[\x20-\x7e])*(?<! )")
_NO_ASCII = re.compile(r"[^\x20-\x7e]")


def _escaped(sign: str, unsafe: re.Pattern[str]) -> Callable[[str], str]:
    def escape(match: re.Match[str]) -> str:
        return "".join(f"{sign}{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    def encode(text: str) -> str:
        return unsafe.sub(escape, text)

    return encode


def _encoded_words(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    words: list[str] = []
    word = b""
    for character in text:
        more = character.encode("utf-8", "surrogatepass")
        if len(word) + len(more) > _WORD_BYTES:  # RFC 2047 §5: a character stays in one word
            words.append(_word(word))
            word = b""
        word += more
    return " ".join((*words, _word(word)))


def _word(content: bytes) -> str:
    return f"=?utf-8?b?{b64encode(content).decode()}?="


def _nearest(text: str) -> str:
    letters = (
        character
        for character in unicodedata.normalize("NFKD", text.translate(_NEAREST))
        if not unicodedata.combining(character)
    )
    return _NO_ASCII.sub("?", "".join(letters)).strip(" ")


_VALUES: Final[Mapping[Encoding, Callable[[str], str]]] = {
    Encoding.PERCENT: _escaped("%", _PERCENT),
    Encoding.UTF8: _escaped("%", _UTF8),
    Encoding.QUOTED_PRINTABLE: _escaped("=", _QUOTED),
    Encoding.RFC2047: _encoded_words,
    Encoding.ASCII: _nearest,
}
_ITEMS: Final[Mapping[Encoding, Callable[[str], str]]] = {
    Encoding.PERCENT: _escaped("%", _PERCENT_ITEM),
    Encoding.UTF8: _escaped("%", _UTF8_ITEM),
    Encoding.QUOTED_PRINTABLE: _escaped("=", _QUOTED_ITEM),
}


def encode_value(text: str, encoding: Encoding = Encoding.PERCENT) -> str:
    """One value."""
    return _VALUES[encoding](text)


def encode_list(items: Iterable[str], encoding: Encoding = Encoding.PERCENT) -> str:
    """Items joined with ``,``; a comma inside an item is escaped. Only for ``LIST_ENCODINGS``."""
    return ",".join(map(_ITEMS[encoding], items))
