"""The part of the console that answers without a session: what is below ``PREFIX``, at the
console's own host. Who holds a one-time link is there before any operator can sign in.

Only the console stands behind that host, and it knows a link's holder by its own cookie. So the
check allows these paths to everybody, without saying who somebody is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.core.model import AuthRequest

PREFIX: Final = "/console/link"
_BELOW: Final = re.compile(re.escape(PREFIX) + r"(?:/[A-Za-z0-9_:-][A-Za-z0-9_.:-]*)*/?", re.ASCII)
"""What the console's own addresses consist of. Any other path has a reading of its own somewhere:
it is judged as every path is.
"""


def is_console_link(request: AuthRequest, console_host: str | None) -> bool:
    """``console_host``: None where there is no console."""
    return (
        request.host == console_host
        and not request.ambiguous
        and _BELOW.fullmatch(request.path) is not None
    )
