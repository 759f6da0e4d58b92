"""Names that tenants claim. Hosts, wildcards, e-mail domains, app clients and providers belong to
one tenant each, and a host within another's wildcard counts as the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

Name = tuple[str, str]
"""Kind (``host``, ``wildcard``, ``domain``, ``client`` or ``provider``) and name; of a wildcard,
without its ``*.``.
"""
SHOWN = {
    "host": "host {}",
    "wildcard": "host *.{}",
    "domain": "e-mail domain {}",
    "client": "client {}",
    "provider": "provider {}",
}
"""How each kind is called in a sentence."""


class Listing(Protocol):
    """The names under which a tenant is found; a ``Tenant`` is one itself."""

    @property
    def id(self) -> str: ...
    @property
    def hosts(self) -> Collection[str]: ...
    @property
    def wildcards(self) -> Collection[str]: ...
    @property
    def email_domains(self) -> Collection[str]: ...
    @property
    def client_ids(self) -> Collection[str]: ...
    @property
    def provider_names(self) -> Collection[str]: ...
    @property
    def active(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Two tenants want the same name."""

    name: str
    first: str
    second: str


def claims(
    tenants: Iterable[Listing], *, shared_hosts: Iterable[str] = (), login_host: str | None = None
) -> tuple[Claim, ...]:
    """Every host, wildcard, e-mail domain, client id and provider name that two owners claim;
    containment in a wildcard counts.
    """
    conflicts: list[Claim] = []
    hosts: dict[str, str] = dict.fromkeys(shared_hosts, "shared_hosts")
    if login_host is not None:
        hosts[login_host] = "login_host"
    wildcards: dict[str, str] = {}
    domains: dict[str, str] = {}
    clients: dict[str, str] = {}
    providers: dict[str, str] = {}
    ids: dict[str, str] = {}

    def claim(table: dict[str, str], name: str, owner: str, shown: str) -> None:
        holder = table.setdefault(name, owner)
        if holder != owner:
            conflicts.append(Claim(shown, holder, owner))

    listings = tuple(tenants)
    for tenant in listings:
        if tenant.id in ids:
            conflicts.append(Claim(f"tenant id {tenant.id}", tenant.id, tenant.id))
        ids[tenant.id] = tenant.id
        for host in sorted(tenant.hosts):
            claim(hosts, host, tenant.id, f"host {host}")
        for wildcard in sorted(tenant.wildcards):
            claim(wildcards, wildcard, tenant.id, f"host *.{wildcard}")
        for domain in sorted(tenant.email_domains):
            claim(domains, domain, tenant.id, f"e-mail domain {domain}")
        for client_id in tenant.client_ids:
            claim(clients, client_id, tenant.id, f"client {client_id}")
        for provider in sorted(tenant.provider_names):
            claim(providers, provider, tenant.id, f"provider {provider}")
    for host, owner in hosts.items():
        _contained(host, owner, f"host {host}", wildcards, conflicts)
    for wildcard, owner in wildcards.items():
        _contained(wildcard, owner, f"host *.{wildcard}", wildcards, conflicts)
    return tuple(conflicts)


def _contained(
    name: str, owner: str, shown: str, wildcards: Mapping[str, str], conflicts: list[Claim]
) -> None:
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        holder = wildcards.get(rest)
        if holder is not None and holder != owner:
            conflicts.append(Claim(f"{shown} (within *.{rest})", holder, owner))


class ClaimIndex:
    """Who claims what, to ask about one tenant after another. A question takes as long with ten
    thousand tenants as with ten.
    """

    def __init__(self, *, shared_hosts: Iterable[str] = (), login_host: str | None = None) -> None:
        self._owners: dict[Name, tuple[str, ...]] = {}
        """Two owners of a name at most: whoever asks, one of the two is another."""
        self._below: dict[str, tuple[tuple[str, Name], ...]] = {}
        """By each suffix of the hosts and wildcards there are: two owners at most, and what of
        theirs is within.
        """
        self.enter("shared_hosts", (("host", host) for host in shared_hosts))
        if login_host is not None:
            self.enter("login_host", [("host", login_host)])

    def enter(self, owner: str, names: Iterable[Name]) -> None:
        """From now on these are ``owner``'s, whoever else claims them."""
        for name in names:
            owners = self._owners.get(name, ())
            if len(owners) < 2 and owner not in owners:
                self._owners[name] = (*owners, owner)
            for suffix in _suffixes(name):
                within = self._below.get(suffix, ())
                if len(within) < 2 and all(other != owner for other, _ in within):
                    self._below[suffix] = (*within, (owner, name))

    def against(self, owner: str, names: Iterable[Name]) -> tuple[Claim, ...]:
        """What another claims of these names, in their order. Of a wildcard with many hosts of
        others in it, one is told.
        """
        return tuple(claim for name in sorted(names) for claim in self._against(owner, name))

    def _against(self, owner: str, claimed: Name) -> Iterator[Claim]:
        kind, name = claimed
        for other in self._owners.get(claimed, ()):
            if other != owner:
                yield Claim(SHOWN[kind].format(name), other, owner)
                return
        for suffix in _suffixes(claimed):
            for other in self._owners.get(("wildcard", suffix), ()):
                if other != owner:
                    yield Claim(f"{SHOWN[kind].format(name)} (within *.{suffix})", other, owner)
                    return
        for other, (inner_kind, inner) in self._below.get(name, ()) if kind == "wildcard" else ():
            if other != owner:
                yield Claim(f"{SHOWN[inner_kind].format(inner)} (within *.{name})", owner, other)
                return


def _suffixes(claimed: Name) -> Iterator[str]:
    """What a wildcard would have to be for this name to be within it."""
    kind, rest = claimed
    while kind in {"host", "wildcard"} and "." in rest:
        rest = rest.partition(".")[2]
        yield rest


def names_of_listing(listing: Listing) -> set[Name]:
    """All that it claims."""
    return {
        *(("host", host) for host in listing.hosts),
        *(("wildcard", name) for name in listing.wildcards),
        *(("domain", domain) for domain in listing.email_domains),
        *(("client", client) for client in listing.client_ids),
        *(("provider", name) for name in listing.provider_names),
    }
