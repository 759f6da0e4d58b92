from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gateway.cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object within a schema."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(inner)


def test_every_default_of_the_schema_is_valid_by_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    spelled = [part for part in parts(schema) if isinstance(part.get("default"), str) and "pattern" in part]
    assert len(spelled) > 5
    assert [part for part in spelled if not re.search(part["pattern"], part["default"])] == []


def test_unknown_keys_are_errors_in_the_schema_too(capsys: pytest.CaptureFixture[str]) -> None:
    run(["config", "schema"])
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert all(model["additionalProperties"] is False for model in schema["$defs"].values() if model["type"] == "object")
    assert schema["required"] == ["cognito"]
