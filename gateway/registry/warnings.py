"""What is allowed in a tenant document and is seldom meant: policies that let nobody in. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.registry.document import RuleDocument, TenantDocument


def policy_warnings(document: TenantDocument) -> tuple[str, ...]:
    """One sentence for each, beginning with the key."""
    return tuple(_warnings(document))


def _warnings(document: TenantDocument) -> Iterator[str]:
    if not document.active:
        yield "active: false keeps everybody out"
    if not document.email_domains:
        yield "email_domains: is empty, so nobody comes in"
    if not document.providers:
        yield "providers: is empty, so nobody can sign in"
    for provider in document.providers:
        if provider.domains is not None and not provider.domains:
            yield f"providers.{provider.name}.domains: is empty, so nobody comes in through it"
    for name, names in (("allowed_groups", document.allowed_groups), ("allowed_roles", document.allowed_roles)):
        if names is not None and not names:
            yield f"{name}: is empty, so nobody comes in; the word any does not ask"
    for name, rules in (("rules", document.rules), ("rules_next", document.rules_next)):
        for number, rule in enumerate(rules):
            if why := _lets_nobody_in(rule):
                yield f"{name}.{number}: {rule.path} lets nobody in ({why})"


def _lets_nobody_in(rule: RuleDocument) -> str:
    if rule.allow == "nobody":
        return "allow: nobody at every path" if rule.path == "/**" and rule.methods is None else ""
    return ", ".join(f"{name} is empty" for name, names in (("groups", rule.groups), ("roles", rule.roles)) if isinstance(names, frozenset) and not names)
