"""The calls that change something: for each action of the journal, how it is done.

``Work.undo`` is known before the call; what only the answer tells (a client's id) is returned by
``perform`` and written to the journal after it. ``undoing`` can work from either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cognito import shapes
from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.cognito.desired import POOL_USERS, client_name, marker, password_client_name
from gateway.cognito.native_sessions import NEVER
from gateway.provisioning.credentials import (
    ClientCredentials,
    RegistryRejectedError,
    app_client,
    same_clients,
)
from gateway.provisioning.runs import Action
from gateway.tracing.spans import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from gateway.cognito.desired import (
        ActualClient,
        ActualProvider,
        WantedClient,
        WantedPasswordClient,
        WantedProvider,
    )
    from gateway.cognito.pool import Pool
    from gateway.core.json_types import Json
    from gateway.core.model import AppClient
    from gateway.provisioning.credentials import Registrar

VISIBLE_S = 90.0
"""AWS: a change of a provider can take up to a minute to be seen. After this, what is not there was
never made.
"""
_LOOK_EVERY_S = 1.0
_DUPLICATE = "DuplicateProviderException"
_CREATE_PROVIDER_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Work:
    """One step that is about to happen."""

    action: Action
    resource: str
    perform: Callable[[], Awaitable[Json]]
    undo: Json = field(default_factory=dict)
    before: Json | None = field(default=None, repr=False)

    async def traced(self, run: str, number: int) -> Json:
        """Performed, as a span of its own."""
        with span("provisioning.step") as trace_span:
            trace_span.set("gateway.provisioning.run", run)
            trace_span.set("gateway.provisioning.step", number)
            trace_span.set("gateway.provisioning.action", str(self.action))
            return await self.perform()


class Steps:
    """Makes ``Work`` for one run. ``clock`` is UTC epoch seconds."""

    def __init__(
        self,
        pool: Pool,
        registrar: Registrar,
        *,
        run: str,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        visible_s: float,
    ) -> None:
        self.pool, self._registrar, self.run = pool, registrar, run
        self._clock, self._sleep, self._visible_s = clock, sleep, visible_s
        self._made: ClientCredentials | None = None
        self._made_for_passwords: AppClient | None = None

    def now(self) -> float:
        """UTC epoch seconds."""
        return self._clock()

    def credentials_made(self) -> ClientCredentials:
        """Of the client that this run created; only after its ``create_client``."""
        if self._made is None:
            msg = "no client was created"
            raise ValueError(msg)
        return self._made

    def password_client_made(self) -> AppClient | None:
        """The one that this run created, if it did."""
        return self._made_for_passwords

    def add_attributes(self, names: tuple[str, ...]) -> Work:
        async def perform() -> Json:
            try:
                await self.pool.api.call(
                    "AddCustomAttributes",
                    idempotent=False,
                    CustomAttributes=shapes.custom_attributes(names),
                )
            except (CognitoRejectedError, UnansweredError):
                # Another run may have added them first, or this call did before its answer was
                # lost.
                present = (await self.pool.actual(providers=(), clients=())).attributes
                if not set(names) <= set(present):
                    raise
            return {}

        return Work(Action.ADD_ATTRIBUTES, ", ".join(names), perform)

    def create_provider(self, wanted: WantedProvider) -> Work:
        mark = marker(self.run, wanted.name)

        async def perform() -> Json:
            request = shapes.create_provider(wanted, marker=mark)
            for attempt in range(_CREATE_PROVIDER_ATTEMPTS):
                try:
                    await self.pool.api.call("CreateIdentityProvider", idempotent=False, **request)
                except UnansweredError:
                    # Repeating is safe: names are unique, and the marker tells whose it is.
                    if attempt + 1 == _CREATE_PROVIDER_ATTEMPTS:
                        raise
                except CognitoRejectedError as refused:
                    if (
                        attempt
                        and refused.code == _DUPLICATE
                        and await self._is_ours(wanted.name, mark)
                    ):
                        return {}
                    refused.uncertain = refused.uncertain or attempt > 0
                    raise
                else:
                    return {}
            return {}

        return Work(Action.CREATE_PROVIDER, wanted.name, perform, undo={"marker": mark})

    async def _is_ours(self, name: str, mark: str) -> bool:
        """The pool says the name is taken: wait until it can be seen by whom."""
        until = self._clock() + self._visible_s
        while (provider := await self.pool.provider(name)) is None and self._clock() < until:
            await self._sleep(_LOOK_EVERY_S)
        return provider is not None and mark in provider.identifiers

    def update_provider(self, wanted: WantedProvider, found: ActualProvider) -> Work:
        return self._replacing(found, shapes.update_provider(wanted, found))

    def _replacing(self, found: ActualProvider, new: Json) -> Work:
        async def perform() -> Json:
            await self.pool.api.call("UpdateIdentityProvider", idempotent=True, **new)
            return {}

        request = shapes.restore_provider(found)
        secret = request["ProviderDetails"].pop("client_secret", None)
        details = {n: v for n, v in new["ProviderDetails"].items() if n != "client_secret"}
        before = {
            "request": request,
            "idp_secret": secret,
            "written": {**new, "ProviderDetails": details},
        }
        return Work(Action.UPDATE_PROVIDER, found.name, perform, before=before)

    def take_credentials(self, found: ActualProvider, *, of: ActualProvider) -> Work:
        """The secret or the metadata of another provider, and nothing else of it."""
        return self._replacing(found, shapes.with_credentials_of(found, of))

    def reload_provider(self, found: ActualProvider) -> Work:
        """Its own settings once more: Cognito reads metadata when a provider is saved."""
        request = shapes.restore_provider(found)

        async def perform() -> Json:
            await self.pool.api.call("UpdateIdentityProvider", idempotent=True, **request)
            return {}

        return Work(Action.UPDATE_PROVIDER, found.name, perform, undo={"reloaded": True})

    def create_client(
        self, wanted: WantedClient, *, tenant: str, like: ActualClient | None = None
    ) -> Work:
        """``like``: the one whose place it takes."""

        def keep(client: AppClient) -> None:
            self._made = ClientCredentials.of(client)

        name = client_name(tenant, self.run)
        request = shapes.create_client(wanted, name=name, like=like)
        return self._creating(name, request, keep, secret=True)

    def create_password_client(self, wanted: WantedPasswordClient, *, tenant: str) -> Work:

        def keep(client: AppClient) -> None:
            self._made_for_passwords = client

        name = password_client_name(tenant, self.run)
        request = shapes.create_client(wanted, name=name, like=None)
        return self._creating(name, request, keep, secret=wanted.secret)

    def _creating(
        self,
        name: str,
        request: dict[str, Any],
        keep: Callable[[AppClient], None],
        *,
        secret: bool,
    ) -> Work:
        async def perform() -> Json:
            # Where its secret is kept was not asked for, and may be the account's to say.
            client = await self.pool.with_secret(
                shapes.read_client(await self._create_client(request, name))
            )
            if secret and client.secret is None:
                msg = client.unreadable or "Cognito returned a client without a secret"
                refused = CognitoRejectedError("NoClientSecret", msg)
                refused.uncertain = True  # the client is there
                raise refused
            keep(app_client(client, pool=self.pool.name))
            return {"name": name, "client_id": client.client_id}

        return Work(Action.CREATE_CLIENT, name, perform, undo={"name": name})

    async def _create_client(self, request: dict[str, Any], name: str) -> dict[str, Any]:
        until = self._clock() + self._visible_s
        while True:
            try:
                client: dict[str, Any] = (
                    await self.pool.api.call("CreateUserPoolClient", idempotent=False, **request)
                )["UserPoolClient"]
            except CognitoRejectedError as refused:
                # A provider made a moment ago cannot be seen by every part of Cognito at once.
                if (
                    not (
                        refused.code == "InvalidParameterException"
                        and "provider" in str(refused)
                        and "does not exist" in str(refused)
                    )
                    or self._clock() >= until
                ):
                    raise
                await self._sleep(_LOOK_EVERY_S)
            except UnansweredError:
                try:
                    earlier_client = await self._find_client(name)
                except CognitoRejectedError as refused:
                    refused.uncertain = True
                    raise
                if earlier_client is None:
                    raise
                return earlier_client
            else:
                return client

    async def _find_client(self, name: str) -> dict[str, Any] | None:
        """Never a second create: the first may have happened. Looks for it for a short while;
        recovery looks longer.
        """
        until = self._clock() + min(self._visible_s, 5 * _LOOK_EVERY_S)
        while True:
            ids = await self.pool.clients_named(name)
            if ids:
                client: dict[str, Any] = (
                    await self.pool.api.call(
                        "DescribeUserPoolClient", idempotent=True, ClientId=ids[0]
                    )
                )["UserPoolClient"]
                return client
            if self._clock() >= until:
                return None
            await self._sleep(_LOOK_EVERY_S)

    def update_client(
        self, wanted: WantedClient | WantedPasswordClient, found: ActualClient
    ) -> Work:
        async def perform() -> Json:
            await self.pool.api.call(
                "UpdateUserPoolClient", idempotent=True, **shapes.update_client(wanted, found)
            )
            return {}

        return Work(
            Action.UPDATE_CLIENT,
            found.client_id,
            perform,
            before={"request": shapes.restore_client(found)},
        )

    def end_login_reuse(self, client_id: str, *, before: int | None) -> Work:
        """``before``: minutes, None of a client of this run."""

        async def perform() -> Json:
            try:
                await self.pool.api.call(
                    "SetUserPoolClientSessionConfiguration",
                    idempotent=True,
                    ClientId=client_id,
                    SSOSession={"MaxValidityMinutes": NEVER},
                )
            except CognitoRejectedError as refused:
                # The client is as good as without it; ``verify`` shows that it is missing.
                return {} if refused.uncertain else {"refused": refused.code}
            return {}

        return Work(Action.SET_LOGIN_REUSE, client_id, perform, undo={"minutes": before})

    def put_tenant(
        self,
        tenant: str,
        document: Json,
        before: Json | None,
        *,
        if_held: Collection[str] = (),
    ) -> Work:
        """``if_held``: domains that the tenant has to hold at that moment."""

        async def perform() -> Json:
            await self._registrar.put(tenant, document, before=before, if_held=if_held)
            return {"written": document}

        return Work(
            Action.PUT_TENANT,
            tenant,
            perform,
            undo={"written": document},
            before=None if before is None else {"tenant": before},
        )

    def put_credentials(
        self,
        tenant: str,
        credentials: Callable[[], ClientCredentials],
        before: ClientCredentials | None,
    ) -> Work:
        async def perform() -> Json:
            new_credentials = credentials()
            if not same_clients(await self._registrar.credentials(tenant), before):
                # Another run ended between our look and our hold on the tenant: what it wrote would
                # be lost.
                msg = f"the app clients of {tenant} have changed meanwhile"
                raise RegistryRejectedError("conflict", msg)
            if before is not None and before.client_id != new_credentials.client_id:
                await self._until_seen(new_credentials.client_id)
            passwords = new_credentials.password_client
            earlier = None if before is None else before.password_client_id
            if passwords is not None and earlier not in {None, passwords.client_id}:
                await self._until_seen(passwords.client_id)
            await self._registrar.put_credentials(tenant, new_credentials)
            return {"client_id": new_credentials.client_id}

        return Work(
            Action.PUT_CREDENTIALS,
            tenant,
            perform,
            before=None if before is None else before.sealable(),
        )

    async def _until_seen(self, client_id: str) -> None:
        """Logins that worked are about to begin with this client: not before Cognito shows that it
        knows it.
        """
        until = self._clock() + self._visible_s
        while await self.pool.client(client_id) is None:
            if self._clock() >= until:
                msg = f"Cognito does not show the new client {client_id}"
                raise UnansweredError(msg)
            await self._sleep(_LOOK_EVERY_S)

    # --- deleting: each repeats harmlessly, and is never undone ----------------------------------

    def detach_clients(self, tenant: str, client_ids: Sequence[str]) -> Work:
        """No replica uses these clients any more, nor what the tenant's document has lost: only
        then may they be deleted.
        """

        async def perform() -> Json:
            credentials = await self._registrar.credentials(tenant)
            if credentials is not None and client_ids:
                await self._registrar.put_credentials(tenant, credentials.without(client_ids))
            await self._registrar.in_force(tenant)
            return {}

        return Work(Action.DELETE_CREDENTIALS, ", ".join(client_ids) or tenant, perform)

    def delete_tenant(self, tenant: str) -> Work:
        async def perform() -> Json:
            await self._registrar.restore(tenant, None, written=None)
            await self._registrar.in_force(tenant)
            return {}

        return Work(Action.DELETE_TENANT, tenant, perform)

    def delete_credentials(self, tenant: str) -> Work:
        async def perform() -> Json:
            await self._registrar.put_credentials(tenant, None)
            return {}

        return Work(Action.DELETE_CREDENTIALS, tenant, perform)

    def delete_client(self, tenant: str, client_id: str) -> Work:
        async def perform() -> Json:
            client = await self.pool.client(client_id)
            if client is not None and not client.name.startswith(client_name(tenant, "")):
                return {"kept": "the gateway did not make it"}
            if client is not None and POOL_USERS in client.strings("SupportedIdentityProviders"):
                # Whether it goes with the client is not documented, and a pool has twenty.
                style = await self.pool.style_of(client_id)
                if style is not None:
                    await self.pool.delete_style(style)
            await self.pool.delete_client(client_id)
            return {}

        return Work(Action.DELETE_CLIENT, client_id, perform)

    def delete_provider(self, tenant: str, name: str, *, mark: str) -> Work:
        async def perform() -> Json:
            owner = await self._registrar.owner_of(name)
            if owner not in {None, tenant}:
                return {"kept": f"tenant {owner} uses it"}
            provider = await self.pool.provider(name)
            if provider is not None and mark not in provider.identifiers:
                return {"kept": "it is not the one that the gateway made"}
            if provider is not None:
                await self.pool.delete_provider(name)
            return {}

        return Work(Action.DELETE_PROVIDER, name, perform)
