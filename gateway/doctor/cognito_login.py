"""A login with the operator's own browser, three times in a row: at the identity provider, then at
once without ``identity_provider``, then with it. Between them Cognito's cookie is all that changed,
so the ID tokens tell what it does.

The listener is on loopback, for this browser and these minutes. The tokens come straight from the
token endpoint over TLS (OpenID Connect Core §3.1.3.7, 6), are read and thrown away.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import encode_basic_auth, web
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.cognito.desired import IDP_IAT
from gateway.cognito.oidc_messages import token_query
from gateway.doctor import cognito_findings as judge
from gateway.doctor.cognito_findings import LoginSeen, unchecked
from gateway.errors import GatewayError
from gateway.http.client import request_json

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from gateway.doctor.cognito_findings import PoolFinding
    from gateway.doctor.cognito_pool import TrialClient

APART_S: Final = 2.0
"""Between two logins: ``iat`` and ``auth_time`` are whole seconds."""
PATH: Final = "/callback"
_FORM: Final = "application/x-www-form-urlencoded"
_STEPS: Final = 3


@dataclass(slots=True)
class LoginTrial:
    """``provider``: its name in the pool. ``sleep`` is a parameter for tests."""

    http: aiohttp.ClientSession
    domain: str
    trial: TrialClient
    provider: str
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _seen: list[LoginSeen | str] = field(default_factory=list)
    _state: str = ""
    _verifier: str = ""
    _rotated: bool | None = None
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, bound: socket.socket, *, within_s: float) -> list[PoolFinding]:
        """What the browser that opens the listener brings. ``bound``: a listening socket on
        loopback, where ``trial.callback`` leads.
        """
        app = web.Application()
        app.router.add_get("/", self._begin)
        app.router.add_get(PATH, self._callback)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, bound).start()
            async with asyncio.timeout(within_s):
                await self._done.wait()
        except TimeoutError:
            self._seen.append(f"nobody signed in within {within_s:.0f} seconds")
        finally:
            await runner.cleanup()
        return self._findings()

    def _findings(self) -> list[PoolFinding]:
        first, *later = self._seen
        if isinstance(first, str):
            return [unchecked("login", first)]
        bare, named = [*later, *["the login before it failed"] * _STEPS][: _STEPS - 1]
        return [
            *judge.resumption(first, bare, named),
            judge.rotation(self._rotated, offered=self.trial.rotates),
        ]

    async def _begin(self, _: web.Request) -> web.Response:
        if self._seen or self._done.is_set():
            return web.Response(status=409, text="This login has begun already.")
        return self._to_cognito(named=True)

    def _to_cognito(self, *, named: bool) -> web.Response:
        self._state, self._verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        query = token_query(
            response_type="code",
            client_id=self.trial.client.client_id,
            redirect_uri=self.trial.callback,
            scope="openid",
            state=self._state,
            nonce=secrets.token_urlsafe(16),
            code_challenge=create_s256_code_challenge(self._verifier),
            code_challenge_method="S256",
            **({"identity_provider": self.provider} if named else {}),
        )
        address = f"{self.domain.rstrip('/')}/oauth2/authorize?{query}"
        return web.Response(status=302, headers={"Location": address, "Cache-Control": "no-store"})

    async def _callback(self, request: web.Request) -> web.Response:
        state = request.query.get("state", "")
        if not self._state or not secrets.compare_digest(state.encode(), self._state.encode()):
            return web.Response(status=400, text="Not a step of this login.")
        self._state = ""
        result = await self._login(request.query)
        self._seen.append(result)
        if isinstance(result, str) or len(self._seen) == _STEPS:
            self._done.set()
            return web.Response(text="Done. The terminal says what was found; close this tab.")
        await self.sleep(APART_S)
        return self._to_cognito(named=len(self._seen) == _STEPS - 1)

    async def _login(self, query: Mapping[str, str]) -> LoginSeen | str:
        if "error" in query:
            text = query.get("error_description") or query["error"]
            return f"Cognito refused the login: {text[:200]!r}"
        try:
            answer = await self._token(
                grant_type="authorization_code",
                code=query.get("code", ""),
                redirect_uri=self.trial.callback,
                code_verifier=self._verifier,
            )
            refresh = answer.get("refresh_token")
            if self._rotated is None and isinstance(refresh, str):
                renewed = await self._token(grant_type="refresh_token", refresh_token=refresh)
                self._rotated = renewed.get("refresh_token") not in (None, "", refresh)
        except GatewayError as error:
            return str(error)
        return _read(str(answer.get("id_token", "")))

    async def _token(self, **form: str) -> dict[str, object]:
        """Raises ``GatewayError``."""
        secret = self.trial.client.secret
        client_id = self.trial.client.client_id
        status, answer = await request_json(
            self.http,
            "POST",
            f"{self.domain.rstrip('/')}/oauth2/token",
            what="the token endpoint",
            data=token_query(**form),
            headers={
                "Content-Type": _FORM,
                "Authorization": encode_basic_auth(client_id, secret.reveal() if secret else ""),
            },
        )
        if status != 200:
            error_code = str(answer.get("error", ""))[:60]
            raise GatewayError(f"the token endpoint answers {status} {error_code}")
        return answer


def _read(token: str) -> LoginSeen | str:
    """The claims of a token that nobody but the token endpoint can have sent."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError):
        return "the token endpoint gave no readable ID token"
    if not isinstance(claims, dict):
        return "the token endpoint gave no readable ID token"
    return LoginSeen(_whole(claims.get("auth_time")), _whole(claims.get(IDP_IAT)))


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None
