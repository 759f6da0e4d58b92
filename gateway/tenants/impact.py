"""What a change of a tenant would do to the people who are signed in: the deciding function itself,
before and after.

Pure. A rule is tried at a path that its glob surely matches, with its methods; what matches no
rule, at a path of its own. Who sends a password of the pool is in no list: of them all, one effect
is told for each place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.decide import decide, match, takes_pool_passwords
from gateway.core.decision import Allow
from gateway.core.hosts import email_domain, includes
from gateway.core.model import AuthRequest, Identity, RequestKind, Session
from gateway.core.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.core.model import Tenant
    from gateway.core.rule import Rule
    from gateway.sessions.api import SessionView

ELSEWHERE = "/-no-rule-names-this-path-"
_ANY_METHOD = "GET"
_GONE = Reason.UNKNOWN_HOST.value
PROGRAMS = "(programs with a password of the pool)"
"""In the place of an address."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What is tried for one rule. ``where``: as it is told."""

    where: str
    method: str
    path: str
    hosts: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Effect:
    """``where``: method and path as the rule writes it; empty for the whole tenant. ``reason``: of
    the refusal, before or after.
    """

    email: str
    gains: bool
    where: str
    reason: str


def effects(
    before: Tenant, after: Tenant | None, people: Iterable[SessionView]
) -> tuple[Effect, ...]:
    """Each person once per place. ``after`` None: the tenant goes."""
    places = dict.fromkeys(
        (*_places(before.rules), *(_places(after.rules) if after is not None else ()))
    )
    person_effects = [
        effect for each in people for effect in _effects(before, after, each, tuple(places))
    ]
    return tuple(dict.fromkeys((*_of_programs(before, after, tuple(places)), *person_effects)))


def _of_programs(
    before: Tenant, after: Tenant | None, places: Sequence[_Place]
) -> Iterator[Effect]:
    for place in places:
        answers = [
            tenant is not None and _takes_passwords(tenant, place) for tenant in (before, after)
        ]
        if answers[0] is answers[1]:
            continue
        without = before if answers[1] else after
        reason = _GONE if without is None else _unknown_reason(without, place)
        if reason:
            yield Effect(PROGRAMS, gains=answers[1], where=place.where, reason=reason)


def _takes_passwords(tenant: Tenant, place: _Place) -> bool:
    """Whether a name and a password are asked about there."""
    rule_match = match(tenant, _request(tenant, place, ()))
    return takes_pool_passwords(rule_match) and tenant.password_client is not None


def _unknown_reason(tenant: Tenant, place: _Place) -> str:
    """Why nobody without a session comes in; empty where everybody does."""
    request = _request(tenant, place, ())
    rule_match = match(tenant, request)
    if takes_pool_passwords(rule_match):
        return Reason.COGNITO_UNAVAILABLE.value
    decision = decide(tenant, request, rule_match, session=None, machine=None, now=0)
    return "" if isinstance(decision, Allow) else decision.reason.value


def _effects(
    before: Tenant, after: Tenant | None, person: SessionView, places: Sequence[_Place]
) -> Iterator[Effect]:
    is_gone = after is None or not _owns(before, after, person)
    outcomes = [
        (
            place.where,
            _reason(before, person, place),
            _GONE if is_gone or after is None else _reason(after, person, place),
        )
        for place in places
    ]
    changes = [(where, old, new) for where, old, new in outcomes if bool(old) != bool(new)]
    if (
        len(changes) == len(outcomes)
        and len({(bool(old), old or new) for _, old, new in changes}) == 1
    ):
        _, old, new = changes[0]
        changes = [("", old, new)]
    for where, old, new in changes:
        yield Effect(person.email, gains=bool(old), where=where, reason=old or new)


def _owns(before: Tenant, after: Tenant, person: SessionView) -> bool:
    """Whether some host of this person's sessions stays the tenant's; a shared host was never its
    own.
    """

    def own(tenant: Tenant, host: str) -> bool:
        return host in tenant.hosts or any(host.endswith(f".{name}") for name in tenant.wildcards)

    return not person.hosts or any(
        own(after, host) or not own(before, host) for host in person.hosts
    )


def _reason(tenant: Tenant, person: SessionView, place: _Place) -> str:
    """Why not; empty for yes. At a host of the rule: one where this person is signed in, if there
    is any.
    """
    request = _request(tenant, place, person.hosts)
    identity = Identity(
        sub=person.user,
        email=person.email,
        email_domain=email_domain(person.email) or "",
        username="",
        preferred_username="",
        name="",
        groups=person.groups,
        roles=person.roles,
        provider=person.provider,
        idp_subject=person.idp_subject,
    )
    session = Session(
        "",
        tenant.id,
        request.host,
        person.session,
        identity,
        0,
        0,
        person.created_at,
        person.expires_at,
        tenant.client_id,
    )
    decision = decide(
        tenant,
        request,
        match(tenant, request),
        session=session,
        machine=None,
        now=person.created_at,
    )
    return "" if isinstance(decision, Allow) else decision.reason.value


def _request(tenant: Tenant, place: _Place, hosts: Sequence[str]) -> AuthRequest:
    """At one of ``hosts``, if the rule is of one of them."""
    host = next(
        (
            host
            for host in (*hosts, *sorted(tenant.hosts))
            if place.hosts is None or includes(place.hosts, host)
        ),
        example(min(place.hosts or ("",))),
    )
    return AuthRequest(
        scheme="https",
        host=host,
        method=place.method,
        path=place.path,
        ambiguous=False,
        original_uri=place.path,
        kind=RequestKind.NAVIGATION,
        html=True,
        cookies=(),
        other_cookies="",
        bearer=None,
        preflight=False,
        client="",
        request_id="",
    )


def _places(rules: Iterable[Rule]) -> Iterator[_Place]:
    yield _Place("(what no rule names)", _ANY_METHOD, ELSEWHERE, None)
    for rule in rules:
        for method in sorted(rule.methods) if rule.methods else (_ANY_METHOD,):
            hosts = f" ({', '.join(sorted(rule.hosts))})" if rule.hosts is not None else ""
            yield _Place(f"{method} {rule.path}{hosts}", method, example(rule.path), rule.hosts)


def example(glob: str) -> str:
    """A path that the glob matches; of a wildcard, a host below it."""
    return glob.replace("**", "-").replace("*", "-")
