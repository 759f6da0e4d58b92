"""Sending the probes, then reading what they led to from the admin API, on a way of its own."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from gateway.core.hosts import is_localhost, parse_host_header
from gateway.doctor.app_session import compare
from gateway.doctor.evidence import Finding, Outcome
from gateway.doctor.findings import judge, judge_direct
from gateway.doctor.probes import shots
from gateway.doctor.shot import HTTP2
from gateway.doctor.wire import exchange, exchange_http2
from gateway.errors import ConfigError, GatewayError
from gateway.http.connection_error import why

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import Secret
    from gateway.doctor.app_session import AppSession
    from gateway.doctor.shot import Shot
    from gateway.doctor.wire import Reply

MAX_NONCES = 500
DIRECT_TIMEOUT_S = 3.0
RECORDS_AT_ONCE = 100
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
        name = parse_host_header(parts.hostname or "")
        if (
            parts.scheme not in {"http", "https"}
            or name is None
            or port == -1
            or parts.path not in {"", "/"}
            or parts.query
        ):
            raise ConfigError(
                f"{url}: not the URL of a protected host, such as https://app.example.com/"
            )
        default = 443 if parts.scheme == "https" else 80
        return cls(
            parts.scheme,
            name if port in {None, default} else f"{name}:{port}",
            name,
            (_reachable(name), port or default),
        )


def _reachable(name: str) -> str:
    return "127.0.0.1" if is_localhost(name) else name


@dataclass(slots=True)
class Doctor:
    """``admin_url`` and ``key`` (scope ``doctor``) reach the admin API; the key never goes to
    ``target``.
    """

    target: Target
    admin_url: str
    key: Secret
    paths: Sequence[str] = ()
    public: Sequence[str] = ()
    """Pages that anybody may read: how the application behind reads paths is seen on them."""
    app: tuple[str, int] | None = None
    check: tuple[str, int] | None = None
    app_session: AppSession | None = None
    """Two people's sessions; None: it is not asked whether the application keeps the person
    before.
    """
    ca_file: str | None = None
    progress: Callable[[int, int], None] = field(default=lambda _done, _all: None)
    _done: int = 0

    async def examine(self) -> list[Finding]:
        """Every finding, the worst first. Raises ``DoctorError``."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=15),
            headers={"Authorization": f"Bearer {self.key.reveal()}"},
        ) as admin:
            probes = await self._api(
                admin, "POST", "doctor/probes", {"host": self.target.name, "count": MAX_NONCES}
            )
            plan = shots(
                iter(probes["nonces"]),
                managed=probes["managed"],
                cookie=probes["cookie"],
                scheme=self.target.scheme,
                host=self.target.host,
                paths=self.paths,
                public=self.public,
            )
            first = next(index for index, shot in enumerate(plan) if shot.group != "asked")
            outcomes = await self._ask(admin, plan[:first], len(plan))
            if not any(outcome.reply.status for outcome in outcomes):
                raise DoctorError(
                    f"{self.target.scheme}://{self.target.host} does not answer: "
                    f"{outcomes[0].reply.problem}"
                )
            dialect = next(
                (outcome.check["dialect"] for outcome in outcomes if outcome.check), "haproxy"
            )
            rest = [
                shot for shot in plan[first:] if not (shot.spares_haproxy and dialect == "haproxy")
            ]
            outcomes += await self._ask(
                admin, [shot for shot in rest if shot.group != "slow"], len(plan)
            )
            outcomes += await self._ask(
                admin, [shot for shot in rest if shot.group == "slow"], len(plan), at_once=1
            )
            self.progress(len(plan), len(plan))
        findings = judge(
            outcomes, managed=probes["managed"], host=self.target.name, scheme=self.target.scheme
        )
        findings += await self._direct(next((o.check["dialect"] for o in outcomes if o.check), ""))
        if self.app_session is not None:
            origin = f"{self.target.scheme}://{self.target.host}"
            findings += await compare(
                self.app_session,
                origin=origin,
                own=probes["cookie"],
                tls=self._tls(),
                reachable=_reachable,
            )
        return sorted(findings, key=lambda finding: finding.severity.rank)

    async def _api(
        self, admin: aiohttp.ClientSession, method: str, path: str, body: object = None
    ) -> dict[str, Any]:
        url = f"{self.admin_url.rstrip('/')}/admin/v1/{path}"
        try:
            async with admin.request(method, url, json=body, allow_redirects=False) as response:
                if response.status in {200, 201}:
                    document: dict[str, Any] = await response.json()
                    return document
                explained = (await response.text())[:300]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DoctorError(
                f"the admin API at {self.admin_url} does not answer: {why(error)}"
            ) from error
        raise DoctorError(
            f"the admin API at {self.admin_url} answers {response.status} (a key of scope "
            f"doctor is needed): {explained}"
        )

    async def _ask(
        self,
        admin: aiohttp.ClientSession,
        planned: Sequence[Shot],
        count: int,
        *,
        at_once: int = AT_ONCE,
    ) -> list[Outcome]:
        """Send, some at once, then read what each led to. ``count`` is that of all probes, for the
        progress.
        """
        gate = asyncio.Semaphore(at_once)

        async def one(shot: Shot) -> Reply:
            async with gate:
                if shot.version == HTTP2:
                    fields = shot.fields(self.target.host, self.target.scheme)
                    reply = await exchange_http2(
                        self.target.connect,
                        fields,
                        tls=self._tls("h2"),
                        server_name=self.target.name,
                    )
                else:
                    reply = await exchange(
                        self.target.connect,
                        shot.raw(self.target.host),
                        tls=self._tls(),
                        server_name=self.target.name,
                        late=shot.late,
                    )
            self._done += 1
            self.progress(self._done, count)
            return reply

        replies = await asyncio.gather(*map(one, planned))
        records: list[dict[str, Any]] = []
        for start in range(0, len(planned), RECORDS_AT_ONCE):
            nonces = ",".join(shot.nonce for shot in planned[start : start + RECORDS_AT_ONCE])
            records += (await self._api(admin, "GET", f"doctor/probes?nonces={nonces}"))["probes"]
        return [
            Outcome(shot, reply, record["check"], record["location"])
            for shot, reply, record in zip(planned, replies, records, strict=True)
        ]

    def _tls(self, *protocols: str) -> ssl.SSLContext | None:
        if self.target.scheme != "https":
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    async def _direct(self, dialect: str) -> list[Finding]:
        """The addresses behind the ingress, asked from where the doctor stands."""
        app = check = None
        if self.app is not None:
            raw = (
                f"GET / HTTP/1.1\r\nHost: {self.target.host}\r\nConnection: close\r\n\r\n".encode()
            )
            app = (
                _shown(self.app),
                await exchange(self.app, raw, tls=None, server_name="", timeout_s=DIRECT_TIMEOUT_S),
            )
        if self.check is not None:
            lines = (
                f"X-Forwarded-Host: {self.target.name}",
                "X-Forwarded-Method: GET",
                f"X-Forwarded-Proto: {self.target.scheme}",
                "X-Forwarded-Uri: /",
            )
            raw = "\r\n".join(
                (
                    f"GET /auth/{dialect or 'nginx'} HTTP/1.1",
                    "Host: gateway",
                    *lines,
                    "Connection: close",
                    "",
                    "",
                )
            ).encode()
            check = (
                _shown(self.check),
                await exchange(
                    self.check, raw, tls=None, server_name="", timeout_s=DIRECT_TIMEOUT_S
                ),
            )
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
