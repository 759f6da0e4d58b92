"""``gateway config check``: for the role that it is asked for, without a trace."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from demo.mailbox import Mailbox
from gateway.config.model import Config
from gateway.runtime.config_check import check_config
from gateway.runtime.mail import probe_mail
from tests.cli.mistakes import SMALLEST

ROOT = Path(__file__).parents[2]
SHARED = {"redis", "snapshot", "key_ring", "listen", "state_dir", "tenants", "cognito", "clock"}


@pytest.mark.parametrize(
    ("role", "more"), [("auth", set()), ("admin", {"database", "aws", "mail"})]
)
def test_a_role_is_asked_for_what_it_needs_and_nothing_is_written(
    tmp_path: Path, role: str, more: set[str]
) -> None:
    config = Config(**SMALLEST, state_dir=tmp_path / "state")
    found = asyncio.run(check_config(config, role=role))
    assert {each.name for each in found} == SHARED | more
    assert {each.name for each in found if not each.ok} <= {"cognito", "aws"}
    assert list(tmp_path.iterdir()) == []


def test_a_check_for_the_auth_role_loads_neither_sql_nor_aws(tmp_path: Path) -> None:
    document = {**SMALLEST, "state_dir": str(tmp_path / "state")}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    program = (
        "import sys; from gateway.cli import run; run(['config', 'check', '--role', 'auth', '-c', "
        "sys.argv[1]]); print([name for name in sys.modules if name.partition('.')[0] in "
        "('sqlalchemy', 'asyncpg', 'aiosqlite', 'botocore', 'aioboto3')])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "gateway.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "FAIL cognito" in said
    assert said.splitlines()[-1] == "[]"


async def test_the_mail_server_is_asked_and_what_it_says_is_told(tmp_path: Path) -> None:
    box = Mailbox()
    async with box.serving() as port:
        mail = {"host": "127.0.0.1", "port": port, "sender": "gw@example.com", "timeout": "2s"}
        clear = Config(**SMALLEST, state_dir=tmp_path, mail={**mail, "tls": "none"})
        assert (await probe_mail(clear)).ok
        found = await probe_mail(Config(**SMALLEST, state_dir=tmp_path, mail=mail))
        assert not found.ok and not found.needed and "STARTTLS" in found.detail
    assert not (await probe_mail(clear)).ok and box.messages == []
    assert (await probe_mail(Config(**SMALLEST, state_dir=tmp_path))).ok
