"""Every case of the corpus about hosts, paths, forwarded headers and e-mail addresses is named by a
test.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CASES = (TESTS / "data/attack_cases.txt").read_text("ascii").split()
NAMED = {
    found.upper().replace("_", "-")
    for path in TESTS.rglob("test_*.py")
    for found in re.findall(r"(?i)(?:host|path|fwd|eml)[-_][0-9]{2}", path.read_text("utf-8"))
}


@pytest.mark.parametrize("case", CASES)
def test_a_test_names_it(case: str) -> None:
    assert case in NAMED
