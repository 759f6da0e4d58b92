"""The Authorization header: what of it is ours to judge, and what is left for the application.

Rules:
- A bearer token is read only where one line holds one well-formed credential; it is left for the
  application.
- An app password is known by its form (``gwap_…``). Whatever holds one, in any scheme, however its
  base64 is written, never reaches an application, on any path, nor does a Basic credential that is
  too long to look; it is judged only as the password of one well-formed Basic credential (RFC
  7617).
- The user name that comes with an app password is not read: the password says whose it is.
- Any other Basic credential is the application's, unless a rule takes passwords of the pool's users
  (``AuthRequest.basic``): then no application of the tenant gets one.
- Two lines are no credential (RFC 9110 §11.6.2 knows one), and of two none is left.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PREFIX: Final = "gwap_"
"""How every app password begins: what scanners of leaked secrets look for."""
MAX_BASIC_CHARACTERS: Final = 16 * 1024
"""A longer Basic credential counts as one that holds an app password: reading it in every way would
be a stranger's to ask for, and hold up everybody's checks.
"""
_SHORTEST: Final = 7
"""Characters of base64 in which the prefix can be."""
_APP_PASSWORD = re.compile(r"gwap_[A-Za-z0-9_-]{69}", re.ASCII)
_CREDENTIAL = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""b64token, RFC 6750 §2.1."""
_EITHER: Final = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]")


@dataclass(frozen=True, slots=True)
class Basic:
    """User name and password of one Basic credential that holds no app password (RFC 7617); both
    are empty where it is malformed. Never shown.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Authorization:
    """``bearer`` and ``basic``: as in ``AuthRequest``. ``app_password``: None where there is none,
    "" where one is there that cannot be judged.
    """

    bearer: str | None = field(default=None, repr=False)
    app_password: str | None = field(default=None, repr=False)
    passed: str = field(default="", repr=False)
    """The header for the application."""
    basic: Basic | None = field(default=None, repr=False)


_NOTHING = Authorization()


def read(lines: Sequence[str]) -> Authorization:
    """Of all Authorization lines of a request."""
    if not lines:
        return _NOTHING
    if len(lines) > 1:
        return Authorization(bearer="", app_password="" if any(map(_holds, lines)) else None)
    line = lines[0]
    if _holds(line):
        return Authorization(app_password=_password(line))
    # Bytes that no header of an answer can carry back are left out.
    return Authorization(bearer(line), None, line if line.isprintable() else "", _basic(line))


def bearer(line: str) -> str | None:
    """The token of a well-formed Bearer credential; None where no other scheme is ours to read; ""
    for a malformed one.
    """
    scheme, _, credential = line.partition(" ")
    if scheme.lower() != "bearer":
        return None
    return credential if _CREDENTIAL.fullmatch(credential) else ""


def _holds(line: str) -> bool:
    """Whether any reader could find an app password in it."""
    if PREFIX in line:
        return True
    text = line.lstrip()
    return text[:5].lower() == "basic" and (
        len(text) > MAX_BASIC_CHARACTERS
        or any(PREFIX.encode() in text_bytes for text_bytes in _readings(text[5:]))
    )


def _readings(text: str) -> Iterable[bytes]:
    """What lenient decoders make of base64: they skip what is none, take either alphabet or one,
    and go on behind padding, or across it.
    """
    raw = text.encode("ascii", "ignore")
    for alphabet in (
        raw.translate(_EITHER),
        raw.translate(None, b"-_"),
        raw.translate(None, b"-_+/"),
    ):
        plain = _NOT_BASE64.sub(b"", alphabet)
        # Each piece begins anew at a group of four, so all are decoded at once.
        pieces = b"".join(
            piece + b"A" * (-len(piece) % 4)
            for piece in plain.split(b"=")
            if len(piece) >= _SHORTEST
        )
        across = plain.replace(b"=", b"")
        yield binascii.a2b_base64(pieces)
        yield binascii.a2b_base64(across + b"A" * (-len(across) % 4))


def _password(line: str) -> str:
    password = _decoded(line).password
    return password if _APP_PASSWORD.fullmatch(password) else ""


def _basic(line: str) -> Basic | None:
    """Whatever a lenient reader would take for one is one, and malformed where it is not in the one
    spelling.
    """
    return _decoded(line) if line.lstrip()[:5].lower() == "basic" else None


def _decoded(line: str) -> Basic:
    scheme, _, credential = line.partition(" ")
    if scheme.lower() != "basic":
        return Basic()
    try:
        name, colon, password = (
            binascii.a2b_base64(credential, strict_mode=True).decode("utf-8").partition(":")
        )
    except (binascii.Error, ValueError):
        return Basic()
    return Basic(name, password) if colon else Basic()
