"""The units agree with each other and with the program, and systemd finds nothing wrong with
them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.config.model import Config
from tests.docs.reference import keys, variable

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def lines(unit: Path) -> list[str]:
    return [line for line in unit.read_text("utf-8").splitlines() if line and line[0] != "#"]


def test_the_units_differ_in_their_role_alone() -> None:
    """And in what a template adds: an environment of its own for each replica."""
    assert [unit.name for unit in UNITS] == [
        "gateway-admin.service",
        "gateway-admin@.service",
        "gateway-auth.service",
        "gateway-auth@.service",
    ]
    for role in ("auth", "admin"):
        single, template = (
            lines(ROOT / "deploy" / "systemd" / f"gateway-{role}{kind}.service")
            for kind in ("", "@")
        )
        added = [line for line in template if line not in single]
        assert added == [
            f"Description=Cognito gateway, {role} role (%i)",
            f"EnvironmentFile=/etc/gateway/{role}-%i.environment",
        ]
        assert any(
            line.startswith(f"ExecStart=/opt/gateway/current/bin/gateway serve --role {role}")
            for line in single
        )
    auth, admin = (
        set(lines(ROOT / "deploy" / "systemd" / f"gateway-{role}.service"))
        for role in ("auth", "admin")
    )
    assert all(
        re.match("Description|After|EnvironmentFile|Environment=WORKERS|ExecStart", line)
        for line in auth ^ admin
    )


def test_what_they_set_in_the_environment_is_known() -> None:
    known = {variable(key.path) for key in keys(Config)} | {"GATEWAY_CONFIG", "WORKERS"}
    said = {
        name
        for unit in UNITS
        for name in re.findall(r"^Environment=(\w+)=", unit.read_text(), re.MULTILINE)
    }
    assert said <= known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text("utf-8").replace("/opt/gateway/current/bin/gateway", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = [line for line in verified.stderr.splitlines() if "gateway-" in line]
    assert (verified.returncode, found) == (0, [])
    for name in ("gateway-auth.service", "gateway-admin.service"):
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=15", tmp_path / name],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if "unrecognized option" in judged.stderr:  # before systemd 250
            return
        assert judged.returncode == 0, judged.stdout[-400:]
