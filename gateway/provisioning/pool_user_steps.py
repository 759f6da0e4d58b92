"""The calls that make the pool's own users a tenant's, and that take it back.

Rules:
- A group that the run made carries its mark in the description, and is deleted when it is undone.
- A client needs a style before anybody signs in on its pages; one that somebody else gave it stays.
- A tenant that ends takes all its groups along: whoever gets its id next gets none of its people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.cognito.desired import marker
from gateway.core.pool_groups import members_group
from gateway.provisioning.runs import Action, StepState
from gateway.provisioning.steps import Work

if TYPE_CHECKING:
    from gateway.cognito.pool import Pool
    from gateway.cognito.pool_users import PoolUsers
    from gateway.core.json_types import Json
    from gateway.provisioning.runs import JournalStep

_GROUP_EXISTS = "GroupExistsException"
_STYLE_EXISTS = "ManagedLoginBrandingExistsException"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class PoolUserSteps:
    """Makes ``Work`` for one run."""

    pool: Pool
    run: str

    def create_group(self, users: PoolUsers) -> Work:
        mark = marker(self.run, users.group)

        async def perform() -> Json:
            for attempt in range(_ATTEMPTS):
                try:
                    await self.pool.api.call(
                        "CreateGroup", idempotent=False, GroupName=users.group, Description=mark
                    )
                except UnansweredError:
                    # Repeating is safe: names are unique, and the description tells whose it is.
                    if attempt + 1 == _ATTEMPTS:
                        raise
                except CognitoRejectedError as refused:
                    if attempt and refused.code == _GROUP_EXISTS and await self._is_ours(users):
                        return {}
                    refused.uncertain = refused.uncertain or attempt > 0
                    raise
                else:
                    return {}
            return {}

        return Work(Action.CREATE_GROUP, users.group, perform, undo={"marker": mark})

    async def _is_ours(self, users: PoolUsers) -> bool:
        group = await self.pool.group(users.group)
        return group is not None and group.mark == marker(self.run, users.group)

    def create_style(self, client_id: str) -> Work:
        async def perform() -> Json:
            for attempt in range(_ATTEMPTS):
                try:
                    answer = await self.pool.api.call(
                        "CreateManagedLoginBranding",
                        idempotent=False,
                        ClientId=client_id,
                        UseCognitoProvidedValues=True,
                    )
                except UnansweredError:
                    # Repeating is safe: a client has one.
                    if attempt + 1 == _ATTEMPTS:
                        raise
                except CognitoRejectedError as refused:
                    if refused.code != _STYLE_EXISTS:
                        refused.uncertain = refused.uncertain or attempt > 0
                        raise
                    # Before the first call of ours it was somebody else's.
                    return {} if attempt else {"kept": True}
                else:
                    return {"style": answer["ManagedLoginBranding"]["ManagedLoginBrandingId"]}
            return {}

        return Work(Action.CREATE_STYLE, client_id, perform)

    def delete_groups(self, tenant: str) -> Work:
        members = members_group(tenant)

        async def perform() -> Json:
            # The members' group goes last: as long as it is there, so may be the others.
            for name in await self.pool.groups_of_tenant(members):
                await self.pool.delete_group(name)
            return {}

        return Work(Action.DELETE_GROUPS, members, perform)


async def undo_group(pool: Pool, step: JournalStep, *, waited: bool) -> bool:
    """Whether it is settled: only what carries the run's mark is deleted."""
    group = await pool.group(step.resource)
    if group is not None:
        if group.mark == step.undo["marker"]:
            await pool.delete_group(step.resource)
        return True
    if step.state is StepState.DONE:
        await pool.delete_group(step.resource)
        return True
    return waited


async def undo_style(pool: Pool, step: JournalStep, *, waited: bool) -> bool:
    """Whether it is settled: a style that somebody else made stays."""
    if step.undo.get("kept"):
        return True
    style = step.undo.get("style") or await pool.style_of(step.resource)
    if style is not None:
        await pool.delete_style(str(style))
        return True
    return waited
