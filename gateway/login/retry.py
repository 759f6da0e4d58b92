"""A login that cannot be finished goes on to its return address, or begins again.

By itself it begins again once a minute for each host, and never where another browser began it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.reason import Reason
from gateway.core.tenants import HostKind
from gateway.login.loop_guard import count_return
from gateway.login.middleware import redirect, set_cookie
from gateway.login.page_links import SENDER_COOKIE, login_link
from gateway.login.request import BrowserError
from gateway.login.signed_values import sign

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Tenant
    from gateway.login.request import Browser

SENDER_LIFE_S = 180 * 86400
"""A bookmark of a sign-in page is used for as long as somebody remembers it."""


def remember_sender(response: web.Response, browser: Browser, host: str) -> None:
    """At the login host: which host sent this browser. Signed, so that nobody finds out by trying
    which hosts there are.
    """
    set_cookie(
        response,
        SENDER_COOKIE,
        sign(browser.services.signing_keys, host, "sender", browser.host),
        max_age_s=SENDER_LIFE_S,
    )


async def begin_again(
    browser: Browser, *, tenant: Tenant | None = None, return_to: str = ""
) -> web.Response | None:
    """On to ``return_to`` (or the start page) for whoever is signed in here, else to a new login;
    None after it was tried a moment ago.
    """
    present = await browser.session()
    link = await login_link(browser, tenant=tenant, return_to=return_to)
    if link is None:
        return None
    if (
        present is not None
        and browser.serves(present[0].tenant)
        and browser.found is not HostKind.LOGIN
    ):
        response = redirect(return_to or f"{browser.origin}/")
        return response if count_return(browser, response, response.headers["Location"]) else None
    response = redirect(link)
    return (
        response if count_return(browser, response, f"again at {browser.host}", at_most=1) else None
    )


async def give_up(browser: Browser, tenant: Tenant | None) -> BrowserError:
    """The page after ``count_return`` said that it was too often."""
    return BrowserError(
        Reason.LOGIN_LOOP,
        400,
        cause=(
            "the session cookie does not reach the check, or the check sees another host than "
            "the browser: look at the Cookie and X-Forwarded-Host lines of the ingress"
        ),
        tenant=tenant,
        retry=await login_link(browser, tenant=tenant),
    )
