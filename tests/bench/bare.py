"""The yardstick: a bare asyncio protocol that answers every request with the same bytes, and reads
nothing of it but where it ends.

    python -m tests.bench.bare ADDRESS FILE

``ADDRESS``: a port of 127.0.0.1, or a path. ``FILE`` holds the answer.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import uvloop


class Bare(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer * data.count(b"\r\n\r\n"))


async def serve(address: str, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = (
        await loop.create_server(lambda: Bare(answer), "127.0.0.1", int(address), backlog=1024)
        if address.isdigit()
        else await loop.create_unix_server(lambda: Bare(answer), address, backlog=1024)
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2]).read_bytes()))
