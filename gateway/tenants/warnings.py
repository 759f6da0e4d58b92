"""What is allowed in a tenant document and is seldom meant: policies that let nobody in, and
settings that reach further, or less far, than they seem to. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.tenants.document import provider_domains

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config.model import Config
    from gateway.tenants.document import RuleDocument, TenantDocument

MAX_NAMED = 3
"""Others' hosts in one sentence."""


def policy_warnings(document: TenantDocument) -> tuple[str, ...]:
    """One sentence for each, beginning with the key."""
    return tuple(_warnings(document))


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What of a tenant matters to the others. ``closed``: number and path of its rules that refuse
    somebody, and at some of its hosts alone.
    """

    id: str
    hosts: tuple[str, ...]
    clears_domain_cookies: bool
    closed: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, document: TenantDocument) -> HostFacts:
        closed_rules = tuple(
            (number, rule.path)
            for number, rule in enumerate(document.rules)
            if rule.hosts
            and (
                rule.allow == "deny"
                or not rule.browser_sessions
                or isinstance(rule.groups, frozenset)
                or isinstance(rule.roles, frozenset)
            )
        )
        return cls(document.id, document.hosts, document.clear_domain_cookies, closed_rules)

    @classmethod
    def of_shown(cls, shown: Mapping[str, Any]) -> HostFacts:
        """Of a document as a record holds it: ten thousand documents are millions of objects, and
        the collector stops every check to look at them.
        """
        closed_rules = tuple(
            (number, rule["path"])
            for number, rule in enumerate(shown["rules"])
            if rule["hosts"]
            and (
                rule["allow"] == "deny"
                or not rule["browser_sessions"]
                or isinstance(rule["groups"], list)
                or isinstance(rule["roles"], list)
            )
        )
        return cls(shown["id"], tuple(shown["hosts"]), shown["clear_domain_cookies"], closed_rules)


def host_warnings(tenants: Iterable[HostFacts], config: Config) -> tuple[str, ...]:
    """Of all tenants side by side, for the operator: one sentence for each, beginning with tenant
    and key.
    """
    every = tuple(tenants)
    return (*_cleared(every, config), *_open_at_shared_hosts(every, config))


def _cleared(tenants: tuple[HostFacts, ...], config: Config) -> Iterator[str]:
    """Hosts with the last two labels in common may have one registrable domain; hosts without never
    have.
    """
    clearing = [
        (tenant, sorted({_end(host) for host in tenant.hosts}))
        for tenant in tenants
        if tenant.clears_domain_cookies
    ]
    if not clearing:
        return
    below: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for host in (*config.shared_hosts, *([config.login_host] if config.login_host else [])):
        below[_end(host)].append(("", host))
    for tenant in tenants:
        for host in tenant.hosts:
            below[_end(host)].append((tenant.id, host))
    for tenant, domains in clearing:
        for domain in domains:
            others = [host for owner, host in below[domain] if owner != tenant.id]
            if others:
                host_list = ", ".join(others[:MAX_NAMED]) + (
                    f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
                )
                yield (
                    f"{tenant.id}: clear_domain_cookies: is for a domain that is this "
                    f"tenant's alone; if {domain} is one, it signs people out at {host_list}, too"
                )


def _end(host: str) -> str:
    return ".".join(host.split(".")[-2:])


def _open_at_shared_hosts(tenants: tuple[HostFacts, ...], config: Config) -> Iterator[str]:
    for tenant in tenants if config.shared_hosts else ():
        for number, path in tenant.closed:
            yield (
                f"{tenant.id}: rules.{number}: has hosts, so it closes {path} at "
                f"these alone, and not at {', '.join(sorted(config.shared_hosts))} "
                "(shared_hosts)"
            )


def _warnings(document: TenantDocument) -> Iterator[str]:
    if not document.active:
        yield "active: false denies everybody access"
    if not document.email_domains:
        yield "email_domains: is empty, so nobody has access"
    if not document.providers:
        yield "providers: is empty, so nobody can sign in"
    elif not any(provider.active for provider in document.providers):
        yield "providers: none is active, so nobody can sign in"
    yield from _of_providers(document)
    for name, names in (
        ("allowed_groups", document.allowed_groups),
        ("allowed_roles", document.allowed_roles),
    ):
        if names is not None and not names:
            yield f"{name}: is empty, so nobody has access; write any to require none"
    for name, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules)):
        for number, rule in enumerate(rules):
            if why := _lets_nobody_in(rule):
                yield f"{name}.{number}: {rule.path} gives nobody access ({why})"


def _of_providers(document: TenantDocument) -> Iterator[str]:
    domains = provider_domains(
        document.email_domains, {p.name: p.domains for p in document.providers}
    )
    for provider in document.providers:
        where = f"providers.{provider.name}"
        if provider.domains is not None and not provider.domains:
            yield f"{where}.domains: is empty, so nobody has access through it"
        elif not domains[provider.name] and document.email_domains:
            yield (
                f"{where}.domains: is not set, and other providers name every domain of "
                "email_domains, so nobody has access through it"
            )
        for name, names in (("groups", provider.groups), ("roles", provider.roles)):
            if names is not None and not names:
                yield (
                    f"{where}.{name}: is empty, so nobody has access through it; write any to "
                    "require none"
                )
        if not provider.active and provider.name in (
            document.default_provider,
            *document.fallback_providers,
        ):
            yield f"{where}: is not active, so nothing leads to it"


def _lets_nobody_in(rule: RuleDocument) -> str:
    if rule.allow == "deny":
        return "allow: deny at every path" if rule.path == "/**" and rule.methods is None else ""
    return ", ".join(
        f"{name} is empty"
        for name, names in (("groups", rule.groups), ("roles", rule.roles))
        if isinstance(names, frozenset) and not names
    )
