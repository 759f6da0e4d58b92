"""What is sealed: compact JSON arrays with a version first. An unknown version, a missing or a
surplus field is no session. What says nothing new is left out, since it is kept for each session:
the domain of the address, and of times all but their distance to the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.core.model import DEFAULT_POOL, Identity, PendingLogin, Session
from gateway.sessions.api import BearerLink

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD_VERSION = 1
FAMILY_KEY_BYTES = 32
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Record:
    """The plaintext of a stored session: the session, and what only the store needs to know."""

    session: Session
    parent: str
    """Digest of the session whose ticket made this one; empty for the one that logged in."""
    family_key: bytes = field(repr=False)
    """32 random bytes, the same in each member: seals the family's refresh token."""
    idle_s: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """The plaintext of a ticket: whose family the child will join, and where the browser goes."""

    parent: Record
    return_to: str
    trace: str = ""
    """``traceparent`` of the request that issued it; "" where nothing is traced."""


@dataclass(frozen=True, slots=True)
class Display:
    """What lists show of a family: never a credential."""

    user: str
    email: str
    username: str
    provider: str
    created_at: int
    user_agent: str
    groups: tuple[str, ...] = ()
    """As the identity provider said at the login; with these an operator sees what a change of
    rules would do to whom.
    """
    roles: tuple[str, ...] = ()
    idp_subject: str = ""
    oid: str = ""
    client: str = ""
    """The address that the login came from, and where that is as the operator's CDN says."""
    place: str = ""
    idle_s: int = 0
    """From the last request that counts to the end of the idle time."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The plaintext of an app password: whose it is and what it is good for. As whom it arrives is
    said elsewhere, by the last login.
    """

    family: str
    user: str
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    began: int
    auth_time: int
    created_at: int
    expires_at: int
    client_id: str


def _dump(value: list[Any]) -> bytes:
    return json.dumps([RECORD_VERSION, *value], separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def _load(raw: bytes, build: Callable[[list[Any]], _T]) -> _T | None:
    try:
        version, *rest = json.loads(raw.decode("utf-8", "surrogatepass"))
        return build(rest) if version == RECORD_VERSION else None
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _domain(identity: Identity) -> str | None:
    """None where it is what the address ends with."""
    return None if identity.email_domain == _end(identity.email) else identity.email_domain


def _end(email: str) -> str:
    return email.rpartition("@")[2]


def _identity(identity: Identity) -> list[Any]:
    return [
        identity.sub,
        identity.email,
        _domain(identity),
        identity.username,
        identity.preferred_username,
        identity.name,
        identity.groups,
        identity.roles,
        identity.provider,
        identity.idp_subject,
        identity.oid,
        identity.claims,
    ]


def _parse_identity(raw: list[Any]) -> Identity:
    (
        sub,
        email,
        email_domain,
        username,
        preferred,
        name,
        groups,
        roles,
        provider,
        idp_subject,
        oid,
        claims,
    ) = raw
    return Identity(
        sub,
        email,
        _end(email) if email_domain is None else email_domain,
        username,
        preferred,
        name,
        tuple(groups),
        tuple(roles),
        provider,
        idp_subject,
        oid,
        tuple((str(n), str(v)) for n, v in claims),
    )


def _record(record: Record) -> list[Any]:
    """All but the family key, which is no text: it is put before the array."""
    s = record.session
    began_s = s.began // 1_000_000
    return [
        s.family,
        _identity(s.identity),
        s.began,
        s.auth_time - began_s,
        s.created_at - began_s,
        s.expires_at - began_s,
        s.client_id,
        record.parent,
        record.idle_s,
        s.prompted_for,
    ]


def _parse_record(
    raw: list[Any], family_key: bytes, *, digest: str, tenant: str, host: str
) -> Record:
    (
        family,
        identity,
        began,
        auth_time,
        created_at,
        expires_at,
        client_id,
        parent,
        idle_s,
        prompted_for,
    ) = raw
    began_s = began // 1_000_000
    session = Session(
        digest,
        tenant,
        host,
        family,
        _parse_identity(identity),
        began,
        began_s + auth_time,
        began_s + created_at,
        began_s + expires_at,
        client_id,
        prompted_for=prompted_for,
    )
    return Record(session, parent, family_key, idle_s)


def dump_record(record: Record) -> bytes:
    """Digest, tenant and host are not repeated: the sealing authenticates them."""
    return record.family_key + _dump(_record(record))


def load_record(raw: bytes, *, digest: str, tenant: str, host: str) -> Record | None:
    key, text = raw[:FAMILY_KEY_BYTES], raw[FAMILY_KEY_BYTES:]
    return _load(
        text, lambda rest: _parse_record(rest, key, digest=digest, tenant=tenant, host=host)
    )


def dump_ticket(ticket: Ticket) -> bytes:
    session = ticket.parent.session
    return ticket.parent.family_key + _dump(
        [
            session.digest,
            session.host,
            _record(ticket.parent),
            ticket.return_to,
            *([ticket.trace] if ticket.trace else []),
        ]
    )


def load_ticket(raw: bytes, *, tenant: str) -> Ticket | None:
    key, text = raw[:FAMILY_KEY_BYTES], raw[FAMILY_KEY_BYTES:]

    def build(rest: list[Any]) -> Ticket:
        digest, host, parent, return_to, *trace = rest
        return Ticket(
            _parse_record(parent, key, digest=digest, tenant=tenant, host=host),
            return_to,
            *map(str, trace),
        )

    return _load(text, build)


def dump_pending(pending: PendingLogin) -> bytes:
    p = pending
    return _dump(
        [
            p.tenant,
            p.provider,
            p.host,
            p.return_to,
            p.nonce,
            p.code_verifier,
            p.redirect_uri,
            p.client_id,
            p.hopped,
            p.purpose,
            p.for_host,
            p.for_browser,
            p.test,
            p.hint,
            p.prompted,
            # A release that knows fewer fields reads what has no more than these.
            *([p.pool, p.trace] if p.trace else [] if p.pool == DEFAULT_POOL else [p.pool]),
        ]
    )


def load_pending(raw: bytes) -> PendingLogin | None:
    def build(rest: list[Any]) -> PendingLogin:
        (
            tenant,
            provider,
            host,
            return_to,
            nonce,
            verifier,
            redirect_uri,
            client_id,
            hopped,
            purpose,
            for_host,
            for_browser,
            test,
            hint,
            prompted,
            *further,
        ) = rest
        return PendingLogin(
            tenant,
            provider,
            host,
            return_to,
            nonce,
            verifier,
            redirect_uri,
            client_id,
            hopped,
            purpose,
            for_host,
            for_browser,
            test,
            hint,
            prompted is True,
            *map(str, further),
        )

    return _load(raw, build)


def dump_display(display: Display) -> bytes:
    d = display
    return _dump(
        [
            d.user,
            d.email,
            d.username,
            d.provider,
            d.created_at,
            d.user_agent,
            d.groups,
            d.roles,
            d.idp_subject,
            d.oid,
            d.client,
            d.place,
            d.idle_s,
        ]
    )


def load_display(raw: bytes) -> Display | None:
    def build(rest: list[Any]) -> Display:
        (
            user,
            email,
            username,
            provider,
            created_at,
            user_agent,
            groups,
            roles,
            idp_subject,
            oid,
            client,
            place,
            idle_s,
        ) = rest
        return Display(
            user,
            email,
            username,
            provider,
            created_at,
            user_agent,
            tuple(groups),
            tuple(roles),
            idp_subject,
            oid,
            client,
            place,
            idle_s,
        )

    return _load(raw, build)


def dump_link(identity: Identity) -> bytes:
    i = identity
    return _dump(
        [
            i.sub,
            i.email,
            i.email_domain,
            i.username,
            i.preferred_username,
            i.name,
            i.provider,
            i.idp_subject,
            i.oid,
        ]
    )


def load_link(raw: bytes) -> BearerLink | None:
    def build(rest: list[Any]) -> BearerLink:
        sub, email, email_domain, username, preferred_username, name, provider, idp_subject, oid = (
            rest
        )
        return BearerLink(
            Identity(
                sub,
                email,
                email_domain,
                username,
                preferred_username,
                name,
                (),
                (),
                provider,
                idp_subject,
                oid,
            )
        )

    return _load(raw, build)


def dump_scope(scope: Scope) -> bytes:
    s = scope
    return _dump(
        [
            s.family,
            s.user,
            s.hosts,
            s.paths,
            s.began,
            s.auth_time,
            s.created_at,
            s.expires_at,
            s.client_id,
        ]
    )


def load_scope(raw: bytes) -> Scope | None:
    def build(rest: list[Any]) -> Scope:
        family, user, hosts, paths, began, auth_time, created_at, expires_at, client_id = rest
        return Scope(
            family,
            user,
            tuple(hosts),
            tuple(paths),
            began,
            auth_time,
            created_at,
            expires_at,
            client_id,
        )

    return _load(raw, build)


def dump_identity(identity: Identity) -> bytes:
    return _dump(_identity(identity))


def load_identity(raw: bytes) -> Identity | None:
    return _load(raw, _parse_identity)
