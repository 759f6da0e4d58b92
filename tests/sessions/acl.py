"""The rights of the gateway's user in Redis, as the operators' manual has them."""

from __future__ import annotations

import re
from pathlib import Path

MANUAL = Path(__file__).parents[2] / "docs" / "operator" / "redis.md"


def documented_rights() -> tuple[str, ...]:
    """The rule after the user's name and password."""
    (rule,) = re.findall(
        r"^user gateway on #\$\(hash \"\$password\"\) (.+)$",
        MANUAL.read_text("utf-8"),
        re.MULTILINE,
    )
    return tuple(rule.split())
