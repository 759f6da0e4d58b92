"""``/scim/v2/{tenant}/{provider}/…``: a SCIM 2.0 service provider that people leave through (RFC
7644).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from gateway.core.model import ProviderKind
from gateway.hooks.activity import REQUEST
from gateway.hooks.event import DeliveryRejectedError, RejectionReason, Source, json_object
from gateway.hooks.receive.delivery import (
    Reception,
    body,
    json_error,
    media_type,
    request_id,
    said,
)
from gateway.hooks.receive.outcomes import STATUS
from gateway.hooks.scim import discovery as scim_discovery
from gateway.hooks.scim import filter as scim_filter
from gateway.hooks.scim.patch import MAX_ATTRIBUTES
from gateway.hooks.scim.resources import GROUP_SCHEMA, USER_SCHEMA, ScimTooLargeError, date_time
from gateway.hooks.scim.rows import GROUP, USER
from gateway.hooks.scim.store import ScimConflictError
from gateway.hooks.sources import credential
from gateway.metrics import HOOK_DELIVERIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.scim.rows import Stored
    from gateway.hooks.scim.store import ScimStore

T = TypeVar("T")
BASE = "/scim/v2/{tenant}/{provider}"
MEDIA = "application/scim+json"
_KINDS = {"users": USER, "groups": GROUP}
"""In any case: Microsoft's tests ask for ``/users``."""
_SCHEMAS = {USER: USER_SCHEMA, GROUP: GROUP_SCHEMA}
_SLASH = "{slash:/?}"
"""Some clients end an address with a slash."""
_ALL = frozenset(ProviderKind)
COUNT = 100
"""Resources of a page where the client does not say."""


@dataclass(frozen=True, slots=True)
class ScimRoutes:
    """SCIM 2.0 (RFC 7644): users and groups that a provider writes."""

    reception: Reception

    @property
    def store(self) -> ScimStore:
        return self.reception.services.scim

    def authentic(self, request: web.Request) -> HookTarget:
        target = self.reception.target(request, _ALL)
        headers = request.headers.getall("Authorization", [])
        token = credential.bearer(headers[0]) if len(headers) == 1 else ""
        proof = credential.matched(token, target.secrets)
        if proof is None:
            raise DeliveryRejectedError(
                RejectionReason.UNAUTHENTICATED, "the bearer token is not this provider's secret"
            )
        self.reception.proved(target, Source.SCIM, proof)
        self.reception.services.activity_counter.note(target, Source.SCIM.value, REQUEST)
        return target

    def base(self, request: web.Request, target: HookTarget) -> str:
        return (
            f"{self.reception.services.url or f'{request.scheme}://{request.host}'}/scim/v2/"
            f"{target.tenant}/{target.provider}"
        )

    async def received(self, request: web.Request) -> dict[str, Any]:
        media_type(request, {MEDIA, "application/json"})
        return json_object(await body(request))

    def wrote(self, request: web.Request, target: HookTarget, kind: str) -> None:
        self.reception.services.stored()
        HOOK_DELIVERIES.labels(Source.SCIM.value, "accepted").inc()
        said(request, target, Source.SCIM, "accepted", method=request.method, kind=kind)

    def resource(
        self, request: web.Request, target: HookTarget, stored: Stored, *, status: int = 200
    ) -> web.Response:
        document = represent(stored, self.base(request, target))
        return answer(
            Projection.of_address(request).of(document),
            status=status,
            headers={"Location": document["meta"]["location"]},
        )

    async def query(self, request: web.Request, target: HookTarget, asked: Query) -> web.Response:
        kind = _KINDS[request.match_info["kind"].lower()]
        expression = scim_filter.parse_filter(asked.filter) if asked.filter else None
        page = await self.store.search.find(
            target,
            kind,
            wanted=expression,
            start=asked.start,
            count=min(max(0, asked.count), scim_discovery.MAX_RESULTS),
        )
        documents = [
            asked.projection.of(represent(r, self.base(request, target))) for r in page.resources
        ]
        return answer(_page(documents, total=page.total, start=max(1, asked.start)))

    async def listed(self, request: web.Request) -> web.Response:
        return await self.query(request, self.authentic(request), Query.of_address(request))

    async def search(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        return await self.query(request, target, Query.of_body(await self.received(request)))

    async def search_everything(self, request: web.Request) -> web.Response:
        self.authentic(request)
        return error(501, "search below Users or Groups")

    async def create(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        kind = _KINDS[request.match_info["kind"].lower()]
        resource = await self.store.create(
            target, kind, await self.received(request), request_id=request_id(request)
        )
        self.wrote(request, target, kind)
        return self.resource(request, target, resource, status=201)

    async def get(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        return self.resource(
            request,
            target,
            _there(
                await self.store.rows.get(
                    target, _KINDS[request.match_info["kind"].lower()], request.match_info["id"]
                )
            ),
        )

    async def replace(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        kind = _KINDS[request.match_info["kind"].lower()]
        resource = _there(
            await self.store.replace(
                target,
                kind,
                request.match_info["id"],
                await self.received(request),
                request_id=request_id(request),
            )
        )
        self.wrote(request, target, kind)
        return self.resource(request, target, resource)

    async def patch(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        kind = _KINDS[request.match_info["kind"].lower()]
        resource = _there(
            await self.store.patch(
                target,
                kind,
                request.match_info["id"],
                await self.received(request),
                request_id=request_id(request),
            )
        )
        self.wrote(request, target, kind)
        return self.resource(request, target, resource)

    async def delete(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        kind = _KINDS[request.match_info["kind"].lower()]
        if not await self.store.delete(
            target, kind, request.match_info["id"], request_id=request_id(request)
        ):
            raise MissingError
        self.wrote(request, target, kind)
        return web.Response(status=204)

    async def service_provider_config(self, request: web.Request) -> web.Response:
        target = self.authentic(request)
        return answer(scim_discovery.service_provider_config(self.base(request, target)))

    def discovery(
        self,
        documents: Callable[[str], list[dict[str, Any]]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def show(request: web.Request) -> web.Response:
            entries = documents(self.base(request, self.authentic(request)))
            identifier = request.match_info.get("id")
            if identifier is None:
                return answer(_page(entries, total=len(entries), start=1))
            return answer(_there(next((d for d in entries if d["id"] == identifier), None)))

        return show

    def scim(
        self,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        return self.reception.handled(
            Source.SCIM,
            handler,
            _refused,
            lambda: error(503, "temporarily unavailable"),
            expected=(MissingError, ScimConflictError),
            problem=problem,
        )

    def routes(self) -> list[web.RouteDef]:
        kinds = "{kind:[Uu]sers|[Gg]roups}"
        return [
            web.get(
                f"{BASE}/ServiceProviderConfig{_SLASH}", self.scim(self.service_provider_config)
            ),
            web.get(
                f"{BASE}/ResourceTypes{_SLASH}",
                self.scim(self.discovery(scim_discovery.resource_types)),
            ),
            web.get(
                f"{BASE}/ResourceTypes/{{id}}{_SLASH}",
                self.scim(self.discovery(scim_discovery.resource_types)),
            ),
            web.get(f"{BASE}/Schemas{_SLASH}", self.scim(self.discovery(scim_discovery.schemas))),
            web.get(
                f"{BASE}/Schemas/{{id}}{_SLASH}", self.scim(self.discovery(scim_discovery.schemas))
            ),
            web.get(f"{BASE}/{kinds}{_SLASH}", self.scim(self.listed)),
            web.post(f"{BASE}/{kinds}/.search{_SLASH}", self.scim(self.search)),
            web.post(f"{BASE}/.search{_SLASH}", self.scim(self.search_everything)),
            web.post(f"{BASE}/{kinds}{_SLASH}", self.scim(self.create)),
            web.get(f"{BASE}/{kinds}/{{id}}{_SLASH}", self.scim(self.get)),
            web.put(f"{BASE}/{kinds}/{{id}}{_SLASH}", self.scim(self.replace)),
            web.patch(f"{BASE}/{kinds}/{{id}}{_SLASH}", self.scim(self.patch)),
            web.delete(f"{BASE}/{kinds}/{{id}}{_SLASH}", self.scim(self.delete)),
        ]


class MissingError(DeliveryRejectedError):
    """404: no such resource."""

    def __init__(self) -> None:
        super().__init__(RejectionReason.NOT_CONFIGURED, "no such resource")


def _there(found: T | None) -> T:
    if found is None:
        raise MissingError
    return found


@dataclass(frozen=True, slots=True)
class Projection:
    """What the client wants to see of a resource (RFC 7644 §3.9), in every answer that shows one;
    ``id`` and ``schemas`` always. Names in lower case.

    A part of an attribute (``emails.value``, ``emails[type eq "work"]``) that is asked for brings
    the whole; one that is not wanted takes nothing away.
    """

    wanted: frozenset[str]
    unwanted: frozenset[str]

    @classmethod
    def of_address(cls, request: web.Request) -> Projection:
        wanted, unwanted = (
            (n for one in request.query.getall(p, []) for n in one.split(","))
            for p in ("attributes", "excludedAttributes")
        )
        return cls(_attributes(wanted), _attributes(unwanted))

    def of(self, shown: dict[str, Any]) -> dict[str, Any]:
        only = {name.partition(".")[0].partition("[")[0] for name in self.wanted}
        return {
            k: v
            for k, v in shown.items()
            if k in {"id", "schemas"}
            or ((not only or k.lower() in only) and k.lower() not in self.unwanted)
        }


@dataclass(frozen=True, slots=True)
class Query:
    """Parameters of a list, from the address or (RFC 7644 §3.4.3) from a body."""

    filter: str
    start: int
    count: int
    projection: Projection

    @classmethod
    def of_address(cls, request: web.Request) -> Query:
        get = request.query.get
        return cls(
            get("filter", ""),
            _number(get("startIndex", ""), "startIndex", 1),
            _number(get("count", ""), "count", COUNT),
            Projection.of_address(request),
        )

    @classmethod
    def of_body(cls, body: dict[str, Any]) -> Query:
        members = {name.lower(): value for name, value in body.items()}
        text = members.get("filter") or ""
        if not isinstance(text, str):
            raise scim_filter.ScimError("invalidFilter", "filter is a string")
        start, count = (
            _number(str(members.get(name.lower(), "")), name, default)
            for name, default in (("startIndex", 1), ("count", COUNT))
        )
        lists = [members.get(name) or [] for name in ("attributes", "excludedattributes")]
        if not all(
            isinstance(one, list)
            and len(one) <= MAX_ATTRIBUTES
            and all(isinstance(name, str) for name in one)
            for one in lists
        ):
            raise scim_filter.ScimError(
                "invalidValue", "attributes and excludedAttributes are arrays of names"
            )
        return cls(text, start, count, Projection(*map(_attributes, lists)))


def _number(text: str, name: str, default: int) -> int:
    if text and not (text.isascii() and text.lstrip("-").isdigit() and len(text) < 10):
        raise scim_filter.ScimError("invalidValue", f"{name} is a number")
    return int(text) if text else default


def _page(resources: list[dict[str, Any]], *, total: int, start: int) -> dict[str, Any]:
    return {
        "schemas": [scim_discovery.LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def represent(stored: Stored, base: str) -> dict[str, Any]:
    """The resource with ``id`` and ``meta``."""
    location = f"{base}/{stored.kind}s/{stored.id}"
    meta = {
        "resourceType": stored.kind,
        "created": date_time(stored.created_at),
        "lastModified": date_time(stored.updated_at),
        "location": location,
        "version": f'W/"{stored.version}"',
    }
    extensions = sorted(
        k
        for k, v in stored.document.items()
        if k.lower().startswith("urn:") and isinstance(v, dict)
    )
    return {
        "schemas": [_SCHEMAS[stored.kind], *extensions],
        "id": stored.id,
        **stored.document,
        "meta": meta,
    }


def _attributes(names: Iterable[str]) -> frozenset[str]:
    """Lower case; of a core attribute without the URN before it. Extensions are named by their URN
    as a whole.
    """
    core = tuple(f"{urn.lower()}:" for urn in _SCHEMAS.values())
    lowered = (name.strip().lower() for name in names)
    return frozenset(
        name.rpartition(":")[2] if name.startswith(core) else name for name in lowered if name
    )


def answer(
    document: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=json.dumps(document).encode(), status=status, content_type=MEDIA, headers=headers
    )


def error(status: int, detail: str, scim_type: str | None = None) -> web.Response:
    # RFC 7644 §3.12: the status is a string.
    document = {"schemas": [scim_discovery.ERROR_SCHEMA], "status": str(status), "detail": detail}
    return answer(
        document if scim_type is None else {**document, "scimType": scim_type}, status=status
    )


def problem(request: web.Request, status: int, word: str) -> web.Response:
    """What no handler answered: SCIM's error under ``/scim``, one word elsewhere."""
    return (
        error(status, word)
        if request.path == "/scim" or request.path.startswith("/scim/")
        else json_error(request, status, word)
    )


def _refused(refused: DeliveryRejectedError) -> web.Response:
    if isinstance(refused, ScimConflictError):
        return error(409, str(refused), "uniqueness")
    if isinstance(refused, ScimTooLargeError):
        return error(413, str(refused))
    if isinstance(refused, scim_filter.ScimError):
        return error(400, str(refused), refused.scim_type)
    response = error(
        STATUS[refused.reason],
        refused.reason.value,
        "invalidSyntax" if refused.reason is RejectionReason.MALFORMED else None,
    )
    if refused.reason is RejectionReason.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
