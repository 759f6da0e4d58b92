"""A browser passes from one person to another: what it keeps of the one before goes.

Rules:
- Who was here last is kept in a cookie at each host, as a keyed hash, never a name: a session may
  have ended long before somebody else signs in.
- Where that is not known, the application's cookies count as somebody else's.
- All of it at answers that no other site can make a browser ask for: a sign-out is posted from a
  page of ours, a login shows a code or a ticket.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.core.app_cookies import expired
from gateway.core.tenants import HostKind
from gateway.log import fields
from gateway.login.email_prompt import remembered_tenant
from gateway.login.middleware import drop_cookie, forget_pages, forget_site, redirect, set_cookie
from gateway.login.signed_values import keyed_hash, stands_for

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.app_cookies import AppCookie
    from gateway.core.model import Tenant
    from gateway.login.request import Browser
    from gateway.sessions.api import SessionCreated

_LOG = logging.getLogger(__name__)
PERSON_COOKIE = "__Host-gw-person"
PERSON_LIFE_S = 400 * 86400
"""The longest that browsers keep a cookie (RFC 6265bis §5.5): an application's own may last as
long.
"""


def leaves(response: web.Response, browser: Browser, tenant: Tenant | None) -> None:
    """A sign-out at this host."""
    if clears(browser):
        forget_site(response)
    else:
        forget_pages(response)
    _end_app_sessions(response, browser, _entries(browser, tenant))


def arrives(
    response: web.Response, browser: Browser, tenant: Tenant | None, sub: str, *, replaces: bool
) -> None:
    """A login has finished at this host. ``replaces``: it ended the live session of another
    person.
    """
    other, same = _compare(browser, tenant, sub, replaces=replaces)
    if other and clears(browser):
        forget_site(response)
    elif other:
        forget_pages(response)
    entries = _entries(browser, tenant)
    if not same:
        _end_app_sessions(response, browser, entries)
    if entries or clears(browser):
        set_cookie(
            response,
            PERSON_COOKIE,
            keyed_hash(browser.services.signing_keys, *_hashed(browser, tenant, sub)),
            max_age_s=PERSON_LIFE_S,
        )


def must_begin_clean(browser: Browser, tenant: Tenant | None, sub: str, *, replaces: bool) -> bool:
    """Whether the answer to this login takes all cookies away, the session's with them."""
    return clears(browser) and _compare(browser, tenant, sub, replaces=replaces)[0]


async def begin_clean(
    browser: Browser, stored: SessionCreated, *, return_to: str, replaces: bool, hint: str = ""
) -> web.Response:
    """End the session that was just made and begin the login again, without cookies: the identity
    provider knows the person by now.

    It ends here also in a browser that keeps its cookies in spite of ``Clear-Site-Data``: the new
    person's hash is among them.
    """
    session = stored.session
    outcome = await browser.services.sessions.end_family(session, cookie=stored.cookie.reveal())
    browser.services.token_revocation.revoke_soon(
        session.tenant, outcome.refresh_token, client_id=session.client_id
    )
    query = {"rd": return_to, "provider": session.identity.provider, "login_hint": hint}
    response = redirect(
        f"{browser.origin}/_auth/login?"
        f"{urlencode({name: value for name, value in query.items() if value})}"
    )
    drop_cookie(response, browser.session_cookie(session.tenant))
    arrives(response, browser, browser.tenant, session.identity.sub, replaces=replaces)
    return response


def clears(browser: Browser) -> bool:
    """At hosts of one tenant alone, whose domain is its own."""
    return browser.tenant is not None and browser.tenant.clear_domain_cookies


def _compare(
    browser: Browser, tenant: Tenant | None, sub: str, *, replaces: bool
) -> tuple[bool, bool]:
    """Whether it is known to be another person than the last, and whether it is known to be the
    same.
    """
    last = next(iter(browser.cookies(PERSON_COOKIE)), None)
    value, *context = _hashed(browser, tenant, sub)
    same = (
        not replaces
        and last is not None
        and stands_for(browser.services.signing_keys, last, value, *context)
    )
    return replaces or (last is not None and not same), same


def _hashed(browser: Browser, tenant: Tenant | None, sub: str) -> tuple[str, str, str]:
    return f"{tenant.id if tenant is not None else ''} {sub}", "person", browser.host


def _entries(browser: Browser, tenant: Tenant | None) -> tuple[AppCookie, ...]:
    """At a host of many tenants also those of the one that was here before: it is the same
    application.
    """
    if browser.found is HostKind.LOGIN:
        return ()
    tenants = (tenant, remembered_tenant(browser) if browser.found is HostKind.SHARED else None)
    return tuple(
        dict.fromkeys(entry for each in tenants if each is not None for entry in each.app_cookies)
    )


def _end_app_sessions(
    response: web.Response, browser: Browser, entries: tuple[AppCookie, ...]
) -> None:
    lines, overflow = expired(
        browser.request.headers.getall("Cookie", ()),
        entries,
        host=browser.host,
        own=browser.services.config.cookie.name,
    )
    for line in lines:
        # Not by ``set_cookie``, which has room for one cookie of a name.
        response.headers.add("Set-Cookie", line)
    if overflow:
        _LOG.warning(
            "app_cookies_left",
            extra=fields(
                request_id=browser.request_id,
                tenant=browser.record.tenant,
                host=browser.host,
                count=len(overflow),
            ),
        )
