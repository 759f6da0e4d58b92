"""The session store as its callers see it: protocols and the values that cross them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from gateway.core.model import (
        AppPassword,
        AuthRequest,
        Identity,
        MachineToken,
        PendingLogin,
        PoolPasswordResult,
        Secret,
        Session,
        Tenant,
    )
    from gateway.core.paging import Page
    from gateway.core.reason import Reason
    from gateway.core.revocation import RevocationRequest, RevocationStatus
    from gateway.core.tenants import TenantTable

    Names = Sequence[tuple[str, str]]
    """Of a person: (``idp_subject`` or ``email``, value)."""


@dataclass(frozen=True, slots=True)
class LoginStarted:
    """A pending login was stored: ``state`` travels through Cognito; ``binding`` is the browser's
    binding cookie.
    """

    state: Secret
    binding: Secret


@dataclass(frozen=True, slots=True)
class LoginConsumed:
    """The pending login of a ``state``, consumed now. ``began`` is the tenant clock (µs) at
    ``begin``.
    """

    pending: PendingLogin
    began: int
    server: str = ""
    """The primary whose clock that is: ``finish`` there or not at all."""


@dataclass(frozen=True, slots=True)
class LoginReplayed:
    """Another request consumed it (reload, back button): only good for sending a signed-in person
    on.
    """

    pending: PendingLogin


class OtherBrowser:
    """A pending login or a ticket was shown by a browser that did not begin it, and is deleted:
    nobody uses it any more.
    """


OTHER_BROWSER: Final = OtherBrowser()


@dataclass(frozen=True, slots=True)
class NewSession:
    """What ``finish`` turns into a session, its index and its family."""

    tenant: Tenant
    host: str
    identity: Identity
    began: int
    auth_time: int
    idp_iat: int | None
    """``custom:idp_iat`` where it is mapped: evidence that this login asked the identity
    provider.
    """
    idp_iat_mapped: bool
    client_id: str
    refresh_token: Secret | None
    hopped: bool = False
    """This login went through Cognito's /logout: accepted in place of ``idp_iat`` where that is not
    mapped.
    """
    user_agent: str = ""
    """For the list of one's own sessions; at most 200 characters."""
    client: str = ""
    """Likewise: the address that the login came from."""
    place: str = ""
    """Likewise: where that is, as the operator's CDN says; at most 60 characters."""
    server: str = ""
    """``LoginConsumed.server``."""
    prompted_for: str = ""
    """Where ``PendingLogin.prompted``: the host of the page that the login leads to."""


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The session exists. ``cookie`` is the only copy of its credential. ``session.identity`` has
    the overlay applied.
    """

    cookie: Secret
    session: Session


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """No session was made: a watermark, block, or missing freshness."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class BearerLink:
    """Whose bearer token it is, as their last login said, where nothing stands against this one.

    Without groups, roles and claims: they are of a login up to 30 days ago. Where somebody else has
    signed in since under one of the person's names (an address that was given to another, say), it
    is the Cognito ``sub`` and ``username``, the provider and the e-mail's domain alone.
    """

    identity: Identity


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """What ending a family leaves to do elsewhere: revoke this refresh token at Cognito."""

    session: Session
    refresh_token: Secret | None


@dataclass(frozen=True, slots=True)
class SessionView:
    """A row in a list of sessions: never a credential. ``session`` is the family's public id."""

    session: str
    tenant: str
    user: str
    email: str
    provider: str
    hosts: tuple[str, ...]
    created_at: int
    expires_at: int
    user_agent: str
    current: bool = False
    groups: tuple[str, ...] = ()
    """At the login; what was taken away since is not in force, though listed here."""
    roles: tuple[str, ...] = ()
    idp_subject: str = ""
    oid: str = ""
    """Both as the identity provider said at the login; "" where it did not."""
    app_password: AppPasswordView | None = None
    """It is no session of a browser, but a password for programs: what it is good for."""
    client: str = ""
    """The address that the login came from; "" where it is not known."""
    place: str = ""
    """Where that is, as the operator's CDN said; "" where none is asked."""
    last_seen_at: int | None = None
    """When the idle time last began anew, an eighth of it early at most; None: not known."""


@dataclass(frozen=True, slots=True)
class AppPasswordView:
    """What lists show of an app password, besides whose it is and until when: never a
    credential.
    """

    name: str
    """As its person called it."""
    hosts: tuple[str, ...]
    """Empty: every host of the tenant."""
    paths: tuple[str, ...]
    last_used_at: int | None
    """UTC epoch seconds, an hour off at most; None: never."""


@dataclass(frozen=True, slots=True)
class NewAppPassword:
    """What a person asks for. ``hosts`` and ``paths`` as in ``AppPassword``; ``lifetime_s`` at most
    what the tenant allows.
    """

    name: str
    hosts: frozenset[str]
    paths: tuple[str, ...]
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class StoredAppPassword:
    """It exists. ``text`` is the only copy of the password."""

    text: Secret
    view: SessionView


class AppPasswordRefusal(StrEnum):
    """Why no app password was made."""

    GONE = "gone"
    """The session that asked has ended, or a mark stands against its person."""
    TOO_MANY = "too_many"
    STALE_LOGIN = "stale_login"
    """The session that asks is not of a login that asked the person within the last minutes."""
    LOGIN_AGAIN = "login_again"
    """The person's last login left no groups behind: it was before a rule took app passwords."""


class Miss:
    """Memory cannot tell; the store can."""


MISS: Final = Miss()


class SessionStore(Protocol):
    """Sessions of all tenants. Every method raises ``UnavailableError`` when the store cannot be
    trusted to answer.
    """

    def cached(self, cookie: str, *, host: str) -> Session | Miss | None:
        """``find`` as far as this process' memory goes: about a microsecond, no await."""

    def is_suspended(self, tenant: str) -> bool:
        """Something was taken away from this tenant by a snapshot that this process does not have
        yet: nobody is to be let in.
        """

    async def wait_for_snapshot(self, tenant: str) -> bool:
        """For answers that rest on no session: returns when what was taken away from the tenant is
        known here. False: it had to be waited for, so whatever was read before may be out of date.
        """

    async def find(self, cookie: str, *, host: str) -> Session | None:
        """The live session behind a cookie value, sealed for ``host``; None for anything else,
        malformed values included.

        Memory, else one Redis command.
        """

    def used(self, session: Session, *, active_s: float | None) -> None:
        """A request showed a session that was found just now. It stays active for ``active_s``
        seconds from now, and its idle time begins after that; None: it goes on to idle. Returns at
        once, and without a write per request.
        """

    def cached_app_password(self, text: str) -> AppPassword | Miss | None:
        """``app_password`` as far as this process' memory goes: no await."""

    async def app_password(self, text: str, *, host: str) -> AppPassword | None:
        """The app password of that text, with its person as their last login left them; None for
        anything else, malformed texts included.

        Memory, else one command; none for a text that no key of the ring made.
        """

    async def make_app_password(
        self, session: Session, *, cookie: str, tenant: Tenant, new: NewAppPassword
    ) -> StoredAppPassword | AppPasswordRefusal:
        """One atomic script, for the person behind a live session. Ends with everything that ends
        the person, and never by signing out.
        """

    async def list_app_passwords(self, session: Session) -> Sequence[SessionView]:
        """Those of the person behind ``session``."""

    def why_not(self, cookie: str, *, tenant: str | None) -> Reason:
        """After ``find`` found none: what is known here about it. ``tenant``: whose host this is.
        For logs and metrics, never for a decision.
        """

    async def start_login(
        self, pending: PendingLogin, *, binding: str | None, client: str = ""
    ) -> LoginStarted:
        """Store a pending login bound to the browser; reuses ``binding`` (the cookie's value) if it
        is well-formed.

        ``client``: by whom; of what may be kept in all, those who hold most give up their oldest.
        """

    async def consume_login(
        self, state: str, *, bindings: Sequence[str]
    ) -> LoginConsumed | LoginReplayed | OtherBrowser | None:
        """Consume the pending login, for the browser that began it; shown by another, it is deleted
        in the same step. None if unknown or expired.

        ``bindings``: the values of the browser's binding cookies. Tabs that begin at the same
        moment get one each.
        """

    async def spend_code(self, code: str, *, client: str = "") -> None:
        """An authorization code was shown where no login is open: it is good for none from now on.
        ``client`` as for ``begin``.
        """

    async def code_spent(self, code: str) -> bool: ...

    async def finish_login(self, new: NewSession) -> SessionCreated | SessionRefused:
        """One atomic script: refuse if a watermark or block on the user, an alias or the tenant is
        at or after ``began``.
        """

    async def bearer_link(self, tenant: str, *, user: str, auth_time: int) -> BearerLink | None:
        """One command. None without a login of this Cognito ``sub`` here, and where a block or a
        mark at or after ``auth_time`` stands.
        """

    def binding_id(self, binding: str) -> str | None:
        """What a binding cookie may be called in a URL (its digest); None for a malformed value."""

    async def issue_ticket(
        self, parent: Session, *, cookie: str, host: str, return_to: str, binding_id: str
    ) -> Secret | None:
        """A single-use 30 s ticket: the browser that holds the binding cookie called ``binding_id``
        at ``host`` gets a child session there.

        ``cookie`` is the parent's: it opens the family key that the child will share. None when the
        parent ended meanwhile.
        """

    async def redeem_ticket(
        self, ticket: str, *, host: str, bindings: Sequence[str], served: Callable[[str], bool]
    ) -> tuple[SessionCreated, str] | SessionRefused | OtherBrowser | None:
        """A login: checks the family's watermark. Returns the child session and where to go.

        ``served``: whether a tenant is served at ``host``, asked once the ticket is read. Shown by
        another browser, or at another host, a ticket is deleted.
        """

    async def end_family(self, session: Session, *, cookie: str) -> SessionEnded:
        """Logout: the session, its parent and all its children; durable as far as WAIT."""

    async def end_replaced(self, session: Session, *, cookie: str) -> SessionEnded:
        """The browser that held ``cookie`` was given another one in its place: this session ends,
        and its family with the last of its sessions.

        The refresh token is handed back only where the family has ended.
        """

    async def end_earlier(
        self,
        tenant: str,
        *,
        user: str,
        names: Names = (),
        began: int,
        outdated: Callable[[SessionView], bool],
    ) -> int:
        """End the families of this Cognito ``sub``, or of one of the ``names``, that began before
        ``began`` (``LoginConsumed.began``) and are ``outdated``; the number that ended.
        """

    async def unlink(
        self, tenant: str, *, user: str, names: Names = (), provider: str = "", began: int
    ) -> None:
        """Bearer tokens of this Cognito ``sub``, and of whoever last signed in by one of the
        ``names`` with ``provider``, are let in by no login that began before ``began`` any more.
        """

    async def list_user(self, session: Session, *, cookie: str) -> Sequence[SessionView]:
        """The families of the person behind ``session``, this one marked."""

    async def end_own(self, session: Session, *, family: str | None) -> int:
        """End one family of the person's own, or (None) all of them; the number that ended."""


class MachineAuthenticator(Protocol):
    """Bearer tokens on rules that take them."""

    async def authenticate(self, tenant: Tenant, token: str) -> MachineToken | None:
        """A valid access token whose ``person``, if any, is not blocked or revoked (by the link
        record of the last login); else None.

        ``UnavailableError`` if a store or the keys cannot be asked.
        """


class PoolPasswordAuthenticator(Protocol):
    """Name and password of a user of the pool, on rules that take them."""

    def cached(self, tenant: Tenant, request: AuthRequest) -> PoolPasswordResult | Miss:
        """``authenticate`` as far as this process' memory goes: no await."""

    async def authenticate(self, tenant: Tenant, request: AuthRequest) -> PoolPasswordResult:
        """As whom a request with this Basic credential arrives, or why it does not. What was said
        within the last minute is one command; else Cognito is asked.

        ``UnavailableError`` if a store cannot be asked.
        """


class ProbeRecords(Protocol):
    """What arrived under a nonce of ``gateway ingress doctor``, by place (``check``, ``location``).
    Raises ``UnavailableError``.
    """

    async def write(self, nonce: str, place: str, record: Mapping[str, Any]) -> None:
        """Keep it for a quarter of an hour; what is there already stays."""

    async def read(self, nonce: str, place: str) -> Mapping[str, Any] | None: ...


class TenantSource(Protocol):
    """The tenants as they are now; swapped atomically when they change."""

    @property
    def table(self) -> TenantTable: ...

    async def replaced(self, table: TenantTable, *, within_s: float) -> bool:
        """Whether another table than this one is served; waits so long for one."""


class Revoker(Protocol):
    """The one operation behind admin API, commands, hooks and reconciliation."""

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        """Returns when acknowledged: no check that arrives afterwards allows what this ended
        (invariant 5).
        """

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        """Undo a block or overlay of the same who and source; an operator's block is lifted only by
        ``admin`` or ``cli``.
        """

    async def exempt(self, request: RevocationRequest) -> bool:
        """The person was added, at ``event_time``, to a group (``group_id``) that has the name
        ``group_overlay``: if the same source took this name from everybody of the provider before
        that, it is this person's all the same. Whether it was so.
        """

    async def status(self, revocation_id: str) -> RevocationStatus | None: ...

    def stream(self, *, after: str | None = None) -> AsyncGenerator[RevocationStatus, None]: ...


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
