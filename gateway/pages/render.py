"""Pages that people see, drawn from values only: nothing here knows a request, and nothing on a
page comes from a URL.

Rules:
- One script, the same for everybody, on the pages that show times or something to copy; the policy
  names its hash and permits no other, so injected markup would find nothing to run and nowhere to
  send. Every page is complete without it.
- A page is never stored, framed (but for the one that is meant for frames), or named to other sites
  (``headers``).
- Each page takes exactly the values that ``PAGES`` lists: one too few or too many is a
  ``TypeError``, not an empty place.
"""

from __future__ import annotations

import base64
import gettext
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jinja2 import (
    BytecodeCache,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
)

from gateway.core.model import Branding
from gateway.pages.language import LANGUAGES
from gateway.pages.phrases import phrases_of, remembering
from gateway.pages.support import group_words, place_of, support_of
from gateway.pages.texts import MONTHS, explain
from gateway.pages.theme import palette
from gateway.pages.user_agent import parse_user_agent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType

    from jinja2.bccache import Bucket

    from gateway.core.model import Tenant

HERE = Path(__file__).parent
LOCALE = HERE / "locale"
STYLE_BASE: Final = HERE / "static" / "base.css"
"""What console and setup portal look alike in; each adds its own after it."""
DOMAIN = "gateway"
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
"""CSP 3 §2.3.1 host-source, less wildcards and paths: no ``;`` or ``,`` that would end the
directive.
"""
SHORT_ID_CHARACTERS: Final = 8
"""Of a request id, from its end: ids begin with what many share, a time or a name. Enough to find
one line of a day's log.
"""
_SHOWN_WHOLE: Final = 12


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
    script: bool = False
    """It has times to show in the browser's time zone, or something to copy."""


PAGES: Final[Mapping[str, Page]] = {
    # A login that did not work, and every other refusal that is told in the browser: Reason,
    # PeerError code or "", URL to try again or None; change: URL to type another e-mail address on
    # a shared host, or None; start: URL of the application's start page, or None.
    "error": Page(frozenset({"reason", "code", "retry", "others", "change", "start"}), script=True),
    # Signed in but not allowed here. email: who (or ""); groups: (name, label or "") of which one
    # would do; roles: likewise, names; rule: the path glob that decided (or ""); return_to: where
    # "sign in as someone else" leads back to. That form posts to /_auth/logout with ``again`` =
    # return_to. change: as above; provider_sign_out: URL to sign out at the identity provider
    # itself, or None.
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
        script=True,
    ),
    # Somebody other than was typed arrived. typed, email: addresses; go_on, again: URLs;
    # provider_sign_out: as above.
    "other_person": Page(frozenset({"typed", "email", "go_on", "again", "provider_sign_out"})),
    # providers: names where the person may still be signed in; login: URL or None; change: as
    # above.
    "signed_out": Page(frozenset({"providers", "login", "change"})),
    # Asks before logging out; posts to /_auth/logout. return_to: where "no" leads, or None.
    "logout": Page(frozenset({"email", "return_to"}), Form.LOGOUT),
    # Which organization? Sends GET /_auth/login with login_hint and rd. host: the one that was
    # opened; problem: "", "unknown" or "too_many".
    "email": Page(frozenset({"return_to", "email", "problem", "host"}), Form.LOGIN),
    # choices: (label, name, URL) of each provider; change: URL to type another address, or None.
    "chooser": Page(frozenset({"choices", "change"})),
    # Inside an iframe: a link that opens the login in a new tab.
    "frame": Page(frozenset({"login"}), framed=True),
    # An unsafe method met an ended session: sign in in a new tab, then send again.
    "retry": Page(frozenset({"login"})),
    # now: UTC epoch seconds; sessions, app_passwords: SessionView of the person; posts ``session``
    # (a family, or "all") or ``app_password`` (one's id, or "new" with what is wanted) to
    # /_auth/sessions. offer: what the form for a new one offers, or None; problem: why none was
    # made, or ""; reauthenticate: address of the login that must come first, or "".
    "sessions": Page(
        frozenset(
            {"sessions", "app_passwords", "offer", "problem", "reauthenticate", "email", "now"}
        ),
        Form.LOGOUT,
        script=True,
    ),
    # Asks before ending all sessions; posts as above. sessions, app_passwords: how many.
    "end_all": Page(frozenset({"sessions", "app_passwords", "email"}), Form.LOGOUT),
    # The one page that holds an app password. text: it; label: what its person calls it;
    # expires_at: UTC epoch seconds.
    "app_password": Page(frozenset({"text", "label", "expires_at"}), Form.LOGOUT, script=True),
    # Test connection. steps: (texts.TrialStep, milliseconds, ok, detail); claims: (name, value);
    # groups: (name, label or ""); missing: (texts.TrialLack, names); allowed: the decision; reason:
    # its Reason.
    "test_result": Page(
        frozenset({"steps", "claims", "groups", "missing", "allowed", "reason"}), script=True
    ),
    # The address to come back to is too long to be kept. login: URL.
    "too_long": Page(frozenset({"login"})),
    # start: URL of the application's start page, or None.
    "not_found": Page(frozenset({"start"})),
    # seconds after which to try again.
    "unavailable": Page(frozenset({"seconds"}), script=True),
}


class Pages:
    """Draws pages in every language; one environment each, all made at start-up so that a broken
    catalog or template shows there.
    """

    __slots__ = ("_branding", "_environments", "_form_action", "_product", "_script", "_style")

    def __init__(
        self,
        *,
        product: str = "",
        branding: Branding | None = None,
        logout_hops: tuple[str, ...] = (),
        login_hops: tuple[str, ...] = ("https:",),
    ) -> None:
        """``product``: what people know the operator's product by, or ""; ``branding``: how pages
        look that are of no tenant. ``logout_hops``: origins that a logout passes through.
        ``login_hops``: schemes that identity providers are reached by.
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
        self._product = product
        self._branding = branding or Branding()
        self._style = (HERE / "static" / "pages.css").read_text(encoding="utf-8")
        self._script = (HERE / "static" / "page.js").read_text(encoding="utf-8")
        self._environments = {language: environment_of(language) for language in LANGUAGES}

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
        branding = self._branding if tenant is None else tenant.branding
        template = self._environments[language].get_template(f"{name}.html")
        return template.render(
            values,
            language=language,
            request_id=request_id,
            heading=self._product if tenant is None else tenant.name,
            product=self._product,
            logo=_logo(branding),
            support=support_of(branding.support or self._branding.support),
            style=self._styled(branding),
            script=self._script if PAGES[name].script else "",
        )

    def headers(
        self, name: str, tenant: Tenant | None, language: str
    ) -> tuple[tuple[str, str], ...]:
        """Headers of page ``name`` as drawn for ``tenant``."""
        page = PAGES[name]
        branding = self._branding if tenant is None else tenant.branding
        logo = f" https://{urlsplit(branding.logo).netloc}" if _logo(branding) else ""
        policy = (
            "default-src 'none'",
            f"style-src {_hash_source(self._styled(branding))}",
            *((f"script-src {_hash_source(self._script)}",) if page.script else ()),
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


def _hash_source(text: str) -> str:
    """CSP 3 §2.3.1 hash-source of an element that is inlined as it is."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


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


class _Environment(Environment):
    """Rows of lists are objects of JSON: what one has is not looked for among what every dict can
    do, which is a fifth of the time of a list.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def environment_of(language: str, rooms: Mapping[str, Path] | None = None) -> Environment:
    """Templates in ``language``, each compiled, so that a broken one shows at start-up. ``rooms``:
    folders of other templates, by what stands before their names (``console/tenants.html``).
    """
    environment = _Environment(
        loader=ChoiceLoader(
            [
                FileSystemLoader(HERE / "templates"),
                PrefixLoader({n: FileSystemLoader(f) for n, f in (rooms or {}).items()}),
            ]
        ),
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
    environment.filters.update(
        group_words=group_words,
        iso=_iso,
        json_lines=_json_lines,
        place=place_of,
        plain_json=_plain_json,
        short=_short,
        user_agent=parse_user_agent,
        utc=_utc,
    )
    phrases = phrases_of(translations)
    environment.globals.update(
        _=remembering(translations),
        agent=phrases.agent,
        explain=explain,
        months=MONTHS,
        since=phrases.since,
        until=phrases.until,
    )
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def _plain_json(value: object) -> str:
    """To be read; escaped where it is shown, like any text."""
    return json.dumps(value, ensure_ascii=False)


def _json_lines(value: object) -> str:
    """The same, a value a line."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _utc(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(epoch_s, tz=UTC)


def _iso(epoch_s: int) -> str:
    """For ``datetime`` of an element ``time``."""
    return f"{_utc(epoch_s).replace(tzinfo=None).isoformat()}Z"


def _short(request_id: str) -> str:
    return request_id if len(request_id) <= _SHOWN_WHOLE else request_id[-SHORT_ID_CHARACTERS:]


def _logo(branding: Branding) -> str:
    """The logo's URL if its origin can stand in a policy; else none is shown."""
    parts = urlsplit(branding.logo)
    return (
        branding.logo
        if parts.scheme == "https" and _ORIGIN.fullmatch(f"https://{parts.netloc}")
        else ""
    )
