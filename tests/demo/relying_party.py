"""The smallest relying party that walks a login through the demo Cognito, and shows what it got."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
from aiohttp import encode_basic_auth, web
from yarl import URL

from demo.jose import s256
from demo.net import Bound, bind, client_session, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.cloud import DemoCloud
    from demo.cognito.pool import AppClient
    from tests.support.browserless import Page, Person


@dataclass
class RelyingParty:
    """An application that is a client of the pool; its callback page shows the query that it was
    called with.
    """

    cloud: DemoCloud
    bound: Bound
    host: str
    client: AppClient
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def origin(self) -> str:
        return self.bound.url(self.host)

    @property
    def callback(self) -> str:
        return f"{self.origin}/callback"

    @property
    def signed_out(self) -> str:
        return f"{self.origin}/bye"

    def authorize_url(self, provider: str | None = "acme-okta", **changes: str | None) -> str:
        """The authorization request; ``None`` leaves a parameter out."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.callback,
            "scope": "openid",
            "state": "state-1",
            "nonce": "nonce-1",
            "code_challenge": s256(self.verifier),
            "code_challenge_method": "S256",
            "identity_provider": provider,
            **changes,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"{self.cloud.cognito.url}/oauth2/authorize?{urlencode(given)}"

    async def post(
        self, path: str, form: dict[str, str], *, basic: tuple[str, str] | None = None
    ) -> tuple[int, Any]:
        """A form post to the pool's domain: status and JSON (or text)."""
        headers = {"Authorization": encode_basic_auth(*basic)} if basic else {}
        async with (
            client_session() as http,
            http.post(self.cloud.cognito.url + path, data=form, headers=headers) as response,
        ):
            body = await response.text()
            return response.status, (
                await response.json()
            ) if response.content_type == "application/json" else body

    async def token(self, **form: str) -> tuple[int, Any]:
        """A token request, authenticated by the form."""
        chosen = self.client
        secret = {"client_secret": chosen.secret} if chosen.secret else {}
        return await self.post("/oauth2/token", {"client_id": chosen.client_id, **secret, **form})

    async def redeem(self, page: Page, **changes: str) -> tuple[int, Any]:
        """Exchange the code that the callback page was opened with."""
        form = {
            "code": query(page)["code"],
            "redirect_uri": self.callback,
            "code_verifier": self.verifier,
            **changes,
        }
        return await self.token(grant_type="authorization_code", **form)

    async def log_in(
        self, person: Person, email: str, provider: str = "acme-okta", **changes: str | None
    ) -> dict[str, Any]:
        """A whole login: the token response."""
        page = await person.log_in(self.authorize_url(provider, **changes), email)
        status, tokens = await self.redeem(page)
        assert status == 200, tokens
        assert isinstance(tokens, dict)
        return tokens

    def verified(self, token: str, *, key: int = 0) -> dict[str, Any]:
        """The claims of a token that verifies under the pool's n-th key."""
        public = self.cloud.cognito.pool.keys[key].private.public_key()
        claims: dict[str, Any] = jwt.decode(
            token,
            public,
            ["RS256"],
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
        )
        return claims


def query(page: Page) -> dict[str, str]:
    """The query of the page's address."""
    return dict(URL(page.url).query)


@asynccontextmanager
async def relying_party(
    cloud: DemoCloud, host: str = "app.localhost", **settings: Any
) -> AsyncIterator[RelyingParty]:
    """Start one with a client of its own; ``settings`` are AWS's names of client settings."""
    bound = bind()

    async def show(request: web.Request) -> web.Response:
        return web.Response(text="arrived")

    app = web.Application()
    app.router.add_get("/{path:.*}", show)
    runner = await serve(app, bound)
    origin = bound.url(host)
    client = cloud.add_client(
        host,
        **{
            "providers": ["acme-okta", "globex-entra"],
            "callback_urls": [f"{origin}/callback"],
            "logout_urls": [f"{origin}/bye"],
            **settings,
        },
    )
    try:
        yield RelyingParty(cloud, bound, host, client)
    finally:
        await runner.cleanup()
