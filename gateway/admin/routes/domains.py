"""``/tenants/{tenant}/domains``: e-mail domains, their records, and what DNS says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.admin.routes.revocations import expect_tenant
from gateway.config.types import VISIBLE
from gateway.domains.name import LABEL, DomainError
from gateway.domains.records import (
    MAX_OF_TENANT,
    FullError,
    InUseError,
    TakenError,
    VouchedError,
)
from gateway.domains.state import HELD, NOT_PROVEN, DomainState
from gateway.tenants.api import Rejected
from gateway.tenants.bound_keys import admitted_by
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Container

    from gateway.admin.routes.revocations import IsTenant
    from gateway.domains.records import Domain
    from gateway.domains.service import Domains
    from gateway.tenants.api import TenantRecords

TAKEN = "This domain can't be added here."
"""Whoever has it."""


class DomainBody(ApiModel):
    """``domain``: such as acme.com; Unicode is allowed."""

    domain: Annotated[str, Field(min_length=1, max_length=260)]


class VouchBody(ApiModel):
    """``reason``: how the operator knows."""

    reason: Annotated[str, Field(min_length=3, max_length=400), VISIBLE]


class RecordAnswer(AnswerModel):
    """What to add to DNS."""

    type: Literal["TXT"]
    name: str
    value: str


class ServerRow(AnswerModel):
    """What one DNS server said at the last look."""

    server: str
    said: Literal["found", "other", "absent", "unknown"]


class DomainRow(AnswerModel):
    """Times are UTC epoch seconds."""

    domain: str
    state: Literal["pending", "verified", "missing", "lost", "failed", "vouched"]
    record: RecordAnswer
    added_at: float
    verified_at: float | None
    missing_since: float | None
    checked_at: float | None
    next_check_at: float | None
    in_use: bool = Field(description="whether the tenant's document names it in email_domains")
    detail: str = Field(description="what the last look found, in a sentence")
    servers: list[ServerRow]
    vouched_by: str
    reason: str


class DomainList(AnswerModel):
    items: list[DomainRow]


@dataclass(frozen=True, slots=True)
class DomainRoutes:
    """Claims, looks at DNS, an operator's word."""

    domains: Domains
    tenants: TenantRecords
    is_tenant: IsTenant

    async def list_domains(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        await self._link_or_tenant(call)
        domains_in_use = await self._named(tenant)
        rows = [_row(each, domains_in_use) for each in await self.domains.of(tenant)]
        return Answer(DomainList(items=rows))

    async def add_domain(self, call: Call) -> Answer:
        tenant, text = call.path["tenant"], call.body(DomainBody).domain
        link = await self._link_or_tenant(call)
        try:
            domain, is_new = await self.domains.add(tenant, text, link=link)
        except DomainError as error:
            raise Problem(
                Code.INVALID_BODY, str(error), mistakes=[Mistake("domain", str(error))]
            ) from error
        except TakenError:
            raise Problem(Code.TAKEN, TAKEN) from None
        except FullError:
            raise Problem(Code.CONFLICT, f"at most {MAX_OF_TENANT} domains") from None
        call.note.target = domain.domain
        row = _row(domain, await self._named(tenant))
        return Answer(row, status=201 if is_new else 200)

    async def check_domain(self, call: Call) -> Answer:
        tenant, name = call.path["tenant"], call.path["domain"]
        domain = await self.domains.check(tenant, name)
        call.note.target = name
        if domain is None:
            raise Problem(Code.NOT_FOUND)
        call.note.after = {"state": str(domain.standing.state)}
        return Answer(_row(domain, await self._named(tenant)))

    async def use_domain(self, call: Call) -> Answer:
        tenant, name = call.path["tenant"], call.path["domain"]
        call.note.target = name
        domain = {each.domain: each for each in await self.domains.of(tenant)}.get(name)
        record = await self.tenants.get(tenant)
        if domain is None or record is None:
            raise Problem(Code.NOT_FOUND)
        if domain.standing.state not in HELD:
            raise Problem(Code.CONFLICT, NOT_PROVEN)
        before = frozenset(record.document["email_domains"])
        document = {**record.document, "email_domains": sorted(before | {name})}
        new_document = TenantDocument.model_validate(document)
        if call.key.tenant is not None:
            _expect_no_admission(new_document, frozenset({name}) - before)
        etag = call.if_match or record.etag
        result = await self.tenants.put(new_document, etag=etag, if_held={name})
        if isinstance(result, Rejected):
            raise Problem(Code(result.code), result.message)
        call.note.before = {"email_domains": sorted(before)}
        call.note.after = {"email_domains": document["email_domains"]}
        return Answer(_row(domain, before | {name}))

    async def vouch_domain(self, call: Call) -> Answer:
        tenant, name = call.path["tenant"], call.path["domain"]
        reason = call.body(VouchBody).reason
        call.note.target, call.note.after = name, {"reason": reason}
        try:
            domain = await self.domains.vouch(tenant, name, by=call.actor, reason=reason)
        except TakenError:
            raise Problem(Code.TAKEN, TAKEN) from None
        if domain is None:
            raise Problem(Code.NOT_FOUND, "add the domain first")
        return Answer(_row(domain, await self._named(tenant)))

    async def remove_domain(self, call: Call) -> Answer:
        tenant, name = call.path["tenant"], call.path["domain"]
        call.note.target = name
        try:
            is_present = await self.domains.remove(tenant, name, bound=call.key.tenant is not None)
        except VouchedError:
            raise Problem(Code.TENANT_BOUND, "an operator vouched for this domain") from None
        except InUseError:
            raise Problem(
                Code.TENANT_BOUND,
                "only an operator gives up a domain in use: take it out of email_domains first",
            ) from None
        if not is_present:
            raise Problem(Code.NOT_FOUND)
        return Answer(status=204)

    async def _link_or_tenant(self, call: Call) -> str:
        """The setup link that is about to make the tenant; "" where there is the tenant. Raises
        ``Problem``.
        """
        tenant = call.path["tenant"]
        if call.key.draft and not await self.is_tenant(tenant):
            return call.key.draft
        await expect_tenant(self.is_tenant, tenant)
        return ""

    async def _named(self, tenant: str) -> frozenset[str]:
        record = await self.tenants.get(tenant)
        return frozenset(() if record is None else record.document["email_domains"])

    def routes(self) -> tuple[Route, ...]:
        base = "/tenants/{tenant}/domains"
        return (
            Route(
                "list_domains",
                "GET",
                base,
                "E-mail domains of a tenant, and what DNS says of each",
                self.list_domains,
                {200: DomainList},
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "add_domain",
                "POST",
                base,
                "Claim a domain; the answer has the DNS record that proves it",
                self.add_domain,
                {201: DomainRow, 200: DomainRow},
                body=DomainBody,
                problems=(Code.NOT_FOUND, Code.TAKEN, Code.CONFLICT),
            ),
            Route(
                "check_domain",
                "POST",
                f"{base}/{{domain}}/check",
                "Look for the record now",
                self.check_domain,
                {200: DomainRow},
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "use_domain",
                "POST",
                f"{base}/{{domain}}/use",
                "Add a proven domain to the tenant's email_domains",
                self.use_domain,
                {200: DomainRow},
                if_match=True,
                problems=(
                    Code.NOT_FOUND,
                    Code.CONFLICT,
                    Code.TAKEN,
                    Code.READ_ONLY,
                    Code.PRECONDITION_FAILED,
                    Code.INVALID_BODY,
                    Code.TENANT_BOUND,
                ),
            ),
            Route(
                "vouch_domain",
                "POST",
                f"{base}/{{domain}}/vouch",
                "Take the domain as the tenant's without a record",
                self.vouch_domain,
                {200: DomainRow},
                body=VouchBody,
                problems=(Code.NOT_FOUND, Code.TAKEN),
            ),
            Route(
                "remove_domain",
                "DELETE",
                f"{base}/{{domain}}",
                "Give up the claim",
                self.remove_domain,
                {204: None},
                problems=(Code.NOT_FOUND, Code.TENANT_BOUND),
            ),
        )


def _expect_no_admission(document: TenantDocument, added: frozenset[str]) -> None:
    """A domain that would decide alone who signs in is an operator's to add."""
    if providers := admitted_by(document, added):
        names = ", ".join(sorted(providers))
        raise Problem(
            Code.TENANT_BOUND,
            f"only an operator adds this domain: provider {names} names no domains of its own, so "
            "everybody with an address at the domain could sign in",
        )


def _row(domain: Domain, named: Container[str]) -> DomainRow:
    standing = domain.standing
    return DomainRow.model_validate(
        {
            "domain": domain.domain,
            "state": str(standing.state),
            "record": {
                "type": "TXT",
                "name": f"{LABEL}.{domain.domain}",
                "value": domain.value,
            },
            "added_at": standing.added_at,
            "verified_at": standing.verified_at,
            "missing_since": standing.missing_since,
            "checked_at": domain.checked_at,
            "next_check_at": standing.next_at,
            "in_use": domain.domain in named,
            "detail": _detail(domain),
            "servers": [{"server": server, "said": answer} for server, answer in domain.servers],
            "vouched_by": domain.vouched_by,
            "reason": domain.reason,
        }
    )


def _detail(domain: Domain) -> str:
    name = f"{LABEL}.{domain.domain}"
    if domain.standing.state is DomainState.VOUCHED:
        return "An operator vouched for it."
    if domain.taken:
        return TAKEN
    if domain.doubled:
        return f"Found at {name}.{domain.domain}. Use only {LABEL} as name."
    if domain.others:
        return f"Another value is there: {', '.join(domain.others)}."
    if domain.standing.state is DomainState.VERIFIED and domain.standing.missing_since is None:
        return "Found. Keep the record: it is checked daily."
    if domain.checked_at is None:
        return "Not checked yet."
    if all(answer == "unknown" for _, answer in domain.servers):
        return "DNS did not answer. Nothing has changed."
    return "Not found yet. It can take 48 hours."
