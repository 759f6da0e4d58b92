"""What a browser goes on with after Cognito's /logout, which hands nothing through (facts about its parameters: all others are ignored).

A harmless cookie at the host where /logout comes back to: everything in it is checked again when it is used, and whoever
edits their own gains nothing: where to go is validated, and having "hopped" is never proof of anything.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gateway.web.browser.edge import set_cookie

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.web.browser.request import Browser

RESUME_COOKIE = "__Host-gw-resume"
LIFE_S = 120
MAX_CHARACTERS = 3000
"""A cookie holds 4,096 bytes; a longer address to return to is dropped."""


@dataclass(frozen=True, slots=True)
class Resume:
    """``what``: ``login`` (as somebody else), ``fresh`` (the same login again, after the hop) or ``signed_out``."""

    what: str
    tenant: str = ""
    host: str = ""
    return_to: str = ""
    provider: str = ""
    browser: str = ""


def remember(response: web.Response, resume: Resume) -> None:
    value = _encode(resume)
    if len(value) > MAX_CHARACTERS:
        value = _encode(Resume(resume.what, resume.tenant, resume.host, "", resume.provider, resume.browser))
    set_cookie(response, RESUME_COOKIE, value, max_age_s=LIFE_S)


def recall(browser: Browser) -> Resume | None:
    for value in browser.cookies(RESUME_COOKIE)[:1]:
        try:
            document = json.loads(base64.urlsafe_b64decode(value[:MAX_CHARACTERS]))
        except (ValueError, RecursionError):
            return None
        if isinstance(document, dict) and document.keys() == Resume.__dataclass_fields__.keys() and all(isinstance(v, str) for v in document.values()):
            return Resume(**document)
    return None


def _encode(resume: Resume) -> str:
    return base64.urlsafe_b64encode(json.dumps(asdict(resume)).encode()).decode("ascii")
