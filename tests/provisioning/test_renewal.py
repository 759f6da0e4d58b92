"""Another secret, or other metadata, of a connection that people sign in with: tried beside it,
exchanged in place, put back.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.core.model import Secret
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.renewal import NewMetadata, NewSecret, Trial, can_renew
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunKind, RunState
from gateway.tenants.api import Rejected
from tests.provisioning.bench import Bench
from tests.provisioning.test_saml import body as saml_body
from tests.provisioning.test_saml import saml_idp
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.provisioning.renewal import Renewal

LIVE = "initech-okta"
TRIAL = "initech-okta-2"
OTHER = NewSecret(Secret("the-other-secret"), date(2030, 1, 31))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


def renewal(bench: Bench) -> Renewal:
    return bench.service.renewal


def details(bench: Bench, name: str) -> dict[str, Any]:
    found: dict[str, Any] = bench.cloud.cognito.pool.providers[name].settings["ProviderDetails"]
    return found


async def entries(bench: Bench) -> dict[str, Any]:
    document = (await bench.tenants.all())["initech"].document
    return {each.name: each for each in document.providers}


async def begun(
    bench: Bench, new: NewSecret | NewMetadata = OTHER, *, live: str = LIVE, owner: str = "one"
) -> Trial:
    made = await renewal(bench).begin("initech", live, new, owner=owner, actor="test")
    assert isinstance(made, Trial), made
    return made


async def exchanged(bench: Bench, trial: Trial, *, live: str = LIVE) -> Trial:
    done = await renewal(bench).exchange(
        "initech", live, trial, expires=date(2030, 1, 31), actor="test"
    )
    assert isinstance(done, Trial), done
    return done


async def is_clean(bench: Bench) -> bool:
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None
    return drift.clean


async def test_a_secret_is_tried_beside_the_connection_that_stays_as_it_is(bench: Bench) -> None:
    await bench.apply()
    before = dict(details(bench, LIVE))
    trial = await begun(bench)
    assert (trial.name, trial.since, trial.keeps_certificate) == (TRIAL, "", None)
    assert details(bench, LIVE) == before
    assert details(bench, TRIAL) == {**before, "client_secret": "the-other-secret"}
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert set(client.providers) == {LIVE, TRIAL}
    known = await entries(bench)
    assert (known[LIVE].active, known[TRIAL].active, known[TRIAL].hidden) == (True, False, True)
    assert await is_clean(bench)


async def test_exchanged_it_is_the_same_connection_and_can_be_put_back(bench: Bench) -> None:
    await bench.apply()
    before = dict(details(bench, LIVE))
    done = await exchanged(bench, await begun(bench))
    assert details(bench, LIVE) == {**before, "client_secret": "the-other-secret"}
    assert details(bench, TRIAL) == before
    known = await entries(bench)
    assert (known[LIVE].secret_expires, known[TRIAL].secret_expires) == (date(2030, 1, 31), None)
    assert await is_clean(bench)
    await exchanged(bench, done)
    assert details(bench, LIVE) == before
    # Asked once more, nothing is exchanged again.
    await exchanged(bench, done)
    assert details(bench, LIVE) == before


async def test_its_end_leaves_nothing_of_it(bench: Bench) -> None:
    await bench.apply()
    await exchanged(bench, await begun(bench))
    assert isinstance(await renewal(bench).end("initech", "one", actor="test"), Done)
    assert bench.providers == {LIVE}
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == (LIVE,)
    assert set(await entries(bench)) == {LIVE}
    assert details(bench, LIVE)["client_secret"] == "the-other-secret"
    assert await is_clean(bench)
    for owner in ("one", "another", ""):
        gone = await renewal(bench).end("initech", owner, actor="test")
        assert isinstance(gone, PreflightProblem) and gone.kind == "not_found"
    assert bench.providers == {LIVE}


async def test_other_values_take_the_place_of_those_that_were_tried(bench: Bench) -> None:
    await bench.apply()
    first = await begun(bench)
    second = await begun(bench, NewSecret(Secret("a-third")))
    assert (second.name, bench.providers) == (TRIAL, {LIVE, TRIAL})
    assert details(bench, TRIAL)["client_secret"] == "a-third"
    # What was tested with the first is not what would be exchanged.
    refused = await renewal(bench).exchange("initech", LIVE, first, expires=None, actor="test")
    assert isinstance(refused, PreflightProblem)
    await exchanged(bench, second)


async def test_provisioned_meanwhile_nothing_is_exchanged(bench: Bench) -> None:
    await bench.apply()
    trial = await begun(bench)
    await bench.apply(update=True)
    assert bench.providers == {LIVE}
    refused = await renewal(bench).exchange("initech", LIVE, trial, expires=None, actor="test")
    assert isinstance(refused, PreflightProblem) and refused.kind == "conflict"


async def test_of_two_at_once_the_second_is_not_what_it_was_tested_against(bench: Bench) -> None:
    await bench.apply()
    one, two = (
        await begun(bench),
        await begun(bench, NewSecret(Secret("of-another-link")), owner="two"),
    )
    assert (one.name, two.name) == (TRIAL, "initech-okta-3")
    await exchanged(bench, one)
    refused = await renewal(bench).exchange("initech", LIVE, two, expires=None, actor="test")
    assert isinstance(refused, PreflightProblem) and refused.kind == "conflict"
    assert details(bench, LIVE)["client_secret"] == "the-other-secret"


async def test_what_is_gone_from_the_pool_is_exchanged_by_no_call(bench: Bench) -> None:
    await bench.apply()
    trial, journal = await begun(bench), bench.service.provisioning.journal
    before = dict(details(bench, LIVE))
    bench.cloud.cognito.pool.providers.pop(TRIAL)
    for _ in range(2):
        refused = await renewal(bench).exchange("initech", LIVE, trial, expires=None, actor="test")
        assert isinstance(refused, PreflightProblem) and refused.kind == "conflict"
        latest = await journal.latest("initech")
        assert latest is not None and latest.id == trial.run
    assert await journal.busy("initech") is None
    assert details(bench, LIVE) == before


@pytest.mark.parametrize("setting", ["client_id", "oidc_issuer"])
async def test_what_is_another_connection_in_the_pool_is_not_exchanged(
    bench: Bench, setting: str
) -> None:
    await bench.apply()
    trial = await begun(bench)
    details(bench, TRIAL)[setting] = details(bench, TRIAL)[setting] + "0"
    before = dict(details(bench, LIVE))
    refused = await renewal(bench).exchange("initech", LIVE, trial, expires=None, actor="test")
    assert isinstance(refused, PreflightProblem) and refused.kind == "conflict"
    assert details(bench, LIVE) == before


async def test_where_the_pool_takes_no_second_one_nothing_has_changed(bench: Bench) -> None:
    await bench.apply()
    bench.cloud.cognito.control.faults.plan(
        "CreateIdentityProvider", faults.fail(ApiError("InvalidParameterException", "entity ID"))
    )
    failed = await renewal(bench).begin("initech", LIVE, OTHER, owner="one", actor="test")
    assert isinstance(failed, Failed)
    assert (failed.message, failed.refused_by) == ("entity ID", "cognito")
    assert (bench.providers, set(await entries(bench))) == ({LIVE}, {LIVE})
    assert await is_clean(bench)


@pytest.mark.parametrize("number", [0, 1])
async def test_what_fails_half_way_is_taken_back(bench: Bench, number: int) -> None:
    await bench.apply()
    trial = await begun(bench)
    before = {name: dict(details(bench, name)) for name in (LIVE, TRIAL)}
    bench.cloud.cognito.control.faults.plan(
        "UpdateIdentityProvider",
        faults.fail(ApiError("InvalidParameterException", "no")),
        skip=number,
    )
    failed = await renewal(bench).exchange("initech", LIVE, trial, expires=None, actor="test")
    assert isinstance(failed, Failed)
    assert failed.state is RunState.ROLLED_BACK
    assert {name: details(bench, name) for name in (LIVE, TRIAL)} == before


async def test_one_link_tries_a_provider_of_another_kind_after_the_first(bench: Bench) -> None:
    face = await saml_idp(bench)
    saml = await saml_body(bench)
    both = ProvisionBody.model_validate(
        {
            **saml.model_dump(exclude={"provider"}),
            "providers": [(await bench.body()).provider, saml.provider],
        }
    )
    await bench.apply("initech", both)
    await begun(bench)
    trial = await begun(bench, NewMetadata(text=face.metadata()), live="initech-saml")
    assert trial.name == "initech-saml-2"
    assert bench.providers == {LIVE, "initech-saml", "initech-saml-2"}


async def test_metadata_with_both_certificates_say_so(bench: Bench) -> None:
    face = await saml_idp(bench)
    await bench.apply(
        "initech", await saml_body(bench, metadata_url=None, metadata=face.metadata())
    )
    old = face.metadata()
    face.exchange_key(spare_keys()().private, publish_first=True)
    both = face.metadata()
    trial = await begun(bench, NewMetadata(text=both), live="initech-saml")
    assert (trial.name, trial.keeps_certificate) == ("initech-saml-2", True)
    assert details(bench, "initech-saml")["MetadataFile"] == old
    await exchanged(bench, trial, live="initech-saml")
    assert details(bench, "initech-saml")["MetadataFile"] == both
    assert await is_clean(bench)
    # From a file to an address, in place too.
    moved = await begun(bench, NewMetadata(url=face.metadata_url), live="initech-saml")
    await exchanged(bench, moved, live="initech-saml")
    assert details(bench, "initech-saml")["MetadataURL"] == face.metadata_url
    assert "MetadataFile" not in details(bench, "initech-saml")
    assert await is_clean(bench)


async def test_metadata_of_another_identity_provider_are_refused(bench: Bench) -> None:
    await bench.apply("initech", await saml_body(bench))
    text = (await saml_idp(bench)).metadata()
    face = await saml_idp(bench)
    other = text.replace(face.entity_id, "https://other.test/saml")
    for new, says in (
        (NewMetadata(text=other), "another identity provider"),
        (NewMetadata(text="<html/>"), "EntityDescriptor"),
        (NewMetadata(url="http://127.0.0.1:1/none"), "127.0.0.1"),
        (OTHER, "SAML"),
    ):
        refused = await renewal(bench).begin(
            "initech", "initech-saml", new, owner="one", actor="test"
        )
        assert isinstance(refused, PreflightProblem), new
        assert says in refused.message
    assert bench.providers == {"initech-saml"}


async def test_only_an_active_provider_that_was_provisioned_is_renewed(bench: Bench) -> None:
    await bench.apply()
    for tenant, name in (("initech", "initech-entra"), ("globex", LIVE)):
        refused = await renewal(bench).begin(tenant, name, OTHER, owner="one", actor="test")
        assert isinstance(refused, PreflightProblem)
    refused = await renewal(bench).begin(
        "initech", LIVE, NewMetadata(text="<x/>"), owner="one", actor="test"
    )
    assert isinstance(refused, PreflightProblem)
    record = await bench.service.records.get("initech")
    assert record is not None and can_renew(record.document) == (LIVE,)
    stored = await bench.tenants.get("initech")
    assert stored is not None
    (provider,) = stored.document.providers
    off = stored.document.model_copy(
        update={"providers": (provider.model_copy(update={"active": False}),)}
    )
    put = await bench.tenants.put(off, version=stored.version, by=None)
    assert not isinstance(put, Rejected), put.message
    refused = await renewal(bench).begin("initech", LIVE, OTHER, owner="one", actor="test")
    assert isinstance(refused, PreflightProblem) and refused.kind == "conflict"


async def test_the_run_is_not_taken_back_by_itself(bench: Bench) -> None:
    """The journal forgets secrets when a run is done: only the exchange brings the former back."""
    await bench.apply()
    await exchanged(bench, await begun(bench))
    latest = await bench.service.provisioning.journal.latest("initech")
    assert latest is not None and latest.kind is RunKind.RENEW
    assert "the-other-secret" not in str(latest.request)
    refused = await bench.service.roll_back("initech", latest.id)
    assert isinstance(refused, PreflightProblem)
    assert refused.kind == "conflict"
