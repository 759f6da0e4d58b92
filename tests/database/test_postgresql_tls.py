"""``database.ca_file`` against a real PostgreSQL behind a front that speaks its TLS, with a
certificate that names 127.0.0.1 only. (The server of the wheel was built without TLS.)
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import botocore
import pytest

from gateway.database.engine import open_database, warnings_of
from gateway.errors import ConfigError, UnavailableError
from tests.database.fixtures import config_with, database_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.model import Config
    from tests.database.postgres import Postgres

OTHERS = Path(botocore.__file__).with_name("cacert.pem")
"""Authorities of the public web."""
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Front:
    """PostgreSQL's handshake of TLS, and the server behind it."""

    def __init__(self, behind: int, certificate: tuple[Path, Path]) -> None:
        self._behind = behind
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*certificate)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.encrypted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            assert await reader.readexactly(8) == SSL_REQUEST, "not encrypted"
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._tls)
            self.encrypted += 1
            there, back = await asyncio.open_connection("127.0.0.1", self._behind)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def server(postgres: Postgres, certificate: tuple[Path, Path]) -> AsyncIterator[Front]:
    front = Front(postgres.port, certificate)
    listening = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.port = listening.sockets[0].getsockname()[1]
    yield front
    listening.close()
    await front.close()


@pytest.fixture
def at(server: Front, tmp_path: Path) -> Callable[..., Config]:
    """The configuration of a gateway that uses it; ``rest`` of the URL behind the database."""

    def configured(host: str, ca_file: Path | None, rest: str = "") -> Config:
        url = f"postgresql+asyncpg://gateway@{host}:{server.port}/postgres{rest}"
        return config_with(
            tmp_path / "state",
            database={"url": url, "ca_file": None if ca_file is None else str(ca_file)},
        )

    return configured


async def _reach(config: Config) -> None:
    database = open_database(config, database_keys())
    try:
        await database.ping()
    finally:
        await database.close()


async def test_the_authority_in_ca_file_is_believed_and_all_is_reach(
    at: Callable[..., Config], server: Front, certificate: tuple[Path, Path]
) -> None:
    config = at("127.0.0.1", certificate[0])
    await _reach(config)
    assert server.encrypted == 1
    assert not warnings_of(config)


@pytest.mark.parametrize("rest", ["", "?ssl=verify-full", "?ssl=verify-ca"])
async def test_a_certificate_of_another_authority_is_refused(
    at: Callable[..., Config], rest: str
) -> None:
    with pytest.raises(UnavailableError, match=r"not trusted here: set database\.ca_file"):
        await _reach(at("127.0.0.1", OTHERS, rest))


async def test_another_name_is_refused_unless_the_url_says_verify_ca(
    at: Callable[..., Config], certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(UnavailableError, match="certificate"):
        await _reach(at("localhost", certificate[0]))
    await _reach(at("localhost", certificate[0], "?ssl=verify-ca"))


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
async def test_a_mode_that_would_not_look_at_the_certificate_is_refused(
    at: Callable[..., Config], certificate: tuple[Path, Path], mode: str
) -> None:
    config = at("127.0.0.1", certificate[0], f"?ssl={mode}")
    for look in (warnings_of, lambda config: open_database(config, database_keys())):
        with pytest.raises(ConfigError, match=f"not be verified with ssl={mode}"):
            look(config)


async def test_a_file_without_a_certificate_is_a_mistake_of_the_configuration(
    at: Callable[..., Config], tmp_path: Path
) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("-----BEGIN")
    with pytest.raises(ConfigError, match="holds no certificate"):
        open_database(at("127.0.0.1", empty), database_keys())


async def test_a_server_without_tls_is_not_talked_to(
    postgres: Postgres, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    url = f"postgresql+asyncpg://gateway@127.0.0.1:{postgres.port}/postgres"
    config = config_with(tmp_path / "state", database={"url": url, "ca_file": str(certificate[0])})
    with pytest.raises(UnavailableError, match="has no TLS"):
        await _reach(config)
