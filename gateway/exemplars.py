"""Exemplars of several processes: the metrics library has them for one alone.

Each process has a file beside the library's, in which a bucket of a histogram has one record of
fixed size: the newest exemplar, written in place. A scrape reads the files of all. A record that
was read while it was written has a wrong checksum, and is passed over.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RECORD_BYTES: Final = 512
MOST_RECORDS: Final = 1024
"""Of a process. Labels are of a closed set, so that a bucket is one of a few hundred."""
_HEAD: Final = struct.Struct("<IH")
_SUFFIX: Final = ".exemplars"

Bucket: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels of a sample."""


class ExemplarFiles:
    """``folder``: that of the metrics library."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid, self._descriptor = 0, -1
        self._places: dict[Bucket, int] = {}

    def keep(self, child: Any, value: float, exemplar: Mapping[str, str]) -> None:
        """Of an observation of a histogram without labels, or of one of its children."""
        bound = next(bound for bound in child._upper_bounds if value <= bound)  # noqa: SLF001 - the library has no function for it
        labels = dict(zip(child._labelnames, child._labelvalues, strict=True))  # noqa: SLF001 - as above
        labels["le"] = floatToGoString(bound)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self._write(f"{child._name}_bucket", labels, value, exemplar)  # noqa: SLF001 - as above

    def _write(
        self, name: str, labels: dict[str, str], value: float, exemplar: Mapping[str, str]
    ) -> None:
        text = json.dumps([name, labels, value, dict(exemplar), time.time()]).encode()
        if len(text) > RECORD_BYTES - _HEAD.size:
            return
        record = _HEAD.pack(zlib.crc32(text), len(text)) + text
        # Whose disk is full has a login all the same.
        with suppress(OSError):
            place = self._place((name, frozenset(labels.items())))
            if place is not None:
                os.pwrite(self._descriptor, record.ljust(RECORD_BYTES, b"\0"), place * RECORD_BYTES)

    def _place(self, bucket: Bucket) -> int | None:
        pid = os.getpid()
        if pid != self._pid:  # a worker that was forked
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(self._path(pid), flags, 0o600)
            self._pid, self._places = pid, {}
        if bucket not in self._places and len(self._places) >= MOST_RECORDS:
            return None
        return self._places.setdefault(bucket, len(self._places))

    def newest(self) -> dict[Bucket, Exemplar]:
        """Of each bucket, of all processes that live."""
        by_bucket: dict[Bucket, Exemplar] = {}
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            for begin in range(0, len(content) - _HEAD.size + 1, RECORD_BYTES):
                checksum, size = _HEAD.unpack_from(content, begin)
                text = content[begin + _HEAD.size : begin + _HEAD.size + size]
                if not size or zlib.crc32(text) != checksum:
                    continue
                name, labels, value, exemplar, at = json.loads(text)
                bucket = (name, frozenset(labels.items()))
                if bucket not in by_bucket or at > (by_bucket[bucket].timestamp or 0):
                    by_bucket[bucket] = Exemplar(exemplar, value, at)
        return by_bucket

    def forget(self, pid: int) -> None:
        """Of a process that is gone."""
        self._path(pid).unlink(missing_ok=True)

    def _path(self, pid: int) -> Path:
        return self._folder / f"{pid}{_SUFFIX}"


__all__ = ["ExemplarFiles"]
