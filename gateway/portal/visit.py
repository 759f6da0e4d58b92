"""One request with a setup link, as a page's handler sees it, and what a handler returns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.config.model import Config
    from gateway.portal.reach import Reach
    from gateway.setup.letters import SetupLetters
    from gateway.setup.links import SetupLinks
    from gateway.setup.model import Part, SetupLink, Work
    from gateway.tenants.api import TenantRecords

PREFIX: Final = "/setup"


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


@dataclass(frozen=True, slots=True)
class Rooms:
    """What pages stand on. ``denied_after_ms``: of the first removal in a tenant that an identity
    provider told after a moment (UTC epoch seconds), how long it took until every replica denied;
    None while there is none. ``clock``: UTC epoch seconds.
    """

    config: Config
    links: SetupLinks
    letters: SetupLetters
    tenants: TenantRecords
    denied_after_ms: Callable[[str, float], Awaitable[float | None]]
    clock: Callable[[], float]


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

    async def save(self, work: Work, action: str, after: Any = None) -> SetupLink | Failed:
        """Stored and on record, or neither. Failed where another browser or an operator was
        first.
        """
        saved = await self.rooms.links.save(
            self.link, work, cookie=self.cookie, action=action, after=after
        )
        return saved if saved is not None else Failed(409, "changed")

    def text(self, name: str) -> str:
        """A field of the form, trimmed; "" without."""
        return self.form.get(name, "").strip()


@dataclass(frozen=True, slots=True)
class Page:
    """``path`` is below ``PREFIX``. Only links with ``part`` have it; None: all. A page with a
    ``form`` takes a POST and no GET. ``ends_live``: it takes none once the link is completed.
    ``upload``: its form may have a file.
    """

    path: str
    handler: Callable[[Visit], Awaitable[Outcome]]
    part: Part | None = None
    form: bool = False
    ends_live: bool = True
    upload: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def pattern(self) -> str:
        """As aiohttp takes it."""
        return PREFIX + re.sub(
            r"\{(\w+)\}", lambda m: f"{{{m[1]}:{self.parameters[m[1]]}}}", self.path
        )
