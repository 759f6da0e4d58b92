"""The doctor's nonces: how a probe is recognised where it arrives, without anybody having announced
it there.

Rules:
- A nonce is 16 bytes (when it expires, and chance) and a MAC over them under the gateway's key:
  every replica knows its own.
- It travels in the query of the probed URL, since that is the one thing every proxy hands on to the
  check.
- A nonce with ``ANSWER`` makes the check fail for that one request, at the test location only:
  whether the ingress then lets it through is what the doctor wants to know.
- It opens nothing. Whoever holds one can have a check recorded, and receives nothing back through
  the ingress.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

PARAMETER = "gateway-doctor"
LOCATION = "/_auth/doctor"
"""Where an ingress sends what it would send to an application, to the gateway itself, after asking
the check.
"""
FORGED = "forged-by-doctor"
"""Every value that the doctor forges, so that wherever it turns up it is known."""
LARGE = "gateway-doctor-large"
"""Query parameter: with ``1`` the check answers with the largest identity there is."""
ANSWER = "gateway-doctor-answer"
"""Query parameter: the status with which the check answers instead of allowing the test
location.
"""
LIFETIME_S = 600
CHANCE_BYTES = 12
_MAC_BYTES = 16
_SPELLING = re.compile(
    r"[/\\]{1,2}(?:x[/\\](?:\.\.;?[/\\]){1,2})?_auth[/\\]{1,"
    r"2}(?:\.[/\\])?doctor(?:/|#|;x?|/\.\./x)?"
)
"""Whole paths. However one is resolved, it ends at nothing but ``x``, ``_auth`` and ``doctor``."""
_ANSWER_IN_TEXT = re.compile(rf"[?&]{ANSWER}=(399|600|[45][0-9]{{2}})(?:&|$)")
_IN_TEXT = re.compile(rf"[?&]{PARAMETER}=([A-Za-z0-9_-]{{43}})(?![A-Za-z0-9_-])")


def issue(key: bytes, *, chance: bytes, expires_at: int) -> str:
    """43 characters. ``expires_at`` in UTC epoch seconds; ``chance`` is ``CHANCE_BYTES`` random
    bytes.
    """
    text = expires_at.to_bytes(4, "big") + chance
    return base64.urlsafe_b64encode(text + _mac(key, text)).rstrip(b"=").decode("ascii")


def is_ours(keys: Iterable[bytes], nonce: str, *, now: float) -> bool:
    """Whether one of ``keys`` made it and it has not expired."""
    try:
        raw = base64.urlsafe_b64decode(nonce + "=")
    except ValueError:
        return False
    text, mac = raw[: 4 + CHANCE_BYTES], raw[4 + CHANCE_BYTES :]
    made_here = any([hmac.compare_digest(mac, _mac(key, text)) for key in keys])  # noqa: C419 - every key is compared
    return made_here and int.from_bytes(text[:4], "big") > now


def nonce_in(text: str) -> str | None:
    """The nonce in the query of a URL or path, if it looks like one."""
    if PARAMETER not in text:
        return None
    match = _IN_TEXT.search(text)
    return match[1] if match else None


def answer_in(text: str) -> int | None:
    """The status that a probe wants the check to answer with: none that any proxy could take for an
    allow.
    """
    if ANSWER not in text:
        return None
    match = _ANSWER_IN_TEXT.search(text)
    return int(match[1]) if match else None


def spells_location(path: str) -> bool:
    """Whether a path could be taken for the test location by somebody who decodes, resolves or cuts
    it in his own way.

    Such a path is nothing else: no application has pages under names like these. Anything in front
    or behind would make it the path of a real page to whoever resolves it, and a nonce would open
    that page.
    """
    for _ in range(3):
        path = unquote(path)
    return _SPELLING.fullmatch(path.lower()) is not None


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(hmac.digest(key, b"gateway doctor", hashlib.sha256), text, hashlib.sha256)[
        :_MAC_BYTES
    ]
