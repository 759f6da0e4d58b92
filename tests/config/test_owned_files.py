"""Who owns what a command leaves behind. Root is needed to try."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.config.owned_files import create
from gateway.keys import ring
from gateway.keys.file import editing

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = 10_001


def test_no_link_in_the_folder_leads_a_write_elsewhere(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "file").symlink_to(target)
    for flags in (0, os.O_EXCL):
        with pytest.raises(OSError, match=r"Too many levels|File exists"):
            create(tmp_path / "file", flags)
    assert not target.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_roots_commands_make_is_the_gateways(tmp_path: Path) -> None:
    """A key ring of root's would be one that no replica can read."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, GATEWAY, GATEWAY)
    path = state / "keys.json"
    made = ring.load(path, create=True)
    with editing(path) as save:
        save(made)
    files = [
        (file.name, file.stat().st_uid, file.stat().st_mode & 0o777) for file in state.iterdir()
    ]
    assert sorted(files) == [("keys.json", GATEWAY, 0o600), ("keys.json.lock", GATEWAY, 0o600)]
