from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from babel.messages import catalog, extract, mofile, pofile

from gateway.cognito.error_diagnosis import CODES
from gateway.core.reason import Reason
from gateway.pages.language import LANGUAGES
from gateway.pages.render import HERE, LOCALE
from gateway.pages.texts import LOGIN_ERRORS, REASONS

CONSOLE = HERE.parent / "console"
MAIL = HERE.parent / "mail"
PORTAL = HERE.parent / "portal"
translated = pytest.mark.parametrize("language", LANGUAGES[1:])
PLACEHOLDER = re.compile(r"%\(\w+\)s")


def messages() -> set[str | tuple[str, ...]]:
    """What the code and the templates say, extracted anew."""
    found: set[str | tuple[str, ...]] = set()
    for words in (
        *(room / "texts.py" for room in (HERE, CONSOLE, MAIL, PORTAL)),
        HERE / "phrases.py",
        PORTAL / "guides.py",
        *CONSOLE.glob("*_fields.py"),
    ):
        with words.open("rb") as file:
            found |= {
                message[:2] if isinstance(message, tuple) else message
                for _, message, _, _ in extract.extract(
                    "python", file, keywords={"N_": None, "_": None, "ngettext": (1, 2)}
                )
            }
    for template in sorted(
        template
        for room in (HERE, CONSOLE, PORTAL)
        for template in (room / "templates").glob("*.html")
    ):
        with template.open("rb") as file:
            found |= {
                message[:2] if isinstance(message, tuple) else message
                for _, message, _, _ in extract.extract(
                    "jinja2",
                    file,
                    keywords={"_": None, "gettext": None, "ngettext": (1, 2)},
                    options={"trimmed": "true"},
                )
            }
    return found


def read(language: str) -> catalog.Catalog:
    with (LOCALE / language / "LC_MESSAGES" / "gateway.po").open("rb") as file:
        return pofile.read_po(file, locale=language)


def texts(value: object) -> tuple[str, ...]:
    """The one text of a message, or its singular and plural."""
    several = value if isinstance(value, tuple | list) else (value,)
    return tuple(str(text or "") for text in several)


def test_every_reason_and_every_login_error_has_its_words() -> None:
    assert set(REASONS) == set(Reason)
    assert set(LOGIN_ERRORS) == set(CODES)


@translated
def test_no_catalog_misses_a_message_or_keeps_an_old_one(language: str) -> None:
    known = {message.id for message in read(language) if message.id}
    assert known == messages()


@translated
def test_every_message_is_translated_and_none_is_a_guess(language: str) -> None:
    for message in read(language):
        assert all(texts(message.string)), message.id
        assert not message.fuzzy or not message.id, message.id


@translated
def test_placeholders_are_the_same_in_every_language(language: str) -> None:
    for message in read(language):
        if not message.id:
            continue
        wanted = {p for text in texts(message.id) for p in PLACEHOLDER.findall(text)}
        assert all(set(PLACEHOLDER.findall(text)) == wanted for text in texts(message.string)), (
            message.id
        )


@translated
def test_a_translation_is_text_not_markup(language: str) -> None:
    # Translated texts are trusted by the templates, so nothing in them may act as HTML or as a
    # stray format.
    for message in read(language):
        for text in texts(message.string) if message.id else ():
            assert not re.search(r"[<>&]", text), text
            assert "%" not in PLACEHOLDER.sub("", text), text


@translated
def test_the_compiled_catalog_is_that_of_the_text_catalog(language: str) -> None:
    buffer = io.BytesIO()
    mofile.write_mo(buffer, read(language))
    committed = Path(LOCALE / language / "LC_MESSAGES" / "gateway.mo").read_bytes()
    assert committed == buffer.getvalue(), "run scripts/messages"


def test_english_texts_are_text_not_markup() -> None:
    for message in messages():
        for text in texts(message):
            assert not re.search(r"[<>&]", text), text


def test_who_was_let_in_again_a_moment_ago_is_not_sent_away_for_good() -> None:
    assert LOGIN_ERRORS["user_disabled"].again, (
        "the pool's user is enabled a moment after the lift was told"
    )
