"""The gateway as a relying party of a provider that is not ours, in Cognito's place: its requests
and checks are OpenID Connect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from demo.processes import free_port
from demo.world import World
from tests.certified_provider import certified_provider
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "acmedemo0000000000000000"
SECRET = "a-secret-of-the-independent-provider"
ACCOUNT = {
    "email": "peter@acme.test",
    "name": "Peter Gibbons",
    "token_use": "id",
    "cognito:username": "acme-okta_peter",
    "custom:groups": "[app-users]",
    "identities": [
        {
            "userId": "peter",
            "providerName": "acme-okta",
            "providerType": "OIDC",
            "primary": "true",
            "dateCreated": "1642699117273",
        }
    ],
}


async def test_a_login_works_against_a_certified_provider(tmp_path: Path) -> None:
    port = free_port()
    origin = f"http://acme.localhost:{port}"
    client = {
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect_uris": [f"{origin}/_auth/callback"],
        "token_endpoint_auth_method": "client_secret_basic",
    }
    async with certified_provider(
        clients=[client], accounts={"peter": ACCOUNT}, cognito=True
    ) as certified:
        environment = {
            "GATEWAY_COGNITO__DOMAIN": certified.issuer,
            "GATEWAY_COGNITO__ISSUER": certified.issuer,
            "ACME_CLIENT_SECRET": SECRET,
        }
        with RunningWorld(
            World(tmp_path, port=port, environment=environment, central=False)
        ) as running:
            async with Person() as person:
                page = await person.open(f"{origin}/_auth/login?{urlencode({'rd': '/there'})}")
                page = await certified.log_in(person, page, "peter")
                assert urlsplit(page.url).path == "/there", running.log()[-2000:]
                answer = running.check(
                    "acme.localhost", cookie=person.cookies("acme.localhost")["__Host-gw"]
                )
                assert (
                    answer.status,
                    answer.header("X-Auth-Request-Email"),
                    answer.header("X-Auth-Request-Groups"),
                ) == (200, "peter@acme.test", "app-users")
