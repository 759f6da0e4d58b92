"""``/_auth/denied``: decides again for this browser's session and says why. No text of the URL is
shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from gateway.check.denial import denied_values
from gateway.core.decide import Trace, decide, match
from gateway.core.decision import Deny, Login
from gateway.core.model import AuthRequest, RequestKind
from gateway.core.paths import canonical
from gateway.core.reason import Reason
from gateway.login.middleware import page, redirect
from gateway.login.page_links import change_link
from gateway.login.request import BrowserError, parse

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.login.request import Browser


async def explain(request: web.Request) -> web.StreamResponse:
    browser = parse(request)
    target_url = browser.parameter("rd")
    parts = (
        urlsplit(target_url)
        if target_url.startswith(f"{browser.origin}/")
        else urlsplit(f"{browser.origin}/")
    )
    path = canonical(parts.path)
    present = await browser.session()
    if present is None:
        return redirect("/_auth/login?" + urlencode({"rd": target_url}))
    session = present[0]
    tenant = browser.tenant_for(session.tenant)
    if tenant is None or path is None:
        raise BrowserError(Reason.BAD_REQUEST, 400, tenant=tenant)
    browser.record.tenant, browser.record.user = tenant.id, session.identity.sub
    auth_request = _as_asked(browser, path.path, ambiguous=path.ambiguous, target=parts.path)
    rule_match = match(tenant, auth_request)
    decision = decide(
        tenant,
        auth_request,
        rule_match,
        session=session,
        machine=None,
        now=browser.services.clock(),
        trace=Trace(),
    )
    browser.record.reason = decision.reason
    if isinstance(decision, Login):
        return redirect("/_auth/login?" + urlencode({"rd": target_url}))
    return_to = f"{browser.origin}{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    return page(
        request,
        "denied",
        tenant,
        status=403 if isinstance(decision, Deny) else 200,
        **denied_values(
            tenant,
            rule_match,
            session.identity,
            decision if isinstance(decision, Deny) else Deny(Reason.OK),
            return_to=return_to,
            change=change_link(browser, f"/_auth/login?{urlencode({'rd': return_to})}"),
        ),
    )


def _as_asked(browser: Browser, path: str, *, ambiguous: bool, target: str) -> AuthRequest:
    return AuthRequest(
        scheme=browser.services.config.public_scheme,
        host=browser.host,
        method="GET",
        path=path,
        ambiguous=ambiguous,
        original_uri=target,
        kind=RequestKind.NAVIGATION,
        html=True,
        cookies=(),
        other_cookies="",
        bearer=None,
        preflight=False,
        client=browser.client,
        request_id=browser.request_id,
    )
