"""``/tenants/{tenant}/users``: who signed in at a tenant's applications, for an application that
fills a table of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.listing import list_page
from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, Call, PageQuery, Route
from gateway.admin.routes.revocations import expect_tenant
from gateway.hooks.people_register import PeopleFilter

if TYPE_CHECKING:
    from gateway.admin.routes.revocations import IsTenant
    from gateway.hooks.people_register import KnownPerson, PeopleRegister

Status = Literal["active", "blocked", "deprovisioned"]


class PeopleQuery(PageQuery):
    """Each narrows: whoever had this address, or this group, at their last sign-in."""

    email: Annotated[str, Field(min_length=1, max_length=320)] | None = None
    group: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    status: Status | None = None


class PersonRow(AnswerModel):
    """As the last sign-in said. Times are UTC epoch seconds."""

    id: str
    tenant: str
    user: str = Field(description="Cognito's `sub`: `X-Auth-Request-User`")
    email: str
    username: str
    preferred_username: str
    name: str
    provider: str
    groups: list[str]
    roles: list[str]
    idp_subject: str
    oid: str
    status: Status = Field(
        description=(
            "`blocked` by an operator, `deprovisioned` by the identity provider; what a whole "
            "group or tenant lost is not in it"
        )
    )
    first_seen_at: float
    last_sign_in_at: float


class PeopleList(AnswerModel):
    items: list[PersonRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class PeopleRoutes:
    """Who is known."""

    register: PeopleRegister
    is_tenant: IsTenant

    async def list_people(self, call: Call) -> Answer:
        query, tenant = call.query(PeopleQuery), call.path["tenant"]
        await expect_tenant(self.is_tenant, tenant)
        people_filter = PeopleFilter(query.email, query.group, query.status)
        return await list_page(
            "list_people",
            query,
            partial(self.register.page, tenant=tenant, wanted=people_filter),
            row=_person,
            model=PeopleList,
        )

    async def get_person(self, call: Call) -> Answer:
        person = await self.register.find(call.path["tenant"], call.path["person"])
        if person is None:
            raise Problem(Code.NOT_FOUND)
        return Answer(_person(person))

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "list_people",
                "GET",
                "/tenants/{tenant}/users",
                "Who signed in at the tenant's applications",
                self.list_people,
                {200: PeopleList},
                query=PeopleQuery,
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "get_person",
                "GET",
                "/tenants/{tenant}/users/{person}",
                "One of them, by id or by `user`",
                self.get_person,
                {200: PersonRow},
            ),
        )


def _person(person: KnownPerson) -> PersonRow:
    return PersonRow.model_validate(asdict(person))
