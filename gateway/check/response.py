"""The bytes of an answer: those that an ingress reads, built where they can be kept; those that the
server adds (length, date, connection) are not part of it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.check.dialects import Answer


class CheckResponse(NamedTuple):
    """``lines``: the header lines, each with its line end; never ``Content-Length``, ``Date``,
    ``Server`` or ``Connection``.
    """

    status: int
    lines: bytes = b""
    body: bytes = b""


def encode(answer: Answer) -> CheckResponse:
    """Raises ``ValueError`` where a value would end its line."""
    return CheckResponse(answer.status, header_lines(answer.headers), answer.body)


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Raises ``ValueError`` where a value would end its line, or has no bytes in UTF-8."""
    lines = [f"{name}: {value}" for name, value in headers]
    text = "\n".join(lines)
    if not lines:
        return b""
    if text.count("\n") != len(lines) - 1 or "\r" in text or "\0" in text:
        msg = "a header of an answer holds a line end or NUL"
        raise ValueError(msg)
    return text.replace("\n", "\r\n").encode() + b"\r\n"


def status_line(status: int) -> bytes:
    """Of HTTP/1.1 (RFC 9112 §4), also for a status that has no name."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


__all__ = ["CheckResponse", "encode", "header_lines", "status_line"]
