"""The admin role of a gateway in a thread of this process, for tests of the commands that ask it:
real stores, the real API, the real socket. One for a module: starting one takes a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import threading
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import yaml
from aiohttp import web

from gateway.background import background_task, forever
from gateway.check.trusted_peer import Trust
from gateway.cli import run
from gateway.config.model import load_config
from gateway.database.audit import AuditLog
from gateway.database.audit_entries import AuditFilter
from gateway.keys import ring as keys
from gateway.keys.file import KeyFile
from gateway.runtime.admin_role import admin_role
from gateway.runtime.admin_stores import AdminStores, admin_stores
from gateway.runtime.app import _tenants
from gateway.runtime.local_socket import local_socket
from gateway.sessions.connection import connect
from gateway.sessions.embedded import EmbeddedValkey
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.lease_client import LeaseClient, steady
from gateway.sessions.memory import SessionCache
from gateway.sessions.pool_failover import FailoverView, PoolFailovers
from gateway.sessions.store import RedisSessions
from tests.database.template import embedded_database
from tests.sessions.conftest import HOST, Login, tenant
from tests.tenants.samples import write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path
    from types import TracebackType

    import pytest

    from gateway.database.audit_entries import AuditEntry
    from gateway.sessions.api import SessionCreated
    from gateway.sessions.connection import RedisClient

T = TypeVar("T")
ACME = {
    "id": "acme",
    "name": "Acme",
    "hosts": [HOST],
    "email_domains": ["acme.test"],
    "allowed_groups": "any",
    "client_id": "client",
    "client_secret": "not-a-real-secret",
    "providers": [{"name": "acme-okta", "kind": "okta", "issuer": "https://idp.example"}],
}
DOCUMENT: dict[str, Any] = {
    "development": True,
    "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
    "cognito": {
        "region": "eu-north-1",
        "user_pool_id": "eu-north-1_AbCdEfGhI",
        "domain": "https://pool.example.com",
        "endpoint_url": "http://127.0.0.1:1",
    },
    "session": {"max_revocation_delay": "500ms"},
}


def _no_failover(redis: RedisClient) -> FailoverView:
    return FailoverView(PoolFailovers(redis, clock=time.time), ())


class Served:
    """``with Served(folder) as served:``; ``served("tenants", "list")`` is the command.
    ``files``: tenants of the folder that is served.
    """

    def __init__(self, folder: Path, *files: dict[str, Any], **more: Any) -> None:
        self.folder, self.state = folder, folder / "state"
        self.config_path = folder / "gateway.yaml"
        self.files = folder / "served"
        self.files.mkdir(parents=True)
        for document in files:
            write(self.files, document)
        document = {
            **DOCUMENT,
            "state_dir": str(self.state),
            "tenants": {"directory": str(self.files)},
            **more,
        }
        self.config_path.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.config = load_config(self.config_path)
        self.app = web.Application()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        embedded_database(self.state)
        # It lives as long as the thread that started it.
        self.store = EmbeddedValkey.start(self.state)
        self.ring = keys.load(self.config.key_file, create=True)
        self._thread.start()
        try:
            self.wait_for(self._start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait_for(self._stack.aclose())
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.store.stop()

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """In the gateway's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        stack, config = self._stack, self.config
        ring = KeyFile(config.key_file, create=False)
        self.link = connect(config.redis, socket_path=self.store.socket_path)
        stack.push_async_callback(self.link.close)
        await stack.enter_async_context(background_task(forever(ring.watch)))
        knows = partial(KeyAdoption(self.link, ring).keep_reporting, "tests")
        await stack.enter_async_context(background_task(forever(knows)))
        self.stores: AdminStores = await admin_stores(config, ring, self.link, stack)
        leases = LeaseClient(
            self.link, SessionCache(), name="tests", staleness_s=0.5, monotonic=steady()
        )
        tenants = await _tenants(config, ring, self.link, stack, leases)
        role = await admin_role(
            config,
            ring,
            self.link,
            tenants,
            self.stores,
            _no_failover(self.link),
            {},
            Trust(config.ingress),
            stack,
        )
        role.mount(self.app)
        self.local = web.AppRunner(role.local, access_log=None)
        await stack.enter_async_context(local_socket(config.state_dir, self.local))
        runner = web.AppRunner(self.app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]

    # --- commands --------------------------------------------------------------------------------

    def run(self, *arguments: object) -> int:
        """As somebody on this machine types it."""
        return run([*map(str, arguments), "-c", str(self.config_path)])

    def __call__(
        self, capsys: pytest.CaptureFixture[str], *arguments: object
    ) -> tuple[int, str, str]:
        capsys.readouterr()
        code = self.run(*arguments)
        out, err = capsys.readouterr()
        return code, out, err

    def json(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
        code, out, err = self(capsys, *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def audit(self, limit: int = 20) -> Sequence[AuditEntry]:
        """Newest first."""
        log = AuditLog(self.stores.database, clock=time.time)
        return self.wait_for(log.page(AuditFilter(), position=None, limit=limit)).items

    @property
    def user(self) -> str:
        return pwd.getpwuid(os.geteuid()).pw_name

    # --- people ----------------------------------------------------------------------------------

    def with_sessions(self, work: Callable[[Login], Awaitable[T]]) -> T:
        async def inside() -> T:
            sessions = RedisSessions(self.link, lambda: self.ring)
            return await work(Login(sessions, tenant()))

        return self.wait_for(inside())

    def alive(self, stored: SessionCreated) -> bool:
        found = self.with_sessions(
            lambda login: login.sessions.find(stored.cookie.reveal(), host=HOST)
        )
        return found is not None

    def forget(self) -> None:
        """No tenants of SQL, with all that was theirs: for the next test."""

        async def inside() -> None:
            names = list(await self.stores.tenants.all())
            for name in names:
                await self.stores.tenants.delete(name, version=None, by=None)
            assert await self.stores.all_in_force(names)

        self.wait_for(inside())


def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)
