"""The order of the whole run: what takes long comes first."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pytest

from tests.order import ROOT, SECONDS, Recorder, longest_first, seconds

if TYPE_CHECKING:
    from pathlib import Path


class Item:
    def __init__(self, file: str, name: str) -> None:
        self.path, self.name = ROOT / file, name


def ordered(files: dict[str, int], table: dict[str, float]) -> list[str]:
    items = [Item(file, str(n)) for file, tests in files.items() for n in range(tests)]
    found = longest_first(cast("list[pytest.Item]", items), table)
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


def test_every_file_of_the_table_is_there() -> None:
    assert [path for path in seconds() if not (ROOT / path).is_file()] == []


def test_the_table_is_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "seconds.txt"
    monkeypatch.setattr("tests.order.SECONDS", table)
    recorder = Recorder()
    reports = [("tests/x.py", 4.0), ("tests/y.py", 30.0), ("tests/x.py", 2.0), ("tests/z.py", 4.9)]
    random.shuffle(reports)
    for number, (file, took) in enumerate(reports):
        report = pytest.TestReport(
            f"{file}::test_{number}", (file, 1, ""), {}, "passed", None, "call", duration=took
        )
        recorder.pytest_runtest_logreport(report)
    recorder.pytest_sessionfinish()
    assert table.read_text("utf-8") == "30 tests/y.py\n6 tests/x.py\n"
    assert seconds() == {"tests/y.py": 30.0, "tests/x.py": 6.0}


def test_a_run_that_asks_for_it_has_this_order() -> None:
    """Whatever order the files are named in: a later one of the table's begins."""
    rows = [path for path in SECONDS.read_text("utf-8").split()[1::2] if "/core/" in path]
    long, short = rows[0], "tests/core/test_activity.py"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--collect-only"]
    for options, first in (([], short), (["--longest-first"], long)):
        said = subprocess.run(
            [*command, *options, short, long], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert said.startswith(first)
