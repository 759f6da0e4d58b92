"""boto at the demo's control plane, and a provider and a client that AWS accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aioboto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from demo.cloud import DemoCloud

OKTA: dict[str, Any] = {
    "ProviderName": "initech-okta",
    "ProviderType": "OIDC",
    "ProviderDetails": {
        "client_id": "0oa1",
        "client_secret": "s3cret",
        "attributes_request_method": "GET",
        "oidc_issuer": "https://initech.okta.com",
        "authorize_scopes": "openid profile email groups",
    },
    "AttributeMapping": {"username": "sub", "email": "email", "custom:groups": "groups"},
}
CLIENT: dict[str, Any] = {
    "ClientName": "initech",
    "GenerateSecret": True,
    "SupportedIdentityProviders": ["acme-okta"],
    "CallbackURLs": ["https://initech.example.com/_auth/callback"],
    "LogoutURLs": ["https://initech.example.com/_auth/signed-out"],
    "AllowedOAuthFlowsUserPoolClient": True,
    "AllowedOAuthFlows": ["code"],
    "AllowedOAuthScopes": ["openid"],
    "ReadAttributes": ["email", "email_verified", "custom:groups"],
    "WriteAttributes": ["email", "custom:groups"],
    "ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH"],
    "RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 30},
    "AccessTokenValidity": 15,
    "IdTokenValidity": 15,
    "RefreshTokenValidity": 1,
    "TokenValidityUnits": {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"},
}


SESSION = aioboto3.Session(
    aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", region_name="eu-north-1"
)
"""One for all tests: it caches the service model, which takes a quarter of a second to load."""


def control_plane(cloud: DemoCloud, **config: Any) -> Any:
    settings = Config(
        **{"retries": {"total_max_attempts": 1}, "parameter_validation": False, **config}
    )
    return SESSION.client("cognito-idp", endpoint_url=cloud.cognito.endpoint_url, config=settings)


async def refused(call: Any) -> tuple[str, str]:
    """Code and text of the refusal that a call must meet."""
    with pytest.raises(ClientError) as caught:
        await call
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]
