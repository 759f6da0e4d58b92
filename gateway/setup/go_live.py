"""The last step: people may sign in with what was connected.

Rules:
- Only the provider is switched on, for the groups that were chosen, in one change. A tenant that an
  operator suspended stays suspended.
- Where people sign in with another provider already, nothing is switched on: the groups are theirs.
- A provider that was provisioned or edited after its values were saved is not what was tested.
- What would be refused is refused before anything is done. The link is completed first, so that
  nobody changes afterwards what was tested; where the provider cannot be switched on then, the link
  is as before, and the record says both. A process that ended in between left it
  completed: going live again goes on, while the tenant is at the version that it was.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError
from gateway.setup.model import Part, Phase
from gateway.tenants.api import Rejected
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.setup.links import SetupLinks
    from gateway.setup.model import SetupLink
    from gateway.tenants.api import TenantRecord, TenantRecords

CHANGED = Rejected("conflict", "the link was changed at the same moment: look at it again")
NOT_TESTED = Rejected("conflict", "not every step was done: the link's tasks say which is missing")
EDITED = Rejected(
    "conflict",
    "the provider was changed after its values were saved: save and test the connection again",
)
DONE_BEFORE = Rejected(
    "conflict", "it went live already, and the tenant was changed since: change the tenant itself"
)
NOT_SUBMITTED = Rejected("conflict", "nothing was submitted with this link")
_NOT_TESTED_WITH: Final = frozenset({"active", "hidden", "hooks", "label", "secret_expires"})
"""Keys of a provider that say nothing about who signs in with it, and as whom."""


def entry_digest(document: Mapping[str, Any], name: str) -> str:
    """Of the provider ``name`` in a tenant's document; "" where there is none."""
    for provider in document["providers"]:
        if provider["name"] == name:
            tested = {
                key: sorted(value, key=str) if isinstance(value, list | tuple) else value
                for key, value in provider.items()
                if key not in _NOT_TESTED_WITH
            }
            return hashlib.sha256(json.dumps(tested, sort_keys=True).encode()).hexdigest()
    return ""


@dataclass(frozen=True, slots=True)
class GoLive:
    """What operators and links that need no approval do alike."""

    links: SetupLinks
    tenants: TenantRecords

    async def go_live(self, link: SetupLink, *, action: str = "") -> SetupLink | Rejected:
        """``action``: as which the link's holder did it, on record. Raises ``UnavailableError``:
        whether it is live is not known then.
        """
        if not link.ready or link.work.phase not in {Phase.TESTED, Phase.SUBMITTED, Phase.LIVE}:
            return NOT_TESTED
        record = await self.tenants.get(link.tenant)
        if record is None:
            return Rejected("not_found", f"there is no tenant {link.tenant} any more")
        if link.work.phase is Phase.LIVE:
            # Only where it ended half way: what was changed since, an operator may have ended.
            if link.work.basis != record.etag:
                return DONE_BEFORE
            return await self._switch_on(link, record) or link
        refused = await self._document(link, record)
        if isinstance(refused, Rejected):
            return refused
        live = replace(link.work, phase=Phase.LIVE, basis=record.etag)
        done = await self.links.decide(
            link, live, action=action, after={"provider": link.work.name}
        )
        if done is None:
            return CHANGED
        taken_back = f"{action}_failed" if action else ""
        try:
            rejected = await self._switch_on(link, record)
        except GatewayError:
            await self.links.reopen(done, link.work, action=taken_back)
            raise
        if rejected is not None:
            await self.links.reopen(done, link.work, action=taken_back)
            return rejected
        return done

    async def _switch_on(self, link: SetupLink, record: TenantRecord) -> Rejected | None:
        document = await self._document(link, record)
        if isinstance(document, Rejected):
            return document
        stored = await self.tenants.put(TenantDocument.model_validate(document), etag=record.etag)
        return stored if isinstance(stored, Rejected) else None

    async def _document(self, link: SetupLink, record: TenantRecord) -> dict[str, Any] | Rejected:
        """The tenant's, with its provider switched on."""
        document = deepcopy(dict(record.document))
        found = [p for p in document["providers"] if p["name"] == link.work.name]
        if not found:
            return Rejected("conflict", f"{link.work.name} is no provider of the tenant any more")
        others = [p["name"] for p in document["providers"] if p["active"] and p is not found[0]]
        if others:
            return Rejected(
                "conflict",
                f"people sign in to tenant {link.tenant} with {', '.join(others)} already",
            )
        last = await self.links.last_provisioned(link.tenant)
        if entry_digest(document, link.work.name) != link.work.entry or last not in {
            None,
            link.work.run,
        }:
            return EDITED
        found[0]["active"] = True
        if link.offers(Part.ACCESS):
            document["allowed_groups"] = "any" if link.work.everyone else list(link.work.chosen)
        return document
