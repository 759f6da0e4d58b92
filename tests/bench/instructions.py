"""Instructions of the processor that a check takes, counted by valgrind: the same on every machine,
whatever else it does.

    scripts/bench instructions [--only STAGE ...]    the table, in five minutes

One process, no socket: the bytes of 32 connections are handed to the protocol, 32 requests in a
turn of the event loop, and a transport that keeps nothing takes the answers. Each stage holds the
one before, so what a piece costs is a difference. The kernel's part is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import uvloop

from gateway.check.handler import Checks
from gateway.check.http_parser import RequestParser
from gateway.check.probe_recorder import ProbedChecks
from gateway.check.response import CheckResponse
from gateway.check.server import CheckConnection, CheckServer
from gateway.check.services import Services
from gateway.check.trusted_peer import Trust
from gateway.config.model import Config, Ingress, Tracing
from gateway.config.yaml import read_yaml
from gateway.core.model import Identity, Secret, Session
from gateway.core.tenants import TenantTable
from gateway.http.listener import Listener
from gateway.keys import ring as keys
from gateway.keys.assertion import Assertions
from gateway.log import configure, write_in_background
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.codec import Record
from gateway.sessions.lease import Lease
from gateway.sessions.lease_client import steady
from gateway.sessions.memory import Entry, SessionCache
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from tests.bench.bare import Bare
from tests.bench.checks import BROWSER
from tests.bench.load import PATHS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.check.dialects.raw_request import RawRequest

CONNECTIONS: Final = 32
WARM: Final = 20
"""Turns before anything is counted."""
HOST: Final = "acme.localhost"
KEY: Final = "3f1c9ab27d5e4806b1c2f79a60d8e45b"
COOKIE: Final = "__Host-gw=" + "c" * 54
FOLDER: Final = Path(__file__).parents[2] / "config" / "tenants"


class Transport(asyncio.Transport):
    """Takes answers, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += 1

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def requests(*, traced: bool = False) -> list[bytes]:
    """As the rendered nginx asks; ``PATHS`` of them. ``traced``: it makes a trace of each."""
    return [
        "\r\n".join(
            [
                "GET /auth/nginx HTTP/1.1",
                "Host: 127.0.0.1:8080",
                *(f"{name}: {value}" for name, value in _headers(number).items()),
                *([f"traceparent: 00-{number:032x}-{number:016x}-01"] if traced else []),
                "",
                "",
            ]
        ).encode()
        for number in range(1, PATHS + 1)
    ]


def _headers(number: int) -> dict[str, str]:
    return {
        **BROWSER,
        "X-Gateway-Key": KEY,
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": HOST,
        "X-Forwarded-Uri": f"/reports/{number}?x=1",
        "X-Forwarded-For": "10.0.0.7",
        "X-Request-Id": f"0123456789abcdef0123456789{number}",
        "Cookie": f"theme=dark; {COOKIE}",
    }


def services(*, traced: bool = False) -> Services:
    """Of a gateway that has one session in memory, under a lease that holds."""
    config = Config(
        tracing=Tracing(endpoint="http://127.0.0.1:4318", ingress_traces=True)
        if traced
        else Tracing(),
        development=True,
        public_scheme="http",
        tenant_headers={"X-Department": ""},
        ingress=Ingress(keys=(Secret(KEY),)),
        cognito={
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_Bench",
            "domain": "http://cognito.localhost",
        },
    )
    os.environ |= dict.fromkeys(
        ("ACME_CLIENT_SECRET", "ACME_HOOK_SECRET", "ACME_OKTA_API_TOKEN", "ACME_WEBHOOK_SECRET"),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw1c7F0bZ2mPk",
    )
    document = TenantDocument.model_validate(read_yaml(FOLDER / "acme.yaml"))
    tenant = compile_tenant(document, config, client_id="client", client_secret=Secret("s"))
    who = Identity(
        sub="9f3c1e52-70d4-4c0b-9d0f-2f3f6f1f9a11",
        email="alice@acme.test",
        email_domain="acme.test",
        username="acme-okta_00u1",
        preferred_username="alice",
        name="Alice Ackermann",
        groups=("app-users", "engineering"),
        roles=(),
        provider="acme-okta",
        idp_subject="00u1",
    )
    now = int(time.time())
    session = Session("d" * 64, "acme", HOST, "f", who, 0, now, now, now + 36_000, "client")
    lease = Lease(bucket=0, length_s=1.0, memory=cast("Any", None), ends=inf, answers_until=inf)
    memory, ring = SessionCache(), keys.generate()
    record = Record(session, "", b"", 10**9)
    memory.put(COOKIE.partition("=")[2], Entry(session, record, lease, inf, 0))
    sessions = CachedSessions(
        cast("Any", SimpleNamespace(apart=lambda **_: None)),
        lambda: ring,
        cache=memory,
        lease_client=cast("Any", SimpleNamespace(leases={})),
        monotonic=steady(),
    )
    sessions.touches.renewed(session.digest)
    nothing: Any = None
    return Services(
        config=config,
        trust=Trust(config.ingress),
        tenants=cast("Any", SimpleNamespace(table=TenantTable.of([tenant]))),
        sessions=sessions,
        relying_party=nothing,
        machines=nothing,
        pool_passwords=nothing,
        attempts=nothing,
        trials=nothing,
        token_revocation=nothing,
        assertions=Assertions(ring, issuer="https://login.acme.test"),
        pages=nothing,
        clock=time.time,
        random_token=lambda: "unused",
        signing_keys=tuple,
    )


# --- stages --------------------------------------------------------------------------------------


class _Parsing(asyncio.Protocol):
    """aiohttp's parser, and an answer that is always the same."""

    def __init__(self) -> None:
        self._parser = RequestParser(asyncio.get_running_loop())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for _ in self._parser.feed(data):
            self._parser.consumed()
            self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n")


def _served(handler: Any) -> Callable[[], asyncio.Protocol]:
    server = CheckServer(handler)
    listener = Listener(cast("Any", None), cast("Any", None), name="check", limit=CONNECTIONS)
    return lambda: CheckConnection(server, listener, starting=None)


def _checks(*, traced: bool = False) -> Callable[[], asyncio.Protocol]:
    return protocols(services(traced=traced))


def protocols(made: Services) -> Callable[[], asyncio.Protocol]:
    """Of the check listener's connections."""
    return _served(
        ProbedChecks(
            Checks(made),
            cast("Any", None),
            trust=made.trust,
            keys=lambda: (b"k",),
            managed=(),
            cookie_name="__Host-gw",
            clock=time.time,
        )
    )


def _server_alone() -> Callable[[], asyncio.Protocol]:
    answer = CheckResponse(200, b"X-Auth-Request-User: u\r\n")

    def answered(request: RawRequest) -> CheckResponse:
        request.of_somebody = True
        return answer

    return _served(answered)


STAGES: Final[dict[str, tuple[str, str, Callable[[], Callable[[], asyncio.Protocol]]]]] = {
    "bare": ("bare protocol", "info", lambda: lambda: Bare(b"HTTP/1.1 200 OK\r\n\r\n")),
    "parser": ("and aiohttp's parser", "info", lambda: _Parsing),
    "server": ("and the check server, which answers always the same", "info", _server_alone),
    "quiet": ("and the check, without a log record", "warning", _checks),
    "check": ("and its log record: a whole check", "info", _checks),
    "header": ("and a traceparent that nobody reads", "info", _checks),
    "traced": ("and that is read into the log record", "info", lambda: _checks(traced=True)),
}
_WITH_HEADER: Final = frozenset({"header", "traced"})


async def run(stage: str, checks: int, ready: Callable[[], None] = lambda: None) -> None:
    """``checks`` requests, answered by ``stage``; ``ready`` is called once it is warm."""
    _, level, make = STAGES[stage]
    configure("json", level)
    write_in_background(dropped=lambda _: None)
    factory = make()
    transports = [Transport() for _ in range(CONNECTIONS)]
    connections = [factory() for _ in transports]
    for connection, transport in zip(connections, transports, strict=True):
        connection.connection_made(transport)
    sent, turns = requests(traced=stage in _WITH_HEADER), checks // CONNECTIONS
    for turn in range(WARM + turns):
        if turn == WARM:
            ready()
        for number, connection in enumerate(connections):
            connection.data_received(sent[(turn * CONNECTIONS + number) % len(sent)])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    written = sum(transport.written for transport in transports)
    assert written == (WARM + turns) * CONNECTIONS, f"{written} answers"


def count(stage: str, number: int, *, module: str = "") -> int:
    """Instructions of one check, or of what else ``module`` runs, without what comes before the
    first.
    """
    command = [
        *("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"),
        *(sys.executable, "-m", module or __spec__.name, "--run", stage, str(number)),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        subprocess.run(
            ["callgrind_control", "--instr=on", str(process.pid)], check=True, capture_output=True
        )
        _, said = process.communicate("go\n")
    found = re.search(r"Collected : (\d+)", said)
    assert found, said[-2000:]
    return int(found[1]) // number


def wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def main() -> None:
    """Prints a row for each stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", nargs=2, metavar=("STAGE", "CHECKS"))
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--checks", type=int, default=6400)
    arguments = parser.parse_args()
    if arguments.run:
        uvloop.run(run(arguments.run[0], int(arguments.run[1]), wait))
        os._exit(0)
    before = 0
    for stage in arguments.only:
        instructions = count(stage, arguments.checks)
        print(f"{instructions:9,}  (+{instructions - before:,})  {STAGES[stage][0]}", flush=True)
        before = instructions


if __name__ == "__main__":
    main()
