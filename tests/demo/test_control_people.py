"""Profiles through the API: search, sign-out, disabling, attributes, revocation (facts §1, §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.cloud import POOL_ID, DemoCloud
from tests.demo.aws import OKTA, refused
from tests.demo.relying_party import RelyingParty, query

if TYPE_CHECKING:
    from tests.support.browserless import Person


async def test_profile_shows_identities_as_text_and_custom_attributes_cannot_be_searched(
    cloud: DemoCloud, app: RelyingParty, aws: Any, person: Person
) -> None:
    claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    found = await aws.list_users(UserPoolId=POOL_ID, Filter='email = "alice@acme.test"')
    assert [user["Username"] for user in found["Users"]] == [claims["cognito:username"]]
    assert found["Users"][0]["UserStatus"] == "EXTERNAL_PROVIDER"
    for text in (
        'email = "ALICE@Acme.Test"',
        'email ^= "ALICE@"',
        f'username ^= "{claims["cognito:username"][:8]}"',
        'cognito:user_status = "external_provider"',
        'status = "Enabled"',
    ):
        assert claims["cognito:username"] in [
            user["Username"]
            for user in (await aws.list_users(UserPoolId=POOL_ID, Filter=text))["Users"]
        ], text
    for text in (f'username ^= "{claims["cognito:username"].upper()[:8]}"', 'status = "enabled"'):
        assert (await aws.list_users(UserPoolId=POOL_ID, Filter=text))["Users"] == [], text
    cloud.cognito.pool.behaviour.username_search_ignores_case = True
    shouted = f'username ^= "{claims["cognito:username"].upper()[:8]}"'
    assert (await aws.list_users(UserPoolId=POOL_ID, Filter=shouted))["Users"]
    profile = await aws.admin_get_user(UserPoolId=POOL_ID, Username=claims["cognito:username"])
    attributes = {pair["Name"]: pair["Value"] for pair in profile["UserAttributes"]}
    assert (
        attributes["identities"].startswith('[{"userId":"00u')
        and attributes["sub"] == claims["sub"]
    )
    assert (await refused(aws.list_users(UserPoolId=POOL_ID, Filter='custom:oid = "x"')))[
        0
    ] == "InvalidParameterException"
    assert (await refused(aws.admin_get_user(UserPoolId=POOL_ID, Username="nobody")))[
        0
    ] == "UserNotFoundException"


async def test_global_sign_out_kills_refresh_tokens_and_leaves_the_hosted_cookie(
    app: RelyingParty, aws: Any, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    username = app.verified(tokens["id_token"])["cognito:username"]
    await aws.admin_user_global_sign_out(UserPoolId=POOL_ID, Username=username)
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1][
        "error"
    ] == "invalid_grant"
    resumed = await person.open(app.authorize_url(None))
    assert "code" in query(resumed) and not resumed.visited("okta.localhost")


async def test_disabled_person_neither_resumes_nor_signs_in_until_enabled(
    app: RelyingParty, aws: Any, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    username = app.verified(tokens["id_token"])["cognito:username"]
    await aws.admin_disable_user(UserPoolId=POOL_ID, Username=username)
    for provider in (None, "acme-okta"):
        assert query(await person.open(app.authorize_url(provider)))["error"] == "access_denied"
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1][
        "error"
    ] == "invalid_grant"
    await aws.admin_enable_user(UserPoolId=POOL_ID, Username=username)
    assert "code" in query(await person.open(app.authorize_url()))


async def test_attribute_updated_to_blank_is_gone(
    cloud: DemoCloud, app: RelyingParty, aws: Any, person: Person
) -> None:
    username = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])[
        "cognito:username"
    ]
    await aws.admin_update_user_attributes(
        UserPoolId=POOL_ID,
        Username=username,
        UserAttributes=[{"Name": "custom:groups", "Value": ""}],
    )
    tokens = (await app.redeem(await person.open(app.authorize_url(None))))[1]
    assert "custom:groups" not in app.verified(tokens["id_token"])
    for name, value in (("custom:x", "1"), ("sub", "other"), ("custom:groups", "x" * 2049)):
        change = [{"Name": "name", "Value": "Eve"}, {"Name": name, "Value": value}]
        code, _ = await refused(
            aws.admin_update_user_attributes(
                UserPoolId=POOL_ID, Username=username, UserAttributes=change
            )
        )
        assert code == "InvalidParameterException"
    profile = await aws.admin_get_user(UserPoolId=POOL_ID, Username=username)
    assert {"Name": "name", "Value": "Alice Adams"} in profile["UserAttributes"], "all or none"
    own = cloud.cognito.pool.add_user("operator", password="demo", name="Olga")
    federated = next(p["Value"] for p in profile["UserAttributes"] if p["Name"] == "sub")
    await aws.admin_update_user_attributes(
        UserPoolId=POOL_ID, Username=own.sub, UserAttributes=[{"Name": "name", "Value": "Olga O."}]
    )
    assert own.attributes["name"] == "Olga O."
    code, _ = await refused(aws.admin_get_user(UserPoolId=POOL_ID, Username=federated))
    assert code == "UserNotFoundException", "the sub stands for an own user of the pool only"


async def test_revoke_token_needs_the_clients_secret_and_no_signature(
    app: RelyingParty, aws: Any, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    request = {"Token": tokens["refresh_token"], "ClientId": app.client.client_id}
    assert (await refused(aws.revoke_token(**request, ClientSecret="wrong")))[
        0
    ] == "UnauthorizedException"
    access = {**request, "Token": tokens["access_token"], "ClientSecret": app.client.secret}
    assert (await refused(aws.revoke_token(**access)))[0] == "UnsupportedTokenTypeException"
    await aws.revoke_token(**request, ClientSecret=app.client.secret)
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1][
        "error"
    ] == "invalid_grant"


async def test_deleted_provider_leaves_its_people_and_signs_nobody_in(
    app: RelyingParty, aws: Any, person: Person
) -> None:
    username = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])[
        "cognito:username"
    ]
    await aws.delete_identity_provider(UserPoolId=POOL_ID, ProviderName="acme-okta")
    assert (await aws.admin_get_user(UserPoolId=POOL_ID, Username=username))[
        "UserStatus"
    ] == "EXTERNAL_PROVIDER"
    assert "Continue with" in (await person.open(app.authorize_url(None))).text
    assert query(await person.open(app.authorize_url("acme-okta")))["error"] == "invalid_request"


async def test_update_of_a_provider_replaces_what_is_given_and_keeps_the_rest(aws: Any) -> None:
    await aws.create_identity_provider(UserPoolId=POOL_ID, IdpIdentifiers=["initech.test"], **OKTA)
    request = {"UserPoolId": POOL_ID, "ProviderName": "initech-okta"}
    updated = (await aws.update_identity_provider(**request, AttributeMapping={"email": "mail"}))[
        "IdentityProvider"
    ]
    assert updated["AttributeMapping"] == {"username": "sub", "email": "mail"}
    assert (
        updated["IdpIdentifiers"] == ["initech.test"]
        and updated["ProviderDetails"]["client_id"] == "0oa1"
    )
    details = {**OKTA["ProviderDetails"], "client_secret": "rotated"}
    updated = (
        await aws.update_identity_provider(**request, ProviderDetails=details, IdpIdentifiers=[])
    )["IdentityProvider"]
    assert (
        updated["IdpIdentifiers"] == [] and updated["ProviderDetails"]["client_secret"] == "rotated"
    )
    wrong = {"custom:x": "x"}
    assert (await refused(aws.update_identity_provider(**request, AttributeMapping=wrong)))[
        0
    ] == "InvalidParameterException"


INVITED: dict[str, Any] = {
    "UserPoolId": POOL_ID,
    "Username": "bob@acme.test",
    "UserAttributes": [
        {"Name": "email", "Value": "bob@acme.test"},
        {"Name": "email_verified", "Value": "true"},
    ],
    "DesiredDeliveryMediums": ["EMAIL"],
}


async def test_who_is_invited_gets_a_password_by_mail_and_only_once_more_until_they_sign_in(
    cloud: DemoCloud, aws: Any
) -> None:
    pool = cloud.cognito.pool
    shown = (await aws.admin_create_user(**INVITED))["User"]
    assert (shown["UserStatus"], shown["Enabled"]) == ("FORCE_CHANGE_PASSWORD", True)
    (mail,) = pool.outbox
    assert (mail.address, mail.secret) == ("bob@acme.test", pool.users["bob@acme.test"].password)
    assert (await refused(aws.admin_create_user(**INVITED)))[0] == "UsernameExistsException"
    await aws.admin_create_user(**INVITED, MessageAction="RESEND")
    assert pool.outbox[-1].secret != mail.secret
    await aws.admin_set_user_password(
        UserPoolId=POOL_ID, Username="bob@acme.test", Password="Passw0rd-1", Permanent=True
    )
    again = aws.admin_create_user(**INVITED, MessageAction="RESEND")
    assert (await refused(again))[0] == "UnsupportedUserStateException"


async def test_what_a_pool_makes_of_names_and_passwords(cloud: DemoCloud, aws: Any) -> None:
    pool = cloud.cognito.pool
    weak = {**INVITED, "MessageAction": "SUPPRESS", "TemporaryPassword": "short"}
    assert (await refused(aws.admin_create_user(**weak)))[0] == "InvalidPasswordException"
    pool.settings = {"AliasAttributes": ["email"]}
    code, text = await refused(aws.admin_create_user(**INVITED))
    assert (code, "email format" in text) == ("InvalidParameterException", True)
    pool.settings = {"UsernameAttributes": ["email"]}
    shown = (await aws.admin_create_user(**INVITED))["User"]
    assert shown["Username"] != "bob@acme.test"
    for name in (shown["Username"], "bob@acme.test"):
        found = await aws.admin_get_user(UserPoolId=POOL_ID, Username=name)
        assert found["Username"] == shown["Username"]
    assert (await refused(aws.admin_create_user(**INVITED)))[0] == "UsernameExistsException"
    sms = {**INVITED, "Username": "eve@acme.test", "UserAttributes": []}
    del sms["DesiredDeliveryMediums"]
    assert (await refused(aws.admin_create_user(**sms)))[0] == "InvalidParameterException"
    assert len(pool.users) == 1, "nobody is left of a refused invitation"


async def test_a_reset_asks_for_a_verified_address_and_somebody_who_signed_in(
    cloud: DemoCloud, aws: Any
) -> None:
    pool = cloud.cognito.pool
    await aws.admin_create_user(**INVITED)
    who = {"UserPoolId": POOL_ID, "Username": "bob@acme.test"}
    assert (await refused(aws.admin_reset_user_password(**who)))[0] == "NotAuthorizedException"
    await aws.admin_set_user_password(**who, Password="Passw0rd-1", Permanent=True)
    pool.users["bob@acme.test"].attributes["email_verified"] = "false"
    assert (await refused(aws.admin_reset_user_password(**who)))[0] == "InvalidParameterException"
    pool.users["bob@acme.test"].attributes["email_verified"] = "true"
    await aws.admin_reset_user_password(**who)
    found = await aws.admin_get_user(**who)
    assert found["UserStatus"] == "RESET_REQUIRED"
    await aws.admin_delete_user(**who)
    assert (await refused(aws.admin_get_user(**who)))[0] == "UserNotFoundException"


async def test_members_of_a_group_are_listed_page_by_page(cloud: DemoCloud, aws: Any) -> None:
    pool = cloud.cognito.pool
    group = {"UserPoolId": POOL_ID, "GroupName": "tenants/acme"}
    code, _ = await refused(aws.list_users_in_group(**group))
    assert code == "ResourceNotFoundException"
    await aws.create_group(**group)
    names = [f"user-{number}" for number in range(3)]
    for name in names:
        pool.add_user(name, password="demo")
        await aws.admin_add_user_to_group(**group, Username=name)
    found, token = [], None
    while True:
        page = await aws.list_users_in_group(
            **group, Limit=2, **({"NextToken": token} if token else {})
        )
        found += [user["Username"] for user in page["Users"]]
        token = page.get("NextToken")
        if token is None:
            break
    assert found == names
    await aws.admin_remove_user_from_group(**group, Username="user-0")
    listed = await aws.admin_list_groups_for_user(UserPoolId=POOL_ID, Username="user-1")
    assert [g["GroupName"] for g in listed["Groups"]] == ["tenants/acme"]
    listed = await aws.admin_list_groups_for_user(UserPoolId=POOL_ID, Username="user-0")
    assert listed["Groups"] == []
    code, _ = await refused(
        aws.admin_add_user_to_group(UserPoolId=POOL_ID, GroupName="nobody", Username="user-0")
    )
    assert code == "ResourceNotFoundException"
