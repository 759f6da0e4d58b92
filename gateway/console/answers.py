"""What the console answers where it is no page's own: nobody known, a scope that is missing, a
sign-in that is too old, a problem.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.console.link import is_below
from gateway.console.operator import Operator
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.console.draw import Drawing
    from gateway.console.outcome import Failed
    from gateway.console.page import Page

log = logging.getLogger(__name__)

OPERATOR = web.RequestKey("operator", Operator)
"""Who sent a request; absent: nobody who is known."""


@dataclass(frozen=True, slots=True)
class Answers:
    """``clock``: UTC epoch seconds."""

    drawing: Drawing
    clock: Callable[[], float]

    def draw(
        self,
        request: web.Request,
        template: str,
        values: Mapping[str, object],
        *,
        status: int = 200,
        section: str = "",
    ) -> web.Response:
        """For whoever sent the request, in their language."""
        more: dict[str, Any] = {"notice": request.query.get("notice", "")} if status == 200 else {}
        return self.drawing.page(
            template,
            values,
            accept_language=request.headers.get("Accept-Language", ""),
            now=self.clock(),
            operator=request.get(OPERATOR),
            section=section,
            status=status,
            link=is_below(request.path),
            **more,
        )

    def nobody(self, request: web.Request) -> web.Response:
        below = is_below(request.path)
        reason = "link" if below else "assertion"
        log.warning("console_refused", extra=fields(reason=reason, path=request.path[:200]))
        return self.draw(request, "link_dead" if below else "nobody", {}, status=403)

    def denied(self, request: web.Request, operator: Operator, page: Page) -> web.Response:
        log.warning(
            "console_refused",
            extra=fields(
                reason="scope",
                path=request.path[:200],
                actor=operator.person.actor,
                scope=str(page.scope),
            ),
        )
        return self.draw(request, "denied", {"scope": str(page.scope)}, status=403)

    def stale(self, request: web.Request, operator: Operator, page: Page) -> web.Response:
        values = {"provider": operator.person.provider}
        return self.draw(request, "fresh", values, status=403, section=page.section)

    def problem(self, request: web.Request, problem: Failed, *, section: str = "") -> web.Response:
        values = {"status": problem.status, "code": problem.code, "detail": problem.detail}
        return self.draw(request, "problem", values, status=problem.status, section=section)
