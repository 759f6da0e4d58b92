"""Answers with thousands of lines, written beside the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import to_json

if TYPE_CHECKING:
    from pydantic import BaseModel

LONG_LIST = 200
"""Items of an answer that are written at once, in about a millisecond."""


def long_lists(body: BaseModel) -> frozenset[str]:
    """Fields that hold one."""
    return frozenset(
        name for name, value in body if isinstance(value, list) and len(value) > LONG_LIST
    )


def in_slices(body: BaseModel) -> bytes:
    """As the library would write it, which holds the interpreter until all of it is written, and
    with it every check.
    """
    long = long_lists(body)
    parts = []
    for name, value in body:
        if name in long:
            slices = (value[at : at + LONG_LIST] for at in range(0, len(value), LONG_LIST))
            items = b",".join(to_json(some)[1:-1] for some in slices)
            parts.append(to_json(name) + b":[" + items + b"]")
        else:
            parts.append(body.model_dump_json(include={name})[1:-1].encode())
    return b"{" + b",".join(parts) + b"}"
