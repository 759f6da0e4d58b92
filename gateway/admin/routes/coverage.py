"""``/tenants/{tenant}/deprovisioning``: whether every removal at an identity provider is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.admin.problem import Code
from gateway.admin.route import Answer, AnswerModel, Call, Route
from gateway.admin.routes.revocations import expect_tenant

if TYPE_CHECKING:
    from gateway.admin.routes.revocations import IsTenant
    from gateway.hooks.coverage import Coverage
    from gateway.hooks.coverage_records import CoverageRecords


class MissingRow(AnswerModel):
    """``delays``: removals are told, but later."""

    way: Literal["graph", "okta_log", "google", "scim"]
    code: Literal[
        "not_set_up",
        "half_set_up",
        "never_read",
        "late",
        "no_push",
        "token_refused",
        "silent",
        "users_missing",
        "groups_missing",
    ]
    what: str
    do: str
    delays: bool


class CoverageRow(AnswerModel):
    """Whether every removal at a provider is told. ``accounts``, ``groups``: the ways that tell of
    all of them. ``not_needed``: its people are the document's, or the pool's own.
    """

    provider: str
    kind: str
    state: Literal["complete", "incomplete", "none", "not_needed"]
    accounts: list[str]
    groups: list[str]
    missing: list[MissingRow]


class CoverageList(AnswerModel):
    """One for each provider of the tenant."""

    items: list[CoverageRow]


@dataclass(frozen=True, slots=True)
class CoverageRoutes:
    """What is told, and what is missing."""

    coverage: CoverageRecords
    is_tenant: IsTenant

    async def get_deprovisioning(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        await expect_tenant(self.is_tenant, tenant)
        rows = [_coverage(each) for each in await self.coverage.of(tenant)]
        return Answer(CoverageList(items=rows))

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "get_deprovisioning",
                "GET",
                "/tenants/{tenant}/deprovisioning",
                "Whether every removal at each identity provider is told, and what is missing",
                self.get_deprovisioning,
                {200: CoverageList},
                problems=(Code.NOT_FOUND,),
            ),
        )


def _coverage(each: Coverage) -> CoverageRow:
    return CoverageRow.model_validate(
        {
            "provider": each.provider,
            "kind": each.kind,
            "state": str(each.state),
            "accounts": [str(way) for way in each.accounts],
            "groups": [str(way) for way in each.groups],
            "missing": [
                {
                    "way": str(one.way),
                    "code": str(one.gap),
                    "what": one.what,
                    "do": one.do,
                    "delays": one.delays,
                }
                for one in each.missing
            ],
        }
    )
