"""The pool's own users as a tenant's provider: what a plan says of their group and of the style of
their pages. Pure.

Whoever is in ``tenants/TENANT`` is the tenant's. A group of that name that is there already, and
that the tenant did not have, is a conflict: its users would get access unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cognito.desired import POOL_USERS
from gateway.cognito.pool_users import MAX_STYLES, PoolUsers
from gateway.core.model import ProviderKind
from gateway.core.pool_groups import members_group
from gateway.provisioning.plan_rows import Resource, Step, Verb
from gateway.provisioning.preflight import PreflightProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.cognito.desired import Actual, Wanted
    from gateway.core.json_types import Json


def has_pool_users(document: Mapping[str, Any]) -> bool:
    """Whether the pool's own users sign in to this tenant."""
    return any(p["kind"] == ProviderKind.COGNITO for p in document["providers"])


def recalled_users(entries: Sequence[Json]) -> PoolUsers | None:
    """What the journal remembers of the pool's own users."""
    return next(
        (PoolUsers(e["name"], e["group"]) for e in entries if e["kind"] == ProviderKind.COGNITO),
        None,
    )


def remembered_users(users: PoolUsers | None) -> list[Json]:
    """For the journal."""
    if users is None:
        return []
    return [{"name": users.name, "kind": str(ProviderKind.COGNITO), "group": users.group}]


def users_steps(
    wanted: Wanted, actual: Actual, *, known: frozenset[str], adopt: bool
) -> tuple[tuple[Step, ...], tuple[PreflightProblem, ...]]:
    """The rows of a plan, after the client's; and what keeps it from being applied."""
    steps, problems = [], []
    users, group = wanted.users, actual.group
    if users is not None:
        if group is not None and users.name not in known and not adopt:
            problems.append(
                PreflightProblem(
                    "exists",
                    f"providers.{users.name}",
                    f"group {users.group} already exists in user pool {actual.pool_id}, and "
                    "whoever is in it would become this tenant's user: look at it, and delete "
                    "it or adopt it (only with a key that is bound to no tenant)",
                )
            )
        steps.append(_group(users, actual, adopted=users.name not in known))
    steps += _styles(wanted, actual)
    return tuple(steps), tuple(problems)


def _group(users: PoolUsers, actual: Actual, *, adopted: bool) -> Step:
    if actual.group is None:
        why = "whoever is in it is the tenant's user; nobody is yet"
        return Step(Verb.CREATE, Resource.GROUP, users.group, why)
    if adopted:
        why = "it exists and is taken over, with everybody who is in it"
        return Step(Verb.ADOPT, Resource.GROUP, users.group, why)
    return Step(Verb.KEEP, Resource.GROUP, users.group, "it is there")


def _styles(wanted: Wanted, actual: Actual) -> Iterator[Step]:
    pages = actual.pages
    if POOL_USERS not in wanted.client.providers or pages is None or not pages.need_style:
        return
    why = f"managed login shows an error to a client without a style (a pool has {MAX_STYLES})"
    if actual.client is None:
        yield Step(Verb.CREATE, Resource.STYLE, "", why)
    for client in (actual.client, *actual.retired):
        if client is not None:
            yield (
                Step(Verb.KEEP, Resource.STYLE, client.client_id, "the client has one")
                if client.client_id in pages.styled
                else Step(Verb.CREATE, Resource.STYLE, client.client_id, why)
            )


def users_notes(wanted: Wanted, actual: Actual) -> tuple[str, ...]:
    """What the pool asks of its own users, for whoever reads the plan."""
    if POOL_USERS not in wanted.client.providers or actual.settings is None:
        return ()
    notes = list(actual.settings.sentences())
    if wanted.users is None:
        notes.append(
            "every user of the pool with a verified address of the tenant's domains signs in: "
            f"members_only would ask for the group {members_group(wanted.tenant)} too"
        )
    if actual.pages is not None and actual.pages.version is None:
        notes.append(
            "the version of the pool's pages is not known (cognito-idp:DescribeUserPoolDomain): "
            "the client gets a style, as version 2 needs"
        )
    return tuple(notes)
