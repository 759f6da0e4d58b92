"""The JSON key of a Google service account."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.model import Secret

if TYPE_CHECKING:
    from typing import Self

MAX_CHARACTERS: Final = 16_384
"""A key with 4096 bits is about 4 kB."""
_PEM: Final = "-----BEGIN PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class ServiceAccountKey:
    """``key_id`` becomes the ``kid`` of assertions. Where it says to ask for tokens is not read:
    the gateway knows that of itself, and a key from elsewhere must not choose an address.
    """

    email: str
    key_id: str
    private_key: Secret

    @classmethod
    def parse(cls, text: Secret) -> Self | None:
        """None: it is none. Nothing of the text is told."""
        if len(text.reveal()) > MAX_CHARACTERS:
            return None
        try:
            document = json.loads(text.reveal())
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("type") != "service_account":
            return None
        email, key_id, private_key = (
            document.get(name) for name in ("client_email", "private_key_id", "private_key")
        )
        if (
            not isinstance(email, str)
            or "@" not in email
            or not isinstance(key_id, str)
            or not key_id
            or not isinstance(private_key, str)
            or not private_key.startswith(_PEM)
        ):
            return None
        return cls(email, key_id, Secret(private_key))
