"""A request that adds (``prune: false``): what it does not name stays, in the pool, in the tenant's
document and for everybody who signs in.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.core.model import Secret
from gateway.provisioning.addition import Access, beside
from gateway.provisioning.bound_keys import bound_changes
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunState
from gateway.sessions.api import SessionView
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from gateway.tenants.impact import effects
from gateway.tenants.secrets import show
from tests.database.fixtures import config_with
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.core.model import Tenant

Json = dict[str, Any]
OKTA: Json = {"name": "acme-okta", "kind": "okta", "issuer": "https://acme.okta.com"}
SAML: Json = {"name": "acme-saml", "kind": "saml", "entity_id": "https://sso.beta.test/metadata"}
ENTRA: Json = {
    "name": "acme-entra",
    "kind": "entra",
    "issuer": "https://login.microsoftonline.com/0b0e0d0c-0000-4000-8000-000000000001/v2.0",
}
ADMINS: Json = {"path": "/admin/**", "groups": ["admins"]}
PARTNERS: Json = {"path": "/partners/**", "groups": ["partners"], "override_tenant_groups": True}


def document(**more: Any) -> Json:
    given = {
        "id": "acme",
        "name": "Acme",
        "hosts": ["acme.example.com"],
        "email_domains": ["acme.test", "acme.example"],
        "allowed_groups": ["app-users"],
        "client": "managed",
        "providers": [OKTA],
        **more,
    }
    return show(TenantDocument.model_validate(given))


def test_a_group_is_not_added_where_tokens_of_people_would_be_refused_for_it() -> None:
    """A person's token carries no groups: a provider that asks for some keeps it out."""
    programs: Json = {"path": "/api/**", "groups": "any", "bearer": {"clients": ["cli"]}}
    for rules, refused in (([ADMINS], []), ([programs], ["groups"])):
        _, problems = beside(document(rules=rules), [SAML], {"acme-saml": Access(["beta"])})
        assert [problem.where for problem in problems] == refused


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return config_with(tmp_path)


def compiled(content: Json, config: Any) -> Tenant:
    return compile_tenant(
        TenantDocument.model_validate(content), config, client_id="c", client_secret=Secret("s")
    )


def everybody(*providers: str) -> list[SessionView]:
    """At each provider somebody with an address of each domain, in each group, and in several."""
    groups = ((), ("app-users",), ("beta",), ("admins",), ("partners",), ("beta", "admins"))
    domains = ("acme.test", "acme.example", "beta.test", "elsewhere.test")
    return [
        SessionView(
            f"{provider}{number}",
            "acme",
            f"{provider}{number}",
            f"p{number}@{domain}",
            provider,
            ("acme.example.com",),
            1_000,
            2_000,
            "",
            groups=names,
            roles=(),
        )
        for provider in providers
        for number, (names, domain) in enumerate(itertools.product(groups, domains))
    ]


BEFORE: dict[str, Json] = {
    "plain": document(),
    "rules": document(rules=[ADMINS]),
    "any": document(allowed_groups="any"),
    "nobody": document(allowed_groups=[]),
    "two": document(providers=[OKTA, {**ENTRA, "domains": ["acme.example"], "groups": ["admins"]}]),
    "two that share": document(providers=[OKTA, ENTRA]),
    "inactive": document(providers=[OKTA, {**ENTRA, "active": False}]),
    "partners": document(rules=[PARTNERS, ADMINS]),
    "named": document(providers=[{**OKTA, "domains": ["acme.test"], "groups": ["app-users"]}]),
}
SAID: dict[str, Access] = {
    "nothing": Access(),
    "its own": Access(["beta"], frozenset({"beta.test"})),
    "a domain of others": Access(None, frozenset({"acme.test"})),
    "a domain of others and its own": Access(["beta"], frozenset({"acme.test", "beta.test"})),
    "another group": Access(["beta"]),
    "the same group": Access(["app-users"]),
    "any": Access("any"),
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("access", SAID.values(), ids=SAID)
def test_whoever_signs_in_with_another_provider_gains_and_loses_nothing(
    before: Json, access: Access, config: Any
) -> None:
    after, problems = beside(before, [SAML], {"acme-saml": access})
    if problems:
        return
    others = [p["name"] for p in before["providers"]]
    old, new = compiled(before, config), compiled(after, config)
    assert effects(old, new, everybody(*others)) == ()
    assert [p["name"] for p in after["providers"]] == [*others, "acme-saml"]
    assert after["default_provider"] == before["default_provider"]
    # The new provider's are in by what was said, or by what holds for all.
    groups = before["allowed_groups"] if access.groups is None else access.groups
    for person in everybody("acme-saml"):
        gained = [e for e in effects(old, new, [person]) if e.gains and "partners" not in e.where]
        is_member = groups == "any" or not {*groups}.isdisjoint(person.groups)
        domains = new.configured_provider("acme-saml").domains  # type: ignore[union-attr]  # it is there
        assert bool(gained) <= (is_member and person.email.partition("@")[2] in domains)
        if access.domains is not None:
            assert domains == access.domains


@pytest.mark.parametrize(
    ("before", "access", "where"),
    [
        ("plain", "any", "groups"),
        ("partners", "its own", "groups"),
        ("partners", "any", "groups"),
        ("two", "its own", "groups"),
    ],
)
def test_what_cannot_be_added_without_a_change_for_others_is_refused(
    before: str, access: str, where: str
) -> None:
    _, problems = beside(BEFORE[before], [SAML], {"acme-saml": SAID[access]})
    assert [problem.where for problem in problems] == [where]


def test_a_rule_that_replaces_the_tenants_groups_keeps_none_out_that_says_its_own() -> None:
    before = document(
        rules=[PARTNERS],
        allowed_groups=["app-users", "partners"],
        providers=[{**OKTA, "groups": ["app-users", "partners"]}],
    )
    after, problems = beside(before, [SAML], {"acme-saml": SAID["its own"]})
    assert problems == ()
    assert after["providers"][0] == before["providers"][0]


def test_what_is_written_for_the_others_is_what_held_for_them() -> None:
    after, problems = beside(BEFORE["plain"], [SAML], {"acme-saml": SAID["its own"]})
    okta, saml = after["providers"]
    assert problems == ()
    assert (okta["groups"], okta["domains"]) == (["app-users"], None)
    assert (saml["groups"], saml["domains"]) == (["beta"], ["beta.test"])
    assert (after["allowed_groups"], after["email_domains"]) == (
        ["app-users", "beta"],
        ["acme.example", "acme.test", "beta.test"],
    )
    after, _ = beside(BEFORE["plain"], [SAML], {"acme-saml": SAID["a domain of others"]})
    assert after["providers"][0]["domains"] == ["acme.example", "acme.test"]
    after, _ = beside(BEFORE["plain"], [SAML], {"acme-saml": SAID["nothing"]})
    assert after["providers"][0] == BEFORE["plain"]["providers"][0]


def test_a_provider_that_would_vouch_for_no_domain_is_refused() -> None:
    before = document(providers=[{**OKTA, "domains": ["acme.test", "acme.example"]}])
    _, (problem,) = beside(before, [SAML], {"acme-saml": Access()})
    assert problem.where == "providers.acme-saml.domains"


def test_a_tenant_has_the_pools_own_users_once() -> None:
    before = document(providers=[OKTA, {"name": "staff", "kind": "cognito"}])
    own = {"name": "acme-cognito", "kind": "cognito", "members_only": True}
    _, problems = beside(before, [own], {"acme-cognito": Access()})
    assert [problem.where for problem in problems] == ["providers"]


def test_a_group_or_a_domain_is_said_once() -> None:
    provider = {"client_id": "a", "client_secret": "s", "oidc_issuer": "https://acme.okta.com"}
    for words in (
        {"provider": {**provider, "groups": ["a"]}, "groups": ["b"]},
        {
            "providers": [{"provider": provider, "allowed_domain": "a.test"}],
            "allowed_domain": "b.test",
        },
    ):
        ProvisionBody.model_validate(words)
        with pytest.raises(ValidationError, match="with prune: false they are the providers'"):
            ProvisionBody.model_validate({**words, "prune": False})


# --- in the pool


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Initech with an Okta."""
    async with Bench(tmp_path) as started:
        assert isinstance(await started.apply(), Done)
        yield started


async def saml(bench: Bench, **more: Any) -> ProvisionBody:
    name = "initech-saml-idp"
    customer = bench.cloud.customers.get(name) or await bench.cloud.add_idp(
        name, kind="okta", saml=True
    )
    assert customer.saml is not None
    return ProvisionBody.model_validate(
        {
            "provider": {"kind": "saml", "metadata_url": customer.saml.metadata_url},
            "prune": False,
            **more,
        }
    )


BETA: Json = {"group": "beta", "allowed_domain": "beta.test"}


async def pool_and_document(bench: Bench) -> tuple[Json, Json, Json]:
    pool = bench.cloud.cognito.pool
    stored = await bench.tenants.get("initech")
    assert stored is not None
    return (
        {name: provider.settings for name, provider in pool.providers.items()},
        {name: client.settings for name, client in pool.clients.items()},
        show(stored.document),
    )


async def test_a_saml_provider_joins_an_okta_whose_secret_nobody_says(bench: Bench) -> None:
    providers, _, before = await pool_and_document(bench)
    proposal = await bench.service.propose("initech", await saml(bench, **BETA), update=True)
    assert proposal.problems == ()
    rows = [(str(s.verb), s.name) for s in proposal.plan.steps if str(s.resource) == "provider"]
    assert sorted(rows) == [("create", "initech-saml"), ("keep", "initech-okta")]
    assert "people choose between initech-okta and initech-saml" in " ".join(proposal.plan.notes)
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    after_providers, clients, after = await pool_and_document(bench)
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == ("initech-okta", "initech-saml")
    assert len(clients) == 1
    assert after_providers["initech-okta"] == providers["initech-okta"], "with its secret"
    okta, new = after["providers"]
    assert okta == {**before["providers"][0], "groups": ["app-users"]}
    assert (new["groups"], new["domains"]) == (["beta"], ["beta.test"])
    assert after["hosts"] == before["hosts"]


async def test_what_was_added_is_followed_as_the_others_are(bench: Bench) -> None:
    latest = await bench.service.provisioning.journal.latest("initech")
    assert latest is not None
    (okta_before,) = latest.request["providers"]
    assert isinstance(await bench.apply(body=await saml(bench, **BETA), update=True), Done)
    latest = await bench.service.provisioning.journal.latest("initech")
    assert latest is not None
    assert latest.request["providers"][0] == okta_before
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean
    outcome = await bench.service.rotate("initech", actor="test")
    assert isinstance(outcome, Done)
    newest = list(bench.cloud.cognito.pool.clients.values())[-1]
    assert newest.providers == ("initech-okta", "initech-saml")
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert await bench.left_behind() == {}


async def test_rolled_back_everything_is_as_it_was(bench: Bench) -> None:
    before = await pool_and_document(bench)
    outcome = await bench.apply(body=await saml(bench, **BETA), update=True)
    assert isinstance(outcome, Done)
    assert await bench.service.roll_back("initech", outcome.run) is RunState.ROLLED_BACK
    assert await pool_and_document(bench) == before
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    assert drift.clean


@pytest.mark.parametrize("operation", ["CreateIdentityProvider", "UpdateUserPoolClient"])
async def test_what_fails_on_the_way_leaves_the_others_as_they_were(
    bench: Bench, operation: str
) -> None:
    before = await pool_and_document(bench)
    bench.cloud.cognito.control.faults.plan(
        operation, faults.fail(ApiError("InvalidParameterException", "planned"))
    )
    outcome = await bench.apply(body=await saml(bench, **BETA), update=True)
    assert isinstance(outcome, Failed)
    assert outcome.state is RunState.ROLLED_BACK
    assert await pool_and_document(bench) == before


async def test_an_interrupted_addition_is_taken_back_by_another_process(bench: Bench) -> None:
    before = await pool_and_document(bench)
    bench.cloud.cognito.control.faults.plan("UpdateUserPoolClient", faults.internal_error, times=9)
    bench.cloud.cognito.control.faults.plan(
        "DeleteIdentityProvider", faults.internal_error, times=3
    )
    outcome = await bench.apply(body=await saml(bench, **BETA), update=True)
    assert isinstance(outcome, Failed)
    bench.cloud.cognito.control.faults.clear()
    await bench.service.provisioning.recover()
    assert await pool_and_document(bench) == before


async def test_a_second_okta_is_another_one_and_the_same_application_is_refused(
    bench: Bench,
) -> None:
    second = await bench.body(idp="initech-second", prune=False, group="beta")
    document = (await bench.service.propose("initech", second, update=True)).document
    assert document is not None
    assert [p["name"] for p in document["providers"]] == ["initech-okta", "initech-okta-2"]
    same = await bench.body(prune=False)
    proposal = await bench.service.propose("initech", same, update=True)
    assert [(p.kind, p.where) for p in proposal.problems] == [
        ("exists", "providers.initech-okta-2")
    ]


async def test_one_that_is_named_is_changed_and_the_others_stay(bench: Bench) -> None:
    assert isinstance(await bench.apply(body=await saml(bench, **BETA), update=True), Done)
    providers, clients, before = await pool_and_document(bench)
    body = await saml(bench, group="beta-admins")
    named = body.all_providers[0].model_copy(update={"name": "initech-saml", "label": "Beta"})
    body = body.model_copy(update={"provider": named})
    assert isinstance(await bench.apply(body=body, update=True), Done)
    after_providers, after_clients, after = await pool_and_document(bench)
    assert (after_providers, after_clients) == (providers, clients)
    assert after["providers"] == [
        before["providers"][0],
        {**before["providers"][1], "groups": ["beta-admins"], "label": "Beta"},
    ]


async def test_drift_of_the_others_is_not_mended_by_the_way(bench: Bench) -> None:
    pool = bench.cloud.cognito.pool
    pool.providers["initech-okta"].settings["ProviderDetails"]["authorize_scopes"] = "openid"
    assert isinstance(await bench.apply(body=await saml(bench, **BETA), update=True), Done)
    assert pool.providers["initech-okta"].detail("authorize_scopes") == "openid"
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None
    assert isinstance(drift.fixed, Done)
    assert (
        pool.providers["initech-okta"].detail("authorize_scopes") == "openid profile email groups"
    )


async def test_where_another_one_is_gone_from_the_pool_nothing_is_added(bench: Bench) -> None:
    del bench.cloud.cognito.pool.providers["initech-okta"]
    proposal = await bench.service.propose("initech", await saml(bench, **BETA), update=True)
    assert [p.where for p in proposal.problems] == ["providers.initech-okta"]


async def test_what_somebody_wrote_into_the_document_is_provisioned_first(bench: Bench) -> None:
    stored = await bench.tenants.get("initech")
    assert stored is not None
    content = show(stored.document)
    content["providers"] = [*content["providers"], {**ENTRA, "name": "initech-entra"}]
    await bench.tenants.put(TenantDocument.model_validate(content), version=stored.version, by=None)
    proposal = await bench.service.propose("initech", await saml(bench, **BETA), update=True)
    assert [p.where for p in proposal.problems] == ["providers.initech-entra"]


async def test_hosts_are_added_and_a_new_tenant_is_made_as_ever(bench: Bench) -> None:
    body = await saml(bench, hosts=["beta.localhost"])
    assert isinstance(await bench.apply(body=body, update=True), Done)
    _, _, after = await pool_and_document(bench)
    assert sorted(after["hosts"]) == ["beta.localhost", "initech.localhost"]
    body = await bench.body("hooli", kind="entra", prune=False)
    assert isinstance(await bench.apply("hooli", body), Done)


async def test_a_key_of_the_tenants_own_adds_what_it_has_proven_and_no_other_domain(
    bench: Bench,
) -> None:
    for words, refused in (
        ({}, []),
        ({"group": "beta"}, []),
        ({"allowed_domain": "beta.test"}, ["allowed_domain"]),
        ({"allowed_domain": "initech.test"}, ["allowed_domain"]),
    ):
        body = await saml(bench, **words)
        proposal = await bench.service.propose("initech", body, update=True, bound=True)
        assert [p.where for p in proposal.problems] == refused, words


async def test_a_key_of_the_tenants_own_takes_no_domain_by_leaving_its_provider_out(
    bench: Bench,
) -> None:
    """A provider without domains has those that no other names: also of one that is left out."""
    assert isinstance(await bench.apply(body=await saml(bench, **BETA), update=True), Done)
    okta, entra = await bench.body(), await bench.body(kind="entra", idp="initech-second")
    (same,), (new,) = okta.all_providers, entra.all_providers
    domains = {"allowed_domain": None, "email_domains": frozenset({"initech.test", "beta.test"})}
    for providers, refused in (
        ((same, new), ["providers.initech-okta.domains", "providers.initech-entra.domains"]),
        ((same,), ["providers.initech-okta.domains"]),
    ):
        words = {"provider": None, "providers": providers, "group": None, **domains}
        body = okta.model_copy(update=words)
        proposal = await bench.service.propose("initech", body, update=True, bound=True)
        assert [p.where for p in proposal.problems] == refused
        proposal = await bench.service.propose("initech", body, update=True)
        assert proposal.problems == (), "an operator may"


def test_what_a_key_may_take_of_a_provider_that_it_leaves_out() -> None:
    """What is proven, and what the operator gave to the tenant as a whole."""
    domains, saml_of_beta = ["acme.test", "beta.test"], {**SAML, "domains": ["beta.test"]}
    before = document(email_domains=domains, providers=[OKTA, saml_of_beta])
    proven = frozenset({"beta.test"})
    for providers, said, refused in (
        ([OKTA], (), ["acme-okta"]),
        ([OKTA], proven, []),
        ([ENTRA, saml_of_beta], (), []),
        ([OKTA, {**saml_of_beta, "entity_id": "https://other.test"}], (), []),
        ([OKTA, {**ENTRA, "domains": ["beta.test"]}], (), ["acme-entra"]),
    ):
        after = document(email_domains=domains, providers=providers)
        where = [p.where for p in bound_changes(before, after, proven=said)]
        assert where == [f"providers.{name}.domains" for name in refused], providers


def test_a_key_takes_no_domain_whose_provider_it_left_out_before() -> None:
    domains, okta_of_acme = ["acme.test", "beta.test"], {**OKTA, "domains": ["acme.test"]}
    both = document(
        email_domains=domains, providers=[okta_of_acme, {**SAML, "domains": ["beta.test"]}]
    )
    left = document(email_domains=domains, providers=[okta_of_acme])
    assert bound_changes(both, left) == (), "nobody vouches for the other's now"
    after = document(email_domains=domains, providers=[okta_of_acme, ENTRA])
    assert [p.where for p in bound_changes(left, after)] == ["providers.acme-entra.domains"]
    assert bound_changes(left, after, proven=frozenset({"beta.test"})) == ()
