"""Texts of a tenant document: what people see is what there is; what other systems gave out is
taken exactly or not at all.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.provisioning.request import ProvisionBody
from gateway.tenants.document import TenantDocument
from tests.tenants.samples import sample

UNSEEN = {
    "NUL": "a\x00b",
    "line feed": "a\nb",
    "C1 control": "a\x85b",
    "right-to-left override": "a\u202eb",
    "isolate": "a\u2066b",
    "zero width": "a\u200bb",
    "soft hyphen": "a\u00adb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "byte order mark": "\ufeffa",
    "tag": "a\U000e0041b",
    "lone surrogate": "a\ud800b",
}
BLANKS = {
    "before": " a",
    "after": "a ",
    "tab": "a\t",
    "no-break space": "\u00a0a",
    "ideographic": "a\u3000",
}
GENERATED = "0123456789abcdef0123456789abcdef"


def with_hooks(**hooks: Any) -> dict[str, Any]:
    return {
        "providers": [
            {"name": "one", "kind": "okta", "issuer": "https://one.example.com", "hooks": hooks}
        ]
    }


FOR_PEOPLE: dict[str, Any] = {
    "name": lambda text: {"name": text},
    "label": lambda text: {"providers": [{"name": "one", "kind": "okta", "label": text}]},
    "support": lambda text: {"branding": {"support": text}},
    "a group's label": lambda text: {"branding": {"group_labels": {"staff": text}}},
    "a labeled group": lambda text: {"branding": {"group_labels": {text: "Staff"}}},
    "a group": lambda text: {"allowed_groups": [text]},
    "a role of a rule": lambda text: {"rules": [{"path": "/", "roles": [text]}]},
    "a header's default": lambda text: {
        "headers": {"X-Department": {"source": "claim:d", "default": text}}
    },
}
GIVEN_OUT: dict[str, Any] = {
    "client_id": lambda text: {"client_id": text},
    "client_secret": lambda text: {"client_secret": text},
    "issuer": lambda text: {
        "providers": [{"name": "one", "kind": "okta", "issuer": f"https://one.example.com/{text}"}]
    },
    "issuer, before": lambda text: {
        "providers": [{"name": "one", "kind": "okta", "issuer": f"{text}https://one.example.com"}]
    },
    "api_url": lambda text: with_hooks(api_url=f"https://one.example.com/{text}"),
    "directory_id": lambda text: with_hooks(directory_id=text),
    "hooks.client_id": lambda text: with_hooks(client_id=text),
    "hooks.client_secret": lambda text: with_hooks(client_secret=text),
    "audience": lambda text: with_hooks(audience=text),
    "api_token": lambda text: with_hooks(api_token=text),
    "hooks.secrets": lambda text: with_hooks(secrets=[text + GENERATED, GENERATED + text]),
    "webhook.url": lambda text: {
        "webhook": {"url": f"https://one.example.com/{text}", "secret": GENERATED}
    },
    "webhook.secret": lambda text: {
        "webhook": {
            "url": "https://one.example.com/",
            "secret": text + GENERATED,
            "previous_secret": GENERATED + text,
        }
    },
    "scopes": lambda text: {"scopes": ["openid", text]},
    "bearer.clients": lambda text: {"rules": [{"path": "/", "bearer": {"clients": [text]}}]},
    "logo": lambda text: {"branding": {"logo": f"https://one.example.com/{text}"}},
}


@pytest.mark.parametrize("text", (UNSEEN | BLANKS).values(), ids=UNSEEN | BLANKS)
@pytest.mark.parametrize("change", (FOR_PEOPLE | GIVEN_OUT).values(), ids=FOR_PEOPLE | GIVEN_OUT)
def test_what_nobody_sees_is_in_no_text(change: Any, text: str) -> None:
    with pytest.raises(ValidationError):
        TenantDocument.model_validate(sample(**change(text)))


@pytest.mark.parametrize("text", ["Müller & Søn", "株式会社 例", "Größe 10", "a.b"])
def test_what_people_write_is_taken(text: str) -> None:
    for change in FOR_PEOPLE.values():
        TenantDocument.model_validate(sample(**change(text)))


@pytest.mark.parametrize("text", (UNSEEN | BLANKS).values(), ids=UNSEEN | BLANKS)
@pytest.mark.parametrize("name", ["client_id", "client_secret", "oidc_issuer", "label", "name"])
def test_nor_in_what_a_customer_hands_over(name: str, text: str) -> None:
    provider = {"client_id": "0oa", "client_secret": "s", "oidc_issuer": "https://one.example.com"}
    ProvisionBody.model_validate({"provider": provider})
    with pytest.raises(ValidationError):
        ProvisionBody.model_validate({"provider": {**provider, name: text}})


@pytest.mark.parametrize(
    "secret",
    [
        "hunter3",
        "hunter2",
        "a" * 64,
        "abcabcabcabcabcabcabcabcabcabcabcabc",
        "whsec_0123456789abcdef0123456789",
        GENERATED[:-1],
    ],
)
def test_a_secret_that_signs_is_a_generated_one(secret: str) -> None:
    for change in (
        with_hooks(secrets=[secret]),
        {"webhook": {"url": "https://one.example.com/", "secret": secret}},
    ):
        with pytest.raises(
            ValidationError, match="a generated secret of at least 32 characters"
        ) as caught:
            TenantDocument.model_validate(sample(**change))
        assert secret not in str(caught.value)
