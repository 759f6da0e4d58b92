"""A browser's request to ``/_auth/…``, parsed once: which host, which tenant, which cookies.

Here the host is the ``Host`` header alone; forwarded headers mean nothing except the client's
address, for the log.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.check.services import SERVICES
from gateway.core.cookies import MAX_TRIED, names_below, own_values, pairs_below
from gateway.core.hosts import parse_host_header, plain_address
from gateway.core.reason import Reason
from gateway.core.request_id import parse_request_id
from gateway.core.tenants import HostKind
from gateway.http.listener import UNREADABLE
from gateway.pages.language import MAX_LANGUAGES, negotiate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.check.services import Services
    from gateway.core.model import Session, Tenant

BINDING_PREFIX = "__Host-gw-login-"
"""A binding cookie's name: this, then the first ``BINDING_ID_CHARACTERS`` of the value's public
name. Tabs that begin at the same moment, none of them with a cookie yet, each get a cookie of its
own, and none replaces another's.
"""
BINDING_ID_CHARACTERS = 8
MAX_BINDINGS = 24
"""Tabs that a browser restores at once. 75 bytes each: together 1.8 kB, where nginx takes 8 kB in a
line.
"""
MAX_DROPPED = 32
"""Cookies that one answer deletes."""
LOOP_COOKIE = "__Host-gw-loop"
MAX_TENANTS = 8
"""Tenants that one browser is signed in to at the login host, of which any session will do."""
MAX_HOPS = 32
"""Entries of ``X-Forwarded-For`` that are read from the right: a 64 kB line of our own addresses is
a stranger's.
"""
MAX_ADDRESS = 45
"""Characters of an IPv6 address with an IPv4 one in it: what is longer is none, and remembered by
nobody.
"""
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 16


@dataclass(slots=True)
class RequestRecord:
    """What the log says of a request beside its address, as far as it came."""

    request_id: str
    tenant: str | None = None
    user: str | None = None
    provider: str | None = None
    reason: Reason | None = None


RECORD: Final = web.RequestKey("record", RequestRecord)


@dataclass(frozen=True, slots=True)
class Browser:
    """Who is asking, where. ``tenant`` is None on hosts that are no single tenant's.

    Whose host it is, and what a tenant is like, is looked up at each use: tenants change while a
    store or Cognito is waited for.
    """

    services: Services
    request: web.Request
    host: str
    request_id: str
    language: str
    client: str
    known_client: bool
    """False where the address is a proxy's or a private one, as of a balancer that nobody named:
    then many share it, and none may be refused for the others.
    """

    @property
    def record(self) -> RequestRecord:
        return record_of(self.request)

    @property
    def found(self) -> Tenant | HostKind:
        return self.services.tenants.table.by_host(self.host)

    @property
    def tenant(self) -> Tenant | None:
        owner = self.found
        return None if isinstance(owner, HostKind) else owner

    def tenant_for(self, tenant_id: str) -> Tenant | None:
        """The host's own tenant; on a host of many, the one of this id."""
        owner = self.found
        if not isinstance(owner, HostKind):
            return owner
        return None if owner is HostKind.UNKNOWN else self.services.tenants.table.by_id(tenant_id)

    def serves(self, tenant_id: str) -> bool:
        """Whether an active tenant of this id is served at this host."""
        tenant = self.tenant_for(tenant_id)
        return tenant is not None and tenant.active and tenant.id == tenant_id

    @property
    def origin(self) -> str:
        return self.services.config.origin(self.host)

    def cookies(self, name: str) -> tuple[str, ...]:
        return own_values(self.request.headers.getall("Cookie", ()), name)[:MAX_TRIED]

    @property
    def bindings(self) -> tuple[str, ...]:
        """The values of this browser's binding cookies: those that stand under the name that is
        theirs, ``MAX_BINDINGS`` at most.
        """
        pairs = pairs_below(self.request.headers.getall("Cookie", ()), BINDING_PREFIX)
        return tuple(
            dict.fromkeys(value for name, value in pairs if name == self.binding_cookie(value))
        )[:MAX_BINDINGS]

    @property
    def binding(self) -> str | None:
        """The one that a login begun now is bound to, if there is any."""
        return next(iter(self.bindings), None)

    def binding_cookie(self, binding: str) -> str | None:
        """Name of the cookie that carries this value; None for a malformed one."""
        name = self.services.sessions.binding_id(binding)
        return None if name is None else f"{BINDING_PREFIX}{name[:BINDING_ID_CHARACTERS]}"

    def surplus_bindings(self) -> tuple[str, ...]:
        """Names of binding cookies that are of no use: malformed, or beyond ``MAX_BINDINGS``."""
        useful = set(map(self.binding_cookie, self.bindings))
        return tuple(
            name
            for name in names_below(self.request.headers.getall("Cookie", ()), BINDING_PREFIX)
            if name not in useful
        )[:MAX_DROPPED]

    def parameter(self, name: str) -> str:
        """A query parameter, "" if absent. Given twice it is refused: two readers could take
        different ones.
        """
        values = self.request.query.getall(name, [])
        if len(values) > 1:
            raise BrowserError(Reason.BAD_REQUEST, 400)
        return values[0] if values else ""

    async def field(self, name: str) -> str:
        """A field of a posted form of our own, "" if absent. Anything but such a form is refused,
        and so is a name that comes twice.
        """
        if not self.request.body_exists:
            return ""
        if self.request.content_type != FORM:
            raise BrowserError(Reason.BAD_REQUEST, 400, cause="not a form")
        try:
            fields = parse_qsl(
                (await self.request.read()).decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_FIELDS,
            )
        except (ValueError, *UNREADABLE) as error:
            raise BrowserError(
                Reason.BAD_REQUEST, 400, cause=f"the form cannot be read ({type(error).__name__})"
            ) from None
        values = [value for key, value in fields if key == name]
        if len(values) > 1:
            raise BrowserError(Reason.BAD_REQUEST, 400)
        return values[0] if values else ""

    def session_cookie(self, tenant_id: str) -> str:
        """Name of the cookie that carries a session of ``tenant_id`` here: at the login host each
        tenant has its own.
        """
        name = self.services.config.cookie.name
        return f"{name}-at-{tenant_id}" if self.found is HostKind.LOGIN else name

    async def session(self, tenant_id: str | None = None) -> tuple[Session, str] | None:
        """The live session of this browser at this host (at the login host: of that tenant, or
        any), and the cookie that carries it.
        """
        name = self.services.config.cookie.name
        names: tuple[str, ...] = (name,)
        if self.found is HostKind.LOGIN:
            lines = self.request.headers.getall("Cookie", ())
            names = (
                (self.session_cookie(tenant_id),)
                if tenant_id is not None
                else names_below(lines, f"{name}-at-")[:MAX_TENANTS]
            )
        for cookie in (value for each in names for value in self.cookies(each)):
            session = await self.services.sessions.find(cookie, host=self.host)
            if session is not None and (tenant_id is None or session.tenant == tenant_id):
                self.services.sessions.used(session, active_s=self._active_s(session))
                return session, cookie
        return None

    def _active_s(self, session: Session) -> float | None:
        """As for a check: an application may poll ``/_auth/userinfo``."""
        tenant = self.services.tenants.table.by_id(session.tenant)
        return (
            None
            if tenant is not None and tenant.session.counts.excludes(self.request.path)
            else 0.0
        )

    def return_origin(self, host: str) -> str | None:
        """Origin of a host that a login begun here may return to: this host, or another of the same
        tenant.
        """
        if host == self.host:
            return self.origin
        tenant = self.tenant
        owner = self.services.tenants.table.by_host(host)
        return self.services.config.origin(host) if tenant is not None and owner is tenant else None


class BrowserError(Exception):
    """Ends in the error page. ``code`` is a login error of ``cognito.troubleshooting``; ``cause``
    and ``setting`` are for the log; ``retry`` is a URL of ours, and ``others`` are labels and URLs
    of ours, of other ways to sign in.
    """

    def __init__(
        self,
        reason: Reason,
        status: int,
        *,
        code: str = "",
        retry: str | None = None,
        others: tuple[tuple[str, str], ...] = (),
        cause: str = "",
        setting: str = "",
        tenant: Tenant | None = None,
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.status = status
        self.code = code
        self.retry = retry
        self.others = others
        self.cause = cause
        self.setting = setting
        self.tenant = tenant


def parse(request: web.Request) -> Browser:
    """Raises ``BrowserError`` for a host that nobody serves, or whose tenant is not active."""
    browser = parse_any(request)
    if browser.tenant is not None and not browser.tenant.active:
        raise BrowserError(Reason.TENANT_INACTIVE, 403)
    return browser


def parse_any(request: web.Request) -> Browser:
    """As above, of tenants that are not active too: for testing their connection."""
    services = request.app[SERVICES]
    host_lines = request.headers.getall("Host", ())
    host = parse_host_header(host_lines[0]) if len(host_lines) == 1 else None
    if host is None:
        raise BrowserError(Reason.BAD_REQUEST, 400)
    if services.tenants.table.by_host(host) is HostKind.UNKNOWN:
        raise BrowserError(Reason.UNKNOWN_HOST, 421)
    client = client_of(request, services)
    return Browser(
        services,
        request,
        host,
        request_id_of(request),
        language_of(request),
        client,
        _public(client) and not _ours(client, services),
    )


def record_of(request: web.Request) -> RequestRecord:
    """The same for the whole request."""
    record = request.get(RECORD)
    if record is None:
        request_id = parse_request_id(request.headers.get("X-Request-Id", ""))
        record = request[RECORD] = RequestRecord(request_id or secrets.token_hex(8))
    return record


def request_id_of(request: web.Request) -> str:
    """The ingress' id if it has a harmless shape, else a new one; the same for the whole
    request.
    """
    return record_of(request).request_id


def language_of(request: web.Request) -> str:
    return _negotiated(",".join(request.headers.getall("Accept-Language", ()))[:MAX_LANGUAGES])


_negotiated = lru_cache(maxsize=512)(negotiate)


def client_of(request: web.Request, services: Services) -> str:
    """Right-most entry of X-Forwarded-For that is not one of our proxies; the peer where that says
    nothing.
    """
    return client_behind(request, services.trust.proxy)


def client_behind(request: web.Request, is_proxy: Callable[[str], bool]) -> str:
    """The same, for a listener that has no ``Services``."""
    peer = _plain(request.remote or "127.0.0.1")
    if not is_own(peer, is_proxy):
        return peer
    for entry in reversed(
        ",".join(request.headers.getall("X-Forwarded-For", ())).rsplit(",", MAX_HOPS)[-MAX_HOPS:]
    ):
        candidate = entry.strip()
        if not _is_address(candidate):
            break
        candidate = _plain(candidate)
        if not is_own(candidate, is_proxy):
            return candidate
        peer = candidate
    return peer


def _is_address(text: str) -> bool:
    return len(text) <= MAX_ADDRESS and _parses(text)


@lru_cache(maxsize=4096)
def _parses(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """An IPv4 address within IPv6 as IPv4; anything else as it is."""
    try:
        return str(plain_address(text)) if text.lower().startswith("::ffff:") else text
    except ValueError:
        return text


@lru_cache(maxsize=4096)
def _public(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_private
    except ValueError:
        return False  # the name of a Unix socket's other end


@lru_cache(maxsize=4096)
def _loopback(address: str) -> bool | None:
    """None for what is no address."""
    try:
        return plain_address(address).is_loopback
    except ValueError:
        return None


def _ours(address: str, services: Services) -> bool:
    return is_own(address, services.trust.proxy)


def is_own(address: str, is_proxy: Callable[[str], bool]) -> bool:
    """Whether it is one of our proxies, or this machine."""
    address = _plain(address)
    loopback = _loopback(address)
    return loopback is not None and (loopback or is_proxy(address))
