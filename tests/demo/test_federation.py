"""The pool as a broker: the code flow upstream, attribute mapping, and every way it fails (facts
§1, §2, §8).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from demo import faults
from demo.cognito.attributes import Flattening, flatten
from demo.jose import SigningKey, TokenDraft
from demo.net import client_session
from tests.demo.relying_party import RelyingParty, query, relying_party
from tests.support.browserless import Person

if TYPE_CHECKING:
    from aiohttp import web

    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from demo.idp.directory import Person as Account


@pytest.fixture
def alice(cloud: DemoCloud) -> Account:
    found = cloud.customers["acme-okta"].server.directory.by_email("alice@acme.test")
    assert found is not None
    return found


async def failure(
    app: RelyingParty, person: Person, email: str = "alice@acme.test", provider: str = "acme-okta"
) -> str:
    """What the application is told about a login that must fail."""
    page = await person.open(app.authorize_url(provider))
    if page.forms:
        page = await person.submit(page, {"email": email, "password": "demo"})
    assert (
        page.url.startswith(app.callback)
        and query(page)["state"] == "state-1"
        and "code" not in query(page)
    )
    assert query(page)["error"] == "invalid_request"
    return query(page)["error_description"]


# -- upstream token checks


STRANGER = SigningKey.generate()
BAD_TOKENS: dict[str, tuple[Any, str]] = {
    "another issuer": (
        lambda draft: draft.with_claims(iss="https://evil.test"),
        "Bad id_token issuer",
    ),
    "another audience": (lambda draft: draft.with_claims(aud="someone"), "Bad id_token audience"),
    "expired": (
        lambda draft: draft.with_claims(exp=draft.claims["iat"] - 60),
        "Bad id_token: expired",
    ),
    "expiry that is no number": (
        lambda draft: draft.with_claims(exp="soon"),
        "Bad id_token: expired",
    ),
    "no expiry": (lambda draft: draft.with_claims(exp=None), "Bad id_token signature or claims"),
    "another nonce": (lambda draft: draft.with_claims(nonce="other"), "Bad id_token nonce"),
    "no nonce": (lambda draft: draft.with_claims(nonce=None), "Bad id_token nonce"),
    "no kid": (lambda draft: replace(draft, headers={"kid": None}), "Bad id_token: kid is missing"),
    "unknown kid": (
        lambda draft: replace(draft, headers={"kid": "other"}),
        "Bad id_token: unknown kid",
    ),
    "stranger's key under the right kid": (
        lambda draft: replace(draft, key=STRANGER, headers={"kid": draft.key.kid}),
        "Bad id_token signature or claims",
    ),
    "alg none": (lambda draft: replace(draft, algorithm=None), "Bad id_token signature or claims"),
    "not a token": (lambda _: "garbage", "Bad id_token signature or claims"),
}


@pytest.mark.parametrize(("spoil", "text"), BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_id_token_of_the_idp_that_deserves_no_belief(
    cloud: DemoCloud, app: RelyingParty, person: Person, spoil: Any, text: str
) -> None:
    cloud.customers["acme-okta"].server.faults.spoil_token = spoil
    assert await failure(app, person) == text
    assert cloud.cognito.pool.users == {}


async def test_key_of_the_idp_may_rotate_between_logins(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    await app.log_in(person, "alice@acme.test")
    cloud.customers["acme-okta"].server.rotate_key()
    assert "code" in query(await person.open(app.authorize_url()))


# -- upstream outages, in Cognito's words


async def test_token_endpoint_that_refuses(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.customers["acme-okta"].server.faults.always("token", faults.status(500))
    assert await failure(app, person) == "acme-okta Error - 500 error getting token"


async def test_wrong_client_secret_at_the_idp(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    provider = cloud.cognito.pool.providers["acme-okta"]
    details = {**provider.settings["ProviderDetails"], "client_secret": "wrong"}
    cloud.cognito.pool.providers["acme-okta"] = replace(
        provider, settings={**provider.settings, "ProviderDetails": details}
    )
    assert await failure(app, person) == "acme-okta Error - 401 error getting token"


async def test_token_endpoint_and_jwks_that_do_not_answer(
    app: RelyingParty, person: Person, cloud: DemoCloud
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise asyncio.CancelledError

    server = cloud.customers["acme-okta"].server
    server.faults.always("token", cut)
    assert await failure(app, person) == "Timeout occurred in calling IdP token endpoint"
    server.faults.clear()
    server.faults.always("jwks", cut)
    assert await failure(app, person) == "Timeout in calling jwks uri"


async def test_answer_without_an_id_token(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.customers["acme-okta"].server.faults.spoil_token_response = lambda body: {
        "access_token": body["access_token"]
    }
    assert await failure(app, person) == "Bad id_token response"


async def test_provider_whose_endpoints_are_named_needs_no_discovery(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    server, provider = (
        cloud.customers["acme-okta"].server,
        cloud.cognito.pool.providers["acme-okta"],
    )
    paths = server.face.paths
    named = {
        "authorize_url": paths.authorize,
        "token_url": paths.token,
        "jwks_uri": paths.jwks,
        "attributes_url": paths.userinfo,
    }
    details = {
        **provider.settings["ProviderDetails"],
        **{name: server.origin + path for name, path in named.items()},
    }
    cloud.cognito.pool.providers["acme-okta"] = replace(
        provider, settings={**provider.settings, "ProviderDetails": details}
    )
    server.faults.always("discovery", faults.status(500))
    await app.log_in(person, "alice@acme.test")


@pytest.mark.parametrize(
    "answer",
    [
        faults.status(500),
        faults.status(200, "[]", "application/json"),
        faults.status(200, "<html>", "text/html"),
    ],
)
async def test_idp_that_cannot_be_found_out_sends_nobody_away(
    cloud: DemoCloud, app: RelyingParty, person: Person, answer: faults.Answer
) -> None:
    cloud.customers["acme-okta"].server.faults.always("discovery", answer)
    page = await person.open(app.authorize_url())
    assert query(page)["error"] == "invalid_request" and not page.visited("okta.localhost")


@pytest.mark.parametrize("document", ["[]", "{}", '{"keys": {}}', '{"keys": [1, {}]}', "x"])
async def test_key_set_that_is_none_is_no_reason_to_believe(
    cloud: DemoCloud, app: RelyingParty, person: Person, document: str
) -> None:
    cloud.customers["acme-okta"].server.faults.always(
        "jwks", faults.status(200, document, "application/json")
    )
    assert "Bad" in await failure(app, person)


async def test_broken_userinfo_fails_the_login(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.customers["acme-okta"].server.faults.always("userinfo", faults.status(500))
    assert await failure(app, person) == "Error calling the attributes url"


async def test_answer_without_a_code_fails_the_login(app: RelyingParty, person: Person) -> None:
    page = await person.open(app.authorize_url())
    answer = await person.submit(
        page, {"email": "alice@acme.test", "password": "demo"}, follow=False
    )
    location = URL(str(answer.headers.header("Location")))
    arrived = await person.open(str(location.with_query({"state": location.query["state"]})))
    assert "No code" in query(arrived)["error_description"]


async def test_people_of_an_issuer_that_ends_in_a_slash_sign_in(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    customer = cloud.customers["acme-okta"]
    customer.server.face.paths = replace(customer.server.face.paths, issuer="/")
    assert customer.issuer == f"{cloud.cognito.pool.providers['acme-okta'].detail('oidc_issuer')}/"
    await app.log_in(person, "alice@acme.test")


async def test_discovery_of_another_issuer_is_refused(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    answer = faults.status(200, '{"issuer": "https://evil.test"}', "application/json")
    cloud.customers["acme-okta"].server.faults.always("discovery", answer)
    assert "invalid discovery document" in await failure(app, person)


async def test_refusal_by_the_idp_is_passed_on(cloud: DemoCloud, person: Person) -> None:
    provider = cloud.cognito.pool.providers["globex-entra"]
    details = {**provider.settings["ProviderDetails"], "authorize_scopes": "openid groups"}
    cloud.cognito.pool.providers["globex-entra"] = replace(
        provider, settings={**provider.settings, "ProviderDetails": details}
    )
    async with relying_party(cloud) as app:
        page = await person.open(app.authorize_url("globex-entra"))
        assert (
            query(page)["error"] == "invalid_client"
            and "AADSTS650053" in query(page)["error_description"]
        )


async def test_person_who_cancels_at_the_idp_is_access_denied(
    app: RelyingParty, person: Person
) -> None:
    page = await person.click(await person.open(app.authorize_url()), "Cancel")
    assert (
        page.url.startswith(app.callback)
        and query(page)["error"] == "access_denied"
        and query(page)["state"] == "state-1"
    )


async def test_secret_travels_in_the_form_and_not_by_basic(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    seen: list[tuple[str | None, set[str]]] = []

    async def look(request: web.Request) -> None:
        seen.append((request.headers.get("Authorization"), set(await request.post())))

    cloud.customers["acme-okta"].server.faults.always("token", look)
    await app.log_in(person, "alice@acme.test")
    assert seen == [(None, {"grant_type", "code", "redirect_uri", "client_id", "client_secret"})]


# -- the answer belongs to one browser, one attempt, five minutes


async def test_answer_of_the_idp_is_taken_once_in_time_and_from_the_browser_that_left(
    app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    page = await person.open(app.authorize_url())
    answer = await person.submit(
        page, {"email": "alice@acme.test", "password": "demo"}, follow=False
    )
    location = answer.headers.header("Location")
    assert location is not None
    async with Person() as thief:
        assert (await thief.open(location)).status == 400
    assert "code" in query(await person.open(location))
    assert (await person.open(location)).status == 400
    late = await person.open(app.authorize_url(), follow=False)
    clock.advance(301)
    assert late.headers.header("Location") is not None
    assert (await person.open(str(late.headers.header("Location")))).status == 400


# -- mapping


FORMS: dict[str, tuple[Flattening, list[str], str]] = {
    "brackets, encoded": (
        Flattening.BRACKETS_ENCODED,
        ["Sales EMEA", "R&D, Core", "a.b-c*d_e"],
        "[Sales+EMEA, R%26D%2C+Core, a.b-c*d_e]",
    ),
    "brackets, one": (Flattening.BRACKETS_ENCODED, ["sales"], "[sales]"),
    "brackets, plain": (Flattening.BRACKETS_PLAIN, ["Sales EMEA", "R&D"], "[Sales EMEA, R&D]"),
    "JSON": (Flattening.JSON, ["a", 'b"c'], '["a","b\\"c"]'),
    "scalar for one": (Flattening.SCALAR_FOR_ONE, ["Sales, EMEA"], "Sales, EMEA"),
    "brackets for several": (Flattening.SCALAR_FOR_ONE, ["a", "b"], "[a, b]"),
    "none": (Flattening.BRACKETS_ENCODED, [], "[]"),
}


@pytest.mark.parametrize(("form", "values", "text"), FORMS.values(), ids=FORMS.keys())
def test_list_is_flattened_in_the_form_that_is_switched_on(
    form: Flattening, values: list[str], text: str
) -> None:
    assert flatten(values, form) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_claim_becomes_a_string_or_nothing(value: Any) -> None:
    for form in Flattening:
        flat = flatten(value, form)
        assert (flat is None) is (value is None)


async def test_form_of_the_groups_can_be_switched(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.cognito.pool.behaviour.flattening = Flattening.JSON
    claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    assert claims["custom:groups"] == '["app-users","admins"]'


async def test_groups_that_the_idp_stops_sending_stay(
    cloud: DemoCloud, app: RelyingParty, person: Person, alice: Account
) -> None:
    await app.log_in(person, "alice@acme.test")
    directory = cloud.customers["acme-okta"].server.directory
    admins, users = (directory.add_group(name) for name in ("admins", "app-users"))
    await directory.remove_from_group(alice, admins)
    fewer = app.verified((await app.redeem(await person.open(app.authorize_url())))[1]["id_token"])
    assert fewer["custom:groups"] == "[app-users]"
    await directory.remove_from_group(alice, users)
    none_left = app.verified(
        (await app.redeem(await person.open(app.authorize_url())))[1]["id_token"]
    )
    assert none_left["custom:groups"] == "[app-users]", (
        "Okta omits the empty claim and Cognito keeps the old value"
    )


async def test_idps_issue_time_travels_and_a_resumed_login_shows_the_old_one(
    app: RelyingParty, person: Person, clock: MovableClock
) -> None:
    first = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    assert abs(int(first["custom:idp_iat"]) - first["iat"]) <= 2
    clock.advance(600)
    resumed = app.verified(
        (await app.redeem(await person.open(app.authorize_url(None))))[1]["id_token"]
    )
    asked = app.verified((await app.redeem(await person.open(app.authorize_url())))[1]["id_token"])
    assert resumed["custom:idp_iat"] == first["custom:idp_iat"]
    assert int(asked["custom:idp_iat"]) >= int(first["custom:idp_iat"]) + 600


async def test_value_over_2048_characters_fails_the_login(
    cloud: DemoCloud, app: RelyingParty, person: Person, alice: Account
) -> None:
    directory = cloud.customers["acme-okta"].server.directory
    for number in range(60):
        await directory.add_to_group(alice, directory.add_group(f"{number:036d}"))
    assert "custom:groups" in await failure(app, person)
    assert cloud.cognito.pool.users == {}


async def test_53_guid_groups_fit_and_54_do_not(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    directory = cloud.customers["globex-entra"].server.directory
    carol = directory.by_email("carol@globex.test")
    assert carol is not None
    for number in range(52):
        await directory.add_to_group(carol, directory.add_group(f"group {number}"))
    claims = app.verified(
        (await app.log_in(person, "carol@globex.test", "globex-entra"))["id_token"]
    )
    assert len(claims["custom:groups"]) == 53 * 36 + 52 * 2 + 2
    await directory.add_to_group(carol, directory.add_group("one too many"))
    assert "custom:groups" in await failure(app, person, provider="globex-entra")


async def test_immutable_attribute_fails_the_second_login(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.cognito.pool.add_attribute("email", mutable=False)
    await app.log_in(person, "alice@acme.test")
    assert await failure(app, person) == "user.email: Attribute cannot be updated.\n"


async def test_unwritable_attribute_is_skipped_or_fails_by_switch(
    cloud: DemoCloud, person: Person
) -> None:
    async with relying_party(cloud, WriteAttributes=["email"]) as app:
        claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
        assert "custom:groups" not in claims and claims["email"] == "alice@acme.test"
        cloud.cognito.pool.behaviour.unwritable_attribute_fails = True
        assert "unauthorized attribute" in await failure(app, person)


async def test_required_attribute_that_the_idp_does_not_send_fails_the_login(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.cognito.pool.add_attribute("phone_number", required=True)
    assert await failure(app, person) == "attributes required: [phone_number]"


async def test_pool_that_ignores_case_keeps_usernames_in_lower_case(
    cloud: DemoCloud, app: RelyingParty, person: Person, alice: Account
) -> None:
    cloud.cognito.pool.case_sensitive = False
    claims = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    assert claims["cognito:username"] == f"acme-okta_{alice.id}".lower()
    assert claims["identities"][0]["userId"] == alice.id


async def test_claims_of_the_id_token_win_over_userinfo(
    cloud: DemoCloud, app: RelyingParty, person: Person, alice: Account
) -> None:
    answer = faults.status(
        200,
        f'{{"sub": "{alice.id}", "email": "other@acme.test", "middle_name": "Q"}}',
        "application/json",
    )
    cloud.customers["acme-okta"].server.faults.always("userinfo", answer)
    provider = cloud.cognito.pool.providers["acme-okta"]
    mapping = {**provider.settings["AttributeMapping"], "middle_name": "middle_name"}
    cloud.cognito.pool.providers["acme-okta"] = replace(
        provider, settings={**provider.settings, "AttributeMapping": mapping}
    )
    async with relying_party(
        cloud, "wide.localhost", WriteAttributes=["email", "middle_name"]
    ) as wide:
        claims = wide.verified((await wide.log_in(person, "alice@acme.test"))["id_token"])
    assert (claims["email"], claims["middle_name"]) == ("alice@acme.test", "Q")


async def test_userinfo_of_someone_else_is_refused(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    cloud.customers["acme-okta"].server.faults.always(
        "userinfo", faults.status(200, '{"sub": "someone"}', "application/json")
    )
    assert await failure(app, person) == "Bad userInfo subject"


async def test_profile_is_the_same_at_the_next_login(
    cloud: DemoCloud, app: RelyingParty, person: Person
) -> None:
    first = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    second = app.verified((await app.redeem(await person.open(app.authorize_url())))[1]["id_token"])
    assert first["sub"] == second["sub"] and len(cloud.cognito.pool.users) == 1


def test_draft_signs_what_it_says() -> None:
    draft = TokenDraft("id", {"a": 1, "b": 2}, STRANGER)
    assert draft.with_claims(a=None, c=3).claims == {"b": 2, "c": 3}
    assert draft.sign().count(".") == 2


async def test_jwks_of_the_idp_names_its_key(cloud: DemoCloud) -> None:
    async with (
        client_session() as http,
        http.get(f"{cloud.customers['acme-okta'].issuer}/oauth2/v1/keys") as response,
    ):
        keys = (await response.json())["keys"]
    assert [key["kid"] for key in keys] == [cloud.customers["acme-okta"].server.key.kid]
    assert keys[0]["alg"] == "RS256" and "d" not in keys[0]


@pytest.mark.parametrize("ignored", [True, False])
async def test_a_slash_of_an_issuer_counts_or_not(
    cloud: DemoCloud, app: RelyingParty, person: Person, *, ignored: bool
) -> None:
    cloud.cognito.pool.behaviour.issuer_slash_ignored = ignored
    details: Any = cloud.cognito.pool.providers["acme-okta"].settings["ProviderDetails"]
    assert "code" in query(await person.log_in(app.authorize_url(), "alice@acme.test"))
    details["oidc_issuer"] += "/"
    person.forget("cognito.localhost")
    answer = query(await person.open(app.authorize_url()))
    assert ("code" in answer) is ignored, answer


@pytest.mark.parametrize("kept", [True, False])
async def test_a_claim_that_is_left_out_stays_or_goes(
    cloud: DemoCloud, app: RelyingParty, person: Person, *, kept: bool
) -> None:
    cloud.cognito.pool.behaviour.claim_kept_when_absent = kept
    mapping: Any = cloud.cognito.pool.providers["acme-okta"].settings["AttributeMapping"]
    mapping["custom:hd"] = "preferred_username"
    first = app.verified((await app.log_in(person, "alice@acme.test"))["id_token"])
    assert "custom:hd" in first
    mapping["custom:hd"] = "hd"
    person.forget("cognito.localhost")
    again = app.verified((await app.redeem(await person.open(app.authorize_url())))[1]["id_token"])
    assert ("custom:hd" in again) is kept
