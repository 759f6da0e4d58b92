"""``gateway sessions``, ``app-passwords`` and ``blocks`` as an operator runs them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.reason import Reason
from gateway.core.rule import Rule
from gateway.sessions.api import NewAppPassword, SessionRefused, StoredAppPassword
from tests.cli.served import ACME, Served
from tests.sessions.conftest import HOST, Login, identity
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.sessions.api import SessionCreated


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("gateway") / "g", sample("filed")) as running:
        yield running


class Beside:
    """A gateway with the tenant acme, and a command line beside it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.with_sessions, self.alive = served.with_sessions, served.alive

    def gateway(self, *arguments: str) -> int:
        return self.served.run(*arguments)


@pytest.fixture
def beside(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Beside]:
    write(tmp_path / "folder", ACME)
    assert served.run("tenants", "apply", tmp_path / "folder") == 0
    capsys.readouterr()
    yield Beside(served)
    served.forget()


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_sessions_are_listed_shown_and_revoked(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = beside.with_sessions(lambda login: login.finish())
    bob = beside.with_sessions(lambda login: login.finish(identity=identity("bob")))
    assert beside.gateway("sessions", "list", "--tenant", "acme", "--json") == 0
    listed = capsys.readouterr().out
    assert {row["email"] for row in json.loads(listed)["items"]} == {
        "alice@acme.test",
        "bob@acme.test",
    }
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
        "admin",
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
    (row,) = answer(capsys)["items"]
    assert (
        row["app_password"],
        row["email"],
        row["name"],
        row["paths"],
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
        assert [row["tenant"] for row in answer(capsys)["items"]] == ["acme"]
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
    assert answer(capsys)["items"] == []


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
    (block,) = answer(capsys)["items"]
    assert (block["who"], block["reason"], block["source"]) == (
        {"email": "alice@acme.test"},
        "left",
        "admin",
    )
    assert beside.gateway("blocks", "remove", block["id"]) == 0
    assert beside.gateway("blocks", "remove", block["id"]) == 1
    assert not isinstance(beside.with_sessions(try_to_come_in), SessionRefused)


def test_revocations_are_followed_as_they_are_acknowledged(
    beside: Beside, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = beside.with_sessions(lambda login: login.finish())
    told: list[str] = []
    came = threading.Event()

    def say_json(document: dict[str, Any]) -> None:
        told.append(document["tenant"])
        came.set()
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.revocations.say_json", say_json)

    def end() -> None:
        while not came.wait(0.05):
            beside.gateway("sessions", "revoke", stored.session.family, "--reason", "left")
            beside.gateway("sessions", "revoke", "--tenant", "acme", "--all")

    ending = threading.Thread(target=end)
    ending.start()
    try:
        assert beside.gateway("revocations", "follow", "--json") == 1
    finally:
        came.set()
        ending.join()
    assert told == ["acme"]
    assert "interrupted" in capsys.readouterr().err
