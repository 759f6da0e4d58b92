r"""Pages that an ingress shows of itself, where the gateway cannot be asked or must not be: written
into its configuration when that is rendered.

Rules:
- In all languages, one below the other: nobody negotiates there.
- Of characters that no configuration format gives a meaning inside quotes: ASCII without ``'``, a
  backtick, ``\``, ``$``, ``%``, braces or line ends.
- Nothing of a request is in them.
"""

from __future__ import annotations

import gettext
import html
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.core.reason import Reason
from gateway.pages.language import LANGUAGES
from gateway.pages.render import DOMAIN, LOCALE
from gateway.pages.texts import REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUSES: Final[Mapping[int, Reason]] = {
    400: Reason.BAD_REQUEST,
    421: Reason.UNKNOWN_HOST,
    503: Reason.STORE_UNAVAILABLE,
}
"""What an ingress has to tell by itself."""
_STYLE = "font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem"
_HEADING = "font-size:1.4rem;line-height:1.25;margin:2rem 0 0.5rem"
_MEANINGFUL = frozenset("'`\\$%{}")


def page(status: int) -> str:
    """HTML for one of ``STATUSES``. What is said does not depend on what exactly failed."""
    text = REASONS[STATUSES[status]]
    parts = []
    for language in LANGUAGES:
        translated = (
            gettext.NullTranslations()
            if language == LANGUAGES[0]
            else gettext.translation(DOMAIN, LOCALE, languages=[language])
        )
        title, do = (_plain(translated.gettext(message)) for message in (text.title, text.do))
        start = (
            (
                '<p><a href="/" style="color:inherit">'
                f"{_plain(translated.gettext('To the start page'))}</a></p>"
            )
            if text.start
            else ""
        )
        level = "h1" if language == LANGUAGES[0] else "h2"
        parts.append(
            f'<section lang="{language}"><{level} '
            f'style="{_HEADING}">{title}</{level}><p>{do}</p>{start}</section>'
        )
    return _checked(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{_plain(text.title)}</title><link rel="icon" '
        'href="data:,"></head><body><main '
        f'style="{_STYLE}">{"".join(parts)}</main></body></html>'
    )


def problem(status: int) -> str:
    """The same for programs: RFC 9457."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": STATUSES[status].value,
    }
    return json.dumps(document, separators=(",", ":"))


def _plain(text: str) -> str:
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _checked(text: str) -> str:
    if _MEANINGFUL & set(text) or not text.isascii() or not text.isprintable():
        msg = (
            "a page for an ingress' configuration holds a character that would have to be "
            "quoted there"
        )
        raise ValueError(msg)
    return text
