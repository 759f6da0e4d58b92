"""``/_auth/callback``: what comes back from Cognito becomes a session, or a page that says why not.

Order: state and browser first, so that nothing else of the URL means anything to a stranger; then
Cognito's error; then the code; then the claims; then the store's word.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.check.page_links import provider_sign_out
from gateway.cognito.error_diagnosis import diagnose
from gateway.core.login import Refusal, accept
from gateway.core.outdated import is_outdated
from gateway.core.reason import Reason
from gateway.core.tenants import HostKind
from gateway.errors import PeerError, UnavailableError
from gateway.log import fields
from gateway.login import connection_test, email_prompt, person_change
from gateway.login.authorize import Destination, is_prefetch
from gateway.login.login_host import hand_over
from gateway.login.loop_guard import count_return
from gateway.login.middleware import page, redirect, set_cookie
from gateway.login.page_links import is_named, login_link
from gateway.login.request import BrowserError, client_key, parse_any
from gateway.login.resume import Resume, remember
from gateway.login.retry import begin_again, give_up
from gateway.login.signed_values import sign
from gateway.metrics import LOGINS, provider_labels, tenant_label
from gateway.sessions.api import LoginReplayed, NewSession, OtherBrowser, SessionRefused

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.cognito.relying_party import Tokens
    from gateway.core.login import Accepted
    from gateway.core.model import PendingLogin, Provider, Session, Tenant
    from gateway.login.request import Browser
    from gateway.sessions.api import LoginConsumed, SessionView

_LOG = logging.getLogger(__name__)
MAX_CODE = 2048
MAX_STATE = 128
MAX_TOLD = 512
"""Characters of an error's own text that are logged; the address that brings it is anybody's."""
SPENT_CODES_PER_MINUTE = 15_000
"""Per client address (IPv6: per /64). No person shows so many."""


async def callback(request: web.Request) -> web.StreamResponse:
    browser = parse_any(request)
    if is_prefetch(request):
        raise BrowserError(Reason.LOGIN_STATE, 400, cause="prefetch", tenant=browser.tenant)
    code, state, error = (
        browser.parameter("code"),
        browser.parameter("state"),
        browser.parameter("error"),
    )
    description = browser.parameter("error_description")
    if not state or len(state) > MAX_STATE or len(code) > MAX_CODE:
        return await _stray(browser, code, error, "no state of ours")
    taken = await browser.services.sessions.consume_login(state, bindings=browser.bindings)
    if isinstance(taken, OtherBrowser):
        await _spend(browser, code)
        raise await _state_lost(
            browser, "began in another browser, and was cancelled", Reason.BROWSER_MISMATCH
        )
    if taken is None:
        return await _stray(browser, code, error, "unknown here, or expired")
    if (
        browser.tenant is not None
        and not browser.tenant.active
        and taken.pending.purpose != connection_test.PURPOSE
    ):
        raise BrowserError(Reason.TENANT_INACTIVE, 403)
    if isinstance(taken, LoginReplayed) and taken.pending.purpose == connection_test.PURPOSE:
        raise await _state_lost(browser, "this test was finished already")
    if isinstance(taken, LoginReplayed):
        return await _again(browser, taken.pending)
    if taken.pending.host != browser.host:
        raise await _state_lost(browser, "the login began at another host")
    if code and await browser.services.sessions.code_spent(code):
        raise await _state_lost(
            browser, "another browser has shown this code", Reason.BROWSER_MISMATCH
        )
    if taken.pending.purpose == connection_test.PURPOSE:
        return await connection_test.finish(
            browser, taken, code=code, error=error, description=description
        )
    tenant, provider = await _begun_with(browser, taken.pending)
    request["tenant"], request["provider"] = tenant.id, provider.name
    issuer = browser.parameter("iss")
    if issuer and issuer != browser.services.config.cognito.effective_issuer:
        # RFC 9207: an answer that names another issuer belongs to a mix-up.
        raise await _failed(
            browser,
            tenant,
            provider,
            taken.pending,
            Reason.IDP_ERROR,
            code="invalid_request",
            cause="the answer names another issuer (iss)",
        )
    if error or not code:
        diagnosis = diagnose(error, description)
        raise await _failed(
            browser,
            tenant,
            provider,
            taken.pending,
            Reason.IDP_ERROR,
            code=diagnosis.code,
            cause=diagnosis.cause,
            setting=diagnosis.setting,
            error=error,
            error_description=description,
        )
    try:
        tokens = await browser.services.relying_party.exchange(tenant, taken.pending, code=code)
    except PeerError as peer:
        raise await _failed(
            browser,
            tenant,
            provider,
            taken.pending,
            Reason.IDP_ERROR,
            code=peer.code,
            cause=str(peer),
            setting=peer.setting,
        ) from peer
    except UnavailableError as outage:
        raise await _failed(
            browser,
            tenant,
            provider,
            taken.pending,
            Reason.IDP_ERROR,
            code="cognito_down",
            cause=str(outage),
        ) from outage
    return await _finish(browser, taken, tokens)


async def _finish(browser: Browser, taken: LoginConsumed, tokens: Tokens) -> web.StreamResponse:
    services, pending = browser.services, taken.pending
    # Cognito took its time.
    tenant, provider = await _begun_with(browser, pending)
    accepted = accept(tokens.claims, tenant, provider, pool_id=services.config.cognito.user_pool_id)
    if isinstance(accepted, Refusal):
        _throw_away(browser, pending, tokens)
        if accepted.denied:
            await _end_denied(browser, taken, accepted.denied)
        raise await _failed(
            browser, tenant, provider, pending, accepted.reason, cause=accepted.detail
        )
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
    stored = await services.sessions.finish_login(
        NewSession(
            tenant=tenant,
            host=browser.host,
            identity=accepted.identity,
            began=taken.began,
            auth_time=accepted.auth_time,
            idp_iat=accepted.idp_iat,
            idp_iat_mapped=accepted.idp_iat_mapped,
            hopped=pending.hopped,
            client_id=pending.client_id,
            refresh_token=tokens.refresh_token,
            user_agent=browser.request.headers.get("User-Agent", "")[:200],
            server=taken.server,
            prompted_for=(pending.for_host or pending.host) if pending.prompted else "",
        )
    )
    if isinstance(stored, SessionRefused):
        _throw_away(browser, pending, tokens)
    if isinstance(stored, SessionRefused) and stored.reason is Reason.REAUTHENTICATE:
        # Of two tabs that asked in one second only one has shown something new; the other is signed
        # in by it all the same.
        present = await browser.session(tenant.id)
        if present is not None and present[0].identity.sub == accepted.identity.sub:
            return await _go_on(browser, pending, present)
        if not pending.hopped:
            return _ask_the_provider(browser, tenant, pending)
    if isinstance(stored, SessionRefused):
        raise await _failed(
            browser,
            tenant,
            provider,
            pending,
            stored.reason,
            cause="a block, a revocation or missing evidence of a fresh login",
        )
    other_person = await _end_former_session(browser, tenant, accepted)
    await _end_outdated(browser, taken, tenant, accepted)
    LOGINS.labels(*provider_labels(tenant.id, provider.name), "ok").inc()
    browser.request["user"], browser.request["reason"] = accepted.identity.sub, Reason.OK
    _LOG.info(
        "login_succeeded",
        extra=fields(
            request_id=browser.request_id,
            tenant=tenant.id,
            host=pending.for_host or browser.host,
            user=accepted.identity.sub,
            provider=provider.name,
        ),
    )
    if person_change.must_begin_clean(
        browser, tenant, accepted.identity.sub, replaces=other_person
    ):
        return await person_change.begin_clean(
            browser, stored, return_to=pending.return_to, replaces=other_person, hint=pending.hint
        )
    response = redirect(pending.return_to)
    if not is_named(accepted.identity, pending.hint):
        response = await _say_who(browser, tenant, provider, pending, accepted.identity.email)
    elif pending.for_host:
        response = await hand_over(
            browser,
            stored.session,
            stored.cookie.reveal(),
            Destination(pending.return_to, pending.for_host, pending.for_browser),
        )
    set_cookie(
        response,
        browser.session_cookie(tenant.id),
        stored.cookie.reveal(),
        max_age_s=max(1, stored.session.expires_at - int(services.clock())),
    )
    email_prompt.remember(response, browser, tenant.id)
    person_change.arrives(response, browser, tenant, accepted.identity.sub, replaces=other_person)
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
        signed = sign(
            browser.services.signing_keys, tenant.id, "login", pending.for_host, pending.for_browser
        )
        query = {
            "host": pending.for_host,
            "rd": pending.return_to,
            "browser": pending.for_browser,
            "tenant": signed,
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


async def _end_denied(browser: Browser, taken: LoginConsumed, sub: str) -> None:
    """The identity provider says of this very person what keeps them out: what an earlier login of
    theirs through it has made ends too.
    """
    sessions, pending = browser.services.sessions, taken.pending
    present = await browser.session(pending.tenant if browser.found is HostKind.LOGIN else None)
    if present is not None and present[0].began < taken.began:
        session = present[0]
        if (session.tenant, session.identity.sub, session.identity.provider) == (
            pending.tenant,
            sub,
            pending.provider,
        ):
            # The one whose cookie is at hand: its refresh token can be revoked too.
            await _end_now(browser, present)
    ended = await sessions.end_earlier(
        pending.tenant,
        user=sub,
        began=taken.began,
        outdated=lambda view: view.provider == pending.provider,
    )
    await sessions.unlink(pending.tenant, user=sub, began=taken.began)
    _LOG.info(
        "outdated_sessions_ended",
        extra=fields(
            request_id=browser.request_id,
            tenant=pending.tenant,
            user=sub,
            provider=pending.provider,
            ended=ended,
        ),
    )


async def _end_outdated(
    browser: Browser, taken: LoginConsumed, tenant: Tenant, accepted: Accepted
) -> None:
    """Earlier sessions of the same person that say more of them than the identity provider does
    now, wherever they are.
    """
    identity = accepted.identity

    def outdated(view: SessionView) -> bool:
        return view.provider == identity.provider and is_outdated(
            tenant, accepted, email=view.email, groups=view.groups, roles=view.roles
        )

    ended = await browser.services.sessions.end_earlier(
        tenant.id, user=identity.sub, began=taken.began, outdated=outdated
    )
    if ended:
        _LOG.info(
            "outdated_sessions_ended",
            extra=fields(
                request_id=browser.request_id,
                tenant=tenant.id,
                user=identity.sub,
                provider=identity.provider,
                ended=ended,
            ),
        )


async def _end_former_session(browser: Browser, tenant: Tenant, accepted: Accepted) -> bool:
    """Whoever was signed in here before, if it was somebody else (also a planted cookie), is not
    any more. The same person's former session ends a little later: nobody holds its cookie now, but
    tabs that sign in together may have sent something with it; one that this login contradicts ends
    at once. True if it was somebody else.
    """
    present = await browser.session(tenant.id if browser.found is HostKind.LOGIN else None)
    if present is None:
        return False
    former, now = present[0].identity, accepted.identity
    if (present[0].tenant, former.sub) != (tenant.id, now.sub):
        # On a shared host the other person may be another tenant's.
        await _end_now(browser, present)
        return True
    if former.provider == now.provider and is_outdated(
        tenant, accepted, email=former.email, groups=former.groups, roles=former.roles
    ):
        await _end_now(browser, present)
    else:
        browser.services.token_revocation.end_replaced_soon(*present)
    return False


async def _end_now(browser: Browser, present: tuple[Session, str]) -> None:
    """A session whose cookie is at hand, and its refresh token at Cognito."""
    session, cookie = present
    ended = await browser.services.sessions.end_family(session, cookie=cookie)
    browser.services.token_revocation.revoke_soon(
        session.tenant, ended.refresh_token, client_id=session.client_id
    )


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
    begun = (
        await begin_again(browser, return_to=pending.return_to)
        if pending.host == browser.host
        else None
    )
    if begun is None:
        raise await _state_lost(browser, "this login was finished already", pending=pending)
    browser.request["reason"] = Reason.LOGIN_STATE
    return begun


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


async def _begun_with(browser: Browser, pending: PendingLogin) -> tuple[Tenant, Provider]:
    """Tenant and provider as they are now; either may have been taken away since the login began,
    and so may the client.
    """
    table = browser.services.tenants.table
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
    return tenant, provider


async def _stray(browser: Browser, code: str, error: str, detail: str) -> web.StreamResponse:
    """No login of ours: a bookmark of a sign-in page, a login that the identity provider began, one
    that took too long. An error is told.
    """
    await _spend(browser, code)
    begun = None if error else await begin_again(browser)
    if begun is None:
        raise await _state_lost(browser, detail)
    browser.request["reason"] = Reason.LOGIN_STATE
    return begun


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
            cause=cause,
        ),
    )
    retry = await login_link(browser, return_to=pending.return_to if pending is not None else "")
    return BrowserError(reason, 400, cause=cause, retry=retry, tenant=browser.tenant)


async def _failed(
    browser: Browser,
    tenant: Tenant,
    provider: Provider,
    pending: PendingLogin,
    reason: Reason,
    *,
    cause: str,
    code: str = "",
    setting: str = "",
    error: str = "",
    error_description: str = "",
) -> BrowserError:
    """The page; its link starts again at the same address, with the choice of provider open.

    ``error`` and ``error_description`` are the peer's own text, which is for the log alone.
    """
    LOGINS.labels(*provider_labels(tenant.id, provider.name), code or reason.value).inc()
    _LOG.warning(
        "login_failed",
        extra=fields(
            request_id=browser.request_id,
            tenant=tenant.id,
            host=browser.host,
            reason=reason.value,
            provider=provider.name,
            code=code or None,
            cause=cause,
            setting=setting or None,
            error=error[:MAX_TOLD] or None,
            error_description=error_description[:MAX_TOLD] or None,
            client_id=pending.client_id,
            redirect_uri=pending.redirect_uri,
        ),
    )
    retry = await login_link(browser, tenant=tenant, return_to=pending.return_to, switch=True)
    status = 503 if code == "cognito_down" else 400 if reason is Reason.IDP_ERROR else 403
    return BrowserError(
        reason, status, code=code, cause=cause, setting=setting, retry=retry, tenant=tenant
    )
