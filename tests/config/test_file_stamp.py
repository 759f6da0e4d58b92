"""A file that was changed, replaced or removed is another one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.config.file_stamp import stamp

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_nobody_touched_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one", encoding="utf-8")
    assert stamp(path) == stamp(path) is not None


def test_a_file_that_grew_or_was_replaced_or_is_gone_is_another(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("one", encoding="utf-8")
    first = stamp(path)
    path.write_text("longer", encoding="utf-8")
    grown = stamp(path)
    other.write_text("longer", encoding="utf-8")
    os.utime(other, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    replaced = stamp(path)
    path.unlink()
    assert len({first, grown, replaced, stamp(path)}) == 4
    assert stamp(path) is None
