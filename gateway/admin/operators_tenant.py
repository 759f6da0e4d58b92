"""The tenant whose people are operators of the console: changing it makes operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.admin.problem import Code, Problem
from gateway.core.scopes import Scope

if TYPE_CHECKING:
    from gateway.admin.keys import AdminKey

MAKES_NOBODY: Final = frozenset({Scope.SESSIONS_REVOKE, Scope.DOCTOR})
"""Whoever changes something of a tenant with one of these gives nobody a group. With every other,
they may: also with one that is new.
"""


def guard_operators(operators_tenant: str | None, key: AdminKey, *changed: str | None) -> None:
    """Whoever changes the tenant of the operators makes operators: only one of them may. Raises
    ``Problem``.
    """
    if operators_tenant is None or operators_tenant not in changed:
        return
    if key.tenant is not None or not key.may(Scope.OPERATOR):
        raise Problem(
            Code.SCOPE_MISSING,
            f"tenant {operators_tenant} is that of the console's operators: this needs "
            f"{Scope.OPERATOR}, for all tenants",
            extra={"scope": str(Scope.OPERATOR)},
        )
