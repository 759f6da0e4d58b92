"""``/tenants/{tenant}/test``: one-time links that walk a whole login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.admin.routes.tenants import reject
from gateway.core import signed_link
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from gateway.tenants.api import LoginTests


class TestLink(AnswerModel):
    """Good once, for an hour."""

    __test__ = False  # not a test, whatever pytest makes of the name
    url: str


class LoginTestQuery(ApiModel):
    """``token``: of the link."""

    token: Annotated[str, Field(pattern=f"^[A-Za-z0-9_-]{{1,{signed_link.MAX_CHARACTERS}}}$")]


class LoginTestAnswer(AnswerModel):
    """How far the test of a link came. ``not_opened``: nobody has used it; ``begun``: sent to
    Cognito, and not back; ``cognito``: it would end on Cognito's own error page; ``done``.
    ``at`` and ``expires_at`` are UTC epoch seconds; ``detail``: the setting to change, or the
    reason of the decision.
    """

    tenant: str
    state: Literal["not_opened", "begun", "cognito", "done"]
    expires_at: float
    at: float | None
    provider: str
    detail: str
    allowed: bool
    groups: Annotated[list[str], Field(description="names that arrived, 100 at most")]
    claims: Annotated[list[str], Field(description="names that arrived, without their values")]


@dataclass(frozen=True, slots=True)
class LoginTestRoutes:
    """Try a tenant's login."""

    tests: LoginTests

    async def test_tenant(self, call: Call) -> Answer:
        link = await self.tests.link(call.path["tenant"])
        if isinstance(link, Rejected):
            raise reject(link)
        return Answer(TestLink(url=link), status=201)

    async def get_tenant_test(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        test = await self.tests.result(tenant, call.query(LoginTestQuery).token)
        if test is None:
            raise Problem(Code.NOT_FOUND, f"this is no test link of tenant {tenant}")
        link, result = test
        return Answer(
            LoginTestAnswer.model_validate(
                {
                    "tenant": tenant,
                    "state": result.state if result is not None else "not_opened",
                    "expires_at": link.expires_at,
                    "at": result.at if result is not None else None,
                    "provider": result.provider if result is not None else "",
                    "detail": result.detail if result is not None else "",
                    "allowed": result is not None and result.allowed,
                    "groups": result.groups if result is not None else (),
                    "claims": result.claims if result is not None else (),
                }
            )
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "get_tenant_test",
                "GET",
                "/tenants/{tenant}/test",
                "How far somebody came with a link that tests a login",
                self.get_tenant_test,
                {200: LoginTestAnswer},
                query=LoginTestQuery,
            ),
            Route(
                "test_tenant",
                "POST",
                "/tenants/{tenant}/test",
                "A one-time link that walks a whole login and creates no session",
                self.test_tenant,
                {201: TestLink},
                problems=(Code.CONFLICT,),
            ),
        )
