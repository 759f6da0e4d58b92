"""The key ring as its file holds it now, and the three steps of a rotation.

stage     a new key is added last: every process reads with it, none writes promote   it becomes the
first, once every process has said that it reads with it; the former first is retired. A key that
          signs assertions begins later: applications have its public half from a cache, and must
          have seen it before
prune     a retired key goes when nothing that it wrote can still be alive; of a ring that was
          stolen, at once

Between stage and promote a process that does not know the key yet would take a valid session for
none: hence the confirmations.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.config.file_stamp import stamp
from gateway.config.owned_files import create
from gateway.errors import ConfigError, UnavailableError
from gateway.keys import ring as keys
from gateway.keys.assertion import PUBLISHED_BEFORE_S
from gateway.keys.ring import SigningKey
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from gateway.config.file_stamp import Stamp
    from gateway.keys.envelope import Wrapping
    from gateway.keys.ring import Key, KeyRing

KINDS: Final = ("sealing", "assertion", "database")
POLL_S: Final = 1.0
"""How soon a process reads with a staged key."""
RETRY_S: Final = 30.0
"""The longest pause before a file that could not be read is tried again: a key service that refuses
is not asked each second for hours.
"""

_log = logging.getLogger(__name__)


class KeyFile:
    """Call it for the ring. A file that cannot be read any more, or holds another ring, keeps the
    old one and says so once.
    """

    def __init__(self, path: Path, *, create: bool, wrapping: Wrapping | None = None) -> None:
        self.path = path
        self._wrapping = wrapping
        self._ring = keys.load(path, create=create, wrapping=wrapping)
        self._seen = stamp(self.path)
        self._unread = False
        self.problem = ""
        """Why the file as it is now is not the ring that is used."""
        self.changed: list[Callable[[KeyRing], None]] = []

    def __call__(self) -> KeyRing:
        return self._ring

    def look(self) -> bool:
        """Read the file again if it changed; whether the ring is another one now."""
        current_stamp = stamp(self.path)
        return (self._unread or current_stamp != self._seen) and self._take(
            current_stamp, self._read()
        )

    def _read(self) -> KeyRing | ConfigError | UnavailableError:
        """May wait for a disk, and for what decrypts the file."""
        try:
            return keys.load(self.path, create=False, wrapping=self._wrapping)
        except (ConfigError, UnavailableError) as error:
            return error

    def _take(self, seen: Stamp | None, read: KeyRing | ConfigError | UnavailableError) -> bool:
        """What cannot be read is tried again at a later look: credentials, rights at the key
        service and the file's mode may come back without a change of the file.
        """
        self._seen, self._unread = seen, isinstance(read, Exception)
        try:
            if isinstance(read, Exception):
                raise read
            ring = read
            _check_successor(self._ring, ring, self.path)
        except (ConfigError, UnavailableError) as error:
            if str(error) != self.problem:
                self.problem = str(error)
                _log.error("key_ring_reload_failed", extra=fields(error=self.problem))
            return False
        self._ring, self.problem = ring, ""
        _log.info(
            "key_ring_reloaded",
            extra=fields(**{kind: [key.kid for key in getattr(ring, kind)] for kind in KINDS}),
        )
        for tell in self.changed:
            tell(ring)
        return True

    async def watch(self) -> None:
        """Until cancelled."""
        pause = again = 0.0
        while True:
            await asyncio.sleep(POLL_S)
            # A mount that hangs holds up a thread, and not the checks.
            current_stamp = await asyncio.to_thread(stamp, self.path)
            if current_stamp != self._seen:
                pause = POLL_S
            elif self._unread and time.monotonic() >= again:
                pause = min(2 * pause, RETRY_S)
            else:
                continue
            self._take(current_stamp, await asyncio.to_thread(self._read))
            again = time.monotonic() + pause


def _check_successor(ring: KeyRing, fresh: KeyRing, path: Path) -> None:
    """A rotation retires the key that writes, and drops none that wrote until just now: a ring
    without it is another one, with which nobody would be signed in. Raises ``ConfigError``.
    """
    for kind in KINDS:
        kid = getattr(ring, kind)[0].kid
        if kid not in {key.kid for key in getattr(fresh, kind)}:
            msg = (
                f"{path}: is another key ring: it lacks the {kind} key {kid}, which writes "
                "now. The one of before is used until this process ends; put it back"
            )
            raise ConfigError(msg)


def is_in_memory(path: Path, *, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether the file is on a file system that a reboot empties; False where that is unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        folder = path.parent.resolve()
    except OSError:
        return False
    deepest, kind = -1, ""
    for line in lines:
        _device, point, file_system, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        if folder.is_relative_to(mounted) and len(mounted.parts) >= deepest:
            deepest, kind = len(mounted.parts), file_system
    return kind in {"tmpfs", "ramfs"}


def staged(ring: KeyRing, kind: str) -> Key | SigningKey | None:
    """The key that has yet to begin writing."""
    waiting = (key for key in getattr(ring, kind)[1:] if not key.retired_at and not key.compromised)
    return next(waiting, None)


def stage(ring: KeyRing, kind: str) -> KeyRing:
    """With a new key that reads; unchanged where one is staged already."""
    if staged(ring, kind) is not None:
        return ring
    fresh: Any = keys.new_signing_key() if kind == "assertion" else keys.new_key()
    return _with(ring, kind, (*getattr(ring, kind), fresh))


def stage_apart(ring: KeyRing, kind: str) -> KeyRing:
    """With a new key, where somebody else has all that are there, staged ones too: those are
    marked. Unchanged where that was done already.
    """
    if has_compromised(ring, kind):
        return ring
    return stage(
        _with(ring, kind, tuple(replace(key, compromised=True) for key in getattr(ring, kind))),
        kind,
    )


def promote(ring: KeyRing, kind: str, *, now: int, compromised: bool = False) -> KeyRing:
    """The staged key writes from now on, or signs once it was published for long enough. Where
    somebody else has the others, it signs at once. Raises ``ValueError`` where none is staged.
    """
    fresh = staged(ring, kind)
    if fresh is None:
        msg = f"{kind}: no key is staged"
        raise ValueError(msg)
    first, *others = getattr(ring, kind)
    begins = now
    if isinstance(fresh, SigningKey):
        begins = now + (0 if compromised else PUBLISHED_BEFORE_S)
        fresh = replace(fresh, writes_from=begins)
    former = (
        replace(first, retired_at=begins),
        *(key for key in others if key.kid != fresh.kid),
    )
    if compromised:
        former = tuple(replace(key, compromised=True) for key in former)
    return _with(ring, kind, (fresh, *former))


def prune(
    ring: KeyRing, kind: str, *, before: int, needed: Collection[str] = frozenset()
) -> KeyRing:
    """Without the keys that stopped writing before ``before``, but for those ``needed`` still."""
    return _with(
        ring,
        kind,
        tuple(
            key
            for key in getattr(ring, kind)
            if key.kid in needed or not 0 < key.retired_at < before
        ),
    )


def has_compromised(ring: KeyRing, kind: str) -> bool:
    return any(key.compromised for key in getattr(ring, kind))


def drop_compromised(ring: KeyRing, kind: str) -> KeyRing:
    """Without them, whatever still needs them."""
    return _with(ring, kind, tuple(key for key in getattr(ring, kind) if not key.compromised))


def _with(ring: KeyRing, kind: str, entries: tuple[Any, ...]) -> KeyRing:
    changes: Any = {kind: entries}
    return replace(ring, **changes)


@contextlib.contextmanager
def editing(path: Path, wrapping: Wrapping | None = None) -> Iterator[Callable[[KeyRing], None]]:
    """Alone with the file; call what is given to replace it whole (0600, never half-written)."""

    def save(ring: KeyRing) -> None:
        text = keys.file_text(ring, wrapping)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
        try:
            with os.fdopen(create(temporary), "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            msg = f"{path}: the key ring cannot be written: {error.strerror}"
            raise ConfigError(msg) from error

    try:
        lock = create(path.with_name(f"{path.name}.lock"), flags=0)
    except OSError as error:
        msg = f"{path}: the key ring cannot be written: {error.strerror}"
        raise ConfigError(msg) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"{path}: another rotation is under way"
            raise ConfigError(msg) from error
        yield save
    finally:
        os.close(lock)
