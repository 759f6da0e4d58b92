"""The table of operators' mistakes: what each is answered with, and the page where it is looked
up.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.config.environment import ENV_PREFIX
from tests.cli.mistakes import MISTAKES, SECRET, Place, rows
from tests.sessions import servers

if TYPE_CHECKING:
    from tests.database.postgres import Postgres

PAGE = Path(__file__).parents[2] / "docs" / "operator" / "error-messages.md"
CLASS_NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*(?:Error|Exception|Timeout)\b")


@pytest.mark.filterwarnings("ignore:unclosed|Unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_each_mistake_is_answered_with_where_why_and_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres: Postgres,
    certificate: tuple[Path, Path],
) -> None:
    for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no certificates of whoever runs the tests
    folder = tmp_path / "etc"
    folder.mkdir()
    wrong = []
    with servers.running(tmp_path / "valkey") as valkey:
        for user, rights in (("narrow", ("~x:*", "+@all")), ("poor", ("~*", "+get"))):
            valkey.ask("ACL", "SETUSER", user, "on", f">{SECRET}", *rights)
        place = Place(folder, monkeypatch, valkey, postgres, certificate)
        with place.stack:
            for mistake in rows():
                said = place.plain(mistake.tried(place))
                if (
                    mistake.said not in _joined(said)
                    or SECRET in said
                    or CLASS_NAME.search(said)
                    or "Traceback" in said
                ):
                    wrong.append((mistake.what, mistake.said, said))
    assert wrong == []


def _joined(said: str) -> str:
    """Without the line ends of a usage message."""
    return re.sub(r"\n(?=[ \w'])", " ", said) if "Usage:" in said else said


def test_the_page_has_every_mistake_of_the_table() -> None:
    """Written anew with ``UPDATE_DOCS=1``."""
    parts = []
    for heading, mistakes in MISTAKES.items():
        lines = [f"| {each.what} | `{each.said}` |" for each in mistakes]
        parts.append("\n".join((f"## {heading}\n\n| mistake | message |\n|---|---|", *lines)))
    written = PAGE.read_text(encoding="utf-8")
    head = written.partition("\n## ")[0].rstrip()
    page = "\n\n".join((head, *parts)) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")
    assert page == PAGE.read_text(encoding="utf-8")
    assert len(list(rows())) >= 50
