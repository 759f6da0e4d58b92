"""Taking back what a run did, from its journal alone: the process that did it may be gone.

Rules:
- Only what carries this run's mark is deleted: a provider by its marker, a client by its name or
  the id in the answer.
- A step whose call went unanswered and whose effect is not to be seen is not settled before
  ``visible_s`` has passed since nobody makes that call any more: it may have waited long for its
  turn.
- Everything repeats harmlessly: undoing may itself be interrupted.
- Beside a trial, other runs go on. A provider that one of them has changed since stays as it is:
  what it has is neither what the trial wrote nor what it replaced. Client secrets and metadata that
  Cognito reads from an address are not compared: the journal has forgotten the one, and does not
  know the other. The secret in force stays in any case.
- A client that another tenant has claimed meanwhile does not come back: without one to begin logins
  with, the tenant has none, rather than one that is deleted next.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.cognito.api import CognitoRejectedError
from gateway.cognito.pool import NOT_FOUND
from gateway.cognito.shapes import shows
from gateway.log import fields
from gateway.provisioning.credentials import ClientCredentials
from gateway.provisioning.pool_user_steps import undo_group, undo_style
from gateway.provisioning.runs import Action, StepState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cognito.pool import Pool
    from gateway.core.json_types import Json
    from gateway.provisioning.credentials import Registrar
    from gateway.provisioning.runs import JournalStep

log = logging.getLogger(__name__)


class Undoing:
    """``undo`` is True where the step is settled, False where it must be looked at again later."""

    def __init__(
        self, pool: Pool, registrar: Registrar, *, clock: Callable[[], float], visible_s: float
    ) -> None:
        self._pool, self._registrar, self._clock, self._visible_s = (
            pool,
            registrar,
            clock,
            visible_s,
        )

    async def undo(self, tenant: str, step: JournalStep, *, aside: bool = False) -> bool:
        """``aside``: other runs of the tenant may have followed."""
        # Taken before looking: what a slow look does not see may be there by its end.
        has_waited = (
            step.finished_at is not None and self._clock() >= step.finished_at + self._visible_s
        )
        match step.action:
            case Action.CREATE_PROVIDER:
                return await self._provider(step, waited=has_waited)
            case Action.CREATE_CLIENT:
                return await self._client(step, waited=has_waited)
            case Action.CREATE_GROUP:
                return await undo_group(self._pool, step, waited=has_waited)
            case Action.CREATE_STYLE:
                return await undo_style(self._pool, step, waited=has_waited)
            case Action.UPDATE_PROVIDER | Action.UPDATE_CLIENT:
                changed_since = aside and await self._is_changed_since(step)
                if not step.undo.get("reloaded") and not changed_since:  # else it changed nothing
                    await self._restore(step)
            case Action.SET_LOGIN_REUSE:
                await self._login_reuse(step)
            case Action.PUT_TENANT:
                before = (step.before or {}).get("tenant")
                await self._registrar.restore(tenant, before, written=step.undo.get("written"))
            case Action.PUT_CREDENTIALS:
                await self._credentials(tenant, step)
            case _:
                # Attributes stay; deletions are finished, not undone.
                pass
        return True

    async def _provider(self, step: JournalStep, *, waited: bool) -> bool:
        provider = await self._pool.provider(step.resource)
        if provider is not None:
            if step.undo["marker"] in provider.identifiers:
                await self._pool.delete_provider(step.resource)
            else:
                log.warning(
                    "provision_foreign_provider",
                    extra=fields(
                        provider=step.resource,
                        detail="not deleted: it does not carry this run's mark",
                    ),
                )
            return True
        if step.state is StepState.DONE:
            # It was made and cannot be seen yet: deleting does not wait for that.
            await self._pool.delete_provider(step.resource)
            return True
        return waited

    async def _client(self, step: JournalStep, *, waited: bool) -> bool:
        undo_id = step.undo.get("client_id")
        if undo_id is not None:
            await self._pool.delete_client(str(undo_id))
            return True
        client_ids = await self._pool.clients_named(str(step.undo["name"]))
        for client_id in client_ids:
            await self._pool.delete_client(client_id)
        return bool(client_ids) or waited

    async def _is_changed_since(self, step: JournalStep) -> bool:
        """A provider, by others."""
        before = step.before or {}
        found = await self._pool.provider(step.resource)
        if found is None or "written" not in before:
            return False
        if any(shows(found, before[each]) for each in ("written", "request")):
            return False
        log.warning(
            "provision_provider_not_restored",
            extra=fields(provider=step.resource, detail="another run has changed it since"),
        )
        return True

    async def _restore(self, step: JournalStep) -> None:
        before = step.before or {}
        request: Json = dict(before["request"])
        try:
            if step.action is Action.UPDATE_PROVIDER:
                secret = before.get("idp_secret")
                if secret is None:
                    # The run was finished and its secret forgotten: the one in force stays.
                    now = await self._pool.provider(step.resource)
                    secret = now.details.get("client_secret") if now is not None else None
                if secret is not None:
                    request["ProviderDetails"] = {
                        **request["ProviderDetails"],
                        "client_secret": secret,
                    }
                await self._pool.api.call("UpdateIdentityProvider", idempotent=True, **request)
            else:
                await self._pool.api.call("UpdateUserPoolClient", idempotent=True, **request)
        except CognitoRejectedError as refused:
            if refused.code != NOT_FOUND:
                raise

    async def _login_reuse(self, step: JournalStep) -> None:
        minutes = step.undo.get("minutes")
        if minutes is None or step.undo.get("refused"):
            return
        try:
            await self._pool.api.call(
                "SetUserPoolClientSessionConfiguration",
                idempotent=True,
                ClientId=step.resource,
                SSOSession={"MaxValidityMinutes": minutes},
            )
        except CognitoRejectedError as refused:
            # Tracking may have been switched off: there is nothing to put back any more.
            log.warning(
                "provision_login_reuse_kept",
                extra=fields(client=step.resource, code=refused.code),
            )

    async def _credentials(self, tenant: str, step: JournalStep) -> None:
        client_id, now = step.undo.get("client_id"), await self._registrar.credentials(tenant)
        if step.before is not None:
            await self._registrar.put_credentials(
                tenant, await self._own(tenant, ClientCredentials.unsealed(step.before))
            )
            # The next step back deletes the client that logins may begin with at this moment.
            await self._registrar.in_force(tenant)
        elif now is not None and client_id in (None, now.client_id):
            await self._registrar.put_credentials(tenant, None)

    async def _own(self, tenant: str, before: ClientCredentials) -> ClientCredentials | None:
        """Without the clients that are another tenant's now."""
        taken = await self._registrar.taken_clients(tenant, before.client_ids)
        if not taken:
            return before
        log.warning(
            "provision_clients_not_restored", extra=fields(tenant=tenant, clients=sorted(taken))
        )
        return None if before.client_id in taken else before.without(taken)
