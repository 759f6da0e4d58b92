"""Small values that go through a browser and come back: which tenant a login at ``login_host`` is
for, what a logout goes on with.

They are no secrets and no credentials. Signed, they are only ever what this gateway wrote, for the
host that it wrote them for: so nobody finds out by trying which tenants there are.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIGNATURE_CHARACTERS = 64
HASH_CHARACTERS = 32


def sign(keys: Callable[[], Sequence[bytes]], value: str, *context: str) -> str:
    """``value``, followed by its signature in ``context``: what it is for, at which host."""
    return f"{value}.{_signature(keys()[0], value, context)}"


def verify(keys: Callable[[], Sequence[bytes]], signed: str, *context: str) -> str | None:
    """The value, if it was signed in this context under any key of the ring; else None."""
    value, _, signature = signed.rpartition(".")
    mac = signature.encode("utf-8", "surrogatepass")
    return (
        value
        if any(
            [hmac.compare_digest(mac, _signature(key, value, context).encode()) for key in keys()]  # noqa: C419 - every key is compared
        )
        else None
    )


def keyed_hash(keys: Callable[[], Sequence[bytes]], value: str, *context: str) -> str:
    """128 bits that stand for ``value``, and tell nothing of it to whoever lacks the key."""
    return _signature(keys()[0], value, context)[:HASH_CHARACTERS]


def stands_for(keys: Callable[[], Sequence[bytes]], keyed: str, value: str, *context: str) -> bool:
    """Whether ``keyed`` is the keyed hash of ``value`` in this context, under any key of the
    ring.
    """
    mac = keyed.encode("utf-8", "surrogatepass")
    return any(
        [  # noqa: C419 - every key is compared
            hmac.compare_digest(mac, _signature(key, value, context)[:HASH_CHARACTERS].encode())
            for key in keys()
        ]
    )


def _signature(key: bytes, value: str, context: Sequence[str]) -> str:
    # The length of each part goes first, so that no two lists of parts read alike.
    parts = (part.encode("utf-8", "surrogatepass") for part in (*context, value))
    return hmac.new(
        key, b"".join(b"%d:%b" % (len(part), part) for part in parts), hashlib.sha256
    ).hexdigest()
