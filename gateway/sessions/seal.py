"""Tokens and sealing: what a browser holds opens what Redis holds, and neither is worth anything
alone.

Rules:
- A token (session cookie, ``state``, ticket) is a bucket and 256 random bits, in one spelling.
  Anything else never reaches the store.
- Redis knows a token by half of the SHA-256 of its random part: enough that no two tokens meet, and
  one that did would open nothing, since the whole random part is the key.
- What is stored is AES-256-GCM under HKDF(random part, salt = a key of the ring), so that a dump
  opens nothing without tokens, tokens and dump open nothing without the ring, and nobody without
  both can write a value that opens.
- Purpose, digest, tenant, host and key id are authenticated: a value moved to another digest,
  purpose, tenant or host does not open.
- An unknown version or key id is no session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.sessions.keyspace import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.keys.ring import Key

VERSION: Final = 1
RANDOM_BYTES: Final = 32
DIGEST_CHARACTERS: Final = 32
"""Each is kept twice for each session, as a key and in its family."""
NONCE_BYTES: Final = 12
"""GCM's. Keys are per token, so that random nonces are only ever drawn a few times per key."""

ALIASES_KEPT: Final = 4096
"""For each key. A login asks for some fifty, of which half are those of its group, provider and
tenant, or were asked for by the same login already.
"""

# 43 characters of base64url hold 258 bits: the last one has two spare bits, which must be zero, or
# one token would have four spellings.
_TOKEN = re.compile(r"[0-3][0-9a-f]{2}[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)
_FAMILY = re.compile(r"[0-3][0-9a-f]{2}[A-Za-z0-9_-]{22}", re.ASCII)
_BINDING = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token: session cookie, ``state`` or ticket."""

    bucket: int
    random: bytes = field(repr=False)
    digest: str = field(init=False, compare=False, repr=False)
    """The first 128 bits of the SHA-256 of the random part, in hex."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.random).hexdigest()[:DIGEST_CHARACTERS]
        object.__setattr__(self, "digest", digest)

    @property
    def text(self) -> str:
        return f"{self.bucket:03x}{_encode(self.random)}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def new_token(bucket: int, entropy: Callable[[int], bytes]) -> Token:
    """A fresh token of a bucket."""
    if not 0 <= bucket < BUCKETS:
        msg = f"bucket {bucket} of {BUCKETS}"
        raise ValueError(msg)
    return Token(bucket, entropy(RANDOM_BYTES))


def parse_token(text: str) -> Token | None:
    """The one spelling of a token, or None."""
    if _TOKEN.fullmatch(text) is None:
        return None
    return Token(int(text[:3], 16), base64.urlsafe_b64decode(text[3:] + "="))


def new_binding(entropy: Callable[[int], bytes]) -> str:
    """A value for the binding cookie: 256 random bits."""
    return _encode(entropy(RANDOM_BYTES))


def is_binding(text: str | None) -> bool:
    return text is not None and _BINDING.fullmatch(text) is not None


def binding_id(binding: str) -> str:
    """What a binding cookie is known by outside its browser: hex SHA-256. May travel in a URL."""
    return hashlib.sha256(binding.encode("ascii")).hexdigest()


def new_family(bucket: int, entropy: Callable[[int], bytes]) -> str:
    """A family's public id: its bucket, so that it can be found by itself, and 128 random bits; 25
    characters.
    """
    return f"{bucket:03x}{_encode(entropy(16))}"


def family_bucket(family: str) -> int | None:
    """Where a family is to be looked for; None for what is no family's id."""
    return int(family[:3], 16) if _FAMILY.fullmatch(family) else None


def derive(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) for one 32-byte block, which is two HMACs; the library's object costs
    five times as much on every check.
    """
    pseudo_random_key = hmac.digest(salt, secret, "sha256")
    return hmac.digest(pseudo_random_key, info + b"\x01", "sha256")


@dataclass(frozen=True, slots=True)
class Opened:
    """What a sealed value said, authenticated."""

    kid: str
    tenant: str
    host: str
    plaintext: bytes = field(repr=False)


def _header(key_id: str, tenant: str, host: str) -> bytes:
    parts = [text.encode() for text in (key_id, tenant, host)]
    return bytes([VERSION]) + b"".join(bytes([len(part)]) + part for part in parts)


def _associated(purpose: str, digest: str, header: bytes) -> bytes:
    return purpose.encode() + b"\x00" + bytes.fromhex(digest) + header


def seal(
    purpose: str,
    token: Token,
    plaintext: bytes,
    *,
    tenant: str,
    host: str,
    key: Key,
    entropy: Callable[[int], bytes],
) -> bytes:
    """Header in clear (version, key id, tenant, host), nonce, ciphertext."""
    header = _header(key.kid, tenant, host)
    nonce = entropy(NONCE_BYTES)
    cipher = AESGCM(
        derive(token.random, salt=key.material, info=f"gateway {purpose} v{VERSION}".encode())
    )
    return (
        header
        + nonce
        + cipher.encrypt(nonce, plaintext, _associated(purpose, token.digest, header))
    )


def unseal(purpose: str, token: Token, value: bytes, *, keys: tuple[Key, ...]) -> Opened | None:
    """None for whatever was not sealed for this purpose and token under a key of the ring."""
    try:
        if value[0] != VERSION:
            return None
        at, texts = 1, []
        for _ in range(3):
            length = value[at]
            texts.append(value[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kid, tenant, host = texts
    except (IndexError, UnicodeDecodeError):
        return None
    key = next((k for k in keys if k.kid == kid), None)
    if key is None or len(value) < at + NONCE_BYTES:
        return None
    header, nonce, ciphertext = value[:at], value[at : at + NONCE_BYTES], value[at + NONCE_BYTES :]
    cipher = AESGCM(
        derive(token.random, salt=key.material, info=f"gateway {purpose} v{VERSION}".encode())
    )
    try:
        return Opened(
            kid,
            tenant,
            host,
            cipher.decrypt(nonce, ciphertext, _associated(purpose, token.digest, header)),
        )
    except InvalidTag:
        return None


def seal_under(
    key: Key, purpose: str, name: str, plaintext: bytes, *, entropy: Callable[[int], bytes]
) -> bytes:
    """Seal under a ring key for whoever holds the ring: display records. ``name`` (the family) gets
    a key of its own.
    """
    header = bytes([VERSION, len(key.kid)]) + key.kid.encode()
    nonce = entropy(NONCE_BYTES)
    cipher = AESGCM(
        derive(key.material, salt=name.encode(), info=f"gateway {purpose} v{VERSION}".encode())
    )
    return header + nonce + cipher.encrypt(nonce, plaintext, name.encode() + b"\x00" + header)


def unseal_under(keys: tuple[Key, ...], purpose: str, name: str, value: bytes) -> bytes | None:
    """Inverse of ``seal_under``; None for anything else."""
    if len(value) < 2 or value[0] != VERSION:
        return None
    at = 2 + value[1]
    kid = value[2:at]
    key = next((k for k in keys if k.kid.encode() == kid), None)
    if key is None or len(value) < at + NONCE_BYTES:
        return None
    cipher = AESGCM(
        derive(key.material, salt=name.encode(), info=f"gateway {purpose} v{VERSION}".encode())
    )
    try:
        return cipher.decrypt(
            value[at : at + NONCE_BYTES],
            value[at + NONCE_BYTES :],
            name.encode() + b"\x00" + value[:at],
        )
    except InvalidTag:
        return None


class Aliases:
    """HMACs under one ring key that stand for the names of people, groups and tenants: 128 bits, 22
    characters, meaningless without the ring.
    """

    def __init__(self, key: Key) -> None:
        self.kid = key.kid
        self._secret = derive(key.material, salt=b"", info=b"gateway index v1")
        self.of = lru_cache(maxsize=ALIASES_KEPT)(self._of)

    def _of(self, tenant: str, kind: str, *parts: str) -> str:
        """``kind`` and ``parts`` are length-prefixed: no two lists of names run together."""
        message = bytearray()
        for part in (tenant, kind, *parts):
            text = part.encode("utf-8", "surrogatepass")
            message += len(text).to_bytes(4, "big")
            message += text
        return _encode(hmac.digest(self._secret, message, "sha256")[:16])


@lru_cache(maxsize=16)
def aliases_under(key: Key) -> Aliases:
    """Made once for each key of the ring, and of the last one."""
    return Aliases(key)
