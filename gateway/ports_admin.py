"""What the admin API needs of the rooms behind it: protocols and the values that cross them.
``app`` binds the adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.model import Secret
    from gateway.ports import SessionView, Who
    from gateway.registry.document import TenantDocument

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and where the next ones begin (None: there are no more). ``position`` is the
    adapter's own.
    """

    items: Sequence[T]
    position: str | None = None


# --- who asks -----------------------------------------------------------------------------------


class Scope(StrEnum):
    """What a key may do; ``operator`` is all of them."""

    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    PROVISION = "provision"
    SESSIONS_READ = "sessions:read"
    SESSIONS_REVOKE = "sessions:revoke"
    HOOKS = "hooks"
    AUDIT_READ = "audit:read"
    DOCTOR = "doctor"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A bearer key of the admin API, without its secret. Times are UTC epoch seconds; ``tenant``
    binds it to one tenant.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    tenant: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None = None
    last_used_at: int | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.OPERATOR in self.scopes


class KeyRefusal(StrEnum):
    """Why a presented key opens nothing."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


class AdminKeys(Protocol):
    """Bearer keys; only their digests are stored."""

    async def authenticate(self, presented: str) -> AdminKey | KeyRefusal: ...

    async def exist(self) -> bool:
        """Whether any key could be used now."""


# --- what is remembered of each change ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what. ``before`` and ``after`` hold no secrets. ``outcome`` is ``begun`` until the
    change has an end.
    """

    id: int
    at: float
    actor: str
    action: str
    tenant: str | None
    target: str
    outcome: str
    request_id: str
    before: object = None
    after: object = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """None matches all."""

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None


class AuditLog(Protocol):
    """Written before the change begins, completed when it ends: no change goes without a record, a
    crash included.
    """

    async def begin(
        self, *, actor: str, action: str, tenant: str | None, target: str, request_id: str
    ) -> int: ...

    async def finish(self, entry: int, *, outcome: str, before: object, after: object) -> None: ...

    async def page(
        self, wanted: AuditFilter, *, position: str | None, limit: int
    ) -> Page[AuditEntry]:
        """Newest first."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer of the request that succeeded with an Idempotency-Key."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class IdempotencyState(StrEnum):
    """What is known of an Idempotency-Key that has no stored answer."""

    FRESH = "fresh"
    IN_FLIGHT = "in_flight"
    OTHER_REQUEST = "other_request"


class IdempotencyRecords(Protocol):
    """Answers by (key id, Idempotency-Key), kept for a day, encrypted: an answer may show a secret
    once.
    """

    async def claim(
        self, owner: str, key: str, *, fingerprint: str
    ) -> StoredAnswer | IdempotencyState: ...

    async def renew(self, owner: str, key: str) -> None:
        """Say that the claim's request is still running; without it the claim ends after half a
        minute.
        """

    async def store(self, owner: str, key: str, answer: StoredAnswer) -> None: ...

    async def release(self, owner: str, key: str) -> None:
        """Forget a claim whose request had no effect."""


# --- tenants ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """One tenant as stored: ``document`` has the shape of a tenant file, secrets as ``***``.
    ``etag`` changes with every change.
    """

    id: str
    document: Json
    etag: str
    origin: str
    """``sql``, or ``file`` for a tenant of the GitOps folder, which the API shows and does not
    change.
    """


@dataclass(frozen=True, slots=True)
class Rejected:
    """The registry said no: ``code`` is one of the API's problem codes, ``message`` names the other
    owner where there is one.
    """

    code: str
    message: str


class TenantRecords(Protocol):
    """The registry as the admin API sees it. A narrowing change returns when it is acknowledged
    (invariant 5).
    """

    async def page(
        self, *, only: str | None, position: str | None, limit: int
    ) -> Page[TenantRecord]: ...

    async def get(self, tenant: str) -> TenantRecord | None: ...

    async def put(self, document: TenantDocument, *, etag: str | None) -> TenantRecord | Rejected:
        """Create (``etag`` None) or replace exactly the version named by ``etag``. A secret ``***``
        keeps the stored one.

        Rejected: ``taken`` (names the other owner), ``read_only``, ``exists``,
        ``precondition_failed``, ``invalid_body``.
        """

    async def put_hook_secret(
        self, tenant: str, provider: str, secret: Secret | None
    ) -> TenantRecord | Rejected:
        """Make it the current one; the one that was stays valid beside it. None: only the current
        one stays valid.

        Rejected: ``not_found``, ``read_only``, ``conflict``.
        """

    async def delete(self, tenant: str, *, etag: str | None) -> Rejected | None: ...


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One key of a document; None where it is not there. A secret's values are ``***``."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class PersonEffect:
    """``where``: method and path as the rule writes it; empty for the whole tenant. ``reason``: of
    the refusal, before or after.
    """

    email: str
    gains: bool
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class TenantRehearsal:
    """What storing a document would do. ``sessions``: how many were looked at. ``unknown``: why
    people could not be asked about.
    """

    document: Json
    changes: tuple[SettingChange, ...]
    sessions: int
    effects: tuple[PersonEffect, ...]
    unknown: str = ""


class TenantRehearsals(Protocol):
    """``put`` without the deed."""

    async def rehearse(
        self, document: TenantDocument, *, etag: str | None
    ) -> TenantRehearsal | Rejected:
        """Rejected as ``TenantRecords.put`` would be. Raises ``UnavailableError``."""


class LoginTests(Protocol):
    """One-time links that walk a whole login without creating a session."""

    async def link(self, tenant: str) -> str | Rejected: ...


# --- sessions, blocks, explanations, hooks ------------------------------------------------------


class SessionDirectory(Protocol):
    """Live sessions and app passwords for operators; rows are never credentials."""

    async def page(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        """Sessions of browsers."""

    async def app_passwords(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]: ...

    async def find(self, session: str) -> SessionView | None:
        """Either of the two, by its id."""


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block in force, or (``group``) one group that was taken away."""

    id: str
    tenant: str
    who: Who
    reason: str
    source: str
    since: float
    group: str | None = None
    """Name or id: the person, or everybody in it where ``who`` names the group itself, is not
    believed to have it.
    """
    in_force: bool = True
    """False: what a provider said, and what imposes nothing, for the policy does not name the
    group.
    """
    exempt: int = 0
    """Of a group that was taken from everybody: people who have it all the same."""


class BlockDirectory(Protocol):
    """Blocks and removed groups in force, and those that are only remembered; imposing and lifting
    is the ``Revoker``'s.
    """

    async def page(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]: ...

    async def remembered(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]: ...

    async def find(self, block: str) -> BlockView | None: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A hypothetical request; ``tenant`` narrows a bound key to its own hosts."""

    host: str
    path: str
    method: str
    email: str | None
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    provider: str | None
    signed_in: bool
    tenant: str | None = None
    client: str | None = None
    """The request carries an access token of this app client: a person's where there is an
    ``email``, else a machine's.
    """
    scopes: tuple[str, ...] = ()
    app_password_path: str | None = None
    """The request carries an app password of the person, good for this path and all below."""
    destination: str | None = None
    """``Destination`` and ``Depth`` as a WebDAV client sends them."""
    depth: str | None = None


class Explainer(Protocol):
    """The trace of the very function that decides."""

    async def explain(self, question: Question) -> Json | None:
        """None where the host is not one that the asker may ask about."""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One event that a hook delivered, and what came of it."""

    id: str
    tenant: str
    provider: str
    source: str
    received_at: float
    state: str
    attempts: int
    summary: str
    error: str = ""


class DeliveryRecords(Protocol):
    """The hook inbox as operators see it."""

    async def page(
        self, *, tenant: str | None, state: str | None, position: str | None, limit: int
    ) -> Page[DeliveryView]: ...

    async def find(self, delivery: str) -> DeliveryView | None: ...

    async def replay(self, delivery: str) -> DeliveryView | Rejected: ...

    async def release_held(self, *, tenant: str, provider: str | None) -> int:
        """Have what is held applied; the number of events."""

    async def drop_held(self, *, tenant: str, provider: str | None) -> int:
        """Have what is held ignored; the number of events."""


@dataclass(frozen=True, slots=True)
class MessageView:
    """One outgoing webhook. ``id`` is what its ``webhook-id`` header says; the body stays
    sealed.
    """

    id: str
    tenant: str
    event: str
    created_at: float
    state: str
    """``new`` (due at ``next_at``), ``sent``, ``failed``: given up."""
    attempts: int
    next_at: float
    sent_at: float | None
    error: str


class MessageRecords(Protocol):
    """Outgoing webhooks as operators see them."""

    async def page(
        self, *, tenant: str | None, state: str | None, position: str | None, limit: int
    ) -> Page[MessageView]: ...

    async def find(self, message: str) -> MessageView | None: ...

    async def replay(self, message: str) -> MessageView | Rejected:
        """Send it again, under the same id and with the same body. Rejected: ``not_found``,
        ``conflict`` while it is on its way.
        """
