"""The decision. One pure function; the explanation is the same function with a trace.

Rules:
- Unknown means no. Order: tenant, path, rule, machine, session, e-mail domain, groups, roles.
- An ambiguous path is never matched against rules: all rules of its host count at once
  (``core.rules``). Of the names that the tenant's application may read in any other, the strictest
  answer counts (``core.readings``).
- A bearer credential on a rule that takes bearers is judged alone; an invalid one is never ignored
  in favour of a cookie. So is an app password on a rule that takes them, and it lets in nobody whom
  a session would not let in there: it is asked for all that a session is, and for its scope. So is
  a password of a user of the pool.
- A WebDAV request acts on more than its path: ``Destination``, and what is below a collection, meet
  the rules, too.
- What a provider asks for of those who sign in with it counts beside what the tenant asks for, and
  no rule replaces it.
- Whatever the cookie says, tenant and host of the session are compared with those of the request
  (invariant 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.decision import Allow, Deny, Login, Missing
from gateway.core.readings import DIFFERENT, Unreadable
from gateway.core.reason import Reason
from gateway.core.rules import NO_RULE, Match, acts_below, combined

if TYPE_CHECKING:
    from gateway.core.decision import Decision
    from gateway.core.model import (
        AppPassword,
        AuthRequest,
        Identity,
        MachineToken,
        PoolPasswordResult,
        Provider,
        Session,
        Tenant,
    )
    from gateway.core.rule import Rule
    from gateway.core.rules import CompiledRules, HostRules


@dataclass(slots=True)
class Trace:
    """What ``decide`` looked at, in order: name of the step, whether it passed, and its detail
    (this tenant's data only).
    """

    steps: list[tuple[str, bool, str]] = field(default_factory=list)

    def add(self, step: str, passed: bool, detail: str = "") -> None:  # noqa: FBT001 - a row of a table
        self.steps.append((step, passed, detail))


_ALLOW_PUBLIC = Allow(Reason.PUBLIC)
_LOGIN = {reason: Login(reason) for reason in Reason}
_LOGIN_BEARER = Login(Reason.BEARER_INVALID, redirect=False)
_LOGIN_APP_PASSWORD = Login(Reason.APP_PASSWORD_INVALID, redirect=False)
_LOGIN_POOL_PASSWORD = Login(Reason.POOL_PASSWORD_INVALID, redirect=False)
_DENY = {reason: Deny(reason) for reason in Reason}


_INACTIVE = Match(None, None, Reason.TENANT_INACTIVE)
_NO_DESTINATION = Match(None, None, Reason.BAD_REQUEST, "Destination names no path of this host")


def match(tenant: Tenant, request: AuthRequest) -> Match:
    """First half of the decision: tenant and rule."""
    return _match(tenant, request, tenant.compiled)


def match_next(tenant: Tenant, request: AuthRequest) -> Match:
    """As ``match``, with ``shadow_rules`` in place of the rules."""
    return _match(tenant, request, tenant.compiled_next)


def _match(tenant: Tenant, request: AuthRequest, rules: CompiledRules) -> Match:
    if not tenant.active:
        return _INACTIVE
    here = rules.at(request.host)
    if not here:
        return NO_RULE
    rule_match = _match_path(tenant, request, here, request.path, ambiguous=request.ambiguous)
    target = request.destination
    if target is None:
        return rule_match
    if target.path is None:
        return _NO_DESTINATION
    return combined(
        (rule_match, _match_path(tenant, request, here, target.path, ambiguous=target.ambiguous)),
        credential=request.credential,
    )


def _match_path(
    tenant: Tenant, request: AuthRequest, rules: HostRules, path: str, *, ambiguous: bool
) -> Match:
    """What the rules of the host say about one path that the request acts on."""
    method, credential = request.method, request.credential
    names = tenant.paths.names(path) if not ambiguous else Unreadable(DIFFERENT)
    if isinstance(names, Unreadable):
        return rules.strictest(names.why, method=method, credential=credential)
    rule_match = rules.judge(names, method=method, credential=credential)
    return (
        rules.below(rule_match, names, method=method, credential=credential)
        if acts_below(method, request.depth)
        else rule_match
    )


def requires_bearer(rule_match: Match, request: AuthRequest) -> bool:
    """Whether the request's bearer token, and nothing else, is to be judged."""
    return (
        rule_match.rule is not None
        and rule_match.rule.bearer is not None
        and (request.bearer is not None or not rule_match.rule.browser_sessions)
    )


def takes_app_passwords(rule_match: Match) -> bool:
    """Whether an app password could satisfy what was matched."""
    return (
        rule_match.refused is None and rule_match.rule is not None and rule_match.rule.app_passwords
    )


def requires_app_password(rule_match: Match, request: AuthRequest) -> bool:
    """Whether the request's app password, and nothing else, is to be judged."""
    return request.app_password is not None and takes_app_passwords(rule_match)


def takes_pool_passwords(rule_match: Match) -> bool:
    """Whether a password of a user of the pool could satisfy what was matched."""
    return (
        rule_match.refused is None
        and rule_match.rule is not None
        and rule_match.rule.pool_passwords
    )


def requires_pool_password(rule_match: Match, request: AuthRequest) -> bool:
    """Whether the request's Basic credential, and nothing else, is to be judged by Cognito."""
    return request.basic is not None and takes_pool_passwords(rule_match)


def decide(
    tenant: Tenant,
    request: AuthRequest,
    rule_match: Match,
    *,
    session: Session | None,
    machine: MachineToken | None,
    now: float,
    password: AppPassword | None = None,
    pool_password: PoolPasswordResult | None = None,
    trace: Trace | None = None,
) -> Decision:
    """Second half: credentials against the matched rule and the tenant. ``now`` in UTC epoch
    seconds.

    ``machine`` is a token whose signature, issuer, expiry and use are valid and whose person, if
    any, is not revoked; None otherwise. ``password`` is one that was not ended, with its person as
    they are now. ``pool_password``: what Cognito said of the request's name and password.
    """
    rule = rule_match.rule
    if trace is not None:
        _trace_match(tenant, rule_match, trace)
    if rule_match.refused is not None:
        return _DENY[rule_match.refused]
    if rule is not None:
        if rule.public:
            return (
                Allow(Reason.PUBLIC, session)
                if session is not None and _session_refusal(tenant, request, session, now) is None
                else _ALLOW_PUBLIC
            )
        if requires_app_password(rule_match, request):
            return _decide_app_password(tenant, request, rule, password, now, trace)
        if requires_pool_password(rule_match, request):
            return _decide_pool_password(tenant, rule, pool_password, now, trace)
        if requires_bearer(rule_match, request):
            return _decide_bearer(tenant, rule, machine, trace)
    if session is None:
        if trace is not None:
            trace.add("session", passed=False, detail="none")
        return _LOGIN[Reason.NO_SESSION]
    refusal = _session_refusal(tenant, request, session, now)
    if trace is not None:
        trace.add("session", passed=refusal is None, detail=refusal or "valid")
    if refusal is not None:
        return _LOGIN[refusal]
    denial = (
        _policy_denial(tenant, rule, session.identity, trace)
        if not rule_match.all_of
        else _first_denial(tenant, rule_match.all_of, session.identity, trace)
    )
    return Allow(Reason.OK, session) if denial is None else denial


def _session_refusal(
    tenant: Tenant, request: AuthRequest, session: Session, now: float
) -> Reason | None:
    if session.tenant != tenant.id:
        return Reason.WRONG_TENANT
    if session.host != request.host:
        return Reason.WRONG_HOST
    if session.expires_at <= now:
        return Reason.SESSION_EXPIRED
    provider = tenant.provider(session.identity.provider)
    if provider is None:
        return _without_provider(tenant, session.identity)
    return None if provider.vouches_for(session.identity) else Reason.REAUTHENTICATE


def _without_provider(tenant: Tenant, identity: Identity) -> Reason:
    """Why nobody is signed in by the provider that vouched for them."""
    inactive = tenant.configured_provider(identity.provider) is not None
    return Reason.PROVIDER_INACTIVE if inactive else Reason.REAUTHENTICATE


def _first_denial(
    tenant: Tenant, rules: tuple[Rule | None, ...], identity: Identity, trace: Trace | None
) -> Deny | None:
    """Each rule is asked, and the first that does not let this person in says why."""
    for rule in rules:
        if trace is not None and rule is not None:
            trace.add("rule", passed=True, detail=f"path {rule.path}")
        denial = _policy_denial(tenant, rule, identity, trace)
        if denial is not None:
            return denial
    return None


def _policy_denial(
    tenant: Tenant, rule: Rule | None, identity: Identity, trace: Trace | None
) -> Deny | None:
    """E-mail domain always, and what the provider asks for; the tenant's groups and roles unless
    the rule replaces them; then the rule's own.
    """
    provider, domain = tenant.provider(identity.provider), identity.email_domain
    if provider is None or domain not in provider.domains or domain not in tenant.email_domains:
        if trace is not None:
            trace.add("e-mail domain", passed=False, detail=_foreign(tenant, provider, domain))
        return _DENY[Reason.EMAIL_DOMAIN]
    if trace is not None:
        trace.add("e-mail domain", passed=True, detail=domain)
    groups, roles = tenant.allowed_groups, tenant.allowed_roles
    if rule is not None and rule.override_tenant_groups:
        groups = None if rule.groups is not None or rule.any_group else groups
        roles = None if rule.roles is not None or rule.any_role else roles
    rules_own = (None, None) if rule is None else (rule.groups, rule.roles)
    if provider.asks_more and (denial := _asked_by(provider, identity, trace)) is not None:
        return denial
    for any_of, whose in ((groups, "tenant's groups"), (rules_own[0], "rule's groups")):
        if any_of is not None and not _one_of(any_of, identity.groups, trace, whose):
            return Deny(Reason.GROUP_MISSING, Missing("groups", any_of))
    for any_of, whose in ((roles, "tenant's roles"), (rules_own[1], "rule's roles")):
        if any_of is not None and not _one_of(any_of, identity.roles, trace, whose):
            return Deny(Reason.ROLE_MISSING, Missing("roles", any_of))
    return None


def _asked_by(provider: Provider, identity: Identity, trace: Trace | None) -> Deny | None:
    """The denial by what a provider asks of those who sign in with it."""
    for reason, kind, memberships, any_of in (
        (Reason.GROUP_MISSING, "groups", identity.groups, provider.groups),
        (Reason.ROLE_MISSING, "roles", identity.roles, provider.roles),
    ):
        whose = f"{kind} of provider {provider.name}"
        if any_of is not None and not _one_of(any_of, memberships, trace, whose):
            return Deny(reason, Missing(kind, any_of))
    return None


def _foreign(tenant: Tenant, provider: Provider | None, domain: str) -> str:
    """Whose domain it is not, of one that was refused."""
    whose = (
        "the tenant"
        if provider is None or domain not in tenant.email_domains
        else f"provider {provider.name}"
    )
    return f"{domain} is none of {whose}'s"


def _one_of(wanted: frozenset[str], held: tuple[str, ...], trace: Trace | None, whose: str) -> bool:
    verdict = not wanted.isdisjoint(held)
    if trace is not None:
        trace.add(whose, verdict, f"any of: {', '.join(sorted(wanted)) or '(none: nobody)'}")
    return verdict


def _decide_app_password(
    tenant: Tenant,
    request: AuthRequest,
    rule: Rule,
    password: AppPassword | None,
    now: float,
    trace: Trace | None,
) -> Decision:
    good = (
        password is not None
        and password.session.tenant == tenant.id
        and password.session.expires_at > now
        and (provider := tenant.provider(password.session.identity.provider)) is not None
        and provider.vouches_for(password.session.identity)
    )
    if trace is not None:
        trace.add("app password", good, "valid" if good else "none that is valid here")
    if password is None or not good:
        return _LOGIN_APP_PASSWORD
    covered = _is_covered(tenant, request, password)
    recent = now - password.signed_in_at <= tenant.app_passwords.login_within_s
    if trace is not None:
        trace.add(
            "scope",
            covered,
            (
                f"hosts: {', '.join(sorted(password.hosts)) or 'all'}; paths: "
                f"{', '.join(password.paths)}"
            ),
        )
        trace.add(
            "last login", recent, f"not longer ago than {tenant.app_passwords.login_within_s} s"
        )
    if not covered:
        return _DENY[Reason.APP_PASSWORD_SCOPE]
    if not recent:
        return _DENY[Reason.LOGIN_TOO_OLD]
    denial = _policy_denial(tenant, rule, password.session.identity, trace)
    return Allow(Reason.APP_PASSWORD, password.session) if denial is None else denial


def _decide_pool_password(
    tenant: Tenant,
    rule: Rule,
    result: PoolPasswordResult | None,
    now: float,
    trace: Trace | None,
) -> Decision:
    """A refusal as it is; of somebody whom Cognito knows, all that is asked of a session."""
    client, provider = tenant.password_client, tenant.pool_provider
    if isinstance(result, Reason):
        if trace is not None:
            trace.add("password of the pool", passed=False, detail=result.value)
        return _LOGIN_POOL_PASSWORD if result is Reason.POOL_PASSWORD_INVALID else _DENY[result]
    good = (
        result is not None
        and client is not None
        and provider is not None
        and result.tenant == tenant.id
        and result.client_id == client.client_id
        and result.identity.provider == provider.name
        and result.expires_at > now
    )
    if trace is not None:
        trace.add("password of the pool", good, "valid" if good else "none that is valid here")
    if result is None or not good:
        return _LOGIN_POOL_PASSWORD
    denial = _policy_denial(tenant, rule, result.identity, trace)
    return Allow(Reason.POOL_PASSWORD, result) if denial is None else denial


def _is_covered(tenant: Tenant, request: AuthRequest, password: AppPassword) -> bool:
    """Everything that the request acts on. What is below a path is covered with it; a path that
    cannot be read, by a password for all of the host.
    """
    target = request.destination
    acts_on = [
        (request.path, request.ambiguous),
        *([] if target is None else [(target.path, target.ambiguous)]),
    ]
    for path, ambiguous in acts_on:
        if path is None:
            return False
        names = tenant.paths.names(path) if not ambiguous else Unreadable(DIFFERENT)
        if not password.covers(
            request.host, ("/",) if isinstance(names, Unreadable) else names, tenant.paths
        ):
            return False
    return True


def _decide_bearer(
    tenant: Tenant, rule: Rule, machine: MachineToken | None, trace: Trace | None
) -> Decision:
    bearer_rule = rule.bearer
    if machine is None or bearer_rule is None:
        verdict, detail = False, "no valid access token"
    elif machine.client_id not in bearer_rule.clients:
        verdict, detail = False, "the token's client is not named by the rule"
    elif bearer_rule.scopes and bearer_rule.scopes.isdisjoint(machine.scopes):
        verdict, detail = False, f"needs any scope of: {', '.join(sorted(bearer_rule.scopes))}"
    elif machine.is_persons and not rule.any_group:
        # A person's access token carries no groups, so nothing could be checked against it.
        verdict, detail = False, "a person's token needs groups: any on the rule"
    elif machine.is_persons and (
        rule.roles is not None or (tenant.allowed_roles is not None and not rule.any_role)
    ):
        verdict, detail = False, "a person's token carries no roles, and roles are wanted here"
    elif machine.is_persons and (why := _providers_refusal(tenant, machine)):
        verdict, detail = False, why
    else:
        verdict, detail = True, machine.client_id
    if trace is not None:
        trace.add("bearer", verdict, detail)
    if machine is None or not verdict:
        return _LOGIN_BEARER
    # What the rule says itself is a machine's alone: a person is nobody but themselves.
    identity = () if machine.is_persons else rule.identity
    if trace is not None:
        trace.add("identity", passed=True, detail=_arrives_as(machine, identity))
    return Allow(Reason.BEARER, machine=machine, identity=identity)


def _providers_refusal(tenant: Tenant, machine: MachineToken) -> str:
    """What of the provider that their last login used keeps a person's token out; "" where nothing
    does. Of somebody whom nobody looked up, any of the tenant's may be it.
    """
    person = machine.person
    if person is None:
        concerned = tenant.providers
    elif (provider := tenant.provider(person.provider)) is not None:
        concerned = (provider,)
    else:
        return f"provider {person.provider}: {_without_provider(tenant, person).value}"
    asker = next((p.name for p in concerned if p.asks_more), None)
    if asker is not None:
        return f"a person's token carries no groups or roles, and provider {asker} asks for some"
    listing = next((p.name for p in concerned if p.is_social), None)
    return (
        ""
        if listing is None
        else f"a person's token does not say which of provider {listing}'s accounts it is of"
    )


def _arrives_as(machine: MachineToken, identity: tuple[tuple[str, str], ...]) -> str:
    if machine.is_persons:
        return "the person, as their last login said; no groups, no roles"
    return "; ".join(
        (f"the client {machine.client_id}", *(f"{name}: {text}" for name, text in identity))
    )


def _trace_match(tenant: Tenant, rule_match: Match, trace: Trace) -> None:
    trace.add("tenant", tenant.active, tenant.id)
    if rule_match.refused is Reason.BAD_REQUEST:
        trace.add("path", passed=False, detail=rule_match.detail)
    elif rule_match.all_of:
        trace.add(
            "path",
            passed=True,
            detail=(
                f"{rule_match.detail}: it needs what each of the following rules needs, and "
                "nothing is public"
            ),
        )
    elif rule_match.rule is not None and rule_match.index is not None:
        trace.add(
            "rule",
            not rule_match.rule.deny,
            f"rules[{rule_match.index}] path {rule_match.rule.path}",
        )
    else:
        trace.add("rule", passed=True, detail="none matches: login and the tenant's groups")
