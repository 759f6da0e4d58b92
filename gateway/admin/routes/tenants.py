"""``/tenants``: what the registry holds, in the shape of a tenant file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from gateway.admin.keys import Scope
from gateway.admin.listing import list_page
from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.redaction import SecretFree
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, PageQuery, Route
from gateway.config.types import VISIBLE
from gateway.tenants.api import Rejected
from gateway.tenants.bound_keys import operators_changes
from gateway.tenants.document import TenantDocument
from gateway.tenants.index import TenantFilter
from gateway.tenants.warnings import policy_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.keys import AdminKey
    from gateway.core.paging import Page
    from gateway.database.tenant_states import TenantState, TenantStates
    from gateway.provisioning.service import Onboarding
    from gateway.tenants.api import (
        PersonEffect,
        TenantRecord,
        TenantRecords,
        TenantRehearsal,
        TenantRehearsals,
    )

MAX_EFFECTS = 200


class TenantAnswer(AnswerModel):
    """``tenant`` has the shape of a tenant file; secrets are ``***``, and sent back so they stay as
    they are.
    """

    tenant: dict[str, Any]
    etag: str
    origin: str


class TenantsQuery(PageQuery):
    """``search``: part of an id, a name, a host or an e-mail domain. ``health``: each with what was
    last seen of it.
    """

    search: Annotated[str, Field(max_length=253), VISIBLE] | None = None
    state: Literal["active", "inactive"] | None = None
    health: bool = False


class TenantHealth(AnswerModel):
    """Times are UTC epoch seconds; null: not known, or not for this key."""

    connection: Literal["unchecked", "active", "failing"] | None = Field(
        description="of the identity provider that is worst off; null before the first look"
    )
    expires_at: float | None = Field(
        description="the first known end of a client secret or a certificate"
    )
    hooks: Literal["silent", "arriving", "failing"] | None = Field(
        description=(
            "`silent`: no event has come; `failing`: events could not be applied or wait for a "
            "decision, or requests of the last day were refused; null without the scope `hooks`"
        )
    )
    last_sign_in_at: float | None = Field(description="null without the scope `sessions:read`")


class TenantRow(TenantAnswer):
    """``health``: where the query asks for it."""

    health: TenantHealth | None = None


class PutQuery(ApiModel):
    """``dry_run`` answers what would change and who of those signed in would lose or gain, and
    changes nothing.
    """

    dry_run: bool = False


class ChangeRow(AnswerModel):
    """One key of the document; null where it is not there. A secret's values are ``***``."""

    key: str
    before: Any
    after: Any


class EffectRow(AnswerModel):
    """``where``: method and path as the rule writes it; empty for the whole tenant. ``reason``: of
    the refusal, before or after.
    """

    email: str
    gains: bool
    where: str
    reason: str


class ImpactAnswer(AnswerModel):
    """Of the ``sessions`` looked at, how many people would lose or gain something. ``effects``: the
    first 200, for keys with ``sessions:read``; null for others. ``shadow_rules``: the same for what
    they would change once they are taken over.

    ``unknown``: why people could not be asked about, or null.
    """

    sessions: int
    losing: int
    gaining: int
    effects: list[EffectRow] | None
    shadow_rules: list[EffectRow] | None
    unknown: str | None


class TenantStored(TenantAnswer):
    """``warnings``: what is allowed and lets nobody in. On a dry run ``tenant`` is as it would be,
    ``etag`` as it is, and ``changes`` and ``people`` are told.
    """

    warnings: list[str]
    dry_run: bool = False
    changes: list[ChangeRow] | None = None
    people: ImpactAnswer | None = None


class TenantList(AnswerModel):
    """``next`` is the cursor of the next page, or null."""

    items: list[TenantRow]
    next: str | None


def reject(rejected: Rejected) -> Problem:
    return Problem(Code(rejected.code), rejected.message)


@dataclass(frozen=True, slots=True)
class TenantRoutes:
    """Tenants as documents. Without ``rehearsals`` there is no dry run, without ``states`` nothing
    is known of their health.
    """

    records: TenantRecords
    rehearsals: TenantRehearsals | None
    onboarding: Onboarding | None = None
    states: TenantStates | None = None

    async def list_tenants(self, call: Call) -> Answer:
        query = call.query(TenantsQuery)
        tenant_filter = TenantFilter(query.search or "", query.state, call.key.within)
        health: dict[str, TenantHealth] = {}

        async def read(*, position: str | None, limit: int) -> Page[TenantRecord]:
            page = await self.records.page(
                only=call.key.tenant, position=position, limit=limit, wanted=tenant_filter
            )
            if query.health and self.states is not None:
                states = await self.states.of([record.id for record in page.items])
                health.update({name: _health(call.key, one) for name, one in states.items()})
            return page

        return await list_page(
            "list_tenants",
            query,
            read,
            row=lambda record: TenantRow(
                tenant=record.document,
                etag=record.etag,
                origin=record.origin,
                health=health.get(record.id),
            ),
            model=TenantList,
        )

    async def get_tenant(self, call: Call) -> Answer:
        record = await _found(self.records, call.path["tenant"])
        return Answer(_answer(record), etag=record.etag)

    async def put_tenant(self, call: Call) -> Answer:
        document = call.body(TenantDocument)
        if document.id != call.path["tenant"]:
            raise Problem(Code.INVALID_BODY, f"id: must be {call.path['tenant']}, as in the path")
        existing = await self.records.get(document.id)
        await self._check_bound(call.key, document, existing)
        etag = _precondition(call, existing)
        if call.query(PutQuery).dry_run:
            if self.rehearsals is None:
                raise Problem(Code.NOT_FOUND)
            call.note.dry_run = True
            rehearsal = await self.rehearsals.rehearse(document, etag=etag)
            if isinstance(rehearsal, Rejected):
                raise reject(rehearsal)
            return Answer(
                _rehearsed(rehearsal, document, existing, emails=call.key.may(Scope.SESSIONS_READ))
            )
        call.note.before = SecretFree(existing.document) if existing else None
        record = await self.records.put(
            document, etag=etag, if_held=changed_domains(call.key, document, existing)
        )
        if isinstance(record, Rejected):
            raise reject(record)
        call.note.after = SecretFree(record.document)
        answer = TenantStored(
            tenant=record.document,
            etag=record.etag,
            origin=record.origin,
            warnings=list(policy_warnings(document)),
        )
        return Answer(answer, status=200 if existing else 201, etag=record.etag)

    async def reveal_tenant(self, call: Call) -> Answer:
        record = await self.records.reveal(call.path["tenant"])
        if record is None:
            raise Problem(Code.NOT_FOUND)
        return Answer(_answer(record), etag=record.etag)

    async def delete_tenant(self, call: Call) -> Answer:
        existing = await _found(self.records, call.path["tenant"])
        call.note.before = SecretFree(existing.document)
        if self.onboarding is not None and existing.origin == "sql":
            rejection = await self.onboarding.keeps(existing.id, existing.document)
            if rejection is not None:
                raise reject(rejection)
        rejected = await self.records.delete(existing.id, etag=call.if_match or existing.etag)
        if rejected is not None:
            raise reject(rejected)
        return Answer(status=204)

    async def _check_bound(
        self, key: AdminKey, document: TenantDocument, existing: TenantRecord | None
    ) -> None:
        if key.tenant is None:
            return
        if existing is None:
            raise Problem(Code.TENANT_BOUND, "only an operator creates tenants")
        domains = await self.records.proven_domains(document.id)
        changes = operators_changes(existing.document, document, proven=domains)
        if changes:
            raise Problem(
                Code.TENANT_BOUND,
                f"only an operator changes {', '.join(changes)}",
                mistakes=[Mistake(path, "only an operator changes this") for path in changes],
            )

    def routes(self) -> tuple[Route, ...]:
        changing = (
            Code.TAKEN,
            Code.READ_ONLY,
            Code.PRECONDITION_FAILED,
            Code.PRECONDITION_REQUIRED,
            Code.EXISTS,
            Code.TENANT_BOUND,
            Code.CONFLICT,
        )
        return (
            Route(
                "list_tenants",
                "GET",
                "/tenants",
                "All tenants, by id",
                self.list_tenants,
                {200: TenantList},
                query=TenantsQuery,
            ),
            Route(
                "get_tenant",
                "GET",
                "/tenants/{tenant}",
                "One tenant",
                self.get_tenant,
                {200: TenantAnswer},
            ),
            Route(
                "put_tenant",
                "PUT",
                "/tenants/{tenant}",
                "Create a tenant, or replace the version that If-Match names",
                self.put_tenant,
                {200: TenantStored, 201: TenantStored},
                query=PutQuery,
                body=TenantDocument,
                problems=changing,
                if_match=True,
                creates=True,
            ),
            Route(
                "reveal_tenant",
                "POST",
                "/tenants/{tenant}/reveal",
                "One tenant of SQL with its secrets in their places; over the local socket only",
                self.reveal_tenant,
                {200: TenantAnswer},
                problems=(Code.LOCAL_ONLY,),
                local_only=True,
            ),
            Route(
                "delete_tenant",
                "DELETE",
                "/tenants/{tenant}",
                "Delete a tenant and end its sessions",
                self.delete_tenant,
                {204: None},
                problems=(Code.READ_ONLY, Code.CONFLICT),
                if_match=True,
            ),
        )


def changed_domains(
    key: AdminKey, document: TenantDocument, existing: TenantRecord | None
) -> frozenset[str]:
    """Those that a bound key may change only while its tenant holds them."""
    if key.tenant is None or existing is None:
        return frozenset()
    return document.email_domains ^ frozenset(existing.document["email_domains"])


async def _found(records: TenantRecords, tenant: str) -> TenantRecord:
    record = await records.get(tenant)
    if record is None:
        raise Problem(Code.NOT_FOUND, f"there is no tenant {tenant}")
    return record


def _health(key: AdminKey, state: TenantState) -> TenantHealth:
    return TenantHealth.model_validate(
        {
            "connection": state.connection,
            "expires_at": state.expires_at,
            "hooks": state.hooks if key.may(Scope.HOOKS) else None,
            "last_sign_in_at": state.last_sign_in_at if key.may(Scope.SESSIONS_READ) else None,
        }
    )


def _answer(record: TenantRecord) -> TenantAnswer:
    return TenantAnswer(tenant=record.document, etag=record.etag, origin=record.origin)


def _rehearsed(
    rehearsal: TenantRehearsal,
    document: TenantDocument,
    existing: TenantRecord | None,
    *,
    emails: bool,
) -> TenantStored:
    effects = _effects(rehearsal.effects)
    people = ImpactAnswer(
        sessions=rehearsal.sessions,
        losing=len({e.email for e in effects if not e.gains}),
        gaining=len({e.email for e in effects if e.gains}),
        effects=effects[:MAX_EFFECTS] if emails else None,
        shadow_rules=_effects(rehearsal.shadow)[:MAX_EFFECTS] if emails else None,
        unknown=rehearsal.unknown or None,
    )
    return TenantStored(
        tenant=rehearsal.document,
        etag=existing.etag if existing else "",
        origin="sql",
        warnings=list(policy_warnings(document)),
        dry_run=True,
        changes=[ChangeRow(key=c.key, before=c.before, after=c.after) for c in rehearsal.changes],
        people=people,
    )


def _effects(found: Sequence[PersonEffect]) -> list[EffectRow]:
    return [EffectRow(email=e.email, gains=e.gains, where=e.where, reason=e.reason) for e in found]


def _precondition(call: Call, existing: TenantRecord | None) -> str | None:
    """RFC 9110 §13: an update without If-Match could undo what somebody else just narrowed."""
    etag = call.if_match
    if existing is None:
        if etag is not None:
            raise Problem(Code.PRECONDITION_FAILED, "there is no such tenant")
        return None
    if call.request.headers.get("If-None-Match", "").strip() == "*":
        raise Problem(Code.PRECONDITION_FAILED, "the tenant exists")
    if etag is None:
        raise Problem(
            Code.PRECONDITION_REQUIRED, "the tenant exists: GET it, and send its ETag as If-Match"
        )
    if etag != existing.etag:
        raise Problem(Code.PRECONDITION_FAILED, "the tenant has changed since: GET it again")
    return etag
