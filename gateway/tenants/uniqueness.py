"""The names of tenants in SQL: none is claimed twice, by containment in a wildcard either. Asked
within the transaction that writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.core.claims import SHOWN
from gateway.core.model import ProviderKind
from gateway.database.schema import client_credentials, tenant_names
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.claims import Name
    from gateway.tenants.document import TenantDocument


def names_of(document: TenantDocument) -> set[Name]:
    """As its record has them, without the record's cost. Of a managed client none: it is known to
    ``client_credentials``.
    """
    return {
        *(
            ("wildcard", host[2:]) if host.startswith("*.") else ("host", host)
            for host in document.hosts
        ),
        *(("domain", domain) for domain in document.email_domains),
        *(
            ("provider", provider.name)
            for provider in document.providers
            if provider.kind is not ProviderKind.COGNITO
        ),
        *((("client", document.client_id),) if document.client_id is not None else ()),
        *(
            (("client", passwords.client_id),)
            if (passwords := document.password_client) is not None
            and passwords.client_id is not None
            else ()
        ),
    }


async def find_clash(
    connection: AsyncConnection, tenant: str, names: Iterable[tuple[str, str]]
) -> Rejected | None:
    """The first name that another tenant in SQL holds, by containment in a wildcard too."""
    other = tenant_names.c.tenant != tenant
    for kind, name in sorted(names):
        holder = (
            await connection.execute(
                select(tenant_names.c.tenant).where(
                    other, tenant_names.c.kind == kind, tenant_names.c.name == name
                )
            )
        ).scalar_one_or_none()
        if kind == "client" and holder is None:
            query = select(client_credentials.c.tenant).where(
                client_credentials.c.tenant != tenant, client_credentials.c.client_id == name
            )
            holder = (await connection.execute(query)).scalar_one_or_none()
        within = ""
        if kind in {"host", "wildcard"} and holder is None:
            labels = name.split(".")
            above = [".".join(labels[index:]) for index in range(1, len(labels))]
            row = (
                await connection.execute(
                    select(tenant_names).where(
                        other, tenant_names.c.kind == "wildcard", tenant_names.c.name.in_(above)
                    )
                )
            ).first()
            if row is None and kind == "wildcard":
                below = tenant_names.c.kind.in_(
                    ("host", "wildcard")
                ) & tenant_names.c.name.endswith(f".{name}", autoescape=True)
                row = (await connection.execute(select(tenant_names).where(other, below))).first()
            if row is not None:
                holder, within = (
                    row.tenant,
                    f" (beside {SHOWN[row.kind].format(row.name).removeprefix('host ')})",
                )
        if holder is not None:
            return Rejected(
                "taken", f"{SHOWN[kind].format(name)}{within}: claimed by {holder} and by {tenant}"
            )
    return None
