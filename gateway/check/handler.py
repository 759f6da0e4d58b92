"""The hot path: one question of an ingress, top to bottom, on its own listener.

    is the peer believed? → parse → tenant → rule → session (the only thing that may be waited for)
    → decide → render → one count, one log record

What memory can answer is answered without an await; ``CheckServer`` carries it. Where a tenant has
``shadow_rules``, they are asked beside it and never obeyed (``shadow_rules.py``). No identity
provider is asked, and at most one store; but Cognito is, once a minute, about the name and password
of a user of the pool, where a rule takes them (``pool_passwords.py``).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from gateway.check.counts import CheckCounts
from gateway.check.denial import Asked, explain
from gateway.check.dialects import ENDPOINTS, PATHS, Malformed, Verdict
from gateway.check.dialects.forwarded import sees_pages
from gateway.check.dialects.names import (
    ACCEPT_LANGUAGE,
    TRACEPARENT,
    X_FORWARDED_METHOD,
    X_REQUEST_ID,
)
from gateway.check.known_requests import KnownRequests
from gateway.check.log_throttle import MAX_KEY_CHARACTERS, Repeats
from gateway.check.records import CheckRecord, CheckRecords, RepeatedRecord
from gateway.check.response import CheckResponse, encode, header_lines
from gateway.check.shadow_rules import NextCredentials, look_up, would_decide
from gateway.core.activity import active_s
from gateway.core.console_link import is_console_link
from gateway.core.cookies import MAX_TRIED
from gateway.core.decide import (
    decide,
    match,
    requires_app_password,
    requires_bearer,
    requires_pool_password,
    takes_app_passwords,
    takes_pool_passwords,
)
from gateway.core.decision import Allow, Deny, Login
from gateway.core.headers import bearer_headers, identity_headers, needs_assertion
from gateway.core.model import RequestKind, Session
from gateway.core.reason import Reason
from gateway.core.request_id import parse_request_id
from gateway.core.returns import MAX_LOCATION_CHARACTERS
from gateway.core.tenants import HostKind
from gateway.core.trace_context import trace_id_of
from gateway.errors import OutdatedError, UnavailableError
from gateway.log import Throttled, fields
from gateway.metrics import SHADOW_RULE_MISMATCHES, tenant_label
from gateway.sessions.api import Miss

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gateway.check.counts import CheckLabels
    from gateway.check.dialects import Dialect, RawRequest
    from gateway.check.dialects.raw_request import KnownHead
    from gateway.check.dialects.responses import HeaderList
    from gateway.check.services import Services
    from gateway.config.model import Log
    from gateway.core.decision import Decision
    from gateway.core.model import (
        AppPassword,
        AuthRequest,
        Identity,
        MachineToken,
        PoolPasswordResult,
        Tenant,
    )
    from gateway.core.rules import Match
    from gateway.core.tenants import TenantTable

_LOG = logging.getLogger(__name__)
PREFIX = "/auth/"
_BY_PATH = {**{PREFIX + name: dialect for name, dialect in ENDPOINTS.items()}, **PATHS}
_MAX_HEADS = 5_000
"""An identity head may be 12 kB: at most 60 MB in a worker, and as much again with answers."""
_MAX_KEPT_OWN_BYTES: Final = 4 * 1024
_MAX_KEPT_ANSWER_BYTES: Final = 4 * 1024
"""Of an answer that a known head is answered with again: there are some thousands of them."""
_REASONS = {reason: reason.value for reason in Reason}
_KINDS = {Allow: "allow", Login: "login", Deny: "deny"}
_NOT_FOUND: Final = CheckResponse(404)


class _Decided(NamedTuple):
    """``would``: what the tenant's next rules say; None where that is not known. ``basic``: whether
    the matched rule takes app passwords, or passwords of the pool. ``question``: what was decided,
    where the session alone was judged.
    """

    decision: Decision
    tenant: Tenant | None = None
    session: Session | None = None
    would: Decision | None = None
    basic: bool = False
    question: _Question | None = None


class _Wanted(Enum):
    """The credential that the decision asks for."""

    NOTHING = auto()
    SESSION = auto()
    APP_PASSWORD = auto()
    POOL_PASSWORD = auto()
    MACHINE = auto()


class _Question(NamedTuple):
    """What the tenants and their rules say about a request, before its credential is known.
    ``tenant`` and ``matched`` are None at a shared host: the session names its tenant.
    """

    request: AuthRequest
    table: TenantTable
    tenant: Tenant | None
    matched: Match | None
    wanted: _Wanted


class _Credentials(NamedTuple):
    """What was found; ``more``: what only the next rules ask for, None where that failed."""

    session: Session | None = None
    machine: MachineToken | None = None
    password: AppPassword | None = None
    pool_password: PoolPasswordResult | None = None
    more: NextCredentials | None = NextCredentials()


@dataclass(slots=True)
class _Head:
    """The managed headers of an allow, as lines, with what they were made of; good until ``until``
    (UTC epoch seconds). ``lines`` is None where they are too large.
    """

    lines: bytes | None
    session: Session | None = None
    tenant: Tenant | None = None
    signed_with: int = 0
    until: float = -inf
    answered: tuple[HeaderList, CheckResponse] | None = None
    """The last answer, and what of the client's own is in it: a browser's stays the same."""

    def answer(self, own: HeaderList) -> CheckResponse:
        """With ``own`` of the client's."""
        if self.answered is not None and self.answered[0] == own:
            return self.answered[1]
        lines = header_lines(own)
        response = CheckResponse(200, (self.lines or b"") + lines)
        if len(lines) <= _MAX_KEPT_OWN_BYTES:
            self.answered = own, response
        return response


class _Allowed(NamedTuple):
    """What let in the last request of a known head, with all that the decision and its answer were
    made of besides the bytes of that head: where these are the same objects, and the time has not
    come, they would be made again.
    """

    host: str
    cookie: str

    tenant: Tenant
    matched: Match
    session: Session
    signed_with: int
    until: float
    """UTC epoch seconds."""
    decided: _Decided
    response: CheckResponse


class _AllowedRequest(NamedTuple):
    """What follows from the URI of one that ``allowed`` let in, and from its head and its tenant.
    ``active_s``: as ``active_s`` says.
    """

    allowed: _Allowed
    active_s: float | None
    labels: CheckLabels
    record: RepeatedRecord


_NOBODY: Final = _Credentials()
_CONSOLE_LINK: Final = _Decided(Allow(Reason.PUBLIC))
"""Nobody, and of no tenant."""


class Checks:
    """Answers the ingress. One instance per process; holds only caches that can be dropped at any
    time.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._heads: OrderedDict[tuple[str, str], _Head] = OrderedDict()
        self._known: KnownRequests[_AllowedRequest] = KnownRequests()
        self._unavailable = Throttled(_LOG, logging.WARNING, "store_unavailable")
        self._repeats = Repeats()
        self._counts = CheckCounts()
        tracing = services.config.tracing
        self._is_traced = tracing.url is not None and tracing.ingress_traces
        self._records = CheckRecords(services.config.log, traced=self._is_traced)
        names = services.config.managed_headers
        self._nobody = _Head(header_lines(tuple((name, "") for name in names)))

    def log_as(self, log: Log) -> None:
        """From now on."""
        self._records.follow(log)
        self._known.clear()

    def close(self) -> None:
        """Nothing that was counted or recorded is lost."""
        self._records.flush()
        self._counts.hand_over()

    def __call__(self, request: RawRequest) -> CheckResponse | Awaitable[CheckResponse]:
        """The answer, or what gives it once something was waited for."""
        start_time = perf_counter()
        if request.known is not None:
            answer = self._known_request(request, request.known, start_time)
            if answer is not None:
                return answer
        path = request.raw_path
        dialect = _BY_PATH.get(path) or _dialect_below(path)
        if dialect is None:
            return _NOT_FOUND
        if not self._services.trust.believes(request):
            asked_by = next(iter(request.headers.getall(X_FORWARDED_METHOD, ())), request.method)
            html = sees_pages(request.headers, asked_by)
            denial = _Decided(Deny(Reason.UNTRUSTED_PROXY))
            return self._answer(dialect, request, None, denial, start_time, html=html)
        auth_request = dialect.parse(request, cookie_name=self._services.config.cookie.name)
        if isinstance(auth_request, Malformed):
            return self._malformed(dialect, request, auth_request, start_time)
        try:
            response = self._allowed_again(dialect, auth_request, request, start_time)
            if response is not None:
                return response
            outcome = self._decide_from_memory(auth_request)
        except OutdatedError:
            outcome = None
        except UnavailableError as error:
            outcome = self._without_store(auth_request, error)
        if outcome is None:
            return self._answer_later(dialect, request, auth_request, start_time)
        return self._answer(
            dialect, request, auth_request, outcome, start_time, html=auth_request.html
        )

    async def _answer_later(
        self, dialect: Dialect, request: RawRequest, auth_request: AuthRequest, start_time: float
    ) -> CheckResponse:
        try:
            outcome = await self._decide_by_current_tenants(auth_request)
        except UnavailableError as error:
            outcome = self._without_store(auth_request, error)
        return self._answer(
            dialect, request, auth_request, outcome, start_time, html=auth_request.html
        )

    def _answer(
        self,
        dialect: Dialect,
        request: RawRequest,
        auth_request: AuthRequest | None,
        outcome: _Decided,
        start_time: float,
        *,
        html: bool,
        number: str = "",
    ) -> CheckResponse:
        """No await in here: tenants, session and what is answered are of one moment."""
        decision, tenant = outcome.decision, outcome.tenant
        if auth_request is not None and auth_request.basic is not None and _is_kept_back(tenant):
            auth_request = replace(auth_request, authorization="")
        if isinstance(decision, Allow) and auth_request is not None:
            head = (
                self._head(tenant, auth_request, decision) if tenant is not None else self._nobody
            )
            own = dialect.clients_own(auth_request)
            if head.lines is not None and own is not None:
                response = head.answer(own)
                request.of_somebody = decision.session is not None or decision.machine is not None
                if request.known is not None:
                    request.known.allowed = self._allowed_by(outcome, auth_request, head, response)
                self._record(dialect, decision, outcome, auth_request, start_time, request)
                return response
            if head.lines is None:
                decision = Deny(Reason.IDENTITY_TOO_LARGE)
        if (
            auth_request is not None
            and not auth_request.request_id
            and not isinstance(decision, Allow)
        ):
            # Not every ingress numbers its requests; a person who asks for help needs a number that
            # the log knows too.
            auth_request = replace(auth_request, request_id=self._services.random_token()[:16])
        verdict = self._verdict(
            outcome._replace(decision=decision),
            auth_request,
            request.headers.getall(ACCEPT_LANGUAGE, ()),
            html=html,
            number=auth_request.request_id if auth_request is not None else number,
        )
        response = encode(dialect.render(verdict, auth_request))
        self._record(dialect, decision, outcome, auth_request, start_time, request)
        return response

    def _allowed_by(
        self, outcome: _Decided, request: AuthRequest, head: _Head, response: CheckResponse
    ) -> _Allowed | None:
        """None where it hangs on more than ``_allowed_again`` looks at."""
        question, session, decision = outcome.question, outcome.session, outcome.decision
        if (
            question is None
            or question.tenant is None
            or question.matched is None
            or session is None
            or not isinstance(decision, Allow)
            or decision.session is not session
            or question.tenant.shadow_rules
            or request.host == self._services.config.console.host
            or len(response.lines) > _MAX_KEPT_ANSWER_BYTES
        ):
            return None
        return _Allowed(
            request.host,
            request.cookies[0],
            question.tenant,
            question.matched,
            session,
            head.signed_with,
            min(head.until, session.expires_at),
            outcome._replace(question=None),  # its table may be replaced, and is large
            response,
        )

    def _allowed_again(
        self,
        dialect: Dialect,
        request: AuthRequest,
        raw: RawRequest,
        start_time: float,
    ) -> CheckResponse | None:
        """The answer to a request of a known head that the same would let in as the last; None
        where anything is different, and all is decided anew. Raises ``UnavailableError``.
        """
        head = raw.known
        allowed: _Allowed | None = None if head is None else head.allowed
        if head is None or allowed is None:
            return None
        head.allowed = None  # as long as one of them is not the same, or cannot be asked
        if not self._holds(allowed) or match(allowed.tenant, request) is not allowed.matched:
            return None
        head.allowed = allowed
        outcome = allowed.decided
        active = active_s(allowed.tenant, request, outcome.decision)
        self._services.sessions.used(allowed.session, active_s=active)
        self._record(dialect, outcome.decision, outcome, request, start_time, raw)
        if self._known.is_due(head, uri := raw.uri or ""):
            record = self._check_record(
                dialect, outcome.decision, outcome, request, raw, would=None, seconds=0
            )
            labels = _labels(dialect, outcome.decision, allowed.tenant)
            entry = _AllowedRequest(allowed, active, labels, RepeatedRecord(record))
            self._known.note(head, uri, entry)
        return allowed.response

    def _known_request(
        self, raw: RawRequest, head: KnownHead, start_time: float
    ) -> CheckResponse | None:
        """As ``_allowed_again``, of a head and URI whose request was let in before: its path meets
        the same rule at the same tenant. None, too, where a store is away.
        """
        uri = raw.uri or ""
        services, entry = self._services, self._known.find(head, uri)
        if entry is None or not services.trust.believes(raw):
            return None
        allowed = entry.allowed
        try:
            holds = self._holds(allowed)
        except UnavailableError:
            holds = False
        if not holds:
            self._known.forget(head, uri)
            return None
        services.sessions.used(allowed.session, active_s=entry.active_s)
        seconds = perf_counter() - start_time
        self._counts.count(entry.labels, seconds=seconds)
        if _LOG.isEnabledFor(logging.INFO):
            if self._repeats.seen:
                self._record_repeats()
            if self._records.has_line(ordinary=True):
                trace = raw.traceparent[3:35] if self._is_traced and raw.traceparent else None
                self._records.add_again(
                    entry.record, raw.request_id or "", _milliseconds(seconds), trace
                )
        return allowed.response

    def _holds(self, allowed: _Allowed) -> bool:
        """Whether tenant, session, lease, keys and time are what they were, and the tenant is not
        suspended. Raises ``UnavailableError``.
        """
        services = self._services
        sessions, host, tenant = services.sessions, allowed.host, allowed.tenant
        return (
            services.tenants.table.by_host(host) is tenant
            and sessions.cached(allowed.cookie, host=host) is allowed.session
            and services.clock() < allowed.until
            and services.assertions.ring_number == allowed.signed_with
            and not sessions.is_suspended(tenant.id)
        )

    def _malformed(
        self, dialect: Dialect, request: RawRequest, malformed: Malformed, start_time: float
    ) -> CheckResponse:
        request_id = parse_request_id(",".join(request.headers.getall(X_REQUEST_ID, ())))
        number = request_id or self._services.random_token()[:16]
        _LOG.info(
            "check_malformed",
            extra=fields(
                request_id=number,
                reason=malformed.reason,
                detail=malformed.detail,
                dialect=dialect.name,
            ),
        )
        denial = _Decided(Deny(malformed.reason))
        return self._answer(
            dialect, request, None, denial, start_time, html=malformed.html, number=number
        )

    def _without_store(self, request: AuthRequest, error: UnavailableError) -> _Decided:
        self._unavailable(
            error=str(error), host=request.host, request_id=request.request_id or None
        )
        return _Decided(Deny(Reason.STORE_UNAVAILABLE))

    # --- deciding --------------------------------------------------------------------------------

    def _decide_from_memory(self, request: AuthRequest) -> _Decided | None:
        """None where something must be waited for, as where it raises ``OutdatedError``."""
        question = self._question(request, self._services.tenants.table)
        if isinstance(question, _Decided):
            return question
        credentials = self._remembered(question)
        return None if credentials is None else self._judge(question, credentials)

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
                outcome = await self._decide(request, table)
            except OutdatedError:
                if not await tenants.replaced(table, within_s=ends - monotonic()):
                    raise
            else:
                if tenants.table is table:
                    return outcome
        raise OutdatedError

    async def _decide(self, request: AuthRequest, table: TenantTable) -> _Decided:
        question = self._question(request, table)
        if isinstance(question, _Decided):
            return question
        return self._judge(question, await self._look_up(question))

    def _question(self, request: AuthRequest, table: TenantTable) -> _Question | _Decided:
        if is_console_link(request, self._services.config.console.host):
            return _CONSOLE_LINK
        owner = table.by_host(request.host)
        if owner is HostKind.UNKNOWN:
            return _Decided(Deny(Reason.UNKNOWN_HOST))
        if owner is HostKind.LOGIN:
            # It protects nothing: the sessions there sign in to other hosts, and are no answer
            # about whatever stands behind it.
            return _Decided(Login(Reason.NO_SESSION))
        if isinstance(owner, HostKind):
            return _Question(request, table, None, None, _Wanted.SESSION)
        rule_match, credential = match(owner, request), _Wanted.NOTHING
        if requires_app_password(rule_match, request):
            credential = _Wanted.APP_PASSWORD
        elif requires_pool_password(rule_match, request):
            credential = _Wanted.POOL_PASSWORD
        elif rule_match.refused is None and requires_bearer(rule_match, request):
            credential = _Wanted.MACHINE if request.bearer else _Wanted.NOTHING
        elif rule_match.refused is None and request.cookies:
            credential = _Wanted.SESSION
        return _Question(request, table, owner, rule_match, credential)

    def _judge(self, question: _Question, credentials: _Credentials) -> _Decided:
        """Credentials were found just now, or count now. Raises ``OutdatedError``."""
        services = self._services
        request, table, tenant, rule_match, _ = question
        session, machine, password, pool_password, more = credentials
        is_shared = tenant is None
        if tenant is None or rule_match is None:
            # A shared host has no tenant of its own: the session names it.
            tenant = table.by_id(session.tenant) if session is not None else None
            if tenant is None:
                return _Decided(self._no_session(request, None))
            rule_match = match(tenant, request)
        now = services.clock()
        decision = decide(
            tenant,
            request,
            rule_match,
            session=session,
            machine=machine,
            password=password,
            pool_password=pool_password,
            now=now,
        )
        if session is not None:
            services.sessions.used(session, active_s=active_s(tenant, request, decision))
        if isinstance(decision, Login) and session is None and decision.reason is Reason.NO_SESSION:
            decision = self._no_session(request, tenant.id)
        if isinstance(decision, Allow) and services.sessions.is_suspended(tenant.id):
            raise OutdatedError
        would = (
            would_decide(
                tenant,
                request,
                more,
                session=session,
                machine=machine,
                password=password,
                pool_password=pool_password,
                now=now,
            )
            if tenant.shadow_rules
            else None
        )
        if password is not None and password.session.tenant == tenant.id:
            session = password.session
        elif isinstance(pool_password, Session):
            session = pool_password
        basic = takes_app_passwords(rule_match) or takes_pool_passwords(rule_match)
        by_session = machine is None and password is None and pool_password is None
        return _Decided(
            decision,
            tenant,
            session,
            would,
            not is_shared and basic,
            question if by_session else None,
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

    # --- credentials -----------------------------------------------------------------------------

    def _remembered(self, question: _Question) -> _Credentials | None:
        """As far as memory goes; None where it does not suffice."""
        request, _, tenant, _, credential = question
        if tenant is not None and tenant.shadow_rules:
            return None
        if credential is _Wanted.NOTHING:
            return _NOBODY
        if credential is _Wanted.SESSION:
            session = self._remembered_session(request)
            return None if isinstance(session, Miss) else _Credentials(session)
        if credential is _Wanted.APP_PASSWORD:
            password = self._services.sessions.cached_app_password(request.app_password or "")
            return None if isinstance(password, Miss) else _Credentials(password=password)
        if credential is _Wanted.POOL_PASSWORD and tenant is not None:
            result = self._services.pool_passwords.cached(tenant, request)
            return None if isinstance(result, Miss) else _Credentials(pool_password=result)
        return None

    def _remembered_session(self, request: AuthRequest) -> Session | Miss | None:
        """The first live session among the cookies of our name; a stale duplicate does not hide
        it.
        """
        for cookie in request.cookies[:MAX_TRIED]:
            session = self._services.sessions.cached(cookie, host=request.host)
            if session is not None:
                return session
        return None

    async def _look_up(self, question: _Question) -> _Credentials:
        """What the next rules ask for comes first: nothing is awaited after what is obeyed."""
        request, _, tenant, _, credential = question
        more: NextCredentials | None = NextCredentials()
        if tenant is not None and tenant.shadow_rules:
            more = await look_up(
                tenant,
                request,
                machines=self._services.machines,
                find=self._session,
                find_app_password=self._app_password,
                cached_pool_password=self._services.pool_passwords.cached,
            )
        if credential is _Wanted.SESSION:
            return _Credentials(await self._session(request), more=more)
        if credential is _Wanted.APP_PASSWORD:
            return _Credentials(password=await self._app_password(request), more=more)
        if credential is _Wanted.POOL_PASSWORD and tenant is not None:
            result = await self._services.pool_passwords.authenticate(tenant, request)
            return _Credentials(pool_password=result, more=more)
        if credential is _Wanted.MACHINE and tenant is not None and request.bearer:
            return _Credentials(machine=await self._machine(tenant, request.bearer), more=more)
        return _Credentials(more=more)

    async def _session(self, request: AuthRequest) -> Session | None:
        """As ``_remembered_session``, with what the store says of those that memory lacks."""
        for cookie in request.cookies[:MAX_TRIED]:
            session = self._services.sessions.cached(cookie, host=request.host)
            if isinstance(session, Miss):
                session = await self._services.sessions.find(cookie, host=request.host)
            if session is not None:
                return session
        return None

    async def _app_password(self, request: AuthRequest) -> AppPassword | None:
        text, host = request.app_password or "", request.host
        password = self._services.sessions.cached_app_password(text)
        return (
            await self._services.sessions.app_password(text, host=host)
            if isinstance(password, Miss)
            else password
        )

    async def _machine(self, tenant: Tenant, token: str) -> MachineToken | None:
        """Judged at a moment at which everything that was taken away is known here."""
        for _ in range(MAX_SWAPS):
            machine = await self._services.machines.authenticate(tenant, token)
            if machine is None or await self._services.sessions.wait_for_snapshot(tenant.id):
                return machine
        raise OutdatedError

    # --- answering -------------------------------------------------------------------------------

    def _verdict(
        self,
        outcome: _Decided,
        request: AuthRequest | None,
        languages: Sequence[str],
        *,
        html: bool,
        number: str,
    ) -> Verdict:
        """What the dialect needs to refuse, or to send to a login: where to go, or what to show: a
        page where ``html``, with its ``number``.
        """
        decision, tenant, location = outcome.decision, outcome.tenant, ""
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
        explanation = explain(
            self._services,
            decision,
            Asked(tenant, request, outcome.session, location, languages, html, number),
        )
        redirect = (
            request is not None
            and request.kind is RequestKind.NAVIGATION
            and (isinstance(decision, Deny) or (isinstance(decision, Login) and decision.redirect))
        )
        login = location if isinstance(decision, Login) else ""
        realm = (
            request.host if request is not None and outcome.basic and not request.prompts else ""
        )
        return Verdict(
            decision=decision,
            location=location if redirect else "",
            login=login,
            realm=realm,
            content_type=explanation.content_type,
            body=explanation.body,
            page_headers=explanation.headers,
        )

    def _head(self, tenant: Tenant, request: AuthRequest, allowed: Allow) -> _Head:
        """The managed headers, built once per session, host and half minute rather than once per
        check; of a token, each time that it was judged.
        """
        services, session, now = self._services, allowed.session, self._services.clock()
        if allowed.machine is not None:
            return _Head(self._machine_lines(tenant, request, allowed, allowed.machine, now))
        # Of nobody, one for each tenant: no session is called "".
        key = (session.digest, request.host) if session is not None else ("", tenant.id)
        entry, signed_with = self._heads.get(key), services.assertions.ring_number
        if (
            entry is not None
            and entry.tenant is tenant
            and (entry.session is session or entry.session == session)
            and entry.signed_with == signed_with
            and entry.until > now
        ):
            entry.session = session  # read again, maybe; the next comparison is of one object
            return entry
        until = inf if session is None else now + HEAD_LIFE_S
        assertion = ""
        if session is not None and needs_assertion(tenant):
            assertion = services.assertions.sign(
                session,
                origin=services.config.origin(request.host),
                now=now,
                groups=tenant.assertion_group_names,
            )
        headers = identity_headers(
            tenant, None if session is None else session.identity, assertion=assertion
        )
        lines = None if headers is None else header_lines(headers)
        head = self._heads[key] = _Head(lines, session, tenant, signed_with, until)
        if len(self._heads) > _MAX_HEADS:
            self._heads.popitem(last=False)
        return head

    def _machine_lines(
        self,
        tenant: Tenant,
        request: AuthRequest,
        allowed: Allow,
        machine: MachineToken,
        now: float,
    ) -> bytes | None:
        services = self._services
        assertion = (
            services.assertions.sign_bearer(
                machine,
                tenant=tenant.id,
                origin=services.config.origin(request.host),
                now=now,
            )
            if needs_assertion(tenant)
            else ""
        )
        headers = bearer_headers(tenant, machine, assertion=assertion, identity=allowed.identity)
        return None if headers is None else header_lines(headers)

    # --- counting and recording ------------------------------------------------------------------

    def _record(
        self,
        dialect: Dialect,
        decision: Decision,
        outcome: _Decided,
        request: AuthRequest | None,
        start_time: float,
        raw: RawRequest,
    ) -> None:
        """What the tenant's next rules say is told where it is something else; the peer where it is
        not known who asks through whom.
        """
        seconds = perf_counter() - start_time
        tenant, would = outcome.tenant, outcome.would
        kind = _KINDS[type(decision)]
        self._counts.count(_labels(dialect, decision, tenant), seconds=seconds)
        if would is not None and type(would) is type(decision) and would.reason is decision.reason:
            would = None
        if would is not None and tenant is not None:
            SHADOW_RULE_MISMATCHES.labels(tenant_label(tenant.id), kind, _KINDS[type(would)]).inc()
        if not _LOG.isEnabledFor(logging.INFO):
            return
        if self._repeats.seen:
            self._record_repeats()
        ordinary = would is None and type(decision) is Allow
        if not self._records.has_line(ordinary=ordinary):
            return
        record = self._check_record(
            dialect, decision, outcome, request, raw, would=would, seconds=seconds
        )
        poll = None if ordinary else _poll(decision, request)
        if poll is None or self._repeats.is_first(poll, record, now=monotonic()):
            self._records.add(record)

    def _record_repeats(self) -> None:
        """What a script was refused time and again, and is due to be told."""
        for record, count in self._repeats.due(monotonic()):
            self._records.add(record._replace(repeated=count))

    def _check_record(
        self,
        dialect: Dialect,
        decision: Decision,
        outcome: _Decided,
        request: AuthRequest | None,
        raw: RawRequest,
        *,
        would: Decision | None,
        seconds: float,
    ) -> CheckRecord:
        ordinary = would is None and type(decision) is Allow
        tenant, identity = outcome.tenant, _identity(decision, outcome)
        return CheckRecord(
            request.request_id if request else None,
            tenant.id if tenant else None,
            request.host if request else None,
            request.method if request else None,
            request.path if request else None,
            _KINDS[type(decision)],
            _REASONS[decision.reason],
            identity.sub if identity else None,
            (identity.provider or None) if identity else None,
            _milliseconds(seconds),
            request.client if request else raw.peer or None,
            dialect.name,
            None,
            self._records.sample_rate if ordinary else None,
            _trace_id(raw) if self._is_traced and request else None,
            _KINDS[type(would)] if would else None,
            would.reason.value if would else None,
        )


def _labels(dialect: Dialect, decision: Decision, tenant: Tenant | None) -> CheckLabels:
    return (
        tenant_label(tenant.id) if tenant else "",
        dialect.name,
        _KINDS[type(decision)],
        _REASONS[decision.reason],
    )


def _milliseconds(seconds: float) -> float:
    """To the microsecond."""
    return int(seconds * 1_000_000 + 0.5) / 1000


def _is_kept_back(tenant: Tenant | None) -> bool:
    """Whether Basic credentials of the tenant's requests are no application's: one that was sent
    with another path, or was refused, is a person's own all the same.
    """
    return tenant is not None and tenant.takes_pool_passwords


def _identity(decision: Decision, outcome: _Decided) -> Identity | None:
    if outcome.session is not None:
        return outcome.session.identity
    machine = decision.machine if isinstance(decision, Allow) else None
    return machine.identity if machine is not None else None


def _trace_id(raw: RawRequest) -> str | None:
    traceparent = raw.traceparent
    return trace_id_of(raw.headers.get(TRACEPARENT, "") if traceparent is None else traceparent)


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
    if request.credential is not None:
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


def _dialect_below(raw_path: str) -> Dialect | None:
    """Whose address a path begins with: a query, or what stands behind the name, may follow."""
    if not raw_path.startswith(PREFIX):
        return PATHS.get(raw_path.partition("?")[0])
    name, _, _ = raw_path.removeprefix(PREFIX).partition("?")[0].partition("/")
    return ENDPOINTS.get(name)
