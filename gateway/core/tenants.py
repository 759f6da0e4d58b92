"""Which tenant a host, an e-mail domain or an app client belongs to. Immutable; a change builds a
new table.

A table may hold listings instead of tenants: names to look up, and the tenant itself built when it
is first asked for. Ten thousand tenants are then ten thousand small listings, and swapping them in
costs no more than indexing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

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


_NAMES = tuple(
    name
    for name, member in vars(Listing).items()
    if isinstance(member, property) and name != "active"
)
L = TypeVar("L", bound=Listing)


class TenantTable:
    """Exact host, then the longest wildcard; shared hosts find their tenant by e-mail domain."""

    __slots__ = (
        "_by_client",
        "_by_domain",
        "_by_host",
        "_by_id",
        "_by_wildcard",
        "_load",
        "generation",
        "login_host",
        "shared_hosts",
    )
    generation: int
    login_host: str | None
    shared_hosts: frozenset[str]
    _load: Callable[[Listing], Tenant]
    _by_id: dict[str, Listing]
    _by_host: dict[str, Listing | HostKind]
    _by_wildcard: dict[str, Listing]
    _by_domain: dict[str, Listing]
    _by_client: dict[str, Listing]

    def __init__(
        self,
        tenants: Iterable[Tenant],
        *,
        shared_hosts: Iterable[str] = (),
        login_host: str | None = None,
        generation: int = 0,
    ) -> None:
        """Raises ``ValueError`` naming both tenants when a name is claimed twice; see ``claims``
        for the list.
        """
        self._fill(tenants, lambda tenant: tenant, shared_hosts, login_host, generation)

    @classmethod
    def lazy(
        cls,
        listings: Iterable[L],
        load: Callable[[L], Tenant],
        *,
        shared_hosts: Iterable[str] = (),
        login_host: str | None = None,
        generation: int = 0,
        before: TenantTable | None = None,
    ) -> TenantTable:
        """As above, of listings. ``load`` gives the tenant of one; it remembers, and raises
        ``UnavailableError`` where it cannot.

        ``before`` is the table that this one replaces: where no name changed its owner, what was
        found out about them then is kept.
        """
        table, seen = cls.__new__(cls), tuple(listings)
        wanted = {listing.id: listing for listing in seen}
        if (
            before is not None
            and len(wanted) == len(seen)
            and before._has(wanted, frozenset(shared_hosts), login_host)  # noqa: SLF001 - its own class
        ):
            table._follow(before, wanted, load, generation)  # noqa: SLF001
        else:
            table._fill(seen, load, shared_hosts, login_host, generation)  # noqa: SLF001
        return table

    def _has(
        self, listings: Mapping[str, Listing], shared_hosts: frozenset[str], login_host: str | None
    ) -> bool:
        return (self.shared_hosts, self.login_host) == (shared_hosts, login_host) and same_names(
            self._by_id, listings
        )

    def _follow(
        self,
        before: TenantTable,
        listings: Mapping[str, L],
        load: Callable[[L], Tenant],
        generation: int,
    ) -> None:
        self.generation = generation
        self.login_host, self.shared_hosts = before.login_host, before.shared_hosts
        self._load = cast("Callable[[Listing], Tenant]", load)
        self._by_id, self._by_host, self._by_wildcard = (
            before._by_id.copy(),
            before._by_host.copy(),
            before._by_wildcard.copy(),
        )
        self._by_domain, self._by_client = before._by_domain.copy(), before._by_client.copy()
        for listing in listings.values():
            if self._by_id[listing.id] is not listing:
                self._put(listing)

    def _fill(
        self,
        listings: Iterable[L],
        load: Callable[[L], Tenant],
        shared_hosts: Iterable[str],
        login_host: str | None,
        generation: int,
    ) -> None:
        self.generation = generation
        self.login_host = login_host
        self.shared_hosts = frozenset(shared_hosts)
        self._load = cast("Callable[[Listing], Tenant]", load)
        self._by_id, self._by_wildcard, self._by_domain, self._by_client = {}, {}, {}, {}
        self._by_host = dict.fromkeys(self.shared_hosts, HostKind.SHARED)
        if login_host is not None:
            self._by_host[login_host] = HostKind.LOGIN
        materialised = tuple(listings)
        conflicts = claims(materialised, shared_hosts=self.shared_hosts, login_host=login_host)
        if conflicts:
            first = conflicts[0]
            msg = f"{first.name} is claimed by {first.first} and by {first.second}"
            raise ValueError(msg)
        for listing in materialised:
            self._put(listing)

    def _put(self, listing: Listing) -> None:
        self._by_id[listing.id] = listing
        self._by_host.update(dict.fromkeys(listing.hosts, listing))
        self._by_wildcard.update(dict.fromkeys(listing.wildcards, listing))
        self._by_domain.update(dict.fromkeys(listing.email_domains, listing))
        self._by_client.update(dict.fromkeys(listing.client_ids, listing))

    def by_host(self, host: str) -> Tenant | HostKind:
        """``host`` canonical. Inactive tenants are found too: their answer is
        ``tenant_inactive``.
        """
        found = self._by_host.get(host)
        if found is None and self._by_wildcard:
            rest = host
            while found is None and "." in rest:
                rest = rest.partition(".")[2]
                found = self._by_wildcard.get(rest)
        if found is None:
            return HostKind.UNKNOWN
        return found if isinstance(found, HostKind) else self._load(found)

    def by_email_domain(self, domain: str) -> Tenant | None:
        """``domain`` canonical; exact, never a suffix."""
        return self._loaded(self._by_domain.get(domain))

    def active_by_email_domain(self, domain: str) -> Tenant | None:
        """As above; None for an inactive tenant, which is not even built: it must take no longer
        than a domain that nobody has.
        """
        listing = self._by_domain.get(domain)
        return None if listing is None or not listing.active else self._load(listing)

    def by_client_id(self, client_id: str) -> Tenant | None:
        return self._loaded(self._by_client.get(client_id))

    def by_id(self, tenant_id: str) -> Tenant | None:
        return self._loaded(self._by_id.get(tenant_id))

    def ids(self) -> Collection[str]:
        """Of all tenants, without building any."""
        return self._by_id.keys()

    def _loaded(self, listing: Listing | None) -> Tenant | None:
        return None if listing is None else self._load(listing)

    def owns(self, tenant: Tenant, host: str) -> bool:
        """Whether sessions of ``tenant`` may live at ``host``: its own host, or a shared one."""
        found = self.by_host(host)
        return found is HostKind.SHARED or (
            not isinstance(found, HostKind) and found.id == tenant.id
        )

    def __iter__(self) -> Iterator[Tenant]:
        """Builds every tenant: for the admin role's rounds, never for a request."""
        return map(self._load, self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)


def same_names(before: Mapping[str, Listing], after: Mapping[str, Listing]) -> bool:
    """Whether every name belongs to whom it belonged to: what ``claims`` found out then, it would
    find out now.
    """
    return before.keys() == after.keys() and all(
        _alike(before[key], listing) for key, listing in after.items()
    )


def _alike(one: Listing, other: Listing) -> bool:
    return one is other or all(getattr(one, name) == getattr(other, name) for name in _NAMES)


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
