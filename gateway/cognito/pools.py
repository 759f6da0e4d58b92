"""Every configured pool as provisioning sees it, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cognito.pool import Pool


@dataclass(frozen=True, slots=True)
class Pools:
    """In the order in which new tenants get them."""

    by_name: Mapping[str, Pool]

    def named(self, name: str) -> Pool:
        """Raises ``UnavailableError``: another process may have a newer configuration, or the pool
        was taken out of it.
        """
        pool = self.by_name.get(name)
        if pool is None:
            msg = f"user pool {name} is not in cognito.pools"
            raise UnavailableError(msg)
        return pool
