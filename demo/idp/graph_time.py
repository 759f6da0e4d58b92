"""Graph's times: ISO 8601 with ``Z``, up to seven decimals on the way in."""

from __future__ import annotations

import re
from datetime import UTC, datetime


def graph_time(epoch_s: float) -> str:
    return (
        datetime.fromtimestamp(epoch_s, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


def epoch(text: str) -> float:
    """UTC epoch seconds; raises ``ValueError``. A time without an offset is UTC."""
    parsed = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
