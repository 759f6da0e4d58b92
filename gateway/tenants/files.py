"""Tenants from a folder of YAML (GitOps).

Rules:
- At start-up every mistake in every file is one ``ConfigError``; nothing is served half.
- While running, a file that is broken keeps its last good tenant; a set in which two claim one
  name, an unreadable folder or one that lost all its files keeps the whole old set. Each complaint
  is said once, and again in ``problems``.
- A file is read again when its modification time, size or inode changed; ``read_again`` (SIGHUP)
  reads all of them, since ``env:`` and ``file:`` secrets can change without the file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from gateway.background import forever
from gateway.config.yaml import explain_validation, parse_yaml, read_raw, text_of
from gateway.core.tenants import TenantTable, same_names
from gateway.errors import ConfigError
from gateway.log import fields
from gateway.metrics import TENANT_CONFIG_ERRORS
from gateway.tenants.document import TenantDocument
from gateway.tenants.offload import in_background, woken
from gateway.tenants.remembered import key_of
from gateway.tenants.secrets import complete
from gateway.tenants.snapshot_record import Builder, record_of
from gateway.tenants.validation import conflicts, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.config.model import Config
    from gateway.tenants.remembered import Known, RememberedFiles
    from gateway.tenants.snapshot_record import Record

SUFFIXES = (".yaml", ".yml")
MANY = 100
"""Files that were parsed: from here on it is worth a tenth of a second to remember them all."""
POLL_S = 0.25
SLOWEST_POLL_S = 0.6
"""A change is live within a second; a folder of ten thousand files takes 20 to 40 ms to look at."""

log = logging.getLogger(__name__)


Stamp = tuple[int, int, int]
"""Modification time in ns, size, inode."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    stamp: Stamp
    record: Record | None
    """The last good one; None where there never was."""
    provisioned: bool
    problem: str
    key: bytes = b""
    """Of its bytes, see ``remembered``; empty where another reading may say something else."""


def parse_document(path: Path) -> TenantDocument:
    """One file by itself; a secret may be ``***``. Raises ``ConfigError`` with file, key, value and
    what is allowed, one line for each mistake.
    """
    return _parsed(path, read_raw(path))


def _parsed(path: Path, raw: bytes) -> TenantDocument:
    try:
        return TenantDocument.model_validate(parse_yaml(text_of(path, raw), source=str(path)))
    except ValidationError as error:
        raise ConfigError(explain_validation(str(path), error, TenantDocument)) from error


def parse_file(path: Path, config: Config) -> TenantDocument:
    """One file that this gateway can serve. Raises ``ConfigError``."""
    return _served(path, read_raw(path), config)


def _served(path: Path, raw: bytes, config: Config) -> TenantDocument:
    tenant = _parsed(path, raw)
    try:
        complete(tenant)
    except ValueError as error:
        raise ConfigError(
            "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        ) from error
    wrong = problems(tenant, config)
    if wrong:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in wrong))
    return tenant


def read_folder(folder: Path, config: Config) -> dict[Path, TenantDocument]:
    """Every file of a folder. Raises ``ConfigError`` with all mistakes of all files, names claimed
    twice among them.
    """
    documents: dict[Path, TenantDocument] = {}
    wrong: list[str] = []
    for path in scan_folder(folder):
        try:
            documents[path] = parse_file(path, config)
        except ConfigError as error:
            wrong.append(str(error))
    if not wrong:
        wrong.extend(
            _clashes(
                {path: record_of(document, None) for path, document in documents.items()}, config
            )
        )
    if wrong:
        raise ConfigError("\n".join(wrong))
    return documents


def scan_folder(folder: Path) -> dict[Path, Stamp]:
    """The tenant files, by name. Raises ``ConfigError``."""
    return {folder / name: stamp for name, stamp in sorted(_scan(folder).items())}


def _scan(folder: Path) -> dict[str, Stamp]:
    """By name. Some microseconds a file: this is what happens four times a second."""
    stamps = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(SUFFIXES) and name[0] != "." and entry.is_file():
                    stat = entry.stat()
                    stamps[name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except FileNotFoundError as error:
        if folder.is_dir():
            return _scan(folder)  # a file went between listing and looking
        raise _unreadable(folder, error) from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    return stamps


def _unreadable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"tenants.directory: {folder}: cannot be read: {error.strerror}")


def _clashes(records: Mapping[Path, Record], config: Config) -> list[str]:
    by_id: dict[str, Path] = {}
    for path, record in records.items():
        if record.id in by_id:
            return [f"{path}: id (is {record.id!r}): already used by {by_id[record.id]}"]
        by_id[record.id] = path
    return list(
        conflicts(
            records.values(),
            config,
            named={tenant: f"{tenant} ({path})" for tenant, path in by_id.items()},
        )
    )


class TenantFiles:
    """The folder as records. ``refresh`` is synchronous and slow: call it in a thread."""

    def __init__(
        self, folder: Path, config: Config, remembered: RememberedFiles | None = None
    ) -> None:
        self._folder = folder
        self._config = config
        self._remembered = remembered
        self._known: Known = {}
        """What the files said before the start, during it."""
        self._parsed = 0
        self._seen: dict[str, Stamp] = {}
        self._scan_s = 0.0
        self._abandoned = False
        self._loaded: dict[str, _Loaded] = {}
        """By the name of the file."""
        self._agreed: dict[str, Record] = {}
        """By the name of the file: the last set in which no two claimed one name."""
        self.records: dict[str, Record] = {}
        """By id; the last set that could be served."""
        self.provisioned: frozenset[str] = frozenset()
        """Tenants whose client SQL must supply."""
        self.problems: tuple[str, ...] = ()

    def abandon(self) -> None:
        """The process ends: a thread that reads thousands of files is to stop at the next."""
        self._abandoned = True

    def load(self) -> None:
        """First time. Raises ``ConfigError``."""
        if self._remembered is not None:
            self._known = self._remembered.read()
        self.refresh(everything=True)
        self._known = {}
        if self.problems:
            raise ConfigError("\n".join(self.problems))

    @property
    def pause_s(self) -> float:
        """How long to wait before looking again: looking takes a tenth of the time at most."""
        return min(max(POLL_S, 10 * self._scan_s), SLOWEST_POLL_S)

    def refresh(self, *, everything: bool) -> bool:
        """Read what changed (or all); True where ``records`` did. Complaints go to ``problems``."""
        began = time.monotonic()
        try:
            stamps = _scan(self._folder)
            self._scan_s = time.monotonic() - began
        except ConfigError as error:
            self.problems, self._seen = (str(error),), {}
            return False
        if not everything and stamps == self._seen:
            return False
        self._seen = stamps
        if not stamps and self.records:
            self.problems = (
                (
                    f"tenants.directory: {self._folder}: holds no tenant file any more; the "
                    f"{len(self.records)} tenants read before are kept"
                ),
            )
            return False
        loaded_now: dict[str, _Loaded] = {}
        self._parsed = 0
        for name, stamp in sorted(stamps.items()):
            if self._abandoned:
                return False
            before = self._loaded.get(name)
            loaded_now[name] = (
                before
                if before is not None and before.stamp == stamp and not everything
                else self._load(self._folder / name, stamp, before)
            )
        self._loaded = loaded_now
        if self._parsed >= MANY:
            self._remember()
        wrong = [file.problem for file in self._loaded.values() if file.problem]
        records = {
            name: file.record for name, file in self._loaded.items() if file.record is not None
        }
        clashes = (
            []
            if same_names(self._agreed, records)
            else _clashes(
                {self._folder / name: record for name, record in records.items()}, self._config
            )
        )
        self.problems = (*wrong, *clashes)
        if clashes:
            return False
        self._agreed = records
        return self._take(records)

    def _take(self, records: Mapping[str, Record]) -> bool:
        before, self.records = self.records, {record.id: record for record in records.values()}
        self.provisioned = frozenset(
            file.record.id
            for file in self._loaded.values()
            if file.record is not None and file.provisioned
        )
        return before != self.records

    def _load(self, path: Path, stamp: Stamp, before: _Loaded | None) -> _Loaded:
        try:
            raw = read_raw(path)
            key = key_of(raw)
            if before is not None and key and before.key == key:
                return replace(before, stamp=stamp)
            if (entry := self._known.get(key)) is not None:
                return _Loaded(stamp, *entry, "", key)
            document = _served(path, raw, self._config)
            self._parsed += 1
        except ConfigError as error:
            return _Loaded(
                stamp,
                before.record if before else None,
                before.provisioned if before else False,
                str(error),
            )
        return _Loaded(stamp, record_of(document, None), document.client == "managed", "", key)

    def _remember(self) -> None:
        if self._remembered is not None:
            self._remembered.write(
                (file.key, file.record, file.provisioned)
                for file in self._loaded.values()
                if file.key and file.record is not None
            )


class FileTenants:
    """The table of files alone, where there is no snapshot."""

    def __init__(
        self, config: Config, *, changed: Callable[[TenantTable], None] = lambda _: None
    ) -> None:
        """Reads the folder. Raises ``ConfigError``. ``changed`` is called on the loop after each
        swap.
        """
        if config.tenants.directory is None:
            msg = "tenants.directory: required where there is no admin role to read tenants from"
            raise ConfigError(msg)
        self._config = config
        self._files = TenantFiles(config.tenants.directory, config)
        self._files.load()
        self._changed = changed
        self._wake = asyncio.Event()
        self._builder = Builder(config)
        self._table = self._build(None)

    @property
    def table(self) -> TenantTable:
        return self._table

    @property
    def records(self) -> Mapping[str, Record]:
        """The tenants being served, as they were read."""
        return self._files.records

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files now; what is served is the last that was right."""
        return self._files.problems

    def read_again(self) -> None:
        """Read every file again soon: SIGHUP."""
        self._wake.set()

    async def watch(self) -> None:
        """Until cancelled: look for changes, swap the table when there are any."""
        try:
            await forever(self._watch)
        finally:
            self._files.abandon()

    async def _watch(self) -> None:
        while True:
            everything = await woken(self._wake, within_s=self._files.pause_s)
            old_problems = self._files.problems
            if await in_background(self._files.refresh, everything=everything):
                self._table = await in_background(self._build, self._table)
                log.info(
                    "tenants_changed",
                    extra=fields(
                        tenants=len(self._table), source=str(self._config.tenants.directory)
                    ),
                )
                self._changed(self._table)
            complain("files", old_problems, self._files.problems, again=everything)

    def _build(self, before: TenantTable | None) -> TenantTable:
        records = self._files.records
        self._builder = self._builder.successor(
            {record.digest: record for record in records.values()}
        )
        generation = before.generation + 1 if before is not None else 1
        return TenantTable.lazy(
            records.values(),
            self._builder,
            shared_hosts=self._config.shared_hosts,
            login_host=self._config.login_host,
            generation=generation,
            before=before,
        )


def complain(
    source: Literal["files", "publisher", "snapshot"],
    before: tuple[str, ...],
    now: tuple[str, ...],
    *,
    again: bool,
) -> None:
    """Each problem is logged when it appears; ``again`` (somebody asked) repeats those that stayed.
    The metric counts those that stand.
    """
    TENANT_CONFIG_ERRORS.labels(source).set(len(now))
    for problem in now:
        if again or problem not in before:
            log.error("tenant_config_invalid", extra=fields(problem=problem))
    if before and not now:
        log.info("tenant_config_recovered")
