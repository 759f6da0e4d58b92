"""The embedded Valkey: one per directory, dies with its owner, survives restarts, opens no port."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import UnavailableError
from gateway.sessions import embedded
from gateway.sessions.connection import Target, client_to
from gateway.sessions.embedded import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Callable

OWNER = """
import pathlib, sys, signal
from gateway.sessions.embedded import EmbeddedValkey
store = EmbeddedValkey.start(pathlib.Path(sys.argv[1]))
print(store.pid or 0, flush=True)
signal.pause()
"""


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the other side is a process, which sets no event
            await asyncio.sleep(0.005)


def running(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
            != "Z"
        )
    except FileNotFoundError:
        return False


def owner(directory: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


async def put(store: EmbeddedValkey, value: str | None = None) -> bytes | None:
    redis = client_to(Target("unix", path=store.socket_path), ca_file=None, replicas=0)
    try:
        if value is not None:
            await redis.command("SET", "k", value)
        return await redis.get("k")
    finally:
        await redis.close()


async def test_what_was_written_survives_a_restart(tmp_path: Path) -> None:
    store = EmbeddedValkey.start(tmp_path)
    await put(store, "v")
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    until(lambda: not running(store.pid or 0))
    store.stop()
    store = EmbeddedValkey.start(tmp_path)
    assert await put(store) == b"v"
    store.stop()


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_it_dies_with_its_owner_whatever_kills_that(tmp_path: Path, blow: signal.Signals) -> None:
    process, pid = owner(tmp_path)
    assert running(pid)
    process.send_signal(blow)
    process.wait()
    until(lambda: not running(pid))
    if process.stdout is not None:
        process.stdout.close()


async def test_a_second_process_uses_the_running_one_and_leaves_it_alone(tmp_path: Path) -> None:
    process, pid = owner(tmp_path)
    second = EmbeddedValkey.start(tmp_path)
    assert not second.owner
    await put(second, "v")
    second.stop()
    assert running(pid)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def test_the_other_takes_over_when_the_owner_dies(tmp_path: Path) -> None:
    process, pid = owner(tmp_path)
    second = EmbeddedValkey.start(tmp_path)
    await put(second, "v")
    watching = asyncio.create_task(second.watch())
    process.kill()
    process.wait()
    await eventually(lambda: second.owner and second._answers())
    assert await put(second) == b"v"
    watching.cancel()
    assert not running(pid)
    second.stop()
    if process.stdout is not None:
        process.stdout.close()


async def test_a_server_that_crashed_is_started_again(tmp_path: Path) -> None:
    store = EmbeddedValkey.start(tmp_path)
    await put(store, "v")
    first = store.pid
    assert first is not None
    watching = asyncio.create_task(store.watch())
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: store.pid not in {first, None} and store._answers())
    assert await put(store) == b"v"
    watching.cancel()
    store.stop()


def test_a_server_that_dies_again_and_again_is_started_less_and_less_often_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    store = EmbeddedValkey(tmp_path, monotonic=lambda: now)
    store.directory.mkdir()
    store.ensure()
    until(store._answers)
    (store.directory / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    os.kill(store.pid or 0, signal.SIGKILL)
    until(lambda: store._server is not None and store._server.poll() is not None)
    starts: list[float] = []
    for _ in range(1200):  # five minutes of looking
        store.ensure()
        if store.pid is not None:
            starts.append(now)
            until(lambda: store._server is None or store._server.poll() is not None)
        now += 0.25
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert waits[:5] == [1.25, 2.25, 4.25, 8.25, 16.25], "the first one is at once"
    assert set(waits[5:]) == {30.25}
    told = [
        vars(record)["gateway_fields"]
        for record in caplog.records
        if record.message == "embedded_store_ended"
    ]
    assert told[0]["exit_code"] == -signal.SIGKILL
    monkeypatch.setattr(embedded, "_FULL_BYTES", 1 << 62)
    assert store._cause().startswith("the disk of state_dir is full"), (
        "a server whose disk is full cannot say so"
    )
    assert "appendonly.aof.manifest" in told[-1]["cause"] or "manifest" in told[-1]["cause"].lower()
    store.stop()


def test_many_starts_at_once_make_one_server(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    pids = [int(p.stdout.readline()) for p in started if p.stdout is not None]
    assert sorted(pid == 0 for pid in pids) == [False, True, True, True]
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def test_a_deep_state_directory_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    store = EmbeddedValkey.start(deep)
    assert len(store.socket_path) < 100
    assert await put(store, "v") == b"v"
    second = EmbeddedValkey.start(deep)
    assert not second.owner
    second.stop()
    store.stop()


def test_no_port_is_open_and_nobody_else_may_look(tmp_path: Path) -> None:
    store = EmbeddedValkey.start(tmp_path / "state")
    process = Path(f"/proc/{store.pid}")
    inodes = {
        target[8:-1]
        for fd in (process / "fd").iterdir()
        if (target := str(fd.readlink())).startswith("socket:")
    }
    assert inodes
    for table in ("tcp", "tcp6", "udp", "udp6"):
        assert not inodes & {
            line.split()[9]
            for line in (process / "net" / table).read_text(encoding="ascii").splitlines()
        }
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert (store.directory / "valkey.sock").stat().st_mode & 0o777 == 0o600
    store.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(UnavailableError, match="ended with status"):
        EmbeddedValkey.start(tmp_path)
