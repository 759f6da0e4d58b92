"""Ask a colleague: a link of their own, for some parts of this one. DNS is often another team's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.mailbox import mailbox
from gateway.portal.texts import FIELD_PROBLEMS, LINK_STATES, PARTS
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.letters import address_of
from gateway.setup.links import Refusal
from gateway.setup.model import Part, handed_on

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.portal.visit import Visit
    from gateway.setup.links import NewLink

HERE: Final = f"{PREFIX}/colleague"
_REFUSED: Final = {
    Refusal.MANY: "colleagues",
    Refusal.WAIT: "asked",
    Refusal.FULL: "mail_full",
}
"""Keys of ``texts.FIELD_PROBLEMS``."""


async def show_colleagues(visit: Visit) -> Shown | Failed:
    return await _page(visit)


async def _page(
    visit: Visit, problem: str = "", *, typed: str = "", made: NewLink | None = None
) -> Shown | Failed:
    link = visit.link
    parts = [part for part in Part if part in handed_on(link.request)]
    if link.parent or not parts:
        return Failed(404, "not_found")
    letters = visit.rooms.letters
    rows = [
        {"link": each, "state": LINK_STATES[each.state(visit.now)], "open": each.is_open(visit.now)}
        for each in await visit.rooms.links.of_parent(link)
    ]
    has_phrase = made is not None and made.phrase is not None
    return Shown(
        "colleague",
        {
            "rows": rows,
            "offered": [(str(part), PARTS[part]) for part in parts],
            "asked": visit.chosen.get("part", ()),
            "mails": letters.configured,
            "typed": typed,
            "problem": FIELD_PROBLEMS[problem] if problem else "",
            "problem_title": bool(problem),
            "address": address_of(letters.origin, made) if made is not None and has_phrase else "",
            "phrase": made.phrase.reveal() if made is not None and made.phrase else "",
            "sent_to": typed if made is not None else "",
        },
        status=422 if problem else 200,
    )


async def ask_colleague(visit: Visit) -> Shown | Failed:
    """Address and phrase are in this answer and nowhere else, where no mail is sent."""
    link, letters = visit.link, visit.rooms.letters
    email = visit.text("email").casefold()[:254]
    parts = frozenset(
        part for part in handed_on(link.request) if part in visit.chosen.get("part", ())
    )
    if link.parent:
        return Failed(404, "not_found")
    try:
        mailbox(email)
    except ValueError:
        return await _page(visit, "email", typed=email)
    if not parts:
        return await _page(visit, "parts", typed=email)
    answer = await visit.reach.ask("get_tenant")
    new = link.request.new_tenant
    name = answer.document["tenant"]["name"] if answer.ok else new.name if new else link.tenant

    if letters.configured and not await visit.rooms.takes_letter(email):
        return await _page(visit, "letters", typed=email)

    async def tell(connection: AsyncConnection, made: NewLink) -> bool:
        return await letters.colleague(
            connection, made, name=link.claimed_by, tenant_name=str(name)
        )

    new_link = await visit.rooms.links.delegate(
        link, parts, email, cookie=visit.cookie, by_mail=letters.configured, tell=tell
    )
    if isinstance(new_link, Refusal):
        problem = _REFUSED.get(new_link)
        return await _page(visit, problem, typed=email) if problem else Failed(409, "changed")
    letters.mailer.wake()
    if letters.configured:
        await visit.rooms.count_letter(email)
    return await _page(visit, typed=email, made=new_link)


async def end_colleague(visit: Visit) -> Moved | Failed:
    success = await visit.rooms.links.end_colleague(
        visit.link, visit.text("link"), cookie=visit.cookie
    )
    return Moved(HERE, "ended") if success else Failed(409, "changed")


PAGES: Final = (
    Page("/colleague", show_colleagues),
    Page("/colleague/ask", ask_colleague, form=True, ends_live=False),
    Page("/colleague/end", end_colleague, form=True, ends_live=False),
)
