"""The key ring in its file: read again when it changes, and rotated in three steps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from gateway.config import reload
from gateway.config.model import Config
from gateway.config.reload import ConfigFile
from gateway.errors import ConfigError
from gateway.keys import file as key_file
from gateway.keys import ring as keys
from gateway.keys.assertion import PUBLISHED_BEFORE_S
from gateway.keys.file import KeyFile
from gateway.keys.ring import dump


@pytest.mark.parametrize("kind", key_file.KINDS)
def test_a_rotation_stages_then_writes_then_drops(kind: str) -> None:
    ring = keys.generate()
    (old,) = getattr(ring, kind)
    ring = key_file.stage(ring, kind)
    fresh = key_file.staged(ring, kind)
    assert fresh is not None
    assert getattr(ring, kind) == (old, fresh)
    assert key_file.stage(ring, kind) == ring
    ring = key_file.promote(ring, kind, now=1000)
    begins = 1000
    if isinstance(fresh, keys.SigningKey):
        begins = 1000 + PUBLISHED_BEFORE_S
        fresh = replace(fresh, writes_from=begins)
    assert getattr(ring, kind) == (fresh, replace(old, retired_at=begins))
    assert key_file.staged(ring, kind) is None
    assert key_file.prune(ring, kind, before=begins) == ring
    assert getattr(key_file.prune(ring, kind, before=begins + 1), kind) == (fresh,)
    others = [other for other in key_file.KINDS if other != kind]
    assert all(len(getattr(ring, other)) == 1 for other in others)
    with pytest.raises(ValueError, match="no key is staged"):
        key_file.promote(ring, kind, now=1)


def test_the_file_keeps_order_and_times(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    read = key_file.KeyFile(path, create=True)
    ring = key_file.promote(key_file.stage(read(), "sealing"), "sealing", now=77)
    ring = key_file.promote(key_file.stage(ring, "assertion"), "assertion", now=77)
    with key_file.editing(path) as save:
        save(ring)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read.look()
    assert read().sealing == ring.sealing
    assert [(key.kid, key.retired_at, key.writes_from) for key in read().assertion] == [
        (key.kid, key.retired_at, key.writes_from) for key in ring.assertion
    ]
    assert not read.look()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_who_follows_the_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    read = key_file.KeyFile(path, create=True)
    told: list[keys.KeyRing] = []
    read.changed.append(told.append)
    with key_file.editing(path) as save:
        save(key_file.stage(read(), "assertion"))
    read.look()
    assert [len(ring.assertion) for ring in told] == [2]


@pytest.mark.parametrize(
    "text", ["", "{}", "nonsense", '{"sealing": [], "assertion": [], "database": []}']
)
def test_a_broken_or_missing_file_keeps_the_old_ring(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    read = key_file.KeyFile(path, create=True)
    ring = read()
    path.write_text(text)
    assert not read.look()
    path.unlink()
    assert not read.look()
    assert read() is ring


def test_another_ring_in_the_place_of_this_one_is_not_taken_for_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    read = key_file.KeyFile(path, create=True)
    ring = read()
    for kind in key_file.KINDS:
        with key_file.editing(path) as save:
            save(replace(ring, **{kind: getattr(keys.generate(), kind)}))
        assert not read.look()
        assert read() is ring
        assert f"lacks the {kind} key {getattr(ring, kind)[0].kid}" in read.problem
    with key_file.editing(path) as save:
        save(key_file.promote(key_file.stage(ring, "sealing"), "sealing", now=1))
    assert read.look()
    assert read.problem == ""


def test_two_rotations_do_not_cross(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys.load(path, create=True)
    with (
        key_file.editing(path),
        pytest.raises(ConfigError, match="another rotation"),
        key_file.editing(path),
    ):
        pass


def test_a_ring_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys.load(path, create=True)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        keys.load(path, create=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="root's file")
@pytest.mark.parametrize(
    ("mode", "reader", "read"),
    [
        (0o440, 10001, True),
        (0o640, 10001, True),
        (0o440, 0, False),
        (0o444, 10001, False),
        (0o460, 10001, False),
        (0o450, 10001, False),
        (0o404, 10001, False),
    ],
)
def test_the_file_of_a_mounted_secret_is_roots_and_read_by_a_group(
    mode: int, reader: int, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    ring = keys.load(path, create=True)
    path.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: reader)
    if read:
        assert dump(keys.load(path, create=False)) == dump(ring)
    else:
        with pytest.raises(ConfigError, match="others can read"):
            keys.load(path, create=False)


@pytest.mark.parametrize("watched", ["key ring", "configuration"])
async def test_a_mount_that_hangs_holds_up_no_request(
    watched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at a file on it never comes back; the loop goes on, and what is known stays in
    force.
    """
    module = key_file if watched == "key ring" else reload
    path = tmp_path / "file"
    file = (
        KeyFile(path, create=True)
        if watched == "key ring"
        else ConfigFile(path, create_autospec(Config))
    )
    asked, hangs = threading.Event(), threading.Event()

    def hanging(_: Path) -> None:
        asked.set()
        hangs.wait(10)

    monkeypatch.setattr(module, "POLL_S", 0.0)
    monkeypatch.setattr(module, "stamp", hanging)
    watching = asyncio.create_task(file.watch())
    turns = 0
    async with asyncio.timeout(5):
        while not asked.is_set() or turns < 100:
            await asyncio.sleep(0.001)
            turns += 1
    watching.cancel()
    hangs.set()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def test_a_ring_that_a_reboot_would_empty_is_known(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/sdb /run/my\\040disk xfs rw 0 0\n",
        encoding="utf-8",
    )
    for path, expected in {
        "/run/secrets/keys.json": True,
        "/run/my disk/keys.json": False,
        "/var/lib/gateway/keys.json": False,
        "/running/keys.json": False,
    }.items():
        assert key_file.is_in_memory(Path(path), mounts=mounts) is expected, path
    assert not key_file.is_in_memory(Path("/run/keys.json"), mounts=tmp_path / "missing")


def test_former_keys_removed_by_hand_are_dropped_by_a_process_that_runs(tmp_path: Path) -> None:
    """After a theft, as the page on rotation says."""
    path = tmp_path / "keys.json"
    read = KeyFile(path, create=True)
    former = read()
    fresh = former
    for kind in ("sealing", "assertion"):
        fresh = key_file.promote(key_file.stage(fresh, kind), kind, now=1000)
    with key_file.editing(path) as save:
        save(fresh)
    assert read.look()
    document = json.loads(path.read_text("ascii"))
    for kind in ("sealing", "assertion"):
        document[kind] = [entry for entry in document[kind] if "retired_at" not in entry]
    copy = tmp_path / "copy.json"
    copy.touch(mode=0o600)
    copy.write_text(json.dumps(document), encoding="ascii")
    copy.replace(path)
    assert read.look() and read.problem == ""
    assert [key.kid for key in read().sealing] == [fresh.sealing[0].kid]
    assert [key.kid for key in read().assertion] == [fresh.assertion[0].kid]
    assert former.sealing[0].kid != fresh.sealing[0].kid
