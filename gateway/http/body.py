"""Bodies of a size that somebody else chooses: never more is kept than the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


class BodyTooLargeError(Exception):
    """More than the limit came. The rest is unread, so the connection is of no further use."""


async def read_body(content: aiohttp.StreamReader, *, limit: int) -> bytes:
    """All of it. Raises ``BodyTooLargeError`` once it has more than ``limit`` bytes, and whatever
    the stream raises.
    """
    body = await read_beginning(content, limit=limit + 1)
    if len(body) > limit:
        raise BodyTooLargeError
    return body


async def read_beginning(content: aiohttp.StreamReader, *, limit: int) -> bytes:
    """The first ``limit`` bytes, or all where there are fewer."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])
