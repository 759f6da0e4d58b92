"""Whom a person asks for help, and the message that is begun for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_EMAIL = re.compile(r"[^\s@/?#:]+@[^\s@/?#:]+\.[^\s@/?#:]+")
MAX_VALUE_CHARACTERS: Final = 300
"""Of each line of the message: mail programs cut addresses of more than 2,000 characters."""


@dataclass(frozen=True, slots=True)
class Support:
    """``contact`` as it is shown; ``link``: where it leads, or "" for words such as a telephone
    number.
    """

    contact: str
    link: str

    def message(self, subject: str, lines: Sequence[tuple[str, object]]) -> str:
        """A link that begins a message of ``lines`` (label, value), those without a value left
        out; the contact's own page where it has one; else "".

        Every character that could begin another header or parameter is encoded (RFC 6068 §2).
        """
        if not self.link.startswith("mailto:"):
            return self.link
        body = "\r\n".join(
            f"{label}: {_line(str(value))}" if label else _line(str(value))
            for label, value in lines
            if value
        )
        return f"{self.link}?subject={quote(_line(subject), safe='')}&body={quote(body, safe='')}"


def support_of(contact: str) -> Support | None:
    """An e-mail address, an https URL, or words; None for none."""
    if not contact:
        return None
    if _EMAIL.fullmatch(contact):
        return Support(contact, f"mailto:{quote(contact, safe='@')}")
    return Support(contact, contact if contact.startswith("https://") else "")


def place_of(url: str) -> str:
    """``url`` without its query and fragment, which may hold what is nobody else's business."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path


def group_words(groups: Iterable[tuple[str, str]]) -> str:
    """For whoever grants membership: what the person read, and what the identity provider calls
    it.
    """
    return ", ".join(f"{label} ({name})" if label else name for name, label in groups)


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:MAX_VALUE_CHARACTERS]
