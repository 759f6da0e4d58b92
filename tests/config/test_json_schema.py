"""Descriptions that are generated from docstrings."""

from __future__ import annotations

from gateway.config.json_schema import with_plain_descriptions


def test_a_description_has_no_line_breaks_of_the_code_and_keeps_its_paragraphs_and_items() -> None:
    text = "What it is,\nand more.\n\nSecond paragraph\ngoes on:\n- one\nstill one\n- two"
    plain = "What it is, and more.\n\nSecond paragraph goes on:\n- one still one\n- two"
    assert with_plain_descriptions({"a": [{"description": text}], "title": "x\ny"}) == {
        "a": [{"description": plain}],
        "title": "x\ny",
    }
    properties = {"properties": {"description": {"type": "string"}}}
    assert with_plain_descriptions(properties) == properties
