"""The control plane as boto sees it: what AWS accepts, what it refuses, and in which words (facts §3, §8)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aioboto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError, ReadTimeoutError

from demo.cloud import POOL_ID, DemoCloud
from demo.cognito.control import faults, validation
from demo.cognito.control.errors import ApiError
from demo.cognito.control.plane import OPERATIONS
from tests.demo.relying_party import RelyingParty, query, relying_party

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.clock import MovableClock
    from tests.browserless import Person

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


@pytest.fixture
async def aws(cloud: DemoCloud) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(_client(cloud))


SESSION = aioboto3.Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", region_name="eu-north-1")
"""One for all tests: it caches the service model, which takes a quarter of a second to load."""


def _client(cloud: DemoCloud, **config: Any) -> Any:
    settings = Config(**{"retries": {"total_max_attempts": 1}, "parameter_validation": False, **config})
    return SESSION.client("cognito-idp", endpoint_url=cloud.cognito.endpoint_url, config=settings)


async def refused(call: Any) -> tuple[str, str]:
    """Code and text of the refusal that a call must meet."""
    with pytest.raises(ClientError) as caught:
        await call
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


# -- what it creates is live


async def test_provider_and_client_created_by_the_api_log_a_person_in(cloud: DemoCloud, aws: Any, person: Person) -> None:
    customer = await cloud.add_idp("initech-okta", kind="okta")
    customer.server.directory.add_person("peter@initech.test", name="Peter Gibbons", groups=("app-users",))
    details = {
        **OKTA["ProviderDetails"],
        "client_id": customer.app.client_id,
        "client_secret": customer.app.client_secret,
        "oidc_issuer": customer.issuer,
    }
    await aws.create_identity_provider(UserPoolId=POOL_ID, **{**OKTA, "ProviderDetails": details})
    async with relying_party(cloud, "initech.localhost") as app:
        settings = {**CLIENT, "SupportedIdentityProviders": ["initech-okta"], "CallbackURLs": [app.callback], "LogoutURLs": [app.signed_out]}
        created = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **settings))["UserPoolClient"]
        app.client = cloud.cognito.pool.clients[created["ClientId"]]
        claims = app.verified((await app.log_in(person, "peter@initech.test", "initech-okta"))["id_token"])
        assert (claims["custom:groups"], claims["aud"]) == ("[app-users]", created["ClientId"])
        await aws.delete_user_pool_client(UserPoolId=POOL_ID, ClientId=created["ClientId"])
        assert "Client does not exist" in (await person.open(app.authorize_url("initech-okta"))).text


async def test_every_operation_exists_in_the_model_and_answers_as_it_says(cloud: DemoCloud, aws: Any) -> None:
    model = botocore.session.get_session().get_service_model("cognito-idp")
    assert set(OPERATIONS) <= set(model.operation_names)
    await aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **OKTA)
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]["ClientId"]
    style = await aws.create_managed_login_branding(UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True)
    state = cloud.cognito.control.state
    for operation, request in {
        "DescribeUserPool": {},
        "DescribeIdentityProvider": {"ProviderName": "initech-okta"},
        "GetIdentityProviderByIdentifier": {"IdpIdentifier": "initech.test"},
        "ListIdentityProviders": {},
        "DescribeUserPoolClient": {"ClientId": client_id},
        "ListUserPoolClients": {},
        "DescribeManagedLoginBranding": {"ManagedLoginBrandingId": style["ManagedLoginBranding"]["ManagedLoginBrandingId"]},
        "DescribeManagedLoginBrandingByClient": {"ClientId": client_id},
        "ListUsers": {},
    }.items():
        answer = OPERATIONS[operation](state, {"UserPoolId": POOL_ID, **request})
        shape = model.operation_model(operation).output_shape
        # AWS's own phone_number_verified is longer than its model allows.
        broken = [text for text in validation.violations(shape, answer, path="") if "phone_number_verified" not in text]
        assert broken == [], operation
        assert set(answer) <= set(shape.members), operation


# -- refusals, one line each


REFUSED_PROVIDERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "underscore": ({"ProviderName": "initech_okta"}, "InvalidParameterException", "regular expression pattern"),
    "two characters": ({"ProviderName": "ab"}, "InvalidParameterException", "regular expression pattern"),
    "33 characters": ({"ProviderName": "a" * 33}, "InvalidParameterException", "length less than or equal to 32"),
    "duplicate": ({"ProviderName": "acme-okta"}, "DuplicateProviderException", f"acme-okta already exists in user pool {POOL_ID}"),
    "unknown type": ({"ProviderType": "LDAP"}, "InvalidParameterException", "enum value set"),
    "unknown attribute": ({"AttributeMapping": {"custom:x": "x"}}, "InvalidParameterException", "AttributeMapping contains invalid mapping: [custom:x]"),
    "51 identifiers": ({"IdpIdentifiers": [f"d{n}.test" for n in range(51)]}, "InvalidParameterException", "length less than or equal to 50"),
    "41 characters": ({"IdpIdentifiers": ["d" * 41]}, "InvalidParameterException", "'idpIdentifiers.1.member'"),
    "same identifier twice": ({"IdpIdentifiers": ["a.test", "a.test"]}, "InvalidParameterException", "twice"),
    "a SAML provider": ({"ProviderType": "SAML"}, "InvalidParameterException", "OIDC"),
    "a reserved name": ({"ProviderName": "Google"}, "DuplicateProviderException", "Google"),
    "identifier pattern": ({"IdpIdentifiers": ["a/b"]}, "InvalidParameterException", "regular expression pattern"),
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


@pytest.mark.parametrize(("changes", "code", "text"), REFUSED_PROVIDERS.values(), ids=REFUSED_PROVIDERS.keys())
async def test_provider_that_aws_refuses(aws: Any, cloud: DemoCloud, changes: dict[str, Any], code: str, text: str) -> None:
    before = dict(cloud.cognito.pool.providers)
    found, message = await refused(aws.create_identity_provider(**{"UserPoolId": POOL_ID, **OKTA, **changes}))
    assert found == code and text in message
    assert cloud.cognito.pool.providers == before


@pytest.mark.parametrize(("changes", "text"), REFUSED_DETAILS.values(), ids=REFUSED_DETAILS.keys())
async def test_provider_details_that_aws_refuses(aws: Any, changes: dict[str, str | None], text: str) -> None:
    details = {name: value for name, value in {**OKTA["ProviderDetails"], **changes}.items() if value is not None}
    code, message = await refused(aws.create_identity_provider(UserPoolId=POOL_ID, **{**OKTA, "ProviderDetails": details}))
    assert code == "InvalidParameterException" and text in message


async def test_identifier_belongs_to_one_provider_of_the_pool(aws: Any) -> None:
    await aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **OKTA)
    again = {**OKTA, "ProviderName": "other-okta"}
    code, message = await refused(aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **again))
    assert code == "DuplicateProviderException" and "initech.test" in message


async def test_required_attribute_must_be_mapped(cloud: DemoCloud, aws: Any) -> None:
    cloud.cognito.pool.add_attribute("email", required=True)
    code, message = await refused(aws.create_identity_provider(UserPoolId=POOL_ID, **{**OKTA, "AttributeMapping": {"name": "name"}}))
    assert code == "InvalidParameterException" and "email" in message


REFUSED_CLIENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "nobody's provider": (
        {"SupportedIdentityProviders": ["nobody"]},
        "InvalidParameterException",
        f"The provider nobody does not exist for User Pool {POOL_ID}.",
    ),
    "http callback": ({"CallbackURLs": ["http://initech.example.com/cb"]}, "InvalidParameterException", "HTTP scheme"),
    "fragment": ({"CallbackURLs": ["https://initech.example.com/cb#x"]}, "InvalidParameterException", "fragment"),
    "101 callbacks": ({"CallbackURLs": [f"https://h{n}.test" for n in range(101)]}, "InvalidParameterException", "less than or equal to 100"),
    "unknown scope": ({"AllowedOAuthScopes": ["openid", "groups"]}, "ScopeDoesNotExistException", "groups"),
    "unknown attribute": ({"ReadAttributes": ["custom:x"]}, "InvalidParameterException", "Invalid read attributes"),
    "verified flag written": ({"WriteAttributes": ["email_verified"]}, "InvalidParameterException", "Invalid write attributes"),
    "two minutes": ({"AccessTokenValidity": 2}, "InvalidParameterException", "Invalid range for token validity."),
    "refresh of half an hour": (
        {"RefreshTokenValidity": 30, "TokenValidityUnits": {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "minutes"}},
        "InvalidParameterException",
        "Invalid range for token validity.",
    ),
    "rotation and refresh flow": ({"ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"]}, "InvalidParameterException", "rotation"),
    "rotation and default flows": ({"ExplicitAuthFlows": None}, "InvalidParameterException", "rotation"),
    "grace of a minute and more": ({"RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 61}}, "InvalidParameterException", "60"),
    "refresh shorter than access": (
        {"AccessTokenValidity": 24, "RefreshTokenValidity": 2, "TokenValidityUnits": {"AccessToken": "hours", "IdToken": "minutes", "RefreshToken": "hours"}},
        "InvalidParameterException",
        "shorter",
    ),
    "default that is no callback": ({"DefaultRedirectURI": "https://other.test/"}, "InvalidParameterException", "DefaultRedirectURI"),
    "old and new flows": ({"ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH", "ADMIN_NO_SRP_AUTH"]}, "InvalidParameterException", "mix"),
    "relative callback": ({"CallbackURLs": ["/cb"]}, "InvalidParameterException", "absolute"),
    "callback without a host": ({"CallbackURLs": ["https:///cb"]}, "InvalidParameterException", "not a valid URL"),
    "callback that is no URL": ({"CallbackURLs": ["https://[x"]}, "InvalidParameterException", "not a valid URL"),
    "no callback": ({"CallbackURLs": []}, "InvalidParameterException", "CallbackURLs are required"),
    "name pattern": ({"ClientName": "a/b"}, "InvalidParameterException", "regular expression pattern"),
    "flows without scopes": ({"AllowedOAuthScopes": []}, "InvalidOAuthFlowException", "AllowedOAuthScopes are required"),
    "two kinds of flow": ({"AllowedOAuthFlows": ["code", "client_credentials"]}, "InvalidOAuthFlowException", "client_credentials"),
    "machine without secret": (
        {"AllowedOAuthFlows": ["client_credentials"], "GenerateSecret": False},
        "InvalidOAuthFlowException",
        "client secret",
    ),
    "another pool": ({"UserPoolId": "eu-north-1_Nobody123"}, "ResourceNotFoundException", "User pool eu-north-1_Nobody123 does not exist."),
}


@pytest.mark.parametrize(("changes", "code", "text"), REFUSED_CLIENTS.values(), ids=REFUSED_CLIENTS.keys())
async def test_client_that_aws_refuses(aws: Any, cloud: DemoCloud, changes: dict[str, Any], code: str, text: str) -> None:
    request = {name: value for name, value in {"UserPoolId": POOL_ID, **CLIENT, **changes}.items() if value is not None}
    found, message = await refused(aws.create_user_pool_client(**request))
    assert found == code and text in message
    assert cloud.cognito.pool.clients == {}


REFUSED_ATTRIBUTES: dict[str, tuple[dict[str, Any], str]] = {
    "21 characters": ({"Name": "a" * 21}, "less than or equal to 20"),
    "there already": ({"Name": "groups"}, "Existing attribute already has name custom:groups."),
    "too long": ({"Name": "x", "StringAttributeConstraints": {"MaxLength": "2049"}}, "2048"),
    "required": ({"Name": "x", "Required": True}, "Required custom attributes are not supported"),
}


@pytest.mark.parametrize(("changes", "text"), REFUSED_ATTRIBUTES.values(), ids=REFUSED_ATTRIBUTES.keys())
async def test_attribute_that_aws_refuses(aws: Any, changes: dict[str, Any], text: str) -> None:
    attribute = {"AttributeDataType": "String", "Mutable": True, **changes}
    code, message = await refused(aws.add_custom_attributes(UserPoolId=POOL_ID, CustomAttributes=[attribute]))
    assert code == "InvalidParameterException" and text in message


async def test_attribute_added_without_saying_so_is_immutable(aws: Any) -> None:
    await aws.add_custom_attributes(UserPoolId=POOL_ID, CustomAttributes=[{"Name": "frozen", "AttributeDataType": "String"}])
    schema = (await aws.describe_user_pool(UserPoolId=POOL_ID))["UserPool"]["SchemaAttributes"]
    added = next(attribute for attribute in schema if attribute["Name"] == "custom:frozen")
    assert added["Mutable"] is False
    assert {"sub", "email", "email_verified", "name"} <= {attribute["Name"] for attribute in schema}


# -- what surprises


async def test_update_of_a_client_resets_what_it_leaves_out(aws: Any) -> None:
    created = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]
    updated = (await aws.update_user_pool_client(UserPoolId=POOL_ID, ClientId=created["ClientId"], AccessTokenValidity=1))["UserPoolClient"]
    assert "ClientSecret" in created and "ClientSecret" not in updated
    assert updated["ClientName"] == "initech"
    for name in ("CallbackURLs", "SupportedIdentityProviders", "ReadAttributes", "RefreshTokenRotation", "AllowedOAuthFlows"):
        assert name in created and name not in updated
    assert (updated["RefreshTokenValidity"], updated["AllowedOAuthFlowsUserPoolClient"]) == (30, False)
    described = (await aws.describe_user_pool_client(UserPoolId=POOL_ID, ClientId=created["ClientId"]))["UserPoolClient"]
    assert described["ClientSecret"] == created["ClientSecret"]


async def test_clients_of_the_same_name_are_two_clients(aws: Any) -> None:
    first = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]["ClientId"]
    second = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]["ClientId"]
    assert first != second


async def test_description_of_a_provider_shows_the_idps_secret(aws: Any) -> None:
    await aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA)
    described = (await aws.describe_identity_provider(UserPoolId=POOL_ID, ProviderName="initech-okta"))["IdentityProvider"]
    assert described["ProviderDetails"]["client_secret"] == "s3cret"
    assert described["ProviderDetails"]["attributes_url_add_attributes"] == "false"
    assert described["AttributeMapping"]["username"] == "sub"


async def test_new_provider_is_unseen_for_a_while_but_its_name_is_taken(cloud: DemoCloud, aws: Any, clock: MovableClock) -> None:
    cloud.cognito.pool.behaviour.unseen_s = 60
    await aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA)
    wanted = {**CLIENT, "SupportedIdentityProviders": ["initech-okta"]}
    assert (await refused(aws.create_user_pool_client(UserPoolId=POOL_ID, **wanted)))[0] == "InvalidParameterException"
    assert (await refused(aws.describe_identity_provider(UserPoolId=POOL_ID, ProviderName="initech-okta")))[0] == "ResourceNotFoundException"
    assert (await refused(aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA)))[0] == "DuplicateProviderException"
    clock.advance(61)
    await aws.create_user_pool_client(UserPoolId=POOL_ID, **wanted)


async def test_lists_are_paged_by_sixty(aws: Any) -> None:
    for number in range(61):
        await aws.create_user_pool_client(UserPoolId=POOL_ID, **{**CLIENT, "ClientName": f"client {number}"})
    first = await aws.list_user_pool_clients(UserPoolId=POOL_ID, MaxResults=60)
    rest = await aws.list_user_pool_clients(UserPoolId=POOL_ID, MaxResults=60, NextToken=first["NextToken"])
    assert (len(first["UserPoolClients"]), len(rest["UserPoolClients"])) == (60, 1) and "NextToken" not in rest
    assert (await refused(aws.list_user_pool_clients(UserPoolId=POOL_ID, MaxResults=61)))[0] == "InvalidParameterException"


async def test_quotas_are_hard(cloud: DemoCloud, aws: Any) -> None:
    quotas = cloud.cognito.control.state.quotas
    quotas.clients, quotas.providers, quotas.styles, quotas.custom_attributes = 1, 2, 0, 4
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]["ClientId"]
    attribute = {"Name": "fifth", "AttributeDataType": "String"}
    for call in (
        aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT),
        aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA),
        aws.create_managed_login_branding(UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True),
        aws.add_custom_attributes(UserPoolId=POOL_ID, CustomAttributes=[attribute]),
    ):
        assert (await refused(call))[0] == "LimitExceededException"


async def test_client_has_one_style_and_it_goes_with_the_client(aws: Any, cloud: DemoCloud) -> None:
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]["ClientId"]
    await aws.create_managed_login_branding(UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True)
    again = aws.create_managed_login_branding(UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True)
    assert (await refused(again))[0] == "ManagedLoginBrandingExistsException"
    await aws.delete_user_pool_client(UserPoolId=POOL_ID, ClientId=client_id)
    assert cloud.cognito.pool.styles == {}


async def test_style_is_described_deleted_and_refused(aws: Any) -> None:
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]["ClientId"]
    by_client = {"UserPoolId": POOL_ID, "ClientId": client_id}
    assert (await refused(aws.describe_managed_login_branding_by_client(**by_client)))[0] == "ResourceNotFoundException"
    both = aws.create_managed_login_branding(**by_client, UseCognitoProvidedValues=True, Settings={"a": 1})
    assert (await refused(both))[0] == "InvalidParameterException"
    style = (await aws.create_managed_login_branding(**by_client, Settings={"a": 1}))["ManagedLoginBranding"]
    assert (style["UseCognitoProvidedValues"], style["Settings"]) == (False, {"a": 1})
    by_id = {"UserPoolId": POOL_ID, "ManagedLoginBrandingId": style["ManagedLoginBrandingId"]}
    await aws.delete_managed_login_branding(**by_id)
    assert (await refused(aws.describe_managed_login_branding(**by_id)))[0] == "ResourceNotFoundException"


async def test_what_is_not_there_is_not_found(aws: Any) -> None:
    for call in (
        aws.delete_user_pool_client(UserPoolId=POOL_ID, ClientId="nobody"),
        aws.describe_user_pool_client(UserPoolId=POOL_ID, ClientId="nobody"),
        aws.delete_identity_provider(UserPoolId=POOL_ID, ProviderName="nobody"),
        aws.get_identity_provider_by_identifier(UserPoolId=POOL_ID, IdpIdentifier="nobody.test"),
        aws.revoke_token(Token="x", ClientId="nobody"),
    ):
        assert (await refused(call))[0] == "ResourceNotFoundException"
    assert (await refused(aws.list_user_pool_clients(UserPoolId=POOL_ID, NextToken="nonsense")))[0] == "InvalidParameterException"


async def test_domain_is_described_and_an_unknown_one_is_empty(aws: Any) -> None:
    assert (await aws.describe_user_pool_domain(Domain="demo"))["DomainDescription"]["ManagedLoginVersion"] == 1
    assert (await aws.describe_user_pool_domain(Domain="nobody"))["DomainDescription"] == {}


# -- people


async def test_profile_shows_identities_as_text_and_custom_attributes_cannot_be_searched(app: RelyingParty, aws: Any, person: Person) -> None:
    claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    found = await aws.list_users(UserPoolId=POOL_ID, Filter='email = "alice@acme.test"')
    assert [user["Username"] for user in found["Users"]] == [claims["cognito:username"]]
    assert found["Users"][0]["UserStatus"] == "EXTERNAL_PROVIDER"
    profile = await aws.admin_get_user(UserPoolId=POOL_ID, Username=claims["cognito:username"])
    attributes = {pair["Name"]: pair["Value"] for pair in profile["UserAttributes"]}
    assert attributes["identities"].startswith('[{"userId":"00u') and attributes["sub"] == claims["sub"]
    assert (await refused(aws.list_users(UserPoolId=POOL_ID, Filter='custom:oid = "x"')))[0] == "InvalidParameterException"
    assert (await refused(aws.admin_get_user(UserPoolId=POOL_ID, Username="nobody")))[0] == "UserNotFoundException"


async def test_global_sign_out_kills_refresh_tokens_and_leaves_the_hosted_cookie(app: RelyingParty, aws: Any, person: Person) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    username = app.verified(tokens["id_token"])["cognito:username"]
    await aws.admin_user_global_sign_out(UserPoolId=POOL_ID, Username=username)
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1]["error"] == "invalid_grant"
    resumed = await person.open(app.authorize_url(None))
    assert "code" in query(resumed) and not resumed.visited("okta.localhost")


async def test_disabled_person_neither_resumes_nor_signs_in_until_enabled(app: RelyingParty, aws: Any, person: Person) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    username = app.verified(tokens["id_token"])["cognito:username"]
    await aws.admin_disable_user(UserPoolId=POOL_ID, Username=username)
    for provider in (None, "acme-okta"):
        assert query(await person.open(app.authorize_url(provider)))["error"] == "access_denied"
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1]["error"] == "invalid_grant"
    await aws.admin_enable_user(UserPoolId=POOL_ID, Username=username)
    assert "code" in query(await person.open(app.authorize_url()))


async def test_attribute_updated_to_blank_is_gone(app: RelyingParty, aws: Any, person: Person) -> None:
    username = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])["cognito:username"]
    await aws.admin_update_user_attributes(UserPoolId=POOL_ID, Username=username, UserAttributes=[{"Name": "custom:groups", "Value": ""}])
    tokens = (await app.redeem(await person.open(app.authorize_url(None))))[1]
    assert "custom:groups" not in app.verified(tokens["id_token"])
    for name, value in (("custom:x", "1"), ("sub", "other"), ("custom:groups", "x" * 2049)):
        change = [{"Name": "name", "Value": "Eve"}, {"Name": name, "Value": value}]
        code, _ = await refused(aws.admin_update_user_attributes(UserPoolId=POOL_ID, Username=username, UserAttributes=change))
        assert code == "InvalidParameterException"
    profile = await aws.admin_get_user(UserPoolId=POOL_ID, Username=username)
    assert {"Name": "name", "Value": "Alice Adams"} in profile["UserAttributes"], "all or none"
    sub = next(pair["Value"] for pair in profile["UserAttributes"] if pair["Name"] == "sub")
    await aws.admin_update_user_attributes(UserPoolId=POOL_ID, Username=sub, UserAttributes=[{"Name": "name", "Value": "Alice"}])
    assert {"Name": "name", "Value": "Alice"} in (await aws.admin_get_user(UserPoolId=POOL_ID, Username=sub))["UserAttributes"]


async def test_revoke_token_needs_the_clients_secret_and_no_signature(app: RelyingParty, aws: Any, person: Person) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    request = {"Token": tokens["refresh_token"], "ClientId": app.client.client_id}
    assert (await refused(aws.revoke_token(**request, ClientSecret="wrong")))[0] == "UnauthorizedException"
    access = {**request, "Token": tokens["access_token"], "ClientSecret": app.client.secret}
    assert (await refused(aws.revoke_token(**access)))[0] == "UnsupportedTokenTypeException"
    await aws.revoke_token(**request, ClientSecret=app.client.secret)
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1]["error"] == "invalid_grant"


async def test_deleted_provider_leaves_its_people_and_signs_nobody_in(app: RelyingParty, aws: Any, person: Person) -> None:
    username = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])["cognito:username"]
    await aws.delete_identity_provider(UserPoolId=POOL_ID, ProviderName="acme-okta")
    assert (await aws.admin_get_user(UserPoolId=POOL_ID, Username=username))["UserStatus"] == "EXTERNAL_PROVIDER"
    assert "Continue with" in (await person.open(app.authorize_url(None))).text
    assert query(await person.open(app.authorize_url("acme-okta")))["error"] == "invalid_request"


async def test_update_of_a_provider_replaces_what_is_given_and_keeps_the_rest(aws: Any) -> None:
    await aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **OKTA)
    request = {"UserPoolId": POOL_ID, "ProviderName": "initech-okta"}
    updated = (await aws.update_identity_provider(**request, AttributeMapping={"email": "mail"}))["IdentityProvider"]
    assert updated["AttributeMapping"] == {"username": "sub", "email": "mail"}
    assert updated["IdpIdentifiers"] == ["initech.test"] and updated["ProviderDetails"]["client_id"] == "0oa1"
    details = {**OKTA["ProviderDetails"], "client_secret": "rotated"}
    updated = (await aws.update_identity_provider(**request, ProviderDetails=details, IdpIdentifiers=[]))["IdentityProvider"]
    assert updated["IdpIdentifiers"] == [] and updated["ProviderDetails"]["client_secret"] == "rotated"
    wrong = {"custom:x": "x"}
    assert (await refused(aws.update_identity_provider(**request, AttributeMapping=wrong)))[0] == "InvalidParameterException"


# -- faults


async def test_planned_faults_strike_before_or_after_the_effect(cloud: DemoCloud, aws: Any) -> None:
    control = cloud.cognito.control
    control.faults.plan("CreateUserPoolClient", faults.throttle)
    control.faults.plan("CreateUserPoolClient", faults.internal_error, after=True)
    create = {"UserPoolId": POOL_ID, **CLIENT}
    assert (await refused(aws.create_user_pool_client(**create)))[0] == "TooManyRequestsException"
    assert cloud.cognito.pool.clients == {}
    assert (await refused(aws.create_user_pool_client(**create)))[0] == "InternalErrorException"
    assert len(cloud.cognito.pool.clients) == 1
    await aws.create_user_pool_client(**create)
    assert [call.outcome for call in control.calls_of("CreateUserPoolClient")] == ["TooManyRequestsException", "InternalErrorException", "ok"]


async def test_lost_answer_leaves_the_effect_behind(cloud: DemoCloud, aws: Any) -> None:
    cloud.cognito.control.faults.plan("CreateUserPoolClient", faults.drop_connection, after=True)
    with pytest.raises((HTTPClientError, EndpointConnectionError)):
        await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT)
    assert len(cloud.cognito.pool.clients) == 1
    assert cloud.cognito.control.calls[-1].outcome == "lost"


async def test_hanging_call_times_out_at_the_caller(cloud: DemoCloud) -> None:
    release = asyncio.Event()
    cloud.cognito.control.faults.plan("DescribeUserPool", faults.hang(release))
    async with _client(cloud, read_timeout=0.2) as impatient:
        with pytest.raises(ReadTimeoutError):
            await impatient.describe_user_pool(UserPoolId=POOL_ID)
    release.set()


async def test_rates_are_enforced_per_operation_and_second(cloud: DemoCloud, aws: Any, clock: MovableClock) -> None:
    cloud.cognito.control.rates_enforced = True
    frozen = clock()
    cloud.cognito.pool.clock = lambda: frozen
    for _ in range(5):
        await aws.describe_user_pool(UserPoolId=POOL_ID)
    assert (await refused(aws.describe_user_pool(UserPoolId=POOL_ID)))[0] == "TooManyRequestsException"
    await aws.list_user_pool_clients(UserPoolId=POOL_ID)
    cloud.cognito.pool.clock = lambda: frozen + 1
    await aws.describe_user_pool(UserPoolId=POOL_ID)


async def test_policy_and_signature_are_asked_for(cloud: DemoCloud, aws: Any, app: RelyingParty) -> None:
    cloud.cognito.control.allowed_operations = frozenset({"DescribeUserPool"})
    await aws.describe_user_pool(UserPoolId=POOL_ID)
    code, message = await refused(aws.list_users(UserPoolId=POOL_ID))
    assert code == "AccessDeniedException" and "cognito-idp:ListUsers" in message
    status, _ = await app.post("/", {})
    assert status == 400


def test_java_pattern_with_unicode_categories_is_understood() -> None:
    shape = botocore.session.get_session().get_service_model("cognito-idp").shape_for("ProviderNameTypeV2")
    assert list(validation.violations(shape, "Ärzte-Köln", path="name")) == []
    assert len(list(validation.violations(shape, "with space", path="name"))) == 1


def test_value_of_the_wrong_type_is_a_serialization_error() -> None:
    shape = botocore.session.get_session().get_service_model("cognito-idp").operation_model("DescribeUserPool").input_shape
    with pytest.raises(ApiError, match="SerializationException"):
        validation.check(shape, {"UserPoolId": 1})
