"""Counting returns to one address, so that a misconfiguration ends in a page and not in a spinning browser.

A loop comes back to the same address again and again within seconds; twenty restored tabs come back to different ones.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.core.decision import Reason
from gateway.web.browser.edge import set_cookie
from gateway.web.browser.request import LOOP_COOKIE, BrowserError

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Tenant
    from gateway.web.browser.request import Browser

MAX_RETURNS = 8
WINDOW_S = 60


def count_return(browser: Browser, response: web.Response, return_to: str) -> bool:
    """Note on ``response`` that this browser is sent to ``return_to``; False if that was too often within a minute."""
    digest = hashlib.sha256(return_to.encode()).hexdigest()[:16]
    now = int(browser.services.clock())
    count, since = 0, now
    for value in browser.cookies(LOOP_COOKIE)[:1]:
        parts = value.split(".")
        if len(parts) == 3 and parts[0] == digest and value.isascii() and parts[1].isdigit() and parts[2].isdigit() and len(value) < 64 and 0 <= now - int(parts[2]) < WINDOW_S:
            count, since = int(parts[1]), int(parts[2])
    set_cookie(response, LOOP_COOKIE, f"{digest}.{count + 1}.{since}", max_age_s=WINDOW_S)
    return count < MAX_RETURNS


def give_up(tenant: Tenant | None) -> BrowserError:
    return BrowserError(
        Reason.LOGIN_LOOP,
        400,
        detail="the session cookie does not reach the check, or the check sees another host than the browser: look at the Cookie and X-Forwarded-Host lines of the ingress",
        tenant=tenant,
        retry="/_auth/login",
    )
