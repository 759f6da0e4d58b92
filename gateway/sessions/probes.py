"""What the check and the test location saw of the doctor's probes, for ten minutes, where every
replica and the admin API reach it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sessions.connection import RedisClient

KEEP_S: Final = 900
"""Longer than a nonce lives, so a slow doctor still reads what its last probe led to."""
MAX_BYTES: Final = 64 * 1024


class RedisProbes:
    """The adapter of ``sessions.api.ProbeRecords``."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def write(self, nonce: str, place: str, record: Mapping[str, Any]) -> None:
        """The first record of a place stays: a proxy that asks again says nothing new."""
        text = json.dumps(record, ensure_ascii=True, separators=(",", ":"))
        if len(text) <= MAX_BYTES:
            await self._redis.command("SET", _key(nonce, place), text, "EX", KEEP_S, "NX")

    async def read(self, nonce: str, place: str) -> Mapping[str, Any] | None:
        text = await self._redis.command("GET", _key(nonce, place))
        record: Mapping[str, Any] | None = json.loads(text) if text is not None else None
        return record


def _key(nonce: str, place: str) -> str:
    return f"gw:probe:{place}:{hashlib.sha256(nonce.encode()).hexdigest()[:32]}"
