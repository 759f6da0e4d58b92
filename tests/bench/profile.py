"""Where the gateway's processor time goes: py-spy looks at it many times a second, without stopping
it, while it answers.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench import logins
from tests.bench.load import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.checks import Bench
    from tests.support.world import RunningWorld

SUBJECTS: Final = ("check", "login")
SAMPLES_PER_SECOND: Final = 250
SHOWN: Final = 25
TREE_SHARE: Final = 0.02
_LINE_NUMBER = re.compile(r":\d+\)$")
Stack = tuple[str, ...]


def profile(bench: Bench, subject: str, *, seconds: int) -> None:
    """Prints the functions by their own time, and the tree of those below the event loop."""
    world, seconds = bench.running("recording", {}), max(seconds, 10)
    gateway = bench.recording()
    raw = bench.folder / "profile"
    command = [
        *(str(Path(sys.executable).with_name("py-spy")), "record", "--pid", f"{gateway.pid}"),
        *("--rate", f"{SAMPLES_PER_SECOND}", "--gil", "--duration", "3600"),
        *("--format", "raw", "--output", str(raw)),
    ]
    with (bench.folder / "py-spy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        if subject == "check":
            load(gateway.target(), seconds)
        else:
            asyncio.run(_log_in(world, seconds))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    if not raw.is_file():
        raise SystemExit((bench.folder / "py-spy.log").read_text("utf-8"))
    show(list(_stacks(raw.read_text("utf-8"))))


async def _log_in(world: RunningWorld, seconds: float) -> None:
    until = time.monotonic() + seconds
    async with logins.Crowd(world) as crowd:
        while time.monotonic() < until:
            await logins.at_once(range(logins.AT_ONCE), lambda _: crowd.log_in())


def _stacks(text: str) -> Iterator[tuple[Stack, int]]:
    """Frames from outside in, and how often they were seen. What runs the event loop is left
    out.
    """
    for line in text.splitlines():
        frames, _, number = line.rpartition(" ")
        names = [_LINE_NUMBER.sub(")", frame) for frame in frames.split(";")]
        loop = next((at for at, name in enumerate(names) if name.startswith("Runner.run ")), -1)
        yield tuple(names[loop + 1 :]) or ("the event loop itself",), int(number)


def show(stacks: list[tuple[Stack, int]]) -> None:
    total = sum(number for _, number in stacks) or 1
    own: Counter[str] = Counter()
    below: Counter[Stack] = Counter()
    for frames, number in stacks:
        own[frames[-1]] += number
        for depth in range(1, len(frames) + 1):
            below[frames[:depth]] += number
    print(f"{total} samples\n\nown time")
    for name, number in own.most_common(SHOWN):
        print(f"{number / total:6.1%}  {name}")
    print(f"\nwith what they call, from {TREE_SHARE:.0%}")
    _show_below((), below, total)


def _show_below(at: Stack, below: Counter[Stack], total: int) -> None:
    children = [
        (number, frames)
        for frames, number in below.items()
        if len(frames) == len(at) + 1 and frames[: len(at)] == at and number >= TREE_SHARE * total
    ]
    for number, frames in sorted(children, reverse=True):
        print(f"{number / total:6.1%}  {'  ' * len(at)}{frames[-1]}")
        _show_below(frames, below, total)
