"""The hot path: one request of the ingress, top to bottom, on its own listener.

    is the peer believed? → parse → tenant → rule → session (the only await) → decide → render → one
    counter, one log record

Where a tenant has ``shadow_rules``, they are asked beside it and never obeyed (``rules_next.py``).

No identity provider is asked, and at most one store. aiohttp's low-level server carries it: no
routing, no middlewares.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from gateway.check.denial import Asked, explain
from gateway.check.dialects import ENDPOINTS, Answer, Malformed, RawRequest, Verdict
from gateway.check.dialects.forwarded import sees_pages
from gateway.check.log_throttle import MAX_KEY_CHARACTERS, Repeats
from gateway.check.shadow_rules import NextCredentials, look_up, would_decide
from gateway.core.activity import active_s
from gateway.core.cookies import MAX_TRIED
from gateway.core.decide import (
    decide,
    match,
    requires_app_password,
    requires_bearer,
    takes_app_passwords,
)
from gateway.core.decision import Allow, Deny, Login, Reason
from gateway.core.headers import bearer_headers, identity_headers, needs_assertion
from gateway.core.model import RequestKind
from gateway.core.returns import MAX_LOCATION_CHARACTERS
from gateway.core.tenants import HostKind
from gateway.errors import OutdatedError, UnavailableError
from gateway.log import Throttled, fields
from gateway.metrics import CHECK_DURATION, CHECKS, SHADOW_RULE_MISMATCHES, tenant_label
from gateway.sessions.api import Miss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web_request import BaseRequest
    from prometheus_client import Counter

    from gateway.check.dialects import Dialect
    from gateway.check.services import Services
    from gateway.core.decision import Decision
    from gateway.core.model import AppPassword, AuthRequest, MachineToken, Session, Tenant
    from gateway.core.tenants import TenantTable

_LOG = logging.getLogger(__name__)
PREFIX = "/auth/"
MAX_HEAD_LINE_BYTES = 64 * 1024
"""aiohttp's own limit of 8190 would turn a large cookie of the app into a 400 here and a 500 at
nginx.
"""
_MAX_HEADS = 5_000
"""An identity head may be 12 kB: at most 60 MB in a worker."""
_KINDS = {Allow: "allow", Login: "login", Deny: "deny"}


@dataclass(frozen=True, slots=True)
class _Decided:
    """``would``: what the tenant's next rules say; None where that is not known. ``app_passwords``:
    whether the matched rule takes them.
    """

    decision: Decision
    tenant: Tenant | None = None
    session: Session | None = None
    would: Decision | None = None
    app_passwords: bool = False


class Checks:
    """Answers the ingress. One instance per process; holds only caches that can be dropped at any
    time.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._heads: OrderedDict[
            tuple[str, str], tuple[Session, Tenant, float, tuple[tuple[str, str], ...] | None]
        ] = OrderedDict()
        self._seconds = {name: CHECK_DURATION.labels(name) for name in ENDPOINTS}
        self._unavailable = Throttled(_LOG, logging.WARNING, "store_unavailable")
        self._counters: dict[tuple[str, str, str, str], Counter] = {}
        self._repeats = Repeats()

    async def __call__(self, request: BaseRequest) -> web.StreamResponse:
        started = perf_counter()
        name, _, _ = request.raw_path.removeprefix(PREFIX).partition("?")[0].partition("/")
        dialect = ENDPOINTS.get(name) if request.raw_path.startswith(PREFIX) else None
        if dialect is None:
            return web.Response(status=404)
        headers = request.headers
        parsed, html, number = None, False, ""
        if not self._services.trust.is_trusted(request):
            html = sees_pages(headers, headers.get("X-Forwarded-Method", request.method))
            decided = _Decided(Deny(Reason.UNTRUSTED_PROXY))
        else:
            asked = dialect.parse(
                RawRequest(request.method, request.raw_path, headers, request.remote or ""),
                cookie_name=self._services.config.cookie.name,
            )
            if isinstance(asked, Malformed):
                number = self._services.random_token()[:16]
                _LOG.info(
                    "check_malformed",
                    extra=fields(
                        request_id=number, reason=asked.reason, detail=asked.detail, dialect=name
                    ),
                )
                decided, html = _Decided(Deny(asked.reason)), asked.html
            else:
                parsed, html = asked, asked.html
                try:
                    decided = await self._decide_by_current_tenants(parsed)
                except UnavailableError as error:
                    self._unavailable(error=str(error), host=parsed.host)
                    decided = _Decided(Deny(Reason.STORE_UNAVAILABLE))
        if parsed is not None and not parsed.request_id and not isinstance(decided.decision, Allow):
            # Not every ingress numbers its requests; a person who asks for help needs a number that
            # the log knows too.
            parsed = replace(parsed, request_id=self._services.random_token()[:16])
        # No await from here on: tenants, session and what is answered are of one moment.
        number = parsed.request_id if parsed is not None else number
        verdict = self._verdict(
            decided, parsed, headers.getall("Accept-Language", ()), html=html, number=number
        )
        answer = dialect.render(verdict, parsed)
        self._record(dialect, verdict.decision, decided, parsed, started)
        return response_of(answer)

    async def _decide_by_current_tenants(self, request: AuthRequest) -> _Decided:
        """Tenants may change at every await in here: what was decided by others than those that are
        served then is decided again.

        Tenants that must not be decided by any more are waited for: the next ones come within
        milliseconds when all is well.
        """
        tenants, ends = self._services.tenants, monotonic() + SNAPSHOT_AWAITED_S
        for _ in range(MAX_SWAPS):
            table = tenants.table
            try:
                decided = await self._decide(request, table)
            except OutdatedError:
                if not await tenants.replaced(table, within_s=ends - monotonic()):
                    raise
            else:
                if tenants.table is table:
                    return decided
        raise OutdatedError

    async def _decide(self, request: AuthRequest, table: TenantTable) -> _Decided:
        services = self._services
        found = table.by_host(request.host)
        if found is HostKind.UNKNOWN:
            return _Decided(Deny(Reason.UNKNOWN_HOST))
        if found is HostKind.LOGIN:
            # It protects nothing: the sessions there sign in to other hosts, and are no answer
            # about whatever stands behind it.
            return _Decided(Login(Reason.NO_SESSION))
        session: Session | None = None
        machine: MachineToken | None = None
        password: AppPassword | None = None
        more: NextCredentials | None = NextCredentials()
        if isinstance(found, HostKind):
            # A shared host has no tenant of its own: the session names it.
            session = await self._session(request)
            tenant = table.by_id(session.tenant) if session is not None else None
            if tenant is None:
                return _Decided(self._no_session(request, None))
            matched = match(tenant, request)
        else:
            tenant = found
            matched = match(tenant, request)
            if tenant.shadow_rules:
                more = await look_up(
                    tenant,
                    request,
                    machines=services.machines,
                    find=self._session,
                    find_app_password=self._app_password,
                )
            if requires_app_password(matched, request):
                password = await self._app_password(request)
            elif matched.refused is None and requires_bearer(matched, request):
                machine = await self._machine(tenant, request.bearer) if request.bearer else None
            elif matched.refused is None and request.cookies:
                session = await self._session(request)
        now = services.clock()
        decision = decide(
            tenant, request, matched, session=session, machine=machine, password=password, now=now
        )
        if session is not None:
            services.sessions.used(session, active_s=active_s(tenant, request, decision))
        if isinstance(decision, Login) and session is None and decision.reason is Reason.NO_SESSION:
            decision = self._no_session(request, tenant.id)
        if isinstance(decision, Allow) and services.sessions.is_suspended(tenant.id):
            raise OutdatedError
        would = would_decide(
            tenant, request, more, session=session, machine=machine, password=password, now=now
        )
        if password is not None and password.session.tenant == tenant.id:
            session = password.session
        return _Decided(
            decision,
            tenant,
            session,
            would,
            takes_app_passwords(matched) and not isinstance(found, HostKind),
        )

    def _no_session(self, request: AuthRequest, tenant: str | None) -> Login:
        """Whatever the reason, it is a login: nothing of another place is ever carried over."""
        reasons = (
            self._services.sessions.why_not(cookie, tenant=tenant)
            for cookie in request.cookies[:MAX_TRIED]
        )
        return Login(
            next(
                (reason for reason in reasons if reason is not Reason.NO_SESSION), Reason.NO_SESSION
            )
        )

    async def _session(self, request: AuthRequest) -> Session | None:
        """The first live session among the cookies of our name; a stale duplicate does not hide
        it.
        """
        for cookie in request.cookies[:MAX_TRIED]:
            session = self._services.sessions.cached(cookie, host=request.host)
            if isinstance(session, Miss):
                session = await self._services.sessions.find(cookie, host=request.host)
            if session is not None:
                return session
        return None

    async def _app_password(self, request: AuthRequest) -> AppPassword | None:
        text, host = request.app_password or "", request.host
        found = self._services.sessions.cached_app_password(text)
        return (
            await self._services.sessions.app_password(text, host=host)
            if isinstance(found, Miss)
            else found
        )

    async def _machine(self, tenant: Tenant, token: str) -> MachineToken | None:
        """Judged at a moment at which everything that was taken away is known here."""
        for _ in range(MAX_SWAPS):
            machine = await self._services.machines.authenticate(tenant, token)
            if machine is None or await self._services.sessions.wait_for_snapshot(tenant.id):
                return machine
        raise OutdatedError

    def _verdict(
        self,
        decided: _Decided,
        request: AuthRequest | None,
        languages: Sequence[str],
        *,
        html: bool,
        number: str,
    ) -> Verdict:
        """What the dialect needs to tell the decision: managed headers, or where to go, or what to
        show: a page where ``html``, with its ``number``.
        """
        decision, tenant = decided.decision, decided.tenant
        if isinstance(decision, Allow) and tenant is not None and request is not None:
            head = self._head(tenant, request, decision)
            if head is not None:
                return Verdict(decision=decision, headers=head)
            decision = Deny(Reason.IDENTITY_TOO_LARGE)
        location = ""
        if (
            request is not None
            and isinstance(decision, Login | Deny)
            and decision.reason not in _NO_PAGE
        ):
            origin = self._services.config.origin(request.host)
            page = "login" if isinstance(decision, Login) else "denied"
            # What was sent to an address with another method may not be there for a GET.
            back = request.original_uri if request.method in SAFE_METHODS else "/"
            location = f"{origin}/_auth/{page}?rd={quote(origin + back, safe='')}"
            if len(location) > MAX_LOCATION_CHARACTERS:
                # A denial is of the path alone; a login's page says that the address could not be
                # kept.
                location = (
                    f"{origin}/_auth/{page}?rd={quote(origin + back.partition('?')[0], safe='')}"
                    if page == "denied"
                    else f"{origin}/_auth/login?too_long=1"
                )
                location = location if len(location) <= MAX_LOCATION_CHARACTERS else ""
        told = explain(
            self._services,
            decision,
            Asked(tenant, request, decided.session, location, languages, html, number),
        )
        redirect = (
            request is not None
            and request.kind is RequestKind.NAVIGATION
            and (isinstance(decision, Deny) or (isinstance(decision, Login) and decision.redirect))
        )
        login = location if isinstance(decision, Login) else ""
        realm = (
            request.host
            if request is not None and decided.app_passwords and not request.prompts
            else ""
        )
        return Verdict(
            decision=decision,
            location=location if redirect else "",
            login=login,
            realm=realm,
            content_type=told.content_type,
            body=told.body,
            page_headers=told.headers,
        )

    def _head(
        self, tenant: Tenant, request: AuthRequest, allowed: Allow
    ) -> tuple[tuple[str, str], ...] | None:
        """The managed headers, built once per session, host and minute rather than once per check;
        of a token, each time that it was judged.
        """
        session, machine, now = allowed.session, allowed.machine, self._services.clock()
        if machine is not None:
            signed = (
                self._services.assertions.sign_bearer(
                    machine,
                    tenant=tenant.id,
                    origin=self._services.config.origin(request.host),
                    now=now,
                )
                if needs_assertion(tenant)
                else ""
            )
            return bearer_headers(tenant, machine, assertion=signed, identity=allowed.identity)
        if session is None:
            return identity_headers(tenant, None)
        key = (session.digest, request.host)
        cached = self._heads.get(key)
        if (
            cached is not None
            and (cached[0] is session or cached[0] == session)
            and cached[1] is tenant
            and cached[2] > now
        ):
            return cached[3]
        origin = self._services.config.origin(request.host)
        assertion = (
            self._services.assertions.sign(
                session, origin=origin, now=now, groups=tenant.assertion_group_names
            )
            if needs_assertion(tenant)
            else ""
        )
        head = identity_headers(tenant, session.identity, assertion=assertion)
        self._heads[key] = (session, tenant, now + HEAD_LIFE_S, head)
        if len(self._heads) > _MAX_HEADS:
            self._heads.popitem(last=False)
        return head

    def _record(
        self,
        dialect: Dialect,
        decision: Decision,
        decided: _Decided,
        request: AuthRequest | None,
        started: float,
    ) -> None:
        """What the tenant's next rules say is told where it is something else."""
        seconds = perf_counter() - started
        tenant, would = decided.tenant, decided.would
        identity = (
            decided.session.identity
            if decided.session is not None
            else decision.machine.identity
            if isinstance(decision, Allow) and decision.machine is not None
            else None
        )
        self._seconds[dialect.name].observe(seconds)
        kind = _KINDS[type(decision)]
        labels = (
            tenant_label(tenant.id) if tenant else "",
            dialect.name,
            kind,
            decision.reason.value,
        )
        counter = self._counters.get(labels)
        if counter is None:
            # As many as there are label sets, which are capped; finding one by its labels costs
            # more than counting.
            counter = self._counters[labels] = CHECKS.labels(*labels)
        counter.inc()
        if would is not None and type(would) is type(decision) and would.reason is decision.reason:
            would = None
        if would is not None and tenant is not None:
            SHADOW_RULE_MISMATCHES.labels(tenant_label(tenant.id), kind, _KINDS[type(would)]).inc()
        if not _LOG.isEnabledFor(logging.INFO):
            return
        record = {
            "request_id": request.request_id if request else None,
            "tenant": tenant.id if tenant else None,
            "host": request.host if request else None,
            "method": request.method if request else None,
            "path": request.path if request else None,
            "decision": kind,
            "reason": decision.reason.value,
            "user": identity.sub if identity else None,
            "provider": (identity.provider or None) if identity else None,
            "duration_ms": round(seconds * 1000, 3),
            "dialect": dialect.name,
            "client": request.client if request else None,
            "would_decide": _KINDS[type(would)] if would else None,
            "would_reason": would.reason.value if would else None,
        }
        now = monotonic()
        for repeated, count in self._repeats.due(now):
            _LOG.info("check", extra=fields(**repeated, repeated=count))
        poll = _poll(decision, request)
        if poll is None or self._repeats.is_first(poll, record, now=now):
            _LOG.info("check", extra=fields(**record))


def _poll(decision: Decision, request: AuthRequest | None) -> tuple[str, ...] | None:
    """What a script of one session, live or ended, is refused time and again; None for what is
    logged each time: whatever a person sees has a number that the log must know.
    """
    if (
        isinstance(decision, Allow)
        or request is None
        or not request.cookies
        or request.html
        or request.kind is not RequestKind.OTHER
    ):
        return None
    if request.bearer is not None or request.app_password is not None:
        return None
    if len(request.path) > MAX_KEY_CHARACTERS or len(request.cookies[0]) > MAX_KEY_CHARACTERS:
        return None
    return request.cookies[0], request.host, request.method, request.path, decision.reason.value


SAFE_METHODS = frozenset({"GET", "HEAD"})
"""After a login, the browser comes back with one of these."""
SNAPSHOT_AWAITED_S = 1.0
"""How long a check waits for the tenant snapshot that it needs. Longer would be an ingress' own
time-out, which says less than our 503.
"""
MAX_SWAPS = 8
"""How often tenants may change under one check. A swap takes longer than a check: more of them is
no state to decide in.
"""
HEAD_LIFE_S = 30.0
"""How long a built head is used: well inside ``RENEW_BEFORE_S`` of the assertion in it."""
_NO_PAGE = frozenset(
    {Reason.UNTRUSTED_PROXY, Reason.UNKNOWN_HOST, Reason.BAD_REQUEST, Reason.STORE_UNAVAILABLE}
)


def response_of(answer: Answer) -> web.StreamResponse:
    """What the dialect said, as aiohttp sends it."""
    response = web.Response(status=answer.status, body=answer.body or None)
    for name, value in answer.headers:
        response.headers[name] = value
    return response
