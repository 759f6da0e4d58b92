"""InitiateAuth: a name and a password come to tokens, to a challenge, or to a refusal. Signed by
nobody; a client with a secret proves itself by SECRET_HASH.

Rules (API reference of InitiateAuth; Cognito developer guide, "Managing error responses",
"Computing secret hash values"):
- the client is judged before the user, and only flows that it has are answered;
- where the client has PreventUserExistenceErrors, nobody learns that a name is unknown; a federated
  user is as unknown as nobody;
- a second factor is asked for once the password was right, of who has one, and of everybody where
  the pool demands it;
- the access token has the scope aws.cognito.signin.user.admin, whatever the client's scopes are.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import uuid
from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, invalid, not_found
from demo.cognito.passwords import Outcome, check_password
from demo.cognito.pool import Grant, RefreshToken

if TYPE_CHECKING:
    from demo.cognito.control.state import ControlState
    from demo.cognito.pool import AppClient, Pool, User

SCOPE = "aws.cognito.signin.user.admin"
_INCORRECT = "Incorrect username or password."
_NOT_AUTHORIZED = {
    Outcome.UNKNOWN: _INCORRECT,
    Outcome.WRONG: _INCORRECT,
    Outcome.LOCKED_OUT: "Password attempts exceeded",
    Outcome.DISABLED: "User is disabled.",
    Outcome.EXPIRED: "Temporary password has expired and must be reset by an administrator.",
}


def initiate_auth(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool, parameters = state.pool, request.get("AuthParameters") or {}
    client = pool.visible_client(request["ClientId"])
    if client is None:
        raise not_found(f"User pool client {request['ClientId']} does not exist.")
    flow = request["AuthFlow"]
    if flow != "USER_PASSWORD_AUTH":
        raise invalid(f"The demo does not know the flow {flow}")
    flows = set(client.settings.get("ExplicitAuthFlows") or ())
    if not flows & {f"ALLOW_{flow}", flow}:
        raise invalid(f"{flow} flow not enabled for this client")
    for name in ("USERNAME", "PASSWORD"):
        if not parameters.get(name):
            raise invalid(f"Missing required parameter {name}")
    _check_secret_hash(client, parameters, taken=pool.secrets_of(client))
    outcome, user = check_password(pool, parameters["USERNAME"], parameters["PASSWORD"])
    if (
        outcome is Outcome.UNKNOWN
        and client.settings.get("PreventUserExistenceErrors") != "ENABLED"
    ):
        raise ApiError("UserNotFoundException", "User does not exist.")
    if outcome in _NOT_AUTHORIZED:
        raise ApiError("NotAuthorizedException", _NOT_AUTHORIZED[outcome])
    if outcome is Outcome.RESET_REQUIRED:
        raise ApiError("PasswordResetRequiredException", "Password reset required for the user")
    if outcome is Outcome.UNCONFIRMED:
        raise ApiError("UserNotConfirmedException", "User is not confirmed.")
    if user is None:
        msg = f"{outcome} without a user"
        raise AssertionError(msg)
    challenge = "NEW_PASSWORD_REQUIRED" if outcome is Outcome.NEW_PASSWORD else _factor(pool, user)
    if challenge:
        return _challenge(challenge, user)
    return {"ChallengeParameters": {}, "AuthenticationResult": _tokens(state, client, user)}


def _check_secret_hash(
    client: AppClient, parameters: dict[str, str], *, taken: tuple[str, ...]
) -> None:
    given = parameters.get("SECRET_HASH")
    if client.secret is not None and not given:
        raise ApiError(
            "NotAuthorizedException",
            f"Client {client.client_id} is configured with secret but SECRET_HASH was not received",
        )
    text = f"{parameters['USERNAME']}{client.client_id}".encode()
    right = [
        base64.b64encode(hmac.digest(secret.encode(), text, "sha256")).decode() for secret in taken
    ]
    if (client.secret is None and given) or (
        client.secret is not None
        and not any(hmac.compare_digest(each, given or "") for each in right)
    ):
        raise ApiError(
            "NotAuthorizedException", f"Unable to verify secret hash for client {client.client_id}"
        )


def _factor(pool: Pool, user: User) -> str:
    demanded = pool.settings.get("MfaConfiguration", "OFF")
    if demanded == "OFF":
        return ""
    return user.second_factor or ("MFA_SETUP" if demanded == "ON" else "")


def _challenge(name: str, user: User) -> dict[str, Any]:
    parameters = {"USER_ID_FOR_SRP": user.username}
    if name == "NEW_PASSWORD_REQUIRED":
        shown = json.dumps({k: v for k, v in user.attributes.items() if k != "sub"})
        parameters |= {"requiredAttributes": "[]", "userAttributes": shown}
    return {
        "ChallengeName": name,
        "ChallengeParameters": parameters,
        "Session": secrets.token_urlsafe(120),
    }


def _tokens(state: ControlState, client: AppClient, user: User) -> dict[str, Any]:
    pool = state.pool
    grant = Grant(
        origin_jti=str(uuid.uuid4()),
        client_id=client.client_id,
        username=user.username,
        scopes=(SCOPE,),
        auth_time=int(pool.clock()),
        event_id=str(uuid.uuid4()),
        expires_at=pool.clock() + client.refresh_token_s,
    )
    refresh = secrets.token_urlsafe(96)
    pool.refresh_tokens[refresh] = RefreshToken(grant)
    mint = state.mint
    access = mint.access_token(client, grant, user)
    return {
        "AccessToken": access,
        "ExpiresIn": client.access_token_s,
        "TokenType": "Bearer",
        "RefreshToken": refresh,
        "IdToken": mint.id_token(client, grant, user, access_token=access, nonce=None),
    }
