"""``/tenants/{tenant}/connections``: whether each identity provider can be used, and when what it
hangs on ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gateway.admin.problem import Code
from gateway.admin.route import Answer, AnswerModel, Call, Route
from gateway.admin.routes.revocations import expect_tenant

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


@dataclass(frozen=True, slots=True)
class ConnectionRoutes:
    """What is known of each connection, and a look now."""

    watch: ConnectionWatch
    is_tenant: IsTenant

    async def list_connections(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        await expect_tenant(self.is_tenant, tenant)
        return Answer(_answer(await self.watch.known(tenant)))

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
    return ConnectionList(
        items=[
            ConnectionRow.model_validate(
                {
                    "provider": each.provider,
                    "state": each.state,
                    "checked_at": each.checked_at,
                    "failing_since": each.failing_since,
                    "detail": each.detail,
                    "certificates": [
                        {"fingerprint": fingerprint, "expires_at": ends}
                        for fingerprint, ends in each.certificates
                    ],
                    "credentials": [
                        {
                            "credential": one.credential,
                            "expires_at": one.expires_at,
                            "days_left": one.days_left,
                        }
                        for one in each.credentials
                    ],
                }
            )
            for each in found
        ]
    )
