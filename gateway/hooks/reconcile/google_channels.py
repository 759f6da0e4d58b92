"""The life of our push channels at Google's Directory API: opened, followed by another one at two
thirds of its life, stopped.

Rules:
- A channel is for one kind of change. ``delete``, ``update`` and ``undelete`` are what takes access
  away or gives it back; a user who is added has none to lose.
- How long a channel lives is what Google's answer says, whatever was asked for.
- A channel cannot be renewed: its successor is open for a while before it is stopped, and messages
  through either count.
- Google does not list channels. One that was opened by a process that then crashed ends by itself;
  its messages are as good as others'.
- Where none was open, there may be a gap: the directory is read at once.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from sqlalchemy import delete, insert, select

from gateway.database.schema import directory_channels
from gateway.errors import PeerError
from gateway.hooks.event import is_clean
from gateway.hooks.inbox import digest
from gateway.hooks.reconcile.fetch import said
from gateway.hooks.reconcile.google_client import API, customer
from gateway.hooks.sources.credential import channel_token
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.google_client import GoogleClient

EVENTS: Final = ("delete", "update", "undelete")
ASKED_S: Final = 21_600
"""What Google is asked for: six hours, the most that it has granted lately."""
UNTOLD_S: Final = 3_600.0
"""Taken for the life of a channel whose answer does not say it."""
LONGEST_S: Final = 2 * 86_400.0
"""The most that Google documents; what says more is a unit mix-up."""
OVERLAP_S: Final = 60.0
"""How long a channel is left open beside its successor."""
STOP: Final = "/admin/directory_v1/channels/stop"

log = logging.getLogger(__name__)


class GoogleChannels:
    """``url``: public address of the hooks listener; without it, or without a hook secret, there
    are no channels, and the directory is read only.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        google: GoogleClient,
        cursors: Cursors,
        *,
        url: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._committer = committer
        self._google = google
        self._cursors = cursors
        self._url = url
        self._clock = clock

    async def maintain(self, target: HookTarget) -> None:
        """Bring the channels to where they should be. Raises ``UnavailableError``,
        ``PeerError``.
        """
        if self._url is None or not target.secrets:
            return
        rows = await self._rows(target)
        for event in EVENTS:
            mine = [row for row in rows if row.event == event]
            now = self._clock()
            current = next(
                (r for r in mine if r.expires_at > now and r.made_for == self._made_for(target)),
                None,
            )
            if current is None:
                await self._open(target, event, again=bool(mine))
                await self._cursors.want(target, now=self._clock())
            elif now >= current.created_at + (current.expires_at - current.created_at) * 2 / 3:
                await self._open(target, event, again=True)
            elif now >= current.created_at + OVERLAP_S:
                for row in mine:
                    if row.id != current.id:
                        await self._stop(target, row)

    async def _rows(self, target: HookTarget) -> Sequence[Any]:
        """The newest first."""
        query = (
            select(directory_channels)
            .where(
                directory_channels.c.tenant == target.tenant,
                directory_channels.c.provider == target.provider,
            )
            .order_by(directory_channels.c.created_at.desc())
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).all()

    def _address(self, target: HookTarget) -> str:
        return f"{self._url}/hooks/google/{target.tenant}/{target.provider}"

    def _made_for(self, target: HookTarget) -> str:
        account = target.service_account.reveal() if target.service_account is not None else ""
        return digest(
            self._address(target),
            target.secrets[0].reveal(),
            account,
            target.admin_email or "",
            customer(target),
            target.api_url or "",
        )

    async def _open(self, target: HookTarget, event: str, *, again: bool) -> None:
        channel = str(uuid.uuid4())
        token = channel_token(
            target.secrets[0], tenant=target.tenant, provider=target.provider, channel=channel
        )
        opened_at = self._clock()
        reply = await self._google.call(
            target,
            "POST",
            f"{API}/users/watch?{urlencode({'customer': customer(target), 'event': event})}",
            body={
                "id": channel,
                "type": "web_hook",
                "address": self._address(target),
                "token": token,
                "params": {"ttl": str(ASKED_S)},
            },
        )
        document = reply.document if isinstance(reply.document, dict) else {}
        resource = document.get("resourceId")
        if (
            reply.status != 200
            or not isinstance(resource, str)
            or not 0 < len(resource) <= 256
            or not is_clean(resource)
        ):
            raise PeerError("channel_refused", f"Google answered {reply.status}: {said(reply)}")
        values = {
            "id": channel,
            "tenant": target.tenant,
            "provider": target.provider,
            "event": event,
            "resource": resource,
            "made_for": self._made_for(target),
            "created_at": opened_at,
            "expires_at": _until(document.get("expiration"), opened_at),
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(directory_channels).values(**values))

        await self._committer.run(work)
        log.info(
            "google_channel_opened",
            extra=fields(
                tenant=target.tenant,
                provider=target.provider,
                resource=f"users/{event}",
                again=again,
            ),
        )

    async def _stop(self, target: HookTarget, row: Any) -> None:
        """Google forgets it, or has forgotten it; then so do we."""
        if row.expires_at > self._clock():
            # What cannot be stopped, with other credentials above all, ends by itself.
            with contextlib.suppress(PeerError):
                await self._google.call(
                    target, "POST", STOP, body={"id": row.id, "resourceId": row.resource}
                )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                delete(directory_channels).where(directory_channels.c.id == row.id)
            )

        await self._committer.run(work)


def _until(expiration: object, opened_at: float) -> float:
    """Google writes milliseconds since 1970, as a string."""
    text = str(expiration)
    if text.isascii() and text.isdigit() and len(text) < 16:
        return min(int(text) / 1000, opened_at + LONGEST_S)
    return opened_at + UNTOLD_S
