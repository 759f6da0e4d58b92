"""``/_auth/sessions``: where a person is signed in, ending one of these sessions, or all, and their
app passwords. Never anybody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.login import is_fresh
from gateway.core.reason import Reason
from gateway.login import my_app_passwords, reauthenticate
from gateway.login.logout import require_own_origin, sign_out
from gateway.login.middleware import page, redirect
from gateway.login.page_links import login_link
from gateway.login.request import BrowserError, parse

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Session
    from gateway.login.request import Browser

PATH = reauthenticate.RETURN_PATH
ALL = "all"
NEW = "new"
"""Neither is the id of a family: those are longer."""


async def show(request: web.Request) -> web.StreamResponse:
    browser = parse(request)
    session, cookie = await _present(browser)
    if browser.parameter(ALL):
        return await _asked_for_all(browser, session, cookie)
    return await _shown(browser, session, cookie)


async def end(request: web.Request) -> web.StreamResponse:
    """One's own current session ends as by signing out, through Cognito; another one just ends."""
    browser = parse(request)
    require_own_origin(browser)
    session_id, app_password = await browser.field("session"), await browser.field("app_password")
    present = await _present(browser)
    session, cookie = present
    if app_password == NEW:
        result = await my_app_passwords.make(browser, session, cookie)
        if isinstance(result, str):
            return await _shown(browser, session, cookie, problem=result, status=400)
        return my_app_passwords.told(request, browser.tenant_for(session.tenant), result)
    if app_password:
        await my_app_passwords.revoke(browser, session, app_password)
        return redirect(PATH)
    if session_id == session.family:
        return await sign_out(browser, present)
    if session_id == ALL:
        response = await sign_out(browser, present)
        await browser.services.sessions.end_own(session, family=None)
        return response
    if any(
        view.session == session_id
        for view in await browser.services.sessions.list_user(session, cookie=cookie)
    ):
        await browser.services.sessions.end_own(session, family=session_id)
    return redirect(PATH)


async def _asked_for_all(browser: Browser, session: Session, cookie: str) -> web.Response:
    """A page that asks once more: one press too many would sign out a whole working day."""
    sessions = browser.services.sessions
    return page(
        browser.request,
        "end_all",
        browser.tenant_for(session.tenant),
        email=session.identity.email,
        sessions=len(await sessions.list_user(session, cookie=cookie)),
        app_passwords=len(await sessions.list_app_passwords(session)),
    )


async def _shown(
    browser: Browser, session: Session, cookie: str, *, problem: str = "", status: int = 200
) -> web.Response:
    tenant, sessions = browser.tenant_for(session.tenant), browser.services.sessions
    return page(
        browser.request,
        "sessions",
        tenant,
        status=status,
        email=session.identity.email,
        sessions=await sessions.list_user(session, cookie=cookie),
        app_passwords=await sessions.list_app_passwords(session),
        offer=my_app_passwords.offer(browser, tenant),
        problem=problem,
        now=int(browser.services.clock()),
        reauthenticate=""
        if is_fresh(session, now=browser.services.clock())
        else reauthenticate.link(tenant, session),
    )


async def _present(browser: Browser) -> tuple[Session, str]:
    present = await browser.session()
    if present is None:
        raise BrowserError(
            Reason.NO_SESSION, 401, retry=await login_link(browser), tenant=browser.tenant
        )
    browser.record.tenant, browser.record.user = present[0].tenant, present[0].identity.sub
    return present
