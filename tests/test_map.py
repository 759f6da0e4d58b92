"""Where to look: the test of ``gateway/core/rules.py`` is ``tests/core/test_rules.py``, and so on.

Held one to one for the pure core and for what all rooms share; elsewhere several modules make one
behaviour, which its test is named after.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GATEWAY, TESTS = ROOT / "gateway", ROOT / "tests"
ELSEWHERE = {
    "core/client_header_names.py": "core/test_client_headers.py",  # a table
    "core/decision.py": "core/test_decide.py",  # values
    "core/idle_counts.py": "core/test_activity.py",  # values
    "core/reason.py": "core/test_decide.py",  # a vocabulary
    "core/rule.py": "core/test_rules.py",  # values
    "core/scopes.py": "console/test_operator.py",  # a vocabulary
    "core/model.py": "core/test_decide.py",  # values
    "errors.py": "cli/test_health.py",  # an exception tree
    "core/json_types.py": "core/test_person.py",  # a name
    "core/paging.py": "core/test_person.py",  # a value
}
"""Modules without a test file of their own, and the file that runs them."""
MIRRORED = sorted(
    [
        *(GATEWAY / "core").glob("*.py"),
        *(path for path in GATEWAY.glob("*.py") if not path.stem.startswith("__")),
    ]
)


@pytest.mark.parametrize(
    "module",
    [p for p in MIRRORED if p.name != "__init__.py"],
    ids=lambda p: str(p.relative_to(GATEWAY)),
)
def test_a_module_has_its_test_where_one_looks_for_it(module: Path) -> None:
    name = str(module.relative_to(GATEWAY))
    mirror = TESTS / module.parent.relative_to(GATEWAY) / f"test_{module.stem}.py"
    assert mirror.exists() != (name in ELSEWHERE)
    assert name not in ELSEWHERE or (TESTS / ELSEWHERE[name]).exists()


def test_every_room_with_code_has_its_tests() -> None:
    rooms = {
        path.parent.relative_to(GATEWAY) for path in GATEWAY.rglob("*.py") if path.parent != GATEWAY
    }
    tested = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    # A room within a room may be tested with it; these are tested in another's, where the real
    # proxies and browsers are.
    shared = {
        Path("doctor"): Path("ingress"),
        Path("database/migrations/versions"): Path("database"),
    }
    assert {
        room for room in rooms if not {shared.get(room, room), room.parent} & tested - {Path()}
    } == set()
