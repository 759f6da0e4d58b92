"""``/_auth/callback``: what comes back from Cognito becomes a session, or a page that says why not.

Order: state and browser first, so that nothing else of the URL means anything to a stranger; then
Cognito's error; then the code; then the claims; then the store's word.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from gateway.check.page_links import provider_sign_out
from gateway.cognito.error_diagnosis import PROVIDER_DOWN, diagnose
from gateway.core.hosts import client_key
from gateway.core.login import Refusal, accept, directory_oid, idp_subject
from gateway.core.reason import Reason
from gateway.errors import PeerError, UnavailableError
from gateway.log import JsonEvent, fields, write_event
from gateway.login import connection_test, email_prompt, person_change
from gateway.login.authorize import Destination, fallback, is_prefetch
from gateway.login.former_sessions import (
    end_denied,
    end_former_session,
    end_outdated,
    names_elsewhere,
)
from gateway.login.login_host import hand_over
from gateway.login.loop_guard import count_return
from gateway.login.middleware import page, redirect, set_cookie
from gateway.login.page_links import is_named, login_link
from gateway.login.place import place_of
from gateway.login.request import BrowserError, is_own, parse_any
from gateway.login.resume import Resume, remember
from gateway.login.retry import begin_again, give_up
from gateway.login.signed_values import sign
from gateway.metrics import LOGIN_DURATION, LOGINS, observe, provider_labels, tenant_label
from gateway.sessions.api import LoginReplayed, NewSession, OtherBrowser, SessionRefused
from gateway.tracing.spans import current, exemplar, span

if TYPE_CHECKING:
    from gateway.cognito.relying_party import Tokens
    from gateway.core.login import Accepted
    from gateway.core.model import PendingLogin, Provider, Session, Tenant
    from gateway.login.request import Browser
    from gateway.sessions.api import LoginConsumed, SessionCreated

_LOG = logging.getLogger(__name__)
_SUCCEEDED = JsonEvent(
    "login_succeeded",
    ("request_id", "tenant", "host", "user", "provider", "trace_id", "span_id"),
    varying=("request_id", "user", "trace_id", "span_id"),
)
MAX_CODE = 2048
MAX_STATE = 128
MAX_TOLD = 512
STATE_SETTING = (
    "none, if it is rare: a stale tab, a bookmark, another browser; if many fail, the proxy drops "
    "Cookie or Set-Cookie of /_auth/"
)
"""Characters of an error's own text that are logged; the address that brings it is anybody's."""
SPENT_CODES_PER_MINUTE = 15_000
"""Per client address (IPv6: per /64). No person shows so many."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What Cognito sent the browser back with."""

    code: str
    state: str
    error: str
    description: str

    @classmethod
    def of(cls, browser: Browser) -> _Answer:
        return cls(
            browser.parameter("code"),
            browser.parameter("state"),
            browser.parameter("error"),
            browser.parameter("error_description"),
        )


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A login that came back, with tenant and provider as they are now."""

    browser: Browser
    login: LoginConsumed
    tenant: Tenant
    provider: Provider

    @property
    def pending(self) -> PendingLogin:
        return self.login.pending

    async def failed(
        self,
        reason: Reason,
        *,
        cause: str,
        code: str = "",
        setting: str = "",
        error: str = "",
        error_description: str = "",
    ) -> BrowserError:
        """The page; its link starts again at the same address, with the choice of provider open.

        ``error`` and ``error_description`` are the peer's own text, which is for the log alone:
        identity providers name the person in it.
        """
        browser, tenant, pending = self.browser, self.tenant, self.pending
        LOGINS.labels(*provider_labels(tenant.id, self.provider.name), code or reason.value).inc()
        _LOG.warning(
            "login_failed",
            extra=fields(
                request_id=browser.request_id,
                tenant=tenant.id,
                host=browser.host,
                reason=reason.value,
                provider=self.provider.name,
                code=code or reason.value,
                cause=cause,
                setting=setting or None,
                error=error[:MAX_TOLD] or None,
                error_description=_without_addresses(error_description[:MAX_TOLD]) or None,
                client_id=pending.client_id,
                redirect_uri=pending.redirect_uri,
            ),
        )
        retry = await login_link(browser, tenant=tenant, return_to=pending.return_to, switch=True)
        status = 503 if code == "cognito_down" else 400 if reason is Reason.IDP_ERROR else 403
        return BrowserError(
            reason,
            status,
            code=code,
            cause=cause,
            setting=setting,
            retry=retry,
            others=await self._fallback() if code in PROVIDER_DOWN else (),
            tenant=tenant,
        )

    async def _fallback(self) -> tuple[tuple[str, str], ...]:
        """Labels and login addresses of the tenant's other providers, for whoever was typed."""
        link = await login_link(self.browser, tenant=self.tenant, return_to=self.pending.return_to)
        if link is None:
            return ()
        return tuple(
            (
                other.label,
                f"{link}{'&' if '?' in link else '?'}"
                + urlencode({"provider": other.name, "login_hint": self.pending.hint}),
            )
            for other in fallback(self.tenant, self.provider, hint=self.pending.hint)
        )


def _without_addresses(text: str) -> str:
    """Of an e-mail address only the domain stays."""
    *before, last = text.split("@")
    parts = [one[: max(one.rfind(end) for end in " \t\r\n'\"<(,;:=") + 1] for one in before]
    return "***@".join([*parts, last])


async def callback(request: web.Request) -> web.StreamResponse:
    start_time = monotonic()
    browser = parse_any(request)
    if is_prefetch(request):
        raise BrowserError(Reason.LOGIN_STATE, 400, cause="prefetch", tenant=browser.tenant)
    answer = _Answer.of(browser)
    login = await _consume(browser, answer)
    if isinstance(login, web.StreamResponse):
        return login
    if login.pending.purpose == connection_test.PURPOSE:
        return await connection_test.finish(
            browser, login, code=answer.code, error=answer.error, description=answer.description
        )
    attempt = await _attempt(browser, login)
    browser.record.tenant = attempt.tenant.id
    browser.record.provider = attempt.provider.name
    tokens = await _exchange(attempt, answer)
    # Cognito took its time.
    return await _finish(await _attempt(browser, login), tokens, started=start_time)


async def _consume(browser: Browser, answer: _Answer) -> LoginConsumed | web.StreamResponse:
    """The login that this browser began here; else where it goes instead."""
    if not answer.state or len(answer.state) > MAX_STATE or len(answer.code) > MAX_CODE:
        return await _stray(browser, answer, "no state of ours")
    login = await browser.services.sessions.consume_login(answer.state, bindings=browser.bindings)
    if isinstance(login, OtherBrowser):
        await _spend(browser, answer.code)
        raise await _state_lost(
            browser, "began in another browser, and was cancelled", Reason.BROWSER_MISMATCH
        )
    if login is None:
        return await _stray(browser, answer, "unknown here, or expired")
    current().continues(login.pending.trace)
    is_test = login.pending.purpose == connection_test.PURPOSE
    if browser.tenant is not None and not browser.tenant.active and not is_test:
        raise BrowserError(Reason.TENANT_INACTIVE, 403)
    if isinstance(login, LoginReplayed) and is_test:
        raise await _state_lost(browser, "this test was finished already")
    if isinstance(login, LoginReplayed):
        return await _again(browser, login.pending)
    if login.pending.host != browser.host:
        raise await _state_lost(browser, "the login began at another host")
    if answer.code and await browser.services.sessions.code_spent(answer.code):
        raise await _state_lost(
            browser, "another browser has shown this code", Reason.BROWSER_MISMATCH
        )
    return login


async def _exchange(attempt: _Attempt, answer: _Answer) -> Tokens:
    """Tokens for the code; raises what is wrong instead."""
    services = attempt.browser.services
    issuer = attempt.browser.parameter("iss")
    pool = services.config.cognito.all_pools.get(attempt.pending.pool)
    if issuer and (pool is None or issuer not in pool.issuers):
        # RFC 9207: an answer that names another issuer belongs to a mix-up.
        raise await attempt.failed(
            Reason.IDP_ERROR,
            code="invalid_request",
            cause="the answer names another issuer (iss)",
        )
    if answer.error or not answer.code:
        diagnosis = diagnose(answer.error, answer.description)
        raise await attempt.failed(
            Reason.IDP_ERROR,
            code=diagnosis.code,
            cause=diagnosis.cause,
            setting=diagnosis.setting,
            error=answer.error,
            error_description=answer.description,
        )
    try:
        with span("login.exchange_code"):
            return await services.relying_party.exchange(
                attempt.tenant, attempt.pending, code=answer.code
            )
    except PeerError as peer:
        raise await attempt.failed(
            Reason.IDP_ERROR, code=peer.code, cause=str(peer), setting=peer.setting
        ) from peer
    except UnavailableError as outage:
        raise await attempt.failed(
            Reason.IDP_ERROR, code="cognito_down", cause=str(outage)
        ) from outage


async def _finish(attempt: _Attempt, tokens: Tokens, *, started: float) -> web.StreamResponse:
    browser, pending = attempt.browser, attempt.pending
    tenant, provider = attempt.tenant, attempt.provider
    pool = browser.services.config.cognito.all_pools[pending.pool]
    accepted = accept(tokens.claims, tenant, provider, pool_id=pool.user_pool_id)
    if isinstance(accepted, Refusal):
        _throw_away(browser, pending, tokens)
        if accepted.denied:
            subject = idp_subject(tokens.claims, provider, accepted.denied) or ""
            oid = directory_oid(tokens.claims)
            names = names_elsewhere(tenant, provider, idp_subject=subject, oid=oid)
            await end_denied(browser, attempt.login, accepted.denied, names=names)
        raise await attempt.failed(accepted.reason, cause=accepted.detail)
    for warning in accepted.warnings:
        _LOG.warning(
            "login_claims_warning",
            extra=fields(
                request_id=browser.request_id,
                tenant=tenant.id,
                provider=provider.name,
                detail=warning,
            ),
        )
    with span("login.store_session"):
        new_session = await browser.services.sessions.finish_login(
            _new_session(attempt, tokens, accepted)
        )
    if isinstance(new_session, SessionRefused):
        _throw_away(browser, pending, tokens)
        return await _refused(attempt, accepted, new_session.reason)
    replaces_other = await end_former_session(browser, tenant, accepted)
    await end_outdated(browser, attempt.login, tenant, provider, accepted)
    LOGINS.labels(*provider_labels(tenant.id, provider.name), "ok").inc()
    observe(LOGIN_DURATION, monotonic() - started, exemplar())
    browser.record.user, browser.record.reason = accepted.identity.sub, Reason.OK
    traced = current()
    write_event(
        _LOG,
        _SUCCEEDED,
        {
            "request_id": browser.request_id,
            "tenant": tenant.id,
            "host": pending.for_host or browser.host,
            "user": accepted.identity.sub,
            "provider": provider.name,
            "trace_id": traced.trace_id or None,
            "span_id": traced.span_id or None,
        },
    )
    return await _arrive(attempt, accepted, new_session, replaces_other=replaces_other)


def _new_session(attempt: _Attempt, tokens: Tokens, accepted: Accepted) -> NewSession:
    browser, pending = attempt.browser, attempt.pending
    proxy = browser.services.trust.proxy
    return NewSession(
        tenant=attempt.tenant,
        host=browser.host,
        identity=accepted.identity,
        began=attempt.login.began,
        auth_time=accepted.auth_time,
        idp_iat=accepted.idp_iat,
        idp_iat_mapped=accepted.idp_iat_mapped,
        hopped=pending.hopped,
        client_id=pending.client_id,
        refresh_token=tokens.refresh_token,
        user_agent=browser.request.headers.get("User-Agent", "")[:200],
        client="" if is_own(browser.client, proxy) else browser.client,
        place=place_of(
            browser.request,
            browser.services.config.ingress.place_headers,
            proxy,
        ),
        server=attempt.login.server,
        prompted_for=(pending.for_host or pending.host) if pending.prompted else "",
    )


async def _refused(attempt: _Attempt, accepted: Accepted, reason: Reason) -> web.StreamResponse:
    """The store made no session of the login."""
    browser, pending = attempt.browser, attempt.pending
    if reason is Reason.REAUTHENTICATE:
        # Of two tabs that asked in one second only one has shown something new; the other is signed
        # in by it all the same.
        present = await browser.session(attempt.tenant.id)
        if present is not None and present[0].identity.sub == accepted.identity.sub:
            return await _go_on(browser, pending, present)
        if not pending.hopped:
            return _ask_the_provider(browser, attempt.tenant, pending)
    raise await attempt.failed(
        reason, cause="a block, a revocation or missing evidence of a fresh login"
    )


async def _arrive(
    attempt: _Attempt, accepted: Accepted, created: SessionCreated, *, replaces_other: bool
) -> web.StreamResponse:
    """The browser gets its cookie, and goes where it wanted."""
    browser, tenant, pending = attempt.browser, attempt.tenant, attempt.pending
    user = accepted.identity.sub
    if person_change.must_begin_clean(browser, tenant, user, replaces=replaces_other):
        return await person_change.begin_clean(
            browser,
            created,
            return_to=pending.return_to,
            replaces=replaces_other,
            hint=pending.hint,
        )
    response = redirect(pending.return_to)
    if not is_named(accepted.identity, pending.hint):
        response = await _say_who(
            browser, tenant, attempt.provider, pending, accepted.identity.email
        )
    elif pending.for_host:
        response = await hand_over(
            browser,
            created.session,
            created.cookie.reveal(),
            Destination(pending.return_to, pending.for_host, pending.for_browser),
        )
    set_cookie(
        response,
        browser.session_cookie(tenant.id),
        created.cookie.reveal(),
        max_age_s=max(1, created.session.expires_at - int(browser.services.clock())),
    )
    email_prompt.remember(response, browser, tenant.id)
    person_change.arrives(response, browser, tenant, user, replaces=replaces_other)
    if not count_return(browser, response, pending.return_to):
        raise await give_up(browser, tenant)
    return response


async def _say_who(
    browser: Browser, tenant: Tenant, provider: Provider, pending: PendingLogin, email: str
) -> web.Response:
    """The identity provider had a session of somebody other than was typed: the person says whether
    that is meant.
    """
    go_on = pending.return_to
    if pending.for_host:
        # The session is here, and the browser at that host waits for its ticket still.
        signed_tenant = sign(
            browser.services.signing_keys, tenant.id, "login", pending.for_host, pending.for_browser
        )
        query = {
            "host": pending.for_host,
            "rd": pending.return_to,
            "browser": pending.for_browser,
            "tenant": signed_tenant,
        }
        go_on = f"/_auth/login?{urlencode(query)}"
    again = await login_link(browser, return_to=pending.return_to, switch=True)
    return page(
        browser.request,
        "other_person",
        tenant,
        typed=pending.hint,
        email=email,
        go_on=go_on,
        again=again,
        provider_sign_out=provider_sign_out(provider),
    )


def _ask_the_provider(browser: Browser, tenant: Tenant, pending: PendingLogin) -> web.Response:
    """Cognito resumed its own session without asking the identity provider: end that session, and
    log in again. Once.
    """
    response = redirect(
        browser.services.relying_party.logout_url(
            tenant, logout_uri=f"{browser.origin}/_auth/signed-out"
        )
    )
    remember(
        response,
        browser,
        Resume(
            "fresh",
            tenant.id,
            pending.for_host or browser.host,
            pending.return_to,
            pending.provider,
            pending.for_browser,
        ),
    )
    return response


def _throw_away(browser: Browser, pending: PendingLogin, tokens: Tokens) -> None:
    """No session came of this login: its refresh token is nobody's."""
    browser.services.token_revocation.revoke_soon(
        pending.tenant, tokens.refresh_token, client_id=pending.client_id
    )


async def _again(browser: Browser, pending: PendingLogin) -> web.StreamResponse:
    """Reload or back button: whoever is signed in goes on; for anybody else the login begins
    again.
    """
    present = await browser.session(pending.tenant) if pending.host == browser.host else None
    if present is not None:
        return await _go_on(browser, pending, present)
    response = (
        await begin_again(browser, return_to=pending.return_to)
        if pending.host == browser.host
        else None
    )
    if response is None:
        raise await _state_lost(browser, "this login was finished already", pending=pending)
    browser.record.reason = Reason.LOGIN_STATE
    return response


async def _go_on(
    browser: Browser, pending: PendingLogin, present: tuple[Session, str]
) -> web.StreamResponse:
    """With the session and cookie that this browser holds already."""
    if pending.for_host:
        return await hand_over(
            browser,
            present[0],
            present[1],
            Destination(pending.return_to, pending.for_host, pending.for_browser),
        )
    response = redirect(pending.return_to)
    if not count_return(browser, response, pending.return_to):
        raise await give_up(browser, browser.tenant)
    return response


async def _attempt(browser: Browser, login: LoginConsumed) -> _Attempt:
    """Tenant and provider as they are now; either may have been taken away since the login began,
    and so may the client.
    """
    table, pending = browser.services.tenants.table, login.pending
    tenant = table.by_id(pending.tenant)
    provider = tenant.provider(pending.provider) if tenant is not None else None
    if (
        tenant is None
        or provider is None
        or not tenant.active
        or tenant.client(pending.client_id) is None
        or not (table.owns(tenant, browser.host) or browser.host == table.login_host)
    ):
        raise await _state_lost(
            browser, "tenant, provider or app client changed since the login began"
        )
    return _Attempt(browser, login, tenant, provider)


async def _stray(browser: Browser, answer: _Answer, detail: str) -> web.StreamResponse:
    """No login of ours: a bookmark of a sign-in page, a login that the identity provider began, one
    that took too long. An error is told.
    """
    await _spend(browser, answer.code)
    response = None if answer.error else await begin_again(browser)
    if response is None:
        raise await _state_lost(browser, detail)
    browser.record.reason = Reason.LOGIN_STATE
    return response


async def _spend(browser: Browser, code: str) -> None:
    """The code of a login that is not open in this browser is spent: it stays in this history and
    in access logs, and a login with another ``state`` but the same PKCE challenge could still use
    it. Cognito forgets a code sooner than we forget this.
    """
    services = browser.services
    client = client_key(browser.client)
    if code and (
        not browser.known_client
        or await services.attempts.hit(client, at_most=SPENT_CODES_PER_MINUTE, kind="code")
    ):
        await services.sessions.spend_code(code, client=client)


async def _state_lost(
    browser: Browser,
    cause: str,
    reason: Reason = Reason.LOGIN_STATE,
    *,
    pending: PendingLogin | None = None,
) -> BrowserError:
    LOGINS.labels(tenant_label(browser.tenant.id) if browser.tenant else "", "", reason.value).inc()
    _LOG.warning(
        "login_failed",
        extra=fields(
            request_id=browser.request_id,
            tenant=browser.tenant.id if browser.tenant is not None else None,
            host=browser.host,
            reason=reason.value,
            code=reason.value,
            cause=cause,
            setting=STATE_SETTING,
        ),
    )
    retry = await login_link(browser, return_to=pending.return_to if pending is not None else "")
    return BrowserError(
        reason, 400, cause=cause, setting=STATE_SETTING, retry=retry, tenant=browser.tenant
    )
