"""Forms are our own: a token bound to whoever was shown the form and to the address that it is sent
to, and an ``Origin`` that is ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIELD: Final = "token"


class FormTokens:
    """``purpose``: whose forms; the tokens of one open no form of another. ``keys``: secrets, the
    one that writes first; others are still read after a rotation.
    """

    def __init__(self, purpose: str, keys: Callable[[], Sequence[bytes]]) -> None:
        self._purpose, self._keys = purpose.encode(), keys

    def issue(self, holder: str, path: str) -> str:
        """For a form that is sent to ``path`` by ``holder``: what names one browser or sign-in."""
        return self._token(self._keys()[0], holder, path)

    def accepts(self, token: str, holder: str, path: str) -> bool:
        return any(
            hmac.compare_digest(self._token(key, holder, path).encode(), token.encode())
            for key in self._keys()
        )

    def _token(self, key: bytes, holder: str, path: str) -> str:
        text = f"{holder}\n{path}".encode()
        purpose = hmac.digest(key, self._purpose, hashlib.sha256)
        mac = hmac.digest(purpose, text, hashlib.sha256)
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def is_own_origin(headers: Mapping[str, str], origin: str) -> bool:
    """Browsers say with every form where it stood. Without that, nothing is believed."""
    return headers.get("Origin") == origin and headers.get("Sec-Fetch-Site") in {
        None,
        "same-origin",
    }
