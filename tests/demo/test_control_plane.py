"""The control plane as boto sees it: what it creates is live, and what surprises (facts §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.session

from demo.cloud import POOL_ID, DemoCloud
from demo.cognito.control import validation
from demo.cognito.control.plane import OPERATIONS
from gateway.cognito.sdk_model import with_new_operations
from tests.demo.aws import CLIENT, OKTA, refused
from tests.demo.relying_party import relying_party

if TYPE_CHECKING:
    from demo.clock import MovableClock
    from tests.support.browserless import Person


async def test_provider_and_client_created_by_the_api_log_a_person_in(
    cloud: DemoCloud, aws: Any, person: Person
) -> None:
    customer = await cloud.add_idp("initech-okta", kind="okta")
    customer.server.directory.add_person(
        "peter@initech.test", name="Peter Gibbons", groups=("app-users",)
    )
    details = {
        **OKTA["ProviderDetails"],
        "client_id": customer.app.client_id,
        "client_secret": customer.app.client_secret,
        "oidc_issuer": customer.issuer,
    }
    await aws.create_identity_provider(UserPoolId=POOL_ID, **{**OKTA, "ProviderDetails": details})
    async with relying_party(cloud, "initech.localhost") as app:
        settings = {
            **CLIENT,
            "SupportedIdentityProviders": ["initech-okta"],
            "CallbackURLs": [app.callback],
            "LogoutURLs": [app.signed_out],
        }
        created = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **settings))[
            "UserPoolClient"
        ]
        app.client = cloud.cognito.pool.clients[created["ClientId"]]
        claims = app.verified(
            (await app.log_in(person, "peter@initech.test", "initech-okta"))["id_token"]
        )
        assert (claims["custom:groups"], claims["aud"]) == ("[app-users]", created["ClientId"])
        await aws.delete_user_pool_client(UserPoolId=POOL_ID, ClientId=created["ClientId"])
        assert (
            "Client does not exist" in (await person.open(app.authorize_url("initech-okta"))).text
        )


async def test_every_operation_exists_in_the_model_and_answers_as_it_says(
    cloud: DemoCloud, aws: Any
) -> None:
    session = with_new_operations(botocore.session.get_session())
    model = session.get_service_model("cognito-idp")
    assert set(OPERATIONS) <= set(model.operation_names)
    await aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **OKTA)
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"][
        "ClientId"
    ]
    style = await aws.create_managed_login_branding(
        UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True
    )
    state = cloud.cognito.control.state
    for operation, request in {
        "DescribeUserPool": {},
        "DescribeIdentityProvider": {"ProviderName": "initech-okta"},
        "GetIdentityProviderByIdentifier": {"IdpIdentifier": "initech.test"},
        "ListIdentityProviders": {},
        "DescribeUserPoolClient": {"ClientId": client_id},
        "ListUserPoolClients": {},
        "DescribeManagedLoginBranding": {
            "ManagedLoginBrandingId": style["ManagedLoginBranding"]["ManagedLoginBrandingId"]
        },
        "DescribeManagedLoginBrandingByClient": {"ClientId": client_id},
        "ListUsers": {},
    }.items():
        answer = OPERATIONS[operation](state, {"UserPoolId": POOL_ID, **request})
        shape = model.operation_model(operation).output_shape
        # AWS's own phone_number_verified is longer than its model allows.
        broken = [
            text
            for text in validation.violations(shape, answer, path="")
            if "phone_number_verified" not in text
        ]
        assert broken == [], operation
        assert set(answer) <= set(shape.members), operation


async def test_update_of_a_client_resets_what_it_leaves_out(aws: Any) -> None:
    created = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"]
    updated = (
        await aws.update_user_pool_client(
            UserPoolId=POOL_ID, ClientId=created["ClientId"], AccessTokenValidity=1
        )
    )["UserPoolClient"]
    assert "ClientSecret" in created and "ClientSecret" not in updated
    assert updated["ClientName"] == "initech"
    for name in (
        "CallbackURLs",
        "SupportedIdentityProviders",
        "ReadAttributes",
        "RefreshTokenRotation",
        "AllowedOAuthFlows",
    ):
        assert name in created and name not in updated
    assert (updated["RefreshTokenValidity"], updated["AllowedOAuthFlowsUserPoolClient"]) == (
        30,
        False,
    )
    described = (
        await aws.describe_user_pool_client(UserPoolId=POOL_ID, ClientId=created["ClientId"])
    )["UserPoolClient"]
    assert described["ClientSecret"] == created["ClientSecret"]


async def test_clients_of_the_same_name_are_two_clients(aws: Any) -> None:
    first = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"][
        "ClientId"
    ]
    second = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"][
        "ClientId"
    ]
    assert first != second


async def test_description_of_a_provider_shows_the_idps_secret(aws: Any) -> None:
    await aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA)
    described = (
        await aws.describe_identity_provider(UserPoolId=POOL_ID, ProviderName="initech-okta")
    )["IdentityProvider"]
    assert described["ProviderDetails"]["client_secret"] == "s3cret"
    assert described["ProviderDetails"]["attributes_url_add_attributes"] == "false"
    assert described["AttributeMapping"]["username"] == "sub"


async def test_new_provider_is_unseen_for_a_while_but_its_name_is_taken(
    cloud: DemoCloud, aws: Any, clock: MovableClock
) -> None:
    cloud.cognito.pool.behaviour.unseen_s = 60
    await aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA)
    wanted = {**CLIENT, "SupportedIdentityProviders": ["initech-okta"]}
    assert (await refused(aws.create_user_pool_client(UserPoolId=POOL_ID, **wanted)))[
        0
    ] == "InvalidParameterException"
    assert (
        await refused(
            aws.describe_identity_provider(UserPoolId=POOL_ID, ProviderName="initech-okta")
        )
    )[0] == "ResourceNotFoundException"
    assert (await refused(aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA)))[
        0
    ] == "DuplicateProviderException"
    clock.advance(61)
    await aws.create_user_pool_client(UserPoolId=POOL_ID, **wanted)


async def test_lists_are_paged_by_sixty(aws: Any) -> None:
    for number in range(61):
        await aws.create_user_pool_client(
            UserPoolId=POOL_ID, **{**CLIENT, "ClientName": f"client {number}"}
        )
    first = await aws.list_user_pool_clients(UserPoolId=POOL_ID, MaxResults=60)
    rest = await aws.list_user_pool_clients(
        UserPoolId=POOL_ID, MaxResults=60, NextToken=first["NextToken"]
    )
    assert (len(first["UserPoolClients"]), len(rest["UserPoolClients"])) == (
        60,
        1,
    ) and "NextToken" not in rest
    assert (await refused(aws.list_user_pool_clients(UserPoolId=POOL_ID, MaxResults=61)))[
        0
    ] == "InvalidParameterException"


async def test_quotas_are_hard(cloud: DemoCloud, aws: Any) -> None:
    quotas = cloud.cognito.control.state.quotas
    quotas.clients, quotas.providers, quotas.styles, quotas.custom_attributes = 1, 2, 0, 4
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"][
        "ClientId"
    ]
    attribute = {"Name": "fifth", "AttributeDataType": "String"}
    for call in (
        aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT),
        aws.create_identity_provider(UserPoolId=POOL_ID, **OKTA),
        aws.create_managed_login_branding(
            UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True
        ),
    ):
        assert (await refused(call))[0] == "LimitExceededException"
    added = aws.add_custom_attributes(UserPoolId=POOL_ID, CustomAttributes=[attribute])
    assert (await refused(added))[0] == "InvalidParameterException", "the model has no other"


async def test_client_has_one_style_and_it_goes_with_the_client(aws: Any, cloud: DemoCloud) -> None:
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"][
        "ClientId"
    ]
    await aws.create_managed_login_branding(
        UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True
    )
    again = aws.create_managed_login_branding(
        UserPoolId=POOL_ID, ClientId=client_id, UseCognitoProvidedValues=True
    )
    assert (await refused(again))[0] == "ManagedLoginBrandingExistsException"
    await aws.delete_user_pool_client(UserPoolId=POOL_ID, ClientId=client_id)
    assert cloud.cognito.pool.styles == {}


async def test_style_is_described_deleted_and_refused(aws: Any) -> None:
    client_id = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))["UserPoolClient"][
        "ClientId"
    ]
    by_client = {"UserPoolId": POOL_ID, "ClientId": client_id}
    assert (await refused(aws.describe_managed_login_branding_by_client(**by_client)))[
        0
    ] == "ResourceNotFoundException"
    both = aws.create_managed_login_branding(
        **by_client, UseCognitoProvidedValues=True, Settings={"a": 1}
    )
    assert (await refused(both))[0] == "InvalidParameterException"
    style = (await aws.create_managed_login_branding(**by_client, Settings={"a": 1}))[
        "ManagedLoginBranding"
    ]
    assert (style["UseCognitoProvidedValues"], style["Settings"]) == (False, {"a": 1})
    by_id = {"UserPoolId": POOL_ID, "ManagedLoginBrandingId": style["ManagedLoginBrandingId"]}
    await aws.delete_managed_login_branding(**by_id)
    assert (await refused(aws.describe_managed_login_branding(**by_id)))[
        0
    ] == "ResourceNotFoundException"


async def test_what_is_not_there_is_not_found(aws: Any) -> None:
    for call in (
        aws.delete_user_pool_client(UserPoolId=POOL_ID, ClientId="nobody"),
        aws.describe_user_pool_client(UserPoolId=POOL_ID, ClientId="nobody"),
        aws.delete_identity_provider(UserPoolId=POOL_ID, ProviderName="nobody"),
        aws.get_identity_provider_by_identifier(UserPoolId=POOL_ID, IdpIdentifier="nobody.test"),
    ):
        assert (await refused(call))[0] == "ResourceNotFoundException"
    unknown = aws.revoke_token(Token="x", ClientId="nobody")
    assert (await refused(unknown))[0] == "UnauthorizedException", "the model has no other"
    assert (await refused(aws.list_user_pool_clients(UserPoolId=POOL_ID, NextToken="nonsense")))[
        0
    ] == "InvalidParameterException"


async def test_domain_is_described_and_an_unknown_one_is_empty(aws: Any) -> None:
    assert (await aws.describe_user_pool_domain(Domain="demo"))["DomainDescription"][
        "ManagedLoginVersion"
    ] == 1
    assert (await aws.describe_user_pool_domain(Domain="nobody"))["DomainDescription"] == {}
