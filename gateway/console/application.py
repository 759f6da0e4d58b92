"""The listener ``pages``: every request of the console from its first to its last step.

assertion → operator → scope of the page → a form's origin and token → age of the sign-in → handler
→ page. No step trusts what the browser says about who it is.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.console.csrf import FIELD, FormTokens, is_own_origin
from gateway.console.draft import Drafts
from gateway.console.draw import Drawing
from gateway.console.operator import operator_of
from gateway.console.outcome import PREFIX, Failed, Moved, Shown
from gateway.console.sign_in import AssertionReader
from gateway.console.texts import NOTICES
from gateway.console.views import PAGES
from gateway.console.visit import Visit
from gateway.errors import GatewayError
from gateway.http.body import BodyTooLargeError, read_body
from gateway.http.listener import UNREADABLE
from gateway.log import Throttled, fields, of_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.admin.in_process import InProcessApi
    from gateway.config.model import Config
    from gateway.console.operator import Operator
    from gateway.console.page import Page
    from gateway.keys.ring import KeyRing

log = logging.getLogger(__name__)
_fault = Throttled(log, logging.ERROR, "console_fault")

MAX_FORM_BYTES: Final = 512 * 1024
"""What the admin API takes of a tenant (256 kB), sealed and in base64."""
_MAX_FIELDS: Final = 4000
"""256 rules and as many shadow rules, of seven fields each."""
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
    new_request_id: Callable[[], str] = lambda: secrets.token_hex(8)


class Console:
    """``config.console.host`` must be set."""

    def __init__(self, services: ConsoleServices) -> None:
        config = services.config
        host, tenant, header = config.console.host, config.console.tenant, config.assertion_header
        if host is None or tenant is None or header is None:
            msg = "console.host is not set"
            raise ValueError(msg)
        self._services, self._header = services, header
        self._origin = config.origin(host)
        self._reader = AssertionReader(
            services.keys,
            issuer=config.assertion_issuer or self._origin,
            audience=self._origin,
            tenant=tenant,
            clock=services.clock,
        )
        self._tokens = FormTokens(services.form_keys)
        self._drafts = Drafts(services.form_keys, services.clock)
        self._drawing = Drawing(
            product=config.product.name,
            contact=config.console.contact,
            tokens=self._tokens,
            api=services.api,
        )

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._edge])
        router = application.router
        router.add_get("/", self._home)
        router.add_get(PREFIX, self._home)
        router.add_get(f"{PREFIX}/", self._home)
        router.add_get(self._drawing.style_path, self._style)
        for page in PAGES:
            method = "POST" if page.form else "GET"
            router.add_route(method, page.pattern, self._handler(page))
        return application

    # --- the way of a request -------------------------------------------------------------------

    @web.middleware
    async def _edge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        request_id = self._services.new_request_id()
        with of_request(request_id):
            try:
                response = await handler(request)
            except web.HTTPNotFound:
                response = self._problem(request, Failed(404, "not_found", ""))
            except web.HTTPMethodNotAllowed as error:
                response = self._problem(request, Failed(405, "method_not_allowed", ""))
                response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            except GatewayError as error:
                response = self._problem(request, Failed(503, "unavailable", str(error)))
            except web.HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: the browser gets 500, the log the trace
                _fault(error, request_id=request_id, path=request.path[:200])
                response = self._problem(request, Failed(500, "internal", ""))
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
        return response

    def _operator(self, request: web.Request) -> Operator | None:
        person = self._reader.read(request.headers.getall(self._header, []))
        if person is None:
            return None
        return operator_of(person, self._services.config.console.groups)

    def _handler(self, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            operator = self._operator(request)
            if operator is None:
                return self._nobody(request)
            if not operator.may(page.scope):
                return self._denied(request, operator, page)
            form: Mapping[str, str] = {}
            if page.form:
                read = await self._form(request, operator)
                if isinstance(read, Failed):
                    return self._problem(request, read, operator)
                form = read
            if page.fresh and not operator.is_fresh(self._services.clock()):
                return self._stale(request, operator, page)
            visit = Visit(
                operator=operator,
                path=dict(request.match_info),
                query=dict(request.query),
                form=form,
                now=self._services.clock(),
                address=request.path_qs,
                api=self._services.api,
                drafts=self._drafts,
            )
            return self._respond(request, operator, page, await page.handler(visit))

        return handle

    async def _form(self, request: web.Request, operator: Operator) -> dict[str, str] | Failed:
        """The fields, where the form is one of ours and of this person."""
        if not is_own_origin(request.headers, self._origin) or request.content_type != _FORM:
            return Failed(403, "foreign_form", "")
        try:
            raw = await read_body(request.content, limit=MAX_FORM_BYTES)
        except BodyTooLargeError:
            return Failed(413, "too_large", "")
        except UNREADABLE:
            return Failed(400, "bad_form", "")
        fields_of_form = _parse_form(raw)
        if fields_of_form is None:
            return Failed(400, "bad_form", "")
        token = fields_of_form.pop(FIELD, "")
        if not self._tokens.accepts(token, operator.person, request.path):
            return Failed(403, "stale_form", "")
        return fields_of_form

    def _respond(
        self,
        request: web.Request,
        operator: Operator,
        page: Page,
        outcome: Shown | Moved | Failed | web.StreamResponse,
    ) -> web.StreamResponse:
        if isinstance(outcome, web.StreamResponse):
            return outcome
        if isinstance(outcome, Failed):
            return self._problem(request, outcome, operator, section=page.section)
        if isinstance(outcome, Moved):
            mark = f"{'&' if '?' in outcome.to else '?'}notice={outcome.notice}"
            to = outcome.to + (mark if outcome.notice in NOTICES else "")
            return web.Response(status=303, headers={"Location": to, "Cache-Control": "no-store"})
        return self._drawing.page(
            outcome.template,
            outcome.values,
            accept_language=request.headers.get("Accept-Language", ""),
            now=self._services.clock(),
            operator=operator,
            section=page.section,
            notice=request.query.get("notice", ""),
            status=outcome.status,
        )

    # --- what is no page of its own -------------------------------------------------------------

    async def _home(self, request: web.Request) -> web.StreamResponse:
        """The first page that they may open."""
        operator = self._operator(request)
        if operator is None:
            return self._nobody(request)
        for page in PAGES:
            if operator.may(page.scope) and not page.form and "{" not in page.path:
                headers = {"Location": PREFIX + page.path, "Cache-Control": "no-store"}
                return web.Response(status=303, headers=headers)
        return self._denied(request, operator, PAGES[0])

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._drawing.style,
            content_type="text/css",
            headers={
                "Cache-Control": "public, max-age=31536000, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )

    def _nobody(self, request: web.Request) -> web.Response:
        log.warning("console_refused", extra=fields(reason="assertion", path=request.path[:200]))
        return self._drawing.page("nobody", {}, status=403, **self._of(request))

    def _denied(self, request: web.Request, operator: Operator, page: Page) -> web.Response:
        log.warning(
            "console_refused",
            extra=fields(
                reason="scope",
                path=request.path[:200],
                actor=f"person:{operator.person.sub}",
                scope=str(page.scope),
            ),
        )
        return self._drawing.page(
            "denied",
            {"scope": str(page.scope)},
            operator=operator,
            status=403,
            **self._of(request),
        )

    def _stale(self, request: web.Request, operator: Operator, page: Page) -> web.Response:
        return self._drawing.page(
            "fresh",
            {"provider": operator.person.provider},
            operator=operator,
            section=page.section,
            status=403,
            **self._of(request),
        )

    def _problem(
        self,
        request: web.Request,
        problem: Failed,
        operator: Operator | None = None,
        *,
        section: str = "",
    ) -> web.Response:
        return self._drawing.page(
            "problem",
            {"status": problem.status, "code": problem.code, "detail": problem.detail},
            operator=operator or self._operator(request),
            section=section,
            status=problem.status,
            **self._of(request),
        )

    def _of(self, request: web.Request) -> dict[str, Any]:
        return {
            "accept_language": request.headers.get("Accept-Language", ""),
            "now": self._services.clock(),
        }


def console_application(
    config: Config,
    api: InProcessApi,
    keys: Callable[[], KeyRing],
    form_keys: Callable[[], Sequence[bytes]],
    clock: Callable[[], float],
) -> web.Application | None:
    """All of what the listener ``pages`` serves; None where ``console.host`` is not set."""
    if config.console.host is None:
        return None
    return Console(ConsoleServices(config, api, keys, form_keys, clock)).application()


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
