"""One-time links: their pages, the cookie of whoever opened one, and the console below
``core.console_link.PREFIX`` for them.

Rules:
- A GET changes nothing: programs that look at links use none up.
- Whoever holds a link's cookie is known below the prefix only, and nobody is known there by
  anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.outcome import PREFIX
from gateway.core.console_link import PREFIX as LINK_PREFIX

if TYPE_CHECKING:
    from aiohttp import web

COOKIE: Final = "__Host-gateway-console"
CODE: Final = "code"
MAX_CODE_CHARACTERS: Final = 100
_ATTRIBUTE: Final = f'="{PREFIX}/'
"""Of an address in a template. In a value, a quotation mark is written as a character reference."""


def is_below(path: str) -> bool:
    """Whether an address is one of a link's holder."""
    return path == LINK_PREFIX or path.startswith(f"{LINK_PREFIX}/")


def address_of(path: str) -> str:
    """Where an address of the console is for a link's holder."""
    return LINK_PREFIX + path.removeprefix(PREFIX) if path.startswith(f"{PREFIX}/") else path


def page_of(address: str) -> str:
    """The reverse."""
    return PREFIX + address.removeprefix(LINK_PREFIX) if is_below(address) else address


def rebased(html: str) -> str:
    """A page of the console for a link's holder: its addresses are below the prefix."""
    return html.replace(_ATTRIBUTE, f'="{LINK_PREFIX}/')


def set_cookie(response: web.StreamResponse, token: str) -> None:
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="Strict")


def delete_cookie(response: web.StreamResponse) -> None:
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
