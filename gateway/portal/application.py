"""The setup portal on the listener ``pages``: every request from its first to its last step.

host → link of the cookie → part of the page → a form's origin and token → handler → page. The
landing page has no cookie yet: its address is looked up, and its form needs recipient and phrase,
or the code that it mails to the recipient.
"""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.core.hosts import client_key
from gateway.errors import GatewayError
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.listener import UNREADABLE
from gateway.http.upload import MULTIPART, BadUploadError, read_upload
from gateway.log import Throttled, fields, of_request
from gateway.login.request import client_behind
from gateway.pages.forms import FIELD, FormTokens, is_own_origin
from gateway.pages.language import negotiate
from gateway.portal.draw import Drawing, Script
from gateway.portal.reach import Reach
from gateway.portal.texts import NOTICES, PROBLEMS
from gateway.portal.views import PAGES
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Visit
from gateway.setup.letters import Moved as MovedLetter
from gateway.setup.letters import name_of
from gateway.setup.links import ID, Refusal
from gateway.setup.model import (
    CODE_DIGITS,
    CODE_S,
    CODES_OF_CLIENT,
    CODES_WINDOW_S,
    ENDED,
    LONG_CODE_DIGITS,
    LONGEST_S,
    OPEN,
    Confirm,
    LinkState,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.admin.in_process import InProcessApi
    from gateway.portal.visit import Outcome, Rooms
    from gateway.setup.links import TellMoved
    from gateway.setup.model import SetupLink
    from gateway.tenants.api import TenantRecord

log = logging.getLogger(__name__)
_fault = Throttled(log, logging.ERROR, "setup_fault")

COOKIE: Final = "__Host-setup"
BROWSER: Final = "__Host-setup-code"
"""Of the browser that asked for a code: the code opens for no other."""
_CODES: Final = "setup_codes"
_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_FORM_BYTES: Final = 256 * 1024
_MAX_FIELDS: Final = 300
_FORM: Final = "application/x-www-form-urlencoded"
LANDINGS, LANDINGS_S = 10, 60
"""Of one address: a person opens a link some times, whoever tries addresses does it often."""
SAVES, SAVES_S = 60, 3600
"""Of one link: each may call the identity provider and Cognito."""
CHECKS, CHECKS_S = 120, 3600
CHECKS_OF_CLIENT = 240
"""Of one link, and of one address with whatever links: each may call the identity provider."""
_OF_ASSETS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}
_STOP: Final = f"{PREFIX}/l/{{id:[^/]{{1,64}}}}/stop/{{token:[^/]{{1,64}}}}"
_LANDING: Final = f"{PREFIX}/l/{{id:[^/]{{1,64}}}}/{{secret:[^/]{{1,128}}}}"


@dataclass(frozen=True, slots=True)
class PortalServices:
    """What the portal stands on. ``form_keys``: secrets of all replicas, the one that writes
    first. ``is_proxy``: whether an address is one of our proxies'.
    """

    rooms: Rooms
    api: InProcessApi
    form_keys: Callable[[], Sequence[bytes]]
    is_proxy: Callable[[str], bool]
    script: Script
    new_request_id: Callable[[], str] = field(default=lambda: secrets.token_hex(8))


class Portal:
    """``config.login_host`` must be set."""

    def __init__(self, services: PortalServices) -> None:
        config = services.rooms.config
        if config.login_host is None:
            msg = "login_host is not set"
            raise ValueError(msg)
        self._services, self._rooms = services, services.rooms
        self._origin = config.origin(config.login_host)
        self._host = self._origin.partition("://")[2]
        self._tokens = FormTokens("setup form", services.form_keys)
        self._stops = FormTokens("setup stop", services.form_keys)
        self._drawing = Drawing(
            product=config.product.name, support=config.setup.support, script=services.script
        )

    def routes(self) -> list[web.RouteDef]:
        routes = [
            web.get(_LANDING, self._served(self._land)),
            web.post(_LANDING, self._served(self._claim)),
            web.get(_STOP, self._served(self._ask_stop)),
            web.post(_STOP, self._served(self._stop)),
            web.post(f"{PREFIX}/leave", self._served(self._leave)),
            web.get(self._drawing.style_path, self._style),
            web.get(self._drawing.script_path, self._script),
        ]
        for page in PAGES:
            method = web.post if page.form else web.get
            routes.append(method(page.pattern, self._served(self._handler(page))))
        # Whatever else: as if there were nothing here.
        routes.append(web.route("*", PREFIX + "{rest:.*}", self._served(self._nothing)))
        return routes

    # --- the way of a request -------------------------------------------------------------------

    def _served(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            request_id = self._services.new_request_id()
            response: web.StreamResponse
            with of_request(request_id):
                try:
                    if request.host != self._host:
                        response = self._problem(request, Failed(404, "not_found"))
                    else:
                        response = await handler(request)
                except GatewayError as error:
                    log.warning(
                        "setup_unavailable",
                        extra=fields(request_id=request_id, error=str(error)),
                    )
                    response = self._problem(request, Failed(503, "unavailable"))
                except web.HTTPException:
                    raise
                except Exception as error:  # noqa: BLE001 - the edge: the browser gets 500, the log the trace
                    _fault(error, request_id=request_id)
                    response = self._problem(request, Failed(500, "internal"))
            response.headers["X-Request-Id"] = request_id
            return response

        return serve

    def _handler(self, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            cookie = request.cookies.get(COOKIE, "")
            link = await self._rooms.links.visit(cookie) if cookie else None
            if link is None:
                return self._nobody(request)
            if not page.is_of(link):
                return self._problem(request, Failed(404, "not_found"), link, cookie)
            form: list[tuple[str, str]] = []
            if page.form:
                submission = await self._form(request, cookie, upload=page.upload)
                if isinstance(submission, Failed):
                    return self._problem(request, submission, link, cookie)
                if page.ends_live and link.stored_state is LinkState.COMPLETED:
                    return self._problem(request, Failed(409, "read_only"), link, cookie)
                if not await self._takes(request, page, link):
                    return self._problem(request, Failed(429, "too_often"), link, cookie)
                form = submission
            values: dict[str, list[str]] = {}
            for name, value in form:
                values.setdefault(name, []).append(value)
            outcome = await page.handler(
                Visit(
                    link=link,
                    cookie=cookie,
                    path=dict(request.match_info),
                    form=dict(form),
                    chosen={name: tuple(several) for name, several in values.items()},
                    now=self._rooms.clock(),
                    reach=Reach(self._services.api, link),
                    rooms=self._rooms,
                )
            )
            return self._respond(request, outcome, link, cookie)

        return handle

    def _respond(
        self, request: web.Request, outcome: Outcome, link: SetupLink, cookie: str
    ) -> web.StreamResponse:
        if isinstance(outcome, Failed):
            return self._problem(request, outcome, link, cookie)
        if isinstance(outcome, Moved):
            mark = f"?notice={outcome.notice}" if outcome.notice in NOTICES else ""
            return _moved(outcome.to + mark)
        response = self._drawing.page(
            outcome.template,
            outcome.values,
            language=link.request.language,
            now=self._rooms.clock(),
            token=lambda path: self._tokens.issue(cookie, path),
            link=link,
            notice=request.query.get("notice", ""),
            status=outcome.status,
        )
        if outcome.again_s:
            response.headers["Refresh"] = str(outcome.again_s)
        return response

    async def _form(
        self, request: web.Request, cookie: str, *, upload: bool = False
    ) -> list[tuple[str, str]] | Failed:
        """The fields, where the form is one of ours and of this browser."""
        form_fields = await self._own_form(request, upload=upload)
        if isinstance(form_fields, Failed):
            return form_fields
        token = dict(form_fields).get(FIELD, "")
        if not self._tokens.accepts(token, cookie, request.path):
            return Failed(403, "stale_form")
        return form_fields

    async def _own_form(
        self, request: web.Request, *, upload: bool = False
    ) -> list[tuple[str, str]] | Failed:
        kinds = (_FORM, MULTIPART) if upload else (_FORM,)
        if not is_own_origin(request.headers, self._origin) or request.content_type not in kinds:
            return Failed(403, "foreign_form")
        try:
            if request.content_type == MULTIPART:
                form_fields = await read_upload(
                    request, limit=MAX_FORM_BYTES, max_fields=_MAX_FIELDS
                )
                return list(form_fields.items())
            raw = await read_body(request.content, limit=MAX_FORM_BYTES)
        except BodyTooLargeError:
            return Failed(413, "too_large")
        except (BadUploadError, *UNREADABLE):
            return Failed(400, "bad_form")
        return _parse_form(raw)

    # --- from the address to the cookie ---------------------------------------------------------

    async def _land(self, request: web.Request) -> web.StreamResponse:
        """Changes nothing: mail scanners open links."""
        if await self._too_often(request):
            return self._problem(request, Failed(429, "too_often"))
        link = await self._rooms.links.open(*_address(request))
        return self._landing_page(request, link)

    async def _claim(self, request: web.Request) -> web.StreamResponse:
        if await self._too_often(request):
            return self._problem(request, Failed(429, "too_often"))
        submission = await self._own_form(request)
        if isinstance(submission, Failed):
            return self._problem(request, submission)
        form, (link_id, secret) = dict(submission), _address(request)
        email = form.get("email", "")[:254]
        link = await self._rooms.links.open(link_id, secret)
        if link is None:
            return self._landing_page(request, None)
        mails = link.request.confirm is Confirm.MAIL
        if mails and "code" not in form:
            return await self._send_code(request, email)
        letters = self._rooms.letters
        recipients = {link.claimed_by, email.strip().casefold()} - {""}
        enough = {each for each in recipients if not await self._rooms.takes_letter(each)}
        result = await self._rooms.links.claim(
            link_id,
            secret,
            email=email,
            answer=form.get("code" if mails else "phrase", ""),
            browser=_browser(request),
            tell=self._tell_moved(request, await self._rooms.tenants.get(link.tenant), enough),
        )
        letters.mailer.wake()
        if isinstance(result, Refusal):
            if result in {Refusal.REVOKED, Refusal.GUESSED}:
                log.error("setup_link_guessed", extra=fields(tenant=link.tenant, link=link.id))
            now = await self._rooms.links.open(link_id, secret)
            wrong = result in {Refusal.WRONG, Refusal.GUESSED}
            return self._landing_page(request, now, wrong=wrong, email=email, asked=mails)
        if result.moved:
            for recipient in recipients - enough:
                await self._rooms.count_letter(recipient)
        response = _moved(PREFIX)
        if BROWSER in request.cookies:
            response.del_cookie(BROWSER, path="/", secure=True, httponly=True, samesite="Lax")
        response.set_cookie(
            COOKIE,
            result.cookie.reveal(),
            max_age=LONGEST_S,
            path="/",
            secure=True,
            httponly=True,
            samesite="Lax",
        )
        return response

    async def _send_code(self, request: web.Request, email: str) -> web.StreamResponse:
        """The same page for whomever: it does not say who is a recipient."""
        link_id, secret = _address(request)
        browser = _browser(request) or secrets.token_urlsafe(32)
        letters = self._rooms.letters
        refusal: Refusal | None = Refusal.WAIT
        attempts, client = self._rooms.attempts, f"{link_id} {self._client(request)}"
        if not await attempts.is_exhausted(
            client, at_most=CODES_OF_CLIENT, window_s=CODES_WINDOW_S, kind=_CODES
        ):
            refusal = await self._rooms.links.send_code(
                link_id, secret, email=email, browser=browser, letters=letters
            )
            letters.mailer.wake()
            if refusal is not Refusal.FULL:
                await attempts.hit(
                    client, at_most=CODES_OF_CLIENT, window_s=CODES_WINDOW_S, kind=_CODES
                )
        link = await self._rooms.links.open(link_id, secret)
        # After a refusal, the code before stays valid where it was asked for.
        asked = refusal is None or bool(_browser(request))
        response = self._landing_page(request, link, email=email, asked=asked, refusal=refusal)
        if refusal is None:
            response.set_cookie(
                BROWSER,
                browser,
                max_age=int(CODE_S),
                path="/",
                secure=True,
                httponly=True,
                samesite="Lax",
            )
        return response

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        cookie = request.cookies.get(COOKIE, "")
        link = await self._rooms.links.visit(cookie) if cookie else None
        if link is None:
            return self._nobody(request)
        submission = await self._form(request, cookie)
        if isinstance(submission, Failed):
            return self._problem(request, submission, link, cookie)
        await self._rooms.links.leave(link)
        response = self._page(request, "left", {}, link=link)
        response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
        return response

    def _landing_page(
        self,
        request: web.Request,
        link: SetupLink | None,
        *,
        wrong: bool = False,
        email: str = "",
        asked: bool = False,
        refusal: Refusal | None = None,
    ) -> web.Response:
        """One page for every link that opens nothing. ``asked``: for a code; ``refusal``: why none
        was sent.
        """
        state = link.state(self._rooms.clock()) if link is not None else None
        if link is None or (state not in OPEN and state is not LinkState.LOCKED):
            return self._page(request, "dead", {"state": str(state or "")}, status=404)
        values: dict[str, object] = {
            "landing": link,
            "locked": state is LinkState.LOCKED,
            "wrong": wrong,
            "email": email,
            "action": request.path,
            "mails": link.request.confirm is Confirm.MAIL,
            "asked": asked,
            "wait": refusal is Refusal.WAIT,
            "full": refusal is Refusal.FULL,
            "digits": f"{CODE_DIGITS}–{LONG_CODE_DIGITS}",
        }
        status = 429 if state is LinkState.LOCKED else 403 if wrong else 200
        status = {Refusal.WAIT: 429, Refusal.FULL: 503}.get(refusal, status) if refusal else status
        return self._page(request, "landing", values, status=status, link_language=link)

    # --- from a letter to the end ---------------------------------------------------------------

    def _tell_moved(
        self, request: web.Request, record: TenantRecord | None, enough: AbstractSet[str]
    ) -> TellMoved:
        """Both are told: whoever had the work, and whoever has it; but who had ``enough`` letters
        of the hour.
        """

        async def tell(connection: AsyncConnection, link: SetupLink, before: str) -> None:
            address = f"{self._origin}{PREFIX}/l/{link.id}/stop/{self._stops.issue(link.id, '')}"
            moved = MovedLetter(
                link,
                name_of(link, record),
                address,
                request.headers.get("User-Agent", ""),
                self._rooms.clock(),
            )
            recipients = [each for each in (before, link.claimed_by) if each and each not in enough]
            await self._rooms.letters.moved(connection, moved, recipients)

        return tell

    async def _ask_stop(self, request: web.Request) -> web.StreamResponse:
        """Changes nothing, and its form needs typing: mail scanners press buttons, too."""
        return await self._stopping(request, None)

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        read = await self._own_form(request)
        if isinstance(read, Failed):
            return self._problem(request, read)
        return await self._stopping(request, dict(read).get("email", "")[:254])

    async def _stopping(self, request: web.Request, email: str | None) -> web.StreamResponse:
        if await self._too_often(request):
            return self._problem(request, Failed(429, "too_often"))
        link_id, token = request.match_info["id"], request.match_info["token"]
        if not ID.fullmatch(link_id) or not self._stops.accepts(token, link_id, ""):
            return self._landing_page(request, None)
        link = await self._rooms.links.find(link_id)
        state = link.state(self._rooms.clock()) if link is not None else None
        if link is None or state in ENDED:
            return self._page(request, "dead", {"state": str(state or "")}, status=404)
        if email is not None and await self._rooms.links.stop(link_id, email=email) is not None:
            return self._page(request, "stopped", {}, link_language=link)
        work = link.work
        values = {
            "action": request.path,
            "wrong": email is not None,
            "email": email or "",
            "former_of": work.renews if (work.put_back_until or 0.0) > self._rooms.clock() else "",
        }
        status = 200 if email is None else 403
        return self._page(request, "stop", values, status=status, link_language=link)

    async def _takes(self, request: web.Request, page: Page, link: SetupLink) -> bool:
        """Whether one more form of the link is taken."""
        hit = self._rooms.attempts.hit
        if not page.check:
            return await hit(link.id, at_most=SAVES, window_s=SAVES_S, kind="setup_saves")
        client = self._client(request)
        return await hit(
            link.id, at_most=CHECKS, window_s=CHECKS_S, kind="setup_checks"
        ) and await hit(
            client, at_most=CHECKS_OF_CLIENT, window_s=CHECKS_S, kind="setup_checks_of_client"
        )

    async def _too_often(self, request: web.Request) -> bool:
        return not await self._rooms.attempts.hit(
            self._client(request), at_most=LANDINGS, window_s=LANDINGS_S, kind="setup_landings"
        )

    def _client(self, request: web.Request) -> str:
        return client_key(client_behind(request, self._services.is_proxy))

    # --- what is no page of its own -------------------------------------------------------------

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._drawing.style,
            content_type="text/css",
            headers=_OF_ASSETS,
        )

    async def _script(self, request: web.Request) -> web.Response:
        headers = {**_OF_ASSETS, "Vary": "Accept-Encoding"}
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        if packed:
            headers["Content-Encoding"] = "gzip"
        script = self._drawing.script
        return web.Response(
            body=script.packed if packed else script.text,
            content_type="text/javascript",
            headers=headers,
        )

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        return self._problem(request, Failed(404, "not_found"))

    def _nobody(self, request: web.Request) -> web.Response:
        return self._page(request, "nobody", {}, status=403)

    def _problem(
        self,
        request: web.Request,
        problem: Failed,
        link: SetupLink | None = None,
        cookie: str = "",
    ) -> web.Response:
        values = {
            "text": PROBLEMS.get(problem.code, PROBLEMS["internal"]),
            "detail": problem.detail,
        }
        return self._page(
            request, "problem", values, status=problem.status, link=link, cookie=cookie
        )

    def _page(
        self,
        request: web.Request,
        template: str,
        values: Mapping[str, object],
        *,
        status: int = 200,
        link: SetupLink | None = None,
        link_language: SetupLink | None = None,
        cookie: str = "",
    ) -> web.Response:
        source = link or link_language
        language = (
            source.request.language
            if source is not None
            else negotiate(request.headers.get("Accept-Language", ""))
        )
        return self._drawing.page(
            template,
            values,
            language=language,
            now=self._rooms.clock(),
            token=lambda path: self._tokens.issue(cookie, path),
            link=link if cookie else None,
            status=status,
        )


def _address(request: web.Request) -> tuple[str, str]:
    link_id = request.match_info["id"]
    # As much is done for what is no id of ours as for one that is.
    return (link_id if ID.fullmatch(link_id) else "0" * 16), request.match_info["secret"]


def _browser(request: web.Request) -> str:
    """What this browser was given when it asked for a code; "" without."""
    carried = request.cookies.get(BROWSER, "")
    return carried if _BROWSER.fullmatch(carried) else ""


def _moved(to: str) -> web.Response:
    headers = {
        "Location": to,
        "Cache-Control": "no-store",
        "Referrer-Policy": "strict-origin",
    }
    return web.Response(status=303, headers=headers)


def _parse_form(raw: bytes) -> list[tuple[str, str]] | Failed:
    try:
        return parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        return Failed(400, "bad_form")
