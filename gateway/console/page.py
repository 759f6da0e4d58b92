"""What a page of the console is: data, from which its route, its place in the navigation and who
may open it follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.admin.permissions import PERMISSIONS
from gateway.admin.route import PARAMETERS
from gateway.console.outcome import PREFIX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from gateway.console.outcome import Failed, Followed, Moved, Shown
    from gateway.console.visit import Visit
    from gateway.core.scopes import Scope


@dataclass(frozen=True, slots=True)
class Page:
    """``path`` is below ``PREFIX``; ``operation``: of the admin API, whose scope opens the page.
    ``section``: the item of the navigation that is current there. A page with a ``form`` takes a
    POST and no GET. ``fresh``: only within ``FRESH_S`` of a sign-in. ``upload``: its form may
    hold files, and is sent as ``multipart/form-data``.
    """

    path: str
    operation: str
    section: str
    handler: Callable[[Visit], Awaitable[Shown | Moved | Followed | Failed | web.StreamResponse]]
    form: bool = False
    fresh: bool = False
    upload: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Patterns of parameters that the admin API has not."""

    def __post_init__(self) -> None:
        if self.operation not in PERMISSIONS:
            msg = f"{self.path}: {self.operation} is no operation of the admin API"
            raise ValueError(msg)

    @property
    def scope(self) -> Scope:
        return PERMISSIONS[self.operation][0]

    @property
    def pattern(self) -> str:
        """As aiohttp takes it."""
        patterns = {**PARAMETERS, **self.parameters}
        return PREFIX + re.sub(r"\{(\w+)\}", lambda m: f"{{{m[1]}:{patterns[m[1]]}}}", self.path)


@dataclass(frozen=True, slots=True)
class Section:
    """An item of the navigation; ``label`` is a text of the catalogs."""

    name: str
    label: str
    path: str
    operation: str

    @property
    def scope(self) -> Scope:
        return PERMISSIONS[self.operation][0]
