"""Check requests as proxies send them, for the dialect tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.check.dialects import DIALECTS, RawRequest
from gateway.check.dialects.envoy import PREFIX as ENVOY
from gateway.check.http_parser import NotHttpError, RequestParser
from gateway.check.known_heads import KnownHeads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.check.dialects import Malformed
    from gateway.core.model import AuthRequest

NO_LOOP: Final[Any] = None
"""A head without a body is read without one."""
COOKIE = "__Host-gw"
Pairs = list[tuple[str, str]]


def raw_request(
    pairs: Iterable[tuple[str, str]],
    *,
    method: str = "GET",
    raw_path: str = "/auth/x",
    with_lines: bool = False,
) -> RawRequest:
    """Without its lines, nothing is remembered of it."""
    pairs = list(pairs)
    return RawRequest(
        method=method,
        raw_path=raw_path,
        headers=CIMultiDictProxy(CIMultiDict(pairs)),
        peer="127.0.0.1",
        lines=lines(pairs) if with_lines else (),
    )


def on_wire(pairs: Iterable[tuple[str, str]], *, method: str, raw_path: str) -> bytes:
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (
        method.encode(),
        raw_path.encode("utf-8", "surrogateescape"),
        b"".join(b"%b: %b\r\n" % line for line in lines(pairs)),
    )


def known_request(
    pairs: Iterable[tuple[str, str]], *, method: str = "GET", raw_path: str = "/auth/x"
) -> RawRequest | None:
    """As one whose head was read before, with another URI and another ID; None where none is
    known by such a head.
    """
    pairs = list(pairs)
    if any({*"\r\n"} & {*name, *value} for name, value in pairs):
        return None  # no line of a head holds them: what follows is another
    is_below = raw_path.startswith(ENVOY)
    if not any(name.lower() == "host" for name, _ in pairs):
        if is_below:
            return None
        pairs = [("Host", "gateway"), *pairs]
    before = [
        (name, {"X-Forwarded-Uri": "/before", "X-Request-Id": "before"}.get(name, value))
        for name, value in pairs
    ]
    known = KnownHeads(NO_LOOP)
    try:
        first, data = (
            on_wire(headers, method=method, raw_path=path)
            for headers, path in (
                (before, ENVOY + "/before" if is_below else raw_path),
                (pairs, raw_path),
            )
        )
        ((head, _),) = RequestParser(NO_LOOP).feed(first)
        known.note(first, head)
        known.note(first, head)
        return known.find(data, "127.0.0.1")
    except (NotHttpError, ValueError):  # what is no request, or two
        return None


def lines(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    """As they stood on the wire."""
    return tuple(
        (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
        for name, value in pairs
    )


def forwarded(
    *extra: tuple[str, str],
    method: str = "GET",
    scheme: str = "https",
    host: str = "app.acme.test",
    uri: str = "/p?q=1",
    without: str = "",
) -> Pairs:
    described = [
        ("X-Forwarded-Method", method),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Uri", uri),
    ]
    return [pair for pair in described if pair[0] != without] + list(extra)


def ask(
    dialect: str,
    pairs: Iterable[tuple[str, str]],
    *,
    method: str = "GET",
    raw_path: str = "/auth/x",
) -> AuthRequest | Malformed:
    """Asked six times: by one of which nothing is remembered, by one that may be new, by one that
    came before, by one that is remembered, and twice by one of a known head.
    """
    pairs = list(pairs)
    plain = raw_request(pairs, method=method, raw_path=raw_path)
    found = DIALECTS[dialect].parse(plain, cookie_name=COOKIE)
    asked = raw_request(pairs, method=method, raw_path=raw_path, with_lines=True)
    for _ in range(3):
        assert DIALECTS[dialect].parse(asked, cookie_name=COOKIE) == found
    known = known_request(pairs, method=method, raw_path=raw_path)
    for _ in range(2 if known is not None else 0):
        assert known is not None and DIALECTS[dialect].parse(known, cookie_name=COOKIE) == found
    return found
