"""What a person reads when their input is wrong: every row is an input and the very sentence that
answers it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from demo.cognito.attributes import SchemaAttribute
from gateway.cognito.pool import COUNTED_FOR_S, Pool
from gateway.cognito.pools import Pools
from gateway.config.user_pools import CognitoQuotas
from gateway.provisioning.discovery import DiscoveryFetcher
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.request import OidcProviderBody, ProvisionBody
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.service import Onboarding
from gateway.tenants.document import TenantDocument
from gateway.tenants.snapshot_record import record_of
from tests.provisioning.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

GUID = "6f1c0a52-8a0e-4a6b-9b4e-2d1f3c5a7b90"
GOOD = {"client_id": "0oa1", "client_secret": "s3cret-of-initech"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


def body(provider: dict[str, Any], **more: Any) -> ProvisionBody:
    return ProvisionBody.model_validate(
        {
            "provider": {**GOOD, **provider},
            "group": "app-users",
            "allowed_domain": "initech.test",
            "hosts": ["initech.localhost"],
            **more,
        }
    )


async def messages(
    onboarding: Onboarding, wanted: ProvisionBody, tenant: str = "initech"
) -> list[tuple[str, str]]:
    proposal = await onboarding.propose(tenant, wanted, update=False)
    return [(f.kind, str(f)) for f in proposal.problems]


def in_production(bench: Bench, *addresses: str) -> Onboarding:
    """The same bench without ``development``, and with a resolver that leads to ``addresses``."""

    async def look(_host: str, _port: int) -> Sequence[str]:
        if not addresses:
            msg = "no such name"
            raise OSError(msg)
        return addresses

    service = bench.service
    config = service.config.model_copy(update={"development": False, "public_scheme": "https"})
    return Onboarding(
        config,
        service.records,
        service.provisioning,
        DiscoveryFetcher(development=False, look=look),
        service.name_conflict,
        service.restrictions,
        service.interrupted,
    )


OFFLINE = [
    (
        "http issuer",
        {"oidc_issuer": "http://initech.okta.com"},
        (
            "providers.initech-okta.oidc_issuer: must be https: an attacker on the way "
            "could replace the keys"
        ),
    ),
    (
        "common issuer",
        {"oidc_issuer": "https://login.microsoftonline.com/common/v2.0"},
        (
            "providers.initech-entra.oidc_issuer: common stands for more than one Microsoft "
            "customer: use the directory's own id, "
            "https://login.microsoftonline.com/<directory id>/v2.0"
        ),
    ),
    (
        "personal accounts",
        {
            "kind": "entra",
            "oidc_issuer": (
                "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
            ),
        },
        (
            "providers.initech-entra.oidc_issuer: 9188040d-6c67-4c5b-b112-36a304b66dad stands for "
            "more than one Microsoft customer: use the directory's own id, "
            "https://login.microsoftonline.com/<directory id>/v2.0"
        ),
    ),
    (
        "directory by name",
        {"oidc_issuer": "https://login.microsoftonline.com/initech.com/v2.0"},
        (
            "providers.initech-entra.oidc_issuer: the directory's id (a GUID), not its name: "
            "the iss claim holds the id"
        ),
    ),
    (
        "version 1 endpoint",
        {"oidc_issuer": f"https://login.microsoftonline.com/{GUID}"},
        (
            "providers.initech-entra.oidc_issuer: the v2.0 endpoint: "
            f"https://login.microsoftonline.com/{GUID}/v2.0"
        ),
    ),
    (
        "odd port",
        {"oidc_issuer": "https://initech.okta.com:8443"},
        "providers.initech-okta.oidc_issuer: port 443 or 80: Cognito calls no other",
    ),
    (
        "query",
        {"oidc_issuer": "https://initech.okta.com?x=1"},
        "providers.initech-okta.oidc_issuer: without user name, query or fragment",
    ),
    (
        "no URL",
        {"oidc_issuer": "initech.okta.com"},
        (
            "providers.initech-oidc.oidc_issuer: an https:// URL, as the identity provider's "
            "discovery document names it"
        ),
    ),
]


@pytest.mark.parametrize(
    ("provider", "message"), [row[1:] for row in OFFLINE], ids=[row[0] for row in OFFLINE]
)
async def test_issuers_that_are_wrong_in_themselves(
    bench: Bench, provider: dict[str, Any], message: str
) -> None:
    assert ("invalid", message) in await messages(
        in_production(bench, "93.184.216.34"), body(provider)
    )


NAMES = [
    (
        "underscore",
        "initech_okta",
        (
            "providers.initech_okta.name: no underscore: Cognito separates provider and "
            "subject with one in its user names"
        ),
    ),
    (
        "33 characters",
        "a" * 33,
        f"providers.{'a' * 33}.name: 33 characters; Cognito takes at most 32",
    ),
    (
        "capital",
        "Initech",
        (
            "providers.Initech.name: 3 to 32 lower-case letters, digits and dashes, beginning "
            "and ending with a letter or digit"
        ),
    ),
    (
        "space",
        "initech okta",
        (
            "providers.initech okta.name: 3 to 32 lower-case letters, digits and dashes, "
            "beginning and ending with a letter or digit"
        ),
    ),
    (
        "too short",
        "ab",
        (
            "providers.ab.name: 3 to 32 lower-case letters, digits and dashes, beginning and "
            "ending with a letter or digit"
        ),
    ),
]


@pytest.mark.parametrize(
    ("name", "message"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES]
)
async def test_provider_names_that_cognito_would_refuse(
    bench: Bench, name: str, message: str
) -> None:
    good = (await bench.body()).all_providers[0]
    wanted = (await bench.body()).model_copy(
        update={"provider": good.model_copy(update={"name": name})}
    )
    assert await messages(bench.service, wanted) == [("invalid", message)]


async def test_an_unreachable_issuer(bench: Bench) -> None:
    assert await messages(
        in_production(bench), body({"oidc_issuer": "https://initech.okta.com"})
    ) == [
        (
            "invalid",
            (
                "providers.0.oidc_issuer: the discovery document at "
                "https://initech.okta.com/.well-known/openid-configuration cannot be fetched: "
                "the name does not resolve; is it spelled right?"
            ),
        )
    ]


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "169.254.169.254"])
async def test_discovery_on_a_private_address(bench: Bench, address: str) -> None:
    assert await messages(
        in_production(bench, address), body({"oidc_issuer": "https://initech.okta.com"})
    ) == [
        (
            "invalid",
            (
                "providers.0.oidc_issuer: initech.okta.com resolves to a private address; "
                "Cognito calls public addresses only. Where the name leads elsewhere from the "
                "internet, add its network here to hooks.private_networks"
            ),
        )
    ]


async def test_a_duplicate_provider(bench: Bench) -> None:
    theirs = await bench.cloud.add_idp("taken-name", kind="okta")
    bench.cloud.connect(theirs)
    good = (await bench.body()).all_providers[0].model_copy(update={"name": "taken-name"})
    pool_id = bench.cloud.cognito.pool.pool_id
    assert await messages(
        bench.service, (await bench.body()).model_copy(update={"provider": good})
    ) == [
        (
            "exists",
            (
                f"providers.taken-name: taken-name already exists in user pool {pool_id}; "
                "choose another name, or adopt it (only with a key that is bound to no tenant)"
            ),
        )
    ]


async def test_an_idp_without_kid_and_one_that_takes_no_client_secret_post(bench: Bench) -> None:
    app = web.Application()
    runner = web.AppRunner(app)

    async def document(request: web.Request) -> web.Response:
        origin = f"http://{request.host}"
        names = {
            n: f"{origin}/{n}"
            for n in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
        }
        return web.json_response(
            {
                "issuer": origin,
                **names,
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "response_types_supported": ["id_token"],
            }
        )

    async def keys(_request: web.Request) -> web.Response:
        return web.json_response({"keys": [{"kty": "RSA", "use": "sig", "n": "x", "e": "AQAB"}]})

    app.add_routes(
        [web.get("/.well-known/openid-configuration", document), web.get("/jwks_uri", keys)]
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        found = await messages(bench.service, body({"oidc_issuer": issuer}))
    finally:
        await runner.cleanup()
    where = "providers.initech-oidc.oidc_issuer"
    assert found == [
        (
            "invalid",
            (
                f"{where}: the token endpoint takes private_key_jwt; Cognito sends "
                "client_secret_post: allow it for this application"
            ),
        ),
        ("invalid", f"{where}: the authorization code flow (response type code) is not supported"),
        (
            "invalid",
            (
                f"{where}: a signing key has no kid (key id): Cognito picks the key by it, and "
                "refuses tokens without"
            ),
        ),
    ]


async def test_a_discovery_document_of_another_issuer(bench: Bench) -> None:
    customer = await bench.cloud.add_idp("initech-idp", kind="okta")
    other = customer.issuer.replace("initech-idp.localhost", "other.localhost")
    assert await messages(bench.service, body({"oidc_issuer": other})) == [
        (
            "invalid",
            (
                "providers.initech-okta.oidc_issuer: the discovery document names the issuer "
                f"{customer.issuer!r}; use exactly that"
            ),
        )
    ]


async def test_51_identifiers(bench: Bench) -> None:
    good = (
        (await bench.body())
        .all_providers[0]
        .model_copy(update={"identifiers": tuple(f"d{n}.test" for n in range(51))})
    )
    assert await messages(
        bench.service, (await bench.body()).model_copy(update={"provider": good})
    ) == [
        (
            "invalid",
            (
                "providers.initech-okta.identifiers: 51; at most 49 (Cognito takes 50, one of "
                "which marks the provider as the gateway's)"
            ),
        )
    ]


@pytest.mark.parametrize("name", ["custom:groups", "email"])
async def test_an_immutable_attribute(bench: Bench, name: str) -> None:
    bench.cloud.cognito.pool.schema[name] = SchemaAttribute(name, "String", mutable=False)
    (found,) = await messages(bench.service, await bench.body())
    assert found[1].startswith(
        f"pool attribute {name}: is not mutable: every second login would fail with "
        "'Attribute cannot be updated'"
    )


async def test_an_attribute_that_is_too_short(bench: Bench) -> None:
    bench.cloud.cognito.pool.schema["custom:groups"] = SchemaAttribute(
        "custom:groups", "String", mutable=True, max_length=256
    )
    assert await messages(bench.service, await bench.body()) == [
        (
            "invalid",
            (
                "pool attribute custom:groups: holds at most 256 characters: people in many "
                "groups could not log in (it has to be 2048)"
            ),
        )
    ]


async def test_a_required_attribute_without_a_claim(bench: Bench) -> None:
    bench.cloud.cognito.pool.schema["custom:badge"] = SchemaAttribute(
        "custom:badge", "String", mutable=True, required=True
    )
    assert await messages(bench.service, await bench.body()) == [
        (
            "invalid",
            (
                "providers.initech-okta.attributes: the pool requires custom:badge, and "
                "nothing is mapped to it: say which claim holds it"
            ),
        )
    ]


async def test_a_required_standard_attribute_is_mapped_by_itself(bench: Bench) -> None:
    bench.cloud.cognito.pool.schema["family_name"] = SchemaAttribute(
        "family_name", "String", mutable=True, required=True
    )
    assert isinstance(await bench.apply(), Done)
    assert (
        bench.cloud.cognito.pool.providers["initech-okta"].mapping["family_name"] == "family_name"
    )


async def test_a_pool_full_of_attributes(bench: Bench) -> None:
    schema = bench.cloud.cognito.pool.schema
    del schema["custom:groups"]
    schema.update(
        {f"custom:x{n}": SchemaAttribute(f"custom:x{n}", "String", mutable=True) for n in range(46)}
    )
    assert await messages(bench.service, await bench.body()) == [
        (
            "quota",
            (
                "pool attributes: 50 custom attributes are there and 1 more is needed; a pool "
                "has at most 50"
            ),
        )
    ]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("providers", "Maximum number of identity providers (0) reached."),
        ("clients", "Maximum number of user pool clients (0) reached."),
    ],
)
async def test_a_quota_reached_is_cognitos_own_message(
    bench: Bench, what: str, message: str
) -> None:
    setattr(bench.cloud.cognito.control.state.quotas, what, 0)
    outcome = await bench.apply()
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("LimitExceededException", message)
    assert await bench.left_behind() == {}


async def test_a_quota_that_is_used_up_is_said_before_anything_is_made(bench: Bench) -> None:
    assert isinstance(await bench.apply("hooli", await bench.body("hooli")), Done)
    quotas = CognitoQuotas(clients=1, providers=1)
    config = bench.service.config.model_copy(
        update={"cognito": bench.service.config.cognito.model_copy(update={"quotas": quotas})}
    )
    full = replace(
        bench.service,
        config=config,
        provisioning=replace(
            bench.service.provisioning,
            pools=Pools(
                {"default": Pool(bench.service.provisioning.pools.named("default").api, quotas)}
            ),
        ),
    )
    raised = (
        "delete some that nobody uses, or have the quota raised (AWS Service Quotas, up to {}) "
        "and say so in cognito.quotas.{}"
    )
    assert await messages(full, await bench.body()) == [
        (
            "quota",
            (
                "pool app clients: 1 of 1 are there and 1 more is needed: "
                f"{raised.format('10,000', 'clients')}"
            ),
        ),
        (
            "quota",
            (
                "pool identity providers: 1 of 1 are there and 1 more is needed: "
                f"{raised.format('1,000', 'providers')}"
            ),
        ),
    ]
    rotated = await full.rotate("hooli", actor="test")
    assert isinstance(rotated, PreflightProblem)
    assert rotated.kind == "quota"
    assert (await full.propose("hooli", await bench.body("hooli"), update=True)).problems == (), (
        "what is there already needs no room"
    )


async def test_a_pool_is_counted_once_a_minute_and_again_where_it_is_full(bench: Bench) -> None:
    now, clients = 0.0, bench.cloud.cognito.pool.clients
    pool = Pool(
        bench.service.provisioning.pools.named("default").api,
        CognitoQuotas(clients=130),
        monotonic=lambda: now,
    )
    assert await pool.client_count() == 0
    await bench.apply()
    (made,) = clients.values()
    assert await pool.client_count() == 0
    now = COUNTED_FOR_S + 1
    assert await pool.client_count() == 1
    for number in range(199):
        clients[f"client{number}"] = type(made)(
            f"client{number}", made.secret, {**made.settings, "ClientId": f"client{number}"}
        )
    now *= 2
    assert await pool.client_count() == 130, "more than it needs to know is not asked"
    for number in range(199):
        del clients[f"client{number}"]
    assert await pool.client_count() == 1


async def test_more_hosts_than_a_client_has_callbacks(bench: Bench) -> None:
    found = await messages(
        bench.service, await bench.body(hosts=[f"h{n}.localhost" for n in range(101)])
    )
    assert (
        "quota",
        (
            "hosts: 101 callback URLs; Cognito takes at most 100 per client (with login_host "
            "all hosts share one)"
        ),
    ) in found


async def test_hosts_and_domains_of_another_tenant(bench: Bench) -> None:
    assert isinstance(await bench.apply("hooli", await bench.body("hooli")), Done)
    assert await messages(bench.service, await bench.body(hosts=["hooli.localhost"])) == [
        ("taken", "tenant: host hooli.localhost: claimed by hooli and by initech")
    ]
    assert await messages(bench.service, await bench.body(allowed_domain="hooli.test")) == [
        ("taken", "tenant: e-mail domain hooli.test: claimed by hooli and by initech")
    ]


async def test_a_wildcard_host_without_a_login_host(bench: Bench) -> None:
    found = await messages(bench.service, await bench.body(hosts=["*.initech.localhost"]))
    assert found == [
        (
            "invalid",
            (
                "hosts: *.initech.localhost: a wildcard host needs login_host in gateway.yaml "
                "(Cognito matches redirect URIs exactly)"
            ),
        )
    ]


async def test_what_is_left_out_and_needed(bench: Bench) -> None:
    nothing = (await bench.body()).model_copy(
        update={"group": None, "allowed_domain": None, "hosts": None}
    )
    assert [m for _, m in await messages(bench.service, nothing)] == [
        "email_domains: needed (or allowed_domain): without a domain nobody can sign in",
        'groups: needed (or group): the groups that have access, or "any"',
        "hosts: needed: this gateway has no shared hosts",
    ]


async def test_a_tenant_of_a_file_is_written_there_first(bench: Bench) -> None:
    document = {
        "id": "initech",
        "name": "Initech",
        "hosts": ["initech.localhost"],
        "email_domains": ["initech.test"],
        "allowed_groups": ["app-users"],
        "client": "managed",
    }
    wanted = await bench.body()
    (provider,) = wanted.all_providers
    assert isinstance(provider, OidcProviderBody)
    issuer = provider.oidc_issuer
    listed = [{"name": "initech-okta", "kind": "okta", "issuer": issuer}]
    bench.files["initech"] = record_of(
        TenantDocument.model_validate(
            {**document, "providers": [{**listed[0], "name": "initech-else"}]}
        ),
        None,
    )
    assert await messages(bench.service, wanted) == [
        (
            "read_only",
            (
                "tenant: initech is a file of tenants.directory: write these providers, domains, "
                "groups and hosts there first"
            ),
        )
    ]
    bench.files["initech"] = record_of(
        TenantDocument.model_validate({**document, "providers": listed}), None
    )
    assert isinstance(await bench.apply(), Done)
    assert await bench.tenants.get("initech") is None
    assert await bench.tenants.credentials("initech") is not None


async def test_a_tenant_with_a_client_of_its_own(bench: Bench) -> None:
    document = {
        "id": "initech",
        "name": "Initech",
        "hosts": ["initech.localhost"],
        "email_domains": ["initech.test"],
        "allowed_groups": ["app-users"],
        "client_id": "own1",
        "client_secret": "its-own-secret",
        "providers": [{"name": "initech-okta", "kind": "okta", "issuer": "https://a.okta.com"}],
    }
    await bench.tenants.put(TenantDocument.model_validate(document), version=None, by=None)
    assert await messages(bench.service, await bench.body()) == [
        (
            "exists",
            (
                "tenant: initech has an app client of its own (own1): say client: managed "
                "first, or adopt it (adopt_client)"
            ),
        )
    ]


def test_bodies_that_contradict_themselves() -> None:
    for wrong in (
        {"group": "a", "groups": ["b"]},
        {"allowed_domain": "a.test", "email_domains": ["b.test"]},
        {"providers": [{**GOOD, "oidc_issuer": "https://a"}]},
    ):
        with pytest.raises(ValueError, match="either"):
            body(
                {"oidc_issuer": "https://initech.okta.com"},
                **{"group": None, "allowed_domain": None, **wrong},
            )
    with pytest.raises(ValueError, match="provider, or providers for several, is needed"):
        ProvisionBody.model_validate({"group": "a", "allowed_domain": "a.test"})
