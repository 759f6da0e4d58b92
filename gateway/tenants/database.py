"""Tenants in SQL (admin role): optimistic versions, names that cannot be claimed twice, an audit
record for each change.

Rules:
- A change names the version it was made from; another in between refuses it.
- Claims are checked and written in one transaction under one lock, over all processes; the primary
  key of ``tenant_names`` stands behind the check.
- A document that changes nothing writes nothing.
- Secrets are sealed; what is shown, compared for an audit record or logged is the half without
  them.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from gateway.core.model import AppClient, RotatedSecret, Secret
from gateway.core.webhook_body import body_of
from gateway.database.audit import AuditRecord, say, write_within
from gateway.database.schema import (
    client_credentials,
    registry_state,
    tenant_names,
    tenant_removals,
    tenants,
    webhooks_outbox,
)
from gateway.database.tenant_deletion import forget_tenant, removed_at
from gateway.errors import ConfigError
from gateway.tenants.api import Rejected
from gateway.tenants.bulk_write import (
    DOCUMENTS,
    Step,
    changed_since,
    first_clash,
    names_held,
    rows_of,
    version_problem,
    write_rows,
)
from gateway.tenants.client_secret_text import newest, read_secret, secret_text
from gateway.tenants.document import TenantDocument
from gateway.tenants.domain_proof import (
    added_domains,
    domains_held,
    lost_domains,
    refused_domain,
    refused_domains,
    refused_unless_held,
)
from gateway.tenants.hook_targets import webhook_target
from gateway.tenants.offload import in_background
from gateway.tenants.secrets import join, keep, keepable, secrets_of, show
from gateway.tenants.snapshot_record import Credentials, in_use, record_of
from gateway.tenants.stored import Actor, Changes, StoredTenant
from gateway.tenants.uniqueness import find_clash, names_of
from gateway.tenants.validation import conflicts, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.config.model import Config
    from gateway.core.claims import Listing
    from gateway.database.engine import Database
    from gateway.tenants.folder_plan import Change
    from gateway.tenants.secrets import Shown

LOCK = "tenants"
STATE_ID = 1
_LOGIN, _PASSWORDS = "login", "passwords"
"""What an app client is for."""


class TenantDatabase:
    """Reads and writes. Every method raises ``UnavailableError`` while SQL does not answer."""

    def __init__(
        self, database: Database, config: Config, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock or database.clock

    # --- reading --------------------------------------------------------------------------------

    async def get(self, tenant: str) -> StoredTenant | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(tenants).where(tenants.c.id == tenant))
            ).one_or_none()
        return self._stored(row) if row else None

    async def has(self, tenant: str) -> bool:
        """Without its document, which takes a hundred times as long to open."""
        async with self._database.read() as connection:
            name = select(tenants.c.id).where(tenants.c.id == tenant)
            return (await connection.execute(name)).one_or_none() is not None

    async def page(self, *, after: str = "", limit: int = 100) -> Sequence[StoredTenant]:
        """By id, those behind ``after``, their secrets as ``***``: to be shown."""
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    select(tenants).where(tenants.c.id > after).order_by(tenants.c.id).limit(limit)
                )
            ).all()
        return await in_background(lambda: [_sealed(row) for row in rows])

    async def some(self, ids: Collection[str]) -> Sequence[StoredTenant]:
        """Those of ``ids``, which are the rows of one page, that are there; in no order, and their
        secrets as ``***``.
        """
        async with self._database.read() as connection:
            rows = (
                await connection.execute(select(tenants).where(tenants.c.id.in_(sorted(ids))))
            ).all()
        return await in_background(lambda: [_sealed(row) for row in rows])

    async def all(self) -> dict[str, StoredTenant]:
        async with self._database.read() as connection:
            rows = (await connection.execute(select(tenants).order_by(tenants.c.id))).all()
        return await in_background(lambda: {row.id: self._stored(row) for row in rows})

    async def credentials(self, tenant: str) -> Credentials | None:
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    select(client_credentials).where(client_credentials.c.tenant == tenant)
                )
            ).all()
        return self._credentials(rows)

    async def owner_of(self, kind: str, name: str) -> str | None:
        """The tenant in SQL that claims this very name."""
        query = select(tenant_names.c.tenant).where(
            tenant_names.c.kind == kind, tenant_names.c.name == name
        )
        async with self._database.read() as connection:
            owner: str | None = (await connection.execute(query)).scalar_one_or_none()
        return owner

    async def proven_domains(self, tenant: str) -> frozenset[str]:
        """Those that the tenant holds, by a DNS record or by an operator's word."""
        async with self._database.read() as connection:
            return await domains_held(connection, tenant)

    async def clients_due_for_deletion(self, now: float) -> Mapping[str, tuple[str, ...]]:
        """Retired clients by tenant whose time has come."""
        query = (
            select(client_credentials.c.tenant, client_credentials.c.client_id)
            .where(client_credentials.c.retires_at <= now)
            .order_by(client_credentials.c.retires_at)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        by_tenant: dict[str, tuple[str, ...]] = {}
        for row in rows:
            by_tenant[row.tenant] = (*by_tenant.get(row.tenant, ()), row.client_id)
        return by_tenant

    async def revision(self) -> tuple[int, int]:
        """The number of the last change, and of the last that was published."""
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select(registry_state.c.revision, registry_state.c.published_revision)
                )
            ).one_or_none()
        return (row.revision, row.published_revision) if row else (0, 0)

    async def name_conflict(
        self, wanted: TenantDocument, *, files: Iterable[Listing] = ()
    ) -> Rejected | None:
        """Whether another tenant, of SQL or ``files``, holds one of its names now; ``put`` asks
        again in its transaction.
        """
        others = [listing for listing in files if listing.id != wanted.id]
        clashes = conflicts((*others, record_of(wanted, None)), self._config)
        if clashes:
            return Rejected("taken", "\n".join(clashes))
        async with self._database.read() as connection:
            return await find_clash(connection, wanted.id, names_of(wanted))

    async def taken_clients(self, tenant: str, client_ids: Iterable[str]) -> frozenset[str]:
        """Those that another tenant in SQL has."""
        async with self._database.read() as connection:
            clashes = {
                client_id: await find_clash(connection, tenant, [("client", client_id)])
                for client_id in client_ids
            }
        return frozenset(client_id for client_id, clash in clashes.items() if clash is not None)

    async def refused_domains(
        self, wanted: TenantDocument, *, files: Iterable[Listing] = ()
    ) -> frozenset[str]:
        """Those that are new in the document and that ``put`` would refuse it for now."""
        of_files = {
            domain
            for listing in files
            if listing.id != wanted.id
            for domain in listing.email_domains
        }
        query = select(tenants).where(tenants.c.id == wanted.id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
            added = added_domains(names_of(wanted), self._stored(row) if row else None)
            named = {
                domain
                for domain in added
                if await find_clash(connection, wanted.id, {("domain", domain)}) is not None
            }
            refusals = await refused_domains(
                connection,
                dict.fromkeys(added, wanted.id),
                required=self._config.domains.proof == "required",
            )
        return frozenset((added & of_files) | named | refusals.keys())

    # --- writing --------------------------------------------------------------------------------

    async def put(
        self,
        wanted: TenantDocument,
        *,
        version: int | None,
        by: Actor | None,
        files: Iterable[Listing] = (),
        if_held: Collection[str] = (),
    ) -> StoredTenant | Rejected:
        """Create (``version`` None) or replace exactly that version. A secret given as ``***``
        keeps the stored one.

        ``files``: the tenants of the GitOps folder, whose names are taken too. ``by`` None: the
        caller keeps the audit record. ``if_held``: domains without which nothing is written.
        """
        async with self._database.write(LOCK) as connection:
            rejection = await refused_unless_held(connection, wanted.id, if_held)
            if rejection is not None:
                return rejection
            result, record = await self._put(connection, wanted, version, by, tuple(files))
            if record is not None:
                await _conclude(connection, [record] if by is not None else [], changes=1)
        _say(record, by)
        return result

    async def apply(
        self, changes: Sequence[Change], *, by: Actor, files: Iterable[Listing] = ()
    ) -> Rejected | None:
        """A plan, all of it or nothing: names may move between the tenants in it."""
        others = tuple(files)
        async with self._database.read() as connection:
            rows = await rows_of(connection, changes)
        steps = await in_background(self._steps, changes, rows, others, by)
        if isinstance(steps, Rejected):
            return steps
        async with self._database.write(LOCK) as connection:
            rejection = await changed_since(connection, steps)
            if rejection is None:
                names = await names_held(connection)
                rejection = await in_background(first_clash, steps, names, others, self._config)
            if rejection is None:
                rejection = await self._refused_domain(connection, steps)
            if rejection is not None:
                return rejection
            for step in steps:
                if step.row is None and step.before is not None:
                    await self._forget(connection, step.before)
            await write_rows(connection, steps)
            await _conclude(connection, [step.audit for step in steps])
        await in_background(_say_all, [step.audit for step in steps])
        return None

    async def rehearse(
        self, changes: Sequence[Change], *, files: Iterable[Listing] = ()
    ) -> Rejected | None:
        """Why ``apply`` would refuse. Only reads: nobody who writes waits for it."""
        others = tuple(files)
        async with self._database.read() as connection:
            rows, names = await rows_of(connection, changes), await names_held(connection)
        steps = await in_background(self._steps, changes, rows, others, Actor("rehearsal"))
        if isinstance(steps, Rejected):
            return steps
        rejection = await in_background(first_clash, steps, names, others, self._config)
        if rejection is not None:
            return rejection
        async with self._database.read() as connection:
            return await self._refused_domain(connection, steps)

    async def _refused_domain(
        self, connection: AsyncConnection, steps: Sequence[Step]
    ) -> Rejected | None:
        added = {
            domain: step.tenant
            for step in steps
            for domain in added_domains(step.names, step.before)
        }
        required = self._config.domains.proof == "required"
        return await refused_domain(connection, added, required=required)

    def _steps(
        self,
        changes: Sequence[Change],
        rows: Mapping[str, Row[Any]],
        files: Sequence[Listing],
        by: Actor,
    ) -> tuple[Step, ...] | Rejected:
        """All that needs no transaction. What changes nothing has no step."""
        of_files = {listing.id for listing in files}
        steps = []
        for change in changes:
            row = rows.get(change.tenant)
            before = self._stored(row) if row is not None else None
            step = (
                self._deletion(change, before, by)
                if change.document is None
                else self._replacement(change.document, change.version, before, of_files, by)
            )
            if isinstance(step, Rejected):
                return step
            if step is not None:
                steps.append(step)
        return tuple(steps)

    def _deletion(self, change: Change, before: StoredTenant | None, by: Actor) -> Step | Rejected:
        if (rejection := _not_deletable(change.tenant, before, change.version)) is not None:
            return rejection
        audit = self._audit("tenant.delete", change.tenant, by, before, None)
        return Step(change.tenant, before, None, frozenset(), audit)

    def _replacement(
        self,
        wanted: TenantDocument,
        version: int | None,
        before: StoredTenant | None,
        of_files: Collection[str],
        by: Actor,
    ) -> Step | Rejected | None:
        document = self._admitted(wanted, before, version, of_files)
        if isinstance(document, Rejected):
            return document
        if before is not None and document == before.document:
            return None
        after = StoredTenant(document, 0, self._clock())
        action = "tenant.update" if before is not None else "tenant.create"
        return Step(
            wanted.id,
            before,
            self._row(after),
            frozenset(names_of(document)),
            self._audit(action, wanted.id, by, before, after),
        )

    async def _put(
        self,
        connection: AsyncConnection,
        wanted: TenantDocument,
        version: int | None,
        by: Actor | None,
        files: Sequence[Listing],
    ) -> tuple[StoredTenant | Rejected, AuditRecord | None]:
        tenant = wanted.id
        row = (
            await connection.execute(select(tenants).where(tenants.c.id == tenant))
        ).one_or_none()
        before = self._stored(row) if row else None
        document = await in_background(self._admitted_beside, wanted, before, version, files)
        if isinstance(document, Rejected):
            return document, None
        if before is not None and document == before.document:
            return before, None
        names = names_of(document)
        clash = await find_clash(connection, tenant, names) or await refused_domain(
            connection,
            dict.fromkeys(added_domains(names, before), tenant),
            required=self._config.domains.proof == "required",
        )
        if clash is not None:
            return clash, None
        after = StoredTenant(
            document,
            (before.version if before else await _last_version(connection, tenant)) + 1,
            self._clock(),
        )
        await self._write(connection, after, created=before is None)
        await connection.execute(delete(tenant_names).where(tenant_names.c.tenant == tenant))
        if names:
            await connection.execute(
                insert(tenant_names),
                [{"kind": kind, "name": name, "tenant": tenant} for kind, name in names],
            )
        return after, self._audit(
            "tenant.update" if before else "tenant.create", tenant, by, before, after
        )

    async def delete(
        self, tenant: str, *, version: int | None, by: Actor | None
    ) -> Rejected | None:
        """``version`` None deletes whatever is there. The app client's credentials stay until
        ``provision destroy`` ends the client.
        """
        async with self._database.write(LOCK) as connection:
            record = await self._delete(connection, tenant, version, by)
            if isinstance(record, Rejected):
                return record
            await _conclude(connection, [record] if by is not None else [], changes=1)
        _say(record, by)
        return None

    async def removed_at(self, tenant: str) -> float:
        """When the last tenant that had this id was deleted from SQL (UTC epoch seconds); 0 if none
        was. A file that is taken away is none.
        """
        async with self._database.read() as connection:
            return await removed_at(connection, tenant)

    async def _delete(
        self, connection: AsyncConnection, tenant: str, version: int | None, by: Actor | None
    ) -> AuditRecord | Rejected:
        row = (
            await connection.execute(select(tenants).where(tenants.c.id == tenant))
        ).one_or_none()
        before = self._stored(row) if row else None
        rejection = _not_deletable(tenant, before, version)
        if rejection is not None:
            return rejection
        if before is not None:
            await self._forget(connection, before)
        return self._audit("tenant.delete", tenant, by, before, None)

    async def _forget(self, connection: AsyncConnection, gone: StoredTenant) -> None:
        await forget_tenant(connection, gone.id, version=gone.version, at=self._clock())
        await self._tell_deleted(connection, gone)

    async def _tell_deleted(self, connection: AsyncConnection, gone: StoredTenant) -> None:
        """The last message to its application, with the address and the secrets that it had."""
        target = webhook_target(gone.document)
        if target is None:
            return
        if not target.wants("tenant.deleted"):
            return
        now, message = self._clock(), f"msg_{uuid.uuid4().hex}"
        body = {
            "type": "tenant.deleted",
            "timestamp": datetime.fromtimestamp(now, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "data": {
                "tenant": gone.id,
                "provider": "",
                "cause": "tenant",
                "source": "registry",
                "source_event": "tenant.delete",
                "event_time": now,
                "subject": {"idp_subject": "", "oid": "", "email": ""},
                "users": [],
                "identifiers": {"user": [], "idp_subject": [], "oid": [], "email": []},
                "group": None,
                "revocation": "",
            },
        }
        where = json.dumps(
            {"url": target.url, "secrets": [secret.reveal() for secret in target.secrets]}
        )

        def sealed(column: str, text: str) -> str:
            return self._database.crypt.seal(
                text, table=webhooks_outbox.name, row=message[:36], column=column
            )

        await connection.execute(
            insert(webhooks_outbox).values(
                id=message[:36],
                tenant=gone.id,
                lane="tenant",
                event="tenant.deleted",
                created_at=now,
                state="new",
                next_at=now,
                payload=sealed("payload", body_of(body, target, message_id=message[:36])),
                target=sealed("target", where),
            )
        )

    async def put_credentials(
        self, tenant: str, credentials: Credentials, *, by: Actor | None
    ) -> Rejected | None:
        """What provisioning made, for a tenant that says ``client: managed``; the tenant itself
        may be a file. Replaces all that it had, retired ones too.
        """
        logins = 1 + len(credentials.retired)
        clients = [
            (client, _LOGIN if number < logins else _PASSWORDS)
            for number, client in enumerate(credentials.clients)
        ]
        async with self._database.write(LOCK) as connection:
            clash = await find_clash(
                connection, tenant, {("client", client.client_id) for client, _ in clients}
            )
            if clash is not None:
                return clash
            held = await self._held(connection, tenant)
            await connection.execute(
                delete(client_credentials).where(client_credentials.c.tenant == tenant)
            )
            await connection.execute(
                insert(client_credentials),
                [
                    self._client_row(tenant, newest(client, held), purpose)
                    for client, purpose in clients
                ],
            )
            record = self._audit(
                "tenant.credentials", tenant, by, None, None, target=credentials.client_id
            )
            await _conclude(connection, [record] if by is not None else [], changes=1)
        _say(record, by)
        return None

    async def exchange_secret(self, tenant: str, client_id: str, arn: str, secret: Secret) -> bool:
        """What Secrets Manager has at ``arn``, of a client whose secret is kept there. False: it is
        known, or the client is not the tenant's any more.
        """
        async with self._database.write(LOCK) as connection:
            held = (await self._held(connection, tenant)).get(client_id)
            if (
                held is None
                or held.rotated is None
                or held.rotated.arn != arn
                or held.client_secret == secret
            ):
                return False
            rotated = RotatedSecret(arn, held.client_secret)
            exchanged = replace(held, client_secret=secret, rotated=rotated)
            await connection.execute(
                update(client_credentials)
                .where(client_credentials.c.client_id == client_id)
                .values(client_secret=self._sealed_secret(exchanged), updated_at=self._clock())
            )
            await _conclude(connection, [], changes=1)
        return True

    async def _held(self, connection: AsyncConnection, tenant: str) -> dict[str, AppClient]:
        query = select(client_credentials).where(client_credentials.c.tenant == tenant)
        rows = (await connection.execute(query)).all()
        return {client.client_id: client for client in self._clients(rows)}

    async def delete_credentials(self, tenant: str, *, by: Actor | None) -> None:
        """Idempotent: the client is gone."""
        async with self._database.write(LOCK) as connection:
            query = (
                select(client_credentials.c.client_id)
                .where(client_credentials.c.tenant == tenant)
                .order_by(client_credentials.c.client_id)
            )
            client_ids = (await connection.execute(query)).scalars().all()
            if not client_ids:
                return
            await connection.execute(
                delete(client_credentials).where(client_credentials.c.tenant == tenant)
            )
            record = self._audit(
                "tenant.credentials_removed", tenant, by, None, None, target=", ".join(client_ids)
            )
            await _conclude(connection, [record] if by is not None else [], changes=1)
        _say(record, by)

    # --- for the publisher ----------------------------------------------------------------------

    async def changed(self, known: Mapping[str, str]) -> Changes:
        """What differs from ``known`` (tenant → stamp), in one consistent view. Raises
        ``ConfigError`` where something of one that is not known does not open.
        """
        documents: dict[str, TenantDocument] = {}
        closed: dict[str, str] = {}
        async with self._database.read() as connection:
            state = (
                await connection.execute(select(registry_state.c.revision))
            ).scalar_one_or_none()
            versions = (await connection.execute(select(tenants.c.id, tenants.c.version))).all()
            clients = (
                await connection.execute(
                    select(client_credentials).order_by(client_credentials.c.client_id)
                )
            ).all()
            removals = (await connection.execute(select(tenant_removals))).all()
            stop = self._config.domains.on_lost == "stop"
            lost = await lost_domains(connection) if stop else {}
            there = await in_background(_there, versions, clients, removals)
            tenant_ids = [
                tenant for tenant, stamp in there.stamps.items() if known.get(tenant) != stamp
            ]
            for start in range(0, len(tenant_ids), _BATCH):
                rows = (
                    await connection.execute(
                        select(tenants).where(tenants.c.id.in_(tenant_ids[start : start + _BATCH]))
                    )
                ).all()
                documents |= await in_background(self._documents, rows, known, closed)
        credentials = await in_background(self._all_credentials, there.clients, known, closed)
        open_documents = {
            tenant: document for tenant, document in documents.items() if tenant not in closed
        }
        return Changes(
            int(state or 0),
            there.stamps | {tenant: known[tenant] for tenant in closed},
            open_documents,
            credentials,
            there.removals,
            closed,
            lost,
        )

    def _documents(
        self, rows: Sequence[Row[Any]], known: Mapping[str, str], closed: dict[str, str]
    ) -> dict[str, TenantDocument]:
        documents = {}
        for row in rows:
            with _apart(closed, row.id, known):
                documents[row.id] = self._stored(row).document
        return documents

    def _all_credentials(
        self,
        clients: Mapping[str, Sequence[Row[Any]]],
        known: Mapping[str, str],
        closed: dict[str, str],
    ) -> dict[str, Credentials]:
        credentials: dict[str, Credentials] = {}
        for tenant, rows in clients.items():
            with _apart(closed, tenant, known):
                if (tenant_credentials := self._credentials(rows)) is not None:
                    credentials[tenant] = tenant_credentials
        return credentials

    async def next_generation(self, *, at_least: int) -> int:
        """A snapshot number above every one given out before, and above ``at_least``."""
        async with self._database.write(LOCK) as connection:
            await _state(connection)
            current = (await connection.execute(select(registry_state.c.generation))).scalar_one()
            following = max(int(current), at_least) + 1
            await connection.execute(update(registry_state).values(generation=following))
        return following

    async def published(self, revision: int) -> None:
        """Changes up to ``revision`` are in Redis, and obeyed."""
        async with self._database.write(LOCK) as connection:
            await _state(connection)
            await connection.execute(
                update(registry_state)
                .where(registry_state.c.published_revision < revision)
                .values(published_revision=revision)
            )

    async def sent(self, revision: int, waiting: Collection[str]) -> None:
        """Changes up to ``revision`` are in Redis; those of ``waiting`` are not obeyed everywhere
        yet.
        """
        async with self._database.write(LOCK) as connection:
            await _state(connection)
            await connection.execute(
                update(registry_state)
                .where(registry_state.c.sent_revision <= revision)
                .values(sent_revision=revision, waiting=sorted(waiting))
            )

    # --- rows and documents ---------------------------------------------------------------------

    def _admitted_beside(
        self,
        wanted: TenantDocument,
        before: StoredTenant | None,
        version: int | None,
        files: Sequence[Listing],
    ) -> TenantDocument | Rejected:
        """``_admitted``, and no name of it is one of ``files``'."""
        document = self._admitted(wanted, before, version, {listing.id for listing in files})
        if isinstance(document, Rejected):
            return document
        clashes = conflicts((*files, record_of(document, None)), self._config)
        return Rejected("taken", "\n".join(clashes)) if clashes else document

    def _admitted(
        self,
        wanted: TenantDocument,
        before: StoredTenant | None,
        version: int | None,
        of_files: Collection[str],
    ) -> TenantDocument | Rejected:
        """The document to store. ``of_files``: ids of the tenants of the GitOps folder."""
        tenant = wanted.id
        if tenant in of_files:
            return Rejected(
                "read_only", f"tenant {tenant} is a file of tenants.directory; change it there"
            )
        rejection = version_problem(tenant, version, before.version if before else None)
        if rejection is not None:
            return rejection
        try:
            document = keep(wanted, keepable(before.document if before else None, wanted))
        except ValueError as error:
            return Rejected(
                "invalid_body",
                "\n".join(f"tenant {tenant}: {line}" for line in str(error).splitlines()),
            )
        wrong = problems(document, self._config)
        if wrong:
            return Rejected(
                "invalid_body", "\n".join(f"tenant {tenant}: {problem}" for problem in wrong)
            )
        return document

    async def _write(
        self, connection: AsyncConnection, stored: StoredTenant, *, created: bool
    ) -> None:
        values = {**self._row(stored), "version": stored.version}
        if created:
            await connection.execute(insert(tenants).values(created_at=stored.updated_at, **values))
        else:
            await connection.execute(
                update(tenants).where(tenants.c.id == stored.id).values(**values)
            )

    def _row(self, stored: StoredTenant) -> dict[str, Any]:
        """Without its version, and without when it was made."""
        secrets = json.dumps(
            {path: secret.reveal() for path, secret in secrets_of(stored.document).items()}
        )
        return {
            "id": stored.id,
            "document": show(stored.document),
            "secrets": self._database.crypt.seal(
                secrets, table=tenants.name, row=stored.id, column="secrets"
            ),
            "updated_at": stored.updated_at,
        }

    def _stored(self, row: Row[Any]) -> StoredTenant:
        secrets = json.loads(
            self._database.crypt.open(
                row.secrets, table=tenants.name, row=row.id, column="secrets"
            ).reveal()
        )
        return StoredTenant(
            join(row.document, {path: Secret(value) for path, value in secrets.items()}),
            row.version,
            row.updated_at,
        )

    def _sealed_secret(self, client: AppClient) -> str:
        return self._database.crypt.seal(
            secret_text(client),
            table=client_credentials.name,
            row=client.client_id,
            column="client_secret",
        )

    def _client_row(self, tenant: str, client: AppClient, purpose: str) -> dict[str, object]:
        return {
            "tenant": tenant,
            "client_id": client.client_id,
            "client_secret": self._sealed_secret(client),
            "retires_at": client.retires_at,
            "pool": client.pool,
            "purpose": purpose,
            "updated_at": self._clock(),
        }

    def _credentials(self, rows: Sequence[Row[Any]]) -> Credentials | None:
        """Of one tenant; the retired in the order in which they end."""
        logins, passwords = (
            self._clients([row for row in rows if row.purpose == purpose])
            for purpose in (_LOGIN, _PASSWORDS)
        )
        current = in_use(logins)
        if current is None:
            return None
        retired = tuple(client for client in logins if client.retires_at is not None)
        return Credentials(
            current.client_id,
            current.client_secret,
            retired,
            current.pool,
            passwords,
            current.rotated,
        )

    def _clients(self, rows: Sequence[Row[Any]]) -> tuple[AppClient, ...]:
        """The one in use first, then the retired in the order in which they end."""
        clients = []
        for row in rows:
            text = self._database.crypt.open(
                row.client_secret,
                table=client_credentials.name,
                row=row.client_id,
                column="client_secret",
            )
            secret, rotated = read_secret(text)
            clients.append(AppClient(row.client_id, secret, row.retires_at, row.pool, rotated))
        return tuple(
            sorted(clients, key=lambda client: (client.retires_at or 0.0, client.client_id))
        )

    def _audit(
        self,
        action: str,
        tenant: str,
        by: Actor | None,
        before: StoredTenant | None,
        after: StoredTenant | None,
        *,
        target: str = "",
    ) -> AuditRecord:
        def shown(stored: StoredTenant | None) -> Shown | None:
            return show(stored.document) if stored else None

        whose = by or Actor("")
        return AuditRecord(
            self._clock(),
            whose.actor,
            action,
            tenant,
            target=target or tenant,
            before=shown(before),
            after=shown(after),
            request_id=whose.request_id,
        )


@dataclass(frozen=True, slots=True)
class _There:
    """What SQL holds of all tenants, their documents apart."""

    stamps: dict[str, str]
    clients: dict[str, list[Row[Any]]]
    removals: dict[str, int]


def _sealed(row: Row[Any]) -> StoredTenant:
    """Its secrets stay closed: each is ``***``."""
    return StoredTenant(TenantDocument.model_validate(row.document), row.version, row.updated_at)


def _there(
    versions: Iterable[Row[Any, Any]], clients: Iterable[Row[Any]], removed: Iterable[Row[Any]]
) -> _There:
    by_tenant: dict[str, list[Row[Any]]] = {}
    for row in clients:
        by_tenant.setdefault(row.tenant, []).append(row)
    removals = {row.tenant: int(row.removals) for row in removed}
    stamps = {
        row.id: f"{removals.get(row.id, 0)}/{row.version}/{_stamp(by_tenant.get(row.id, ()))}"
        for row in versions
    }
    return _There(stamps, by_tenant, removals)


_BATCH = 500
"""Ids in one query: SQLite takes 32,766 parameters, PostgreSQL's driver as many; and no result is
held that is larger than it need be.
"""


@contextlib.contextmanager
def _apart(closed: dict[str, str], tenant: str, known: Mapping[str, str]) -> Iterator[None]:
    """A known tenant that does not open keeps no other from being read."""
    try:
        yield
    except ConfigError as error:
        if tenant not in known:
            raise
        closed[tenant] = str(error)


def _stamp(rows: Iterable[Row[Any]]) -> str:
    """Differs after every write: what is sealed never looks the same twice."""
    return " ".join(row.client_secret for row in rows)


async def _last_version(connection: AsyncConnection, tenant: str) -> int:
    """Of the tenant that had this id before, 0 if there was none. The next one counts on: a change
    made from a predecessor's version is refused.
    """
    removals = (
        await connection.execute(
            select(tenant_removals.c.removals).where(tenant_removals.c.tenant == tenant)
        )
    ).scalar_one_or_none()
    return int(removals or 0)


async def _state(connection: AsyncConnection) -> None:
    if (await connection.execute(select(registry_state.c.id))).scalar_one_or_none() is None:
        await connection.execute(
            insert(registry_state).values(
                id=STATE_ID,
                revision=0,
                published_revision=0,
                sent_revision=0,
                waiting=[],
                generation=0,
            )
        )


async def look_again(connection: AsyncConnection) -> None:
    """Publishers read everything once this is committed: something changed that is no document."""
    await _conclude(connection, (), changes=1)


async def _conclude(
    connection: AsyncConnection, records: Sequence[AuditRecord], *, changes: int | None = None
) -> None:
    """What every change ends with: its record, and the number by which the publisher sees it.
    ``changes``: how many, where the caller keeps their records.
    """
    for start in range(0, len(records), DOCUMENTS):
        await write_within(connection, *records[start : start + DOCUMENTS])
    await _state(connection)
    count = len(records) if changes is None else changes
    await connection.execute(
        update(registry_state).values(revision=registry_state.c.revision + count)
    )


def _say(record: AuditRecord | None, by: Actor | None) -> None:
    if record is not None and by is not None:
        say(record)


def _say_all(records: Sequence[AuditRecord]) -> None:
    for record in records:
        say(record)


def _not_deletable(
    tenant: str, before: StoredTenant | None, version: int | None
) -> Rejected | None:
    if before is None:
        return Rejected("not_found", f"there is no tenant {tenant} in SQL")
    if version is not None and version != before.version:
        return Rejected(
            "precondition_failed", f"tenant {tenant} is at version {before.version} now"
        )
    return None
