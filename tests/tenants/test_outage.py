"""A real PostgreSQL goes away under load and comes back, beside a whole product: nobody at a check
notices, and an auth role starts meanwhile.
"""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import pytest
import yaml

from demo.processes import stop_process
from demo.world import World
from gateway.keys import ring as keys
from tests.database.postgres import Postgres
from tests.support.browserless import Person
from tests.support.world import RunningWorld
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACME, STORED = "acme.localhost", "stored.localhost"
PATIENCE_S = 60.0
CHECKS = 150
"""Of each stream of checks, before, during and after: the shortest outage that says something."""


def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.02)):
        if condition():
            return
        threading.Event().wait(0.02)
    pytest.fail("it never came to hold")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """This module's own: it is stopped."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def running(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    """A process with both roles and one of the auth role; a tenant of files and one of SQL."""
    directory = tmp_path_factory.mktemp("outage")
    ring = directory / "keys.json"
    keys.load(ring, create=True)
    world = World(
        directory / "world",
        replicas=2,
        environment={
            "GATEWAY_DATABASE__URL": postgres.new_database(),
            "GATEWAY_KEY_RING__FILE": str(ring),
        },
    )
    with RunningWorld(world) as started:
        write(
            directory / "stored",
            sample("stored", hosts=[STORED], rules=[{"path": "/open/**", "allow": "public"}]),
        )
        started.run(
            world.command(
                "tenants", "apply", str(directory / "stored"), "-c", "config/gateway.yaml"
            )
        )
        until(
            lambda: all(started.check(STORED, "/open/x", replica=n).status == 200 for n in (0, 1))
        )
        yield started


@dataclass
class Checks:
    """One check after the other at one replica, in a thread."""

    running: RunningWorld
    replica: int
    host: str
    path: str
    cookie: str | None
    answers: list[int | str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(
                    self.running.check(
                        self.host, self.path, replica=self.replica, cookie=self.cookie
                    ).status
                )
            except (OSError, http.client.HTTPException) as error:
                self.answers.append(repr(error))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def readiness(running: RunningWorld, replica: int) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", running.world.gateways[replica].ports["admin"], timeout=10
    )
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def database_answers(running: RunningWorld) -> bool:
    status, told = readiness(running, 0)
    assert status == 200, "where checks are served, SQL is not needed"
    return bool(told["dependencies"]["database"]["ok"])


async def test_stopping_postgresql_under_load_fails_no_check(
    running: RunningWorld, postgres: Postgres
) -> None:
    async with Person() as alice:
        await alice.log_in(
            f"{running.world.url(ACME)}/_auth/login?{urlencode({'rd': '/'})}", "alice@acme.test"
        )
        cookie = alice.cookies(ACME)["__Host-gw"]
    streams = [
        Checks(running, replica, host, path, held)
        for replica in (0, 1)
        for host, path, held in ((ACME, "/", cookie), (STORED, "/open/x", None))
    ]

    def some_more() -> None:
        wanted = [len(stream.answers) + CHECKS for stream in streams]
        until(
            lambda: all(
                len(stream.answers) >= count for stream, count in zip(streams, wanted, strict=True)
            )
        )

    with streams[0], streams[1], streams[2], streams[3]:
        some_more()
        postgres.stop()
        until(lambda: not database_answers(running))
        some_more()
        edited = running.world.directory / "config" / "tenants" / "acme.yaml"
        document = yaml.safe_load(edited.read_text("utf-8"))
        write(edited.parent, {**document, "hosts": [*document["hosts"], "during.localhost"]})
        until(
            lambda: all(
                running.check("during.localhost", "/", replica=n).status == 401 for n in (0, 1)
            )
        )
        postgres.start()
        until(lambda: database_answers(running))
        some_more()
    assert {answer for stream in streams for answer in stream.answers} == {200}


async def test_an_auth_role_that_starts_while_postgresql_is_away_serves_files_and_rows(
    running: RunningWorld, postgres: Postgres
) -> None:
    postgres.stop()
    try:
        until(lambda: not database_answers(running))
        running.run(running.world._start_gateway(2))
        assert running.check(STORED, "/open/x", replica=2).status == 200
        assert running.check(STORED, "/", replica=2).status == 401
        async with Person() as bob:
            await bob.log_in(
                f"{running.world.url(ACME)}/_auth/login?{urlencode({'rd': '/'})}", "bob@acme.test"
            )
            assert (
                running.check(ACME, "/", replica=2, cookie=bob.cookies(ACME)["__Host-gw"]).status
                == 200
            )
    finally:
        postgres.start()
    until(lambda: database_answers(running))


async def test_what_is_applied_after_an_outage_is_obeyed_by_all(
    running: RunningWorld, tmp_path: Path
) -> None:
    write(
        tmp_path / "more",
        sample("later", hosts=["later.localhost"], rules=[{"path": "/open/**", "allow": "public"}]),
    )
    running.run(
        running.world.command(
            "tenants", "apply", str(tmp_path / "more"), "-c", "config/gateway.yaml"
        )
    )
    until(
        lambda: all(
            running.check("later.localhost", "/open/x", replica=n).status == 200
            for n in range(len(running.world.gateways))
        )
    )


def test_an_admin_role_alone_is_not_ready_without_sql(
    running: RunningWorld, postgres: Postgres
) -> None:
    """It answers 503 to every hook then, and a load balancer may know of another."""
    number = len(running.world.gateways)
    running.run(running.world._start_gateway(number, role="admin"))
    try:
        postgres.stop()
        try:
            until(lambda: readiness(running, number)[0] == 503)
            assert not database_answers(running)
        finally:
            postgres.start()
        until(lambda: readiness(running, number)[0] == 200)
    finally:  # it answers no check, and others ask every gateway
        running.run(stop_process(running.world.gateways.pop().process))
