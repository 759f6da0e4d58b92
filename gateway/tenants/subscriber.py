"""The tenants as one process serves them: the snapshot in Redis, or files where Redis has none.

Rules:
- The table is swapped whole, after everything that can go wrong has not.
- A generation is never replaced by an older one. Whatever is missing, broken or unreachable changes
  nothing but ``problems``: the last good table goes on serving.
- A new snapshot is noticed by push (``wake``), or by polling where that is lost, and built beside
  the checks, not between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.metrics import TASK_FAILURES
from gateway.tenants.files import FileTenants, complain
from gateway.tenants.offload import in_background, settled, woken
from gateway.tenants.snapshot import (
    DamagedError,
    MissingError,
    Sealer,
    SnapshotError,
    open_records,
    read_manifest,
    read_records,
    say_unreadable,
    stored_generation,
)
from gateway.tenants.snapshot_record import Builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.model import Config
    from gateway.keys.ring import KeyRing
    from gateway.tenants.snapshot import Manifest, Store
    from gateway.tenants.snapshot_record import Record

POLL_S = 2.0
"""While the push is heard: for the one that is lost all the same. One GET of a few bytes."""
DEAF_POLL_S = 0.25
"""While it is not heard: polling is then the only way."""
OBJECTS_OF_A_RECORD = 5
RETRY_S = 0.5
"""After something went wrong: a manifest that does not open is half a megabyte to read again."""

log = logging.getLogger(__name__)


class SnapshotTenants:
    """A ``TenantSource``."""

    def __init__(
        self,
        store: Store,
        ring: Callable[[], KeyRing],
        config: Config,
        *,
        changed: Callable[[TenantTable], None] = lambda _: None,
        poll_s: float = POLL_S,
        deaf_poll_s: float = DEAF_POLL_S,
    ) -> None:
        """``changed`` is called on the loop after each swap."""
        self._store = store
        self._sealer = Sealer(ring)
        self._config = config
        self._changed = changed
        self._poll_s, self._deaf_poll_s = poll_s, deaf_poll_s
        self._hearing = False
        self._records: dict[str, Record] = {}
        self._builder = Builder(config)
        self._table: TenantTable | None = None
        self._files: FileTenants | None = None
        self._wake = asyncio.Event()
        self._swapped = asyncio.Event()
        self._shut = "Redis was not asked yet"
        """Why the snapshot in Redis does not open, or is not known to be missing, where none is
        served yet. Files are no way out: somebody has decided since, and about more tenants.
        """
        self.problems: tuple[str, ...] = ()
        """Why the newest snapshot is not the one being served. Without the files' own; see
        ``all_problems``.
        """

    @property
    def table(self) -> TenantTable:
        """Raises ``UnavailableError`` while there has been neither a snapshot nor a folder, and
        where there is a snapshot that does not open.
        """
        if self._table is not None:
            return self._table
        if self._shut:
            msg = f"the tenant snapshot in Redis is not used: {self._shut}"
            raise UnavailableError(msg)
        if self._files is not None:
            return self._files.table
        msg = "no tenants yet: no snapshot in Redis, and tenants.directory is not set here"
        raise UnavailableError(msg)

    @property
    def generation(self) -> int:
        """Of the snapshot being served; 0 without one."""
        return self._table.generation if self._table is not None else 0

    @property
    def ready(self) -> bool:
        return self._table is not None or (self._files is not None and not self._shut)

    @property
    def count(self) -> int:
        return len(self.table) if self.ready else 0

    @property
    def source(self) -> str:
        """What is being served, for operators."""
        if self._table is not None:
            return f"snapshot {self.generation}"
        if self._shut:
            return "nothing"
        return (
            f"files {self._config.tenants.directory}" if self._files is not None else "nothing yet"
        )

    @property
    def all_problems(self) -> tuple[str, ...]:
        return self.problems + (
            self._files.problems if self._files is not None and self._table is None else ()
        )

    def wake(self) -> None:
        """There may be a new snapshot."""
        self._wake.set()

    def hears(self, standing: bool) -> None:  # noqa: FBT001 - a state, told
        """Whether pushes call ``wake`` from now on. What was published in between is looked for."""
        if standing or self._hearing:
            self.wake()
        self._hearing = standing

    @property
    def _pause_s(self) -> float:
        return RETRY_S if self.problems else self._poll_s if self._hearing else self._deaf_poll_s

    def read_again(self) -> None:
        """SIGHUP: files too."""
        if self._files is not None:
            self._files.read_again()
        self.wake()

    async def replaced(self, table: TenantTable, *, within_s: float) -> bool:
        """Whether another table than this one is served; waits so long for one."""
        if self.table is table:
            self.wake()
            await woken(self._swapped, within_s=within_s)
        return self.table is not table

    async def start(self) -> None:
        """The newest snapshot, else the files. Raises ``ConfigError`` for broken files, where they
        are needed.
        """
        await self.refresh()
        if self._table is None and self._config.tenants.directory is not None:
            self._files = FileTenants(self._config, changed=self._files_changed)
            self._tell(self._files.table)

    async def watch(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._files.watch()) if self._files is not None else None
            while True:
                await woken(self._wake, within_s=self._pause_s)
                await self.refresh()
                if watching is not None and self._table is not None:
                    watching.cancel()
                    complain(
                        "files",
                        self._files.problems if self._files is not None else (),
                        (),
                        again=False,
                    )
                    watching, self._files = None, None

    async def refresh(self) -> bool:
        """Look once; True where the table was swapped. Never raises for what Redis holds or does
        not answer.
        """
        old_problems = self.problems
        try:
            swapped = await self._refresh()
            self.problems, self._shut = (), ""
        except (SnapshotError, UnavailableError) as error:
            swapped = False
            self.problems = (str(error),)
            if isinstance(error, DamagedError):
                await self._say_unreadable()
            if isinstance(error, SnapshotError):
                self._shut = "" if isinstance(error, MissingError) else str(error)
            elif self._shut:
                self._shut = str(error)
        except Exception as error:
            swapped = False
            self.problems = (f"the tenant snapshot could not be read: {type(error).__name__}",)
            if self.problems != old_problems:
                TASK_FAILURES.labels("snapshot_fault").inc()
                log.exception("snapshot_fault")
            if self._table is None:
                self._shut = self.problems[0]
        if self._table is not None or self._config.tenants.directory is None:
            complain("snapshot", old_problems, self.problems, again=False)
        return swapped

    async def _refresh(self) -> bool:
        generation = await stored_generation(self._store)
        if generation == self.generation:
            if generation == 0:
                self._missing()
            return False
        manifest = await read_manifest(self._store, self._sealer)
        if manifest is None:
            msg = f"Redis names snapshot {generation} and does not hold it"
            raise DamagedError(msg)
        if manifest.generation <= self.generation:
            msg = (
                f"Redis holds snapshot {manifest.generation}, older than {self.generation}, "
                "which is being served"
            )
            raise DamagedError(msg)
        ciphertexts = await read_records(
            self._store,
            [digest for digest in manifest.digests.values() if digest not in self._records],
        )
        records, builder, table = await in_background(self._build, manifest, ciphertexts)
        self._records, self._builder, self._table = records, builder, table
        settled(objects=len(ciphertexts) * OBJECTS_OF_A_RECORD)
        log.info(
            "tenants_changed",
            extra=fields(
                tenants=len(table),
                source="snapshot",
                generation=table.generation,
                read=len(ciphertexts),
            ),
        )
        self._tell(table)
        return True

    async def _say_unreadable(self) -> None:
        """Whoever serves another snapshot goes on with it; who has just started has none."""
        with contextlib.suppress(UnavailableError):
            await say_unreadable(self._store, await stored_generation(self._store))

    def _tell(self, table: TenantTable) -> None:
        self._changed(table)
        swapped, self._swapped = self._swapped, asyncio.Event()
        swapped.set()

    def _missing(self) -> None:
        msg = "there is no tenant snapshot in Redis (the admin role publishes one)" + (
            f"; {self.generation} goes on being served" if self.generation else ""
        )
        raise MissingError(msg)

    def _build(
        self, manifest: Manifest, sealed: dict[str, bytes]
    ) -> tuple[dict[str, Record], Builder, TenantTable]:
        new_records = open_records(self._sealer, sealed)
        records = {
            digest: new_records.get(digest) or self._records[digest]
            for digest in manifest.digests.values()
        }
        builder = self._builder.successor(records)
        try:
            table = TenantTable.lazy(
                records.values(),
                builder,
                shared_hosts=self._config.shared_hosts,
                login_host=self._config.login_host,
                generation=manifest.generation,
                before=self._table,
            )
        except ValueError as error:
            msg = f"snapshot {manifest.generation} does not fit this gateway.yaml: {error}"
            raise SnapshotError(msg) from error
        if len(new_records) <= _TRIED:
            for record in new_records.values():
                _try(builder, record)
        return records, builder, table

    def _files_changed(self, table: TenantTable) -> None:
        if self._table is None:
            self._tell(table)


_TRIED = 100
"""Changed tenants that are built before the swap, so that a record of another release keeps the
whole old table. At a start-up with thousands they are built on first use, and one that cannot be is
503 for its own hosts only.
"""


def _try(builder: Builder, record: Record) -> None:
    try:
        builder(record)
    except UnavailableError as error:
        raise SnapshotError(str(error)) from error
