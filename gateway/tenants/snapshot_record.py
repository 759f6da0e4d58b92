"""One tenant as the registry holds it in memory: the names to find it by, and the rest compressed
until asked for.

Ten thousand tenants of twenty rules are two million Python objects, and the garbage collector would
visit them all while every check waits. As records they are a few tens of thousands, and a tenant is
built on its first request.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.core.model import DEFAULT_POOL, POOLS_OWN, AppClient, RotatedSecret, Secret
from gateway.errors import UnavailableError
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import HookDocument
from gateway.tenants.secrets import join, plainly, secrets_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.config.model import Config
    from gateway.core.model import Tenant
    from gateway.tenants.document import TenantDocument

RECORD_FORMAT = 14
"""Raised when a record of this release cannot be read by the one before: a replica refuses a
snapshot of another format.
"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The app client that provisioning made for a tenant that says ``client: managed``, and
    those that it replaced. ``password_clients``: the same of passwords of the pool's users; the
    replaced ones only wait to be deleted.
    """

    client_id: str
    client_secret: Secret
    retired: tuple[AppClient, ...] = ()
    pool: str = DEFAULT_POOL
    """Of the client that logins begin with."""
    password_clients: tuple[AppClient, ...] = ()
    rotated: RotatedSecret | None = None
    """Of the client that logins begin with."""

    @property
    def clients(self) -> tuple[AppClient, ...]:
        """All of them; the one that logins begin with comes first."""
        return (
            AppClient(self.client_id, self.client_secret, None, self.pool, self.rotated),
            *self.retired,
            *self.password_clients,
        )

    @property
    def password_client(self) -> AppClient | None:
        """The one in use."""
        return in_use(self.password_clients)


def in_use(clients: Iterable[AppClient]) -> AppClient | None:
    """The one that nothing has replaced."""
    return next((client for client in clients if client.retires_at is None), None)


@dataclass(frozen=True, slots=True)
class Record:
    """A ``Listing`` with everything else in ``body``."""

    id: str
    hosts: tuple[str, ...]
    wildcards: tuple[str, ...]
    email_domains: tuple[str, ...]
    """That lead to the tenant: those of its document, but for what ``without_routes`` left out."""
    client_ids: tuple[str, ...]
    """The one that logins begin with, then the retired. Empty while the tenant waits to be
    provisioned: its names are taken, and it is inactive.
    """
    provider_names: tuple[str, ...]
    """Without what a pool has once for all tenants."""
    hooked: bool
    """Some provider has hook settings: rounds over all tenants build only these."""
    active: bool
    body: bytes = field(repr=False)
    """zlib of JSON; holds secrets."""
    digest: str
    """Of everything above: two records with one digest are the same tenant."""


def record_of(document: TenantDocument, credentials: Credentials | None) -> Record:
    """``credentials`` are looked at only for ``client: managed``."""
    clients: tuple[AppClient, ...] = ()
    passwords: AppClient | None = None
    if document.client == "managed" and credentials is not None:
        passwords = credentials.password_client
        clients = credentials.clients[: 1 + len(credentials.retired)]
    elif document.client_id is not None:
        clients = (
            AppClient(
                document.client_id,
                document.client_secret or Secret(""),
                pool=document.pool or DEFAULT_POOL,
            ),
        )
    body: dict[str, Any] = {
        "document": document.model_dump(mode="python"),
        "secrets": {path: secret.reveal() for path, secret in secrets_of(document).items()},
        "clients": [
            [client.client_id, client.client_secret.reveal(), client.retires_at, client.pool]
            for client in clients
        ],
        "password_client": None
        if passwords is None
        else [passwords.client_id, passwords.client_secret.reveal(), None, passwords.pool],
    }
    rotated = {
        client.client_id: [
            client.rotated.arn,
            "" if client.rotated.previous is None else client.rotated.previous.reveal(),
        ]
        for client in (*clients, *(() if passwords is None else (passwords,)))
        if client.rotated is not None
    }
    if rotated:
        # Only there, so that no other tenant's record changes.
        body["rotated"] = rotated
    plain = json.dumps(
        body, default=plainly, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    ).encode("utf-8", "surrogatepass")
    header = _header(
        document.id,
        tuple(sorted(h for h in document.hosts if not h.startswith("*."))),
        tuple(sorted(h[2:] for h in document.hosts if h.startswith("*."))),
        tuple(sorted(document.email_domains)),
        tuple(client.client_id for client in clients),
        tuple(
            sorted(
                provider.name for provider in document.providers if provider.kind not in POOLS_OWN
            )
        ),
        any(provider.hooks != _NO_HOOKS for provider in document.providers),
        document.active and bool(clients),
    )
    return Record(
        *header,
        body=zlib.compress(plain, _LEVEL),
        digest=hashlib.sha256(json.dumps(header).encode() + b"\n" + plain).hexdigest()[:32],
    )


def with_credentials(record: Record, credentials: Credentials) -> Record:
    """The record of a file that says ``client: managed``, completed from SQL."""
    document, _ = document_of(record)
    return record_of(document, credentials)


def without_routes(record: Record, domains: Collection[str]) -> Record:
    """The record of the same tenant, to which these domains lead nobody any more. Its document
    names them as before: who may sign in is another question.
    """
    routes = tuple(name for name in record.email_domains if name not in domains)
    if routes == record.email_domains:
        return record
    digest = hashlib.sha256(json.dumps([record.digest, routes]).encode()).hexdigest()[:32]
    return replace(record, email_domains=routes, digest=digest)


_NO_HOOKS = HookDocument()
_LEVEL = 3
"""Of zlib: 4 % longer than its default, in half of the time."""


def _header(
    *names: object,
) -> tuple[
    str,
    tuple[str, ...],
    tuple[str, ...],
    tuple[str, ...],
    tuple[str, ...],
    tuple[str, ...],
    bool,
    bool,
]:
    return names  # type: ignore[return-value]  # gives the positional tuple its type, once


def encode(record: Record) -> bytes:
    """For the snapshot: one line of JSON, then the body."""
    header = [
        record.id,
        record.hosts,
        record.wildcards,
        record.email_domains,
        record.client_ids,
        record.provider_names,
        record.hooked,
        record.active,
        record.digest,
    ]
    return json.dumps(header, separators=(",", ":")).encode("ascii") + b"\n" + record.body


def decode(encoded: bytes) -> Record:
    """Inverse of ``encode``; raises ``ValueError`` for anything else."""
    header, _, body = encoded.partition(b"\n")
    tenant, hosts, wildcards, domains, clients, providers, hooked, active, digest = json.loads(
        header
    )
    if (
        not body
        or not (isinstance(hooked, bool) and isinstance(active, bool))
        or not all(
            isinstance(text, str)
            for text in (tenant, digest, *hosts, *wildcards, *domains, *clients, *providers)
        )
    ):
        msg = "not a tenant record"
        raise ValueError(msg)
    return Record(
        tenant,
        tuple(hosts),
        tuple(wildcards),
        tuple(domains),
        tuple(clients),
        tuple(providers),
        hooked,
        active,
        body,
        digest,
    )


def shown_of(record: Record) -> dict[str, Any]:
    """The document without its secrets, as it was shown; a tenth of the time that the document
    itself takes. Raises ``ValueError``.
    """
    try:
        document: dict[str, Any] = json.loads(
            zlib.decompress(record.body).decode("utf-8", "surrogatepass")
        )["document"]
    except (zlib.error, KeyError, TypeError) as error:
        msg = "not a tenant record"
        raise ValueError(msg) from error
    return document


@dataclass(frozen=True, slots=True)
class _Body:
    document: TenantDocument
    clients: tuple[AppClient, ...]
    """In the order of ``client_ids``."""
    password_client: AppClient | None
    """Of those that provisioning made."""


def document_of(record: Record) -> tuple[TenantDocument, tuple[AppClient, ...]]:
    """The document and the clients, in the order of ``client_ids``. Raises ``ValueError`` (a
    ``ValidationError`` is one) for a body of another release.
    """
    body = _body_of(record)
    return body.document, body.clients


def _body_of(record: Record) -> _Body:
    try:
        body = json.loads(zlib.decompress(record.body).decode("utf-8", "surrogatepass"))
        passwords, rotated = body["password_client"], body.get("rotated", {})
        return _Body(
            join(
                body["document"], {path: Secret(value) for path, value in body["secrets"].items()}
            ),
            tuple(_client(row, rotated) for row in body["clients"]),
            None if passwords is None else _client(passwords, rotated),
        )
    except (zlib.error, KeyError, TypeError, AttributeError) as error:
        msg = "not a tenant record"
        raise ValueError(msg) from error


def _client(row: list[Any], rotated: dict[str, list[str]]) -> AppClient:
    client_id, secret, retires_at, pool = row
    kept = None
    if client_id in rotated:
        arn, previous = rotated[client_id]
        kept = RotatedSecret(str(arn), Secret(str(previous)) if previous else None)
    return AppClient(str(client_id), Secret(str(secret)), retires_at, str(pool), kept)


class Builder:
    """Builds the tenant of a record on first use, and remembers it for as long as the record is
    current.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._built: dict[str, Tenant] = {}

    def __call__(self, record: Record) -> Tenant:
        tenant = self._built.get(record.digest)
        if tenant is None:
            tenant = self._built[record.digest] = self._build(record)
        return tenant

    def _build(self, record: Record) -> Tenant:
        try:
            body = _body_of(record)
        except ValueError as error:
            wrong = (
                f"{error.error_count()} keys"
                if isinstance(error, ValidationError)
                else "unreadable"
            )
            msg = f"the record of tenant {record.id} is of another release ({wrong})"
            raise UnavailableError(msg) from error
        document = body.document
        if not body.clients:
            document = document.model_copy(update={"active": False})
        current, *retired = body.clients or (AppClient("", Secret("")),)
        return compile_tenant(
            document,
            self._config,
            client_id=current.client_id,
            client_secret=current.client_secret,
            pool=current.pool,
            retired=tuple(retired),
            password_client=body.password_client,
            rotated=current.rotated,
        )

    def successor(self, records: dict[str, Record]) -> Builder:
        """For the next table: keeps what has not changed. ``records`` by digest."""
        after = Builder(self._config)
        after._built = {
            digest: tenant for digest, tenant in list(self._built.items()) if digest in records
        }
        return after
