"""The revoking half of the store: watermarks, blocks and overlays in the tenant's slot, and the end
of what is indexed there.

Each method is one script (a sweep over a large tenant: one script per page), so that the caller can
be stopped between any two. What they write is on the primary; whether its replicas have it is asked
apart (``confirm``, or the fence of an acknowledgement), when nobody waits for a transaction of SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import UnavailableError
from gateway.sessions import codec, seal
from gateway.sessions.aliases import AliasIndex, exempt_field
from gateway.sessions.connection import Script, in_order
from gateway.sessions.keyspace import bucket_of, prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.revocation import Who
    from gateway.keys.ring import KeyRing
    from gateway.sessions.aliases import SubjectHash
    from gateway.sessions.codec import Display
    from gateway.sessions.connection import RedisClient

WATERMARK_LIFE_S: Final = 30 * 86400 + 3600
"""The longest ``session.max_lifetime`` that a configuration may name, and an hour."""
REVOKED_AT_ONCE: Final = 24
"""Steps of revocations under way at one server."""
PAGE: Final = 500
"""Families ended by one step: bounds how long one script keeps the others waiting (a few
milliseconds).
"""

LIFT, CLEARED, EXEMPT, ADVANCE, CONFIRM = (
    Script.load(name) for name in ("lift", "cleared", "exempt", "advance", "confirm")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeArgs:
    """What ``revoke.lua`` is given. Lists are separated by spaces."""

    prefix: str
    tenant: str
    n_marks: int
    """How many of the keys are marks; so for overlays."""
    n_overlays: int
    watermark: int | str
    """Empty: now; else as first given, for the next page or where a revocation is restored."""
    block_source: str
    """Empty: without a block."""
    watermark_life_s: int
    fields: str
    """Of the overlays, one per key."""
    providers: str
    """Aliases of the one that is meant; "" any."""
    family: str
    """A single one; "" none."""
    page: int
    """Entries of an index by step."""
    cursors: str
    """Of the index keys."""
    overlay_watermark: int | str
    """Empty: the same."""


REVOKE = Script.load("revoke", RevokeArgs)


@dataclass(frozen=True, slots=True)
class RevocationKeys:
    """Where one ``Who`` stands in the slot of its tenant."""

    marks: tuple[SubjectHash, ...]
    indexes: tuple[SubjectHash, ...]
    providers: tuple[SubjectHash, ...]
    family: str
    overlays: tuple[SubjectHash, ...] = ()
    fields: tuple[SubjectHash, ...] = ()


@dataclass(frozen=True, slots=True)
class EndedFamily:
    """A family that a revocation ended. ``display`` says whose it was (None where it does not
    open).
    """

    family: str
    display: Display | None


@dataclass(frozen=True, slots=True)
class RevokeBatch:
    """One step of a revocation. ``cursors`` is empty when nothing is left to end."""

    watermark: int
    cursors: str
    sessions: int
    server: str
    """Which primary ended them: only there may they be acknowledged."""
    families: tuple[EndedFamily, ...]


class GivenBack(NamedTuple):
    """What a lift came to in the slot."""

    clock: int
    blocks: bool
    """Whether a block stood."""
    overlays: bool
    server: str


def revocation_keys(aliases: AliasIndex, who: Who, *, group: str | None = None) -> RevocationKeys:
    """``group``: whose overlay is meant. A group as ``who`` overlays everybody; a single session
    has no overlay.
    """
    for kind in ("user", "idp_subject", "oid", "email", "group"):
        value = getattr(who, kind)
        if value is None:
            continue
        marks = aliases.mark(kind, value, who.provider)
        everybody = kind == "group"
        return RevocationKeys(
            marks=tuple(marks),
            indexes=tuple(aliases.named(kind, value)),
            providers=tuple(aliases.providers(who.provider)) if who.provider else (),
            family="",
            overlays=()
            if group is None
            else tuple(aliases.mark("tenant", "", who.provider) if everybody else marks),
            fields=() if group is None else tuple(aliases.overlay_fields(group)),
        )
    if who.session is not None:
        return RevocationKeys(
            tuple(aliases.mark("session", who.session, None)), (), (), who.session
        )
    everyone = tuple(aliases.mark("tenant", "", who.provider))
    return RevocationKeys(
        everyone,
        tuple(aliases.everybody()),
        tuple(aliases.providers(who.provider)) if who.provider else (),
        "",
        () if group is None else everyone,
        () if group is None else tuple(aliases.overlay_fields(group)),
    )


class Watermarks:
    """Revocations in Redis. ``ring`` is asked on every use."""

    def __init__(self, redis: RedisClient, ring: Callable[[], KeyRing]) -> None:
        """Its connections are its own: nothing that a stranger may send keeps a session from being
        ended.
        """
        self.redis = redis.apart(at_once=REVOKED_AT_ONCE)
        self._ring = ring

    def alias_index(self, tenant: str) -> AliasIndex:
        return AliasIndex(tenant, self._ring().sealing)

    async def revoke(
        self,
        tenant: str,
        where: RevocationKeys,
        *,
        block_source: str = "",
        watermark: int | None = None,
        overlay_watermark: int | None = None,
    ) -> RevokeBatch:
        """Write the marks (and overlay), end the first page. ``watermark``: the original one, when
        restoring.

        ``overlay_watermark``: what the overlay keeps where it is only said again.
        """
        return await self._step(
            tenant,
            where,
            watermark=watermark,
            block_source=block_source,
            cursors=" ".join("0" for _ in where.indexes),
            overlay_watermark=overlay_watermark,
        )

    async def sweep(self, tenant: str, where: RevocationKeys, batch: RevokeBatch) -> RevokeBatch:
        """The next page of a revocation whose ``cursors`` are not empty. Writes no mark: a block
        may have been lifted meanwhile.
        """
        return await self._step(
            tenant,
            replace(where, marks=(), overlays=(), fields=(), family=""),
            watermark=batch.watermark,
            cursors=batch.cursors,
        )

    async def _step(
        self,
        tenant: str,
        where: RevocationKeys,
        *,
        watermark: int | None,
        cursors: str,
        block_source: str = "",
        overlay_watermark: int | None = None,
    ) -> RevokeBatch:
        at = prefix(bucket_of(tenant))
        keys = [
            f"{at}c:{tenant}",
            *(f"{at}w:{m}" for m in where.marks),
            *(f"{at}o:{o}" for o in where.overlays),
            *(f"{at}i:{i}" for i in where.indexes),
        ]
        arguments = RevokeArgs(
            prefix=at,
            tenant=tenant,
            n_marks=len(where.marks),
            n_overlays=len(where.overlays),
            watermark="" if watermark is None else watermark,
            block_source=block_source,
            watermark_life_s=WATERMARK_LIFE_S,
            fields=" ".join(where.fields),
            providers=" ".join(where.providers),
            family=where.family,
            page=PAGE,
            cursors=cursors,
            overlay_watermark="" if overlay_watermark is None else overlay_watermark,
        )
        answer = await self.redis.run(REVOKE, keys, in_order(arguments))
        mark, next_cursors, sessions, server, *rows = answer
        families = tuple(self._ended(tenant, row[0].decode("ascii"), row[1]) for row in rows)
        return RevokeBatch(
            int(mark), next_cursors.decode("ascii"), int(sessions), server.decode("ascii"), families
        )

    def _ended(self, tenant: str, family: str, sealed: bytes | None) -> EndedFamily:
        raw = (
            None
            if sealed is None
            else seal.unseal_under(self._ring().sealing, "display", f"{tenant} {family}", sealed)
        )
        return EndedFamily(family, None if raw is None else codec.load_display(raw))

    async def lift(self, tenant: str, where: RevocationKeys, *, sources: str) -> GivenBack:
        """``sources``: whose blocks, ``*`` for anybody's."""
        at = prefix(bucket_of(tenant))
        keys = [
            f"{at}c:{tenant}",
            *(f"{at}w:{m}" for m in where.marks),
            *(f"{at}o:{o}" for o in where.overlays),
        ]
        clock, blocks, overlays, server = await self.redis.run(
            LIFT, keys, [len(where.marks), sources, WATERMARK_LIFE_S, " ".join(where.fields)]
        )
        return GivenBack(int(clock), bool(blocks), bool(overlays), server.decode("ascii"))

    async def stands(self, tenant: str, where: RevocationKeys) -> bool:
        """Whether a block stands at one of the marks, or the overlay at one of its places."""
        at = prefix(bucket_of(tenant))
        places = [
            *((f"{at}w:{mark}", "b") for mark in where.marks),
            *(
                (f"{at}o:{overlay}", name)
                for overlay, name in zip(where.overlays, where.fields, strict=True)
            ),
        ]
        return any([await self.redis.command("HEXISTS", key, name) for key, name in places])

    async def cleared(self, tenant: str, where: RevocationKeys, *, watermark: int) -> int:
        """Cognito's stored attribute was confirmed to lack the overlay's group, after the removal
        that had this watermark.
        """
        at = prefix(bucket_of(tenant))
        keys = [f"{at}c:{tenant}", *(f"{at}o:{o}" for o in where.overlays)]
        return int(await self.redis.run_durably(CLEARED, keys, [" ".join(where.fields), watermark]))

    async def exempt(self, tenant: str, where: RevocationKeys, *, watermark: int) -> str:
        """The person has the overlay's group, as far as it was taken from everybody with this
        watermark or an earlier one. Returns which server this is.
        """
        at = prefix(bucket_of(tenant))
        server: bytes = await self.redis.run(
            EXEMPT,
            [f"{at}c:{tenant}", *(f"{at}o:{o}" for o in where.overlays)],
            [" ".join(exempt_field(f) for f in where.fields), watermark],
        )
        return server.decode("ascii")

    async def answers(self, tenant: str) -> None:
        """Raises ``UnavailableError`` while the tenant's primary does not answer."""
        await self.redis.command("EXISTS", f"{prefix(bucket_of(tenant))}c:{tenant}")

    async def confirm(self, tenant: str, *, server: str) -> None:
        """Returns when the replicas have all that was written for this tenant on ``server``. Raises
        ``UnavailableError``, also where another server has taken over.
        """
        answer: bytes = await self.redis.run_durably(
            CONFIRM, [f"{prefix(bucket_of(tenant))}c:{tenant}"], []
        )
        if answer.decode("ascii") != server:
            msg = "Redis: another primary took over before its replicas confirmed"
            raise UnavailableError(msg)

    async def advance(self, tenant: str, *, past: int) -> int:
        """Set the tenant's clock past a recorded value."""
        return int(
            await self.redis.run_durably(
                ADVANCE, [f"{prefix(bucket_of(tenant))}c:{tenant}"], [past]
            )
        )
