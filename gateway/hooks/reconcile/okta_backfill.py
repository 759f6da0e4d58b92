"""Okta's System Log since the last reading: the events that no hook delivered, in the shape that
hooks have.

Rules:
- The same inbox and the same ``uuid``: what a hook had delivered is a duplicate.
- The log itself is late at times, so each reading looks back a little further than the last one
  ended.
- A bounded query ends by itself; its pages are followed within the organization's own address only.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from gateway.core.model import ProviderKind
from gateway.errors import PeerError
from gateway.hooks.event import MAX_NAME, Delivery, EntryError, Group, Source, mapping, text
from gateway.hooks.reconcile.cursors import page_of
from gateway.hooks.reconcile.fetch import ThrottledError, said
from gateway.hooks.sources import okta
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.core.model import Secret
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.group_names import GroupNames
    from gateway.hooks.inbox import Inbox
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.fetch import Fetch, Reply

RESOURCE = "log"
OVERLAP_S = 300.0
FIRST_S = 86_400.0
"""The first reading goes back a day: sessions older than the hook itself are found too."""
PAGE = 500
MAX_PAGES = 2000
MAX_NAMES = 200
NAMES_AT_ONCE = 20
"""Names in one search; an address of a few kilobytes."""

log = logging.getLogger(__name__)


class OktaBackfill:
    """Reads one organization at a time into the inbox. ``stored`` wakes the applier."""

    source = Source.OKTA

    def __init__(
        self,
        fetch: Fetch,
        committer: GroupCommitter,
        cursors: Cursors,
        inbox: Inbox,
        names: GroupNames,
        *,
        stored: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._committer = committer
        self._cursors = cursors
        self._inbox = inbox
        self._names = names
        self._stored = stored
        self._clock = clock
        self._quiet_until: dict[tuple[str, str], float] = {}
        """By organization and token: every call of a token shares its limit, whichever provider and
        endpoint it is for.
        """

    @staticmethod
    def configured(target: HookTarget) -> bool:
        return target.api_token is not None and bool(target.api_url or target.issuer)

    def resources(self, target: HookTarget) -> tuple[str, ...]:
        okta_log = target.kind is ProviderKind.OKTA and self.configured(target)
        return (RESOURCE,) if okta_log else ()

    async def maintain(self, target: HookTarget) -> None:
        """An event hook is set up at Okta, and stays."""

    async def read(self, target: HookTarget, *, until: float = math.inf) -> tuple[int, bool]:
        """The number of events that no hook had delivered, and whether it came to the end.

        After the first, no page is asked for after ``until`` (seconds of the event loop); the next
        call goes on from there. Raises ``UnavailableError``, ``PeerError``.
        """
        if target.api_token is None:
            raise PeerError(
                "directory_not_configured", "hooks.api_token is needed to read the System Log"
            )
        try:
            return await self._read(target, self._origin(target), until=until)
        except PeerError:
            # Also a page that has expired: the next reading begins at the last one's end again.
            await self._cursors.forget(target, page_of(RESOURCE))
            raise

    async def _read(self, target: HookTarget, origin: str, *, until: float) -> tuple[int, bool]:
        page = await self._cursors.get(target, page_of(RESOURCE))
        url, up_to = json.loads(page.text) if page is not None else ("", 0.0)
        if _origin_of(url) != origin:
            await self._learn(target, origin)
            cursor = await self._cursors.get(target, RESOURCE)
            up_to = self._clock()
            since = (
                float(cursor.text) - OVERLAP_S
                if cursor is not None and cursor.text
                else up_to - FIRST_S
            )
            condition = " or ".join(f'eventType eq "{kind}"' for kind in sorted(okta.EFFECTS))
            query = {
                "since": _time(since),
                "until": _time(up_to),
                "filter": condition,
                "sortOrder": "ASCENDING",
                "limit": str(PAGE),
            }
            url = f"{origin}/api/v1/logs?{urlencode(query)}"
        count, loop = 0, asyncio.get_running_loop()
        for number in range(MAX_PAGES):
            if number and loop.time() > until:
                return count, False
            if _origin_of(url) != origin:
                raise PeerError("malformed_answer", "Okta named a page outside itself")
            reply = await self._get(target, url)
            if reply.status in {401, 403}:
                raise PeerError(
                    "directory_forbidden", f"Okta answered {reply.status}: {said(reply)}"
                )
            if reply.status != 200 or not isinstance(reply.document, list):
                raise PeerError("malformed_answer", f"Okta answered {reply.status}: {said(reply)}")
            following = reply.next_url if reply.document else None
            count += await self._write(target, reply.document, following=following, up_to=up_to)
            if following is None:
                return count, True
            url = following
        return count, False

    def rest(self, target: HookTarget, *, until: float) -> None:
        """What another process was told."""
        self._quiet_until[_credential(target, self._origin(target))] = until

    async def _get(self, target: HookTarget, url: str) -> Reply:
        """Raises ``ThrottledError`` without asking while the token is to be left alone."""
        credential = _credential(target, _origin_of(url))
        remaining_s = self._quiet_until.get(credential, 0.0) - self._clock()
        if remaining_s > 0:
            raise ThrottledError(remaining_s)
        try:
            return await self._fetch.call("GET", url, headers=_headers(target.api_token))
        except ThrottledError as error:
            self._quiet_until[credential] = self._clock() + error.after_s
            raise

    async def _learn(self, target: HookTarget, origin: str) -> None:
        """Ids of the groups that the policy names, before one of them is renamed: its events then
        say only what it is called by now.
        """
        unknown_names = await self._names.unknown(target, Source.OKTA, target.groups_used or ())
        for start in range(0, min(len(unknown_names), MAX_NAMES), NAMES_AT_ONCE):
            search = " or ".join(
                f"profile.name eq {json.dumps(name, ensure_ascii=False)}"
                for name in unknown_names[start : start + NAMES_AT_ONCE]
            )
            asked_at = self._clock()
            reply = await self._get(
                target, f"{origin}/api/v1/groups?{urlencode({'search': search, 'limit': 200})}"
            )
            if reply.status != 200 or not isinstance(reply.document, list):
                # The token may read the log and not the groups: then names are learned from events
                # alone.
                log.warning(
                    "group_names_unavailable",
                    extra=fields(
                        tenant=target.tenant,
                        provider=target.provider,
                        error=f"Okta answered {reply.status}: {said(reply)}",
                    ),
                )
                return
            found = [
                group
                for group in map(_group, reply.document[:200])
                if group.id and group.name in unknown_names
            ]

            async def work(
                connection: AsyncConnection, found: list[Group] = found, asked_at: float = asked_at
            ) -> int:
                news = [
                    event
                    for group in found
                    for event in await self._names.learn(
                        connection, target, Source.OKTA, group, at=asked_at
                    )
                ]
                if news:
                    await self._inbox.store(
                        connection,
                        target,
                        Delivery(Source.OKTA, tuple(news)),
                        received_at=self._clock(),
                        channel="renamed",
                    )
                return len(news)

            if await self._committer.run(work):
                self._stored()

    async def _write(
        self, target: HookTarget, entries: list[object], *, following: str | None, up_to: float
    ) -> int:
        """With where the reading goes on (``following``), or the end of it: a crash repeats a page
        and loses none.
        """
        delivery = okta.log_entries(entries)
        prepared = (
            self._inbox.prepare(target, delivery, received_at=self._clock(), channel="backfill")
            if delivery.events
            else None
        )

        async def work(connection: AsyncConnection) -> int:
            count = (
                0 if prepared is None else (await self._inbox.write(connection, prepared)).stored
            )
            if following is None:
                await self._cursors.put(connection, target, RESOURCE, repr(up_to), read_at=up_to)
                await self._cursors.drop(connection, target, page_of(RESOURCE))
            else:
                await self._cursors.put(
                    connection,
                    target,
                    page_of(RESOURCE),
                    json.dumps([following, up_to]),
                    read_at=None,
                )
            return count

        count = await self._committer.run(work, high_priority=False)
        if count:
            self._stored()
        return count

    @staticmethod
    def _origin(target: HookTarget) -> str:
        return _origin_of(target.api_url or target.issuer or "")


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _credential(target: HookTarget, origin: str) -> tuple[str, str]:
    return origin, target.api_token.reveal() if target.api_token is not None else ""


def _headers(token: Secret | None) -> dict[str, str]:
    return {
        "Authorization": f"SSWS {token.reveal() if token is not None else ''}",
        "Accept": "application/json",
    }


def _group(entry: object) -> Group:
    """Of Okta's Groups API; without id and name where it is none."""
    try:
        document = mapping(entry, "group")
        return Group(
            text(document.get("id"), "id"),
            text(
                mapping(document.get("profile"), "profile").get("name"),
                "profile.name",
                limit=MAX_NAME,
            ),
        )
    except EntryError:
        return Group()


def _time(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
