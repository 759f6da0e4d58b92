"""The token side: exchange, refresh, revocation, userInfo, keys (facts §1, §2, §8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from demo import faults
from demo.jose import half_hash
from demo.net import client_session
from tests.demo.relying_party import RelyingParty, query, relying_party

if TYPE_CHECKING:
    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from tests.support.browserless import Person

DAY_S = 86400


async def get(url: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    async with client_session() as http, http.get(url, headers=headers) as response:
        return response.status, await response.json(), dict(response.headers)


# -- codes


async def test_code_works_once(app: RelyingParty, person: Person) -> None:
    page = await person.log_in(app.authorize_url(), "alice@acme.test")
    assert (await app.redeem(page))[0] == 200
    assert await app.redeem(page) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize(("seconds", "status"), [(295, 200), (301, 400)])
async def test_code_lives_five_minutes(
    app: RelyingParty, person: Person, clock: MovableClock, seconds: int, status: int
) -> None:
    page = await person.log_in(app.authorize_url(), "alice@acme.test")
    clock.advance(seconds)
    assert (await app.redeem(page))[0] == status


async def test_code_is_bound_to_client_redirect_uri_and_verifier(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    await person.log_in(app.authorize_url(), "alice@acme.test")
    for changes, error in (
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"redirect_uri": app.signed_out}, "unauthorized_client"),
    ):
        page = await person.open(app.authorize_url(None))
        assert (await app.redeem(page, **changes))[1]["error"] == error
        assert (await app.redeem(page))[1]["error"] == "invalid_grant", "a refused code is spent"
    page = await person.open(app.authorize_url(None))
    async with relying_party(cloud, "other.localhost") as other:
        form = {
            "code": query(page)["code"],
            "redirect_uri": app.callback,
            "code_verifier": app.verifier,
        }
        assert (await other.token(grant_type="authorization_code", **form))[1][
            "error"
        ] == "invalid_grant"
    assert (await app.redeem(page))[0] == 200


async def test_verifier_must_be_given_exactly_where_a_challenge_was(
    app: RelyingParty, person: Person
) -> None:
    await person.log_in(app.authorize_url(), "alice@acme.test")
    with_challenge = await person.open(app.authorize_url(None))
    form = {
        "grant_type": "authorization_code",
        "code": query(with_challenge)["code"],
        "redirect_uri": app.callback,
    }
    assert (await app.token(**form))[1]["error"] == "invalid_grant"
    without = await person.open(
        app.authorize_url(None, code_challenge=None, code_challenge_method=None)
    )
    assert (await app.redeem(without))[1]["error"] == "invalid_grant"


# -- clients


async def test_client_authenticates_by_basic_or_form_and_not_otherwise(app: RelyingParty) -> None:
    client_id, secret = app.client.client_id, str(app.client.secret)
    grant = {"grant_type": "refresh_token", "refresh_token": "unknown"}
    assert (await app.post("/oauth2/token", grant, basic=(client_id, secret)))[1][
        "error"
    ] == "invalid_grant"
    assert (await app.token(**grant))[1]["error"] == "invalid_grant"
    assert (await app.post("/oauth2/token", grant, basic=(client_id, "wrong")))[1][
        "error"
    ] == "invalid_client"
    assert (await app.post("/oauth2/token", {**grant, "client_id": client_id}))[1][
        "error"
    ] == "invalid_client"
    assert (await app.post("/oauth2/token", {**grant, "client_id": "nobody"}))[1][
        "error"
    ] == "invalid_client"


async def test_client_without_a_secret_only_names_itself(
    cloud: DemoCloud, app: RelyingParty
) -> None:
    client_id = app.client.client_id
    cloud.cognito.pool.clients[client_id] = type(app.client)(client_id, None, app.client.settings)
    grant = {"grant_type": "refresh_token", "refresh_token": "unknown", "client_id": client_id}
    assert (await app.post("/oauth2/token", grant))[1]["error"] == "invalid_grant"
    assert (await app.post("/oauth2/token", {**grant, "client_secret": "x"}))[1][
        "error"
    ] == "invalid_client"


async def test_grant_types_that_do_not_fit(app: RelyingParty) -> None:
    assert (await app.token())[1]["error"] == "invalid_request"
    assert (await app.token(grant_type="password"))[1]["error"] == "unsupported_grant_type"
    assert (await app.token(grant_type="authorization_code"))[1]["error"] == "invalid_request"
    assert (await app.token(grant_type="client_credentials"))[1]["error"] == "unauthorized_client"


async def test_machine_gets_an_access_token_for_its_scopes(cloud: DemoCloud) -> None:
    cloud.cognito.pool.resource_scopes |= {"api/read", "api/write"}
    settings = {"AllowedOAuthFlows": ["client_credentials"], "AllowedOAuthScopes": ["api/read"]}
    async with relying_party(cloud, "machine.localhost", **settings) as app:
        status, body = await app.token(grant_type="client_credentials")
        claims = app.verified(body["access_token"], key=1)
        assert status == 200 and set(body) == {"access_token", "expires_in", "token_type"}
        assert (claims["sub"], claims["scope"], claims["token_use"]) == (
            app.client.client_id,
            "api/read",
            "access",
        )
        assert "aud" not in claims and "username" not in claims
        assert (await app.token(grant_type="client_credentials", scope="api/write"))[0] == 400


# -- the tokens


async def test_access_token_names_its_client_and_has_no_audience(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    access, identity = app.verified(tokens["access_token"], key=1), app.verified(tokens["id_token"])
    assert (
        access["client_id"] == app.client.client_id
        and access["token_use"] == "access"
        and "aud" not in access
    )
    assert (access["scope"], access["username"], access["version"]) == (
        "openid",
        identity["cognito:username"],
        2,
    )
    assert access["origin_jti"] == identity["origin_jti"] and access["jti"] != identity["jti"]
    assert identity["at_hash"] == half_hash(tokens["access_token"])
    assert identity["exp"] - identity["iat"] == tokens["expires_in"] == 900
    assert jwt.get_unverified_header(tokens["id_token"])["alg"] == "RS256"


async def test_tokens_verify_under_the_published_keys_with_another_library(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    keys = KeySet.import_key_set((await get(f"{cloud.cognito.issuer}/.well-known/jwks.json"))[1])
    for name in ("id_token", "access_token"):
        assert (
            joserfc_jwt.decode(tokens[name], keys, algorithms=["RS256"]).claims["iss"]
            == cloud.cognito.issuer
        )


async def test_resource_becomes_the_audience_of_the_access_token(
    app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test", resource="https://api.example.com")
    assert app.verified(tokens["access_token"], key=1)["aud"] == "https://api.example.com"
    assert app.verified(tokens["id_token"])["aud"] == app.client.client_id


async def test_nonce_is_made_up_for_a_federated_login_without_one(
    app: RelyingParty, person: Person
) -> None:
    claims = app.verified((await app.log_in(person, "alice@acme.test", nonce=None))["id_token"])
    assert len(claims["nonce"]) > 20


async def test_narrow_scopes_show_their_attributes_only_and_no_custom_ones_without_profile(
    cloud: DemoCloud, person: Person
) -> None:
    settings = {"AllowedOAuthScopes": ["openid", "email", "profile"]}
    async with relying_party(cloud, "scopes.localhost", **settings) as app:
        narrow = app.verified(
            (await app.log_in(person, "alice@acme.test", scope="openid email"))["id_token"]
        )
        assert "email" in narrow and "name" not in narrow and "custom:groups" not in narrow
        wide = app.verified(
            (
                await app.redeem(
                    await person.open(app.authorize_url(None, scope="openid email profile"))
                )
            )[1]["id_token"]
        )
        assert {"email", "name", "custom:groups"} <= wide.keys()


async def test_attribute_that_the_client_may_not_read_is_in_no_token(
    cloud: DemoCloud, person: Person
) -> None:
    async with relying_party(cloud, "blind.localhost", ReadAttributes=["email"]) as app:
        claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
        assert "email" in claims and "custom:groups" not in claims and "name" not in claims


async def test_client_without_read_attributes_reads_no_custom_one(
    cloud: DemoCloud, person: Person
) -> None:
    async with relying_party(cloud, "default.localhost", ReadAttributes=None) as app:
        claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
        assert "name" in claims and "custom:groups" not in claims


async def test_scope_of_which_an_attribute_is_unreadable_is_an_invalid_grant(
    cloud: DemoCloud, person: Person
) -> None:
    settings = {"AllowedOAuthScopes": ["openid", "email"], "ReadAttributes": ["email"]}
    async with relying_party(cloud, "trap.localhost", **settings) as app:
        page = await person.log_in(app.authorize_url(scope="openid email"), "alice@acme.test")
        assert (await app.redeem(page))[1]["error"] == "invalid_grant"


# -- refresh


async def test_refresh_rotates_within_the_grace_period_and_not_beyond(
    app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    old = (await app.log_in(person, "alice@acme.test"))["refresh_token"]
    status, body = await app.token(grant_type="refresh_token", refresh_token=old)
    assert (
        status == 200
        and body["refresh_token"] != old
        and "nonce" not in app.verified(body["id_token"])
    )
    clock.advance(29)
    assert (await app.token(grant_type="refresh_token", refresh_token=old))[0] == 200
    clock.advance(2)
    assert (await app.token(grant_type="refresh_token", refresh_token=old))[1][
        "error"
    ] == "invalid_grant"
    assert (await app.token(grant_type="refresh_token", refresh_token=body["refresh_token"]))[
        0
    ] == 200


async def test_rotated_token_inherits_the_remaining_lifetime(
    app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    token = (await app.log_in(person, "alice@acme.test"))["refresh_token"]
    clock.advance(DAY_S - 60)
    token = (await app.token(grant_type="refresh_token", refresh_token=token))[1]["refresh_token"]
    clock.advance(61)
    assert (await app.token(grant_type="refresh_token", refresh_token=token))[1][
        "error"
    ] == "invalid_grant"


async def test_without_rotation_the_refresh_token_stays(cloud: DemoCloud, person: Person) -> None:
    async with relying_party(
        cloud, "plain.localhost", RefreshTokenRotation={"Feature": "DISABLED"}
    ) as app:
        token = (await app.log_in(person, "alice@acme.test"))["refresh_token"]
        for _ in range(2):
            status, body = await app.token(grant_type="refresh_token", refresh_token=token)
            assert status == 200 and "refresh_token" not in body


async def test_refresh_shows_the_stored_profile_and_asks_no_idp(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    directory = cloud.customers["acme-okta"].server.directory
    alice = directory.by_email("alice@acme.test")
    assert alice is not None
    await directory.deactivate(alice)
    status, body = await app.token(
        grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert (
        status == 200 and app.verified(body["id_token"])["custom:groups"] == "[app-users, admins]"
    )


async def test_refresh_token_of_another_client_is_refused(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    token = (await app.log_in(person, "alice@acme.test"))["refresh_token"]
    async with relying_party(cloud, "other.localhost") as other:
        assert (await other.token(grant_type="refresh_token", refresh_token=token))[1][
            "error"
        ] == "invalid_grant"


# -- revocation and userInfo


async def test_revocation_kills_the_family_and_leaves_jwts_verifiable(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    newer = (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[1]
    form = {"client_id": app.client.client_id, "client_secret": str(app.client.secret)}
    assert await app.post("/oauth2/revoke", {**form, "token": newer["refresh_token"]}) == (200, "")
    assert (await app.token(grant_type="refresh_token", refresh_token=newer["refresh_token"]))[
        0
    ] == 400
    assert (
        await get(
            f"{cloud.cognito.url}/oauth2/userInfo", Authorization=f"Bearer {newer['access_token']}"
        )
    )[0] == 401
    assert app.verified(newer["id_token"])["token_use"] == "id"


async def test_revocation_answers(app: RelyingParty, person: Person) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    client_id, secret = app.client.client_id, str(app.client.secret)
    form = {"client_id": client_id, "client_secret": secret}
    assert (await app.post("/oauth2/revoke", {**form, "token": "unknown"}))[0] == 200
    assert await app.post("/oauth2/revoke", form) == (400, {"error": "invalid_request"})
    assert (await app.post("/oauth2/revoke", {**form, "token": tokens["access_token"]}))[1][
        "error"
    ] == "unsupported_token_type"
    assert (await app.post("/oauth2/revoke", {"token": "unknown"}, basic=(client_id, "wrong")))[
        0
    ] == 401
    assert (
        await app.post(
            "/oauth2/revoke", {"token": tokens["refresh_token"]}, basic=(client_id, secret)
        )
    )[0] == 200


async def test_revocation_that_is_switched_off_is_an_invalid_request(
    cloud: DemoCloud, person: Person
) -> None:
    async with relying_party(cloud, "norevoke.localhost", EnableTokenRevocation=False) as app:
        tokens = await app.log_in(person, "alice@acme.test")
        assert "origin_jti" not in app.verified(tokens["id_token"])
        form = {
            "client_id": app.client.client_id,
            "client_secret": str(app.client.secret),
            "token": tokens["refresh_token"],
        }
        assert await app.post("/oauth2/revoke", form) == (400, {"error": "invalid_request"})


async def test_userinfo_says_true_as_a_string(
    cloud: DemoCloud, app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    url, bearer = f"{cloud.cognito.url}/oauth2/userInfo", f"Bearer {tokens['access_token']}"
    status, body, _ = await get(url, Authorization=bearer)
    assert (
        status == 200
        and body["email_verified"] == "true"
        and body["custom:groups"] == "[app-users, admins]"
    )
    status, body, headers = await get(url, Authorization=f"Bearer {tokens['id_token']}")
    assert (status, body["error"], headers["WWW-Authenticate"]) == (
        401,
        "invalid_token",
        'error="invalid_token"',
    )
    clock.advance(901)
    assert (await get(url, Authorization=bearer))[0] == 401


async def test_userinfo_needs_openid_and_a_client_that_still_exists(
    cloud: DemoCloud, person: Person
) -> None:
    cloud.cognito.pool.resource_scopes.add("api/read")
    url = f"{cloud.cognito.url}/oauth2/userInfo"
    async with relying_party(
        cloud, "api.localhost", AllowedOAuthScopes=["openid", "api/read"]
    ) as app:
        tokens = await app.log_in(person, "alice@acme.test", scope="api/read")
        assert "id_token" not in tokens
        assert (await get(url, Authorization=f"Bearer {tokens['access_token']}"))[0] == 401
        tokens = (await app.redeem(await person.open(app.authorize_url(None))))[1]
        assert (await get(url, Authorization=f"Bearer {tokens['access_token']}"))[0] == 200
        del cloud.cognito.pool.clients[app.client.client_id]
        assert (await get(url, Authorization=f"Bearer {tokens['access_token']}"))[0] == 401


# -- keys and faults


async def test_two_keys_are_published_and_rotation_takes_one_away(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    discovery = (await get(f"{cloud.cognito.issuer}/.well-known/openid-configuration"))[1]
    assert (
        discovery["issuer"] == cloud.cognito.issuer
        and discovery["token_endpoint"] == f"{cloud.cognito.url}/oauth2/token"
    )
    before = [key["kid"] for key in (await get(discovery["jwks_uri"]))[1]["keys"]]
    tokens = await app.log_in(person, "alice@acme.test")
    assert jwt.get_unverified_header(tokens["id_token"])["kid"] == before[0]
    assert jwt.get_unverified_header(tokens["access_token"])["kid"] == before[1]
    cloud.cognito.pool.rotate_keys()
    after = [key["kid"] for key in (await get(discovery["jwks_uri"]))[1]["keys"]]
    assert len(after) == 2 and after[0] == before[1] and before[0] not in after


async def test_faults_answer_once_or_always_and_spoil_tokens(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.cognito.faults.once("token", faults.status(500, "<html>", "text/html"))
    page = await person.log_in(app.authorize_url(), "alice@acme.test")
    assert await app.redeem(page) == (500, "<html>")
    cloud.cognito.faults.spoil_token = lambda draft: (
        draft.with_claims(aud="someone else") if draft.use == "id" else draft
    )
    cloud.cognito.faults.spoil_token_response = lambda body: {**body, "token_type": "mac"}
    status, body = await app.redeem(page)
    assert (
        status == 200
        and body["token_type"] == "mac"
        and app.verified(body["id_token"])["aud"] == "someone else"
    )
    cloud.cognito.faults.always("jwks", faults.status(503))
    async with client_session() as http:
        answers = await asyncio.gather(
            *(http.get(f"{cloud.cognito.issuer}/.well-known/jwks.json") for _ in range(2))
        )
        assert [answer.status for answer in answers] == [503, 503]
    cloud.cognito.faults.clear()
    assert (await get(f"{cloud.cognito.issuer}/.well-known/jwks.json"))[0] == 200
    assert cloud.cognito.faults.calls["jwks"] == 3
