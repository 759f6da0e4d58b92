r"""Where a browser may be sent after a login.

Rules:
- The answer is always an absolute URL whose host this login may use; the text itself is never sent
  on.
- Read it as the worst reader would: decode until nothing changes, and refuse what then holds a
  control character or a backslash in the path, or starts with two slashes (WHATWG URL treats ``\\``
  as ``/`` and drops tabs and newlines).
- Never back into the gateway's own pages: a login that ends at /_auth/logout or /_auth/login is a
  loop or a trap.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY_PREFIX = "/_auth"
MAX_LOCATION_CHARACTERS = 4000
"""Of a login's address with the encoded return address in it. Servers and proxies take a request
line of 8 kB, and the login host adds some.
"""
MAX_RETURN_CHARACTERS = 4096
"""Of a return address as it is sent and kept, percent-encoded: a letter outside ASCII counts up to
twelve. Longer ones are dropped for ``/``.
"""
_MAX_DECODES = 5
_ABSOLUTE = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+)(?::(?P<port>\d{1,5}))?(?P<rest>[/?#].*)?",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\\\ud800-\udfff\u2028\u2029]")
_BAD_PATH = re.compile(r"[\x00-\x1f\x7f\\]|^/\s*/")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


def safe_return(value: str, *, origin: str, allowed: Callable[[str], str | None]) -> str | None:
    """``value`` as an absolute URL to send a browser to, or None.

    ``origin`` is where a path alone leads; ``allowed`` gives the origin of a host that this login
    may return to, None for others.
    """
    if not value or _FORBIDDEN.search(value) or is_too_long(value):
        return None
    rest = value
    if not value.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(value)
        if absolute is None:
            return None
        target = allowed(absolute["host"].lower())
        if target is None or not _same_origin(target, absolute):
            return None
        origin = target
        rest = absolute["rest"] or "/"
        if not rest.startswith("/"):
            rest = "/" + rest
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    if not _harmless_path(path):
        return None
    return origin + quote(rest, safe=_ASCII)


def is_too_long(value: str) -> bool:
    return len(value) > MAX_RETURN_CHARACTERS or (
        not value.isascii()
        and len(quote(value, safe=_ASCII, errors="replace")) > MAX_RETURN_CHARACTERS
    )


def _same_origin(origin: str, absolute: re.Match[str]) -> bool:
    scheme = absolute["scheme"].lower()
    port = absolute["port"]
    default = {"https": "443", "http": "80"}[scheme]
    host = absolute["host"].lower()
    text = f"{scheme}://{host}" + (f":{port}" if port and port != default else "")
    return text == origin.lower()


def _harmless_path(path: str) -> bool:
    decoded = path
    for _ in range(_MAX_DECODES):
        if _BAD_PATH.search(decoded) or _into_gateway(decoded):
            return False
        following = unquote(decoded, errors="replace")
        if following == decoded:
            return True
        decoded = following
    return False


def _into_gateway(path: str) -> bool:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return bool(segments) and f"/{segments[0].lower()}" == GATEWAY_PREFIX
