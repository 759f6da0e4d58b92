"""A letter with its values becomes subject, text and HTML, in one language.

Rules:
- Each letter takes exactly the values that its words name: one too few or too many is a
  ``TypeError``, not an empty place.
- Whatever a tenant, a person or a provider is called, a value has one line: no control, direction
  or line-breaking character is left in it.
- HTML is escaped by the template; nothing in it is fetched from anywhere.
"""

from __future__ import annotations

import gettext
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.mail.texts import LETTERS, Day, MailTemplate, Moment, Phrase, Value
from gateway.pages.language import LANGUAGES
from gateway.pages.render import DOMAIN, LOCALE
from gateway.pages.texts import MONTHS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mail.texts import Letter

MAX_VALUE: Final = 300
"""Characters of a value in a letter. A longer one is cut: a letter is no place for a document."""
MAX_SUBJECT: Final = 150
_LINK: Final = re.compile(r"https?://[!-~]{1,2000}")
_NAMES: Final = re.compile(r"%\((\w+)\)s")
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is sent. ``subject`` has one line."""

    subject: str
    text: str
    html: str


def names_of(letter: Letter) -> frozenset[str]:
    """The values that a letter takes."""
    words = " ".join((letter.subject, *letter.paragraphs))
    return frozenset(_NAMES.findall(words)) | ({"link"} if letter.link else frozenset())


def one_line(text: str, most: int = MAX_VALUE) -> str:
    """With blanks in place of what nobody sees, and an ellipsis for what is cut."""
    characters = "".join(
        " " if unicodedata.category(c) in _UNSHOWN else c for c in text[: 4 * most]
    )
    line = " ".join(characters.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def draw(template: MailTemplate, values: Mapping[str, Value], language: str) -> Drawn:
    """Raises ``TypeError`` for other values than the letter's, ``ValueError`` for a link that is
    no http(s) URL.
    """
    letter = LETTERS[template]
    names = names_of(letter)
    if values.keys() != names:
        msg = f"letter {template} takes {sorted(names)}, not {sorted(values)}"
        raise TypeError(msg)
    language = language if language in LANGUAGES else LANGUAGES[0]
    translate = _catalog(language).gettext
    link = str(values["link"]) if letter.link else ""
    if (
        letter.link
        and (link or letter.secret)
        and not (_LINK.fullmatch(link) and urlsplit(link).hostname)
    ):
        msg = f"letter {template}: link: an http(s) URL"
        raise ValueError(msg)
    words = {name: _word(value, language) for name, value in values.items() if name != "link"}

    def filled(message: str) -> str:
        return translate(message) % words

    first, *others = letter.paragraphs
    paragraphs = [filled(first)] + [
        filled(message)
        for message in others
        if all(words[name] for name in _NAMES.findall(message))
    ]
    subject = one_line(filled(letter.subject), MAX_SUBJECT)
    lines = [paragraphs[0], *([link] if link else []), *paragraphs[1:]]
    html = _TEMPLATES.get_template("letter.html").render(
        language=language, subject=subject, paragraphs=paragraphs, link=link
    )
    return Drawn(subject, "\n\n".join(lines) + "\n", html)


def _word(value: Value, language: str) -> str:
    translate = _catalog(language).gettext
    if isinstance(value, Moment | Day):
        when = datetime.fromtimestamp(value.epoch_s, UTC)
        day = f"{when.day} {translate(MONTHS[when.month - 1])} {when.year}"
        return f"{day}, {when:%H:%M} UTC" if isinstance(value, Moment) else day
    return one_line(translate(str(value)) if isinstance(value, Phrase) and value else str(value))


@cache
def _catalog(language: str) -> gettext.NullTranslations:
    if language == LANGUAGES[0]:
        return gettext.NullTranslations()
    return gettext.translation(DOMAIN, LOCALE, languages=[language])
