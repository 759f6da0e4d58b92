"""Many tenants at once, as a folder of files says them: what that would change and for whom, and
the change itself, all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from gateway.errors import UnavailableError
from gateway.tenants.api import Rejected
from gateway.tenants.document import TenantDocument
from gateway.tenants.dry_run import MAX_SESSIONS, compiled, sessions_of
from gateway.tenants.folder_plan import make_plan, pruned
from gateway.tenants.hook_targets import hook_targets, source_is_gone
from gateway.tenants.impact import effects
from gateway.tenants.offload import in_background
from gateway.tenants.secrets import complete, keep, keepable
from gateway.tenants.snapshot_record import shown_of
from gateway.tenants.validation import problems
from gateway.tenants.warnings import HostFacts, host_warnings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from gateway.config.model import Config
    from gateway.revocation.records import SqlBlocks
    from gateway.sessions.directory import StoreDirectory
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.folder_plan import FolderPlan
    from gateway.tenants.impact import Effect
    from gateway.tenants.snapshot_record import Record
    from gateway.tenants.stored import Actor, StoredTenant

MAX_TENANTS: Final = 20_000
MAX_LOOKED_AT: Final = 20_000
"""Sessions of all changed tenants together that are looked at to tell who loses what."""
_ETAG_CHARACTERS: Final = 32
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Invalid:
    """One mistake in the document of one tenant; ``key`` may be empty."""

    tenant: str
    key: str
    problem: str


@dataclass(frozen=True, slots=True)
class People:
    """Of one tenant: how many sessions were looked at, and whom the change, and then taking over
    its shadow rules, would let in or shut out.
    """

    sessions: int
    now: tuple[Effect, ...]
    shadow_rules: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """``unknown``: why not all of it could be told. ``stay``: by tenant, sources that the change
    silences, and how many blocks and removed groups of theirs stay until an operator lifts them.
    """

    people: Mapping[str, People]
    stay: Mapping[str, Mapping[str, int]]
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """A plan, and the versions that it was made from as one entity tag."""

    plan: FolderPlan
    etag: str
    before: Mapping[str, StoredTenant] = field(repr=False)
    """What SQL holds."""


class TenantBatches:
    """``files``: tenants of the GitOps folder as they are now. ``in_force``: waits until what was
    written of these tenants is obeyed; False where that cannot be said in time.
    """

    def __init__(
        self,
        database: TenantDatabase,
        config: Config,
        directory: StoreDirectory,
        blocks: SqlBlocks,
        *,
        files: Callable[[], Mapping[str, Record]],
        in_force: Callable[[Collection[str]], Awaitable[bool]],
    ) -> None:
        self._database, self._config, self._directory = database, config, directory
        self._blocks, self._files, self._in_force = blocks, files, in_force

    async def plan(
        self, documents: Sequence[Json], *, prune: bool
    ) -> Batch | tuple[Invalid, ...] | Rejected:
        """Changes nothing. Refused as ``apply`` would be. Raises ``UnavailableError``."""
        tenants = await self._database.all()
        if prune and tenants and not documents:
            return Rejected(
                "invalid_body",
                f"tenants: is empty, so prune would delete all {len(tenants)} in SQL: if that is "
                "meant, delete them one by one",
            )
        result = await in_background(self._documents, documents, tenants)
        if isinstance(result, tuple):
            return result
        plan = await in_background(_planned, result, tenants, prune)
        rejection = await self._database.rehearse(plan.changes, files=self._files().values())
        if rejection is not None:
            return Rejected(_CODES.get(rejection.code, rejection.code), rejection.message)
        plan = replace(plan, warnings=await in_background(self._warnings, plan, tenants))
        return Batch(plan, await in_background(_etag, plan), tenants)

    async def apply(self, batch: Batch, *, by: Actor) -> bool | Rejected:
        """Whether it is in force everywhere. Refused as a whole where a version has changed."""
        changes = batch.plan.changes
        if not changes:
            return True
        rejection = await self._database.apply(changes, by=by, files=self._files().values())
        if rejection is not None:
            return Rejected(_CODES.get(rejection.code, rejection.code), rejection.message)
        return await self._in_force([change.tenant for change in changes])

    async def impact(self, batch: Batch) -> Impact:
        """Of the tenants that change or have shadow rules; at most ``MAX_LOOKED_AT`` sessions."""
        plan, tenants = batch.plan, batch.before
        pairs: dict[str, tuple[TenantDocument, TenantDocument | None]] = {
            change.tenant: (tenants[change.tenant].document, change.document)
            for change in plan.changes
            if change.tenant in tenants
        }
        pairs |= {
            tenant: (tenants[tenant].document, tenants[tenant].document)
            for tenant in plan.unchanged
            if tenants[tenant].document.shadow_rules
        }
        stay = {
            tenant: silenced
            for tenant, (before, after) in sorted(pairs.items())
            if after is not None and (silenced := await self._silenced(before, after))
        }
        people: dict[str, People] = {}
        budget = MAX_LOOKED_AT
        for tenant, (before, after) in sorted(pairs.items()):
            if budget <= 0:
                why = f"only the first {len(people)} of {len(pairs)} tenants were looked at"
                return Impact(people, stay, why)
            try:
                sessions = await sessions_of(self._directory, tenant)
            except UnavailableError as error:
                return Impact(people, stay, str(error))
            budget -= max(len(sessions), MAX_SESSIONS // 20)
            was = compiled(before, self._config)
            becomes = compiled(after, self._config) if after is not None else None
            now = await in_background(effects, was, becomes, sessions)
            later: tuple[Effect, ...] = ()
            if becomes is not None and becomes.shadow_rules:
                taken_over = replace(becomes, rules=becomes.shadow_rules)
                later = await in_background(effects, becomes, taken_over, sessions)
            people[tenant] = People(len(sessions), now, later)
        return Impact(people, stay)

    def _documents(
        self, documents: Sequence[Json], stored: Mapping[str, StoredTenant]
    ) -> dict[str, TenantDocument] | tuple[Invalid, ...]:
        """By id, each ``***`` in them replaced by the stored secret; or every mistake."""
        by_id: dict[str, TenantDocument] = {}
        wrong: list[Invalid] = []
        for number, raw in enumerate(documents):
            name = str(raw.get("id", number))[:40]
            try:
                document = TenantDocument.model_validate(raw)
            except ValidationError as error:
                wrong += [
                    Invalid(
                        name, ".".join(map(str, one["loc"])), _sentence(one["type"], one["msg"])
                    )
                    for one in error.errors(
                        include_url=False, include_context=False, include_input=False
                    )
                ]
                continue
            if document.id in by_id:
                wrong.append(Invalid(document.id, "id", "stands twice"))
                continue
            before = stored.get(document.id)
            try:
                document = (
                    complete(document)
                    if before is None
                    else keep(document, keepable(before.document, document))
                )
            except ValueError as error:
                wrong += [_line(document.id, line) for line in str(error).splitlines()]
            wrong += [_line(document.id, str(one)) for one in problems(document, self._config)]
            by_id[document.id] = document
        return tuple(wrong) or by_id

    def _warnings(self, plan: FolderPlan, stored: Mapping[str, StoredTenant]) -> tuple[str, ...]:
        after = {
            record.id: HostFacts.of_shown(shown_of(record)) for record in self._files().values()
        }
        after |= {tenant: HostFacts.of(one.document) for tenant, one in stored.items()}
        for change in plan.changes:
            if change.document is None:
                after.pop(change.tenant, None)
            else:
                after[change.tenant] = HostFacts.of(change.document)
        return host_warnings(after.values(), self._config)

    async def _silenced(self, before: TenantDocument, after: TenantDocument) -> Mapping[str, int]:
        """What sources imposed that can speak before the change and not after it, by source."""
        had, has = hook_targets(before), hook_targets(after)
        if had == has:
            return {}
        return Counter(
            view.source.partition(":")[0]
            for view in await self._blocks.all_of(before.id)
            if source_is_gone(view.source, view.who.provider, has)
            and not source_is_gone(view.source, view.who.provider, had)
        )


_CODES = {"changed": "precondition_failed", "invalid": "invalid_body", "absent": "not_found"}


def _planned(
    wanted: Mapping[str, TenantDocument],
    stored: Mapping[str, StoredTenant],
    prune: bool,  # noqa: FBT001 - called through a thread
) -> FolderPlan:
    plan = make_plan(wanted, stored)
    return pruned(plan, stored) if prune else plan


def _etag(plan: FolderPlan) -> str:
    """Differs when the changes, as they are shown, or the versions they were made from do."""
    text = json.dumps(
        [
            [c.action, c.tenant, c.version, [[d.key, d.before, d.after] for d in c.differences]]
            for c in plan.changes
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:_ETAG_CHARACTERS]


def _line(tenant: str, line: str) -> Invalid:
    """Of a sentence that begins with its key."""
    key, _, problem = line.partition(": ")
    return Invalid(tenant, key, problem) if problem else Invalid(tenant, "", line)


def _sentence(kind: str, message: str) -> str:
    return "unknown member" if kind == "extra_forbidden" else message.removeprefix("Value error, ")


__all__ = ["MAX_TENANTS", "Batch", "Impact", "Invalid", "People", "TenantBatches"]
