"""What of a tenant document a tenant's own admin key may change: an allow-list, field by field.

Rules:
- A field that is not in the table, or is ``OPERATOR`` there, only an operator changes; a test walks
  the model, so that each new field is classified.
- A tenant's own are its words, its own users' groups, and its credentials at its own identity
  provider: with them it reaches nobody else's people, no application, and no address of the
  operator's networks.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pydantic import BaseModel

from gateway.config.model import REDACTED
from gateway.core.model import ProviderKind, Secret
from gateway.tenants.document import ProviderDocument, TenantDocument, provider_domains

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


class Authority(Enum):
    """Who may change a field. ``LOWER``: the tenant too, but only from true to false, or from a
    number or duration to a smaller one. ``PROVEN``: the tenant too, but it adds and removes only
    domains that it has proven, or that an operator vouched for, and adds none that alone decides
    who signs in (``admitted_by``).
    """

    OPERATOR = "operator"
    TENANT = "tenant"
    LOWER = "lower"
    PROVEN = "proven"


_OPERATOR, _TENANT, _LOWER = Authority.OPERATOR, Authority.TENANT, Authority.LOWER
_PROVEN = Authority.PROVEN
FIELDS: Mapping[str, Authority] = {
    "id": _OPERATOR,
    "name": _TENANT,
    "active": _LOWER,  # suspended, it would wake itself
    "hosts": _OPERATOR,
    "email_domains": _PROVEN,
    "allowed_groups": _TENANT,
    "allowed_roles": _TENANT,
    "client": _OPERATOR,
    "client_id": _OPERATOR,
    "client_secret": _OPERATOR,
    "pool": _OPERATOR,
    "scopes": _OPERATOR,
    "providers[]": _OPERATOR,  # which there are; a bound key adds and removes by provisioning
    "providers[].name": _OPERATOR,
    "providers[].kind": _OPERATOR,
    "providers[].label": _TENANT,
    "providers[].active": _LOWER,  # switched off by an operator, it would switch itself on
    "providers[].hidden": _TENANT,
    "providers[].groups": _TENANT,
    "providers[].roles": _TENANT,
    "providers[].issuer": _OPERATOR,
    "providers[].entity_id": _OPERATOR,
    "providers[].domains": _OPERATOR,
    "providers[].email_trust": _OPERATOR,
    "providers[].url_decode_groups": _OPERATOR,
    "providers[].members_only": _OPERATOR,  # without it the domain alone admits
    "providers[].hooks.secrets": _TENANT,
    "providers[].hooks.directory_id": _TENANT,
    "providers[].hooks.client_id": _TENANT,
    "providers[].hooks.client_secret": _TENANT,
    "providers[].hooks.audience": _TENANT,
    "providers[].accounts": _OPERATOR,  # who of everybody is the tenant's
    "providers[].secret_expires": _TENANT,
    "providers[].hooks.secrets_expire": _TENANT,
    "providers[].hooks.client_secret_expires": _TENANT,
    "providers[].hooks.api_token": _TENANT,
    "providers[].hooks.service_account": _TENANT,
    "providers[].hooks.admin_email": _TENANT,
    "providers[].hooks.api_url": _OPERATOR,  # the gateway calls it, in hooks.private_networks too
    "default_provider": _TENANT,
    "fallback_providers": _TENANT,
    "paths.ignore_case": _OPERATOR,  # how the operator's application reads them
    "paths.windows": _OPERATOR,
    "paths.unicode": _OPERATOR,
    "paths.suffixes": _OPERATOR,
    "rules": _OPERATOR,  # what they open is the operator's application
    "shadow_rules": _OPERATOR,
    "headers": _OPERATOR,
    "app_cookies": _OPERATOR,  # names of the operator's application
    "clear_domain_cookies": _OPERATOR,  # reaches what others have below the domain
    "session.idle_timeout": _LOWER,
    "session.idle_counts.exclude": _OPERATOR,  # paths of the operator's application
    "session.idle_counts.websocket": _LOWER,
    "session.max_lifetime": _LOWER,
    "session.max_per_user": _LOWER,
    "app_passwords.lifetime": _LOWER,
    "app_passwords.login_within": _LOWER,
    "app_passwords.max_per_user": _LOWER,
    "password_client": _OPERATOR,  # of the pool, which is every tenant's
    "webhook": _OPERATOR,  # the application's, and called at an address of its operator
    "branding.logo": _TENANT,
    "branding.color": _TENANT,
    "branding.support": _TENANT,
    "branding.group_labels": _TENANT,
    "contacts": _OPERATOR,  # the gateway writes to them, and would to whomever a tenant names
}
"""Path → authority; a path stands for everything below it. ``[]`` is any one of a list."""
PROVISIONED = frozenset(
    {"providers[]", "providers[].kind", "providers[].issuer", "providers[].entity_id"}
)
"""What a bound key changes by provisioning, where the pool is changed with it and the name of a
provider is the gateway's choice.
"""


def operators_changes(
    before: Mapping[str, object],
    after: TenantDocument,
    *,
    proven: Collection[str] = frozenset(),
) -> tuple[str, ...]:
    """Paths that differ, or would, and that only an operator changes. ``before``: as it is shown,
    ``***`` for each secret. ``proven``: domains that the tenant holds.

    A secret in ``after`` that is not ``***`` counts as another one.
    """
    return tuple(
        path
        for path, old, new in _differences(TenantDocument.model_validate(before), after, "")
        if not _permitted(path, old, new, after, proven)
    )


def admitted_by(document: TenantDocument, domains: Collection[str]) -> frozenset[str]:
    """Active providers that would sign in whoever has an address at one of ``domains``: they belong
    to no organization of the tenant's, and name no domains themselves.
    """
    by_name = {p.name: p.domains for p in document.providers}
    everybodys = provider_domains([*document.email_domains, *domains], by_name)
    return frozenset(
        p.name
        for p in document.providers
        if p.active
        and p.domains is None
        and (p.kind is ProviderKind.GOOGLE or _admits_the_pool(p))
        and not everybodys[p.name].isdisjoint(domains)
    )


def _admits_the_pool(provider: ProviderDocument) -> bool:
    return provider.kind is ProviderKind.COGNITO and not provider.members_only


def _permitted(
    path: str, old: object, new: object, after: TenantDocument, proven: Collection[str]
) -> bool:
    match authority_of(path):
        case Authority.TENANT:
            return True
        case Authority.LOWER:
            return _is_lower(old, new)
        case Authority.PROVEN:
            return (
                isinstance(old, frozenset)
                and isinstance(new, frozenset)
                and old ^ new <= {*proven}
                and not admitted_by(after, new - old)
            )
        case _:
            return False


def authority_of(path: str) -> Authority:
    """Of the path itself, or of the nearest above it."""
    while path:
        if path in FIELDS:
            return FIELDS[path]
        path = path.rpartition(".")[0]
    return Authority.OPERATOR


def _is_lower(old: object, new: object) -> bool:
    """True ends; where nothing was said the gateway's own limit holds, and what is lower than that
    is not known here.
    """
    return old is not None and new is not None and new < old  # type: ignore[operator]  # two values of one field: booleans, numbers or durations


def _differences(
    before: BaseModel, after: BaseModel, prefix: str
) -> Iterator[tuple[str, object, object]]:
    for name in type(after).model_fields:
        path, old, new = prefix + name, getattr(before, name), getattr(after, name)
        if path == "providers":
            yield from _providers({p.name: p for p in old}, {p.name: p for p in new})
        elif isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _differences(old, new, f"{path}.")
        elif not _same(old, new):
            yield path, old, new


def _providers(
    before: Mapping[str, ProviderDocument], after: Mapping[str, ProviderDocument]
) -> Iterator[tuple[str, object, object]]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if new is None and old is not None and not old.active:
            # Left out and sent again, it would be active.
            yield "providers[].active", False, True
        elif old is None or new is None:
            yield "providers[]", old, new
        else:
            yield from _differences(old, new, "providers[].")


def _same(old: object, new: object) -> bool:
    if isinstance(new, Secret):
        return isinstance(old, Secret) and new.reveal() == REDACTED
    if isinstance(new, tuple) and isinstance(old, tuple) and new and isinstance(new[0], Secret):
        return len(old) == len(new) and all(_same(a, b) for a, b in zip(old, new, strict=True))
    if (
        isinstance(new, tuple)
        and isinstance(old, tuple)
        and all(isinstance(item, str) for item in (*old, *new))
    ):
        return sorted(old) == sorted(new)
    return old == new


__all__ = [
    "FIELDS",
    "PROVISIONED",
    "Authority",
    "admitted_by",
    "authority_of",
    "operators_changes",
]
