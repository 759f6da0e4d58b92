from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Secret
from gateway.tenants.document import TenantDocument
from gateway.tenants.secrets import join, keep, keepable, reveal, secrets_of, show
from tests.tenants.samples import sample

words = st.text(min_size=1, max_size=8).filter(
    lambda text: (
        text == text.strip()
        and not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)
    )
)
names = st.frozensets(words, max_size=3)
tokens = st.frozensets(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=8),
    max_size=3,
)
GENERATED = "0123456789abcdef0123456789abcdef"
rules = st.fixed_dictionaries(
    {"path": st.sampled_from(["/", "/a/**", "/*/b", "/**"])},
    optional={
        "methods": st.frozensets(st.sampled_from(["GET", "POST"]), min_size=1),
        "groups": names.map(sorted) | st.just("any"),
        "roles": names.map(sorted) | st.just("any"),
        "bearer": st.fixed_dictionaries(
            {}, optional={"clients": tokens.map(sorted), "scopes": tokens.map(sorted)}
        ),
    },
) | st.sampled_from([{"path": "/p", "allow": "public"}, {"path": "/p", "allow": "deny"}])
secret = st.text(min_size=1, max_size=12).filter(
    lambda text: (
        text == text.strip()
        and text.isprintable()
        and text != "***"
        and not text.startswith(("env:", "file:"))
    )
)
signing = secret.map(lambda text: GENERATED + text)
documents = st.fixed_dictionaries(
    {
        "client_secret": secret,
        "allowed_groups": names.map(sorted) | st.just("any"),
        "rules": st.lists(rules, max_size=4),
        "shadow_rules": st.lists(rules, max_size=2),
    },
    optional={
        "session": st.sampled_from(
            [{"idle_timeout": "5m"}, {"max_lifetime": "90m", "max_per_user": 3}]
        ),
        "webhook": st.builds(
            lambda s, p: {"url": "https://app.example.com/hook", "secret": s, "previous_secret": p},
            signing,
            signing,
        ),
        "headers": st.sampled_from(
            [
                {"X-Department": "claim:custom:department"},
                {"X-D": {"source": "claim:d", "default": "none"}},
            ]
        ),
        "providers": st.builds(
            lambda s, t: [
                {
                    "name": "one",
                    "kind": "okta",
                    "issuer": "https://idp.example.com",
                    "hooks": {"secrets": s, "client_secret": t},
                },
                {"name": "two", "kind": "cognito", "domains": []},
            ],
            st.lists(signing, max_size=2),
            secret,
        ),
    },
).map(lambda more: TenantDocument.model_validate(sample("acme", **more)))


@given(document=documents)
def test_two_halves_make_the_document_again(document: TenantDocument) -> None:
    assert join(show(document), secrets_of(document)) == document
    assert join(show(document, defaults=False), secrets_of(document)) == document
    assert json.loads(json.dumps(show(document))) == show(document)


@given(document=documents)
def test_the_shown_half_holds_no_secret(document: TenantDocument) -> None:
    marked = join(
        show(document),
        {
            path: Secret(f"secret number {number} {GENERATED}")
            for number, path in enumerate(secrets_of(document))
        },
    )
    assert "secret number" not in json.dumps(show(marked))
    assert len(secrets_of(marked)) == json.dumps(reveal(marked)).count("secret number")


@given(document=documents)
def test_equal_documents_are_equal_bytes(document: TenantDocument) -> None:
    assert json.dumps(show(document)) == json.dumps(
        show(TenantDocument.model_validate(reveal(document)))
    )


def test_reordered_providers_keep_their_own_secrets() -> None:
    first = {
        "name": "one",
        "kind": "okta",
        "issuer": "https://one.example.com",
        "hooks": {"client_secret": "of one"},
    }
    second = {
        "name": "two",
        "kind": "okta",
        "issuer": "https://two.example.com",
        "hooks": {"client_secret": "of two"},
    }
    document = TenantDocument.model_validate(sample("acme", providers=[first, second]))
    shown = show(document)
    shown["providers"].reverse()
    again = join(shown, secrets_of(document))
    assert [(p.name, p.hooks.client_secret) for p in again.providers] == [
        ("two", Secret("of two")),
        ("one", Secret("of one")),
    ]


def test_a_redacted_secret_that_is_not_stored_is_refused() -> None:
    document = TenantDocument.model_validate(sample("acme"))
    with pytest.raises(
        ValueError, match=r"client_secret: \*\*\* .*nothing is stored here that could be kept"
    ):
        join(show(document), {})


def test_a_stored_secret_that_looks_like_a_reference_is_not_looked_up() -> None:
    document = join(
        show(TenantDocument.model_validate(sample("acme"))), {"client_secret": Secret("env:HOME")}
    )
    assert document.client_secret == Secret("env:HOME")


def test_a_redacted_secret_keeps_the_stored_one_and_a_new_one_replaces_it() -> None:
    webhook = {"url": "https://app.example.com/", "secret": f"{GENERATED}-old"}
    stored = TenantDocument.model_validate(sample("acme", webhook=webhook))
    sent = TenantDocument.model_validate(
        sample(
            "acme",
            client_secret="***",
            webhook={**webhook, "secret": f"{GENERATED}-new", "previous_secret": "***"},
        )
    )
    with pytest.raises(ValueError, match=r"^webhook\.previous_secret: "):
        keep(sent, secrets_of(stored))
    kept = keep(
        TenantDocument.model_validate(
            sample("acme", client_secret="***", webhook={**webhook, "secret": f"{GENERATED}-new"})
        ),
        secrets_of(stored),
    )
    assert kept.client_secret == Secret("secret of acme")
    assert kept.webhook is not None
    assert kept.webhook.secret == Secret(f"{GENERATED}-new")


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://evil.example.com"}, {"hooks": {"api_url": "https://evil.example.com"}}],
    ids=["issuer", "api_url"],
)
@pytest.mark.parametrize("name", ["client_secret", "api_token"])
def test_a_credential_that_is_sent_to_an_address_is_not_kept_under_another(
    change: dict[str, Any], name: str
) -> None:
    provider = {
        "name": "one",
        "kind": "okta",
        "issuer": "https://one.example.com",
        "hooks": {name: "secret"},
    }
    stored = TenantDocument.model_validate(sample("acme", providers=[provider]))
    hooks = {name: "***", **change.get("hooks", {})}
    same = TenantDocument.model_validate(
        sample(
            "acme",
            providers=[
                {
                    **provider,
                    "issuer": "https://one.example.com/oauth2/default",
                    "hooks": {name: "***"},
                }
            ],
        )
    )
    moved = TenantDocument.model_validate(
        sample("acme", providers=[{**provider, **change, "hooks": hooks}])
    )
    assert getattr(keep(same, keepable(stored, same)).providers[0].hooks, name) == Secret("secret")
    with pytest.raises(ValueError, match=rf"^providers\.one\.hooks\.{name}: "):
        keep(moved, keepable(stored, moved))


def test_a_secret_is_found_wherever_the_document_has_room_for_one() -> None:
    hooks = {"secrets": [f"{GENERATED}1", f"{GENERATED}2"], "client_secret": "3", "api_token": "4"}
    document = TenantDocument.model_validate(
        sample(
            "acme",
            client_secret="5",
            providers=[
                {"name": "one", "kind": "okta", "issuer": "https://idp.example.com", "hooks": hooks}
            ],
            webhook={
                "url": "https://app.example.com/",
                "secret": f"{GENERATED}6",
                "previous_secret": f"{GENERATED}7",
            },
            password_client={"client_id": "passwords", "client_secret": "8"},
        )
    )
    assert sorted(
        secret.reveal().removeprefix(GENERATED) for secret in secrets_of(document).values()
    ) == list("12345678")
    assert str(TenantDocument.model_json_schema()).count("*** keeps the one that is stored") == 8
