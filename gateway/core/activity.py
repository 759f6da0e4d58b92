"""What keeps a session from idling out. An ingress asks when a request begins, so this is all that
is known of a connection that stays open.

Rules:
- Every request of a session counts, at the moment it is made, whether it is let in or not. So far a
  tenant may say otherwise of two kinds.
- A path that is named in ``exclude`` never counts: a page polls it, whether or not anybody looks.
  Any name that the tenant's application may read in a path will do; an ambiguous path is no name,
  and counts.
- A WebSocket handshake that is let in counts for ``websocket_s`` from then on: as long as the
  ingress lets a socket live. Whether anybody works in it, or closed it a second later, nobody here
  knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.decision import Allow, Login
from gateway.core.readings import Unreadable

if TYPE_CHECKING:
    from gateway.core.decision import Decision
    from gateway.core.model import AuthRequest, Tenant


def active_s(tenant: Tenant, request: AuthRequest, decision: Decision) -> float | None:
    """For how long from now the request keeps its session active, in seconds: 0 for the moment
    alone; None where it does not count.
    """
    if isinstance(decision, Login) or (isinstance(decision, Allow) and decision.session is None):
        return None
    counts = tenant.session.counts
    if counts.exclude and not request.ambiguous:
        names = tenant.paths.names(request.path)
        if not isinstance(names, Unreadable) and any(map(counts.excludes, names)):
            return None
    return float(counts.websocket_s) if request.websocket and isinstance(decision, Allow) else 0.0
