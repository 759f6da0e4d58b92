"""Signs as a Google service account. A key is parsed once for as long as a provider has it: that
takes tens of milliseconds of the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.core.service_account import ServiceAccountKey
from gateway.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.hook_target import HookTarget
    from gateway.core.model import Secret

_NO_RSA_KEY: Final = "the private key in hooks.service_account is no RSA key"


@dataclass(frozen=True, slots=True)
class Signer:
    """A service account with its parsed key."""

    email: str
    key_id: str
    private_key: RSAPrivateKey = field(repr=False)

    @classmethod
    def of(cls, text: Secret) -> Signer | None:
        """None: no key of a service account, or none for RSA."""
        key = ServiceAccountKey.parse(text)
        if key is None:
            return None
        try:
            pem = key.private_key.reveal().encode("utf-8")
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # What it says of a key may be part of one.
            return None
        if not isinstance(private, RSAPrivateKey):
            return None
        return cls(key.email, key.key_id, private)

    def sign(self, claims: Mapping[str, object]) -> str:
        """An assertion. Raises ``PeerError``."""
        try:
            return jwt.encode(
                {"iss": self.email, **claims},
                self.private_key,
                algorithm="RS256",
                headers={"kid": self.key_id},
            )
        except (ValueError, TypeError, jwt.PyJWTError):
            raise PeerError("directory_not_configured", _NO_RSA_KEY) from None


class Signers:
    """One for each provider."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Secret, Signer]] = {}

    def forget(self, provider: tuple[str, str]) -> None:
        """Its key is no more, or another one."""
        self._kept.pop(provider, None)

    def of(self, target: HookTarget) -> Signer:
        """Raises ``PeerError``."""
        text = target.service_account
        if text is None:
            raise PeerError(
                "directory_not_configured",
                "hooks.service_account is needed to ask Google's directory",
            )
        kept = self._kept.get(target.key)
        if kept is not None and kept[0] == text:
            return kept[1]
        signer = Signer.of(text)
        if signer is None:
            raise PeerError("directory_not_configured", _NO_RSA_KEY)
        self._kept[target.key] = text, signer
        return signer
