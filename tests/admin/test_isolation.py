"""A tenant's own admin key: every field of the tenant document, of a provisioning request and of
blocks. Every route: ``test_authorization``.

A field that a model gains fails here until somebody has said whose it is.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from pydantic import BaseModel

from gateway.admin.keys import Scope
from gateway.admin.permissions import PERMISSIONS, Binding
from gateway.core.paging import Page
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.errors import UnavailableError
from gateway.provisioning.bound_keys import (
    BODY_FIELDS,
    PROVIDER_FIELDS,
    bound_changes,
    bound_findings,
)
from gateway.provisioning.request import (
    OidcProviderBody,
    ProvisionBody,
    SamlProviderBody,
    SocialProviderBody,
)
from gateway.provisioning.runs import Action, JournalStep, Run, RunKind, RunState, StepState
from gateway.revocation.blocks import BlockView
from gateway.tenants.api import TenantRecord
from gateway.tenants.bound_keys import FIELDS, Authority, authority_of
from gateway.tenants.document import ProviderDocument, RuleDocument, TenantDocument
from gateway.tenants.secrets import show
from tests.admin.rooms import Onboardings, Runs, Tenants
from tests.admin.test_authorization import TABLE
from tests.admin.test_dispatch import problem
from tests.provisioning.test_social import p8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.admin.conftest import Api

SECRET = "Zq3vX8n0Lw5tB1yKd7mRfGh2JcUs9PeA"
ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "client_email": "gateway@demo.iam.gserviceaccount.com",
        "private_key_id": "k-1",
        "private_key": "-----BEGIN PRIVATE KEY-----",
    }
)
STORED: dict[str, Any] = {
    "id": "acme",
    "name": "Acme",
    "active": True,
    "hosts": ["acme.example.com", "two.acme.example.com"],
    "email_domains": ["acme.test"],
    "allowed_groups": ["app-users"],
    "client_id": "4r8abc",
    "client_secret": SECRET,
    "session": {
        "idle_timeout": "30m",
        "idle_counts": {"websocket": "1h"},
        "max_lifetime": "12h",
        "max_per_user": 5,
    },
    "app_passwords": {"lifetime": "10d", "login_within": "10d", "max_per_user": 10},
    "webhook": {"url": "https://app.example.com/", "secret": SECRET},
    "providers": [
        {
            "name": "acme-okta",
            "kind": "oidc",
            "issuer": "https://acme.okta.com",
            "label": "Okta",
            "hooks": {
                "secrets": [SECRET],
                "client_id": "0oa",
                "client_secret": SECRET,
                "api_token": SECRET,
                "service_account": ACCOUNT,
                "admin_email": "ada@acme.test",
                "audience": "a",
                "directory_id": "d",
            },
        }
    ],
    "rules": [{"path": "/admin/**", "groups": ["admins"]}],
}
OTHER_SECRET = SECRET[::-1]
CHANGES: dict[str, Any] = {
    "id": "globex",
    "name": "Acme Ltd",
    "active": False,
    "hosts": ["acme.example.com", "globex.example.com"],
    "email_domains": ["acme.test", "globex.test"],
    "allowed_groups": "any",
    "allowed_roles": ["auditor"],
    "client": "managed",
    "pool": "other",
    "client_id": "9zzglobex",
    "client_secret": OTHER_SECRET,
    "scopes": ["openid", "profile"],
    "providers[].name": "globex-okta",
    "providers[].kind": "cognito",
    "providers[].label": "Sign in",
    "providers[].active": False,
    "providers[].hidden": True,
    "providers[].groups": ["app-users"],
    "providers[].roles": ["auditor"],
    "default_provider": "acme-okta",
    "fallback_providers": ["acme-okta"],
    "providers[].issuer": "https://other.okta.com",
    "providers[].entity_id": "urn:other",
    "providers[].domains": ["acme.test"],
    "providers[].email_trust": "verified_claim",
    "providers[].url_decode_groups": False,
    "providers[].members_only": True,
    "providers[].secret_expires": "2030-01-01",
    "providers[].accounts": [{"id": "1", "email": "a@acme.test"}],
    "providers[].hooks.secrets_expire": "2030-01-01",
    "providers[].hooks.client_secret_expires": "2030-01-01",
    "providers[].hooks.secrets": [OTHER_SECRET],
    "providers[].hooks.directory_id": "other",
    "providers[].hooks.client_id": "other",
    "providers[].hooks.client_secret": OTHER_SECRET,
    "providers[].hooks.audience": "other",
    "providers[].hooks.api_token": OTHER_SECRET,
    "providers[].hooks.service_account": ACCOUNT.replace("k-1", "k-2"),
    "providers[].hooks.admin_email": "bea@acme.test",
    "providers[].hooks.api_url": "https://10.0.0.1/api",
    "paths.ignore_case": True,
    "paths.windows": True,
    "paths.unicode": True,
    "paths.suffixes": True,
    "rules": [{"path": "/**", "allow": "public"}],
    "shadow_rules": [{"path": "/**", "allow": "public"}],
    "headers": {"X-Department": "claim:nickname"},
    "app_cookies": ["session"],
    "clear_domain_cookies": True,
    "session.idle_timeout": "5m",
    "session.idle_counts.exclude": ["/api/events"],
    "session.idle_counts.websocket": "10m",
    "session.max_lifetime": "1h",
    "session.max_per_user": 1,
    "app_passwords.lifetime": "1d",
    "app_passwords.login_within": "1d",
    "app_passwords.max_per_user": 1,
    "password_client": {"client_id": "elsewhere"},
    "webhook": {"url": "https://elsewhere.example.com/", "secret": SECRET},
    "branding.logo": "https://acme.test/logo.svg",
    "branding.color": "#ff0000",
    "branding.support": "it@acme.test",
    "branding.group_labels": {"app-users": "Everybody"},
    "contacts": ["somebody@else.test"],
}
"""What a bound key sends instead of what is stored; where ``LOWER``, something lower."""
TENANTS_OWN = {
    "name",
    "allowed_groups",
    "allowed_roles",
    "providers[].label",
    "providers[].hidden",
    "providers[].groups",
    "providers[].roles",
    "default_provider",
    "fallback_providers",
    "providers[].hooks.secrets",
    "providers[].hooks.directory_id",
    "providers[].hooks.client_id",
    "providers[].hooks.client_secret",
    "providers[].secret_expires",
    "providers[].hooks.secrets_expire",
    "providers[].hooks.client_secret_expires",
    "providers[].hooks.audience",
    "providers[].hooks.api_token",
    "providers[].hooks.service_account",
    "providers[].hooks.admin_email",
    "branding.logo",
    "branding.color",
    "branding.support",
    "branding.group_labels",
}
"""Said here again: whoever opens a field to tenants says it twice."""
TENANTS_OWN_BODY = {
    "provider",
    "providers",
    "default_provider",
    "fallback_providers",
    "group",
    "groups",
    "name",
    "keep_secrets",
    "prune",
}
TENANTS_OWN_PROVIDER = {
    "kind",
    "secret_expires",
    "client_id",
    "client_secret",
    "oidc_issuer",
    "label",
    "active",
    "hidden",
    "groups",
    "roles",
    "metadata_url",
    "metadata",
    "preset",
    "sign_requests",
    "encrypted_assertions",
    "single_logout",
}
HIGHER: dict[str, Any] = {
    "active": True,
    "providers[].active": True,
    "session.idle_timeout": "1h",
    "session.idle_counts.websocket": "2h",
    "session.max_lifetime": "13h",
    "session.max_per_user": 6,
    "app_passwords.lifetime": "11d",
    "app_passwords.login_within": "11d",
    "app_passwords.max_per_user": 11,
}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Paths of the model's fields, down to what is classified as a whole."""
    for name, field in model.model_fields.items():
        path = prefix + name
        inner = ProviderDocument if name == "providers" else field.annotation
        if name in {"rules", "shadow_rules", "webhook", "password_client"} or not (
            isinstance(inner, type) and issubclass(inner, BaseModel)
        ):
            yield path
        else:
            yield from leaves(inner, f"{path}{'[]' if name == 'providers' else ''}.")


def changed(path: str, value: Any, stored: dict[str, Any] = STORED) -> dict[str, Any]:
    """``stored`` as a bound key reads it, with one field changed."""
    document = show(TenantDocument.model_validate(stored))
    *above, last = path.split(".")
    at = document
    for name in above:
        at = at["providers"][0] if name == "providers[]" else at[name]
    at[last] = deepcopy(value)
    if path == "client":
        document |= {"client_id": None, "client_secret": None}
    if path in {"providers[].kind", "providers[].entity_id", "providers[].members_only"}:
        document["providers"][0]["issuer"] = None
    if path == "providers[].accounts":
        document["providers"][0] |= {"kind": "apple", "issuer": None}
    if path == "providers[].entity_id":
        document["providers"][0]["kind"] = "saml"
    if path == "providers[].members_only":
        document["providers"][0]["kind"] = "cognito"
    if document["providers"][0]["kind"] in {"cognito", "apple"}:
        document["providers"][0]["hooks"] |= {"service_account": None, "admin_email": None}
    return document


def test_every_field_of_the_document_is_classified_and_tried() -> None:
    paths = set(leaves(TenantDocument))
    assert {*FIELDS} - {"providers[]"} == paths, (
        "say in gateway/tenants/bound_keys.py whose the field is"
    )
    assert set(CHANGES) == paths, "and try to change it here"
    assert {path for path, whose in FIELDS.items() if whose is Authority.TENANT} == TENANTS_OWN
    assert set(HIGHER) == {path for path, whose in FIELDS.items() if whose is Authority.LOWER}
    assert set(RuleDocument.model_fields) == {
        "path",
        "methods",
        "allow",
        "groups",
        "roles",
        "override_tenant_groups",
        "bearer",
        "browser_sessions",
        "hosts",
        "identity",
        "app_passwords",
        "basic",
    }, "rules are an operator's as a whole: still so?"


def test_what_nobody_classified_is_an_operators() -> None:
    assert {
        authority_of(path)
        for path in (
            "new",
            "session.new",
            "branding.new",
            "providers[].new",
            "providers[].hooks.new",
            "webhook.url",
        )
    } == {Authority.OPERATOR}


@pytest.mark.parametrize("path", CHANGES)
async def test_a_bound_key_changes_what_is_its_tenants_and_nothing_else(
    api: Api, path: str
) -> None:
    stored = {**STORED, "active": True}
    assert (await api.call("PUT", "/tenants/acme", json=stored)).status == 201
    own = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    answer = await api.call(
        "PUT",
        "/tenants/acme",
        json=changed(path, CHANGES[path]),
        key=own,
        headers={"If-Match": '"1"'},
    )
    if path == "id":
        assert answer.status == 400, "the path says which"
    elif FIELDS[path] in {Authority.OPERATOR, Authority.PROVEN}:
        assert answer.status == 403
        told = await problem(answer)
        assert told["code"] == "tenant_bound"
        expected = "providers[]" if path == "providers[].name" else path
        assert any(f"{e['where']}.".startswith(f"{expected}.") for e in told["errors"]), told[
            "errors"
        ]
        assert (await (await api.call("GET", "/tenants/acme")).json())["etag"] == "1", (
            "nothing was written"
        )
    else:
        assert answer.status == 200, await answer.text()


async def test_a_bound_key_adds_and_removes_the_domains_that_its_tenant_has_proven(
    api: Api,
) -> None:
    assert (await api.call("PUT", "/tenants/acme", json=STORED)).status == 201
    own = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    tenants, first = cast("Tenants", api.services.tenants), STORED["email_domains"]

    async def put(domains: list[str], version: int) -> int:
        answer = await api.call(
            "PUT",
            "/tenants/acme",
            json=changed("email_domains", domains),
            key=own,
            headers={"If-Match": f'"{version}"'},
        )
        return answer.status

    tenants.proven |= {"new.test"}
    assert await put([*first, "new.test", "globex.test"], 1) == 403
    assert await put(["new.test"], 1) == 403, "an operator wrote the first one"
    assert await put([*first, "new.test"], 1) == 200
    assert tenants.asked_to_hold == {"new.test"}, "asked again in the transaction"
    assert await put(first, 2) == 200
    assert tenants.asked_to_hold == {"new.test"}
    tenants.proven.clear()
    assert await put([*first, "new.test"], 3) == 403
    answer = await api.call(
        "PUT",
        "/tenants/acme",
        json=changed("email_domains", ["any.test"]),
        headers={"If-Match": '"3"'},
    )
    assert answer.status == 200
    assert tenants.asked_to_hold == set(), "an operator names what they like"


async def test_a_proven_domain_is_used_and_no_other(api: Api) -> None:
    assert (await api.call("PUT", "/tenants/acme", json=STORED)).status == 201
    own = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    for name, status in (("acme.test", 409), ("globex.test", 404), ("proven.test", 200)):
        answer = await api.call("POST", f"/tenants/acme/domains/{name}/use", key=own)
        assert answer.status == status, name
    stored = await (await api.call("GET", "/tenants/acme")).json()
    assert set(stored["tenant"]["email_domains"]) == {"acme.test", "proven.test"}
    assert cast("Tenants", api.services.tenants).asked_to_hold == {"proven.test"}
    rows = (await (await api.call("GET", "/tenants/acme/domains")).json())["items"]
    assert all(row["in_use"] for row in rows)


GOOGLE = {"name": "acme-google", "kind": "google", "issuer": "https://accounts.google.com"}


@pytest.mark.parametrize(
    ("changes", "is_theirs"),
    [
        (GOOGLE, False),
        ({**GOOGLE, "active": False}, True),
        ({**GOOGLE, "domains": ["acme.test"]}, True),
        ({"name": "acme-pool", "kind": "cognito"}, False),
        ({"name": "acme-pool", "kind": "cognito", "members_only": True}, True),
    ],
)
async def test_a_domain_that_would_let_people_in_by_itself_is_an_operators_to_add(
    api: Api, changes: dict[str, Any], *, is_theirs: bool
) -> None:
    stored = {**STORED, "providers": [*STORED["providers"], changes]}
    assert (await api.call("PUT", "/tenants/acme", json=stored)).status == 201
    own = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    before = show(TenantDocument.model_validate(stored))
    after = {**before, "email_domains": ["acme.test", "proven.test"]}
    found = [each.where for each in bound_changes(before, after, proven={"proven.test"})]
    assert found == ([] if is_theirs else ["email_domains"])
    path = "/tenants/acme/domains/proven.test/use"
    answer = await api.call("POST", path, key=own)
    assert answer.status == (200 if is_theirs else 403), await answer.text()
    if not is_theirs:
        assert "names no domains of its own" in (await problem(answer))["detail"]
        assert (await api.call("POST", path)).status == 200, "an operator decides"
        assert (await api.call("POST", path, key=own)).status == 200, "it is in use"


def test_provisioning_by_a_bound_key_names_the_domains_that_its_tenant_has_proven() -> None:
    document = show(TenantDocument.model_validate(STORED))
    both = {"acme.test", "new.test"}
    body = ProvisionBody.model_validate({**BODY, "email_domains": sorted(both)})
    refused = bound_findings(body, document, KNOWN, proven={"other.test"})
    assert [found.where for found in refused] == ["email_domains"]
    assert bound_findings(body, document, KNOWN, proven={"new.test"}) == ()
    after = {**document, "email_domains": sorted(both)}
    assert [f.where for f in bound_changes(document, after)] == ["email_domains"]
    assert bound_changes(document, after, proven={"new.test"}) == ()


@pytest.mark.parametrize("path", HIGHER)
async def test_a_bound_key_raises_no_limit_and_wakes_no_tenant(api: Api, path: str) -> None:
    stored = {
        **STORED,
        "active": False,
        "providers": [{**STORED["providers"][0], "active": False}],
    }
    assert (await api.call("PUT", "/tenants/acme", json=stored)).status == 201
    own = await api.key(Scope.TENANTS_WRITE, tenant="acme")
    for value in (HIGHER[path], *([None] if not path.endswith("active") else [])):
        answer = await api.call(
            "PUT",
            "/tenants/acme",
            json=changed(path, value, stored),
            key=own,
            headers={"If-Match": '"1"'},
        )
        assert (answer.status, (await answer.json())["errors"]) == (
            403,
            [{"where": path, "problem": "only an operator changes this"}],
        )
    same = await api.call(
        "PUT",
        "/tenants/acme",
        json=show(TenantDocument.model_validate(stored)),
        key=own,
        headers={"If-Match": '"1"'},
    )
    assert same.status == 200, "what a bound key reads it may send back"


@pytest.mark.parametrize("caller", ["acme", "globex"])
async def test_a_bound_key_neither_reads_nor_writes_another_tenant(api: Api, caller: str) -> None:
    await api.call("PUT", "/tenants/acme", json=STORED)
    foreign = await api.key(Scope.TENANTS_READ, Scope.TENANTS_WRITE, tenant="initech")
    for path, value in CHANGES.items():
        answer = await api.call(
            "PUT",
            f"/tenants/{caller}",
            json={**changed(path, value), "id": caller},
            key=foreign,
            headers={"If-Match": '"1"'},
        )
        assert (answer.status, (await answer.json())["code"]) == (403, "wrong_tenant"), path
    assert (await api.call("GET", f"/tenants/{caller}", key=foreign)).status == 403


async def test_a_bound_key_lists_what_is_its_tenants_though_it_names_none(api: Api) -> None:
    await api.call("PUT", "/tenants/acme", json=STORED)
    who = {"tenant": "acme", "email": "bob@acme.test", "reason": "left", "kind": "block"}
    await api.call("POST", "/revocations", json=who)
    seen = set()
    for operation, (scope, binding) in PERMISSIONS.items():
        if binding is Binding.QUERY:
            path = TABLE[operation][2].partition("?")[0]
            bound = await api.call("GET", path, key=await api.key(scope, tenant="globex"))
            assert bound.status in {200, 400}, path  # 400: it asks for a user, too
            items = (await bound.json()).get("items", [])
            assert {item["tenant"] for item in items} <= {"globex"}, path
            everybody = await api.call("GET", path, key=await api.key(scope))
            if everybody.status == 200 and (await everybody.json())["items"]:
                seen.add(operation)
    assert seen >= {"list_blocks", "list_audit"}, "there was something to see"


# --- provisioning
# ------------------------------------------------------------------------------------

PROVIDER: dict[str, Any] = {
    "client_id": "0oa",
    "client_secret": SECRET,
    "oidc_issuer": "https://acme.okta.com",
}
BODY: dict[str, Any] = {"provider": PROVIDER}
KNOWN = [{"name": "acme-okta", "identifiers": ["acme.test"], "scopes": ["openid"]}]
WISHES: dict[str, Any] = {
    "provider": PROVIDER,
    "providers": None,
    "group": "admins",
    "groups": ["admins"],
    "allowed_domain": "globex.test",
    "email_domains": ["acme.test", "globex.test"],
    "hosts": ["globex.example.com"],
    "name": "Acme Ltd",
    "adopt": True,
    "adopt_client": "9zzglobex",
    "keep_secrets": True,
    "default_provider": "acme-okta",
    "fallback_providers": ["acme-okta"],
    "custom_attributes": ["custom:plan"],
    "pool": "other",
    "password_client": {"secret": False},
    "prune": False,
}
PROVIDER_WISHES: dict[str, Any] = {
    "name": "globex-okta",
    "kind": "entra",
    "client_id": "0ob",
    "client_secret": OTHER_SECRET,
    "oidc_issuer": "https://other.okta.com",
    "label": "Sign in",
    "domains": ["globex.test"],
    "identifiers": ["globex.test"],
    "scopes": ["openid", "offline_access"],
    "attributes": {"custom:plan": "plan"},
    "preset": "zitadel",
    "only_attributes": True,
    "active": False,
    "hidden": True,
    "groups": ["app-users"],
    "roles": ["auditor"],
    "secret_expires": "2030-01-01",
    "accounts": [{"id": "1", "email": "a@acme.test"}],
}


SAML_PROVIDER: dict[str, Any] = {"kind": "saml", "metadata_url": "https://acme.okta.com/metadata"}
SAML_WISHES: dict[str, Any] = {
    "kind": "saml",
    "metadata_url": "https://other.okta.com/metadata",
    "metadata": "<EntityDescriptor/>",
    "preset": "entra",
    "sign_requests": False,
    "encrypted_assertions": True,
    "single_logout": True,
    "idp_initiated": True,
    **{
        name: PROVIDER_WISHES[name]
        for name in (
            "name",
            "label",
            "active",
            "hidden",
            "domains",
            "groups",
            "roles",
            "identifiers",
            "attributes",
            "only_attributes",
        )
    },
}


def test_every_field_of_a_provisioning_request_is_classified_and_tried() -> None:
    assert set(BODY_FIELDS) == set(ProvisionBody.model_fields) == set(WISHES)
    assert set(OidcProviderBody.model_fields) == set(PROVIDER_WISHES)
    assert set(SamlProviderBody.model_fields) == set(SAML_WISHES)
    # What creates a provider of the whole pool is an operator's: the next test.
    pools = set(SocialProviderBody.model_fields) - PROVIDER_WISHES.keys()
    assert pools == {"team_id", "key_id", "private_key"}
    assert set(PROVIDER_FIELDS) == PROVIDER_WISHES.keys() | SAML_WISHES.keys() | pools
    assert {
        name for name, whose in BODY_FIELDS.items() if whose is Authority.TENANT
    } == TENANTS_OWN_BODY
    assert {
        name for name, whose in PROVIDER_FIELDS.items() if whose is Authority.TENANT
    } == TENANTS_OWN_PROVIDER


def test_a_bound_key_uses_a_provider_of_the_whole_pool_and_never_makes_one() -> None:
    document = show(TenantDocument.model_validate(STORED))
    made = {"client_id": "a", "team_id": "b", "key_id": "c", "private_key": p8(SECP256R1())}
    for more, refused in (
        ({}, set()),
        ({"accounts": [{"id": "1", "email": "a@acme.test"}]}, {"accounts"}),
        (made, {"client_id", "team_id", "key_id", "private_key"}),
    ):
        body = ProvisionBody.model_validate({"providers": [PROVIDER, {"kind": "apple", **more}]})
        found = bound_findings(body, document, KNOWN)
        assert {each.where.removeprefix("providers.1.") for each in found} == refused


@pytest.mark.parametrize(
    "name",
    [
        *WISHES,
        *(f"providers.0.{name}" for name in PROVIDER_WISHES),
        *(f"saml.0.{name}" for name in SAML_WISHES),
    ],
)
def test_a_bound_key_says_in_a_provisioning_request_what_is_its_tenants_and_nothing_else(
    name: str,
) -> None:
    field = name.rpartition(".")[2]
    inner, saml = name.startswith("providers.0."), name.startswith("saml.0.")
    body = (
        {"provider": {**PROVIDER, field: PROVIDER_WISHES[field]}}
        if inner
        else {"provider": {**SAML_PROVIDER, field: SAML_WISHES[field]}}
        if saml
        else {**BODY, name: WISHES[name]}
    )
    if saml and field == "metadata":
        del body["provider"]["metadata_url"]
    inner, name = inner or saml, name.replace("saml.0.", "providers.0.")
    found = bound_findings(
        ProvisionBody.model_validate(body), show(TenantDocument.model_validate(STORED)), KNOWN
    )
    whose = PROVIDER_FIELDS[field] if inner else BODY_FIELDS[name]
    assert [(f.kind, f.where) for f in found] == (
        [("bound", name)] if whose in {Authority.OPERATOR, Authority.PROVEN} else []
    )


def test_what_stands_already_may_be_said_again() -> None:
    provider = {**PROVIDER, "name": "acme-okta", "identifiers": ["acme.test"], "scopes": ["openid"]}
    body = ProvisionBody.model_validate(
        {
            "provider": provider,
            "hosts": ["two.acme.example.com", "acme.example.com"],
            "allowed_domain": "acme.test",
        }
    )
    assert bound_findings(body, show(TenantDocument.model_validate(STORED)), KNOWN) == ()


def test_a_provider_that_is_added_is_none_that_stands_already() -> None:
    """With ``prune: false`` one without a name is new: what stands is another one's."""
    words = {**PROVIDER, "domains": ["acme.test"]}
    stored = {**STORED, "providers": [{**STORED["providers"][0], "domains": ["acme.test"]}]}
    for prune, found in ((True, []), (False, ["providers.0.domains"])):
        body = ProvisionBody.model_validate({"provider": words, "prune": prune})
        document = show(TenantDocument.model_validate(stored))
        assert [f.where for f in bound_findings(body, document, KNOWN)] == found


@pytest.mark.parametrize("field", ["email_domains", "allowed_domain"])
def test_a_provider_that_is_added_vouches_for_no_domain_of_another(field: str) -> None:
    """The tenant has it, and an operator gave it to the other one."""
    stored = {**STORED, "providers": [{**STORED["providers"][0], "domains": ["acme.test"]}]}
    value = "acme.test" if field == "allowed_domain" else ["acme.test"]
    body = ProvisionBody.model_validate({"provider": PROVIDER, "prune": False, field: value})
    document = show(TenantDocument.model_validate(stored))
    assert [f.where for f in bound_findings(body, document, KNOWN)] == [field]
    assert bound_findings(body, document, KNOWN, proven={"acme.test"}) == ()
    new = {**document["providers"][0], "name": "another"}
    after = {**document, "providers": [*document["providers"], new]}
    assert [f.where for f in bound_changes(document, after)] == ["providers.another.domains"]
    assert bound_changes(document, after, proven={"acme.test"}) == ()


def test_a_bound_key_provisions_no_tenant_that_is_not_there() -> None:
    (finding,) = bound_findings(ProvisionBody.model_validate(BODY), None, ())
    assert finding.kind == "bound"


def test_an_inactive_provider_is_not_left_out_to_come_back_active() -> None:
    first, second = (
        {"name": name, "kind": "okta", "issuer": "https://acme.okta.com"} for name in ("one", "two")
    )
    stored = {**STORED, "providers": [{**first, "active": False}, second]}
    before = show(TenantDocument.model_validate(stored))
    found = bound_changes(before, {**before, "providers": before["providers"][1:]})
    assert [f.where for f in found] == ["providers[].active"]


def test_the_document_that_would_come_of_it_is_judged_as_well() -> None:
    before = show(TenantDocument.model_validate({**STORED, "active": False}))
    found = bound_changes(
        before, {**before, "active": True, "hosts": ["globex.example.com"], "name": "Acme Ltd"}
    )
    assert [f.where for f in found] == ["active", "hosts"]


# --- blocks
# ------------------------------------------------------------------------------------------


class Imposed:
    """One block, by whoever."""

    def __init__(self, source: str, group: str | None = None, *, in_force: bool = True) -> None:
        self.block = BlockView(
            "acme:1",
            "acme",
            Who(email="mallory@acme.test"),
            "left",
            source,
            1.0,
            group,
            in_force=in_force,
        )

    async def page(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]:
        return Page([self.block])

    async def find(self, block: str) -> BlockView | None:
        return self.block


@pytest.mark.parametrize(
    ("group", "standing"),
    [(None, ""), ("admins", ""), ("admins", "acme:1")],
    ids=["block", "removed group", "remembered"],
)
@pytest.mark.parametrize(
    ("source", "lifted"),
    [
        *(("admin", False), ("cli", False), ("pool-users:operator", False)),
        *(("okta", True), ("tenant", True), ("pool-users:tenant", True)),
    ],
)
async def test_a_bound_key_lifts_no_block_of_an_operators(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    lifted: bool,
    group: str | None,
    standing: str,
) -> None:
    room = Imposed(source, group, in_force=not standing)
    lifts: list[tuple[str | None, str]] = []

    async def lift(request: RevocationRequest) -> RevocationStatus:
        lifts.append((request.group_overlay, request.standing))
        return RevocationStatus("r0001", request, 1000.0, 1.5, (), 3.0, 0, 1)

    monkeypatch.setattr(type(api.services.revoker), "lift", lambda _, request: lift(request))
    monkeypatch.setattr(type(api.services.blocks), "find", lambda _, block: room.find(block))
    answer = await api.call(
        "DELETE", "/blocks/acme:1", key=await api.key(Scope.SESSIONS_REVOKE, tenant="acme")
    )
    assert answer.status == (200 if lifted else 403)
    if lifted:
        assert (await answer.json())["source"] == source, (
            "as whoever imposed it: what another has against the person stands"
        )
    assert (await api.call("DELETE", "/blocks/acme:1")).status == 200
    assert set(lifts) == {(group, standing)}


async def test_what_a_bound_key_imposes_is_its_tenants(api: Api) -> None:
    own = await api.key(Scope.SESSIONS_REVOKE, tenant="acme")
    who = {"tenant": "acme", "email": "bob@acme.test", "reason": "left"}
    answers = [
        await api.call("POST", "/blocks", json=who, key=own),
        await api.call(
            "POST", "/revocations", json={**who, "kind": str(RevocationKind.BLOCK)}, key=own
        ),
    ]
    assert [(a.status, (await a.json())["source"]) for a in answers] == [
        (201, "tenant"),
        (201, "tenant"),
    ]
    assert (await (await api.call("POST", "/blocks", json=who)).json())["source"] == "admin"


# --- words for operators
# -----------------------------------------------------------------------------


async def test_a_bound_key_does_not_hear_who_holds_a_name(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = cast("Tenants", api.services.tenants)
    document = show(TenantDocument.model_validate({**STORED, "hosts": ["taken.example.com"]}))
    rooms.stored["acme"] = TenantRecord("acme", document, "1", "sql")
    own, change = (
        await api.key(Scope.TENANTS_WRITE, tenant="acme"),
        {**document, "name": "Acme Ltd"},
    )
    told = [
        await (
            await api.call(
                "PUT", "/tenants/acme", json=change, key=key, headers={"If-Match": '"1"'}
            )
        ).json()
        for key in (None, own)
    ]
    assert [t["code"] for t in told] == ["taken", "taken"]
    assert [t["detail"] for t in told] == [
        "host taken.example.com belongs to tenant other",
        "a name in it is already in use",
    ]

    async def stored_only(*_: object, **__: object) -> None:
        msg = (
            "stored, and not yet obeyed everywhere: host x.example.com: claimed by globex "
            "(file) and by initech"
        )
        raise UnavailableError(msg)

    monkeypatch.setattr(Tenants, "put", stored_only)
    answer = await api.call(
        "PUT", "/tenants/acme", json=change, key=own, headers={"If-Match": '"1"'}
    )
    assert answer.status == 503
    assert "globex" not in await answer.text()


async def test_a_bound_key_takes_a_run_back_as_its_tenants(api: Api) -> None:
    onboarding = cast("Onboardings", api.services.onboarding)
    runs = onboarding.provisioning.journal
    path = "/tenants/acme/provision/abcdef012346/rollback"
    own = await api.key(Scope.PROVISION, tenant="acme")
    (made,) = [key for key in await api.keys.list() if key.tenant == "acme"]
    run = runs.stored["abcdef012345"]
    runs.stored["abcdef012346"] = replace(run, id="abcdef012346", actor=f"key:{made.id}")
    for key, is_bound in ((own, True), (None, False)):
        answer = await api.call("POST", path, key=key)
        assert answer.status == 200, await answer.text()
        assert onboarding.rolled_back_bound is is_bound


async def test_nor_does_it_in_the_journal_of_a_run(api: Api) -> None:
    error = {"code": "taken", "message": "provider acme-okta: claimed by globex and by acme"}
    step = JournalStep(1, Action.PUT_TENANT, "acme", StepState.REFUSED, {}, None, 1.0, error)
    runs = (
        cast("Runs", api.services.onboarding.provisioning.journal)
        if api.services.onboarding is not None
        else Runs()
    )
    runs.stored["abcdef012346"] = Run(
        "abcdef012346",
        "acme",
        RunKind.APPLY,
        "key:0",
        RunState.ROLLED_BACK,
        {},
        (),
        1.0,
        2.0,
        error,
        (step,),
    )
    own = await api.key(Scope.PROVISION, tenant="acme")
    for path in ("/tenants/acme/provision", "/tenants/acme/provision/abcdef012346"):
        assert "claimed by globex" in await (await api.call("GET", path)).text()
        text = await (await api.call("GET", path, key=own)).text()
        assert "already in use" in text
        assert "globex" not in text
