"""When each hook secret proved a sender last, and which: whether anybody still has the old one.

Rules:
- One row for each secret and sender, however much arrives: a use is written once a minute.
- SQL has a fingerprint of the secret, which is nobody else's and proves nothing.
- Rows are bounded by what the configuration accepts: whoever proves nothing makes none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select

from gateway.database.engine import insert_new
from gateway.database.schema import hook_secret_uses
from gateway.hooks.sources.credential import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database

RESOLUTION_S: Final = 60.0
"""A secret counts as last used up to a minute before it was."""
KEPT_S: Final = 400 * 86_400.0
"""Longer than the year in which a quarterly job uses a secret once again."""
_KEY: Final = ("tenant", "provider", "fingerprint", "source")

Uses = dict[tuple[str, str, str, str], float]
"""Tenant, provider, fingerprint and source → the last use (UTC epoch seconds)."""


@dataclass(frozen=True, slots=True)
class SecretUse:
    """Of one secret that is accepted. ``senders``: by source, the latest first; empty: it has not
    been used since uses are recorded.
    """

    senders: tuple[tuple[str, float], ...]

    @property
    def last_used_at(self) -> float | None:
        return self.senders[0][1] if self.senders else None


class SecretUses:
    """Of one process, on their way to SQL."""

    def __init__(self) -> None:
        self._waiting: Uses = {}
        self._written: Uses = {}

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def note(self, target: HookTarget, source: str, secret: int, now: float) -> None:
        """``secret``: its place among the target's."""
        name = fingerprint(target.secrets[secret], tenant=target.tenant, provider=target.provider)
        key = (target.tenant, target.provider, name, source)
        written_at = self._written.get(key)
        if written_at is None or abs(now - written_at) >= RESOLUTION_S:
            self._waiting[key] = now

    def take(self) -> Uses:
        """What waits; ``put_back`` or ``wrote`` says what became of it."""
        uses, self._waiting = self._waiting, {}
        return uses

    def put_back(self, taken: Uses) -> None:
        self._waiting = {**taken, **self._waiting}

    def wrote(self, taken: Uses, now: float) -> None:
        times = {**self._written, **taken}
        self._written = {key: at for key, at in times.items() if abs(now - at) < RESOLUTION_S}


async def write_uses(connection: AsyncConnection, database: Database, uses: Uses) -> None:
    for key, at in sorted(uses.items()):
        statement = insert_new(database, hook_secret_uses).values(
            **dict(zip(_KEY, key, strict=True)), last_used_at=at
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=_KEY,
                set_={"last_used_at": at},
                where=hook_secret_uses.c.last_used_at < at,
            )
        )


async def forget_old_uses(connection: AsyncConnection, now: float) -> None:
    old = hook_secret_uses.c.last_used_at < now - KEPT_S
    await connection.execute(delete(hook_secret_uses).where(old))


async def read_uses(connection: AsyncConnection, target: HookTarget) -> tuple[SecretUse, ...]:
    """One for each secret that is accepted, in their order: the newest first."""
    rows = await connection.execute(
        select(hook_secret_uses).where(
            hook_secret_uses.c.tenant == target.tenant,
            hook_secret_uses.c.provider == target.provider,
        )
    )
    by_secret: dict[str, dict[str, float]] = {}
    for row in rows:
        by_secret.setdefault(row.fingerprint, {})[row.source] = row.last_used_at
    names = (
        fingerprint(secret, tenant=target.tenant, provider=target.provider)
        for secret in target.secrets
    )
    return tuple(SecretUse(_latest_first(by_secret.get(name, {}))) for name in names)


def _latest_first(senders: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(senders.items(), key=lambda item: (-item[1], item[0])))
