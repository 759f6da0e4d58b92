"""What a request would come to, and why: a hypothetical request and person, judged by the function
that judges real ones.

Rules:
- The steps are the trace of that very call of ``decide``; nothing here decides anything.
- ``only`` names the one tenant that the asker may know. For everybody else's hosts, and for those
  that nobody has, there is then one answer: none.
- Blocks, and groups that an identity provider's event took away, are the caller's to look up
  (``whose`` says for which tenant). They do here what they do there: a blocked person has no
  session, and no valid token or password; a group that was taken away is not held.
- Ended sessions are no part of it: it is asked about the session that a login of this moment would
  make.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.core.authorization import Basic
from gateway.core.canonical import account_address, canonical_address, canonical_id
from gateway.core.console_link import is_console_link
from gateway.core.decide import (
    Trace,
    decide,
    match,
    match_next,
    requires_app_password,
    requires_bearer,
    requires_pool_password,
)
from gateway.core.decision import Allow, Deny, Login
from gateway.core.hosts import email_domain, parse_host_header
from gateway.core.model import (
    AppPassword,
    AuthRequest,
    Identity,
    MachineToken,
    RequestKind,
    Session,
)
from gateway.core.paths import canonical
from gateway.core.readings import Unreadable
from gateway.core.reason import Reason
from gateway.core.tenants import HostKind
from gateway.core.webdav import parse_depth, parse_destination

if TYPE_CHECKING:
    from gateway.core.decision import Decision
    from gateway.core.model import PoolPasswordResult, Tenant
    from gateway.core.paths import CanonicalPath
    from gateway.core.rules import Match
    from gateway.core.tenants import TenantTable


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A request as an ingress would describe it, and who would be signed in there; without
    ``email`` nobody is.
    """

    host: str
    path: str
    method: str
    email: str | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    provider: str | None = None
    """None: the one whose domains hold the e-mail's, else the tenant's first."""
    client: str | None = None
    """The request carries an access token of this app client: a person's where there is an
    ``email``, else a machine's.
    """
    scopes: tuple[str, ...] = ()
    """Of that token."""
    app_password_path: str | None = None
    """The request carries an app password of the person, for every host of the tenant, and for this
    path and everything below; their last login is of this moment. Not beside ``client``.
    """
    pool_password: bool = False
    """The request carries name and password of the person, who is a user of the pool, as a Basic
    credential. Beside neither of the above.
    """
    destination: str | None = None
    """Text of the ``Destination`` header; None: none is sent."""
    depth: str | None = None
    """Text of the ``Depth`` header."""

    def __post_init__(self) -> None:
        if self.email is not None:
            object.__setattr__(self, "email", canonical_address(self.email))
        object.__setattr__(self, "groups", tuple(map(canonical_id, self.groups)))
        object.__setattr__(self, "roles", tuple(map(canonical_id, self.roles)))


@dataclass(frozen=True, slots=True)
class ActiveRestrictions:
    """What stands against somebody in the stores. Words are for an operator of the same tenant."""

    block: str = ""
    """Since when and by whom; empty: no block."""
    groups: tuple[tuple[str, str], ...] = ()
    """Each that was taken away, and since when and by whom."""
    unknown: str = ""
    """What could not be looked up, and why."""


NO_RESTRICTIONS = ActiveRestrictions()


@dataclass(frozen=True, slots=True)
class Explanation:
    """``steps`` are name, whether it passed, detail. ``matched`` and ``tenant`` are None where it
    did not come so far.
    """

    decision: Decision
    steps: tuple[tuple[str, bool, str], ...]
    tenant: Tenant | None = None
    matched: Match | None = None
    provider: str = ""
    next: Decision | None = None
    """What ``shadow_rules`` say; None where there are none."""


def tenant_for(table: TenantTable, hypothesis: Hypothesis) -> str | None:
    """Id of the tenant that an explanation would be about."""
    host = parse_host_header(hypothesis.host)
    tenant = _tenant(
        table,
        hypothesis,
        host,
        email_domain(hypothesis.email) if hypothesis.email is not None else None,
        Trace(),
    )
    return tenant.id if tenant is not None else None


def explain(
    table: TenantTable,
    hypothesis: Hypothesis,
    *,
    now: float,
    only: str | None = None,
    restrictions: ActiveRestrictions = NO_RESTRICTIONS,
    console_host: str | None = None,
) -> Explanation | None:
    """None where ``only`` may not know the answer."""
    trace = Trace()
    host = parse_host_header(hypothesis.host)
    path = canonical(hypothesis.path.partition("?")[0])
    domain = email_domain(hypothesis.email) if hypothesis.email is not None else None
    tenant = _tenant(table, hypothesis, host, domain, trace)
    if only is not None and (
        tenant.id != only
        if tenant is not None
        else not (
            hypothesis.email is None and host is not None and table.by_host(host) is HostKind.SHARED
        )
    ):
        return None
    if host is None or path is None:
        trace.add("host" if host is None else "path", passed=False, detail="malformed")
        return Explanation(Deny(Reason.BAD_REQUEST), tuple(trace.steps))
    request = _request(hypothesis, host, path)
    if is_console_link(request, console_host):
        trace.add("console", passed=True, detail="one-time links: the console asks who it is")
        return Explanation(Allow(Reason.PUBLIC), tuple(trace.steps), tenant)
    if tenant is None:
        return Explanation(
            Deny(Reason.UNKNOWN_HOST)
            if table.by_host(host) is HostKind.UNKNOWN
            else Login(Reason.NO_SESSION),
            tuple(trace.steps),
        )
    _trace_restrictions(hypothesis, restrictions, trace)
    person = _session(tenant, hypothesis, restrictions, host, domain, now=now, trace=trace)
    token = _token(hypothesis, restrictions, person)
    # A program that sends a token or a password has no cookie.
    session = person if _credential(hypothesis) == "" else None
    pool_password = _pool_password(tenant, hypothesis, restrictions, person)
    password = _app_password(tenant, hypothesis.app_password_path, person, trace)
    rule_match = match(tenant, request)
    decision = decide(
        tenant,
        request,
        rule_match,
        session=session,
        machine=token,
        password=password,
        pool_password=pool_password,
        now=now,
        trace=trace,
    )
    if rule_match.refused is None and not rule_match.public:
        _not_taken(hypothesis, rule_match, request, trace)
    after = (
        decide(
            tenant,
            request,
            match_next(tenant, request),
            session=session,
            machine=token,
            password=password,
            pool_password=pool_password,
            now=now,
        )
        if tenant.shadow_rules
        else None
    )
    return Explanation(
        decision,
        tuple(trace.steps),
        tenant,
        rule_match,
        person.identity.provider if person is not None else "",
        after,
    )


def _trace_restrictions(
    hypothesis: Hypothesis, restrictions: ActiveRestrictions, trace: Trace
) -> None:
    if restrictions.block:
        trace.add(
            "block",
            passed=False,
            detail=(
                f"{Reason.USER_BLOCKED}: {restrictions.block}; no login, token or password of "
                "this person is accepted"
            ),
        )
    for group, how in restrictions.groups:
        if group in hypothesis.groups:
            trace.add(
                "group taken away",
                passed=False,
                detail=f"{group}: {how}; it is not held, whatever the token says",
            )
    if restrictions.unknown:
        trace.add("blocks", passed=True, detail=restrictions.unknown)


def _token(
    hypothesis: Hypothesis, restrictions: ActiveRestrictions, person: Session | None
) -> MachineToken | None:
    """Valid, but for what stands against its person."""
    if hypothesis.client is None or (hypothesis.email is not None and restrictions.block):
        return None
    sub = "" if hypothesis.email is None else "hypothetical"
    return MachineToken(
        hypothesis.client,
        frozenset(hypothesis.scopes),
        sub=sub,
        username=sub,
        auth_time=0,
        person=None if person is None else person.identity,
    )


def _app_password(
    tenant: Tenant, path: str | None, person: Session | None, trace: Trace
) -> AppPassword | None:
    """One that its person, as a login of this moment would leave them, made for that path."""
    if path is None or person is None:
        return None
    scope = canonical(path)
    if scope is None or scope.ambiguous or isinstance(tenant.paths.names(scope.path), Unreadable):
        trace.add("app password", passed=False, detail="nobody can make one for such a path")
        return None
    return AppPassword(
        replace(person, host=""), frozenset(), (scope.path,), signed_in_at=person.auth_time
    )


def _credential(hypothesis: Hypothesis) -> str:
    """What a program would send, in the plural; "" for a browser."""
    if hypothesis.client is not None:
        return "access tokens"
    if hypothesis.pool_password:
        return "passwords of the pool"
    return "" if hypothesis.app_password_path is None else "app passwords"


def _pool_password(
    tenant: Tenant,
    hypothesis: Hypothesis,
    restrictions: ActiveRestrictions,
    person: Session | None,
) -> PoolPasswordResult | None:
    """The right one, of somebody of whom Cognito asks for nothing else."""
    client, provider = tenant.password_client, tenant.pool_provider
    if not hypothesis.pool_password:
        return None
    if restrictions.block:
        return Reason.USER_BLOCKED
    if person is None:
        return None
    if client is None:
        return Reason.COGNITO_UNAVAILABLE
    if provider is None or person.identity.provider != provider.name:
        return Reason.NO_POOL_PASSWORD
    return replace(person, host="", client_id=client.client_id)


def _not_taken(
    hypothesis: Hypothesis, rule_match: Match, request: AuthRequest, trace: Trace
) -> None:
    """Says of a credential that was not looked at why it was not."""
    if hypothesis.client is not None and not requires_bearer(rule_match, request):
        trace.add(
            "token",
            passed=False,
            detail=(
                "no rule takes access tokens here: what the token says is the application's "
                "own business"
            ),
        )
    if hypothesis.app_password_path is not None and not requires_app_password(rule_match, request):
        trace.add("app password", passed=False, detail="no rule takes app passwords here")
    if hypothesis.pool_password and not requires_pool_password(rule_match, request):
        trace.add(
            "password of the pool",
            passed=False,
            detail="no rule has basic: cognito here: what is sent is the application's business",
        )


def _tenant(
    table: TenantTable, hypothesis: Hypothesis, host: str | None, domain: str | None, trace: Trace
) -> Tenant | None:
    """Whose host it is; on a shared host, whose e-mail domain."""
    owner = table.by_host(host) if host is not None else HostKind.UNKNOWN
    if not isinstance(owner, HostKind):
        return owner
    if host is None:
        return None
    if owner is HostKind.UNKNOWN:
        trace.add("host", passed=False, detail=f"{host} is no tenant's")
        return None
    if owner is HostKind.LOGIN:
        trace.add(
            "host",
            passed=False,
            detail=(
                f"{host} is login_host: it protects nothing, and its sessions open no other host"
            ),
        )
        return None
    if what := _credential(hypothesis):
        trace.add("host", passed=False, detail=f"{host} is shared: {what} are not looked at there")
        return None
    tenant = table.by_email_domain(domain) if domain is not None else None
    if tenant is None:
        trace.add(
            "host",
            passed=False,
            detail=f"{host} is shared, and "
            + (
                f"no tenant has the e-mail domain {domain}"
                if domain
                else "nobody is signed in who could say which tenant's it is"
            ),
        )
    else:
        trace.add(
            "host",
            passed=True,
            detail=f"{host} is shared; the e-mail domain {domain} is {tenant.id}'s",
        )
    return tenant


def _account_of(tenant: Tenant, provider: str, email: str, domain: str) -> str:
    """The id that somebody with this address has at the provider, where the tenant lists them."""
    configuration = tenant.configured_provider(provider)
    address = account_address(email, domain)
    accounts = () if configuration is None else configuration.accounts.values()
    return next((each.id for each in accounts if each.email == address), "hypothetical")


def _session(
    tenant: Tenant,
    hypothesis: Hypothesis,
    restrictions: ActiveRestrictions,
    host: str,
    domain: str | None,
    *,
    now: float,
    trace: Trace,
) -> Session | None:
    """The session that this person would have after a login, begun this moment."""
    if hypothesis.email is None or restrictions.block:
        return None
    if domain is None:
        trace.add(
            "login",
            passed=False,
            detail=(
                f"{Reason.EMAIL_UNTRUSTED}: the e-mail is not one plain address, so no login "
                "of this person succeeds"
            ),
        )
        return None
    provider = hypothesis.provider
    if provider is None:
        provider = next(
            (p.name for p in tenant.configured if domain in p.domains),
            next((p.name for p in tenant.configured), ""),
        )
        _trace_login(tenant, provider, f"taken to be through {provider}", trace)
    else:
        _trace_login(tenant, provider, f"through {provider}", trace)
    restricted_groups = {group for group, _ in restrictions.groups}
    identity = Identity(
        sub="hypothetical",
        email=hypothesis.email,
        email_domain=domain,
        username="",
        preferred_username="",
        name="",
        groups=tuple(group for group in hypothesis.groups if group not in restricted_groups),
        roles=hypothesis.roles,
        provider=provider,
        idp_subject=_account_of(tenant, provider, hypothesis.email, domain),
    )
    moment = int(now)
    return Session(
        "",
        tenant.id,
        host,
        "",
        identity,
        began=0,
        auth_time=moment,
        created_at=moment,
        expires_at=moment + tenant.session.absolute_s,
        client_id=tenant.client_id,
    )


def _trace_login(tenant: Tenant, provider: str, detail: str, trace: Trace) -> None:
    inactive = any(p.name == provider for p in tenant.inactive_providers)
    trace.add(
        "login",
        passed=tenant.provider(provider) is not None,
        detail=f"{detail}, which is not active" if inactive else detail,
    )


def _request(hypothesis: Hypothesis, host: str, path: CanonicalPath) -> AuthRequest:
    return AuthRequest(
        scheme="https",
        host=host,
        method=hypothesis.method,
        path=path.path,
        ambiguous=path.ambiguous,
        original_uri=hypothesis.path,
        kind=RequestKind.NAVIGATION,
        html=True,
        cookies=(),
        other_cookies="",
        bearer=None if hypothesis.client is None else "hypothetical",
        preflight=False,
        client="",
        request_id="",
        app_password=None if hypothesis.app_password_path is None else "hypothetical",
        basic=Basic("hypothetical", "hypothetical") if hypothesis.pool_password else None,
        destination=parse_destination(
            () if hypothesis.destination is None else (hypothesis.destination,),
            method=hypothesis.method,
            host=host,
        ),
        depth=parse_depth(() if hypothesis.depth is None else (hypothesis.depth,)),
    )
