"""The OpenID provider core: authorization code flow, login form, own browser session, discovery and
keys.

What differs between vendors is a ``Face``: paths, claims, scopes and error texts. Standards: OpenID
Connect Core 1.0, RFC 6749, RFC 7636 (PKCE is optional here), RFC 7009 is not offered.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus, urlencode

from aiohttp import web

from demo.faults import Faults
from demo.html import Template
from demo.idp.directory import Change
from demo.idp.face import Face, Grant, Refusal, RegisteredApp
from demo.jose import Claims, NewKey, TokenDraft, half_hash, s256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.clock import Clock
    from demo.idp.directory import Directory, DirectoryEvent

CODE_LIFETIME_S = 60
TOKEN_LIFETIME_S = 3600
SESSION_S = 2 * 3600

_LOGIN = Template("""
{% if wrong %}<p class="alert" role="alert">{{ wrong }}</p>{% endif %}
<form method="post" action="{{ action }}">
<input type="hidden" name="csrf" value="{{ csrf }}">
<label>E-mail <input name="email" type="email" value="{{ hint }}" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>
<p><a href="{{ cancel }}">Cancel</a></p>
""")  # noqa: E501 - one text, as it is
_MESSAGE = Template("<p>{{ message }}</p>")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The IdP's own browser session."""

    person_id: str
    auth_time: int


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code and what it is bound to."""

    app: RegisteredApp
    redirect_uri: str
    person_id: str
    scopes: tuple[str, ...]
    nonce: str | None
    challenge: str | None
    auth_time: int
    issued_at: float


class IdentityProviderServer:
    """One customer's IdP at one origin."""

    def __init__(
        self,
        *,
        name: str,
        origin: str,
        port: int,
        face: Face,
        directory: Directory,
        clock: Clock,
        new_key: NewKey,
    ) -> None:
        self.name = name
        self.origin = origin
        self.face = face
        self.directory = directory
        self.faults = Faults()
        self.key = new_key()
        self._new_key = new_key
        self.apps: dict[str, RegisteredApp] = {}
        self.app = web.Application()
        self._clock = clock
        self._cookie = f"{name}-session-{port}"
        self._csrf_cookie = f"{name}-csrf-{port}"
        self._sessions: dict[str, SignedIn] = {}
        self._codes: dict[str, IssuedCode] = {}
        self._access_tokens: dict[str, IssuedCode] = {}
        self.grants: dict[str, Grant] = {}
        """Further grant types of the token endpoint, by name."""
        directory.listeners.append(self._end_sessions_of)
        self._add_routes()

    @property
    def issuer(self) -> str:
        return self.origin + self.face.paths.issuer

    def register(
        self, *redirect_uris: str, logout_uris: tuple[str, ...] = (), groups_claim: bool = True
    ) -> RegisteredApp:
        """A new application with a secret."""
        client_id = self.face.new_client_id()
        app = RegisteredApp(
            client_id, secrets.token_urlsafe(30), redirect_uris, logout_uris, groups_claim
        )
        self.apps[client_id] = app
        return app

    def rotate_key(self) -> None:
        """The old key is gone from the JWKS at once."""
        self.key = self._new_key()

    async def _end_sessions_of(self, event: DirectoryEvent) -> None:
        """Whoever may no longer sign in, or whose sessions were cleared, is signed out here for
        good, not until unsuspended.
        """
        person = event.person
        if person is not None and (
            event.change is Change.SESSIONS_CLEARED or not self.directory.can_sign_in(person)
        ):
            self._sessions = {
                value: found
                for value, found in self._sessions.items()
                if found.person_id != person.id
            }

    def _add_routes(self) -> None:
        route, wrap, paths = self.app.router, self.faults.endpoint, self.face.paths
        route.add_get(
            f"{paths.issuer.removesuffix('/')}/.well-known/openid-configuration",
            wrap("discovery", self._discovery),
        )
        route.add_get(paths.jwks, wrap("jwks", self._jwks))
        route.add_get(paths.authorize, wrap("authorize", self._authorize))
        route.add_post(paths.authorize, wrap("login", self._login))
        route.add_post(paths.token, wrap("token", self._token))
        route.add_get(paths.userinfo, wrap("userinfo", self._userinfo))
        route.add_get(paths.logout, wrap("logout", self._logout))
        if paths.signout:
            route.add_get(paths.signout, wrap("signout", self._logout))

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        paths, origin = self.face.paths, self.origin
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": origin + paths.authorize,
                "token_endpoint": origin + paths.token,
                "userinfo_endpoint": origin + paths.userinfo,
                "jwks_uri": origin + paths.jwks,
                "end_session_endpoint": origin + paths.logout,
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_basic",
                    "client_secret_post",
                ],
                "code_challenge_methods_supported": ["S256"],
                **self.face.discovery(origin),
            }
        )

    async def _jwks(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [self.key.public_jwk()]})

    # -- browser

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        app = self._requested_app(query)
        if app is None:
            return _MESSAGE.respond(
                title="Bad request",
                brand=self.face.brand,
                status=400,
                message="Unknown client_id or redirect_uri.",
            )
        if refusal := self._refuse(app, query):
            return self._back(query, error=refusal.error, error_description=refusal.description)
        session = self.session(request)
        prompts = query.get("prompt", "").split()
        if session is None or "login" in prompts or "select_account" in prompts:
            if "none" in prompts:
                return self._back(
                    query,
                    error="login_required",
                    error_description="The client specified not to prompt.",
                )
            return self.show_login(request, hint=query.get("login_hint", ""))
        return self._send_code(app, query, session)

    def _requested_app(self, query: Mapping[str, str]) -> RegisteredApp | None:
        app = self.apps.get(query.get("client_id", ""))
        return app if app and query.get("redirect_uri") in app.redirect_uris else None

    def _refuse(self, app: RegisteredApp, query: Mapping[str, str]) -> Refusal | None:
        scopes = tuple(query.get("scope", "").split())
        if query.get("response_type") != "code":
            return Refusal(
                "unsupported_response_type",
                "The response type is not supported by the authorization server.",
            )
        if "openid" not in scopes:
            return Refusal("invalid_scope", "The scope openid is required.")
        if query.get("code_challenge_method", "S256") != "S256":
            return Refusal("invalid_request", "Only S256 is supported as code_challenge_method.")
        return self.face.refuse_scopes(app, scopes)

    def show_login(self, request: web.Request, *, hint: str, wrong: str = "") -> web.StreamResponse:
        csrf = request.cookies.get(self._csrf_cookie) or secrets.token_urlsafe(24)
        response = _LOGIN.respond(
            title="Sign in",
            brand=self.face.brand,
            action=request.path + "?" + urlencode(dict(request.query)),
            csrf=csrf,
            hint=hint,
            wrong=wrong,
            cancel=_back_address(
                request.query, error="access_denied", error_description="User canceled the sign-in."
            )
            if "redirect_uri" in request.query
            else self.origin,
        )
        response.set_cookie(self._csrf_cookie, csrf, httponly=True, samesite="Lax")
        return response

    async def _login(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        app = self._requested_app(query)
        if app is None:
            return self._form_expired()
        if refusal := self._refuse(app, query):
            return self._back(query, error=refusal.error, error_description=refusal.description)
        session = await self.authenticate(request)
        if isinstance(session, web.StreamResponse):
            return session
        response = self._send_code(app, query, session)
        self.remember(response, session)
        return response

    def _form_expired(self) -> web.Response:
        return _MESSAGE.respond(
            title="Bad request",
            brand=self.face.brand,
            status=400,
            message="The form has expired.",
        )

    async def authenticate(self, request: web.Request) -> SignedIn | web.StreamResponse:
        """Whoever filled in the form of ``show_login``; else what is shown."""
        form = await request.post()
        email, password = str(form.get("email", "")), str(form.get("password", ""))
        csrf = request.cookies.get(self._csrf_cookie, "")
        if not csrf or not hmac.compare_digest(csrf.encode(), str(form.get("csrf", "")).encode()):
            return self._form_expired()
        person = self.directory.by_email(email)
        if person is None or not hmac.compare_digest(person.password.encode(), password.encode()):
            return self.show_login(
                request, hint=email, wrong="Unable to sign in: wrong e-mail or password."
            )
        if not self.directory.can_sign_in(person):
            return self.show_login(request, hint=email, wrong=self.face.locked_out(person))
        return SignedIn(person.id, int(self._clock()))

    def remember(self, response: web.StreamResponse, session: SignedIn) -> None:
        """In the browser that gets the response."""
        value = secrets.token_urlsafe(32)
        self._sessions[value] = session
        response.set_cookie(
            self._cookie, value, max_age=SESSION_S, httponly=True, samesite="Lax", path="/"
        )

    def session(self, request: web.Request) -> SignedIn | None:
        session = self._sessions.get(request.cookies.get(self._cookie, ""))
        if session is None or self._clock() - session.auth_time >= SESSION_S:
            return None
        person = self.directory.people.get(session.person_id)
        return session if person and self.directory.can_sign_in(person) else None

    def _send_code(
        self, app: RegisteredApp, query: Mapping[str, str], session: SignedIn
    ) -> web.Response:
        value = secrets.token_urlsafe(32)
        self._codes[value] = IssuedCode(
            app=app,
            redirect_uri=query["redirect_uri"],
            person_id=session.person_id,
            scopes=tuple(query.get("scope", "").split()),
            nonce=query.get("nonce"),
            challenge=query.get("code_challenge"),
            auth_time=session.auth_time,
            issued_at=self._clock(),
        )
        return self._back(query, code=value)

    @staticmethod
    def _back(query: Mapping[str, str], **parameters: str) -> web.Response:
        return web.Response(
            status=302,
            headers={"Location": _back_address(query, **parameters), "Cache-Control": "no-store"},
        )

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        session = self._sessions.pop(request.cookies.get(self._cookie, ""), None)
        person = self.directory.people.get(session.person_id) if session else None
        target = request.query.get("post_logout_redirect_uri")
        if target and any(target in app.logout_uris for app in self.apps.values()):
            response = web.Response(status=302, headers={"Location": target})
        else:
            response = _MESSAGE.respond(
                title="Signed out", brand=self.face.brand, message="You are signed out here."
            )
        response.del_cookie(self._cookie, path="/")
        if person is not None:
            await self.directory.signed_out(person)
        return response

    # -- server to server

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        app = self._authenticated(request, form)
        if app is None:
            return refused("invalid_client", "Client authentication failed.", status=401)
        if other := self.grants.get(form.get("grant_type", "")):
            return await other(app, form)
        if form.get("grant_type") != "authorization_code":
            return refused("unsupported_grant_type", "The grant type is not supported.")
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.app != app or code.redirect_uri != form.get("redirect_uri"):
            return refused("invalid_grant", "The authorization code is invalid or has expired.")
        if self._clock() - code.issued_at > CODE_LIFETIME_S:
            return refused("invalid_grant", "The authorization code is invalid or has expired.")
        if code.challenge is not None and not hmac.compare_digest(
            s256(form.get("code_verifier", "")), code.challenge
        ):
            return refused("invalid_grant", "PKCE verification failed.")
        person = self.directory.people.get(code.person_id)
        if person is None or not self.directory.can_sign_in(person):
            return refused("invalid_grant", "The user may not sign in.")
        access_token = secrets.token_urlsafe(48)
        self._access_tokens[access_token] = code
        now = int(self._clock())
        claims: Claims = {
            "iss": self.issuer,
            "aud": app.client_id,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_S,
            **({"nonce": code.nonce} if code.nonce is not None else {}),
            "at_hash": half_hash(access_token),
            **self.face.id_claims(app, person, code.scopes, code.auth_time),
        }
        body = {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_S,
            "access_token": access_token,
            "scope": " ".join(code.scopes),
            "id_token": self.faults.sign(TokenDraft("id", claims, self.key)),
        }
        return web.json_response(
            self.faults.token_response(body), headers={"Cache-Control": "no-store"}
        )

    def _authenticated(self, request: web.Request, form: Mapping[str, str]) -> RegisteredApp | None:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                decoded = base64.b64decode(encoded, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
            client_id, secret = (
                (unquote_plus(part) for part in decoded.split(":", 1))
                if ":" in decoded
                else ("", "")
            )
        app = self.apps.get(client_id)
        return (
            app
            if app and hmac.compare_digest(app.client_secret.encode(), secret.encode())
            else None
        )

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        code = self._access_tokens.get(token) if scheme.lower() == "bearer" else None
        person = self.directory.people.get(code.person_id) if code else None
        if code is None or person is None or self._clock() - code.issued_at > TOKEN_LIFETIME_S:
            return web.Response(
                status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return web.json_response(self.face.userinfo_claims(code.app, person, code.scopes))


def _back_address(query: Mapping[str, str], **parameters: str) -> str:
    """The redirect URI with these parameters and the state."""
    target = query["redirect_uri"]
    pairs = {**parameters, **({"state": query["state"]} if "state" in query else {})}
    return target + ("&" if "?" in target else "?") + urlencode(pairs)


def refused(error: str, description: str, *, status: int = 400) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
