"""A forked process is as an executed one, whatever it looks at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import launch as execute
from tests.support.fork_server import ROOT, ForkServer, fork_server, launch, own_environment
from tests.support.gateway_process import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fork_server import Forked

PROBE = "tests.support.process_probe"
ENVIRONMENT = {
    **own_environment(os.environ),
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "TZ": "Asia/Kathmandu",
    "OWN": "ä\udcff",
}


def executed(folder: Path, *words: str) -> tuple[int, str, str]:
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        code = subprocess.run(
            [sys.executable, "-m", PROBE, *words],
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=False,
        ).returncode
    return code, (folder / "out").read_text(), (folder / "err").read_text()


def forked(folder: Path, *words: str, workers: bool = False) -> tuple[int, str, str]:
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = fork_server(workers=workers).start(
            *words,
            cwd=folder,
            environment=ENVIRONMENT,
            stdout=out.fileno(),
            stderr=err.fileno(),
            module=PROBE,
        )
        code = process.wait(30)
    return code, (folder / "out").read_text(), (folder / "err").read_text()


@pytest.mark.parametrize("workers", [False, True])
def test_a_forked_process_sees_what_an_executed_one_sees(tmp_path: Path, *, workers: bool) -> None:
    words = ("say", "ä", "two words")
    code, said, complained = executed(tmp_path, *words)
    again, said_by_fork, complained_by_fork = forked(tmp_path, *words, workers=workers)
    assert (code, complained) == (again, complained_by_fork) == (0, "")
    assert said.splitlines()[1:] == said_by_fork.splitlines()[1:] == ["ended"]
    by_start, by_fork = json.loads(said.splitlines()[0]), json.loads(said_by_fork.splitlines()[0])
    # What is started by a test ends with it: an executed one by its ``preexec_fn``.
    assert (by_start.pop("death"), by_fork.pop("death")) == (0, int(signal.SIGTERM))
    assert by_fork == by_start


def test_what_a_caller_ignores_a_forked_process_ignores(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        said = json.loads(forked(tmp_path, "say")[1].splitlines()[0])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert said["handlers"]["1"] == str(int(signal.SIG_IGN))
    again = json.loads(forked(tmp_path, "say")[1].splitlines()[0])
    assert again["handlers"]["1"] == str(before).partition(" at ")[0]


@pytest.mark.parametrize(("word", "code"), [("fail", 1), ("exit", 7)])
def test_a_forked_process_ends_as_an_executed_one(tmp_path: Path, word: str, code: int) -> None:
    first, second = executed(tmp_path, word), forked(tmp_path, word)
    assert first[0] == second[0] == code
    assert first[1].splitlines()[1:] == second[1].splitlines()[1:] == ["ended"]
    assert first[2].splitlines()[-1:] == second[2].splitlines()[-1:]


def test_what_forked_processes_draw_differs(tmp_path: Path) -> None:
    one, other = (json.loads(forked(tmp_path, "draw")[1]) for _ in range(2))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_a_signal_reaches_a_forked_process_and_its_end_is_told(tmp_path: Path) -> None:
    with staying(tmp_path, fork_server()) as process:
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()
        assert process.wait(10) == process.poll() == -signal.SIGKILL
        process.terminate()  # nobody is there any more


def test_what_a_server_has_forked_ends_with_it(tmp_path: Path) -> None:
    for end in ("closed", "killed"):
        server = ForkServer()
        with staying(tmp_path / end, server) as process:
            if end == "closed":
                server.close()
            else:
                server.process.kill()
                server.process.wait()
                server.close()
            assert process.wait(10) == -signal.SIGTERM
            until(lambda: not running(process.pid))


async def test_many_wait_for_the_same_process(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        process = await launch(
            "--version",
            cwd=tmp_path,
            environment=ENVIRONMENT,
            stdout=out.fileno(),
            stderr=out.fileno(),
        )
        assert set(await asyncio.gather(process.wait(), process.wait())) == {0}
        assert process.returncode == await process.wait() == 0
    assert (tmp_path / "out").read_text().startswith("gateway, version")


@pytest.mark.parametrize("name", ["PYTHONPROFILEIMPORTTIME", "PYTHONHASHSEED", "LD_PRELOAD"])
def test_what_only_a_new_interpreter_would_obey_is_executed(name: str) -> None:
    serve = ("serve", "--workers", "1")
    assert fork_server().fits(serve, ENVIRONMENT)
    assert not fork_server().fits(serve, {**ENVIRONMENT, name: "1"})


def test_workers_are_forked_from_a_server_without_metrics() -> None:
    """Theirs are made otherwise as the process imports them."""
    serve = ("serve", "--workers", "2")
    assert not fork_server().fits(serve, ENVIRONMENT)
    assert fork_server(workers=True).fits(serve, ENVIRONMENT)


async def test_both_ways_to_start_a_gateway_say_the_same(tmp_path: Path) -> None:
    said = []
    for start in (execute, launch):
        with (tmp_path / "out").open("w+b") as out:
            process = await start(
                *("serve", "-c", "missing.yaml"),
                cwd=tmp_path,
                environment=ENVIRONMENT,
                stdout=out.fileno(),
                stderr=out.fileno(),
            )
            code = await process.wait()
        said.append((code, (tmp_path / "out").read_text()))
    assert said[0] == said[1]
    assert said[0][0] != 0
    assert "missing.yaml" in said[0][1]


@contextlib.contextmanager
def staying(folder: Path, server: ForkServer) -> Iterator[Forked]:
    folder.mkdir(exist_ok=True)
    with (folder / "out").open("wb") as out:
        process = server.start(
            "stay",
            cwd=folder,
            environment=ENVIRONMENT,
            stdout=out.fileno(),
            stderr=out.fileno(),
            module=PROBE,
        )
    try:
        until(lambda: (folder / "out").read_text().endswith("\n"))
        yield process
    finally:
        process.kill()


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
