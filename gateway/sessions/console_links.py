"""One-time links into the console, and what their holders have open: before any operator can sign
in.

Rules:
- A link opens once. Its secret, and that of what it opened, are kept as SHA-256 only.
- What is lost with Redis is closed: a link that is not found opens nothing.
- Once an operator with every scope has signed in, all of it has ended, and no other link is made.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sessions.connection import RedisClient

LINK_S: Final = 900
"""For whoever reads a terminal to open a browser. Longer, and one is found in a scroll-back."""
IDLE_S: Final = 3600
LONGEST_S: Final = 8 * 3600
"""Of what a link opened: a working day. Whoever needs more makes another link."""
SEEN_S: Final = 86_400
"""A sign-in that is used for longer is on record once more."""
_PREFIX: Final = "gw:console:"
_LINK, _OPEN = f"{_PREFIX}link:", f"{_PREFIX}open:"
_ENDED: Final = f"{_PREFIX}ended"
_CLOSED: Final = f"{_PREFIX}closed"
_ID: Final = re.compile(r"[0-9a-f]{12}")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewLink:
    """``code``: its id and its secret, which is told once. UTC epoch seconds."""

    id: str
    code: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Opened:
    """What the link ``id`` opened, ``at`` (UTC epoch seconds)."""

    id: str
    at: float


class ConsoleLinks:
    """``clock``: UTC epoch seconds; ``random_token``: 32 random bytes, base64url. All methods raise
    ``UnavailableError``.
    """

    def __init__(
        self, redis: RedisClient, *, clock: Callable[[], float], random_token: Callable[[], str]
    ) -> None:
        self._redis, self._clock, self._random_token = redis, clock, random_token

    async def create(self) -> NewLink | None:
        """None once an operator has signed in."""
        if await self._redis.command("EXISTS", _CLOSED):
            return None
        secret, now = self._random_token(), self._clock()
        name = hashlib.sha256(self._random_token().encode()).hexdigest()[:12]
        await self._redis.command("SET", _LINK + _digest(name, secret), str(now), "EX", LINK_S)
        return NewLink(name, f"{name}.{secret}", now + LINK_S)

    async def open(self, code: str) -> tuple[Opened, str] | None:
        """Uses the link up: what it opened, and the secret of that. None for whatever is not the
        code of a link that can be used now.
        """
        name, _, secret = code.partition(".")
        if not (_ID.fullmatch(name) and _SECRET.fullmatch(secret)):
            return None
        key = _LINK + _digest(name, secret)
        created_at = await self._redis.command("GET", key)
        # Of two at once, one deletes it.
        if created_at is None or await self._redis.command("DEL", key) != 1:
            return None
        now = self._clock()
        if now - float(created_at) >= LINK_S or await self._has_ended(float(created_at)):
            return None
        opened, token = Opened(name, now), self._random_token()
        record = json.dumps({"id": name, "at": now, "made": float(created_at)})
        await self._redis.command("SET", _OPEN + _digest(name, token), record, "EX", IDLE_S)
        return opened, f"{name}.{token}"

    async def find(self, token: str) -> Opened | None:
        """What a cookie stands for, which lives on for ``IDLE_S`` with it."""
        key = _open_key(token)
        raw = await self._redis.command("GET", key) if key is not None else None
        if key is None or raw is None:
            return None
        record: dict[str, Any] = json.loads(raw)
        age_s = self._clock() - record["at"]
        if age_s >= LONGEST_S or await self._has_ended(record["made"]):
            return None
        left_s = max(1, int(min(IDLE_S, LONGEST_S - age_s)))
        await self._redis.command("EXPIRE", key, left_s)
        return Opened(record["id"], record["at"])

    async def end(self, token: str) -> None:
        """What one link opened."""
        key = _open_key(token)
        if key is not None:
            await self._redis.command("DEL", key)

    async def end_all(self) -> None:
        """Links that were made so far, and what they opened."""
        await self._redis.command("SET", _ENDED, str(self._clock()))

    async def close(self) -> None:
        """An operator has signed in: no link is needed any more, and none is made."""
        await self._redis.command("SET", _CLOSED, str(self._clock()))

    async def is_first(self, sign_in: str) -> bool:
        """Whether no replica was told of it before, within a day."""
        key = _seen_key(sign_in)
        return await self._redis.command("SET", key, "1", "NX", "EX", SEEN_S) is not None

    async def forget(self, sign_in: str) -> None:
        """It is first once more."""
        await self._redis.command("DEL", _seen_key(sign_in))

    async def _has_ended(self, made: float) -> bool:
        if await self._redis.command("EXISTS", _CLOSED):
            return True
        ended_at = await self._redis.command("GET", _ENDED)
        return ended_at is not None and made <= float(ended_at)


def _seen_key(sign_in: str) -> str:
    return f"{_PREFIX}seen:{hashlib.sha256(sign_in.encode()).hexdigest()}"


def _open_key(token: str) -> str | None:
    name, _, secret = token.partition(".")
    is_valid = _ID.fullmatch(name) and _SECRET.fullmatch(secret)
    return _OPEN + _digest(name, secret) if is_valid else None


def _digest(name: str, secret: str) -> str:
    return hashlib.sha256(f"{name}.{secret}".encode()).hexdigest()
