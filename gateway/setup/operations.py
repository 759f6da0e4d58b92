"""What a setup link reaches of the admin API: the one table of parts and operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.setup.model import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATIONS: Final[Mapping[Part, frozenset[str]]] = {
    Part.SIGN_IN: frozenset(
        {"get_tenant", "provision", "reprovision", "test_tenant", "get_tenant_test"}
    ),
    Part.ACCESS: frozenset({"get_tenant"}),
    Part.DOMAINS: frozenset(
        {
            "get_tenant",
            "list_domains",
            "add_domain",
            "check_domain",
            "use_domain",
            "remove_domain",
        }
    ),
    Part.OFFBOARDING: frozenset(
        {"get_tenant", "list_hooks", "get_hook", "add_hook_secret", "test_hook"}
    ),
    Part.MAINTAIN: frozenset({"get_tenant", "list_connections"}),
}
