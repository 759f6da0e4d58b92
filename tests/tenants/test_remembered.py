"""A restart reads from memory what it read before, and only that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigError
from gateway.keys import ring as keys
from gateway.tenants import files, remembered
from gateway.tenants.files import TenantFiles
from gateway.tenants.remembered import FILE, RememberedFiles, key_of
from tests.database.fixtures import config_with
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Config

RING = keys.generate()


class Folder:
    """Tenant files, and one start after the other on them."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tenants, self.state = root / "tenants", root / "state"
        self.state.mkdir()
        self.parsed: list[str] = []
        monkeypatch.setattr(files, "MANY", 1)
        served = files._served

        def noted(path: Path, raw: bytes, config: Config) -> object:
            self.parsed.append(path.stem)
            return served(path, raw, config)

        monkeypatch.setattr(files, "_served", noted)

    def start(self, *, ring: keys.KeyRing = RING, login_host: str = "a.example.com") -> TenantFiles:
        """Each time as a new process would."""
        self.parsed.clear()
        config = config_with(self.state, login_host=login_host)
        started = TenantFiles(self.tenants, config, RememberedFiles(config, lambda: ring))
        started.load()
        return started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path, monkeypatch)
    write(made.tenants, sample("acme"))
    write(made.tenants, sample("globex", client="managed", client_id=None, client_secret=None))
    return made


def test_a_restart_parses_what_has_changed(folder: Folder) -> None:
    first = folder.start()
    assert folder.parsed == ["acme", "globex"]
    assert (folder.state / FILE).stat().st_mode & 0o777 == 0o600
    again = folder.start()
    assert folder.parsed == []
    assert again.records == first.records
    assert again.provisioned == first.provisioned == {"globex"}
    write(folder.tenants, sample("acme", name="Another"))
    third = folder.start()
    assert folder.parsed == ["acme"]
    assert third.records["acme"].digest != first.records["acme"].digest
    (folder.tenants / "acme.yaml").touch()
    third.refresh(everything=True)
    assert folder.parsed == ["acme"], "the same bytes say the same"


def test_what_else_decides_what_a_file_says_has_all_of_them_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.start()
    folder.start(login_host="b.example.com")
    assert folder.parsed == ["acme", "globex"], "the gateway's configuration"
    monkeypatch.setattr(remembered, "_code", lambda: b"another release".ljust(32))
    folder.start(login_host="b.example.com")
    assert folder.parsed == ["acme", "globex"], "the code"
    folder.start(login_host="b.example.com", ring=keys.generate())
    assert folder.parsed == ["acme", "globex"], "the key ring"
    whole = (folder.state / FILE).read_bytes()
    for broken in (b"", whole[:40], whole[:-1], whole[:100] + b"\0" + whole[101:]):
        (folder.state / FILE).write_bytes(broken)
        folder.start(login_host="b.example.com")
        assert folder.parsed == ["acme", "globex"]


def test_a_secret_from_elsewhere_and_a_mistake_are_looked_at_each_time(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_SECRET", "the first one")
    write(folder.tenants, sample("acme", client_secret="env:ACME_SECRET"))
    before = folder.start().records["acme"].digest
    monkeypatch.setenv("ACME_SECRET", "the second one")
    assert folder.start().records["acme"].digest != before
    assert folder.parsed == ["acme"]
    write(folder.tenants, sample("acme", hosts=["not a host"]))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"acme\.yaml: hosts\.0"):
            folder.start()
    for spelling in (b'"env\\x3aX"', b"env:X", b"file:/run/secrets/x"):
        assert key_of(b"client_secret: " + spelling) == b""
