"""Descriptions in generated JSON Schemas: docstrings, without the line breaks of the code."""

from __future__ import annotations

from typing import Any

_OWN_LINES = ("-", "*", "|")
"""Items and rows of tables: they begin a line."""


def with_plain_descriptions(schema: Any) -> Any:
    """The schema with each line break within a paragraph of a description made a blank. Paragraphs,
    items and tables stay as they are.
    """
    if isinstance(schema, dict):
        return {
            key: _plain(value)
            if key == "description" and isinstance(value, str)
            else with_plain_descriptions(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [with_plain_descriptions(value) for value in schema]
    return schema


def _plain(text: str) -> str:
    lines = [""]
    for line in text.split("\n"):
        if line and lines[-1] and not line.startswith(_OWN_LINES):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines[1:])
