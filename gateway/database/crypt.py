"""Secrets at rest: AES-256-GCM under the key ring's ``database`` keys.

Rules:
- A sealed value is ``KID.BASE64URL(nonce ‖ ciphertext)``; the first key of the ring writes, every
  key reads.
- Associated data is where the value lives (table, row, column): a value copied into another cell
  does not open.
- A plaintext is never in an exception, a log line or a ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.model import Secret
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.keys.ring import Key

_NONCE_BYTES = 12
"""NIST SP 800-38D §8.2.2: 96 random bits; safe for 2^32 values under one key, and rotation starts
anew.
"""


class Crypt:
    """Seals and opens single cells, under the keys as they are at that moment."""

    __slots__ = ("_ciphers", "_keys")

    def __init__(self, keys: Callable[[], Sequence[Key]]) -> None:
        """``keys`` is asked each time: a ring that was rotated while we run is obeyed at once."""
        self._keys = keys
        self._ciphers: dict[Key, AESGCM] = {}

    def seal(self, plaintext: Secret | str, *, table: str, row: str, column: str) -> str:
        text = plaintext.reveal() if isinstance(plaintext, Secret) else plaintext
        nonce = secrets.token_bytes(_NONCE_BYTES)
        key = self._keys()[0]
        ciphertext = nonce + self._cipher(key).encrypt(
            nonce, text.encode("utf-8"), _cell(table, row, column)
        )
        return f"{key.kid}.{base64.urlsafe_b64encode(ciphertext).decode('ascii')}"

    def open(self, sealed: str, *, table: str, row: str, column: str) -> Secret:
        """Raises ``ConfigError`` when the key is not in the ring, or the value is not the one
        written into this cell.
        """
        kid, _, encoded = sealed.partition(".")
        key = next((key for key in self._keys() if key.kid == kid), None)
        if key is None:
            msg = (
                f"SQL {table}/{row}/{column}: encrypted with key {kid!r}, which is not in the "
                "key ring (key_ring.file)"
            )
            raise ConfigError(msg)
        try:
            raw = base64.b64decode(encoded.encode("ascii"), altchars=b"-_", validate=True)
            return Secret(
                self._cipher(key)
                .decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _cell(table, row, column))
                .decode("utf-8")
            )
        except (InvalidTag, ValueError, binascii.Error) as error:
            msg = (
                f"SQL {table}/{row}/{column}: does not open; it was changed, copied from "
                "another row, or written under another key with this id"
            )
            raise ConfigError(msg) from error

    def has(self, kid: str) -> bool:
        """Whether the key of this id is in the ring."""
        return any(key.kid == kid for key in self._keys())

    def is_current(self, sealed: str) -> bool:
        """Whether the key that writes now wrote this."""
        return sealed.partition(".")[0] == self._keys()[0].kid

    def _cipher(self, key: Key) -> AESGCM:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = AESGCM(key.material)
        return cipher


def _cell(table: str, row: str, column: str) -> bytes:
    return json.dumps([table, row, column]).encode("utf-8")
