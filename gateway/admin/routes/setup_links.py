"""``/tenants/{tenant}/setup-links``: what a customer's administrator is sent, and the approval of
what they did with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.admin.keys import Scope
from gateway.admin.listing import list_page
from gateway.admin.permissions import PERMISSIONS
from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.route import Answer, Call, PageQuery, Route
from gateway.admin.routes.setup_link_models import (
    NewConnectionAnswer,
    NewSetupLinkAnswer,
    ReplaceQuery,
    ReturnBody,
    SetupLinkAnswer,
    SetupLinkBody,
    SetupLinkList,
    SetupLinksQuery,
    TaskRow,
)
from gateway.provisioning.renewal import can_renew
from gateway.setup.go_live import NOT_SUBMITTED, GoLive
from gateway.setup.letters import address_of, name_of
from gateway.setup.model import (
    ENDED,
    Approval,
    Confirm,
    LinkState,
    NewConnection,
    NewTenant,
    Part,
    Phase,
    Request,
)
from gateway.setup.operations import OPERATIONS
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.setup.letters import SetupLetters
    from gateway.setup.links import NewLink, SetupLinks
    from gateway.setup.model import SetupLink
    from gateway.setup.services import SetupServices
    from gateway.tenants.api import TenantRecord, TenantRecords


@dataclass(frozen=True, slots=True)
class SetupLinkRoutes:
    """``clock``: UTC epoch seconds."""

    setup: SetupServices
    tenants: TenantRecords
    clock: Callable[[], float]

    @property
    def links(self) -> SetupLinks:
        return self.setup.links

    async def create(self, call: Call) -> Answer:
        tenant, body = call.path["tenant"], call.body(SetupLinkBody)
        approval = body.approval or self.setup.approval
        if approval is Approval.NONE and not _approves(call):
            raise Problem(
                Code.SCOPE_MISSING,
                f"approval: none: approves beforehand, which needs {Scope.SETUP_APPROVE}, for "
                "all tenants",
                extra={"scope": str(Scope.SETUP_APPROVE)},
            )
        _expect_scopes(call, body.parts)
        if Part.SIGN_IN in body.parts:
            await self._expect_connectable(call, tenant, body)
        else:
            await self._expect_tenant(tenant, body)
        request = Request(
            parts=body.parts,
            recipients=body.recipients,
            providers=body.providers,
            language=body.language,
            approval=approval,
            note=body.note,
            lifetime_s=float(body.expires_in),
            new_tenant=_new_tenant(body),
            connection=_new_connection(body),
            confirm=self._confirm(body),
        )
        sending = await self._sending(tenant, request, send=body.send)
        new_link = await self.links.create(tenant, request, by=call.actor, tell=sending)
        return self._made(call, new_link, sending)

    async def _expect_tenant(self, tenant: str, body: SetupLinkBody) -> None:
        record = await self.tenants.get(tenant)
        if record is None:
            raise Problem(Code.NOT_FOUND, f"there is no tenant {tenant}")
        if Part.RENEW not in body.parts:
            return
        if self.setup.renewal is None:
            raise Problem(Code.CONFLICT, "renew: no user pool is administered")
        if record.origin == "file":
            raise Problem(Code.READ_ONLY, f"renew: {tenant} is a file of tenants.directory")
        if not can_renew(record.document):
            raise Problem(
                Code.CONFLICT,
                f"renew: nobody signs in to tenant {tenant} with a provider that has a secret or "
                "metadata of its own",
            )

    def _confirm(self, body: SetupLinkBody) -> Confirm:
        mails = self.setup.letters.configured
        method = body.confirm or (Confirm.MAIL if mails else Confirm.PHRASE)
        if (method is Confirm.MAIL or body.send) and not mails:
            raise Problem(Code.CONFLICT, "mail.host is not set: no mail is sent")
        if method is Confirm.MAIL or body.send:
            problems = self.setup.letters.unsendable(body.recipients)
            if problems:
                mistakes = [Mistake("recipients", f"{to}: {why}") for to, why in problems.items()]
                raise Problem(Code.INVALID_BODY, mistakes=mistakes)
        return method

    async def _sending(self, tenant: str, request: Request, *, send: bool) -> _Sending:
        """What is mailed of a link that is made now."""
        if not send:
            return _Sending(None, "")
        record = await self.tenants.get(tenant)
        new = request.new_tenant
        name = record.document["name"] if record else new.name if new is not None else ""
        return _Sending(self.setup.letters, str(name or tenant))

    async def _expect_connectable(self, call: Call, tenant: str, body: SetupLinkBody) -> None:
        record = await self.tenants.get(tenant)
        if record is None:
            if body.tenant is None or body.connection is not None:
                raise Problem(
                    Code.NOT_FOUND,
                    f"there is no tenant {tenant}: say in tenant what it will be called, its "
                    "hosts and its e-mail domains",
                )
            if call.key.tenant is not None:
                raise Problem(Code.TENANT_BOUND, "only an operator creates tenants")
            if self.setup.proof_required and Part.DOMAINS not in body.parts:
                raise Problem(
                    Code.CONFLICT,
                    "domains.proof: required: a new tenant proves its domains with the link that "
                    "makes it, so parts needs domains",
                )
            return
        if body.tenant is not None:
            raise Problem(Code.EXISTS, f"tenant {tenant} exists: leave tenant out")
        if body.connection is not None:
            self._expect_addition(call, record, body.connection.email_domains, body.parts)
        elif any(p["active"] for p in record.document["providers"]):
            raise Problem(
                Code.CONFLICT,
                f"people sign in to tenant {tenant} already: to connect one more identity "
                "provider, say its e-mail domains in connection",
            )

    def _expect_addition(
        self, call: Call, record: TenantRecord, domains: Iterable[str], parts: Container[Part]
    ) -> None:
        """A domain says whose addresses a provider may assert: an operator's word."""
        if call.key.tenant is not None:
            raise Problem(Code.TENANT_BOUND, "connection: only an operator says its domains")
        if record.origin == "file":
            raise Problem(Code.READ_ONLY, f"connection: {record.id} is a file of tenants.directory")
        new = {*domains} - {*record.document["email_domains"]}
        if self.setup.proof_required and new and Part.DOMAINS not in parts:
            raise Problem(
                Code.CONFLICT,
                f"domains.proof: required: {', '.join(sorted(new))} are proven with the link, so "
                "parts needs domains",
            )

    async def list(self, call: Call) -> Answer:
        return await list_page(
            "list_setup_links",
            call.query(PageQuery),
            partial(self.links.page, call.path["tenant"]),
            row=self._row,
            model=SetupLinkList,
        )

    async def list_all(self, call: Call) -> Answer:
        query = call.query(SetupLinksQuery)
        return await list_page(
            "list_all_setup_links",
            query,
            partial(self.links.page, query.tenant, stage=query.stage),
            row=self._row,
            model=SetupLinkList,
        )

    async def get(self, call: Call) -> Answer:
        return Answer(self._row(await self._find(call)))

    async def revoke(self, call: Call) -> Answer:
        link = await self._find(call)
        call.note.before = {"state": str(link.state(self.clock()))}
        result = await self.links.revoke(link.tenant, link.id)
        if result is None:
            raise Problem(Code.NOT_FOUND)
        return Answer(self._row(result))

    async def replace(self, call: Call) -> Answer:
        link = await self._find(call)
        if link.request.approval is Approval.NONE and not _approves(call):
            raise Problem(Code.SCOPE_MISSING, extra={"scope": str(Scope.SETUP_APPROVE)})
        _expect_scopes(call, link.request.parts)
        if link.stored_state is LinkState.COMPLETED:
            raise Problem(Code.CONFLICT, "what the link was for is live: make a new one")
        send, mails = call.query(ReplaceQuery).send, self.setup.letters.configured
        if send and not mails:
            raise Problem(Code.CONFLICT, "mail.host is not set: no mail is sent")
        # Where no mail is sent any more, a phrase opens what a code did.
        confirm = link.request.confirm if mails else Confirm.PHRASE
        sending = await self._sending(link.tenant, link.request, send=send)
        new_link = await self.links.replace(
            link.tenant, link.id, by=call.actor, confirm=confirm, tell=sending
        )
        if new_link is None:
            raise Problem(Code.CONFLICT, "the link is over, or live: make a new one")
        call.note.before = {"id": link.id}
        return self._made(call, new_link, sending)

    async def approve(self, call: Call) -> Answer:
        link = await self._submitted(call, or_live=True)
        _expect_scopes(call, link.request.parts)
        held_by = {link.created_by, *link.request.replaced_by}
        if link.request.approval is Approval.OTHER_PERSON and call.actor in held_by:
            raise Problem(Code.CONFLICT, "who made or replaced the link does not approve it")
        result = await GoLive(
            self.links, self.tenants, self.setup.letters, self.setup.renewal
        ).go_live(link, actor=call.actor)
        if isinstance(result, Rejected):
            raise Problem(Code(result.code), result.message)
        call.note.after = {"provider": link.provider, "live": True}
        return Answer(self._row(result))

    async def send_back(self, call: Call) -> Answer:
        link = await self._submitted(call)
        work = replace(link.work, phase=Phase.TESTED, returned=call.body(ReturnBody).note)
        letters, record = self.setup.letters, await self.tenants.get(link.tenant)

        async def tell(connection: AsyncConnection, stored: SetupLink) -> None:
            await letters.returned(connection, stored, name_of(stored, record))

        result = await self.links.decide(link, work, tell=tell)
        letters.mailer.wake()
        if result is None:
            raise Problem(Code.CONFLICT, "the link was changed at the same moment, or is over")
        return Answer(self._row(result))

    async def _submitted(self, call: Call, *, or_live: bool = False) -> SetupLink:
        link = await self._find(call)
        if link.work.phase is not Phase.SUBMITTED and not (
            or_live and link.work.phase is Phase.LIVE
        ):
            raise Problem(Code(NOT_SUBMITTED.code), NOT_SUBMITTED.message)
        if link.state(self.clock()) in ENDED:
            raise Problem(Code.CONFLICT, "the link is over: make a new one")
        return link

    async def _find(self, call: Call) -> SetupLink:
        link = await self.links.get(call.path["tenant"], call.path["setup_link"])
        if link is None:
            raise Problem(Code.NOT_FOUND)
        return link

    def _made(self, call: Call, made: NewLink, sending: _Sending) -> Answer:
        link = made.link
        if sending.sent:
            self.setup.letters.mailer.wake()
        call.note.target = f"{link.tenant}/{link.id}"
        call.note.after = {
            "parts": sorted(link.request.parts),
            "approval": str(link.request.approval),
            "confirm": str(link.request.confirm),
            "sent": len(sending.sent),
            "expires_at": link.expires_at,
        }
        answer = NewSetupLinkAnswer(
            address=address_of(self.setup.origin, made),
            phrase=made.phrase.reveal() if made.phrase is not None else "",
            sent=list(sending.sent),
            link=self._row(link),
        )
        return Answer(answer, status=201)

    def _row(self, link: SetupLink) -> SetupLinkAnswer:
        request, work = link.request, link.work
        return SetupLinkAnswer(
            id=link.id,
            tenant=link.tenant,
            state=link.state(self.clock()),
            phase=work.phase,
            parts=sorted(request.parts),
            recipients=list(request.recipients),
            providers=list(request.providers),
            language=request.language,
            approval=request.approval,
            confirm=request.confirm,
            note=request.note,
            created_at=link.created_at,
            created_by=link.created_by,
            opened_at=link.times.get("opened"),
            expires_at=link.expires_at,
            locked_until=link.locked_until,
            claimed_by=link.claimed_by,
            provider=link.provider,
            tasks=_tasks(link),
            tested_by=work.tester,
            groups=list(work.chosen),
            everyone=work.everyone,
            returned=work.returned,
            connection=None
            if request.connection is None
            else NewConnectionAnswer(
                email_domains=list(request.connection.email_domains),
                groups=request.connection.groups and list(request.connection.groups),
            ),
        )

    def routes(self) -> tuple[Route, ...]:
        base = "/tenants/{tenant}/setup-links"
        one = f"{base}/{{setup_link}}"
        return (
            Route(
                "create_setup_link",
                "POST",
                base,
                "A link for a customer's administrator; its address and phrase are shown once",
                self.create,
                {201: NewSetupLinkAnswer},
                body=SetupLinkBody,
                problems=(
                    Code.NOT_FOUND,
                    Code.CONFLICT,
                    Code.EXISTS,
                    Code.READ_ONLY,
                    Code.TENANT_BOUND,
                ),
                creates=True,
            ),
            Route(
                "list_setup_links",
                "GET",
                base,
                "A tenant's setup links, newest first",
                self.list,
                {200: SetupLinkList},
                query=PageQuery,
            ),
            Route(
                "list_all_setup_links",
                "GET",
                "/setup-links",
                "Setup links of all tenants, newest first",
                self.list_all,
                {200: SetupLinkList},
                query=SetupLinksQuery,
            ),
            Route(
                "get_setup_link",
                "GET",
                one,
                "One setup link: its state, and what was done with it",
                self.get,
                {200: SetupLinkAnswer},
            ),
            Route(
                "revoke_setup_link",
                "DELETE",
                one,
                "End a setup link, and the work of the browser that has it",
                self.revoke,
                {200: SetupLinkAnswer},
            ),
            *self._decisions(one),
        )

    def _decisions(self, one: str) -> Sequence[Route]:
        return (
            Route(
                "replace_setup_link",
                "POST",
                f"{one}/replace",
                "Another address and phrase for the same work; the old ones end",
                self.replace,
                {201: NewSetupLinkAnswer},
                query=ReplaceQuery,
                problems=(Code.CONFLICT,),
                creates=True,
            ),
            Route(
                "approve_setup_link",
                "POST",
                f"{one}/approve",
                "Let people sign in with what was submitted",
                self.approve,
                {200: SetupLinkAnswer},
                problems=(
                    Code.CONFLICT,
                    Code.READ_ONLY,
                    Code.TAKEN,
                    Code.PRECONDITION_FAILED,
                ),
            ),
            Route(
                "return_setup_link",
                "POST",
                f"{one}/return",
                "Ask for a change of what was submitted",
                self.send_back,
                {200: SetupLinkAnswer},
                body=ReturnBody,
                problems=(Code.CONFLICT,),
            ),
        )


@dataclass(slots=True)
class _Sending:
    """Mails the address of a new link, where ``letters`` are given. ``sent``: to whom."""

    letters: SetupLetters | None
    tenant_name: str
    sent: tuple[str, ...] = ()

    async def __call__(self, connection: AsyncConnection, made: NewLink) -> None:
        if self.letters is not None:
            self.sent = await self.letters.invited(connection, made, self.tenant_name)


def _tasks(link: SetupLink) -> list[TaskRow]:
    """In the order in which they were done; then what is not."""
    tasks = [(name, done) for name, done in link.steps() if done or name in dict(link.tasks())]
    rows, before = list[TaskRow](), link.times.get("opened")
    for name, done in sorted(tasks, key=lambda row: link.times.get(row[0], math.inf)):
        at = link.times.get(name) if done else None
        seconds = round(at - before, 1) if at is not None and before is not None else None
        before = at if at is not None else before
        rows.append(
            TaskRow.model_validate({"task": name, "done": done, "done_at": at, "seconds": seconds})
        )
    return rows


_BESIDE = {Part.RENEW: frozenset({"reprovision"})}
"""What a part does in the pool without asking the API for it."""


def _approves(call: Call) -> bool:
    return call.key.tenant is None and call.key.may(Scope.SETUP_APPROVE)


def _expect_scopes(call: Call, parts: Iterable[Part]) -> None:
    """Nobody hands on by a link what they may not do themselves."""
    for part in sorted(parts):
        operations = OPERATIONS[part] | _BESIDE.get(part, frozenset())
        for scope in sorted({PERMISSIONS[operation][0] for operation in operations}):
            if not call.key.may(scope):
                raise Problem(
                    Code.SCOPE_MISSING,
                    f"{part}: this needs {scope} too",
                    extra={"scope": str(scope)},
                )


def _new_connection(body: SetupLinkBody) -> NewConnection | None:
    connection = body.connection
    if connection is None:
        return None
    return NewConnection(connection.email_domains, connection.groups)


def _new_tenant(body: SetupLinkBody) -> NewTenant | None:
    tenant = body.tenant
    if tenant is None:
        return None
    return NewTenant(tenant.name, tenant.hosts, tenant.email_domains, tenant.groups)
