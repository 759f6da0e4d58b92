"""Texts of the console that are chosen by a name: the navigation, and what was just done. The
catalogs translate them; templates hold all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.page import Section

if TYPE_CHECKING:
    from collections.abc import Mapping


def N_(message: str) -> str:  # noqa: N802 - the catalogs' word for "translate this later"
    """Marks a text for ``scripts/messages``; it is translated where it is shown."""
    return message


SECTIONS: Final = (
    Section("overview", N_("Overview"), "/overview", "list_attention"),
    Section("tenants", N_("Tenants"), "/tenants", "list_tenants"),
    Section("people", N_("People"), "/people", "list_people"),
    Section("sessions", N_("Sessions"), "/sessions", "list_sessions"),
    Section("deliveries", N_("Deliveries"), "/deliveries", "list_deliveries"),
    Section("runs", N_("Runs"), "/runs", "list_all_runs"),
    Section("setup_links", N_("Setup links"), "/setup-links", "list_all_setup_links"),
    Section("audit", N_("Audit log"), "/audit", "list_audit"),
    Section("keys", N_("Keys"), "/keys", "list_admin_keys"),
    Section("health", N_("Health"), "/health", "get_health"),
)
"""The navigation, in its order. An item is absent for whoever lacks the scope."""

NOTICES: Final[Mapping[str, str]] = {
    "saved": N_("Saved. What it takes away has ended on every replica."),
    "deleted": N_("The tenant was deleted, and its sessions ended."),
    "ended": N_("Done: the sessions were ended, on every replica."),
    "blocked": N_("Done: this person is blocked, on every replica."),
    "lifted": N_("Done: it was lifted, on every replica."),
    "app_password_revoked": N_("Done: the app password was revoked, on every replica."),
    "replayed": N_("Done: it is waiting to be done again."),
    "key_revoked": N_("Done: the key opens nothing from now on."),
    "link_revoked": N_("Done: the link is over, and so is the work of the browser that had it."),
    "link_approved": N_("Done: people can sign in with what was submitted."),
    "link_returned": N_("Done: its recipient is asked for a change."),
    "domain_added": N_("Done: add the DNS record that is shown. It is looked for regularly."),
    "domain_checked": N_("Done: this is what DNS says now."),
    "domain_vouched": N_("Done: the domain is the tenant's by your word."),
    "domain_removed": N_("Done: the tenant holds the domain no more."),
    "held_decided": N_("Done: what was held is decided."),
}
"""What a page says after a form did something."""
