"""Name and password of a user of the pool, checked by ``InitiateAuth`` with ``USER_PASSWORD_AUTH``:
an operation that no AWS credential signs, through an app client of its own.

Rules:
- What Cognito answers otherwise than with an ID token lets nobody in. What it says of the person is
  one of a few reasons; whatever is said of the client, of Cognito itself, or in words that are not
  known here, is an outage, and is not remembered.
- A challenge is never answered: a program has no second factor.
- The tokens are read here and thrown away; only the ID token's claims, verified, leave.

Sources: API reference of InitiateAuth; Cognito developer guide, "Computing secret hash values",
"Managing error responses".
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.cognito.secret_exchange import with_either_secret
from gateway.core.reason import Reason
from gateway.errors import PeerError, UnavailableError
from gateway.http.client import request_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from gateway.cognito.secret_exchange import ExchangedSecrets
    from gateway.core.authorization import Basic
    from gateway.core.model import AppClient

PATIENCE_S: Final = 4.0
"""For one answer. Cognito takes some 0.3 s to compare a password; an ingress gives up after the
seconds that its configuration says.
"""
_CHALLENGES: Final = {"NEW_PASSWORD_REQUIRED": Reason.NEW_PASSWORD_REQUIRED}
"""Every other one is about a second factor, or leads to one."""
_OF_THE_PERSON: Final = {
    "NotAuthorizedException": Reason.POOL_PASSWORD_INVALID,
    "UserNotFoundException": Reason.POOL_PASSWORD_INVALID,
    "InvalidParameterException": Reason.POOL_PASSWORD_INVALID,
    "UserLambdaValidationException": Reason.POOL_PASSWORD_INVALID,
    "PasswordResetRequiredException": Reason.NEW_PASSWORD_REQUIRED,
    "UserNotConfirmedException": Reason.NEW_PASSWORD_REQUIRED,
}
_SECRET: Final = "secret hash"
_WORDS: Final = (
    # Cognito says these with a code that otherwise is about the person.
    (_SECRET, Reason.COGNITO_UNAVAILABLE),
    ("secret_hash", Reason.COGNITO_UNAVAILABLE),
    ("flow not enabled", Reason.COGNITO_UNAVAILABLE),
    ("attempts exceeded", Reason.TOO_MANY_ATTEMPTS),
    ("must be reset by an administrator", Reason.NEW_PASSWORD_REQUIRED),
)
SETTING: Final = (
    "password_client of the tenant: client id, secret, and ALLOW_USER_PASSWORD_AUTH among the "
    "client's ExplicitAuthFlows"
)


@dataclass(frozen=True, slots=True)
class PasswordAccepted:
    """Claims of the verified ID token."""

    claims: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasswordRefused:
    """``code``: Cognito's exception or challenge. ``cause`` is for the log, and names nobody."""

    reason: Reason
    code: str
    cause: str
    setting: str = ""


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """One per process. ``endpoints``: of the API, by the name of the pool. ``verify``: claims of an
    ID token of that pool for that client, or None.
    """

    client: aiohttp.ClientSession
    endpoints: Mapping[str, str]
    verify: Callable[[str, str, str], Awaitable[Mapping[str, object] | None]]
    secrets: ExchangedSecrets | None = None
    """Of clients whose secret Cognito exchanges by itself."""

    async def __call__(self, client: AppClient, basic: Basic) -> PasswordAccepted | PasswordRefused:
        """Never raises for what Cognito says, or does not say."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await with_either_secret(
                    client,
                    lambda tried: self._ask(tried, basic),
                    refused=lambda answer: answer == _SECRET_REFUSED,
                    secrets=self.secrets,
                )
        except TimeoutError:
            return _outage("timeout", f"Cognito did not answer within {PATIENCE_S:.0f} s")
        except (UnavailableError, PeerError) as error:
            code = error.code if isinstance(error, PeerError) else "unreachable"
            return _outage(code, str(error))

    async def _ask(self, client: AppClient, basic: Basic) -> PasswordAccepted | PasswordRefused:
        endpoint = self.endpoints.get(client.pool)
        if endpoint is None:
            return _outage("pool_unknown", f"user pool {client.pool} is not in cognito.pools here")
        status, answer = await request_json(
            self.client,
            "POST",
            f"{endpoint.rstrip('/')}/",
            what="InitiateAuth",
            data=json.dumps(request(client, basic)),
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
            },
        )
        if status != 200:
            return refusal(answer)
        challenge, result = answer.get("ChallengeName"), answer.get("AuthenticationResult")
        if challenge is not None:
            name = str(challenge)[:64]
            reason = _CHALLENGES.get(name, Reason.SECOND_FACTOR_REQUIRED)
            return PasswordRefused(reason, name, "Cognito asks for more than the password")
        token = result.get("IdToken") if isinstance(result, dict) else None
        if not isinstance(token, str):
            return _outage("malformed_answer", "InitiateAuth answered 200 without an ID token")
        claims = await self.verify(token, client.client_id, client.pool)
        if claims is None or claims.get("token_use") != "id":
            return _outage(
                "id_token_invalid",
                "signature, issuer, audience, expiry or token_use of the ID token is wrong",
            )
        return PasswordAccepted(claims)


def request(client: AppClient, basic: Basic) -> dict[str, object]:
    """The body of ``InitiateAuth``."""
    parameters = {"USERNAME": basic.username, "PASSWORD": basic.password}
    if client.client_secret:
        parameters["SECRET_HASH"] = secret_hash(client, basic.username)
    return {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": client.client_id,
        "AuthParameters": parameters,
    }


def secret_hash(client: AppClient, username: str) -> str:
    digest = hmac.digest(
        client.client_secret.reveal().encode(), f"{username}{client.client_id}".encode(), "sha256"
    )
    return base64.b64encode(digest).decode("ascii")


def refusal(answer: Mapping[str, object]) -> PasswordRefused:
    """What an error of Cognito's means. Its text names the person, and stays here."""
    code = str(answer.get("__type", "")).rpartition("#")[2][:64] or "unknown"
    text = str(answer.get("message", answer.get("Message", ""))).lower()
    reason = _OF_THE_PERSON.get(code)
    if reason is not None:
        reason = next((reason for words, reason in _WORDS if words in text), reason)
    if code == "NotAuthorizedException" and _SECRET in text:
        return _SECRET_REFUSED
    if reason is None or reason is Reason.COGNITO_UNAVAILABLE:
        ours = reason is not None or code == "ResourceNotFoundException"
        return _outage(code, f"Cognito refuses: {code}", SETTING if ours else "")
    return PasswordRefused(reason, code, f"Cognito refuses: {code}")


def _outage(code: str, cause: str, setting: str = "") -> PasswordRefused:
    return PasswordRefused(Reason.COGNITO_UNAVAILABLE, code, cause, setting)


_SECRET_REFUSED: Final = _outage(
    "NotAuthorizedException", "Cognito refuses: NotAuthorizedException", SETTING
)
"""Of what was made with the client's secret."""
