"""The admin role's side of the registry: files and SQL become one set of tenants, and that set the
snapshot in Redis.

Rules:
- What two tenants claim, or is in both files and SQL, is published by nobody: the last good set
  stays.
- SQL that does not answer changes nothing: without having read it, no snapshot is made that would
  lack its tenants.
- A tenant that does not open stays as it was last read, and no change to it counts as done; the
  others are published.
- What another process has published is replaced only by who has read SQL as it is now: else a
  suspended tenant would come back to life.
- A snapshot is published when the set changed, and again when Redis has none or an older one.
- A change that takes something away is published, and then waited for: it counts as done when every
  replica obeys it. Where a part of the store does not answer, only the tenants wait whose sessions
  it has.
- It is sealed with the key that writes now, all of it: after a rotation it is published anew.
- A tenant that is gone takes its sessions with it: they are ended once nobody serves it any more,
  and before that nobody is served under its id again. The manifest remembers what is to be ended,
  so a process that dies in between leaves it to the next. What cannot be ended yet delays nobody
  but who deleted it. So it is with a provider of a tenant that is gone, or not active any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.background import forever
from gateway.core.tenants import same_names
from gateway.errors import ConfigError, GatewayError, UnavailableError
from gateway.log import fields
from gateway.metrics import TASK_FAILURES
from gateway.tenants import snapshot
from gateway.tenants.collector import large_work
from gateway.tenants.files import TenantFiles, complain
from gateway.tenants.offload import in_background, woken
from gateway.tenants.remembered import RememberedFiles
from gateway.tenants.restriction import left_providers, narrowed
from gateway.tenants.snapshot import Manifest, OtherKeyRingError, Sealer, SnapshotError
from gateway.tenants.snapshot_record import with_credentials, without_routes
from gateway.tenants.validation import conflicts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from gateway.config.model import Config
    from gateway.keys.ring import KeyRing
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.snapshot import Store
    from gateway.tenants.snapshot_record import Credentials, Record
    from gateway.tenants.stored import Changes

POLL_S = 0.25
"""Of the folder and of SQL's revision number (one row): changes made by commands and by other admin
processes.
"""
CHECK_S = 1.0
"""Of Redis' generation: after a fail-over or FLUSHALL the snapshot is back within this."""
REPAIR_S = 10.0
"""Between two writings of a snapshot that somebody cannot read."""
CLOSED_S = 10.0
"""When a tenant that does not open is looked at again: a key is missing, and may be given back."""
_ENDING_AT_ONCE = 8
MAX_WAITING = 256
"""Tenants that are named in SQL as not obeyed everywhere yet. With more of them, whoever waits
there waits for all.
"""
ENDING_AWAITED_S = 5.0
"""How long a tenant that is gone keeps SQL's one number from being raised, which commands wait for:
what ends at once has ended when they say so, and what cannot be ended yet delays nobody else for
longer.
"""

_KEY_RING = (
    "this is not the key ring that the other processes have, and nothing is published with it. "
    "Put that one back (its backup); if it is lost, delete gw:{tenants}:generation, "
    "gw:{tenants}:manifest and gw:{tenants}:records in Redis"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who is to be served, the manifest that says so, and what they were made from."""

    replaced: tuple[object, ...]
    compared: tuple[object, ...]
    served: dict[str, Record]
    wanted: Manifest


class Publisher:
    """One per admin process. Several may run: they read the same SQL and the same files."""

    def __init__(
        self,
        database: TenantDatabase,
        store: Store,
        ring: Callable[[], KeyRing],
        config: Config,
        *,
        narrow: Callable[
            [Collection[str], int, Callable[[Collection[str]], None]], Awaitable[None]
        ],
        end: Callable[[str], Awaitable[None]],
        end_provider: Callable[[str, str], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``narrow`` returns when no replica answers for these tenants by an older snapshot than
        this generation any more, and tells of each when it holds for it.

        ``end`` ends everything that a tenant's people have, and returns when that is acknowledged;
        ``end_provider`` what those have who signed in with one provider of it. All raise
        ``UnavailableError``.
        """
        self._database = database
        self._store = store
        self._sealer = Sealer(ring)
        self._config = config
        self._narrow = narrow
        self._end = end
        self._end_provider = end_provider
        self._clock = clock
        self._files = (
            TenantFiles(config.tenants.directory, config, RememberedFiles(config, ring))
            if config.tenants.directory is not None
            else None
        )
        self._stamps: dict[str, str] = {}
        self._rows: dict[str, Record] = {}
        self._credentials: dict[str, Credentials] = {}
        self._removals: dict[str, int] = {}
        self._lost: Mapping[str, frozenset[str]] = {}
        self._completed: dict[str, tuple[str, Credentials, Record]] = {}
        """Files with their credentials, by tenant: made once, not at each look."""
        self._closed: frozenset[str] = frozenset()
        """Tenants that do not open."""
        self._withheld: frozenset[str] = frozenset()
        """Those that did not when it was published last."""
        self._open_again_at = 0.0
        self._repair_again_at = 0.0
        """When to look at them again (monotonic seconds)."""
        self._revision = -1
        self._sent_revision = -1
        self._obeyed_revision = -1
        self._recorded_revision = -1
        self._recorded_sent: tuple[int, frozenset[str]] = (-1, frozenset())
        """As SQL has them."""
        self._records: dict[str, Record] | None = None
        """What is, or ought to be, published; None before SQL was read once."""
        self._manifest: Manifest | None = None
        self._is_anothers = False
        """``_manifest`` was written by another process, and says what this one would not have
        said.
        """
        self._sent: dict[str, Record] = {}
        """The records of ``_manifest``; fewer where a predecessor wrote it."""
        self._ended: set[str] = set()
        """Of ``_manifest.ending``: what this process has ended since."""
        self._being_ended: set[str] = set()
        self._ending_since: dict[str, int] = {}
        """Of ``_manifest.ending``: the revision with which each went."""
        self._gone_at: dict[str, float] = {}
        """Of ``_manifest.ending``: when this process first met it (monotonic seconds)."""
        self._unconfirmed: dict[str, int] = {}
        """Tenants that were narrowed → by which generation; not every replica is known to obey it
        yet.
        """
        self._plan: _Plan | None = None
        """The last one, and what it was made from."""
        self._left_ended: set[tuple[str, str, int]] = set()
        """Of ``_manifest.left``: tenant, provider and generation, where this process has ended the
        sessions since.
        """
        self._being_confirmed: set[str] = set()
        self._wake = asyncio.Event()
        self._everything = False
        self._to_confirm = asyncio.Event()
        self._to_end = asyncio.Event()
        self._obeyed = asyncio.Condition()
        self._problems: dict[str, tuple[str, ...]] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps the newest state of files and SQL from being served."""
        return tuple(problem for kind in sorted(self._problems) for problem in self._problems[kind])

    @property
    def generation(self) -> int:
        return self._manifest.generation if self._manifest is not None else 0

    @property
    def file_records(self) -> Mapping[str, Record]:
        """Tenants of the folder, whose names SQL's may not take."""
        return self._files.records if self._files is not None else {}

    @property
    def records(self) -> Mapping[str, Record]:
        """Every tenant as it is, or ought to be, published; the files alone until SQL was read
        once.
        """
        return self._records if self._records is not None else self.file_records

    @property
    def credentials(self) -> Mapping[str, Credentials]:
        """Of every tenant that SQL has some of; another mapping after each look that found a
        change.
        """
        return self._credentials

    def wake(self) -> None:
        """Something was just written: look now."""
        self._wake.set()

    def read_again(self) -> None:
        """SIGHUP: every file again."""
        self._everything = True
        self._wake.set()

    async def start(self) -> None:
        """Read the folder, then try to read SQL and publish. Raises ``ConfigError`` for what must
        not be started with.
        """
        if self._files is not None:
            await in_background(self._files.load)
        try:
            await self._read_database()
            await self._merge()
        except UnavailableError as error:
            self._problems["sql"] = (str(error),)
        if self._problems.get("claims"):
            raise ConfigError("\n".join(self._problems["claims"]))
        await self._publish_quietly()
        if self._problems.get("key_ring"):
            raise ConfigError("\n".join(self._problems["key_ring"]))
        complain("publisher", (), self.problems, again=False)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await forever(self._run)
        finally:
            if self._files is not None:
                self._files.abandon()

    async def _run(self) -> None:
        # What was under way when an error ended all of it.
        self._being_confirmed.clear()
        self._being_ended.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._confirm())
            tasks.create_task(self._end_gone())
            checked = time.monotonic()
            while True:
                await woken(
                    self._wake, within_s=self._files.pause_s if self._files is not None else POLL_S
                )
                old_problems = self.problems
                try:
                    with large_work():
                        is_changed = await self._look()
                        if is_changed or time.monotonic() - checked >= CHECK_S:
                            await self._publish_quietly()
                            checked = time.monotonic()
                    self._note("fault", ())
                except Exception as error:
                    # Whatever it is: what was published is still to be confirmed, and this is tried
                    # again.
                    self._note(
                        "fault", (f"tenants cannot be read or published: {type(error).__name__}",)
                    )
                    if self.problems != old_problems:
                        TASK_FAILURES.labels("tenants_fault").inc()
                        log.exception("tenants_fault")
                complain("publisher", old_problems, self.problems, again=False)

    async def _confirm(self) -> None:
        """Until cancelled: what was published becomes what is obeyed. Beside ``run``: one slow
        replica delays no further change, and one tenant no other.

        Snapshots that come while replicas are waited for ask for more, and put off nothing: else
        whoever changes one tenant again and again kept every other change from being confirmed.
        """
        async with asyncio.TaskGroup() as tasks:
            while True:
                await woken(self._to_confirm, within_s=CHECK_S)
                generation = self.generation
                pending = {
                    tenant: by
                    for tenant, by in self._unconfirmed.items()
                    if by <= generation and tenant not in self._being_confirmed
                }
                if pending:
                    self._being_confirmed |= pending.keys()
                    tasks.create_task(self._confirm_these(pending, generation))
                await self._record_obeyed()

    async def _confirm_these(self, waiting: Mapping[str, int], generation: int) -> None:
        # As this generation has it: what goes later may still be signed in with.
        departures = {tenant: names for tenant in waiting if (names := self._left(tenant))}

        def confirmed(tenants: Collection[str]) -> None:
            for tenant in tenants:
                self._being_confirmed.discard(tenant)
                # Narrowed again meanwhile, a tenant stays to be confirmed by the newer number.
                if self._unconfirmed.get(tenant) == waiting[tenant]:
                    del self._unconfirmed[tenant]
            self._to_confirm.set()

        def obeyed(tenants: Collection[str]) -> None:
            confirmed([tenant for tenant in tenants if tenant not in departures])

        try:
            await self._narrow(frozenset(waiting), generation, obeyed)
            # No replica begins a session with them any more.
            for tenant, providers in departures.items():
                await self._end_left(tenant, providers)
            confirmed(waiting)
        except UnavailableError as error:
            log.warning(
                "tenants_not_confirmed", extra=fields(error=str(error), generation=generation)
            )
        except Exception as error:
            # A mistake of ours with some tenants: they wait, and are tried again; the others go on.
            log.exception(
                "tenants_not_confirmed",
                extra=fields(error=type(error).__name__, generation=generation),
            )
            TASK_FAILURES.labels("tenants_not_confirmed").inc()
        finally:
            self._being_confirmed -= waiting.keys()

    async def _end_left(self, tenant: str, left: Mapping[str, int]) -> None:
        """So that they are not there again when a provider is."""
        for provider, since in sorted(left.items()):
            await self._end_provider(tenant, provider)
            self._left_ended.add((tenant, provider, since))
            self.wake()

    async def _record_obeyed(self) -> None:
        """For whoever waits here, and in SQL for commands: one number for all tenants, and another
        with the names of those whose changes wait.
        """
        if not self._unconfirmed and not self._unserved():
            self._obeyed_revision = self._sent_revision
        await self._tell()
        revision, report = (
            self._obeyed_revision,
            (
                self._sent_revision,
                frozenset(self._unconfirmed) | self._left_to_end() | self._unserved(),
            ),
        )
        try:
            if revision > self._recorded_revision and not self._ending_awaited():
                await self._database.published(revision)
                self._recorded_revision = revision
            if report != self._recorded_sent and 0 < len(report[1]) <= MAX_WAITING:
                await self._database.sent(*report)
                self._recorded_sent = report
        except UnavailableError as error:
            log.warning(
                "tenants_not_confirmed", extra=fields(error=str(error), generation=self.generation)
            )

    def _ending_awaited(self) -> bool:
        now, tenants = time.monotonic(), self._left_to_end()
        self._gone_at = {tenant: self._gone_at.get(tenant, now) for tenant in tenants}
        return any(now - at < ENDING_AWAITED_S for at in self._gone_at.values())

    async def _end_gone(self) -> None:
        """Until cancelled: tenants that are gone lose what is left of theirs. Each by itself: one
        that takes long, or fails, holds up nobody else.
        """
        places = asyncio.Semaphore(_ENDING_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await woken(self._to_end, within_s=CHECK_S)
                for tenant in self._left_to_end() - self._being_ended:
                    self._being_ended.add(tenant)
                    tasks.create_task(self._end_one(tenant, self.generation, self._ended, places))

    async def _end_one(
        self, tenant: str, generation: int, ended: set[str], places: asyncio.Semaphore
    ) -> None:
        """``ended``: where it is noted. Another admin process' snapshot begins a new set, for it
        may have served the id in between.
        """
        try:
            async with places:
                # While somebody may still serve it, more sessions may begin.
                await self._narrow((tenant,), generation, lambda _tenants: None)
                await self._end(tenant)
        except UnavailableError as error:
            log.warning("tenant_not_ended", extra=fields(tenant=tenant, error=str(error)))
        except Exception as error:
            log.exception(
                "tenant_not_ended", extra=fields(tenant=tenant, error=type(error).__name__)
            )
            TASK_FAILURES.labels("tenant_not_ended").inc()
        else:
            ended.add(tenant)
            self.wake()
            self._to_confirm.set()
            await self._tell()
        finally:
            self._being_ended.discard(tenant)

    def _unserved(self) -> frozenset[str]:
        """Tenants of which SQL may hold something newer than what is published."""
        return self._closed | self._withheld

    def _left_to_end(self) -> frozenset[str]:
        return self._manifest.ending - self._ended if self._manifest is not None else frozenset()

    def _left(self, tenant: str) -> dict[str, int]:
        """As ``Manifest.left`` has it."""
        there = self._manifest.left.get(tenant, {}) if self._manifest is not None else {}
        return {
            name: since
            for name, since in there.items()
            if (tenant, name, since) not in self._left_ended
        }

    def _is_obeyed(self, revision: int, tenant: str | None) -> bool:
        """And what went with this revision, or after it, has ended. ``tenant``: nobody else's
        changes matter.
        """
        if tenant is not None:
            return self._sent_revision >= revision and not any(
                tenant in those
                for those in (self._unconfirmed, self._unserved(), self._left_to_end())
            )
        return self._obeyed_revision >= revision and not any(
            self._ending_since.get(ending_id, 0) >= revision for ending_id in self._left_to_end()
        )

    async def _tell(self) -> None:
        async with self._obeyed:
            self._obeyed.notify_all()

    async def published(self, revision: int, *, timeout_s: float, tenant: str | None = None) -> int:
        """Wait until changes up to ``revision`` (of ``tenant``, or of all) are obeyed; the
        generation they are in. Raises ``UnavailableError``.
        """
        self.wake()
        try:
            async with asyncio.timeout(timeout_s), self._obeyed:
                await self._obeyed.wait_for(lambda: self._is_obeyed(revision, tenant))
        except TimeoutError as error:
            msg = "the change is stored, and not yet obeyed everywhere" + (
                f": {self.problems[0]}" if self.problems else ""
            )
            raise UnavailableError(msg) from error
        return self.generation

    # --- reading --------------------------------------------------------------------------------

    async def _look(self) -> bool:
        """True where there may be something new to publish."""
        is_changed = False
        if self._files is not None:
            everything, self._everything = self._everything, False
            is_changed = await in_background(self._files.refresh, everything=everything)
            self._note("files", self._files.problems)
        try:
            revision, _ = await self._database.revision()
            if revision != self._revision or (
                self._closed and time.monotonic() >= self._open_again_at
            ):
                await self._read_database()
                is_changed = True
            self._note("sql", ())
        except (UnavailableError, ConfigError) as error:
            self._note("sql", (str(error),))
        if is_changed and self._revision >= 0:
            await self._merge()
        return is_changed

    async def _read_database(self) -> None:
        changes = await self._database.changed(self._stamps)
        self._rows = await in_background(self._merged_rows, changes)
        old_credentials = {
            tenant: self._credentials[tenant]
            for tenant in changes.closed
            if tenant in self._credentials
        }
        self._stamps, self._credentials, self._removals, self._revision = (
            changes.stamps,
            changes.credentials | old_credentials,
            changes.removals,
            changes.revision,
        )
        self._lost = changes.lost
        self._closed, self._open_again_at = frozenset(changes.closed), time.monotonic() + CLOSED_S
        self._note(
            "closed",
            tuple(
                f"tenant {tenant} stays as it was: {why}"
                for tenant, why in sorted(changes.closed.items())
            ),
        )

    def _merged_rows(self, changes: Changes) -> dict[str, Record]:
        fresh = changes.records()
        return {tenant: fresh.get(tenant) or self._rows[tenant] for tenant in changes.stamps}

    async def _merge(self) -> None:
        records, clashes = await in_background(self._merged)
        self._note("claims", clashes)
        if not clashes:
            self._records = records

    def _merged(self) -> tuple[dict[str, Record], tuple[str, ...]]:
        """All tenants by id, and what keeps them from being one set."""
        files = dict(self._files.records) if self._files is not None else {}
        both = sorted(files.keys() & self._rows.keys())
        if both:
            return {}, tuple(
                (
                    f"tenant {tenant} is in tenants.directory and in SQL: remove it from one "
                    f"(gateway tenants delete {tenant})"
                )
                for tenant in both
            )
        for tenant in self._files.provisioned if self._files is not None else ():
            if tenant in files and tenant in self._credentials:
                files[tenant] = self._complete(files[tenant], self._credentials[tenant])
        records = {
            tenant: without_routes(record, self._lost.get(tenant, ()))
            for tenant, record in sorted({**files, **self._rows}.items())
        }
        if self._records is not None and same_names(self._records, records):
            return records, ()
        return records, conflicts(
            records.values(), self._config, named={tenant: f"{tenant} (file)" for tenant in files}
        )

    def _complete(self, record: Record, credentials: Credentials) -> Record:
        entry = self._completed.get(record.id)
        if entry is None or entry[:2] != (record.digest, credentials):
            entry = self._completed[record.id] = (
                record.digest,
                credentials,
                with_credentials(record, credentials),
            )
        return entry[2]

    # --- publishing -----------------------------------------------------------------------------

    async def _publish_quietly(self) -> None:
        if self._records is None:
            return
        try:
            await self._publish(self._records)
            self._note("redis", ())
            self._note("key_ring", ())
        except OtherKeyRingError as error:
            self._note("key_ring", (f"the tenant snapshot in Redis is {error}: {_KEY_RING}",))
        except (GatewayError, SnapshotError) as error:
            self._note("redis", (f"the tenant snapshot could not be published: {error}",))

    async def _publish(self, records: dict[str, Record]) -> None:
        revision = self._revision
        there = await snapshot.stored_generation(self._store)
        adopted = there > self.generation
        if adopted:
            # A predecessor's, or another admin process': adopted if it says the same.
            lost_tenants = await self._narrowed_by_another(records)
            self._unconfirmed |= dict.fromkeys(lost_tenants, there)
            other_manifest = await self._found()
            self._sent = (
                await self._found_records(other_manifest, records)
                if other_manifest is not None
                else {}
            )
            self._unconfirmed |= dict.fromkeys(
                other_manifest.left if other_manifest is not None else (), there
            )
            self._manifest, self._ended, self._is_anothers = other_manifest, set(), True
        else:
            lost_tenants = frozenset()
        served_records, new_manifest = await self._planned(records, lost_tenants)
        ending = new_manifest.ending
        self._ending_since = {tenant: self._ending_since.get(tenant, revision) for tenant in ending}
        damaged = await self._is_damaged(there)
        if (
            self._manifest is None
            or damaged
            or there < self.generation
            or self._manifest != new_manifest
            or self._sealer.is_retired(self._manifest.sealed_with)
        ):
            if self._is_anothers and (
                self._closed or (await self._database.revision())[0] != revision
            ):
                return  # read first: the next look is soon
            await self._write(served_records, new_manifest, there, whole=damaged)
        self._is_anothers = False
        if "claims" not in self._problems:
            self._sent_revision = max(self._sent_revision, revision)
            self._withheld = self._closed
        if self._unconfirmed or self._sent_revision > self._recorded_revision:
            self._to_confirm.set()
        if ending:
            self._to_end.set()

    async def _planned(
        self, records: dict[str, Record], lost: frozenset[str]
    ) -> tuple[dict[str, Record], Manifest]:
        """``_wanted``, which looks at every tenant, made again only where something that it is made
        from is another: records, removals and manifest are replaced, and never changed.
        """
        replaced = (records, self._removals, self._manifest)
        compared = (frozenset(self._ended), frozenset(self._left_ended), lost)
        plan = self._plan
        if (
            plan is None
            or any(one is not other for one, other in zip(plan.replaced, replaced, strict=True))
            or plan.compared != compared
        ):
            result = await in_background(self._wanted, records, lost)
            plan = self._plan = _Plan(replaced, compared, *result)
        return plan.served, plan.wanted

    def _wanted(
        self, records: dict[str, Record], lost: Collection[str]
    ) -> tuple[dict[str, Record], Manifest]:
        """Who is to be served, and the manifest that says so. ``lost``: tenants of which something
        was taken, by whom nobody knows.
        """
        removals = {
            tenant: self._removals[tenant]
            for tenant in sorted(records.keys() & self._removals.keys())
        }
        ending = self._ending(records, removals)
        served_records = {
            tenant: record for tenant, record in records.items() if tenant not in ending
        }
        return served_records, Manifest(
            self.generation,
            {tenant: record.digest for tenant, record in served_records.items()},
            {tenant: count for tenant, count in removals.items() if tenant not in ending},
            ending,
            dict(self._leaving(served_records, lost)),
        )

    def _leaving(
        self, served: Mapping[str, Record], lost: Collection[str]
    ) -> Iterator[tuple[str, dict[str, int]]]:
        """As ``Manifest.left`` has it; 0 is the generation that is about to be written."""
        before = self._manifest.digests if self._manifest is not None else dict.fromkeys(lost, "")
        for tenant in served.keys() & before.keys():
            departures = self._left(tenant)
            if served[tenant].digest != before[tenant]:
                departures |= dict.fromkeys(
                    left_providers(self._sent.get(tenant), served[tenant]), 0
                )
            if departures:
                yield tenant, departures

    def _ending(self, records: Mapping[str, Record], removals: Mapping[str, int]) -> frozenset[str]:
        """Ids under which somebody was served who is not there any more, or another one is, until
        everything of theirs has ended.
        """
        if self._manifest is None:
            return frozenset()
        before = self._manifest.removals
        gone_ids = (
            tenant
            for tenant in self._manifest.digests
            if tenant not in records or before.get(tenant, 0) != removals.get(tenant, 0)
        )
        return (self._manifest.ending - self._ended) | frozenset(gone_ids)

    async def _narrowed_by_another(self, records: dict[str, Record]) -> frozenset[str]:
        """Tenants that may have lost something in a snapshot of somebody else: who wrote it may be
        waiting still, or be gone.
        """
        if self._manifest is not None:
            return await in_background(
                narrowed, self._sent, records, unknown=self._manifest.digests
            )
        _, obeyed = await self._database.revision()
        return frozenset(records) if obeyed < self._revision else frozenset()

    async def _found(self) -> Manifest | None:
        """What a predecessor left, so that a restart publishes nothing new; None where it cannot be
        read. Raises ``OtherKeyRingError``: who has another key ring replaces nothing.
        """
        try:
            return await snapshot.read_manifest(self._store, self._sealer)
        except OtherKeyRingError:
            raise
        except SnapshotError:
            return None

    async def _found_records(
        self, found: Manifest, records: Mapping[str, Record]
    ) -> dict[str, Record]:
        """What somebody else published of the tenants in ``records``, as far as it can be read:
        what a tenant had before it was changed is known from there alone.
        """
        there = {tenant: found.digests[tenant] for tenant in found.digests.keys() & records.keys()}
        same = {t: records[t] for t, digest in there.items() if records[t].digest == digest}
        changed_digests = {tenant: there[tenant] for tenant in there.keys() - same.keys()}
        try:
            ciphertexts = await snapshot.read_records(self._store, changed_digests.values())
            by_digest = await in_background(snapshot.open_records, self._sealer, ciphertexts)
        except SnapshotError:
            return same
        return same | {tenant: by_digest[digest] for tenant, digest in changed_digests.items()}

    async def _is_damaged(self, there: int) -> bool:
        """Whether somebody cannot read the snapshot ``there``. Not again and again: what does not
        help once would keep every replica reading.
        """
        if (
            there == 0
            or await snapshot.unreadable_generation(self._store) != there
            or time.monotonic() < self._repair_again_at
        ):
            return False
        self._repair_again_at = time.monotonic() + REPAIR_S
        return True

    async def _write(
        self, records: dict[str, Record], wanted: Manifest, there: int, *, whole: bool
    ) -> None:
        """``whole``: records that should be there already, too."""
        by_digest = {record.digest: record for record in records.values()}
        present = await snapshot.present(self._store)
        # Who starts later must open all of it, and the key that wrote the last one goes one day.
        again = whole or self._manifest is None or self._manifest.sealed_with != self._sealer.kid
        missing_digests = by_digest.keys() - (set() if again else present)
        await snapshot.write_records(
            self._store, self._sealer, (by_digest[digest] for digest in missing_digests)
        )
        # Counting from the clock, a number stays above all before it even where SQL and Redis were
        # both lost.
        at_least = max(there, self.generation, int(self._clock() * 1000))
        try:
            generation = await self._database.next_generation(at_least=at_least)
        except UnavailableError:
            generation = at_least + 1
        departures = {
            tenant: {name: since or generation for name, since in providers.items()}
            for tenant, providers in wanted.left.items()
        }
        manifest = replace(
            wanted, generation=generation, left=departures, sealed_with=self._sealer.kid
        )
        if not await snapshot.write_manifest(self._store, self._sealer, manifest, over=there):
            msg = f"another admin process published a snapshot above {there} meanwhile"
            raise SnapshotError(msg)
        before, self._manifest = self._manifest, manifest
        self._ended &= manifest.ending
        self._left_ended &= {
            (tenant, name, since)
            for tenant, providers in manifest.left.items()
            for name, since in providers.items()
        }
        narrowed_ids = await in_background(
            narrowed, self._sent, records, unknown=before.digests if before is not None else {}
        )
        leaving = {tenant for tenant in departures if generation in departures[tenant].values()}
        self._unconfirmed |= dict.fromkeys(narrowed_ids | leaving, generation)
        self._sent = records
        keep = set(by_digest) | (set(before.digests.values()) if before is not None else set())
        await snapshot.drop_records(self._store, present - keep)
        log.info(
            "tenants_published",
            extra=fields(
                tenants=len(records),
                generation=generation,
                written=len(missing_digests),
                narrowed=len(narrowed_ids),
            ),
        )

    def _note(self, kind: str, problems: tuple[str, ...]) -> None:
        if problems:
            self._problems[kind] = problems
        else:
            self._problems.pop(kind, None)
