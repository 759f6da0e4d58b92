"""What a route of the admin API is: data from which dispatch, permission, validation and OpenAPI
all follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.admin.permissions import PERMISSIONS, Binding
from gateway.admin.problem import Code, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from gateway.admin.keys import AdminKey, Scope
    from gateway.admin.request import ApiRequest

MAX_BODY_BYTES = 256 * 1024
"""A tenant with a thousand rules is about 100 kB; what is larger is a mistake or an attack."""
PAGE_LIMIT = 200
PARAMETERS: Mapping[str, str] = {
    "tenant": r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?",
    "run": r"[0-9a-f]{8,32}",
    "session": r"[A-Za-z0-9_.:-]{1,128}",
    "app_password": r"[A-Za-z0-9_-]{1,128}",
    "revocation": r"[A-Za-z0-9_.:-]{1,128}",
    "block": r"[A-Za-z0-9_.:-]{1,256}",
    "delivery": r"[A-Za-z0-9_.:-]{1,128}",
    "message": r"[A-Za-z0-9_.:-]{1,128}",
    "person": r"[A-Za-z0-9_.:-]{1,128}",
    "pool_user": r"[A-Za-z0-9_.:-]{1,128}",
    "provider": r"[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])",
    "entry": r"[0-9]{1,18}",
    "setup_link": r"[0-9a-f]{16}",
    "domain": r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?",
    "pool": r"[a-z0-9][a-z0-9-]{0,31}",
    "admin_key": r"[0-9a-f]{12}",
    "nonce": r"[A-Za-z0-9_-]{1,128}",
}
"""What may stand in each place of a path; anything else is not found."""


def _each_once(items: object) -> object:
    """``uniqueItems``, as the description says: pydantic would drop the second one silently."""
    if isinstance(items, list) and len({repr(item) for item in items}) < len(items):
        msg = "each may be named once"
        raise ValueError(msg)
    return items


EACH_ONCE = BeforeValidator(_each_once)
"""Of a field that is a set."""


class ApiModel(BaseModel):
    """A body or query of the API: frozen, unknown members refused, values never echoed in
    errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AnswerModel(BaseModel):
    """What the API answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class NoQuery(ApiModel):
    """No query parameters."""


class PageQuery(ApiModel):
    """``cursor`` is the ``next`` of the page before."""

    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,512}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = 50


M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class Note:
    """What the audit record will say; filled by the handler as it learns. ``target``: in place of
    the path's, where the handler makes or finds what is changed. ``tenant``: whose that is, where
    the request does not say. ``dry_run``: nothing was. ``of_nobody``: the answer to a question
    holds no person's data, whatever its operation does.
    """

    target: str = ""
    tenant: str | None = None
    before: object = None
    after: object = None
    dry_run: bool = False
    of_nobody: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, authorised, validated request."""

    request: ApiRequest
    request_id: str
    key: AdminKey
    path: Mapping[str, str]
    _query: BaseModel
    _body: BaseModel | None
    note: Note = field(default_factory=Note)

    def query(self, model: type[M]) -> M:
        if not isinstance(self._query, model):
            msg = f"the route declares {type(self._query).__name__}, not {model.__name__}"
            raise TypeError(msg)
        return self._query

    def body(self, model: type[M]) -> M:
        if not isinstance(self._body, model):
            msg = f"the route declares {type(self._body).__name__}, not {model.__name__}"
            raise TypeError(msg)
        return self._body

    @property
    def actor(self) -> str:
        """For audit records and journals."""
        return self.key.actor

    @property
    def source(self) -> str:
        """Of a revocation or block. A bound key's is its tenant's: it lifts no operator's block,
        and an operator lifts its.
        """
        return "admin" if self.key.tenant is None else "tenant"

    def own(self, tenant: str) -> None:
        """Binding OWN: another tenant's thing does not exist for a bound key."""
        if self.key.tenant is not None and self.key.tenant != tenant:
            raise Problem(Code.NOT_FOUND)
        self.note.tenant = tenant

    @property
    def if_match(self) -> str | None:
        """The one strong entity tag of If-Match without quotes; None when absent. RFC 9110
        §13.1.1.
        """
        value = self.request.headers.get("If-Match")
        if value is None:
            return None
        match = re.fullmatch(r'"([\x21\x23-\x7e]{1,128})"', value.strip())
        if match is None:
            raise Problem(
                Code.INVALID_HEADER,
                'If-Match: one strong entity tag such as "7", as the ETag of a GET gave it',
            )
        return match[1]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. ``etag`` without quotes."""

    body: BaseModel | None = None
    status: int = 200
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. ``scope`` and ``binding`` come from the permission table alone."""

    operation: str
    method: str
    path: str
    summary: str
    handler: Callable[[Call], Awaitable[Answer | web.StreamResponse]]
    answers: Mapping[int, type[BaseModel] | None]
    """Statuses of success with what they carry (None: an empty body)."""
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None
    problems: tuple[Code, ...] = ()
    """Codes beyond those that every route can answer."""
    creates: bool = False
    """Honours Idempotency-Key."""
    if_match: bool = False
    """Takes If-Match."""
    stream: str | None = None
    """Media type of an answer that never ends."""
    max_body_bytes: int = MAX_BODY_BYTES
    local_only: bool = False
    """Over the socket of the gateway's own machine only, whatever the key."""

    def __post_init__(self) -> None:
        if self.operation not in PERMISSIONS:
            msg = f"{self.operation}: not in the permission table"
            raise ValueError(msg)
        if self.creates and not self.changes:
            msg = f"{self.operation}: creates something without a record"
            raise ValueError(msg)
        if self.binding is Binding.PATH and "{tenant}" not in self.path:
            msg = f"{self.operation}: bound by path without {{tenant}}"
            raise ValueError(msg)
        if self.binding is Binding.BODY and (
            self.body is None or "tenant" not in self.body.model_fields
        ):
            msg = f"{self.operation}: bound by a body without tenant"
            raise ValueError(msg)
        if self.binding is Binding.QUERY and "tenant" not in self.query.model_fields:
            msg = f"{self.operation}: bound by a query without tenant"
            raise ValueError(msg)

    @property
    def scope(self) -> Scope:
        return PERMISSIONS[self.operation][0]

    @property
    def binding(self) -> Binding:
        return PERMISSIONS[self.operation][1]

    @property
    def changes(self) -> bool:
        """Gets an audit record. Asking questions by POST does not."""
        return self.method != "GET" and self.operation != "explain"

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    @property
    def pattern(self) -> str:
        """The path as aiohttp takes it, each parameter with its own pattern."""
        return re.sub(r"\{(\w+)\}", lambda m: f"{{{m[1]}:{PARAMETERS[m[1]]}}}", self.path)
