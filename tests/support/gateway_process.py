"""One ``gateway serve`` with embedded stores as a process of its own: its log, its limits and its
signals are the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.processes import die_with_parent, free_port
from gateway.config.model import Redis
from gateway.core.model import Secret
from gateway.errors import UnavailableError
from gateway.keys import ring as keys
from gateway.sessions.connection import connect
from gateway.sessions.store import RedisSessions
from tests.sessions.conftest import HOST, Login, tenant
from tests.support.fork_server import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from tests.support.fork_server import Forked

ROOT = Path(__file__).parents[2]
LISTENERS = ("check", "public", "admin", "hooks")
CONFIG = """
listen: {{check: "127.0.0.1:{check}", public: "127.0.0.1:{public}", admin: "127.0.0.1:{admin}", hooks: "127.0.0.1:{hooks}"}}
ingress: {{trusted_proxies: [127.0.0.1/32]}}
cognito: {{region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}}
state_dir: {folder}/state
key_ring: {{file: {folder}/state/keys.json}}
session: {{max_revocation_delay: 500ms}}
tenants: {{directory: {folder}/tenants}}
log: {{level: info, format: json}}
"""  # noqa: E501 - one text, as it is
TENANT = f"""
id: acme
name: Acme
hosts: [{HOST}]
email_domains: [acme.test]
allowed_groups: any
client_id: client
client_secret: secret
providers: [{{name: acme-okta, kind: okta, label: Okta, issuer: "https://idp.example", domains: [acme.test]}}]
"""  # noqa: E501 - one text, as it is


@dataclass(slots=True)
class GatewayProcess:
    """``log`` is the file that the process writes to, unless the test gave it another
    descriptor.
    """

    folder: Path
    process: subprocess.Popen[bytes] | Forked
    ports: dict[str, int]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def get(
        self,
        listener: str,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        timeout_s: float = 5,
    ) -> tuple[int, str]:
        """Over a connection of its own."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.ports[listener], timeout=timeout_s
        )
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def check(self, cookie: str = "", *, path: str = "/", timeout_s: float = 5) -> int:
        """As nginx asks."""
        headers = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": HOST,
            "X-Forwarded-Uri": path,
        }
        return self.get(
            "check",
            "/auth/nginx",
            {**headers, **({"Cookie": f"__Host-gw={cookie}"} if cookie else {})},
            timeout_s=timeout_s,
        )[0]

    def metric(self, line: str) -> float:
        """Value of a series by its name and labels as they are exposed; 0 where it is not there."""
        values = [
            float(row.rpartition(" ")[2])
            for row in self.get("admin", "/metrics")[1].splitlines()
            if row.rpartition(" ")[0] == line
        ]
        return sum(values)

    def children(self) -> list[int]:
        """Forked workers and the embedded store."""
        return [
            int(pid)
            for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            .read_text()
            .split()
        ]

    def workers(self) -> list[int]:
        return [
            pid
            for pid in self.children()
            if b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def log_in(self, name: str = "alice") -> str:
        """Directly at the store, as a callback would; the session cookie's value."""

        async def once() -> str:
            redis = connect(
                Redis(url=Secret("embedded")),
                socket_path=str(self.folder / "state" / "valkey" / "valkey.sock"),
            )
            ring = keys.load(self.folder / "state" / "keys.json", create=False)
            sessions = RedisSessions(redis, lambda: ring)
            try:
                async with asyncio.timeout(20):
                    while True:
                        with contextlib.suppress(
                            UnavailableError
                        ):  # the store is believed a moment after its start
                            return (await Login(sessions, tenant()).finish()).cookie.reveal()
                        await asyncio.sleep(0.05)
            finally:
                await sessions.touches.close()
                await redis.close()

        return asyncio.run(once())

    def stop(self, *, within_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


def until(
    condition: Callable[[], object], *, seconds: float = 20, what: Callable[[], str] = lambda: ""
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if condition():
                return
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


@contextlib.contextmanager
def serving(
    folder: Path,
    *,
    workers: int = 1,
    stderr: int | None = None,
    open_files: int | None = None,
    environment: dict[str, str] | None = None,
    tenants: str = TENANT,
    module: str = "gateway",
) -> Iterator[GatewayProcess]:
    """Both roles. ``open_files``: hard limit of descriptors, of a new interpreter. Leaving kills
    what is left.
    """
    (folder / "state").mkdir(parents=True, mode=0o700, exist_ok=True)
    (folder / "tenants").mkdir(exist_ok=True)
    (folder / "tenants" / "acme.yaml").write_text(tenants)
    ports = {name: free_port() for name in LISTENERS}
    (folder / "gateway.yaml").write_text(CONFIG.format(folder=folder, **ports))

    command = ["serve", "-c", str(folder / "gateway.yaml"), "--workers", str(workers)]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    given = inherited | (environment or {})
    with (folder / "log").open("ab") as log:
        process = (
            start(
                *command,
                cwd=ROOT,
                environment=given,
                stdout=log.fileno(),
                stderr=log.fileno() if stderr is None else stderr,
                module=module,
            )
            if open_files is None
            else _limited(command, given, log, open_files)
        )
    running = GatewayProcess(folder, process, ports)
    try:
        until(
            lambda: (
                process.poll() is not None
                or (running.check() == 401 and running.get("admin", "/readyz")[0] == 200)
            ),
            seconds=60,
            what=lambda: running.log[-2000:],
        )
        assert process.poll() is None, running.log[-2000:]
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def _limited(
    command: Sequence[str], environment: Mapping[str, str], log: BinaryIO, open_files: int
) -> subprocess.Popen[bytes]:
    def limited() -> None:
        die_with_parent()
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(open_files, 256), open_files))

    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=limited,  # noqa: PLW1509 - it calls the kernel and nothing else
    )
