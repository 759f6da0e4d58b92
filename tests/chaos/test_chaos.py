"""``scripts/soak chaos``, small: a fixed seed, so that it is the same in every run of the suite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak.chaos.history import Ended, FaultInjected, SessionStarted, read

if TYPE_CHECKING:
    from tests.soak.chaos.history import Line

ROOT = Path(__file__).parents[2]
FAULTS = ("kill", "silence", "kill redis", "promote standby", "clock", "cognito", "snapshot")
GIVES_UP_S = 400.0


def chaos(folder: Path, *arguments: str) -> tuple[int, str, list[Line]]:
    """Exit code, what it printed, and the history; nothing of it is left running."""
    folder.mkdir(exist_ok=True)
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.chaos", *arguments, "--keep", str(folder / "run")],
            cwd=ROOT,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
        try:
            status = process.wait(GIVES_UP_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    left = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _mentions(pid, folder)]
    assert left == []
    history = folder / "run" / "history.jsonl"
    lines = history.read_text("ascii").splitlines() if history.exists() else []
    return status, (folder / "printed").read_text(errors="replace"), read(lines)


def _mentions(process: Path, folder: Path) -> bool:
    try:
        return str(folder).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_a_deployment_under_faults_keeps_what_it_promises(tmp_path: Path) -> None:
    status, printed, history = chaos(
        tmp_path,
        *("--minutes", "0.75", "--seed", "1", "--bound", "90", "--loops", "2"),
        *("--faults", *FAULTS),
    )
    assert status == 0, printed[-6000:]
    assert "violations: none" in printed
    # It is a check that could have failed: there were faults, and people who were ended under them.
    assert sum(isinstance(line, FaultInjected) for line in history) >= 2
    assert sum(isinstance(line, SessionStarted) for line in history) >= 18
    assert any(isinstance(line, Ended) and line.acknowledged is not None for line in history)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report[0].startswith("seed 1; artifacts ")


def test_an_acknowledgment_that_does_not_wait_is_found(tmp_path: Path) -> None:
    """By what a replica allows whose way to Redis is slow or silent, all the time."""
    for seed in (1, 2, 3):  # one mostly does; a busy machine asks too seldom when it counts
        status, printed, _history = chaos(
            tmp_path / str(seed),
            *("--minutes", "0.4", "--seed", str(seed), "--bound", "90", "--faults"),
            *(f"{kind}: auth-{n} to redis" for kind in ("delay", "silence") for n in range(3)),
            *("--mutant", "acknowledge-without-waiting"),
        )
        if status != 0:
            break
    assert status == 1, printed[-6000:]
    assert "allowed after an acknowledgment" in printed, printed[-6000:]
