"""``/console/links``: one-time links into the console, before any operator can sign in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, Call, Route

if TYPE_CHECKING:
    from gateway.sessions.console_links import ConsoleLinks


class ConsoleLinkAnswer(AnswerModel):
    """``url`` is shown once. ``expires_at``: UTC epoch seconds."""

    id: str
    url: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class ConsoleRoutes:
    """``address``: where a link leads to, without its code; None without a console."""

    links: ConsoleLinks
    address: str | None

    async def create_link(self, call: Call) -> Answer:
        if self.address is None:
            raise Problem(Code.CONFLICT, "there is no console: console.host is not set")
        link = await self.links.create()
        if link is None:
            raise Problem(
                Code.CONFLICT,
                "an operator has signed in to the console: sign in there, or use commands on this "
                "machine",
            )
        call.note.target = link.id
        call.note.after = {"expires_at": link.expires_at}
        url = f"{self.address}?code={link.code}"
        return Answer(
            ConsoleLinkAnswer(id=link.id, url=url, expires_at=link.expires_at), status=201
        )

    async def end_links(self, _call: Call) -> Answer:
        await self.links.end_all()
        return Answer(status=204)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "create_console_link",
                "POST",
                "/console/links",
                "Make a one-time link into the console; over the local socket only",
                self.create_link,
                {201: ConsoleLinkAnswer},
                problems=(Code.LOCAL_ONLY, Code.CONFLICT),
                local_only=True,
            ),
            Route(
                "end_console_links",
                "DELETE",
                "/console/links",
                "End every one-time link, and what they opened",
                self.end_links,
                {204: None},
            ),
        )
