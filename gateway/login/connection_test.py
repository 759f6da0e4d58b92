"""Test connection: a whole login through a tenant's provider that creates no session and ends on a
page that tells everything.

Rules:
- Only a link that an operator made leads here, until it is used or an hour old. Opening it uses
  nothing up (mail scanners open links); the first result does.
- No session, no cookie but the one that binds the login to this browser, nobody counted as signed
  in. The tokens are thrown away, the refresh token at Cognito too.
- It works for a tenant that is not active yet, and then says that nobody would be let in.
- The client of a move that is tried counts for the link that it was lent to, and for nothing else.
- What is shown is this login's own claims, this tenant's settings, and no token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.cognito.error_diagnosis import diagnose
from gateway.core import signed_link
from gateway.core.decide import decide, match
from gateway.core.decision import Allow, Deny
from gateway.core.groups import parse_groups
from gateway.core.login import Accepted, Refusal, accept
from gateway.core.model import AuthRequest, RequestKind, Session
from gateway.core.reason import Reason
from gateway.core.tenants import HostKind
from gateway.errors import PeerError, UnavailableError
from gateway.login.authorize import Destination, is_prefetch, send_to_cognito
from gateway.login.middleware import page
from gateway.login.request import BrowserError, parse_any
from gateway.pages.support import group_words
from gateway.pages.texts import TrialLack, TrialStep

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.cognito.relying_party import Tokens
    from gateway.core.decision import Decision
    from gateway.core.model import PendingLogin, Provider, Tenant
    from gateway.login.request import Browser
    from gateway.sessions.api import LoginConsumed

PURPOSE = "test"
LEFT_OUT = frozenset({"nonce", "at_hash", "jti", "origin_jti", "event_id"})
"""Claims that are good for replaying or ending something, and say nothing about the connection."""
MAX_SHOWN = 2048
MAX_NAMES = 100
"""Of groups and claims that whoever made the link is told."""


async def start(request: web.Request) -> web.StreamResponse:
    """``/_auth/test``: from the link to Cognito."""
    browser = parse_any(request)
    token = browser.parameter("token")
    trial = (
        await browser.services.trials.open(token) if token and not is_prefetch(request) else None
    )
    table = browser.services.tenants.table
    tenant = table.by_id(trial[0]) if trial is not None else None
    if (
        trial is None
        or tenant is None
        or not (browser.found is HostKind.LOGIN or table.owns(tenant, browser.host))
    ):
        raise BrowserError(
            Reason.LOGIN_STATE,
            400,
            cause="no test link of ours for this host, or it was used, or it is too old",
        )
    browser.record.tenant = tenant.id
    tenant = await _with_lent(browser, tenant, trial[1])
    provider = _tested(tenant, browser.parameter("provider"))
    if provider is None:
        choices = [
            (
                p.label,
                p.known_as,
                f"{signed_link.PATH}?{urlencode({'token': token, 'provider': p.name})}",
            )
            for p in tenant.configured
        ]
        return page(request, "chooser", tenant, choices=choices, change=None)
    response = await send_to_cognito(
        browser, tenant, provider, Destination(f"{browser.origin}/"), prompt="login", test=trial[1]
    )
    return await _looked_ahead(browser, tenant, provider, trial[1], response)


async def _with_lent(browser: Browser, tenant: Tenant, name: str) -> Tenant:
    """As it would be after a move that the link tries. Where that client is gone, nothing is
    tested: the tenant's own would say nothing about it.
    """
    if not name.startswith(signed_link.LENT):
        return tenant
    client = await browser.services.trials.lent(name)
    if client is None:
        raise BrowserError(
            Reason.LOGIN_STATE,
            400,
            cause="the trial that this link belongs to has ended",
            tenant=tenant,
        )
    return replace(
        tenant,
        client_id=client.client_id,
        client_secret=client.client_secret,
        pool=client.pool,
        rotated=None,
        retired=(),
    )


def _tested(tenant: Tenant, wanted: str) -> Provider | None:
    """The named one, or the only one, active or not; None: the person chooses."""
    if not wanted:
        return tenant.configured[0] if len(tenant.configured) == 1 else None
    provider = tenant.configured_provider(wanted)
    if provider is None:
        raise BrowserError(
            Reason.BAD_REQUEST, 400, cause="provider is not one of this tenant's", tenant=tenant
        )
    return provider


async def _looked_ahead(
    browser: Browser, tenant: Tenant, provider: Provider, name: str, response: web.Response
) -> web.Response:
    """``response`` leads to Cognito. Whoever ends on an error page there comes back to no callback:
    what it would say is told here, and nothing is used up.
    """
    services = browser.services
    start_time = perf_counter()
    refusal = await services.relying_party.own_error_page(response.headers["Location"])
    if refusal is None:
        await services.trials.note(
            name, signed_link.Result("begun", services.clock(), provider.name)
        )
        return response
    diagnosis = diagnose(refusal, refusal)
    await services.trials.note(
        name,
        signed_link.Result(
            "cognito",
            services.clock(),
            provider.name,
            f"{diagnosis.code}: {diagnosis.cause}; {diagnosis.setting}",
        ),
    )
    steps = [(TrialStep.SIGN_IN, _ms(start_time), False, f"{diagnosis.code}: {diagnosis.cause}")]
    return page(
        browser.request,
        "test_result",
        tenant,
        steps=steps,
        claims=[],
        groups=[],
        missing=[(TrialLack.DETAIL, diagnosis.setting)],
        allowed=False,
        reason=Reason.IDP_ERROR.value,
    )


@dataclass(slots=True)
class _Result:
    """What the page will say. ``steps`` are what was done, milliseconds, whether it worked, detail;
    ``missing`` what, and its names.
    """

    steps: list[tuple[TrialStep, float, bool, str]] = field(default_factory=list)
    claims: list[tuple[str, str]] = field(default_factory=list)
    groups: tuple[str, ...] = ()
    missing: list[tuple[TrialLack, str]] = field(default_factory=list)
    allowed: bool = False
    reason: Reason = Reason.IDP_ERROR

    def summary(self, *, at: float, provider: str) -> signed_link.Result:
        """For whoever made the link."""
        claims = tuple(name for name, _ in self.claims)[:MAX_NAMES]
        groups = self.groups[:MAX_NAMES]
        return signed_link.Result(
            "done", at, provider, self.reason.value, self.allowed, groups, claims
        )


async def finish(
    browser: Browser, taken: LoginConsumed, *, code: str, error: str, description: str
) -> web.StreamResponse:
    """The callback of a login whose purpose is a test."""
    services, pending = browser.services, taken.pending
    tenant = services.tenants.table.by_id(pending.tenant)
    provider = tenant.configured_provider(pending.provider) if tenant is not None else None
    if tenant is None or provider is None or not await services.trials.spend(pending.test):
        raise BrowserError(
            Reason.LOGIN_STATE,
            400,
            cause="the test link was used, or tenant or provider changed since",
            tenant=tenant,
        )
    browser.record.tenant, browser.record.provider = tenant.id, provider.name
    tenant = await _with_lent(browser, tenant, pending.test)
    result = _Result()
    there_ms = max(0.0, services.clock() - taken.began / 1_000_000) * 1000
    if error or not code:
        diagnosis = diagnose(error, description)
        result.steps.append(
            (TrialStep.SIGN_IN, there_ms, False, f"{diagnosis.code}: {diagnosis.cause}")
        )
        result.missing.append((TrialLack.DETAIL, diagnosis.setting))
    else:
        result.steps.append((TrialStep.SIGN_IN, there_ms, True, provider.known_as))
        tokens = await _exchange(browser, tenant, pending, code, result)
        # Cognito took its time: what is told is what holds now.
        tenant = services.tenants.table.by_id(pending.tenant)
        provider = tenant.configured_provider(pending.provider) if tenant is not None else None
        if tenant is None or provider is None:
            raise BrowserError(
                Reason.LOGIN_STATE,
                400,
                cause="tenant or provider changed during the test",
                tenant=tenant,
            )
        tenant = await _with_lent(browser, tenant, pending.test)
        if tokens is not None:
            _judge(browser, tenant, provider, tokens, result, pool=pending.pool)
            await _throw_away(browser, tenant, pending, tokens, result)
    browser.record.reason = result.reason
    await services.trials.note(
        pending.test, result.summary(at=services.clock(), provider=pending.provider)
    )
    return page(
        browser.request,
        "test_result",
        tenant,
        steps=result.steps,
        claims=result.claims,
        groups=tenant.branding.labeled(result.groups),
        missing=result.missing,
        allowed=result.allowed,
        reason=result.reason.value,
    )


async def _exchange(
    browser: Browser, tenant: Tenant, pending: PendingLogin, code: str, result: _Result
) -> Tokens | None:
    start_time = perf_counter()
    try:
        tokens = await browser.services.relying_party.exchange(tenant, pending, code=code)
    except (PeerError, UnavailableError) as fault:
        result.steps.append((TrialStep.EXCHANGE, _ms(start_time), False, str(fault)))
        return None
    result.steps.append((TrialStep.EXCHANGE, _ms(start_time), True, ""))
    result.claims = [
        (name, _shown(value))
        for name, value in sorted(tokens.claims.items())
        if name not in LEFT_OUT
    ]
    return tokens


def _judge(
    browser: Browser,
    tenant: Tenant,
    provider: Provider,
    tokens: Tokens,
    result: _Result,
    *,
    pool: str,
) -> None:
    """The claims by the function that logs people in, the identity by the one that decides
    checks.
    """
    start_time = perf_counter()
    pool_id = browser.services.config.cognito.all_pools[pool].user_pool_id
    accepted = accept(tokens.claims, tenant, provider, pool_id=pool_id)
    if isinstance(accepted, Refusal):
        result.reason = accepted.reason
        result.groups = (
            parse_groups(
                tokens.claims.get("custom:groups"), url_decode_groups=provider.url_decode_groups
            )
            or ()
        )
        result.missing.append((TrialLack.DETAIL, accepted.detail))
        result.steps.append((TrialStep.CLAIMS, _ms(start_time), False, accepted.detail))
        return
    result.groups = accepted.identity.groups
    result.steps.append((TrialStep.CLAIMS, _ms(start_time), True, "; ".join(accepted.warnings)))
    result.missing += [(TrialLack.DETAIL, warning) for warning in accepted.warnings]
    if not accepted.idp_iat_mapped:
        result.missing.append((TrialLack.IDP_IAT, ""))
    decision_start = perf_counter()
    auth_request = _start_page(browser)
    decision = _decide(browser, tenant, auth_request, accepted)
    result.allowed, result.reason = isinstance(decision, Allow), decision.reason
    result.missing += _missing(tenant, decision)
    result.steps.append(
        (TrialStep.DECISION, _ms(decision_start), result.allowed, decision.reason.value)
    )


def _decide(browser: Browser, tenant: Tenant, asked: AuthRequest, accepted: Accepted) -> Decision:
    """With the session that this login would have made."""
    now = browser.services.clock()
    session = Session(
        digest="",
        tenant=tenant.id,
        host=browser.host,
        family="",
        identity=accepted.identity,
        began=0,
        auth_time=accepted.auth_time,
        created_at=int(now),
        expires_at=int(now) + tenant.session.absolute_s,
        client_id=tenant.client_id,
    )
    return decide(tenant, asked, match(tenant, asked), session=session, machine=None, now=now)


def _start_page(browser: Browser) -> AuthRequest:
    return AuthRequest(
        scheme=browser.services.config.public_scheme,
        host=browser.host,
        method="GET",
        path="/",
        ambiguous=False,
        original_uri="/",
        kind=RequestKind.NAVIGATION,
        html=True,
        cookies=(),
        other_cookies="",
        bearer=None,
        preflight=False,
        client=browser.client,
        request_id=browser.request_id,
    )


def _missing(tenant: Tenant, decision: Decision) -> list[tuple[TrialLack, str]]:
    if decision.reason is Reason.TENANT_INACTIVE:
        return [(TrialLack.ACTIVE, "")]
    if decision.reason is Reason.PROVIDER_INACTIVE:
        return [(TrialLack.PROVIDER_ACTIVE, "")]
    if not isinstance(decision, Deny):
        return []
    groups = group_words(tenant.branding.labeled(decision.groups))
    return [
        (lack, names)
        for lack, names in (
            (TrialLack.GROUPS, groups),
            (TrialLack.ROLES, ", ".join(decision.roles)),
        )
        if names
    ]


async def _throw_away(
    browser: Browser, tenant: Tenant, pending: PendingLogin, tokens: Tokens, result: _Result
) -> None:
    if tokens.refresh_token is None:
        return
    start_time = perf_counter()
    try:
        await browser.services.relying_party.revoke(
            tenant, tokens.refresh_token, client_id=pending.client_id
        )
    except (PeerError, UnavailableError) as fault:
        result.steps.append((TrialStep.THROWN_AWAY, _ms(start_time), False, str(fault)))
    else:
        result.steps.append((TrialStep.THROWN_AWAY, _ms(start_time), True, ""))


def _ms(started: float) -> float:
    return (perf_counter() - started) * 1000


def _shown(value: object) -> str:
    return (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    )[:MAX_SHOWN]
