from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.cli import run
from tests.cli.served import Served
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("gateway") / "g", sample("filed")) as running:
        yield running


class Cli:
    """``gateway tenants`` at a gateway that serves one file, and a folder to apply."""

    def __init__(self, served: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.served, self.root, self.folder = served, root, root / "folder"
        self._capsys = capsys
        self.folder.mkdir()

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        return self.served(self._capsys, "tenants", *arguments)

    def json(self, *arguments: str | Path) -> Any:
        return self.served.json(self._capsys, "tenants", *arguments)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {**row["tenant"], "origin": row["origin"], "etag": row["etag"]}
            for row in self.json("list")["items"]
        ]

    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows()]

    def apply(self, *more: str) -> tuple[int, str, str]:
        return self("apply", self.folder, *more)


@pytest.fixture
def cli(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    yield Cli(served, tmp_path, capsys)
    served.forget()


def test_a_folder_is_planned_applied_and_then_there_is_nothing_to_do(cli: Cli) -> None:
    write(cli.folder, sample("acme"))
    write(cli.folder, sample("globex", active=False))
    code, out, _ = cli("plan", cli.folder)
    assert code == 0
    assert "+ acme" in out
    assert '    + client_secret: "***"' in out
    assert "secret of" not in out
    assert "2 to create, 0 to update, 0 to delete, 0 unchanged" in out
    assert cli.ids() == ["filed"]
    code, out, _ = cli.apply()
    assert code == 0
    assert "applied: 2 tenants, in force" in out
    before = cli.rows()
    assert [(row["id"], row["active"], row["origin"]) for row in before] == [
        ("acme", True, "sql"),
        ("filed", True, "file"),
        ("globex", False, "sql"),
    ]
    assert "0 to create, 0 to update, 0 to delete, 2 unchanged" in cli.apply()[1]
    assert cli.rows() == before


def test_a_difference_is_shown_key_by_key_and_secrets_only_as_changed(cli: Cli) -> None:
    write(cli.folder, sample("acme", rules=[{"path": "/a", "allow": "public"}]))
    cli.apply()
    write(
        cli.folder,
        sample(
            "acme",
            name="Other",
            client_secret="hunter2",
            allowed_groups=["app-users", "admins"],
            rules=[{"path": "/b", "allow": "public"}],
        ),
    )
    _, out, _ = cli("plan", cli.folder)
    assert out.splitlines()[:5] == [
        "~ acme",
        '    ~ allowed_groups: ["app-users"] → ["admins", "app-users"]',
        '    ~ name: "Acme" → "Other"',
        '    ~ rules.0.path: "/a" → "/b"',
        '    ~ client_secret: "***" → "*** (another)"',
    ]
    assert "hunter2" not in out
    assert cli.json("plan", cli.folder)["changes"][0]["action"] == "update"


def test_only_pruning_deletes(cli: Cli) -> None:
    write(cli.folder, sample("acme"))
    path = write(cli.folder, sample("globex"))
    cli.apply()
    path.unlink()
    _, out, _ = cli.apply()
    assert "1 in SQL and not in the folder, kept (--prune deletes): globex" in out
    _, out, _ = cli.apply("--prune")
    assert "- globex" in out
    assert cli.ids() == ["acme", "filed"]


def test_a_folder_that_lost_its_files_prunes_nobody(cli: Cli) -> None:
    path = write(cli.folder, sample("acme"))
    cli.apply()
    path.unlink()
    code, _, err = cli.apply("--prune")
    assert code == 2
    assert "is empty, so prune would delete all 1 in SQL" in err
    assert cli.ids() == ["acme", "filed"]


def test_a_plan_names_whose_hosts_a_tenants_cookies_reach_of_files_and_sql(cli: Cli) -> None:
    write(cli.folder, sample("globex"))
    assert cli.apply()[0] == 0
    write(cli.folder, sample("acme", clear_domain_cookies=True))
    warning = (
        "acme: clear_domain_cookies: is for a domain that is this tenant's alone; if "
        "example.com is one, it signs people out at filed.example.com, globex.example.com, too"
    )
    assert f"\n! {warning}\n" in cli("plan", cli.folder)[1]
    assert cli.json("plan", cli.folder)["warnings"] == [warning]
    write(cli.folder, sample("acme"))
    assert cli.json("plan", cli.folder)["warnings"] == []


def test_names_move_between_the_tenants_of_one_plan(cli: Cli) -> None:
    write(cli.folder, sample("acme", hosts=["one.example.org"]))
    write(cli.folder, sample("globex", hosts=["two.example.org"]))
    cli.apply()
    write(cli.folder, sample("acme", hosts=["two.example.org"]))
    write(cli.folder, sample("globex", hosts=["one.example.org"]))
    assert cli.apply()[0] == 0
    assert {row["id"]: row["hosts"] for row in cli.rows()} == {
        "acme": ["two.example.org"],
        "filed": ["filed.example.com"],
        "globex": ["one.example.org"],
    }


REFUSED = {
    "a mistake": ({"colour": "red"}, "acme.yaml: colour: unknown key"),
    "a wildcard without login_host": (
        {"hosts": ["*.acme.example.com"]},
        "acme.yaml: hosts (is '*.acme.example.com'): a wildcard host needs login_host",
    ),
    "a file's host": (
        {"hosts": ["filed.example.com"]},
        "host filed.example.com: claimed by filed and by acme",
    ),
    "a file's id": (
        {"id": "filed", "hosts": ["x.example.com"]},
        "tenant filed is a file of tenants.directory; change it there",
    ),
    "a kept secret that is not stored": (
        {"client_secret": "***"},
        "acme.yaml: client_secret: *** is how a secret is shown",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("deed", ["plan", "apply"])
def test_what_cannot_be_applied_changes_nothing(
    cli: Cli, deed: str, change: dict[str, Any], message: str
) -> None:
    write(cli.folder, sample("globex"))
    write(cli.folder, sample("acme", **change), name="acme")
    code, _, err = cli(deed, cli.folder)
    assert code == (1 if "claimed by" in message or "change it there" in message else 2)
    assert message in err
    assert cli.ids() == ["filed"]


def test_two_files_that_claim_one_host_change_nothing(cli: Cli) -> None:
    write(cli.folder, sample("acme", hosts=["same.example.org"]))
    write(cli.folder, sample("globex", hosts=["same.example.org"]))
    code, _, err = cli.apply()
    assert code == 1
    assert "host same.example.org: claimed by" in err
    assert cli.ids() == ["filed"]


def test_the_served_folder_cannot_be_applied(cli: Cli) -> None:
    for deed in ("plan", "apply"):
        code, _, err = cli(deed, cli.served.files)
        assert code == 1
        assert "tenant filed is a file of tenants.directory" in err


def test_an_export_is_applied_without_a_change_and_without_its_secrets(cli: Cli) -> None:
    write(
        cli.folder,
        sample(
            "acme",
            webhook={
                "url": "https://app.example.com/",
                "secret": "whisper-0123456789abcdef0123456789abcdef",
            },
        ),
    )
    cli.apply()
    exported = cli.root / "exported"
    assert cli("export", "--to", exported)[0] == 0
    text = (exported / "acme.yaml").read_text(encoding="utf-8")
    assert "whisper" not in text
    assert "secret: '***'" in text
    assert "0 to create, 0 to update, 0 to delete, 1 unchanged" in cli("plan", exported)[1]
    _, out, _ = cli("export")
    assert yaml.safe_load(out)["id"] == "acme"


def test_revealed_secrets_make_the_same_tenant_elsewhere(cli: Cli) -> None:
    write(cli.folder, sample("acme"))
    cli.apply()
    exported = cli.root / "exported"
    cli("export", "acme", "--to", exported, "--reveal-secrets")
    assert (exported / "acme.yaml").stat().st_mode & 0o777 == 0o600
    assert cli("delete", "acme")[:2] == (0, "deleted: acme, in force\n")
    assert cli("apply", exported)[0] == 0
    _, out, _ = cli("export", "--reveal-secrets")
    assert yaml.safe_load(out)["client_secret"] == "secret of acme"


def test_a_tenant_is_shown_without_secrets(cli: Cli) -> None:
    code, out, _ = cli("show", "filed")
    assert code == 0
    assert "# from file" in out
    assert "secret of" not in out
    assert cli.json("show", "filed")["tenant"]["client_secret"] == "***"
    code, _, err = cli("show", "nobody")
    assert (code, err) == (1, "gateway: Not found: there is no tenant nobody (not_found)\n")


def test_deleting_is_for_tenants_in_sql(cli: Cli) -> None:
    code, _, err = cli("delete", "filed")
    assert code == 1
    assert "tenant filed is a file of tenants.directory; delete it there (read_only)" in err
    code, _, err = cli("delete", "nobody")
    assert (code, err) == (1, "gateway: Not found: there is no tenant nobody (not_found)\n")


def test_json_of_apply_is_json_and_nothing_else(cli: Cli) -> None:
    write(cli.folder, sample("acme"))
    answer = cli.json("apply", cli.folder)
    assert (answer["changes"][0]["tenant"], answer["in_force"]) == ("acme", True)


def test_what_was_shown_is_applied_or_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's change between the plan and the answer to "Apply this?" refuses the whole."""
    write(cli.folder, sample("acme"))
    write(cli.folder, sample("globex"))
    assert cli.apply()[0] == 0
    write(cli.folder, sample("acme", name="Mine"))
    write(cli.folder, sample("globex", name="Mine"))
    other = cli.root / "other"
    write(other, sample("globex", name="Theirs"))

    def meanwhile(_question: str, *, yes: bool) -> None:
        monkeypatch.undo()
        assert run(["tenants", "apply", str(other), "-c", str(cli.served.config_path)]) == 0

    monkeypatch.setattr("gateway.cli.tenants.confirm", meanwhile)
    code, _, err = cli.apply()
    assert code == 1
    assert "tenants have changed since: plan again (precondition_failed)" in err
    assert {row["id"]: row["name"] for row in cli.rows()} == {
        "acme": "Acme",
        "filed": "Filed",
        "globex": "Theirs",
    }


def test_secrets_of_this_machine_are_looked_up_here_and_sent_as_they_are(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_SECRET", "from-the-environment")
    write(cli.folder, sample("acme", client_secret="env:ACME_SECRET"))
    assert cli.apply()[0] == 0
    revealed = yaml.safe_load(cli("export", "acme", "--reveal-secrets")[1])
    assert revealed["client_secret"] == "from-the-environment"
    monkeypatch.delenv("ACME_SECRET")
    code, _, err = cli.apply()
    assert code == 2
    assert "the environment variable ACME_SECRET is not set" in err


def test_a_change_is_on_record_as_this_machines_user(cli: Cli) -> None:
    write(cli.folder, sample("acme"))
    assert cli.apply()[0] == 0
    found = cli.served.audit()
    assert [(e.actor, e.action, e.outcome) for e in found[:2]] == [
        (f"local:{cli.served.user}", "tenant.create", "done"),
        (f"local:{cli.served.user}", "put_tenants", "done"),
    ]


def test_a_folder_that_is_not_there_is_a_usage_error(cli: Cli) -> None:
    assert cli("plan", cli.root / "nowhere")[0] == 2


def test_secrets_outlive_the_rotation_of_the_key_they_were_stored_under(cli: Cli) -> None:
    write(cli.folder, sample("acme"))
    cli.apply()
    ring = cli.served.state / "keys.json"
    before = [key["kid"] for key in json.loads(ring.read_text(encoding="ascii"))["database"]]
    assert run(["keys", "rotate", "database", "-c", str(cli.served.config_path)]) == 0
    after = json.loads(ring.read_text(encoding="ascii"))
    assert [key["kid"] for key in after["database"]][1:] == before
    found = yaml.safe_load(cli("export", "acme", "--reveal-secrets")[1])
    assert found["client_secret"] == "secret of acme"
