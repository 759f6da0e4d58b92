from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.glob import Glob
from gateway.core.model import Secret, Tenant
from gateway.sessions.api import SessionView
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from gateway.tenants.impact import PROGRAMS, Effect, effects, example
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from pathlib import Path

FULL: dict[str, Any] = {
    "rules": [
        {"path": "/admin/**", "groups": ["admins"]},
        {"path": "/api/*", "methods": ["POST"], "roles": ["writer"]},
    ]
}


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return config_with(tmp_path)


def tenant(config: Any, **more: Any) -> Tenant:
    document = TenantDocument.model_validate(sample("acme", **{**FULL, **more}))
    return compile_tenant(document, config, client_id="c", client_secret=Secret("s"))


def person(
    name: str, *groups: str, roles: tuple[str, ...] = (), host: str = "acme.example.com"
) -> SessionView:
    return SessionView(
        name,
        "acme",
        name,
        f"{name}@acme.test",
        "acme-okta",
        (host,),
        1_000,
        2_000,
        "",
        groups=groups,
        roles=roles,
    )


ALICE, BOB, MALLORY = (
    person("alice", "app-users", "admins"),
    person("bob", "app-users"),
    person("mallory"),
)


def told(
    before: Tenant, after: Tenant | None, *people: SessionView
) -> list[tuple[str, str, str, str]]:
    return [
        (e.email.partition("@")[0], "gains" if e.gains else "loses", e.where, e.reason)
        for e in effects(before, after, people)
    ]


def test_nothing_changes_for_nobody(config: Any) -> None:
    assert effects(tenant(config), tenant(config, name="Other"), [ALICE, BOB, MALLORY]) == ()


def test_a_group_that_is_asked_for_takes_everything_from_those_without(config: Any) -> None:
    after = tenant(config, allowed_groups=["admins"])
    assert told(tenant(config), after, ALICE, BOB, MALLORY) == [
        ("bob", "loses", "(what no rule names)", "group_missing"),
    ]
    assert told(
        tenant(config, rules=[]), tenant(config, rules=[], allowed_groups=["admins"]), ALICE, BOB
    ) == [("bob", "loses", "", "group_missing")]


def test_a_rule_for_some_hosts_is_tried_there(config: Any) -> None:
    hosts = ["acme.example.com", "*.acme.example.com"]
    before, after = (
        tenant(
            config,
            hosts=hosts,
            rules=[{"path": "/**", "groups": [group], "hosts": ["*.acme.example.com"]}],
        )
        for group in ("app-users", "admins")
    )
    assert told(before, after, BOB, person("carol", "app-users", host="x.acme.example.com")) == [
        ("bob", "loses", "GET /** (*.acme.example.com)", "group_missing"),
        ("carol", "loses", "", "group_missing"),
    ]


def test_a_rule_gives_and_takes_where_it_stands(config: Any) -> None:
    assert told(
        tenant(config),
        tenant(config, rules=[{"path": "/admin/**", "groups": ["app-users"]}, FULL["rules"][1]]),
        ALICE,
        BOB,
    ) == [
        ("bob", "gains", "GET /admin/**", "group_missing"),
    ]
    assert told(
        tenant(config),
        tenant(config, rules=[*FULL["rules"], {"path": "/reports/**", "allow": "deny"}]),
        BOB,
    ) == [("bob", "loses", "GET /reports/**", "rule_denied")]


def test_methods_are_told_apart(config: Any) -> None:
    after = tenant(config, rules=FULL["rules"][:1])
    assert told(tenant(config), after, BOB) == [("bob", "gains", "POST /api/*", "role_missing")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"active": False}, "tenant_inactive"),
        ({"email_domains": ["other.test"]}, "email_domain"),
        ({"providers": [{"name": "other", "kind": "cognito"}]}, "reauthenticate"),
    ],
    ids=["inactive", "domain", "provider"],
)
def test_what_shuts_the_door_shuts_it_for_everybody(
    config: Any, change: dict[str, Any], reason: str
) -> None:
    before, after = tenant(config, rules=[]), tenant(config, rules=[], **change)
    assert told(before, after, ALICE, BOB, MALLORY) == [
        ("alice", "loses", "", reason),
        ("bob", "loses", "", reason),
    ]


def test_a_tenant_or_a_host_that_goes_takes_its_people(config: Any) -> None:
    assert told(tenant(config, rules=[]), None, BOB) == [("bob", "loses", "", "unknown_host")]
    assert told(
        tenant(config, rules=[]),
        tenant(config, rules=[], hosts=["other.example.com"]),
        BOB,
        person("eve", "app-users", host="shared.example.com"),
    ) == [("bob", "loses", "", "unknown_host")]


def test_several_sessions_of_one_person_are_told_once(config: Any) -> None:
    assert effects(tenant(config, rules=[]), None, [BOB, BOB]) == (
        Effect("bob@acme.test", gains=False, where="", reason="unknown_host"),
    )


@given(
    st.lists(st.sampled_from(["a", "*", "**", "b-", "x*y"]), min_size=1, max_size=4).map(
        lambda parts: "/" + "/".join(parts)
    )
)
def test_an_example_is_matched_by_its_glob(glob: str) -> None:
    assert Glob(glob).matches(example(glob).split("/")[1:])


def test_what_becomes_of_programs_that_send_a_password_is_told_once_for_each_place(
    config: Any,
) -> None:
    providers = [{"name": "acme-pool", "kind": "cognito"}]
    own = {"client_id": "passwords"}
    taken = {"rules": [{"path": "/dav/**", "basic": "cognito"}], "password_client": own}
    without = tenant(config, providers=providers, rules=[{"path": "/dav/**"}])
    with_it = tenant(config, providers=providers, **taken)
    (gained,) = effects(without, with_it, [])
    assert (gained.email, gained.gains, gained.where) == (PROGRAMS, True, "GET /dav/**")
    (lost,) = effects(with_it, without, [])
    assert (lost.gains, lost.reason) == (False, gained.reason)
    assert effects(with_it, with_it, []) == ()
    (gone,) = effects(with_it, None, [])
    assert (gone.gains, gone.reason) == (False, "unknown_host")
    # A client that is still to be made answers nobody.
    (made_later,) = effects(with_it, replace(with_it, password_client=None), [])
    assert (made_later.gains, made_later.reason) == (False, "cognito_unavailable")
    # Where everybody comes in, nobody loses anything.
    public = tenant(config, providers=providers, rules=[{"path": "/dav/**", "allow": "public"}])
    assert effects(with_it, public, []) == ()
