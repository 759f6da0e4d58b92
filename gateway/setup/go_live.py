"""The last step: people may sign in with what was connected.

Rules:
- Only the provider is switched on, for the groups that were chosen, in one change. A tenant that an
  operator suspended stays suspended.
- The link is completed first, so that nobody changes afterwards what was tested; where the
  provider cannot be switched on, it is as before.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.setup.model import Part, Phase
from gateway.tenants.api import Rejected
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from gateway.setup.links import SetupLinks
    from gateway.setup.model import SetupLink
    from gateway.tenants.api import TenantRecords

CHANGED = Rejected("conflict", "the link was changed at the same moment: look at it again")
NOT_TESTED = Rejected("conflict", "not every step was done: the link's tasks say which is missing")
NOT_SUBMITTED = Rejected("conflict", "nothing was submitted with this link")


@dataclass(frozen=True, slots=True)
class GoLive:
    """What operators and links that need no approval do alike."""

    links: SetupLinks
    tenants: TenantRecords

    async def go_live(self, link: SetupLink) -> SetupLink | Rejected:
        """Raises ``UnavailableError``: whether it is live is not known then."""
        if not link.ready or link.work.phase not in {Phase.TESTED, Phase.SUBMITTED}:
            return NOT_TESTED
        done = await self.links.decide(link, replace(link.work, phase=Phase.LIVE))
        if done is None:
            return CHANGED
        try:
            rejected = await self._switch_on(link)
        except GatewayError:
            await self.links.reopen(done, link.work)
            raise
        if rejected is not None:
            await self.links.reopen(done, link.work)
            return rejected
        return done

    async def _switch_on(self, link: SetupLink) -> Rejected | None:
        record = await self.tenants.get(link.tenant)
        if record is None:
            return Rejected("not_found", f"there is no tenant {link.tenant} any more")
        document = deepcopy(dict(record.document))
        found = [p for p in document["providers"] if p["name"] == link.work.name]
        if not found:
            return Rejected("conflict", f"{link.work.name} is no provider of the tenant any more")
        found[0]["active"] = True
        if link.offers(Part.ACCESS):
            document["allowed_groups"] = "any" if link.work.everyone else list(link.work.chosen)
        stored = await self.tenants.put(TenantDocument.model_validate(document), etag=record.etag)
        return stored if isinstance(stored, Rejected) else None
