from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.core.model import AppClient, Secret
from gateway.tenants.document import TenantDocument
from gateway.tenants.restriction import HARMLESS, narrowed, narrows
from gateway.tenants.snapshot_record import (
    Builder,
    Credentials,
    Record,
    decode,
    document_of,
    encode,
    record_of,
)
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

PROVIDERS: list[dict[str, Any]] = [
    {"name": "one", "kind": "okta", "issuer": "https://one.example.com", "domains": ["acme.test"]},
    {"name": "two", "kind": "okta", "issuer": "https://two.example.com"},
]
FULL: dict[str, Any] = {
    "hosts": ["a.example.com", "*.b.example.com"],
    "email_domains": ["acme.test", "acme.example"],
    "allowed_groups": ["one", "two"],
    "allowed_roles": ["r"],
    "providers": PROVIDERS,
    "rules": [{"path": "/public/**", "allow": "public"}],
    "session": {"max_lifetime": "8h"},
}


def record(**more: Any) -> Record:
    return record_of(TenantDocument.model_validate(sample("acme", **{**FULL, **more})), None)


NARROWER: dict[str, dict[str, Any]] = {
    "inactive": {"active": False},
    "a host less": {"hosts": ["a.example.com"]},
    "another host": {"hosts": ["c.example.com", "*.b.example.com"]},
    "a domain less": {"email_domains": ["acme.test"]},
    "a group less": {"allowed_groups": ["one"]},
    "other groups": {"allowed_groups": ["one", "three"]},
    "no group": {"allowed_groups": []},
    "a role less": {"allowed_roles": []},
    "a provider less": {"providers": PROVIDERS[:1]},
    "another issuer": {
        "providers": [{**PROVIDERS[0], "issuer": "https://three.example.com"}, PROVIDERS[1]]
    },
    "a provider's domain less": {"providers": [{**PROVIDERS[0], "domains": []}, PROVIDERS[1]]},
    "a provider that is not active": {
        "providers": [{**PROVIDERS[0], "active": False}, PROVIDERS[1]]
    },
    "groups of a provider": {"providers": [{**PROVIDERS[0], "groups": ["one"]}, PROVIDERS[1]]},
    "roles of a provider": {"providers": [PROVIDERS[0], {**PROVIDERS[1], "roles": ["r"]}]},
    "a domain that another provider names": {
        "providers": [{**PROVIDERS[0], "domains": ["acme.test", "acme.example"]}, PROVIDERS[1]]
    },
    "a provider more that names a domain": {
        "providers": [
            *PROVIDERS,
            {"name": "three", "kind": "cognito", "domains": ["acme.example"]},
        ]
    },
    "a provider bound to domains": {
        "providers": [PROVIDERS[0], {**PROVIDERS[1], "domains": ["acme.test"]}]
    },
    "less trust": {"providers": [{**PROVIDERS[0], "email_trust": "verified_claim"}, PROVIDERS[1]]},
    "other rules": {"rules": []},
    "a rule more": {"rules": [*FULL["rules"], {"path": "/admin/**", "allow": "deny"}]},
    "paths read otherwise": {"paths": {"ignore_case": True}},
    "a shorter session": {"session": {"max_lifetime": "1h"}},
    "logins that count for less long": {"app_passwords": {"login_within": "1d"}},
    "another client": {"client_id": "other"},
}
WIDER: dict[str, dict[str, Any]] = {
    "a host more": {"hosts": [*FULL["hosts"], "c.example.com"]},
    "a domain more": {"email_domains": [*FULL["email_domains"], "more.example"]},
    "a group more": {"allowed_groups": ["one", "two", "three"]},
    "any group": {"allowed_groups": "any"},
    "any role": {"allowed_roles": "any"},
    "a provider more": {"providers": [*PROVIDERS, {"name": "three", "kind": "cognito"}]},
    "providers in another order": {"providers": PROVIDERS[::-1]},
    "a provider's domain more": {
        "providers": [PROVIDERS[0], {**PROVIDERS[1], "domains": ["acme.test", "acme.example"]}]
    },
    "a hidden provider": {"providers": [{**PROVIDERS[0], "hidden": True}, PROVIDERS[1]]},
    "where a login begins": {"default_provider": "two", "fallback_providers": ["one"]},
    "a provider for all domains": {
        "providers": [PROVIDERS[1], {k: v for k, v in PROVIDERS[0].items() if k != "domains"}]
    },
    "another label": {"providers": [{**PROVIDERS[0], "label": "Sign in"}, PROVIDERS[1]]},
    "another name": {"name": "Other"},
    "another secret": {"client_secret": "other"},
    "branding": {"branding": {"support": "it@acme.test"}},
    "cookies of the application": {"app_cookies": ["session"]},
    "rules to come": {"shadow_rules": [{"path": "/x", "allow": "deny"}]},
}


@pytest.mark.parametrize("change", NARROWER.values(), ids=NARROWER.keys())
def test_what_takes_something_away_narrows(change: dict[str, Any]) -> None:
    assert narrows(record(), record(**change))


@pytest.mark.parametrize("change", WIDER.values(), ids=WIDER.keys())
def test_what_only_gives_does_not(change: dict[str, Any]) -> None:
    assert not narrows(record(), record(**change))


def test_any_group_to_a_list_narrows_and_back_does_not() -> None:
    assert narrows(record(allowed_groups="any"), record())
    assert not narrows(record(), record(allowed_groups="any"))


@pytest.mark.parametrize(
    ("key", "wide", "narrow"),
    [("active", True, False), ("groups", "any", ["one"]), ("roles", ["a", "b"], ["a"])],
)
def test_what_a_provider_takes_away_narrows_and_what_it_gives_does_not(
    key: str, wide: Any, narrow: Any
) -> None:
    before, after = (
        record(providers=[{**PROVIDERS[0], key: value}, PROVIDERS[1]]) for value in (wide, narrow)
    )
    assert narrows(before, after)
    assert not narrows(after, before)


def test_every_field_of_the_document_is_judged_or_known_to_be_harmless() -> None:
    judged = {
        "id",
        "active",
        "hosts",
        "email_domains",
        "allowed_groups",
        "allowed_roles",
        "client",
        "client_id",
        "pool",
        "providers",
        "rules",
        "paths",
        "session",
        "app_passwords",
        "password_client",
    }
    assert judged | HARMLESS == set(TenantDocument.model_fields)


def test_members_only_narrows_and_what_another_release_did_not_know_does() -> None:
    pool = {"name": "own", "kind": "cognito"}
    everybody = record(providers=[*PROVIDERS, pool])
    members = record(providers=[*PROVIDERS, {**pool, "members_only": True}])
    assert narrows(everybody, members)
    body = json.loads(zlib.decompress(everybody.body))
    for provider in body["document"]["providers"]:
        del provider["members_only"]
    older = replace(everybody, body=zlib.compress(json.dumps(body).encode()), digest="older")
    assert narrows(older, everybody)
    assert narrows(older, members)


def test_a_tenant_that_is_gone_was_narrowed_and_a_new_one_was_not() -> None:
    assert narrowed({"acme": record()}, {}) == {"acme"}
    assert narrowed({}, {"acme": record()}) == frozenset()


def test_what_a_predecessor_left_counts_as_narrowed_where_it_changed() -> None:
    now = record()
    assert narrowed({}, {"acme": now}, unknown={"acme": now.digest}) == frozenset()
    assert narrowed({}, {"acme": now}, unknown={"acme": "other"}) == {"acme"}
    assert narrowed({}, {}, unknown={"acme": now.digest}) == {"acme"}


def test_a_provisioned_client_that_changes_narrows_and_the_first_one_does_not() -> None:
    document = sample("acme", client="managed")
    del document["client_id"], document["client_secret"]
    parsed = TenantDocument.model_validate(document)
    waiting, one, two = (
        record_of(parsed, None),
        record_of(parsed, Credentials("one", Secret("s"))),
        record_of(parsed, Credentials("two", Secret("s"))),
    )
    assert not narrows(waiting, one)
    assert narrows(one, two)
    assert narrows(one, waiting)


def test_a_second_client_narrows_nobody_and_the_end_of_the_first_does() -> None:
    document = sample("acme", client="managed")
    del document["client_id"], document["client_secret"]
    parsed = TenantDocument.model_validate(document)
    one = record_of(parsed, Credentials("one", Secret("s")))
    both = record_of(
        parsed, Credentials("two", Secret("t"), (AppClient("one", Secret("s"), retires_at=1.0),))
    )
    two = record_of(parsed, Credentials("two", Secret("t")))
    assert not narrows(one, both)
    assert narrows(both, two)


def test_a_record_carries_every_client_there_and_back() -> None:
    document = sample("acme", client="managed")
    del document["client_id"], document["client_secret"]
    old = AppClient("one", Secret("s"), retires_at=1.5)
    record = record_of(
        TenantDocument.model_validate(document), Credentials("two", Secret("t"), (old,))
    )
    assert decode(encode(record)) == record
    assert document_of(record)[1] == (AppClient("two", Secret("t")), old)
    tenant = Builder(config_with(Path("unused")))(record)
    assert (tenant.client_ids, tenant.client("one"), tenant.client("two")) == (
        ("two", "one"),
        old,
        AppClient("two", Secret("t")),
    )
    assert tenant.client("three") is None
