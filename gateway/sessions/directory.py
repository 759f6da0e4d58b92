"""Live sessions for operators and for their owners: rows from sealed display records, never a
credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.canonical import canonical_address
from gateway.core.paging import Page
from gateway.sessions import bearer_links, codec, seal
from gateway.sessions.aliases import AliasIndex, normal
from gateway.sessions.api import AppPasswordView, SessionView
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.keys.ring import KeyRing
    from gateway.sessions.aliases import SubjectHash
    from gateway.sessions.codec import Display
    from gateway.sessions.connection import RedisClient

LIST, FAMILY = Script.load("list"), Script.load("family")
STEP: Final = 500
"""Index entries that one script looks at."""


class StoreDirectory:
    """Implements ``SessionDirectory`` of the admin API."""

    def __init__(self, redis: RedisClient, ring: Callable[[], KeyRing]) -> None:
        self._redis = redis
        self._ring = ring

    async def page(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        """By absolute limit, the next to end first. ``position`` counts index entries, so what ends
        or comes meanwhile may shift a page.
        """
        return await self._page(
            tenant=tenant,
            user=user,
            email=email,
            position=position,
            limit=limit,
            app_passwords=False,
        )

    async def app_passwords(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        return await self._page(
            tenant=tenant,
            user=user,
            email=email,
            position=position,
            limit=limit,
            app_passwords=True,
        )

    async def _page(
        self,
        *,
        tenant: str,
        user: str | None,
        email: str | None,
        position: str | None,
        limit: int,
        app_passwords: bool,
    ) -> Page[SessionView]:
        aliases = AliasIndex(tenant, self._ring().sealing)
        names = (
            aliases.named("user", user)
            if user is not None
            else aliases.named("email", email)
            if email is not None
            else aliases.everybody()
        )
        number, offset = (int(part) for part in (position or "0:0").split(":"))
        items: list[SessionView] = []
        while number < len(names):
            looked_at, views = await self._step(
                tenant, names[number], offset=offset, limit=min(STEP, limit - len(items))
            )
            candidates = (
                view for view in views if (view.app_password is not None) is app_passwords
            )
            items += [
                view
                for view in candidates
                if email is None
                or user is None
                or canonical_address(view.email) == canonical_address(email)
            ]
            offset += looked_at
            if not looked_at:
                number, offset = number + 1, 0
            elif len(items) >= limit:
                return Page(items, f"{number}:{offset}")
        return Page(items)

    async def find(self, session: str) -> SessionView | None:
        bucket = seal.family_bucket(session)
        if bucket is None:
            return None
        at = prefix(bucket)
        row = await self._redis.run(FAMILY, [f"{at}f:{session}"], [at, session])
        return None if row is None else self._view(row[0].decode(), session, row[1:])

    async def all_of(self, tenant: str, names: Sequence[SubjectHash]) -> list[SessionView]:
        """Every living family of these index entries."""
        by_session: dict[str, SessionView] = {}
        for name in names:
            offset = 0
            while True:
                looked_at, views = await self._step(tenant, name, offset=offset, limit=STEP)
                by_session |= {view.session: view for view in views}
                offset += looked_at
                if looked_at < STEP:
                    break
        return list(by_session.values())

    async def last_login(self, tenant: str, kind: str, value: str) -> Display | None:
        """As whom somebody of this name last signed in within ``links.LIFE_S``, signed in or
        not.
        """
        keys, at = self._ring().sealing, prefix(bucket_of(tenant))
        for alias in AliasIndex(tenant, keys).named(kind, value):
            led: Any = (
                alias.encode()
                if kind == "user"
                else await self._redis.command("GET", f"{at}n:{alias}")
            )
            if led is None:
                continue
            user = led.decode("ascii")
            display = bearer_links.parse_last_login(
                await self._redis.command("HGET", f"{at}k:{user}", "s"),
                tenant=tenant,
                user=user,
                keys=keys,
            )
            # A name that another person signed in by since leads there.
            if display is not None and normal(kind, getattr(display, kind)) == normal(kind, value):
                return display
        return None

    async def _step(
        self, tenant: str, name: SubjectHash, *, offset: int, limit: int
    ) -> tuple[int, list[SessionView]]:
        """How many entries were looked at, and the living families among them."""
        at = prefix(bucket_of(tenant))
        size, *rows = await self._redis.run(LIST, [f"{at}i:{name}"], [at, tenant, offset, limit])
        views = [self._view(tenant, family.decode("ascii"), rest) for family, *rest in rows]
        return max(0, min(limit, int(size) - offset)), [view for view in views if view is not None]

    def _view(self, tenant: str, family: str, row: Sequence[Any]) -> SessionView | None:
        """None where the display record does not open: not written by us, or under a key that is
        gone.
        """
        expires, ciphertext, scope, used_at, now, idles_at, *hosts = row
        raw = (
            seal.unseal_under(self._ring().sealing, "display", f"{tenant} {family}", ciphertext)
            if ciphertext
            else None
        )
        display = None if raw is None else codec.load_display(raw)
        if display is None:
            return None
        password = None
        if scope:
            raw = seal.unseal_under(self._ring().sealing, "scope", f"{tenant} {family}", scope)
            of = None if raw is None else codec.load_scope(raw)
            password = AppPasswordView(
                display.user_agent,
                () if of is None else of.hosts,
                () if of is None else of.paths,
                int(used_at) if used_at else None,
            )
        return SessionView(
            family,
            tenant,
            display.user,
            display.email,
            display.provider,
            () if scope else tuple(sorted({host.decode() for host in hosts})),
            display.created_at,
            int(expires),
            "" if scope else display.user_agent,
            groups=display.groups,
            roles=display.roles,
            idp_subject=display.idp_subject,
            oid=display.oid,
            app_password=password,
            client="" if scope else display.client,
            place="" if scope else display.place,
            last_seen_at=None
            if scope
            else _last_seen(display, int(now), idles_at=int(idles_at), expires_at=int(expires)),
        )


def _last_seen(display: Display, now: int, *, idles_at: int, expires_at: int) -> int | None:
    """What the idle time says. None where its end is the session's own, which tells nothing."""
    if idles_at >= expires_at:
        return None
    # A connection that is open lets the idle time begin in the future.
    return min(max(idles_at - display.idle_s, display.created_at), now)
