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
_PAGE = (
    "margin:0;padding:6vh 1rem 2rem;font:1rem/1.5 system-ui,sans-serif;"
    "background:light-dark(rgb(244 245 247),rgb(17 19 24));"
    "color:light-dark(rgb(28 30 35),rgb(236 238 242))"
)
_CARD = (
    "box-sizing:border-box;max-width:26rem;margin:0 auto;padding:2rem;border-radius:10px;"
    "background:light-dark(rgb(255 255 255),rgb(27 30 36));"
    "border:1px solid light-dark(rgb(213 216 222),rgb(52 57 67));"
    "border-top:4px solid rgb(11 95 255)"
)
"""The look of ``static/pages.css`` without what needs braces. A browser that does not know
``light-dark`` (of before 2024) shows its own colors.
"""
_FIRST = "margin:0 0 0.75rem;font-size:1.5rem;line-height:2rem"
_OTHER = (
    "margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;"
    "border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))"
)
_TEXT = "margin:0 0 0.5rem"
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
                f'<p style="{_TEXT}"><a href="/" style="color:inherit">'
                f"{_plain(translated.gettext('To the start page'))}</a></p>"
            )
            if text.start
            else ""
        )
        level, style = ("h1", _FIRST) if language == LANGUAGES[0] else ("h2", _OTHER)
        parts.append(
            f'<section lang="{language}"><{level} style="{style}">{title}</{level}>'
            f'<p style="{_TEXT}">{do}</p>{start}</section>'
        )
    return _checked(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{_plain(text.title)}</title><link rel="icon" '
        f'href="data:,"></head><body style="{_PAGE}"><main style="{_CARD}">'
        f"{''.join(parts)}</main></body></html>"
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
