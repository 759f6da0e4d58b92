"""Sending the probes, then reading what they led to from the admin API, on a way of its own."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from gateway.core.hosts import wire_host
from gateway.doctor.findings import Finding, Outcome, judge, judge_direct
from gateway.doctor.probes import shots
from gateway.doctor.wire import exchange
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import Secret
    from gateway.doctor.probes import Shot
    from gateway.doctor.wire import Reply

MAX_NONCES = 200
DIRECT_TIMEOUT_S = 3.0
AT_ONCE = 4
"""Probes in flight. An ingress in production shall not notice that it is examined."""


class DoctorError(GatewayError):
    """The examination could not be made."""


@dataclass(frozen=True, slots=True)
class Target:
    """The probed URL, taken apart. ``connect`` is where the bytes go."""

    scheme: str
    host: str
    """As the Host header says it: with the port, unless it is the scheme's own."""
    name: str
    connect: tuple[str, int]

    @classmethod
    def of(cls, url: str) -> Target:
        """Raises ``ConfigError``."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        name = wire_host(parts.hostname or "")
        if parts.scheme not in {"http", "https"} or name is None or port == -1 or parts.path not in {"", "/"} or parts.query:
            raise ConfigError(f"{url}: not the URL of a protected host, such as https://app.example.com/")
        default = 443 if parts.scheme == "https" else 80
        return cls(parts.scheme, name if port in {None, default} else f"{name}:{port}", name, (_reachable(name), port or default))


def _reachable(name: str) -> str:
    return "127.0.0.1" if name == "localhost" or name.endswith(".localhost") else name  # RFC 6761 §6.3


@dataclass(slots=True)
class Doctor:
    """``admin_url`` and ``key`` (scope ``doctor``) reach the admin API; the key never goes to ``target``."""

    target: Target
    admin_url: str
    key: Secret
    paths: Sequence[str] = ()
    app: tuple[str, int] | None = None
    check: tuple[str, int] | None = None
    ca_file: str | None = None
    progress: Callable[[int, int], None] = field(default=lambda _done, _all: None)

    async def examine(self) -> list[Finding]:
        """Every finding, the worst first. Raises ``DoctorError``."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), headers={"Authorization": f"Bearer {self.key.reveal()}"}) as admin:
            made = await self._api(admin, "POST", "doctor/probes", {"host": self.target.name, "count": MAX_NONCES})
            planned = shots(iter(made["nonces"]), managed=made["managed"], cookie=made["cookie"], scheme=self.target.scheme, paths=self.paths)
            replies = await self._send(planned)
            records = [await self._api(admin, "GET", f"doctor/probes/{shot.nonce}") for shot in planned]
        if not any(reply.status for reply in replies):
            raise DoctorError(f"{self.target.scheme}://{self.target.host} does not answer: {replies[0].problem}")
        outcomes = [Outcome(shot, reply, record["check"], record["location"]) for shot, reply, record in zip(planned, replies, records, strict=True)]
        findings = judge(outcomes, managed=made["managed"], host=self.target.name, scheme=self.target.scheme)
        findings += await self._direct(next((o.check["dialect"] for o in outcomes if o.check), ""))
        return sorted(findings, key=lambda finding: finding.severity.rank)

    async def _api(self, admin: aiohttp.ClientSession, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"{self.admin_url.rstrip('/')}/admin/v1/{path}"
        try:
            async with admin.request(method, url, json=body, allow_redirects=False) as response:
                if response.status in {200, 201}:
                    document: dict[str, Any] = await response.json()
                    return document
                explained = (await response.text())[:300]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DoctorError(f"the admin API at {self.admin_url} does not answer: {type(error).__name__}") from error
        raise DoctorError(f"the admin API at {self.admin_url} answers {response.status} (a key of scope doctor is needed): {explained}")

    async def _send(self, planned: Sequence[Shot]) -> list[Reply]:
        gate = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def one(shot: Shot) -> Reply:
            nonlocal done
            async with gate:
                reply = await exchange(self.target.connect, shot.raw(self.target.host), tls=self._tls(), server_name=self.target.name)
            done += 1
            self.progress(done, len(planned))
            return reply

        return list(await asyncio.gather(*map(one, planned)))

    def _tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.target.scheme == "https" else None

    async def _direct(self, dialect: str) -> list[Finding]:
        """The addresses behind the ingress, asked from where the doctor stands."""
        app = check = None
        if self.app is not None:
            raw = f"GET / HTTP/1.1\r\nHost: {self.target.host}\r\nConnection: close\r\n\r\n".encode()
            app = (_shown(self.app), await exchange(self.app, raw, tls=None, server_name="", timeout_s=DIRECT_TIMEOUT_S))
        if self.check is not None:
            lines = (f"X-Forwarded-Host: {self.target.name}", "X-Forwarded-Method: GET", f"X-Forwarded-Proto: {self.target.scheme}", "X-Forwarded-Uri: /")
            raw = "\r\n".join((f"GET /auth/{dialect or 'nginx'} HTTP/1.1", "Host: gateway", *lines, "Connection: close", "", "")).encode()
            check = (_shown(self.check), await exchange(self.check, raw, tls=None, server_name="", timeout_s=DIRECT_TIMEOUT_S))
        return judge_direct(app=app, check=check, dialect=dialect)


def _shown(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def parse_address(value: str) -> tuple[str, int]:
    """``host:port``. Raises ``ConfigError``."""
    parts = urlsplit(f"//{value}")
    try:
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise ConfigError(f"{value}: host:port")
