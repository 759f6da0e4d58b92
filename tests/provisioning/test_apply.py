"""One call, and a customer's SSO is there; or a message, and nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from gateway.cognito.desired import CUSTOM_ATTRIBUTES
from gateway.provisioning.request import OidcProviderBody, ProvisionBody
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy, RunKind, RunState
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PROVIDER = {"client_id": "0oa", "client_secret": "s", "oidc_issuer": "https://initech.okta.com"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


def secret_of(body: ProvisionBody) -> str:
    (provider,) = body.all_providers
    assert isinstance(provider, OidcProviderBody)
    return provider.client_secret.reveal()


async def test_the_customers_documented_body_makes_provider_client_and_tenant(bench: Bench) -> None:
    outcome = await bench.apply()
    assert isinstance(outcome, Done)
    pool = bench.cloud.cognito.pool
    provider = pool.providers["initech-okta"]
    assert provider.mapping["custom:groups"] == "groups"
    assert provider.mapping["custom:idp_iat"] == "iat"
    assert provider.detail("authorize_scopes") == "openid profile email groups"
    (client,) = pool.clients.values()
    assert client.scopes == ("openid",)
    assert client.callback_urls == ("http://initech.localhost/_auth/callback",)
    assert client.logout_urls == ("http://initech.localhost/_auth/signed-out",)
    assert client.providers == ("initech-okta",)
    assert client.rotation_grace_s == 30
    assert all(client.may_read(a) and client.may_write(a) for a in CUSTOM_ATTRIBUTES)
    assert not client.allows_flow("implicit")
    stored = await bench.tenants.get("initech")
    credentials = await bench.tenants.credentials("initech")
    assert stored is not None
    assert credentials is not None
    assert (credentials.client_id, credentials.client_secret.reveal()) == (
        client.client_id,
        client.secret,
    )
    assert stored.document.allowed_groups == frozenset({"app-users"})
    assert stored.document.email_domains == frozenset({"initech.test"})
    assert stored.document.client == "managed"
    assert bench.in_force.waited >= 1


async def test_entra_is_recognised_and_mapped_with_its_oid_and_roles(bench: Bench) -> None:
    assert isinstance(await bench.apply(body=await bench.body(kind="entra")), Done)
    provider = bench.cloud.cognito.pool.providers["initech-entra"]
    assert (provider.mapping["custom:oid"], provider.mapping["custom:roles"]) == ("oid", "roles")
    assert "email_verified" not in provider.mapping
    assert provider.detail("authorize_scopes") == "openid profile email"


async def test_the_plan_says_that_another_entra_registration_changes_everybodys_user(
    bench: Bench,
) -> None:
    body = await bench.body(kind="entra")
    await bench.apply(body=body)
    same = await bench.service.propose("initech", body, update=True)
    (untracked,) = same.plan.notes
    assert "it does not track sessions (SetUserPoolSessionConfiguration)" in untracked
    again = body.model_copy(
        update={
            "provider": body.all_providers[0].model_copy(
                update={"client_id": "another-registration"}
            )
        }
    )
    _, note = (await bench.service.propose("initech", again, update=True)).plan.notes
    assert (
        note.startswith("initech-entra: ") and "X-Auth-Request-User changes for all of them" in note
    )


async def test_a_refresh_token_lives_as_long_as_a_session_may(tmp_path: Path) -> None:
    """``session.revalidate_interval`` asks with it: a shorter one would end the session."""
    async with Bench(tmp_path, options={"session": {"max_lifetime": "7d"}}) as bench:
        await bench.apply()
        [client] = bench.cloud.cognito.pool.clients.values()
        assert client.settings["RefreshTokenValidity"] == 7
        found = await bench.service.verify("initech", fix=False, actor="test")
        assert found is not None and not [s for s in found.steps if s.differences]


@pytest.mark.parametrize("given", ["", "/"], ids=["given-without", "given-with"])
async def test_an_issuer_that_ends_in_a_slash_is_taken_in_either_spelling(
    bench: Bench, given: str
) -> None:
    """Cognito gets AWS's form, the registry what signed messages will say; nothing drifts, in
    neither direction.
    """
    customer = await bench.cloud.add_idp("initech-idp", kind="okta", issuer="/")
    body = await bench.body()
    origin = customer.issuer.removesuffix("/")
    wanted = body.model_copy(
        update={
            "provider": body.all_providers[0].model_copy(
                update={"oidc_issuer": origin + given, "kind": "okta"}
            )
        }
    )
    await bench.apply(body=wanted)
    record = await bench.tenants.get("initech")
    assert record is not None and record.document.providers[0].issuer == f"{origin}/"
    provider = bench.cloud.cognito.pool.providers["initech-okta"]
    assert provider.detail("oidc_issuer") == origin
    found = await bench.service.verify("initech", fix=False, actor="test")
    assert found is not None and not [s for s in found.steps if s.differences]
    # A console that holds the other spelling is left alone: which of them Cognito compares is its
    # own affair.
    provider.settings["ProviderDetails"]["oidc_issuer"] = f"{origin}/"
    found = await bench.service.verify("initech", fix=False, actor="test")
    assert found is not None and not [s for s in found.steps if s.differences]


async def test_a_pool_without_our_attributes_gets_them_and_keeps_the_rest(bench: Bench) -> None:
    schema = bench.cloud.cognito.pool.schema
    for name in ("custom:groups", "custom:oid"):
        del schema[name]
    outcome = await bench.apply()
    assert isinstance(outcome, Done)
    assert {*CUSTOM_ATTRIBUTES} <= set(schema)
    assert schema["custom:groups"].mutable
    assert schema["custom:groups"].max_length == 2048


async def test_with_a_login_host_one_callback_serves_all_hosts(tmp_path: Path) -> None:
    async with Bench(tmp_path, options={"login_host": "login.localhost"}) as bench:
        await bench.apply(body=await bench.body(hosts=["initech.localhost", "*.initech.localhost"]))
        (client,) = bench.cloud.cognito.pool.clients.values()
        assert client.callback_urls == ("http://login.localhost/_auth/callback",)


async def test_with_shared_hosts_hosts_may_be_left_out(tmp_path: Path) -> None:
    async with Bench(tmp_path, options={"shared_hosts": ["app.localhost"]}) as bench:
        await bench.apply(body=await bench.body(hosts=None))
        (client,) = bench.cloud.cognito.pool.clients.values()
        assert client.callback_urls == ("http://app.localhost/_auth/callback",)


async def test_the_plan_says_what_and_why_and_shows_no_secret(bench: Bench) -> None:
    body = await bench.body()
    proposal = await bench.service.propose("initech", body, update=False)
    verbs = [(str(s.verb), str(s.resource)) for s in proposal.plan.steps]
    assert verbs == [
        ("keep", "attributes"),
        ("create", "provider"),
        ("create", "client"),
        ("create", "tenant"),
    ]
    assert all(step.why for step in proposal.plan.steps)
    assert secret_of(body) not in repr(proposal)
    assert await bench.left_behind() == {}


async def test_the_plan_tells_what_becomes_of_the_document_key_by_key(bench: Bench) -> None:
    await bench.apply()
    wanted = await bench.body(
        group="staff", allowed_domain=None, email_domains=["initech.test", "initech.example"]
    )
    step = (await bench.service.propose("initech", wanted, update=True)).plan.steps[-1]
    assert (str(step.verb), str(step.resource), step.name) == ("change", "tenant", "initech")
    assert [str(d) for d in step.differences] == [
        "allowed_groups: app-users → staff",
        "email_domains: initech.test → initech.example, initech.test",
    ]


async def test_a_second_create_is_a_conflict_and_an_update_changes_only_what_differs(
    bench: Bench,
) -> None:
    body = await bench.body()
    await bench.apply(body=body)
    again = await bench.service.propose("initech", body, update=False)
    assert [f.kind for f in again.problems] == ["exists"]
    same = await bench.service.propose("initech", body, update=True)
    assert same.plan.changes == ()
    wider = await bench.body(hosts=["initech.localhost", "two.localhost"])
    changed = await bench.service.propose("initech", wider, update=True)
    assert [
        (str(s.verb), str(s.resource), [d.setting for d in s.differences])
        for s in changed.plan.changes
    ] == [
        ("change", "client", ["CallbackURLs", "LogoutURLs"]),
        ("change", "tenant", ["hosts"]),
    ]
    assert isinstance(await bench.service.apply(changed, actor="test"), Done)
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert len(client.callback_urls) == 2
    assert client.scopes == ("openid",)
    assert client.rotation_grace_s == 30


async def both(bench: Bench) -> ProvisionBody:
    """The plural form: Initech's Okta and its Entra."""
    okta, entra = await bench.body(), await bench.body(kind="entra", idp="initech-second")
    return okta.model_copy(
        update={"provider": None, "providers": (*okta.all_providers, *entra.all_providers)}
    )


async def test_two_providers_in_one_call_carry_a_mark_each(bench: Bench) -> None:
    assert isinstance(await bench.apply(body=await both(bench)), Done)
    marks = [
        i for p in bench.cloud.cognito.pool.providers.values() for i in p.settings["IdpIdentifiers"]
    ]
    assert len(set(marks)) == len(marks) == 2
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert await bench.left_behind() == {}


async def test_a_second_provider_joins_the_first(bench: Bench) -> None:
    await bench.apply()
    assert isinstance(await bench.apply(body=await both(bench), update=True), Done)
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == ("initech-okta", "initech-entra")
    stored = await bench.tenants.get("initech")
    assert stored is not None
    assert [p.name for p in stored.document.providers] == ["initech-okta", "initech-entra"]


async def test_an_existing_provider_is_not_taken_over_unless_told(bench: Bench) -> None:
    there = await bench.cloud.add_idp("made-by-hand", kind="okta")
    bench.cloud.connect(there)
    theirs = (
        (await bench.body(idp="made-by-hand"))
        .all_providers[0]
        .model_copy(update={"name": "made-by-hand"})
    )
    taken = (await bench.body()).model_copy(update={"provider": theirs})
    refused = await bench.service.propose("initech", taken, update=False)
    assert [f.kind for f in refused.problems] == ["exists"]
    assert "already exists in user pool" in str(refused.problems[0])
    adopting = await bench.service.propose(
        "initech", taken.model_copy(update={"adopt": True}), update=False
    )
    assert [str(s.verb) for s in adopting.plan.steps] == ["keep", "adopt", "create", "create"]


async def test_a_provider_of_another_tenant_is_never_taken_over(bench: Bench) -> None:
    theirs = (await bench.body("hooli")).all_providers[0].model_copy(update={"name": "hooli-name"})
    await bench.apply("hooli", (await bench.body("hooli")).model_copy(update={"provider": theirs}))
    for adopt in (False, True):
        wanted = (await bench.body()).model_copy(update={"provider": theirs, "adopt": adopt})
        refused = await bench.service.propose("initech", wanted, update=False)
        assert [(f.kind, str(f)) for f in refused.problems] == [
            ("taken", "tenant: provider hooli-name: claimed by hooli and by initech")
        ]


async def test_secrets_of_identity_providers_are_passed_on_and_not_kept(bench: Bench) -> None:
    body = await bench.body()
    secret = secret_of(body)
    await bench.apply(body=body)
    run = await bench.service.provisioning.journal.latest("initech")
    assert run is not None
    assert secret not in str(run.request)
    await bench.apply(
        body=body.model_copy(update={"keep_secrets": True, "hosts": ("two.localhost",)}),
        update=True,
    )
    kept = await bench.service.provisioning.journal.latest("initech")
    assert kept is not None
    assert secret in str(kept.request)


async def test_a_database_dump_holds_no_secret(bench: Bench) -> None:
    body = await bench.body()
    await bench.apply(body=body.model_copy(update={"keep_secrets": True}))
    (client,) = bench.cloud.cognito.pool.clients.values()
    dump = b"".join(path.read_bytes() for path in bench.state_dir.glob("gateway.sqlite3*"))
    assert secret_of(body).encode() not in dump
    assert client.secret is not None
    assert client.secret.encode() not in dump


async def test_what_was_done_can_be_rolled_back_and_destroyed(bench: Bench) -> None:
    outcome = await bench.apply()
    assert isinstance(outcome, Done)
    assert await bench.service.roll_back("initech", outcome.run) is RunState.ROLLED_BACK
    assert await bench.left_behind() == {}
    assert isinstance(await bench.apply(), Done)
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert await bench.left_behind() == {}
    assert isinstance(await bench.apply(), Done)


async def test_a_rolled_back_update_restores_exactly_what_was_there(bench: Bench) -> None:
    await bench.apply()
    pool = bench.cloud.cognito.pool
    (client,) = pool.clients.values()
    before = (dict(client.settings), dict(pool.providers["initech-okta"].settings))
    body = (await bench.body(hosts=["other.localhost"])).model_copy(update={"name": "Initech Ltd"})
    outcome = await bench.apply(body=body, update=True)
    assert isinstance(outcome, Done)
    assert await bench.service.roll_back("initech", outcome.run) is RunState.ROLLED_BACK
    (restored,) = pool.clients.values()
    assert (dict(restored.settings), dict(pool.providers["initech-okta"].settings)) == before
    stored = await bench.tenants.get("initech")
    assert stored is not None
    assert stored.document.hosts == ("initech.localhost",)


async def test_drift_is_told_setting_by_setting_and_mended(bench: Bench) -> None:
    await bench.apply()
    service, pool = bench.service, bench.cloud.cognito.pool
    clean = await service.verify("initech", fix=False, actor="test")
    assert clean is not None
    assert clean.clean
    (client_id,) = pool.clients
    await service.provisioning.pools.named("default").api.call(
        "UpdateUserPoolClient",
        idempotent=True,
        ClientId=client_id,
        ClientName="edited",
        ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH"],
    )
    provider = await service.provisioning.pools.named("default").provider("initech-okta")
    assert provider is not None
    await service.provisioning.pools.named("default").api.call(
        "UpdateIdentityProvider",
        idempotent=True,
        ProviderName="initech-okta",
        AttributeMapping={"email": "upn"},
        ProviderDetails=dict(provider.details),
    )
    drift = await service.verify("initech", fix=False, actor="test")
    assert drift is not None
    settings = {d.setting for s in drift.steps for d in s.differences}
    assert {
        "CallbackURLs",
        "AllowedOAuthScopes",
        "mapping.email",
        "mapping.custom:groups",
    } <= settings
    fixed = await service.verify("initech", fix=True, actor="test")
    assert fixed is not None
    assert isinstance(fixed.fixed, Done)
    after = await service.verify("initech", fix=False, actor="test")
    assert after is not None
    assert after.clean


async def test_a_provider_deleted_in_the_console_needs_its_secret_again_unless_it_was_kept(
    bench: Bench,
) -> None:
    body = await bench.body()
    await bench.apply(body=body)
    await bench.service.provisioning.pools.named("default").delete_provider("initech-okta")
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None
    assert "client secret was not kept" in str(drift.problems[0])
    assert isinstance(
        await bench.apply(body=body.model_copy(update={"keep_secrets": True}), update=True), Done
    )
    await bench.service.provisioning.pools.named("default").delete_provider("initech-okta")
    mended = await bench.service.verify("initech", fix=True, actor="test")
    assert mended is not None
    assert isinstance(mended.fixed, Done)
    assert bench.providers == {"initech-okta"}


async def test_a_client_deleted_in_the_console_is_made_again(bench: Bench) -> None:
    await bench.apply()
    (client_id,) = bench.clients
    await bench.service.provisioning.pools.named("default").delete_client(client_id)
    mended = await bench.service.verify("initech", fix=True, actor="test")
    assert mended is not None
    assert isinstance(mended.fixed, Done)
    credentials = await bench.tenants.credentials("initech")
    assert credentials is not None
    assert {credentials.client_id} == bench.clients


async def test_one_run_at_a_time_per_tenant(bench: Bench) -> None:
    journal = bench.service.provisioning.journal
    proposal = await bench.service.propose("initech", await bench.body(), update=False)
    await journal.open(
        "0" * 12, tenant="initech", kind=RunKind.APPLY, actor="x", request={}, plan=()
    )
    assert await bench.service.apply(proposal, actor="test") == Busy("0" * 12, interrupted=False)
    (finding,) = (await bench.service.propose("initech", await bench.body(), update=False)).problems
    assert (finding.kind, finding.message) == (
        "busy",
        "run 000000000000 of this tenant is going on",
    )


async def test_a_refusal_names_cognitos_own_message_and_leaves_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.cloud.cognito.control.state.quotas.clients = 0
    outcome = await bench.apply()
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.refused_by, outcome.state) == (
        "LimitExceededException",
        "cognito",
        RunState.ROLLED_BACK,
    )
    assert outcome.message == "Maximum number of user pool clients (0) reached."
    (told,) = [
        vars(record)["gateway_fields"]
        for record in caplog.records
        if record.message == "provision_failed"
    ]
    assert (told["code"], told["cause"], told["setting"]) == (
        outcome.code,
        outcome.message,
        "the pool's quota at AWS (Service Quotas), then cognito.quotas",
    )
    assert await bench.left_behind() == {}


async def test_the_entries_of_the_documented_plural_body_hold_group_and_domain_of_each(
    bench: Bench,
) -> None:
    okta, entra = (
        dict(
            zip(
                ("client_id", "client_secret", "oidc_issuer"),
                (customer.app.client_id, customer.app.client_secret, customer.issuer),
                strict=True,
            )
        )
        for customer in (
            await bench.cloud.add_idp("initech-one", kind="okta"),
            await bench.cloud.add_idp("initech-two", kind="entra"),
        )
    )
    body = ProvisionBody.model_validate(
        {
            "providers": [
                {"provider": okta, "group": "Staff", "allowed_domain": "initech.test"},
                {"provider": entra, "group": "3f2b8c1e", "allowed_domain": "initech.example"},
            ],
            "hosts": ["initech.localhost"],
        }
    )
    assert isinstance(await bench.apply(body=body), Done)
    stored = await bench.tenants.get("initech")
    assert stored is not None
    assert set(stored.document.allowed_groups or ()) == {"Staff", "3f2b8c1e"}
    assert stored.document.email_domains == {"initech.test", "initech.example"}
    assert {
        p.name: (set(p.groups or ()), set(p.domains or ())) for p in stored.document.providers
    } == {
        "initech-okta": ({"Staff"}, {"initech.test"}),
        "initech-entra": ({"3f2b8c1e"}, {"initech.example"}),
    }


@pytest.mark.parametrize(
    ("entries", "groups", "domains"),
    [
        ([{"group": "a"}, {}], None, None),
        ([{"group": "a"}, {"groups": "any"}], "any", None),
        ([{"groups": ["b", "a"]}, {"group": "c"}], ["a", "b", "c"], None),
        ([{"allowed_domain": "a.test"}, {"email_domains": ["b.test"]}], None, {"a.test", "b.test"}),
    ],
)
def test_what_entries_come_to_for_the_tenant(
    entries: list[dict[str, object]], groups: object, domains: object
) -> None:
    listed = [{"provider": PROVIDER, **entry} for entry in entries]
    body = ProvisionBody.model_validate({"providers": listed})
    assert (body.allowed_groups, body.domains) == (groups, domains)
    own = ProvisionBody.model_validate(
        {"providers": listed, "groups": ["x"], "email_domains": ["x.test"]}
    )
    assert (own.allowed_groups, own.domains) == (["x"], frozenset({"x.test"}))


@pytest.mark.parametrize(
    "entry",
    [
        {"group": "a", "groups": ["b"]},
        {"allowed_domain": "a.test", "email_domains": ["b.test"]},
        {"provider": {"groups": ["b"]}, "group": "a"},
        {"provider": {"domains": ["b.test"]}, "allowed_domain": "a.test"},
    ],
)
def test_an_entry_says_each_thing_once(entry: dict[str, dict[str, object]]) -> None:
    provider = {**PROVIDER, **entry.get("provider", {})}
    with pytest.raises(ValidationError):
        ProvisionBody.model_validate({"providers": [{**entry, "provider": provider}]})


async def test_declared_attributes_are_added_for_ever_and_the_client_has_them(bench: Bench) -> None:
    body = await bench.body(custom_attributes=["custom:department"])
    provider = body.all_providers[0].model_copy(
        update={"attributes": {"custom:department": "dept"}, "only_attributes": True}
    )
    body = body.model_copy(update={"provider": provider})
    proposal = await bench.service.propose("initech", body, update=False)
    step = proposal.plan.steps[0]
    assert (str(step.verb), step.name) == ("add", "custom:department")
    assert "cannot remove" in step.why
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done)
    pool = bench.cloud.cognito.pool
    assert pool.schema["custom:department"].mutable
    (client,) = pool.clients.values()
    assert client.may_read("custom:department") and client.may_write("custom:department")
    mapping = pool.providers["initech-okta"].mapping
    assert mapping["custom:department"] == "dept"
    assert "name" not in mapping and "preferred_username" not in mapping
    assert {"email", "custom:groups", "custom:idp_iat"} <= set(mapping), "what decides stays"
    found = await bench.service.verify("initech", fix=False, actor="test")
    assert found is not None and not [s for s in found.steps if s.differences]
    # Said once, it stays: the pool has it, and the client reads it.
    again = await bench.service.propose(
        "initech", body.model_copy(update={"custom_attributes": ()}), update=True
    )
    assert not again.problems and not again.plan.changes


async def test_an_attribute_that_nobody_declared_is_refused_with_what_would_add_it(
    bench: Bench,
) -> None:
    body = await bench.body()
    provider = body.all_providers[0].model_copy(update={"attributes": {"custom:floor": "floor"}})
    proposal = await bench.service.propose(
        "initech", body.model_copy(update={"provider": provider}), update=False
    )
    assert [p.message for p in proposal.problems] == [
        "custom:floor is not an attribute of the pool; custom_attributes adds it, for ever"
    ]


async def test_a_provider_that_leaves_is_no_default_any_more(bench: Bench) -> None:
    named = await bench.body(default_provider="initech-okta", fallback_providers=["initech-okta"])
    assert isinstance(await bench.apply(body=named), Done)
    other = await bench.body(idp="initech-two", kind="entra")
    assert isinstance(await bench.apply(body=other, update=True), Done)
    stored = await bench.tenants.get("initech")
    assert stored is not None
    assert stored.document.default_provider is None
    assert stored.document.fallback_providers == ()


async def test_a_plan_without_rotation_gets_nothing_and_one_with_it_everything(
    bench: Bench,
) -> None:
    """Whether Cognito's plan Lite has refresh token rotation is not documented."""
    pool = bench.cloud.cognito.pool
    pool.behaviour.tier = "LITE"
    outcome = await bench.apply()
    assert isinstance(outcome, Failed)
    assert "Refresh token rotation is not available" in str(outcome)
    assert (pool.clients, pool.providers) == ({}, {})
    pool.behaviour.rotation_in_lite = True
    assert isinstance(await bench.apply(), Done)
