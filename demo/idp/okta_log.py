"""Okta's System Log: every event of the org, in Okta's shape, and the API that reads it back.

Source: Okta developer documentation, "System Log API" and "Event types". Bounded queries end; a
query without ``until`` always has a next page, because it is how one polls.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from aiohttp import web

from demo.idp.delivery import THROTTLED_S, Switches
from demo.idp.directory import Change, DirectoryEvent, okta_id

if TYPE_CHECKING:
    from demo.clock import Clock

EVENT_TYPES = {
    Change.GROUP_ADDED: ("group.user_membership.add", "Add user to group membership"),
    Change.GROUP_REMOVED: ("group.user_membership.remove", "Remove user from group membership"),
    Change.GROUP_DELETED: ("group.lifecycle.delete", "Delete Okta group"),
    Change.GROUP_RENAMED: ("group.profile.update", "Update Okta group"),
    Change.SUSPENDED: ("user.lifecycle.suspend", "Suspend Okta user"),
    Change.UNSUSPENDED: ("user.lifecycle.unsuspend", "Unsuspend Okta user"),
    Change.DEACTIVATED: ("user.lifecycle.deactivate", "Deactivate Okta user"),
    Change.ACTIVATED: ("user.lifecycle.activate", "Activate Okta user"),
    Change.DELETED: ("user.lifecycle.delete.initiated", "Initiate delete Okta user"),
    Change.PURGED: ("user.lifecycle.delete.completed", "Complete delete Okta user"),
    Change.SIGNED_OUT: ("user.session.end", "User logout from Okta"),
    Change.SESSIONS_CLEARED: ("user.session.clear", "Clear user session"),
}
_DEFAULT_PAGE, _MAX_PAGE = 100, 1000
_ONE_TYPE = r'eventType\s+eq\s+"([\w.]+)"'
_FILTER = re.compile(rf"\s*\(?\s*{_ONE_TYPE}(?:\s+or\s+{_ONE_TYPE})*\s*\)?\s*")


def okta_time(epoch_s: float) -> str:
    """Milliseconds and a ``Z``."""
    return (
        datetime.fromtimestamp(epoch_s, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def log_event(event: DirectoryEvent) -> dict[str, Any]:
    """A change as a LogEvent. The targets are the person, then the group; ``session.end`` has the
    person as actor.
    """
    kind, message = EVENT_TYPES[event.change]
    targets = []
    if event.person is not None:
        targets.append(_reference(event.person.id, "User", event.person.email, event.person.name))
    if event.group is not None:
        targets.append(_reference(event.group.id, "UserGroup", "unknown", event.group.name))
    actor = _reference("00uADMINADMINADMIN00", "User", "admin@okta.test", "Admin")
    if event.change is Change.SIGNED_OUT:
        actor, targets = targets[0], []
    return {
        "uuid": event.id,
        "published": okta_time(event.at),
        "eventType": kind,
        "version": "0",
        "displayMessage": message,
        "severity": "INFO",
        "client": {},
        "device": None,
        "actor": actor,
        "outcome": {"result": "SUCCESS", "reason": None},
        "request": {"ipChain": []},
        "target": targets,
        "transaction": {"type": "WEB", "id": okta_id("") + "AAA", "detail": {}},
        "debugContext": {"debugData": {}},
        "legacyEventType": None,
        "authenticationContext": {},
        "securityContext": {},
        "insertionTimestamp": None,
    }


def _reference(ref: str, kind: str, alternate: str, name: str) -> dict[str, Any]:
    return {
        "id": ref,
        "type": kind,
        "alternateId": alternate,
        "displayName": name,
        "detailEntry": None,
    }


@dataclass(frozen=True, slots=True)
class _Query:
    """What /api/v1/logs was asked, judged."""

    since: float
    until: float | None
    types: frozenset[str] | None
    limit: int
    after: int
    """The cursor: how many fitting events earlier pages showed. The log only grows, so it stays
    right.
    """
    descending: bool


class SystemLog:
    """The log of one org. ``api_token`` is what an administrator would have created (header
    ``Authorization: SSWS …``).
    """

    def __init__(self, origin: str, *, clock: Clock, switches: Switches | None = None) -> None:
        self._switches = switches or Switches()
        self.events: list[dict[str, Any]] = []
        self.api_token = "00" + secrets.token_urlsafe(30)
        self._origin = origin
        self._clock = clock

    def record(self, event: DirectoryEvent) -> dict[str, Any]:
        recorded = log_event(event)
        self.events.append(recorded)
        return recorded

    def refused(self, request: web.Request) -> web.Response | None:
        """Without the administrator's token, or one too many."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        right = scheme in ("SSWS", "Bearer") and secrets.compare_digest(
            token.encode(), self.api_token.encode()
        )
        if not right:
            return _error(401, "E0000011", "Invalid token provided")
        if self._switches.take_throttle():
            refused = _error(
                429, "E0000047", "API call exceeded rate limit due to too many requests."
            )
            refused.headers.update(
                {
                    "X-Rate-Limit-Limit": "60",
                    "X-Rate-Limit-Remaining": "0",
                    "X-Rate-Limit-Reset": str(int(self._clock()) + THROTTLED_S),
                }
            )
            refused.headers["Date"] = format_datetime(
                datetime.fromtimestamp(self._clock(), UTC), usegmt=True
            )
            return refused
        return None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        refused = self.refused(request)
        if refused is not None:
            return refused
        try:
            query = self._parse(request)
        except ValueError as malformed:
            return _error(400, "E0000001", f"Api validation failed: {malformed}")
        # Okta's log, too, is late at times.
        found = [
            event
            for event in self.events
            if _fits(query, event)
            and _epoch(event["published"]) <= self._clock() - self._switches.stale_s + 0.001
        ]
        if query.descending:
            found.reverse()
        end = query.after + query.limit
        shown = found[query.after : end]
        response = web.json_response(shown)
        response.headers.add("Link", f'<{self._origin}{request.path_qs}>; rel="self"')
        if query.until is None or len(found) > end:
            onward = {**request.query, "after": str(query.after + len(shown))}
            response.headers.add(
                "Link", f'<{self._origin}{request.path}?{urlencode(onward)}>; rel="next"'
            )
        return response

    def _parse(self, request: web.Request) -> _Query:
        given = request.query
        until = _epoch(given["until"]) if "until" in given else None
        # Without a start, a week back: that is how Okta reads it.
        since = _epoch(given["since"]) if "since" in given else self._clock() - 7 * 86400
        limit = int(given.get("limit", _DEFAULT_PAGE))
        after = int(given.get("after", "0"))
        if not 0 < limit <= _MAX_PAGE or after < 0:
            raise ValueError("limit")
        order = given.get("sortOrder", "ASCENDING")
        if order not in ("ASCENDING", "DESCENDING"):
            raise ValueError("sortOrder")
        return _Query(
            since, until, _types(given.get("filter")), limit, after, order == "DESCENDING"
        )


def _types(text: str | None) -> frozenset[str] | None:
    """Event types of a filter; the demo knows ``eventType eq "…"`` and ``or``."""
    if text is None:
        return None
    if not _FILTER.fullmatch(text):
        raise ValueError("filter")
    return frozenset(re.findall(_ONE_TYPE, text))


def _fits(query: _Query, event: dict[str, Any]) -> bool:
    published = _epoch(event["published"])
    in_time = query.since <= published and (query.until is None or published < query.until)
    return in_time and (query.types is None or event["eventType"] in query.types)


def _epoch(text: str) -> float:
    """UTC epoch seconds; a time without an offset is UTC."""
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _error(status: int, code: str, summary: str) -> web.Response:
    body = {
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": "oae" + okta_id(""),
        "errorCauses": [],
    }
    return web.json_response(body, status=status)
