"""Cookies of an application's own, named by the operator: which of them a browser holds, and the
lines that expire them.

Rules:
- A browser tells name and value of a cookie, never its path or domain (RFC 6265 §5.4), and deletes
  the one that has name, path and domain in common with the line (§5.3). So a name is expired with
  ``Path=/``, for the host alone and for its domain; other paths and domains must be written down.
- Only what was sent is expired, but for an entry with a path of its own: a browser does not send
  that one to the gateway's pages.
- The gateway's own cookies are never expired here, whatever a pattern says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from gateway.core.cookies import is_ours, names_below
from gateway.core.hosts import canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ENTRY_CHARACTERS = 256
MAX_LINES_BYTES = 4096
"""Of all lines of one answer. Proxies buffer the head of an answer in 8 to 16 kB, and answer 502
for a longer one.
"""
MAX_SENT = 512
"""Names that are compared with the entries; browsers keep about 180 cookies of a registrable
domain.
"""
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}"
"""What a cookie's name is made of (RFC 6265 §4.1.1, RFC 9110 §5.6.2)."""
_ENTRY = re.compile(
    rf"(?P<name>{_TOKEN})(?:; ?Path=(?P<path>/[!-:<-~]{{0,127}}))?(?:; "
    rf"?Domain=(?P<domain>[A-Za-z0-9.-]{{1,253}}))?"
)
_WRITABLE = re.compile(r"[!-+\--:<>-~]{1,128}")
"""Names that browsers send and a line can carry, tokens or not."""
_EXPIRED = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure"
"""``Secure``: names with ``__Secure-`` or ``__Host-`` need it, and the others are deleted with it
too.
"""


@dataclass(frozen=True, slots=True)
class AppCookie:
    """``name`` may contain one ``*``. ``path`` and ``domain`` are "" where nothing was written."""

    name: str
    path: str = ""
    domain: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """``NAME[; Path=/…][; Domain=example.com]``, as in ``Set-Cookie``. Raises
        ``ValueError``.
        """
        match = _ENTRY.fullmatch(text) if len(text) <= MAX_ENTRY_CHARACTERS else None
        if match is None:
            msg = (
                "the name of a cookie, such as session or jupyterhub-*, with ; Path=/… and ; "
                "Domain=example.com where it has another than / and the host's"
            )
            raise ValueError(msg)
        name, path, domain = match["name"], match["path"] or "", match["domain"] or ""
        if name.count("*") > 1:
            msg = "at most one * in the name of a cookie"
            raise ValueError(msg)
        if path not in ("", "/") and "*" in name:
            msg = (
                "a cookie with a path of its own needs its whole name: browsers do not send it "
                "to the gateway's pages"
            )
            raise ValueError(msg)
        if domain and (canonical_host(domain) != domain or "." not in domain):
            msg = "Domain is a host's name, or the end of one, such as example.com"
            raise ValueError(msg)
        if name.startswith("__Host-") and (domain or path not in ("", "/")):
            msg = "a __Host- cookie has Path=/ and no Domain"
            raise ValueError(msg)
        return cls(name, path, domain)

    def matches(self, name: str) -> bool:
        head, star, tail = self.name.partition("*")
        if not star:
            return name == head
        return len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)

    @property
    def is_hidden(self) -> bool:
        """Whether browsers keep it from the gateway's pages."""
        return self.path not in ("", "/")

    def lines(self, name: str, host: str) -> tuple[str, ...]:
        """Values of ``Set-Cookie`` that expire the cookie of that name at ``host``. None where its
        domain is another's.
        """
        line = f"{name}=; Path={self.path or '/'}; {_EXPIRED}"
        if self.domain:
            return (
                (f"{line}; Domain={self.domain}",)
                if host == self.domain or host.endswith(f".{self.domain}")
                else ()
            )
        return (line,) if name.startswith("__Host-") else (line, f"{line}; Domain={host}")


def expired(
    sent: Iterable[str], entries: Iterable[AppCookie], *, host: str, own: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Values of ``Set-Cookie`` for what the ``Cookie`` lines hold of ``entries``, and the names for
    which there was no room.

    ``own``: name of the gateway's session cookie.
    """
    lines: dict[str, None] = {}
    overflow: dict[str, None] = {}
    room = MAX_LINES_BYTES
    names = list(islice(filter(_WRITABLE.fullmatch, names_below(sent, "")), MAX_SENT))
    # Whole names first: of a pattern a sibling host could set so many that nothing else has room.
    for entry in sorted(entries, key=lambda each: "*" in each.name):
        for name in (entry.name,) if entry.is_hidden else filter(entry.matches, names):
            if is_ours(name, own):
                continue
            more = [line for line in entry.lines(name, host) if line not in lines]
            size = sum(map(len, more))
            if size > room:
                overflow[name] = None
                continue
            room -= size
            lines.update(dict.fromkeys(more))
    return tuple(lines), tuple(overflow)
