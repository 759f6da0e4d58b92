"""The whole way: application, Cognito, the customer's IdP, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.demo.relying_party import RelyingParty, query

if TYPE_CHECKING:
    from demo.cloud import DemoCloud
    from tests.support.browserless import Person


async def test_person_of_the_okta_like_idp_arrives_with_state_and_code(
    app: RelyingParty, person: Person
) -> None:
    page = await person.log_in(app.authorize_url(), "alice@acme.test")
    assert page.url.startswith(app.callback + "?")
    assert page.visited("okta.localhost") and page.visited("cognito.localhost")
    assert set(query(page)) == {"code", "state"} and query(page)["state"] == "state-1"


async def test_id_token_of_an_okta_person_has_cognitos_shape(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    assert set(tokens) == {"id_token", "access_token", "refresh_token", "token_type", "expires_in"}
    claims = app.verified(tokens["id_token"])
    alice = cloud.customers["acme-okta"].server.directory.by_email("alice@acme.test")
    assert alice is not None and alice.id.startswith("00u")
    assert claims["iss"] == cloud.cognito.issuer == f"{cloud.cognito.url}/eu-north-1_Demo12345"
    assert (
        claims["aud"] == app.client.client_id
        and claims["token_use"] == "id"
        and claims["nonce"] == "nonce-1"
    )
    assert claims["cognito:username"] == f"acme-okta_{alice.id}"
    assert claims["cognito:groups"] == ["eu-north-1_Demo12345_acme-okta"]
    assert claims["custom:groups"] == "[app-users, admins]"
    assert claims["email"] == "alice@acme.test" and claims["email_verified"] is True
    identity = claims["identities"][0]
    assert identity == {
        "userId": alice.id,
        "providerName": "acme-okta",
        "providerType": "OIDC",
        "issuer": None,
        "primary": "true",
        "dateCreated": identity["dateCreated"],
    }
    assert identity["dateCreated"].isdigit()
    assert claims.keys() >= {
        "at_hash",
        "auth_time",
        "iat",
        "exp",
        "jti",
        "origin_jti",
        "event_id",
        "sub",
    }


async def test_entra_person_has_guid_groups_pairwise_subject_and_no_verified_email(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    claims = app.verified(
        (await app.log_in(person, "carol@globex.test", "globex-entra"))["id_token"]
    )
    directory = cloud.customers["globex-entra"].server.directory
    carol = directory.by_email("carol@globex.test")
    assert carol is not None
    assert claims["custom:oid"] == carol.id
    assert claims["identities"][0]["userId"] != carol.id
    assert claims["custom:groups"] == f"[{carol.group_ids[0]}]" and len(carol.group_ids[0]) == 36
    assert claims["email_verified"] is False


async def test_person_without_groups_has_no_groups_attribute(
    app: RelyingParty, person: Person
) -> None:
    claims = app.verified((await app.log_in(person, "mallory@acme.test"))["id_token"])
    assert "custom:groups" not in claims


async def test_wrong_password_stays_on_the_idps_form(app: RelyingParty, person: Person) -> None:
    page = await person.log_in(app.authorize_url(), "alice@acme.test", "wrong")
    assert page.host == "okta.localhost" and "wrong e-mail or password" in page.text
    assert (
        await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    ).url.startswith(app.callback)
