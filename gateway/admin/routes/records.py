"""``/explain`` and ``/audit``: what would happen, what was done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, RootModel, StrictBool, model_validator

from gateway.admin.listing import list_page
from gateway.admin.problem import Code, Problem
from gateway.admin.reads import filter_text
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, ApiModel, Call, PageQuery, Route
from gateway.database.audit_entries import AuditFilter
from gateway.tenants.api import Question
from gateway.tenants.document import TenantDocument  # noqa: TC001 - pydantic reads annotations

if TYPE_CHECKING:
    from gateway.database.audit import AuditLog
    from gateway.database.audit_entries import AuditEntry
    from gateway.tenants.api import Explainer

Tenant = Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class ExplainBody(ApiModel):
    """A hypothetical request. Without ``email`` nobody is signed in. With ``client`` it carries an
    access token of that app client, with ``scopes``: a person's where there is an ``email``, else a
    machine's. With ``app_password_path`` it carries an app password of the person that is good for
    this path and everything below; with ``pool_password``, their name and password as a user of the
    pool. ``destination`` and ``depth`` are the headers of a WebDAV request. With ``draft``, a whole
    tenant document that need not be stored, the answer is that document's: blocks and other tenants
    count for nothing, secrets in it stay ``***``.
    """

    host: Annotated[str, Field(min_length=1, max_length=253)]
    path: Annotated[str, Field(pattern=r"^/[^\s]*$", max_length=4096)] = "/"
    method: Annotated[str, Field(pattern=r"^[A-Z]{1,24}(-[A-Z]{1,24})?$")] = "GET"
    email: Annotated[str, Field(max_length=320)] | None = None
    groups: Annotated[tuple[Name, ...], Field(max_length=300)] = ()
    roles: Annotated[tuple[Name, ...], Field(max_length=300)] = ()
    provider: Annotated[str, Field(max_length=32)] | None = None
    client: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    scopes: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    app_password_path: Annotated[str, Field(pattern=r"^/[^\s]*$", max_length=4096)] | None = None
    pool_password: StrictBool = False
    destination: Annotated[str, Field(max_length=4096)] | None = None
    depth: Annotated[str, Field(max_length=32)] | None = None
    draft: TenantDocument | None = None

    @model_validator(mode="after")
    def _one_credential(self) -> ExplainBody:
        if self.app_password_path is not None and (self.email is None or self.client is not None):
            msg = "app_password_path needs email, and cannot be combined with client"
            raise ValueError(msg)
        if self.pool_password and (
            self.email is None or self.client is not None or self.app_password_path is not None
        ):
            msg = "pool_password needs email, and cannot be combined with another credential"
            raise ValueError(msg)
        return self


class Explanation(RootModel[dict[str, Any]]):
    """The trace of the function that decides."""

    model_config = ConfigDict(frozen=True)


class AuditQuery(PageQuery):
    """``since`` and ``until`` are UTC epoch seconds. ``reads``: records of who saw what, which are
    left out unless ``include`` or ``only`` asks for them. With ``documents=false``, ``before`` and
    ``after`` of changes are null: ``GET /audit/{entry}`` has them.
    """

    tenant: Tenant | None = None
    actor: Annotated[str, Field(max_length=200)] | None = None
    action: Annotated[str, Field(max_length=80)] | None = None
    since: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)] | None = None
    until: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)] | None = None
    reads: Literal["exclude", "include", "only"] = "exclude"
    documents: bool = True


class AuditRow(AnswerModel):
    """``outcome`` is ``done``, ``dry_run``, ``read``, ``refused:STATUS``, ``failed:STATUS``, or
    ``begun`` where a crash came between. Of reads, ``after`` has how many ``requests`` and ``rows``
    there were.
    """

    id: int
    at: float
    actor: str
    action: str
    tenant: str | None
    target: str
    outcome: str
    request_id: str
    before: Any
    after: Any


class AuditList(AnswerModel):
    items: list[AuditRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class ExplainRoutes:
    """What a request would come to."""

    explainer: Explainer

    async def explain(self, call: Call) -> Answer:
        body = call.body(ExplainBody)
        if body.draft is not None:
            call.own(body.draft.id)
        call.note.of_nobody = body.email is None
        about = {"host": body.host, "email": body.email}
        call.note.target = filter_text({name: value for name, value in about.items() if value})
        question = Question(
            host=body.host,
            path=body.path,
            method=body.method,
            email=body.email,
            groups=body.groups,
            roles=body.roles,
            provider=body.provider,
            signed_in=body.email is not None,
            tenant=call.key.tenant,
            client=body.client,
            scopes=body.scopes,
            app_password_path=body.app_password_path,
            pool_password=body.pool_password,
            destination=body.destination,
            depth=body.depth,
            draft=body.draft,
        )
        explanation = await self.explainer.explain(question)
        if explanation is None:
            raise Problem(Code.NOT_FOUND, "not a host that this key may ask about")
        return Answer(Explanation(explanation))

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "explain",
                "POST",
                "/explain",
                "What a request would come to, and why",
                self.explain,
                {200: Explanation},
                body=ExplainBody,
                problems=(Code.NOT_FOUND,),
            ),
        )


_READS: Final = {"exclude": False, "include": None, "only": True}


@dataclass(frozen=True, slots=True)
class AuditRoutes:
    """The audit log."""

    audit: AuditLog

    async def get_audit(self, call: Call) -> Answer:
        entry = await self.audit.entry(int(call.path["entry"]))
        if entry is None:
            raise Problem(Code.NOT_FOUND)
        if call.key.tenant is not None and entry.tenant != call.key.tenant:
            raise Problem(Code.NOT_FOUND)
        return Answer(_entry(entry))

    async def list_audit(self, call: Call) -> Answer:
        query = call.query(AuditQuery)
        audit_filter = AuditFilter(
            tenant=query.tenant,
            actor=query.actor,
            action=query.action,
            since=query.since,
            until=query.until,
            reads=_READS[query.reads],
            documents=query.documents,
        )
        return await list_page(
            "list_audit", query, partial(self.audit.page, audit_filter), row=_entry, model=AuditList
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "list_audit",
                "GET",
                "/audit",
                "Who changed or read what, newest first",
                self.list_audit,
                {200: AuditList},
                query=AuditQuery,
            ),
            Route(
                "get_audit",
                "GET",
                "/audit/{entry}",
                "One change or read",
                self.get_audit,
                {200: AuditRow},
                problems=(Code.NOT_FOUND,),
            ),
        )


def _entry(entry: AuditEntry) -> AuditRow:
    return AuditRow(
        id=entry.id,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        tenant=entry.tenant,
        target=entry.target,
        outcome=entry.outcome,
        request_id=entry.request_id,
        before=entry.before,
        after=entry.after,
    )
