"""``gateway tenants move``: what is asked of the admin API after somebody was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.cli import run, tenants

PLAN = {
    "tenant": "acme",
    "pool": "b",
    "steps": [],
    "notes": ["app passwords that end: 5, of 1 people"],
    "at_provider": ["acme-saml: entity ID urn:amazon:cognito:sp:b"],
    "waits_for": ["acme-saml"],
    "app_passwords": 5,
}


@dataclass(slots=True)
class Document:
    document: Any


@dataclass(slots=True)
class Api:
    """Plans, and remembers what it was asked to do."""

    bodies: list[Any] = field(default_factory=list)

    def call(self, _method: str, _path: str, *, body: Any, query: Any = None) -> Document:
        if query is None:
            self.bodies.append(body)
        return Document(PLAN)


@pytest.mark.parametrize(
    ("words", "asked", "registered"),
    [
        ((), True, ["acme-saml"]),
        (("--yes",), False, []),
        (("--yes", "--registered", "acme-saml"), False, ["acme-saml"]),
    ],
    ids=["whoever answers has said it", "a script has not", "unless it says so"],
)
def test_a_saml_provider_is_registered_by_whoever_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    asked: bool,
    registered: list[str],
) -> None:
    api, questions = Api(), list[str]()
    monkeypatch.setattr(tenants, "api", lambda: api)
    monkeypatch.setattr(tenants, "followed", lambda _api, _tenant, call: call().document)
    monkeypatch.setattr(tenants, "say_clients", lambda *_: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda question, **_: questions.append(question))
    assert run(("tenants", "move", "acme", "--pool", "b", *words)) == 0
    assert api.bodies == [{"pool": "b", "registered": registered}]
    assert bool(questions) is asked
    shown = capsys.readouterr().out
    assert "app passwords that end: 5" in shown
    assert "entity ID urn:amazon:cognito:sp:b" in shown


def test_whoever_is_asked_has_read_what_is_to_be_done_where_the_answer_is_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(tenants, "api", Api)
    monkeypatch.setattr(tenants, "followed", lambda _api, _tenant, call: call().document)
    monkeypatch.setattr(tenants, "say_clients", lambda *_: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: shown.extend(capsys.readouterr()))
    assert run(("tenants", "move", "acme", "--pool", "b", "--json")) == 0
    out, err = shown
    assert "entity ID urn:amazon:cognito:sp:b" in err
    assert out == "", "it is for JSON alone"


def test_a_test_moves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths: list[str] = []

    class Tests:
        def call(self, _method: str, path: str, *, body: Any) -> Document:
            paths.append(path)
            return Document({"url": "https://login/_auth/test?token=x", "at_provider": ["a: b"]})

    monkeypatch.setattr(tenants, "api", Tests)
    assert run(("tenants", "move", "acme", "--pool", "b", "--test")) == 0
    assert paths == ["/tenants/acme/provision/move/test"]
    shown = capsys.readouterr()
    assert shown.out == "https://login/_auth/test?token=x\n"
    assert "at the identity provider first: a: b" in shown.err
