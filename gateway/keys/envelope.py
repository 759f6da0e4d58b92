"""A key ring's file that is encrypted: under a data key that a key service keeps encrypted.

The data key is used once. Which key of the service holds it, and for what purpose it may be opened
(the encryption context), is authenticated with the ring: another word there, and it does not open.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""NIST SP 800-38D §8.2.2; a data key seals one text."""
_VERSION: Final = "cognito-gateway key ring 1"


class Opening(Protocol):
    """Raises ``ConfigError``, or ``UnavailableError`` where the service may answer later."""

    def open(self, text: str, *, source: str) -> str: ...


class Wrapping(Opening, Protocol):
    """The same for writing."""

    def seal(self, text: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the file holds. ``data_key`` is encrypted by the key service."""

    key_id: str
    context: Mapping[str, str]
    data_key: bytes
    nonce: bytes
    sealed: bytes = field(repr=False)

    def dump(self) -> str:
        service = {
            "key_id": self.key_id,
            "context": dict(self.context),
            "data_key": _text(self.data_key),
        }
        payload = {"nonce": _text(self.nonce), "sealed": _text(self.sealed)}
        return json.dumps({"kms": service, **payload}, indent=1)


def is_envelope(text: str) -> bool:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "kms" in document


def parse(text: str, *, source: str) -> Envelope:
    """Inverse of ``Envelope.dump``. Raises ``ConfigError`` that never quotes the file."""
    try:
        document = json.loads(text)
        service = document["kms"]
        context = {str(name): str(value) for name, value in service["context"].items()}
        nonce = base64.b64decode(document["nonce"], validate=True)
        return Envelope(
            str(service["key_id"]),
            context,
            base64.b64decode(service["data_key"], validate=True),
            nonce,
            base64.b64decode(document["sealed"], validate=True),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{source}: is not a key ring that was encrypted by gateway keys wrap"
        raise ConfigError(msg) from error


def seal(
    text: str, *, data_key: bytes, encrypted: bytes, key_id: str, context: Mapping[str, str]
) -> Envelope:
    """``data_key`` in clear, used for this text alone; ``encrypted`` is the same by the service."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    ciphertext = AESGCM(data_key).encrypt(nonce, text.encode(), _bound(key_id, context, encrypted))
    return Envelope(key_id, context, encrypted, nonce, ciphertext)


def open_sealed(envelope: Envelope, data_key: bytes, *, source: str) -> str:
    """Raises ``ConfigError`` for a file that was changed."""
    bound = _bound(envelope.key_id, envelope.context, envelope.data_key)
    try:
        return AESGCM(data_key).decrypt(envelope.nonce, envelope.sealed, bound).decode()
    except (InvalidTag, ValueError) as error:
        msg = f"{source}: was changed after it was encrypted: put its backup back"
        raise ConfigError(msg) from error


def _bound(key_id: str, context: Mapping[str, str], encrypted: bytes) -> bytes:
    """Additional authenticated data."""
    return json.dumps([_VERSION, key_id, sorted(context.items()), _text(encrypted)]).encode()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
