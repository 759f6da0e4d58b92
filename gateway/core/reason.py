"""The one vocabulary of reasons."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Used alike in logs, metrics, pages, the API, tests and docs. Closed: nothing else is ever
    written there.
    """

    OK = "ok"
    PUBLIC = "public"
    BEARER = "bearer"
    APP_PASSWORD = "app_password"
    POOL_PASSWORD = "pool_password"
    NO_SESSION = "no_session"
    SESSION_EXPIRED = "session_expired"
    SESSION_IDLE = "session_idle"
    SESSION_REVOKED = "session_revoked"
    WRONG_TENANT = "wrong_tenant"
    WRONG_HOST = "wrong_host"
    TENANT_INACTIVE = "tenant_inactive"
    PROVIDER_INACTIVE = "provider_inactive"
    UNKNOWN_HOST = "unknown_host"
    GROUP_MISSING = "group_missing"
    ROLE_MISSING = "role_missing"
    EMAIL_DOMAIN = "email_domain"
    EMAIL_UNTRUSTED = "email_untrusted"
    RULE_DENIED = "rule_denied"
    USER_BLOCKED = "user_blocked"
    REAUTHENTICATE = "reauthenticate"
    IDENTITY_TOO_LARGE = "identity_too_large"
    BAD_REQUEST = "bad_request"
    UNTRUSTED_PROXY = "untrusted_proxy"
    BEARER_INVALID = "bearer_invalid"
    APP_PASSWORD_INVALID = "app_password_invalid"
    APP_PASSWORD_SCOPE = "app_password_scope"
    LOGIN_TOO_OLD = "login_too_old"
    POOL_PASSWORD_INVALID = "pool_password_invalid"
    NO_POOL_PASSWORD = "no_pool_password"
    SECOND_FACTOR_REQUIRED = "second_factor_required"
    NEW_PASSWORD_REQUIRED = "new_password_required"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    COGNITO_UNAVAILABLE = "cognito_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    IDP_ERROR = "idp_error"
    LOGIN_STATE = "login_state"
    BROWSER_MISMATCH = "browser_mismatch"
    LOGIN_LOOP = "login_loop"
