"""What a setup link reaches of the admin API: the one table of parts and operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.setup.model import Approval, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.setup.model import SetupLink

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
    Part.RENEW: frozenset({"get_tenant", "test_tenant", "get_tenant_test"}),
}
TAKES_EFFECT: Final = frozenset({"use_domain"})
"""At once, and with it who signs in: of no colleague's link, nor of one whose work is approved."""
OF_THE_OTHERS: Final = frozenset({"provision", "remove_domain"})
"""Of no link that connects one more provider: the tenant is there, and its claims are not its
own.
"""


def operations_of(link: SetupLink) -> frozenset[str]:
    """What a link may ask for."""
    operations = frozenset[str]().union(*(OPERATIONS[part] for part in link.request.parts))
    if link.request.connection is not None:
        return operations - TAKES_EFFECT - OF_THE_OTHERS
    if link.parent or link.request.approval is not Approval.NONE:
        return operations - TAKES_EFFECT
    return operations
