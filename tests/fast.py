"""``scripts/test --fast``: within a minute, the tests that a change is likeliest to break, the
likeliest first.

As a program it looks at what differs from ``main`` and hands the files to pytest, as many as fit
into ``PROCESSORS_S`` by ``tests/seconds.txt``; as a plugin of that pytest it skips what would begin
after the minute.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grimp
import pytest

from tests.meter import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.meter import Cost

ROOT: Final = Path(__file__).parent.parent
BUDGET_S: Final = 45.0
"""When the last test begins, counted from the start; what is running then still ends."""
PROCESSORS_S: Final = 50.0
"""Of processor time, all files together: half a minute on two cores, and as much for waits, on a
machine that has nothing else to do.
"""
UNKNOWN_S: Final = 0.5
"""Of processor time: a file without a row."""
ENDS: Final = "GATEWAY_TESTS_END"
"""Of a process: the value of the monotonic clock, which all processes of a machine share."""
SLOW: Final = (
    "tests/admin/test_description.py",
    "tests/browser/",
    "tests/chaos/test_chaos.py",
    "tests/demo/test_run.py",
    "tests/docs/test_revocation_model.py",
    "tests/hooks/test_exactly_once.py",
    "tests/packaging/",
    "tests/provisioning/test_api.py",
    "tests/provisioning/test_crashes.py",
    "tests/sessions/test_failovers.py",
    "tests/sessions/test_revocation_load.py",
)
"""A single test of theirs, or what it starts, takes a good part of the minute."""
_IMPORTED = re.compile(
    r"^\s*(?:from|import) (gateway[\w.]*)(?: import \(?([\w, \n]+))?", re.MULTILINE
)


def changed() -> set[str]:
    """Paths that differ from where this branch left ``main``, committed or not."""
    base = _git("merge-base", "HEAD", "main").strip() or "HEAD"
    return {
        *_git("diff", "--name-only", base).split("\n"),
        *_git("ls-files", "--others", "--exclude-standard").split("\n"),
    } - {""}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


def module_of(path: str) -> str:
    """``gateway/core/rules.py`` → ``gateway.core.rules``; what is no code belongs to its folder."""
    file = Path(path)
    parts = file.with_suffix("").parts if file.suffix == ".py" else file.parent.parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(tests: Iterable[Path]) -> dict[str, set[str]]:
    """Test file → names below ``gateway`` that it mentions in an import."""
    found: dict[str, set[str]] = {}
    for path in tests:
        names = found.setdefault(str(path.relative_to(ROOT)), set())
        for whole, members in _IMPORTED.findall(path.read_text(encoding="utf-8")):
            names.add(whole)
            names |= {f"{whole}.{name.strip()}" for name in members.split(",")}
    return found


def ranked(
    paths: set[str], imports: Mapping[str, set[str]], importers: Mapping[str, set[str]]
) -> list[str]:
    """Test files, the likeliest to fail first: those that changed; those named like a changed
    module; those that import one; those of its room; those that import who imports it.
    """
    modules = {module_of(path) for path in paths if path.startswith("gateway/")}
    rooms = {
        f"tests/{path.split('/')[1] if path.startswith('gateway/') else path.split('/')[0]}/"
        for path in paths
        if path.count("/") > path.startswith("gateway/")
    }
    mirrors = {
        str(Path("tests", *module.split(".")[1:-1], f"test_{module.rpartition('.')[2]}.py"))
        for module in modules
    }
    above = set().union(*(importers.get(module, set()) for module in modules))
    rank = {
        test: next(
            (
                number
                for number, fits in enumerate(
                    (
                        test in paths,
                        test in mirrors,
                        bool(names & modules),
                        any(test.startswith(room) for room in rooms),
                        bool(names & above),
                    )
                )
                if fits
            ),
            None,
        )
        for test, names in imports.items()
        if test in paths or not test.startswith(SLOW)
    }
    chosen = [(number, test) for test, number in rank.items() if number is not None]
    return [test for _, test in sorted(chosen)]


def affordable(files: Iterable[str], costs: Mapping[str, Cost], *, paths: set[str]) -> list[str]:
    """Of the files, those for which there is time, the first ones first; what changed itself is
    always run.
    """
    left = PROCESSORS_S
    chosen = []
    for file in files:
        cost = costs[file][1] if file in costs else UNKNOWN_S
        if file in paths or cost <= left:
            chosen.append(file)
            left -= cost
    return chosen


def selection(paths: set[str]) -> tuple[list[str], list[str]]:
    """Files to run, in this order, and those that stand as near and take too long."""
    imports, importers = known()
    near = ranked(paths, imports, importers)
    chosen = affordable(near, seconds(), paths=paths)
    return chosen, [file for file in near if file not in chosen]


@cache
def known() -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    """What test files import, and who imports a module."""
    graph = grimp.build_graph("gateway", cache_dir=None)
    importers = {name: graph.find_modules_that_directly_import(name) for name in graph.modules}
    return imports_of(sorted((ROOT / "tests").rglob("test_*.py"))), importers


def main() -> int:
    began = time.monotonic()
    files, left_out = selection(changed())
    if not files:
        print("nothing that a test imports differs from main")
        return 0
    if left_out:
        print(f"left to scripts/test, since a minute is too short: {', '.join(left_out)}")
    arguments = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-p", "tests.fast"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments, *files],
        cwd=ROOT,
        env={**os.environ, ENDS: str(began + BUDGET_S)},
        check=False,
    ).returncode


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() > float(os.environ.get(ENDS, "inf")):
        pytest.skip("the minute is over: scripts/test runs it")


if __name__ == "__main__":
    sys.exit(main())
