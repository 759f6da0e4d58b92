"""Forms with files (RFC 7578), read into texts, bounded as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import BodyPartReader

from gateway.http.body import BodyTooLargeError

if TYPE_CHECKING:
    from aiohttp import web

MULTIPART: Final = "multipart/form-data"


class BadUploadError(ValueError):
    """It is no form of ours: not UTF-8, nested, or without names."""


async def read_upload(request: web.Request, *, limit: int, max_fields: int) -> dict[str, str]:
    """The last value of each name; a file is its text, without the mark of its byte order. Raises
    ``BodyTooLargeError`` beyond ``limit`` bytes of values, and ``BadUploadError``.
    """
    found: dict[str, str] = {}
    left = limit
    try:
        reader = await request.multipart()
        for _ in range(max_fields):
            part = await reader.next()
            if part is None:
                return found
            if not isinstance(part, BodyPartReader) or part.name is None:
                msg = "a part that is no field"
                raise BadUploadError(msg)
            raw = bytearray()
            while chunk := await part.read_chunk():
                left -= len(chunk)
                if left < 0:
                    raise BodyTooLargeError
                raw += chunk
            found[part.name] = raw.decode("utf-8-sig")
    except (ValueError, AssertionError, LookupError) as error:
        msg = "not a form that a browser sends"
        raise BadUploadError(msg) from error
    msg = "too many fields"
    raise BadUploadError(msg)
