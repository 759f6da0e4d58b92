"""What the handler of a page returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PREFIX: Final = "/console"
FILE_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}
"""Of what is no page: an export, a document."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A page to draw: template and exactly the values that it takes."""

    template: str
    values: Mapping[str, object]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Followed:
    """A part of a page that is drawn for each of ``states``, until there is no more."""

    template: str
    states: AsyncIterator[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Moved:
    """After a form that did something: where to look (303), and what to say there (a key of
    ``notices.NOTICES``).
    """

    to: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The API refused. ``code`` and ``detail`` are its own."""

    status: int
    code: str
    detail: str
