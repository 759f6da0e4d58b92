"""How an application reads the gateway's webhooks: Standard Webhooks signatures, and what the body
says of a person.

Written from the Standard Webhooks specification (1.0), not from the gateway's code: the signature
header lists ``v1,`` and the base64 of HMAC-SHA-256 over ``id.timestamp.body``; one that fits is
enough; a timestamp that is minutes off is refused; a message id that was seen before is
acknowledged and does nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.clock import Clock

TOLERANCE_S = 300
"""Five minutes, as the specification's libraries have it: an old message that was recorded is not
accepted later.
"""

Verify = Callable[[Mapping[str, str], bytes], bool]
"""Whether headers and raw body of a webhook are genuine. Header names in any case."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a webhook says: these addresses may (not) come in any longer."""

    emails: frozenset[str]
    active: bool


Interpret = Callable[[Mapping[str, Any]], Notice | None]
"""What the body of a webhook means; ``None`` for what this application does not care about."""


def standard_webhook(secret: str, *, clock: Clock) -> Verify:
    """A verifier for one secret, with or without the prefix ``whsec_``."""
    key = (
        base64.b64decode(secret.removeprefix("whsec_"))
        if secret.startswith("whsec_")
        else secret.encode()
    )

    def verify(headers: Mapping[str, str], body: bytes) -> bool:
        message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if (
            not message_id
            or not (timestamp.isascii() and timestamp.isdigit())
            or abs(clock() - int(timestamp)) > TOLERANCE_S
        ):
            return False
        expected = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
        return any(
            hmac.compare_digest(expected, given)
            for given in _signatures(headers.get("webhook-signature", ""))
        )

    return verify


def _signatures(header: str) -> list[bytes]:
    found = []
    for part in header.split():
        version, _, encoded = part.partition(",")
        if version == "v1":
            try:
                found.append(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found


def gateway_notice(body: Mapping[str, Any]) -> Notice | None:
    """``user.deprovisioned`` and ``user.restored``; group changes are the gateway's to enforce, not
    the application's.
    """
    active = {"user.deprovisioned": False, "user.restored": True}.get(str(body.get("type")))
    data = body.get("data")
    if active is None or not isinstance(data, dict):
        return None
    named = [data.get("subject"), *(data.get("users") or [])]
    emails = frozenset(
        str(entry["email"]).lower()
        for entry in named
        if isinstance(entry, dict) and entry.get("email")
    )
    return Notice(emails, active) if emails else None
