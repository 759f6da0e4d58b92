"""The tenants in Redis: what the admin role publishes and every replica reads. Sealed, numbered,
and small to change.

``gw:{tenants}:generation``  number of the manifest: the cheap thing to poll
``gw:{tenants}:manifest``    sealed: generation, format, and the digest of each tenant's record
``gw:{tenants}:records``     hash, digest → sealed record
``gw:{tenants}:unreadable``  generation that a process could not read, for a minute

Rules:
- A record is named by the digest of what it says, so a changed tenant is one new record, and a
  manifest is never half-true: whoever holds it either has all of its records or sees at once which
  are missing.
- The manifest is replaced only by one with a higher number, in one step with the number.
- Records go into Redis before the manifest that names them, and out only when neither it nor the
  one before does.
- Everything is sealed under the key ring's ``sealing`` keys; a dump names nobody, and who can write
  to Redis forges nothing.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.tenants.offload import in_background
from gateway.tenants.snapshot_record import RECORD_FORMAT, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.keys.ring import KeyRing
    from gateway.tenants.snapshot_record import Record

GENERATION: Final = "gw:{tenants}:generation"
MANIFEST: Final = "gw:{tenants}:manifest"
RECORDS: Final = "gw:{tenants}:records"
UNREADABLE: Final = "gw:{tenants}:unreadable"
CHANNEL: Final = "gw:tenants"
"""The new generation is published here."""
_UNREADABLE_S: Final = 60
"""Who cannot read it says so again and again; after a restart of all of them nobody remembers."""
_NONCE_BYTES: Final = 12
_SEALED_BYTES: Final = _NONCE_BYTES + 16
"""At least: with AES-GCM's tag."""
_BATCH: Final = 200
"""Records in one command, about 200 kB: Redis answers others in between."""
_REPLACE: Final = """
local there = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if there >= tonumber(ARGV[1]) or there > tonumber(ARGV[4]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"""


class Store(Protocol):
    """Redis, one command at a time. Raises ``UnavailableError``."""

    async def command(self, *words: str | bytes | int) -> Any: ...


class SnapshotError(Exception):
    """What is in Redis cannot be used; the message says why, for log and ``/readyz``."""


class MissingError(SnapshotError):
    """There is none."""


class DamagedError(SnapshotError):
    """It was written by us, and is not whole any more: writing it once more helps."""


class OtherKeyRingError(SnapshotError):
    """It was written with a key that is not in the ring."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """``digests`` by tenant id."""

    generation: int
    digests: dict[str, str]
    removals: dict[str, int] = field(default_factory=dict)
    """Of the ids in ``digests``, how often a tenant of that id was deleted before; 0 is left
    out.
    """
    ending: frozenset[str] = frozenset()
    """Ids that were taken out, and whose sessions are not known to have ended yet: nobody is served
    under them before.
    """
    left: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of ids in ``digests``: names of providers whose sessions are not known to have ended yet, and
    the generation since which nobody signs in with them.
    """
    sealed_with: str = field(default="", compare=False)
    """Id of the key that sealed it in Redis, and its records."""


class Sealer:
    """AES-256-GCM under a key derived from the ring; the first key writes, all read."""

    def __init__(self, ring: Callable[[], KeyRing]) -> None:
        self._ring = ring
        self._derived: dict[str, AESGCM] = {}

    @property
    def kid(self) -> str:
        """Of the key that writes now."""
        return self._ring().sealing[0].kid

    def is_retired(self, kid: str) -> bool:
        """Whether this key wrote until a rotation. Not so a key that has yet to begin here, and
        writes elsewhere already.
        """
        return any(key.kid == kid and key.retired_at for key in self._ring().sealing)

    def seal(self, plain: bytes, *, name: str) -> bytes:
        key = self._ring().sealing[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return (
            key.kid.encode("ascii")
            + b"."
            + nonce
            + self._key(key.kid).encrypt(nonce, plain, name.encode("ascii"))
        )

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """Raises ``SnapshotError``."""
        kid, _, rest = sealed.partition(b".")
        if len(rest) < _SEALED_BYTES:
            msg = f"{name.partition(' ')[0]} does not open: it is cut off, or was not written by us"
            raise DamagedError(msg)
        try:
            return self._key(kid.decode("ascii", "replace")).decrypt(
                rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], name.encode("ascii")
            )
        except (InvalidTag, ValueError) as error:
            msg = (
                f"{name.partition(' ')[0]} does not open: it was not written by a gateway with "
                "this key ring"
            )
            raise DamagedError(msg) from error

    def _key(self, kid: str) -> AESGCM:
        derived = self._derived.get(kid)
        if derived is None:
            material = next((key.material for key in self._ring().sealing if key.kid == kid), None)
            if material is None:
                msg = f"sealed with key {kid[:16]!r}, which is not in the key ring (key_ring.file)"
                raise OtherKeyRingError(msg)
            derived = AESGCM(
                HKDF(SHA256(), 32, salt=None, info=b"tenant snapshot").derive(material)
            )
            self._derived[kid] = derived
        return derived


def key_id_of(sealed: bytes) -> str:
    """Of the key that sealed it, whoever has that one."""
    return sealed.partition(b".")[0].decode("ascii", "replace")[:16]


async def snapshot_key_id(store: Store) -> str:
    """Id of the key that the snapshot in Redis needs; empty where there is none."""
    ciphertext = await store.command("GETRANGE", MANIFEST, 0, 64)
    return key_id_of(ciphertext) if ciphertext else ""


async def stored_generation(store: Store) -> int:
    """0 where there is none, or nonsense."""
    return _number(await store.command("GET", GENERATION))


def _number(found: bytes | None) -> int:
    return int(found) if found is not None and found.isdigit() and len(found) < 17 else 0


async def say_unreadable(store: Store, generation: int) -> None:
    """So that the admin role writes all of it once more: it would see nothing itself, since it
    keeps what it wrote.
    """
    await store.command("SET", UNREADABLE, generation, "EX", _UNREADABLE_S)


async def unreadable_generation(store: Store) -> int:
    """Of a snapshot that a process could not read lately; 0 where there is none."""
    return _number(await store.command("GET", UNREADABLE))


async def read_manifest(store: Store, sealer: Sealer) -> Manifest | None:
    """None where there is none. Raises ``SnapshotError`` for one that cannot be used."""
    ciphertext = await store.command("GET", MANIFEST)
    return None if ciphertext is None else await in_background(_open_manifest, sealer, ciphertext)


def _open_manifest(sealer: Sealer, sealed: bytes) -> Manifest:
    try:
        head, *lines = sealer.open(sealed, name="manifest").decode("ascii").split("\n")
        header = json.loads(head)
        if header["format"] != RECORD_FORMAT:
            msg = (
                f"the snapshot has format {header['format']!r}, this release reads "
                f"{RECORD_FORMAT}: run one release in both roles"
            )
            raise SnapshotError(msg)
        digests = dict(line.split(" ") for line in lines)
        return Manifest(
            int(header["generation"]),
            digests,
            dict(header["removals"]),
            frozenset(header["ending"]),
            {tenant: dict(providers) for tenant, providers in header["left"].items()},
            key_id_of(sealed),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = "the manifest is not one"
        raise DamagedError(msg) from error


async def write_manifest(store: Store, sealer: Sealer, manifest: Manifest, *, over: int) -> bool:
    """False where Redis holds the same or a higher generation already, or a higher one than
    ``over``: written by somebody else since it was looked at.
    """
    ciphertext = await in_background(_seal_manifest, sealer, manifest)
    return bool(
        await store.command(
            "EVAL",
            _REPLACE,
            2,
            GENERATION,
            MANIFEST,
            manifest.generation,
            ciphertext,
            CHANNEL,
            over,
        )
    )


def _seal_manifest(sealer: Sealer, manifest: Manifest) -> bytes:
    header = json.dumps(
        {
            "format": RECORD_FORMAT,
            "generation": manifest.generation,
            "removals": manifest.removals,
            "ending": sorted(manifest.ending),
            "left": manifest.left,
        }
    )
    plain = "\n".join(
        (header, *(f"{tenant} {digest}" for tenant, digest in manifest.digests.items()))
    )
    return sealer.seal(plain.encode("ascii"), name="manifest")


async def present(store: Store) -> set[str]:
    """Digests of the records in Redis."""
    names = await store.command("HKEYS", RECORDS)
    return await in_background(lambda: {name.decode("ascii", "replace") for name in names})


async def write_records(store: Store, sealer: Sealer, records: Iterable[Record]) -> None:
    pending = list(records)
    for start in range(0, len(pending), _BATCH):
        words = await in_background(_sealed_records, sealer, pending[start : start + _BATCH])
        await store.command("HSET", RECORDS, *words)


def _sealed_records(sealer: Sealer, records: Iterable[Record]) -> list[str | bytes]:
    """Digest and what is stored under it, of each."""
    words: list[str | bytes] = []
    for record in records:
        words += (record.digest, sealer.seal(encode(record), name=f"record {record.digest}"))
    return words


async def drop_records(store: Store, digests: Iterable[str]) -> None:
    pending = list(digests)
    for start in range(0, len(pending), _BATCH):
        await store.command("HDEL", RECORDS, *pending[start : start + _BATCH])


async def read_records(store: Store, digests: Iterable[str]) -> dict[str, bytes]:
    """Sealed, by digest. Raises ``SnapshotError`` where one is missing: the manifest has been
    replaced meanwhile.
    """
    digest_list = list(digests)
    by_digest: dict[str, bytes] = {}
    for start in range(0, len(digest_list), _BATCH):
        names = digest_list[start : start + _BATCH]
        for name, ciphertext in zip(
            names, await store.command("HMGET", RECORDS, *names), strict=True
        ):
            if ciphertext is None:
                msg = "a record that the manifest names is missing"
                raise DamagedError(msg)
            by_digest[name] = ciphertext
    return by_digest


def open_records(sealer: Sealer, sealed: Mapping[str, bytes]) -> dict[str, Record]:
    """By digest. Takes some microseconds each: for ten thousand, not on the event loop. Raises
    ``SnapshotError``.
    """
    records = {}
    for digest, value in sealed.items():
        try:
            record = decode(sealer.open(value, name=f"record {digest}"))
        except (ValueError, TypeError) as error:
            msg = "a record is not one"
            raise DamagedError(msg) from error
        if record.digest != digest:
            msg = "a record is not the one that was asked for"
            raise DamagedError(msg)
        records[digest] = record
    return records
