"""Is this one of the secrets? Constant time in the secret, two valid during rotation."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.model import Secret


def matched(presented: str, secrets: Iterable[Secret]) -> int | None:
    """Which of ``secrets`` equals ``presented``, by its place. All are compared, so the time does
    not tell which one matched; no secrets: none.
    """
    index = None
    candidate = presented.encode("utf-8", "surrogatepass")
    for place, secret in enumerate(secrets):
        if hmac.compare_digest(candidate, secret.reveal().encode()) and secret:
            index = place
    return index


def fingerprint(secret: Secret, *, tenant: str, provider: str) -> str:
    """Names one of this provider's secrets where it must not be: derived like ``client_state``, and
    cut to 64 bits. Secrets are generated, so there is nothing to guess.
    """
    label = f"gateway-hook-secret-name\0{tenant}\0{provider}".encode()
    return hmac.digest(secret.reveal().encode(), label, hashlib.sha256)[:8].hex()


def bearer(header: str) -> str:
    """The token of ``Authorization: Bearer``; "" for any other scheme or shape (RFC 6750 §2.1)."""
    scheme, _, token = header.partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else ""


def client_state(secret: Secret, *, tenant: str, provider: str) -> str:
    """``clientState`` of this provider's Graph subscriptions: derived, so that every replica knows
    it without asking a database.

    Bound to tenant and provider: one customer's state, even under a shared secret, is not
    another's. 43 characters of Graph's 128.
    """
    label = f"gateway-graph-client-state\0{tenant}\0{provider}".encode()
    return (
        urlsafe_b64encode(hmac.digest(secret.reveal().encode(), label, hashlib.sha256))
        .rstrip(b"=")
        .decode("ascii")
    )


def channel_token(secret: Secret, *, tenant: str, provider: str, channel: str) -> str:
    """Token of one of this provider's Google channels: derived like ``client_state``, and bound to
    the channel's id too, so that one channel's token opens no other. 43 characters of Google's 256.
    """
    label = f"gateway-google-channel-token\0{tenant}\0{provider}\0{channel}".encode()
    return (
        urlsafe_b64encode(hmac.digest(secret.reveal().encode(), label, hashlib.sha256))
        .rstrip(b"=")
        .decode("ascii")
    )
