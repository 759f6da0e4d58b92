"""From what a handler returns to a response: layout, language, policy.

Rules:
- No script but htmx, where something moves (``moving``), and no inline style: whatever a tenant or
  an identity provider put into a name finds nothing that would run it. Everything is escaped, and
  an undefined value is an error.
- A page is never stored and never framed.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.console.link import rebased
from gateway.console.moving import CONFIG, MOVING, Script, policy
from gateway.console.outcome import PREFIX
from gateway.console.texts import NOTICES, SECTIONS
from gateway.pages.forms import FIELD
from gateway.pages.language import LANGUAGES, negotiate
from gateway.pages.render import PAGE_HEADERS, STYLE_BASE, environment_of
from gateway.pages.support import support_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.admin.in_process import InProcessApi
    from gateway.console.operator import Operator
    from gateway.pages.forms import FormTokens

HERE: Final = Path(__file__).parent
HEADERS: Final = (*PAGE_HEADERS, ("X-Frame-Options", "DENY"))
"""Of every page, beside its policy. ``X-Frame-Options`` for browsers that do not know
``frame-ancestors``.
"""
_NONCE_BYTES: Final = 16


class Drawing:
    """Draws pages in every language. ``contact``: whom to ask for a scope."""

    def __init__(
        self, *, product: str, contact: str, tokens: FormTokens, api: InProcessApi
    ) -> None:
        self._product, self._contact = product, support_of(contact)
        self._tokens, self._api = tokens, api
        rooms = {"console": HERE / "templates"}
        self._environments = {name: environment_of(name, rooms) for name in LANGUAGES}
        self.script = Script()
        self.style = STYLE_BASE.read_bytes() + (HERE / "static" / "console.css").read_bytes()
        self.style_path = (
            f"{PREFIX}/static/console-{hashlib.sha256(self.style).hexdigest()[:16]}.css"
        )

    def page(
        self,
        template: str,
        values: Mapping[str, object],
        *,
        accept_language: str,
        now: float,
        operator: Operator | None = None,
        section: str = "",
        notice: str = "",
        status: int = 200,
        link: bool = False,
    ) -> web.Response:
        """Without ``operator``: for nobody, without the navigation. ``link``: below the prefix of
        one-time links.
        """
        language = negotiate(accept_language)
        nonce = secrets.token_urlsafe(_NONCE_BYTES) if template in MOVING else ""
        text = (
            self._environments[language]
            .get_template(f"console/{template}.html")
            .render(
                values,
                language=language,
                product=self._product,
                contact=self._contact,
                style_path=self.style_path,
                script_path=self.script.path,
                script_config=CONFIG,
                nonce=nonce,
                sections=self._sections(operator),
                section=section,
                operator=operator,
                notice=NOTICES.get(notice, ""),
                now=int(now),
                token_field=FIELD,
                token=self._token_of(operator),
            )
        )
        if link:
            text = rebased(text)
        headers = {
            **dict(HEADERS),
            "Content-Security-Policy": policy(nonce),
            "Content-Language": language,
        }
        content_type = headers.pop("Content-Type")
        response = web.Response(body=text.encode(), status=status, headers=headers)
        response.headers["Content-Type"] = content_type
        return response

    def part(
        self,
        template: str,
        values: Mapping[str, object],
        *,
        accept_language: str,
        now: float,
        link: bool = False,
    ) -> str:
        """Of a page, without forms."""
        environment = self._environments[negotiate(accept_language)]
        text = environment.get_template(f"console/{template}.html").render(values, now=int(now))
        return rebased(text) if link else text

    def _sections(self, operator: Operator | None) -> list[tuple[str, str, str]]:
        """Name, label, address of what they may open."""
        if operator is None:
            return []
        return [
            (one.name, one.label, PREFIX + one.path)
            for one in SECTIONS
            if operator.may(one.scope) and self._api.serves(one.operation)
        ]

    def _token_of(self, operator: Operator | None) -> Callable[[str], str]:
        def token(path: str) -> str:
            if operator is None:
                msg = "a form for nobody"
                raise ValueError(msg)
            return self._tokens.issue(operator.person.sign_in, path)

        return token
