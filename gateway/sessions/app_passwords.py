"""App passwords: for programs that know HTTP Basic and nothing else. In the store each is a family
of its own, with one member.

Rules:
- A text is the id (public: bucket and 128 random bits) and a secret of 192 random bits and a MAC
  over both, under a key of the ring. A text that no key made is refused without the store: guessing
  costs a hash, and no limit could ever keep the right one out.
- The store knows the secret by its SHA-256, and seals what it says under it, as it does with a
  session; one is never taken for the other.
- It is entered in the index of its person, as sessions are, under the ``began`` of the login that
  it was made with. So whatever ends that session's person ends it: revocations, blocks, groups
  taken away, later logins that contradict. Signing out does not.
- As whom it arrives is what the person's last login said. A login that replaces that one enters the
  passwords under its own names, and has every memory forget them, in the same step.
- None lives longer than marks are kept.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import re
from collections import OrderedDict
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.core.authorization import PREFIX
from gateway.core.model import AppPassword, Session
from gateway.errors import UnavailableError
from gateway.sessions import codec, seal
from gateway.sessions.api import AppPasswordRefusal
from gateway.sessions.codec import Record, Scope
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.watermarks import WATERMARK_LIFE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.core.model import Identity
    from gateway.keys.ring import Key
    from gateway.sessions.aliases import AliasIndex
    from gateway.sessions.api import NewAppPassword
    from gateway.sessions.seal import Token

READ_APP_PASSWORD, USED = (Script.load(name) for name in ("app_password", "used"))
MAX_LIFE_S: Final = WATERMARK_LIFE_S - 3600
USE_NOTED_S: Final = 3600
"""How often a process writes that a password is in use."""
AMR: Final = ("app_password",)
SECRET_BYTES: Final = 24
MAC_BYTES: Final = 8
"""One guess in 2^64 costs the store one command, and opens nothing."""
REMEMBERED: Final = 10_000
"""App passwords whose last note is remembered; a forgotten one is noted once more than needed."""
WAITING: Final = 1_000
"""Notes that may wait while the store is slow; beyond, they come with the next request."""
_TEXT = re.compile(
    PREFIX
    + (
        r"(?P<family>[0-3][0-9a-f]{2}[A-Za-z0-9_-]{22})_(?P<secret>[A-Za-z0-9_-]{42}[AEIMQUYcgk"
        r"osw048])"
    ),
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeAppPasswordArgs:
    """What ``make_app_password.lua`` is given."""

    prefix: str
    tenant: str
    family: str
    digest: str
    value: bytes
    """Sealed."""
    expires_at: int
    began: int
    """Of the session that asks."""
    users: str
    """The user's aliases, the writing key's first."""
    provider: str
    """Alias."""
    display: bytes
    scope: bytes
    """Sealed."""
    max_per_user: int
    names: str
    """Under which something may stand against the person."""


MAKE_APP_PASSWORD = Script.load("make_app_password", MakeAppPasswordArgs)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text that a key of the ring made."""

    family: str
    token: Token = field(repr=False)


class Uses:
    """Notes in the background that app passwords are in use. A note that fails is made with the
    next request, and never makes a check fail.
    """

    def __init__(
        self, note: Callable[[Session], Awaitable[None]], *, monotonic: Callable[[], float]
    ) -> None:
        self._note = note
        self._monotonic = monotonic
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, Session] = {}
        self._task: asyncio.Task[None] | None = None

    def used(self, session: Session) -> None:
        """Returns at once."""
        now, digest = self._monotonic(), session.digest
        last = self._noted.get(digest)
        if (last is not None and now - last < USE_NOTED_S) or len(self._waiting) >= WAITING:
            return
        self._noted[digest] = now
        if len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
        self._waiting[digest] = session
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain(), context=Context())

    async def _drain(self) -> None:
        while self._waiting:
            digest, session = self._waiting.popitem()
            try:
                await self._note(session)
            except UnavailableError:
                self._noted.pop(digest, None)

    async def settle(self) -> None:
        """Until nothing waits."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def _mac(key: Key, family: str, secret: bytes) -> bytes:
    return hmac.digest(
        seal.derive(key.material, salt=b"", info=b"gateway app password v1"),
        family.encode("ascii") + secret,
        "sha256",
    )[:MAC_BYTES]


def new(bucket: int, key: Key, entropy: Callable[[int], bytes]) -> tuple[str, Parsed]:
    """A fresh text, and what it is parsed to."""
    family, secret = seal.new_family(bucket, entropy), entropy(SECRET_BYTES)
    token = seal.Token(bucket, secret + _mac(key, family, secret))
    return f"{PREFIX}{family}_{token.text[3:]}", Parsed(family, token)


def parse_text(text: str, keys: Sequence[Key]) -> Parsed | None:
    """None for whatever no key of the ring made."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    family, raw = match["family"], base64.urlsafe_b64decode(match["secret"] + "=")
    mac_matches = [
        hmac.compare_digest(raw[SECRET_BYTES:], _mac(key, family, raw[:SECRET_BYTES]))
        for key in keys
    ]
    return Parsed(family, seal.Token(int(family[:3], 16), raw)) if any(mac_matches) else None


def left_identity(
    aliases: AliasIndex, identity: Identity, *, key: Key, entropy: Callable[[int], bytes]
) -> bytes:
    """What a login leaves in its person's link record: as whom their app passwords arrive."""
    return seal.seal_under(
        key,
        "identity",
        f"{aliases.tenant} {aliases.user(identity)}",
        codec.dump_identity(identity),
        entropy=entropy,
    )


def read_args(parsed: Parsed) -> tuple[list[str], list[str]]:
    """Keys and arguments of ``app_password.lua``."""
    at = prefix(parsed.token.bucket)
    return [f"{at}s:{parsed.token.digest}", f"{at}f:{parsed.family}"], [at]


def parse(
    answer: list[Any], parsed: Parsed, *, keys: tuple[Key, ...], now: float
) -> AppPassword | None:
    """What ``app_password.lua`` found, if all of it was sealed by us, for this password and for one
    person.
    """
    if len(answer) < 6:
        return None
    _, value, _, user, signed_in, identity_ciphertext = answer
    payload = seal.unseal("app password", parsed.token, value, keys=keys)
    scope = None if payload is None else codec.load_scope(payload.plaintext)
    if (
        payload is None
        or scope is None
        or scope.family != parsed.family
        or scope.expires_at <= now
        or bucket_of(payload.tenant) != parsed.token.bucket
    ):
        return None
    raw = seal.unseal_under(
        keys, "identity", f"{payload.tenant} {user.decode('ascii')}", identity_ciphertext
    )
    identity = None if raw is None else codec.load_identity(raw)
    if identity is None or identity.sub != scope.user:
        return None
    session = Session(
        parsed.token.digest,
        payload.tenant,
        "",
        parsed.family,
        identity,
        scope.began,
        scope.auth_time,
        scope.created_at,
        scope.expires_at,
        scope.client_id,
        AMR,
    )
    return AppPassword(session, frozenset(scope.hosts), scope.paths, int(signed_in) // 1_000_000)


def record_of(password: AppPassword) -> Record:
    """For the memory that it shares with sessions: nothing extends it."""
    return Record(password.session, "", b"", MAX_LIFE_S)


def make_args(
    aliases: AliasIndex,
    parent: Record,
    wanted: NewAppPassword,
    *,
    parsed: Parsed,
    key: Key,
    entropy: Callable[[int], bytes],
    now: int,
    max_per_user: int,
) -> tuple[list[str], MakeAppPasswordArgs, codec.Display]:
    """Keys and arguments of ``make_app_password.lua``, and what lists will show."""
    session, family = parent.session, parsed.family
    identity, at, name = (
        session.identity,
        prefix(parsed.token.bucket),
        f"{aliases.tenant} {parsed.family}",
    )
    expires_at = now + min(wanted.lifetime_s, MAX_LIFE_S)
    scope = Scope(
        family,
        identity.sub,
        tuple(sorted(wanted.hosts)),
        wanted.paths,
        session.began,
        session.auth_time,
        now,
        expires_at,
        session.client_id,
    )
    value = seal.seal(
        "app password",
        parsed.token,
        codec.dump_scope(scope),
        tenant=aliases.tenant,
        host="",
        key=key,
        entropy=entropy,
    )
    display = codec.Display(
        identity.sub,
        identity.email,
        identity.username,
        identity.provider,
        now,
        wanted.name,
        identity.groups,
        identity.roles,
        identity.idp_subject or "",
        identity.oid or "",
    )
    users = aliases.users(identity)
    return (
        [
            f"{at}s:{parsed.token.digest}",
            f"{at}f:{family}",
            f"{at}s:{session.digest}",
            f"{at}f:{session.family}",
            *(f"{at}i:{alias}" for alias in aliases.index(identity)),
        ],
        MakeAppPasswordArgs(
            prefix=at,
            tenant=aliases.tenant,
            family=family,
            digest=parsed.token.digest,
            value=value,
            expires_at=expires_at,
            began=session.began,
            users=" ".join(users),
            provider=aliases.provider(identity.provider),
            display=seal.seal_under(
                key, "display", name, codec.dump_display(display), entropy=entropy
            ),
            scope=seal.seal_under(key, "scope", name, codec.dump_scope(scope), entropy=entropy),
            max_per_user=max_per_user,
            names=" ".join(aliases.standing(identity)),
        ),
        display,
    )


def refusal(answer: bytes) -> AppPasswordRefusal:
    return AppPasswordRefusal(answer.decode("ascii"))
