"""App clients. An update sets everything it does not name back to the default, as AWS documents
it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from demo.cognito.attributes import SCOPE_ATTRIBUTES
from demo.cognito.control.errors import ApiError, invalid, limit_exceeded
from demo.cognito.control.state import ACCOUNT_ID, ControlState, page
from demo.cognito.pool import COGNITO, AppClient, random_id

if TYPE_CHECKING:
    from demo.cognito.pool import Pool

STANDARD_SCOPES = frozenset({"openid", "aws.cognito.signin.user.admin", *SCOPE_ATTRIBUTES})
DEFAULTS: dict[str, Any] = {
    "RefreshTokenValidity": 30,
    "TokenValidityUnits": {},
    "AllowedOAuthFlowsUserPoolClient": False,
    "EnableTokenRevocation": True,
    "EnablePropagateAdditionalUserContextData": False,
    "AuthSessionValidity": 3,
}
_DEFAULT_FLOWS = frozenset({"ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_CUSTOM_AUTH"})
"""What a client without ExplicitAuthFlows may do; Describe shows no list then."""

_NOT_SETTINGS = ("UserPoolId", "ClientId", "GenerateSecret", "PublishSecretsInAWSSecretsManager")
_ACCESS_RANGE_S = (300, 86400)
_REFRESH_RANGE_S = (3600, 10 * 365 * 86400)


def create_user_pool_client(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Names are not unique: the same request twice makes two clients."""
    pool = state.pool_of(request)
    if len(pool.clients) >= state.quotas.clients:
        raise limit_exceeded(
            f"Maximum number of user pool clients ({state.quotas.clients}) reached."
        )
    now = pool.clock()
    secret = random_id(51) if request.get("GenerateSecret") else None
    client = AppClient(random_id(26), secret, _settings(request), created=now, modified=now)
    _check(state, pool, client)
    pool.clients[client.client_id] = client
    pool.hide("client", client.client_id)
    published = request.get(
        "PublishSecretsInAWSSecretsManager", pool.behaviour.publishes_secrets_unasked
    )
    if secret is not None and published:
        client = publish_secret(pool, client)
    return {"UserPoolClient": _described(pool, client)}


def publish_secret(pool: Pool, client: AppClient) -> AppClient:
    """Its secret is Secrets Manager's from now on, and exchanged at once."""
    where = f"{pool.region}:{ACCOUNT_ID}:secret/cognito/{pool.pool_id}/{client.client_id}"
    arn = f"arn:aws:secretsmanager:{where}-{random_id(6)}"
    pool.clients[client.client_id] = replace(client, secret_arn=client.secret_arn or arn)
    return pool.exchange_secret(client.client_id)


def describe_user_pool_client(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    return {"UserPoolClient": _described(pool, state.client_to_read(pool, request["ClientId"]))}


def update_user_pool_client(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Only name, id, secret and creation date survive an update that does not name them. The answer
    omits the secret.
    """
    pool = state.pool_of(request)
    old = state.client_to_write(pool, request["ClientId"])
    settings = _settings({"ClientName": old.name, **request})
    client = replace(old, settings=settings, modified=pool.clock())
    _check(state, pool, client)
    published = request.get("PublishSecretsInAWSSecretsManager")
    if published is not None and client.secret is None:
        raise invalid("The app client has no generated secret.")
    if published is False:
        client = replace(client, secret_arn="", secret_before=None)
    pool.clients[client.client_id] = client
    if published:
        client = publish_secret(pool, client)
    described = _described(pool, client)
    described.pop("ClientSecret", None)
    return {"UserPoolClient": described}


def delete_user_pool_client(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Its style and its tokens go with it."""
    pool = state.pool_of(request)
    client = state.client_to_write(pool, request["ClientId"])
    del pool.clients[client.client_id]
    pool.styles = {
        style_id: style
        for style_id, style in pool.styles.items()
        if style.client_id != client.client_id
    }
    for token in pool.refresh_tokens.values():
        if token.grant.client_id == client.client_id:
            token.grant.revoked = True
    return {}


def list_user_pool_clients(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    seen = [
        client
        for client_id, client in sorted(pool.clients.items())
        if pool.visible_client(client_id)
    ]
    shown, following = page(
        pool, seen, size=request.get("MaxResults"), token=request.get("NextToken")
    )
    return {
        "UserPoolClients": [
            {"ClientId": client.client_id, "UserPoolId": pool.pool_id, "ClientName": client.name}
            for client in shown
        ],
        **({"NextToken": following} if following else {}),
    }


def _settings(request: dict[str, Any]) -> dict[str, Any]:
    given = {
        name: value
        for name, value in request.items()
        if name not in _NOT_SETTINGS and value is not None
    }
    if not given.get("RefreshTokenValidity", True):
        # "You can't set RefreshTokenValidity to 0": it becomes the default, in days.
        units = dict(given.get("TokenValidityUnits") or {})
        given["TokenValidityUnits"] = {**units, **({"RefreshToken": "days"} if units else {})}
        del given["RefreshTokenValidity"]
    return {**DEFAULTS, **given}


def _described(pool: Pool, client: AppClient) -> dict[str, Any]:
    return {
        "UserPoolId": pool.pool_id,
        "ClientId": client.client_id,
        **(
            {"ClientSecretArn": client.secret_arn}
            if client.secret_arn
            else {"ClientSecret": client.secret}
            if client.secret
            else {}
        ),
        **client.settings,
        "CreationDate": client.created,
        "LastModifiedDate": client.modified,
    }


# -- what AWS refuses beyond the model


def _check(state: ControlState, pool: Pool, client: AppClient) -> None:
    _check_providers(pool, client)
    for url in (*client.callback_urls, *client.logout_urls):
        _check_url(state, url)
    default = client.settings.get("DefaultRedirectURI")
    if default is not None and default not in client.callback_urls:
        raise invalid("DefaultRedirectURI must be one of the callback URLs.")
    _check_flows(client)
    for scope in client.scopes:
        if scope not in STANDARD_SCOPES and scope not in pool.resource_scopes:
            raise ApiError("ScopeDoesNotExistException", f"Scope {scope} does not exist.")
    _check_attributes(pool, client)
    _check_validity(client)
    _check_auth_flows(client)
    behaviour = pool.behaviour
    if (
        client.rotation_grace_s is not None
        and behaviour.tier == "LITE"
        and not behaviour.rotation_in_lite
    ):
        raise ApiError(
            "FeatureUnavailableInTierException",
            "Refresh token rotation is not available in the feature plan of this user pool.",
        )


def _check_providers(pool: Pool, client: AppClient) -> None:
    for name in client.providers:
        if name != COGNITO and pool.visible_provider(name) is None:
            raise invalid(f"The provider {name} does not exist for User Pool {pool.pool_id}.")


def _check_url(state: ControlState, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as malformed:
        raise invalid(f"{url} is not a valid URL.") from malformed
    host = parts.hostname or ""
    if not parts.scheme or "#" in url:
        raise invalid(f"{url} must be an absolute URL without a fragment.")
    if parts.scheme in ("http", "https") and not host:
        raise invalid(f"{url} is not a valid URL.")
    loopback = host in ("localhost", "127.0.0.1", "::1") or (
        state.development and host.endswith(".localhost")
    )
    if parts.scheme == "http" and not loopback:
        raise invalid(f"{url} cannot use the HTTP scheme.")


def _check_flows(client: AppClient) -> None:
    flows = set(client.settings.get("AllowedOAuthFlows") or ())
    if not client.settings["AllowedOAuthFlowsUserPoolClient"]:
        return
    if not flows or not client.scopes:
        raise ApiError(
            "InvalidOAuthFlowException",
            (
                "AllowedOAuthFlows and AllowedOAuthScopes are required if user pool client is "
                "allowed to use OAuth flows."
            ),
        )
    if "client_credentials" in flows and len(flows) > 1:
        raise ApiError(
            "InvalidOAuthFlowException",
            "client_credentials flow can not be selected along with code flow or implicit flow.",
        )
    if "client_credentials" in flows and client.secret is None:
        raise ApiError(
            "InvalidOAuthFlowException",
            "client_credentials flow can not be selected if client does not have a client secret.",
        )
    if flows & {"code", "implicit"} and not client.callback_urls:
        raise invalid("CallbackURLs are required for the code and implicit flows.")


def _check_attributes(pool: Pool, client: AppClient) -> None:
    readable = client.settings.get("ReadAttributes") or ()
    if any(name not in pool.schema for name in readable):
        raise invalid("Invalid read attributes specified while creating a client")
    writable = client.settings.get("WriteAttributes") or ()
    unwritable = {"sub", "email_verified", "phone_number_verified"}
    required = {
        name for name, attribute in pool.schema.items() if attribute.required and name != "sub"
    }
    if any(name not in pool.schema or name in unwritable for name in writable) or (
        writable and required - set(writable)
    ):
        raise invalid("Invalid write attributes specified while creating a client")


def _check_validity(client: AppClient) -> None:
    lowest, highest = _ACCESS_RANGE_S
    if not all(
        lowest <= seconds <= highest for seconds in (client.access_token_s, client.id_token_s)
    ):
        raise invalid("Invalid range for token validity.")
    lowest, highest = _REFRESH_RANGE_S
    if not lowest <= client.refresh_token_s <= highest:
        raise invalid("Invalid range for token validity.")
    if client.refresh_token_s < max(client.access_token_s, client.id_token_s):
        raise invalid(
            "RefreshTokenValidity must not be shorter than AccessTokenValidity and IdTokenValidity."
        )


def _check_auth_flows(client: AppClient) -> None:
    given = set(client.settings.get("ExplicitAuthFlows") or ())
    if any(flow.startswith("ALLOW_") for flow in given) and any(
        not flow.startswith("ALLOW_") for flow in given
    ):
        raise invalid("ExplicitAuthFlows must not mix flows with and without the prefix ALLOW_.")
    effective = given if client.settings.get("ExplicitAuthFlows") is not None else _DEFAULT_FLOWS
    if client.rotation_grace_s is not None and "ALLOW_REFRESH_TOKEN_AUTH" in effective:
        raise invalid(
            "Refresh token rotation cannot be enabled for a client that has "
            "ALLOW_REFRESH_TOKEN_AUTH."
        )
