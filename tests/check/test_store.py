"""The product on a Valkey of its own, over TLS, as the ACL user of the operators' manual; and what
people see when that store is in trouble.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import secrets
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import pytest

from demo.world import World
from gateway.keys import ring
from gateway.runtime.app import COGNITO_S
from gateway.runtime.health import PROBE_TIMEOUT_S
from gateway.sessions import seal
from gateway.sessions.keyspace import bucket_of
from tests.sessions import servers
from tests.sessions.acl import documented_rights
from tests.support.browserless import Page, Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aiohttp import web

ROOT = Path(__file__).parents[2]
HOST, COOKIE = "acme.localhost", "__Host-gw"
PATIENCE_S = 30.0


def gone() -> str:
    """A cookie of the tenant without a session, that nobody has shown yet: an unknown one is
    remembered for a second.
    """
    return seal.new_token(bucket_of("acme"), secrets.token_bytes).text


"""Spelled like a cookie; nobody's."""


@dataclass(slots=True)
class StoreWorld(World):
    """The gateway's Redis is a Valkey behind a relay that speaks TLS, and that can be slow, silent
    or cut.
    """

    certificate: tuple[Path, Path] = field(default=(Path(), Path()))
    server: servers.Server = field(init=False)
    front: servers.Relay = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)

    def drop(self) -> None:
        """Cut every connection, from a test's thread."""

        async def dropped() -> None:
            self.front.drop()

        asyncio.run_coroutine_threadsafe(dropped(), self.loop).result(10)

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.server = servers.start(
            self.directory / "valkey", "--user", "gateway", "on", ">secret", *documented_rights()
        )
        self._stack.callback(self.server.stop)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        self.front = await self._stack.enter_async_context(
            servers.relay(self.server.port, tls=context)
        )
        ring.load(self.directory / "state" / "keys.json", create=True)
        self.environment |= {
            "GATEWAY_REDIS__URL": f"rediss://gateway:secret@127.0.0.1:{self.front.port}",
            "GATEWAY_REDIS__CA_FILE": str(self.certificate[0]),
            "GATEWAY_KEY_RING__FILE": str(self.directory / "state" / "keys.json"),
            "GATEWAY_SESSION__REVALIDATE_INTERVAL": "10m",
        }
        await World.__aenter__(self)
        return self

    async def _start_gateway(self, number: int, *, role: str | None = None) -> None:
        # Discovery is always too slow: no reason not to be ready.
        self.cloud.cognito.faults.always("discovery", too_slow)
        await World._start_gateway(self, number, role=role)


async def too_slow(_: web.Request) -> None:
    await asyncio.sleep(PROBE_TIMEOUT_S + 1)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[RunningWorld]:
    with RunningWorld(
        StoreWorld(tmp_path_factory.mktemp("store"), central=False, certificate=certificate)
    ) as started:
        yield started


@pytest.fixture
def store(running: RunningWorld) -> StoreWorld:
    assert isinstance(running.world, StoreWorld)
    return running.world


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone


async def sign_in(running: RunningWorld, person: Person, email: str) -> str:
    await person.log_in(f"{running.world.url(HOST)}/_auth/login?{urlencode({'rd': '/x'})}", email)
    return person.cookies(HOST)[COOKIE]


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_S) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came to hold"
        threading.Event().wait(0.02)


def readiness(running: RunningWorld) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", running.world.gateways[0].ports["admin"], timeout=30
    )
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def admin(running: RunningWorld, method: str, path: str, body: Any = None) -> Any:
    key = running.run(running.world.make_admin_key())
    connection = http.client.HTTPConnection(
        "127.0.0.1", running.world.gateways[0].ports["admin"], timeout=30
    )
    try:
        connection.request(
            method,
            f"/admin/v1/{path}",
            None if body is None else json.dumps(body),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text)
        return json.loads(text) if text else None
    finally:
        connection.close()


# --- in trouble
# -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is done to the store, how it is undone, and what people see meanwhile (the table in
    docs/sessions.md).
    """

    begins: Callable[[StoreWorld], object]
    ends: Callable[[StoreWorld], object]
    checks_go_on: bool
    logins_go_on: bool
    logouts_go_on: bool


def cut(store: StoreWorld) -> None:
    store.front.cut = True
    store.drop()


def mended(store: StoreWorld) -> None:
    store.front.cut, store.front.delay_s = False, 0.0
    store.drop()


def delayed(seconds: float) -> Callable[[StoreWorld], None]:
    def begins(store: StoreWorld) -> None:
        store.front.delay_s = seconds

    return begins


def told(*words: str) -> Callable[[StoreWorld], None]:
    def tell(store: StoreWorld) -> None:
        assert store.server.ask(*words).startswith(b"+")
        store.drop()

    return tell


TROUBLES = {
    "down": Trouble(cut, mended, checks_go_on=False, logins_go_on=False, logouts_go_on=False),
    "slow": Trouble(delayed(0.1), mended, checks_go_on=True, logins_go_on=True, logouts_go_on=True),
    "silent": Trouble(
        delayed(60), mended, checks_go_on=False, logins_go_on=False, logouts_go_on=False
    ),
    "full": Trouble(
        told("CONFIG", "SET", "maxmemory", "1"),
        told("CONFIG", "SET", "maxmemory", "0"),
        checks_go_on=True,
        logins_go_on=False,
        logouts_go_on=True,
    ),
    "read_only": Trouble(
        told("REPLICAOF", "127.0.0.1", "1"),
        told("REPLICAOF", "NO", "ONE"),
        checks_go_on=False,
        logins_go_on=False,
        logouts_go_on=False,
    ),
    "wrong_password": Trouble(
        told("ACL", "SETUSER", "gateway", "resetpass", ">changed"),
        told("ACL", "SETUSER", "gateway", "resetpass", ">secret"),
        checks_go_on=False,
        logins_go_on=False,
        logouts_go_on=False,
    ),
}


async def tried(step: Callable[[], Awaitable[Page]], *, goes_on: bool) -> Page:
    """Where it goes on it is a redirect, on a busy machine at the second try; else 503."""
    began = time.monotonic()
    while True:
        page = await step()
        if not goes_on or page.status != 503:
            assert page.status in ({302, 303} if goes_on else {503})
            return page
        assert time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_what_people_see_when_the_store_is_in_trouble(
    running: RunningWorld, store: StoreWorld, person: Person, trouble: Trouble
) -> None:
    live = await sign_in(running, person, "alice@acme.test")
    async with Person() as leaving, Person() as left:
        leaver, ended = (
            await sign_in(running, leaving, "bob@acme.test"),
            await sign_in(running, left, "mallory@acme.test"),
        )
        asks = await leaving.open(f"{store.url(HOST)}/_auth/logout")
        await left.submit(await left.open(f"{store.url(HOST)}/_auth/logout"))
        trouble.begins(store)
        try:
            # A lease may be held for a little longer: then memory answers. Where it goes on, a busy
            # machine may be too late now and then.
            until(
                lambda: (
                    running.check(HOST, cookie=live).status
                    == (200 if trouble.checks_go_on else 503)
                )
            )
            for nobody in (live, ended, gone()):
                answer = running.check(HOST, cookie=nobody)
                assert answer.status in {
                    503,
                    *([200 if nobody == live else 401] if trouble.checks_go_on else []),
                }
                assert answer.header("Set-Cookie") is None
            assert running.check(HOST).status == 401, "without a cookie no store is asked"
            # "Would a check with a session be answered?"; who is too slow is told of, and waited
            # for by nobody.
            until(lambda: readiness(running)[0] == (200 if trouble.checks_go_on else 503))
            began = time.monotonic()
            _, told = readiness(running)
            assert time.monotonic() - began < 1
            assert told["status"] == ("degraded" if trouble.checks_go_on else "not_ready")
            assert (
                told["dependencies"]["cognito"]["ok"]
                is told["dependencies"]["cognito"]["needed"]
                is False
            )
            assert told["dependencies"]["redis"]["parts"]["redis"]["state"] == (
                "answering" if trouble.checks_go_on else "unavailable"
            )

            login = await tried(
                lambda: person.open(f"{store.url(HOST)}/_auth/login?rd=/x&switch=1", follow=False),
                goes_on=trouble.logins_go_on,
            )
            goodbye = await tried(
                lambda: leaving.submit(asks, follow=False), goes_on=trouble.logouts_go_on
            )
            assert (COOKIE in leaving.cookies(HOST)) is not trouble.logouts_go_on
            for refused in (login, goodbye):
                assert refused.status != 503 or refused.headers.header("Retry-After")
        finally:
            trouble.ends(store)
        until(lambda: running.check(HOST, cookie=live).status == 200)
        assert running.check(HOST, cookie=leaver).status == (401 if trouble.logouts_go_on else 200)
        assert running.check(HOST, cookie=ended).status == 401
        until(lambda: readiness(running)[0] == 200)


async def test_a_store_that_flaps_is_neither_a_logout_nor_a_way_in(
    running: RunningWorld, store: StoreWorld, person: Person
) -> None:
    cookie = await sign_in(running, person, "alice@acme.test")
    seen = set()
    for turn in range(30):
        store.front.cut = turn % 3 == 1
        store.drop()
        seen.add(running.check(HOST, cookie=cookie).status)
        assert running.check(HOST, cookie=gone()).status in (401, 503)
    store.front.cut = False
    assert seen <= {200, 503}
    until(lambda: running.check(HOST, cookie=cookie).status == 200)


# --- as the ACL user
# --------------------------------------------------------------------------------


async def test_everything_works_as_the_documented_acl_user_over_tls(
    running: RunningWorld, store: StoreWorld, person: Person
) -> None:
    store.server.ask("ACL", "LOG", "RESET")
    before = {
        row["session"] for row in admin(running, "GET", "sessions?tenant=acme&limit=200")["items"]
    }
    cookie = await sign_in(running, person, "alice@acme.test")
    (family,) = {
        row["session"] for row in admin(running, "GET", "sessions?tenant=acme&limit=200")["items"]
    } - before

    # As if it were long ago that Cognito was asked: the first check notices.
    found = store.server.ask("HSET", f"gw:{{{family[:3]}}}:f:{family}", "k", "1")
    assert found.startswith(b":")
    asked = store.cloud.cognito.faults.calls["token"]
    until(
        lambda: (
            running.check(HOST, cookie=cookie).status == 200
            and store.cloud.cognito.faults.calls["token"] > asked
        )
    )
    page = await person.open(f"{store.url(HOST)}/_auth/sessions")
    assert "alice@acme.test" in page.text

    admin(
        running,
        "POST",
        "revocations",
        {"tenant": "acme", "email": "alice@acme.test", "kind": "end_sessions", "reason": "test"},
    )
    assert running.check(HOST, cookie=cookie).status == 401
    admin(
        running, "POST", "blocks", {"tenant": "acme", "email": "alice@acme.test", "reason": "test"}
    )
    (block,) = admin(running, "GET", "blocks?tenant=acme")["items"]
    admin(running, "DELETE", f"blocks/{block['id']}")
    async with Person() as bob:
        held = await sign_in(running, bob, "bob@acme.test")
        question = await bob.open(f"{store.url(HOST)}/_auth/logout")
        await bob.submit(question)
        assert running.check(HOST, cookie=held).status == 401
    assert store.server.ask("ACL", "LOG") == b"*0\r\n", "nothing was denied"
    faults = store.cloud.cognito.faults
    faults.clear()
    try:
        assert "CONFIG GET is refused" in await running.world.command(
            "config", "check", "-c", "config/gateway.yaml"
        ), "what this user may not see is said, and no fault"
    finally:
        faults.always("discovery", too_slow)
    # The gateway may have asked in that moment; then it asks again.
    until(
        lambda: not readiness(running)[1]["dependencies"]["cognito"]["ok"],
        seconds=COGNITO_S + PATIENCE_S,
    )


def test_every_command_that_the_gateway_sends_is_allowed_and_dangerous_ones_are_not(
    store: StoreWorld,
) -> None:
    scripts = "".join(
        path.read_text("ascii")
        for path in (ROOT / "gateway" / "sessions" / "scripts").glob("*.lua")
    )
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    words = {
        *re.findall(r"redis\.call\('([A-Z]+)'", scripts + sources),
        *re.findall(r"\.command\(\s*\"([A-Z]+)\"", sources),
        "EVAL",
        "EVALSHA",
        "WAIT",
        "SUBSCRIBE",
        "PING",
    }
    words -= {
        "ACL",
        "CONFIG",
        "SENTINEL",
    }  # asked by `config check` alone, of sentinels and of servers that let it
    assert {"HSET", "ZADD", "PUBLISH", "INFO", "TIME"} <= words
    for word in words | {"CLUSTER SLOTS", "CLUSTER SHARDS"}:
        answer = dry_run(store, word)
        assert answer.startswith(b"+OK") or b"number of arguments" in answer, (word, answer)
    for word in (
        "FLUSHALL",
        "KEYS",
        "CONFIG GET",
        "ACL LIST",
        "SHUTDOWN",
        "REPLICAOF",
        "DEBUG",
        "MONITOR",
        "SAVE",
        "CLIENT KILL",
        "SWAPDB",
        "MIGRATE",
    ):
        assert b"no permissions" in dry_run(store, word), word
    assert b"no permissions" in store.server.ask(
        "ACL", "DRYRUN", "gateway", "GET", "somebody-elses"
    )
    assert b"no permissions" in store.server.ask(
        "ACL", "DRYRUN", "gateway", "SUBSCRIBE", "somebody-elses"
    )


def dry_run(store: StoreWorld, word: str) -> bytes:
    """With as few arguments as the command takes."""
    for count in range(6):
        name = "0" if word.startswith(("EVAL", "WAIT")) else "gw:x"
        answer = store.server.ask("ACL", "DRYRUN", "gateway", *word.split(), *[name] * count)
        if b"number of arguments" not in answer and b"rong number" not in answer:
            return answer
    return answer
