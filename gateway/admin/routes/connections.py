"""``/connections`` and ``/tenants/{tenant}/connections``: whether each identity provider can be
used, and when what it hangs on ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.listing import list_page
from gateway.admin.problem import Code
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, Call, PageQuery, Route
from gateway.admin.routes.revocations import expect_tenant
from gateway.core.expiry import ConnectionState  # noqa: TC001 - pydantic reads annotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.routes.revocations import IsTenant
    from gateway.expiry.records import ConnectionView
    from gateway.expiry.watch import ConnectionWatch


class CredentialRow(AnswerModel):
    credential: Literal["client_secret", "directory_secret", "hook_secret", "saml_certificate"]
    expires_at: float
    days_left: int = Field(description="whole days; negative where it has ended")


class CertificateRow(AnswerModel):
    fingerprint: str = Field(description="SHA-256, hexadecimal")
    expires_at: float


class ConnectionRow(AnswerModel):
    """As the last look found it. Times are UTC epoch seconds."""

    provider: str
    state: Literal["unchecked", "active", "failing"] = Field(
        description=(
            "`failing` after three looks in a row; `unchecked`: there is nobody to ask, or none "
            "of the looks has succeeded yet"
        )
    )
    checked_at: float
    failing_since: float | None
    detail: str = Field(description="what was wrong, in a sentence")
    certificates: list[CertificateRow] = Field(description="that sign for a SAML provider")
    credentials: list[CredentialRow] = Field(description="of which an end is known")


class ConnectionList(AnswerModel):
    items: list[ConnectionRow]


class ConnectionsQuery(PageQuery):
    """``state``: only those that the last looks found so."""

    tenant: Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")] | None = None
    state: ConnectionState | None = None


class TenantConnectionRow(ConnectionRow):
    """As the last look found it. Times are UTC epoch seconds."""

    tenant: str


class TenantConnectionList(AnswerModel):
    items: list[TenantConnectionRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class ConnectionRoutes:
    """What is known of each connection, and a look now."""

    watch: ConnectionWatch
    is_tenant: IsTenant

    async def list_connections(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        await expect_tenant(self.is_tenant, tenant)
        return Answer(_answer(await self.watch.known(tenant)))

    async def list_all_connections(self, call: Call) -> Answer:
        query = call.query(ConnectionsQuery)
        return await list_page(
            "list_all_connections",
            query,
            partial(self.watch.page, query.tenant, query.state),
            row=lambda item: TenantConnectionRow.model_validate(
                {"tenant": item[0], **_values(item[1])}
            ),
            model=TenantConnectionList,
        )

    async def check_connections(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        await expect_tenant(self.is_tenant, tenant)
        call.note.target = tenant
        return Answer(_answer(await self.watch.check(tenant)))

    def routes(self) -> tuple[Route, ...]:
        base = "/tenants/{tenant}/connections"
        return (
            Route(
                "list_connections",
                "GET",
                base,
                "Whether each identity provider can be used, and what ends when",
                self.list_connections,
                {200: ConnectionList},
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "list_all_connections",
                "GET",
                "/connections",
                "The connections of all tenants: whether each can be used, and what ends when",
                self.list_all_connections,
                {200: TenantConnectionList},
                query=ConnectionsQuery,
            ),
            Route(
                "check_connections",
                "POST",
                f"{base}/check",
                "Look at the tenant's identity providers now",
                self.check_connections,
                {200: ConnectionList},
                problems=(Code.NOT_FOUND,),
            ),
        )


def _answer(found: Sequence[ConnectionView]) -> ConnectionList:
    return ConnectionList(items=[ConnectionRow.model_validate(_values(each)) for each in found])


def _values(connection: ConnectionView) -> dict[str, object]:
    return {
        "provider": connection.provider,
        "state": connection.state,
        "checked_at": connection.checked_at,
        "failing_since": connection.failing_since,
        "detail": connection.detail,
        "certificates": [
            {"fingerprint": fingerprint, "expires_at": ends}
            for fingerprint, ends in connection.certificates
        ],
        "credentials": [
            {
                "credential": one.credential,
                "expires_at": one.expires_at,
                "days_left": one.days_left,
            }
            for one in connection.credentials
        ],
    }
