"""The registry as provisioning sees it: a tenant and its client's credentials, written and put
back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from gateway.config.yaml import explain_validation
from gateway.core.hosts import email_domain
from gateway.core.model import Secret
from gateway.log import fields
from gateway.provisioning.credentials import ClientCredentials, RegistryRejectedError
from gateway.tenants.api import Rejected
from gateway.tenants.document import TenantDocument
from gateway.tenants.folder_plan import Change
from gateway.tenants.secrets import join, secrets_of, show
from gateway.tenants.snapshot_record import Credentials
from gateway.tenants.stored import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from gateway.core.json_types import Json
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.snapshot_record import Record
    from gateway.tenants.stored import StoredTenant

_SELF: Final = Actor("provisioning")
_OUTDATED: Final = "precondition_failed"
_log = logging.getLogger(__name__)


class RegistryOfProvisioning:
    """``files`` and ``in_force`` as for ``RegistryRecords``. Whoever provisions keeps the audit
    record.
    """

    def __init__(
        self,
        database: TenantDatabase,
        *,
        files: Callable[[], Mapping[str, Record]],
        in_force: Callable[[str], Awaitable[None]],
    ) -> None:
        self._database, self._files, self._in_force = database, files, in_force

    async def name_conflict(self, document: TenantDocument) -> str | None:
        """Which of its names another tenant holds, in a sentence."""
        rejection = await self._database.name_conflict(document, files=self._files().values())
        return None if rejection is None else rejection.message

    async def snapshot(self, tenant: str) -> Json | None:
        stored_tenant = await self._database.get(tenant)
        return None if stored_tenant is None else _kept(stored_tenant)

    async def put(
        self,
        tenant: str,
        document: Mapping[str, object],
        *,
        before: Json | None,
        if_held: Collection[str] = (),
    ) -> None:
        version = None if before is None else int(before["version"])
        await self._put(_parsed(tenant, document), version=version, if_held=if_held)

    async def restore(
        self, tenant: str, before: Json | None, *, written: Mapping[str, object] | None
    ) -> None:
        now = await self._to_restore(tenant, before, written)
        if now is None:
            return
        if before is None:
            rejection = await self._database.delete(tenant, version=now.version, by=None)
            if rejection is not None and rejection.code != "not_found":
                raise _error(rejection)
            return
        result = await self._database.put(
            _document(before), version=now.version, by=None, files=self._files().values()
        )
        if isinstance(result, Rejected):
            await self._restore_in_part(now, before, result)

    async def _restore_in_part(self, now: StoredTenant, before: Json, rejection: Rejected) -> None:
        """Raises ``RegistryRejectedError`` where another change came in between."""
        if rejection.code == _OUTDATED:
            raise _error(rejection)
        files = tuple(self._files().values())
        domains = await self._database.refused_domains(_document(before), files=files)
        if domains:
            document = _document(before, without=domains)
            result = await self._database.put(document, version=now.version, by=_SELF, files=files)
            if isinstance(result, Rejected) and result.code == _OUTDATED:
                raise _error(result)
            if isinstance(result, Rejected):
                rejection, domains = result, frozenset()
        _log.warning(
            "provision_tenant_not_restored",
            extra=fields(tenant=now.id, domains=sorted(domains), detail=rejection.message),
        )

    async def refused_restore(
        self,
        tenant: str,
        before: Json | None,
        *,
        written: Mapping[str, object] | None,
        bound: bool,
    ) -> RegistryRejectedError | None:
        now = await self._to_restore(tenant, before, written)
        if now is None or before is None:
            return None
        document = _document(before)
        if bound:
            changed = document.email_domains ^ now.document.email_domains
            missing = sorted(changed - await self._database.proven_domains(tenant))
            if missing:
                return RegistryRejectedError(
                    "conflict", f"{', '.join(missing)}: not proven, only an operator changes it"
                )
        change = Change("update", tenant, now.version, document, ())
        rejection = await self._database.rehearse([change], files=self._files().values())
        return None if rejection is None else _error(rejection)

    async def _to_restore(
        self, tenant: str, before: Json | None, written: Mapping[str, object] | None
    ) -> StoredTenant | None:
        """None where there is nothing to restore."""
        now = await self._database.get(tenant)
        if now is None:
            # Gone already, or never written; a tenant that somebody deleted meanwhile is not
            # brought back.
            return None
        if before is not None and now.version == before["version"]:
            return None
        if written is not None and show(now.document) != show(_parsed(tenant, written)):
            # Somebody has changed it since: theirs stays.
            return None
        return now

    async def credentials(self, tenant: str) -> ClientCredentials | None:
        credentials = await self._database.credentials(tenant)
        return (
            None
            if credentials is None
            else ClientCredentials(
                credentials.client_id,
                credentials.client_secret,
                credentials.retired,
                credentials.pool,
                credentials.password_clients,
                credentials.rotated,
            )
        )

    async def put_credentials(self, tenant: str, credentials: ClientCredentials | None) -> None:
        if credentials is None:
            await self._database.delete_credentials(tenant, by=None)
            return
        rejection = await self._database.put_credentials(
            tenant,
            Credentials(
                credentials.client_id,
                credentials.client_secret,
                credentials.retired,
                credentials.pool,
                credentials.password_clients,
                credentials.rotated,
            ),
            by=None,
        )
        if rejection is not None:
            raise _error(rejection)

    async def taken_clients(self, tenant: str, client_ids: Collection[str]) -> frozenset[str]:
        return await self._database.taken_clients(tenant, client_ids)

    async def owner_of(self, provider: str) -> str | None:
        filed = (
            record.id for record in self._files().values() if provider in record.provider_names
        )
        return next(filed, None) or await self._database.owner_of("provider", provider)

    async def clients_due_for_deletion(self, now: float) -> Mapping[str, tuple[str, ...]]:
        return await self._database.clients_due_for_deletion(now)

    async def in_force(self, tenant: str) -> None:
        await self._in_force(tenant)

    async def _put(
        self, document: TenantDocument, *, version: int | None, if_held: Collection[str] = ()
    ) -> None:
        result = await self._database.put(
            document, version=version, by=None, files=self._files().values(), if_held=if_held
        )
        if isinstance(result, Rejected):
            raise _error(result)


def _document(before: Json, *, without: Collection[str] = ()) -> TenantDocument:
    """Of a snapshot; ``without`` these domains, and the accounts of people in them."""
    shown: Json = before["document"]
    secrets = {path: Secret(value) for path, value in before["secrets"].items()}
    if not without:
        return join(shown, secrets)
    providers = []
    for provider in shown["providers"]:
        domains, accounts = provider.get("domains"), provider.get("accounts", ())
        providers.append(
            {
                **provider,
                # An empty list is none; without it, a provider has those that no other names.
                "domains": domains and [name for name in domains if name not in without],
                "accounts": [
                    account for account in accounts if email_domain(account["email"]) not in without
                ],
            }
        )
    names = [name for name in shown["email_domains"] if name not in without]
    return join({**shown, "email_domains": names, "providers": providers}, secrets)


def _error(rejected: Rejected) -> RegistryRejectedError:
    """Whoever provisions has sent no version of the document: it was changed at the same moment."""
    code = "conflict" if rejected.code == _OUTDATED else rejected.code
    return RegistryRejectedError(code, rejected.message)


def _kept(stored: StoredTenant) -> Json:
    secrets = {path: secret.reveal() for path, secret in secrets_of(stored.document).items()}
    return {"document": show(stored.document), "secrets": secrets, "version": stored.version}


def _parsed(tenant: str, document: Mapping[str, object]) -> TenantDocument:
    try:
        return TenantDocument.model_validate(document)
    except ValidationError as error:
        raise RegistryRejectedError(
            "invalid_body", explain_validation(f"tenant {tenant}", error)
        ) from error
