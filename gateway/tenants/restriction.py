"""Whether a change to a tenant takes something away: then it is acknowledged like a revocation (no
check that arrives afterwards is answered by the old state).

A change narrows unless it is known to widen, or to touch nothing that decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.tenants.snapshot_record import shown_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.tenants.snapshot_record import Record

HARMLESS = frozenset(
    {
        "name",
        "branding",
        "webhook",
        "headers",
        "shadow_rules",
        "scopes",
        "client_secret",
        "app_cookies",
        "clear_domain_cookies",
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
    return old.keys() != new.keys() or any(
        _field_narrows(name, old[name], new[name])
        for name in old.keys() - HARMLESS
        if old[name] != new[name]
    )


def _field_narrows(name: str, old: Any, new: Any) -> bool:
    match name:
        case "active":
            return not new
        case "hosts" | "email_domains":
            return not set(old) <= set(new)
        case "allowed_groups" | "allowed_roles":
            return new != _ANY and (old == _ANY or not set(old) <= set(new))
        case "providers":
            return any(_provider_narrows(provider, {p["name"]: p for p in new}) for provider in old)
        case "client" | "client_id":
            return False  # judged by the record's, which are the effective ones
        case _:
            return True


def _provider_narrows(old: dict[str, Any], new: Mapping[str, dict[str, Any]]) -> bool:
    now = new.get(old["name"])
    if now is None or any(
        # A record of another release may lack one: what is not known counts as narrower.
        old.get(key, _UNSAID) != now.get(key, _UNSAID)
        for key in (
            "kind",
            "issuer",
            "entity_id",
            "email_trust",
            "url_decode_groups",
            "members_only",
        )
    ):
        return True
    if old["domains"] == now["domains"] or now["domains"] is None:
        return False
    return old["domains"] is None or not set(old["domains"]) <= set(now["domains"])


__all__ = ["HARMLESS", "narrowed", "narrows"]
