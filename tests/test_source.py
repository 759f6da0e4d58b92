from __future__ import annotations

import ast
import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.source import parse, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Traceback:
    """What parses when it is collected, as a traceback that is formatted does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("a + b")


@pytest.fixture
def collected_often() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collected_often")
def test_no_collection_falls_into_the_making_of_a_tree() -> None:
    text = Path(__file__).read_text("utf-8")
    for _ in range(20):
        _Traceback()
        assert ast.unparse(parse(text)).endswith("assert gc.isenabled()")
    assert parsed(Path(__file__)) is parsed(Path(__file__))
    assert gc.isenabled()
