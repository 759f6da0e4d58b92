"""Recorded-shape payloads, and keys that sign."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

DATA = Path(__file__).parent.parent / "data" / "hooks"
DIRECTORY = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
NOW = 1_767_225_610.0
"""2026-01-01T00:00:10Z: ten seconds after the sample events."""


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def other_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def keys() -> jwt.PyJWKSet:
    """What the issuer publishes: one RSA key, one EC key."""
    return jwt.PyJWKSet.from_dict(jwks())


def jwks() -> dict[str, Any]:
    published = json.loads(RSAAlgorithm.to_jwk(rsa_key().public_key())) | {
        "kid": "r1",
        "use": "sig",
        "alg": "RS256",
    }
    curve = json.loads(ECAlgorithm.to_jwk(ec_key().public_key())) | {
        "kid": "e1",
        "use": "sig",
        "alg": "ES256",
    }
    return {"keys": [published, curve]}


def sign(
    claims: dict[str, Any],
    *,
    typ: str | None,
    kid: str = "r1",
    headers: dict[str, Any] | None = None,
) -> str:
    key: Any = ec_key() if kid == "e1" else rsa_key()
    return jwt.PyJWS().encode(
        json.dumps(claims).encode(),
        key,
        algorithm="ES256" if kid == "e1" else "RS256",
        headers={"kid": kid, "typ": typ, **(headers or {})},
    )


def okta_event(
    kind: str,
    *,
    uuid: str = "u-1",
    published: str = "2026-01-01T00:00:00.000Z",
    user: str = "00ufh433fil4JtjEw4x7",
    group: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(
        json.dumps(load("okta_group_remove.json")["data"]["events"][0])
    )
    target = [
        {
            "id": user,
            "type": "User",
            "alternateId": "luca@acme.com",
            "displayName": "Luca",
            "detailEntry": None,
        }
    ]
    if group is not None:
        target.append(
            {
                "id": group,
                "type": "UserGroup",
                "alternateId": "unknown",
                "displayName": "Sales",
                "detailEntry": None,
            }
        )
    return {
        **event,
        "eventType": kind,
        "uuid": uuid,
        "published": published,
        "target": target,
        **more,
    }


def okta_delivery(*events: object, event_id: str = "e-1") -> dict[str, Any]:
    return {**load("okta_group_remove.json"), "eventId": event_id, "data": {"events": list(events)}}
