"""From what a handler returns to a response: layout, language, policy.

Rules:
- No inline style, and no script but one file on the pages of ``MOVING``, by a nonce of the answer.
  Everything is escaped, and an undefined value is an error.
- A page is never stored, never framed, and names its address to nobody: the address of the landing
  page holds the link's secret.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from gateway.pages.forms import FIELD
from gateway.pages.language import LANGUAGES
from gateway.pages.render import PAGE_HEADERS, STYLE_BASE, environment_of
from gateway.pages.support import support_of
from gateway.portal.texts import NOTICES, TASKS
from gateway.portal.visit import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.setup.model import SetupLink

HERE: Final = Path(__file__).parent
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    **dict(PAGE_HEADERS),
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    # The origin alone, to ourselves too: proxies write referrers into their logs.
    "Referrer-Policy": "strict-origin",
}


MOVING: Final = frozenset({"values"})
"""Templates of the pages that look at what is typed. They are complete without it."""
_NONCE_BYTES: Final = 16


class Script(Protocol):
    """htmx. ``name``: of the file, another one with another content."""

    text: bytes
    packed: bytes
    name: str
    config: str

    def policy(self, nonce: str) -> str: ...


class Drawing:
    """Draws pages in every language. ``support``: whom to ask."""

    def __init__(self, *, product: str, support: str, script: Script) -> None:
        self.script, self.script_path = script, f"{PREFIX}/static/{script.name}"
        self._product, self._support = product, support_of(support)
        rooms = {"portal": HERE / "templates"}
        self._environments = {name: environment_of(name, rooms) for name in LANGUAGES}
        self.style = STYLE_BASE.read_bytes() + (HERE / "static" / "portal.css").read_bytes()
        self.style_path = (
            f"{PREFIX}/static/portal-{hashlib.sha256(self.style).hexdigest()[:16]}.css"
        )

    def page(
        self,
        template: str,
        values: Mapping[str, object],
        *,
        language: str,
        now: float,
        token: Callable[[str], str],
        link: SetupLink | None = None,
        notice: str = "",
        status: int = 200,
    ) -> web.Response:
        """Without ``link``: for nobody. ``token``: of a form, by its address."""
        nonce = secrets.token_urlsafe(_NONCE_BYTES) if template in MOVING else ""
        text = (
            self._environments[language]
            .get_template(f"portal/{template}.html")
            .render(
                {
                    "language": language,
                    "product": self._product,
                    "support": self._support,
                    "style_path": self.style_path,
                    "script_path": self.script_path,
                    "script_config": self.script.config,
                    "nonce": nonce,
                    "link": link,
                    "task_names": TASKS,
                    "notice": NOTICES.get(notice, ""),
                    "now": int(now),
                    "token_field": FIELD,
                    "token": token,
                    **values,
                }
            )
        )
        headers = {**HEADERS, "Content-Language": language}
        if nonce:
            headers["Content-Security-Policy"] = self.script.policy(nonce)
        content_type = headers.pop("Content-Type")
        response = web.Response(body=text.encode(), status=status, headers=headers)
        response.headers["Content-Type"] = content_type
        return response
