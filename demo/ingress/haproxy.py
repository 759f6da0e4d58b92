"""HAProxy of the system (Debian: ``apt-get install haproxy``); no wheel holds it."""

from __future__ import annotations

import shutil
from pathlib import Path


def binary() -> Path | None:
    found = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    return Path(found) if found else None


def command(binary: Path, directory: Path) -> list[str]:
    return [str(binary), "-db", "-f", str(directory / "haproxy.cfg")]
