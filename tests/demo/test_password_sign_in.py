"""InitiateAuth of the stand-in: what is said to whom, and who learns nothing (API reference of
InitiateAuth; developer guide, "Managing error responses").
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import sign_in
from demo.cognito.control.errors import ApiError

if TYPE_CHECKING:
    from demo.cloud import DemoCloud
    from demo.cognito.pool import AppClient, User

PASSWORD = "Passw0rd-1"


def client_of(cloud: DemoCloud, *, secret: bool = True, **settings: Any) -> AppClient:
    made = cloud.add_client(
        "passwords",
        providers=[],
        callback_urls=[],
        logout_urls=[],
        **{"ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH"], **settings},
    )
    if not secret:
        made = replace(made, secret=None)
        cloud.cognito.pool.clients[made.client_id] = made
    return made


def user_of(cloud: DemoCloud, **attributes: str) -> User:
    return cloud.cognito.pool.add_user("bob", password=PASSWORD, email="bob@x.test", **attributes)


def ask(
    cloud: DemoCloud, client: AppClient, name: str = "bob", password: str = PASSWORD, **more: str
) -> dict[str, Any]:
    parameters = {"USERNAME": name, "PASSWORD": password, **more}
    if client.secret is not None and "SECRET_HASH" not in more:
        digest = hmac.digest(client.secret.encode(), f"{name}{client.client_id}".encode(), "sha256")
        parameters["SECRET_HASH"] = base64.b64encode(digest).decode()
    return sign_in.initiate_auth(
        cloud.cognito.control.state,
        {
            "AuthFlow": "USER_PASSWORD_AUTH",
            "ClientId": client.client_id,
            "AuthParameters": {k: v for k, v in parameters.items() if v},
        },
    )


def refused(*args: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        ask(*args, **more)
    return caught.value.code, caught.value.message


def test_the_client_is_judged_before_the_user(cloud: DemoCloud) -> None:
    user_of(cloud)
    without = client_of(cloud, ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH"])
    assert refused(cloud, without) == (
        "InvalidParameterException",
        "USER_PASSWORD_AUTH flow not enabled for this client",
    )
    gone = replace(without, client_id="gone")
    assert refused(cloud, gone)[0] == "ResourceNotFoundException"
    client = client_of(cloud)
    code, said = refused(cloud, client, SECRET_HASH="")
    assert (code, "SECRET_HASH was not received" in said) == ("NotAuthorizedException", True)
    code, said = refused(cloud, client, SECRET_HASH="AAAA")
    assert (code, "Unable to verify secret hash" in said) == ("NotAuthorizedException", True)
    code, said = refused(cloud, client_of(cloud, secret=False), SECRET_HASH="AAAA")
    assert "Unable to verify secret hash" in said
    assert "AuthenticationResult" in ask(cloud, client)
    assert "AuthenticationResult" in ask(cloud, client_of(cloud, secret=False))


def test_nobody_learns_that_a_name_is_unknown_where_the_client_prevents_it(
    cloud: DemoCloud,
) -> None:
    user_of(cloud)
    masked, legacy = client_of(cloud), client_of(cloud, PreventUserExistenceErrors="LEGACY")
    incorrect = ("NotAuthorizedException", "Incorrect username or password.")
    assert refused(cloud, masked, "nobody") == incorrect
    assert refused(cloud, masked, "bob", "wrong") == incorrect
    assert refused(cloud, legacy, "nobody")[0] == "UserNotFoundException"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("RESET_REQUIRED", "PasswordResetRequiredException"),
        ("UNCONFIRMED", "UserNotConfirmedException"),
    ],
)
def test_what_else_is_wrong_with_a_user_has_a_code_of_its_own(
    cloud: DemoCloud, status: str, code: str
) -> None:
    user = user_of(cloud)
    user.own_status = status
    assert refused(cloud, client_of(cloud))[0] == code


def test_a_temporary_password_is_a_challenge_until_it_expires(cloud: DemoCloud) -> None:
    user, client = user_of(cloud), client_of(cloud)
    user.own_status, user.password_set_at = "FORCE_CHANGE_PASSWORD", cloud.clock()
    answer = ask(cloud, client)
    assert (answer["ChallengeName"], "AuthenticationResult" in answer) == (
        "NEW_PASSWORD_REQUIRED",
        False,
    )
    user.password_set_at -= 8 * 86_400
    code, said = refused(cloud, client)
    assert (code, "reset by an administrator" in said) == ("NotAuthorizedException", True)


def test_a_second_factor_is_asked_for_after_the_right_password_only(cloud: DemoCloud) -> None:
    user, client, pool = user_of(cloud), client_of(cloud), cloud.cognito.pool
    user.second_factor = "SOFTWARE_TOKEN_MFA"
    assert "AuthenticationResult" in ask(cloud, client), "the pool has it off"
    pool.settings["MfaConfiguration"] = "OPTIONAL"
    assert refused(cloud, client, "bob", "wrong")[0] == "NotAuthorizedException"
    assert ask(cloud, client)["ChallengeName"] == "SOFTWARE_TOKEN_MFA"
    user.second_factor = ""
    assert "AuthenticationResult" in ask(cloud, client)
    pool.settings["MfaConfiguration"] = "ON"
    assert ask(cloud, client)["ChallengeName"] == "MFA_SETUP"


def test_wrong_passwords_lock_the_user_out_whatever_comes_then(cloud: DemoCloud) -> None:
    user_of(cloud)
    client = client_of(cloud)
    for _ in range(5):
        refused(cloud, client, "bob", "wrong")
    assert refused(cloud, client) == ("NotAuthorizedException", "Password attempts exceeded")


async def test_the_operation_needs_no_signature_and_its_answers_are_the_models(
    cloud: DemoCloud, aws: Any
) -> None:
    """boto refuses an answer that is none; the stand-in refuses one that AWS's model has not."""
    user_of(cloud)
    client = client_of(cloud, secret=False)
    answer = await aws.initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=client.client_id,
        AuthParameters={"USERNAME": "bob", "PASSWORD": PASSWORD},
    )
    assert set(answer["AuthenticationResult"]) == {
        *("AccessToken", "ExpiresIn", "TokenType", "RefreshToken", "IdToken")
    }
