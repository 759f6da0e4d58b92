"""What a tenant document must hold to besides itself: the gateway's configuration, and every other
tenant's names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.types import folded_name, is_loopback_name, source_of
from gateway.core.claims import claims
from gateway.core.model import HeaderSpec
from gateway.tenants.compilation import speaks_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config.model import Config
    from gateway.core.claims import Listing
    from gateway.tenants.document import TenantDocument


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one document, in the words of ``explain_validation``."""

    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return (
            f"{self.key} (is {self.value!r}): {self.allowed}"
            if self.value
            else f"{self.key}: {self.allowed}"
        )


def problems(document: TenantDocument, config: Config) -> tuple[Problem, ...]:
    """Everything that keeps this document out of this gateway, apart from other tenants."""
    return tuple(_problems(document, config))


def _problems(document: TenantDocument, config: Config) -> Iterator[Problem]:
    if not document.hosts and not config.shared_hosts:
        yield Problem(
            "hosts",
            "",
            "at least one host; they may be left out only where the gateway has shared_hosts",
        )
    if document.pool is not None and document.pool not in config.cognito.all_pools:
        yield Problem(
            "pool",
            document.pool,
            f"one of {', '.join(config.cognito.all_pools)} (cognito.pools in gateway.yaml)",
        )
    for host in document.hosts:
        if host.startswith("*.") and config.login_host is None:
            yield Problem(
                "hosts",
                host,
                (
                    "a wildcard host needs login_host in gateway.yaml (Cognito matches "
                    "redirect URIs exactly)"
                ),
            )
        if config.public_scheme == "http" and not is_loopback_name(host.removeprefix("*.")):
            yield Problem("hosts", host, "with public_scheme http only *.localhost")
    for provider in document.providers:
        if provider.issuer is not None and not _https(provider.issuer, config):
            yield Problem(
                f"providers.{provider.name}.issuer",
                provider.issuer,
                "an https:// URL (http:// only with development: true, on loopback)",
            )
    own, open_to_tenants = {}, set()
    if document.headers:
        own = {folded_name(name): name for name in config.headers}
        open_to_tenants = {folded_name(name) for name in config.tenant_headers}
    for name in document.headers:
        if (declared := own.get(folded_name(name))) is not None:
            yield Problem(
                "headers",
                name,
                (
                    f"{declared} is one of the gateway's own (headers in gateway.yaml) and "
                    "says the same for every tenant"
                ),
            )
        elif folded_name(name) not in open_to_tenants:
            yield Problem(
                "headers",
                name,
                (
                    "one of tenant_headers in gateway.yaml "
                    f"({', '.join(config.tenant_headers) or 'there are none'}); a name is declared "
                    "there first, and rendered into the ingress (gateway ingress render), because "
                    "an ingress removes from clients' requests only the names that it knows"
                ),
            )
    yield from _identities(document, config)
    if document.webhook is not None and not _https(document.webhook.url, config):
        yield Problem(
            "webhook.url", "", "an https:// URL (http:// only with development: true, on loopback)"
        )
    websocket = document.session.idle_counts.websocket
    if (
        document.session.max_lifetime is not None
        or document.session.idle_timeout is not None
        or websocket is not None
    ):
        absolute = document.session.max_lifetime or config.session.max_lifetime
        idle = document.session.idle_timeout
        if not 60 <= absolute.total_seconds() <= 30 * 86400:
            yield Problem("session.max_lifetime", str(absolute), "between 1m and 30d")
        if idle is not None and not 60 <= idle.total_seconds() <= absolute.total_seconds():
            yield Problem(
                "session.idle_timeout", str(idle), "at least 1m, and not longer than max_lifetime"
            )
        if (
            websocket is not None
            and not 60 <= websocket.total_seconds() <= absolute.total_seconds()
        ):
            yield Problem(
                "session.idle_counts.websocket",
                str(websocket),
                "at least 1m, and not longer than max_lifetime",
            )


def _identities(document: TenantDocument, config: Config) -> Iterator[Problem]:
    if not any(rule.identity for rule in (*document.rules, *document.shadow_rules)):
        return
    declared = {**config.headers, **config.tenant_headers}
    spoken = speaks_for(HeaderSpec(name, *source_of(source)) for name, source in declared.items())
    for field, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules)):
        for index, rule in enumerate(rules):
            for name in rule.identity:
                if folded_name(name) not in spoken:
                    yield Problem(
                        f"{field}.{index}.identity",
                        name,
                        (
                            "a managed header that identifies a user: one of "
                            f"{', '.join(spoken.values())}"
                        ),
                    )


def _https(url: str, config: Config) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (config.development and is_loopback_name(parts.hostname or ""))
    )


def conflicts(
    listings: Iterable[Listing], config: Config, *, named: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Names that two claim, in sentences. ``named``: how to call a tenant (its file, say)."""
    names = named or {}
    return tuple(
        (
            f"{claim.name}: claimed by {names.get(claim.first, claim.first)} and by "
            f"{names.get(claim.second, claim.second)}"
        )
        for claim in claims(
            listings, shared_hosts=config.shared_hosts, login_host=config.login_host
        )
    )
