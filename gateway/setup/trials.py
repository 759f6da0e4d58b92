"""The end of what links hold: providers for tests, when a link is over or a day after its renewal
went live, and domains of a tenant that was not made.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.background import background_task, fault, in_rounds
from gateway.errors import GatewayError
from gateway.log import fields
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runner import Done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.provisioning.renewal import Renewal
    from gateway.setup.links import SetupLinks
    from gateway.setup.model import SetupLink

ACTOR: Final = "gateway:setup"
ROUND_S: Final = 30.0
AGAIN_S: Final = 600.0
_AT_ONCE: Final = 10
_OVER: Final = frozenset({"not_found", "read_only"})
"""Kinds of problems after which there is nothing to delete, or nothing that the gateway may."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trials:
    """``leads``: whether this process deletes. ``clock``: UTC epoch seconds."""

    links: SetupLinks
    renewal: Renewal
    leads: Callable[[], Awaitable[bool]]
    clock: Callable[[], float]

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="setup_trials_unavailable",
                failed="setup_trials_fault",
            )
        )

    async def round(self) -> int:
        """How many are gone. Raises ``UnavailableError``."""
        if not await self.leads():
            return 0
        await self.links.forget_drafts()
        due = await self.links.trials_due(limit=_AT_ONCE)
        # Whatever comes of them: one that cannot be deleted holds up no other.
        for link in due:
            await self.links.put_off_trial(link, until=self.clock() + AGAIN_S)
        return sum([await self._end(link) for link in due])

    async def _end(self, link: SetupLink) -> bool:
        try:
            outcome = await self.renewal.end(link.tenant, link.work.owner, actor=ACTOR)
            is_over = isinstance(outcome, PreflightProblem) and outcome.kind in _OVER
            if isinstance(outcome, Done) or is_over:
                await self.links.put_off_trial(link, until=None)
                return True
            detail = str(outcome)
        except GatewayError as error:
            # Such as a pool that is failed over: of the others, that says nothing.
            detail = str(error)
        except Exception as error:  # noqa: BLE001 - logged, and the others go on
            fault("setup_trials_fault", error, tenant=link.tenant, link=link.id)
            return False
        log.warning(
            "setup_trial_not_deleted",
            extra=fields(tenant=link.tenant, link=link.id, detail=detail[:400]),
        )
        return False
