"""Tests in another order at each run, so that none can lean on one before it.

``--order-seed random`` (or a number that an earlier run printed): the files of a folder, and the
tests of a file. Folders stay where they are, since what a folder shares ends with it; so do tests
that share a parameter of a server which is started once for each.
"""

from __future__ import annotations

import random
import secrets
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

OPTION = "--order-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, default="", help="random, or the number that a run printed")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.order_seed == "random":
        drawn: str | None = getattr(config, "workerinput", {}).get(OPTION)
        config.option.order_seed = drawn or str(secrets.randbelow(2**32))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of xdist must have the same order."""
    node.workerinput[OPTION] = node.config.option.order_seed


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before pytest puts those together that share a parameter."""
    if seed := config.option.order_seed:
        items[:] = shuffled(items, seed=seed)


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


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if seed := config.option.order_seed:
        terminalreporter.write_line(f"in this order again: {OPTION} {seed}")
