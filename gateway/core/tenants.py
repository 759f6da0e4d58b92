"""Which tenant a host, an e-mail domain or an app client belongs to. Immutable; a change builds a
new table.

A table may hold listings instead of tenants: names to look up, and the tenant itself built when it
is first asked for. Ten thousand tenants are then ten thousand small listings, and swapping them in
costs no more than indexing them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeVar, cast

from gateway.core.claims import Listing, claims

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.core.model import Tenant


class HostKind(Enum):
    """Hosts that are no single tenant's."""

    SHARED = "shared"
    LOGIN = "login"
    UNKNOWN = "unknown"


_NAMES = tuple(
    name
    for name, member in vars(Listing).items()
    if isinstance(member, property) and name != "active"
)
L = TypeVar("L", bound=Listing)


@dataclass(frozen=True, slots=True)
class NameIndex:
    """Who has which name. Its dictionaries are filled by the two builders below and by nobody
    else.
    """

    shared_hosts: frozenset[str]
    login_host: str | None
    by_id: dict[str, Listing]
    by_host: dict[str, Listing | HostKind]
    by_wildcard: dict[str, Listing]
    by_domain: dict[str, Listing]
    by_client: dict[str, Listing]

    @classmethod
    def of(
        cls, listings: Sequence[Listing], shared_hosts: frozenset[str], login_host: str | None
    ) -> NameIndex:
        """Raises ``ValueError`` naming both tenants when a name is claimed twice; see ``claims``
        for the list.
        """
        for conflict in claims(listings, shared_hosts=shared_hosts, login_host=login_host):
            msg = f"{conflict.name} is claimed by {conflict.first} and by {conflict.second}"
            raise ValueError(msg)
        hosts: dict[str, Listing | HostKind] = dict.fromkeys(shared_hosts, HostKind.SHARED)
        if login_host is not None:
            hosts[login_host] = HostKind.LOGIN
        index = cls(shared_hosts, login_host, {}, hosts, {}, {}, {})
        for listing in listings:
            _enter(index, listing)
        return index

    def with_listings(
        self, listings: Sequence[Listing], shared_hosts: frozenset[str], login_host: str | None
    ) -> NameIndex | None:
        """The index of these listings, where every name belongs to whom it belonged to: what was
        found out about them then is kept. None where one does not.
        """
        listings_by_id = {listing.id: listing for listing in listings}
        if (
            len(listings_by_id) != len(listings)
            or (self.shared_hosts, self.login_host) != (shared_hosts, login_host)
            or not same_names(self.by_id, listings_by_id)
        ):
            return None
        index = replace(
            self,
            by_id=self.by_id.copy(),
            by_host=self.by_host.copy(),
            by_wildcard=self.by_wildcard.copy(),
            by_domain=self.by_domain.copy(),
            by_client=self.by_client.copy(),
        )
        for listing in listings:
            if self.by_id[listing.id] is not listing:
                _enter(index, listing)
        return index


def _enter(index: NameIndex, listing: Listing) -> None:
    index.by_id[listing.id] = listing
    index.by_host.update(dict.fromkeys(listing.hosts, listing))
    index.by_wildcard.update(dict.fromkeys(listing.wildcards, listing))
    index.by_domain.update(dict.fromkeys(listing.email_domains, listing))
    index.by_client.update(dict.fromkeys(listing.client_ids, listing))


@dataclass(frozen=True, slots=True, eq=False)
class TenantTable:
    """Exact host, then the longest wildcard; shared hosts find their tenant by e-mail domain."""

    index: NameIndex
    load: Callable[[Listing], Tenant]
    generation: int

    @classmethod
    def of(
        cls,
        tenants: Iterable[Tenant],
        *,
        shared_hosts: Iterable[str] = (),
        login_host: str | None = None,
        generation: int = 0,
    ) -> TenantTable:
        """Raises ``ValueError`` as ``NameIndex.of`` does."""
        return cls.lazy(
            tenants,
            lambda tenant: tenant,
            shared_hosts=shared_hosts,
            login_host=login_host,
            generation=generation,
        )

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
        all_listings, shared_names = tuple(listings), frozenset(shared_hosts)
        index = (
            None
            if before is None
            else before.index.with_listings(all_listings, shared_names, login_host)
        )
        return cls(
            index or NameIndex.of(all_listings, shared_names, login_host),
            cast("Callable[[Listing], Tenant]", load),
            generation,
        )

    @property
    def shared_hosts(self) -> frozenset[str]:
        return self.index.shared_hosts

    @property
    def login_host(self) -> str | None:
        return self.index.login_host

    def by_host(self, host: str) -> Tenant | HostKind:
        """``host`` canonical. Inactive tenants are found too: their answer is
        ``tenant_inactive``.
        """
        owner = self.index.by_host.get(host)
        if owner is None and self.index.by_wildcard:
            rest = host
            while owner is None and "." in rest:
                rest = rest.partition(".")[2]
                owner = self.index.by_wildcard.get(rest)
        if owner is None:
            return HostKind.UNKNOWN
        return owner if isinstance(owner, HostKind) else self.load(owner)

    def by_email_domain(self, domain: str) -> Tenant | None:
        """``domain`` canonical; exact, never a suffix."""
        return self._loaded(self.index.by_domain.get(domain))

    def active_by_email_domain(self, domain: str) -> Tenant | None:
        """As above; None for an inactive tenant, which is not even built: it must take no longer
        than a domain that nobody has.
        """
        listing = self.index.by_domain.get(domain)
        return None if listing is None or not listing.active else self.load(listing)

    def by_client_id(self, client_id: str) -> Tenant | None:
        return self._loaded(self.index.by_client.get(client_id))

    def by_id(self, tenant_id: str) -> Tenant | None:
        return self._loaded(self.index.by_id.get(tenant_id))

    def ids(self) -> Collection[str]:
        """Of all tenants, without building any."""
        return self.index.by_id.keys()

    def _loaded(self, listing: Listing | None) -> Tenant | None:
        return None if listing is None else self.load(listing)

    def owns(self, tenant: Tenant, host: str) -> bool:
        """Whether sessions of ``tenant`` may live at ``host``: its own host, or a shared one."""
        owner = self.by_host(host)
        return owner is HostKind.SHARED or (
            not isinstance(owner, HostKind) and owner.id == tenant.id
        )

    def __iter__(self) -> Iterator[Tenant]:
        """Builds every tenant: for the admin role's rounds, never for a request."""
        return map(self.load, self.index.by_id.values())

    def __len__(self) -> int:
        return len(self.index.by_id)


def same_names(before: Mapping[str, Listing], after: Mapping[str, Listing]) -> bool:
    """Whether every name belongs to whom it belonged to: what ``claims`` found out then, it would
    find out now.
    """
    return before.keys() == after.keys() and all(
        _alike(before[key], listing) for key, listing in after.items()
    )


def _alike(one: Listing, other: Listing) -> bool:
    return one is other or all(getattr(one, name) == getattr(other, name) for name in _NAMES)
