"""Reading the pool: what is there of a tenant. Whoever is not found may only not be seen yet (up to a minute, says AWS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cognito import shapes
from gateway.cognito.aws import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.cognito.aws import CognitoApi
    from gateway.cognito.desired import Actual, ActualClient, ActualProvider

NOT_FOUND = "ResourceNotFoundException"
_PAGE = 60
"""Cognito's own maximum."""


class Pool:
    """All of it idempotent."""

    def __init__(self, api: CognitoApi) -> None:
        self.api = api

    async def actual(self, *, providers: Iterable[str], clients: Sequence[str]) -> Actual:
        """As far as it concerns providers of these names and these clients, of which the first is the one that logins begin with."""
        described = (await self.api.call("DescribeUserPool", idempotent=True))["UserPool"]
        found = {name: provider for name in providers if (provider := await self.provider(name)) is not None}
        described_clients = [await self.client(client_id) for client_id in clients]
        current = described_clients[0] if described_clients else None
        retired = tuple(client for client in described_clients[1:] if client is not None)
        return shapes.read_pool(described, providers=found, client=current, retired=retired, provider_count=await self.provider_count())

    async def provider(self, name: str) -> ActualProvider | None:
        try:
            answer = await self.api.call("DescribeIdentityProvider", idempotent=True, ProviderName=name)
        except RefusedError as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return shapes.read_provider(answer["IdentityProvider"])

    async def client(self, client_id: str) -> ActualClient | None:
        try:
            answer = await self.api.call("DescribeUserPoolClient", idempotent=True, ClientId=client_id)
        except RefusedError as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return shapes.read_client(answer["UserPoolClient"])

    async def clients_named(self, name: str) -> tuple[str, ...]:
        """Ids of every client of that name: Cognito does not keep names unique."""
        found: list[str] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call("ListUserPoolClients", idempotent=True, MaxResults=_PAGE, **more)
            found += [str(c["ClientId"]) for c in answer.get("UserPoolClients", ()) if c.get("ClientName") == name]
            token = answer.get("NextToken")
            if not token:
                return tuple(found)

    async def provider_count(self) -> int:
        count = 0
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call("ListIdentityProviders", idempotent=True, MaxResults=_PAGE, **more)
            count += len(answer.get("Providers", ()))
            token = answer.get("NextToken")
            if not token:
                return count

    async def delete_provider(self, name: str) -> None:
        """Gone is as good as deleted."""
        await self._delete("DeleteIdentityProvider", ProviderName=name)

    async def delete_client(self, client_id: str) -> None:
        await self._delete("DeleteUserPoolClient", ClientId=client_id)

    async def _delete(self, operation: str, **request: str) -> None:
        try:
            await self.api.call(operation, idempotent=True, **request)
        except RefusedError as refused:
            if refused.code != NOT_FOUND:
                raise
