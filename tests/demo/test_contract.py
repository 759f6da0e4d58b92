"""The stand-in is held to the vendors' own descriptions while it answers: whatever a test makes it
say, it says nothing that the original could not.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from demo.cloud import POOL_ID, DemoCloud
from demo.cognito.control import plane
from demo.cognito.control.errors import ApiError
from demo.idp.okta_log import log_event
from demo.net import client_session
from tests.demo.aws import CLIENT, OKTA, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.clock import MovableClock
    from demo.cognito.control.state import ControlState
    from demo.idp.directory import DirectoryEvent


def answering(answer: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def operation(_: ControlState, __: dict[str, Any]) -> dict[str, Any]:
        return answer

    return operation


def refusing(code: str) -> Callable[..., dict[str, Any]]:
    def operation(_: ControlState, __: dict[str, Any]) -> dict[str, Any]:
        raise ApiError(code, "planned")

    return operation


@pytest.mark.parametrize(
    "operation",
    [
        answering({"Providers": [], "Surprise": 1}),
        answering({}),
        answering({"Providers": [{"ProviderType": "LDAP"}]}),
        refusing("LimitExceededException"),
    ],
    ids=["a member more", "a required one less", "outside an enumeration", "another's error"],
)
async def test_it_answers_nothing_that_the_model_does_not_have(
    aws: Any, monkeypatch: pytest.MonkeyPatch, operation: Any
) -> None:
    monkeypatch.setattr(
        plane, "OPERATIONS", {**plane.OPERATIONS, "ListIdentityProviders": operation}
    )
    code, _ = await refused(aws.list_identity_providers(UserPoolId=POOL_ID))
    assert code == "500"


async def test_an_error_of_the_operation_or_of_every_one_is_passed_on(
    aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("ResourceNotFoundException", "ThrottlingException"):
        operations = {**plane.OPERATIONS, "ListIdentityProviders": refusing(code)}
        monkeypatch.setattr(plane, "OPERATIONS", operations)
        assert (await refused(aws.list_identity_providers(UserPoolId=POOL_ID)))[0] == code


async def test_an_attribute_is_shown_alone_only_where_everybody_has_it(
    cloud: DemoCloud, aws: Any
) -> None:
    pool = cloud.cognito.pool
    pool.add_user("one", password="", email="one@acme.test", **{"custom:oid": "1"})
    pool.add_user("two", password="", email="two@acme.test")

    async def shown(text: str, name: str) -> list[str]:
        found = await aws.list_users(UserPoolId=POOL_ID, Filter=text, AttributesToGet=[name])
        return [user["Username"] for user in found["Users"]]

    assert await shown('email = "one@acme.test"', "email") == ["one"]
    for text, name in (
        ('email = "one@acme.test"', "custom:oid"),
        ("", "name"),
        ("", "custom:nothing"),
    ):
        code, _ = await refused(
            aws.list_users(UserPoolId=POOL_ID, Filter=text, AttributesToGet=[name])
        )
        assert code == "InvalidParameterException", (text, name)
    pool.users["two"].attributes["custom:oid"] = "2"
    assert await shown('email = "one@acme.test"', "custom:oid") == ["one"]


async def test_a_page_is_of_one_question_and_may_be_empty(cloud: DemoCloud, aws: Any) -> None:
    pool = cloud.cognito.pool
    for number in range(3):
        pool.add_user(f"user-{number}", password="", email="many@acme.test")
    pool.behaviour.lists_begin_empty = True
    asked = {"UserPoolId": POOL_ID, "Filter": 'email = "many@acme.test"', "Limit": 2}
    first = await aws.list_users(**asked)
    assert first["Users"] == []
    second = await aws.list_users(**asked, PaginationToken=first["PaginationToken"])
    third = await aws.list_users(**asked, PaginationToken=second["PaginationToken"])
    assert [len(page["Users"]) for page in (second, third)] == [2, 1]
    assert "PaginationToken" not in third
    other = {**asked, "Filter": "", "PaginationToken": second["PaginationToken"]}
    assert (await refused(aws.list_users(**other)))[0] == "InvalidParameterException"


async def test_a_new_profile_is_read_at_once_and_listed_later(
    cloud: DemoCloud, aws: Any, clock: MovableClock
) -> None:
    pool = cloud.cognito.pool
    pool.behaviour.listed_after_s = 30
    pool.add_user("newcomer", password="", email="new@acme.test")
    assert (await aws.admin_get_user(UserPoolId=POOL_ID, Username="newcomer"))["Enabled"]
    assert (await aws.list_users(UserPoolId=POOL_ID))["Users"] == []
    clock.advance(30)
    assert len((await aws.list_users(UserPoolId=POOL_ID))["Users"]) == 1


async def test_no_validity_at_all_is_the_default_of_30_days(aws: Any) -> None:
    wanted = {**CLIENT, "RefreshTokenValidity": 0}
    made = (await aws.create_user_pool_client(UserPoolId=POOL_ID, **wanted))["UserPoolClient"]
    assert (made["RefreshTokenValidity"], made["TokenValidityUnits"]["RefreshToken"]) == (
        30,
        "days",
    )


async def test_rotation_in_the_plan_lite_is_refused_or_not(cloud: DemoCloud, aws: Any) -> None:
    behaviour = cloud.cognito.pool.behaviour
    behaviour.tier = "LITE"
    described = (await aws.describe_user_pool(UserPoolId=POOL_ID))["UserPool"]
    assert described["UserPoolTier"] == "LITE"
    code, _ = await refused(aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT))
    assert code == "FeatureUnavailableInTierException"
    behaviour.rotation_in_lite = True
    await aws.create_user_pool_client(UserPoolId=POOL_ID, **CLIENT)


async def test_a_slash_at_the_end_of_an_issuer_is_refused_or_kept(
    cloud: DemoCloud, aws: Any
) -> None:
    with_slash = {
        **OKTA,
        "ProviderDetails": {**OKTA["ProviderDetails"], "oidc_issuer": "https://acme.test/"},
    }
    code, _ = await refused(aws.create_identity_provider(UserPoolId=POOL_ID, **with_slash))
    assert code == "InvalidParameterException"
    cloud.cognito.pool.behaviour.issuer_slash_ignored = False
    made = await aws.create_identity_provider(UserPoolId=POOL_ID, **with_slash)
    assert made["IdentityProvider"]["ProviderDetails"]["oidc_issuer"] == "https://acme.test/"


# --- OpenID providers -----------------------------------------------------------------------------

REQUIRED_METADATA = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "response_types_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
)
"""OpenID Connect Discovery 1.0 §3; all of these have the code flow."""


async def test_every_provider_publishes_what_discovery_requires(cloud: DemoCloud) -> None:
    issuers = [cloud.cognito.issuer, *(c.issuer for c in cloud.customers.values())]
    async with client_session() as http:
        for issuer in issuers:
            async with http.get(f"{issuer}/.well-known/openid-configuration") as answer:
                assert (answer.status, answer.content_type) == (200, "application/json")
                document = await answer.json()
            assert [name for name in REQUIRED_METADATA if not document.get(name)] == [], issuer
            assert document["issuer"] == issuer, "letter by letter (§4.3)"
            assert "code" in document["response_types_supported"]
            assert "RS256" in document["id_token_signing_alg_values_supported"]
            assert set(document["subject_types_supported"]) <= {"public", "pairwise"}
            async with http.get(document["jwks_uri"]) as answer:
                keys = (await answer.json())["keys"]
            for key in keys:
                # RFC 7517 §4, RFC 7518 §6.3.1; Cognito picks a key by its kid.
                assert {"kty", "kid", "n", "e"} <= key.keys() and "d" not in key, issuer
            assert len({key["kid"] for key in keys}) == len(keys)


# --- Okta's System Log ----------------------------------------------------------------------------

OKTA_SCHEMAS: dict[str, dict[str, str]] = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "okta-log-event.yaml").read_text("utf-8")
)
NOT_IN_THE_SPECIFICATION = {"device", "insertionTimestamp"}
"""Deliveries of event hooks have them, always null."""


def departures(value: Any, schema: str) -> list[str]:
    """Members that are missing, too many or of another type; null stands for any."""
    found: list[str] = []
    members = OKTA_SCHEMAS[schema]
    found += [f"{schema}.{name} is missing" for name in members.keys() - value.keys()]
    extra = value.keys() - members.keys() - NOT_IN_THE_SPECIFICATION
    found += [f"{schema}.{name} is not specified" for name in extra]
    for name, kind in members.items():
        item = value.get(name)
        if item is None:
            continue
        if kind in OKTA_SCHEMAS:
            found += departures(item, kind)
        elif kind.startswith("array of "):
            of = kind.removeprefix("array of ")
            found += [each for one in item for each in departures(one, of)]
        elif kind == "date-time":
            datetime.fromisoformat(item)
        elif not isinstance(item, {"string": str, "object": dict}[kind]):
            found.append(f"{schema}.{name} is no {kind}")
    return found


async def test_every_event_of_the_system_log_is_one_of_oktas(cloud: DemoCloud) -> None:
    directory = cloud.customers["acme-okta"].server.directory
    events: list[DirectoryEvent] = []

    async def keep(event: DirectoryEvent) -> None:
        events.append(event)

    directory.listeners.append(keep)
    bob = directory.by_email("bob@acme.test")
    assert bob is not None
    (group,) = directory.groups_of(bob)
    await directory.remove_from_group(bob, group)
    await directory.add_to_group(bob, group)
    for change in (directory.suspend, directory.unsuspend, directory.deactivate):
        await change(bob)
    await directory.signed_out(bob)
    await directory.delete_group(group)
    told = [log_event(event) for event in events]
    assert {len(event["target"]) for event in told} == {0, 1, 2}
    assert [text for event in told for text in departures(event, "LogEvent")] == []
