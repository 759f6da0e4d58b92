"""RFC 9457 problems with stable codes. The table is the whole vocabulary;
docs/operator/admin-api.md lists it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

CONTENT_TYPE = "application/problem+json"


class Code(StrEnum):
    """Promises: a client may branch on them."""

    # who asks
    NO_KEY = "no_key"
    KEY_UNKNOWN = "key_unknown"
    KEY_EXPIRED = "key_expired"
    KEY_REVOKED = "key_revoked"
    NO_ADMIN_KEY = "no_admin_key"
    SCOPE_MISSING = "scope_missing"
    WRONG_TENANT = "wrong_tenant"
    TENANT_BOUND = "tenant_bound"
    RATE_LIMITED = "rate_limited"
    PEER_REFUSED = "peer_refused"
    FORWARDED = "forwarded"
    LOCAL_ONLY = "local_only"
    # what was sent
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    INVALID_BODY = "invalid_body"
    INVALID_QUERY = "invalid_query"
    INVALID_HEADER = "invalid_header"
    INVALID_CURSOR = "invalid_cursor"
    SECRET_REFERENCE = "secret_reference"
    # what is there already
    PRECONDITION_REQUIRED = "precondition_required"
    PRECONDITION_FAILED = "precondition_failed"
    EXISTS = "exists"
    TAKEN = "taken"
    READ_ONLY = "read_only"
    BUSY = "busy"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    CONFLICT = "conflict"
    # provisioning
    PREFLIGHT_FAILED = "preflight_failed"
    COGNITO_REFUSED = "cognito_refused"
    QUOTA_REACHED = "quota_reached"
    # faults of ours and of those behind us
    UPSTREAM_FAILED = "upstream_failed"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


PROBLEMS: Mapping[Code, tuple[int, str]] = {
    # who asks
    Code.NO_KEY: (401, "A bearer key is needed"),
    Code.KEY_UNKNOWN: (401, "This key is not known"),
    Code.KEY_EXPIRED: (401, "This key has expired"),
    Code.KEY_REVOKED: (401, "This key was revoked"),
    Code.NO_ADMIN_KEY: (503, "No admin key exists yet"),
    Code.SCOPE_MISSING: (403, "The key does not have the scope"),
    Code.WRONG_TENANT: (403, "The key is bound to another tenant"),
    Code.TENANT_BOUND: (403, "A tenant's own key cannot change this"),
    Code.RATE_LIMITED: (429, "Too many requests"),
    Code.PEER_REFUSED: (403, "This user may not use the local socket"),
    Code.FORWARDED: (403, "The local socket takes no forwarded request"),
    Code.LOCAL_ONLY: (403, "Only on the gateway's own machine"),
    # what was sent
    Code.NOT_FOUND: (404, "Not found"),
    Code.METHOD_NOT_ALLOWED: (405, "Method not allowed"),
    Code.UNSUPPORTED_MEDIA_TYPE: (415, "Send application/json"),
    Code.TOO_LARGE: (413, "The body is too large"),
    Code.NOT_JSON: (400, "The body is not JSON"),
    Code.INVALID_BODY: (400, "The body is not valid"),
    Code.INVALID_QUERY: (400, "The query is not valid"),
    Code.INVALID_HEADER: (400, "A header is not valid"),
    Code.INVALID_CURSOR: (400, "The cursor is not one that this list gave out"),
    Code.SECRET_REFERENCE: (400, "Secrets are sent as they are"),
    # what is there already
    Code.PRECONDITION_REQUIRED: (428, "If-Match is needed"),
    Code.PRECONDITION_FAILED: (412, "It has changed in the meantime"),
    Code.EXISTS: (409, "It exists already"),
    Code.TAKEN: (409, "Another tenant has it"),
    Code.READ_ONLY: (409, "It comes from a file"),
    Code.BUSY: (409, "Another change of the same thing is running"),
    Code.IDEMPOTENCY_KEY_IN_FLIGHT: (
        409,
        "The first request with this Idempotency-Key is still running",
    ),
    Code.IDEMPOTENCY_KEY_REUSED: (422, "This Idempotency-Key was used for another request"),
    Code.CONFLICT: (409, "It cannot be done in this state"),
    # provisioning
    Code.PREFLIGHT_FAILED: (400, "The pool or the identity provider is not ready"),
    Code.COGNITO_REFUSED: (400, "Cognito refused"),
    Code.QUOTA_REACHED: (400, "A quota of Cognito is reached"),
    # faults of ours and of those behind us
    Code.UPSTREAM_FAILED: (502, "An upstream service returned an invalid response"),
    Code.UNAVAILABLE: (503, "A required store or service is unavailable"),
    Code.INTERNAL: (500, "Internal error"),
}
"""Status and title. Titles are for people, and may change."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a body or query: where, and what is allowed."""

    where: str
    problem: str


class Problem(Exception):  # noqa: N818 - RFC 9457's own word; raised by handlers, answered by the edge
    """An answer that is not what was asked for. ``detail`` is a sentence for people, without
    secrets.
    """

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        mistakes: Sequence[Mistake] = (),
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.status, self.title = PROBLEMS[code]
        self.detail = detail
        self.mistakes = tuple(mistakes)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        super().__init__(detail or self.title)


def problem_document(problem: Problem, *, request_id: str) -> dict[str, object]:
    """The members of RFC 9457 §3.1, then ours."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "code": str(problem.code),
    }
    if problem.detail:
        document["detail"] = problem.detail
    if problem.mistakes:
        document["errors"] = [{"where": m.where, "problem": m.problem} for m in problem.mistakes]
    return {**document, **problem.extra, "request_id": request_id}


def problem_response(problem: Problem, *, request_id: str) -> web.Response:
    headers = {"Cache-Control": "no-store", **problem.headers}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gateway admin"'
    elif problem.status in {429, 503}:
        headers.setdefault("Retry-After", "2")
    body = json.dumps(problem_document(problem, request_id=request_id)).encode()
    return web.Response(
        status=problem.status, body=body, content_type=CONTENT_TYPE, headers=headers
    )


@web.middleware
async def problems_for_everything(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Unknown paths and methods answer in the same form as everything else."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return problem_response(
            Problem(
                Code.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(error.allowed_methods))}
            ),
            request_id="-",
        )
    except web.HTTPNotFound:
        return problem_response(
            Problem(
                Code.NOT_FOUND,
                (
                    "there is no such address; ids of tenants are 1 to 40 lower-case letters, "
                    "digits and dashes"
                ),
            ),
            request_id="-",
        )
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == CONTENT_TYPE:
            raise
        return problem_response(Problem(Code.INVALID_HEADER, error.reason or ""), request_id="-")
