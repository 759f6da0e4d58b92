"""Shared hosts: the work e-mail finds the organization, and nothing else about it is told.

Rules:
- Unknown, inactive and malformed get one answer, made by the same work; only an active domain shows
  itself, by redirecting.
- Attempts that find nothing are counted per client and minute, across replicas; beyond the limit
  they are answered 429. An address of an active domain always goes on to its provider: whoever
  shares a client address with somebody who guesses is not locked out.
- The choice is remembered once its login has finished, in a signed cookie that holds the tenant's
  id: no credential, and it can be changed.
- What was typed only chooses where to log in; what is enforced is the claim (invariant 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.hosts import client_key, email_domain
from gateway.core.tenants import HostKind
from gateway.login.authorize import MAX_LOGIN_HINT
from gateway.login.middleware import page, set_cookie
from gateway.login.signed_values import sign, verify

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Tenant
    from gateway.login.request import Browser

CHOICE_COOKIE = "__Host-gw-org"
CHOICE_LIFE_S = 180 * 86400
ATTEMPTS_PER_MINUTE = 20
"""Per client address (IPv6: per /64). A company behind one address mistypes a few a minute (who is
known is not counted); a guesser wants thousands.
"""


async def choose(browser: Browser, *, return_to: str, hint: str) -> Tenant | web.Response:
    """The tenant that a typed address or the remembered choice stands for, or the page that
    asks.
    """
    if not hint:
        last_tenant = None if browser.parameter("change") else remembered_tenant(browser)
        return last_tenant or _ask(browser, return_to)
    domain = email_domain(hint[:MAX_LOGIN_HINT].strip())
    tenant = browser.services.tenants.table.active_by_email_domain(domain or "")
    if tenant is not None:
        return tenant
    if await browser.services.attempts.hit(client_key(browser.client), at_most=ATTEMPTS_PER_MINUTE):
        return _ask(browser, return_to, hint, problem="unknown")
    return _ask(browser, return_to, hint, problem="too_many", status=429)


def _ask(
    browser: Browser, return_to: str, hint: str = "", *, problem: str = "", status: int = 200
) -> web.Response:
    """With what was typed, to be corrected, where it is one plain address: no words of a link's
    author stand on a page of ours.
    """
    email = (
        hint.strip()
        if len(hint) <= MAX_LOGIN_HINT and email_domain(hint.strip()) is not None and hint.isascii()
        else ""
    )
    return page(
        browser.request,
        "email",
        None,
        status=status,
        return_to=return_to,
        email=email,
        problem=problem,
        host=browser.host,
    )


def remember(response: web.Response, browser: Browser, tenant_id: str) -> None:
    """A login has finished here: at a shared host its tenant is where the next one goes. A mistyped
    address never got so far.
    """
    if browser.found is not HostKind.SHARED:
        return
    set_cookie(
        response,
        CHOICE_COOKIE,
        sign(browser.services.signing_keys, tenant_id, "organisation", browser.host),
        max_age_s=CHOICE_LIFE_S,
    )


def remembered_tenant(browser: Browser) -> Tenant | None:
    for value in browser.cookies(CHOICE_COOKIE)[:1]:
        tenant_id = verify(browser.services.signing_keys, value, "organisation", browser.host)
        tenant = browser.services.tenants.table.by_id(tenant_id) if tenant_id is not None else None
        return tenant if tenant is not None and tenant.active else None
    return None
