from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.cli import run
from gateway.cli.health import probe, reach
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def admin(status: int, *, socket: Path | None = None) -> AsyncIterator[str]:
    """A listener that answers both probes with ``status``; its address as the configuration spells
    it.
    """

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=request.path)

    app = web.Application()
    app.add_routes([web.get("/healthz", answer), web.get("/readyz", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site: web.BaseSite = (
        web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", 0)
    )
    await site.start()
    try:
        yield f"unix:{socket}" if socket else f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_healthy_gateway_is_told_with_its_answer() -> None:
    async with admin(200) as address:
        assert await probe(address, path="/healthz") == "/healthz"
        assert await probe(f"http://{address}", path="/readyz") == "/readyz"


async def test_a_unix_socket_is_asked_too(tmp_path: Path) -> None:
    async with admin(200, socket=tmp_path / "admin.sock") as address:
        assert await probe(address, path="/healthz") == "/healthz"


async def test_anything_but_200_is_unhealthy() -> None:
    async with admin(503) as address:
        with pytest.raises(UnavailableError, match="answered 503"):
            await probe(address, path="/readyz")


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("0.0.0.0:8082", "http://127.0.0.1:8082"),
        ("[::]:8082", "http://[::1]:8082"),
        ("[::1]:8082", "http://[::1]:8082"),
        ("10.0.0.5:8082", "http://10.0.0.5:8082"),
        ("http://127.0.0.1:8082", "http://127.0.0.1:8082"),
    ],
)
def test_an_address_that_listens_everywhere_is_asked_on_loopback(listens: str, asked: str) -> None:
    assert reach(listens)[0] == asked


async def test_the_commands_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    async with admin(200) as address:
        assert await asyncio.to_thread(run, ["health", f"http://{address}"]) == 0
    assert await asyncio.to_thread(run, ["health", f"http://{address}"]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert await asyncio.to_thread(run, ["health", "-c", "/nowhere/gateway.yaml"]) == 2
