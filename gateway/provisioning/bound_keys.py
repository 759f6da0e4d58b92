"""What of a provisioning request a tenant's own admin key may say: an allow-list, as
``tenants.bound_keys`` is one for the document. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.provisioning.addition import vouched_domains
from gateway.provisioning.pool_users import recalled_users
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.request import PoolUsersBody, SocialProviderBody
from gateway.tenants.bound_keys import PROVISIONED, Authority, operators_changes
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from gateway.provisioning.request import ProvisionBody

Json = dict[str, Any]
_OPERATOR, _TENANT, _PROVEN = Authority.OPERATOR, Authority.TENANT, Authority.PROVEN
BODY_FIELDS: Mapping[str, Authority] = {
    "prune": _TENANT,  # false takes less away
    "provider": _TENANT,  # by PROVIDER_FIELDS
    "providers": _TENANT,
    "group": _TENANT,
    "groups": _TENANT,
    "allowed_domain": _PROVEN,
    "email_domains": _PROVEN,
    "hosts": _OPERATOR,
    "name": _TENANT,
    "adopt": _OPERATOR,
    "adopt_client": _OPERATOR,
    "password_client": _OPERATOR,  # of the pool, which is every tenant's
    "keep_secrets": _TENANT,
    "default_provider": _TENANT,
    "fallback_providers": _TENANT,
    "custom_attributes": _OPERATOR,  # the pool's, for ever
    "pool": _OPERATOR,
}
PROVIDER_FIELDS: Mapping[str, Authority] = {
    # the pool's: a name of one's choice could be the one that another customer is about to get
    "name": _OPERATOR,
    "kind": _TENANT,  # but for "cognito": a group and one of twenty styles of the pool
    "client_id": _TENANT,
    "client_secret": _TENANT,
    "secret_expires": _TENANT,
    "accounts": _OPERATOR,  # who of everybody is the tenant's
    "team_id": _OPERATOR,  # the pool's one provider of all tenants
    "key_id": _OPERATOR,
    "private_key": _OPERATOR,
    "oidc_issuer": _TENANT,
    "metadata_url": _TENANT,
    "metadata": _TENANT,
    "preset": _TENANT,
    "sign_requests": _TENANT,
    "encrypted_assertions": _TENANT,
    "single_logout": _TENANT,
    # whoever it signs in may be sent to a page of somebody else's choice, without having asked
    "idp_initiated": _OPERATOR,
    "label": _TENANT,
    "active": _TENANT,  # bound_changes: only to false
    "hidden": _TENANT,
    "groups": _TENANT,
    "roles": _TENANT,
    "only_attributes": _OPERATOR,  # headers of the gateway's own may be made of what it leaves out
    "domains": _OPERATOR,
    # the pool's: Cognito would send another customer's people to this provider
    "identifiers": _OPERATOR,
    "scopes": _OPERATOR,
    "attributes": _OPERATOR,  # the pool's, and headers of the gateway's own may be made of them
}
"""Field → authority. What is an operator's may be left out by a bound key, or said as it stands
already; domains may be said that differ from those only by what the tenant has proven
(``bound_changes`` asks whom they would let in).
"""


def bound_findings(
    body: ProvisionBody,
    document: Json | None,
    known: Sequence[Json],
    *,
    proven: Collection[str] = frozenset(),
) -> tuple[PreflightProblem, ...]:
    """Why a bound key may not ask for this. ``document``: the tenant's; ``known``: its providers as
    they were provisioned; ``proven``: domains that it holds.
    """
    if document is None:
        return (PreflightProblem("bound", "tenant", "only an operator creates tenants"),)
    return tuple(
        PreflightProblem("bound", where, "only an operator changes this")
        for where in _operators_words(body, document, known, proven)
    )


def bound_changes(
    before: Json, after: Json, *, proven: Collection[str] = frozenset()
) -> tuple[PreflightProblem, ...]:
    """The same question once more, of the document that would be stored: whatever way a change came
    into it.
    """
    changes = operators_changes(before, TenantDocument.model_validate(after), proven=proven)
    paths = [path for path in changes if path not in PROVISIONED]
    return tuple(
        PreflightProblem("bound", path, "only an operator changes this")
        for path in (*paths, *_domains_of_others(before, after, frozenset(proven)))
    )


def _domains_of_others(before: Json, after: Json, proven: frozenset[str]) -> Iterator[str]:
    """Where a provider would vouch for what an operator gave to another one: because it says so, or
    because the other one is left out, now or before, and nobody names its domains any more. What a
    provider without ``domains`` vouched for is the tenant's as a whole. New domains of the tenant
    are another change.
    """
    held, now = vouched_domains(before), vouched_domains(after)
    whole = {d for p in before["providers"] if not p.get("domains") for d in held[p["name"]]}
    for provider in after["providers"]:
        name = provider["name"]
        gained = (now[name] - held.get(name, frozenset()) - whole) & {*before["email_domains"]}
        if name not in held:
            gained |= {*(provider.get("domains") or ())}
        if not gained <= proven:
            yield f"providers.{name}.domains"


def _operators_words(
    body: ProvisionBody, document: Json, known: Sequence[Json], proven: Collection[str]
) -> Iterator[str]:
    document_domains = frozenset(document.get("email_domains", ()))
    body_domains = frozenset(body.domains or ())
    # Beside other providers they are the new one's: one that the tenant has may be another's.
    changed_domains = body_domains ^ document_domains if body.prune else body_domains
    domains = {document_domains} if body.prune else set()
    if changed_domains <= {*proven}:
        domains.add(body_domains)
    stands: Mapping[str, Any] = {
        "hosts": {frozenset(document.get("hosts", ()))},
        "email_domains": domains,
        "allowed_domain": domains,
        "pool": {document.get("pool")},
    }
    yield from _not_standing(body, BODY_FIELDS, stands)
    provisioned, providers = (
        {e["name"]: e for e in known},
        {p["name"]: p for p in document.get("providers", ())},
    )
    for number, provider in enumerate(body.all_providers):
        names = {provider.name} if provider.name is not None else set()
        if provider.name is None and body.prune:
            # It is derived, and may be the one that is there.
            names = set(providers)
        theirs: Mapping[str, Any] = {
            "name": set(providers),
            "domains": {
                frozenset(providers[n].get("domains") or ()) for n in names & providers.keys()
            },
            "identifiers": {
                tuple(provisioned[n].get("identifiers", ())) for n in names & provisioned.keys()
            },
            "scopes": {tuple(provisioned[n].get("scopes", ())) for n in names & provisioned.keys()},
            "attributes": set(),
        }
        if isinstance(provider, SocialProviderBody) and provider.settings is not None:
            yield f"providers.{number}.client_id"
        if isinstance(provider, PoolUsersBody) and recalled_users(known) is None:
            yield f"providers.{number}.kind"
        yield from (
            f"providers.{number}.{name}"
            for name in _not_standing(provider, PROVIDER_FIELDS, theirs)
        )


def _not_standing(
    body: BaseModel, fields: Mapping[str, Authority], stands: Mapping[str, Any]
) -> Iterator[str]:
    for name, field in type(body).model_fields.items():
        value = getattr(body, name)
        if fields.get(name, _OPERATOR) is _TENANT or value == field.get_default(
            call_default_factory=True
        ):
            continue
        if not isinstance(value, str | tuple | frozenset) or _comparable(
            name, value
        ) not in stands.get(name, ()):
            yield name


def _comparable(name: str, said: str | tuple[str, ...] | frozenset[str]) -> object:
    if name in {"hosts", "email_domains", "domains", "allowed_domain"}:
        return frozenset({said} if isinstance(said, str) else said)
    return said
