"""Commands and files as the pages of ``docs/operator`` say them: fenced blocks behind a comment
that no reader sees.

    <!-- rehearsed: NAME -->          a shell script
    <!-- rehearsed-file: PATH -->     the content of a file
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

OPERATOR: Final = Path(__file__).parents[2] / "docs" / "operator"
_BLOCK: Final = re.compile(
    r"^ *<!-- rehearsed(?P<file>-file)?: (?P<name>\S+) -->\s*```\w*\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


def blocks() -> tuple[dict[str, str], dict[str, str]]:
    """Scripts by name, and files by path. Raises ``ValueError`` for one that is said twice."""
    scripts: dict[str, str] = {}
    files: dict[str, str] = {}
    for page in sorted(OPERATOR.glob("*.md")):
        for found in _BLOCK.finditer(page.read_text("utf-8")):
            into = files if found["file"] else scripts
            if found["name"] in into:
                raise ValueError(f"{page.name}: {found['name']} is rehearsed twice")
            into[found["name"]] = textwrap.dedent(found["text"])
    return scripts, files
