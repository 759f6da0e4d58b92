"""Links that test a connection: a tenant's id, when the link expires, and chance, under a MAC of
the gateway's own key.

Rules:
- Every replica, and a command beside it, can make one and knows its own; nothing is stored until it
  is spent.
- It opens nothing but a test: a whole login that creates no session.
- What is stored, logged or sent through Cognito is its name, a digest, from which nobody makes the
  link.
- A link that is made with another client than the tenant's says so, in its name too: without that
  client it tests nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH = "/_auth/test"
LIFETIME_S = 3600
"""Time for a message to a customer's IT and for somebody there to read it. Longer, and a forgotten
one is found in an inbox.
"""
CHANCE_BYTES = 16
LENT = "lent-"
"""Begins the name of a link that is made with a client that the tenant does not have."""
MAX_CHARACTERS = 200
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class TestLink:
    """A link of ours that has not expired."""

    tenant: str
    name: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Result:
    """How far the test of a link came. ``state``: ``begun`` (sent to Cognito, and not back),
    ``cognito`` (it would end on Cognito's own error page), ``done``. ``at``: UTC epoch seconds.
    ``detail``: the setting to change, or the reason of the decision. ``groups`` and ``claims``:
    names that arrived; nobody is named.
    """

    state: str
    at: float
    provider: str
    detail: str = ""
    allowed: bool = False
    groups: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


def issue(key: bytes, tenant: str, *, chance: bytes, expires_at: int, lent: bool = False) -> str:
    """The token. ``expires_at`` in UTC epoch seconds. ``lent``: it is made with another client than
    the tenant's.
    """
    text = expires_at.to_bytes(5, "big") + chance + tenant.encode("ascii")
    mac = _mac(key, text, lent=lent)
    return base64.urlsafe_b64encode(mac + text).rstrip(b"=").decode("ascii")


def parse(keys: Iterable[bytes], token: str, *, now: float) -> TestLink | None:
    """None for what none of ``keys`` made, and for what has expired."""
    try:
        raw = (
            base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if len(token) <= MAX_CHARACTERS and token.isascii()
            else b""
        )
    except ValueError:
        return None
    mac, text = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    made_as = [
        lent
        for key in keys
        for lent in (False, True)
        if hmac.compare_digest(mac, _mac(key, text, lent=lent))
    ]
    if not made_as or len(text) <= 5 + CHANCE_BYTES:
        return None
    expires_at = int.from_bytes(text[:5], "big")
    name = (LENT if made_as[0] else "") + hashlib.sha256(text).hexdigest()
    tenant = text[5 + CHANCE_BYTES :].decode("ascii")
    return TestLink(tenant, name, expires_at) if expires_at > now else None


def _mac(key: bytes, text: bytes, *, lent: bool) -> bytes:
    purpose = b"gateway test of another client v1" if lent else b"gateway test connection v1"
    return hmac.digest(key, purpose + b"\x00" + text, "sha256")
