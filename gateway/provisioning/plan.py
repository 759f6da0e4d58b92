"""``plan(wanted, actual)``: which steps make the pool what the tenant wants, and why each. Pure.

Rules:
- The order of the steps is the order of dependence: attributes, providers, client. Undoing goes the
  other way.
- A provider that exists is never taken over silently: it is the tenant's own (named before),
  adopted on request, or a conflict.
- Attributes are added and never changed: Cognito cannot take them back.
- Whatever a change does not name stays, though Cognito's UpdateUserPoolClient would reset it: the
  shapes carry it along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cognito.desired import OidcConnection, SamlConnection, same_issuer
from gateway.cognito.feature_plan import LITE, features_sentence
from gateway.cognito.shapes import (
    provider_details,
    provider_type,
    saml_differences,
)
from gateway.cognito.social import NEEDED, SocialConnection
from gateway.core.model import DEFAULT_POOL, ProviderKind
from gateway.provisioning.client_rows import (
    client_row,
    further_client_rows,
    retired_row,
)
from gateway.provisioning.plan_rows import Difference, Plan, Resource, Step, Verb
from gateway.provisioning.pool_users import users_notes, users_steps
from gateway.provisioning.preflight import PreflightProblem, check_pool, check_quotas, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.cognito.desired import (
        Actual,
        ActualProvider,
        Wanted,
        WantedProvider,
    )
    from gateway.config.user_pools import CognitoQuotas

SECRET_SHOWN = "***"


def plan(
    wanted: Wanted,
    actual: Actual,
    *,
    quotas: CognitoQuotas,
    pool: str = DEFAULT_POOL,
    known: frozenset[str] = frozenset(),
    adopt: bool = False,
    retired: Sequence[str] = (),
    leaving: Mapping[str, str | None] | None = None,
    adopt_client: bool = False,
    password_client: str | None = None,
    adopt_password_client: bool = False,
) -> Plan:
    """``known``: names of providers that this tenant had before; with ``adopt`` others that exist
    are taken over too.

    ``retired``: ids of clients that a rotation replaced and that are accepted still. ``leaving``:
    names of providers that the tenant has and shall not have, and the mark of those that the
    gateway made. ``adopt_client``: its client was made by somebody else.

    ``password_client``: the id of the one that passwords are checked with, with
    ``adopt_password_client`` one that somebody else made.
    """
    problems: list[PreflightProblem] = list(check_pool(wanted, actual))
    steps: list[Step] = [_attributes(wanted.custom_attributes, actual)]
    named_steps, against_named = _named_rows(wanted, actual, known=known, adopt=adopt)
    steps += named_steps
    problems += against_named
    left_steps, against_left = left_rows(wanted, actual)
    steps += left_steps
    problems += against_left
    own_steps, against_shared = shared_steps(wanted, actual)
    steps += own_steps
    problems += against_shared
    steps += [_leaving(name, mark) for name, mark in (leaving or {}).items()]
    own, against = users_steps(wanted, actual, known=known, adopt=adopt)
    problems += against
    steps += [step for step in own if step.resource is Resource.GROUP]
    steps.append(client_row(wanted.client, actual.client, adopted=adopt_client))
    steps += [
        retired_row(
            wanted.client,
            client_id,
            next((c for c in actual.retired if c.client_id == client_id), None),
        )
        for client_id in retired
    ]
    steps += [step for step in own if step.resource is Resource.STYLE]
    steps += further_client_rows(wanted, actual, password_client, adopted=adopt_password_client)
    resources = [step.resource for step in steps if step.verb is Verb.CREATE]
    clients = sum(resources.count(each) for each in (Resource.CLIENT, Resource.PASSWORD_CLIENT))
    providers = resources.count(Resource.PROVIDER)
    problems += check_quotas(actual, quotas, clients=clients, providers=providers, pool=pool)
    return Plan(
        tuple(steps), tuple(problems), (*_notes(wanted, actual), *users_notes(wanted, actual))
    )


def _named_rows(
    wanted: Wanted, actual: Actual, *, known: frozenset[str], adopt: bool
) -> tuple[list[Step], list[PreflightProblem]]:
    steps: list[Step] = []
    problems: list[PreflightProblem] = []
    for provider in wanted.providers:
        actual_provider = actual.providers.get(provider.name)
        if actual_provider is not None and provider.name not in known and not adopt:
            problems.append(_taken(provider.name, actual.pool_id))
            continue
        if actual_provider is not None and actual_provider.type != provider_type(provider):
            problems.append(_other_type(provider, actual_provider, actual.pool_id))
            continue
        steps.append(_provider(provider, actual_provider, adopted=provider.name not in known))
    return steps, problems


def _taken(name: str, pool_id: str) -> PreflightProblem:
    return PreflightProblem(
        "exists",
        f"providers.{name}",
        f"{name} already exists in user pool {pool_id}; choose another name, or adopt it (only "
        "with a key that is bound to no tenant)",
    )


def left_rows(wanted: Wanted, actual: Actual) -> tuple[list[Step], list[PreflightProblem]]:
    """Providers of the tenant that the request does not name: none is changed, and none is
    connected once more under another name.
    """
    steps: list[Step] = []
    problems: list[PreflightProblem] = []
    for provider in wanted.left:
        where = f"providers.{provider.name}"
        if provider.name not in actual.providers:
            message = (
                f"is not in user pool {actual.pool_id} any more, and the tenant has it: provision "
                "it again, or take it out of the tenant's document"
            )
            problems.append(invalid(where, message))
            continue
        why = "the request does not name it: it stays as it is"
        steps.append(Step(Verb.KEEP, Resource.PROVIDER, provider.name, why))
        problems += [
            PreflightProblem(
                "exists",
                f"providers.{new.name}",
                f"{provider.name} is connected to the same application of the same identity "
                f"provider: say name: {provider.name} to change it",
            )
            for new in wanted.providers
            if new.name not in actual.providers and _same_application(new, provider)
        ]
    return steps, problems


def _same_application(one: WantedProvider, other: WantedProvider) -> bool:
    a, b = one.connection, other.connection
    if isinstance(a, OidcConnection) and isinstance(b, OidcConnection):
        return same_issuer(a.issuer, b.issuer) and a.client_id == b.client_id
    if isinstance(a, SamlConnection) and isinstance(b, SamlConnection):
        return a.entity_id == b.entity_id
    return False


def shared_steps(wanted: Wanted, actual: Actual) -> tuple[list[Step], list[PreflightProblem]]:
    """Providers that are every tenant's: none is changed for one, nor deleted with one."""
    steps: list[Step] = []
    problems: list[PreflightProblem] = []
    for provider in wanted.shared:
        connection, where = provider.connection, f"providers.{provider.name}"
        has_settings = isinstance(connection, SocialConnection) and connection.settings is not None
        if provider.name not in actual.providers:
            if has_settings:
                why = "the pool has none yet; it is for all tenants, and stays when this one goes"
                steps.append(Step(Verb.CREATE, Resource.PROVIDER, provider.name, why))
            else:
                settings = ", ".join(NEEDED[provider.kind])
                problems.append(
                    PreflightProblem(
                        "invalid",
                        where,
                        f"user pool {actual.pool_id} has none: an operator's request brings "
                        f"{settings}",
                    )
                )
            continue
        if has_settings:
            problems.append(
                PreflightProblem(
                    "exists",
                    where,
                    f"user pool {actual.pool_id} has one, which is every tenant's: leave its "
                    "settings out, and change them in the Cognito console",
                )
            )
        why = "the pool's own, for all tenants, is used as it is"
        steps.append(Step(Verb.KEEP, Resource.PROVIDER, provider.name, why))
    return steps, problems


def _other_type(wanted: WantedProvider, found: ActualProvider, pool_id: str) -> PreflightProblem:
    return PreflightProblem(
        "exists",
        f"providers.{wanted.name}",
        f"{wanted.name} is of type {found.type} in user pool {pool_id}, and Cognito cannot make "
        f"it {provider_type(wanted)}: choose another name",
    )


def _attributes(names: Sequence[str], actual: Actual) -> Step:
    missing_names = [name for name in names if name not in actual.attributes]
    if not missing_names:
        return Step(
            Verb.KEEP,
            Resource.ATTRIBUTES,
            ", ".join(names),
            "the pool has them, and they can be changed by each login",
        )
    return Step(
        Verb.ADD,
        Resource.ATTRIBUTES,
        ", ".join(missing_names),
        "the pool lacks them; they stay, since Cognito cannot remove an attribute",
    )


def _provider(wanted: WantedProvider, found: ActualProvider | None, *, adopted: bool) -> Step:
    if found is None:
        return Step(
            Verb.CREATE,
            Resource.PROVIDER,
            wanted.name,
            f"{wanted.kind} at {wanted.connection.named} is not in the pool yet",
        )
    differences = provider_differences(wanted, found)
    if adopted:
        note = f", with {len(differences)} settings changed" if differences else ", as it is"
        return Step(
            Verb.ADOPT,
            Resource.PROVIDER,
            wanted.name,
            f"it exists and is taken over{note}",
            differences,
        )
    if differences:
        return Step(
            Verb.CHANGE,
            Resource.PROVIDER,
            wanted.name,
            f"{', '.join(d.setting for d in differences)} differ",
            differences,
        )
    return Step(Verb.KEEP, Resource.PROVIDER, wanted.name, "it is as wanted")


def _leaving(name: str, mark: str | None) -> Step:
    last = (
        "and deleted from the pool when everything else is done, since the gateway made it"
        if mark
        else "and stays in the pool, since the gateway did not make it"
    )
    return Step(
        Verb.REMOVE,
        Resource.PROVIDER,
        name,
        f"it is not in the request any more: it is taken from the client, {last}",
    )


def provider_differences(wanted: WantedProvider, found: ActualProvider) -> tuple[Difference, ...]:
    """Identifiers of other people (a console's) are kept and are no difference; ours that are
    missing are one.
    """
    differences = (
        [
            Difference(f"details.{name}", now, then)
            for name, (now, then) in saml_differences(wanted.connection, found).items()
        ]
        if isinstance(wanted.connection, SamlConnection)
        else _oidc_differences(wanted, found)
    )
    differences += _mapping_differences(wanted.mapping, found.mapping)
    new_identifiers = [i for i in wanted.identifiers if i not in found.identifiers]
    if new_identifiers:
        differences.append(
            Difference(
                "identifiers", list(found.identifiers), [*found.identifiers, *new_identifiers]
            )
        )
    return tuple(differences)


def _oidc_differences(wanted: WantedProvider, found: ActualProvider) -> list[Difference]:
    details = provider_details(wanted, found)
    differences = [
        Difference(f"details.{n}", found.details.get(n), v)
        for n, v in details.items()
        if n != "client_secret" and found.details.get(n) != v
    ]
    if details["client_secret"] != found.details.get("client_secret"):
        differences.append(Difference("details.client_secret", SECRET_SHOWN, SECRET_SHOWN))
    return differences


def _mapping_differences(
    wanted: Mapping[str, str], found: Mapping[str, str]
) -> Sequence[Difference]:
    # Cognito adds username ← sub whether asked or not.
    names = sorted((set(wanted) | set(found)) - {"username"})
    return [
        Difference(f"mapping.{name}", found.get(name), wanted.get(name))
        for name in names
        if wanted.get(name) != found.get(name)
    ]


def _notes(wanted: Wanted, actual: Actual) -> tuple[str, ...]:
    notes = []
    if actual.login_reuse is not None:
        notes.append(actual.login_reuse.sentence())
        if actual.login_reuse.plan == LITE:
            notes.append(features_sentence(LITE))
    if not actual.case_sensitive:
        notes.append(
            "the pool ignores case in user names: subjects that differ in case only would "
            "be one person (it can only be chosen when a pool is made)"
        )
    for provider in wanted.providers:
        actual_provider = actual.providers.get(provider.name)
        if (
            provider.kind is ProviderKind.ENTRA
            and isinstance(provider.connection, OidcConnection)
            and actual_provider is not None
            and actual_provider.details.get("client_id") != provider.connection.client_id
        ):
            notes.append(
                f"{provider.name}: with another Entra registration everybody has another "
                "sub, so each person becomes a new user of the pool and "
                "X-Auth-Request-User "
                "changes for all of them (the header source oid does not)"
            )
    return tuple(notes)
