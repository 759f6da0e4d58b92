"""The pool as a relying party of a customer's IdP: the code flow, with every check an honest broker
makes.

Rules (developer guide, "Using OIDC identity providers"): client_secret_post, no PKCE upstream,
endpoints from discovery unless the provider names them, RS256 by a key with ``kid`` from the IdP's
JWKS, issuer, audience, expiry and nonce checked; claims of the ID token win over those of userInfo.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
from aiohttp import ClientError, ClientSession

from demo.cognito.signin import SignInError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.cognito.authorize import AuthorizeRequest
    from demo.cognito.pool import IdentityProvider, Pool
    from demo.jose import Claims

ATTEMPT_LIFETIME_S = 300
"""A sign-in that takes longer than this at the IdP is cancelled."""

CLOCK_SKEW_S = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """A browser sent to an IdP. ``browser`` ties the answer to the browser that left."""

    request: AuthorizeRequest
    provider: IdentityProvider
    nonce: str
    browser: str
    began: float


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the IdP is, from its discovery document or from the provider's own details."""

    authorize: str
    token: str
    jwks: str
    userinfo: str | None


class Federation:
    """Sends browsers to IdPs and takes their answers. ``callback`` is this pool's
    /oauth2/idpresponse.
    """

    def __init__(self, pool: Pool, http: ClientSession, *, callback: str) -> None:
        self._pool = pool
        self._http = http
        self._callback = callback
        self._attempts: dict[str, Attempt] = {}

    async def begin(
        self, request: AuthorizeRequest, provider: IdentityProvider, *, browser: str
    ) -> str:
        """Where to send the browser; raises ``SignInError`` if the IdP cannot be found out."""
        endpoints = await self._endpoints(provider)
        state, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(32)
        self._attempts[state] = Attempt(request, provider, nonce, browser, self._pool.clock())
        forwarded = request.prompts - {"none"}
        parameters = {
            "client_id": provider.detail("client_id") or "",
            "redirect_uri": self._callback,
            "scope": provider.detail("authorize_scopes") or "openid",
            "response_type": "code",
            "state": state,
            "nonce": nonce,
            **({"login_hint": request.login_hint} if request.login_hint else {}),
            **({"prompt": " ".join(sorted(forwarded))} if forwarded else {}),
        }
        return (
            endpoints.authorize
            + ("&" if "?" in endpoints.authorize else "?")
            + urlencode(parameters)
        )

    def take(self, state: str, *, browser: str | None) -> Attempt | None:
        """The attempt an answer belongs to, once; ``None`` if unknown, too late, or from another
        browser.
        """
        attempt = self._attempts.get(state)
        if attempt is None or attempt.browser != browser:
            return None
        del self._attempts[state]
        return attempt if self._pool.clock() - attempt.began <= ATTEMPT_LIFETIME_S else None

    async def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> Claims:
        """The IdP's claims about the person; raises ``SignInError`` with the text the application
        gets.
        """
        if "error" in answer:
            raise SignInError(
                answer.get("error_description", answer["error"]), error=answer["error"]
            )
        if not answer.get("code"):
            raise SignInError("No code in the response of the identity provider")
        provider = attempt.provider
        endpoints = await self._endpoints(provider)
        tokens = await self._exchange(provider, endpoints, answer["code"])
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise SignInError("Bad id_token response")
        claims = await self._verified(provider, endpoints, id_token, nonce=attempt.nonce)
        return {
            **await self._userinfo(endpoints, tokens.get("access_token"), subject=claims["sub"]),
            **claims,
        }

    def _issuers(self, provider: IdentityProvider) -> list[str]:
        """The spellings of its issuer that count."""
        issuer = provider.detail("oidc_issuer") or ""
        if not self._pool.behaviour.issuer_slash_ignored:
            return [issuer]
        return [issuer.removesuffix("/"), f"{issuer.removesuffix('/')}/"]

    # -- the calls

    async def _endpoints(self, provider: IdentityProvider) -> Endpoints:
        named = [provider.detail(name) for name in ("authorize_url", "token_url", "jwks_uri")]
        if all(named):
            return Endpoints(
                str(named[0]), str(named[1]), str(named[2]), provider.detail("attributes_url")
            )
        issuer = (provider.detail("oidc_issuer") or "").removesuffix("/")
        accepted = self._issuers(provider)
        failure = f"{provider.name} Error - invalid discovery document"
        document = await self._get_json(
            f"{issuer}/.well-known/openid-configuration", failure=failure, unreachable=failure
        )
        if document.get("issuer") not in accepted:
            raise SignInError(failure)
        try:
            return Endpoints(
                str(document["authorization_endpoint"]),
                str(document["token_endpoint"]),
                str(document["jwks_uri"]),
                document.get("userinfo_endpoint"),
            )
        except KeyError as missing:
            raise SignInError(failure) from missing

    async def _exchange(
        self, provider: IdentityProvider, endpoints: Endpoints, code: str
    ) -> Claims:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "client_id": provider.detail("client_id") or "",
            "client_secret": provider.detail("client_secret") or "",
        }
        try:
            async with self._http.post(
                endpoints.token, data=form, allow_redirects=False
            ) as response:
                status, text = response.status, await response.text(errors="replace")
        except (ClientError, TimeoutError) as failure:
            raise SignInError("Timeout occurred in calling IdP token endpoint") from failure
        if status != 200:
            raise SignInError(f"{provider.name} Error - {status} error getting token")
        return _json_object(text, failure="Bad id_token response")

    async def _verified(
        self, provider: IdentityProvider, endpoints: Endpoints, id_token: str, *, nonce: str
    ) -> Claims:
        """The claims of an ID token that deserves belief. Expiry is judged by the pool's clock, not
        the library's.
        """
        jwks = await self._get_json(
            endpoints.jwks, failure="Bad jwks response", unreachable="Timeout in calling jwks uri"
        )
        try:
            kid = jwt.get_unverified_header(id_token).get("kid")
            if not kid:
                raise SignInError("Bad id_token: kid is missing")
            published = jwks.get("keys")
            jwk = (
                next(
                    (jwk for jwk in published if isinstance(jwk, dict) and jwk.get("kid") == kid),
                    None,
                )
                if isinstance(published, list)
                else None
            )
            if jwk is None:
                raise SignInError("Bad id_token: unknown kid")
            key = jwt.PyJWK(jwk, "RS256")
            claims: Claims = jwt.decode(
                id_token,
                key.key,
                algorithms=["RS256"],
                audience=provider.detail("client_id"),
                issuer=self._issuers(provider),
                options={
                    "require": ["iss", "aud", "exp", "iat", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidIssuerError as failure:
            raise SignInError("Bad id_token issuer") from failure
        except jwt.InvalidAudienceError as failure:
            raise SignInError("Bad id_token audience") from failure
        except (jwt.InvalidTokenError, jwt.PyJWKError) as failure:
            raise SignInError("Bad id_token signature or claims") from failure
        if (
            not isinstance(claims["exp"], int | float)
            or claims["exp"] <= self._pool.clock() - CLOCK_SKEW_S
        ):
            raise SignInError("Bad id_token: expired")
        if claims.get("nonce") != nonce:
            raise SignInError("Bad id_token nonce")
        return claims

    async def _userinfo(self, endpoints: Endpoints, access_token: Any, *, subject: Any) -> Claims:
        """More claims, if the IdP gives any. Another subject's are refused (OpenID Connect Core
        §5.3.2).
        """
        if endpoints.userinfo is None or not isinstance(access_token, str):
            return {}
        failure = "Error calling the attributes url"
        headers = {"Authorization": f"Bearer {access_token}"}
        claims = await self._get_json(
            endpoints.userinfo, failure=failure, unreachable=failure, headers=headers
        )
        if claims.get("sub") != subject:
            raise SignInError("Bad userInfo subject")
        return claims

    async def _get_json(
        self, url: str, *, failure: str, unreachable: str, headers: Mapping[str, str] | None = None
    ) -> Claims:
        try:
            async with self._http.get(url, headers=headers, allow_redirects=False) as response:
                status, text = response.status, await response.text(errors="replace")
        except (ClientError, TimeoutError) as trouble:
            raise SignInError(unreachable) from trouble
        if status != 200:
            raise SignInError(failure)
        return _json_object(text, failure=failure)


def _json_object(text: str, *, failure: str) -> Claims:
    try:
        value = json.loads(text)
    except ValueError as malformed:
        raise SignInError(failure) from malformed
    if not isinstance(value, dict):
        raise SignInError(failure)
    return value
