"""The token side: /oauth2/token, /oauth2/revoke, /oauth2/userInfo, discovery and JWKS.

Rules (Cognito developer guide, endpoints of the same names):
- a client with a secret authenticates by Basic or by form, a client without one names itself;
- a code lives five minutes, works once, and only for its client, redirect URI and verifier;
- a rotated refresh token inherits the remaining lifetime, and the old one answers within the grace
  period only;
- revocation is 200 for anything unknown, and JWTs that are out already still verify offline.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import uuid
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

import jwt
from aiohttp import web

from demo.cognito.minting import Mint, unreadable_scope, visible_attributes
from demo.cognito.pool import AppClient, Code, Grant, Pool, RefreshToken, User
from demo.jose import Claims, s256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.faults import Faults

CODE_LIFETIME_S = 300


class OAuthError(Exception):
    """A refusal of the token side. ``error`` is the code on the wire."""

    def __init__(self, error: str, description: str | None = None, *, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status

    def response(self) -> web.Response:
        body = {
            "error": self.error,
            **({"error_description": self.description} if self.description else {}),
        }
        return web.json_response(body, status=self.status, headers=_NO_STORE)


_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenSide:
    """The endpoints that applications call without a browser. ``domain`` is the pool's domain, an
    origin.
    """

    def __init__(self, pool: Pool, *, domain: str, issuer: str, faults: Faults) -> None:
        self._pool = pool
        self._domain = domain
        self._issuer = issuer
        self._faults = faults
        self._mint = Mint(pool, issuer, faults)

    def add_routes(self, app: web.Application) -> None:
        route, wrap = app.router, self._faults.endpoint
        route.add_post("/oauth2/token", wrap("token", self.token))
        route.add_post("/oauth2/revoke", wrap("revoke", self.revoke))
        route.add_get("/oauth2/userInfo", wrap("userinfo", self.userinfo))
        route.add_post("/oauth2/userInfo", wrap("userinfo", self.userinfo))
        route.add_get(
            f"/{self._pool.pool_id}/.well-known/openid-configuration",
            wrap("discovery", self.discovery),
        )
        route.add_get(f"/{self._pool.pool_id}/.well-known/jwks.json", wrap("jwks", self.jwks))

    # -- metadata

    async def discovery(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "authorization_endpoint": f"{self._domain}/oauth2/authorize",
                "end_session_endpoint": f"{self._domain}/logout",
                "id_token_signing_alg_values_supported": ["RS256"],
                "issuer": self._issuer,
                "jwks_uri": f"{self._issuer}/.well-known/jwks.json",
                "response_types_supported": ["code", "token"],
                "revocation_endpoint": f"{self._domain}/oauth2/revoke",
                "scopes_supported": ["openid", "email", "phone", "profile"],
                "subject_types_supported": ["public"],
                "token_endpoint": f"{self._domain}/oauth2/token",
                "token_endpoint_auth_methods_supported": [
                    "client_secret_basic",
                    "client_secret_post",
                ],
                "userinfo_endpoint": f"{self._domain}/oauth2/userInfo",
            }
        )

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [key.public_jwk() for key in self._pool.keys]})

    # -- tokens

    async def token(self, request: web.Request) -> web.StreamResponse:
        try:
            form = await _form(request)
            grant_type = form.get("grant_type")
            if not grant_type:
                raise OAuthError("invalid_request", "grant_type is required")
            client = self._authenticate(request, form)
            match grant_type:
                case "authorization_code":
                    body = self._exchange_code(client, form)
                case "refresh_token":
                    body = self._refresh(client, form)
                case "client_credentials":
                    body = self._client_credentials(client, form)
                case _:
                    raise OAuthError("unsupported_grant_type")
        except OAuthError as refusal:
            return refusal.response()
        return web.json_response(self._faults.token_response(body), headers=_NO_STORE)

    def _authenticate(self, request: web.Request, form: Mapping[str, str]) -> AppClient:
        client_id, secret = _basic(request) or (form.get("client_id"), form.get("client_secret"))
        if "client_id" in form and form["client_id"] != client_id:
            raise OAuthError("invalid_request", "client_id differs from the one that authenticated")
        client = self._pool.visible_client(client_id or "")
        if client is None:
            raise OAuthError("invalid_client")
        if client.secret is None:
            if secret:
                raise OAuthError("invalid_client", "invalid_client_secret")
        elif not any(
            hmac.compare_digest(taken.encode(), (secret or "").encode())
            for taken in self._pool.secrets_of(client)
        ):
            raise OAuthError("invalid_client", "invalid_client_secret")
        return client

    def _exchange_code(self, client: AppClient, form: Mapping[str, str]) -> Claims:
        if not client.allows_flow("code"):
            raise OAuthError("unauthorized_client")
        if "code" not in form or "redirect_uri" not in form:
            raise OAuthError("invalid_request", "code and redirect_uri are required")
        code = self._pool.codes.get(form["code"])
        if code is None or code.client_id != client.client_id:
            raise OAuthError("invalid_grant")
        del self._pool.codes[form["code"]]
        if self._pool.clock() - code.issued_at > CODE_LIFETIME_S:
            raise OAuthError("invalid_grant")
        if form["redirect_uri"] != code.redirect_uri:
            raise OAuthError("unauthorized_client", "invalid_redirect")
        self._check_verifier(code, form.get("code_verifier"))
        if unreadable_scope(client, code.scopes):
            raise OAuthError("invalid_grant")
        user = self._enabled_user(code.username)
        grant = Grant(
            origin_jti=str(uuid.uuid4()),
            client_id=client.client_id,
            username=user.username,
            scopes=code.scopes,
            auth_time=code.auth_time,
            event_id=str(uuid.uuid4()),
            expires_at=self._pool.clock() + client.refresh_token_s,
            resource=code.resource,
        )
        return {
            **self._tokens(client, grant, user, nonce=code.nonce),
            "refresh_token": self._new_refresh_token(grant),
        }

    @staticmethod
    def _check_verifier(code: Code, verifier: str | None) -> None:
        # A verifier without a challenge is refused too: it is how a PKCE downgrade looks (RFC 9700
        # §4.8.2).
        if code.challenge is None:
            if verifier is not None:
                raise OAuthError("invalid_grant")
        elif verifier is None or not hmac.compare_digest(s256(verifier), code.challenge):
            raise OAuthError("invalid_grant")

    def _refresh(self, client: AppClient, form: Mapping[str, str]) -> Claims:
        if "refresh_token" not in form:
            raise OAuthError("invalid_request", "refresh_token is required")
        token = self._pool.refresh_tokens.get(form["refresh_token"])
        now = self._pool.clock()
        if (
            token is None
            or token.grant.client_id != client.client_id
            or token.grant.revoked
            or token.grant.expires_at <= now
        ):
            raise OAuthError("invalid_grant", "Refresh Token has been revoked")
        user = self._enabled_user(token.grant.username)
        grace_s = client.rotation_grace_s
        if token.rotated_at is not None and now - token.rotated_at > (grace_s or 0):
            raise OAuthError("invalid_grant", "Refresh Token has been revoked")
        body = self._tokens(client, token.grant, user, nonce=None)
        if grace_s is None:
            return body
        if token.rotated_at is None:
            token.rotated_at = now
        return {**body, "refresh_token": self._new_refresh_token(token.grant)}

    def _client_credentials(self, client: AppClient, form: Mapping[str, str]) -> Claims:
        if client.secret is None or not client.allows_flow("client_credentials"):
            raise OAuthError("unauthorized_client")
        own = [scope for scope in client.scopes if scope in self._pool.resource_scopes]
        requested = tuple(form.get("scope", "").split()) or tuple(own)
        if not requested or set(requested) - set(own):
            raise OAuthError("invalid_grant", "invalid_scope")
        token = self._mint.machine_token(client, requested)
        return {"access_token": token, "expires_in": client.access_token_s, "token_type": "Bearer"}

    def _tokens(self, client: AppClient, grant: Grant, user: User, *, nonce: str | None) -> Claims:
        access_token = self._mint.access_token(client, grant, user)
        body: Claims = {
            "access_token": access_token,
            "expires_in": client.access_token_s,
            "token_type": "Bearer",
        }
        if "openid" in grant.scopes:
            body["id_token"] = self._mint.id_token(
                client, grant, user, access_token=access_token, nonce=nonce
            )
        return body

    def _new_refresh_token(self, grant: Grant) -> str:
        value = secrets.token_urlsafe(96)
        self._pool.refresh_tokens[value] = RefreshToken(grant)
        return value

    def _enabled_user(self, username: str) -> User:
        user = self._pool.users.get(username)
        if user is None or not user.enabled:
            raise OAuthError("invalid_grant", "User is disabled." if user else None)
        return user

    # -- revocation

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        try:
            form = await _form(request)
            try:
                client = self._authenticate(request, form)
            except OAuthError as refusal:
                raise OAuthError("invalid_client", status=401) from refusal
            if not form.get("token") or not client.revocation_enabled:
                raise OAuthError("invalid_request")
            if form["token"].count(".") == 2:
                # Access and ID tokens have three parts; a refresh token of a pool is opaque.
                raise OAuthError("unsupported_token_type")
        except OAuthError as refusal:
            return refusal.response()
        token = self._pool.refresh_tokens.get(form["token"])
        if token is not None and token.grant.client_id == client.client_id:
            token.grant.revoked = True
        return web.Response(status=200)

    # -- userInfo

    async def userinfo(self, request: web.Request) -> web.StreamResponse:
        claims = self._read_access_token(request)
        user = next(
            (
                found
                for found in self._pool.users.values()
                if claims and found.sub == claims.get("sub")
            ),
            None,
        )
        client = self._pool.clients.get(claims["client_id"]) if claims else None
        if claims is None or user is None or not user.enabled or client is None:
            return web.json_response(
                {
                    "error": "invalid_token",
                    "error_description": "Access token is invalid, expired or lacks openid",
                },
                status=401,
                headers={"WWW-Authenticate": 'error="invalid_token"', **_NO_STORE},
            )
        shown = visible_attributes(client, user, tuple(claims["scope"].split()))
        # Strings all of them: "true" is not true here.
        return web.json_response(
            {"sub": user.sub, **shown, "username": user.username}, headers=_NO_STORE
        )

    def _read_access_token(self, request: web.Request) -> Claims | None:
        """The claims of a live access token with ``openid``; revoked grants count as dead here,
        unlike offline.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next(key for key in self._pool.keys if key.kid == kid)
            claims: Claims = jwt.decode(
                token,
                key.private.public_key(),
                ["RS256"],
                options={"verify_exp": False, "verify_aud": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, StopIteration):
            return None
        grants = (held.grant for held in self._pool.refresh_tokens.values())
        revoked = {grant.origin_jti for grant in grants if grant.revoked}
        alive = (
            claims.get("exp", 0) > self._pool.clock() and claims.get("origin_jti") not in revoked
        )
        fits = claims.get("token_use") == "access" and "openid" in claims.get("scope", "").split()
        return claims if scheme.lower() == "bearer" and alive and fits else None


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form post; anything else, or a field given twice, is an invalid request."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthError(
            "invalid_request", "content type must be application/x-www-form-urlencoded"
        )
    fields: dict[str, str] = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str) or name in fields:
            raise OAuthError("invalid_request", f"{name} is repeated or not text")
        fields[name] = value
    return fields


def _basic(request: web.Request) -> tuple[str, str] | None:
    """Client id and secret of HTTP Basic, form-decoded (RFC 6749 §2.3.1)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as malformed:
        raise OAuthError("invalid_client") from malformed
    return unquote_plus(client_id), unquote_plus(secret)
