"""One request with a setup link, as a page's handler sees it, and what a handler returns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.setup.model import LETTERS, LETTERS_WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.config.model import Config
    from gateway.portal.reach import Reach
    from gateway.provisioning.publications import Publications
    from gateway.provisioning.renewal import Renewal
    from gateway.setup.letters import SetupLetters
    from gateway.setup.links import SetupLinks, TellWork
    from gateway.setup.model import Part, SetupLink, Work
    from gateway.tenants.api import TenantRecords

PREFIX: Final = "/setup"
_LETTERS: Final = "setup_letters"


@dataclass(frozen=True, slots=True)
class Shown:
    """A page to draw: template and its values."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    status: int = 200
    again_s: int = 0
    """After so many seconds the browser asks for the page again; 0: it does not."""


@dataclass(frozen=True, slots=True)
class Moved:
    """After a form that did something: where to go on (303). ``notice``: a key of
    ``texts.NOTICES``.
    """

    to: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """``code``: a key of ``texts.PROBLEMS``; ``detail``: the API's own sentence."""

    status: int
    code: str
    detail: str = ""


Outcome = Shown | Moved | Failed


class Attempts(Protocol):
    """Counts for all processes; see ``sessions.rate_limit.AttemptCounter``."""

    async def hit(
        self, client: str, *, at_most: int, window_s: int = 60, kind: str = ""
    ) -> bool: ...

    async def is_exhausted(
        self, client: str, *, at_most: int, window_s: int = 60, kind: str
    ) -> bool: ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """What pages stand on. ``denied_after_ms``: of the first removal in a tenant that an identity
    provider told after a moment (UTC epoch seconds), how long it took until every replica denied;
    None while there is none. ``clock``: UTC epoch seconds. ``makers``: see ``Onboarding.makers``.
    """

    config: Config
    links: SetupLinks
    letters: SetupLetters
    tenants: TenantRecords
    denied_after_ms: Callable[[str, float], Awaitable[float | None]]
    clock: Callable[[], float]
    attempts: Attempts
    makers: Callable[[str], Awaitable[Mapping[str, str]]]
    renewal: Renewal | None = None
    publications: Publications | None = None
    """None where no user pool is administered."""

    async def takes_letter(self, recipient: str) -> bool:
        """Whether one more goes there because somebody with a link asked for it. Counts nothing."""
        return not await self.attempts.is_exhausted(
            recipient, at_most=LETTERS, window_s=LETTERS_WINDOW_S, kind=_LETTERS
        )

    async def count_letter(self, recipient: str) -> None:
        """One was sent."""
        await self.attempts.hit(
            recipient, at_most=LETTERS, window_s=LETTERS_WINDOW_S, kind=_LETTERS
        )


@dataclass(frozen=True, slots=True)
class Visit:
    """``form``: the last value of each name; ``chosen``: all values of each."""

    link: SetupLink
    cookie: str = field(repr=False)
    path: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    chosen: Mapping[str, tuple[str, ...]] = field(repr=False)
    now: float
    reach: Reach
    rooms: Rooms

    async def note(self, action: str, after: object = None) -> None:
        """Puts what was done with the link on record."""
        await self.rooms.links.note(self.link, action, after)

    async def save(
        self, work: Work, action: str, after: Any = None, *, tell: TellWork | None = None
    ) -> SetupLink | Failed:
        """Stored, on record and told, or nothing of it. Failed where another browser or an operator
        was first.
        """
        link = await self.rooms.links.save(
            self.link, work, cookie=self.cookie, action=action, after=after, tell=tell
        )
        return link if link is not None else Failed(409, "changed")

    def text(self, name: str) -> str:
        """A field of the form, trimmed; "" without."""
        return self.form.get(name, "").strip()


@dataclass(frozen=True, slots=True)
class Page:
    """``path`` is below ``PREFIX``. Only links with one of ``parts`` have it; without: all. A page
    with a ``form`` takes a POST and no GET. ``ends_live``: it takes none once the link is
    completed. ``upload``: its form may have a file. ``check``: it changes nothing, and is asked
    while somebody types.
    """

    path: str
    handler: Callable[[Visit], Awaitable[Outcome]]
    parts: frozenset[Part] = frozenset()
    form: bool = False
    ends_live: bool = True
    upload: bool = False
    check: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)

    def is_of(self, link: SetupLink) -> bool:
        """Whether the link has it."""
        return not self.parts or bool(self.parts & link.request.parts)

    @property
    def pattern(self) -> str:
        """As aiohttp takes it."""
        return PREFIX + re.sub(
            r"\{(\w+)\}", lambda m: f"{{{m[1]}:{self.parameters[m[1]]}}}", self.path
        )
