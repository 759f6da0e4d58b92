"""``gateway sessions`` and ``gateway blocks`` as an operator runs them, beside a running store and
without one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from gateway.cli import run
from gateway.core.decision import Reason
from gateway.core.model import Rule
from gateway.keys import ring
from gateway.sessions.api import NewAppPassword, SessionRefused, StoredAppPassword
from gateway.sessions.connection import Target, client_to
from gateway.sessions.embedded import EmbeddedValkey
from gateway.sessions.store import RedisSessions
from tests.sessions.conftest import HOST, Login, believe, identity, tenant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from gateway.sessions.api import SessionCreated

T = TypeVar("T")
CONFIG = """
ingress: {trusted_proxies: [127.0.0.1/32]}
cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}
state_dir: STATE
tenants: {directory: STATE/../tenants}
"""
ACME = """
id: acme
name: Acme
hosts: [app.acme.test]
email_domains: [acme.test]
allowed_groups: any
client_id: client
client_secret: not-a-real-secret
providers: [{name: acme-okta, kind: okta, issuer: "https://idp.example"}]
"""


class Beside:
    """A store that runs, a configuration that names it, and a command line."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.config = folder / "gateway.yaml"
        self.config.write_text(CONFIG.replace("STATE", str(self.state)))
        (folder / "tenants").mkdir()
        self.store = EmbeddedValkey.start(self.state)
        self.ring = ring.load(self.state / "keys.json", create=True)

    def gateway(self, *arguments: str) -> int:
        return run([*arguments[:2], "-c", str(self.config), *arguments[2:]])

    def with_sessions(self, work: Callable[[Login], Awaitable[T]]) -> T:
        async def inside() -> T:
            sessions = RedisSessions(
                client_to(Target("unix", path=self.store.socket_path), ca_file=None, replicas=0),
                lambda: self.ring,
            )
            await believe(sessions.redis)
            try:
                return await work(Login(sessions, tenant()))
            finally:
                await sessions.close()

        return asyncio.run(inside())

    def alive(self, stored: SessionCreated) -> bool:
        return (
            self.with_sessions(lambda login: login.sessions.find(stored.cookie.reveal(), host=HOST))
            is not None
        )


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    made = Beside(tmp_path)
    yield made
    made.store.stop()


@pytest.fixture(autouse=True)
def _acme(beside: Beside) -> None:
    (beside.config.parent / "tenants" / "acme.yaml").write_text(ACME)


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_sessions_are_listed_shown_and_revoked(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = beside.with_sessions(lambda login: login.finish())
    bob = beside.with_sessions(lambda login: login.finish(identity=identity("bob")))
    assert beside.gateway("sessions", "list", "--tenant", "acme", "--json") == 0
    listed = capsys.readouterr().out
    assert {row["email"] for row in json.loads(listed)} == {"alice@acme.test", "bob@acme.test"}
    assert alice.cookie.reveal()[3:] not in listed
    assert beside.gateway("sessions", "list", "--tenant", "acme", "--email", "bob@acme.test") == 0
    assert capsys.readouterr().out.startswith(bob.session.family)
    assert beside.gateway("sessions", "show", alice.session.family, "--json") == 0
    assert answer(capsys)["user"] == "sub-alice"
    assert (
        beside.gateway(
            "sessions", "revoke", "--tenant", "acme", "--email", "alice@acme.test", "--json"
        )
        == 0
    )
    status = answer(capsys)
    assert (status["ended"], status["source"], status["acknowledged_ms"] is not None) == (
        1,
        "cli",
        True,
    )
    assert (beside.alive(alice), beside.alive(bob)) == (False, True)
    assert beside.gateway("sessions", "revoke", bob.session.family) == 0
    assert not beside.alive(bob)
    assert beside.gateway("sessions", "show", bob.session.family) == 1


def test_app_passwords_are_listed_and_revoked_by_their_id(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make(login: Login) -> tuple[SessionCreated, str]:
        login = Login(
            login.sessions, replace(login.tenant, rules=(Rule("/dav/**", app_passwords=True),))
        )
        stored = await login.finish()
        new = NewAppPassword("laptop", frozenset(), ("/dav",), 3600)
        password = await login.sessions.make_app_password(
            stored.session, cookie=stored.cookie.reveal(), tenant=login.tenant, new=new
        )
        assert isinstance(password, StoredAppPassword)
        return stored, password.text.reveal()

    stored, text = beside.with_sessions(make)
    assert beside.gateway("app-passwords", "list", "--tenant", "acme", "--json") == 0
    (row,) = answer(capsys)
    assert (
        row["session"],
        row["email"],
        row["app_password"]["name"],
        row["app_password"]["paths"],
    ) == (text[5:30], "alice@acme.test", "laptop", ["/dav"])
    assert text[31:] not in json.dumps(row)
    assert beside.gateway("app-passwords", "list", "--email", "alice@acme.test") == 0
    listed = capsys.readouterr().out
    assert all(part in listed for part in (text[5:30], "laptop", "never used", "all hosts", "/dav"))
    assert beside.gateway("app-passwords", "list", "--email", "bob@acme.test") == 0
    assert capsys.readouterr().out == ""
    assert beside.gateway("app-passwords", "revoke", stored.session.family) == 1, (
        "a session is none"
    )
    assert (
        beside.gateway(
            "app-passwords", "revoke", text[5:30], "--json", "--reason", "found in a repository"
        )
        == 0
    )
    capsys.readouterr()
    assert beside.with_sessions(lambda login: login.sessions.app_password(text, host=HOST)) is None
    assert beside.alive(stored)
    assert beside.gateway("app-passwords", "revoke", text[5:30]) == 1


def test_everybody_in_a_tenant_is_revoked_only_when_said_so(beside: Beside) -> None:
    stored = beside.with_sessions(lambda login: login.finish())
    assert beside.gateway("sessions", "revoke", "--tenant", "acme") == 2
    assert (
        beside.gateway("sessions", "revoke", "--tenant", "acme", "--email", "a@b.c", "--all") == 2
    )
    assert (
        beside.gateway("sessions", "revoke", "--tenant", "acme", "--email", "a@b.c", "--user", "x")
        == 2
    )
    assert beside.gateway("sessions", "revoke", "--all") == 2
    assert beside.alive(stored)
    assert beside.gateway("sessions", "revoke", "--tenant", "acme", "--all") == 0
    assert not beside.alive(stored)


def test_sessions_of_every_tenant_are_listed_where_none_is_named(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.with_sessions(lambda login: login.finish())
    for more in ((), ("--all",), ("--email", "alice@acme.test"), ("--tenant", "acme")):
        assert beside.gateway("sessions", "list", "--json", *more) == 0
        assert [row["tenant"] for row in answer(capsys)] == ["acme"]
    assert beside.gateway("sessions", "list", "--all", "--tenant", "acme") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("sessions", "list"),
        ("sessions", "revoke", "--all"),
        ("sessions", "revoke", "--email", "alice@acme.test"),
        ("blocks", "add", "--email", "alice@acme.test", "--reason", "left"),
    ],
    ids=" ".join,
)
def test_a_mistyped_tenant_is_told_and_never_taken_for_done(
    beside: Beside, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    stored = beside.with_sessions(lambda login: login.finish())
    assert beside.gateway(*arguments, "--tenant", "amce") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "there is no tenant amce" in said.err
    assert beside.alive(stored)
    assert beside.gateway("blocks", "list", "--json") == 0
    assert answer(capsys) == []


def test_a_block_keeps_somebody_out_until_it_is_removed(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = beside.with_sessions(lambda login: login.finish())

    async def try_to_come_in(login: Login) -> object:
        return await login.sessions.finish_login(login.new(await login.begin()))

    assert (
        beside.gateway(
            "blocks",
            "add",
            "--tenant",
            "acme",
            "--email",
            "alice@acme.test",
            "--reason",
            "left",
            "--json",
        )
        == 0
    )
    assert answer(capsys)["ended"] == 1
    assert not beside.alive(stored)
    assert beside.with_sessions(try_to_come_in) == SessionRefused(Reason.USER_BLOCKED)
    assert beside.gateway("blocks", "list", "--json") == 0
    (block,) = answer(capsys)
    assert (block["who"], block["reason"], block["source"]) == (
        {"email": "alice@acme.test"},
        "left",
        "cli",
    )
    assert beside.gateway("blocks", "remove", block["id"]) == 0
    assert beside.gateway("blocks", "remove", block["id"]) == 1
    assert not isinstance(beside.with_sessions(try_to_come_in), SessionRefused)


def test_a_command_beside_a_running_store_starts_no_second_one_and_leaves_it_running(
    beside: Beside,
) -> None:
    before = beside.store.pid
    assert before is not None
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway",
            "sessions",
            "list",
            "-c",
            str(beside.config),
            "--tenant",
            "acme",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert beside.store._answers()
    assert beside.store.pid == before


def test_without_a_running_gateway_a_command_uses_the_same_files_and_leaves_nothing_running(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.with_sessions(lambda login: login.finish())
    beside.store.stop()
    assert beside.gateway("sessions", "list", "--tenant", "acme", "--json") == 0
    assert len(answer(capsys)) == 1
    assert beside.store._try_lock()


def test_a_store_that_is_down_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring.load(tmp_path / "keys.json", create=True)
    config = tmp_path / "gateway.yaml"
    config.write_text(
        CONFIG.replace("STATE", str(tmp_path))
        + (
            f"key_ring: {{file: {tmp_path / 'keys.json'}}}\nredis: {{url: "
            f"'redis://:hunter2@127.0.0.1:1'}}\n"
        )
    )
    assert run(["sessions", "list", "-c", str(config), "--tenant", "acme"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "hunter2" not in said.err
