"""Configuration keys and values that were renamed. None of the old spellings is accepted; the error
for one names the new one.

Places are written as in the reference: ``session.idle``, ``rules[].replace``. Keys of a tenant's
rules are also those of its shadow rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GATEWAY_KEYS: Final[Mapping[str, str]] = {
    "tenants.files": "tenants.directory",
    "session.idle": "session.idle_timeout",
    "session.absolute": "session.max_lifetime",
    "session.recheck": "session.revalidate_interval",
    "session.staleness": "session.max_revocation_delay",
    "log.form": "log.format",
    "keys.file": "key_ring.file",
    "hooks.reconcile": "hooks.reconcile_interval",
}
"""Of ``gateway.yaml``, and so of the environment."""
TENANT_KEYS: Final[Mapping[str, str]] = {
    "rules_next": "shadow_rules",
    "rules[].replace": "rules[].override_tenant_groups",
    "rules[].session": "rules[].browser_sessions",
    "providers[].form_decode": "providers[].url_decode_groups",
    "session.idle": "session.idle_timeout",
    "session.absolute": "session.max_lifetime",
}
VALUES: Final[Mapping[tuple[str, str], str]] = {
    ("groups_header", "policy"): "referenced",
    ("assertion.groups", "policy"): "referenced",
    ("rules[].allow", "everyone"): "public",
    ("rules[].allow", "nobody"): "deny",
    ("client", "provisioned"): "managed",
}
"""By key and old value, of ``gateway.yaml`` and of tenant documents."""


def new_key(location: Sequence[str | int]) -> str | None:
    """What stands now for a key that is not known; None where it never was one. ``location`` is the
    validation library's.
    """
    place = _place(location)
    for old, new in (*GATEWAY_KEYS.items(), *TENANT_KEYS.items()):
        # Of ``keys.file`` the whole section is gone: the error is about ``keys``.
        if place == old or (old.startswith(f"{place}.") and not new.startswith(f"{place}.")):
            return new
    return None


def new_value(location: Sequence[str | int], value: object) -> str | None:
    """What stands now for a value of a key; None where it never was one."""
    return VALUES.get((_place(location), value)) if isinstance(value, str) else None


def _place(location: Sequence[str | int]) -> str:
    """``("shadow_rules", 0, "replace")`` as ``rules[].replace``."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += "[]"
        else:
            place += f".{part}" if place else part
    return place.replace("shadow_rules[]", "rules[]", 1)


__all__ = ["GATEWAY_KEYS", "TENANT_KEYS", "VALUES", "new_key", "new_value"]
