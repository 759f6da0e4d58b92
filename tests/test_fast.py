"""Which tests ``scripts/test --fast`` runs, and in which order."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fast import (
    ENDS,
    PROCESSORS_S,
    ROOT,
    SLOW,
    UNKNOWN_S,
    affordable,
    imports_of,
    module_of,
    pytest_runtest_setup,
    ranked,
    selection,
)
from tests.meter import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

IMPORTS: Mapping[str, set[str]] = {
    "tests/core/test_rules.py": {"gateway.core.rules"},
    "tests/core/test_glob.py": {"gateway.core.glob"},
    "tests/check/test_server.py": {"gateway.check.server", "gateway.core.rules"},
    "tests/check/test_handler.py": {"gateway.check.handler"},
    "tests/login/test_start.py": {"gateway.login.start"},
    "tests/browser/test_walk.py": {"gateway.core.rules"},
}
IMPORTERS = {"gateway.core.rules": {"gateway.check.handler"}}


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        (
            {"gateway/core/rules.py"},
            [
                "core/test_rules.py",
                "check/test_server.py",
                "core/test_glob.py",
                "check/test_handler.py",
            ],
        ),
        ({"tests/browser/test_walk.py", "README.md"}, ["browser/test_walk.py"]),
        ({"gateway/check/pages/x.html"}, ["check/test_handler.py", "check/test_server.py"]),
        ({"docs/why.md", "CHANGELOG.md"}, []),
    ],
    ids=["a module", "a test, however slow", "a file beside modules", "nothing that tests import"],
)
def test_the_nearest_tests_come_first(changed: set[str], chosen: list[str]) -> None:
    assert ranked(changed, IMPORTS, IMPORTERS) == [f"tests/{name}" for name in chosen]


def test_what_a_test_imports_is_read_from_its_text() -> None:
    here = Path(__file__)
    assert imports_of([here]) == {"tests/test_fast.py": set()}
    glob = here.parent / "core" / "test_glob.py"
    assert imports_of([glob])["tests/core/test_glob.py"] >= {"gateway.core.glob"}
    assert module_of("gateway/core/__init__.py") == "gateway.core"


def test_what_takes_too_long_is_left_out_and_what_changed_itself_is_run() -> None:
    files = [f"tests/{name}.py" for name in ("first", "long", "changed", "unknown", "short")]
    costs = {
        "tests/first.py": (1.0, 0.6 * PROCESSORS_S),
        "tests/long.py": (1.0, 0.5 * PROCESSORS_S),
        "tests/changed.py": (1.0, 0.4 * PROCESSORS_S - UNKNOWN_S),
        "tests/short.py": (99.0, 1.0),
    }
    assert affordable(files, costs, paths={"tests/changed.py"}) == [files[0], files[2], files[3]]
    assert affordable(files, costs, paths={"tests/long.py"})[:2] == files[:2]


ROOMS = sorted(path.parent.name for path in (ROOT / "gateway").glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_change_in_one_room_takes_a_minute_and_runs_the_tests_named_after_it(room: str) -> None:
    costs, named = seconds(), set()
    for module in sorted((ROOT / "gateway" / room).rglob("*.py")):
        path = str(module.relative_to(ROOT))
        chosen, _ = selection({path})
        assert sum(costs.get(file, (0, UNKNOWN_S))[1] for file in chosen) <= PROCESSORS_S
        mirror = f"tests/{Path(path).relative_to('gateway').with_name(f'test_{module.name}')}"
        if (ROOT / mirror).exists() and not mirror.startswith(SLOW):
            assert mirror in chosen
            named.add(mirror)
    folder = ROOT / "tests" / room
    assert named or not set(folder.rglob("test_*.py"))


def test_after_the_minute_no_test_begins(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv(ENDS, str(time.monotonic() + 3600))
    pytest_runtest_setup(request.node)
    monkeypatch.setenv(ENDS, "0")
    with pytest.raises(pytest.skip.Exception):
        pytest_runtest_setup(request.node)
