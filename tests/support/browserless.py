"""A person with a browser, without the browser: redirects across hosts, cookies, and forms, over a
real HTTP client.

What matters for logins is kept as browsers keep it: cookies belong to a host whatever its port,
``__Host-`` and Secure cookies live on ``http://*.localhost`` (Chromium does that), SameSite=Lax
cookies stay at home on a cross-site POST, and every name under ``localhost`` is a site of its own,
because ``localhost`` is a top-level domain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlencode

from yarl import URL

from demo.net import client_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiohttp import ClientSession

MAX_REDIRECTS = 20
"""Chromium's limit: more is a redirect loop."""


class RedirectLoopError(AssertionError):
    """The servers sent the person in circles."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form as the page shows it."""

    action: str
    method: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Hop:
    """One answer on the way to a page."""

    method: str
    url: str
    status: int
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Page:
    """Where the person ended up, and every hop on the way, this one included."""

    url: str
    status: int
    text: str
    hops: tuple[Hop, ...]
    forms: tuple[Form, ...] = field(default=())
    links: tuple[tuple[str, str], ...] = field(default=())
    """(text, absolute address)"""

    @property
    def host(self) -> str:
        return URL(self.url).host or ""

    @property
    def headers(self) -> Hop:
        return self.hops[-1]

    def visited(self, host: str) -> bool:
        """Whether the way led over this host."""
        return any(URL(hop.url).host == host for hop in self.hops)

    def link(self, text: str) -> str:
        """The address of the first link whose text contains this."""
        return next(address for label, address in self.links if text in label)


def _words(text: str) -> str:
    """What a person would read of it."""
    return " ".join(re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", text).split())


def forgotten_at(page: Page) -> list[str]:
    """Host and path of each answer on the way that had the browser forget what it kept of this
    host.
    """
    return [
        f"{URL(hop.url).host}{URL(hop.url).path}"
        for hop in page.hops
        if '"cache"' in (hop.header("Clear-Site-Data") or "")
    ]


FORGED: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "same-site"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://evil.localhost", "Sec-Fetch-Site": "same-origin"},
)
"""What a form of another page may be sent with, also by a sibling site, to which SameSite gives the
cookie.
"""


class Person:
    """One browser profile. ``follow=False`` on a call stops at the first answer."""

    def __init__(self, *, accept_language: str = "en") -> None:
        self._language = accept_language
        self._cookies: dict[str, dict[tuple[str, str], Morsel[str]]] = {}
        self._http: ClientSession

    async def __aenter__(self) -> Self:
        self._http = client_session(timeout_s=15)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    # -- what a person does

    async def open(
        self, url: str, *, follow: bool = True, headers: Mapping[str, str] | None = None
    ) -> Page:
        """Type an address."""
        return await self._navigate("GET", url, initiator=None, follow=follow, headers=headers)

    async def click(self, page: Page, text: str) -> Page:
        """Follow a link of the page."""
        return await self._navigate("GET", page.link(text), initiator=page.url)

    async def submit(
        self,
        page: Page,
        fields: Mapping[str, str] | None = None,
        *,
        form: int = 0,
        follow: bool = True,
    ) -> Page:
        """Fill and send a form of the page; names that it lacks are an error, as a person could not
        fill them.
        """
        chosen = page.forms[form]
        filled = {**chosen.fields, **(fields or {})}
        assert set(filled) == set(chosen.fields), f"the form has {sorted(chosen.fields)}"
        if chosen.method == "GET":
            target = str(URL(chosen.action).with_query(dict(filled)))
            return await self._navigate("GET", target, initiator=page.url, follow=follow)
        return await self._navigate(
            "POST", chosen.action, initiator=page.url, body=urlencode(filled), follow=follow
        )

    async def press(self, page: Page, action: str, fields: Mapping[str, str] | None = None) -> Page:
        """Send the form of the page whose address ends so."""
        numbers = [number for number, form in enumerate(page.forms) if form.action.endswith(action)]
        assert len(numbers) == 1, (
            f"{len(numbers)} forms lead to {action}: {[form.action for form in page.forms]}"
        )
        return await self.submit(page, fields, form=numbers[0])

    async def log_in(self, url: str, email: str, password: str = "demo") -> Page:
        """Open an address, sign in at the IdP's form that it leads to, and arrive where that
        leads.
        """
        page = await self.open(url)
        assert page.forms and "password" in page.forms[0].fields, (
            f"no login form: {page.status} at {page.url}: {_words(page.text)}"
        )
        return await self.submit(page, {"email": email, "password": password})

    # -- cookies

    def cookies(self, host: str) -> dict[str, str]:
        """Name → value of what this browser keeps for a host."""
        return {name: morsel.value for (name, _), morsel in self._cookies.get(host, {}).items()}

    def bindings(self, host: str) -> dict[str, str]:
        """Name → value of the cookies that bind this browser's logins in progress to it."""
        return {
            name: value
            for name, value in self.cookies(host).items()
            if name.startswith("__Host-gw-login-")
        }

    def set_cookie(self, host: str, name: str, value: str) -> None:
        """Plant a cookie, as a neighbour or an attacker could."""
        self._keep(host, f"{name}={value}; Path=/")

    def forget(self, host: str, name: str | None = None) -> None:
        """Delete one cookie of a host, or all."""
        kept = self._cookies.get(host, {})
        self._cookies[host] = {
            key: found for key, found in kept.items() if name is not None and key[0] != name
        }

    def _clear_domain(self, host: str) -> None:
        """As Chromium does it: of every host of the registrable domain, and what this answer has
        set.
        """
        domain = ".".join(host.split(".")[-2:])
        for other in list(self._cookies):
            if other == domain or other.endswith(f".{domain}"):
                self.forget(other)

    def _keep(self, host: str, header: str) -> None:
        parsed: SimpleCookie = SimpleCookie()
        try:
            parsed.load(header)
        except CookieError:
            return
        for name, morsel in parsed.items():
            prefixed = name.startswith("__Host-")
            if prefixed and (not morsel["secure"] or morsel["path"] != "/" or morsel["domain"]):
                continue
            path = morsel["path"] or "/"
            kept = self._cookies.setdefault(host, {})
            if morsel["max-age"] == "0" or morsel["expires"].endswith("1970 00:00:00 GMT"):
                kept.pop((name, path), None)
            else:
                kept[name, path] = morsel

    def _cookie_header(self, url: URL, *, method: str, cross_site: bool) -> str:
        sent = []
        for (name, path), morsel in self._cookies.get(url.host or "", {}).items():
            same_site = (morsel["samesite"] or "lax").lower()
            withheld = cross_site and (
                same_site == "strict" or (same_site == "lax" and method not in ("GET", "HEAD"))
            )
            inside = url.path == path or url.path.startswith(path.rstrip("/") + "/")
            if inside and not withheld:
                sent.append(f"{name}={morsel.coded_value}")
        return "; ".join(sent)

    # -- the wire

    async def _navigate(
        self,
        method: str,
        target: str,
        *,
        initiator: str | None,
        body: str | None = None,
        follow: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Page:
        hops: list[Hop] = []
        url = _address(target)
        cross_site = initiator is not None and URL(initiator).host != url.host
        while True:
            sent = self._headers(
                url, method, initiator=initiator, cross_site=cross_site, extra=headers
            )
            async with self._http.request(
                method,
                url,
                data=body,
                headers=sent,
                allow_redirects=False,
                skip_auto_headers=["User-Agent"],
            ) as response:
                text = await response.text(errors="replace")
                for cookie in response.headers.getall("Set-Cookie", []):
                    self._keep(url.host or "", cookie)
                if '"cookies"' in response.headers.get("Clear-Site-Data", ""):
                    self._clear_domain(url.host or "")
                hops.append(Hop(method, str(url), response.status, tuple(response.headers.items())))
                location = response.headers.get("Location")
            if not follow or location is None or response.status not in (301, 302, 303, 307, 308):
                return as_page(str(url), response.status, text, tuple(hops))
            if len(hops) > MAX_REDIRECTS:
                raise RedirectLoopError("\n".join(f"{hop.status} {hop.url}" for hop in hops))
            onward = url.join(_address(location))
            cross_site = cross_site or (onward.host != url.host)
            if response.status not in (307, 308):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
            url = onward

    def _headers(
        self,
        url: URL,
        method: str,
        *,
        initiator: str | None,
        cross_site: bool,
        extra: Mapping[str, str] | None,
    ) -> dict[str, str]:
        site = "none" if initiator is None else "cross-site" if cross_site else "same-origin"
        headers = {
            "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Accept-Language": self._language,
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) browserless",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Sec-Fetch-Site": site,
            "Sec-Fetch-User": "?1",
        }
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = str(URL(initiator).origin()) if initiator else "null"
        if cookie := self._cookie_header(url, method=method, cross_site=cross_site):
            headers["Cookie"] = cookie
        return {**headers, **(extra or {})}


def _address(text: str) -> URL:
    """As a browser's address bar takes it: what is not allowed in an address is percent-encoded,
    the rest stays as typed.
    """
    return URL(quote(text, safe="%" + "!#$&'()*+,/:;=?@[]~|^\\{}"), encoded=True)


class _Reader(HTMLParser):
    """Collects forms and links."""

    def __init__(self, base: URL) -> None:
        super().__init__(convert_charrefs=True)
        self._base = base
        self._form: tuple[str, str, dict[str, str]] | None = None
        self._link: tuple[str, list[str]] | None = None
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            action = (
                str(self._base.join(URL(given["action"], encoded=True)))
                if given.get("action")
                else str(self._base)
            )
            self._form = (action, given.get("method", "get").upper(), {})
        elif tag in ("input", "button", "select", "textarea") and self._form and given.get("name"):
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self._form[2].setdefault(given["name"], given.get("value", ""))
        elif tag == "a" and "href" in given:
            self._link = (str(self._base.join(URL(given["href"], encoded=True))), [])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._form:
            self.forms.append(Form(*self._form))
            self._form = None
        elif tag == "a" and self._link:
            self.links.append(("".join(self._link[1]).strip(), self._link[0]))
            self._link = None

    def handle_data(self, data: str) -> None:
        if self._link:
            self._link[1].append(data)


def as_page(url: str, status: int, text: str, hops: tuple[Hop, ...] = ()) -> Page:
    reader = _Reader(URL(url, encoded=True))
    reader.feed(text)
    return Page(url, status, text, hops, tuple(reader.forms), tuple(reader.links))
