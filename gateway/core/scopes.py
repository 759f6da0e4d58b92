"""What a caller of the admin API may do, whether by a key or as an operator in the console."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """``operator`` is all of them."""

    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    PROVISION = "provision"
    SESSIONS_READ = "sessions:read"
    SESSIONS_REVOKE = "sessions:revoke"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    HOOKS = "hooks"
    AUDIT_READ = "audit:read"
    SETUP_WRITE = "setup:write"
    SETUP_APPROVE = "setup:approve"
    KEYS = "keys"
    DOCTOR = "doctor"
    OPERATOR = "operator"
