"""``/tenants``: what the registry holds, in the shape of a tenant file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.ports_admin import Rejected
from gateway.registry.authority import operators_changes
from gateway.registry.document import TenantDocument
from gateway.web.admin.problem import Code, Mistake, Problem
from gateway.web.admin.reading import read_cursor, write_cursor
from gateway.web.admin.route import Answer, AnswerModel, Call, PageQuery, Route

if TYPE_CHECKING:
    from gateway.ports_admin import AdminKey, LoginTests, TenantRecord, TenantRecords


class TenantAnswer(AnswerModel):
    """``tenant`` has the shape of a tenant file; secrets are ``***``, and sent back so they stay as they are."""

    tenant: dict[str, Any]
    etag: str
    origin: str


class TenantList(AnswerModel):
    """``next`` is the cursor of the next page, or null."""

    items: list[TenantAnswer]
    next: str | None


class TestLink(AnswerModel):
    """Good once, for a few minutes."""

    __test__ = False  # not a test, whatever pytest makes of the name
    url: str


def reject(rejected: Rejected) -> Problem:
    return Problem(Code(rejected.code), rejected.message)


def tenant_routes(records: TenantRecords, tests: LoginTests | None) -> tuple[Route, ...]:
    async def list_tenants(call: Call) -> Answer:
        query = call.query(PageQuery)
        page = await records.page(only=call.key.tenant, position=read_cursor("list_tenants", query.cursor), limit=query.limit)
        return Answer(TenantList(items=[_answer(r) for r in page.items], next=write_cursor("list_tenants", page.position)))

    async def get_tenant(call: Call) -> Answer:
        record = await _found(records, call.path["tenant"])
        return Answer(_answer(record), etag=record.etag)

    async def put_tenant(call: Call) -> Answer:
        document = call.body(TenantDocument)
        if document.id != call.path["tenant"]:
            raise Problem(Code.INVALID_BODY, f"id: must be {call.path['tenant']}, as in the path")
        existing = await records.get(document.id)
        _check_bound(call.key, document, existing)
        call.note.before = existing.document if existing else None
        etag = _precondition(call, existing)
        stored = await records.put(document, etag=etag)
        if isinstance(stored, Rejected):
            raise reject(stored)
        call.note.after = stored.document
        return Answer(_answer(stored), status=200 if existing else 201, etag=stored.etag)

    async def delete_tenant(call: Call) -> Answer:
        existing = await _found(records, call.path["tenant"])
        call.note.before = existing.document
        rejected = await records.delete(existing.id, etag=call.if_match or existing.etag)
        if rejected is not None:
            raise reject(rejected)
        return Answer(status=204)

    changing = (Code.TAKEN, Code.READ_ONLY, Code.PRECONDITION_FAILED, Code.PRECONDITION_REQUIRED, Code.EXISTS, Code.TENANT_BOUND)
    routes = (
        Route("list_tenants", "GET", "/tenants", "All tenants, by id", list_tenants, {200: TenantList}, query=PageQuery),
        Route("get_tenant", "GET", "/tenants/{tenant}", "One tenant", get_tenant, {200: TenantAnswer}),
        Route(
            "put_tenant", "PUT", "/tenants/{tenant}", "Create a tenant, or replace the version that If-Match names", put_tenant,
            {200: TenantAnswer, 201: TenantAnswer}, body=TenantDocument, problems=changing, if_match=True, creates=True,
        ),
        Route("delete_tenant", "DELETE", "/tenants/{tenant}", "Delete a tenant and end its sessions", delete_tenant, {204: None}, problems=(Code.READ_ONLY, Code.CONFLICT), if_match=True),
    )  # fmt: skip
    if tests is None:
        return routes

    async def test_tenant(call: Call) -> Answer:
        link = await tests.link(call.path["tenant"])
        if isinstance(link, Rejected):
            raise reject(link)
        return Answer(TestLink(url=link), status=201)

    return (
        *routes,
        Route(
            "test_tenant",
            "POST",
            "/tenants/{tenant}/test",
            "A one-time link that walks a whole login and creates no session",
            test_tenant,
            {201: TestLink},
            problems=(Code.CONFLICT,),
        ),
    )


async def _found(records: TenantRecords, tenant: str) -> TenantRecord:
    record = await records.get(tenant)
    if record is None:
        raise Problem(Code.NOT_FOUND)
    return record


def _answer(record: TenantRecord) -> TenantAnswer:
    return TenantAnswer(tenant=record.document, etag=record.etag, origin=record.origin)


def _precondition(call: Call, existing: TenantRecord | None) -> str | None:
    """RFC 9110 §13: an update without If-Match could undo what somebody else just narrowed."""
    wanted = call.if_match
    if existing is None:
        if wanted is not None:
            raise Problem(Code.PRECONDITION_FAILED, "there is no such tenant")
        return None
    if call.request.headers.get("If-None-Match", "").strip() == "*":
        raise Problem(Code.PRECONDITION_FAILED, "the tenant exists")
    if wanted is None:
        raise Problem(Code.PRECONDITION_REQUIRED, "the tenant exists: GET it, and send its ETag as If-Match")
    if wanted != existing.etag:
        raise Problem(Code.PRECONDITION_FAILED, "the tenant has changed since: GET it again")
    return wanted


def _check_bound(key: AdminKey, document: TenantDocument, existing: TenantRecord | None) -> None:
    if key.tenant is None:
        return
    if existing is None:
        raise Problem(Code.TENANT_BOUND, "only an operator creates tenants")
    changes = operators_changes(existing.document, document)
    if changes:
        raise Problem(Code.TENANT_BOUND, f"only an operator changes {', '.join(changes)}", mistakes=[Mistake(path, "only an operator changes this") for path in changes])
