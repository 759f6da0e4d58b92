"""Which tenant a name belongs to, and who may not have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.core.claims import claims
from gateway.core.model import AppClient, ProviderKind, Secret, Tenant
from gateway.core.tenants import HostKind, TenantTable
from tests.core.build import provider, tenant

ACME = tenant(hosts=frozenset({"app.acme.com"}), wildcards=frozenset({"w.acme.com"}))
GLOBEX = tenant(
    id="globex",
    hosts=frozenset({"globex.com"}),
    wildcards=frozenset({"x.globex.com", "deep.x.globex.com"}),
    email_domains=frozenset({"globex.com"}),
    client_id="g",
)


def table(*tenants: Tenant) -> TenantTable:
    return TenantTable.of(
        tenants or (ACME, GLOBEX),
        shared_hosts=["app.example.com"],
        login_host="login.example.com",
        generation=3,
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("app.acme.com", "acme"),
        ("a.w.acme.com", "acme"),
        ("a.b.w.acme.com", "acme"),
        ("w.acme.com", HostKind.UNKNOWN),
        ("evilapp.acme.com", HostKind.UNKNOWN),
        ("app.acme.com.evil.com", HostKind.UNKNOWN),
        ("sub.app.acme.com", HostKind.UNKNOWN),
        ("a.x.globex.com", "globex"),
        ("a.deep.x.globex.com", "globex"),
        ("app.example.com", HostKind.SHARED),
        ("login.example.com", HostKind.LOGIN),
        ("com", HostKind.UNKNOWN),
    ],
)
def test_host(host: str, expected: str | HostKind) -> None:
    """(HOST-12)"""
    found = table().by_host(host)
    assert (found if isinstance(found, HostKind) else found.id) == expected


def test_other_names_and_the_table_as_a_whole() -> None:
    found = table()
    assert found.by_email_domain("acme.com") is ACME
    assert found.by_email_domain("sub.acme.com") is None
    assert found.by_client_id("g") is GLOBEX
    assert found.by_client_id("x") is None
    rotated = tenant(client_id="new", retired=(AppClient("old", Secret("s"), retires_at=1.0),))
    assert table(rotated, GLOBEX).by_client_id("old") is rotated
    assert [c.name for c in claims([rotated, replace(GLOBEX, client_id="old")])] == ["client old"]
    assert found.by_id("acme") is ACME
    assert found.by_id("x") is None
    assert {t.id for t in found} == {"acme", "globex"}
    assert (len(found), found.generation) == (2, 3)
    assert found.shared_hosts == frozenset({"app.example.com"})
    assert found.login_host == "login.example.com"
    assert found.owns(ACME, "app.acme.com")
    assert found.owns(ACME, "app.example.com")
    assert not found.owns(ACME, "globex.com")
    assert not found.owns(ACME, "nowhere.com")


@pytest.mark.parametrize(
    "other",
    [
        {"hosts": frozenset({"app.acme.com"})},
        {"hosts": frozenset({"a.w.acme.com"})},
        {"wildcards": frozenset({"w.acme.com"})},
        {"wildcards": frozenset({"deep.w.acme.com"})},
        {"wildcards": frozenset({"acme.com"})},
        {"hosts": frozenset({"app.example.com"})},
        {"hosts": frozenset({"login.example.com"})},
        {"wildcards": frozenset({"example.com"})},
        {"email_domains": frozenset({"acme.com"})},
        {"client_id": "client"},
        {"providers": (provider("acme-okta"),)},
        {"id": "acme"},
    ],
    ids=str,
)
def test_a_name_has_one_owner(other: dict[str, object]) -> None:
    base: dict[str, object] = {
        "id": "other",
        "hosts": frozenset({"other.com"}),
        "email_domains": frozenset({"other.com"}),
        "client_id": "o",
        "client_secret": Secret("x"),
    }
    rival = tenant(**{**base, **other})
    assert claims((ACME, rival), shared_hosts=["app.example.com"], login_host="login.example.com")
    with pytest.raises(ValueError, match="claimed by"):
        table(ACME, rival)


def test_the_pools_own_users_are_nobodys_alone() -> None:
    own = (provider("pool", kind=ProviderKind.COGNITO),)
    assert not claims((replace(ACME, providers=own), replace(GLOBEX, providers=own)))


def test_a_tenant_may_have_a_host_within_its_own_wildcard() -> None:
    assert not claims(
        (tenant(hosts=frozenset({"a.acme.com"}), wildcards=frozenset({"acme.com", "b.acme.com"})),)
    )


def test_a_table_of_listings_builds_a_tenant_when_it_is_asked_for() -> None:
    built: list[str] = []

    def load(listing: Tenant) -> Tenant:
        built.append(listing.id)
        return listing

    found = TenantTable.lazy((ACME, GLOBEX), load)
    assert (list(found.ids()), built) == (["acme", "globex"], [])
    assert found.by_host("globex.com") is GLOBEX
    assert built == ["globex"]


def test_an_inactive_tenant_is_not_built_to_say_that_nobody_may_log_in_there() -> None:
    """Unknown and inactive take the same time: one look into one table."""

    def load(listing: Tenant) -> Tenant:
        assert listing.active
        return listing

    found = TenantTable.lazy((replace(ACME, active=False), GLOBEX), load)
    assert [
        found.active_by_email_domain(domain) for domain in ("acme.com", "nowhere.com", "globex.com")
    ] == [None, None, GLOBEX]


def test_a_tenant_that_waits_for_its_client_has_its_hosts_and_no_client() -> None:
    waiting = tenant(hosts=frozenset({"app.acme.com"}), client_id="")
    found = TenantTable.of((waiting,))
    assert found.by_host("app.acme.com") is waiting
    assert found.by_client_id("") is None
    assert found.by_host("a.b.nowhere.com") is HostKind.UNKNOWN


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("s")
    assert (f"{secret}", repr(secret), bool(secret), bool(Secret(""))) == (
        "***",
        "***",
        True,
        False,
    )
    assert (
        secret.reveal(),
        secret == Secret("s"),
        secret == Secret("t"),
        secret == "s",
        {secret: 1}[Secret("s")],
    ) == ("s", True, False, False, 1)


ROLLED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "no name": ({"name": "Acme Corporation"}, {}),
    "a host": ({"hosts": frozenset({"new.acme.com"})}, {}),
    "a wildcard": ({"wildcards": frozenset({"v.acme.com"})}, {}),
    "a domain": ({"email_domains": frozenset({"acme.org"})}, {}),
    "a client": ({"client_id": "other"}, {}),
    "a provider": ({"providers": (provider("acme-entra"),)}, {}),
    "the id": ({"id": "acme2"}, {}),
    "a shared host": ({}, {"shared_hosts": ["other.example.com"]}),
    "the login host": ({}, {"login_host": "signin.example.com"}),
}


@pytest.mark.parametrize("case", ROLLED)
def test_a_table_that_follows_another_is_as_if_it_had_been_made_anew(case: str) -> None:
    of_tenant, of_table = ROLLED[case]
    settings: dict[str, Any] = {
        "shared_hosts": ["app.example.com"],
        "login_host": "login.example.com",
    }
    before = TenantTable.lazy((ACME, GLOBEX), lambda listing: listing, **settings)
    after = (replace(ACME, **of_tenant), GLOBEX)
    following = TenantTable.lazy(
        after, lambda listing: listing, **(settings | of_table), generation=7, before=before
    )
    anew = TenantTable.lazy(after, lambda listing: listing, **(settings | of_table), generation=7)
    assert (following.index, following.generation) == (anew.index, anew.generation)
    assert following.by_id(after[0].id) is after[0]
    assert before.by_id("acme") is ACME


def test_a_table_that_follows_another_refuses_what_two_claim() -> None:
    before = TenantTable.lazy((ACME, GLOBEX), lambda listing: listing)
    for wrong in (
        (ACME, GLOBEX, ACME),
        (ACME, replace(GLOBEX, hosts=ACME.hosts)),
        (ACME, replace(GLOBEX, providers=ACME.providers)),
    ):
        with pytest.raises(ValueError, match="claimed by acme"):
            TenantTable.lazy(wrong, lambda listing: listing, before=before)


def test_the_clients_of_a_tenant_are_its_own_and_those_that_a_rotation_replaced() -> None:
    rotated = replace(ACME, retired=(AppClient("old", Secret("o")),))
    assert rotated.pools == ("default",)
    moved = replace(rotated, pool="b")
    assert moved.pools == ("b", "default"), "while its former client counts"
    assert rotated.client_ids == ("client", "old")
    assert [rotated.client(name) for name in ("client", "old", "other", "")] == [
        AppClient("client", ACME.client_secret),
        AppClient("old", Secret("o")),
        None,
        None,
    ]
    assert tenant(client_id="").client_ids == ()
