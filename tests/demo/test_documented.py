"""The developer's page on the stand-in cloud says what the code says."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

from demo.cognito.attributes import Flattening
from demo.cognito.pool import Behaviour

PAGE = (Path(__file__).parents[2] / "docs" / "developer" / "stand-in-cloud.md").read_text()


def test_every_switch_is_documented_with_its_default() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", PAGE, re.MULTILINE))
    declared = {}
    for switch in fields(Behaviour):
        assert switch.default is not MISSING
        declared[switch.name] = switch.default.name if isinstance(switch.default, Flattening) else str(switch.default)
    assert documented == declared


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:demo|tests|docs)/[\w/.-]+)`", PAGE))
    assert named
    missing = [name for name in named if not (Path(__file__).parents[2] / name).exists()]
    assert missing == []
