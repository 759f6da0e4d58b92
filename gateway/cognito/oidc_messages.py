"""Pieces of what is sent to Cognito's OIDC endpoints and read of them. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from gateway.core.model import AppClient


def token_query(**parameters: str) -> str:
    """``application/x-www-form-urlencoded`` of the parameters, by the library's own encoder."""
    from authlib.common.urls import url_encode  # noqa: PLC0415 - re-exported nowhere else in authlib

    encoded: str = url_encode(list(parameters.items()))
    return encoded


def form_headers(client: AppClient) -> dict[str, str]:
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        **(
            {
                "Authorization": aiohttp.encode_basic_auth(
                    client.client_id, client.client_secret.reveal()
                )
            }
            if client.client_secret
            else {}
        ),
    }


def half_hash(access_token: str) -> str:
    """``at_hash`` for RS256: base64url of the left half of SHA-256 (OpenID Connect Core
    §3.1.3.6).
    """
    return (
        base64.urlsafe_b64encode(
            hashlib.sha256(access_token.encode("ascii", "replace")).digest()[:16]
        )
        .rstrip(b"=")
        .decode("ascii")
    )


def words_of(page: str) -> str:
    """What a page says, without its tags, styles and scripts. Linear, whatever it is."""
    said, hidden = [], False
    for piece in page.split("<"):
        tag, _, rest = piece.partition(">")
        name = tag.split(maxsplit=1)[0].lower() if tag.strip() else ""
        hidden = name in {"style", "script"} or (hidden and name not in {"/style", "/script"})
        said += [] if hidden else rest.split()
    return " ".join(said)
