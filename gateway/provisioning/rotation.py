"""Another app client in place of a tenant's, and the end of those that were replaced. Nobody is
signed out by it.

Rules:
- New logins begin with the new client once Cognito shows it; what was begun with an old one is
  finished with that one: the code of a login in progress, a session's refresh token.
- The client for passwords of the pool's users is replaced with it. Nothing is begun with that one:
  it stays for an hour, for replicas that were late to hear.
- A replaced client is deleted when no session made with it can be left, or when told. First no
  replica uses it any more.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError, UnavailableError
from gateway.log import fields
from gateway.provisioning.credentials import SPARE_S
from gateway.provisioning.deletion import retiring
from gateway.provisioning.desired import (
    describe,
    has_password_client,
    recalled,
    required_attributes,
    wanted,
)
from gateway.provisioning.plan_rows import Resource, Step, Verb
from gateway.provisioning.pool_user_steps import PoolUserSteps
from gateway.provisioning.pool_users import has_pool_users
from gateway.provisioning.preflight import PreflightProblem, check_quotas
from gateway.provisioning.runner import Done
from gateway.provisioning.runs import RunKind, carried
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from typing import Any

    from gateway.cognito.desired import Actual, Wanted
    from gateway.config.model import Config
    from gateway.provisioning.credentials import ClientCredentials
    from gateway.provisioning.proposal import BasisReader
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.steps import Steps, Work

MAX_RETIRED: Final = 4
"""Clients of one tenant that are accepted besides the current one: each counts towards the pool's
quota, and a tenant's own key may rotate.
"""
LOOK_EVERY_S: Final = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Replaces app clients, and deletes those that were replaced."""

    config: Config
    provisioning: Provisioning
    bases: BasisReader

    async def rotate(self, tenant: str, *, actor: str) -> Outcome | PreflightProblem:
        """A new client with the settings of the old one, or nothing."""
        basis = await self.bases.read(tenant)
        latest, document, credentials = basis.latest, basis.document, basis.credentials
        if latest is None or document is None or credentials is None:
            return PreflightProblem("not_found", "tenant", f"{tenant} is not provisioned")
        if (refused := without_place(tenant, credentials) or _exchanged(credentials)) is not None:
            return refused
        pool = self.provisioning.pools.named(credentials.pool)
        actual = await pool.actual(
            providers=(),
            clients=[credentials.client_id],
            pages=has_pool_users(document),
            counted=True,
            sessions=True,
        )
        passwords = credentials.password_client
        kept = passwords is not None and passwords.rotated is not None
        kept = kept and has_password_client(document)
        clients = 2 if has_password_client(document) and not kept else 1
        if (
            full := next(
                check_quotas(
                    actual, pool.quotas, clients=clients, providers=0, pool=credentials.pool
                ),
                None,
            )
        ) is not None:
            return full
        providers = recalled(latest.request.get("providers", ()))
        target = wanted(
            tenant,
            document,
            providers,
            self.config,
            required=required_attributes(actual.attributes.values()),
            users=None,
            custom_attributes=latest.request.get("custom_attributes", ()),
        )
        if kept:
            target = replace(target, password_client=None)
        retires_at = self.provisioning.clock() + longest_session_s(document, self.config) + SPARE_S
        return await self.provisioning.run(
            tenant,
            lambda steps: _rotating(
                steps, target, actual, credentials, retires_at, keeps_passwords=kept
            ),
            run=self.provisioning.new_run(),
            kind=RunKind.ROTATE,
            actor=actor,
            request=carried(latest),
            plan=[describe(step) for step in _planned(target, credentials, retires_at)],
            pool=credentials.pool,
            stands=lambda: self.bases.unchanged(tenant, basis),
        )

    async def retire(self, tenant: str, *, actor: str) -> Outcome | PreflightProblem:
        """Every replaced client of the tenant, now: its sessions go on here, and their refresh
        tokens end. The outcome of the last pool, or of the first that is not done.
        """
        credentials = await self.provisioning.registrar.credentials(tenant)
        if credentials is None or not credentials.replaced:
            return PreflightProblem("not_found", "client", f"{tenant} has no replaced client")
        client_ids = [client.client_id for client in credentials.replaced]
        for outcome in [o async for o in self._delete(tenant, credentials, client_ids, actor)]:
            if not isinstance(outcome, Done):
                break
        return outcome

    async def retire_due(self) -> int:
        """Once: what no session can need any more. The number of tenants whose clients are gone."""
        count = 0
        for tenant, client_ids in (
            await self.provisioning.registrar.clients_due_for_deletion(self.provisioning.clock())
        ).items():
            credentials = await self.provisioning.registrar.credentials(tenant)
            if credentials is not None:
                try:
                    outcomes = [
                        o async for o in self._delete(tenant, credentials, client_ids, "gateway")
                    ]
                except UnavailableError as error:
                    # Its pool may be out, or failed over; others' are not.
                    _log.warning(
                        "provision_retire_later", extra=fields(tenant=tenant, detail=str(error))
                    )
                    continue
                count += all(isinstance(outcome, Done) for outcome in outcomes)
        return count

    async def retire_forever(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.retire_due()
            except GatewayError as error:
                _log.warning("provision_retire_later", extra=fields(detail=str(error)))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _delete(
        self, tenant: str, held: ClientCredentials, client_ids: Sequence[str], actor: str
    ) -> AsyncIterator[Outcome]:
        """A run for each pool that has some of them. With the last client of a pool that the tenant
        has moved out of, the providers go that the gateway made there.
        """
        pools = {client.client_id: client.pool for client in held.replaced}
        for pool in dict.fromkeys(pools.values()):
            here = [name for name in client_ids if pools.get(name) == pool]
            if here:
                yield await self._delete_in(pool, tenant, here, actor=actor)

    async def _delete_in(
        self, pool: str, tenant: str, client_ids: Sequence[str], *, actor: str
    ) -> Outcome:
        basis = await self.bases.read(tenant)
        request, credentials = carried(basis.latest), basis.credentials
        last = credentials is None or not set(credentials.ids_in(pool)) - set(client_ids)
        provider_entries = (
            [e for e in request["former"].get(pool, ()) if e["marker"]] if last else []
        )
        if last and pool in request["former"]:
            request["former"] = {**request["former"], pool: []}
        leaving = {"clients": list(client_ids), "providers": provider_entries}

        async def stands() -> bool:
            # A run that was taken back has made a replaced client the current one again.
            replaced_ids = (
                {client.client_id for client in credentials.replaced}
                if credentials is not None
                else set()
            )
            return replaced_ids.issuperset(client_ids) and await self.bases.unchanged(tenant, basis)

        return await self.provisioning.run(
            tenant,
            lambda steps: retiring(steps, tenant, leaving),
            run=self.provisioning.new_run(),
            kind=RunKind.RETIRE,
            actor=actor,
            request={**request, "retire": leaving},
            plan=[],
            pool=pool,
            stands=stands,
        )


def _planned(target: Wanted, held: ClientCredentials, retires_at: float) -> Iterator[Step]:
    until = datetime.fromtimestamp(retires_at, UTC).isoformat(timespec="minutes")
    why = f"takes the place of {held.client_id}, which is accepted until {until}"
    yield Step(Verb.CREATE, Resource.CLIENT, "", why)
    if target.password_client is not None:
        why = "passwords of the pool's users are checked with it from now on"
        yield Step(Verb.CREATE, Resource.PASSWORD_CLIENT, "", why)


async def _rotating(
    steps: Steps,
    target: Wanted,
    actual: Actual,
    held: ClientCredentials,
    retires_at: float,
    *,
    keeps_passwords: bool,
) -> AsyncIterator[Work]:
    """``keeps_passwords``: Cognito exchanges the secret of that client by itself."""
    yield steps.create_client(target.client, tenant=target.tenant, like=actual.client)
    if actual.login_reuse is not None and actual.login_reuse.tracked:
        yield steps.end_login_reuse(steps.credentials_made().client_id, before=None)
    if actual.pages is not None and actual.pages.need_style:
        users = PoolUserSteps(steps.pool, steps.run)
        yield users.create_style(steps.credentials_made().client_id)
    if target.password_client is not None:
        yield steps.create_password_client(target.password_client, tenant=target.tenant)
    yield steps.put_credentials(
        target.tenant,
        lambda: (
            held.replaced_by(steps.credentials_made(), retires_at=retires_at)
            if keeps_passwords
            else replaced(steps, held, retires_at)
        ),
        held,
    )


def replaced(steps: Steps, held: ClientCredentials, retires_at: float) -> ClientCredentials:
    """What the run made, in place of what there is."""
    return held.replaced_by(steps.credentials_made(), retires_at=retires_at).with_password_client(
        steps.password_client_made(), retires_at=steps.now() + SPARE_S
    )


def _exchanged(held: ClientCredentials) -> PreflightProblem | None:
    if held.rotated is None:
        return None
    return PreflightProblem(
        "conflict",
        "client",
        f"Cognito exchanges the secret of {held.client_id} by itself, in Secrets Manager, and the "
        "gateway follows: there is nothing to rotate",
    )


def without_place(tenant: str, held: ClientCredentials) -> PreflightProblem | None:
    """Where no further client can be accepted besides those that there are."""
    if len(held.retired) < MAX_RETIRED:
        return None
    return PreflightProblem(
        "conflict",
        "client",
        (
            f"{len(held.retired)} replaced clients are accepted still: retire them first "
            f"(gateway provision retire {tenant})"
        ),
    )


def longest_session_s(document: Mapping[str, Any], config: Config) -> float:
    """Of sessions that the tenant has or had: its own limit may have been shorter than the
    gateway's before.
    """
    own = (
        TenantDocument.model_validate(document).session.max_lifetime or config.session.max_lifetime
    )
    return max(own, config.session.max_lifetime).total_seconds()
