"""Which tenant a host, an e-mail domain or an app client belongs to. Immutable; a change builds a new table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.core.model import Tenant


class HostKind(Enum):
    """Hosts that are no single tenant's."""

    SHARED = "shared"
    LOGIN = "login"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Claim:
    """Two tenants want the same name."""

    name: str
    first: str
    second: str


class TenantTable:
    """Exact host, then the longest wildcard; shared hosts find their tenant by e-mail domain."""

    __slots__ = ("_by_client", "_by_domain", "_by_host", "_by_id", "_by_wildcard", "_shared", "generation", "login_host", "shared_hosts")

    def __init__(self, tenants: Iterable[Tenant], *, shared_hosts: Iterable[str] = (), login_host: str | None = None, generation: int = 0) -> None:
        """Raises ``ValueError`` naming both tenants when a name is claimed twice; see ``claims`` for the list."""
        self.generation = generation
        self.login_host = login_host
        self.shared_hosts = frozenset(shared_hosts)
        self._by_id: dict[str, Tenant] = {}
        self._by_host: dict[str, Tenant | HostKind] = dict.fromkeys(self.shared_hosts, HostKind.SHARED)
        if login_host is not None:
            self._by_host[login_host] = HostKind.LOGIN
        self._by_wildcard: dict[str, Tenant] = {}
        self._by_domain: dict[str, Tenant] = {}
        self._by_client: dict[str, Tenant] = {}
        materialised = tuple(tenants)
        conflicts = claims(materialised, shared_hosts=self.shared_hosts, login_host=login_host)
        if conflicts:
            first = conflicts[0]
            msg = f"{first.name} is claimed by {first.first} and by {first.second}"
            raise ValueError(msg)
        for tenant in materialised:
            self._by_id[tenant.id] = tenant
            self._by_host.update(dict.fromkeys(tenant.hosts, tenant))
            self._by_wildcard.update(dict.fromkeys(tenant.wildcards, tenant))
            self._by_domain.update(dict.fromkeys(tenant.email_domains, tenant))
            self._by_client[tenant.client_id] = tenant

    def by_host(self, host: str) -> Tenant | HostKind:
        """``host`` canonical. Inactive tenants are found too: their answer is ``tenant_inactive``."""
        found = self._by_host.get(host)
        if found is not None:
            return found
        if self._by_wildcard:
            rest = host
            while "." in rest:
                rest = rest.partition(".")[2]
                tenant = self._by_wildcard.get(rest)
                if tenant is not None:
                    return tenant
        return HostKind.UNKNOWN

    def by_email_domain(self, domain: str) -> Tenant | None:
        """``domain`` canonical; exact, never a suffix."""
        return self._by_domain.get(domain)

    def by_client_id(self, client_id: str) -> Tenant | None:
        return self._by_client.get(client_id)

    def by_id(self, tenant_id: str) -> Tenant | None:
        return self._by_id.get(tenant_id)

    def owns(self, tenant: Tenant, host: str) -> bool:
        """Whether sessions of ``tenant`` may live at ``host``: its own host, or a shared one."""
        found = self.by_host(host)
        return found is HostKind.SHARED or (not isinstance(found, HostKind) and found.id == tenant.id)

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)


def claims(tenants: Iterable[Tenant], *, shared_hosts: Iterable[str] = (), login_host: str | None = None) -> tuple[Claim, ...]:
    """Every host, wildcard, e-mail domain and client id that two owners claim; containment in a wildcard counts."""
    conflicts: list[Claim] = []
    hosts: dict[str, str] = dict.fromkeys(shared_hosts, "shared_hosts")
    if login_host is not None:
        hosts[login_host] = "login_host"
    wildcards: dict[str, str] = {}
    domains: dict[str, str] = {}
    clients: dict[str, str] = {}
    ids: dict[str, str] = {}

    def claim(table: dict[str, str], name: str, owner: str, shown: str) -> None:
        holder = table.setdefault(name, owner)
        if holder != owner:
            conflicts.append(Claim(shown, holder, owner))

    seen = tuple(tenants)
    for tenant in seen:
        if tenant.id in ids:
            conflicts.append(Claim(f"tenant id {tenant.id}", tenant.id, tenant.id))
        ids[tenant.id] = tenant.id
        for host in sorted(tenant.hosts):
            claim(hosts, host, tenant.id, f"host {host}")
        for wildcard in sorted(tenant.wildcards):
            claim(wildcards, wildcard, tenant.id, f"host *.{wildcard}")
        for domain in sorted(tenant.email_domains):
            claim(domains, domain, tenant.id, f"e-mail domain {domain}")
        claim(clients, tenant.client_id, tenant.id, f"client {tenant.client_id}")
    for host, owner in hosts.items():
        _contained(host, owner, f"host {host}", wildcards, conflicts)
    for wildcard, owner in wildcards.items():
        _contained(wildcard, owner, f"host *.{wildcard}", wildcards, conflicts)
    return tuple(conflicts)


def _contained(name: str, owner: str, shown: str, wildcards: Mapping[str, str], conflicts: list[Claim]) -> None:
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        holder = wildcards.get(rest)
        if holder is not None and holder != owner:
            conflicts.append(Claim(f"{shown} (within *.{rest})", holder, owner))
