"""RS256 keys and tokens. A token is drafted first, so that a test can spoil exactly one thing
before it is signed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key pair and the ``kid`` under which its public half is published."""

    kid: str
    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh 2048-bit key with a ``kid`` shaped like Cognito's: 32 random bytes in base64."""
        kid = base64.b64encode(secrets.token_bytes(32)).decode()
        return cls(kid, rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def public_jwk(self) -> Claims:
        """The entry of a JWKS document."""
        jwk: Claims = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        jwk.pop("key_ops", None)
        return {"alg": "RS256", "use": "sig", "kid": self.kid, **jwk}


NewKey = Callable[[], SigningKey]
"""Where servers get their keys. Generating takes 50 ms or more, which a test that starts many
servers may want to save.
"""


@dataclass(frozen=True, slots=True)
class TokenDraft:
    """A token before its signature. ``use`` is ``id`` or ``access``."""

    use: str
    claims: Claims
    key: SigningKey
    headers: Mapping[str, Any] = field(default_factory=dict)
    algorithm: str | None = "RS256"

    def with_claims(self, **changes: Any) -> TokenDraft:
        """The draft with some claims replaced; ``None`` takes a claim away."""
        merged = {**self.claims, **changes}
        return replace(
            self, claims={name: value for name, value in merged.items() if value is not None}
        )

    def sign(self) -> str:
        """Compact form. ``algorithm=None`` makes an unsigned token; a ``kid`` of ``None`` in
        ``headers`` leaves it out.
        """
        headers: Claims = {"kid": self.key.kid, **self.headers}
        if headers["kid"] is None:
            del headers["kid"]
        if self.algorithm is None:
            return jwt.encode(self.claims, "", algorithm="none", headers=headers)
        return jwt.encode(self.claims, self.key.private, algorithm=self.algorithm, headers=headers)


TokenSpoiler = Callable[[TokenDraft], "TokenDraft | str"]
"""Returns the draft to sign, or a whole token in its place."""


def b64url(raw: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def half_hash(token: str) -> str:
    """``at_hash``: left half of SHA-256 of the token's ASCII form (OpenID Connect Core
    §3.1.3.6).
    """
    return b64url(hashlib.sha256(token.encode("ascii")).digest()[:16])


def s256(verifier: str) -> str:
    """The PKCE code challenge of a verifier (RFC 7636 §4.2)."""
    return b64url(hashlib.sha256(verifier.encode("ascii", "replace")).digest())


def compact_json(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
