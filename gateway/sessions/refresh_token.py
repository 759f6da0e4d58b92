"""The family's one refresh token, sealed under the family's own key: only who holds the cookie of a
member can open it.

It is the largest part of a session. Its text is base64 of random bytes, of which compression takes
back a quarter; nobody else's words are compressed with it, so its length tells nothing.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from gateway.core.model import Secret
from gateway.keys.ring import Key
from gateway.sessions import seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import Session
    from gateway.sessions.codec import Record

MAX_BYTES: Final = 16_384
"""No refresh token is longer."""


def seal_refresh(
    session: Session, family_key: bytes, token: Secret, *, entropy: Callable[[int], bytes]
) -> bytes:
    return seal.seal_under(
        _key(family_key),
        "deflated refresh",
        _name(session),
        _deflated(token.reveal().encode()),
        entropy=entropy,
    )


def _deflated(text: bytes) -> bytes:
    """In random text nothing comes twice: without looking for that, and with room for no more than
    a token, it is as short and takes a quarter of the time.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, 12, 6, zlib.Z_HUFFMAN_ONLY)
    return deflate.compress(text) + deflate.flush()


def unseal_refresh(record: Record, sealed: bytes) -> Secret | None:
    """For whoever holds the cookie of one of the family's sessions; None for anything but what was
    sealed for it.
    """
    raw = seal.unseal_under(
        (_key(record.family_key),), "deflated refresh", _name(record.session), sealed
    )
    return None if raw is None else Secret(zlib.decompressobj().decompress(raw, MAX_BYTES).decode())


def _key(family_key: bytes) -> Key:
    return Key("family", family_key)


def _name(session: Session) -> str:
    return f"{session.tenant} {session.family}"
