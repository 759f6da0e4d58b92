"""``gateway hooks``, beside nothing: files and an empty database are enough."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

from gateway.cli import run
from gateway.database.crypt import Crypt
from gateway.keys import ring as keys

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFIG = """
ingress: {trusted_proxies: [127.0.0.1/32]}
cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}
hooks: {url: https://hooks.example.com}
"""
TENANT = """
id: acme
name: Acme
hosts: [acme.example.com]
email_domains: [acme.com]
allowed_groups: [app-users]
client_id: abc
client_secret: s3cret
providers:
  - {name: acme-okta, kind: okta, issuer: https://acme.okta.com, hooks: {secrets: [the-hook-secret-0123456789abcdef0123456789]}}
"""  # noqa: E501 - one text, as it is


def prepare(folder: Path) -> Path:
    (folder / "tenants").mkdir()
    (folder / "tenants" / "acme.yaml").write_text(TENANT, "utf-8")
    keys.load(folder / "state" / "keys.json", create=True)
    config = folder / "gateway.yaml"
    config.write_text(
        f"{CONFIG}state_dir: {folder / 'state'}\ntenants: {{directory: {folder / 'tenants'}}}\n",
        "utf-8",
    )
    return config


def test_setup_hands_out_addresses_and_never_the_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepare(tmp_path)
    assert run(["hooks", "setup", "acme", "-c", str(config)]) == 0
    text = capsys.readouterr().out
    assert "https://hooks.example.com/hooks/okta/acme/acme-okta" in text
    assert "group.user_membership.remove" in text
    assert "nothing yet" in text
    assert "the-hook-secret-0123456789abcdef0123456789" not in text
    assert run(["hooks", "setup", "acme", "-c", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["secrets"] == 1


def test_an_unknown_tenant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hooks", "setup", "globex", "-c", str(prepare(tmp_path))]) == 1
    assert "no tenant 'globex'" in capsys.readouterr().err


def test_a_new_secret_is_long_and_different_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hooks", "secret"]) == 0
    assert run(["hooks", "secret"]) == 0
    first, second = capsys.readouterr().out.split()
    assert len(first) >= 43
    assert first != second


def stored(folder: Path) -> Path:
    """The same tenant in SQL instead of a file."""
    config = prepare(folder)
    (folder / "tenants").rename(folder / "elsewhere")
    text = config.read_text("utf-8").replace(f"tenants: {{directory: {folder / 'tenants'}}}\n", "")
    config.write_text(text, "utf-8")
    assert (
        run(
            [
                "tenants",
                "apply",
                str(folder / "elsewhere"),
                "-c",
                str(config),
                "--yes",
                "--wait",
                "0",
            ]
        )
        == 0
    )
    return config


def test_a_stored_secret_is_shown_once_and_the_one_before_stays_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.hooks.IN_FORCE_S", 0.0)
    config = stored(tmp_path)
    capsys.readouterr()
    assert run(["hooks", "secret", "acme", "acme-okta", "-c", str(config)]) == 0
    made = capsys.readouterr().out.strip()
    assert run(["hooks", "setup", "acme", "-c", str(config), "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)[0]["secrets"] == 2
    assert made not in text
    assert run(["hooks", "secret", "acme", "nobody", "-c", str(config)]) == 1
    assert run(["hooks", "secret", "acme", "-c", str(config)]) == 2


def test_a_file_keeps_its_secrets_where_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["hooks", "secret", "acme", "acme-okta", "-c", str(prepare(tmp_path))]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "is a file of tenants.directory" in captured.err


def test_the_test_says_nothing_came_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepare(tmp_path)
    assert run(["hooks", "test", "acme", "-c", str(config)]) == 1
    assert "acme/acme-okta (okta): nothing" in capsys.readouterr().out
    assert run(["hooks", "test", "acme", "-c", str(config), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "nothing"


def a_message(folder: Path, state: str) -> None:
    ring = keys.load(folder / "state" / "keys.json", create=False)
    payload = Crypt(lambda: ring.database).seal(
        "{}", table="webhooks_outbox", row="msg_1", column="payload"
    )
    with (
        contextlib.closing(sqlite3.connect(folder / "state" / "gateway.sqlite3")) as connection,
        connection,
    ):
        connection.execute(
            "INSERT INTO webhooks_outbox (id, tenant, lane, event, payload, created_at, "
            "state, attempts, next_at, held_until, error)"
            " VALUES ('msg_1', 'acme', 'l', 'user.deprovisioned', ?, 1.0, ?, 13, 1.0, "
            "0.0, 'answered 500')",
            (payload, state),
        )


def test_webhooks_that_were_given_up_are_listed_and_sent_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(prepare(tmp_path))
    assert run(["hooks", "webhooks", "list", "-c", config]) == 0
    a_message(tmp_path, "failed")
    assert run(["hooks", "webhooks", "list", "-c", config, "--state", "failed"]) == 0
    assert (
        "msg_1  acme  1970-01-01 00:00:01  user.deprovisioned  failed after 13 attempts: "
        "answered 500"
    ) in capsys.readouterr().out
    assert run(["hooks", "webhooks", "replay", "-c", config, "--failed", "acme"]) == 0
    assert run(["hooks", "webhooks", "list", "-c", config, "--tenant", "acme", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 to be sent again")
    assert '"state": "new"' in out
    assert run(["hooks", "webhooks", "replay", "-c", config, "msg_1", "msg_2"]) == 1
    assert "on its way already" in capsys.readouterr().err
    assert run(["hooks", "webhooks", "replay", "-c", config]) == 2
