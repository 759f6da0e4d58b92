"""Tenants as the admin API sees them: protocols and the values that cross them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.core.json_types import Json
    from gateway.core.model import AppClient, Secret
    from gateway.core.paging import Page
    from gateway.core.signed_link import Result, TestLink
    from gateway.tenants.document import TenantDocument
    from gateway.tenants.index import TenantFilter


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
        self, *, only: str | None, position: str | None, limit: int, wanted: TenantFilter
    ) -> Page[TenantRecord]:
        """By id. ``only``: this one, if it is behind ``position`` and as ``wanted``."""

    async def get(self, tenant: str) -> TenantRecord | None: ...

    async def reveal(self, tenant: str) -> TenantRecord | None:
        """Of SQL, with its secrets, and without what is left at its default: for moving tenants
        between gateways.
        """

    async def put(
        self, document: TenantDocument, *, etag: str | None, if_held: Collection[str] = ()
    ) -> TenantRecord | Rejected:
        """Create (``etag`` None) or replace exactly the version named by ``etag``. A secret ``***``
        keeps the stored one. ``if_held``: domains that the tenant has to hold at that moment.

        Rejected: ``taken`` (names the other owner), ``read_only``, ``exists``,
        ``precondition_failed``, ``invalid_body``, ``conflict`` (one is not held).
        """

    async def put_hook_secret(
        self,
        tenant: str,
        provider: str,
        secret: Secret | None,
        *,
        where: Callable[[Sequence[Secret]], bool] | None = None,
    ) -> TenantRecord | Rejected:
        """Make it the current one; the one that was stays valid beside it. None: only the current
        one stays valid. ``where``: only if this holds of those that are stored.

        Rejected: ``not_found``, ``read_only``, ``conflict``, ``precondition_failed``.
        """

    async def delete(self, tenant: str, *, etag: str | None) -> Rejected | None: ...

    async def proven_domains(self, tenant: str) -> frozenset[str]:
        """Those that the tenant holds, by a DNS record or by an operator's word."""


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
    people could not be asked about. ``shadow``: what its shadow rules would do, were they the rules
    of the document as it would be.
    """

    document: Json
    changes: tuple[SettingChange, ...]
    sessions: int
    effects: tuple[PersonEffect, ...]
    unknown: str = ""
    shadow: tuple[PersonEffect, ...] = ()


class TenantRehearsals(Protocol):
    """``put`` without the deed."""

    async def rehearse(
        self, document: TenantDocument, *, etag: str | None
    ) -> TenantRehearsal | Rejected:
        """Rejected as ``TenantRecords.put`` would be. Raises ``UnavailableError``."""


class LoginTests(Protocol):
    """One-time links that walk a whole login without creating a session."""

    async def link(self, tenant: str, *, client: AppClient | None = None) -> str | Rejected:
        """``client``: the test is made with this one, and not with the tenant's own."""

    async def result(self, tenant: str, token: str) -> tuple[TestLink, Result | None] | None:
        """Of a link of the tenant's, an expired one too; no result where nobody has opened it."""


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
    pool_password: bool = False
    """The request carries name and password of the person, a user of the pool."""
    destination: str | None = None
    """``Destination`` and ``Depth`` as a WebDAV client sends them."""
    depth: str | None = None
    draft: TenantDocument | None = None
    """Asked of this document alone, which nobody has stored."""


class Explainer(Protocol):
    """The trace of the very function that decides."""

    async def explain(self, question: Question) -> Json | None:
        """None where the host is not one that the asker may ask about."""
