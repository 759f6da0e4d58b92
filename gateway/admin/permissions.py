"""Who may call what: one literal. A route that is not in it cannot be built; a test walks every
row.

``Binding`` says how a key that is bound to one tenant is held to it:

PATH      ``{tenant}`` in the path must be the key's
BODY      ``tenant`` in the body must be the key's
QUERY     ``tenant`` in the query must be the key's; left out, it becomes the key's
OWN       the handler looks the thing up, and another tenant's is not found
UNBOUND   only keys of no tenant
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gateway.admin.keys import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping


class Binding(Enum):
    """How a tenant-bound key is confined; see the module's text."""

    PATH = "path"
    BODY = "body"
    QUERY = "query"
    OWN = "own"
    UNBOUND = "unbound"


PERMISSIONS: Mapping[str, tuple[Scope, Binding]] = {
    "list_tenants": (Scope.TENANTS_READ, Binding.OWN),
    "get_tenant": (Scope.TENANTS_READ, Binding.PATH),
    "put_tenant": (Scope.TENANTS_WRITE, Binding.PATH),
    "put_tenants": (Scope.TENANTS_WRITE, Binding.UNBOUND),
    "reveal_tenant": (Scope.OPERATOR, Binding.UNBOUND),
    "delete_tenant": (Scope.TENANTS_WRITE, Binding.UNBOUND),
    "test_tenant": (Scope.TENANTS_WRITE, Binding.PATH),
    "get_tenant_test": (Scope.TENANTS_READ, Binding.PATH),
    "provision": (Scope.PROVISION, Binding.PATH),
    "reprovision": (Scope.PROVISION, Binding.PATH),
    "list_all_runs": (Scope.PROVISION, Binding.QUERY),
    "list_runs": (Scope.PROVISION, Binding.PATH),
    "get_run": (Scope.PROVISION, Binding.PATH),
    "rollback_run": (Scope.PROVISION, Binding.PATH),
    "verify": (Scope.PROVISION, Binding.PATH),
    "rotate": (Scope.PROVISION, Binding.PATH),
    "retire": (Scope.PROVISION, Binding.PATH),
    "move": (Scope.PROVISION, Binding.UNBOUND),
    "test_move": (Scope.PROVISION, Binding.UNBOUND),
    "destroy": (Scope.PROVISION, Binding.UNBOUND),
    "list_pools": (Scope.OPERATOR, Binding.UNBOUND),
    "fail_over_pool": (Scope.OPERATOR, Binding.UNBOUND),
    "fail_back_pool": (Scope.OPERATOR, Binding.UNBOUND),
    "list_sessions": (Scope.SESSIONS_READ, Binding.QUERY),
    "get_session": (Scope.SESSIONS_READ, Binding.OWN),
    "end_session": (Scope.SESSIONS_REVOKE, Binding.OWN),
    "list_people": (Scope.SESSIONS_READ, Binding.PATH),
    "get_person": (Scope.SESSIONS_READ, Binding.PATH),
    "list_pool_users": (Scope.USERS_READ, Binding.PATH),
    "get_pool_settings": (Scope.USERS_READ, Binding.PATH),
    "get_pool_user": (Scope.USERS_READ, Binding.PATH),
    "create_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "invite_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "disable_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "enable_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "reset_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "put_pool_user_groups": (Scope.USERS_WRITE, Binding.PATH),
    "remove_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "delete_pool_user": (Scope.USERS_WRITE, Binding.PATH),
    "list_app_passwords": (Scope.SESSIONS_READ, Binding.QUERY),
    "revoke_app_password": (Scope.SESSIONS_REVOKE, Binding.OWN),
    "revoke": (Scope.SESSIONS_REVOKE, Binding.BODY),
    "get_revocation": (Scope.SESSIONS_READ, Binding.OWN),
    "stream_revocations": (Scope.SESSIONS_READ, Binding.OWN),
    "list_blocks": (Scope.SESSIONS_READ, Binding.QUERY),
    "add_block": (Scope.SESSIONS_REVOKE, Binding.BODY),
    "remove_block": (Scope.SESSIONS_REVOKE, Binding.OWN),
    "explain": (Scope.TENANTS_READ, Binding.OWN),
    "list_audit": (Scope.AUDIT_READ, Binding.QUERY),
    "get_audit": (Scope.AUDIT_READ, Binding.OWN),
    "list_connections": (Scope.TENANTS_READ, Binding.PATH),
    "list_all_connections": (Scope.TENANTS_READ, Binding.QUERY),
    "check_connections": (Scope.TENANTS_WRITE, Binding.PATH),
    "list_domains": (Scope.TENANTS_READ, Binding.PATH),
    "add_domain": (Scope.TENANTS_WRITE, Binding.PATH),
    "check_domain": (Scope.TENANTS_WRITE, Binding.PATH),
    "use_domain": (Scope.TENANTS_WRITE, Binding.PATH),
    "vouch_domain": (Scope.TENANTS_WRITE, Binding.UNBOUND),
    "remove_domain": (Scope.TENANTS_WRITE, Binding.PATH),
    "test_mail": (Scope.OPERATOR, Binding.UNBOUND),
    "get_deprovisioning": (Scope.HOOKS, Binding.PATH),
    "list_hooks": (Scope.HOOKS, Binding.PATH),
    "get_hook": (Scope.HOOKS, Binding.PATH),
    "add_hook_secret": (Scope.HOOKS, Binding.PATH),
    "end_hook_rotation": (Scope.HOOKS, Binding.PATH),
    "test_hook": (Scope.HOOKS, Binding.PATH),
    "list_deliveries": (Scope.HOOKS, Binding.QUERY),
    "get_delivery": (Scope.HOOKS, Binding.OWN),
    "replay_delivery": (Scope.HOOKS, Binding.OWN),
    "decide_held": (Scope.HOOKS, Binding.UNBOUND),
    "list_webhook_events": (Scope.HOOKS, Binding.OWN),
    "list_messages": (Scope.HOOKS, Binding.QUERY),
    "get_message": (Scope.HOOKS, Binding.OWN),
    "replay_message": (Scope.HOOKS, Binding.OWN),
    "create_console_link": (Scope.OPERATOR, Binding.UNBOUND),
    "end_console_links": (Scope.OPERATOR, Binding.UNBOUND),
    "create_setup_link": (Scope.SETUP_WRITE, Binding.PATH),
    "list_setup_links": (Scope.SETUP_WRITE, Binding.PATH),
    "list_all_setup_links": (Scope.SETUP_WRITE, Binding.QUERY),
    "get_setup_link": (Scope.SETUP_WRITE, Binding.PATH),
    "revoke_setup_link": (Scope.SETUP_WRITE, Binding.PATH),
    "replace_setup_link": (Scope.SETUP_WRITE, Binding.PATH),
    "approve_setup_link": (Scope.SETUP_APPROVE, Binding.UNBOUND),
    "return_setup_link": (Scope.SETUP_APPROVE, Binding.UNBOUND),
    "get_activity": (Scope.TENANTS_READ, Binding.UNBOUND),
    "list_attention": (Scope.TENANTS_READ, Binding.QUERY),
    "get_health": (Scope.DOCTOR, Binding.UNBOUND),
    "list_admin_keys": (Scope.KEYS, Binding.QUERY),
    "create_admin_key": (Scope.KEYS, Binding.BODY),
    "revoke_admin_key": (Scope.KEYS, Binding.OWN),
    "create_probes": (Scope.DOCTOR, Binding.UNBOUND),
    "get_probes": (Scope.DOCTOR, Binding.UNBOUND),
}
"""Operation → scope and binding. ``operator`` has every scope."""
