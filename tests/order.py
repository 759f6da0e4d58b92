"""The order of tests.

``--order-seed random`` (or a number that an earlier run printed): another one at each run, so that
none can lean on one before it: the files of a folder, and the tests of a file. Folders stay where
they are, since what a folder shares ends with it; so do tests that share a parameter of a server
which is started once for each.

``--covered-apart``: without what ``scripts/test`` runs beside for its coverage: the tests of
``COVERED`` that are no properties.

``--longest-first``: the files that take long, folder by folder, and then the others, so that no
worker is alone with one at the end. How long they take is in ``seconds.txt`` (``tests/meter.py``).
With a seed, files that take about as long change places.

With a seed, too, a test that runs on every kind of database runs on one of them, drawn, unless its
file is about SQL itself (``pytestmark = pytest.mark.every_database``) or ``--every-database`` was
said.
"""

from __future__ import annotations

import random
import secrets
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.meter import ROOT, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

OPTION = "--order-seed"
EVERY_DATABASE: Final = "--every-database"
DATABASE: Final = "database_url"
"""The parameter that is a kind of database (``tests/database/fixtures.py``)."""
COVERED: Final = (
    "tests/core/",
    *(f"tests/check/test_{name}.py" for name in ("forwarded", "oauth2_proxy", "responses")),
)
ABOUT: Final = 0.5
"""With a seed, a file counts as taking between this part of its time and all of it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, default="", help="random, or the number that a run printed")
    parser.addoption(EVERY_DATABASE, action="store_true", help="though an order is drawn")
    parser.addoption("--covered-apart", action="store_true", help="what is run for its coverage")
    parser.addoption("--longest-first", action="store_true", help="the files of tests/seconds.txt")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_database: what is tested is SQL itself")
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
    seed = config.option.order_seed
    if config.option.covered_apart:
        deselect(config, items, [item for item in items if not covered(item)])
    if seed:
        if not config.getoption(EVERY_DATABASE):
            deselect(config, items, on_one_database(items, seed=seed))
        items[:] = shuffled(items, seed=seed)
    if config.option.longest_first:
        wall = {path: cost[0] for path, cost in seconds().items()}
        items[:] = longest_first(items, wall, seed=seed)


def deselect(config: pytest.Config, items: list[pytest.Item], keep: list[pytest.Item]) -> None:
    """All but those to keep."""
    kept = set(map(id, keep))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = keep


def covered(item: pytest.Item) -> bool:
    """Whether the run for the coverage has it: its marker of properties is not there yet."""
    is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    return item.nodeid.startswith(COVERED) and not is_property


def on_one_database(items: Iterable[pytest.Item], *, seed: str) -> list[pytest.Item]:
    """Of each test that differs by nothing but its database, one."""
    items = list(items)
    alike: defaultdict[tuple[object, ...], list[pytest.Item]] = defaultdict(list)
    for item in items:
        parameters = dict(getattr(getattr(item, "callspec", None), "params", {}))
        if parameters.pop(DATABASE, None) is None or item.get_closest_marker("every_database"):
            alike[id(item),].append(item)
        else:
            own = item.nodeid.partition("[")[0], *sorted(map(repr, parameters.items()))
            alike[own].append(item)
    chance = random.Random(seed)
    kept = {id(chance.choice(same)) for same in alike.values()}
    return [item for item in items if id(item) in kept]


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


def longest_first(
    items: Iterable[pytest.Item], seconds: Mapping[str, float], *, seed: str = ""
) -> list[pytest.Item]:
    """Files that ``seconds`` names, by the longest of their folder and then by themselves; then the
    others as they were.
    """
    chance = random.Random(seed)
    counted = {
        ROOT / path: took * (chance.uniform(ABOUT, 1) if seed else 1)
        for path, took in sorted(seconds.items())
    }
    items = list(items)
    longest: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        folder = item.path.parent
        longest[folder] = max(longest[folder], counted.get(item.path, 0.0))
    long = [item for item in items if item.path in counted]
    long.sort(
        key=lambda item: (
            -longest[item.path.parent],
            str(item.path.parent),
            -counted[item.path],
            str(item.path),
        )
    )
    return [*long, *(item for item in items if item.path not in counted)]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if seed := config.option.order_seed:
        terminalreporter.write_line(f"in this order again: {OPTION} {seed}")
