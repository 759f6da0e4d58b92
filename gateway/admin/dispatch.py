"""The way of every admin request, in order: key, rate, scope, binding, query, body, idempotency,
audit, handler, answer.

Nothing of a request is parsed before its key and scope are known to be good.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.admin.idempotency_records import IdempotencyState, StoredAnswer
from gateway.admin.long_answer import in_slices, long_lists
from gateway.admin.operators_tenant import MAKES_NOBODY, guard_operators
from gateway.admin.parsing import (
    from_http,
    parse_json,
    read_query,
    refuse_secret_references,
    validate,
)
from gateway.admin.permissions import Binding
from gateway.admin.problem import Code, Problem, problem_response
from gateway.admin.recording import Begun, Edge, Progress, begin_within, renew, settle
from gateway.admin.route import MAX_BODY_BYTES, Answer, Call, Route
from gateway.background import background_task, fault
from gateway.errors import PeerError, UnavailableError
from gateway.http.served import answered, served_request
from gateway.log import Throttled, fields, of_request
from gateway.tenants.offload import in_background
from gateway.tracing.spans import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from gateway.admin.keys import AdminKey
    from gateway.admin.request import ApiRequest

log = logging.getLogger(__name__)
_fault = Throttled(log, logging.ERROR, "admin_fault")

IDEMPOTENCY_KEY_CHARACTERS = 128


def dispatcher(route: Route, edge: Edge) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler of one route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request_id = edge.new_request_id()
        return await answer_request(
            route,
            edge,
            from_http(request),
            lambda: edge.callers.identify(request),
            request_id=request_id,
        )

    return handle


async def answer_request(
    route: Route,
    edge: Edge,
    request: ApiRequest,
    identify: Callable[[], Awaitable[AdminKey]],
    *,
    request_id: str,
) -> web.StreamResponse:
    """One request, over whichever way it came. ``identify``: who asks; raises ``Problem``."""
    with (
        of_request(request_id),
        span("admin")
        if request.over_http is None
        else served_request(request.over_http) as server_span,
    ):
        server_span.set("gateway.request_id", request_id)
        server_span.set("gateway.operation", route.operation)
        server_span.set("gateway.tenant", request.path.get("tenant"))
        response = await _answered(route, edge, request, identify, request_id=request_id)
        answered(server_span, response.status)
        return response


async def _answered(
    route: Route,
    edge: Edge,
    request: ApiRequest,
    identify: Callable[[], Awaitable[AdminKey]],
    *,
    request_id: str,
) -> web.StreamResponse:
    progress = Progress()
    actor, key = "-", None
    failure: Problem | None = None
    try:
        key = await identify()
        actor = key.actor
        response = await _serve(
            route, edge, request, key=key, request_id=request_id, progress=progress
        )
    except Problem as problem:
        failure = problem
    except UnavailableError as error:
        failure = Problem(Code.UNAVAILABLE, str(error))
    except PeerError as error:
        failure = Problem(Code.UPSTREAM_FAILED, str(error))
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - the edge: the caller gets 500, the log the trace
        _fault(error, request_id=request_id, operation=route.operation)
        failure = Problem(Code.INTERNAL, "the log has the details under this request id")
    if failure is not None:
        response = problem_response(_told_to(key, failure), request_id=request_id)
    response = await settle(edge, progress, response, request_id=request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
    log.log(
        logging.WARNING if response.status >= 500 else logging.INFO,
        "admin",
        extra=fields(
            request_id=request_id,
            method=route.method,
            path=route.path,
            operation=route.operation,
            actor=actor,
            status=response.status,
            code=str(failure.code) if failure is not None else None,
            cause=str(failure) if failure is not None else None,
        ),
    )
    return response


OF_OTHERS = {
    Code.TAKEN: "a name in it is already in use",
    Code.UNAVAILABLE: "it may be stored already: look, and try again",
}
"""What a bound key and the holder of a setup link hear where the words for operators may name
another tenant: who holds a name, what keeps a change from being obeyed.
"""


def _told_to(key: AdminKey | None, problem: Problem) -> Problem:
    of_one_tenant = key is not None and (key.tenant is not None or key.setup)
    if not of_one_tenant or problem.code not in OF_OTHERS:
        return problem
    return Problem(
        problem.code, OF_OTHERS[problem.code], extra=problem.extra, headers=problem.headers
    )


async def _serve(
    route: Route,
    edge: Edge,
    request: ApiRequest,
    *,
    key: AdminKey,
    request_id: str,
    progress: Progress,
) -> web.StreamResponse:
    if not key.may(route.scope):
        raise Problem(
            Code.SCOPE_MISSING, f"this needs {route.scope}", extra={"scope": str(route.scope)}
        )
    path = request.path
    if key.within and route.operation != "list_tenants":
        raise Problem(Code.WRONG_TENANT, "name one of the tenants that you are limited to")
    tenant = _bound_path(route, key, path)
    if route.local_only and not key.local:
        raise Problem(Code.LOCAL_ONLY)
    query = _bound_query(route, key, read_query(route.query, request.query))
    body: BaseModel | None = None
    raw = b""
    if route.body is not None:
        if request.content_type != "application/json":
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE)
        raw = await request.read_body(route.max_body_bytes)
        document = (
            parse_json(raw) if len(raw) <= MAX_BODY_BYTES else await in_background(parse_json, raw)
        )
        refuse_secret_references(document, route.body)
        body = validate(route.body, document, code=Code.INVALID_BODY)
        if route.binding is Binding.BODY:
            tenant = getattr(body, "tenant", None)
            _hold(key, tenant)
    elif request.has_body and await request.read_body(MAX_BODY_BYTES):
        raise Problem(Code.INVALID_BODY, "this takes no body")
    if route.changes and route.scope not in MAKES_NOBODY:
        guard_operators(edge.operators_tenant, key, tenant or getattr(body, "tenant", None))
    audit_entry: Begun = {
        "actor": key.actor,
        "action": route.operation,
        "tenant": tenant or key.tenant,
        "target": "/".join(path.values()),
        "request_id": request_id,
    }
    if route.creates and (idempotency_key := _idempotency_key(request)) is not None:
        fingerprint = hashlib.sha256(
            f"{route.operation}\n{request.target}\n".encode() + raw
        ).hexdigest()
        entries: list[int] = []
        claim = await edge.idempotency.claim(
            key.id,
            idempotency_key,
            fingerprint=fingerprint,
            also=begin_within(edge, audit_entry, entries),
        )
        if isinstance(claim, StoredAnswer):
            headers = {**claim.headers, "Idempotent-Replayed": "true"}
            return web.Response(status=claim.status, body=claim.body, headers=headers)
        if claim is not IdempotencyState.FRESH:
            raise Problem(
                Code.IDEMPOTENCY_KEY_IN_FLIGHT
                if claim is IdempotencyState.IN_FLIGHT
                else Code.IDEMPOTENCY_KEY_REUSED
            )
        progress.claim = (key.id, idempotency_key)
        (progress.entry,) = entries
    elif route.changes:
        progress.entry = await edge.audit.begin(**audit_entry)
    async with (
        background_task(renew(edge, progress.claim))
        if progress.claim is not None
        else contextlib.nullcontext()
    ):
        call = Call(request, request_id, key, path, query, body, progress.note)
        if route.stream is not None:
            _seen(edge, route, call, None)
        answer = await route.handler(call)
    if not isinstance(answer, Answer):
        return answer
    response = await (_response(answer) if request.over_http else _for_the_process(answer))
    _seen(edge, route, call, answer)
    return response


def _seen(edge: Edge, route: Route, call: Call, answer: Answer | None) -> None:
    """A read goes on record, and fails by nothing of that."""
    if edge.reads is None:
        return
    try:
        edge.reads.add(route, call, answer)
    except Exception as error:  # noqa: BLE001 - logged
        fault("audit_reads_fault", error, request_id=call.request_id)


def _hold(key: AdminKey, tenant: str | None) -> None:
    if key.tenant is not None and key.tenant != tenant:
        raise Problem(Code.WRONG_TENANT, f"this key is for tenant {key.tenant}")


def _bound_path(route: Route, key: AdminKey, path: Mapping[str, str]) -> str | None:
    if route.binding is Binding.UNBOUND and key.tenant is not None:
        raise Problem(
            Code.WRONG_TENANT
            if path.get("tenant", key.tenant) != key.tenant
            else Code.TENANT_BOUND,
            "only a key that is bound to no tenant may do this",
        )
    if route.binding is Binding.PATH:
        _hold(key, path["tenant"])
    return path.get("tenant")


def _bound_query(route: Route, key: AdminKey, query: BaseModel) -> BaseModel:
    if route.binding is not Binding.QUERY or key.tenant is None:
        return query
    tenant = getattr(query, "tenant", None)
    if tenant is None:
        return query.model_copy(update={"tenant": key.tenant})
    _hold(key, tenant)
    return query


def _idempotency_key(request: ApiRequest) -> str | None:
    value = request.headers.get("Idempotency-Key")
    if value is not None and not (
        0 < len(value) <= IDEMPOTENCY_KEY_CHARACTERS and value.isascii() and value.isprintable()
    ):
        raise Problem(
            Code.INVALID_HEADER,
            f"Idempotency-Key: 1 to {IDEMPOTENCY_KEY_CHARACTERS} printable ASCII characters",
        )
    return value


DOCUMENT: Final = web.ResponseKey("document", dict[str, Any])
"""What an answer within the process says, which is written and read as JSON by nobody."""


async def _for_the_process(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, headers=_headers(answer))
    if answer.body is not None:
        dump = partial(answer.body.model_dump, mode="json")
        response[DOCUMENT] = await in_background(dump) if long_lists(answer.body) else dump()
    return response


def _headers(answer: Answer) -> dict[str, str]:
    tag = {} if answer.etag is None else {"ETag": f'"{answer.etag}"'}
    return {**answer.headers, **tag}


async def _response(answer: Answer) -> web.Response:
    headers = _headers(answer)
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    return web.Response(
        status=answer.status,
        body=await in_background(in_slices, answer.body)
        if long_lists(answer.body)
        else answer.body.model_dump_json().encode(),
        content_type="application/json",
        headers=headers,
    )
