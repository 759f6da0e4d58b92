"""The developer's page on the stand-in cloud says what the code says."""

from __future__ import annotations

import ast
import re
from dataclasses import MISSING, fields
from pathlib import Path

from demo.cognito.attributes import Flattening
from demo.cognito.pool import Behaviour
from tests.support.source import parsed

PAGE = (Path(__file__).parents[2] / "docs" / "developer" / "stand-in-cloud.md").read_text()


def test_every_switch_is_documented_with_its_default() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", PAGE, re.MULTILINE))
    declared = {}
    for switch in fields(Behaviour):
        assert switch.default is not MISSING
        declared[switch.name] = (
            switch.default.name if isinstance(switch.default, Flattening) else str(switch.default)
        )
    assert documented == declared


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:demo|tests|docs)/[\w/.-]+)`", PAGE))
    assert named
    missing = [name for name in named if not (Path(__file__).parents[2] / name).exists()]
    assert missing == []


def _imports(path: Path) -> set[str]:
    tree = parsed(path)
    found = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return found | {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }


def test_stand_in_shares_no_mistake_with_the_gateway_and_keeps_botocore_in_the_control_plane() -> (
    None
):
    demo = Path(__file__).parents[2] / "demo"
    files = [
        *demo.glob("cognito/**/*.py"),
        *demo.glob("idp/*.py"),
        *demo.glob("apps/*.py"),
        demo / "cloud.py",
        demo / "net.py",
        demo / "jose.py",
    ]
    assert len(files) > 30
    for path in files:
        names = {name.partition(".")[0] for name in _imports(path)}
        assert "gateway" not in names, path
        assert "botocore" not in names or path.parent.name == "control", path
