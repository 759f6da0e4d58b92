from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from gateway.core.model import Branding, Secret, SessionLimits, Tenant
from gateway.core.reason import Reason
from gateway.login.my_app_passwords import Offer
from gateway.pages.language import LANGUAGES
from gateway.pages.render import PAGES, Pages, _Compiled
from gateway.pages.texts import TrialLack, TrialStep
from gateway.sessions.api import AppPasswordView, SessionView

ACME = Tenant(
    id="acme",
    name="Acme & Söhne",
    active=True,
    hosts=frozenset({"acme.example.com"}),
    wildcards=frozenset(),
    email_domains=frozenset({"acme.com"}),
    allowed_groups=frozenset({"app-users"}),
    allowed_roles=None,
    client_id="c",
    client_secret=Secret("s"),
    scopes=("openid",),
    providers=(),
    rules=(),
    shadow_rules=(),
    headers=(),
    session=SessionLimits(idle_s=1, absolute_s=1, max_per_user=1),
    branding=Branding(logo="https://cdn.acme.com/logo.svg", color="#ffe600", support="it@acme.com"),
)
EVIL = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
SESSION = SessionView(
    session="f1",
    tenant="acme",
    user="u",
    email="alice@acme.com",
    provider="acme-okta",
    hosts=("acme.example.com",),
    created_at=1_790_000_000,
    expires_at=1_790_040_000,
    user_agent="Firefox",
    current=True,
)
VALUES: dict[str, dict[str, object]] = {
    "error": {
        "reason": Reason.IDP_ERROR,
        "code": "not_assigned",
        "retry": "/_auth/login?rd=%2F",
        "change": "/_auth/login?change=1",
        "start": "/",
    },
    "denied": {
        "reason": Reason.GROUP_MISSING,
        "email": "mallory@acme.com",
        "groups": ("app-users", "admins"),
        "no_groups": True,
        "roles": ("owner",),
        "rule": "/admin/**",
        "return_to": "https://acme.example.com/admin",
        "change": "/_auth/login?change=1",
        "provider_sign_out": "https://acme.okta.com/login/signout",
    },
    "other_person": {
        "typed": "alice@acme.com",
        "email": "bob@acme.com",
        "go_on": "https://acme.example.com/",
        "again": "/_auth/login?switch=1",
        "provider_sign_out": "https://acme.okta.com/login/signout",
    },
    "signed_out": {
        "providers": ("Sign in with Okta",),
        "login": "/_auth/login",
        "change": "/_auth/login?change=1",
    },
    "logout": {"email": "alice@acme.com", "return_to": "/"},
    "email": {"return_to": "https://app.example.com/", "email": "", "problem": "unknown"},
    "chooser": {
        "choices": (
            ("Sign in with Okta", "/_auth/login?provider=acme-okta"),
            ("Staff", "/_auth/login?provider=acme-entra"),
        ),
        "change": "/_auth/login",
    },
    "frame": {"login": "/_auth/login"},
    "retry": {"login": "/_auth/login", "method": "POST"},
    "sessions": {
        "sessions": (
            SESSION,
            dataclasses.replace(SESSION, session="f2", user_agent="", current=False),
        ),
        "email": "alice@acme.com",
        "app_passwords": (
            dataclasses.replace(
                SESSION,
                session="p1",
                app_password=AppPasswordView(
                    "laptop", ("acme.example.com",), ("/dav",), 1_790_000_500
                ),
            ),
            dataclasses.replace(
                SESSION, session="p2", app_password=AppPasswordView("phone", (), ("/",), None)
            ),
        ),
        "offer": Offer(("acme.example.com",), 30, everywhere=True),
        "problem": "fields",
        "reauthenticate": "",
    },
    "app_password": {"text": "gwap_example", "label": "laptop", "expires_at": 1_790_040_000},
    "test_result": {
        "steps": (
            (TrialStep.SIGN_IN, 212.4, True, ""),
            (TrialStep.EXCHANGE, 80.0, False, "idp_token"),
        ),
        "claims": (("email", "alice@acme.com"),),
        "groups": ("app-users",),
        "missing": (
            (TrialLack.GROUPS, "app-users, <admins>"),
            (TrialLack.IDP_IAT, ""),
            (TrialLack.DETAIL, "custom:oid"),
        ),
        "allowed": False,
        "reason": Reason.GROUP_MISSING,
    },
    "too_long": {"login": "/_auth/login"},
    "not_found": {"start": "/"},
    "unavailable": {"seconds": 5},
}
pages = Pages()
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
def test_a_page_has_a_language_one_heading_a_title_and_no_script(name: str, language: str) -> None:
    outline = Outline(draw(name, language))
    assert outline.all("html")[0]["lang"] == language
    assert [
        len(outline.all(t)) for t in ("h1", "title", "main", "script", "iframe", "object", "link")
    ] == [1, 1, 1, 0, 0, 0, 1]
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
        a["id"] for a in outline.all("input", "select") if a.get("type") != "hidden"
    } == labelled
    assert len(outline.all("button")) == len(outline.all("form"))
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
def test_the_request_number_and_the_support_contact_are_on_every_page(name: str) -> None:
    html = draw(name)
    assert "req-1" in html
    assert 'href="mailto:it@acme.com"' in html


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


def poisoned(value: object) -> object:
    match value:
        case Reason() | TrialStep() | TrialLack() | bool() | int() | float():
            return value
        case str():
            return value + EVIL
        case tuple():
            return tuple(poisoned(item) for item in value)
        case SessionView():
            return dataclasses.replace(value, session=EVIL, user_agent=EVIL, hosts=(EVIL,))
    return value


@every_page
@every_language
def test_no_value_reaches_the_page_as_markup(name: str, language: str) -> None:
    tenant = dataclasses.replace(
        ACME, name=EVIL, branding=dataclasses.replace(ACME.branding, support=EVIL)
    )
    values = {key: poisoned(value) for key, value in VALUES[name].items()}
    outline = Outline(pages.render(name, tenant, language, request_id=EVIL, **values))
    assert not outline.all("script")
    assert all(a.get("src") == ACME.branding.logo for a in outline.all("img"))
    assert len(outline.all("style")) == 1


@given(st.text())
def test_no_text_adds_an_element(text: str) -> None:
    plain = [
        tag
        for tag, _ in Outline(
            draw("denied", email="x", groups=("x",), rule="x", return_to="x")
        ).tags
    ]
    assert [
        tag
        for tag, _ in Outline(
            draw("denied", email=f"x{text}", groups=(text,), rule=f"x{text}", return_to=text)
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
def test_the_policy_permits_this_style_and_nothing_else(name: str) -> None:
    permitted = policy(name)
    assert set(permitted) == {
        "default-src",
        "style-src",
        "img-src",
        "form-action",
        "frame-ancestors",
        "base-uri",
    }
    assert permitted["default-src"] == permitted["base-uri"] == "'none'"
    assert permitted["img-src"] == "data: https://cdn.acme.com"
    style = re.search(r"<style>(.*)</style>", draw(name), re.DOTALL)
    assert style is not None
    assert (
        permitted["style-src"]
        == f"'sha256-{base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}'"
    )


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
    assert "aria-invalid" not in draw("email", problem="")


@pytest.mark.parametrize("reason", Reason)
def test_a_page_without_a_link_speaks_of_none(reason: Reason) -> None:
    html = pages.render(
        "error", None, "en", reason=reason, code="", retry=None, change=None, start=None
    )
    assert not re.search(r"one click|Sign in to go on|Sign in again to go on", html)
    with_link = pages.render(
        "error",
        None,
        "en",
        reason=reason,
        code="",
        retry="/_auth/login",
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
