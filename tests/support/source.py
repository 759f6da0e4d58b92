"""Python files as trees."""

from __future__ import annotations

import ast
import functools
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def parsed(path: Path) -> ast.Module:
    """The tree of a file, which nobody changes; made once for each text."""
    return _tree(path.read_text("utf-8"))


@functools.cache
def _tree(text: str) -> ast.Module:
    return parse(text)


def parse(text: str) -> ast.Module:
    """``ast.parse`` without a garbage collection in the middle.

    CPython before 3.12 counts the depth of a tree that it makes in one place for all of them.
    Where a collection ends something that parses too (a traceback that is formatted does), it
    raises ``SystemError: AST constructor recursion depth mismatch``.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if collects:
            gc.enable()
