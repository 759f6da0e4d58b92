"""Pages that people see, drawn from values only: nothing here knows a request, and nothing on a page comes from a URL.

Rules:
- No JavaScript anywhere; the policy forbids it, so injected markup would find nothing to run and nowhere to send.
- A page is never stored, framed, or named to others (``headers``).
- Each page takes exactly the values that ``PAGES`` lists: one too few or too many is a ``TypeError``, not an empty place.
"""

from __future__ import annotations

import base64
import gettext
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.core.model import Branding
from gateway.web.colour import palette
from gateway.web.language import LANGUAGES
from gateway.web.texts import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import Tenant

HERE = Path(__file__).parent
LOCALE = HERE / "locale"
DOMAIN = "gateway"
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
"""CSP 3 §2.3.1 host-source, less wildcards and paths: no ``;`` or ``,`` that would end the directive."""
_EMAIL = re.compile(r"[^\s@/?#:]+@[^\s@/?#:]+\.[^\s@/?#:]+")

PAGES: Final[Mapping[str, frozenset[str]]] = {
    # A login that did not work, and every other refusal that is told in the browser: Reason, PeerError code or "", URL to try again or None.
    "error": frozenset({"reason", "code", "retry"}),
    # Signed in but not allowed here. email: who (or ""); groups, roles: which would do; rule: the path glob that decided (or "");
    # return_to: where "sign in as someone else" leads back to. That form posts to /_auth/logout with ``again`` = return_to.
    "denied": frozenset({"reason", "email", "groups", "roles", "rule", "return_to"}),
    # providers: labels where the person may still be signed in; login: URL or None.
    "signed_out": frozenset({"providers", "login"}),
    # Asks before logging out; posts to /_auth/logout. return_to: where "no" leads.
    "logout": frozenset({"email", "return_to"}),
    # Which organisation? Sends GET /_auth/login with login_hint and rd. problem: "", "unknown" or "too_many".
    "email": frozenset({"return_to", "email", "problem"}),
    # choices: (label, URL) of each provider; change: URL to type another address, or None.
    "chooser": frozenset({"choices", "change"}),
    # Inside an iframe: a link that opens the login in a new tab.
    "frame": frozenset({"login"}),
    # An unsafe method met an ended session: sign in in a new tab, then send again.
    "retry": frozenset({"login", "method"}),
    # sessions: ports.SessionView of the person; posts ``session`` (a family, or "all") to /_auth/sessions.
    "sessions": frozenset({"sessions", "email"}),
    # Test connection. steps: (name, milliseconds, ok, detail); claims: (name, value); allowed: the decision; reason: its Reason.
    "test_result": frozenset({"steps", "claims", "groups", "missing", "allowed", "reason"}),
    "not_found": frozenset(),
    # seconds after which to try again.
    "unavailable": frozenset({"seconds"}),
}
"""Page → the values it takes."""


class Pages:
    """Draws pages in every language; one environment each, all made at start-up so that a broken catalog or template shows there."""

    __slots__ = ("_environments", "_style")

    def __init__(self) -> None:
        self._style = (HERE / "static" / "pages.css").read_text(encoding="utf-8")
        self._environments = {language: _environment(language) for language in LANGUAGES}

    def render(self, name: str, tenant: Tenant | None, language: str, *, request_id: str = "", **values: object) -> str:
        """HTML of page ``name`` with ``values`` (see ``PAGES``); ``tenant`` None where it is not known or must not show."""
        if values.keys() != PAGES[name]:
            msg = f"page {name} takes {sorted(PAGES[name])}, not {sorted(values)}"
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

    def headers(self, tenant: Tenant | None, language: str, *, form_action: tuple[str, ...] = ()) -> tuple[tuple[str, str], ...]:
        """Headers of every page drawn for ``tenant``.

        ``form_action``: origins (or ``https:``) that a form on this page reaches by redirects. Chromium checks each hop of a
        form's redirects against it, so the logout form needs Cognito's origin, and a form that ends in a login needs ``https:``.
        """
        for source in form_action:
            if source not in {"https:", "http:"} and not _ORIGIN.fullmatch(source):
                msg = f"{source!r} is not an origin"
                raise ValueError(msg)
        branding = _branding(tenant)
        digest = base64.b64encode(hashlib.sha256(self._styled(branding).encode()).digest()).decode("ascii")
        policy = ["default-src 'none'", f"style-src 'sha256-{digest}'"]
        # data: is the empty icon, without which browsers ask the application for /favicon.ico.
        policy.append("img-src data:" + (f" https://{urlsplit(branding.logo).netloc}" if _logo(branding) else ""))
        policy += [" ".join(("form-action 'self'", *form_action)), "frame-ancestors 'none'", "base-uri 'none'"]
        return (*PAGE_HEADERS, ("Content-Security-Policy", "; ".join(policy)), ("Content-Language", language))

    def _styled(self, branding: Branding) -> str:
        colours = palette(branding.color)
        return f":root{{--accent:{colours.accent};--on-accent:{colours.on_accent};--link-light:{colours.light};--link-dark:{colours.dark}}}\n{self._style}"


PAGE_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""What every page carries, whoever it is for."""


def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.i18n"]
    )
    translations = gettext.NullTranslations() if language == LANGUAGES[0] else gettext.translation(DOMAIN, LOCALE, languages=[language])
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]  # added by the extension at run time
    environment.filters["moment"] = _moment
    environment.globals["explain"] = explain
    for name in PAGES:
        environment.get_template(f"{name}.html")
    return environment


def _moment(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def _branding(tenant: Tenant | None) -> Branding:
    return Branding() if tenant is None else tenant.branding


def _logo(branding: Branding) -> str:
    """The logo's URL if its origin can stand in a policy; else none is shown."""
    parts = urlsplit(branding.logo)
    return branding.logo if parts.scheme == "https" and _ORIGIN.fullmatch(f"https://{parts.netloc}") else ""


def _support(branding: Branding) -> tuple[str, str] | None:
    """Text and link (or "") of the tenant's support contact: an e-mail address, an https URL, or words such as a telephone number."""
    contact = branding.support
    if not contact:
        return None
    if _EMAIL.fullmatch(contact):
        return contact, f"mailto:{contact}"
    return contact, contact if contact.startswith("https://") else ""
