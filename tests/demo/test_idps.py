"""The two faces of a customer's IdP: what they put into tokens, and how they hold on to a browser
(facts §2, §3).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest
from aiohttp import encode_basic_auth

from demo.jose import s256
from demo.net import client_session
from tests.demo.relying_party import query
from tests.support.browserless import Page, Person

if TYPE_CHECKING:
    from demo.clock import MovableClock
    from demo.cloud import Customer, DemoCloud
    from demo.idp.directory import Person as Account

BACK = "http://rp.localhost:1/back"


class Upstream:
    """A relying party registered directly at an IdP."""

    def __init__(self, customer: Customer, *, groups_claim: bool = True) -> None:
        self.customer = customer
        self.app = customer.server.register(BACK, groups_claim=groups_claim)
        self.verifier = secrets.token_urlsafe(40)

    def authorize_url(self, scope: str = "openid profile email", **changes: str | None) -> str:
        parameters: dict[str, str | None] = {
            "client_id": self.app.client_id,
            "redirect_uri": BACK,
            "response_type": "code",
            "scope": scope,
            "state": "s",
            "nonce": "n",
            **changes,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        return (
            f"{self.customer.server.origin}{self.customer.server.face.paths.authorize}?"
            f"{urlencode(given)}"
        )

    async def arrive(self, person: Person, url: str, email: str | None = None) -> Page:
        """The answer that leads back to the relying party, which is not listening."""
        page = await person.open(url, follow=False)
        if email is not None:
            page = await person.submit(page, {"email": email, "password": "demo"}, follow=False)
        return page

    async def token(
        self, page: Page, *, basic: bool = False, **changes: str
    ) -> tuple[int, dict[str, Any]]:
        code = location(page)["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, **changes}
        headers = {}
        if basic:
            headers["Authorization"] = encode_basic_auth(self.app.client_id, self.app.client_secret)
        else:
            form |= {
                "client_id": self.app.client_id,
                "client_secret": self.app.client_secret,
                **changes,
            }
        url = self.customer.server.origin + self.customer.server.face.paths.token
        async with client_session() as http, http.post(url, data=form, headers=headers) as response:
            return response.status, await response.json()

    async def claims(
        self, person: Person, email: str, scope: str = "openid profile email"
    ) -> dict[str, Any]:
        _, body = await self.token(await self.arrive(person, self.authorize_url(scope), email))
        public = self.customer.server.key.private.public_key()
        claims: dict[str, Any] = jwt.decode(
            body["id_token"],
            public,
            ["RS256"],
            audience=self.app.client_id,
            issuer=self.customer.issuer,
        )
        return claims


def location(page: Page) -> dict[str, str]:
    """The query that the person is sent back with."""
    target = page.headers.header("Location")
    assert target is not None and target.startswith(BACK), page.text
    return query(Page(target, 0, "", ()))


@pytest.fixture
def okta(cloud: DemoCloud) -> Customer:
    return cloud.customers["acme-okta"]


@pytest.fixture
def entra(cloud: DemoCloud) -> Customer:
    return cloud.customers["globex-entra"]


def account(customer: Customer, email: str) -> Account:
    found = customer.server.directory.by_email(email)
    assert found is not None
    return found


# -- Okta-like


async def test_okta_names_groups_only_with_scope_and_filter(okta: Customer, person: Person) -> None:
    with_filter, without = Upstream(okta), Upstream(okta, groups_claim=False)
    assert (await with_filter.claims(person, "alice@acme.test", "openid groups"))["groups"] == [
        "app-users",
        "admins",
    ]
    person.forget("okta.localhost")
    assert "groups" not in await with_filter.claims(person, "alice@acme.test", "openid")
    person.forget("okta.localhost")
    assert "groups" not in await without.claims(person, "alice@acme.test", "openid groups")


async def test_okta_leaves_an_empty_groups_claim_out(okta: Customer, person: Person) -> None:
    claims = await Upstream(okta).claims(person, "mallory@acme.test", "openid email groups")
    assert "groups" not in claims and claims["email_verified"] is True
    assert claims["sub"] == account(okta, "mallory@acme.test").id and claims["sub"].startswith(
        "00u"
    )
    assert {"ver", "amr", "idp", "auth_time", "at_hash", "jti", "nonce"} <= claims.keys()


async def test_okta_refuses_unknown_scopes(okta: Customer, person: Person) -> None:
    upstream = Upstream(okta)
    assert (
        location(await upstream.arrive(person, upstream.authorize_url("openid what")))["error"]
        == "invalid_scope"
    )


# -- Entra-like


async def test_entra_gives_oid_for_profile_guid_groups_and_no_verified_email(
    entra: Customer, person: Person
) -> None:
    carol = account(entra, "carol@globex.test")
    claims = await Upstream(entra).claims(person, "carol@globex.test")
    assert claims["iss"] == f"{entra.server.origin}/{claims['tid']}/v2.0"
    assert (claims["oid"], claims["groups"], claims["ver"]) == (carol.id, carol.group_ids, "2.0")
    assert "email_verified" not in claims and "roles" not in claims
    person.forget("entra.localhost")
    assert "oid" not in await Upstream(entra).claims(person, "carol@globex.test", "openid")


async def test_entra_subject_differs_per_application_and_is_not_the_oid(
    entra: Customer, person: Person
) -> None:
    first = await Upstream(entra).claims(person, "carol@globex.test")
    person.forget("entra.localhost")
    second = await Upstream(entra).claims(person, "carol@globex.test")
    assert len({first["sub"], second["sub"], first["oid"]}) == 3 and first["oid"] == second["oid"]


async def test_entra_rejects_the_groups_scope(entra: Customer, person: Person) -> None:
    upstream = Upstream(entra)
    answer = location(await upstream.arrive(person, upstream.authorize_url("openid groups")))
    assert answer["error"] == "invalid_client" and answer["error_description"].startswith(
        "AADSTS650053"
    )


async def test_entra_omits_more_than_200_groups(entra: Customer, person: Person) -> None:
    carol = account(entra, "carol@globex.test")
    carol.group_ids += [entra.server.directory.add_group(f"g{n}").id for n in range(200)]
    carol.roles.append("Editor")
    claims = await Upstream(entra).claims(person, "carol@globex.test")
    assert (
        "groups" not in claims
        and claims["_claim_names"] == {"groups": "src1"}
        and claims["roles"] == ["Editor"]
    )


# -- the core


async def test_second_login_is_silent_until_logout_or_prompt(
    okta: Customer, person: Person
) -> None:
    upstream = Upstream(okta)
    await upstream.arrive(person, upstream.authorize_url(), "alice@acme.test")
    assert "code" in location(await upstream.arrive(person, upstream.authorize_url()))
    assert (await upstream.arrive(person, upstream.authorize_url(prompt="login"))).forms
    assert (
        "Signed out" in (await person.open(okta.server.origin + okta.server.face.paths.logout)).text
    )
    assert (await upstream.arrive(person, upstream.authorize_url())).forms
    assert (
        location(await upstream.arrive(person, upstream.authorize_url(prompt="none")))["error"]
        == "login_required"
    )


async def test_logout_leads_on_to_registered_addresses_only(okta: Customer, person: Person) -> None:
    okta.server.register(BACK, logout_uris=("http://rp.localhost:1/bye",))
    logout = okta.server.origin + okta.server.face.paths.logout
    for target, followed in (("http://rp.localhost:1/bye", True), ("http://evil.test/", False)):
        page = await person.open(
            f"{logout}?{urlencode({'post_logout_redirect_uri': target})}", follow=False
        )
        assert (page.headers.header("Location") == target) is followed


async def test_session_of_the_idp_ends(okta: Customer, person: Person, clock: MovableClock) -> None:
    upstream = Upstream(okta)
    await upstream.arrive(person, upstream.authorize_url(), "alice@acme.test")
    clock.advance(2 * 3600)
    assert (await upstream.arrive(person, upstream.authorize_url())).forms


@pytest.mark.parametrize("action", ["suspend", "deactivate", "delete"])
async def test_person_who_may_not_sign_in_has_no_session_and_gets_none(
    okta: Customer, person: Person, action: str
) -> None:
    upstream, alice = Upstream(okta), account(okta, "alice@acme.test")
    await upstream.arrive(person, upstream.authorize_url(), "alice@acme.test")
    await getattr(okta.server.directory, action)(alice)
    page = await person.open(upstream.authorize_url())
    page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    assert (
        page.host == "okta.localhost" and "nable to sign in" in page.text
    ) or "suspended" in page.text


async def test_session_does_not_come_back_when_unsuspended(okta: Customer, person: Person) -> None:
    upstream, alice = Upstream(okta), account(okta, "alice@acme.test")
    await upstream.arrive(person, upstream.authorize_url(), "alice@acme.test")
    await okta.server.directory.suspend(alice)
    await okta.server.directory.unsuspend(alice)
    assert (await upstream.arrive(person, upstream.authorize_url())).forms


async def test_unknown_client_or_redirect_uri_is_a_page(okta: Customer, person: Person) -> None:
    upstream = Upstream(okta)
    for changes in ({"client_id": "nobody"}, {"redirect_uri": BACK + "/"}):
        assert (await person.open(upstream.authorize_url(**changes))).status == 400


async def test_code_of_the_idp_is_single_use_bound_and_short(
    okta: Customer, person: Person, clock: MovableClock
) -> None:
    upstream = Upstream(okta)
    first = await upstream.arrive(person, upstream.authorize_url(), "alice@acme.test")
    assert (await upstream.token(first, client_secret="wrong"))[0] == 401
    assert (await upstream.token(first))[0] == 200
    assert (await upstream.token(first))[1]["error"] == "invalid_grant"
    second = await upstream.arrive(person, upstream.authorize_url())
    assert (await upstream.token(second, redirect_uri=BACK + "/"))[1]["error"] == "invalid_grant"
    third = await upstream.arrive(person, upstream.authorize_url())
    clock.advance(61)
    assert (await upstream.token(third))[1]["error"] == "invalid_grant"


async def test_pkce_is_optional_and_checked_where_used_and_basic_works(
    okta: Customer, person: Person
) -> None:
    upstream = Upstream(okta)
    pkce = {"code_challenge": s256(upstream.verifier), "code_challenge_method": "S256"}
    page = await upstream.arrive(person, upstream.authorize_url(**pkce), "alice@acme.test")
    assert (await upstream.token(page, code_verifier="wrong"))[1]["error"] == "invalid_grant"
    page = await upstream.arrive(person, upstream.authorize_url(**pkce))
    assert (await upstream.token(page, basic=True, code_verifier=upstream.verifier))[0] == 200


async def test_discovery_names_what_is_served(cloud: DemoCloud) -> None:
    async with client_session() as http:
        for customer in cloud.customers.values():
            async with http.get(f"{customer.issuer}/.well-known/openid-configuration") as response:
                document = await response.json()
            assert document["issuer"] == customer.issuer
            assert "client_secret_post" in document["token_endpoint_auth_methods_supported"]
            async with http.get(document["jwks_uri"]) as response:
                assert (await response.json())["keys"][0]["kid"] == customer.server.key.kid
            async with http.get(document["userinfo_endpoint"]) as response:
                assert response.status == 401


async def test_second_idp_of_a_tenant_is_one_call_away(cloud: DemoCloud, person: Person) -> None:
    second = await cloud.add_idp("acme-partners", kind="okta")
    second.server.directory.add_person("pat@acme.test", name="Pat Price", groups=("app-users",))
    cloud.connect(second)
    claims = await Upstream(second).claims(person, "pat@acme.test", "openid email groups")
    assert (claims["email"], claims["groups"]) == ("pat@acme.test", ["app-users"])
