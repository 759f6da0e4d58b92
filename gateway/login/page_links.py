"""Links of our pages that work where they are shown.

The login host protects nothing: no login begins there and it has no start page. Its pages lead to
the host that sent this browser, or to a host of the tenant that is signed in there, or to a shared
host; where none is known there is no link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from gateway.check.page_links import change_address
from gateway.core.hosts import parse_host_header
from gateway.core.tenants import HostKind
from gateway.login.signed_values import verify

if TYPE_CHECKING:
    from gateway.core.model import Identity, Tenant
    from gateway.login.request import Browser

SENDER_COOKIE = "__Host-gw-from"


async def login_link(
    browser: Browser, *, tenant: Tenant | None = None, return_to: str = "", switch: bool = False
) -> str | None:
    """A login's address for this browser, or None where none is known. ``return_to``: absolute and
    validated, or "".
    """
    query = {"rd": return_to, "switch": "1" if switch else ""}
    more = f"?{urlencode({k: v for k, v in query.items() if v})}" if return_to or switch else ""
    if browser.found is not HostKind.LOGIN:
        return f"/_auth/login{more}" if _is_served(browser) else None
    if return_to:
        return f"{'/'.join(return_to.split('/', 3)[:3])}/_auth/login{more}"
    host = _sender(browser)
    if host is None and tenant is None:
        present = await browser.session()
        tenant = (
            browser.services.tenants.table.by_id(present[0].tenant) if present is not None else None
        )
    host = host or _first_host(browser, tenant)
    return f"{browser.services.config.origin(host)}/_auth/login{more}" if host is not None else None


def change_link(browser: Browser, again: str | None = None) -> str | None:
    """Where another e-mail address is typed, on shared hosts and for logins that began there; None
    elsewhere. ``again``: the page's login link.
    """
    parts = urlsplit(again or "")
    return_to = next(iter(parse_qs(parts.query).get("rd", ())), "")
    host = (parts.hostname or "") if browser.found is HostKind.LOGIN else browser.host
    if browser.services.tenants.table.by_host(host) is not HostKind.SHARED:
        return None
    return change_address(browser.services.config.origin(host), return_to)


def is_named(identity: Identity, hint: str) -> bool:
    """Whether a typed address is this person's, by e-mail or login name; "" names anybody."""
    return not hint or hint.strip().lower() in {
        identity.email.lower(),
        identity.preferred_username.lower(),
    }


def start_page(browser: Browser) -> str | None:
    """The application's start page, where it is known without asking the store."""
    if browser.found is not HostKind.LOGIN:
        return f"{browser.origin}/" if _is_served(browser) else None
    host = _sender(browser) or _first_host(browser, None)
    return f"{browser.services.config.origin(host)}/" if host is not None else None


def _is_served(browser: Browser) -> bool:
    owner = browser.found
    return owner is not HostKind.UNKNOWN if isinstance(owner, HostKind) else owner.active


def _sender(browser: Browser) -> str | None:
    """The host that last sent this browser to the login host, if it still is one."""
    for value in browser.cookies(SENDER_COOKIE)[:1]:
        host = parse_host_header(
            verify(browser.services.signing_keys, value, "sender", browser.host) or ""
        )
        if host is not None and browser.services.tenants.table.by_host(host) not in (
            HostKind.UNKNOWN,
            HostKind.LOGIN,
        ):
            return host
    return None


def _first_host(browser: Browser, tenant: Tenant | None) -> str | None:
    """One of ``tenant``, which nobody learns who is not signed in as one of it; else a shared
    one.
    """
    own = sorted(tenant.hosts) if tenant is not None else []
    return next(iter([*own, *sorted(browser.services.tenants.table.shared_hosts)]), None)
