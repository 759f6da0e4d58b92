"""``gateway tenants plan`` beside people who are signed in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.tenants.document import TenantDocument
from gateway.tenants.hook_targets import hook_targets, source_is_gone
from tests.cli.served import Served
from tests.sessions.conftest import identity
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("gateway") / "g", sample("filed")) as running:
        yield running


@pytest.fixture
def beside(served: Served) -> Iterator[Served]:
    yield served
    served.forget()


def planned(beside: Served, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert beside.run("tenants", "plan", str(folder), *more) == 0
    return capsys.readouterr().out


def test_a_plan_tells_who_of_the_people_signed_in_loses_what(
    beside: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    write(folder, sample("acme"))
    assert beside.run("tenants", "apply", str(folder)) == 0
    beside.with_sessions(lambda login: login.finish())
    beside.with_sessions(
        lambda login: login.finish(identity=identity("bob", groups=("app-users",)))
    )
    capsys.readouterr()
    document = sample(
        "acme",
        rules=[{"path": "/admin/**", "groups": ["admins"]}],
        shadow_rules=[{"path": "/admin/**", "allow": "deny"}],
    )
    write(folder, document)
    lines = planned(beside, folder, capsys).splitlines()
    assert "    2 sessions looked at:" in lines
    assert sorted(line.strip() for line in lines if " loses " in line) == [
        "bob@acme.test loses GET /admin/** (group_missing)",
        "with shadow_rules, alice@acme.test loses GET /admin/** (rule_denied)",
    ]
    (people,) = json.loads(planned(beside, folder, capsys, "--json"))["people"]
    assert (people["tenant"], people["sessions"], people["losing"]) == ("acme", 2, 1)
    assert people["effects"] == [
        {
            "email": "bob@acme.test",
            "gains": False,
            "where": "GET /admin/**",
            "reason": "group_missing",
        }
    ]


def test_waiting_rules_of_an_unchanged_tenant_are_told_too(
    beside: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    write(folder, sample("acme", shadow_rules=[{"path": "/admin/**", "allow": "deny"}]))
    assert beside.run("tenants", "apply", str(folder)) == 0
    beside.with_sessions(lambda login: login.finish())
    capsys.readouterr()
    assert planned(beside, folder, capsys).splitlines()[:3] == [
        "  acme",
        "    1 sessions looked at:",
        "      with shadow_rules, alice@acme.test loses GET /admin/** (rule_denied)",
    ]


def test_what_a_source_imposed_that_a_change_silences_is_told_stays_and_is_lifted_by_one_command(
    beside: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Okta's event hooks to a provider that only SCIM speaks for."""
    folder = tmp_path / "folder"
    okta = {
        "name": "acme-okta",
        "kind": "okta",
        "issuer": "https://acme.okta.example.com",
        "hooks": {"secrets": ["a-secret-of-32-characters-or-more"]},
    }
    write(folder, sample("acme", providers=[okta]))
    assert beside.run("tenants", "apply", str(folder)) == 0

    async def impose() -> None:
        revoke = beside.stores.revoker.revoke
        for subject in ("1", "2"):
            who = Who(idp_subject=f"00u{subject}", provider="acme-okta")
            await revoke(RevocationRequest("acme", who, RevocationKind.BLOCK, "", "okta"))
        await revoke(RevocationRequest("acme", who, RevocationKind.BLOCK, "", "scim:record"))
        overlay = RevocationRequest(
            "acme", who, RevocationKind.END_SESSIONS, "", "okta", group_overlay="admins"
        )
        await revoke(overlay)
        await revoke(RevocationRequest("acme", who, RevocationKind.BLOCK, "left", "admin"))

    beside.wait_for(impose())
    capsys.readouterr()
    write(folder, sample("acme", providers=[{**okta, "kind": "oidc"}]))
    assert "3 okta blocks and removed groups stay" in planned(beside, folder, capsys)
    assert json.loads(planned(beside, folder, capsys, "--json"))["silenced"] == [
        {"tenant": "acme", "source": "okta", "count": 3}
    ]
    assert beside.run("blocks", "list", "--json") == 0
    assert [row["source_gone"] for row in json.loads(capsys.readouterr().out)["items"]] == [
        False
    ] * 5
    assert beside.run("tenants", "apply", str(folder)) == 0
    capsys.readouterr()
    assert beside.run("blocks", "list", "--json", "--source", "okta") == 0
    assert [row["source_gone"] for row in json.loads(capsys.readouterr().out)["items"]] == [
        True
    ] * 3
    assert beside.run("blocks", "list") == 0
    assert capsys.readouterr().out.count("gateway blocks remove --tenant acme --source okta") == 3
    for arguments in (
        ("--source", "okta"),
        ("--tenant", "acme"),
        ("x", "--tenant", "acme", "--source", "okta"),
        ("x", "--provider", "acme-okta"),
    ):
        assert beside.run("blocks", "remove", *arguments) == 2
    assert beside.run("blocks", "remove", "--tenant", "acme", "--source", "admin") == 2, (
        "an operator's lift is of everything against the person: also of what okta imposed"
    )
    assert (
        beside.run(
            "blocks", "remove", "--tenant", "acme", "--source", "okta", "--provider", "another"
        )
        == 0
    )
    assert beside.run("blocks", "remove", "--tenant", "acme", "--source", "okta") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 lifted"
    assert beside.run("blocks", "list", "--json") == 0
    assert {row["source"] for row in json.loads(capsys.readouterr().out)["items"]} == {
        "scim:record",
        "admin",
    }


@pytest.mark.parametrize(
    ("kind", "hooks", "gone"),
    [
        ("okta", {"secrets": ["a-secret-of-32-characters-or-more"]}, {"entra"}),
        ("okta", {"api_token": "t"}, {"entra", "scim:r"}),
        ("okta", {}, {"okta", "entra", "scim:r"}),
        ("oidc", {"secrets": ["a-secret-of-32-characters-or-more"]}, {"okta", "entra"}),
    ],
)
def test_a_source_is_gone_where_nothing_of_the_tenant_can_speak_as_it(
    kind: str, hooks: dict[str, Any], gone: set[str]
) -> None:
    provider = {
        "name": "acme-okta",
        "kind": kind,
        "issuer": "https://acme.okta.example.com",
        "hooks": hooks,
    }
    targets = hook_targets(TenantDocument.model_validate(sample("acme", providers=[provider])))
    sources = ("okta", "entra", "scim:r", "ssf", "universal-logout", "admin", "cli", "recheck")
    assert {source for source in sources if source_is_gone(source, "acme-okta", targets)} == gone
    assert source_is_gone("ssf", "acme-entra", targets)
    assert not source_is_gone("ssf", None, targets)
