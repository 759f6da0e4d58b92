"""Who signed in, told by the auth role to the admin role: a list in each bucket, written by the
script that makes the session and read by whoever has SQL.

Rules:
- The entry is made in the step that makes the session: there is never one without the other.
- An entry is taken away once it was recorded. Whoever records dies in between: it is read again, so
  recording has to bear that.
- The list is bounded in number and time. Where nobody reads it for long, later logins are left out
  of it, and nobody is kept from signing in.
- Entries are sealed under the ring; only the tenant's id is legible.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from gateway.sessions import seal
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import Session
    from gateway.keys.ring import Key, KeyRing
    from gateway.sessions.connection import RedisClient

VERSION: Final = 1
MAX_WAITING: Final = 10_000
"""Of one bucket: of about a thousandth of all tenants. An entry is about a kilobyte."""
LIFE_S: Final = 7 * 86_400
"""How long the list of a bucket lasts after the last login in it, where no admin role runs."""
FORGET: Final = Script.load("recorded")


@dataclass(frozen=True, slots=True)
class SignIn:
    """One login that made a session."""

    id: str
    """Of no use to open or to name the session."""
    tenant: str
    at: int
    """UTC epoch seconds."""
    began: int
    """Time of the tenant's clock (µs), which never gives one twice: the later of two logins."""
    user: str
    email: str
    username: str
    preferred_username: str
    name: str
    provider: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    idp_subject: str
    oid: str


_FIELDS: Final = tuple(field.name for field in fields(SignIn))


def of_session(session: Session) -> SignIn:
    """The login that made it."""
    who = session.identity
    return SignIn(
        hashlib.sha256(f"sign-in {session.family}".encode()).hexdigest()[:32],
        session.tenant,
        session.created_at,
        session.began,
        who.sub,
        who.email,
        who.username,
        who.preferred_username,
        who.name,
        who.provider,
        who.groups,
        who.roles,
        who.idp_subject or "",
        who.oid or "",
    )


def entry(sign_in: SignIn, *, key: Key, entropy: Callable[[int], bytes]) -> bytes:
    """What the list holds: the tenant's id, a space, and the sealed rest."""
    values = {name: getattr(sign_in, name) for name in _FIELDS}
    plain = json.dumps([VERSION, values], separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    tenant = sign_in.tenant
    return tenant.encode() + b" " + seal.seal_under(key, "sign-in", tenant, plain, entropy=entropy)


def parse_entry(raw: bytes, keys: tuple[Key, ...]) -> SignIn | None:
    """None where it does not open, or another release wrote it."""
    tenant, _, ciphertext = raw.partition(b" ")
    try:
        plain = seal.unseal_under(keys, "sign-in", tenant.decode(), ciphertext)
        if plain is None:
            return None
        version, values = json.loads(plain.decode("utf-8", "surrogatepass"))
        values["groups"], values["roles"] = tuple(values["groups"]), tuple(values["roles"])
        sign_in = SignIn(**values)
    except (ValueError, TypeError, KeyError):
        return None
    return sign_in if version == VERSION and sign_in.tenant == tenant.decode() else None


class SignIns:
    """The lists, for whoever records what is in them."""

    def __init__(self, redis: RedisClient, ring: Callable[[], KeyRing]) -> None:
        self._redis = redis
        self._ring = ring

    async def read(self, bucket: int, *, limit: int) -> list[tuple[bytes, SignIn | None]]:
        """The oldest entries, and what they say. Raises ``UnavailableError``."""
        rows: Any = await self._redis.command("LRANGE", _list(bucket), 0, limit - 1)
        keys = self._ring().sealing
        return [(row, parse_entry(row, keys)) for row in rows]

    async def forget(self, bucket: int, entries: Sequence[bytes]) -> int:
        """Take these away, where they are the oldest still; how many that were. ``entries``: in
        the order of ``read``. Raises ``UnavailableError``.
        """
        return int(await self._redis.run(FORGET, [_list(bucket)], list(entries)))


def _list(bucket: int) -> str:
    return f"{prefix(bucket)}v"
