"""App passwords at ``/_auth/sessions``: a person makes them, sees each once, and revokes them.
Never anybody else's.

Rules:
- A password stands in one answer, to the form that asked for it, and nowhere else: not in an
  address, a log or a cookie.
- At an application's host it is for that host alone: a script of the application there can fill in
  the form and read the answer, and must gain nothing at the tenant's other hosts. The login host,
  where no application is, offers all.
- One is made after a fresh login alone, which had the person asked: a stolen cookie, or a script
  at the host, would make one that outlives the session.
- What is asked for is checked here for what the person would see; the store keeps to the tenant's
  limits whatever is asked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.hosts import includes
from gateway.core.paths import canonical
from gateway.core.readings import Unreadable
from gateway.core.tenants import HostKind
from gateway.log import fields
from gateway.login.middleware import page
from gateway.sessions.api import AppPasswordRefusal, NewAppPassword

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from gateway.core.model import Session, Tenant
    from gateway.core.rule import Rule
    from gateway.login.request import Browser
    from gateway.sessions.api import StoredAppPassword

_LOG = logging.getLogger(__name__)
DAY_S: Final = 86400
MAX_NAME_CHARACTERS: Final = 80
MAX_PATH_CHARACTERS: Final = 256
MADE_AT_MOST: Final = 20
MADE_WINDOW_S: Final = 3600
"""A person may make so many in an hour: each is a write that waits for the store's replicas."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the form offers. ``days``: the longest lifetime. ``everywhere``: whether all hosts of
    the tenant at once. ``moved``: those from before end, since the tenant is in another user pool.
    """

    hosts: tuple[str, ...]
    days: int
    everywhere: bool
    moved: bool = False


def offer(browser: Browser, tenant: Tenant | None) -> Offer | None:
    """None where no rule takes app passwords, and at a host that several tenants share. The login
    host offers those where one does.
    """
    at_login = browser.found is HostKind.LOGIN
    if (
        tenant is None
        or not tenant.takes_app_passwords
        or not (at_login or browser.tenant is tenant)
    ):
        return None
    rules = [rule for rule in (*tenant.rules, *tenant.shadow_rules) if rule.app_passwords]
    hosts = tuple(
        host
        for host in (_known(tenant, rules) if at_login else (browser.host,))
        if any(rule.hosts is None or includes(rule.hosts, host) for rule in rules)
    )
    if not hosts and not at_login:
        return None
    days = max(1, tenant.app_passwords.lifetime_s // DAY_S)
    return Offer(hosts, days, everywhere=at_login, moved=len(tenant.pools) > 1)


def _known(tenant: Tenant, rules: Sequence[Rule]) -> list[str]:
    """The hosts by name: those of the tenant, and what rules name below its wildcards."""
    hosts = {host for rule in rules for host in rule.hosts or () if not host.startswith("*.")}
    return sorted(tenant.hosts | hosts)


async def make(browser: Browser, session: Session, cookie: str) -> StoredAppPassword | str:
    """Or the name of the problem that the page tells."""
    tenant = browser.tenant_for(session.tenant)
    options = offer(browser, tenant)
    new = None if tenant is None or options is None else await _asked(browser, tenant, options)
    if tenant is None or new is None:
        return "fields"
    services = browser.services
    if not await services.attempts.hit(
        f"{tenant.id} {session.identity.sub}",
        at_most=MADE_AT_MOST,
        window_s=MADE_WINDOW_S,
        kind="app password",
    ):
        return "too_fast"
    app_password = await services.sessions.make_app_password(
        session, cookie=cookie, tenant=tenant, new=new
    )
    if isinstance(app_password, AppPasswordRefusal):
        return app_password.value
    _LOG.info(
        "app_password_made",
        extra=fields(
            request_id=browser.request_id,
            tenant=tenant.id,
            user=session.identity.sub,
            app_password=app_password.view.session,
            client=browser.client,
        ),
    )
    return app_password


def told(request: web.Request, tenant: Tenant | None, made: StoredAppPassword) -> web.Response:
    """The one answer that holds it."""
    of = made.view.app_password
    return page(
        request,
        "app_password",
        tenant,
        text=made.text.reveal(),
        label=of.name if of is not None else "",
        expires_at=made.view.expires_at,
    )


async def revoke(browser: Browser, session: Session, app_password: str) -> None:
    """One of the person's own; anything else is nothing."""
    if any(
        view.session == app_password
        for view in await browser.services.sessions.list_app_passwords(session)
    ):
        await browser.services.sessions.end_own(session, family=app_password)
        _LOG.info(
            "app_password_revoked",
            extra=fields(
                request_id=browser.request_id,
                tenant=session.tenant,
                user=session.identity.sub,
                app_password=app_password,
            ),
        )


async def _asked(browser: Browser, tenant: Tenant, offered: Offer) -> NewAppPassword | None:
    """What the form says, if it is something that the form offers."""
    name, host, path, days = [
        (await browser.field(field)).strip() for field in ("name", "host", "path", "days")
    ]
    canonical_path = (
        canonical(path) if path.startswith("/") and len(path) <= MAX_PATH_CHARACTERS else None
    )
    if (
        canonical_path is None
        or canonical_path.ambiguous
        or isinstance(tenant.paths.names(canonical_path.path), Unreadable)
    ):
        return None
    if (
        not name
        or len(name) > MAX_NAME_CHARACTERS
        or not name.isprintable()
        or host not in offered.hosts + ("",) * offered.everywhere
    ):
        return None
    if not (
        days.isascii() and days.isdecimal() and len(days) <= 2 and 1 <= int(days) <= offered.days
    ):
        return None
    return NewAppPassword(
        name, frozenset({host} if host else ()), (canonical_path.path,), int(days) * DAY_S
    )
