"""Whether every removal at a provider is told, and what is missing where it is not. Pure.

Rules:
- What is removed is an account, or a membership of a group that the tenant's policy names. A
  provider is covered where some way tells of accounts and some way of groups, if any are named.
- Events alone count for nothing: every sender drops some, and none says so. What counts is a
  directory or a log that is read to its end, or a SCIM client that keeps everybody's record.
- Whoever is not told of is not known: what can be counted is that fewer have a SCIM record than
  sign in, and that no group of the policy's name was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.core.model import POOLS_OWN, SOCIAL, ProviderKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.core.hook_target import HookTarget

DAY_S: Final = 86_400.0
LATE_INTERVALS: Final = 3
"""After so many intervals without a reading, reading does not work: as the alert has it."""
SILENT_S: Final = DAY_S
"""Of Entra ID's SCIM client, which asks every 40 minutes; a client that is idle between changes
proves nothing by silence.
"""
MOST_NAMED: Final = 5
"""Groups that a gap names."""


class Way(StrEnum):
    """How removals are heard of."""

    GRAPH = "graph"
    OKTA_LOG = "okta_log"
    GOOGLE = "google"
    SCIM = "scim"


class State(StrEnum):
    """``not_needed``: the provider's people are the document's, or the pool's own."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    NONE = "none"
    NOT_NEEDED = "not_needed"


class Gap(StrEnum):
    """What is missing of a way."""

    NOT_SET_UP = "not_set_up"
    HALF_SET_UP = "half_set_up"
    NEVER_READ = "never_read"
    LATE = "late"
    NO_PUSH = "no_push"
    TOKEN_REFUSED = "token_refused"
    SILENT = "silent"
    USERS_MISSING = "users_missing"
    GROUPS_MISSING = "groups_missing"


@dataclass(frozen=True, slots=True)
class Missing:
    """``what`` is wrong and what to ``do``, each a sentence. ``delays``: removals are told, but
    later.
    """

    way: Way
    gap: Gap
    what: str
    do: str
    delays: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one provider. Times are UTC epoch seconds.

    ``read_at``: when each resource of its directory or log was last read to its end, by the name of
    its cursor. ``pushed_until``: until when it promised to tell changes, by resource. ``asked_at``
    and ``refused_at``: the last request of its SCIM client, and the last one that had another
    token. ``users``: its SCIM records; ``people``: who signed in with it lately and has access.
    ``groups``: those of the policy of which there is a SCIM record. ``alone``: the tenant has no
    other provider.
    """

    now: float
    interval_s: float
    read_at: Mapping[str, float] = field(default_factory=dict)
    pushed_until: Mapping[str, float] = field(default_factory=dict)
    asked_at: float | None = None
    refused_at: float | None = None
    users: int = 0
    people: int = 0
    groups: frozenset[str] = frozenset()
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Coverage:
    """``accounts`` and ``groups``: the ways that tell of them completely."""

    tenant: str
    provider: str
    kind: str
    state: State
    accounts: tuple[Way, ...]
    groups: tuple[Way, ...]
    missing: tuple[Missing, ...]


_CREDENTIALS: Final = {
    ProviderKind.ENTRA: ("directory_id", "client_id", "client_secret"),
    ProviderKind.OKTA: ("api_token",),
    ProviderKind.GOOGLE: ("service_account",),
}
_NEVER_READ: Final = {
    Way.GRAPH: (
        "give the app registration the application permissions User.Read.All and Group.Read.All, "
        "with an administrator's consent; the log event reconcile_failed has Graph's answer"
    ),
    Way.OKTA_LOG: (
        "the API token's administrator has to be able to read the System Log; the log event "
        "reconcile_failed has Okta's answer"
    ),
    Way.GOOGLE: (
        "delegate the three scopes to the service account, or give it an admin role; the log event "
        "reconcile_failed has Google's answer"
    ),
}
_RESOURCES: Final = {
    Way.GRAPH: ("users", "groups"),
    Way.OKTA_LOG: ("log",),
    Way.GOOGLE: ("users", "groups"),
}


def coverage(target: HookTarget, facts: Facts) -> Coverage:
    way = directory_way(target)
    accounts: list[Way] = []
    groups: list[Way] = []
    missing: list[Missing] = []
    if way is not None:
        items = tuple(_directory(target, way, facts))
        missing += items
        unread = {resource for resource in _RESOURCES[way] if not _is_read(facts, resource)}
        if not any(each.gap is Gap.HALF_SET_UP for each in items):
            accounts += [] if unread & {"users", "log"} else [way]
            groups += [] if unread & {"groups", "log"} else [way]
    uses_scim = facts.asked_at is not None or facts.users > 0
    if uses_scim or facts.refused_at is not None:
        items = tuple(_scim(target, facts))
        missing += items
        gaps = {each.gap for each in items}
        if uses_scim and not gaps & {Gap.TOKEN_REFUSED, Gap.SILENT}:
            accounts += [] if Gap.USERS_MISSING in gaps else [Way.SCIM]
            groups += [] if Gap.GROUPS_MISSING in gaps else [Way.SCIM]
    if accounts and (groups or not target.groups_used):
        state = State.COMPLETE
    elif missing or accounts or groups:
        state = State.INCOMPLETE
    elif target.kind in {*POOLS_OWN, *SOCIAL}:
        state = State.NOT_NEEDED
    else:
        state = State.NONE
        missing.append(_not_set_up(target))
    return Coverage(
        target.tenant,
        target.provider,
        target.kind.value,
        state,
        tuple(accounts),
        tuple(groups),
        tuple(missing),
    )


def directory_way(target: HookTarget) -> Way | None:
    """The directory or log that somebody began to set up."""
    if target.service_account is not None:
        return Way.GOOGLE
    if target.kind is ProviderKind.ENTRA and (target.directory_id or target.client_secret):
        return Way.GRAPH
    if target.kind is ProviderKind.OKTA and target.api_token is not None:
        return Way.OKTA_LOG
    return None


def _is_read(facts: Facts, resource: str) -> bool:
    at = facts.read_at.get(resource, 0.0)
    return at > 0 and facts.now - at <= LATE_INTERVALS * facts.interval_s


def _directory(target: HookTarget, way: Way, facts: Facts) -> Iterator[Missing]:
    lacking = [name for name in _CREDENTIALS.get(target.kind, ()) if not getattr(target, name)]
    if lacking and way is not Way.GOOGLE:
        names = ", ".join(f"providers[].hooks.{name}" for name in lacking)
        yield Missing(way, Gap.HALF_SET_UP, f"{names}: not set.", f"Set {names}.")
        return
    for resource in _RESOURCES[way]:
        at = facts.read_at.get(resource, 0.0)
        if not at:
            what = f"The {resource} of the directory were never read to their end."
            yield Missing(way, Gap.NEVER_READ, what, f"{_NEVER_READ[way].capitalize()}.")
        elif not _is_read(facts, resource):
            hours = (facts.now - at) / 3600
            what = f"The {resource} of the directory were last read {hours:.0f} hours ago."
            yield Missing(way, Gap.LATE, what, f"{_NEVER_READ[way].capitalize()}.")
        elif way is Way.GRAPH and facts.pushed_until.get(resource, 0.0) <= facts.now:
            yield Missing(
                way,
                Gap.NO_PUSH,
                f"Graph pushes no changes of {resource}: removals are found by reading.",
                "Set hooks.url and a hook secret, and let Graph reach the hooks listener.",
                delays=True,
            )


def _scim(target: HookTarget, facts: Facts) -> Iterator[Missing]:
    if facts.refused_at is not None and facts.refused_at > (facts.asked_at or 0.0):
        yield Missing(
            Way.SCIM,
            Gap.TOKEN_REFUSED,
            "The last request of the SCIM client had another token than the hook secrets.",
            "Enter the hook secret as the client's token (gateway hooks secret).",
        )
    elif target.kind is ProviderKind.ENTRA and facts.now - (facts.asked_at or 0.0) > SILENT_S:
        yield Missing(
            Way.SCIM,
            Gap.SILENT,
            "Entra ID has sent no SCIM request for a day; it sends some every 40 minutes.",
            "Start provisioning again in Entra ID, and look whether it is in quarantine.",
        )
    if facts.users < facts.people:
        yield Missing(
            Way.SCIM,
            Gap.USERS_MISSING,
            f"{facts.people} people signed in within a month, and SCIM has {facts.users} users.",
            "Assign everybody who may sign in to the application that provisions.",
        )
    lacking = sorted((target.groups_used or frozenset()) - facts.groups)
    if lacking and (facts.alone or not facts.groups):
        group_list = ", ".join(lacking[:MOST_NAMED]) + (", …" if len(lacking) > MOST_NAMED else "")
        yield Missing(
            Way.SCIM,
            Gap.GROUPS_MISSING,
            f"Groups of the policy that SCIM has not sent: {group_list}.",
            "Push these groups too (Okta: Push Groups; Entra ID: assign the groups).",
        )


def _not_set_up(target: HookTarget) -> Missing:
    way, do = {
        ProviderKind.ENTRA: (Way.GRAPH, "Let the gateway read Microsoft Graph, or set up SCIM."),
        ProviderKind.OKTA: (Way.OKTA_LOG, "Give the gateway an API token, or set up SCIM."),
        ProviderKind.GOOGLE: (Way.GOOGLE, "Give the gateway a service account."),
    }.get(target.kind, (Way.SCIM, "Set up SCIM at the identity provider."))
    return Missing(way, Gap.NOT_SET_UP, "Nothing tells of removals completely.", do)
