"""Microsoft Graph's error bodies."""

from __future__ import annotations

import uuid

from aiohttp import web


class GraphError(Exception):
    """A refusal; ``code`` is Graph's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> web.Response:
        inner = {
            "date": "2026-01-01T00:00:00",
            "request-id": str(uuid.uuid4()),
            "client-request-id": str(uuid.uuid4()),
        }
        body = {"error": {"code": self.code, "message": self.message, "innerError": inner}}
        return web.json_response(body, status=self.status)


def missing(ref: str) -> GraphError:
    return GraphError(
        404,
        "Request_ResourceNotFound",
        (
            f"Resource '{ref}' does not exist or one of its queried reference-property objects "
            "are not present."
        ),
    )
