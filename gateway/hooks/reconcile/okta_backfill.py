"""Okta's System Log since the last reading: the events that no hook delivered, in the shape that hooks have.

Rules:
- The same inbox and the same ``uuid``: what a hook had delivered is a duplicate.
- The log itself is late at times, so each reading looks back a little further than the last one ended.
- A bounded query ends by itself; its pages are followed within the organisation's own address only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from gateway.errors import PeerError
from gateway.hooks import okta
from gateway.hooks.reconcile.fetch import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.hooks.commit import Committer
    from gateway.hooks.inbox import Inbox
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.fetch import Fetch
    from gateway.ports_hooks import HookTarget

RESOURCE = "log"
OVERLAP_S = 300.0
FIRST_S = 86_400.0
"""The first reading goes back a day: sessions older than the hook itself are found too."""
PAGE = 500
MAX_PAGES = 2000


class OktaBackfill:
    """Reads one organisation at a time into the inbox. ``stored`` wakes the applier."""

    def __init__(self, fetch: Fetch, committer: Committer, cursors: Cursors, inbox: Inbox, *, stored: Callable[[], None], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._committer = committer
        self._cursors = cursors
        self._inbox = inbox
        self._stored = stored
        self._clock = clock

    @staticmethod
    def configured(target: HookTarget) -> bool:
        return target.api_token is not None and bool(target.api_url or target.issuer)

    async def read(self, target: HookTarget) -> int:
        """To the end; the number of events that no hook had delivered. Raises ``UnavailableError``, ``PeerError``."""
        if target.api_token is None:
            raise PeerError("directory_not_configured", "hooks.api_token is needed to read the System Log")
        origin = self._origin(target)
        cursor = await self._cursors.get(target, RESOURCE)
        until = self._clock()
        since = float(cursor.text) - OVERLAP_S if cursor is not None and cursor.text else until - FIRST_S
        wanted = " or ".join(f'eventType eq "{kind}"' for kind in sorted(okta.EFFECTS))
        query = {"since": _time(since), "until": _time(until), "filter": wanted, "sortOrder": "ASCENDING", "limit": str(PAGE)}
        url: str | None = f"{origin}/api/v1/logs?{urlencode(query)}"
        headers = {"Authorization": f"SSWS {target.api_token.reveal()}", "Accept": "application/json"}
        found = 0
        for _ in range(MAX_PAGES):
            if url is None:
                break
            if "{0.scheme}://{0.netloc}".format(urlsplit(url)) != origin:
                raise PeerError("malformed_answer", "Okta named a page outside itself")
            reply = await self._fetch.call("GET", url, headers=headers)
            if reply.status in {401, 403}:
                raise PeerError("directory_forbidden", f"Okta answered {reply.status}: {said(reply)}")
            if reply.status != 200 or not isinstance(reply.document, list):
                raise PeerError("malformed_answer", f"Okta answered {reply.status}: {said(reply)}")
            found += await self._write(target, reply.document)
            url = reply.next_url if reply.document else None

        async def done(connection: AsyncConnection) -> None:
            await self._cursors.put(connection, target, RESOURCE, repr(until), read_at=until)

        await self._committer.run(done)
        return found

    async def _write(self, target: HookTarget, entries: list[object]) -> int:
        delivery = okta.log_entries(entries)
        if not delivery.events:
            return 0
        accepted = await self._inbox.accept(target, delivery, received_at=self._clock(), channel="backfill")
        if accepted.stored:
            self._stored()
        return accepted.stored

    @staticmethod
    def _origin(target: HookTarget) -> str:
        parts = urlsplit(target.api_url or target.issuer or "")
        return f"{parts.scheme}://{parts.netloc}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
