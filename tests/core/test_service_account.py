"""The JSON key of a Google service account is one, or nothing of it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.model import Secret
from gateway.core.service_account import MAX_CHARACTERS, ServiceAccountKey
from gateway.tenants.document import ProviderDocument

KEY = {
    "type": "service_account",
    "client_email": "gateway@demo.iam.gserviceaccount.com",
    "private_key_id": "k-1",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIIsecretsecret\n-----END PRIVATE KEY-----\n",
    "token_uri": "https://attacker.example/token",
}


def _written(**changes: Any) -> str:
    return json.dumps(KEY | changes)


def test_a_key_is_read_without_the_address_that_it_names() -> None:
    found = ServiceAccountKey.parse(Secret(_written()))
    assert found is not None
    assert (found.email, found.key_id) == (KEY["client_email"], "k-1")
    assert "attacker" not in repr(found)
    assert "MIIsecretsecret" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "MIIsecretsecret",
        "[]",
        "[" * 10_000,
        _written(type="authorized_user"),
        _written(client_email="nobody"),
        _written(client_email=5),
        _written(private_key_id=""),
        _written(private_key_id=None),
        _written(private_key="MIIsecretsecret"),
        _written(private_key=None),
        _written(project_id="x" * MAX_CHARACTERS),
    ],
)
def test_what_is_no_key_is_refused_without_a_word_of_it(text: str) -> None:
    assert ServiceAccountKey.parse(Secret(text)) is None
    document = {
        "name": "acme-google",
        "kind": "google",
        "issuer": "https://accounts.google.com",
        "hooks": {"service_account": text},
    }
    with pytest.raises(ValidationError) as caught:
        ProviderDocument.model_validate(document)
    errors = caught.value.errors(include_input=False, include_context=False)
    assert "the JSON key of a Google service account" in errors[0]["msg"]
    assert "MIIsecretsecret" not in str(errors)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"kind": "okta", "issuer": "https://acme.okta.com"},
            "hooks.service_account is for kind: google, saml or oidc",
        ),
        ({"hooks": {"admin_email": "ada@acme.test"}}, "hooks.admin_email needs service_account"),
        ({"hooks": {"service_account": _written(), "admin_email": "ada"}}, "admin_email"),
    ],
)
def test_it_stands_where_a_google_directory_may_be(changes: dict[str, Any], says: str) -> None:
    document = {
        "name": "acme-google",
        "kind": "google",
        "issuer": "https://accounts.google.com",
        "hooks": {"service_account": _written(), "admin_email": "ada@acme.test"},
    }
    assert ProviderDocument.model_validate(document).hooks.admin_email == "ada@acme.test"
    with pytest.raises(ValidationError, match=says):
        ProviderDocument.model_validate(document | changes)
