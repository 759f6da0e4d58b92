"""The commands of the pages on upgrades, backups and keys, run as they stand there, in their order,
with a real Valkey and a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.cli import run
from gateway.config.model import load_config
from gateway.database.engine import open_database
from gateway.keys import ring as keys
from gateway.sessions.embedded import EmbeddedValkey
from tests.database.rows import everything, fill
from tests.database.test_migrations import NextRelease

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.database.postgres import Postgres

OPERATOR = Path(__file__).parents[2] / "docs" / "operator"
NEEDS_A_SERVER = ("gateway health", "gateway serve", "gateway blocks")
AWAY = {"cognito", "aws", "redis eviction", "redis persistence", "redis users", "admin role"}
"""What ``config check`` misses here: the pool, and settings of a production server."""

UNREAD = {"client_credentials", "idempotency", "scim_resources", "webhooks_outbox"}
"""Tables with sealed cells of which no command here makes anything."""


class Place:
    """What a page calls ``/etc/gateway`` and ``/var/backups/gateway``, below a test's folder."""

    def __init__(self, folder: Path, server: Postgres) -> None:
        self.folder, self.server = folder, server
        self.store = EmbeddedValkey.start(folder / "store")
        (folder / "backups").mkdir()
        self.config = folder / "gateway.yaml"
        self.empty_database()

    def empty_database(self) -> None:
        """And ``database.url`` names it."""
        self.config.write_text(
            "ingress: {trusted_proxies: [127.0.0.1/32]}\n"
            "cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, "
            "domain: 'https://127.0.0.1:1'}\n"
            f"redis: {{url: 'unix://{self.store.socket_path}'}}\n"
            f"state_dir: {self.folder / 'state'}\n"
            f"database: {{url: '{self.server.new_database()}'}}\n"
            f"key_ring: {{file: {self.folder / 'keys.json'}}}\n",
            encoding="utf-8",
        )

    def commands(self, page: str, *, after: str = "", before: str = r"\Z") -> list[str]:
        """Between two headings."""
        text = (OPERATOR / page).read_text(encoding="utf-8")
        (part,) = re.findall(f"(?s){after}(.*?){before}", text)[:1]
        fences = re.findall(r"(?ms)^ *```(\w*)\n(.*?)^ *```$", part)
        blocks = [block for language, block in fences if not language]
        lines = [
            line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()
        ]
        assert lines, page
        return [line for line in lines if not line.startswith(NEEDS_A_SERVER)]

    def run(self, line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        local = line.replace("/etc/gateway/gateway.yaml", str(self.config)).replace(
            "/var/backups/gateway", str(self.folder / "backups")
        )
        program, *arguments = shlex.split(local)
        assert program == "gateway", line
        code = run(arguments)
        said = capsys.readouterr()
        return code, said.out + said.err

    def filled(self) -> dict[str, list[str]]:
        async def work() -> dict[str, list[str]]:
            ring = keys.load(self.folder / "keys.json", create=False)
            database = open_database(load_config(self.config), lambda: ring.database)
            await database.prepare()
            await fill(database, rows=3, only=UNREAD)
            rows = await everything(database, without="audit")
            await database.close()
            return rows

        return asyncio.run(work())

    def rows(self) -> dict[str, list[str]]:
        async def work() -> dict[str, list[str]]:
            database = open_database(load_config(self.config), list)
            rows = await everything(database, without="audit")
            await database.close()
            return rows

        return asyncio.run(work())


@pytest.fixture
def place(postgres: Postgres, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, postgres)
    yield made
    made.store.stop()


def well(line: str, said: tuple[int, str]) -> None:
    code, text = said
    if line.startswith("gateway config check"):
        failed = {found[1] for found in re.finditer(r"(?m)^FAIL ([\w ]+):", text)}
        assert failed <= AWAY, text
        assert "ok   database_keys" in text
    else:
        assert code == 0, f"{line}: {text}"


def test_keys_are_rotated_as_the_page_says(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    create, *others = place.commands("key-rotation.md")
    well(create, place.run(create, capsys))
    place.filled()
    first = json.loads((place.folder / "keys.json").read_text())
    apart = [line for line in others if "--compromised" in line]
    for line in others:
        if line not in apart:
            well(line, place.run(line, capsys))
    now = json.loads((place.folder / "keys.json").read_text())
    for kind in ("sealing", "assertion", "database"):
        assert now[kind][0]["kid"] != first[kind][0]["kid"]
        assert now[kind][1]["kid"] == first[kind][0]["kid"]
    assert apart
    for line in apart:
        well(line, place.run(f"{line} --json", capsys))
    dropped = json.loads((place.folder / "keys.json").read_text())
    for kind in ("sealing", "assertion"):
        assert {key["kid"] for key in dropped[kind]}.isdisjoint(key["kid"] for key in now[kind])
    (place.folder / "keys.json").unlink()
    code, said = place.run(create, capsys)
    assert code == 2
    assert now["database"][0]["kid"] in said, "another one is refused, as the page says"


def test_an_upgrade_goes_as_the_page_says(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys.load(place.folder / "keys.json", create=True)
    before = place.filled()
    backup, status, upgrade, check = place.commands("upgrade.md")
    well(backup, place.run(backup, capsys))
    with NextRelease(tmp_path / "next").installed(monkeypatch):
        code, said = place.run(status, capsys)
        assert code == 1
        assert "gateway database upgrade" in said
        code, said = place.run(check, capsys)
        assert "FAIL database_schema" in said
        well(upgrade, place.run(upgrade, capsys))
        assert place.run(status, capsys)[0] == 0
        well(check, place.run(check, capsys))
    assert place.run(status, capsys)[0] == 2, "the old release"
    place.empty_database()
    (restore,) = [
        line
        for line in place.commands("backup.md", after="## Restore")
        if line.startswith("gateway database restore")
    ]
    well(restore, place.run(restore.replace("gateway.gz", "before-upgrade.gz"), capsys))
    assert place.rows() == before, "the way back"


def test_a_backup_is_made_tested_and_restored_as_the_page_says(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.load(place.folder / "keys.json", create=True)
    before = place.filled()
    for line in place.commands("backup.md", before="## Restore"):
        well(line, place.run(line, capsys))
    kept = (place.folder / "keys.json").read_bytes()
    place.empty_database()
    (place.folder / "keys.json").unlink()
    restore, *others = place.commands("backup.md", after="## Restore")
    code, _ = place.run(restore, capsys)
    assert code == 2, "the key ring first"
    keys.load(place.folder / "keys.json", create=True)
    code, said = place.run(restore, capsys)
    assert code == 2
    assert "needs database keys" in said
    (place.folder / "keys.json").write_bytes(kept)
    well(restore, place.run(restore, capsys))
    assert place.rows() == before
    for line in others:
        well(line, place.run(line, capsys))
