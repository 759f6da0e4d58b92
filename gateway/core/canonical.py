"""One spelling for each person and group, so that a login, an event and an operator mean the same
one.

Rules:
- An e-mail address compares without case, in NFC, with its domain as A-labels: ``x@bücher.test`` is
  ``x@xn--bcher-kva.test``.
- An id or name that has the shape of a GUID compares in lower case (Microsoft writes them both
  ways), any other exactly, in NFC.
- Applied twice, each changes nothing. Whatever text comes in, each gives text: what is no address
  is still compared as one.
- Broader than what a login accepts (``hosts.email_domain``): to end too much is safe, to miss
  somebody is not.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, Literal

import idna

from gateway.core.hosts import canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORMS: Final[tuple[Literal["NFC", "NFD"], ...]] = ("NFC", "NFD")
_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
MAX_MARKS: Final = 30
"""Combining marks in a row (UAX #15, Stream-Safe Text Format). Sorting them takes the square of
their number, so a text with more is left as it came.
"""
_BECOME_MARKS: Final = "\u0f73\u0f75\u0f81\uff9e\uff9f"
"""No combining marks by class, and nothing else when decomposed."""
MAX_DOMAIN: Final = 253
"""Characters (RFC 1035 §3.1). A longer text is no domain, and IDNA would spend time on it."""


def canonical_address(value: str) -> str:
    """Of an e-mail address; a text without ``@`` is taken for a local part."""
    text = value.strip()
    local, at, domain = text.rpartition("@")
    if text.isascii():
        return f"{local}@{_without_dot(domain)}".lower() if at else text.lower()
    # Before case folding, which would make faß.de fass.de, another domain.
    return f"{_folded(local)}@{_domain(domain)}" if at else _folded(text)


def account_address(address: str, domain: str) -> str:
    """The spelling of an accepted address that applications know somebody by; ``domain`` is its
    canonical one (``hosts.email_domain``).

    Providers send one person's address in changing case. A local part beyond ASCII stays as it was
    sent: comparing without case, ``canonical_address`` gives different mailboxes one spelling there
    (``ß`` and ``ss``, the Kelvin sign and ``k``), and one person must not be taken for another.
    """
    local = address.partition("@")[0]
    return f"{local.lower() if local.isascii() else local}@{domain}"


def canonical_id(value: str) -> str:
    """Of a subject, an object id, a user id, or the id or name of a group or role."""
    if value.isascii():
        return value.lower() if len(value) == 36 and _GUID.fullmatch(value) else value
    return _normalized("NFC", value)


def canonical_ids(names: frozenset[str] | None) -> frozenset[str] | None:
    """Group and role names of a rule or a tenant, as those of an identity are written."""
    return None if names is None else frozenset(map(canonical_id, names))


def address_spellings(address: str) -> tuple[str, ...]:
    """How a system that compares text may hold a canonical address: Unicode or A-label domain,
    composed or decomposed. The canonical one first.
    """
    local, at, domain = address.rpartition("@")
    return _both_forms(f"{local}{at}{name}" for name in (domain, _unicode(domain)))


def id_spellings(identifier: str) -> tuple[str, ...]:
    """As ``address_spellings``, of a canonical id: a GUID also in upper case."""
    return (
        (identifier, identifier.upper())
        if _GUID.fullmatch(identifier)
        else _both_forms((identifier,))
    )


def _folded(text: str) -> str:
    """Without case, composed (Unicode §3.13, D145: decomposed first, for folding alone keeps the
    order of marks).
    """
    return _normalized("NFC", _normalized("NFD", text).casefold())


def has_long_marks(text: str) -> bool:
    """Whether more than ``MAX_MARKS`` combining marks follow one another, as they stand or once
    decomposed.
    """
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) or character in _BECOME_MARKS else 0
        if run > MAX_MARKS:
            return True
    return False


def _normalized(form: Literal["NFC", "NFD"], text: str) -> str:
    return text if has_long_marks(text) else unicodedata.normalize(form, text)


def _without_dot(domain: str) -> str:
    """Without the dot of a fully qualified name; what is no name keeps it, so that nothing is left
    that would be stripped in turn.
    """
    bare = domain.rstrip(".")
    return domain if bare[-1:].isspace() else bare


def _domain(text: str) -> str:
    bare = _without_dot(_normalized("NFC", text))
    folded = _folded(bare)
    return (
        folded
        if len(bare) > MAX_DOMAIN
        else canonical_host(bare) or canonical_host(folded) or folded
    )


def _unicode(domain: str) -> str:
    """With the letters that A-labels stand for; as it is where it has none."""
    try:
        return idna.decode(domain) if domain.startswith("xn--") or ".xn--" in domain else domain
    except (idna.IDNAError, UnicodeError):
        return domain


def _both_forms(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_normalized(form, text) for text in texts for form in _FORMS))
