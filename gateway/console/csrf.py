"""Forms are the console's own: a token bound to the sign-in and to the address that the form is
sent to, and an ``Origin`` that is the console's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.console.sign_in import Person

FIELD: Final = "token"
_PURPOSE: Final = b"console form"


class FormTokens:
    """``keys``: secrets, the one that writes first; others are still read after a rotation."""

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys

    def issue(self, person: Person, path: str) -> str:
        """For a form that is sent to ``path``, by this person, until they sign in again."""
        return _token(self._keys()[0], person, path)

    def accepts(self, token: str, person: Person, path: str) -> bool:
        return any(
            hmac.compare_digest(_token(key, person, path).encode(), token.encode())
            for key in self._keys()
        )


def is_own_origin(headers: Mapping[str, str], origin: str) -> bool:
    """Browsers say with every form where it stood. Without that, nothing is believed."""
    return headers.get("Origin") == origin and headers.get("Sec-Fetch-Site") in {
        None,
        "same-origin",
    }


def _token(key: bytes, person: Person, path: str) -> str:
    session = f"{person.tenant}\n{person.sub}\n{person.auth_time}"
    text = f"{session}\n{path}".encode()
    mac = hmac.digest(hmac.digest(key, _PURPOSE, hashlib.sha256), text, hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")
