"""The key ring: one JSON file, shared by all replicas, that holds every long-lived secret of the
gateway itself.

``sealing``    32 bytes each: HKDF salt of session sealing, HMAC of index entries, sealed display
records and snapshots ``assertion``  EC P-256 private keys (PEM): sign the identity assertion handed
to apps ``database``   32 bytes each: encrypt secrets at rest in SQL

In each list the first entry writes (of ``assertion`` the first whose ``writes_from`` has come);
every entry reads. An entry with ``retired_at`` wrote until then; any other entry that is not the
first has yet to begin (see ``key_file``).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config.owned_files import create as create_file
from gateway.errors import ConfigError
from gateway.keys.envelope import is_envelope

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.keys.envelope import Opening, Wrapping

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """A named symmetric key. ``repr`` shows the id only."""

    kid: str
    material: bytes = field(repr=False)
    retired_at: int = 0
    """UTC epoch seconds when it stopped writing; 0 while it writes or has yet to begin."""
    compromised: bool = False
    """Retired, and to be dropped as soon as no process writes with it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A named EC P-256 private key. ``repr`` shows the id only."""

    kid: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)
    retired_at: int = 0
    writes_from: int = 0
    """UTC epoch seconds: published since before then, it signs from then on; 0 for the first key of
    a ring.
    """
    compromised: bool = False


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys; the first of each tuple is the one that writes."""

    sealing: tuple[Key, ...]
    assertion: tuple[SigningKey, ...]
    database: tuple[Key, ...]


def new_kid() -> str:
    """Eight characters: short enough to travel with every sealed value, unique enough within one
    ring.
    """
    return secrets.token_hex(4)


def new_key() -> Key:
    return Key(new_kid(), secrets.token_bytes(KEY_BYTES))


def new_signing_key() -> SigningKey:
    return SigningKey(new_kid(), ec.generate_private_key(ec.SECP256R1()))


def generate() -> KeyRing:
    """A fresh ring with one key of each kind."""
    return KeyRing(sealing=(new_key(),), assertion=(new_signing_key(),), database=(new_key(),))


def dump(ring: KeyRing) -> str:
    """The file's text."""

    def retired(key: Key | SigningKey) -> dict[str, int]:
        times = {
            "retired_at": key.retired_at,
            "writes_from": key.writes_from if isinstance(key, SigningKey) else 0,
            "compromised": key.compromised,
        }
        return {name: at for name, at in times.items() if at}

    def symmetric(keys: tuple[Key, ...]) -> list[dict[str, str | int]]:
        return [
            {"kid": k.kid, "key": base64.b64encode(k.material).decode("ascii"), **retired(k)}
            for k in keys
        ]

    def pem(key: SigningKey) -> str:
        return key.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode("ascii")

    return json.dumps(
        {
            "sealing": symmetric(ring.sealing),
            "assertion": [{"kid": k.kid, "pem": pem(k), **retired(k)} for k in ring.assertion],
            "database": symmetric(ring.database),
        },
        indent=1,
    )


def parse_key_ring(text: str, *, source: str) -> KeyRing:
    """Inverse of ``dump``; raises ``ConfigError`` that names ``source`` and never quotes it."""
    try:
        document = json.loads(text)

        def symmetric(name: str) -> tuple[Key, ...]:
            keys = tuple(
                Key(
                    str(e["kid"]),
                    base64.b64decode(e["key"], validate=True),
                    int(e.get("retired_at", 0)),
                    bool(e.get("compromised")),
                )
                for e in document[name]
            )
            if not keys or any(len(k.material) != KEY_BYTES for k in keys):
                msg = name
                raise ValueError(msg)  # noqa: TRY301
            return keys

        signing = []
        for entry in document["assertion"]:
            private = serialization.load_pem_private_key(
                entry["pem"].encode("ascii"), password=None
            )
            if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(
                private.curve, ec.SECP256R1
            ):
                msg = "assertion"
                raise ValueError(msg)  # noqa: TRY301, TRY004
            signing.append(
                SigningKey(
                    str(entry["kid"]),
                    private,
                    int(entry.get("retired_at", 0)),
                    int(entry.get("writes_from", 0)),
                    bool(entry.get("compromised")),
                )
            )
        if not signing:
            msg = "assertion"
            raise ValueError(msg)  # noqa: TRY301
        return KeyRing(symmetric("sealing"), tuple(signing), symmetric("database"))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        msg = f"{source}: not a key ring (make one with: gateway keys rotate --create)"
        raise ConfigError(msg) from error


def load(path: Path, *, create: bool, wrapping: Wrapping | None = None) -> KeyRing:
    """Read the ring; with ``create`` make it on first start (0600, never overwriting one that
    another process made meanwhile). ``wrapping`` encrypts the file, and may have to wait. Raises
    ``ConfigError``, and ``UnavailableError`` of ``wrapping``.
    """
    if create and not os.path.exists(path):  # noqa: PTH110 - False where it cannot be looked at
        _make(path, wrapping)
    return read(path, opening=wrapping)


def read(path: Path, *, opening: Opening | None) -> KeyRing:
    """What ``load`` reads."""
    try:
        status = path.stat()
        if status.st_mode & _forbidden(status.st_uid):
            msg = f"{path}: others can read the key ring (chmod 600)"
            raise ConfigError(msg)
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        msg = f"{path}: the key ring is missing (key_ring.file); all replicas share one"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{path}: the key ring cannot be read: {error.strerror} (key_ring.file)"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: not a key ring (make one with: gateway keys rotate --create)"
        raise ConfigError(msg) from error
    if opening is not None:
        text = opening.open(text, source=str(path))
    elif is_envelope(text):
        msg = f"{path}: is encrypted with AWS KMS: name the key in key_ring.kms"
        raise ConfigError(msg)
    return parse_key_ring(text, source=str(path))


def _make(path: Path, wrapping: Wrapping | None) -> None:
    text = file_text(generate(), wrapping)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        with os.fdopen(create_file(temporary), "w", encoding="ascii") as file:
            file.write(text)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    except OSError as error:
        msg = f"{path}: the key ring cannot be written: {error.strerror} (key_ring.file)"
        raise ConfigError(msg) from error


def _forbidden(owner: int) -> int:
    """Mode bits that the file must not have. Kubernetes mounts a Secret as root's file, and gives
    it to the pod by a group of its own (``fsGroup``, mode 0440): nobody else may read it either.
    """
    return 0o037 if owner == 0 and os.geteuid() != 0 else 0o077


def file_text(ring: KeyRing, wrapping: Wrapping | None) -> str:
    """What the file holds: the ring, or the ring encrypted."""
    return dump(ring) if wrapping is None else wrapping.seal(dump(ring))
