"""The pages, each kind in the module of its noun. ``PAGES`` is all there are."""

from __future__ import annotations

from typing import Final

from gateway.console.views import (
    added_provider,
    audit,
    blocks,
    deliveries,
    health,
    keys,
    overview,
    people,
    provisioning,
    revocations,
    sessions,
    setup_links,
    tenant_domains,
    tenant_forms,
    tenant_rules,
    tenant_versions,
    tenants,
)

PAGES: Final = (
    *overview.PAGES,
    *tenants.PAGES,
    *tenant_domains.PAGES,
    *tenant_forms.PAGES,
    *tenant_rules.PAGES,
    *tenant_versions.PAGES,
    *people.PAGES,
    *blocks.PAGES,
    *provisioning.PAGES,
    *added_provider.PAGES,
    *sessions.PAGES,
    *deliveries.PAGES,
    *revocations.PAGES,
    *setup_links.PAGES,
    *audit.PAGES,
    *keys.PAGES,
    *health.PAGES,
)
