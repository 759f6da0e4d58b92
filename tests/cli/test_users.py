"""``gateway users``: what is asked of the admin API, and what is shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.cli import run, users

ROW = {
    "user": "s-1",
    "username": "bob",
    "email": "bob@acme.com",
    "status": "CONFIRMED",
    "enabled": True,
    "blocked": False,
    "groups": ["admins"],
    "shared": False,
}
ENDED = {"id": "r1", "ended": 2}


@dataclass(slots=True)
class Document:
    document: Any


@dataclass(slots=True)
class Api:
    """Answers the same, and remembers what was asked."""

    answer: dict[str, Any]
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def call(self, method: str, path: str, *, body: object = None) -> Document:
        self.asked.append((method, path, body))
        return Document(self.answer)

    def get(self, path: str) -> Any:
        self.asked.append(("GET", path))
        return {"mfa": "ON", "password_requires": ["a digit"]}

    def pages(self, path: str, **query: object) -> Any:
        self.asked.append(("GET", path, query))
        return {"items": [ROW], "next": None}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api({"user": ROW, "temporary_password": None, "revocation": ENDED})
    monkeypatch.setattr(users, "api", lambda: made)
    return made


BASE = "/tenants/acme/pool-users"
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "list": (("list", "acme", "--email", "b@x"), ("GET", BASE, {"email": "b@x"})),
    "settings": (("settings", "acme"), ("GET", "/tenants/acme/pool-user-settings")),
    "create": (
        ("create", "acme", "b@x", "--group", "a", "--group", "b", "--show-password"),
        (
            "POST",
            BASE,
            {
                "email": "b@x",
                "name": "",
                "username": "",
                "groups": ("a", "b"),
                "invitation": "none",
                "adopt": False,
            },
        ),
    ),
    "invite": (("invite", "acme", "s-1"), ("POST", f"{BASE}/s-1/invite", {"invitation": "email"})),
    "disable": (
        ("disable", "acme", "s-1", "--reason", "left"),
        ("POST", f"{BASE}/s-1/disable", {"reason": "left"}),
    ),
    "enable": (("enable", "acme", "s-1"), ("POST", f"{BASE}/s-1/enable", None)),
    "reset": (("reset", "acme", "s-1"), ("POST", f"{BASE}/s-1/reset", None)),
    "groups": (
        ("groups", "acme", "s-1", "admins"),
        ("PUT", f"{BASE}/s-1/groups", {"groups": ("admins",)}),
    ),
    "no groups": (("groups", "acme", "s-1"), ("PUT", f"{BASE}/s-1/groups", {"groups": ()})),
    "remove": (("remove", "acme", "s-1"), ("POST", f"{BASE}/s-1/remove", None)),
    "delete": (("delete", "acme", "s-1"), ("DELETE", f"{BASE}/s-1", None)),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_asks_once_and_shows_the_answer_or_prints_it(
    api: Api, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, asked = COMMANDS[name]
    assert run(("users", *words)) == 0
    shown = capsys.readouterr().out
    assert api.asked == [asked]
    if name == "settings":
        assert shown.splitlines()[1].split() == ["password_requires", "a", "digit"]
    else:
        assert "s-1  bob@acme.com  CONFIRMED  admins" in shown
        assert ("2 sessions ended" in shown) == (name != "list")
    assert run(("users", *words, "--json")) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_temporary_password_is_shown_once(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answer = {"user": {**ROW, "blocked": True}, "temporary_password": "Xq7", "revocation": None}
    assert run(("users", "invite", "acme", "s-1", "--show-password")) == 0
    shown = capsys.readouterr().out
    assert shown.count("Xq7") == 1
    assert "blocked" in shown
