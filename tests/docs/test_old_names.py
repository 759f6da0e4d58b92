"""What was renamed is renamed everywhere: keys, metrics and log events. The tables of CHANGELOG.md
say from what to what.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.renamed import GATEWAY_KEYS, TENANT_KEYS, VALUES
from tests.docs import log_events

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PLACES = ("gateway", "demo", "docs", "config", "deploy", "scripts", "README.md")
TABLES_OF_OLD = {"gateway/config/renamed.py", "docs/operator/error-messages.md"}
"""The renamed keys, and what an operator reads who uses one."""
PLAIN_WORDS = {"browser", "claims", "configuration", "restored"}
"""Events whose old names are words of the language: looked for among the events alone."""


def renamed(head: str) -> dict[str, str]:
    """A table of the changelog, first column to last, from the code spans."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    table = text[text.index(f"| {head} |") :].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {old: new for *_, before, now in rows for old, new in _pairs(before, now)}


def _pairs(before: str, now: str) -> Iterator[tuple[str, str]]:
    old, new = re.findall(r"`([^`]+)`", before), re.findall(r"`([^`]+)`", now)
    yield from zip(old, new if len(new) >= len(old) else new * len(old), strict=False)


def old_names() -> list[tuple[str, re.Pattern[str]]]:
    """Each with a text that whatever it matches contains."""

    def variable(key: str) -> str:
        return f"GATEWAY_{key.upper().replace('.', '__')}"

    names = [*GATEWAY_KEYS, *map(variable, GATEWAY_KEYS), "rules_" + "next", "form_" + "decode"]
    names += [f"{place.rpartition('.')[2]}: {value}" for place, value in VALUES]
    names += ["replace: true", "session: false"]
    patterns = [(name, re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w(])")) for name in names]
    for metric in renamed("metric before"):
        base = metric.removesuffix("_total")
        patterns.append((base, re.compile(rf"\b{base}(?:_total|_bucket|_sum|_count)?\b")))
    events = renamed("log event before").keys() - PLAIN_WORDS
    return [*patterns, *((event, re.compile(rf"\b{event}\b")) for event in events)]


def test_the_changelog_names_what_was_renamed() -> None:
    keys = renamed("where")
    for old, new in {**GATEWAY_KEYS, **TENANT_KEYS}.items():
        last = old.rpartition(".")[2]
        assert any(k in {old, last, f"{last}: false"} for k in keys), (old, new)
    logged = log_events.events()
    events = renamed("log event before")
    assert len(events) > 20 and set(events.values()) <= logged.keys()
    assert logged.keys().isdisjoint(events)


def test_no_old_name_is_left() -> None:
    """But for the table from old to new."""
    files = subprocess.run(
        ["git", "ls-files", "--", *PLACES], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    patterns, left = old_names(), []
    for name in files:
        path = ROOT / name
        if name in TABLES_OF_OLD or path.suffix in {".mo", ".png", ".ico"} or not path.is_file():
            continue
        text = path.read_text("utf-8")
        left += [
            f"{name}:{text.count(chr(10), 0, found.start()) + 1}: {found[0]}"
            for contained, pattern in patterns
            if contained in text  # in a hundredth of the pattern's time
            for found in pattern.finditer(text)
        ]
    assert left == []
