"""Passwords of the pool's users: what Cognito said of one is kept for a minute, and then asked
again.

Rules:
- A name and a password are known by a keyed hash, under the key of the ring that writes: neither a
  dump of Redis nor the tokens of browsers tell which they were, and nobody without the ring can try
  passwords on what is kept.
- What an identity is made of (app client, provider, domains, claims that are handed on) is part of
  the hash: a change of the tenant ends what was kept.
- Whom Cognito knows has a session of no host, a family with one member, in the index of its person:
  whatever ends the person ends it. It counts towards no limit, and no login is made of it.
- A refusal is kept too: a program that repeats a wrong password locks nobody out of the pool.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.core.model import Session
from gateway.core.reason import Reason
from gateway.sessions import codec, seal
from gateway.sessions.aliases import overlaid, parse_overlay
from gateway.sessions.codec import Record
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.authorization import Basic
    from gateway.core.login import Accepted
    from gateway.core.model import Tenant
    from gateway.keys.ring import Key
    from gateway.sessions.aliases import AliasIndex
    from gateway.sessions.seal import Token

KEPT_S: Final = 60
"""So long is believed what Cognito said: a password that is changed or reset there, or a user who
is disabled there, is noticed after that.
"""
AMR: Final = ("pwd",)
"""RFC 8176 §2."""
READ_POOL_PASSWORD, BEGIN_POOL_PASSWORD = (
    Script.load(name) for name in ("pool_password", "begin_pool_password")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPoolPasswordArgs:
    """What ``keep_pool_password.lua`` is given."""

    prefix: str
    tenant: str
    n_index: int
    """How many of the keys are of the index; so for marks and overlays."""
    n_marks: int
    n_overlays: int
    family: str
    digest: str
    value: bytes
    """Sealed."""
    expires_at: int
    began: int
    server: str
    """Which gave ``began``."""
    user: str
    """Alias of the user; so for the provider."""
    provider: str
    display: bytes
    overlay: str
    """As the caller knows it."""
    lifted: str
    """Overlay fields to lift: ``<n> <field>`` by line."""


KEEP_POOL_PASSWORD = Script.load("keep_pool_password", KeepPoolPasswordArgs)


@dataclass(frozen=True, slots=True)
class PoolPasswordBegun:
    """Cognito is about to be asked: ``began`` on the tenant's clock, of ``server``."""

    began: int
    server: str


@dataclass(frozen=True, slots=True)
class PoolPasswordFound:
    """What the store has. ``left_s``: how long it keeps it."""

    result: Session | Reason
    left_s: float


def hash_key(key: Key) -> bytes:
    return seal.derive(key.material, salt=b"", info=b"gateway pool password v1")


def basis(tenant: Tenant) -> bytes:
    """What an identity is made of by this tenant, besides what Cognito says."""
    client, provider = tenant.password_client, tenant.pool_provider
    return json.dumps(
        [
            tenant.id,
            tenant.pool,
            "" if client is None else client.client_id,
            sorted(tenant.email_domains),
            sorted(spec.source for spec in tenant.headers if spec.source.startswith("claim:")),
            None
            if provider is None
            else [
                provider.name,
                str(provider.email_trust),
                provider.members_group,
                provider.url_decode_groups,
                sorted(provider.domains),
            ],
        ]
    ).encode()


def token_of(key: bytes, tenant_basis: bytes, basic: Basic, *, bucket: int) -> Token:
    """``key`` of ``hash_key``. No name holds a colon, and no basis a zero byte."""
    text = f"{basic.username}:{basic.password}".encode("utf-8", "surrogatepass")
    return seal.Token(bucket, hmac.digest(key, tenant_basis + b"\x00" + text, "sha256"))


def read_args(token: Token) -> tuple[list[str], list[str]]:
    """Keys and arguments of ``pool_password.lua``."""
    at = prefix(token.bucket)
    return [f"{at}s:{token.digest}", refusal_key(token)], [at]


def refusal_key(token: Token) -> str:
    return f"{prefix(token.bucket)}q:{token.digest}"


def parse(
    answer: list[Any], token: Token, *, keys: tuple[Key, ...], now: float
) -> PoolPasswordFound | None:
    """What ``pool_password.lua`` found, if it was sealed by us for this name and password."""
    _, value, left_ms, reason, refused_ms = answer
    if value is not None:
        payload = seal.unseal("pool password", token, value, keys=keys)
        record = (
            None
            if payload is None or bucket_of(payload.tenant) != token.bucket
            else codec.load_record(
                payload.plaintext, digest=token.digest, tenant=payload.tenant, host=""
            )
        )
        if record is None or record.session.expires_at <= now:
            return None
        return PoolPasswordFound(replace(record.session, amr=AMR), int(left_ms) / 1000)
    if reason is None:
        return None
    return PoolPasswordFound(Reason(reason.decode("ascii")), int(refused_ms) / 1000)


def record_of(session: Session) -> Record:
    """For the memory that it shares with sessions: nothing extends it."""
    return Record(session, "", b"", KEPT_S)


def new_session(
    accepted: Accepted,
    tenant: Tenant,
    token: Token,
    begun: PoolPasswordBegun,
    *,
    entropy: Callable[[int], bytes],
    now: int,
) -> Session:
    """As whom requests arrive with this name and password for the next minute."""
    client = tenant.password_client
    return Session(
        token.digest,
        tenant.id,
        "",
        seal.new_family(token.bucket, entropy),
        accepted.identity,
        begun.began,
        accepted.auth_time,
        now,
        now + KEPT_S,
        "" if client is None else client.client_id,
        AMR,
    )


def keep_args(
    aliases: AliasIndex,
    reported: Session,
    token: Token,
    *,
    server: str,
    overlay: str,
    key: Key,
    entropy: Callable[[int], bytes],
) -> tuple[list[str], KeepPoolPasswordArgs]:
    """Keys and arguments of ``keep_pool_password.lua``. Marks are looked up for all that Cognito
    said of the person; the session holds what overlays leave of it.
    """
    at, who = prefix(token.bucket), reported.identity
    places = aliases.overlays(who)
    identity, lifted = overlaid(who, parse_overlay(overlay, places), began=reported.began)
    session = replace(reported, identity=identity)
    index, marks = aliases.index(identity), aliases.marks(who, family=session.family)
    display = codec.Display(
        identity.sub,
        identity.email,
        identity.username,
        identity.provider,
        session.created_at,
        "",
        identity.groups,
        identity.roles,
        identity.idp_subject,
        identity.oid,
    )
    return (
        [
            f"{at}s:{token.digest}",
            f"{at}f:{session.family}",
            *(f"{at}i:{name}" for name in index),
            *(f"{at}w:{name}" for name in marks),
            *(f"{at}o:{place.key}" for place in places),
        ],
        KeepPoolPasswordArgs(
            prefix=at,
            tenant=session.tenant,
            n_index=len(index),
            n_marks=len(marks),
            n_overlays=len(places),
            family=session.family,
            digest=token.digest,
            value=seal.seal(
                "pool password",
                token,
                codec.dump_record(replace(record_of(session), family_key=entropy(32))),
                tenant=session.tenant,
                host="",
                key=key,
                entropy=entropy,
            ),
            expires_at=session.expires_at,
            began=session.began,
            server=server,
            user=aliases.user(who),
            provider=aliases.provider(who.provider),
            display=seal.seal_under(
                key,
                "display",
                f"{session.tenant} {session.family}",
                codec.dump_display(display),
                entropy=entropy,
            ),
            overlay=overlay,
            lifted="\n".join(f"{n} {field}" for n, field in lifted),
        ),
    )
