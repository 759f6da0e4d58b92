"""``gateway hooks``, beside nothing: files and an empty database are enough."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.cli import run

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
  - {name: acme-okta, kind: okta, issuer: https://acme.okta.com, hooks: {secrets: [the-hook-secret]}}
"""


def prepare(folder: Path) -> Path:
    from gateway import keys

    (folder / "tenants").mkdir()
    (folder / "tenants" / "acme.yaml").write_text(TENANT, "utf-8")
    keys.load(folder / "state" / "keys.json", create=True)
    config = folder / "gateway.yaml"
    config.write_text(f"{CONFIG}state_dir: {folder / 'state'}\ntenants: {{files: {folder / 'tenants'}}}\n", "utf-8")
    return config


def test_setup_hands_out_addresses_and_never_the_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = prepare(tmp_path)
    assert run(["hooks", "setup", "acme", "-c", str(config)]) == 0
    text = capsys.readouterr().out
    assert "https://hooks.example.com/hooks/okta/acme/acme-okta" in text
    assert "group.user_membership.remove" in text
    assert "nothing yet" in text
    assert "the-hook-secret" not in text
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
