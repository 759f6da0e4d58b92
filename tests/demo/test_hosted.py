"""The hosted side: what /oauth2/authorize, /login and /logout do with a browser (facts §0.4, §1,
§8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from yarl import URL

from demo.cognito.pool import Style
from tests.demo.relying_party import RelyingParty, query, relying_party

if TYPE_CHECKING:
    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from tests.support.browserless import Person

HOUR_S = 3600

# -- what never becomes a redirect


@pytest.mark.parametrize(
    "changes", [{"client_id": "nobody"}, {"client_id": None}, {"redirect_uri": None}], ids=str
)
async def test_unknown_client_or_missing_redirect_uri_is_a_page(
    app: RelyingParty, person: Person, changes: dict[str, str | None]
) -> None:
    page = await person.open(app.authorize_url(**changes))
    assert (page.status, page.host, len(page.hops)) == (400, "cognito.localhost", 1)


@pytest.mark.parametrize("tail", ["/", "?x=1", "%2f", "/../callback", "#x", " "])
async def test_redirect_uri_matches_exactly_or_is_a_page(
    app: RelyingParty, person: Person, tail: str
) -> None:
    page = await person.open(app.authorize_url(redirect_uri=app.callback + tail))
    assert (page.status, page.host) == (
        400,
        "cognito.localhost",
    ) and "redirect_mismatch" in page.text


# -- errors that go back to the application


SENT_BACK: dict[str, tuple[dict[str, str | None], str, str | None]] = {
    "no response_type": ({"response_type": None}, "invalid_request", None),
    "implicit": ({"response_type": "token"}, "unauthorized_client", None),
    "unknown scope": ({"scope": "openid groups"}, "invalid_request", "invalid_scope"),
    "email without openid": ({"scope": "email"}, "invalid_request", "invalid_scope"),
    "plain challenge": ({"code_challenge_method": "plain"}, "invalid_request", None),
    "challenge without method": ({"code_challenge_method": None}, "invalid_request", None),
    "method without challenge": ({"code_challenge": None}, "invalid_request", None),
    "short challenge": ({"code_challenge": "abc"}, "invalid_request", None),
    "provider of another tenant": ({"identity_provider": "initech-okta"}, "invalid_request", None),
}


@pytest.mark.parametrize(
    ("changes", "error", "description"), SENT_BACK.values(), ids=SENT_BACK.keys()
)
async def test_mistake_in_the_request_goes_back_with_the_state(
    app: RelyingParty,
    person: Person,
    changes: dict[str, str | None],
    error: str,
    description: str | None,
) -> None:
    page = await person.open(app.authorize_url(**changes))
    assert (
        page.url.startswith(app.callback)
        and query(page)["error"] == error
        and query(page)["state"] == "state-1"
    )
    if description:
        assert query(page)["error_description"] == description


# -- the cookie


async def test_cookie_resumes_without_asking_the_idp_when_no_provider_is_named(
    app: RelyingParty, person: Person
) -> None:
    first = await app.log_in(person, "alice@acme.test")
    page = await person.open(app.authorize_url(None, nonce="nonce-2"))
    assert "code" in query(page) and not page.visited("okta.localhost")
    second = app.verified((await app.redeem(page))[1]["id_token"])
    assert (
        second["nonce"] == "nonce-2"
        and second["auth_time"] == app.verified(first["id_token"])["auth_time"]
    )


async def test_named_provider_is_asked_again_unless_the_switch_says_otherwise(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    await app.log_in(person, "alice@acme.test")
    assert (await person.open(app.authorize_url())).visited("okta.localhost")
    cloud.cognito.pool.behaviour.resume_with_provider = True
    page = await person.open(app.authorize_url())
    assert "code" in query(page) and not page.visited("okta.localhost")
    assert (await person.open(app.authorize_url("globex-entra"))).host == "entra.localhost"


async def test_cookie_ends_after_an_hour_however_often_it_resumed(
    app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    await app.log_in(person, "alice@acme.test")
    clock.advance(HOUR_S - 60)
    assert not (await person.open(app.authorize_url(None))).visited("okta.localhost")
    clock.advance(61)
    assert (await person.open(app.authorize_url(None))).host == "cognito.localhost"


async def test_resumption_can_be_switched_off(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    await app.log_in(person, "alice@acme.test")
    cloud.cognito.pool.behaviour.resume_without_provider = False
    assert "Continue with" in (await person.open(app.authorize_url(None))).text


async def test_auth_time_is_renewed_on_resumption_where_switched(
    cloud: DemoCloud, app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    first = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    clock.advance(600)
    cloud.cognito.pool.behaviour.resumed_auth_time_renewed = True
    second = app.verified(
        (await app.redeem(await person.open(app.authorize_url(None))))[1]["id_token"]
    )
    assert second["auth_time"] >= first["auth_time"] + 600
    assert second["custom:idp_iat"] == first["custom:idp_iat"]


async def test_cookie_of_one_provider_serves_no_client_without_it_unless_switched(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    await app.log_in(person, "alice@acme.test")
    async with relying_party(cloud, "other.localhost", providers=["globex-entra"]) as other:
        assert (await person.open(other.authorize_url(None))).host == "entra.localhost"
        cloud.cognito.pool.behaviour.resume_across_providers = True
        page = await person.open(other.authorize_url("globex-entra"))
        claims = other.verified((await other.redeem(page))[1]["id_token"])
        assert (
            claims["aud"] == other.client.client_id
            and claims["identities"][0]["providerName"] == "acme-okta"
        )


# -- prompt


async def test_prompt_is_ignored_by_the_classic_pages(app: RelyingParty, person: Person) -> None:
    await app.log_in(person, "alice@acme.test")
    assert "code" in query(await person.open(app.authorize_url(None, prompt="login")))


async def test_prompt_of_managed_login(cloud: DemoCloud, app: RelyingParty, person: Person) -> None:
    cloud.cognito.pool.behaviour.managed_login_version = 2
    assert (
        query(await person.open(app.authorize_url(None, prompt="none")))["error"]
        == "login_required"
    )
    await app.log_in(person, "alice@acme.test")
    assert "code" in query(await person.open(app.authorize_url(None, prompt="none")))
    asked = await person.open(app.authorize_url(prompt="login"))
    assert (
        asked.host == "okta.localhost" and URL(asked.url).query["prompt"] == "login" and asked.forms
    )
    assert (
        query(await person.open(app.authorize_url(prompt="none login")))["error"]
        == "invalid_request"
    )


# -- pages


async def test_chooser_shows_the_clients_providers_and_leads_on(
    app: RelyingParty, person: Person
) -> None:
    page = await person.open(app.authorize_url(None))
    assert [label for label, _ in page.links] == [
        "Continue with acme-okta",
        "Continue with globex-entra",
    ]
    assert (await person.click(page, "globex-entra")).host == "entra.localhost"


async def test_chooser_shows_own_users_form_beside_the_providers(
    cloud: DemoCloud, person: Person
) -> None:
    async with relying_party(cloud, "both.localhost", providers=["COGNITO", "acme-okta"]) as app:
        page = await person.open(app.authorize_url(None))
        assert [label for label, _ in page.links] == ["Continue with acme-okta"]
        assert set(page.forms[0].fields) == {"_csrf", "username", "password"}


async def test_clients_only_provider_is_not_asked_for(cloud: DemoCloud, person: Person) -> None:
    async with relying_party(cloud, "single.localhost", providers=["acme-okta"]) as app:
        assert (await person.open(app.authorize_url(None))).host == "okta.localhost"


async def test_provider_is_found_by_its_identifier(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.connect(cloud.customers["acme-okta"], identifiers=["acme.test"])
    assert (
        await person.open(app.authorize_url(None, idp_identifier="acme.test"))
    ).host == "okta.localhost"


async def test_login_hint_reaches_the_idps_form(app: RelyingParty, person: Person) -> None:
    page = await person.open(app.authorize_url(login_hint='"><script>@acme.test'))
    assert page.forms[0].fields["email"] == '"><script>@acme.test' and "<script>" not in page.text


async def test_managed_login_has_no_pages_for_a_client_without_a_style(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.cognito.pool.behaviour.managed_login_version = 2
    assert "Login pages unavailable" in (await person.open(app.authorize_url(None))).text
    assert (await person.open(app.authorize_url("acme-okta"))).host == "okta.localhost"
    cloud.cognito.pool.styles["s"] = Style("s", app.client.client_id)
    assert "Continue with" in (await person.open(app.authorize_url(None))).text


async def test_own_user_of_the_pool_signs_in_with_a_password(
    cloud: DemoCloud, person: Person
) -> None:
    cloud.cognito.pool.add_user(
        "dave@pool.test", password="demo", email="dave@pool.test", email_verified="true"
    )
    async with relying_party(cloud, "own.localhost", providers=["COGNITO"]) as app:
        page = await person.open(app.authorize_url("COGNITO"))
        wrong = await person.submit(page, {"username": "dave@pool.test", "password": "no"})
        assert "Incorrect username or password." in wrong.text
        arrived = await person.submit(wrong, {"username": "dave@pool.test", "password": "demo"})
        claims = app.verified((await app.redeem(arrived))[1]["id_token"])
        assert (
            "identities" not in claims
            and claims["email_verified"] is True
            and claims["cognito:username"] == "dave@pool.test"
        )


async def test_login_form_of_another_browser_is_refused(cloud: DemoCloud, person: Person) -> None:
    cloud.cognito.pool.add_user("dave@pool.test", password="demo")
    async with relying_party(cloud, "own.localhost", providers=["COGNITO"]) as app:
        page = await person.open(app.authorize_url("COGNITO"))
        person.forget("cognito.localhost")
        assert (
            await person.submit(page, {"username": "dave@pool.test", "password": "demo"})
        ).status == 403


# -- logout


def logout(cloud: DemoCloud, **parameters: str) -> str:
    return f"{cloud.cognito.url}/logout?{urlencode(parameters)}"


async def test_logout_ends_the_cookie_and_not_the_idps_session(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    tokens = await app.log_in(person, "alice@acme.test")
    page = await person.open(
        logout(cloud, client_id=app.client.client_id, logout_uri=app.signed_out, state="x")
    )
    assert page.url == app.signed_out
    assert "Continue with" in (await person.open(app.authorize_url(None))).text
    silent = await person.open(app.authorize_url())
    assert silent.visited("okta.localhost") and "code" in query(silent)
    assert (await app.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]))[
        0
    ] == 200


async def test_logout_prefers_logout_uri_and_matches_it_exactly(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    client_id = app.client.client_id
    both = {
        "client_id": client_id,
        "logout_uri": app.signed_out,
        "redirect_uri": app.callback,
        "response_type": "code",
    }
    assert (await person.open(logout(cloud, **both))).url == app.signed_out
    for wrong in (app.signed_out + "/", app.callback):
        assert (await person.open(logout(cloud, **{**both, "logout_uri": wrong}))).status == 400
    del both["logout_uri"]
    assert "Continue with" in (await person.open(logout(cloud, **both))).text
    assert (await person.open(logout(cloud, client_id=client_id))).status == 400
    assert (
        await person.open(logout(cloud, client_id="nobody", logout_uri=app.signed_out))
    ).status == 400


async def test_refused_logout_leaves_the_cookie(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    await app.log_in(person, "alice@acme.test")
    await person.open(
        logout(cloud, client_id=app.client.client_id, logout_uri="https://evil.test/")
    )
    assert "code" in query(await person.open(app.authorize_url(None)))
