"""Access tokens as clients get them: from the stand-in Cognito's own endpoints."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from demo.world import MACHINE_CLIENT

if TYPE_CHECKING:
    from tests.support.world import RunningWorld


def token_request(
    world: RunningWorld, client: str, secret: str, form: dict[str, str]
) -> dict[str, Any]:
    """The answer of Cognito's token endpoint."""
    at = urlsplit(world.world.cloud.cognito.url)
    connection = http.client.HTTPConnection("127.0.0.1", at.port or 80, timeout=10)
    try:
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        headers = {
            "Host": at.netloc,
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection.request("POST", "/oauth2/token", urlencode(form), headers)
        response = connection.getresponse()
        body: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, body
        return body
    finally:
        connection.close()


def machine_token(world: RunningWorld, *scopes: str) -> str:
    """Of acme's machine client."""
    form = {"grant_type": "client_credentials", "scope": " ".join(scopes or ("acme/read",))}
    return str(
        token_request(world, MACHINE_CLIENT, world.world.machine_secret, form)["access_token"]
    )
