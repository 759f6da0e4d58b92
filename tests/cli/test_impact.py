"""``gateway tenants plan`` beside people who are signed in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_sessions_and_blocks import Beside
from tests.registry.samples import sample, write
from tests.sessions.conftest import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    made = Beside(tmp_path)
    yield made
    made.store.stop()


def planned(beside: Beside, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert beside.gateway("tenants", "plan", str(folder), *more) == 0
    return capsys.readouterr().out


def test_a_plan_tells_who_of_the_people_signed_in_loses_what(beside: Beside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    write(folder, sample("acme"))
    assert beside.gateway("tenants", "apply", str(folder), "--wait", "0") == 0
    beside.with_sessions(lambda login: login.finish())
    beside.with_sessions(lambda login: login.finish(identity=identity("bob", groups=("app-users",))))
    capsys.readouterr()
    document = sample("acme", rules=[{"path": "/admin/**", "groups": ["admins"]}], rules_next=[{"path": "/admin/**", "allow": "nobody"}])
    write(folder, document)
    lines = planned(beside, folder, capsys).splitlines()
    assert "    2 sessions looked at:" in lines
    assert sorted(line.strip() for line in lines if " loses " in line) == [
        "bob@acme.test loses GET /admin/** (group_missing)",
        "with rules_next, alice@acme.test loses GET /admin/** (rule_denied)",
    ]
    people: dict[str, Any] = json.loads(planned(beside, folder, capsys, "--json"))["people"]["tenants"]["acme"]
    assert people["sessions"] == 2
    assert people["now"] == [{"email": "bob@acme.test", "gains": False, "where": "GET /admin/**", "reason": "group_missing"}]


def test_waiting_rules_of_an_unchanged_tenant_are_told_too(beside: Beside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    write(folder, sample("acme", rules_next=[{"path": "/admin/**", "allow": "nobody"}]))
    assert beside.gateway("tenants", "apply", str(folder), "--wait", "0") == 0
    beside.with_sessions(lambda login: login.finish())
    capsys.readouterr()
    assert planned(beside, folder, capsys).splitlines()[:3] == ["  acme", "    1 sessions looked at:", "      with rules_next, alice@acme.test loses GET /admin/** (rule_denied)"]
