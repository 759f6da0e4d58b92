"""What AWS refuses, one line each, in which words (facts §3, §8)."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from demo.cloud import POOL_ID, DemoCloud
from demo.cognito.control import validation
from demo.cognito.control.errors import ApiError
from tests.demo.aws import CLIENT, OKTA, refused

REFUSED_PROVIDERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "underscore": (
        {"ProviderName": "initech_okta"},
        "InvalidParameterException",
        "regular expression pattern",
    ),
    "two characters": (
        {"ProviderName": "ab"},
        "InvalidParameterException",
        "regular expression pattern",
    ),
    "33 characters": (
        {"ProviderName": "a" * 33},
        "InvalidParameterException",
        "length less than or equal to 32",
    ),
    "duplicate": (
        {"ProviderName": "acme-okta"},
        "DuplicateProviderException",
        f"acme-okta already exists in user pool {POOL_ID}",
    ),
    "unknown type": ({"ProviderType": "LDAP"}, "InvalidParameterException", "enum value set"),
    "unknown attribute": (
        {"AttributeMapping": {"custom:x": "x"}},
        "InvalidParameterException",
        "AttributeMapping contains invalid mapping: [custom:x]",
    ),
    "51 identifiers": (
        {"IdpIdentifiers": [f"d{n}.test" for n in range(51)]},
        "InvalidParameterException",
        "length less than or equal to 50",
    ),
    "41 characters": (
        {"IdpIdentifiers": ["d" * 41]},
        "InvalidParameterException",
        "'idpIdentifiers.1.member'",
    ),
    "same identifier twice": (
        {"IdpIdentifiers": ["a.test", "a.test"]},
        "InvalidParameterException",
        "twice",
    ),
    "a social kind under another name": (
        {"ProviderType": "Facebook"},
        "InvalidParameterException",
        "ProviderName must be Facebook",
    ),
    "SAML without metadata": (
        {"ProviderType": "SAML"},
        "InvalidParameterException",
        "At least one of the MetadataURL or MetadataFile should be provided.",
    ),
    "a reserved name": ({"ProviderName": "Google"}, "DuplicateProviderException", "Google"),
    "identifier pattern": (
        {"IdpIdentifiers": ["a/b"]},
        "InvalidParameterException",
        "regular expression pattern",
    ),
}
REFUSED_DETAILS: dict[str, tuple[dict[str, str | None], str]] = {
    "no issuer": ({"oidc_issuer": None}, "oidc_issuer missing"),
    "no scopes": ({"authorize_scopes": None}, "authorize_scopes missing"),
    "slash": ({"oidc_issuer": "https://initech.okta.com/"}, "slash"),
    "http": ({"oidc_issuer": "http://initech.okta.com"}, "https"),
    "port": ({"oidc_issuer": "https://initech.okta.com:8443"}, "port"),
    "no openid": ({"authorize_scopes": "email"}, "openid"),
    "no URL": ({"oidc_issuer": "https://"}, "not a URL"),
    "no port": ({"oidc_issuer": "https://initech.okta.com:x"}, "not a URL"),
    "no address": ({"oidc_issuer": "https://[initech"}, "not a URL"),
    "an endpoint by http": ({"token_url": "http://initech.okta.com/token"}, "token_url"),
    "method": ({"attributes_request_method": "PUT"}, "GET or POST"),
}


@pytest.mark.parametrize(
    ("changes", "code", "text"), REFUSED_PROVIDERS.values(), ids=REFUSED_PROVIDERS.keys()
)
async def test_provider_that_aws_refuses(
    aws: Any, cloud: DemoCloud, changes: dict[str, Any], code: str, text: str
) -> None:
    before = dict(cloud.cognito.pool.providers)
    found, message = await refused(
        aws.create_identity_provider(**{"UserPoolId": POOL_ID, **OKTA, **changes})
    )
    assert found == code and text in message
    assert cloud.cognito.pool.providers == before


@pytest.mark.parametrize(("changes", "text"), REFUSED_DETAILS.values(), ids=REFUSED_DETAILS.keys())
async def test_provider_details_that_aws_refuses(
    aws: Any, changes: dict[str, str | None], text: str
) -> None:
    details = {
        name: value
        for name, value in {**OKTA["ProviderDetails"], **changes}.items()
        if value is not None
    }
    code, message = await refused(
        aws.create_identity_provider(UserPoolId=POOL_ID, **{**OKTA, "ProviderDetails": details})
    )
    assert code == "InvalidParameterException" and text in message


async def test_identifier_belongs_to_one_provider_of_the_pool(aws: Any) -> None:
    await aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **OKTA)
    again = {**OKTA, "ProviderName": "other-okta"}
    code, message = await refused(
        aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **again)
    )
    assert code == "DuplicateProviderException" and "initech.test" in message


async def test_required_attribute_must_be_mapped(cloud: DemoCloud, aws: Any) -> None:
    cloud.cognito.pool.add_attribute("email", required=True)
    code, message = await refused(
        aws.create_identity_provider(
            UserPoolId=POOL_ID, **{**OKTA, "AttributeMapping": {"name": "name"}}
        )
    )
    assert code == "InvalidParameterException" and "email" in message


REFUSED_CLIENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "nobody's provider": (
        {"SupportedIdentityProviders": ["nobody"]},
        "InvalidParameterException",
        f"The provider nobody does not exist for User Pool {POOL_ID}.",
    ),
    "http callback": (
        {"CallbackURLs": ["http://initech.example.com/cb"]},
        "InvalidParameterException",
        "HTTP scheme",
    ),
    "fragment": (
        {"CallbackURLs": ["https://initech.example.com/cb#x"]},
        "InvalidParameterException",
        "fragment",
    ),
    "101 callbacks": (
        {"CallbackURLs": [f"https://h{n}.test" for n in range(101)]},
        "InvalidParameterException",
        "less than or equal to 100",
    ),
    "unknown scope": (
        {"AllowedOAuthScopes": ["openid", "groups"]},
        "ScopeDoesNotExistException",
        "groups",
    ),
    "unknown attribute": (
        {"ReadAttributes": ["custom:x"]},
        "InvalidParameterException",
        "Invalid read attributes",
    ),
    "verified flag written": (
        {"WriteAttributes": ["email_verified"]},
        "InvalidParameterException",
        "Invalid write attributes",
    ),
    "two minutes": (
        {"AccessTokenValidity": 2},
        "InvalidParameterException",
        "Invalid range for token validity.",
    ),
    "refresh of half an hour": (
        {
            "RefreshTokenValidity": 30,
            "TokenValidityUnits": {
                "AccessToken": "minutes",
                "IdToken": "minutes",
                "RefreshToken": "minutes",
            },
        },
        "InvalidParameterException",
        "Invalid range for token validity.",
    ),
    "rotation and refresh flow": (
        {"ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"]},
        "InvalidParameterException",
        "rotation",
    ),
    "rotation and default flows": (
        {"ExplicitAuthFlows": None},
        "InvalidParameterException",
        "rotation",
    ),
    "grace of a minute and more": (
        {"RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 61}},
        "InvalidParameterException",
        "60",
    ),
    "refresh shorter than access": (
        {
            "AccessTokenValidity": 24,
            "RefreshTokenValidity": 2,
            "TokenValidityUnits": {
                "AccessToken": "hours",
                "IdToken": "minutes",
                "RefreshToken": "hours",
            },
        },
        "InvalidParameterException",
        "shorter",
    ),
    "default that is no callback": (
        {"DefaultRedirectURI": "https://other.test/"},
        "InvalidParameterException",
        "DefaultRedirectURI",
    ),
    "old and new flows": (
        {"ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH", "ADMIN_NO_SRP_AUTH"]},
        "InvalidParameterException",
        "mix",
    ),
    "relative callback": ({"CallbackURLs": ["/cb"]}, "InvalidParameterException", "absolute"),
    "callback without a host": (
        {"CallbackURLs": ["https:///cb"]},
        "InvalidParameterException",
        "not a valid URL",
    ),
    "callback that is no URL": (
        {"CallbackURLs": ["https://[x"]},
        "InvalidParameterException",
        "not a valid URL",
    ),
    "no callback": ({"CallbackURLs": []}, "InvalidParameterException", "CallbackURLs are required"),
    "name pattern": (
        {"ClientName": "a/b"},
        "InvalidParameterException",
        "regular expression pattern",
    ),
    "flows without scopes": (
        {"AllowedOAuthScopes": []},
        "InvalidOAuthFlowException",
        "AllowedOAuthScopes are required",
    ),
    "two kinds of flow": (
        {"AllowedOAuthFlows": ["code", "client_credentials"]},
        "InvalidOAuthFlowException",
        "client_credentials",
    ),
    "machine without secret": (
        {"AllowedOAuthFlows": ["client_credentials"], "GenerateSecret": False},
        "InvalidOAuthFlowException",
        "client secret",
    ),
    "another pool": (
        {"UserPoolId": "eu-north-1_Nobody123"},
        "ResourceNotFoundException",
        "User pool eu-north-1_Nobody123 does not exist.",
    ),
}


@pytest.mark.parametrize(
    ("changes", "code", "text"), REFUSED_CLIENTS.values(), ids=REFUSED_CLIENTS.keys()
)
async def test_client_that_aws_refuses(
    aws: Any, cloud: DemoCloud, changes: dict[str, Any], code: str, text: str
) -> None:
    request = {
        name: value
        for name, value in {"UserPoolId": POOL_ID, **CLIENT, **changes}.items()
        if value is not None
    }
    found, message = await refused(aws.create_user_pool_client(**request))
    assert found == code and text in message
    assert cloud.cognito.pool.clients == {}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "app.localhost"])
async def test_http_is_accepted_on_loopback(aws: Any, host: str) -> None:
    await aws.create_user_pool_client(
        UserPoolId=POOL_ID, **{**CLIENT, "CallbackURLs": [f"http://{host}:8000/cb"]}
    )
    details = {**OKTA["ProviderDetails"], "oidc_issuer": f"http://{host}:9001"}
    await aws.create_identity_provider(UserPoolId=POOL_ID, **{**OKTA, "ProviderDetails": details})


async def test_only_the_real_loopback_names_take_http_outside_development(
    cloud: DemoCloud, aws: Any
) -> None:
    cloud.cognito.control.state.development = False
    await aws.create_user_pool_client(
        UserPoolId=POOL_ID, **{**CLIENT, "CallbackURLs": ["http://localhost:8000/cb"]}
    )
    callback = aws.create_user_pool_client(
        UserPoolId=POOL_ID, **{**CLIENT, "CallbackURLs": ["http://app.localhost:8000/cb"]}
    )
    assert "HTTP scheme" in (await refused(callback))[1]
    details = {**OKTA["ProviderDetails"], "oidc_issuer": "http://localhost:9001"}
    assert (
        "https"
        in (
            await refused(
                aws.create_identity_provider(
                    UserPoolId=POOL_ID, **{**OKTA, "ProviderDetails": details}
                )
            )
        )[1]
    )


async def test_required_attribute_must_be_writable(cloud: DemoCloud, aws: Any) -> None:
    cloud.cognito.pool.add_attribute("email", required=True)
    code, message = await refused(
        aws.create_user_pool_client(
            UserPoolId=POOL_ID, **{**CLIENT, "WriteAttributes": ["custom:groups"]}
        )
    )
    assert code == "InvalidParameterException" and "write attributes" in message
    await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT)


REFUSED_ATTRIBUTES: dict[str, tuple[dict[str, Any], str]] = {
    "21 characters": ({"Name": "a" * 21}, "less than or equal to 20"),
    "there already": ({"Name": "groups"}, "Existing attribute already has name custom:groups."),
    "too long": ({"Name": "x", "StringAttributeConstraints": {"MaxLength": "2049"}}, "2048"),
    "required": ({"Name": "x", "Required": True}, "Required custom attributes are not supported"),
}


@pytest.mark.parametrize(
    ("changes", "text"), REFUSED_ATTRIBUTES.values(), ids=REFUSED_ATTRIBUTES.keys()
)
async def test_attribute_that_aws_refuses(aws: Any, changes: dict[str, Any], text: str) -> None:
    attribute = {"AttributeDataType": "String", "Mutable": True, **changes}
    code, message = await refused(
        aws.add_custom_attributes(UserPoolId=POOL_ID, CustomAttributes=[attribute])
    )
    assert code == "InvalidParameterException" and text in message


async def test_attribute_added_without_saying_so_is_immutable(aws: Any) -> None:
    await aws.add_custom_attributes(
        UserPoolId=POOL_ID, CustomAttributes=[{"Name": "frozen", "AttributeDataType": "String"}]
    )
    schema = (await aws.describe_user_pool(UserPoolId=POOL_ID))["UserPool"]["SchemaAttributes"]
    added = next(attribute for attribute in schema if attribute["Name"] == "custom:frozen")
    assert added["Mutable"] is False
    assert {"sub", "email", "email_verified", "name"} <= {attribute["Name"] for attribute in schema}


def test_java_pattern_with_unicode_categories_is_understood() -> None:
    shape = (
        botocore.session.get_session()
        .get_service_model("cognito-idp")
        .shape_for("ProviderNameTypeV2")
    )
    assert list(validation.violations(shape, "Ärzte-Köln", path="name")) == []
    assert len(list(validation.violations(shape, "with space", path="name"))) == 1


def test_value_of_the_wrong_type_is_a_serialization_error() -> None:
    shape = (
        botocore.session.get_session()
        .get_service_model("cognito-idp")
        .operation_model("DescribeUserPool")
        .input_shape
    )
    with pytest.raises(ApiError, match="SerializationException"):
        validation.check(shape, {"UserPoolId": 1})
