"""The life of our Graph subscriptions: made, renewed at half-life, made again when lost, expired,
or meant for another secret.

Rules:
- One for users and one for groups of each directory; the row here is written after Graph's answer,
  and what Graph holds for our address and no row knows is removed, so that a crash in between
  leaves nothing behind.
- A subscription that was lost, or made again, is a gap: the directory is read at once.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from gateway.database.schema import graph_subscriptions
from gateway.errors import PeerError
from gateway.hooks.event import EntryError, rfc3339
from gateway.hooks.inbox import digest
from gateway.hooks.reconcile.fetch import said
from gateway.hooks.sources.credential import client_state
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.core.person import Account
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.graph_client import GraphClient

RESOURCES = ("users", "groups")
LIFETIME_S = 41_000 * 60.0
"""Graph allows 41,760 minutes; less leaves room for clocks."""

log = logging.getLogger(__name__)


class Subscriptions:
    """``url``: public address of the hooks listener."""

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        graph: GraphClient,
        cursors: Cursors,
        *,
        url: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._committer = committer
        self._graph = graph
        self._cursors = cursors
        self._url = url
        self._clock = clock
        self.wake: Callable[[], None] = lambda: None

    async def maintain(self, target: HookTarget) -> None:
        """Bring both subscriptions to where they should be. Raises ``UnavailableError``,
        ``PeerError``.
        """
        if self._url is None or not target.secrets:
            return
        rows = {row.resource: row for row in await self._rows(target)}
        for resource in RESOURCES:
            row = rows.get(resource)
            now = self._clock()
            if row is None or row.expires_at <= now or row.made_for != self._made_for(target):
                await self._make(target, resource, old=row.id if row is not None else None)
            elif now >= row.renewed_at + (row.expires_at - row.renewed_at) / 2:
                await self._renew(target, resource, row.id)

    async def _rows(self, target: HookTarget) -> list[Any]:
        where = (
            graph_subscriptions.c.tenant == target.tenant,
            graph_subscriptions.c.provider == target.provider,
        )
        async with self._database.read() as connection:
            return list((await connection.execute(select(graph_subscriptions).where(*where))).all())

    def _address(self, target: HookTarget) -> str:
        return f"{self._url}/hooks/entra/{target.tenant}/{target.provider}"

    def _made_for(self, target: HookTarget) -> str:
        state = client_state(target.secrets[0], tenant=target.tenant, provider=target.provider)
        return digest(
            self._address(target),
            state,
            target.client_id or "",
            target.directory_id or "",
            target.api_url or "",
        )

    async def _make(self, target: HookTarget, resource: str, *, old: str | None) -> None:
        known_ids = {row.id for row in await self._rows(target)}
        await self._remove_strays(target, known_ids)
        expires = self._clock() + LIFETIME_S
        body = {
            "changeType": "updated,deleted",
            "resource": resource,
            "notificationUrl": self._address(target),
            "lifecycleNotificationUrl": f"{self._address(target)}/lifecycle",
            "expirationDateTime": _time(expires),
            "clientState": client_state(
                target.secrets[0], tenant=target.tenant, provider=target.provider
            ),
            "latestSupportedTlsVersion": "v1_2",
        }
        reply = await self._graph.call(
            target, "POST", self._graph.url(target, "/subscriptions"), body=body
        )
        answer = reply.document if isinstance(reply.document, dict) else {}
        if reply.status != 201 or not isinstance(answer.get("id"), str) or len(answer["id"]) > 128:
            raise PeerError("subscription_refused", f"Graph answered {reply.status}: {said(reply)}")
        expires = _until(answer, expires)

        async def work(connection: AsyncConnection) -> None:
            now = self._clock()
            where = (
                graph_subscriptions.c.tenant == target.tenant,
                graph_subscriptions.c.provider == target.provider,
                graph_subscriptions.c.resource == resource,
            )
            await connection.execute(delete(graph_subscriptions).where(*where))
            await connection.execute(
                insert(graph_subscriptions).values(
                    id=answer["id"],
                    tenant=target.tenant,
                    provider=target.provider,
                    resource=resource,
                    made_for=self._made_for(target),
                    created_at=now,
                    renewed_at=now,
                    expires_at=expires,
                )
            )

        await self._committer.run(work)
        log.info(
            "graph_subscription_made",
            extra=fields(
                tenant=target.tenant,
                provider=target.provider,
                resource=resource,
                again=old is not None,
            ),
        )
        await self._cursors.want(target, now=self._clock())
        if old is not None:
            with contextlib.suppress(PeerError):
                await self._graph.call(
                    target, "DELETE", self._graph.url(target, f"/subscriptions/{old}")
                )

    async def _remove_strays(self, target: HookTarget, known: set[str]) -> None:
        reply = await self._graph.call(target, "GET", self._graph.url(target, "/subscriptions"))
        entries = reply.document.get("value") if isinstance(reply.document, dict) else None
        for one in entries if isinstance(entries, list) else []:
            if (
                isinstance(one, dict)
                and one.get("notificationUrl") == self._address(target)
                and one.get("id") not in known
            ):
                await self._graph.call(
                    target, "DELETE", self._graph.url(target, f"/subscriptions/{one.get('id')}")
                )

    async def _renew(self, target: HookTarget, resource: str, subscription: str) -> None:
        """A new expiry is also a new authorisation."""
        expires = self._clock() + LIFETIME_S
        reply = await self._graph.call(
            target,
            "PATCH",
            self._graph.url(target, f"/subscriptions/{subscription}"),
            body={"expirationDateTime": _time(expires)},
        )
        if reply.status == 404:
            await self._make(target, resource, old=None)
            return
        if reply.status != 200:
            raise PeerError("subscription_refused", f"Graph answered {reply.status}: {said(reply)}")
        expires = _until(reply.document, expires)

        async def work(connection: AsyncConnection) -> None:
            statement = update(graph_subscriptions).where(graph_subscriptions.c.id == subscription)
            await connection.execute(statement.values(renewed_at=self._clock(), expires_at=expires))

        await self._committer.run(work)
        log.info(
            "graph_subscription_renewed",
            extra=fields(tenant=target.tenant, provider=target.provider, resource=resource),
        )

    # --- the rest of ``hooks.api.Directory`` ---

    async def account(self, target: HookTarget, user: str) -> Account | None:
        return await self._graph.account(target, user)

    async def is_member(self, target: HookTarget, user: str, group_id: str) -> bool | None:
        return await self._graph.is_member(target, user, group_id)

    async def group_name(self, target: HookTarget, group_id: str, *, again: bool = False) -> str:
        return (
            await self._graph.group_name(target, group_id, again=again)
            if self._graph.configured(target)
            else ""
        )

    async def owns_subscription(self, target: HookTarget, subscription: str) -> bool:
        return any(row.id == subscription for row in await self._rows(target))

    async def lifecycle(self, target: HookTarget, subscription: str, kind: str) -> None:
        """``reauthorizationRequired`` is answered at once; a removed one is made again and what was
        missed read, by whoever leads.
        """
        row = next((r for r in await self._rows(target) if r.id == subscription), None)
        if row is None:
            return
        if kind == "reauthorizationRequired":
            await self._renew(target, row.resource, subscription)
            return
        if kind == "subscriptionRemoved":

            async def forget(connection: AsyncConnection) -> None:
                await connection.execute(
                    update(graph_subscriptions)
                    .where(graph_subscriptions.c.id == subscription)
                    .values(expires_at=0.0)
                )

            await self._committer.run(forget)
        await self._cursors.want(target, now=self._clock())
        self.wake()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _until(document: Any, asked: float) -> float:
    """What Graph granted, never more than was asked."""
    try:
        return min(asked, rfc3339(document.get("expirationDateTime"), "expirationDateTime"))
    except (EntryError, AttributeError):
        return asked
