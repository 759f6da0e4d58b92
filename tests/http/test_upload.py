"""Forms with files: bounded before they are looked at, and never a fault of ours."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from gateway.http.body import BodyTooLargeError
from gateway.http.upload import BadUploadError, read_upload

FIELD = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'


async def read(body: bytes, kind: str = "multipart/form-data; boundary=x") -> dict[str, str]:
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 2**22, loop=loop)
    content.feed_data(body)
    content.feed_eof()
    request = make_mocked_request("POST", "/", headers={"Content-Type": kind}, payload=content)
    return await read_upload(request, limit=100_000, max_fields=3)


async def test_fields_are_read_and_a_charset_changes_nothing() -> None:
    body = FIELD % (b"_charset_", b"z" * 40) + FIELD % (b"a", "ü\r\n--y".encode())
    assert await read(body + b"--x--\r\n") == {"_charset_": "z" * 40, "a": "ü\r\n--y"}
    assert await read(body + b"--x--", 'multipart/form-data; boundary="x"') != {}


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n" * 50_000 + FIELD % (b"a", b"b") + b"--x--\r\n",
        FIELD % (b"a", b"b"),
        FIELD % (b"a", b"b") * 4 + b"--x--\r\n",
        b"--x\r\n" + b"a: b\r\n" * 10_000 + b"\r\nv\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: attachment; name="a"\r\n\r\nv\r\n--x--\r\n',
        FIELD % (b"a", b"\xff") + b"--x--\r\n",
        b"--x--\r\n"[:-4],
        b"",
    ],
)
async def test_what_no_browser_sends_is_refused(body: bytes) -> None:
    with pytest.raises(BadUploadError):
        await read(body)


async def test_what_is_too_long_is_refused_unread() -> None:
    for body in (FIELD % (b"a", b"\n" * 100_001) + b"--x--\r\n", b"\n" * 1_000_000):
        with pytest.raises(BodyTooLargeError):
            await read(body)
    for kind in ("multipart/form-data", f"multipart/form-data; boundary={'x' * 71}"):
        with pytest.raises(BadUploadError):
            await read(b"", kind)
