"""What a browser goes on with after Cognito's /logout, which hands nothing through (facts about its
parameters: all others are ignored).

A cookie at the host where /logout comes back to, signed: what it says of tenants nobody else made
up. Everything in it is checked again when it is used: where to go is validated, and having "hopped"
is never proof of anything.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from gateway.login.middleware import set_cookie
from gateway.login.signed_values import sign, verify

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.login.request import Browser

RESUME_COOKIE = "__Host-gw-resume"
LIFE_S = 120
MAX_CHARACTERS = 3000
"""A cookie holds 4,096 bytes; a longer address to return to is dropped."""


@dataclass(frozen=True, slots=True)
class Resume:
    """``what``: ``login`` (as somebody else), ``fresh`` (the same login again, after the hop),
    ``reauthenticate`` or ``signed_out``.
    """

    what: str
    tenant: str = ""
    host: str = ""
    return_to: str = ""
    provider: str = ""
    browser: str = ""


def remember(response: web.Response, browser: Browser, resume: Resume) -> None:
    value = _encode(resume)
    if len(value) > MAX_CHARACTERS:
        value = _encode(replace(resume, return_to=""))
    set_cookie(
        response,
        RESUME_COOKIE,
        sign(browser.services.signing_keys, value, "resume", browser.host),
        max_age_s=LIFE_S,
    )


def recall(browser: Browser) -> Resume | None:
    for value in browser.cookies(RESUME_COOKIE)[:1]:
        text = verify(browser.services.signing_keys, value, "resume", browser.host)
        if text is None:
            return None
        try:
            document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except ValueError:
            return None
        if (
            isinstance(document, dict)
            and document.keys() == Resume.__dataclass_fields__.keys()
            and all(isinstance(v, str) for v in document.values())
        ):
            return Resume(**document)
    return None


def _encode(resume: Resume) -> str:
    # Without padding: "=" is no character of a cookie value that needs no quotes (RFC 6265 §4.1.1).
    return base64.urlsafe_b64encode(json.dumps(asdict(resume)).encode()).decode("ascii").rstrip("=")
