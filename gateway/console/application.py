"""The listener ``pages``: every request of the console from its first to its last step.

assertion, or the cookie of a one-time link → operator → scope of the page → a form's origin and
token → age of the sign-in → handler → page. No step trusts what the browser says about who it is.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.console.answers import OPERATOR, Answers
from gateway.console.draft import Drafts
from gateway.console.draw import Drawing
from gateway.console.follow import Followers
from gateway.console.link import address_of, is_below, page_of
from gateway.console.link_pages import LinkPages
from gateway.console.operator import operator_of
from gateway.console.outcome import PREFIX, Failed, Followed, Moved, Shown
from gateway.console.record import ConsoleRecord
from gateway.console.sign_in import AssertionReader
from gateway.console.texts import NOTICES
from gateway.console.views import PAGES
from gateway.console.visit import Visit
from gateway.console.work import Work
from gateway.core.console_link import PREFIX as LINK_PREFIX
from gateway.errors import GatewayError
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.listener import UNREADABLE
from gateway.http.upload import MULTIPART, BadUploadError, read_upload
from gateway.log import Throttled, of_request
from gateway.pages.forms import FIELD, FormTokens, is_own_origin
from gateway.tenants.offload import in_background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.admin.in_process import InProcessApi
    from gateway.config.model import Config
    from gateway.console.operator import Operator
    from gateway.console.page import Page
    from gateway.database.audit import AuditLog
    from gateway.keys.ring import KeyRing
    from gateway.sessions.console_links import ConsoleLinks

log = logging.getLogger(__name__)
_fault = Throttled(log, logging.ERROR, "console_fault")

MAX_FORM_BYTES: Final = 512 * 1024
"""What the admin API takes of a tenant (256 kB), sealed and in base64."""
_MAX_FIELDS: Final = 4000
"""256 rules and as many shadow rules, of seven fields each."""
SIGN_OUT: Final = "/sign-out"
_OF_ASSETS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}
"""Of what is named by its digest."""
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """What the console stands on. ``form_keys``: secrets of all replicas, the one that writes
    first. ``clock`` is UTC epoch seconds.
    """

    config: Config
    api: InProcessApi
    keys: Callable[[], KeyRing]
    form_keys: Callable[[], Sequence[bytes]]
    clock: Callable[[], float]
    audit: AuditLog
    links: ConsoleLinks
    new_request_id: Callable[[], str] = lambda: secrets.token_hex(8)


class Console:
    """``config.console.host`` must be set."""

    def __init__(self, services: ConsoleServices) -> None:
        config = services.config
        host, header = config.console.host, config.assertion_header
        if host is None or header is None:
            msg = "console.host is not set"
            raise ValueError(msg)
        self._services, self._header = services, header
        self._origin = config.origin(host)
        self._reader = AssertionReader(
            services.keys,
            issuer=config.assertion_issuer or self._origin,
            audience=self._origin,
            tenant=config.console.tenant,
            clock=services.clock,
        )
        self._tokens = FormTokens("console form", services.form_keys)
        self._drafts = Drafts(services.form_keys, services.clock)
        self._work = Work()
        self._followers = Followers()
        self._drawing = Drawing(
            product=config.product.name,
            contact=config.console.contact,
            tokens=self._tokens,
            api=services.api,
        )
        self._answers = Answers(self._drawing, services.clock)
        self._record = ConsoleRecord(
            services.audit, services.links, services.clock, services.new_request_id
        )
        self._links = LinkPages(services.links, self._answers, self._record)

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._edge])
        router = application.router
        router.add_get("/", self._home)
        router.add_get(PREFIX, self._home)
        router.add_get(LINK_PREFIX, self._links.land)
        router.add_post(LINK_PREFIX, self._open_link)
        for prefix in (PREFIX, LINK_PREFIX):
            router.add_get(f"{prefix}/", self._home)
            router.add_post(f"{prefix}{SIGN_OUT}", self._sign_out)
            router.add_get(prefix + self._drawing.style_path.removeprefix(PREFIX), self._style)
            router.add_get(prefix + self._drawing.script.path.removeprefix(PREFIX), self._script)
            for page in PAGES:
                path = prefix + page.pattern.removeprefix(PREFIX)
                router.add_route("POST" if page.form else "GET", path, self._handler(page))
        application.on_shutdown.append(self._close)
        application.on_cleanup.append(self._stop)
        return application

    async def _close(self, _application: web.Application) -> None:
        self._followers.close()

    async def _stop(self, _application: web.Application) -> None:
        await self._work.end()

    # --- the way of a request -------------------------------------------------------------------

    @web.middleware
    async def _edge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        request_id = self._services.new_request_id()
        with of_request(request_id):
            try:
                if (operator := await self._operator(request)) is not None:
                    request[OPERATOR] = operator
                response = await handler(request)
            except web.HTTPNotFound:
                response = self._answers.problem(request, Failed(404, "not_found", ""))
            except web.HTTPMethodNotAllowed as error:
                response = self._answers.problem(request, Failed(405, "method_not_allowed", ""))
                response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            except GatewayError as error:
                response = self._answers.problem(request, Failed(503, "unavailable", str(error)))
            except web.HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: the browser gets 500, the log the trace
                _fault(error, request_id=request_id, path=request.path[:200])
                response = self._answers.problem(request, Failed(500, "internal", ""))
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
        return response

    async def _operator(self, request: web.Request) -> Operator | None:
        """Below the prefix of one-time links, whoever opened one; elsewhere, whom the assertion
        names.
        """
        if is_below(request.path):
            return await self._links.holder(request)
        person = self._reader.read(request.headers.getall(self._header, []))
        if person is None:
            return None
        operator = operator_of(person, self._services.config.console.groups)
        await self._record.signed_in(operator)
        return operator

    def _handler(self, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            operator = request.get(OPERATOR)
            if operator is None:
                return self._answers.nobody(request)
            if not operator.may(page.scope):
                await self._record.denied(operator, page.path, page.scope)
                return self._answers.denied(request, operator, page)
            form: Mapping[str, str] = {}
            if page.form:
                submission = await self._form(request, operator, upload=page.upload)
                if isinstance(submission, Failed):
                    return self._answers.problem(request, submission)
                form = submission
            if page.fresh and not operator.is_fresh(self._services.clock()):
                return self._answers.stale(request, operator, page)
            visit = Visit(
                operator=operator,
                path=dict(request.match_info),
                query=dict(request.query),
                form=form,
                now=self._services.clock(),
                address=page_of(request.path_qs),
                api=self._services.api,
                drafts=self._drafts,
                record=self._record,
                work=self._work,
            )
            return await self._respond(request, page, await page.handler(visit))

        return handle

    async def _form(
        self, request: web.Request, operator: Operator, *, upload: bool = False
    ) -> dict[str, str] | Failed:
        """The fields, where the form is one of ours and of this person."""
        form = await self._own_form(request, upload=upload)
        if isinstance(form, Failed):
            return form
        token = form.pop(FIELD, "")
        if not self._tokens.accepts(token, operator.person.sign_in, page_of(request.path)):
            return Failed(403, "stale_form", "")
        return form

    async def _own_form(
        self, request: web.Request, *, upload: bool = False
    ) -> dict[str, str] | Failed:
        """The fields of a form that stood on a page of the console."""
        kinds = (_FORM, MULTIPART) if upload else (_FORM,)
        if not is_own_origin(request.headers, self._origin) or request.content_type not in kinds:
            return Failed(403, "foreign_form", "")
        try:
            form = (
                await read_upload(request, limit=MAX_FORM_BYTES, max_fields=_MAX_FIELDS)
                if request.content_type == MULTIPART
                else _parse_form(await read_body(request.content, limit=MAX_FORM_BYTES))
            )
        except BodyTooLargeError:
            return Failed(413, "too_large", "")
        except (*UNREADABLE, BadUploadError):
            return Failed(400, "bad_form", "")
        return Failed(400, "bad_form", "") if form is None else form

    async def _respond(
        self,
        request: web.Request,
        page: Page,
        outcome: Shown | Moved | Followed | Failed | web.StreamResponse,
    ) -> web.StreamResponse:
        if isinstance(outcome, web.StreamResponse):
            return outcome
        if isinstance(outcome, Followed):
            return await self._follow(request, outcome)
        if isinstance(outcome, Failed):
            return self._answers.problem(request, outcome, section=page.section)
        if isinstance(outcome, Moved):
            mark = f"{'&' if '?' in outcome.to else '?'}notice={outcome.notice}"
            to = outcome.to + (mark if outcome.notice in NOTICES else "")
            return _see_other(address_of(to) if is_below(request.path) else to)
        # A page of 500 rules takes a tenth of a second, in which no check may wait.
        return await in_background(
            self._answers.draw,
            request,
            outcome.template,
            outcome.values,
            section=page.section,
            status=outcome.status,
        )

    async def _follow(self, request: web.Request, followed: Followed) -> web.StreamResponse:
        def draw(values: Mapping[str, object]) -> str:
            return self._drawing.part(
                followed.template,
                values,
                accept_language=request.headers.get("Accept-Language", ""),
                now=self._services.clock(),
                link=is_below(request.path),
            )

        actor = request[OPERATOR].person.actor
        return await self._followers.serve(request, followed, actor, draw)

    # --- what is no page of its own -------------------------------------------------------------

    async def _home(self, request: web.Request) -> web.StreamResponse:
        """The first page that they may open."""
        operator = request.get(OPERATOR)
        if operator is None:
            return self._answers.nobody(request)
        for page in PAGES:
            if operator.may(page.scope) and not page.form and "{" not in page.path:
                to = PREFIX + page.path
                return _see_other(address_of(to) if is_below(request.path) else to)
        await self._record.denied(operator, PAGES[0].path, PAGES[0].scope)
        return self._answers.denied(request, operator, PAGES[0])

    async def _open_link(self, request: web.Request) -> web.StreamResponse:
        return await self._links.open(request, await self._own_form(request))

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        operator = request.get(OPERATOR)
        if operator is None:
            return self._answers.nobody(request)
        form = await self._form(request, operator)
        if isinstance(form, Failed):
            return self._answers.problem(request, form)
        await self._record.write(operator.person, "signed_out")
        if operator.person.link:
            return await self._links.end(request)
        return _see_other("/_auth/logout")

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._drawing.style, content_type="text/css", headers=_OF_ASSETS)

    async def _script(self, request: web.Request) -> web.Response:
        script, headers = self._drawing.script, {**_OF_ASSETS, "Vary": "Accept-Encoding"}
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        if packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(
            body=script.packed if packed else script.text,
            content_type="text/javascript",
            headers=headers,
        )


def _see_other(to: str) -> web.Response:
    return web.Response(status=303, headers={"Location": to, "Cache-Control": "no-store"})


def console_address(config: Config) -> str | None:
    """Where a one-time link leads to, without its code; None without a console."""
    host = config.console.host
    return None if host is None else config.origin(host) + LINK_PREFIX


def console_application(
    config: Config,
    api: InProcessApi,
    keys: Callable[[], KeyRing],
    form_keys: Callable[[], Sequence[bytes]],
    clock: Callable[[], float],
    audit: AuditLog,
    links: ConsoleLinks,
) -> web.Application | None:
    """All of what the listener ``pages`` serves; None where ``console.host`` is not set."""
    if config.console.host is None:
        return None
    services = ConsoleServices(config, api, keys, form_keys, clock, audit, links)
    return Console(services).application()


def _parse_form(raw: bytes) -> dict[str, str] | None:
    """The last value of each name; None for what no form of ours sends."""
    try:
        pairs = parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        return None
    return dict(pairs)
