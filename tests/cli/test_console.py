"""``gateway console``: of a gateway whose operators cannot sign in yet."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.cli.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("console")
    with Served(folder, console={"host": "console.example.com"}) as running:
        yield running


def test_a_link_is_printed_once_and_its_making_is_on_record(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = served(capsys, "console", "link")
    assert code == 0, err
    address = urlsplit(out.strip())
    assert (address.netloc, address.path) == ("console.example.com", "/console/link")
    (secret,) = parse_qs(address.query)["code"]
    name, _, rest = secret.partition(".")
    entry = served.audit()[0]
    assert (entry.actor, entry.action, entry.outcome, entry.target) == (
        f"local:{served.user}",
        "create_console_link",
        "done",
        name,
    )
    assert rest not in str(entry)
    stored = served.wait_for(served.link.command("KEYS", "gw:console:*"))
    assert stored
    assert all(rest not in str(key) for key in stored)
    assert served.json(capsys, "console", "link")["id"] != name
    code, out, err = served(capsys, "console", "end-links")
    assert (code, out) == (0, "ended\n"), err


def test_no_link_is_made_once_an_operator_has_signed_in(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.wait_for(served.link.command("SET", "gw:console:closed", "1"))
    code, out, err = served(capsys, "console", "link")
    served.wait_for(served.link.command("DEL", "gw:console:closed"))
    assert (code, out) == (1, "")
    assert "an operator has signed in" in err


def test_there_is_no_link_where_there_is_no_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Served(tmp_path) as running:
        code, out, err = running(capsys, "console", "link")
    assert (code, out) == (1, "")
    assert "console.host is not set" in err
