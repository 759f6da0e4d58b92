"""Tenant files as they were read before a restart, so that ten thousand need not be parsed again.

Rules:
- What a file said is known by its bytes, the code and libraries that read it, and the gateway's
  configuration. Where one of them differs, the file is read.
- A file whose secrets may come from elsewhere (``env:``, ``file:``) is not remembered: they change
  without it. Nor is one with a mistake.
- All of it is sealed under the key ring, as the tenants in Redis are: it holds secrets, and who can
  write to ``state_dir`` forges nothing. What does not open, or is cut off, is as if it were not
  there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import idna
import pydantic
import yaml

import gateway
from gateway.tenants.snapshot import Sealer, SnapshotError
from gateway.tenants.snapshot_record import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config.model import Config
    from gateway.keys.ring import KeyRing
    from gateway.tenants.snapshot_record import Record

FILE: Final = "tenant-files.sealed"
_NAME: Final = "tenant-files"
_ENTRY: Final = struct.Struct(">32s?I")
"""Key, whether its client is managed, bytes of the record."""
_READERS: Final = ("config", "core", "tenants")
"""Modules of the gateway that decide what a file says and whether it is right."""

Known = dict[bytes, tuple["Record", bool]]
"""By ``key_of``; with whether the client is managed."""


def key_of(raw: bytes) -> bytes:
    """SHA-256 of a file; empty for one that is not to be remembered.

    Escapes are how a reference could be spelled without its letters.
    """
    if b"env:" in raw or b"file:" in raw or b"\\" in raw:
        return b""
    return hashlib.sha256(raw).digest()


class RememberedFiles:
    """One file in ``state_dir``. Several processes may write it: the last one's stays."""

    def __init__(self, config: Config, ring: Callable[[], KeyRing]) -> None:
        self._path = config.state_dir / FILE
        self._sealer = Sealer(ring)
        self._readers = _code() + _settings(config)

    def read(self) -> Known:
        """Empty where there is nothing that fits."""
        try:
            plain = self._sealer.open(self._path.read_bytes(), name=_NAME)
            if not plain.startswith(self._readers):
                return {}
            return _entries(plain, len(self._readers))
        except (OSError, SnapshotError, ValueError, TypeError, struct.error):
            return {}

    def write(self, entries: Iterable[tuple[bytes, Record, bool]]) -> None:
        """Replaces what was there. Where that cannot be done, the next start reads the files."""
        parts = [self._readers]
        for key, record, managed in entries:
            encoded = encode(record)
            parts += (_ENTRY.pack(key, managed, len(encoded)), encoded)
        beside = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor with its mode
                file.write(self._sealer.seal(b"".join(parts), name=_NAME))
            beside.replace(self._path)


def _entries(plain: bytes, at: int) -> Known:
    entries: Known = {}
    while at < len(plain):
        key, managed, length = _ENTRY.unpack_from(plain, at)
        at += _ENTRY.size
        entries[key] = (decode(plain[at : at + length]), managed)
        at += length
    return entries


@cache
def _code() -> bytes:
    """SHA-256 of what reads tenant files, in this process."""
    versions = (sys.version, pydantic.VERSION, yaml.__version__, idna.__version__)
    hasher = hashlib.sha256(repr(versions).encode())
    for room in _READERS:
        for path in sorted((Path(gateway.__file__).parent / room).rglob("*.py")):
            hasher.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return hasher.digest()


def _settings(config: Config) -> bytes:
    """SHA-256 of the whole configuration, secrets apart: no list of what matters can be out of
    date.
    """
    text = json.dumps(config.model_dump(mode="python"), default=_plainly, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _plainly(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


__all__ = ["FILE", "Known", "RememberedFiles", "key_of"]
