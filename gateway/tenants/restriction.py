"""Whether a change to a tenant takes something away: then it is acknowledged like a revocation (no
check that arrives afterwards is answered by the old state).

A change narrows unless it is known to widen, or to touch nothing that decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.tenants.document import provider_domains
from gateway.tenants.snapshot_record import shown_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.tenants.snapshot_record import Record

HARMLESS = frozenset(
    {
        "name",
        "branding",
        "contacts",
        "webhook",
        "headers",
        "shadow_rules",
        "scopes",
        "client_secret",
        "app_cookies",
        "clear_domain_cookies",
        "default_provider",
        "fallback_providers",
    }
)
"""What a tenant shows, is told or sends: nobody is let in or kept out by it."""
_ANY = "any"
_UNSAID = object()


def narrowed(
    before: Mapping[str, Record],
    after: Mapping[str, Record],
    *,
    unknown: Mapping[str, str] | None = None,
) -> frozenset[str]:
    """Ids of the tenants that lost something. ``unknown``: digests of a predecessor whose records
    are not at hand.
    """
    return frozenset(_narrowed(before, after, unknown or {}))


def _narrowed(
    before: Mapping[str, Record], after: Mapping[str, Record], unknown: Mapping[str, str]
) -> Iterator[str]:
    for tenant, old in before.items():
        new = after.get(tenant)
        if new is None or (new.digest != old.digest and narrows(old, new)):
            yield tenant
    for tenant, digest in unknown.items():
        if tenant not in before and (tenant not in after or after[tenant].digest != digest):
            yield tenant


def narrows(before: Record, after: Record) -> bool:
    """Raises ``ValueError`` for records of another release."""
    old, new = shown_of(before), shown_of(after)
    if not set(before.client_ids) <= set(after.client_ids):
        return True
    return (
        old.keys() != new.keys()
        or _domains_narrow(old, new)
        or any(
            _field_narrows(name, old[name], new[name])
            for name in old.keys() - HARMLESS
            if old[name] != new[name]
        )
    )


def left_providers(before: Record | None, after: Record) -> frozenset[str]:
    """Names of providers that people may be signed in with by ``before`` (None: of which nothing is
    known), and by ``after`` may not. Raises ``ValueError`` as ``narrows`` does.
    """
    now = {p["name"]: p.get("active", True) for p in shown_of(after)["providers"]}
    was = (
        now.keys()
        if before is None
        # Of another release: that it could be switched off was not known then.
        else {p["name"] for p in shown_of(before)["providers"] if p.get("active", True)}
    )
    return frozenset(name for name in was if not now.get(name, False))


def _field_narrows(name: str, old: Any, new: Any) -> bool:
    match name:
        case "active":
            return not new
        case "hosts" | "email_domains":
            return not set(old) <= set(new)
        case "allowed_groups" | "allowed_roles" | "groups" | "roles":
            return new != _ANY and (old == _ANY or not set(old) <= set(new))
        case "providers":
            return any(_provider_narrows(provider, {p["name"]: p for p in new}) for provider in old)
        case "client" | "client_id":
            return False  # judged by the record's, which are the effective ones
        case _:
            return True


def _provider_narrows(old: dict[str, Any], new: Mapping[str, dict[str, Any]]) -> bool:
    now = new.get(old["name"])
    # A record of another release may lack one: what is not known counts as narrower.
    return (
        now is None
        or any(
            old.get(key, _UNSAID) != now.get(key, _UNSAID)
            for key in (
                "kind",
                "issuer",
                "entity_id",
                "email_trust",
                "url_decode_groups",
                "members_only",
                "accounts",
            )
        )
        or any(
            key not in old
            or key not in now
            or (old[key] != now[key] and _field_narrows(key, old[key], now[key]))
            for key in ("active", "groups", "roles")
        )
    )


def _domains_narrow(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Of some provider. What one names, those that name none no longer have; of the tenant's own
    domains ``email_domains`` is judged.
    """
    before, after = (
        provider_domains(
            old["email_domains"], {p["name"]: p["domains"] for p in document["providers"]}
        )
        for document in (old, new)
    )
    return any(not domains <= after.get(name, frozenset()) for name, domains in before.items())


__all__ = ["HARMLESS", "left_providers", "narrowed", "narrows"]
