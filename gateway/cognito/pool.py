"""Reading the pool: what is there of a tenant. Whoever is not found may only not be seen yet (up to
a minute, says AWS).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.cognito import shapes
from gateway.cognito.api import CognitoRejectedError
from gateway.cognito.native_sessions import login_reuse
from gateway.cognito.pool_users import PoolGroup, SignInPages, read_settings
from gateway.core.model import DEFAULT_POOL
from gateway.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from gateway.cognito.api import CognitoApi
    from gateway.cognito.client_secrets import ReadsClientSecrets
    from gateway.cognito.desired import Actual, ActualClient, ActualProvider
    from gateway.cognito.pool_users import PoolSettings
    from gateway.config.user_pools import CognitoQuotas

NOT_FOUND = "ResourceNotFoundException"
_NOT_ALLOWED = "AccessDeniedException"
_PAGE = 60
"""Cognito's own maximum."""
COUNTED_FOR_S = 60.0
"""A thousand clients are seventeen calls, of which a pool takes five a second. A count that is too
old costs an attempt that Cognito refuses.
"""


class Pool:
    """All of it idempotent."""

    def __init__(
        self,
        api: CognitoApi,
        quotas: CognitoQuotas,
        *,
        name: str = DEFAULT_POOL,
        secrets: ReadsClientSecrets | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``secrets``: reads those that Secrets Manager keeps."""
        self.api = api
        self.secrets = secrets
        self.name = name
        self.quotas = quotas
        self._monotonic = monotonic
        self._counting = asyncio.Lock()
        self._counted: dict[str, tuple[int, float]] = {}
        """Operation that lists → how many there were, and when."""

    async def actual(
        self,
        *,
        providers: Iterable[str],
        clients: Sequence[str],
        group: str | None = None,
        pages: bool = False,
        password_client: str | None = None,
        counted: bool = False,
        sessions: bool = False,
    ) -> Actual:
        """As far as it concerns providers of these names and these clients, of which the first is
        the one that logins begin with. ``group``: a members' group. ``pages``: what the clients
        need on the pages on which the pool's own users sign in. ``counted``: the clients of the
        whole pool, also where nothing of these is missing. ``sessions``: for how long the login
        cookie is taken.
        """
        description = (await self.api.call("DescribeUserPool", idempotent=True))["UserPool"]
        names = tuple(providers)
        actual_providers = {
            name: provider for name in names if (provider := await self.provider(name)) is not None
        }
        described_clients = [await self.whole_client(client_id) for client_id in clients]
        current = described_clients[0] if described_clients else None
        retired = tuple(client for client in described_clients[1:] if client is not None)
        return replace(
            shapes.read_pool(
                description, providers=actual_providers, client=current, retired=retired
            ),
            provider_count=await self.provider_count()
            if len(actual_providers) < len(names)
            else None,
            client_count=await self.client_count() if current is None or counted else None,
            pages=await self._pages(description, (current, *retired)) if pages else None,
            group=None if group is None else await self.group(group),
            password_client=None
            if password_client is None
            else await self.whole_client(password_client),
            login_reuse=await login_reuse(
                self.api,
                str(description.get("UserPoolTier", "ESSENTIALS")),
                [each.client_id for each in (current, *retired) if each is not None],
            )
            if sessions
            else None,
        )

    async def _pages(
        self, described: Mapping[str, Any], clients: Sequence[ActualClient | None]
    ) -> SignInPages:
        versions = [
            await self._pages_version(str(domain))
            for domain in (described.get("Domain"), described.get("CustomDomain"))
            if domain
        ]
        styled = [
            client.client_id
            for client in clients
            if client is not None and await self.style_of(client.client_id) is not None
        ]
        numbers = [version for version in versions if version is not None]
        return SignInPages(
            max(numbers) if numbers and len(numbers) == len(versions) else None, frozenset(styled)
        )

    async def _pages_version(self, domain: str) -> int | None:
        """None where the domain does not say, or the gateway may not ask."""
        try:
            answer = await self.api.call("DescribeUserPoolDomain", idempotent=True, Domain=domain)
        except CognitoRejectedError as refused:
            if refused.code == _NOT_ALLOWED:
                return None
            raise
        version = answer.get("DomainDescription", {}).get("ManagedLoginVersion")
        return version if isinstance(version, int) else None

    async def style_of(self, client_id: str) -> str | None:
        """The id of the client's managed login style."""
        try:
            answer = await self.api.call(
                "DescribeManagedLoginBrandingByClient", idempotent=True, ClientId=client_id
            )
        except CognitoRejectedError as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return str(answer["ManagedLoginBranding"]["ManagedLoginBrandingId"])

    async def delete_style(self, style_id: str) -> None:
        await self._delete("DeleteManagedLoginBranding", ManagedLoginBrandingId=style_id)

    async def settings(self) -> PoolSettings:
        """What the pool asks of its own users."""
        answer = await self.api.call("DescribeUserPool", idempotent=True)
        return read_settings(answer["UserPool"])

    async def group(self, name: str) -> PoolGroup | None:
        try:
            answer = await self.api.call("GetGroup", idempotent=True, GroupName=name)
        except CognitoRejectedError as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return PoolGroup(name, str(answer["Group"].get("Description", "")))

    async def groups_of_tenant(self, members: str) -> tuple[str, ...]:
        """Names of all groups of the tenant whose ``members`` group it is, that one last."""
        names: list[str] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call("ListGroups", idempotent=True, Limit=_PAGE, **more)
            names += [
                name
                for each in answer.get("Groups", ())
                if (name := str(each["GroupName"])) == members or name.startswith(f"{members}/")
            ]
            token = answer.get("NextToken")
            if not token:
                return tuple(sorted(names, reverse=True))

    async def delete_group(self, name: str) -> None:
        """Nobody is in it any more."""
        await self._delete("DeleteGroup", GroupName=name)

    async def provider(self, name: str) -> ActualProvider | None:
        try:
            answer = await self.api.call(
                "DescribeIdentityProvider", idempotent=True, ProviderName=name
            )
        except CognitoRejectedError as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return shapes.read_provider(answer["IdentityProvider"])

    async def client(self, client_id: str) -> ActualClient | None:
        try:
            answer = await self.api.call(
                "DescribeUserPoolClient", idempotent=True, ClientId=client_id
            )
        except CognitoRejectedError as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return shapes.read_client(answer["UserPoolClient"])

    async def whole_client(self, client_id: str) -> ActualClient | None:
        """With its secret, wherever that is kept."""
        found = await self.client(client_id)
        return None if found is None else await self.with_secret(found)

    async def with_secret(self, found: ActualClient) -> ActualClient:
        """What Secrets Manager keeps is read there; why it cannot be is said. Raises
        ``UnavailableError`` where it does not answer.
        """
        if found.secret is not None or not found.secret_arn:
            return found
        if self.secrets is None:
            return replace(found, unreadable="nothing here reads Secrets Manager")
        try:
            secret = await self.secrets.read(
                found.secret_arn, pool_id=self.api.pool_id, client_id=found.client_id
            )
        except PeerError as refused:
            return replace(found, unreadable=str(refused))
        return replace(found, secret=secret)

    async def clients_named(self, name: str) -> tuple[str, ...]:
        """Ids of every client of that name: Cognito does not keep names unique."""
        client_ids: list[str] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call(
                "ListUserPoolClients", idempotent=True, MaxResults=_PAGE, **more
            )
            client_ids += [
                str(c["ClientId"])
                for c in answer.get("UserPoolClients", ())
                if c.get("ClientName") == name
            ]
            token = answer.get("NextToken")
            if not token:
                return tuple(client_ids)

    async def client_count(self) -> int:
        """App clients of the whole pool, or its quota where there are that many."""
        return await self.count("ListUserPoolClients", quota=self.quotas.clients)

    async def provider_count(self) -> int:
        """The same of identity providers."""
        return await self.count("ListIdentityProviders", quota=self.quotas.providers)

    def forget_counts(self) -> None:
        """Cognito has just said that there is no room."""
        self._counted.clear()

    async def count(self, operation: str, *, quota: int) -> int:
        """Shared by those who ask at once, and for a minute; a full pool is counted again each
        time, since somebody may have made room.
        """
        async with self._counting:
            total, at = self._counted.get(operation, (quota, 0.0))
            if total >= quota or self._monotonic() - at > COUNTED_FOR_S:
                total = await self._count(operation, quota)
                self._counted[operation] = (total, self._monotonic())
            return total

    async def _count(self, operation: str, quota: int) -> int:
        count = 0
        token: str | None = None
        while count < quota:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call(operation, idempotent=True, MaxResults=_PAGE, **more)
            count += len(answer.get("Providers", ())) + len(answer.get("UserPoolClients", ()))
            token = answer.get("NextToken")
            if not token:
                break
        return min(count, quota)

    async def delete_provider(self, name: str) -> None:
        """Gone is as good as deleted."""
        await self._delete("DeleteIdentityProvider", ProviderName=name)

    async def delete_client(self, client_id: str) -> None:
        await self._delete("DeleteUserPoolClient", ClientId=client_id)

    async def _delete(self, operation: str, **request: str) -> None:
        try:
            await self.api.call(operation, idempotent=True, **request)
        except CognitoRejectedError as refused:
            if refused.code != NOT_FOUND:
                raise
