"""The rights of the gateway's user in Redis, as the operators' manual has them."""

from __future__ import annotations

import re
from pathlib import Path

MANUAL = Path(__file__).parents[2] / "docs" / "operator" / "production.md"


def documented_rights() -> tuple[str, ...]:
    """The rule after the user's name and password."""
    (rule,) = re.findall(
        r"^ACL SETUSER gateway on >\S+ (.+)$", MANUAL.read_text("utf-8"), re.MULTILINE
    )
    return tuple(rule.split())
