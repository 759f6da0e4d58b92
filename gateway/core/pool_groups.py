"""Cognito groups in which the gateway keeps the pool's own users.

Rules:
- ``tenants/TENANT`` makes a user of the pool the tenant's; ``tenants/TENANT/NAME`` is the tenant's
  group NAME.
- A tenant's id holds no slash, so no name belongs to two tenants, and the members' group of one is
  never a named group of another.
- Names are compared as Cognito does: by their characters, case included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX: Final = "tenants/"


def members_group(tenant: str) -> str:
    """Whose users are the tenant's."""
    return f"{PREFIX}{tenant}"


def pool_group(tenant: str, name: str) -> str:
    """The tenant's group ``name`` as the pool knows it."""
    return f"{members_group(tenant)}/{name}"


def own_groups(members: str, listed: Iterable[str]) -> tuple[str, ...]:
    """Of pool groups, the names of those that are the tenant's whose ``members`` group it is."""
    begin = f"{members}/"
    return tuple(name.removeprefix(begin) for name in listed if name.startswith(begin))


def tenants_of(listed: Iterable[str]) -> frozenset[str]:
    """Ids of the tenants whose user somebody with these pool groups is."""
    return frozenset(
        name.removeprefix(PREFIX)
        for name in listed
        if name.startswith(PREFIX) and "/" not in name.removeprefix(PREFIX)
    )
