from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment

from gateway.core.reason import Reason
from gateway.login.my_app_passwords import Offer
from gateway.pages.language import LANGUAGES
from gateway.pages.render import PAGES, SHORT_ID_CHARACTERS, Pages, _Compiled, environment_of
from gateway.pages.texts import LOGIN_ERRORS, REASONS, TrialLack, TrialStep
from gateway.sessions.api import AppPasswordView, SessionView
from tests.pages.samples import ACME, NOW, REQUEST_ID, SESSION, VALUES

if TYPE_CHECKING:
    from gateway.core.model import Tenant

EVIL = "</style></script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
pages = Pages()
PRODUCTS = {text: Pages(product=text) for text in (EVIL, "words")}
every_page = pytest.mark.parametrize("name", sorted(PAGES))
every_language = pytest.mark.parametrize("language", LANGUAGES)


class Outline(HTMLParser):
    """What a screen reader would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def draw(name: str, language: str = "en", tenant: Tenant | None = ACME, **changes: object) -> str:
    return pages.render(name, tenant, language, request_id="req-1", **{**VALUES[name], **changes})


def test_the_examples_here_cover_every_page() -> None:
    assert VALUES.keys() == PAGES.keys()


@every_page
@every_language
def test_a_page_has_a_language_one_heading_a_title_and_no_script_but_ours(
    name: str, language: str
) -> None:
    outline = Outline(draw(name, language))
    assert outline.all("html")[0]["lang"] == language
    assert [
        len(outline.all(t)) for t in ("h1", "title", "main", "script", "iframe", "object", "link")
    ] == [1, 1, 1, PAGES[name].script, 0, 0, 1]
    assert not [
        a
        for _, attributes in outline.tags
        for a in attributes
        if a.startswith("on") or a == "style"
    ]


@every_page
def test_headings_do_not_skip_a_level(name: str) -> None:
    levels = [int(tag[1]) for tag, _ in Outline(draw(name)).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@every_page
def test_every_field_has_a_label_and_every_form_a_button(name: str) -> None:
    outline = Outline(draw(name))
    labelled = {attributes["for"] for attributes in outline.all("label")}
    assert {
        a["id"] for a in outline.all("input", "select", "textarea") if a.get("type") != "hidden"
    } == labelled
    sending = [a for a in outline.all("button") if a.get("type") != "button"]
    assert len(sending) == len(outline.all("form"))
    assert all(
        attributes["action"] in {"/_auth/login", "/_auth/logout", "/_auth/sessions"}
        for attributes in outline.all("form")
    )


@every_page
def test_a_page_without_a_tenant_names_none(name: str) -> None:
    html = draw(name, tenant=None)
    assert "Acme" not in html
    assert "it@acme.com" not in html


@every_page
def test_the_support_contact_is_on_every_page_and_a_request_id_where_help_is_asked_for(
    name: str,
) -> None:
    html = draw(name)
    assert 'href="mailto:it@acme.com"' in html
    assert ("req-1" in html) == (name in {"denied", "error", "test_result", "unavailable"})


def test_a_request_id_is_shown_short_and_whole_among_the_technical_details() -> None:
    html = pages.render("denied", ACME, "en", request_id=REQUEST_ID, **VALUES["denied"])
    assert re.findall(r"<code[^>]*>([0-9a-f]+)</code>", html) == [
        REQUEST_ID[-SHORT_ID_CHARACTERS:],
        REQUEST_ID,
    ]


@every_page
def test_a_page_has_one_filled_button_at_most(name: str) -> None:
    variants: list[dict[str, Any]] = [
        {},
        *({key: empty} for key in VALUES[name] for empty in ("", None) if key in OPTIONAL),
        *({"reason": reason} for reason in Reason if "reason" in VALUES[name]),
    ]
    for changes in variants:
        filled = [
            classes
            for a in Outline(draw(name, **changes)).all("a", "button")
            for classes in [(a.get("class") or "").split()]
            if "button" in classes or ("class" not in a and "href" not in a) or "filled" in classes
            if "outline" not in classes and ("danger" not in classes or "filled" in classes)
        ]
        assert len(filled) <= 1, (changes, filled)


OPTIONAL = frozenset({"change", "provider_sign_out", "retry", "start"})


@every_page
def test_a_missing_or_unexpected_value_is_an_error(name: str) -> None:
    with pytest.raises(TypeError):
        draw(name, surprise=1)
    if PAGES[name].values:
        with pytest.raises(TypeError):
            pages.render(
                name,
                ACME,
                "en",
                request_id="",
                **{k: v for k, v in VALUES[name].items() if k != min(PAGES[name].values)},
            )


def poisoned(value: object) -> Any:
    match value:
        case Reason() | TrialStep() | TrialLack() | bool() | int() | float():
            return value
        case str():
            return value and value + EVIL
        case tuple():
            return tuple(poisoned(item) for item in value)
        case SessionView() | AppPasswordView() | Offer():
            fields = {f.name: poisoned(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return type(value)(**fields)
        case _:
            return value


@every_page
@every_language
def test_no_value_reaches_the_page_as_markup(name: str, language: str) -> None:
    def drawn(text: str, values: dict[str, object]) -> list[tuple[str, list[str]]]:
        tenant = dataclasses.replace(
            ACME, name=text, branding=dataclasses.replace(ACME.branding, support=text)
        )
        html = PRODUCTS[text].render(name, tenant, language, request_id=text, **values)
        return [(tag, sorted(attributes)) for tag, attributes in Outline(html).tags]

    values = {key: poisoned(value) for key, value in VALUES[name].items()}
    assert drawn(EVIL, values) == drawn("words", VALUES[name])


@given(st.text())
def test_no_text_adds_an_element(text: str) -> None:
    plain = [
        tag
        for tag, _ in Outline(
            draw("denied", email="x", groups=(("x", "x"),), rule="x", return_to="x")
        ).tags
    ]
    assert [
        tag
        for tag, _ in Outline(
            draw(
                "denied",
                email=f"x{text}",
                groups=((text, f"x{text}"),),
                rule=f"x{text}",
                return_to=text,
            )
        ).tags
    ] == plain


@pytest.mark.parametrize("reason", Reason)
@every_language
def test_every_reason_has_its_own_words_in_every_language(reason: Reason, language: str) -> None:
    html = draw("error", language, reason=reason, code="")
    assert f"<code>{reason}</code>" in html
    if language != "en":
        assert Outline(html).all("h1")
        assert re.search(r"<h1>(.*)</h1>", html) != re.search(
            r"<h1>(.*)</h1>", draw("error", "en", reason=reason, code="")
        )


def test_trying_again_is_offered_only_where_it_can_help() -> None:
    assert "Try again</a>" in draw("error", reason=Reason.LOGIN_STATE)
    assert "Try again</a>" not in draw("error", reason=Reason.USER_BLOCKED)
    assert "Try again</a>" not in draw("error", reason=Reason.LOGIN_STATE, retry=None)


def test_an_unknown_login_error_is_told_in_general_words() -> None:
    assert "Sign-in did not work" in draw("error", code="something_new")


def header(
    name: str, tenant: Tenant | None = ACME, page: str = "error", drawn: Pages = pages
) -> str:
    return dict(drawn.headers(page, tenant, "de"))[name]


def policy(page: str, tenant: Tenant | None = ACME, drawn: Pages = pages) -> dict[str, str]:
    return dict(
        directive.split(" ", 1)
        for directive in header("Content-Security-Policy", tenant, page, drawn).split("; ")
    )


@every_page
def test_the_policy_permits_what_is_inlined_and_nothing_else(name: str) -> None:
    permitted = policy(name)
    assert set(permitted) == {
        "default-src",
        "style-src",
        "img-src",
        "form-action",
        "frame-ancestors",
        "base-uri",
        *(("script-src",) if PAGES[name].script else ()),
    }
    assert permitted["default-src"] == permitted["base-uri"] == "'none'"
    assert permitted["img-src"] == "data: https://cdn.acme.com"
    inlined = re.findall(r"<(style|script)[^>]*>(.*?)</(?:style|script)>", draw(name), re.DOTALL)
    assert {f"{tag}-src": _hash(text) for tag, text in inlined} == {
        directive: value
        for directive, value in permitted.items()
        if directive in {"style-src", "script-src"}
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@every_page
def test_only_the_page_for_frames_may_be_framed_and_it_has_no_form(name: str) -> None:
    framed = policy(name)["frame-ancestors"] == "*"
    assert framed == (name == "frame")
    assert not framed or not Outline(draw(name)).all("form", "button", "input")


@every_page
def test_a_page_without_a_form_can_send_none(name: str) -> None:
    assert (policy(name)["form-action"] == "'none'") == (not Outline(draw(name)).all("form"))


def test_forms_may_go_where_a_logout_or_a_login_leads() -> None:
    drawn = Pages(
        logout_hops=("https://x.auth.eu-north-1.amazoncognito.com", "https://login.example.com")
    )
    assert (
        policy("logout", drawn=drawn)["form-action"]
        == "'self' https://x.auth.eu-north-1.amazoncognito.com https://login.example.com"
    )
    assert (
        policy("denied", drawn=drawn)["form-action"]
        == policy("email", drawn=drawn)["form-action"]
        == "'self' https:"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "*",
        "https:",
        "https://x;script-src *",
        "https://x/path",
        "'unsafe-inline'",
        "https://x y",
        "data:",
    ],
)
def test_anything_but_an_origin_is_refused_as_a_hop(wrong: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        Pages(logout_hops=(wrong,))


def test_other_colours_need_another_style_hash() -> None:
    red = dataclasses.replace(ACME, branding=dataclasses.replace(ACME.branding, color="#aa0000"))
    assert policy("error", red)["style-src"] != policy("error")["style-src"]


@pytest.mark.parametrize(
    "logo",
    [
        "https://a;sandbox/x.png",
        "https://a,b/x",
        "http://cdn.acme.com/x.png",
        "https://user@cdn.acme.com/x",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_logo_that_cannot_stand_in_the_policy_is_not_shown(logo: str) -> None:
    tenant = dataclasses.replace(ACME, branding=dataclasses.replace(ACME.branding, logo=logo))
    assert "img-src data:;" in header("Content-Security-Policy", tenant)
    assert not Outline(draw("frame", tenant=tenant)).all("img")


def test_a_page_is_not_stored_sniffed_or_named_to_others() -> None:
    assert header("Cache-Control") == "no-store"
    assert header("Referrer-Policy") == "same-origin"
    assert header("X-Content-Type-Options") == "nosniff"
    assert header("Content-Language") == "de"


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("it@acme.com", 'href="mailto:it@acme.com"'),
        ("https://help.acme.com/", 'href="https://help.acme.com/"'),
        ("+46 8 123", None),
        ("javascript:alert(1)", None),
        ("a@b.c?bcc=d@e.f", None),
    ],
)
def test_the_support_contact_is_a_link_only_where_it_is_one(contact: str, link: str | None) -> None:
    html = draw(
        "frame",
        tenant=dataclasses.replace(
            ACME, branding=dataclasses.replace(ACME.branding, support=contact)
        ),
    )
    assert (link in html) if link else (f'href="{contact}"' not in html and "mailto:" not in html)


def test_an_e_mail_problem_is_tied_to_its_field() -> None:
    field = next(
        a for a in Outline(draw("email", problem="unknown")).all("input") if a["type"] == "email"
    )
    assert field["aria-invalid"] == "true"
    assert "problem" in str(field["aria-describedby"]).split()
    assert not any("aria-invalid" in a for a in Outline(draw("email", problem="")).all("input"))


@pytest.mark.parametrize("reason", Reason)
def test_a_page_without_a_link_speaks_of_none(reason: Reason) -> None:
    html = pages.render(
        "error", None, "en", reason=reason, code="", retry=None, others=(), change=None, start=None
    )
    assert not re.search(r"one click|Sign in to go on|Sign in again to go on", html)
    with_link = pages.render(
        "error",
        None,
        "en",
        reason=reason,
        code="",
        retry="/_auth/login",
        others=(),
        change=None,
        start="/start",
    )
    assert ("one click" not in with_link) or 'href="/_auth/login"' in with_link
    assert ("start page, not from" in with_link) is ('href="/start"' in with_link)


def test_a_person_whose_sign_in_brought_no_groups_is_not_sent_to_ask_for_membership_alone() -> None:
    assert "more than 200" in draw("denied", no_groups=True)
    assert "more than 200" not in draw("denied", no_groups=False)


def test_pages_are_read_at_start_up_and_drawn_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that replaces the files under a running gateway changes no page of it."""
    pages = Pages()
    expected = pages.render("unavailable", None, "en", seconds=3)

    def gone(*_: object) -> None:
        raise AssertionError("read from the disk")

    monkeypatch.setattr("jinja2.FileSystemLoader.get_source", gone)
    monkeypatch.setattr("os.path.getmtime", lambda _: 0.0)
    assert pages.render("unavailable", None, "en", seconds=3) == expected


def test_a_template_is_compiled_once_for_all_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times cost a worker a quarter of its start. Their words differ all the same."""
    compiled: list[str] = []
    original = Environment.compile

    def counting(
        self: Environment, source: Any, name: str | None = None, *more: Any, **named: Any
    ) -> Any:
        compiled.append(str(name))
        return original(self, source, name, *more, **named)

    monkeypatch.setattr("gateway.pages.render._COMPILED", _Compiled())
    monkeypatch.setattr(Environment, "compile", counting)
    drawn = Pages()
    assert sorted(compiled) == sorted({*compiled} | {f"{name}.html" for name in PAGES})
    assert len(
        {drawn.render("unavailable", None, language, seconds=3) for language in LANGUAGES}
    ) == len(LANGUAGES)


def test_a_page_of_no_tenant_names_the_product_or_the_host() -> None:
    named = Pages(product="Example & Co", branding=dataclasses.replace(ACME.branding, logo=""))
    html = named.render("email", None, "en", **VALUES["email"])
    assert "<h1>Sign in to Example &amp; Co</h1>" in html
    assert "to continue to app.example.com" in html
    assert 'href="mailto:it@acme.com"' in html
    assert "<h1>Sign in to app.example.com</h1>" in draw("email", tenant=None)
    assert "Example &amp; Co" in named.render("logout", ACME, "en", **VALUES["logout"])


def asking(html: str) -> dict[str, str]:
    link = next(
        a["href"] or ""
        for a in Outline(html).all("a")
        if (a["href"] or "").startswith("mailto:it@acme.com?")
    )
    parts = urlsplit(link)
    assert not parts.fragment
    fields = parse_qsl(parts.query, strict_parsing=True, max_num_fields=2)
    assert [key for key, _ in fields] == ["subject", "body"]
    return dict(fields)


@every_language
def test_asking_for_access_begins_a_message_with_all_that_support_needs(language: str) -> None:
    message = asking(
        pages.render("denied", ACME, language, request_id=REQUEST_ID, **VALUES["denied"])
    )
    lines = message["body"].split("\r\n")
    assert lines[0] == "https://acme.example.com/admin"  # less its query, which may hold secrets
    assert [line.rpartition(": ")[2] for line in lines[1:]] == [
        "mallory@acme.com",
        "app-users, Finance, Northern Europe (3f2b8c1e-9d4a-4c7b-8e21-6a5f0c9d7b42)",
        "owner",
        "group_missing",
        REQUEST_ID,
    ]
    assert "&" not in message["subject"]
    assert (
        "group_missing"
        not in asking(
            pages.render("error", ACME, language, request_id=REQUEST_ID, **VALUES["error"])
        )["body"]
    )


@given(st.text(), st.text())
@example("\r\nBcc: eve@evil.test", "&cc=eve@evil.test#")
@example("x" * 5000, "&" * 5000)
def test_no_text_adds_to_a_message_anything_but_itself(email: str, group: str) -> None:
    message = asking(draw("denied", email=f"x{email}", groups=((f"x{group}", ""),), roles=()))
    assert len(message["body"].split("\r\n")) == 5
    assert len(message["body"]) < 1200


@pytest.mark.parametrize("support", ["https://help.acme.com/", "+46 8 123", ""])
def test_without_an_address_for_mail_access_is_asked_for_at_the_contacts_page_or_not_at_all(
    support: str,
) -> None:
    tenant = dataclasses.replace(ACME, branding=dataclasses.replace(ACME.branding, support=support))
    html = draw("denied", tenant=tenant)
    assert "mailto:" not in html
    assert ("Ask for access" in html) == support.startswith("https:")


def test_help_is_offered_where_the_words_say_to_ask_for_it() -> None:
    for text in (*REASONS.values(), *LOGIN_ERRORS.values()):
        asks = re.search(r"support contact|IT department|Ask for", text.do) is not None
        assert text.help == asks, text
        assert not text.access or text.help


def test_a_group_is_shown_by_its_label_and_its_name_only_where_there_is_none() -> None:
    shown = re.search(r"<ul>(.*)</ul>", draw("denied", roles=()))
    assert shown is not None
    assert shown[1] == "<li>app-users</li><li>Finance, Northern Europe</li>"


AGO = {
    0: ("just now", "gerade eben", "à l&#39;instant", "hace un momento"),
    60: ("1 minute ago", "vor 1 Minute", "il y a 1 minute", "hace 1 minuto"),
    7_199: ("1 hour ago", "vor 1 Stunde", "il y a 1 heure", "hace 1 hora"),
    7_200: ("2 hours ago", "vor 2 Stunden", "il y a 2 heures", "hace 2 horas"),
    172_800: ("2 days ago", "vor 2 Tagen", "il y a 2 jours", "hace 2 días"),
}


def test_times_are_relative_and_exact_ones_say_utc_without_the_script() -> None:
    for seconds, words in AGO.items():
        for language, ago in zip(LANGUAGES, words, strict=True):
            view = dataclasses.replace(SESSION, created_at=NOW - seconds, expires_at=NOW + 90)
            html = draw("sessions", language, sessions=(view,), app_passwords=())
            assert f"{ago} ·" in html.replace("'", "&#39;"), (seconds, language)
    html = draw("sessions", "en", sessions=(SESSION,), app_passwords=())
    assert '<time datetime="2026-09-21T14:13:20Z">21 Sep 2026, 14:13 UTC</time>' in html
    assert "ends in 8 hours at the latest" in html
    french = draw("sessions", "fr", sessions=(SESSION,), app_passwords=())
    assert "21 sept. 2026, 14:13 UTC" in french


def test_a_browser_is_named_and_what_it_said_itself_is_among_the_details() -> None:
    html = draw("sessions", sessions=(SESSION,), app_passwords=())
    assert "<strong>Firefox on Linux</strong>" in html
    assert f"<code>{SESSION.user_agent}</code>" in html


def test_whoever_made_app_passwords_before_a_move_is_told_that_they_end() -> None:
    said = "App passwords from before end at your first sign-in"
    for moved in (True, False):
        offer = Offer(("acme.example.com",), 30, everywhere=False, moved=moved)
        assert (said in draw("sessions", offer=offer)) is moved
    assert said not in draw("sessions", offer=None)


def test_ending_all_sessions_is_asked_once_more_and_says_what_ends() -> None:
    assert 'value="all"' not in draw("sessions")
    assert 'href="/_auth/sessions?all=1"' in draw("sessions")
    html = draw("end_all")
    assert 'value="all"' in html
    assert "3 sessions" in html
    assert "2 app passwords" in html
    assert "app password" not in draw("end_all", app_passwords=0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_that_is_none_of_ours_becomes_no_markup(language: str) -> None:
    template = environment_of(language).from_string('<i title="{{ _(text) }}">{{ _(text) }}</i>')
    shown = "&lt;b&gt; &amp; &quot;"
    assert template.render(text='<b> & "') == f'<i title="{shown}">{shown}</i>'
