"""The last step: people may sign in with what was connected.

Rules:
- Only the provider is switched on, for the groups that were chosen, in one change. A tenant that an
  operator suspended stays suspended.
- Where people sign in with another provider already, nothing is switched on: the groups are theirs.
  A link that connects one more says nothing of the others, and its groups are its own provider's.
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
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.errors import GatewayError, UnavailableError
from gateway.provisioning.addition import Access, beside
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.renewal import Trial
from gateway.provisioning.runner import Failed
from gateway.setup.letters import name_of
from gateway.setup.model import PUT_BACK_S, Part, Phase
from gateway.tenants.api import Rejected
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.provisioning.renewal import Renewal
    from gateway.provisioning.runner import Outcome
    from gateway.setup.letters import SetupLetters
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
TOO_LATE = Rejected("conflict", "the former values are not kept any more")
NOT_SUBMITTED = Rejected("conflict", "nothing was submitted with this link")
_NOT_TESTED_WITH: Final = frozenset({"active", "hidden", "hooks", "label", "secret_expires"})
"""Keys of a provider that say nothing about who signs in with it, and as whom."""


def entry_digest(document: Mapping[str, Any], name: str) -> str:
    """Of the provider ``name`` in a tenant's document; "" where there is none."""
    for provider in document["providers"]:
        if provider["name"] == name:
            content = {
                key: sorted(value, key=str) if isinstance(value, list | tuple) else value
                for key, value in provider.items()
                if key not in _NOT_TESTED_WITH
            }
            return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return ""


def refused(outcome: PreflightProblem | Outcome) -> Rejected:
    """Why a renewal came to nothing. Raises ``UnavailableError`` where nobody said."""
    if isinstance(outcome, PreflightProblem):
        return Rejected("conflict", outcome.message)
    if isinstance(outcome, Failed) and outcome.refused_by in {"cognito", "registry"}:
        return Rejected("conflict", outcome.message)
    raise UnavailableError("another run of the tenant is in progress, or a call was not answered")


@dataclass(frozen=True, slots=True)
class GoLive:
    """What operators and links that need no approval do alike."""

    links: SetupLinks
    tenants: TenantRecords
    letters: SetupLetters
    renewal: Renewal | None = None

    async def go_live(
        self, link: SetupLink, *, action: str = "", actor: str = ""
    ) -> SetupLink | Rejected:
        """``action``: as which the link's holder did it, on record. ``actor``: whose run it is;
        left out, the link's holder's. Raises ``UnavailableError``: whether it is live is not known
        then.
        """
        if link.offers(Part.RENEW):
            live_link = await self._renew(link, action, actor or f"setup:{link.actor}")
        else:
            live_link = await self._go_live(link, action)
        if not isinstance(live_link, Rejected):
            await self.letters.live(
                live_link, name_of(live_link, await self.tenants.get(live_link.tenant))
            )
        return live_link

    async def _go_live(self, link: SetupLink, action: str) -> SetupLink | Rejected:
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

    async def _renew(self, link: SetupLink, action: str, actor: str) -> SetupLink | Rejected:
        """As going live: the link is completed first. Half way, it is gone on with."""
        work = link.work
        if not link.ready or work.phase not in {Phase.TESTED, Phase.SUBMITTED, Phase.LIVE}:
            return NOT_TESTED
        done = link
        if work.phase is not Phase.LIVE:
            live = replace(work, phase=Phase.LIVE, put_back_until=self.links.now() + PUT_BACK_S)
            completed = await self.links.decide(
                link, live, action=action, after={"provider": work.renews}
            )
            if completed is None:
                return CHANGED
            done = completed
        elif work.basis:
            return DONE_BEFORE
        taken_back = f"{action}_failed" if action else ""
        try:
            since = await self.exchange(done, expires=work.expires, actor=actor)
        except GatewayError:
            if done is not link:
                await self.links.reopen(done, work, action=taken_back)
            raise
        if isinstance(since, Rejected):
            if done is not link:
                await self.links.reopen(done, work, action=taken_back)
            return since
        settled = await self.links.decide(done, replace(done.work, since=since, basis=since))
        return settled or done

    async def put_back(self, link: SetupLink) -> SetupLink | Rejected:
        """The former values are in use again, as whoever holds the link says."""
        work = link.work
        kept_until = work.put_back_until or 0.0
        if work.phase is not Phase.LIVE or work.put_back or self.links.now() >= kept_until:
            return TOO_LATE
        since = await self.exchange(link, expires=work.former_expires, actor=f"setup:{link.actor}")
        if isinstance(since, Rejected):
            return since
        back = replace(work, since=since, put_back=True, put_back_until=self.links.now())
        after = {"provider": work.renews}
        done = await self.links.decide(link, back, action="setup.put_back", after=after)
        return done or CHANGED

    async def exchange(self, link: SetupLink, *, expires: str, actor: str) -> str | Rejected:
        """The run after which the connection has what it was to have."""
        work = link.work
        if self.renewal is None:
            return Rejected("conflict", "no user pool is administered")
        trial = Trial(work.name, work.run, work.since, work.keeps_certificate)
        ends = date.fromisoformat(expires) if expires else None
        done = await self.renewal.exchange(
            link.tenant, work.renews, trial, expires=ends, actor=actor
        )
        if isinstance(done, Trial):
            return done.since
        return refused(done)

    async def _switch_on(self, link: SetupLink, record: TenantRecord) -> Rejected | None:
        document = await self._document(link, record)
        if isinstance(document, Rejected):
            return document
        result = await self.tenants.put(TenantDocument.model_validate(document), etag=record.etag)
        return result if isinstance(result, Rejected) else None

    async def _document(self, link: SetupLink, record: TenantRecord) -> dict[str, Any] | Rejected:
        """The tenant's, with its provider switched on."""
        document = deepcopy(dict(record.document))
        connection = link.request.connection
        matches = [p for p in document["providers"] if p["name"] == link.work.name]
        if not matches:
            return Rejected("conflict", f"{link.work.name} is no provider of the tenant any more")
        others = [p["name"] for p in document["providers"] if p["active"] and p is not matches[0]]
        if others and connection is None:
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
        matches[0]["active"] = True
        if connection is not None:
            return _beside(link, document, matches[0])
        if link.offers(Part.ACCESS):
            document["allowed_groups"] = "any" if link.work.everyone else list(link.work.chosen)
        return document


def _beside(
    link: SetupLink, document: dict[str, Any], entry: dict[str, Any]
) -> dict[str, Any] | Rejected:
    """Whoever signs in with another provider has the access that they had."""
    groups: Sequence[str] | Literal["any"] | None = None
    if link.offers(Part.ACCESS):
        groups = "any" if link.work.everyone else link.work.chosen
    live, problems = beside(document, [entry], {link.work.name: Access(groups)})
    if problems:
        return Rejected("conflict", "; ".join(map(str, problems)))
    return live
