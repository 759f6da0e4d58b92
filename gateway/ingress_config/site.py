"""What an ingress has to know about this gateway: one value, from which every kind of configuration
is rendered.

Rules:
- Managed header names are those that ``gateway.yaml`` declares, and no others: the same for every
  host and tenant.
- Every host is guarded, and the gateway says which ones exist: a tenant that is added needs no
  other ingress configuration. Only who routes by host renders the names that exist.
- Everything that ends up in a configuration file is checked here against the narrowest alphabet
  that works, so that no template has to quote and no value can end a directive.
- Of a client's own headers an application receives those that are known to be harmless and those
  that the operator named (``gateway.core.client_headers``): applications read more names than their
  operators know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from gateway.config.types import check_client_headers
from gateway.core.client_header_names import HARMLESS, NEVER, ORDINARY, PREFIXES
from gateway.core.client_headers import is_suspicious, packed, removal_patterns
from gateway.core.hosts import canonical_host
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.config.model import Config
    from gateway.core.model import Secret

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

CHECK_ENTRY_POINT = "127.0.0.1:8079"
"""Where Traefik, which asks at one address, shares out what it asks among several."""

MAX_LABELS = 128
"""A host name has fewer: 253 characters at most (RFC 1035 §2.3.4)."""

_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,45}\]):\d{1,5}")
_SOCKET = re.compile(r"unix:/[A-Za-z0-9._/-]{1,100}")
"""Shorter than ``sun_path``, which holds 108 bytes."""
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")
_FILE = re.compile(r"/[A-Za-z0-9._/-]{1,200}")
_VERSION = re.compile(r"(?:^|/)(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\d.])")
OLDEST_NGINX = (1, 18, 0)
MAX_ADDRESSES = 16
"""Of one listener: replicas of the gateway."""
MAX_KEYS = 4
"""The ingress sends every key that holds, so that a rotation needs no order of steps."""


MAX_REMOVALS = 64
"""Entries of ``removeOnMatch`` in a ``ClientTrafficPolicy`` of Envoy Gateway."""


class SiteError(ConfigError):
    """Something cannot be written into an ingress configuration safely."""


@dataclass(frozen=True, slots=True)
class App:
    """One upstream and protected hosts that it serves; ``wildcards`` are the parts after ``*.``.
    ``every``: whatever no other application serves.
    """

    name: str
    upstream: str
    hosts: tuple[str, ...]
    wildcards: tuple[str, ...] = ()
    every: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        return (*self.hosts, *(f"*.{name}" for name in self.wildcards))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Addresses are ``host:port``; those of the gateway's listeners also ``unix:/path``, and one
    for each replica. ``certificate`` is (chain, key) as absolute paths; None where TLS ends
    elsewhere or is not wanted.
    """

    listen: str
    scheme: str
    apps: tuple[App, ...]
    login_host: str | None
    managed: tuple[str, ...]
    cookie: str
    keys: tuple[Secret, ...]
    checks: tuple[str, ...]
    publics: tuple[str, ...]
    certificate: tuple[str, str] | None = None
    public_port: int | None = None
    """The port in addresses that browsers use; None is the scheme's own."""
    redirect: str | None = None
    """Where plain http is answered with the same address under https."""
    stream_limit_s: int = STREAM_LIMIT_S
    stats_socket: str | None = None
    """Of HAProxy: a Unix socket over which open connections can be cut."""
    check_entry_point: str = CHECK_ENTRY_POINT
    """Of Traefik with several checks: where it shares them out, for itself alone."""
    nginx_version: tuple[int, int, int] | None = None
    """None: what every supported version takes."""
    hooks_host: str | None = None
    """Where identity providers deliver events; None where they reach ``listen.hooks`` otherwise."""
    hooks: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    """How the ingress reaches the pages of setup links; empty where there are none."""
    hsts_s: int | None = None
    """How long browsers use nothing but https at these hosts."""
    real_ip: tuple[str, ...] = ()
    """Networks of load balancers whose ``X-Forwarded-For`` names the client."""
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
            ("check entry point", self.check_entry_point),
            *((("redirect", self.redirect),) if self.redirect else ()),
            *((f"upstream of {a.name}", a.upstream) for a in self.apps),
        ):
            if not _ADDRESS.fullmatch(address):
                raise SiteError(f"{what}: {address!r}: host:port")
        for what, addresses in (
            ("check", self.checks),
            ("public", self.publics),
            *((("hooks", self.hooks),) if self.hooks_host else ()),
            *((("pages", self.setup),) if self.setup else ()),
        ):
            _check_listener(what, addresses)
        if self.hooks_host is not None and self.hooks_host in self.all_patterns:
            raise SiteError(f"hooks host: {self.hooks_host}: a host of its own")
        if self.hsts_s is not None and self.scheme != "https":
            raise SiteError("hsts: where public_scheme is https")
        for network in self.real_ip:
            _check_network(network)
        if len(self.keys) > MAX_KEYS:
            raise SiteError(f"ingress.keys: {MAX_KEYS} at most can be rendered")
        if not all(_KEY.fullmatch(key.reveal()) for key in self.keys):
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
        if not any(app.patterns or app.every for app in self.apps):
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
    def key(self) -> str:
        """What proves that it is the ingress which asks: every key that holds. A secret."""
        return ",".join(key.reveal() for key in self.keys)

    @property
    def check_socket(self) -> str:
        """Of HAProxy with several checks: a socket in the abstract namespace on which it shares out
        what it asks.
        """
        return f"abns@gateway-check-{self.port}"

    @property
    def check_destination(self) -> str | None:
        """Of HAProxy: where the check is, if not at the address in its URL."""
        if len(self.checks) > 1:
            return self.check_socket
        socket = self.checks[0]
        return socket.replace("unix:", "unix@", 1) if socket.startswith("unix:") else None

    @property
    def every_host(self) -> bool:
        """Whether requests for any host are asked about."""
        return any(app.every for app in self.apps)

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
        """Every host name this ingress knows."""
        return (*self.protected, *(host for host in (self.login_host,) if host))

    @property
    def protected(self) -> tuple[str, ...]:
        """Every host name of an application."""
        return tuple(pattern for app in self.apps for pattern in app.patterns)


def parse_version(text: str) -> tuple[int, int, int]:
    """``1.24.0``, also as ``nginx -v`` says it. Raises ``SiteError``."""
    match = _VERSION.search(text)
    if match is None:
        raise SiteError(f"nginx version: {text!r}: such as 1.24.0")
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < OLDEST_NGINX:
        raise SiteError(f"nginx version: {text!r}: {'.'.join(map(str, OLDEST_NGINX))} or later")
    return version


def _check_listener(what: str, addresses: tuple[str, ...]) -> None:
    """Raises ``SiteError``."""
    for address in addresses:
        if not (_ADDRESS.fullmatch(address) or _SOCKET.fullmatch(address)):
            raise SiteError(f"{what}: {address!r}: host:port, or unix:/path of plain characters")
    if not 1 <= len(addresses) <= MAX_ADDRESSES or len(set(addresses)) != len(addresses):
        raise SiteError(f"{what}: between 1 and {MAX_ADDRESSES} addresses, each once")
    if len({address.startswith("unix:") for address in addresses}) > 1:
        raise SiteError(f"{what}: either host:port or unix:/path, not both")


def _check_network(text: str) -> None:
    """Raises ``SiteError``."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise SiteError(f"real ip: {text!r}: a network such as 10.0.0.0/24") from error
    if network.prefixlen == 0:
        raise SiteError(f"real ip: {text!r}: everybody could say who they are")


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(name.lower(), name)
    return tuple(spellings.values())


def _pattern(value: str) -> str:
    star = "*." if value.startswith("*.") else ""
    host = canonical_host(value.removeprefix("*."))
    if host is None:
        raise SiteError(
            f"host: {value!r}: a host name such as app.example.com or *.app.example.com"
        )
    return star + host


def _name(value: str) -> str:
    pattern = _pattern(value)
    if pattern.startswith("*."):
        raise SiteError(f"hooks host: {value!r}: one name")
    return pattern


def _apps(upstreams: Mapping[str, str], every: str | None) -> tuple[App, ...]:
    """From host pattern → address, in the order in which proxies that take the first match have to
    try them; last, what serves every other host.

    A wildcard holds every name below it, also those that another upstream serves: so names come
    first, and the longer wildcard before the shorter one.
    """
    groups: dict[tuple[int, str], list[str]] = {}
    several = len({*upstreams.values(), *((every,) if every else ())}) > 1
    for pattern, address in upstreams.items():
        groups.setdefault(
            (-pattern.count(".") if several and pattern.startswith("*.") else -MAX_LABELS, address),
            [],
        ).append(pattern)
    served_by = [
        (address, patterns)
        for (_, address), patterns in sorted(groups.items(), key=lambda g: g[0][0])
    ]
    if every is not None:
        served_by.append((every, []))
    return tuple(
        App(
            name="app" if number == 0 else f"app{number + 1}",
            upstream=address,
            hosts=tuple(p for p in patterns if not p.startswith("*.")),
            wildcards=tuple(p[2:] for p in patterns if p.startswith("*.")),
            every=not patterns,
        )
        for number, (address, patterns) in enumerate(served_by)
    )


def site_of(
    config: Config,
    *,
    listen: str,
    upstream: str,
    upstreams: Mapping[str, str] | None = None,
    hosts: Iterable[str] | None = None,
    checks: Sequence[str] = (),
    publics: Sequence[str] = (),
    certificate: tuple[str, str] | None = None,
    hooks_host: str | None = None,
    hooks: Sequence[str] = (),
    pages: str | None = None,
    hsts_s: int | None = None,
    real_ip: Sequence[str] = (),
    redirect: str | None = None,
    stream_limit_s: int = STREAM_LIMIT_S,
    stats_socket: str | None = None,
    check_entry_point: str = CHECK_ENTRY_POINT,
    nginx_version: tuple[int, int, int] | None = None,
) -> Site:
    """``upstream`` serves every host that ``upstreams`` (host pattern → address) does not name.

    ``hosts``: the patterns of all tenants, where nothing else is to be guarded; None guards every
    host. ``checks``, ``publics`` and, for ``hooks_host``, ``hooks``: how the ingress reaches those
    listeners of each replica, where it is not the address they bind; ``pages``: the same of the
    console, which is an application behind the check like any other, and of setup links, which the
    login host serves without one. ``redirect``: where plain http
    is sent on to https. Raises ``SiteError``.
    """
    addresses = {_pattern(host): address for host, address in (upstreams or {}).items()}
    console = config.console.host
    if console is not None:
        if console in addresses:
            raise SiteError(f"{console}: the console's host is the gateway's")
        addresses[console] = pages or config.listen.pages
    if hosts is None:
        apps = _apps(addresses, upstream)
    else:
        own = (console,) if console is not None else ()
        patterns = _distinct((*config.shared_hosts, *own, *(_pattern(host) for host in hosts)))
        unknown = set(addresses) - set(patterns)
        if unknown:
            raise SiteError(
                f"{min(unknown)}: not a protected host (there are: {', '.join(patterns) or 'none'})"
            )
        apps = _apps({pattern: addresses.get(pattern, upstream) for pattern in patterns}, None)
    if config.login_host in addresses:
        raise SiteError(f"{config.login_host}: the login host is the gateway's")
    return Site(
        listen=listen,
        scheme=config.public_scheme,
        apps=apps,
        login_host=config.login_host,
        managed=config.managed_headers,
        cookie=config.cookie.name,
        keys=config.ingress.keys,
        checks=tuple(checks) or (config.listen.check,),
        publics=tuple(publics) or (config.listen.public,),
        certificate=certificate,
        hooks_host=None if hooks_host is None else _name(hooks_host),
        hooks=(tuple(hooks) or (config.listen.hooks,)) if hooks_host else (),
        setup=(pages or config.listen.pages,) if config.setup.enabled else (),
        hsts_s=hsts_s,
        real_ip=tuple(real_ip),
        public_port=config.public_port,
        redirect=redirect,
        stream_limit_s=stream_limit_s,
        stats_socket=stats_socket,
        check_entry_point=check_entry_point,
        nginx_version=nginx_version,
        client_headers=config.ingress.client_headers,
    )
