"""Every event that the code can log stands in docs/operator/logs.md, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.check.records import CheckRecord
from tests.docs import log_events

if TYPE_CHECKING:
    from pathlib import Path


def words() -> dict[str, dict[str, Any]]:
    document: dict[str, Any] = yaml.safe_load(log_events.WORDS.read_text("utf-8"))
    named = [name for section in document["sections"] for name in section["events"]]
    assert len(named) == len({*named}), "an event has one row"
    return {name: told for s in document["sections"] for name, told in s["events"].items()}


def test_every_event_that_is_logged_has_words_and_no_other() -> None:
    logged = log_events.events()
    assert len(logged) > 100
    assert logged.keys() == words().keys(), "say in docs/operator/logs.yaml what it means"


def test_words_add_only_what_the_code_does_not_tell() -> None:
    logged = log_events.events()
    for name, told in words().items():
        event = logged[name]
        assert event.open or "fields" not in told, name
        assert event.fields.isdisjoint(told.get("fields", ())), name
        assert bool(event.levels) == ("levels" not in told), name
        assert told["means"].endswith(".") and told["do"].endswith("."), name
        assert max(len(told["means"]), len(told["do"])) <= 200, name


def test_the_fields_of_a_check_are_those_of_its_record() -> None:
    assert set(words()["check"]["fields"]) == set(CheckRecord._fields)


def test_the_page_is_the_one_that_the_code_writes() -> None:
    assert log_events.TARGET.read_text("utf-8") == log_events.render(), "run scripts/reference"


SOURCE = """
import logging
from gateway.background import fault
from gateway.log import Throttled, fields

_LOG = logging.getLogger(__name__)


class Log:
    def __init__(self) -> None:
        self._log = logging.getLogger(__name__)
        self._say = Throttled(_LOG, logging.ERROR, "throttled")

    def told(self, level: int, *, well: bool) -> None:
        self._log.info("plain", extra=fields(tenant="a", **({"host": "b"} if well else {})))
        _LOG.log(logging.INFO if well else logging.ERROR, "good" if well else "bad")
        fault("broken", ValueError(), provider="p")
        chosen = logging.WARNING if well else logging.DEBUG
        _LOG.log(chosen, "chosen")
        try:
            pass
        except ValueError:
            _LOG.exception("trace")
"""


def test_events_are_read_off_every_way_of_logging(tmp_path: Path) -> None:
    module = tmp_path / "gateway" / "module.py"
    module.parent.mkdir()
    module.write_text(SOURCE, "utf-8")
    found = log_events.read(tmp_path)
    assert {name: (event.levels, event.fields) for name, event in found.items()} == {
        "plain": ({"info"}, {"tenant", "host"}),
        "good": ({"info"}, set()),
        "bad": ({"error"}, set()),
        "broken": ({"error"}, {"error", "provider"}),
        "chosen": ({"warning", "debug"}, set()),
        "trace": ({"error"}, {"error"}),
        "throttled": ({"error"}, {"held_back"}),
    }
    module.write_text(
        f"{SOURCE}\n\ndef unread(event: str) -> None:\n    _LOG.info(event)\n", "utf-8"
    )
    with pytest.raises(log_events.UnreadableError, match=r"module.py:\d+: _LOG.info\(event\)"):
        log_events.read(tmp_path)
