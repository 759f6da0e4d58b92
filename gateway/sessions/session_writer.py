"""A login, or a hand-over to another host, becomes a session: one atomic script, which refuses it
where a revocation or a block stands against it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.core.login import FRESH_S
from gateway.core.model import Secret, Session
from gateway.core.reason import Reason
from gateway.errors import UnavailableError
from gateway.sessions import app_passwords, bearer_links, codec, seal, sign_ins
from gateway.sessions.aliases import AliasIndex, overlaid, parse_overlay
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.codec import Display, Record
from gateway.sessions.connection import Script, in_order
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.refresh_token import seal_refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import Identity
    from gateway.keys.ring import Key, KeyRing
    from gateway.sessions.aliases import SubjectHash
    from gateway.sessions.api import NewSession
    from gateway.sessions.connection import RedisClient

FRESHNESS_S: Final = 70 * 60
"""Cognito resumes its own session for 60 minutes; ten more for clocks and for logins in flight."""
FRESHNESS_MARGIN_S: Final = 5
"""How far the identity provider's clock may be behind the store's."""
FRESHNESS_AHEAD_S: Final = 30
"""How far it may be ahead of ours. One that is further ahead proves nothing: what it once said
would look fresh for as long.
"""
_OVERLAY_CHANGES: Final = 8
"""An overlay may change between reading and writing it; it does not change so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishLoginArgs:
    """What ``finish_login.lua`` is given. A child is a session that another one of its family was
    handed over to.
    """

    prefix: str
    n_index: int
    """How many of the keys are of the index; so for marks and overlays."""
    n_marks: int
    n_overlays: int
    family: str
    digest: str
    host: str
    value: bytes
    """The sealed session."""
    idle_ms: int
    expires_at: int
    """The absolute limit (s)."""
    began: int
    auth_time: int
    stale: str = "0"
    """``1`` where evidence of a fresh login is lacking, else ``0``."""
    freshness_us: int
    """How long after a watermark that evidence is required."""
    parent: str
    """Digest of the session that hands over; "" for a login."""
    overlay: str
    """As the caller knows it."""
    lifted: str
    """Overlay fields to lift: ``<n> <field>`` by line."""
    max_families: int = 0
    tenant: str
    user: str
    """Alias of the user; so for the provider."""
    provider: str
    display: bytes = b""
    refresh_token: bytes = b""
    """Sealed; empty without one."""
    server: str = ""
    """Which gave ``began``; "" for a child: its family is here or nowhere."""
    other_users: str
    """The user's aliases under the other keys of the ring."""
    link_names: str = ""
    """That the link record lists."""
    link_record: bytes = b""
    """Sealed; empty for a child."""
    link_life_s: int = 0
    idp_iat: int | str = ""
    """The identity provider's time that this login shows (s); "" for a child, and where it is not
    mapped.
    """
    last_login_names: str = ""
    """That lead to the person's last login."""
    last_login: bytes = b""
    """Its sealed display; empty for a child."""
    app_password_identity: bytes = b""
    """Sealed: as whom app passwords of this person arrive from now on; empty where none are
    taken.
    """
    sign_in: bytes = b""
    """The entry of ``sign_ins``; empty for a child."""
    sign_ins_at_most: int = 0
    sign_ins_life_s: int = 0


FINISH_LOGIN = Script.load("finish_login", FinishLoginArgs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    """What a login leaves beside its session; a child leaves nothing."""

    stale: bool
    max_families: int
    display: Display
    refresh_token: bytes
    server: str
    idp_iat: int | None
    takes_app_passwords: bool


class SessionWriter:
    """``ring`` is asked on every use."""

    def __init__(
        self,
        redis: RedisClient,
        ring: Callable[[], KeyRing],
        *,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
        created: Callable[[Record], None],
    ) -> None:
        """``created`` is told of what the store has now."""
        self._redis = redis
        self._ring = ring
        self._clock = clock
        self._entropy = entropy
        self._created = created

    @property
    def _key(self) -> Key:
        """The one that writes."""
        return self._ring().sealing[0]

    async def finish_login(self, new: NewSession) -> SessionCreated | SessionRefused:
        now = int(self._clock())
        family_key = self._entropy(32)
        session = Session(
            digest="",
            tenant=new.tenant.id,
            host=new.host,
            family=seal.new_family(bucket_of(new.tenant.id), self._entropy),
            identity=new.identity,
            began=new.began,
            auth_time=new.auth_time,
            created_at=now,
            expires_at=now + new.tenant.session.absolute_s,
            client_id=new.client_id,
            prompted_for=new.prompted_for if _was_prompted(new, now) else "",
        )
        return await self._write(
            Record(session, "", family_key, new.tenant.session.idle_s),
            _Login(
                stale=not _is_fresh(new, now),
                max_families=new.tenant.session.max_per_user,
                display=_display(new, now),
                refresh_token=b""
                if new.refresh_token is None
                else seal_refresh(session, family_key, new.refresh_token, entropy=self._entropy),
                server=new.server or "?",
                idp_iat=new.idp_iat if new.idp_iat_mapped else None,
                takes_app_passwords=new.tenant.takes_app_passwords,
            ),
        )

    async def write_child(self, record: Record) -> SessionCreated | SessionRefused:
        """``record`` names its parent."""
        return await self._write(record, None)

    async def _write(self, record: Record, login: _Login | None) -> SessionCreated | SessionRefused:
        """Marks are looked up for all that Cognito said of the person; the session holds what
        overlays leave of it.
        """
        person = record.session.identity
        aliases = AliasIndex(record.session.tenant, self._ring().sealing)
        bucket = bucket_of(record.session.tenant)
        at = prefix(bucket)
        marks = [f"{at}w:{name}" for name in aliases.marks(person, family=record.session.family)]
        overlays = [] if login is None else aliases.overlays(person)
        overlay = ""
        for _ in range(_OVERLAY_CHANGES):
            identity, lifted = overlaid(
                person, parse_overlay(overlay, overlays), began=record.session.began
            )
            token = seal.new_token(bucket, self._entropy)
            session = replace(record.session, digest=token.digest, identity=identity)
            new_record = replace(record, session=session)
            index = [f"{at}i:{name}" for name in aliases.index(identity)]
            keys = [
                f"{at}s:{token.digest}",
                f"{at}f:{session.family}",
                *index,
                *marks,
                *(f"{at}o:{o.key}" for o in overlays),
            ]
            arguments = self._arguments(
                new_record,
                login,
                person,
                aliases,
                value=seal.seal(
                    "session",
                    token,
                    codec.dump_record(new_record),
                    tenant=session.tenant,
                    host=session.host,
                    key=self._key,
                    entropy=self._entropy,
                ),
                overlay=overlay,
                lifted=lifted,
                counts=(len(index), len(marks), len(overlays)),
            )
            # A session that a fail-over loses would be a logout by nobody: as durable as a
            # revocation.
            answer = await self._redis.run_durably(FINISH_LOGIN, keys, in_order(arguments))
            match answer[0]:
                case b"stored":
                    self._created(new_record)
                    return SessionCreated(Secret(token.text), session)
                case b"overlay":
                    overlay = answer[1].decode("ascii")
                case b"gone":
                    return SessionRefused(Reason.SESSION_REVOKED)
                case refusal:
                    return SessionRefused(Reason(refusal.decode("ascii")))
        msg = "Redis: finish_login: the overlay of this person keeps changing"
        raise UnavailableError(msg)

    def _arguments(
        self,
        record: Record,
        login: _Login | None,
        reported: Identity,
        aliases: AliasIndex,
        *,
        value: bytes,
        overlay: str,
        lifted: list[tuple[int, SubjectHash]],
        counts: tuple[int, int, int],
    ) -> FinishLoginArgs:
        session = record.session
        child = FinishLoginArgs(
            prefix=prefix(bucket_of(session.tenant)),
            n_index=counts[0],
            n_marks=counts[1],
            n_overlays=counts[2],
            family=session.family,
            digest=session.digest,
            host=session.host,
            value=value,
            idle_ms=record.idle_s * 1000,
            expires_at=session.expires_at,
            began=session.began,
            auth_time=session.auth_time,
            freshness_us=FRESHNESS_S * 1_000_000,
            parent=record.parent,
            overlay=overlay,
            lifted="\n".join(f"{n} {field}" for n, field in lifted),
            tenant=session.tenant,
            user=aliases.user(reported),
            provider=aliases.provider(reported.provider),
            other_users=" ".join(aliases.users(reported)[1:]),
        )
        if login is None:
            return child
        key, entropy = self._key, self._entropy
        link_names, link_record = bearer_links.write_args(
            aliases, reported, key=key, entropy=entropy
        )
        last_login_names, last_login = bearer_links.last_login_args(
            aliases, reported, login.display, key=key, entropy=entropy
        )
        return replace(
            child,
            stale="1" if login.stale else "0",
            max_families=login.max_families,
            display=seal.seal_under(
                key,
                "display",
                f"{session.tenant} {session.family}",
                codec.dump_display(login.display),
                entropy=entropy,
            ),
            refresh_token=login.refresh_token,
            server=login.server,
            link_names=link_names,
            link_record=link_record,
            link_life_s=bearer_links.LIFE_S,
            idp_iat="" if login.idp_iat is None else login.idp_iat,
            last_login_names=last_login_names,
            last_login=last_login,
            app_password_identity=app_passwords.left_identity(
                aliases, session.identity, key=key, entropy=entropy
            )
            if login.takes_app_passwords
            else b"",
            sign_in=sign_ins.entry(sign_ins.of_session(session), key=key, entropy=entropy),
            sign_ins_at_most=sign_ins.MAX_WAITING,
            sign_ins_life_s=sign_ins.LIFE_S,
        )


def _is_fresh(new: NewSession, now: int) -> bool:
    """Whether there is evidence that this login asked the identity provider."""
    if not new.idp_iat_mapped:
        return new.hopped
    return (
        new.idp_iat is not None
        and new.began / 1_000_000 - FRESHNESS_MARGIN_S <= new.idp_iat <= now + FRESHNESS_AHEAD_S
    )


def _was_prompted(new: NewSession, now: int) -> bool:
    """In minutes rather than seconds: nobody's clock may keep a person from it."""
    return not new.idp_iat_mapped or (
        new.idp_iat is not None and now - FRESH_S <= new.idp_iat <= now + FRESHNESS_AHEAD_S
    )


def _display(new: NewSession, now: int) -> Display:
    who = new.identity
    return Display(
        who.sub,
        who.email,
        who.username,
        who.provider,
        now,
        new.user_agent[:200],
        who.groups,
        who.roles,
        who.idp_subject or "",
        who.oid or "",
        new.client,
        new.place,
        new.tenant.session.idle_s,
    )
