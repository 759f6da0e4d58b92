"""Words for a time and for a browser, as lists have them in every row: made once for each wording,
since a macro of a template takes ten times as long.
"""

from __future__ import annotations

import functools
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from gateway.pages.user_agent import parse_user_agent

if TYPE_CHECKING:
    import gettext
    from collections.abc import Callable

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
_REMEMBERED: Final = 4096
"""Wordings, and headers of browsers: as many strangers choose, so many are kept at most."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """Of one language, as text that is escaped already. Times are UTC epoch seconds."""

    since: Callable[[int, int], Markup]
    """``then`` as seen ``now``."""
    until: Callable[[int, int], Markup]
    agent: Callable[[str], Markup]
    """The browser and system that a header ``User-Agent`` names."""


def phrases_of(translations: gettext.NullTranslations) -> Phrases:
    _, ngettext = translations.gettext, translations.ngettext

    @functools.lru_cache(maxsize=_REMEMBERED)
    def ago(unit_s: int, number: int) -> Markup:
        if unit_s == MINUTE_S:
            text = ngettext("%(num)s minute ago", "%(num)s minutes ago", number)
        elif unit_s == HOUR_S:
            text = ngettext("%(num)s hour ago", "%(num)s hours ago", number)
        else:
            text = ngettext("%(num)s day ago", "%(num)s days ago", number)
        return escape(text % {"num": number})

    @functools.lru_cache(maxsize=_REMEMBERED)
    def within(unit_s: int, number: int) -> Markup:
        if unit_s == MINUTE_S:
            text = ngettext("in %(num)s minute", "in %(num)s minutes", number)
        elif unit_s == HOUR_S:
            text = ngettext("in %(num)s hour", "in %(num)s hours", number)
        else:
            text = ngettext("in %(num)s day", "in %(num)s days", number)
        return escape(text % {"num": number})

    def since(then: int, now: int) -> Markup:
        elapsed_s = now - then
        if elapsed_s < MINUTE_S:
            return escape(_("just now"))
        unit_s = _unit_of(elapsed_s)
        return ago(unit_s, elapsed_s // unit_s)

    def until(then: int, now: int) -> Markup:
        unit_s = _unit_of(then - now)
        return within(unit_s, max((then - now) // unit_s, 1))

    @functools.lru_cache(maxsize=_REMEMBERED)
    def agent(header: str) -> Markup:
        known = parse_user_agent(header)
        if known.browser and known.system:
            named = {"browser": known.browser, "system": known.system}
            return escape(_("%(browser)s on %(system)s") % named)
        return escape(known.browser or known.system or _("Unknown browser"))

    return Phrases(since, until, agent)


def _unit_of(span_s: int) -> int:
    if span_s < HOUR_S:
        return MINUTE_S
    return HOUR_S if span_s < DAY_S else DAY_S


def remembering(translations: gettext.NullTranslations) -> Callable[..., Markup]:
    """``_`` as the extension has it (a format string, values are escaped), which remembers texts
    without values: a list of 50 rows has 400 of them, half of the time that it took to draw. Texts
    have no markup: one that is none of ours becomes none.
    """

    def escaped(message: str) -> Markup:
        text = html.escape(translations.gettext(message), quote=False)
        return Markup(text.replace('"', "&quot;"))  # noqa: S704 - just escaped

    @functools.lru_cache(maxsize=4096)
    def plain(message: str) -> Markup:
        return escaped(message) % {}

    def text(message: str, /, **values: object) -> Markup:
        if not values:
            return plain(message)
        return escaped(message) % values

    return text
