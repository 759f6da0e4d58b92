"""Does the application go on as the person before, when another one signs in with the same browser?
Two people's sessions, and one jar of cookies.

Rules:
- Each person opens the pages with a browser of their own first: what only one of the two pages
  shows of its person is looked for later.
- Then the second person opens them with the first one's cookies, without those that the gateway
  expires (``app_cookies``).
- A session goes to the probed host alone. Of cookies, only names are told.
"""

from __future__ import annotations

import html
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from gateway.core.app_cookies import AppCookie, expired
from gateway.core.cookies import is_ours
from gateway.doctor.advice import ADVICE
from gateway.doctor.evidence import Finding, Severity
from gateway.errors import ConfigError, GatewayError
from gateway.http.body import read_beginning
from gateway.http.connection_error import why

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from gateway.core.model import Secret

MAX_HOPS: Final = 10
MAX_PAGE_BYTES: Final = 1024 * 1024
MIN_MARK: Final = 3
"""Characters; shorter ones stand in every page."""
MAX_COOKIES: Final = 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}
_SIGN_IN = "/_auth/callback"
"""Where the gateway's pages expire cookies, as the browser sees it."""


class AppSessionError(GatewayError):
    """The two sessions could not be compared."""


@dataclass(frozen=True, slots=True)
class AppSession:
    """``sessions``: values of the gateway's cookie at the probed host, of two people. ``pages``:
    opened in order. ``cookies``: entries of ``app_cookies``.
    """

    sessions: tuple[Secret, Secret]
    pages: tuple[str, ...] = ("/",)
    cookies: tuple[AppCookie, ...] = ()

    def __post_init__(self) -> None:
        wrong = next((page for page in self.pages if not page.startswith("/")), None)
        if wrong is not None:
            raise ConfigError(f"--app-page: {wrong}: begins with /")


class Resolver(aiohttp.ThreadedResolver):
    """``reachable``: the name to look up in place of a host's."""

    def __init__(self, reachable: Callable[[str], str]) -> None:
        super().__init__()
        self._reachable = reachable

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(**{**address, "hostname": host})
            for address in await super().resolve(self._reachable(host), port, family)
        ]


@dataclass(slots=True)
class _Browser:
    """One person's session with a jar of the application's cookies."""

    http: aiohttp.ClientSession
    origin: URL
    own: str
    session: Secret
    jar: aiohttp.CookieJar

    async def open(self, pages: Iterable[str]) -> str:
        """The text of all pages, one after the other; redirects are followed at this host."""
        texts = []
        for page in pages:
            url = self.origin.join(URL(page))
            for _ in range(MAX_HOPS):
                status, location, text = await self._get(url)
                leads_to = _joined(url, location) if status in _REDIRECTS else None
                if leads_to is None or leads_to.origin() != self.origin:
                    texts.append(text)
                    break
                url = leads_to
        return html.unescape("\n".join(texts)).casefold()

    async def who(self) -> frozenset[str]:
        """What a page may call this person. Raises ``AppSessionError`` where nobody is signed
        in.
        """
        status, _, text = await self._get(self.origin.join(URL("/_auth/userinfo")), limit=64 * 1024)
        try:
            document: Any = json.loads(text) if status == 200 else None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise AppSessionError(
                f"--app-session: {self.origin}/_auth/userinfo answers {status}: not the "
                "cookie of a session at this host, or it has ended"
            )
        email = str(document.get("email") or "")
        marks = (
            email,
            email.partition("@")[0],
            str(document.get("name") or ""),
            str(document.get("user") or ""),
        )
        return frozenset(mark.casefold() for mark in marks if len(mark) >= MIN_MARK)

    def forget(self, entries: Sequence[AppCookie]) -> None:
        """Has the jar do what a browser does with the lines that the gateway sends when another
        person signs in.
        """
        url = self.origin.join(URL(_SIGN_IN))
        lines, _ = expired([self._held(url)], entries, host=str(self.origin.host), own=self.own)
        self.jar.update_cookies_from_headers(lines, url)

    def left(self) -> list[str]:
        """The application's cookies, as they would be written into ``app_cookies``."""
        return sorted(
            {
                morsel.key + (f"; Path={morsel['path']}" if morsel["path"] not in {"", "/"} else "")
                for morsel in self.jar
                if not is_ours(morsel.key, self.own)
            }
        )

    def _held(self, url: URL) -> str:
        return "; ".join(
            f"{name}={morsel.coded_value}"
            for name, morsel in self.jar.filter_cookies(url).items()
            if not is_ours(name, self.own)
        )

    async def _get(self, url: URL, *, limit: int = MAX_PAGE_BYTES) -> tuple[int, str, str]:
        cookies = "; ".join(filter(None, (f"{self.own}={self.session.reveal()}", self._held(url))))
        try:
            async with self.http.get(
                url, headers={**_NAVIGATION, "Cookie": cookies}, allow_redirects=False
            ) as response:
                self.jar.update_cookies_from_headers(response.headers.getall("Set-Cookie", []), url)
                body = await read_beginning(response.content, limit=limit)
                return (
                    response.status,
                    response.headers.get("Location", ""),
                    body.decode("utf-8", "replace"),
                )
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise AppSessionError(
                f"{url.with_query(None)} does not answer: {why(error)}"
            ) from error


async def compare(
    question: AppSession,
    *,
    origin: str,
    own: str,
    tls: ssl.SSLContext | None,
    reachable: Callable[[str], str],
) -> list[Finding]:
    """``origin``: of the probed host; ``own``: name of the gateway's session cookie. Raises
    ``AppSessionError``.
    """
    connector = aiohttp.TCPConnector(resolver=Resolver(reachable), ssl=tls or True)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=15),
    ) as http:
        here = URL(origin)
        one, other = (
            _Browser(
                http,
                here,
                own,
                session,
                aiohttp.CookieJar(quote_cookie=False, treat_as_secure_origin=[here]),
            )
            for session in question.sessions
        )
        own_marks, others = await one.who(), await other.who()
        if own_marks == others:
            raise AppSessionError("--app-session: both sessions are the same person's")
        first, second = await one.open(question.pages), await other.open(question.pages)
        before = {
            mark for mark in own_marks - others if _says(first, mark) and not _says(second, mark)
        }
        after = {
            mark for mark in others - own_marks if _says(second, mark) and not _says(first, mark)
        }
        pages = ", ".join(question.pages)
        if not before or not after:
            return [
                _finding(
                    "app_session_unseen",
                    Severity.WARNING,
                    (
                        f"{pages}: {'the first' if not before else 'the second'} person's name "
                        "or address is not on it, or on the other person's page, too"
                    ),
                )
            ]
        one.forget(question.cookies)
        browser = _Browser(http, here, own, question.sessions[1], one.jar)
        cookie_names = browser.left()[:MAX_COOKIES]
        result = await browser.open(question.pages)
        if any(_says(result, mark) for mark in before):
            cause = (
                f"the application's cookies that were left: {', '.join(cookie_names)}"
                if cookie_names
                else (
                    "the application's cookies were all expired: it tells browsers apart by "
                    "something else"
                )
            )
            return [
                _finding(
                    "app_session_kept",
                    Severity.CRITICAL,
                    (
                        f"{pages}: with the second person's session and the first one's "
                        "cookies it shows the first person"
                    ),
                    cause,
                )
            ]
        if not any(_says(result, mark) for mark in after):
            return [
                _finding(
                    "app_session_unseen",
                    Severity.WARNING,
                    (
                        f"{pages}: with the second person's session and the first one's "
                        "cookies it shows neither person"
                    ),
                )
            ]
        return []


def _joined(url: URL, location: str) -> URL | None:
    try:
        return url.join(URL(location)) if location else None
    except ValueError:
        return None


def _says(text: str, mark: str) -> bool:
    """Whether the mark stands there by itself: ``bob``, not ``bobsled`` and not a piece of a
    token.
    """
    start = text.find(mark)
    while start >= 0:
        end = start + len(mark)
        if not text[max(0, start - 1) : start].isalnum() and not text[end : end + 1].isalnum():
            return True
        start = text.find(mark, start + 1)
    return False


def _finding(code: str, severity: Severity, *evidence: str) -> Finding:
    return Finding(code, severity, ADVICE[code].title, evidence, ADVICE[code].general)
