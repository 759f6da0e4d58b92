"""The browser side of the pool's domain: authorize, login pages, the IdP's answer, logout.

Rules (Cognito developer guide, "User pool endpoints and managed login"):
- a sign-in sets a cookie of one hour, never extended; while it lives, authorize may answer without
  asking anyone;
- ``/logout`` ends that cookie and nothing else: no refresh token, no session at an IdP;
  ``logout_uri`` wins over ``redirect_uri``, and both match exactly;
- AdminUserGlobalSignOut leaves the cookie alone; a disabled profile does not get in, cookie or not.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from demo.cognito import pages
from demo.cognito.authorize import AuthorizeRequest, ErrorPage, SendBack, parse
from demo.cognito.passwords import Outcome, check_password, conforms
from demo.cognito.pool import COGNITO, BrowserSession, Code, Pool, User
from demo.cognito.signin import SignInError, sign_in
from demo.cognito.social import REQUIRED as SOCIAL_KINDS
from demo.cognito.social import SocialFederation, claims_of

if TYPE_CHECKING:
    from demo.cognito.federation import Federation
    from demo.cognito.pool import IdentityProvider
    from demo.cognito.saml import SamlFederation
    from demo.faults import Faults

SESSION_S = 3600
"""Fixed by Cognito; not configurable there either."""


class HostedSide:
    """The pages of one pool's domain. ``port`` goes into the cookie names: browsers do not keep
    ports apart.
    """

    def __init__(
        self,
        pool: Pool,
        federation: Federation,
        saml: SamlFederation,
        *,
        port: int,
        faults: Faults,
    ) -> None:
        self._pool = pool
        self._federation = federation
        self._saml = saml
        self._social = SocialFederation(pool)
        self._saml_cookie = f"saml-{port}"
        self._faults = faults
        self._session_cookie = f"cognito-{port}"
        self._browser_cookie = f"csrf-state-{port}"

    def add_routes(self, app: web.Application) -> None:
        route, wrap = app.router, self._faults.endpoint
        route.add_get("/oauth2/authorize", wrap("authorize", self.authorize))
        route.add_get("/oauth2/idpresponse", wrap("idpresponse", self.idp_response))
        route.add_post("/saml2/idpresponse", wrap("saml_response", self.saml_response))
        route.add_get("/social/{state}", wrap("social", self.social_page))
        route.add_post("/social/{state}", wrap("social", self.social_answer))
        route.add_get("/login", wrap("login", self.login_page))
        route.add_post("/login", wrap("login", self.login))
        route.add_post("/newPassword", wrap("login", self.new_password))
        route.add_get("/logout", wrap("logout", self.logout))
        route.add_get("/error", self.error_page)

    # -- authorize

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        asked = parse(self._pool, request.query)
        if isinstance(asked, ErrorPage):
            return pages.error(asked.message)
        if isinstance(asked, SendBack):
            return _redirect(asked.location)
        session = self._live_session(request)
        if session is not None and self._resumes(asked, session):
            return self._resume(asked, session)
        if "none" in asked.prompts:
            return _redirect(asked.back(error="login_required"))
        if asked.provider is None or asked.provider == COGNITO:
            return _redirect("/login?" + urlencode(dict(request.query)))
        return await self._to_idp(request, asked, asked.provider)

    def _resumes(self, asked: AuthorizeRequest, session: BrowserSession) -> bool:
        behaviour = self._pool.behaviour
        if asked.prompts - {"none"}:
            return False
        if self._pool.session_tracking:
            minutes = self._pool.login_reuse.get(asked.client.client_id)
            if minutes is not None and self._pool.clock() - session.began >= minutes * 60:
                return False
        if behaviour.resume_across_providers:
            return True
        if session.provider not in asked.client.providers or not self._provider_exists(
            session.provider
        ):
            return False
        named = "identity_provider" in asked.query or "idp_identifier" in asked.query
        if not named:
            return behaviour.resume_without_provider
        return behaviour.resume_with_provider and asked.provider == session.provider

    def _provider_exists(self, name: str) -> bool:
        return name == COGNITO or self._pool.visible_provider(name) is not None

    def _resume(self, asked: AuthorizeRequest, session: BrowserSession) -> web.StreamResponse:
        user = self._pool.users[session.username]
        if not user.enabled:
            return _redirect(
                asked.back(error="access_denied", error_description="User is disabled.")
            )
        renewed = self._pool.behaviour.resumed_auth_time_renewed
        auth_time = int(self._pool.clock()) if renewed else session.auth_time
        return self._send_code(asked, user, auth_time=auth_time)

    def _send_code(self, asked: AuthorizeRequest, user: User, *, auth_time: int) -> web.Response:
        value = secrets.token_urlsafe(32)
        nonce = (
            asked.nonce
            if asked.nonce is not None or user.provider is None
            else secrets.token_urlsafe(32)
        )
        self._pool.codes[value] = Code(
            client_id=asked.client.client_id,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            scopes=asked.scopes,
            username=user.username,
            nonce=nonce,
            auth_time=auth_time,
            issued_at=self._pool.clock(),
            resource=asked.resource,
        )
        return _redirect(asked.back(code=value))

    # -- federation

    async def _to_idp(
        self, request: web.Request, asked: AuthorizeRequest, name: str
    ) -> web.StreamResponse:
        provider = self._pool.visible_provider(name)
        if provider is None:
            return _redirect(
                asked.back(
                    error="invalid_request", error_description=f"The provider {name} does not exist"
                )
            )
        if provider.kind == "SAML":
            return await self._to_saml(asked, provider)
        browser = request.cookies.get(self._browser_cookie) or secrets.token_urlsafe(32)
        if provider.kind in SOCIAL_KINDS:
            response = _redirect(self._social.begin(asked, provider, browser=browser))
            self._remember_browser(response, browser)
            return response
        try:
            location = await self._federation.begin(asked, provider, browser=browser)
        except SignInError as failure:
            return _redirect(asked.back(error=failure.error, error_description=str(failure)))
        response = _redirect(location)
        self._remember_browser(response, browser)
        return response

    async def _to_saml(
        self, asked: AuthorizeRequest, provider: IdentityProvider
    ) -> web.StreamResponse:
        browser = secrets.token_urlsafe(32)
        try:
            location = await self._saml.begin(asked, provider, browser=browser)
        except SignInError as failure:
            return _redirect(asked.back(error=failure.error, error_description=str(failure)))
        response = _redirect(location)
        # The answer is POSTed from another site.
        response.set_cookie(
            self._saml_cookie,
            browser,
            max_age=SESSION_S,
            httponly=True,
            secure=True,
            samesite="None",
            path="/saml2",
        )
        return response

    async def saml_response(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        attempt = self._saml.take(
            str(form.get("RelayState", "")), browser=request.cookies.get(self._saml_cookie)
        )
        if attempt is None:
            return pages.error("Invalid relayState from identity provider")
        asked = attempt.request
        try:
            claims = await self._saml.finish(attempt, form)
            user = sign_in(self._pool, asked.client, attempt.provider, claims)
        except SignInError as failure:
            return _redirect(asked.back(error=failure.error, error_description=str(failure)))
        return self._signed_in(asked, user, provider=attempt.provider.name)

    async def idp_response(self, request: web.Request) -> web.StreamResponse:
        attempt = self._federation.take(
            request.query.get("state", ""), browser=request.cookies.get(self._browser_cookie)
        )
        if attempt is None:
            return pages.error(
                "Invalid state or the login took too long. Go back to the application and "
                "try again."
            )
        asked = attempt.request
        try:
            claims = await self._federation.finish(attempt, request.query)
            user = sign_in(self._pool, asked.client, attempt.provider, claims)
        except SignInError as failure:
            return _redirect(asked.back(error=failure.error, error_description=str(failure)))
        return self._signed_in(asked, user, provider=attempt.provider.name)

    async def social_page(self, request: web.Request) -> web.StreamResponse:
        return self._social.page(request.match_info["state"]) or pages.error("Invalid state")

    async def social_answer(self, request: web.Request) -> web.StreamResponse:
        attempt = self._social.take(
            request.match_info["state"], browser=request.cookies.get(self._browser_cookie)
        )
        if attempt is None:
            return pages.error("Invalid state")
        asked, provider = attempt.request, attempt.provider
        try:
            claims = claims_of(provider.kind, await request.post())
            user = sign_in(self._pool, asked.client, provider, claims)
        except SignInError as failure:
            return _redirect(asked.back(error=failure.error, error_description=str(failure)))
        return self._signed_in(asked, user, provider=provider.name)

    # -- own users and the chooser

    async def login_page(self, request: web.Request) -> web.StreamResponse:
        return self._show_login(request, wrong=False)

    def _show_login(self, request: web.Request, *, wrong: bool) -> web.StreamResponse:
        asked = parse(self._pool, request.query)
        if isinstance(asked, ErrorPage):
            return pages.error(asked.message)
        if isinstance(asked, SendBack):
            return _redirect(asked.location)
        if (
            self._pool.behaviour.managed_login_version == 2
            and self._pool.style_of(asked.client.client_id) is None
        ):
            return pages.error(
                "Login pages unavailable. Please contact an administrator.", status=403
            )
        browser = request.cookies.get(self._browser_cookie) or secrets.token_urlsafe(32)
        chooser = {
            name: "/oauth2/authorize?" + urlencode({**request.query, "identity_provider": name})
            for name in asked.client.providers
            if name != COGNITO and asked.provider is None
        }
        response = pages.login(
            own_users=COGNITO in asked.client.providers,
            providers=chooser,
            action="/login?" + urlencode(dict(request.query)),
            csrf=browser,
            hint=asked.login_hint or "",
            wrong=wrong,
        )
        self._remember_browser(response, browser)
        return response

    async def login(self, request: web.Request) -> web.StreamResponse:
        asked = parse(self._pool, request.query)
        form = await request.post()
        cookie = request.cookies.get(self._browser_cookie, "")
        if isinstance(asked, ErrorPage | SendBack) or COGNITO not in asked.client.providers:
            return pages.error("This login cannot go on. Go back to the application and try again.")
        if not cookie or not hmac.compare_digest(
            cookie.encode(), str(form.get("_csrf", "")).encode()
        ):
            return pages.error(
                "The form has expired. Go back to the application and try again.", status=403
            )
        outcome, user = check_password(
            self._pool, str(form.get("username", "")), str(form.get("password", ""))
        )
        if user is not None and outcome is Outcome.SIGNED_IN:
            return self._signed_in(asked, user, provider=COGNITO)
        if user is not None and outcome in {Outcome.NEW_PASSWORD, Outcome.RESET_REQUIRED}:
            return self._ask_for_new_password(request, user, csrf=cookie)
        return self._show_login(request, wrong=True)

    def _ask_for_new_password(
        self, request: web.Request, user: User, *, csrf: str, problem: str = ""
    ) -> web.Response:
        """Who was invited chooses a password; who was reset shows the code, too."""
        token = secrets.token_urlsafe(32)
        self._pool.password_changes[token] = user.username
        return pages.new_password(
            action="/newPassword?" + urlencode(dict(request.query)),
            csrf=csrf,
            token=token,
            needs_code=user.own_status == "RESET_REQUIRED",
            problem=problem,
        )

    async def new_password(self, request: web.Request) -> web.StreamResponse:
        asked = parse(self._pool, request.query)
        form = await request.post()
        cookie = request.cookies.get(self._browser_cookie, "")
        username = self._pool.password_changes.pop(str(form.get("token", "")), "")
        user = self._pool.users.get(username)
        if (
            isinstance(asked, ErrorPage | SendBack)
            or user is None
            or not cookie
            or not hmac.compare_digest(cookie.encode(), str(form.get("_csrf", "")).encode())
        ):
            return pages.error("The form has expired. Go back to the application and try again.")
        password = str(form.get("password", ""))
        problem = conforms(self._pool, password)
        code = str(form.get("code", ""))
        if user.own_status == "RESET_REQUIRED" and not hmac.compare_digest(
            code.encode(), user.reset_code.encode()
        ):
            problem = "Invalid verification code provided, please try again."
        if not user.enabled:
            return self._show_login(request, wrong=True)
        if problem:
            return self._ask_for_new_password(request, user, csrf=cookie, problem=problem)
        user.password, user.password_set_at = password, self._pool.clock()
        user.own_status, user.reset_code = "CONFIRMED", ""
        return self._signed_in(asked, user, provider=COGNITO)

    def _signed_in(self, asked: AuthorizeRequest, user: User, *, provider: str) -> web.Response:
        now = self._pool.clock()
        response = self._send_code(asked, user, auth_time=int(now))
        value = secrets.token_urlsafe(32)
        self._pool.sessions[value] = BrowserSession(user.username, provider, int(now), began=now)
        response.set_cookie(
            self._session_cookie, value, max_age=SESSION_S, httponly=True, samesite="Lax", path="/"
        )
        return response

    # -- logout

    async def logout(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        client = self._pool.visible_client(query.get("client_id", ""))
        if client is None:
            return pages.error("Client does not exist.")
        if "logout_uri" in query:
            if query["logout_uri"] not in client.logout_urls:
                return pages.error(
                    "Invalid logout_uri: it is not among the client's sign-out URLs."
                )
            location = query["logout_uri"]
        elif "redirect_uri" in query and "response_type" in query:
            if query["redirect_uri"] not in client.callback_urls:
                return pages.error("redirect_mismatch")
            location = "/login?" + urlencode(dict(query))
        else:
            return pages.error(
                "Required parameters missing: logout_uri, or redirect_uri and response_type."
            )
        self._pool.sessions.pop(request.cookies.get(self._session_cookie, ""), None)
        response = _redirect(location)
        response.del_cookie(self._session_cookie, path="/", httponly=True, samesite="Lax")
        return response

    async def error_page(self, request: web.Request) -> web.StreamResponse:
        return pages.error(
            request.query.get("error", "An error was encountered with the requested page.")
        )

    # -- cookies

    def _live_session(self, request: web.Request) -> BrowserSession | None:
        session = self._pool.sessions.get(request.cookies.get(self._session_cookie, ""))
        if (
            session is None
            or self._pool.clock() - session.began >= SESSION_S
            or session.username not in self._pool.users
        ):
            return None
        return session

    def _remember_browser(self, response: web.StreamResponse, value: str) -> None:
        response.set_cookie(
            self._browser_cookie, value, max_age=SESSION_S, httponly=True, samesite="Lax", path="/"
        )


def _redirect(location: str) -> web.Response:
    """302 with the location exactly as given: a redirect URI is matched by characters, so it is not
    normalised.
    """
    return web.Response(status=302, headers={"Location": location, "Cache-Control": "no-store"})
