"""One stand and one proxy of each kind per test session."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, RunningIngress, launch
from demo.processes import free_port
from gateway.ingress_config import KINDS
from tests.ingress.stand import ACME, CASE, COOKIE, LOOSE, Stand, identity
from tests.ingress.wire import Received, request, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ingress.stand import Seen

HARDENED = tuple(KINDS)


@pytest.fixture(scope="session")
def stand() -> Iterator[Stand]:
    found = Stand()
    found.start()
    found.sign_in(
        "alice", identity("alice@acme.test", groups=("app-users", "admins"), name="Álice")
    )
    found.sign_in("bob", identity("bob@acme.test"))
    found.sign_in(
        "loose alice",
        identity("alice@loose.test", provider="loose-okta", groups=("app-users", "admins")),
        tenant="loose",
        host=LOOSE,
    )
    found.sign_in(
        "loose bob", identity("bob@loose.test", provider="loose-okta"), tenant="loose", host=LOOSE
    )
    found.sign_in(
        "crlf",
        identity(
            "crlf@acme.test", name="José\r\nX-Auth-Request-Roles: evil".replace("evil", "admin")
        ),
    )
    found.sign_in(
        "controls",
        identity(
            "controls@acme.test", name="".join(map(chr, [*range(1, 32), 127])), username="a\x00b"
        ),
    )
    found.sign_in(
        "unicode", identity("unicode@acme.test", name="José Ñ 漢", groups=("app-users", "größe"))
    )
    found.sign_in(
        "commas", identity("commas@acme.test", groups=("app-users", "R&D, Core", 'a;b="c"', "50%,"))
    )
    found.sign_in(
        "templates",
        identity(
            "templates@acme.test",
            name="{http.request.host} $host %[src] ${jndi:x} {{7*7}} %REQ(:PATH)% {env.HOME}",
        ),
    )
    found.sign_in(
        "large",
        identity(
            "large@acme.test",
            groups=("app-users", *(f"group-{number:04}-{'x' * 80}" for number in range(45))),
        ),
    )
    found.sign_in(
        "too large",
        identity(
            "toolarge@acme.test",
            groups=("app-users", *(f"group-{number:04}-{'x' * 80}" for number in range(70))),
        ),
    )
    yield found
    found.stop()


@pytest.fixture(scope="session")
def proxies(
    stand: Stand, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], RunningIngress]]:
    """Starts each kind when it is first asked for; all are stopped at the end."""
    running: dict[str, RunningIngress] = {}
    with ExitStack() as stack:

        def get(kind: str) -> RunningIngress:
            if kind not in running:
                if LAUNCHERS[kind].binary() is None:
                    pytest.skip(f"{kind} is not installed")
                port = free_port()
                running[kind] = launch(
                    kind, stand.site(port), directory=tmp_path_factory.mktemp(kind)
                )
                stack.callback(running[kind].stop)
            return running[kind]

        yield get


class Proxy:
    """One real proxy: send bytes through it, then look at what arrived where."""

    def __init__(self, running: RunningIngress, stand: Stand) -> None:
        self.kind = running.name
        self.port = running.port
        self.pid = running.pid
        self.stand = stand
        self.case = ""
        self.alice = f"Cookie: {COOKIE}=alice"
        self.bob = f"Cookie: {COOKIE}=bob"

    def ask(
        self,
        *lines: str | bytes,
        method: str = "GET",
        target: str | bytes = "/",
        host: str | None = ACME,
        version: str = "1.1",
        body: bytes = b"",
        close: bool = True,
        timeout_s: float = 20.0,
    ) -> Received:
        """Send one request; ``app`` and ``pages`` then say what it led to."""
        self.case = uuid.uuid4().hex
        return send(
            self.port,
            request(
                *lines,
                f"{CASE}: {self.case}",
                method=method,
                target=target,
                host=host,
                version=version,
                body=body,
                close=close,
            ),
            method=method,
            timeout_s=timeout_s,
        )

    def raw(self, data: bytes, method: str = "GET", *, timeout_s: float = 20.0) -> Received:
        """``data`` holds ``@case@`` where the case's number goes."""
        self.case = uuid.uuid4().hex
        return send(
            self.port,
            data.replace(b"@case@", self.case.encode()),
            method=method,
            timeout_s=timeout_s,
        )

    @property
    def app(self) -> list[Seen]:
        return self.stand.at("app", self.case)

    @property
    def pages(self) -> list[Seen]:
        return self.stand.at("public", self.case)

    def only(self) -> Seen:
        """The one request that the application received."""
        assert len(self.app) == 1, self.app
        return self.app[0]


@pytest.fixture(params=HARDENED)
def proxy(
    request: pytest.FixtureRequest, proxies: Callable[[str], RunningIngress], stand: Stand
) -> Proxy:
    return Proxy(proxies(request.param), stand)
