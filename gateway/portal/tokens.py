"""Forms are the portal's own: a token bound to the browser's cookie and to the address that the
form is sent to, and an ``Origin`` that is the login host's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIELD: Final = "token"
_PURPOSE: Final = b"setup form"


class FormTokens:
    """``keys``: secrets, the one that writes first; others are still read after a rotation."""

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys

    def issue(self, cookie: str, path: str) -> str:
        return _token(self._keys()[0], cookie, path)

    def accepts(self, token: str, cookie: str, path: str) -> bool:
        return any(
            hmac.compare_digest(_token(key, cookie, path).encode(), token.encode())
            for key in self._keys()
        )


def is_own_origin(headers: Mapping[str, str], origin: str) -> bool:
    """Browsers say with every form where it stood. Without that, nothing is believed."""
    return headers.get("Origin") == origin and headers.get("Sec-Fetch-Site") in {
        None,
        "same-origin",
    }


def _token(key: bytes, cookie: str, path: str) -> str:
    mac = hmac.digest(
        hmac.digest(key, _PURPOSE, hashlib.sha256), f"{cookie}\n{path}".encode(), hashlib.sha256
    )
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")
