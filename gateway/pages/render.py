"""Pages that people see, drawn from values only: nothing here knows a request, and nothing on a
page comes from a URL.

Rules:
- No JavaScript anywhere; the policy forbids it, so injected markup would find nothing to run and
  nowhere to send.
- A page is never stored, framed (but for the one that is meant for frames), or named to other sites
  (``headers``).
- Each page takes exactly the values that ``PAGES`` lists: one too few or too many is a
  ``TypeError``, not an empty place.
"""

from __future__ import annotations

import base64
import gettext
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined

from gateway.core.model import Branding
from gateway.pages.language import LANGUAGES
from gateway.pages.texts import explain
from gateway.pages.theme import palette

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType

    from jinja2.bccache import Bucket

    from gateway.core.model import Tenant

HERE = Path(__file__).parent
LOCALE = HERE / "locale"
DOMAIN = "gateway"
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
"""CSP 3 §2.3.1 host-source, less wildcards and paths: no ``;`` or ``,`` that would end the
directive.
"""
_EMAIL = re.compile(r"[^\s@/?#:]+@[^\s@/?#:]+\.[^\s@/?#:]+")


class Form(Enum):
    """Where a page's form leads, redirects included: Chromium checks each of them against
    ``form-action``.
    """

    NONE = "none"
    LOGOUT = "logout"
    """Through Cognito's ``/logout`` to the signed-out page."""
    LOGIN = "login"
    """Through Cognito to whatever host a customer's identity provider has."""


@dataclass(frozen=True, slots=True)
class Page:
    """The values a page takes, and what its policy has to permit."""

    values: frozenset[str]
    form: Form = Form.NONE
    framed: bool = False
    """Shown inside other sites' frames; holds a link and nothing that could be clicked to an
    attacker's gain.
    """


PAGES: Final[Mapping[str, Page]] = {
    # A login that did not work, and every other refusal that is told in the browser: Reason,
    # PeerError code or "", URL to try again or None; change: URL to type another e-mail address on
    # a shared host, or None; start: URL of the application's start page, or None.
    "error": Page(frozenset({"reason", "code", "retry", "change", "start"})),
    # Signed in but not allowed here. email: who (or ""); groups, roles: which would do; rule: the
    # path glob that decided (or ""); return_to: where "sign in as someone else" leads back to. That
    # form posts to /_auth/logout with ``again`` = return_to. change: as above; provider_sign_out:
    # URL to sign out at the identity provider itself, or None.
    "denied": Page(
        frozenset(
            {
                "reason",
                "email",
                "groups",
                "no_groups",
                "roles",
                "rule",
                "return_to",
                "change",
                "provider_sign_out",
            }
        ),
        Form.LOGIN,
    ),
    # Somebody other than was typed arrived. typed, email: addresses; go_on, again: URLs;
    # provider_sign_out: as above.
    "other_person": Page(frozenset({"typed", "email", "go_on", "again", "provider_sign_out"})),
    # providers: labels where the person may still be signed in; login: URL or None; change: as
    # above.
    "signed_out": Page(frozenset({"providers", "login", "change"})),
    # Asks before logging out; posts to /_auth/logout. return_to: where "no" leads, or None.
    "logout": Page(frozenset({"email", "return_to"}), Form.LOGOUT),
    # Which organization? Sends GET /_auth/login with login_hint and rd. problem: "", "unknown" or
    # "too_many".
    "email": Page(frozenset({"return_to", "email", "problem"}), Form.LOGIN),
    # choices: (label, URL) of each provider; change: URL to type another address, or None.
    "chooser": Page(frozenset({"choices", "change"})),
    # Inside an iframe: a link that opens the login in a new tab.
    "frame": Page(frozenset({"login"}), framed=True),
    # An unsafe method met an ended session: sign in in a new tab, then send again.
    "retry": Page(frozenset({"login", "method"})),
    # sessions, app_passwords: SessionView of the person; posts ``session`` (a family, or
    # "all") or ``app_password`` (one's id, or "new" with what is wanted) to /_auth/sessions. offer:
    # what the form for a new one offers, or None; problem: why none was made, or "";
    # reauthenticate: address of the login that must come first, or "".
    "sessions": Page(
        frozenset({"sessions", "app_passwords", "offer", "problem", "reauthenticate", "email"}),
        Form.LOGOUT,
    ),
    # The one page that holds an app password. text: it; label: what its person calls it;
    # expires_at: UTC epoch seconds.
    "app_password": Page(frozenset({"text", "label", "expires_at"}), Form.LOGOUT),
    # Test connection. steps: (texts.TrialStep, milliseconds, ok, detail); claims: (name, value);
    # missing: (texts.TrialLack, names); allowed: the decision; reason: its Reason.
    "test_result": Page(frozenset({"steps", "claims", "groups", "missing", "allowed", "reason"})),
    # The address to come back to is too long to be kept. login: URL.
    "too_long": Page(frozenset({"login"})),
    # start: URL of the application's start page, or None.
    "not_found": Page(frozenset({"start"})),
    # seconds after which to try again.
    "unavailable": Page(frozenset({"seconds"})),
}


class Pages:
    """Draws pages in every language; one environment each, all made at start-up so that a broken
    catalog or template shows there.
    """

    __slots__ = ("_environments", "_form_action", "_style")

    def __init__(
        self, *, logout_hops: tuple[str, ...] = (), login_hops: tuple[str, ...] = ("https:",)
    ) -> None:
        """``logout_hops``: origins that a logout passes through. ``login_hops``: schemes that
        identity providers are reached by.
        """
        for hop in logout_hops:
            if not _ORIGIN.fullmatch(hop):
                msg = f"{hop!r} is not an origin"
                raise ValueError(msg)
        self._form_action = {
            Form.NONE: "'none'",
            Form.LOGOUT: " ".join(("'self'", *logout_hops)),
            Form.LOGIN: " ".join(("'self'", *login_hops)),
        }
        self._style = (HERE / "static" / "pages.css").read_text(encoding="utf-8")
        self._environments = {language: _environment(language) for language in LANGUAGES}

    def render(
        self,
        name: str,
        tenant: Tenant | None,
        language: str,
        *,
        request_id: str = "",
        **values: object,
    ) -> str:
        """HTML of page ``name`` with ``values`` (see ``PAGES``); ``tenant`` None where it is not
        known or must not show.
        """
        if values.keys() != PAGES[name].values:
            msg = f"page {name} takes {sorted(PAGES[name].values)}, not {sorted(values)}"
            raise TypeError(msg)
        branding = _branding(tenant)
        template = self._environments[language].get_template(f"{name}.html")
        return template.render(
            values,
            language=language,
            request_id=request_id,
            tenant_name="" if tenant is None else tenant.name,
            logo=_logo(branding),
            support=_support(branding),
            style=self._styled(branding),
        )

    def headers(
        self, name: str, tenant: Tenant | None, language: str
    ) -> tuple[tuple[str, str], ...]:
        """Headers of page ``name`` as drawn for ``tenant``."""
        page, branding = PAGES[name], _branding(tenant)
        digest = base64.b64encode(hashlib.sha256(self._styled(branding).encode()).digest()).decode(
            "ascii"
        )
        logo = f" https://{urlsplit(branding.logo).netloc}" if _logo(branding) else ""
        policy = (
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            # data: is the empty icon, without which browsers ask the application for /favicon.ico
            f"img-src data:{logo}",
            f"form-action {self._form_action[page.form]}",
            "frame-ancestors *" if page.framed else "frame-ancestors 'none'",
            "base-uri 'none'",
        )
        return (
            *PAGE_HEADERS,
            ("Content-Security-Policy", "; ".join(policy)),
            ("Content-Language", language),
        )

    def _styled(self, branding: Branding) -> str:
        colours = palette(branding.color)
        return (
            f":root{{--accent:{colours.accent};--on-accent:{colours.on_accent};"
            f"--link-light:{colours.light};--link-dark:{colours.dark}}}\n{self._style}"
        )


# Not no-referrer: with it browsers send ``Origin: null`` with a form (Fetch, "append a request
# Origin header"), and our own forms could not be told from a foreign site's.
PAGE_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""What every page carries, whoever it is for."""


class _Compiled(BytecodeCache):
    """What templates compile to, by name and content: the same for every language, since a catalog
    is only asked when a page is drawn.
    """

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key, bucket.checksum] = bucket.code


_COMPILED: Final = _Compiled()


def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        bytecode_cache=_COMPILED,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    translations = (
        gettext.NullTranslations()
        if language == LANGUAGES[0]
        else gettext.translation(DOMAIN, LOCALE, languages=[language])
    )
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]  # added by the extension at run time
    environment.filters["moment"] = _moment
    environment.globals["explain"] = explain
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def _moment(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def _branding(tenant: Tenant | None) -> Branding:
    return Branding() if tenant is None else tenant.branding


def _logo(branding: Branding) -> str:
    """The logo's URL if its origin can stand in a policy; else none is shown."""
    parts = urlsplit(branding.logo)
    return (
        branding.logo
        if parts.scheme == "https" and _ORIGIN.fullmatch(f"https://{parts.netloc}")
        else ""
    )


def _support(branding: Branding) -> tuple[str, str] | None:
    """Text and link (or "") of the tenant's support contact: an e-mail address, an https URL, or
    words such as a telephone number.
    """
    contact = branding.support
    if not contact:
        return None
    if _EMAIL.fullmatch(contact):
        return contact, f"mailto:{contact}"
    return contact, contact if contact.startswith("https://") else ""
