"""Whether a session says of its person what a later login of the same person denies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.canonical import canonical_address, canonical_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.login import Accepted
    from gateway.core.model import Tenant


def groups_that_count(tenant: Tenant) -> frozenset[str] | None:
    """Groups that the tenant's policy names, in ``shadow_rules`` and of its providers too. None
    where it names none: then any may matter to the application.
    """
    groups = set(tenant.allowed_groups or ())
    for provider in tenant.configured:
        groups |= provider.groups or set()
    for rule in (*tenant.rules, *tenant.shadow_rules):
        if isinstance(rule.groups, frozenset):
            groups |= rule.groups
    return (
        None
        if tenant.allowed_groups is None and not groups
        else frozenset(map(canonical_id, groups))
    )


def is_outdated(
    tenant: Tenant, said: Accepted, *, email: str, groups: Iterable[str], roles: Iterable[str]
) -> bool:
    """Another address, a role, or a group that counts, of which ``said`` (by the later login,
    through the same provider) knows nothing.

    What the later login adds outdates nothing, nor does a claim that is missing or cannot be read.
    """
    now, relevant_groups = said.identity, groups_that_count(tenant)
    lost_groups = set(map(canonical_id, groups)) - set(now.groups) if said.says_groups else set()
    lost_roles = set(map(canonical_id, roles)) - set(now.roles) if said.says_roles else set()
    return (
        canonical_address(email) != canonical_address(now.email)
        or bool(lost_groups if relevant_groups is None else lost_groups & relevant_groups)
        or bool(lost_roles)
    )
