"""How the Directory API says no."""

from __future__ import annotations

from aiohttp import web


class GoogleError(Exception):
    """``{"error": {"code", "message", "errors": [{"domain", "reason", "message"}]}}``."""

    def __init__(self, status: int, reason: str, message: str, *, domain: str = "global") -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.domain = status, reason, message, domain

    def response(self) -> web.Response:
        entry = {"domain": self.domain, "reason": self.reason, "message": self.message}
        error = {"code": self.status, "message": self.message, "errors": [entry]}
        return web.json_response({"error": error}, status=self.status)


def missing(what: str) -> GoogleError:
    return GoogleError(404, "notFound", f"Resource Not Found: {what}")
