"""What an ingress has to know about this gateway: one value, from which every kind of configuration
is rendered.

Rules:
- Managed header names are those that ``gateway.yaml`` declares, and no others: the same for every
  host and tenant.
- Everything that ends up in a configuration file is checked here against the narrowest alphabet
  that works, so that no template has to quote and no value can end a directive.
- Of a client's own headers an application receives those that are known to be harmless and those
  that the operator named (``gateway.core.client_headers``): applications read more names than their
  operators know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.config.types import check_client_headers
from gateway.core.client_headers import (
    HARMLESS,
    NEVER,
    ORDINARY,
    PREFIXES,
    is_suspicious,
    packed,
    removal_patterns,
)
from gateway.core.hosts import canonical_host
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.model import Config
    from gateway.core.model import Secret, Tenant

ASKED = (
    "Cookie",
    "Authorization",
    "Accept",
    "Accept-Language",
    "Origin",
    "Access-Control-Request-Method",
    "X-Requested-With",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Site",
    "Sec-Purpose",
    "Destination",
    "Depth",
    "Sec-WebSocket-Version",
    "X-Request-Id",
)
"""What the check reads of the client's own headers; nothing else of a request has to reach it."""

TOLD = (
    "Location",
    "WWW-Authenticate",
    "Content-Type",
    "Content-Language",
    "Cache-Control",
    "Retry-After",
    "Content-Security-Policy",
    "Cross-Origin-Opener-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
)
"""What a client receives of a refusal's headers."""

STREAM_LIMIT_S = 3600
"""Forward-auth sees the beginning of a connection only. Where the proxy can, a WebSocket or stream
ends after this long and has to begin again, with a check; shorter means a revoked person is cut off
sooner and clients reconnect more often.
"""

MAX_LABELS = 128
"""A host name has fewer: 253 characters at most (RFC 1035 §2.3.4)."""

_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,45}\]):\d{1,5}")
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")
_FILE = re.compile(r"/[A-Za-z0-9._/-]{1,200}")


MAX_REMOVALS = 64
"""Entries of ``removeOnMatch`` in a ``ClientTrafficPolicy`` of Envoy Gateway."""


class SiteError(ConfigError):
    """Something cannot be written into an ingress configuration safely."""


@dataclass(frozen=True, slots=True)
class App:
    """One upstream and protected hosts that it serves; ``wildcards`` are the parts after ``*.``."""

    name: str
    upstream: str
    hosts: tuple[str, ...]
    wildcards: tuple[str, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        return (*self.hosts, *(f"*.{name}" for name in self.wildcards))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Addresses are ``host:port``. ``certificate`` is (chain, key) as absolute paths; None where
    TLS ends elsewhere or is not wanted.
    """

    listen: str
    scheme: str
    apps: tuple[App, ...]
    login_host: str | None
    managed: tuple[str, ...]
    cookie: str
    key: Secret
    check: str
    public: str
    certificate: tuple[str, str] | None = None
    public_port: int | None = None
    """The port in addresses that browsers use; None is the scheme's own."""
    redirect: str | None = None
    """Where plain http is answered with the same address under https."""
    stream_limit_s: int = STREAM_LIMIT_S
    stats_socket: str | None = None
    """Of HAProxy: a Unix socket over which open connections can be cut."""
    client_headers: tuple[str, ...] = ()
    """What the operator lets through besides the names that are known to be harmless."""
    removed: tuple[str, ...] = field(init=False)
    """Names that no client may pass through, for proxies that can remove single names only: the
    managed ones first.
    """
    passed: tuple[str, ...] = field(init=False)
    """Of the names below ``prefixes``, those that a client may send to an application."""

    def __post_init__(self) -> None:
        for what, address in (
            ("listen", self.listen),
            ("check", self.check),
            ("public", self.public),
            *((("redirect", self.redirect),) if self.redirect else ()),
            *((f"upstream of {a.name}", a.upstream) for a in self.apps),
        ):
            if not _ADDRESS.fullmatch(address):
                raise SiteError(f"{what}: {address!r}: host:port")
        if not _KEY.fullmatch(self.key.reveal()):
            raise SiteError(
                "ingress.keys: a key that is rendered needs 16 to 200 letters, digits or . "
                "_ ~ + / = - (try: openssl rand -hex 32)"
            )
        for path in self.certificate or ():
            if not _FILE.fullmatch(path):
                raise SiteError(f"certificate: {path!r}: an absolute path of plain characters")
        if self.stats_socket is not None and not _FILE.fullmatch(self.stats_socket):
            raise SiteError(
                f"stats socket: {self.stats_socket!r}: an absolute path of plain characters"
            )
        if self.redirect and (self.scheme != "https" or self.redirect == self.listen):
            raise SiteError(
                f"redirect: {self.redirect!r}: an address of its own, where public_scheme is https"
            )
        if not any(app.patterns for app in self.apps):
            raise SiteError(
                "no protected host: the configuration names no tenant host and no shared host"
            )
        try:
            check_client_headers(self.client_headers)
        except ValueError as error:
            raise SiteError(f"ingress.client_headers: {error}") from error
        managed = {name.lower() for name in self.managed}
        object.__setattr__(
            self,
            "removed",
            _distinct((*self.managed, *(name for names in NEVER.values() for name in names))),
        )
        object.__setattr__(
            self,
            "passed",
            tuple(
                name
                for name in _distinct((*HARMLESS, *self.client_headers))
                if name.lower() not in managed and is_suspicious(name)
            ),
        )

    @property
    def told(self) -> tuple[str, ...]:
        return TOLD

    @property
    def asked(self) -> tuple[str, ...]:
        return ASKED

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Where only ``passed`` passes; each without its dash."""
        return PREFIXES

    @property
    def removed_by_name(self) -> tuple[str, ...]:
        """``removed`` less what is removed because of its prefix, for proxies that can do both: the
        managed names first.
        """
        return self.managed + tuple(
            name for name in self.removed[len(self.managed) :] if not is_suspicious(name)
        )

    def removal_patterns(self, *own: str) -> tuple[str, ...]:
        """Regular expressions of the names below ``prefixes`` that go; ``own`` are those that the
        proxy itself has set by then.
        """
        return removal_patterns((*self.passed, *own))

    def bounded_removal_patterns(self) -> tuple[str, ...]:
        """All that no client may pass through, for Envoy Gateway, which takes so many entries and
        no more. Raises ``SiteError``.
        """
        patterns = (
            ".*[^a-z0-9:-].*",
            *removal_patterns(self.passed),
            *packed(name.lower() for name in self.removed_by_name),
        )
        if len(patterns) > MAX_REMOVALS:
            raise SiteError(
                f"ingress.client_headers: Envoy Gateway takes {MAX_REMOVALS} patterns, and "
                f"these names need {len(patterns)}: name fewer"
            )
        return patterns

    @property
    def everything_passed(self) -> tuple[str, ...]:
        """For a proxy that passes a list and nothing else: all that an ordinary client sends and an
        application may receive.
        """
        managed = {name.lower() for name in self.managed}
        return tuple(
            name
            for name in _distinct((*ORDINARY, *HARMLESS, *self.client_headers))
            if name.lower() not in managed
        )

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def bind(self) -> str:
        return self.listen.rpartition(":")[0]

    @property
    def public_suffix(self) -> str:
        """What stands behind a host name in an address that browsers use: ``:8443``, or nothing."""
        return f":{self.public_port}" if self.public_port else ""

    @property
    def plain_ports(self) -> tuple[str, ...]:
        """What an application that takes its own scheme for http may write behind its host name."""
        return _distinct(("", ":80", self.public_suffix))

    @property
    def all_patterns(self) -> tuple[str, ...]:
        """Every host name this ingress answers for."""
        return (*self.protected, *((self.login_host,) if self.login_host else ()))

    @property
    def protected(self) -> tuple[str, ...]:
        """Every host name of an application."""
        return tuple(pattern for app in self.apps for pattern in app.patterns)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for name in names:
        seen.setdefault(name.lower(), name)
    return tuple(seen.values())


def _pattern(value: str) -> str:
    star = "*." if value.startswith("*.") else ""
    host = canonical_host(value.removeprefix("*."))
    if host is None:
        raise SiteError(
            f"host: {value!r}: a host name such as app.example.com or *.app.example.com"
        )
    return star + host


def _apps(upstreams: Mapping[str, str]) -> tuple[App, ...]:
    """From host pattern → address, in the order in which proxies that take the first match have to
    try them.

    A wildcard holds every name below it, also those that another upstream serves: so names come
    first, and the longer wildcard before the shorter one.
    """
    groups: dict[tuple[int, str], list[str]] = {}
    several = len(set(upstreams.values())) > 1
    for pattern, address in upstreams.items():
        groups.setdefault(
            (-pattern.count(".") if several and pattern.startswith("*.") else -MAX_LABELS, address),
            [],
        ).append(pattern)
    return tuple(
        App(
            name="app" if number == 0 else f"app{number + 1}",
            upstream=address,
            hosts=tuple(p for p in served if not p.startswith("*.")),
            wildcards=tuple(p[2:] for p in served if p.startswith("*.")),
        )
        for number, ((_, address), served) in enumerate(
            sorted(groups.items(), key=lambda group: group[0][0])
        )
    )


def site_of(
    config: Config,
    tenants: Iterable[Tenant],
    *,
    listen: str,
    upstream: str,
    upstreams: Mapping[str, str] | None = None,
    check: str | None = None,
    public: str | None = None,
    certificate: tuple[str, str] | None = None,
    hosts: Iterable[str] = (),
    redirect: str | None = None,
    stream_limit_s: int = STREAM_LIMIT_S,
    stats_socket: str | None = None,
) -> Site:
    """``upstream`` serves every protected host that ``upstreams`` (host pattern → address) does not
    name.

    ``check`` and ``public``: how the ingress reaches those listeners, where it is not the address
    they bind. ``hosts``: of tenants that are not in ``tenants``, because they live in SQL.
    ``redirect``: where plain http is sent on to https. Raises ``SiteError``.
    """
    tenants = tuple(tenants)
    if not config.ingress.keys:
        raise SiteError(
            "ingress.keys: a rendered configuration proves with a key that it is the "
            "ingress; set one"
        )
    of_tenants = (
        p for t in tenants for p in (*sorted(t.hosts), *(f"*.{w}" for w in sorted(t.wildcards)))
    )
    patterns = _distinct((*config.shared_hosts, *of_tenants, *(_pattern(host) for host in hosts)))
    chosen = dict(upstreams or {})
    unknown = set(chosen) - set(patterns)
    if unknown:
        raise SiteError(
            f"{min(unknown)}: not a protected host (there are: {', '.join(patterns) or 'none'})"
        )
    apps = _apps({pattern: chosen.get(pattern, upstream) for pattern in patterns})
    return Site(
        listen=listen,
        scheme=config.public_scheme,
        apps=apps,
        login_host=config.login_host,
        managed=config.managed_headers,
        cookie=config.cookie.name,
        key=config.ingress.keys[0],
        check=check or config.listen.check,
        public=public or config.listen.public,
        certificate=certificate,
        public_port=config.public_port,
        redirect=redirect,
        stream_limit_s=stream_limit_s,
        stats_socket=stats_socket,
        client_headers=config.ingress.client_headers,
    )
