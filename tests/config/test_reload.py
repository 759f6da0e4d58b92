"""The running gateway's own file: what is taken over, what waits for a restart, and that a broken
file changes nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.config.model import load_config
from gateway.config.reload import ConfigFile

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Config

KEY, NEXT = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
SMALLEST: dict[str, Any] = {
    "ingress": {"keys": [KEY]},
    "cognito": {
        "region": "eu-north-1",
        "user_pool_id": "eu-north-1_AbCdEfGhI",
        "domain": "https://acme-saas.auth.eu-north-1.amazoncognito.com",
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "gateway.yaml"
    found.write_text(yaml.safe_dump(SMALLEST), "utf-8")
    return found


@pytest.fixture
def file(path: Path) -> ConfigFile:
    return ConfigFile(path, load_config(path))


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    return [
        (record.getMessage(), getattr(record, "gateway_fields", {})) for record in caplog.records
    ]


def test_a_new_ingress_key_holds_at_once(path: Path, file: ConfigFile) -> None:
    told: list[Config] = []
    file.changed.append(told.append)
    write(path, yaml.safe_dump({**SMALLEST, "ingress": {"keys": [KEY, NEXT]}}))
    file.look()
    assert [[key.reveal() for key in config.ingress.keys] for config in told] == [[KEY, NEXT]]
    assert file() == told[0]


def test_what_needs_a_restart_is_said_and_stays_as_it_was(
    path: Path, file: ConfigFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    write(
        path,
        yaml.safe_dump({**SMALLEST, "session": {"idle_timeout": "5m"}, "log": {"level": "debug"}}),
    )
    file.look()
    assert (file().session.idle_timeout.total_seconds(), file().log.level) == (1800, "debug")
    assert logged(caplog) == [
        ("config_reloaded", {"in_force": ["log"], "waiting_for_restart": ["session"]})
    ]


@pytest.mark.parametrize(
    "text",
    ["ingress: {}", "surprise: 1", "a: [", ""],
    ids=["believes anybody", "unknown key", "no YAML", "empty"],
)
def test_a_file_that_does_not_validate_is_refused_and_the_old_one_kept(
    path: Path, file: ConfigFile, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = file()
    write(path, text)
    file.look()
    file.look()
    assert file() is before
    ((event, fields),) = logged(caplog)
    assert event == "config_reload_failed"
    assert str(path) in fields["error"]


def test_a_secret_behind_a_file_is_read_again_when_asked(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text(KEY, "utf-8")
    write(path, yaml.safe_dump({**SMALLEST, "ingress": {"keys": [f"file:{secret}"]}}))
    file = ConfigFile(path, load_config(path))
    secret.write_text(NEXT, "utf-8")
    file.look()
    assert file().ingress.keys[0].reveal() == KEY
    file.read_again()
    assert file().ingress.keys[0].reveal() == NEXT


def test_a_file_that_is_gone_for_a_moment_changes_nothing(path: Path, file: ConfigFile) -> None:
    before, text = file(), path.read_text("utf-8")
    path.unlink()
    file.look()
    write(path, text)
    file.look()
    assert file() is before
