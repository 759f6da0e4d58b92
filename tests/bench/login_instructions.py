"""What the auth role takes for a whole login, in instructions counted by valgrind: the same on
every machine, whatever else it does.

    scripts/bench instructions login                   the table, in ten minutes
    scripts/bench instructions login --calls [STAGE]   calls of functions, by module
    scripts/bench instructions login --time            processor time, the least of many rounds

One process without listeners: the bytes of requests are handed to the servers' protocols, and a
transport takes the answers. Redis is a real one, and the token endpoint that signs the ID token is
a process of its own, so nothing of theirs is counted. A login is: the check that redirects to it,
each redirect of the gateway's, the exchange of the code, and the check that lets the browser in.
What the admin role does afterwards is not in it, nor is the kernel's part. The browsers' addresses
are no public ones, so logins are not counted by address: one command to Redis less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import os
import pstats
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import uvloop
from aiohttp import web

from demo.jose import SigningKey, TokenDraft, half_hash
from gateway.cognito.endpoint import PoolAddress
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.core.tenants import TenantTable
from gateway.http.client import client_session
from gateway.http.listener import AiohttpConnection, Listener
from gateway.keys import ring as keys
from gateway.keys.assertion import Assertions
from gateway.log import configure, write_in_background
from gateway.login import application
from gateway.pages.render import Pages
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import Target, client_to
from gateway.sessions.embedded import EmbeddedValkey
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.lease import Lease
from gateway.sessions.lease_client import steady
from gateway.sessions.memory import SessionCache
from gateway.sessions.rate_limit import AttemptCounter
from gateway.sessions.token_revocation import TokenRevocation
from tests.bench.checks import BROWSER
from tests.bench.instructions import HOST, KEY, Transport, count, protocols, services, wait
from tests.sessions.conftest import believe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from gateway.check.services import Services
    from gateway.sessions.connection import RedisClient

LOGIN_HOST: Final = "login.localhost"
COOKIE: Final = "__Host-gw"
PEOPLE: Final = 40
WARM, LOGINS, ROUNDS = 6, 20, 40
CLIENT: Final = "203.0.113."
SUBJECT: Final = "00u1bench"


# --- the token endpoint, a process of its own ----------------------------------------------------


async def _serve_tokens() -> None:
    """Until its input ends. The code that is shown is the nonce, and the number of the person."""
    key = SigningKey.generate()

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        nonce, _, number = str(form["code"]).rpartition(".")
        access, now = secrets.token_urlsafe(600), int(time.time())
        claims = {
            "at_hash": half_hash(access),
            "sub": f"9f3c1e52-70d4-4c0b-9d0f-{int(number):012}",
            "email": f"bench-{number}@acme.test",
            "email_verified": False,
            "name": "Ben Bench",
            "custom:groups": "[app-users, engineering]",
            "custom:idp_iat": str(now),
            "iss": issuer,
            "cognito:username": f"acme-okta_{SUBJECT}{number}",
            "nonce": nonce,
            "origin_jti": secrets.token_hex(16),
            "aud": "client",
            "token_use": "id",
            "identities": [
                {
                    "userId": f"{SUBJECT}{number}",
                    "providerName": "acme-okta",
                    "providerType": "OIDC",
                    "issuer": None,
                    "primary": "true",
                    "dateCreated": "1764500000000",
                }
            ],
            "auth_time": now,
            "exp": now + 3600,
            "iat": now,
            "jti": secrets.token_hex(16),
        }
        return web.json_response(
            {
                "id_token": TokenDraft("id", claims, key).sign(),
                "access_token": access,
                "refresh_token": secrets.token_urlsafe(900),
                "expires_in": 3600,
                "token_type": "Bearer",
            }
        )

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response({"keys": [key.public_jwk()]})

    app = web.Application()
    app.router.add_post("/oauth2/token", token)
    app.router.add_get("/.well-known/jwks.json", jwks)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    issuer = f"http://{host}:{port}"
    print(issuer, flush=True)
    await asyncio.to_thread(sys.stdin.read)


# --- the gateway ---------------------------------------------------------------------------------


class _Answer(Transport):
    """Takes one answer at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.answer.done():
            self.answer.set_result(bytes(data))


@dataclass(slots=True)
class _Connection:
    """Of a proxy, which keeps it."""

    protocol: asyncio.Protocol
    transport: _Answer

    @classmethod
    def of(cls, protocol: asyncio.Protocol) -> _Connection:
        transport = _Answer()
        protocol.connection_made(transport)
        return cls(protocol, transport)

    async def ask(self, request: bytes) -> tuple[int, str, list[str]]:
        """Status, ``Location``, and the ``Set-Cookie`` lines."""
        self.transport.answer = asyncio.get_running_loop().create_future()
        self.protocol.data_received(request)
        head = (await self.transport.answer).decode("latin-1").partition("\r\n\r\n")[0]
        status, *lines = head.split("\r\n")
        location, cookies = "", []
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "Location":
                location = value
            elif name == "Set-Cookie":
                cookies.append(value)
        return int(status[9:12]), location, cookies


@dataclass(slots=True)
class _Profile:
    """Of one browser: cookies by host."""

    number: int
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)

    def keep(self, host: str, lines: list[str]) -> None:
        kept = self.cookies.setdefault(host, {})
        for line in lines:
            pair = line.partition(";")[0]
            name, _, value = pair.partition("=")
            kept[name] = value

    def header(self, host: str) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.get(host, {}).items())


class Gateway:
    """The auth role's two servers, of which one process asks."""

    def __init__(self, served: Services, public: Callable[[], asyncio.Protocol]) -> None:
        self._check = _Connection.of(protocols(served)())
        self._public = _Connection.of(public())
        self._next = 0

    async def log_in(self) -> int:
        """Redirects of the gateway."""
        self._next += 1
        profile, hops = _Profile(self._next % PEOPLE), 0
        status, _, cookies = await self._ask_check(profile)
        assert status in {302, 401}, status
        profile.keep(HOST, cookies)
        url = f"http://{HOST}/_auth/login?{urlencode({'rd': f'http://{HOST}/reports'})}"
        while True:
            parts = urlsplit(url)
            if parts.path == "/oauth2/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                answer = {"code": f"{query['nonce']}.{profile.number}", "state": query["state"]}
                url = f"{query['redirect_uri']}?{urlencode(answer)}"
                continue
            if not parts.path.startswith("/_auth/"):
                break
            status, url, cookies = await self._ask_public(profile, parts.netloc, url)
            hops += 1
            assert status in {302, 303}, (status, url)
            profile.keep(parts.netloc, cookies)
        status, _, _ = await self._ask_check(profile)
        assert status == 200, status
        return hops + 1

    async def _ask_check(self, profile: _Profile) -> tuple[int, str, list[str]]:
        lines = {
            **BROWSER,
            "X-Gateway-Key": KEY,
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": HOST,
            "X-Forwarded-Uri": "/reports",
            "X-Forwarded-For": f"{CLIENT}{profile.number}",
            "Cookie": profile.header(HOST),
        }
        return await self._check.ask(_request("/auth/nginx", "127.0.0.1:8081", lines))

    async def _ask_public(
        self, profile: _Profile, host: str, url: str
    ) -> tuple[int, str, list[str]]:
        lines = {
            **BROWSER,
            "X-Forwarded-For": f"{CLIENT}{profile.number}",
            "Cookie": profile.header(host),
        }
        target = url.partition(host)[2]
        return await self._public.ask(_request(target, host, lines))


def _request(target: str, host: str, lines: Mapping[str, str]) -> bytes:
    fields = (f"{name}: {value}" for name, value in lines.items() if value)
    return "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


async def _services(
    redis: RedisClient, http: aiohttp.ClientSession, peer: str, *, central: bool
) -> Services:
    """As ``gateway.runtime.app`` builds them, under a lease that holds."""
    base = services()
    config = base.config.model_copy(update={"login_host": LOGIN_HOST if central else None})
    tenant = base.tenants.table.by_id("acme")
    assert tenant is not None
    table = TenantTable.of([tenant], login_host=config.login_host)
    tenants = cast("Any", SimpleNamespace(table=table))
    ring, memory, monotonic = keys.generate(), SessionCache(), steady()
    bucket = bucket_of(tenant.id)
    marker = await redis.command("GET", f"{prefix(bucket)}m")
    lease = Lease(
        bucket,
        length_s=1.0,
        memory=memory,
        ends=inf,
        answers_until=inf,
        marker=marker.decode("ascii")[2:],
    )

    async def held(_: int) -> Lease:
        return lease

    sessions = CachedSessions(
        redis,
        lambda: ring,
        cache=memory,
        lease_client=cast("Any", SimpleNamespace(leases={bucket: lease}, lease=held)),
        monotonic=monotonic,
    )
    party = CognitoRelyingParty(
        http,
        {"default": PoolAddress(peer, (peer,))},
        clock=time.time,
        monotonic=time.monotonic,
    )
    return replace(
        base,
        config=config,
        tenants=tenants,
        sessions=sessions,
        relying_party=party,
        attempts=AttemptCounter(redis, clock=time.time),
        token_revocation=TokenRevocation(sessions, party, tenants),
        assertions=Assertions(ring, issuer="https://login.acme.test"),
        pages=Pages(),
        random_token=lambda: secrets.token_urlsafe(32),
        signing_keys=lambda: tuple(key.material for key in ring.sealing),
    )


@contextlib.asynccontextmanager
async def gateway(*, central: bool) -> AsyncIterator[Gateway]:
    configure("json", "info")
    write_in_background(dropped=lambda _: None)
    command = [sys.executable, "-m", __spec__.name, "--peer"]
    with (
        tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder,
        subprocess.Popen(  # noqa: ASYNC220 - nothing else is done meanwhile
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer,
    ):
        assert peer.stdout is not None and peer.stdin is not None
        issuer = peer.stdout.readline().strip()
        valkey = EmbeddedValkey.start(Path(folder), timeout_s=120)
        target = Target("unix", path=valkey.socket_path)
        redis = client_to(target, ca_file=None, replicas=0, command_timeout_s=60)
        try:
            await believe(redis)
            async with client_session(development=True) as http:
                served = await _services(redis, http, issuer, central=central)
                runner = web.AppRunner(application(served), access_log=None)
                await runner.setup()
                listener = Listener(cast("Any", None), cast("Any", None), name="public", limit=8)

                def public() -> asyncio.Protocol:
                    return AiohttpConnection(
                        listener,
                        cast("web.Server", runner.server),
                        starting=None,
                        loop=asyncio.get_running_loop(),
                        access_log=None,
                    )

                yield Gateway(served, public)
        finally:
            await redis.close()
            valkey.stop()
            peer.stdin.close()


# --- measuring -----------------------------------------------------------------------------------


STAGES: Final = {
    "own": "login, callback at the own host",
    "central": "login, through login_host",
}


async def run(stage: str, logins: int, ready: Callable[[], None]) -> None:
    async with gateway(central=stage == "central") as asked:
        for _ in range(WARM):
            await asked.log_in()
        ready()
        for _ in range(logins):
            await asked.log_in()
        os._exit(0)


async def _timed() -> None:
    for stage, name in STAGES.items():
        async with gateway(central=stage == "central") as asked:
            for _ in range(2 * PEOPLE):
                hops = await asked.log_in()
            rounds = []
            for _ in range(ROUNDS):
                began = time.process_time()
                for _ in range(LOGINS):
                    await asked.log_in()
                rounds.append((time.process_time() - began) / LOGINS)
        print(f"{min(rounds) * 1e3:8.2f} ms  {name}; {hops} answers that redirect", flush=True)


async def _calls(stage: str) -> None:
    """Counted by ``cProfile``, of the thread that answers; µs are processor time under it."""
    profile = cProfile.Profile(time.thread_time)
    async with gateway(central=stage == "central") as asked:
        for _ in range(2 * PEOPLE):
            await asked.log_in()
        profile.enable()
        for _ in range(LOGINS):
            await asked.log_in()
        profile.disable()
    stats = cast("Any", pstats.Stats(profile)).stats
    by_module: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for (file, _, _), (_, calls, own, _, _) in stats.items():
        by_module[_module(file)] += calls
        seconds[_module(file)] += own
    print(f"{sum(by_module.values()) / LOGINS:9.0f} calls a login")
    for name, own in seconds.most_common(60):
        print(f"{own / LOGINS * 1e6:9.0f} µs {by_module[name] / LOGINS:8.0f} calls  {name}")
    by_own = sorted(stats.items(), key=lambda item: -item[1][2])[:110]
    for (file, line, name), (_, calls, own, whole, _) in by_own:
        print(
            f"{own / LOGINS * 1e6:8.1f} {whole / LOGINS * 1e6:8.0f} µs {calls / LOGINS:7.1f} calls "
            f"{_module(file)}:{line} {name[:50]}"
        )


def _module(file: str) -> str:
    for folder in ("/site-packages/", "/gateway/", "/python3.11/"):
        if folder in file:
            return ("gateway/" if folder == "/gateway/" else "") + file.rpartition(folder)[2]
    return "C" if file == "~" else file


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench instructions login",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--calls", nargs="?", const="central", choices=STAGES)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=2, metavar=("STAGE", "LOGINS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        asyncio.run(_serve_tokens())
    elif arguments.run:
        uvloop.run(run(arguments.run[0], int(arguments.run[1]), wait))
    elif arguments.time:
        uvloop.run(_timed())
    elif arguments.calls:
        uvloop.run(_calls(arguments.calls))
    else:
        for stage in arguments.only:
            print(f"{count(stage, LOGINS, module=__spec__.name):12,}  {STAGES[stage]}", flush=True)


if __name__ == "__main__":
    main()
