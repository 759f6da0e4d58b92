"""``gateway.yaml`` and the environment (``config.environment``) become one frozen ``Config``.
Nobody else reads settings from ``os.environ``.

Every key can be set by environment (``GATEWAY_SESSION__IDLE_TIMEOUT=30m``); the environment wins
over the file. A secret's value may be ``env:NAME`` or ``file:PATH``. Unknown keys are errors. Every
mistake is reported with file, key, value (never a secret's) and what is allowed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.config.audit import Audit
from gateway.config.console import Console
from gateway.config.environment import ENV_PREFIX, Environment, check_names, origin, variable
from gateway.config.renamed import GATEWAY_KEYS
from gateway.config.setup import Setup
from gateway.config.tracing import TracingBase, export_url, headers_variable, parse_export_headers
from gateway.config.types import (
    DEFAULT_HEADERS,
    VISIBLE,
    Duration,
    FilePath,
    HeaderMap,
    HeaderSetting,
    HostName,
    ListenAddress,
    Look,
    MailAddress,
    Model,
    Url,
    check_client_header_names,
    check_client_headers,
    check_header_map,
    check_open_header_map,
    format_duration,
    is_loopback_name,
    off_or_duration,
    parse_network,
    scheme_of,
)
from gateway.config.user_pools import Cognito, UserPool, pool_key
from gateway.config.yaml import explain_validation, read_yaml
from gateway.core.model import Secret
from gateway.errors import ConfigError

REDACTED = "***"
TENANTS_DIRECTORY = variable("tenants.directory")
EMBEDDED_DATABASE = "gateway.sqlite3"
"""In ``state_dir``."""


def resolve_secret(value: object) -> Secret:
    """``env:NAME`` and ``file:PATH`` are looked up; anything else is the secret itself. Raises
    ``ValueError`` without the value.
    """
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        msg = "a non-empty string, env:NAME or file:PATH"
        raise ValueError(msg)
    if value == REDACTED:
        msg = (
            f"{REDACTED} is how a secret is shown, not one: nothing is stored here that could "
            "be kept"
        )
        raise ValueError(msg)
    if value.startswith("env:"):
        if not value[4:]:
            msg = "env: names no variable (env:NAME)"
            raise ValueError(msg)
        return _found(os.environ.get(value[4:], ""), f"the environment variable {value[4:]}")
    if value.startswith("file:"):
        try:
            text = Path(value[5:]).read_bytes().decode()
        except UnicodeDecodeError as error:
            msg = f"the file {value[5:]} is not UTF-8 text"
            raise ValueError(msg) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            msg = f"the file {value[5:]} cannot be read ({reason})"
            raise ValueError(msg) from error
        return _found(text, f"the file {value[5:]}")
    return _secret(value, "the value")


def _found(text: str, where: str) -> Secret:
    """What an editor or ``echo`` adds is no part of a secret: a byte order mark, blanks and line
    ends around it.
    """
    cleaned = text.removeprefix("\ufeff").strip()
    if not cleaned:
        msg = f"{where} is {'not set' if not text and where.startswith('the env') else 'empty'}"
        raise ValueError(msg)
    return _secret(cleaned, where)


def _secret(text: str, where: str) -> Secret:
    """A blank that was copied with it would be part of it, and of no use to anybody who looks for
    it.
    """
    if text != text.strip():
        msg = f"{where} has blanks at an end: no blanks at either end"
        raise ValueError(msg)
    for position, character in enumerate(text, 1):
        if not character.isprintable():
            name = _CONTROLS.get(character) or unicodedata.name(character, "a control character")
            msg = (
                f"{where} holds {name} (U+{ord(character):04X}) at position {position}: "
                "no control characters"
            )
            raise ValueError(msg)
    return Secret(text)


_CONTROLS = {"\0": "NUL", "\t": "a tab", "\n": "a line feed", "\r": "a carriage return"}


SecretValue = Annotated[
    Secret,
    BeforeValidator(resolve_secret),
    PlainSerializer(lambda _: REDACTED, return_type=str),
    WithJsonSchema({"type": "string", "description": "the secret, env:NAME or file:PATH"}),
]


class Listen(Model):
    """Where each listener binds. ``check`` is for the ingress only; ``admin`` for operators, probes
    and Prometheus.
    """

    @model_validator(mode="after")
    def _apart(self) -> Listen:
        names: dict[str, str] = {}
        for name in type(self).model_fields:
            address = getattr(self, name)
            if address in names and not address.endswith(":0"):
                msg = f"{names[address]} and {name} are both {address}: each needs its own"
                raise ValueError(msg)
            names[address] = name
        return self

    check: ListenAddress = "127.0.0.1:8081"
    public: ListenAddress = "127.0.0.1:8080"
    hooks: ListenAddress = "127.0.0.1:8083"
    admin: ListenAddress = "127.0.0.1:8082"
    pages: ListenAddress = "127.0.0.1:8084"
    """Used only with ``console.host`` or ``setup.enabled``."""


class Ingress(Model):
    """Who is believed. Each that is configured must hold; with neither the gateway does not
    start.
    """

    keys: tuple[SecretValue, ...] = ()
    trusted_proxies: tuple[Annotated[str, BeforeValidator(parse_network)], ...] = ()
    client_headers: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """What rendered ingresses pass from clients to applications besides the names that are known to
    be harmless.
    """

    place_headers: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    """What a CDN in front names the place of a client in."""

    @field_validator("place_headers")
    @classmethod
    def _readable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_client_header_names(names)
        return names

    @field_validator("client_headers")
    @classmethod
    def _harmless(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_client_headers(names)
        return names

    @field_validator("keys")
    @classmethod
    def _long_enough(cls, keys: tuple[Secret, ...]) -> tuple[Secret, ...]:
        if any(len(k.reveal()) < 16 for k in keys):
            msg = "keys of at least 16 characters (try: openssl rand -hex 32)"
            raise ValueError(msg)
        if any("," in key.reveal() for key in keys):
            msg = "keys without a comma, which separates them where an ingress sends several"
            raise ValueError(msg)
        return keys


KMS_KEY = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$"
"""The ARN of a key, never of an alias: an alias may lead to another key tomorrow."""
KmsWord = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


class Kms(Model):
    """The key of AWS KMS that encrypts the key ring's file."""

    key_id: Annotated[str, Field(pattern=KMS_KEY)]
    context: Annotated[dict[KmsWord, KmsWord], Field(max_length=8)] = Field(default_factory=dict)

    @field_validator("context")
    @classmethod
    def _without_purpose(cls, context: dict[str, str]) -> dict[str, str]:
        if "purpose" in context:
            msg = "purpose is the gateway's own name in the encryption context"
            raise ValueError(msg)
        return context


class KeyRingFile(Model):
    """The key ring: seals sessions, signs assertions, encrypts secrets in SQL."""

    file: FilePath
    kms: Kms | None = None


class Redis(Model):
    """``embedded``, or a URL: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://."""

    url: SecretValue = Field(default_factory=lambda: Secret("embedded"))
    ca_file: FilePath | None = None
    min_replicas: Annotated[int, Field(ge=0, le=16)] | None = None
    """Replicas that confirm what is written before it is promised."""

    @property
    def confirming(self) -> int:
        """``min_replicas``, or what it is where nobody said: one where replicas are promoted by
        what the URL names.
        """
        if self.min_replicas is not None:
            return self.min_replicas
        return int(scheme_of(self.url.reveal()).endswith(("+sentinel", "+cluster")))

    @field_validator("url")
    @classmethod
    def _known(cls, url: Secret) -> Secret:
        text = url.reveal()
        if text != "embedded" and scheme_of(text) not in {
            "redis",
            "rediss",
            "unix",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
        }:
            msg = (
                "embedded, or a redis://, rediss://, unix://, redis+sentinel:// or "
                "redis+cluster:// URL"
            )
            raise ValueError(msg)
        return url


class Database(Model):
    """SQL of the admin role: ``embedded`` is SQLite in ``state_dir``."""

    url: SecretValue = Field(default_factory=lambda: Secret("embedded"))
    ca_file: FilePath | None = None
    """Who signs PostgreSQL's certificate, which is then verified."""

    @field_validator("url")
    @classmethod
    def _known(cls, url: Secret) -> Secret:
        text = url.reveal()
        if text != "embedded" and scheme_of(text) not in {
            "sqlite+aiosqlite",
            "postgresql+asyncpg",
        }:
            msg = "embedded, sqlite+aiosqlite:///PATH or postgresql+asyncpg://…"
            raise ValueError(msg)
        return url


class Assertion(Model):
    """``iss`` of the signed assertion header; default: ``public_scheme`` and ``login_host`` or,
    without one, the app's own origin. ``groups``: which are in it.
    """

    issuer: str | None = None
    groups: Literal["all", "referenced"] = "all"


class SessionSettings(Model):
    """Life of a session. ``max_revocation_delay``: the longest time a replica may serve cached
    sessions without renewing its lease, and therefore the longest that a revocation can take.
    """

    idle_timeout: Duration = timedelta(minutes=30)
    max_lifetime: Duration = timedelta(hours=12)
    max_per_user: Annotated[int, Field(ge=1, le=1000)] = 20
    revalidate_interval: Annotated[
        timedelta | None,
        BeforeValidator(off_or_duration),
        PlainSerializer(lambda v: "off" if v is None else format_duration(v)),
        WithJsonSchema({"type": "string", "description": "off or a duration"}),
    ] = None
    max_revocation_delay: Duration = timedelta(seconds=2)

    @model_validator(mode="after")
    def _ordered(self) -> SessionSettings:
        shortest, longest = timedelta(minutes=1), timedelta(days=30)
        if not shortest <= self.idle_timeout <= self.max_lifetime <= longest:
            msg = "1m <= idle_timeout <= max_lifetime <= 30d"
            raise ValueError(msg)
        if not timedelta(milliseconds=500) <= self.max_revocation_delay <= timedelta(minutes=1):
            msg = "max_revocation_delay between 500ms and 1m"
            raise ValueError(msg)
        if self.revalidate_interval is not None and self.revalidate_interval < timedelta(minutes=1):
            msg = "revalidate_interval off, or at least 1m"
            raise ValueError(msg)
        return self


class Cookie(Model):
    """``__Host-`` makes browsers refuse the cookie without Secure and Path=/, or with a Domain."""

    name: Annotated[str, Field(pattern=r"^__Host-[A-Za-z0-9-]{1,40}$", examples=["__Host-gw"])] = (
        "__Host-gw"
    )


class Product(Look):
    """The operator's product, on pages that are of no tenant yet. ``name``: on every page."""

    name: Annotated[str, Field(max_length=80), VISIBLE] = ""


class Tenants(Model):
    """GitOps folder of tenant files; SQL adds to them."""

    directory: FilePath | None = None


class ScimQuota(Model):
    """What the gateway keeps for one tenant, over all its providers. Beyond it the client is
    answered 413, and nothing changes.
    """

    users: int = Field(default=100_000, ge=1, le=10_000_000)
    groups: int = Field(default=10_000, ge=1, le=1_000_000)
    members: int = Field(default=1_000_000, ge=1, le=100_000_000)
    megabytes: int = Field(default=1024, ge=1, le=1_000_000)


class MassRemoval(Model):
    """Removals from groups beyond ``people`` and ``percent`` of a provider's known people within
    ten minutes are held for an operator.
    """

    people: int = Field(default=10, ge=1, le=10_000_000)
    percent: int = Field(default=20, ge=1, le=100)
    unknown: int = Field(default=100, ge=1, le=10_000_000)


class Hooks(Model):
    """``url``: how identity providers reach the ``hooks`` listener; ``reconcile_interval``: how
    often their directories and logs are read for events that were missed.

    ``private_networks``: where webhooks, issuers and providers' APIs may be although it is not
    public. ``scim``: how much each provider may store. ``mass_removal``: how many people may lose
    groups at once.
    """

    url: str | None = None
    reconcile_interval: Duration = timedelta(minutes=5)
    private_networks: tuple[Annotated[str, BeforeValidator(parse_network)], ...] = ()
    scim: ScimQuota = ScimQuota()
    mass_removal: MassRemoval = MassRemoval()

    @model_validator(mode="after")
    def _bounded(self) -> Hooks:
        if not timedelta(seconds=1) <= self.reconcile_interval <= timedelta(days=1):
            msg = (
                "reconcile_interval: between 1s and 1d (a delta token lives 7 days; a missed event "
                "is made up for within one interval)"
            )
            raise ValueError(msg)
        return self


class Mail(Model):
    """The SMTP server that letters go through; without ``host`` none are sent, and links are shown
    to be copied. ``operators``: who hears of what concerns any tenant.
    """

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9:._-]{1,253}$")] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """587, 465 or 25 unless said, by ``tls``."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: Annotated[str, Field(pattern=r"^[!-~]+$", max_length=320)] | None = None
    password: SecretValue | None = None
    ca_file: FilePath | None = None
    sender: MailAddress | None = None
    operators: Annotated[tuple[MailAddress, ...], Field(max_length=20)] = ()
    language: Literal["en", "de", "fr", "es"] = "en"
    timeout: Duration = timedelta(seconds=20)

    @property
    def effective_port(self) -> int:
        return self.port or {"starttls": 587, "tls": 465, "none": 25}[self.tls]

    @property
    def sender_domain(self) -> str:
        return (self.sender or "").rpartition("@")[2]

    @model_validator(mode="after")
    def _complete(self) -> Mail:
        if self.host is None:
            if self.model_fields_set - {"language", "timeout", "operators"}:
                msg = "the other keys are of no use without host"
                raise ValueError(msg)
            return self
        if self.sender is None:
            msg = "sender: required with host: the address that letters come from"
            raise ValueError(msg)
        if (self.user is None) != (self.password is None):
            msg = "user and password: both or neither"
            raise ValueError(msg)
        if self.tls == "none" and self.password is not None and not is_loopback_name(self.host):
            msg = "tls: none would send the password in clear: starttls or tls"
            raise ValueError(msg)
        if not timedelta(seconds=1) <= self.timeout <= timedelta(minutes=2):
            msg = "timeout: between 1s and 2m"
            raise ValueError(msg)
        return self


class Tracing(TracingBase):
    """Traces for a collector by OTLP over HTTP; see ``gateway.tracing``."""

    export_headers: SecretValue | None = None

    @property
    def url(self) -> str | None:
        """Where spans are posted; None for nowhere."""
        return export_url(self.endpoint)

    @property
    def headers(self) -> dict[str, str] | None:
        """Sent with each export; None for those that the environment names."""
        return (
            None
            if self.export_headers is None
            else parse_export_headers(self.export_headers.reveal())
        )

    @model_validator(mode="after")
    def _usable(self) -> Tracing:
        try:
            url = self.url
        except ValueError as error:
            msg = f"endpoint: {error}"
            raise ValueError(msg) from None
        if self.endpoint is None and self.model_fields_set:
            msg = "the other keys are of no use without endpoint"
            raise ValueError(msg)
        if self.export_headers is not None:
            try:
                parse_export_headers(self.export_headers.reveal())
            except ValueError as error:
                msg = f"export_headers: {error}"
                raise ValueError(msg) from None
        parts = urlsplit(url or "")
        headers = "export_headers" if self.export_headers is not None else headers_variable()
        if headers and parts.scheme == "http" and not is_loopback_name(parts.hostname or ""):
            msg = f"endpoint: http would send {headers} in clear: an https address"
            raise ValueError(msg)
        return self


def _dns_server(value: object) -> str:
    text = str(value)
    host, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "53")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return str(address) if int(port) == 53 else f"{address}:{int(port)}"
    msg = "an address such as 9.9.9.9, 10.0.0.53:5353 or 2620:fe::fe"
    raise ValueError(msg)


class Domains(Model):
    """How e-mail domains are proven. ``resolvers``: recursive DNS servers, asked apart. ``proof``:
    whether a tenant's document may name a domain that is neither proven nor vouched for.
    ``on_lost``: whether a domain whose record has been gone for ten days still leads people to its
    tenant where several tenants share a host.
    """

    resolvers: Annotated[
        tuple[Annotated[str, BeforeValidator(_dns_server)], ...], Field(min_length=1, max_length=5)
    ] = ("1.1.1.1", "8.8.8.8", "9.9.9.9")
    proof: Literal["optional", "required"] = "optional"
    on_lost: Literal["keep", "stop"] = "keep"


class Canary(Model):
    """Self-probe through the ingress: ``url`` must answer a login or a denial to a request without
    a session.
    """

    url: Url | None = None
    interval: Duration = timedelta(minutes=1)

    @model_validator(mode="after")
    def _bounded(self) -> Canary:
        if not timedelta(seconds=5) <= self.interval <= timedelta(days=1):
            msg = "interval: between 5s and 1d"
            raise ValueError(msg)
        return self


class Log(Model):
    """``format: auto``: text for people on a terminal, JSON elsewhere. ``checks``: of which checks
    there is a line; ``sampled``: of those that were allowed, ``checks_sample_rate`` of them.
    """

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    checks: Literal["all", "sampled", "denied", "off"] = "all"
    checks_sample_rate: float = Field(default=0.01, gt=0, le=1)


class Config(BaseSettings):
    """Everything the gateway is told, frozen. See docs/operator/configuration.md."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        validate_default=True,
    )

    development: bool = False
    listen: Listen = Listen()
    ingress: Ingress = Ingress()
    public_scheme: Literal["https", "http"] = "https"
    public_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port that browsers use, where it is not the scheme's own."""
    login_host: HostName | None = None
    shared_hosts: tuple[HostName, ...] = ()
    state_dir: FilePath = Path("state")
    key_ring: KeyRingFile | None = None
    redis: Redis = Redis()
    database: Database = Database()
    assertion: Assertion = Assertion()
    cognito: Cognito
    session: SessionSettings = SessionSettings()
    cookie: Cookie = Cookie()
    headers: HeaderMap = Field(
        default_factory=lambda: dict[str, str | HeaderSetting](DEFAULT_HEADERS)
    )
    tenant_headers: HeaderMap = Field(default_factory=dict)
    groups_header: Literal["all", "referenced"] = "all"
    product: Product = Product()
    tenants: Tenants = Tenants()
    hooks: Hooks = Hooks()
    console: Console = Console()
    mail: Mail = Mail()
    setup: Setup = Setup()
    domains: Domains = Domains()
    canary: Canary = Canary()
    audit: Audit = Audit()
    tracing: Tracing = Tracing()
    log: Log = Log()

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str | HeaderSetting]) -> dict[str, str | HeaderSetting]:
        check_header_map(headers)
        return headers

    @field_validator("tenant_headers")
    @classmethod
    def _tenant_headers(
        cls, headers: dict[str, str | HeaderSetting], info: ValidationInfo
    ) -> dict[str, str | HeaderSetting]:
        check_open_header_map(headers, info.data.get("headers", {}))
        return headers

    @model_validator(mode="after")
    def _coherent(self) -> Config:
        if not self.ingress.keys and not self.ingress.trusted_proxies:
            msg = (
                "ingress: keys or trusted_proxies must be set; with neither, anybody who "
                "reaches the check listener would be believed"
            )
            raise ValueError(msg)
        managed = {name.lower() for name in (*self.headers, *self.tenant_headers)}
        for name in self.ingress.client_headers:
            if name.lower() in managed:
                msg = (
                    f"ingress.client_headers: {name} is one of headers or tenant_headers: only "
                    "the gateway says it"
                )
                raise ValueError(msg)
        if self.public_scheme == "http" and not self.development:
            msg = (
                "public_scheme: http needs development: true (and then works on loopback and "
                "*.localhost only)"
            )
            raise ValueError(msg)
        if self.hooks.url is not None:
            self._https("hooks.url", self.hooks.url)
        if self.audit.endpoint_url is not None:
            self._https("audit.endpoint_url", self.audit.endpoint_url)
        for name, pool in self.cognito.all_pools.items():
            self._check_pool(pool_key(name), pool)
        if self.login_host is not None and self.login_host in self.shared_hosts:
            msg = "login_host cannot be one of shared_hosts"
            raise ValueError(msg)
        self._check_console()
        if self.setup.enabled and self.login_host is None:
            msg = "setup.enabled: needs login_host, where the pages of setup links are"
            raise ValueError(msg)
        for key, host in [
            ("login_host", self.login_host),
            ("console.host", self.console.host),
            *(("shared_hosts", h) for h in self.shared_hosts),
        ]:
            if host is not None and self.public_scheme == "http" and not is_loopback_name(host):
                msg = f"{key}: {host}: public_scheme http works on loopback and *.localhost only"
                raise ValueError(msg)
        if self.key_ring is None and not (self.embedded_redis and self.embedded_database):
            msg = (
                "key_ring.file is required, and shared by all replicas, unless both stores are "
                "embedded"
            )
            raise ValueError(msg)
        return self

    def _check_pool(self, key: str, pool: UserPool) -> None:
        for name, url in (
            ("domain", pool.domain),
            ("issuer", pool.effective_issuer),
            ("endpoint_url", pool.endpoint_url),
            ("secondary.domain", None if pool.secondary is None else pool.secondary.domain),
            ("secondary.issuer", pool.secondary_issuer),
        ):
            if url is not None:
                self._https(f"{key}.{name}", url)
        region = pool.user_pool_id.partition("_")[0]
        if region != pool.region and not self.development:
            msg = (
                f"{key}.user_pool_id: the pool is of region {region}, and {key}.region is "
                f"{pool.region}"
            )
            raise ValueError(msg)

    def _check_console(self) -> None:
        host = self.console.host
        if host is None:
            return
        if host == self.login_host or host in self.shared_hosts:
            msg = f"console.host: {host}: a host of its own, not login_host or one of shared_hosts"
            raise ValueError(msg)
        if self.assertion_header is None:
            msg = (
                "console.host: needs a header with the source assertion in headers: the console "
                "believes nothing else"
            )
            raise ValueError(msg)

    def _https(self, key: str, url: str) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme == "https"
            and parts.hostname
            and not parts.query
            and not parts.fragment
            and not parts.username
        ):
            return
        if parts.scheme == "http" and self.development and is_loopback_name(parts.hostname or ""):
            return
        msg = (
            f"{key}: {url!r}: an https:// URL without query (http:// only with development: "
            "true, on loopback)"
        )
        raise ValueError(msg)

    @property
    def has_pages(self) -> bool:
        """Whether the admin role has something to serve on ``listen.pages``."""
        return self.console.host is not None or self.setup.enabled

    @property
    def managed_headers(self) -> tuple[str, ...]:
        """Every name that an application may receive, at every host and for every tenant: what the
        ingress takes away from clients.
        """
        return (*self.headers, *self.tenant_headers)

    @property
    def assertion_header(self) -> str | None:
        """The header that carries the signed assertion; None where ``headers`` has none."""
        for name, setting in self.headers.items():
            if (setting if isinstance(setting, str) else setting.source) == "assertion":
                return name
        return None

    @property
    def assertion_issuer(self) -> str | None:
        """``iss`` of every signed assertion; None: the origin of the app that it is for."""
        return self.assertion.issuer or (
            self.origin(self.login_host) if self.login_host is not None else None
        )

    @property
    def embedded_redis(self) -> bool:
        return self.redis.url.reveal() == "embedded"

    @property
    def embedded_database(self) -> bool:
        return self.database.url.reveal() == "embedded"

    @property
    def embedded_database_file(self) -> Path:
        return self.state_dir / EMBEDDED_DATABASE

    @property
    def makes_key_ring(self) -> bool:
        """On first start, wherever it is to lie: with both stores embedded and empty nobody can
        have written with another one. Later a missing ring is one that is away: with a new one
        every session would be lost.
        """
        return (
            self.embedded_redis
            and self.embedded_database
            and not os.path.exists(self.state_dir / "valkey" / "appendonlydir")  # noqa: PTH110 - False for a name that cannot be
            and not _holds_data(self.embedded_database_file)
        )

    @property
    def key_file(self) -> Path:
        return self.key_ring.file if self.key_ring else self.state_dir / "keys.json"

    def origin(self, host: str) -> str:
        """``scheme://host[:port]`` as browsers spell the origin of ``host``."""
        return f"{self.public_scheme}://{host}" + (
            f":{self.public_port}" if self.public_port else ""
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file (given as init values); no .env, no secrets
        directory.
        """
        return (Environment(settings_cls), init_settings)


def _holds_data(path: Path) -> bool:
    """A file that cannot be looked at may."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _refuse_old_variables() -> None:
    """Raises ``ConfigError`` for a variable whose key was renamed: the library would overlook some
    of them, and call the others by the file's name.
    """
    for old, new in GATEWAY_KEYS.items():
        section = old.split(".", maxsplit=1)[0]
        section_names = () if section in Config.model_fields else (variable(section),)
        for name in (variable(old), *section_names):
            if name in os.environ:
                msg = f"environment: {name}: unknown key: renamed to {variable(new)}"
                raise ConfigError(msg)


def load_config(path: Path) -> Config:
    """Read, merge with the environment, validate. Relative paths are relative to the working
    directory. Raises ``ConfigError``.
    """
    document = read_yaml(path)
    _refuse_old_variables()
    tenants = document.get("tenants")
    folder = tenants.get("directory") if isinstance(tenants, dict) else None
    check_names(Config, document, Path(str(os.environ.get(TENANTS_DIRECTORY) or folder or "")))
    try:
        return Config(**document)
    except ValidationError as error:
        raise ConfigError(explain_validation(str(path), error, Config, origin=origin)) from error
    except TypeError as error:
        msg = f"{path}: keys must be strings"
        raise ConfigError(msg) from error
