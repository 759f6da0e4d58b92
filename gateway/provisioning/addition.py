"""Providers of a request beside those that a tenant has already: what its document is then. Pure.

Rules:
- Whoever signs in with a provider that the request does not name has the access that they had. A
  group or a domain that is added is the new provider's alone.
- Where the document would say otherwise by itself, a provider that names none is given what held
  for it: the tenant's groups of before, the domains that it vouched for.
- What cannot be said without a change for somebody else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.core.model import POOLS_OWN, ProviderKind
from gateway.provisioning.preflight import PreflightProblem, invalid
from gateway.provisioning.request import ProviderEntry
from gateway.tenants.document import provider_domains

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.provisioning.request import ProvisionBody

Json = dict[str, Any]
_ANY = "any"


@dataclass(frozen=True, slots=True)
class Access:
    """Who of those that sign in with a provider gets in. None: nothing is said."""

    groups: Sequence[str] | Literal["any"] | None = None
    domains: frozenset[str] | None = None


def said_access(body: ProvisionBody) -> tuple[Access, ...]:
    """For each provider of a request with ``prune: false``, in its order: what its entry says, else
    what the request says of all of them.
    """
    groups = body.allowed_groups if body.group is not None or body.groups is not None else None
    domains = body.email_domains
    if body.allowed_domain is not None:
        domains = frozenset({body.allowed_domain})
    access = []
    for each in body.providers or (body.provider,):
        own = each if isinstance(each, ProviderEntry) else None
        own_groups = None if own is None else own.all_groups
        own_domains = None if own is None else own.domains
        access.append(
            Access(
                groups if own_groups is None else own_groups,
                domains if own_domains is None else own_domains,
            )
        )
    return tuple(access)


def beside(
    before: Mapping[str, Any], entries: Sequence[Json], access: Mapping[str, Access]
) -> tuple[Json, tuple[PreflightProblem, ...]]:
    """The document with ``entries`` of providers, new ones last. ``access``: by their names.
    ``before`` is a tenant's document as it is shown.
    """
    new: dict[str, Json] = {entry["name"]: dict(entry) for entry in entries}
    providers = [new.pop(p["name"], dict(p)) for p in before["providers"]]
    document: Json = {**before, "providers": [*providers, *new.values()]}
    problems = [
        *_with_groups(document, before, access),
        *_with_domains(document, before, access, added=frozenset(new)),
    ]
    if sum(p["kind"] == ProviderKind.COGNITO for p in document["providers"]) > 1:
        problems.append(invalid("providers", "the tenant has the pool's own users already, once"))
    return document, tuple(problems)


def _with_groups(
    document: Json, before: Mapping[str, Any], access: Mapping[str, Access]
) -> Iterator[PreflightProblem]:
    allowed = before["allowed_groups"]
    said = {name: each.groups for name, each in access.items() if each.groups is not None}
    for entry in document["providers"]:
        groups = said.get(entry["name"])
        if groups is not None:
            entry["groups"] = groups if groups == _ANY else sorted({*groups})
    if allowed == _ANY:
        return
    if _ANY in said.values():
        yield invalid(
            "groups",
            "any would be for everybody of the tenant, which asks for groups (allowed_groups): "
            "name groups, or leave them out and the tenant's count",
        )
        return
    added = {name for groups in said.values() for name in groups} - {*allowed}
    if not added:
        return
    document["allowed_groups"] = sorted({*allowed, *added})
    replaces = any(map(_replaces_groups, (*before["rules"], *before["shadow_rules"])))
    for entry in document["providers"]:
        name, groups = entry["name"], entry.get("groups", _ANY)
        where = f"providers.{name}.groups"
        if name in said:
            continue
        if groups == _ANY:
            entry["groups"] = sorted(allowed)
            if replaces:
                yield invalid(
                    "groups",
                    f"{', '.join(sorted(added))} would let in people of {name} too, and rules with "
                    "override_tenant_groups, or with bearer and groups: any, stand against asking "
                    f"these for the groups of before: say {where} in the tenant's document first",
                )
        elif not {*groups} <= {*allowed}:
            yield invalid(
                "groups",
                f"{', '.join(sorted(added))} would let in people of {name} too, who need a group "
                f"of allowed_groups and one of {where}: change either in the tenant's document "
                "first",
            )


def _replaces_groups(rule: Mapping[str, Any]) -> bool:
    """Whether people come in by it without the tenant's groups, but not without a provider's."""
    if rule.get("bearer") and rule.get("groups") == _ANY:
        return True  # with a token, which carries no groups
    return bool(rule.get("override_tenant_groups")) and rule.get("groups", "unset") != "unset"


def _with_domains(
    document: Json,
    before: Mapping[str, Any],
    access: Mapping[str, Access],
    *,
    added: frozenset[str],
) -> Iterator[PreflightProblem]:
    """``added``: providers that the tenant did not have."""
    said = {name: each.domains for name, each in access.items() if each.domains is not None}
    for entry in document["providers"]:
        if entry["name"] in said:
            entry["domains"] = sorted(said[entry["name"]])
    document["email_domains"] = sorted({*before["email_domains"]}.union(*said.values()))
    held, now = vouched_domains(before), vouched_domains(document)
    for entry in document["providers"]:
        name = entry["name"]
        if name not in added and entry.get("domains") is None and now[name] != held[name]:
            entry["domains"] = sorted(held[name])
    for name in sorted(added):
        if not vouched_domains(document)[name]:
            yield invalid(
                f"providers.{name}.domains",
                "needed: each e-mail domain of the tenant is one that another provider names",
            )


def vouched_domains(document: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """By provider, as the tenant is served."""
    return provider_domains(
        document["email_domains"], {p["name"]: p.get("domains") for p in document["providers"]}
    )


def addition_notes(before: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[str, ...]:
    """What whoever adds a provider should know of those who sign in with the others."""
    return tuple(_notes(before, document))


def _notes(before: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    names = {p["name"] for p in before["providers"]}
    domains = vouched_domains(document)
    rules = [*document["rules"], *document["shadow_rules"]]
    rule_groups = sorted({g for rule in rules for g in _named(rule.get("groups"))})
    for entry in document["providers"]:
        name = entry["name"]
        if name in names:
            continue
        for other in sorted(names):
            common = sorted(domains[name] & domains[other])
            if common:
                yield (
                    f"{name} and {other} both vouch for addresses at {', '.join(common)}: either "
                    "says who has one"
                )
        if rule_groups:
            yield (
                f"rules ask for {', '.join(rule_groups[:10])}: whoever is in a group of such a "
                f"name at {name} satisfies them"
            )
    shown, shown_before = _offered(document), _offered(before)
    if len(shown_before) == 1 < len(shown) and document.get("default_provider") is None:
        yield (
            f"people choose between {' and '.join(shown)} from now on: default_provider says "
            "with which one they sign in unasked, and hidden: true shows one to nobody"
        )


def _named(groups: object) -> Sequence[str]:
    return groups if isinstance(groups, list) else ()


def _offered(document: Mapping[str, Any]) -> list[str]:
    return [
        p["name"]
        for p in document["providers"]
        if p.get("active", True) and not p.get("hidden", False)
    ]


def unprovisioned(document: Mapping[str, Any], known: frozenset[str]) -> Iterator[PreflightProblem]:
    """Of providers that stay: nobody knows which attributes the app client needs for these."""
    for provider in document["providers"]:
        if provider["name"] not in known and provider["kind"] not in POOLS_OWN:
            yield invalid(
                f"providers.{provider['name']}",
                "was not provisioned, so it cannot be left out: provision the tenant with it "
                "first (adopt)",
            )
