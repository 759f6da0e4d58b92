"""The stand-in Cognito as a relying party of a provider that is not ours: what it sends and checks
is OpenID Connect, not an agreement between two of our files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.cognito.pool import IdentityProvider
from tests.certified_provider import certified_provider
from tests.demo.relying_party import query, relying_party

if TYPE_CHECKING:
    from demo.cloud import DemoCloud
    from tests.support.browserless import Person

ACCOUNTS = {
    "peter": {
        "email": "peter@initech.test",
        "email_verified": True,
        "name": "Peter Gibbons",
        "groups": ["app-users", "R&D"],
    }
}


async def test_login_is_brokered_to_a_certified_provider(cloud: DemoCloud, person: Person) -> None:
    upstream = {
        "client_id": "cognito",
        "client_secret": "s3cret",
        "redirect_uris": [cloud.cognito.idp_callback],
        "token_endpoint_auth_method": "client_secret_post",
    }
    async with certified_provider(clients=[upstream], accounts=ACCOUNTS) as certified:
        cloud.cognito.pool.providers["initech"] = IdentityProvider(
            "initech",
            {
                "ProviderType": "OIDC",
                "ProviderDetails": {
                    "client_id": "cognito",
                    "client_secret": "s3cret",
                    "oidc_issuer": certified.issuer,
                    "attributes_request_method": "GET",
                    "authorize_scopes": "openid profile email groups",
                },
                "AttributeMapping": {
                    "email": "email",
                    "email_verified": "email_verified",
                    "name": "name",
                    "custom:groups": "groups",
                    "custom:idp_iat": "iat",
                },
            },
        )
        async with relying_party(cloud, "initech.localhost", providers=["initech"]) as app:
            page = await certified.log_in(
                person, await person.open(app.authorize_url("initech")), "peter"
            )
            claims = app.verified((await app.redeem(page))[1]["id_token"])
            assert (
                claims["identities"][0]["userId"] == "peter"
                and claims["cognito:username"] == "initech_peter"
            )
            assert (claims["email"], claims["email_verified"], claims["name"]) == (
                "peter@initech.test",
                True,
                "Peter Gibbons",
            )
            assert (
                claims["custom:groups"] == "[app-users, R%26D]"
                and int(claims["custom:idp_iat"]) > 0
            )
            silent = await person.open(app.authorize_url("initech"))
            assert silent.visited("op.localhost") and "code" in query(silent)
