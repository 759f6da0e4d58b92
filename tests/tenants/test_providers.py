"""Settings of one provider of a tenant: from the document to what decides, and what is told of
those that are seldom meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.model import Secret, Tenant
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument, provider_domains
from gateway.tenants.hook_targets import groups_named, hook_targets
from gateway.tenants.warnings import policy_warnings
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

OKTA = {"name": "acme-okta", "kind": "okta", "issuer": "https://acme.okta.com"}
ENTRA = {"name": "acme-entra", "kind": "entra", "issuer": "https://login.example.com/v2.0"}


def document(*providers: dict[str, Any], **more: Any) -> TenantDocument:
    return TenantDocument.model_validate(
        sample("acme", email_domains=["acme.com", "acme.org"], providers=list(providers), **more)
    )


def compiled(*providers: dict[str, Any], **more: Any) -> Tenant:
    return compile_tenant(
        document(*providers, **more),
        config_with(Path("unused"), groups_header="referenced"),
        client_id="client",
        client_secret=Secret("s"),
    )


def test_an_inactive_provider_is_apart_and_its_name_stays_the_tenants() -> None:
    tenant = compiled({**OKTA, "active": False}, ENTRA)
    assert [p.name for p in tenant.providers] == ["acme-entra"]
    assert [p.name for p in tenant.inactive_providers] == ["acme-okta"]
    assert tenant.provider("acme-okta") is None
    assert tenant.configured_provider("acme-okta") is not None
    assert set(tenant.provider_names) == {"acme-okta", "acme-entra"}


def test_a_domain_that_a_provider_names_is_no_other_ones_by_default() -> None:
    tenant = compiled({**OKTA, "domains": ["acme.com"]}, ENTRA)
    assert {p.name: p.domains for p in tenant.providers} == {
        "acme-okta": {"acme.com"},
        "acme-entra": {"acme.org"},
    }
    kept = compiled({**OKTA, "domains": ["acme.com"], "active": False}, ENTRA)
    assert [p.domains for p in kept.providers] == [{"acme.org"}], "nor while it is inactive"
    both = compiled({**OKTA, "domains": ["acme.com"]}, {**ENTRA, "domains": ["acme.com"]})
    assert [p.domains for p in both.providers] == [{"acme.com"}, {"acme.com"}], "unless both say so"
    assert provider_domains(["a.com"], {"one": None, "two": None}) == {
        "one": {"a.com"},
        "two": {"a.com"},
    }


def test_groups_of_providers_reach_the_core_the_header_and_the_hooks() -> None:
    providers = {**OKTA, "groups": ["staff"], "roles": ["auditor"], "hidden": True}, ENTRA
    tenant = compiled(*providers, allowed_groups=["users"], default_provider="acme-entra")
    okta = tenant.provider("acme-okta")
    assert okta is not None
    assert (okta.groups, okta.roles, okta.hidden) == (
        frozenset({"staff"}),
        frozenset({"auditor"}),
        True,
    )
    assert tenant.group_header_names == frozenset({"users", "staff"})
    assert tenant.default_provider == "acme-entra"
    parsed = document(*providers, allowed_groups=["users"])
    assert groups_named(parsed) == frozenset({"users", "staff"})
    assert [t.provider_groups for t in hook_targets(parsed)] == [{"staff"}, None]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"default_provider": "acme-ping"}, "default_provider: acme-ping is none of providers"),
        ({"fallback_providers": ["acme-ping"]}, "fallback_providers: acme-ping not in providers"),
        ({"fallback_providers": ["acme-okta"] * 2}, "fallback_providers: one is named twice"),
    ],
)
def test_a_named_provider_is_one_of_the_tenants(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        document(OKTA, ENTRA, **more)


@pytest.mark.parametrize(
    ("providers", "said"),
    [
        (
            [{**OKTA, "active": False}],
            "providers: none is active, so nobody can sign in",
        ),
        (
            [{**OKTA, "domains": ["acme.com", "acme.org"]}, ENTRA],
            (
                "providers.acme-entra.domains: is not set, and other providers name every domain "
                "of email_domains, so nobody has access through it"
            ),
        ),
        (
            [{**OKTA, "roles": []}],
            (
                "providers.acme-okta.roles: is empty, so nobody has access through it; write any "
                "to require none"
            ),
        ),
    ],
)
def test_what_is_seldom_meant_is_told(providers: list[dict[str, Any]], said: str) -> None:
    assert policy_warnings(document(*providers)) == (said,)


def test_a_default_that_is_not_active_is_told() -> None:
    told = policy_warnings(document({**OKTA, "active": False}, ENTRA, default_provider="acme-okta"))
    assert told == ("providers.acme-okta: is not active, so nothing leads to it",)
