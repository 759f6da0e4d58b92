from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from gateway.http.body import BodyTooLargeError, read_beginning, read_body

if TYPE_CHECKING:
    from collections.abc import Sequence


def stream(chunks: Sequence[bytes]) -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize("chunks", [[], [b"a"], [b"ab", b"cd"], [b"a", b"b", b"c", b"d"]])
async def test_a_body_up_to_the_limit_is_read_whole_however_it_is_cut(chunks: list[bytes]) -> None:
    assert await read_body(stream(chunks), limit=4) == b"".join(chunks)


@pytest.mark.parametrize("chunks", [[b"abcde"], [b"abcd", b"e"], [b"abc", b"def"]])
async def test_a_body_beyond_the_limit_is_refused_and_its_beginning_can_be_had(
    chunks: list[bytes],
) -> None:
    with pytest.raises(BodyTooLargeError):
        await read_body(stream(chunks), limit=4)
    assert await read_beginning(stream(chunks), limit=4) == b"abcd"
