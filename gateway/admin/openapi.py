"""OpenAPI 3.1, generated from the routes and from the very models that validate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.admin.permissions import Binding
from gateway.admin.problem import CONTENT_TYPE, PROBLEMS, Code
from gateway.admin.route import PARAMETERS, Route
from gateway.admin.webhook_schema import EVENTS, WebhookMessage
from gateway.config.json_schema import with_plain_descriptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal

    from pydantic import BaseModel

Json = dict[str, object]
COMMON = (
    Code.NO_KEY,
    Code.KEY_UNKNOWN,
    Code.KEY_EXPIRED,
    Code.KEY_REVOKED,
    Code.SCOPE_MISSING,
    Code.RATE_LIMITED,
    Code.INVALID_QUERY,
    Code.INTERNAL,
    Code.UNAVAILABLE,
    Code.NO_ADMIN_KEY,
)
"""Every route can answer these."""
_REF = "#/components/schemas/{model}"


def openapi_document(routes: Sequence[Route], *, prefix: str = "/admin/v1") -> Json:
    """The whole description; deterministic, so that a test can hold the copy in docs/ to it."""
    definitions, schemas = _schemas(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(prefix + route.path, {})[route.method.lower()] = _operation(
            route, definitions, schemas
        )
    schemas["Problem"] = _problem_schema()
    _, defs_schema = models_json_schema([(WebhookMessage, "serialization")], ref_template=_REF)
    schemas |= dict(defs_schema.get("$defs", {}))
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Cognito gateway admin API",
            "version": __version__,
            "description": "See docs/operator/admin-api.md.",
        },
        "paths": paths,
        "webhooks": {event: _webhook(event, summary) for event, summary in EVENTS.items()},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }
    return dict(with_plain_descriptions(document))


def _webhook(event: str, summary: str) -> Json:
    body = {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": _REF.format(model=WebhookMessage.__name__)}}
        },
    }
    return {
        "post": {
            "operationId": event.replace(".", "_"),
            "summary": summary,
            "tags": ["webhooks"],
            "security": [],
            "requestBody": body,
            "responses": {"2XX": {"description": "Taken"}},
        }
    }


def _schemas(routes: Sequence[Route]) -> tuple[dict[tuple[type[BaseModel], str], Json], Json]:
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    for route in routes:
        if route.body is not None:
            models.append((route.body, "validation"))
        models.append((route.query, "validation"))
        models += [
            (model, "serialization") for model in route.answers.values() if model is not None
        ]
    unique = list(dict.fromkeys(models))
    references, defs_schema = models_json_schema(unique, ref_template=_REF)
    definitions: dict[tuple[type[BaseModel], str], Json] = {
        (model, mode): dict(references[model, mode]) for model, mode in unique
    }
    return definitions, dict(defs_schema.get("$defs", {}))


def _operation(
    route: Route, definitions: dict[tuple[type[BaseModel], str], Json], schemas: Json
) -> Json:
    bound = {
        Binding.UNBOUND: " Not with a key that is bound to a tenant.",
        Binding.OWN: " A bound key sees its own tenant only.",
    }.get(route.binding, "")
    operation: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": f"Needs the scope `{route.scope}`.{bound}",
        "tags": [route.path.split("/")[1]],
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(route, definitions, schemas),
            *_header_parameters(route),
        ],
        "responses": {**_successes(route, definitions), **_problems(route)},
        "x-scope": str(route.scope),
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": definitions[route.body, "validation"]}},
        }
    return operation


def _path_parameters(route: Route) -> Iterable[Json]:
    return [
        {
            "name": n,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{PARAMETERS[n]}$"},
        }
        for n in route.parameters
    ]


def _query_parameters(
    route: Route, definitions: dict[tuple[type[BaseModel], str], Json], schemas: Json
) -> Iterable[Json]:
    schema: object = definitions[route.query, "validation"]
    name = (
        str(schema["$ref"]).rsplit("/", 1)[1]
        if isinstance(schema, dict) and "$ref" in schema
        else ""
    )
    schema = schemas.get(name, schema)
    if not isinstance(schema, dict):
        return []
    required = schema.get("required", ())
    return [
        {
            "name": parameter,
            "in": "query",
            "required": parameter in required,
            "schema": {k: v for k, v in definition.items() if k != "title"},
        }
        for parameter, definition in schema.get("properties", {}).items()
    ]


def _header_parameters(route: Route) -> Iterable[Json]:
    if route.creates:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
        }
    if route.if_match:
        yield {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "pattern": '^"[!#-~]{1,128}"$'},
        }


def _successes(
    route: Route, definitions: dict[tuple[type[BaseModel], str], Json]
) -> dict[str, Json]:
    answers: dict[str, Json] = {}
    for status, model in sorted(route.answers.items()):
        answer: Json = {"description": route.summary}
        if route.stream is not None:
            answer["content"] = {route.stream: {"schema": {"type": "string"}}}
        elif model is not None:
            answer["content"] = {
                "application/json": {"schema": definitions[model, "serialization"]}
            }
        answers[str(status)] = answer
    return answers


def _problems(route: Route) -> dict[str, Json]:
    codes = set(COMMON) | set(route.problems)
    if route.body is not None:
        codes |= {
            Code.NOT_JSON,
            Code.INVALID_BODY,
            Code.UNSUPPORTED_MEDIA_TYPE,
            Code.TOO_LARGE,
            Code.SECRET_REFERENCE,
        }
    else:
        codes |= {Code.INVALID_BODY, Code.TOO_LARGE}
    if route.creates:
        codes |= {Code.IDEMPOTENCY_KEY_IN_FLIGHT, Code.IDEMPOTENCY_KEY_REUSED, Code.INVALID_HEADER}
    if route.if_match:
        codes |= {Code.INVALID_HEADER, Code.PRECONDITION_FAILED}
    if route.binding is not Binding.OWN:
        codes.add(Code.WRONG_TENANT)
    if route.binding is Binding.UNBOUND:
        codes.add(Code.TENANT_BOUND)
    if route.parameters:
        codes.add(Code.NOT_FOUND)
    if "cursor" in route.query.model_fields:
        codes.add(Code.INVALID_CURSOR)
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {
            "description": "Codes: " + ", ".join(f"`{c}`" for c in reasons),
            "content": content,
        }
        for status, reasons in sorted(by_status.items())
    }


def _problem_schema() -> Json:
    text = {"type": "string"}
    mistake = {
        "type": "object",
        "required": ["where", "problem"],
        "properties": {"where": text, "problem": text},
    }
    return {
        "type": "object",
        "required": ["type", "title", "status", "code", "request_id"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(map(str, Code))},
            "detail": text,
            "errors": {"type": "array", "items": mistake},
            "request_id": text,
            "scope": text,
            "run": text,
            "state": text,
            "left": text,
            "cognito_error": text,
        },
    }
