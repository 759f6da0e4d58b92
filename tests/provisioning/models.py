"""botocore parses two megabytes of JSON for each client, a tenth of a second of CPU time, and
changes nothing of them: here it does so once.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def read_once() -> Iterator[None]:
    """Until it ends, no file is read twice in this process, or in one forked from it."""
    from botocore.loaders import JSONFileLoader

    read, known = JSONFileLoader.load_file, dict[str, Any]()

    def once(self: JSONFileLoader, path: str) -> Any:
        if path not in known:
            known[path] = read(self, path)
        return known[path]

    JSONFileLoader.load_file = once
    try:
        yield
    finally:
        JSONFileLoader.load_file = read
