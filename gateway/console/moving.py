"""What moves on a page: htmx, vendored as it was published, and the policy that lets it run.

Rules:
- A page is complete without it, and most have none: their policy permits no script at all.
- Its policy permits the one file by a nonce of this answer. Markup that got into a page all the
  same has no nonce: no script of it runs, and htmx leaves its attributes alone (``hx-csp``).
- Nothing is evaluated: the policy has no ``unsafe-eval``, and only htmx writes markup.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Final

from gateway.console.outcome import PREFIX

FOLDER: Final = Path(__file__).parent / "static" / "htmx"
FILES: Final = ("htmx.min.js", "hx-csp.min.js", "hx-sse.min.js")
"""The first defines what the others extend."""
CONFIG: Final = (
    '{"extensions": "hx-csp,sse", "history": "reload", "includeIndicatorCSS": false, '
    '"noSwap": [204, 304, "3xx", "4xx", "5xx"]}'
)
"""An answer that is no page leaves the page as it is: its links and buttons still work."""
MOVING: Final = frozenset(
    {"provider_new", "provision_form", "run", "tenant_form", "tenant_new", "tenants"}
)
"""Templates of the pages that have it. Lists of people have not: each look at them is on record,
and half an address finds nobody.
"""
_NOWHERE: Final = "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
STILL_POLICY: Final = f"default-src 'none'; style-src 'self'; img-src 'self' data:; {_NOWHERE}"


def policy(nonce: str) -> str:
    """Of one answer; "": of a page without script."""
    if not nonce:
        return STILL_POLICY
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; connect-src 'self'; style-src 'self'; "
        f"img-src 'self' data:; {_NOWHERE}; "
        "require-trusted-types-for 'script'; trusted-types htmx"
    )


class Script:
    """The files as one. ``packed`` is for browsers that take gzip: nothing in it is of a person."""

    def __init__(self) -> None:
        self.text = b";\n".join((FOLDER / name).read_bytes() for name in FILES)
        self.packed = gzip.compress(self.text, 9, mtime=0)
        digest = hashlib.sha256(self.text).hexdigest()[:16]
        self.name = f"htmx-{digest}.js"
        self.path = f"{PREFIX}/static/{self.name}"
        self.config = CONFIG

    def policy(self, nonce: str) -> str:
        return policy(nonce)
