"""For whoever connects a provider: where to send, which events to tick, and whether it arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.hooks.activity import arrived
from gateway.hooks.setup import setup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.database.engine import Database
    from gateway.hooks.activity import Arrived, Tally
    from gateway.hooks.api import HookTargets
    from gateway.hooks.setup import Setup


LAST_S = 86_400.0
"""A test is of what was set up today."""


class HookDesk:
    """``url``: the public address of the hooks listener, None where it is not configured;
    ``clock``: UTC epoch seconds.
    """

    def __init__(
        self,
        database: Database,
        tally: Tally,
        *,
        targets: HookTargets,
        url: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._tally = tally
        self._targets = targets
        self._url = url
        self._clock = clock

    def setups(self, tenant: str) -> Sequence[Setup]:
        """One for each provider; none where the tenant is not served."""
        return [setup(target, self._url) for target in self._targets.of(tenant)]

    def setup(self, tenant: str, provider: str) -> Setup | None:
        target = self._targets.find(tenant, provider)
        return setup(target, self._url) if target is not None else None

    async def arrived(self, tenant: str, provider: str, *, since: float | None) -> Arrived:
        """With what this process has counted and not yet written. ``since``: UTC epoch seconds,
        None for the last day.
        """
        await self._tally.flush()
        return await arrived(
            self._database,
            tenant,
            provider,
            since=self._clock() - LAST_S if since is None else since,
        )
