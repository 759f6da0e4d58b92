"""What the tests of each file cost: ``--record-seconds`` writes it to ``seconds.txt``, by the wall
and of processors, with the servers and commands that they start.

A run of some files replaces their rows alone. The second figure is about the same on a busy
machine; the first one is not.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

ROOT: Final = Path(__file__).parent.parent
SECONDS: Final = Path(__file__).with_name("seconds.txt")
LONG_S: Final = 2.0
"""Files that take less, by both clocks, have no row."""
OUTPUT: Final = "seconds"
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
Cost: TypeAlias = "tuple[float, float]"
"""By the wall, of processors; seconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-seconds", action="store_true", help="write tests/seconds.txt")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.record_seconds:
        config.pluginmanager.register(Meter(config))


def seconds() -> dict[str, Cost]:
    """Path of a test file → what its tests cost together."""
    rows = (line.split() for line in SECONDS.read_text("utf-8").splitlines())
    return {path: (float(wall), float(processors)) for wall, processors, path in rows}


def write(measured: Mapping[str, Cost]) -> None:
    costs = {path: cost for path, cost in seconds().items() if (ROOT / path).is_file()} | dict(
        measured
    )
    rows = sorted(costs.items(), key=lambda row: (-row[1][0], row[0]))
    SECONDS.write_text(
        "".join(
            f"{wall:.0f} {processors:.0f} {path}\n"
            for path, (wall, processors) in rows
            if max(wall, processors) >= LONG_S
        ),
        "utf-8",
    )


def processor_s(root: int) -> float:
    """Of the process, all those below it that run, and those that they have waited for."""
    below: defaultdict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            below[int(fields[1])].append(int(folder.name))
            ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    found, total = [root], 0
    while found:
        process = found.pop()
        total += ticks.get(process, 0)
        found += below[process]
    return total * _TICK_S


class Meter:
    """In each process that runs tests; the one that a person started writes the table."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._before: Cost | None = None
        self.costs: defaultdict[str, Cost] = defaultdict(lambda: (0.0, 0.0))

    def add(self, path: str, cost: Cost) -> None:
        wall, processors = self.costs[path]
        self.costs[path] = (wall + cost[0], processors + max(0.0, cost[1]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """At the last test of a file, after what was shared has ended."""
        before = self._before = self._before or self._now()
        result = yield
        if nextitem is None or nextitem.path != item.path:
            now = self._now()
            cost = now[0] - before[0], now[1] - before[1]
            self.add(str(item.path.relative_to(ROOT)), cost)
            self._before = now
        return result

    def _now(self) -> Cost:
        return time.monotonic(), processor_s(os.getpid())

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for path, cost in getattr(node, "workeroutput", {}).get(OUTPUT, {}).items():
            self.add(path, cost)

    def pytest_sessionfinish(self) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[OUTPUT] = dict(self.costs)
        else:
            write(self.costs)
