"""The admin API for the console: the same routes, dispatch, permissions and audit log, without a
request over HTTP in between.

There is no second way: what an API key of these scopes could not do, a page cannot do either.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.admin.dispatch import DOCUMENT, answer_request
from gateway.admin.parsing import refuse_secret_references, validate
from gateway.admin.problem import Code, Problem
from gateway.admin.request import within_process
from gateway.admin.route import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

    from gateway.admin.keys import AdminKey
    from gateway.admin.recording import Edge
    from gateway.admin.route import Route


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """``document``: the JSON of the body, an empty object without one. ``etag`` without quotes."""

    status: int
    document: dict[str, Any] = field(repr=False)
    etag: str | None = None

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def code(self) -> str:
        """Of a problem; "" where it is none."""
        return "" if self.ok else str(self.document.get("code", ""))

    @property
    def detail(self) -> str:
        """A problem's sentence for people."""
        return str(self.document.get("detail") or self.document.get("title") or "")


class InProcessApi:
    """Operations by name. An operation that this process does not serve is not found."""

    def __init__(self, routes: Iterable[Route], edge: Edge) -> None:
        self._routes = {route.operation: route for route in routes if route.stream is None}
        self._edge = edge

    def serves(self, operation: str) -> bool:
        return operation in self._routes

    def mistakes_in(self, operation: str, body: object) -> list[dict[str, str]]:
        """What a request with this body would be told of the body alone, as ``errors`` of a
        problem. Nothing is asked, done or recorded.
        """
        route = self._routes.get(operation)
        if route is None or route.body is None:
            return []
        try:
            refuse_secret_references(body, route.body)
            validate(route.body, body, code=Code.INVALID_BODY)
        except Problem as problem:
            return [{"where": m.where, "problem": m.problem} for m in problem.mistakes]
        return []

    async def call(
        self,
        caller: AdminKey,
        operation: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        if_match: str | None = None,
    ) -> ApiAnswer:
        """As ``caller``, who is authenticated; whether they may is asked here as of everybody."""
        route = self._routes.get(operation)
        parameters = path or {}
        if route is None or not all(
            re.fullmatch(PARAMETERS[name], value) for name, value in parameters.items()
        ):
            return ApiAnswer(404, {"code": "not_found", "title": "Not found"})

        async def identify() -> AdminKey:
            return caller

        request = within_process(
            operation, path=parameters, query=query or {}, body=body, if_match=if_match
        )
        response = await answer_request(
            route, self._edge, request, identify, request_id=self._edge.new_request_id()
        )
        return _answer(response)


def _answer(response: web.StreamResponse) -> ApiAnswer:
    document = response.get(DOCUMENT)
    if document is None:
        raw = getattr(response, "body", None)
        document = json.loads(raw) if isinstance(raw, bytes) and raw else {}
    etag = response.headers.get("ETag")
    return ApiAnswer(
        response.status,
        document,
        etag.strip('"') if etag else None,
    )
