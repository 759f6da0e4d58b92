"""Forms with files (RFC 7578), read into texts. The body is bounded before it is looked at, and
what looks at it is linear: no line is read for itself.
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Final

from aiohttp import content_disposition_filename, parse_content_disposition

from gateway.http.body import BodyTooLargeError, read_body

if TYPE_CHECKING:
    from aiohttp import web

MULTIPART: Final = "multipart/form-data"
_AROUND: Final = 8192
"""Bytes for what is no value: boundaries and the headers of a browser's few fields."""
_OF_A_FIELD: Final = 256
_MAX_HEAD: Final = 2048
_MAX_BOUNDARY: Final = 70


class BadUploadError(ValueError):
    """It is no form of ours: not UTF-8, nested, or without names."""


async def read_upload(request: web.Request, *, limit: int, max_fields: int) -> dict[str, str]:
    """The last value of each name; a file is its text, without the mark of its byte order. Raises
    ``BodyTooLargeError`` beyond ``limit`` bytes of values, and ``BadUploadError``.
    """
    boundary = _boundary(request.headers.get("Content-Type", ""))
    around = _AROUND + _OF_A_FIELD * max_fields
    body = await read_body(request.content, limit=limit + around)
    return _fields(body, boundary, limit=limit, max_fields=max_fields)


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _MAX_BOUNDARY:
        msg = "no boundary"
        raise BadUploadError(msg)
    try:
        return b"--" + boundary.encode("ascii")
    except UnicodeEncodeError as error:
        msg = "no boundary"
        raise BadUploadError(msg) from error


def _fields(body: bytes, boundary: bytes, *, limit: int, max_fields: int) -> dict[str, str]:
    first, *parts = (b"\r\n" + body).split(b"\r\n" + boundary, max_fields + 2)
    if first or not parts or len(parts) > max_fields + 1 or not parts[-1].startswith(b"--"):
        msg = "not a form that a browser sends"
        raise BadUploadError(msg)
    fields: dict[str, str] = {}
    budget = limit
    for part in parts[:-1]:
        head, blank, value = part.partition(b"\r\n\r\n")
        budget -= len(value)
        if budget < 0:
            raise BodyTooLargeError
        if not head.startswith(b"\r\n") or not blank or len(head) > _MAX_HEAD:
            msg = "a part without headers"
            raise BadUploadError(msg)
        try:
            fields[_name(head[2:].decode())] = value.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            msg = "not UTF-8"
            raise BadUploadError(msg) from error
    return fields


def _name(head: str) -> str:
    headers: dict[str, str] = {}
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    kind, parameters = parse_content_disposition(headers.get("content-disposition"))
    name = content_disposition_filename(parameters, "name") if kind == "form-data" else None
    if not name or headers.get("content-type", "").lower().startswith("multipart/"):
        msg = "a part that is no field"
        raise BadUploadError(msg)
    return name
