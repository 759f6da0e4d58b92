"""Check requests as proxies send them, for the dialect tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.check.dialects import DIALECTS, RawRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.check.dialects import Malformed
    from gateway.core.model import AuthRequest

COOKIE = "__Host-gw"
Pairs = list[tuple[str, str]]


def raw_request(
    pairs: Iterable[tuple[str, str]], *, method: str = "GET", raw_path: str = "/auth/x"
) -> RawRequest:
    """Without its lines: nothing is remembered of it."""
    return RawRequest(
        method=method,
        raw_path=raw_path,
        headers=CIMultiDictProxy(CIMultiDict(list(pairs))),
        peer="127.0.0.1",
    )


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
    """Asked four times: by one of which nothing is remembered, by one that may be new, by one that
    came before, and by one that is remembered.
    """
    pairs = list(pairs)
    plain = raw_request(pairs, method=method, raw_path=raw_path)
    found = DIALECTS[dialect].parse(plain, cookie_name=COOKIE)
    with_lines = plain._replace(lines=lines(pairs))
    for _ in range(3):
        assert DIALECTS[dialect].parse(with_lines, cookie_name=COOKIE) == found
    return found
