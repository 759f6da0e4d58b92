from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from gateway.cli import run
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object within a schema."""
    if isinstance(schema, dict):
        yield schema
    for inner in (
        schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    ):
        yield from parts(inner)


def test_every_default_of_the_schema_is_valid_by_the_schema(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    spelled = [
        part for part in parts(schema) if isinstance(part.get("default"), str) and "pattern" in part
    ]
    assert len(spelled) > 5
    assert [part for part in spelled if not re.search(part["pattern"], part["default"])] == []


def test_unknown_keys_are_errors_in_the_schema_too(capsys: pytest.CaptureFixture[str]) -> None:
    run(["config", "schema"])
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert all(
        model["additionalProperties"] is False
        for model in schema["$defs"].values()
        if model["type"] == "object"
    )
    assert schema["required"] == ["cognito"]


def test_a_wrong_tenant_file_is_a_wrong_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2, not 1: waiting mends nothing."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "acme.yaml").write_text("id: acme\ngrups: []\n")
    document = {
        "development": True,
        "public_scheme": "http",
        "state_dir": str(tmp_path / "state"),
        "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
        "cognito": {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_AbCdEfGhI",
            "domain": "http://127.0.0.1:1",
            "issuer": "http://127.0.0.1:1",
        },
        "tenants": {"directory": str(tmp_path / "tenants")},
    }
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(document))
    assert run(["config", "check", "-c", str(config)]) == 2
    said = capsys.readouterr().out
    assert (
        f"{tmp_path / 'tenants' / 'acme.yaml'}: grups: unknown key (allowed: active, allowed_groups"
        in said
    )
    assert "email_domains: is needed" in said
    write(
        tmp_path / "tenants", sample("acme", hosts=["acme.a.localhost"], clear_domain_cookies=True)
    )
    config.write_text(yaml.safe_dump({**document, "login_host": "login.a.localhost"}))
    run(["config", "check", "-c", str(config)])
    assert "\n     ! acme: clear_domain_cookies: " in capsys.readouterr().out
