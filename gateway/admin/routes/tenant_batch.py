"""``PUT /tenants``: all tenants of a folder at once, planned and applied as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from gateway.admin.keys import Scope
from gateway.admin.operators_tenant import guard_operators
from gateway.admin.parsing import refuse_secret_references
from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.admin.routes.tenants import MAX_EFFECTS, ChangeRow, EffectRow, reject
from gateway.tenants.api import Rejected
from gateway.tenants.batch import MAX_TENANTS, Batch
from gateway.tenants.collector import large_work
from gateway.tenants.document import TenantDocument
from gateway.tenants.offload import in_background
from gateway.tenants.stored import Actor
from gateway.tenants.warnings import policy_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.provisioning.service import Onboarding
    from gateway.tenants.batch import Impact, Invalid, TenantBatches
    from gateway.tenants.folder_plan import Change
    from gateway.tenants.impact import Effect

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""Ten thousand tenants of three kilobytes each. Only operators send so much."""
MAX_MISTAKES = 200


class BatchQuery(ApiModel):
    """``dry_run`` answers what would change and who of those signed in would lose or gain, and
    changes nothing. ``prune`` also deletes the tenants in SQL that the body lacks.
    """

    dry_run: bool = False
    prune: bool = False


class BatchBody(ApiModel):
    """Each in the shape of a tenant file; a secret ``***`` keeps what is stored."""

    tenants: Annotated[tuple[dict[str, Any], ...], Field(max_length=MAX_TENANTS)]


class BatchChange(AnswerModel):
    """One tenant. ``warnings``: what is allowed and lets nobody in."""

    action: Literal["create", "update", "delete"]
    tenant: str
    changes: list[ChangeRow]
    warnings: list[str]


class BatchPeople(AnswerModel):
    """Of one tenant's ``sessions``, who would lose or gain something, and what its
    ``shadow_rules`` would change once they are taken over. The first 200 of each, for keys with
    ``sessions:read``; null for others.
    """

    tenant: str
    sessions: int
    losing: int
    gaining: int
    effects: list[EffectRow] | None
    shadow_rules: list[EffectRow] | None


class BatchSilenced(AnswerModel):
    """What ``source`` imposed and, as configured then, can no longer lift."""

    tenant: str
    source: str
    count: int


class BatchAnswer(AnswerModel):
    """``etag``: of this plan; sent as If-Match, it is applied as it was shown or not at all.
    ``kept``: in SQL, not in the body, and not pruned. ``warnings``: of all tenants side by side.
    ``in_force``: every replica obeys; null on a dry run. ``people``, ``silenced`` and ``unknown``
    (why people could not be asked about) are told on a dry run.
    """

    dry_run: bool
    etag: str
    changes: list[BatchChange]
    unchanged: list[str]
    kept: list[str]
    warnings: list[str]
    people: list[BatchPeople]
    silenced: list[BatchSilenced]
    unknown: str | None
    in_force: bool | None


@dataclass(frozen=True, slots=True)
class TenantBatchRoutes:
    """All tenants of a folder."""

    batches: TenantBatches
    operators_tenant: str | None = None
    onboarding: Onboarding | None = None

    async def put_tenants(self, call: Call) -> Answer:
        with large_work():
            return await self._put_tenants(call)

    async def _put_tenants(self, call: Call) -> Answer:
        query, documents = call.query(BatchQuery), call.body(BatchBody).tenants
        await in_background(refuse_secret_references, {"tenants": list(documents)}, TenantDocument)
        batch = await self.batches.plan(documents, prune=query.prune)
        if isinstance(batch, Rejected):
            raise reject(batch)
        if isinstance(batch, tuple):
            raise _invalid(batch)
        if call.if_match not in (None, batch.etag):
            raise Problem(Code.PRECONDITION_FAILED, "tenants have changed since: plan again")
        guard_operators(self.operators_tenant, call.key, *(c.tenant for c in batch.plan.changes))
        await self._refuse_kept(batch)
        call.note.dry_run = query.dry_run
        call.note.after = {"changes": [f"{c.action} {c.tenant}" for c in batch.plan.changes]}
        if query.dry_run:
            impact = await self.batches.impact(batch)
            emails = call.key.may(Scope.SESSIONS_READ)
            answer = await in_background(_planned, batch, impact, emails=emails)
            return Answer(answer, etag=batch.etag)
        in_force = await self.batches.apply(batch, by=Actor(call.actor, call.request_id))
        if isinstance(in_force, Rejected):
            raise reject(in_force)
        return Answer(await in_background(_answer, batch, in_force=in_force), etag=batch.etag)

    async def _refuse_kept(self, batch: Batch) -> None:
        if self.onboarding is None:
            return
        for change in batch.plan.changes:
            record = batch.before.get(change.tenant)
            if change.document is None and record is not None:
                document = record.document.model_dump()
                rejection = await self.onboarding.keeps(change.tenant, document)
                if rejection is not None:
                    raise reject(rejection)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "put_tenants",
                "PUT",
                "/tenants",
                "Make SQL hold these tenants: all of it, or nothing",
                self.put_tenants,
                {200: BatchAnswer},
                query=BatchQuery,
                body=BatchBody,
                problems=(Code.TAKEN, Code.READ_ONLY, Code.EXISTS, Code.NOT_FOUND, Code.CONFLICT),
                if_match=True,
                max_body_bytes=MAX_BATCH_BYTES,
            ),
        )


def _invalid(found: Sequence[Invalid]) -> Problem:
    mistakes = [
        Mistake(f"{one.tenant}.{one.key}" if one.key else one.tenant, one.problem) for one in found
    ]
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    detail = "; ".join(f"{m.where}: {m.problem}" for m in mistakes[:3]) + more
    return Problem(Code.INVALID_BODY, detail, mistakes=mistakes[:MAX_MISTAKES])


def _answer(batch: Batch, *, in_force: bool | None) -> BatchAnswer:
    plan = batch.plan
    return BatchAnswer(
        dry_run=in_force is None,
        etag=batch.etag,
        changes=[_change(change) for change in plan.changes],
        unchanged=list(plan.unchanged),
        kept=list(plan.kept),
        warnings=list(plan.warnings),
        people=[],
        silenced=[],
        unknown=None,
        in_force=in_force,
    )


def _planned(batch: Batch, impact: Impact, *, emails: bool) -> BatchAnswer:
    return _answer(batch, in_force=None).model_copy(
        update={
            "people": [
                BatchPeople(
                    tenant=tenant,
                    sessions=people.sessions,
                    losing=len({e.email for e in people.now if not e.gains}),
                    gaining=len({e.email for e in people.now if e.gains}),
                    effects=_effects(people.now) if emails else None,
                    shadow_rules=_effects(people.shadow_rules) if emails else None,
                )
                for tenant, people in impact.people.items()
            ],
            "silenced": [
                BatchSilenced(tenant=tenant, source=source, count=count)
                for tenant, counts in impact.stay.items()
                for source, count in sorted(counts.items())
            ],
            "unknown": impact.unknown or None,
        }
    )


def _effects(found: Sequence[Effect]) -> list[EffectRow]:
    return [
        EffectRow(email=e.email, gains=e.gains, where=e.where, reason=e.reason)
        for e in found[:MAX_EFFECTS]
    ]


def _change(change: Change) -> BatchChange:
    return BatchChange(
        action=change.action,
        tenant=change.tenant,
        changes=[ChangeRow(key=d.key, before=d.before, after=d.after) for d in change.differences],
        warnings=list(policy_warnings(change.document)) if change.document is not None else [],
    )
