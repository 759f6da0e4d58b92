"""Connections to Redis that write a command with less work than redis-py's own: hiredis packs the
words, and bytes that the kernel takes at once are written without a task that waits for them.

Rules:
- Whether a connection is alive, has an answer waiting, or may be used again stays redis-py's
  decision; so do time-outs, retries and reading.
- What the kernel does not take at once waits as redis-py waits, under its time-out.
- A command that could not be written ends the connection, as redis-py's do: half of one may be on
  its way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis
import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable


class _DirectWrites(AbstractConnection):
    def pack_command(self, *args: Any) -> list[bytes]:
        """RESP. The command's name is one word here: nobody writes ``CONFIG GET`` as one."""
        if not isinstance(args[0], str) or " " in args[0]:
            return super().pack_command(*args)
        try:
            return [hiredis.pack_command(args)]
        except TypeError as error:
            kinds = sorted({type(word).__name__ for word in args})
            msg = f"a command of {', '.join(kinds)}"
            raise DataError(msg) from error

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's
    ) -> None:
        writer = self._writer
        if writer is None or self.health_check_interval or isinstance(command, bytes | str):
            await super().send_packed_command(command, check_health)
            return
        try:
            writer.writelines(command)
        except BaseException:
            await self.disconnect(nowait=True)
            raise
        _, high = writer.transport.get_write_buffer_limits()
        if writer.transport.get_write_buffer_size() > high:
            await super().send_packed_command((), check_health=False)


class TcpConnection(_DirectWrites, redis.Connection):
    """Of one server."""


class TlsConnection(_DirectWrites, redis.SSLConnection):
    """Of one server, over TLS."""


class UnixConnection(_DirectWrites, redis.UnixDomainSocketConnection):
    """Of one server on this machine."""
