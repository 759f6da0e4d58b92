"""The served description: complete, self-consistent, and the same as the copy in docs/."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.admin.problem import Code
from gateway.admin.routes.keys import NewKeyBody
from gateway.admin.routes.pool_user_models import DisableBody, InvitationBody, PoolUserBody
from gateway.admin.routes.rotation import MoveBody
from gateway.admin.routes.setup_link_models import (
    NewConnectionBody,
    NewTenantBody,
    SetupLinkBody,
)
from gateway.config.types import HeaderSetting
from gateway.provisioning.request import (
    OidcProviderBody,
    PasswordClientBody,
    PoolUsersBody,
    ProvisionBody,
    SamlProviderBody,
    SocialProviderBody,
)
from gateway.tenants.document import (
    AccountDocument,
    AppPasswordsDocument,
    BearerDocument,
    BrandingDocument,
    HookDocument,
    IdleCountsDocument,
    PasswordClientDocument,
    PathsDocument,
    ProviderDocument,
    RuleDocument,
    SessionDocument,
    TenantDocument,
    WebhookDocument,
)
from tests.admin.test_authorization import PROVISION, TABLE
from tests.admin.test_dispatch import TENANT

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tests.admin.conftest import Api

COPY = Path(__file__).parents[2] / "docs/operator/openapi.json"
CATALOG = COPY.parents[1] / "user" / "webhook-events.json"


async def _served(api: Api) -> dict[str, Any]:
    document: dict[str, Any] = await (await api.client.get("/admin/v1/openapi.json")).json()
    return document


async def test_it_is_served_without_a_key_and_names_every_operation_with_its_scope(
    api: Api,
) -> None:
    document = await _served(api)
    operations = {
        o["operationId"]: o["x-scope"]
        for methods in document["paths"].values()
        for o in methods.values()
    }
    assert operations == {name: str(row[0]) for name, row in TABLE.items()}


async def test_every_reference_leads_somewhere(api: Api) -> None:
    document = await _served(api)
    for reference in set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))):
        assert reference in document["components"]["schemas"]


async def test_the_copy_in_docs_is_what_is_served(api: Api) -> None:
    """Written anew with ``UPDATE_DOCS=1``."""
    text = json.dumps(await _served(api), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        COPY.write_text(text, encoding="utf-8")
    assert COPY.read_text(encoding="utf-8") == text


async def test_the_catalog_of_messages_in_docs_is_what_is_served(api: Api) -> None:
    """Written anew with ``UPDATE_DOCS=1``."""
    async with await api.call("GET", "/webhook-events") as response:
        assert response.status == 200
        text = json.dumps(await response.json(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        CATALOG.write_text(text, encoding="utf-8")
    assert CATALOG.read_text(encoding="utf-8") == text


def test_every_problem_code_is_documented() -> None:
    page = (COPY.parent / "admin-api.md").read_text(encoding="utf-8")
    assert {str(code) for code in Code} <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


PROVIDER = {"name": "acme-okta", "kind": "okta", "issuer": "https://acme.okta.com"}
SMALLEST: dict[str, tuple[type[BaseModel], Any]] = {
    "NewKeyBody": (NewKeyBody, {"name": "ci", "scopes": ["keys"]}),
    "MoveBody": (MoveBody, {"pool": "second"}),
    "TenantDocument": (TenantDocument, TENANT),
    "ProviderDocument": (ProviderDocument, PROVIDER),
    "HookDocument": (HookDocument, {}),
    "RuleDocument": (RuleDocument, {"path": "/"}),
    "BearerDocument": (BearerDocument, {}),
    "PathsDocument": (PathsDocument, {}),
    "SessionDocument": (SessionDocument, {}),
    "IdleCountsDocument": (IdleCountsDocument, {}),
    "AppPasswordsDocument": (AppPasswordsDocument, {}),
    "PasswordClientDocument": (PasswordClientDocument, {"client_id": "c"}),
    "WebhookDocument": (
        WebhookDocument,
        {"url": "https://app.example.com/", "secret": "0123456789abcdef0123456789abcdef"},
    ),
    "BrandingDocument": (BrandingDocument, {}),
    "HeaderSetting": (HeaderSetting, {"source": "claim:d"}),
    "ProvisionBody": (ProvisionBody, PROVISION),
    "PasswordClientBody": (PasswordClientBody, {}),
    "OidcProviderBody": (OidcProviderBody, PROVISION["provider"]),
    "SamlProviderBody": (
        SamlProviderBody,
        {"kind": "saml", "metadata_url": "https://acme.okta.com/metadata"},
    ),
    "PoolUsersBody": (PoolUsersBody, {"kind": "cognito"}),
    "PoolUserBody": (PoolUserBody, {"email": "bob@acme.test"}),
    "InvitationBody": (InvitationBody, {}),
    "DisableBody": (DisableBody, {}),
    "SocialProviderBody": (SocialProviderBody, {"kind": "apple"}),
    "SetupLinkBody": (
        SetupLinkBody,
        {"parts": ["offboarding"], "recipients": ["it@acme.test"]},
    ),
    "NewConnectionBody": (NewConnectionBody, {"email_domains": ["beta.test"]}),
    "NewTenantBody": (NewTenantBody, {"name": "Acme", "email_domains": ["acme.test"]}),
    "AccountDocument": (AccountDocument, {"id": "1", "email": "a@acme.com"}),
}


async def test_every_default_of_the_description_is_taken_when_it_is_sent(api: Api) -> None:
    schemas = (await _served(api))["components"]["schemas"]
    tried = 0
    for name, (model, body) in SMALLEST.items():
        for field, schema in schemas[name]["properties"].items():
            if "default" in schema and body.get(field, schema["default"]) == schema["default"]:
                model.model_validate({**body, field: schema["default"]})
                tried += 1
    assert tried > 40
    assert {
        n
        for n in schemas
        if n.endswith(("Document", "Body")) and "default" in json.dumps(schemas[n])
    } - SMALLEST.keys() <= {
        "RevocationBody",
        "BlockBody",
        "ExplainBody",
        "ProbesBody",
        "HeldBody",
        "MailTestBody",
    }


CROSS_FIELD_RULES = {
    "TenantDocument": [
        "`client_id`` with ``client_secret``",
        "openid",
        "aws.cognito.signin.user.admin",
        "email_domains",
        "tenant_headers",
        "login_host",
    ],
    "ProviderDocument": ["tenant_idp"],
    "RuleDocument": [
        "``allow`` stands without",
        "``browser_sessions: false`` needs",
        "``override_tenant_groups: true`` needs",
        "``identity`` needs ``bearer``",
    ],
    "AppPasswordsDocument": ["30 days"],
    "SessionDocument": ["30 days", "not longer than ``max_lifetime``"],
    "IdleCountsDocument": ["at least 1m", "not longer than ``max_lifetime``"],
    "ProvisionBody": [
        "``provider`` or ``providers``",
        "``group`` or ``groups``",
        "``allowed_domain`` or ``email_domains``",
    ],
}


async def test_rules_between_fields_are_described(api: Api) -> None:
    schemas = (await _served(api))["components"]["schemas"]
    for name, sentences in CROSS_FIELD_RULES.items():
        description = " ".join(schemas[name]["description"].split())
        for sentence in sentences:
            assert sentence in description, name
