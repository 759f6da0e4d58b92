"""One look at a provider, of the stand-in cloud: what it finds of metadata, discovery documents,
certificates and secrets, and what it leaves alone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from demo.faults import status
from demo.idp.saml import certificate_of
from gateway.cognito.api import CognitoRejectedError
from gateway.core.expiry import DAY_S, Credential
from gateway.core.model import Secret
from gateway.errors import UnavailableError
from gateway.expiry.look import Looker
from gateway.hooks.reconcile.fetch import Fetch
from gateway.hooks.reconcile.graph_client import GraphClient
from gateway.http.ssrf_guard import guarded_session
from gateway.metrics import REGISTRY
from gateway.provisioning.discovery import DiscoveryFetcher
from gateway.provisioning.metadata_reload import ACTOR, reload_metadata
from gateway.provisioning.runs import RunKind, RunState
from gateway.tenants.document import ProviderDocument, TenantDocument
from gateway.tenants.hook_targets import hook_targets
from tests.provisioning.bench import Bench
from tests.provisioning.test_saml import body, saml_idp
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from demo.cloud import Customer
    from gateway.core.hook_target import HookTarget


ONLY_CERTIFICATES = frozenset({Credential.SAML_CERTIFICATE})


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


@pytest.fixture
async def looker(bench: Bench) -> AsyncIterator[Looker]:
    async with guarded_session(development=True) as http:
        yield looker_over(bench, http)


def looker_over(bench: Bench, http: aiohttp.ClientSession) -> Looker:
    async def reload(tenant: str, provider: str, pool: str) -> bool:
        return await reload_metadata(bench.service.provisioning, tenant, provider, pool=pool)

    return Looker(
        DiscoveryFetcher(development=True),
        GraphClient(Fetch(http), clock=bench.cloud.clock),
        pool=bench.service.provisioning.pools.named,
        reload=reload,
        development=True,
        clock=bench.cloud.clock,
    )


async def stored(bench: Bench, tenant: str = "initech") -> tuple[ProviderDocument, HookTarget]:
    document = (await bench.tenants.all())[tenant].document
    return document.providers[0], hook_targets(document)[0]


def day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


async def test_metadata_are_read_and_the_first_certificate_that_ends_counts(
    bench: Bench, looker: Looker
) -> None:
    face = await saml_idp(bench)
    later = certificate_of(spare_keys()().private, now=bench.cloud.clock(), days=900)
    face.published.append(later)
    await bench.apply("initech", await body(bench))
    look = await looker.look(*await stored(bench), None)
    assert (look.problem, look.asked, look.exchanged) == ("", True, False)
    assert look.certificates is not None and len(look.certificates) == 2
    first = face.certificate.not_valid_after_utc.timestamp()
    assert look.expiries == {Credential.SAML_CERTIFICATE: first}


async def test_certificates_that_changed_are_read_by_cognito_at_once(
    bench: Bench, looker: Looker
) -> None:
    face = await saml_idp(bench)
    await bench.apply("initech", await body(bench))
    provider = bench.cloud.cognito.pool.providers["initech-saml"]
    before = await looker.look(*await stored(bench), None)
    assert bench.cloud.cognito.pool.providers["initech-saml"] is provider
    face.published.append(certificate_of(spare_keys()().private, now=bench.cloud.clock()))
    look = await looker.look(*await stored(bench), before.certificates)
    assert look.exchanged and look.certificates != before.certificates
    saved = bench.cloud.cognito.pool.providers["initech-saml"]
    assert saved.modified > provider.modified and saved.settings == provider.settings
    assert not (await looker.look(*await stored(bench), look.certificates)).exchanged


async def test_a_tenant_of_a_second_pool_is_looked_at_there(tmp_path: Path) -> None:
    def answered() -> float:
        labels = {"pool": "second", "outcome": "ok"}
        return REGISTRY.get_sample_value("gateway_cognito_calls_total", labels) or 0.0

    async with Bench(tmp_path, second="second") as bench, guarded_session(development=True) as http:
        face, looker = await saml_idp(bench), looker_over(bench, http)
        await bench.apply("initech", (await body(bench)).model_copy(update={"pool": "second"}))
        there = bench.cloud.further_pools["second"].pool.providers["initech-saml"]
        before = await looker.look(*await stored(bench), None, pool="second")
        assert (before.problem, before.asked) == ("", True)
        face.published.append(certificate_of(spare_keys()().private, now=bench.cloud.clock()))
        counted = answered()
        look = await looker.look(*await stored(bench), before.certificates, pool="second")
        assert look.exchanged and answered() > counted
        saved = bench.cloud.further_pools["second"].pool.providers["initech-saml"]
        assert saved.modified > there.modified
        elsewhere = await looker.look(*await stored(bench), look.certificates)
        assert "is not in the user pool" in elsewhere.problem, "nor is another pool asked"


async def test_reading_again_is_a_run_that_no_other_run_is_mistaken_for(
    bench: Bench, looker: Looker
) -> None:
    await bench.apply("initech", await body(bench))
    journal = bench.service.provisioning.journal
    applied = await journal.latest("initech")
    assert applied is not None
    assert await reload_metadata(bench.service.provisioning, "initech", "initech-saml")
    newest = (await journal.page("initech", position=None, limit=1)).items[0]
    assert (newest.kind, newest.state, newest.actor) == (RunKind.RELOAD, RunState.DONE, ACTOR)
    latest = await journal.latest("initech")
    assert latest is not None and latest.id == applied.id
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None and drift.clean
    undone = await bench.service.roll_back("initech", applied.id)
    assert undone is RunState.ROLLED_BACK
    assert await bench.left_behind() == {}


async def test_another_run_of_the_tenant_is_not_disturbed(bench: Bench, looker: Looker) -> None:
    face = await saml_idp(bench)
    await bench.apply("initech", await body(bench))
    before = await looker.look(*await stored(bench), None)
    face.published.append(certificate_of(spare_keys()().private, now=bench.cloud.clock()))
    await bench.service.provisioning.journal.open(
        "0" * 12, tenant="initech", kind=RunKind.APPLY, actor="x", request={}, plan=()
    )
    look = await looker.look(*await stored(bench), before.certificates)
    # The next look still sees that they differ.
    assert (look.exchanged, look.certificates, look.problem) == (False, before.certificates, "")


async def test_a_reload_that_was_interrupted_is_undone_without_a_change(bench: Bench) -> None:
    await bench.apply("initech", await body(bench))
    pool = bench.cloud.cognito.pool
    settings = pool.providers["initech-saml"].settings
    bench.cloud.cognito.control.faults.plan(
        "UpdateIdentityProvider", faults.internal_error, after=True, times=50
    )
    assert not await reload_metadata(bench.service.provisioning, "initech", "initech-saml")
    assert pool.providers["initech-saml"].settings == settings
    newest = (
        await bench.service.provisioning.journal.page("initech", position=None, limit=1)
    ).items[0]
    assert newest.state is RunState.ROLLED_BACK


async def test_what_keeps_people_from_signing_in_is_said_in_a_sentence(
    bench: Bench, looker: Looker
) -> None:
    face = await saml_idp(bench)
    await bench.apply("initech", await body(bench))
    provider, target = await stored(bench)
    known = (await looker.look(provider, target, None)).certificates
    saved = bench.cloud.cognito.pool.providers["initech-saml"]

    moved = provider.model_copy(update={"entity_id": "urn:before"})
    assert "another entityID" in (await looker.look(moved, target, known)).problem

    ended = certificate_of(spare_keys()().private, now=bench.cloud.clock() - 10 * DAY_S, days=1)
    face.published.append(ended)
    look = await looker.look(provider, target, known)
    assert "has expired" in look.problem and look.certificates == known
    assert look.expiries[Credential.SAML_CERTIFICATE] == ended.not_valid_after_utc.timestamp()

    face.published.clear()
    look = await looker.look(provider, target, known)
    assert "no signing certificate" in look.problem
    assert (look.unknown, look.certificates) == (ONLY_CERTIFICATES, known)
    # None of it was handed to Cognito.
    assert bench.cloud.cognito.pool.providers["initech-saml"] is saved

    del bench.cloud.cognito.pool.providers["initech-saml"]
    assert "is not in the user pool" in (await looker.look(provider, target, known)).problem


async def test_a_pool_that_does_not_answer_is_not_the_providers_fault(
    bench: Bench, looker: Looker
) -> None:
    await bench.apply("initech", await body(bench))
    bench.cloud.cognito.control.faults.plan(
        "DescribeIdentityProvider", faults.fail(ApiError("AccessDeniedException", "planned"))
    )
    with pytest.raises(UnavailableError, match="does not show provider initech-saml"):
        await looker.look(*await stored(bench), None)


async def test_uploaded_metadata_end_too(bench: Bench, looker: Looker) -> None:
    file = (await saml_idp(bench)).metadata()
    await bench.apply("initech", await body(bench, metadata_url=None, metadata=file))
    look = await looker.look(*await stored(bench), (("other", 1.0),))
    # There is nothing that Cognito could read again.
    assert (look.problem, look.exchanged) == ("", False)
    assert Credential.SAML_CERTIFICATE in look.expiries
    runs = await bench.service.provisioning.journal.page("initech", position=None, limit=9)
    assert RunKind.RELOAD not in {run.kind for run in runs.items}


async def test_a_discovery_document_that_is_gone_is_a_problem(bench: Bench, looker: Looker) -> None:
    await bench.apply()
    provider, target = await stored(bench)
    assert (await looker.look(provider, target, None)).problem == ""
    bench.cloud.customers["initech-idp"].server.faults.always("discovery", status(503))
    assert "answered 5" in (await looker.look(provider, target, None)).problem


async def test_of_pool_users_there_is_nobody_to_ask(looker: Looker) -> None:
    document = TenantDocument.model_validate(
        {
            "id": "acme",
            "name": "Acme",
            "hosts": ["acme.localhost"],
            "email_domains": ["acme.test"],
            "allowed_groups": "any",
            "client": "managed",
            "providers": [{"name": "acme-users", "kind": "cognito"}],
        }
    )
    look = await looker.look(document.providers[0], hook_targets(document)[0], None)
    assert (look.asked, look.problem, look.expiries) == (False, "", {})


# --- secrets


async def entra(bench: Bench, **hooks: Any) -> tuple[Customer, ProviderDocument, HookTarget]:
    await bench.apply("hooli", await bench.body("hooli", kind="entra", idp="hooli-idp"))
    customer = bench.cloud.customers["hooli-idp"]
    document = (await bench.tenants.all())["hooli"].document
    changed = document.model_dump(mode="json")
    changed["providers"][0] |= {
        "secret_expires": "2030-01-02",
        "hooks": {
            "directory_id": customer.issuer.split("/")[-2],
            "client_id": customer.app.client_id,
            "client_secret": customer.app.client_secret,
            "api_url": customer.server.origin,
            "secrets_expire": "2031-01-02",
            **hooks,
        },
    }
    changed["client"], changed["client_secret"] = "managed", None
    read = TenantDocument.model_validate(changed)
    return customer, read.providers[0], hook_targets(read)[0]


async def test_what_the_document_says_of_secrets_is_believed(bench: Bench, looker: Looker) -> None:
    _, provider, target = await entra(bench, client_secret_expires="2029-06-07")
    look = await looker.look(provider, target, None)
    assert {name: day(at) for name, at in look.expiries.items()} == {
        Credential.CLIENT_SECRET: date(2030, 1, 2),
        Credential.HOOK_SECRET: date(2031, 1, 2),
        Credential.DIRECTORY_SECRET: date(2029, 6, 7),
    }


async def test_what_entra_says_of_its_applications_counts_before_it(
    bench: Bench, looker: Looker
) -> None:
    customer, provider, target = await entra(bench)
    assert customer.graph is not None
    customer.graph.reads_applications = True
    ends = bench.cloud.clock() // 1 + 90 * DAY_S
    customer.graph.secret_ends[customer.app.client_id] = ends
    customer.graph.other_secrets += [
        {"hint": "zzz", "endDateTime": "2026-01-01T00:00:00Z"},
        {"hint": None, "endDateTime": "2026-01-01T00:00:00Z"},
        {"hint": customer.app.client_secret[:3], "endDateTime": "soon"},
    ]
    look = await looker.look(provider, target, None)
    assert look.expiries[Credential.CLIENT_SECRET] == ends
    assert look.expiries[Credential.DIRECTORY_SECRET] == ends
    assert day(look.expiries[Credential.HOOK_SECRET]) == date(2031, 1, 2)


async def test_a_graph_that_is_away_leaves_what_was_known(bench: Bench, looker: Looker) -> None:
    customer, provider, target = await entra(bench)
    customer.server.faults.always("graph", status(503))
    look = await looker.look(provider, target, None)
    assert look.unknown == {Credential.DIRECTORY_SECRET, Credential.CLIENT_SECRET}
    assert day(look.expiries[Credential.CLIENT_SECRET]) == date(2030, 1, 2)


async def test_that_the_documents_date_counts_for_want_of_the_directorys_is_told(
    bench: Bench, looker: Looker, caplog: pytest.LogCaptureFixture
) -> None:
    """It may not read applications: a right that nobody granted, unseen for a year."""

    def counted() -> float:
        name = "gateway_secret_expiry_unreadable_total"
        return REGISTRY.get_sample_value(name, {"tenant": "hooli"}) or 0

    customer, provider, target = await entra(bench, client_secret_expires="2029-06-07")
    assert customer.graph is not None
    customer.graph.reads_applications = False
    before = counted()
    look = await looker.look(provider, target, None)
    assert day(look.expiries[Credential.DIRECTORY_SECRET]) == date(2029, 6, 7)
    told = [r for r in caplog.records if r.getMessage() == "secret_expiry_unreadable"]
    assert {vars(r)["gateway_fields"]["credential"] for r in told} == {
        "client_secret",
        "directory_secret",
    }
    assert counted() == before + len(told) > before
    assert customer.app.client_secret not in caplog.text


async def test_no_secret_is_in_what_a_look_says(bench: Bench, looker: Looker) -> None:
    customer, provider, target = await entra(bench)
    assert customer.app.client_secret not in repr(await looker.look(provider, target, None))
    assert Secret(customer.app.client_secret) == target.client_secret


async def test_a_gateway_without_the_aws_library_asks_no_pool(bench: Bench) -> None:
    await bench.apply("initech", await body(bench))

    async def never(_tenant: str, _provider: str, _pool: str) -> bool:
        raise CognitoRejectedError("x", "y")

    async with guarded_session(development=True) as http:
        looker = Looker(
            DiscoveryFetcher(development=True),
            GraphClient(Fetch(http), clock=bench.cloud.clock),
            pool=None,
            reload=never,
            development=True,
            clock=bench.cloud.clock,
        )
        look = await looker.look(*await stored(bench), None)
    assert (look.asked, look.unknown) == (False, ONLY_CERTIFICATES)
