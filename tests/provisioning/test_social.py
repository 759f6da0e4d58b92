"""Providers at which anybody has an account: one of each a pool, used by many tenants."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.core.model import ProviderKind
from gateway.provisioning.request import ProvisionBody, SocialProviderBody
from gateway.provisioning.runner import Done
from gateway.tenants.document import CONSUMERS, ProviderDocument, TenantDocument
from gateway.tenants.restriction import narrows
from gateway.tenants.snapshot_record import record_of
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def p8(curve: ec.EllipticCurve) -> str:
    """As Apple hands a key out."""
    return (
        ec.generate_private_key(curve)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
        .strip()
    )


KEY = p8(ec.SECP256R1())
SETTINGS: dict[str, dict[str, str]] = {
    "apple": {
        "client_id": "com.example.signin",
        "team_id": "TEAM123456",
        "key_id": "KEY1234567",
        "private_key": KEY,
    },
    "facebook": {"client_id": "4711", "client_secret": "facebook-secret-0123456789"},
    "amazon": {"client_id": "amzn1.app", "client_secret": "amazon-secret-0123456789"},
}
NAMES = {"apple": "SignInWithApple", "facebook": "Facebook", "amazon": "LoginWithAmazon"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


def body(kind: str, tenant: str = "initech", *, new: bool = True, **more: Any) -> ProvisionBody:
    accounts = [{"id": "10158", "email": f"dana@{tenant}.test", "groups": ["app-users"]}]
    provider = {"kind": kind, "accounts": accounts, **(SETTINGS[kind] if new else {}), **more}
    return ProvisionBody.model_validate(
        {
            "provider": provider,
            "group": "app-users",
            "allowed_domain": f"{tenant}.test",
            "hosts": [f"{tenant}.localhost"],
        }
    )


@pytest.mark.parametrize("kind", NAMES)
async def test_the_first_tenant_makes_the_pools_provider(bench: Bench, kind: str) -> None:
    proposal = await bench.service.propose("initech", body(kind), update=False)
    assert str(proposal.plan.steps[1]) == (
        f"create  provider {NAMES[kind]}: the pool has none yet; it is for all tenants, and stays "
        "when this one goes"
    )
    assert isinstance(await bench.apply("initech", body(kind)), Done)
    provider = bench.cloud.cognito.pool.providers[NAMES[kind]]
    assert provider.kind == NAMES[kind]
    details = provider.settings["ProviderDetails"]
    assert {name: details[name] for name in SETTINGS[kind]} == SETTINGS[kind]
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == (NAMES[kind],)
    (entry,) = (await bench.tenants.all())["initech"].document.providers
    assert (entry.name, str(entry.kind), entry.issuer) == (f"initech-{kind}", kind, None)
    assert [(a.id, a.email) for a in entry.accounts] == [("10158", "dana@initech.test")]
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None and drift.clean


async def test_no_setting_is_kept_or_shown(bench: Bench) -> None:
    asked = body("apple")
    assert KEY not in repr(asked) and "facebook-secret" not in repr(body("facebook"))
    proposal = await bench.service.propose("initech", asked, update=False)
    assert KEY not in repr(proposal) and "PRIVATE" not in str(proposal.plan)
    await bench.service.apply(proposal, actor="test")
    journal = bench.service.provisioning.journal
    latest = await journal.latest("initech")
    assert latest is not None
    run = await journal.run(latest.id)
    assert run is not None
    assert "PRIVATE" not in json.dumps([run.request, *map(str, run.steps)])


async def test_two_tenants_share_the_pools_provider_and_neither_changes_it(bench: Bench) -> None:
    await bench.apply("initech", body("facebook"))
    made = bench.cloud.cognito.pool.providers["Facebook"]
    proposal = await bench.service.propose(
        "hooli", body("facebook", "hooli", new=False), update=False
    )
    assert "keep    provider Facebook: the pool's own, for all tenants" in str(
        proposal.plan.steps[1]
    )
    await bench.service.apply(proposal, actor="test")
    again = await bench.service.propose("initech", body("facebook", new=False), update=True)
    assert not again.problems and not again.plan.changes
    other = await bench.service.propose("third", body("facebook", "third"), update=False)
    assert "which is every tenant's: leave its settings out" in str(other.problems[0])
    await bench.service.destroy("initech", actor="test")
    assert bench.cloud.cognito.pool.providers["Facebook"] is made
    drift = await bench.service.verify("hooli", fix=False, actor="test")
    assert drift is not None and drift.clean
    await bench.service.destroy("hooli", actor="test")
    assert bench.providers == {"Facebook"}


async def test_a_provider_that_is_taken_out_stays_in_the_pool(bench: Bench) -> None:
    await bench.apply("initech", body("facebook"))
    okta = await bench.service.propose("initech", await bench.body(), update=True)
    assert "Facebook" not in {step.name for step in okta.plan.steps}
    await bench.service.apply(okta, actor="test")
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == ("initech-okta",)
    assert bench.providers == {"Facebook", "initech-okta"}


async def test_a_provider_that_the_pool_lacks_is_told_with_what_it_needs(bench: Bench) -> None:
    proposal = await bench.service.propose("initech", body("apple", new=False), update=False)
    assert str(proposal.problems[0]).endswith(
        "has none: an operator's request brings client_id, team_id, key_id, private_key"
    )
    await bench.apply("initech", body("facebook"))
    del bench.cloud.cognito.pool.providers["Facebook"]
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None and "has none" in str(drift.problems[0])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("operation", ["CreateIdentityProvider", "CreateUserPoolClient"])
@pytest.mark.parametrize("kind", NAMES)
async def test_what_fails_leaves_no_provider_behind(
    bench: Bench, kind: str, operation: str, after: bool
) -> None:
    bench.cloud.cognito.control.faults.plan(
        operation,
        faults.internal_error if after else faults.fail(ApiError("LimitExceededException", "x")),
        after=after,
        times=50,
    )
    outcome = await bench.apply("initech", body(kind))
    bench.cloud.cognito.control.faults.clear()
    if isinstance(outcome, Done):
        # The call had its effect, and by its mark the provider is found to be this run's.
        assert after and bench.providers == {NAMES[kind]}
        return
    await bench.service.provisioning.recover()
    assert await bench.left_behind() == {}


async def test_a_provider_that_somebody_else_makes_meanwhile_is_not_deleted(bench: Bench) -> None:
    proposal = await bench.service.propose("initech", body("facebook"), update=False)
    await bench.apply("hooli", body("facebook", "hooli"))
    outcome = await bench.service.apply(proposal, actor="test")
    assert not isinstance(outcome, Done)
    assert bench.providers == {"Facebook"}


async def test_rotation_keeps_the_providers_of_the_client(bench: Bench) -> None:
    await bench.apply("initech", body("amazon"))
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    clients = bench.cloud.cognito.pool.clients.values()
    assert {client.providers for client in clients} == {("LoginWithAmazon",)}


async def test_personal_microsoft_accounts_are_a_provider_of_the_tenants_own(bench: Bench) -> None:
    customer = await bench.cloud.add_idp("live", kind="entra", tenant_id=CONSUMERS)
    asked = {
        "kind": "microsoft-social",
        "client_id": customer.app.client_id,
        "client_secret": customer.app.client_secret,
        "oidc_issuer": customer.issuer,
        "accounts": [{"id": "AAAA", "email": "dana@initech.test"}],
    }
    plain = body("amazon").model_dump(exclude={"provider"}, exclude_none=True)
    await bench.apply("initech", ProvisionBody.model_validate({**plain, "provider": asked}))
    provider = bench.cloud.cognito.pool.providers["initech-microsoft-social"]
    assert provider.kind == "OIDC"
    assert provider.settings["AttributeMapping"] == {
        "username": "sub",
        "email": "email",
        "name": "name",
    }
    (entry,) = (await bench.tenants.all())["initech"].document.providers
    assert entry.kind is ProviderKind.MICROSOFT_SOCIAL and entry.accounts[0].id == "AAAA"
    for issuer, kind in (
        ("https://login.microsoftonline.com/common/v2.0", "microsoft-social"),
        ("https://login.microsoftonline.com/consumers/v2.0", "microsoft-social"),
        ("https://login.microsoftonline.com/consumers/v2.0", None),
        (f"https://login.microsoftonline.com/{CONSUMERS}/v2.0", "entra"),
    ):
        wrong = {**asked, "oidc_issuer": issuer, "kind": kind}
        proposal = await bench.service.propose(
            "third", ProvisionBody.model_validate({**plain, "provider": wrong}), update=False
        )
        assert any(
            "oidc_issuer" in str(p) or "need each other" in str(p) for p in proposal.problems
        )


@pytest.mark.parametrize(
    "more",
    [
        {"client_id": "a"},
        {"client_id": "a", "client_secret": "b" * 32, "team_id": "c"},
        {"oidc_issuer": "https://www.facebook.com"},
        {"accounts": [{"id": "1", "email": "nobody"}]},
        {"accounts": [{"id": "1 2", "email": "a@b.test"}]},
    ],
)
def test_a_request_has_all_settings_of_its_kind_or_none(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        body("facebook", new=False, **more)


@pytest.mark.parametrize("key", ["", "x", "-----BEGIN PRIVATE KEY-----", p8(ec.SECP384R1()), 7])
def test_a_key_of_apples_is_looked_at_and_never_told(key: object) -> None:
    with pytest.raises(ValidationError) as raised:
        body("apple", private_key=key)
    told = str(raised.value)
    assert "the text of the .p8 file" in told
    assert not (isinstance(key, str) and key[30:]) or key[30:60] not in told


def test_a_key_with_line_ends_of_another_system_is_the_same_key() -> None:
    (apple,) = body("apple", private_key=KEY.replace("\n", "\r\n") + "\r\n").all_providers
    assert isinstance(apple, SocialProviderBody) and apple.settings is not None
    assert apple.settings["private_key"].reveal() == KEY


MICROSOFT = f"https://login.microsoftonline.com/{CONSUMERS}/v2.0"


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "entra", "issuer": MICROSOFT},
        {"kind": "oidc", "issuer": MICROSOFT},
        {"kind": "oidc", "issuer": "https://login.microsoftonline.com/common/v2.0"},
        {"kind": "entra", "issuer": "https://login.microsoftonline.com/organizations/v2.0"},
        {"kind": "microsoft-social", "issuer": "https://acme.okta.com"},
        {"kind": "microsoft-social"},
        {"kind": "oidc", "issuer": "https://appleid.apple.com"},
        {"kind": "oidc", "issuer": "https://www.facebook.com"},
        {"kind": "apple", "issuer": "https://acme.okta.com"},
        {"kind": "facebook", "email_trust": "verified_claim"},
        {"kind": "okta", "accounts": [{"id": "1", "email": "a@acme.test"}]},
        {"kind": "apple", "accounts": [{"id": "1", "email": "a@acme.test"}] * 2},
        {"kind": "oidc", "name": "facebook", "issuer": "https://acme.okta.com"},
    ],
)
def test_whose_issuer_is_everybodys_is_no_tenants_own_provider(entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProviderDocument.model_validate({"name": "acme-x", **entry})


def document(*providers: dict[str, Any], tenant: str = "acme", **more: Any) -> TenantDocument:
    return TenantDocument.model_validate(
        {
            "id": tenant,
            "name": tenant,
            "hosts": [f"{tenant}.example.com"],
            "email_domains": [f"{tenant}.test", f"{tenant}.example"],
            "allowed_groups": "any",
            "client_id": f"client{tenant}",
            "client_secret": "a-secret-of-cognito-0123456789abcdef",
            "providers": list(providers),
            **more,
        }
    )


def facebook(*ids: str, **more: Any) -> dict[str, Any]:
    accounts = [{"id": each, "email": f"{each}@acme.test"} for each in ids]
    return {"name": "acme-facebook", "kind": "facebook", "accounts": accounts, **more}


def test_an_account_has_an_address_of_its_providers_domains() -> None:
    document(facebook("a", domains=["acme.test"]))
    with pytest.raises(ValidationError, match="is of none of the provider's domains"):
        document(facebook("a", domains=["acme.example"]))
    with pytest.raises(ValidationError, match="one of apple, facebook and amazon each"):
        document(facebook("a"), {**facebook("b"), "name": "acme-facebook-2"})


def test_an_account_that_is_taken_out_or_changed_takes_something_away() -> None:
    before = record_of(document(facebook("a", "b")), None)
    assert narrows(before, record_of(document(facebook("a")), None))
    assert not narrows(before, record_of(document(facebook("a", "b", label="Facebook")), None))
    assert record_of(document(facebook("a")), None).provider_names == ()


def test_no_machine_is_named_like_somebody_with_a_social_account() -> None:
    rules = [
        {
            "path": "/api/**",
            "bearer": {},
            "identity": {"X-Auth-Request-Preferred-Username": "Facebook_10158"},
        }
    ]
    with pytest.raises(ValidationError, match="a user name as Cognito makes them"):
        document(facebook("a"), rules=rules)
