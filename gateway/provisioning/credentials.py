"""An app client's credentials, and where a tenant is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gateway.core.model import DEFAULT_POOL, AppClient, Secret
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.core.json_types import Json


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A tenant's app clients as the registry keeps them: the one that logins begin with, and those
    that it replaced.
    """

    client_id: str
    client_secret: Secret
    retired: tuple[AppClient, ...] = ()
    pool: str = DEFAULT_POOL
    """Of the client that logins begin with."""

    @property
    def client_ids(self) -> tuple[str, ...]:
        return (self.client_id, *(client.client_id for client in self.retired))

    @property
    def pools(self) -> tuple[str, ...]:
        """Of every client; more than one only while a move is not over."""
        return tuple(dict.fromkeys((self.pool, *(client.pool for client in self.retired))))

    def replaced_by(self, made: ClientCredentials, *, retires_at: float) -> ClientCredentials:
        """``made`` is what logins begin with; the one that they began with is accepted until
        ``retires_at``.
        """
        return ClientCredentials(
            made.client_id,
            made.client_secret,
            (
                *self.retired,
                AppClient(self.client_id, self.client_secret, retires_at, self.pool),
            ),
            made.pool,
        )

    def without(self, client_ids: Collection[str]) -> ClientCredentials:
        """Less these of the retired."""
        return replace(
            self,
            retired=tuple(client for client in self.retired if client.client_id not in client_ids),
        )

    def sealable(self) -> Json:
        """With the secrets: only for what is sealed."""
        retired = [
            [client.client_id, client.client_secret.reveal(), client.retires_at, client.pool]
            for client in self.retired
        ]
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret.reveal(),
            "retired": retired,
            "pool": self.pool,
        }

    @classmethod
    def unsealed(cls, sealable: Json) -> ClientCredentials:
        """Inverse of ``sealable``."""
        retired = tuple(
            # Without a pool: of a run before there were several.
            AppClient(client_id, Secret(secret), retires_at, *pool)
            for client_id, secret, retires_at, *pool in sealable["retired"]
        )
        return cls(
            sealable["client_id"],
            Secret(sealable["client_secret"]),
            retired,
            sealable.get("pool", DEFAULT_POOL),
        )

    def ids_in(self, pool: str) -> tuple[str, ...]:
        """Of those that are in this pool, in the same order."""
        clients = (AppClient(self.client_id, self.client_secret, pool=self.pool), *self.retired)
        return tuple(client.client_id for client in clients if client.pool == pool)


def retired_ids(credentials: ClientCredentials | None) -> tuple[str, ...]:
    """Of the clients that a rotation replaced in the tenant's pool and that are accepted still."""
    return credentials.ids_in(credentials.pool)[1:] if credentials is not None else ()


class Registrar(Protocol):
    """The registry as provisioning sees it. Documents are JSON; secrets in snapshots are
    real.
    """

    async def snapshot(self, tenant: str) -> Json | None:
        """Everything needed to ``restore`` the tenant; None where SQL has none."""

    async def put(
        self, tenant: str, document: Mapping[str, object], *, before: Json | None
    ) -> None:
        """Create, or replace exactly the version that ``before`` is. Raises
        ``RegistryRejectedError``.
        """

    async def restore(
        self, tenant: str, before: Json | None, *, written: Mapping[str, object] | None
    ) -> None:
        """Back to ``before``; None deletes the tenant, unless it is no longer what was ``written``
        (None: whatever it is).
        """

    async def credentials(self, tenant: str) -> ClientCredentials | None: ...

    async def put_credentials(self, tenant: str, credentials: ClientCredentials | None) -> None:
        """All of them, retired ones too; None removes them. Raises ``RegistryRejectedError``."""

    async def owner_of(self, provider: str) -> str | None:
        """The tenant whose document names the provider."""

    async def clients_due_for_deletion(self, now: float) -> Mapping[str, tuple[str, ...]]:
        """Ids of retired clients by tenant whose time has come. ``now``: UTC epoch seconds."""

    async def in_force(self, tenant: str) -> None:
        """Returns when what was written of the tenant is published, and no replica answers any more
        by what it took away. Raises ``UnavailableError``.

        What it adds, a replica hears of in the next milliseconds; within two seconds where the push
        is lost. Nobody waits for that: a replica that has not been asked about a tenant has nothing
        to confirm.
        """


class RegistryRejectedError(GatewayError):
    """The registry says no: ``code`` is a problem code of the API."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
