"""Cognito's own sessions: what a browser began on the pages, and for how long a client takes it.

Rules (API reference, November 2026): Essentials and Plus only; for clients and users, only while
the pool tracks sessions; a list is seconds late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, not_found
from demo.cognito.control.users import existing_user

if TYPE_CHECKING:
    from demo.cognito.control.state import ControlState
    from demo.cognito.pool import Pool

DEFAULT_MINUTES = 60


def _tracking(pool: Pool) -> None:
    if not pool.session_tracking:
        raise ApiError("OperationNotEnabledException", "User session tracking is not enabled.")


def get_user_pool_session_configuration(
    state: ControlState, request: dict[str, Any]
) -> dict[str, Any]:
    pool = state.pool_of(request)
    return {
        "UserPoolId": pool.pool_id,
        "UserSessionTracking": "ENABLED" if pool.session_tracking else "DISABLED",
        "TokenSession": {"MaxPerUser": 20},
    }


def get_user_pool_client_session_configuration(
    state: ControlState, request: dict[str, Any]
) -> dict[str, Any]:
    pool = state.pool_of(request)
    client = state.client_to_read(pool, request["ClientId"])
    _tracking(pool)
    return _described(pool, client.client_id)


def set_user_pool_client_session_configuration(
    state: ControlState, request: dict[str, Any]
) -> dict[str, Any]:
    pool = state.pool_of(request)
    client = state.client_to_write(pool, request["ClientId"])
    if pool.behaviour.tier == "LITE":
        raise ApiError("FeatureUnavailableInTierException", "Not in the plan of this user pool.")
    _tracking(pool)
    pool.login_reuse[client.client_id] = request["SSOSession"]["MaxValidityMinutes"]
    return _described(pool, client.client_id)


def admin_list_user_sessions(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    _tracking(pool)
    return {
        "Sessions": [
            {
                "SessionId": session.session_id,
                "SessionType": "SSO",
                "CreateDate": session.began,
                "LastActiveDate": session.began,
            }
            for session in pool.sessions.values()
            if session.username == user.username
        ]
    }


def admin_revoke_user_session(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    _tracking(pool)
    cookie = next(
        (
            cookie
            for cookie, session in pool.sessions.items()
            if (session.session_id, session.username) == (request["SessionId"], user.username)
        ),
        None,
    )
    if cookie is None:
        raise not_found("Session does not exist.")
    del pool.sessions[cookie]
    return {}


def _described(pool: Pool, client_id: str) -> dict[str, Any]:
    minutes = pool.login_reuse.get(client_id, DEFAULT_MINUTES)
    return {
        "UserPoolId": pool.pool_id,
        "ClientId": client_id,
        "SSOSession": {"MaxValidityMinutes": minutes},
    }
