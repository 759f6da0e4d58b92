"""An app client's credentials, and where a tenant is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.core.model import DEFAULT_POOL, AppClient, RotatedSecret, Secret
from gateway.errors import GatewayError
from gateway.tenants.client_secret_text import read_secret, secret_text
from gateway.tenants.snapshot_record import in_use

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.cognito.desired import ActualClient
    from gateway.core.json_types import Json

SPARE_S: Final = 3600.0
"""For which a replaced client stays beyond what is made with it: logins in progress (ten minutes),
clocks, replicas that were late to hear of it.
"""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A tenant's app clients as the registry keeps them: the one that logins begin with, and those
    that it replaced. ``password_clients``: the same of passwords of the pool's users.
    """

    client_id: str
    client_secret: Secret
    retired: tuple[AppClient, ...] = ()
    pool: str = DEFAULT_POOL
    """Of the client that logins begin with."""
    password_clients: tuple[AppClient, ...] = ()
    """The one in use first, if there is one; the replaced in the order in which they end."""
    rotated: RotatedSecret | None = None
    """Of the client that logins begin with."""

    @classmethod
    def of(cls, client: AppClient) -> ClientCredentials:
        """Of a tenant that has this one alone."""
        return cls(client.client_id, client.client_secret, pool=client.pool, rotated=client.rotated)

    @property
    def login_client(self) -> AppClient:
        """The one that logins begin with."""
        return AppClient(self.client_id, self.client_secret, None, self.pool, self.rotated)

    @property
    def clients(self) -> tuple[AppClient, ...]:
        """All of them; the one that logins begin with comes first."""
        return (self.login_client, *self.retired, *self.password_clients)

    @property
    def password_client(self) -> AppClient | None:
        """The one in use."""
        return in_use(self.password_clients)

    @property
    def password_client_id(self) -> str | None:
        return None if self.password_client is None else self.password_client.client_id

    @property
    def replaced(self) -> tuple[AppClient, ...]:
        """All that wait to be deleted."""
        passwords = (client for client in self.password_clients if client.retires_at is not None)
        return (*self.retired, *passwords)

    @property
    def client_ids(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(client.client_id for client in self.clients)

    @property
    def pools(self) -> tuple[str, ...]:
        """Of every client; more than one only while a move is not over."""
        return tuple(dict.fromkeys(client.pool for client in self.clients))

    def replaced_by(self, made: ClientCredentials, *, retires_at: float) -> ClientCredentials:
        """``made`` is what logins begin with; the one that they began with is accepted until
        ``retires_at``.
        """
        return replace(
            made,
            retired=(*self.retired, replace(self.login_client, retires_at=retires_at)),
            password_clients=self.password_clients,
        )

    def with_password_client(
        self, made: AppClient | None, *, retires_at: float
    ) -> ClientCredentials:
        """``made`` is asked with from now on, or nothing is; the one until now is deleted at
        ``retires_at``.
        """
        before = [
            client if client.retires_at is not None else replace(client, retires_at=retires_at)
            for client in self.password_clients
        ]
        before.sort(key=lambda client: (client.retires_at or 0.0, client.client_id))
        return replace(self, password_clients=(*(() if made is None else (made,)), *before))

    def without(self, client_ids: Collection[str]) -> ClientCredentials:
        """Less these of the replaced, and of those for passwords."""
        return replace(
            self,
            retired=_without(self.retired, client_ids),
            password_clients=_without(self.password_clients, client_ids),
        )

    def sealable(self) -> Json:
        """With the secrets: only for what is sealed."""
        return {
            "client_id": self.client_id,
            "client_secret": secret_text(self.login_client).reveal(),
            "retired": list(map(_sealable, self.retired)),
            "pool": self.pool,
            "password_clients": list(map(_sealable, self.password_clients)),
        }

    @classmethod
    def unsealed(cls, sealable: Json) -> ClientCredentials:
        """Inverse of ``sealable``."""
        secret, rotated = read_secret(Secret(sealable["client_secret"]))
        return cls(
            sealable["client_id"],
            secret,
            tuple(map(_unsealed, sealable["retired"])),
            sealable.get("pool", DEFAULT_POOL),
            tuple(map(_unsealed, sealable.get("password_clients", ()))),
            rotated,
        )

    def unexchanged(self) -> ClientCredentials:
        """Without the secrets that Cognito exchanges by itself: two that are equal then hold the
        same clients.
        """
        login = _unexchanged(self.login_client)
        return ClientCredentials(
            login.client_id,
            login.client_secret,
            tuple(map(_unexchanged, self.retired)),
            login.pool,
            tuple(map(_unexchanged, self.password_clients)),
            login.rotated,
        )

    def made_login(self, client_id: str) -> bool:
        """Whether logins begin, or began, with that one."""
        return client_id in {self.client_id, *(client.client_id for client in self.retired)}

    def ids_in(self, pool: str) -> tuple[str, ...]:
        """Of those that logins are made with and that are in this pool, in the same order."""
        clients = (self.login_client, *self.retired)
        return tuple(client.client_id for client in clients if client.pool == pool)


def _without(clients: tuple[AppClient, ...], client_ids: Collection[str]) -> tuple[AppClient, ...]:
    return tuple(client for client in clients if client.client_id not in client_ids)


def app_client(found: ActualClient, *, pool: str) -> AppClient:
    """As it is kept here; its secret has been read."""
    return AppClient(
        found.client_id,
        found.secret or Secret(""),
        pool=pool,
        rotated=RotatedSecret(found.secret_arn) if found.secret_arn else None,
    )


def _unexchanged(client: AppClient) -> AppClient:
    if client.rotated is None:
        return client
    return replace(client, client_secret=Secret(""), rotated=RotatedSecret(client.rotated.arn))


def same_clients(one: ClientCredentials | None, other: ClientCredentials | None) -> bool:
    """Whether nobody has changed anything but Cognito, which exchanges secrets by itself."""
    if one is None or other is None:
        return one is other
    return one.unexchanged() == other.unexchanged()


def _sealable(client: AppClient) -> list[Any]:
    return [client.client_id, secret_text(client).reveal(), client.retires_at, client.pool]


def _unsealed(row: list[Any]) -> AppClient:
    # Without a pool: of a run before there were several.
    client_id, secret, retires_at, *pool = row
    text, rotated = read_secret(Secret(secret))
    return AppClient(client_id, text, retires_at, pool[0] if pool else DEFAULT_POOL, rotated)


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
        self,
        tenant: str,
        document: Mapping[str, object],
        *,
        before: Json | None,
        if_held: Collection[str] = (),
    ) -> None:
        """Create, or replace exactly the version that ``before`` is, while the tenant holds these
        domains. Raises ``RegistryRejectedError``.
        """

    async def restore(
        self, tenant: str, before: Json | None, *, written: Mapping[str, object] | None
    ) -> None:
        """Back to ``before``; None deletes the tenant, unless it is no longer what was ``written``
        (None: whatever it is).

        What the registry refuses for good does not come back, so that undoing ends: domains that
        the tenant may not name any more are left out; where that is not enough, the document stays
        as it is.
        """

    async def refused_restore(
        self,
        tenant: str,
        before: Json | None,
        *,
        written: Mapping[str, object] | None,
        bound: bool,
    ) -> RegistryRejectedError | None:
        """Why ``restore`` would not bring back all of ``before`` now. ``bound``: for a key of the
        tenant's own, also where it changes a domain that the tenant does not hold.
        """

    async def credentials(self, tenant: str) -> ClientCredentials | None: ...

    async def put_credentials(self, tenant: str, credentials: ClientCredentials | None) -> None:
        """All of them, retired ones too; None removes them. Raises ``RegistryRejectedError``."""

    async def taken_clients(self, tenant: str, client_ids: Collection[str]) -> frozenset[str]:
        """Those of these clients that another tenant has by now."""

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
