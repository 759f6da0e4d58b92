"""From bytes to validated models: strict JSON, exact queries, opaque cursors."""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import cache, partial
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.request import ApiRequest
from gateway.admin.route import MAX_BODY_BYTES, PARAMETERS
from gateway.config.renamed import new_key, new_value
from gateway.core.model import Secret
from gateway.http import body
from gateway.http.listener import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aiohttp import web
    from pydantic_core import ErrorDetails

MAX_MISTAKES = 20


async def read_body(request: web.Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """At most ``limit``, whatever Content-Length says."""
    if (request.content_length or 0) > limit:
        raise Problem(Code.TOO_LARGE, f"at most {limit} bytes")
    try:
        return await body.read_body(request.content, limit=limit)
    except body.BodyTooLargeError:
        raise Problem(
            Code.TOO_LARGE, f"at most {limit} bytes", headers={"Connection": "close"}
        ) from None
    except UNREADABLE as error:
        raise Problem(
            Code.INVALID_BODY,
            f"the body cannot be read ({type(error).__name__})",
            headers={"Connection": "close"},
        ) from None


def from_http(request: web.Request) -> ApiRequest:
    return ApiRequest(
        path=dict(request.match_info),
        query=list(request.query.items()),
        headers=request.headers,
        content_type=request.content_type,
        has_body=request.can_read_body,
        read_body=partial(_body_of, request),
        target=request.path_qs,
        over_http=request,
    )


async def _body_of(request: web.Request, limit: int) -> bytes:
    return await read_body(request, limit=limit)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 8259 §4: with duplicate names, two readers see two documents.
    document: dict[str, object] = {}
    for name, value in pairs:
        if name in document:
            msg = f"the name {name[:60]!r} appears twice in one object"
            raise ValueError(msg)
        document[name] = value
    return document


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""PostgreSQL stores no NUL; a lone surrogate is no UTF-8."""


def _refuse_unstorable(node: object) -> None:
    if isinstance(node, str) and _UNSTORABLE.search(node):
        msg = "a text holds a NUL or half of a surrogate pair"
        raise ValueError(msg)
    for part in (
        node.items() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    ):
        _refuse_unstorable(part)


def _no_constants(name: str) -> object:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def parse_json(raw: bytes) -> object:
    """Strict RFC 8259: UTF-8, no duplicate names, no NaN, no NUL, no half of a surrogate pair;
    bounded depth. Raises ``Problem``.
    """
    try:
        document = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants
        )
        _refuse_unstorable(document)
        return document  # noqa: TRY300 - the errors of both lines are answered below
    except UnicodeDecodeError:
        raise Problem(Code.NOT_JSON, "the body is not UTF-8") from None
    except RecursionError:
        raise Problem(Code.NOT_JSON, "nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Problem(
            Code.NOT_JSON, f"line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except ValueError as error:
        raise Problem(Code.NOT_JSON, str(error)) from None


@cache
def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """Names that stand for a secret, anywhere in the model."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        for part in _parts(field.annotation):
            if part is Secret:
                names |= {name, field.alias or name}
            elif isinstance(part, type) and issubclass(part, BaseModel):
                names |= secret_fields(part)
    return frozenset(names)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def refuse_secret_references(document: object, model: type[BaseModel]) -> None:
    """``env:`` and ``file:`` are for files on the gateway's own machine: through the API they would
    read it for strangers.
    """
    names = secret_fields(model)
    for where, value in _secrets(document, "", names) if names else ():
        if value.startswith(("env:", "file:")):
            raise Problem(
                Code.SECRET_REFERENCE,
                f"{where}: send the secret itself; env: and file: work in configuration files only",
            )


def _secrets(
    node: object, where: str, names: frozenset[str], *, secret: bool = False
) -> Iterable[tuple[str, str]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _secrets(
                value, f"{where}.{name}" if where else str(name), names, secret=name in names
            )
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _secrets(value, f"{where}.{index}", names, secret=secret)
    elif secret and isinstance(node, str):
        yield where, node


def validate(
    model: type[BaseModel], document: object, *, code: Code, strings: bool = False
) -> BaseModel:
    """The model, or a ``Problem`` that names every mistake without quoting a value."""
    try:
        return model.model_validate_strings(document) if strings else model.model_validate(document)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        mistakes = [Mistake(_where(e["loc"]), _sentence(e)) for e in errors[:MAX_MISTAKES]]
        raise Problem(
            code, "; ".join(f"{m.where}: {m.problem}" for m in mistakes[:3]), mistakes=mistakes
        ) from None
    except RecursionError:
        raise Problem(code, "nested too deeply") from None


def _where(place: tuple[int | str, ...]) -> str:
    """A place in a body. Which of several forms a body has is in parentheses, and no place."""
    parts = [str(part) for part in place]
    return ".".join(part for part in parts if not part.startswith("(")) or "(whole body)"


def _sentence(mistake: ErrorDetails) -> str:
    if mistake["type"] == "extra_forbidden":
        renamed = new_key(mistake["loc"])
        return "unknown member" + (f": renamed to {renamed}" if renamed else "")
    if (renamed := new_value(mistake["loc"], mistake["input"])) is not None:
        return f"renamed to {renamed}"
    return mistake["msg"].removeprefix("Value error, ")


def read_query(model: type[BaseModel], parameters: Iterable[tuple[str, str]]) -> BaseModel:
    """Every parameter at most once, none unknown."""
    values: dict[str, str] = {}
    for name, value in parameters:
        if name in values:
            raise Problem(Code.INVALID_QUERY, f"{name}: given twice")
        if "\x00" in value:
            raise Problem(Code.INVALID_QUERY, f"{name}: holds a NUL")
        values[name] = value
    return validate(model, values, code=Code.INVALID_QUERY, strings=True)


_TIME = r"[0-9]{1,12}(?:\.[0-9]{1,17})?"
"""``repr`` of UTC epoch seconds."""
POSITIONS: Mapping[str, re.Pattern[str]] = {
    "list_tenants": re.compile(PARAMETERS["tenant"]),
    "list_all_runs": re.compile(rf"{_TIME}/{PARAMETERS['run']}"),
    "list_runs": re.compile(rf"{_TIME}/{PARAMETERS['run']}"),
    "list_sessions": re.compile(r"[0-9]{1,3}:[0-9]{1,9}"),
    "list_app_passwords": re.compile(r"[0-9]{1,3}:[0-9]{1,9}"),
    "list_blocks": re.compile(rf"{_TIME} [A-Za-z0-9_-]{{1,64}}"),
    "list_audit": re.compile(r"[0-9]{1,18}"),
    "list_people": re.compile(r"[0-9a-f]{32}"),
    "list_pool_users": re.compile(r"[\x21-\x7e]{1,4000}"),
    "list_deliveries": re.compile(r"[0-9]{1,18}"),
    "list_setup_links": re.compile(rf"{_TIME}/[0-9a-f]{{16}}"),
    "list_all_setup_links": re.compile(rf"{_TIME}/[0-9a-f]{{16}}"),
    "list_all_connections": re.compile(rf"{PARAMETERS['tenant']} {PARAMETERS['provider']}"),
    "list_admin_keys": re.compile(rf"{_TIME}/{PARAMETERS['admin_key']}"),
    "list_messages": re.compile(r"[0-9]{1,18}"),
}
"""What a list's positions look like: whoever makes up a cursor makes up these, and they go into
queries.
"""


def write_cursor(operation: str, position: str | None) -> str | None:
    """Opaque to callers; tied to the list that gave it out. Not a credential: permission is checked
    on every page anew.
    """
    if position is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([operation, position]).encode()).decode().rstrip("=")


def read_cursor(operation: str, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        content = json.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
    except (binascii.Error, ValueError, RecursionError):
        raise Problem(Code.INVALID_CURSOR) from None
    if (
        not isinstance(content, list)
        or len(content) != 2
        or content[0] != operation
        or not isinstance(content[1], str)
        or not POSITIONS[operation].fullmatch(content[1])
    ):
        raise Problem(Code.INVALID_CURSOR)
    return content[1]
