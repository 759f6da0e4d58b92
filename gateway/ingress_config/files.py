"""Rendered files on disk. They hold the ingress key: nobody but their owner reads them, or the
copies of what they replace.
"""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING

from gateway.ingress_config.site import SiteError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MODE = 0o600


def write_files(folder: Path, files: Mapping[str, str], *, force: bool) -> dict[Path, bool]:
    """Each path, and whether it has changed; each file is replaced whole or not at all.

    What is there already and says something else is replaced only with ``force``, and kept as
    ``NAME.TIME.bak``. Raises ``SiteError``, before anything is written, if that was not asked for.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        targets = {(folder / name).resolve(): text for name, text in files.items()}
        present = {path: path.read_bytes() for path in targets if path.exists()}
    except OSError as error:
        raise _error(error) from error
    new_paths = {path for path, text in targets.items() if present.get(path) != text.encode()}
    if not force and (others := sorted(new_paths & present.keys())):
        raise SiteError(
            f"{', '.join(map(str, others))}: is there already and says something else (--force "
            "replaces it and keeps a copy)"
        )
    for path, text in targets.items():
        try:
            if path in new_paths:
                if path in present:
                    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
                    copy = f"{path.name}.{moment}.{secrets.token_hex(2)}.bak"
                    _write(path.with_name(copy), present[path])
                _replace(path, text.encode())
            else:
                path.chmod(_MODE)
        except OSError as error:
            raise _error(error) from error
    return {path: path in new_paths for path in targets}


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        _write(new, data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """A file that was not there before."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _error(error: OSError) -> SiteError:
    return SiteError(f"{error.filename}: {error.strerror or type(error).__name__}")
