"""Every configured pool as provisioning sees it, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.cognito.pool import Pool


@dataclass(frozen=True, slots=True)
class Pools:
    """In the order in which new tenants get them. ``failed_over``: whether the pool of that name is
    served by its secondary region, which takes no changes.
    """

    by_name: Mapping[str, Pool]
    failed_over: Callable[[str], bool] = lambda _pool: False

    def named(self, name: str) -> Pool:
        """Raises ``UnavailableError``: another process may have a newer configuration, or the pool
        was taken out of it.
        """
        pool = self.by_name.get(name)
        if pool is None:
            msg = f"user pool {name} is not in cognito.pools"
            raise UnavailableError(msg)
        return pool

    def expect_changes(self, name: str) -> None:
        """Raises ``UnavailableError`` while the pool takes none."""
        if self.failed_over(name):
            msg = (
                f"user pool {name} is failed over to its secondary region, which takes no changes: "
                f"nothing is provisioned in it before gateway pools failback {name}"
            )
            raise UnavailableError(msg)
