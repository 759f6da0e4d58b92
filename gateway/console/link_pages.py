"""The addresses of one-time links that are no page of the console: the landing page, its form, and
the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.console.link import CODE, COOKIE, MAX_CODE_CHARACTERS, delete_cookie, set_cookie
from gateway.console.operator import holder_of
from gateway.console.outcome import Failed
from gateway.core.console_link import PREFIX as LINK_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.console.answers import Answers
    from gateway.console.operator import Operator
    from gateway.console.record import ConsoleRecord
    from gateway.sessions.console_links import ConsoleLinks

LANDING_REFERRER: Final = "strict-origin"
"""Of the one page whose address holds a secret: what is loaded from there learns the origin."""


@dataclass(frozen=True, slots=True)
class LinkPages:
    """Of whoever opened a link, or is about to."""

    links: ConsoleLinks
    answers: Answers
    record: ConsoleRecord

    async def holder(self, request: web.Request) -> Operator | None:
        """By the cookie, and by nothing else."""
        token = request.cookies.get(COOKIE, "")
        link = await self.links.find(token[:MAX_CODE_CHARACTERS]) if token else None
        return None if link is None else holder_of(link)

    async def land(self, request: web.Request) -> web.StreamResponse:
        """A button: the link is not looked up before it is pressed."""
        code = request.query.get(CODE, "")
        if not code or len(code) > MAX_CODE_CHARACTERS:
            return self.answers.nobody(request)
        response = self.answers.draw(request, "link", {"code": code, "field": CODE})
        response.headers["Referrer-Policy"] = LANDING_REFERRER
        return response

    async def open(
        self, request: web.Request, form: Mapping[str, str] | Failed
    ) -> web.StreamResponse:
        if isinstance(form, Failed):
            return self.answers.problem(request, form)
        entry = await self.links.open(form.get(CODE, "")[:MAX_CODE_CHARACTERS])
        if entry is None:
            return self.answers.nobody(request)
        link, token = entry
        await self.record.write(holder_of(link).person, "signed_in")
        response = web.Response(
            status=303, headers={"Location": f"{LINK_PREFIX}/", "Cache-Control": "no-store"}
        )
        set_cookie(response, token)
        return response

    async def end(self, request: web.Request) -> web.StreamResponse:
        await self.links.end(request.cookies.get(COOKIE, "")[:MAX_CODE_CHARACTERS])
        response = web.Response(
            status=303, headers={"Location": LINK_PREFIX, "Cache-Control": "no-store"}
        )
        delete_cookie(response)
        return response
