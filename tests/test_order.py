"""The order of the whole run: drawn, and what takes long comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from tests.meter import ROOT, Meter, processor_s, seconds
from tests.order import COVERED, covered, longest_first, on_one_database, shuffled

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Item:
    def __init__(self, file: str, name: str) -> None:
        self.path, self.name = ROOT / file, name


def ordered(files: dict[str, int], table: dict[str, float], *, seed: str = "") -> list[str]:
    items = cast(
        "list[pytest.Item]",
        [Item(file, str(n)) for file, tests in files.items() for n in range(tests)],
    )
    found = longest_first(shuffled(items, seed=seed) if seed else items, table, seed=seed)
    return [f"{item.path.relative_to(ROOT)} {item.name}" for item in found]


def test_long_files_come_first_folder_by_folder_and_the_others_as_they_were() -> None:
    files = {"tests/a/1.py": 2, "tests/a/2.py": 1, "tests/b/1.py": 1, "tests/b/2.py": 1}
    table = {"tests/a/2.py": 6.0, "tests/b/1.py": 9.0, "tests/b/2.py": 5.0}
    assert ordered(files, table) == [
        "tests/b/1.py 0",
        "tests/b/2.py 0",
        "tests/a/2.py 0",
        "tests/a/1.py 0",
        "tests/a/1.py 1",
    ]


def test_what_is_run_for_its_coverage_is_left_out_but_for_properties() -> None:
    def item(file: str, *, is_property: bool) -> pytest.Item:
        test = SimpleNamespace(is_hypothesis_test=is_property)
        return cast("pytest.Item", SimpleNamespace(nodeid=f"{file}::test_it", obj=test))

    for file in ("tests/core/test_decide.py", "tests/check/test_forwarded.py"):
        assert covered(item(file, is_property=False))
        assert not covered(item(file, is_property=True))
    assert not covered(item("tests/check/test_bearer.py", is_property=False))
    beside = (ROOT / "scripts" / "test").read_text("utf-8")
    names = ",".join(path.split("_", 1)[1].removesuffix(".py") for path in COVERED[1:])
    assert f"{COVERED[0].rstrip('/')} tests/check/test_{{{names}}}.py" in beside


def test_every_file_of_the_table_is_there() -> None:
    assert [path for path in seconds() if not (ROOT / path).is_file()] == []


def test_a_seed_draws_the_order_of_tests_and_of_files_that_take_about_as_long() -> None:
    files = {f"tests/a/{n}.py": 3 for n in range(4)} | {f"tests/b/{n}.py": 3 for n in range(3)}
    table = {"tests/a/0.py": 30.0, "tests/a/1.py": 30.0, "tests/a/2.py": 7.0}
    orders = [ordered(files, table, seed=str(seed)) for seed in range(20)]
    assert orders == [ordered(files, table, seed=str(seed)) for seed in range(20)]
    for order in orders:
        assert sorted(order) == sorted(ordered(files, table))
        assert {row.split()[0] for row in order[:6]} == {"tests/a/0.py", "tests/a/1.py"}
        assert {row.split()[0] for row in order[6:9]} == {"tests/a/2.py"}
    for number in (0, 6, -1):
        assert len({order[number] for order in orders}) > 1


def test_the_table_is_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of a run of some files: their rows; what is gone has none."""
    table = tmp_path / "seconds.txt"
    table.write_text("90 9 tests/test_order.py\n80 8 tests/gone.py\n7 1 tests/test_map.py\n")
    monkeypatch.setattr("tests.meter.SECONDS", table)
    meter = Meter(request.config)
    monkeypatch.delattr(request.config, "workeroutput", raising=False)
    for node in (
        SimpleNamespace(workeroutput={"seconds": {"tests/test_map.py": (4.0, 5.2)}}),
        SimpleNamespace(workeroutput={"seconds": {"tests/test_map.py": (1.0, 2.0)}}),
        SimpleNamespace(workeroutput={"seconds": {"tests/test_log.py": (1.9, 0.5)}}),
        SimpleNamespace(),  # it was killed
    ):
        meter.pytest_testnodedown(node)
    meter.pytest_sessionfinish()
    assert table.read_text("utf-8") == "90 9 tests/test_order.py\n5 7 tests/test_map.py\n"
    assert seconds() == {"tests/test_order.py": (90.0, 9.0), "tests/test_map.py": (5.0, 7.0)}


def test_what_a_command_costs_counts_while_it_runs_and_afterwards() -> None:
    before = processor_s(os.getpid())
    busy = "import sys\nwhile __import__('time').process_time() < 0.3: pass\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{busy}print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = processor_s(os.getpid())
    assert running >= before + 0.25
    assert processor_s(os.getpid()) >= running


def test_a_run_that_asks_for_it_has_this_order() -> None:
    """Whatever order the files are named in: a later one of the table's begins."""
    long = next(path for path in seconds() if "/docs/" in path)
    short = "tests/core/test_activity.py"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--collect-only"]
    for options, first in (([], short), (["--longest-first"], long)):
        said = subprocess.run(
            [*command, *options, short, long], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert said.startswith(first)


def on_both(name: str, *, marked: bool = False, **parameters: object) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            nodeid=f"tests/a/1.py::{name}[{database}]",
            callspec=SimpleNamespace(params={"database_url": database, **parameters}),
            get_closest_marker=lambda _: marked or None,
        )
        for database in ("sqlite", "postgresql")
    ]


def test_a_seed_draws_the_database_of_each_test_unless_it_is_about_sql() -> None:
    alone = SimpleNamespace(nodeid="tests/a/1.py::c", get_closest_marker=lambda _: None)
    twice = [*on_both("a", case=1), *on_both("a", case=2), *on_both("b")]
    items = cast("list[pytest.Item]", [*twice, *on_both("sql", marked=True), alone])
    found = [[item.nodeid for item in on_one_database(items, seed=str(n))] for n in range(30)]
    assert found == [
        [item.nodeid for item in on_one_database(items, seed=str(n))] for n in range(30)
    ]
    for names in found:
        assert len(names) == 6
        assert [name.partition("[")[0][-1] for name in names[:3]] == ["a", "a", "b"]
        assert names[3:] == [*(each.nodeid for each in items[6:8]), alone.nodeid]
    for number in range(3):
        assert len({names[number] for names in found}) == 2
