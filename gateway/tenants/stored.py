"""What SQL holds of tenants, and what it answers: values, without SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.tenants.snapshot_record import record_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tenants.document import TenantDocument
    from gateway.tenants.snapshot_record import Credentials, Record


@dataclass(frozen=True, slots=True)
class StoredTenant:
    """``version`` is the ETag. ``document`` holds the secrets; ``show`` it before it goes
    anywhere.
    """

    document: TenantDocument
    version: int
    updated_at: float

    @property
    def id(self) -> str:
        return self.document.id


@dataclass(frozen=True, slots=True)
class Actor:
    """Whose change it is, for the audit record."""

    actor: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """``stamps`` of all tenants; ``documents`` of those whose stamp is new; ``credentials`` of all
    that have some.
    """

    revision: int
    stamps: dict[str, str]
    documents: dict[str, TenantDocument]
    credentials: dict[str, Credentials]
    removals: dict[str, int]
    """The last version of the one of an id that was deleted; absent for ids that none had
    before.
    """
    closed: Mapping[str, str] = field(default_factory=dict)
    """Known tenants of which something does not open, and why. They keep the stamp that they were
    known by, and have no document here.
    """

    lost: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Domains of each tenant that lead nobody to it any more."""

    def records(self) -> dict[str, Record]:
        """Of the changed ones. Takes about a millisecond each: not on the event loop."""
        return {
            tenant: record_of(document, self.credentials.get(tenant))
            for tenant, document in self.documents.items()
        }
