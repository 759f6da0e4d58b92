"""What somebody typed, between two pages: sealed, so that a secret in it is not in the page that
asks whether to go on.

It is compressed: the same rules come again and again in it, and a page has few kilobytes. A draft
opens for whoever made it, in the same sign-in, for the same tenant, within an hour, or within the
time that its form says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import zlib
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.console.sign_in import Person

LIFETIME_S: Final = 3600
"""Long enough to ask a colleague; shorter than the secret in it is worth."""
_PURPOSE: Final = b"compressed console draft"
"""Names the form of what is sealed: a release with another one has another purpose."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of JSON: a form and a stored document, with each of their characters escaped."""
_NONCE_BYTES: Final = 12
_KNOWN_BYTES: Final = 8


class Drafts:
    """``keys``: secrets, the one that writes first; others are still read after a rotation.
    ``clock`` is UTC epoch seconds.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]], clock: Callable[[], float]) -> None:
        self._keys, self._clock = keys, clock

    def seal(
        self, person: Person, about: str, content: object, *, lifetime_s: int = LIFETIME_S
    ) -> str:
        """``about``: the form, with its tenant; ``content`` is JSON. ``lifetime_s``: longer for
        what holds no secret.
        """
        plain = zlib.compress(json.dumps([int(self._clock()) + lifetime_s, content]).encode())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = AESGCM(_key(self._keys()[0])).encrypt(nonce, plain, _bound(person, about))
        return base64.urlsafe_b64encode(nonce + ciphertext).decode("ascii")

    def open(self, person: Person, about: str, draft: str) -> Any:
        """The content; None for what is no draft of theirs, an old one, or one of more than
        ``MAX_BYTES``.
        """
        try:
            raw = base64.b64decode(draft, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) < _NONCE_BYTES + _KNOWN_BYTES:
            return None
        for key in self._keys():
            try:
                plain = AESGCM(_key(key)).decrypt(
                    raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(person, about)
                )
            except InvalidTag:
                continue
            decompressor = zlib.decompressobj()
            text = decompressor.decompress(plain, MAX_BYTES)
            if not decompressor.eof:
                return None
            until, content = json.loads(text)
            return content if self._clock() < until else None
        return None


def _key(key: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE, hashlib.sha256)


def _bound(person: Person, about: str) -> bytes:
    return f"{person.tenant}\n{person.sub}\n{person.auth_time}\n{about}".encode()
