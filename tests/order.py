"""The order of tests.

``--order-seed random`` (or a number that an earlier run printed): another one at each run, so that
none can lean on one before it: the files of a folder, and the tests of a file. Folders stay where
they are, since what a folder shares ends with it; so do tests that share a parameter of a server
which is started once for each.

``--longest-first``: the files that take long, folder by folder, and then the others, so that no
worker is alone with one at the end. How long they take is in ``seconds.txt``, which
``--record-seconds`` writes. A seed goes before.
"""

from __future__ import annotations

import random
import secrets
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OPTION = "--order-seed"
ROOT: Final = Path(__file__).parent.parent
SECONDS: Final = Path(__file__).with_name("seconds.txt")
"""Of each file that takes long, by wall clock, all of its tests together."""
LONG_S: Final = 5.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, default="", help="random, or the number that a run printed")
    parser.addoption("--longest-first", action="store_true", help="the files of tests/seconds.txt")
    parser.addoption("--record-seconds", action="store_true", help="write tests/seconds.txt")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.order_seed == "random":
        drawn: str | None = getattr(config, "workerinput", {}).get(OPTION)
        config.option.order_seed = drawn or str(secrets.randbelow(2**32))
    if config.option.record_seconds and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of xdist must have the same order."""
    node.workerinput[OPTION] = node.config.option.order_seed


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before pytest puts those together that share a parameter."""
    if seed := config.option.order_seed:
        items[:] = shuffled(items, seed=seed)
    elif config.option.longest_first:
        items[:] = longest_first(items, seconds())


def shuffled(items: Iterable[pytest.Item], *, seed: str) -> list[pytest.Item]:
    chance = random.Random(seed)  # an order is no secret
    found: list[pytest.Item] = []
    for _, folder in groupby(items, key=lambda item: item.path.parent):
        files = [list(file) for _, file in groupby(folder, key=lambda item: item.path)]
        chance.shuffle(files)
        for file in files:
            chance.shuffle(file)
            found += file
    return found


def seconds() -> dict[str, float]:
    lines = SECONDS.read_text("utf-8").splitlines()
    return {path: float(took) for took, path in (line.split() for line in lines)}


def longest_first(items: Iterable[pytest.Item], seconds: Mapping[str, float]) -> list[pytest.Item]:
    """Files that ``seconds`` names, by the longest of their folder and then by themselves; then the
    others as they were.
    """

    def took(item: pytest.Item) -> float:
        return seconds.get(str(item.path.relative_to(ROOT)), 0.0)

    items = list(items)
    longest: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        longest[item.path.parent] = max(longest[item.path.parent], took(item))
    long = [item for item in items if took(item)]
    long.sort(
        key=lambda item: (
            -longest[item.path.parent],
            str(item.path.parent),
            -took(item),
            str(item.path),
        )
    )
    return [*long, *(item for item in items if not took(item))]


class Recorder:
    """Adds up what each file took, and writes the table at the end."""

    def __init__(self) -> None:
        self.took: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        lines = (
            f"{took:.0f} {path}\n"
            for path, took in sorted(self.took.items(), key=lambda row: -row[1])
            if took >= LONG_S
        )
        SECONDS.write_text("".join(lines), "utf-8")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if seed := config.option.order_seed:
        terminalreporter.write_line(f"in this order again: {OPTION} {seed}")
