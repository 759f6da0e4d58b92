"""Letters: their values, their words in four languages, and what nobody can put into them."""

from __future__ import annotations

import email
import email.policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.expiry import Credential
from gateway.mail.outbox import compose
from gateway.mail.render import MAX_SUBJECT, draw, names_of
from gateway.mail.texts import CREDENTIALS, EFFECTS, LETTERS, Day, MailTemplate, Moment, Phrase
from gateway.pages.language import LANGUAGES

TIMES = {"expires": Moment(1_800_000_000), "at": Moment(1_800_000_000), "date": Day(1_800_000_000)}
HEADERS = {
    "Auto-Submitted",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
}
LINK = "https://login.example.com/setup/l/x/y?a=1&b=2"


def values(template: MailTemplate, text: str = "Acme") -> dict[str, Any]:
    return {
        name: TIMES.get(name, LINK if name == "link" else text)
        for name in names_of(LETTERS[template])
    }


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("template", list(MailTemplate))
def test_every_letter_is_drawn_in_every_language(template: MailTemplate, language: str) -> None:
    drawn = draw(template, values(template), language)
    english = draw(template, values(template), "en")
    assert drawn.subject and "%(" not in drawn.subject + drawn.text + drawn.html
    assert (drawn.text == english.text) is (language == "en")
    assert (LINK in drawn.text) is LETTERS[template].link
    assert f'lang="{language}"' in drawn.html
    assert "<img" not in drawn.html and "src=" not in drawn.html


def test_a_letter_takes_exactly_its_values() -> None:
    with pytest.raises(TypeError, match="takes"):
        draw(MailTemplate.CODE, {"code": "123456"}, "en")
    with pytest.raises(TypeError, match="takes"):
        draw(MailTemplate.TEST, {"product": "x", "more": "y"}, "en")


def test_a_paragraph_without_its_value_is_left_out() -> None:
    drawn = draw(MailTemplate.CODE, {"code": "123456", "support": ""}, "en")
    assert drawn.subject == "123456 is your setup code"
    assert "ask" not in drawn.text.replace("We never ask", "")


def test_dates_are_written_in_the_language() -> None:
    words = values(MailTemplate.EXPIRING)
    assert "15 Jan 2027" in draw(MailTemplate.EXPIRING, words, "en").text
    assert "15 janv. 2027" in draw(MailTemplate.EXPIRING, words, "fr").text
    assert "08:00 UTC" in draw(MailTemplate.INVITED, values(MailTemplate.INVITED), "en").text


def test_every_credential_has_its_words() -> None:
    assert set(CREDENTIALS) == set(EFFECTS) == {str(each) for each in Credential}
    words = values(MailTemplate.EXPIRING) | {"credential": Phrase(CREDENTIALS["client_secret"])}
    assert "Das Client-Secret" in draw(MailTemplate.EXPIRING, words, "de").text


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "https://a b", "https://x\r\nBcc: y", "", "//x.test/", "http://"],
)
def test_a_link_is_an_http_url(link: str) -> None:
    with pytest.raises(ValueError, match="link"):
        draw(MailTemplate.INVITED, values(MailTemplate.INVITED) | {"link": link}, "en")


NASTY = "Acme\r\nBcc: victim@example.com\r\n\r\n<script>alert(1)</script>\u202e\u2028%(code)s \x00"


@pytest.mark.parametrize("template", list(MailTemplate))
def test_no_value_adds_a_header_a_line_or_markup(template: MailTemplate) -> None:
    drawn = draw(template, values(template, NASTY), "en")
    raw = compose("a" * 32, "gateway@example.com", "bob@acme.test", _parts(drawn), 0.0)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["Bcc"] is None and message["To"] == "bob@acme.test"
    assert set(message.keys()) == HEADERS
    assert "<script>" not in drawn.html
    assert len(drawn.subject) <= MAX_SUBJECT and drawn.subject.isprintable()
    assert not any(line.startswith("Bcc:") for line in drawn.text.splitlines())


@given(text=st.text(max_size=400))
def test_any_value_makes_a_message_that_reads_back(text: str) -> None:
    drawn = draw(MailTemplate.EXPIRING, values(MailTemplate.EXPIRING, text), "fr")
    raw = compose("a" * 32, "gateway@example.com", "bob@acme.test", _parts(drawn), 0.0)
    raw.decode("ascii")
    message = email.message_from_bytes(raw, policy=email.policy.default)
    body = message.get_body(("plain",))
    assert body is not None and body.get_content().replace("\r\n", "\n") == drawn.text
    # Where a long subject is folded, Python's library moves blanks beside letters of other scripts.
    assert "".join(str(message["Subject"]).split()) == "".join(drawn.subject.split())
    assert message["Bcc"] is None


def _parts(drawn: Any) -> tuple[str, str, str]:
    return (drawn.subject, drawn.text, drawn.html)
