"""A tenant whose people come from a SAML provider: metadata, plan, apply, drift, removal."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from demo.idp.saml import certificate_of
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.saml_metadata import MAX_CHARACTERS, MetadataError, read_metadata
from gateway.tenants.document import ProviderDocument
from tests.provisioning.bench import Bench
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cloud import Customer
    from demo.idp.saml import SamlFace


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


async def saml_idp(bench: Bench) -> SamlFace:
    name = "initech-saml-idp"
    customer: Customer = bench.cloud.customers.get(name) or await bench.cloud.add_idp(
        name, kind="okta", saml=True
    )
    assert customer.saml is not None
    return customer.saml


async def body(bench: Bench, **provider: Any) -> ProvisionBody:
    return ProvisionBody.model_validate(
        {
            "provider": {
                "kind": "saml",
                "metadata_url": (await saml_idp(bench)).metadata_url,
                **provider,
            },
            "group": "app-users",
            "allowed_domain": "initech.test",
            "hosts": ["initech.localhost"],
        }
    )


async def test_one_call_makes_a_saml_provider_and_says_nothing_twice(bench: Bench) -> None:
    face = await saml_idp(bench)
    proposal = await bench.service.propose("initech", await body(bench), update=False)
    assert [str(step) for step in proposal.plan.steps][1] == (
        f"create  provider initech-saml: saml at {face.entity_id} is not in the pool yet"
    )
    await bench.apply("initech", await body(bench))
    provider = bench.cloud.cognito.pool.providers["initech-saml"]
    assert provider.kind == "SAML"
    assert provider.settings["ProviderDetails"] == {
        "MetadataURL": face.metadata_url,
        "IDPSignout": "false",
        "RequestSigningAlgorithm": "rsa-sha256",
        "ActiveEncryptionCertificate": "MIIC-demo",
    }
    assert provider.settings["AttributeMapping"] == {
        "email": "email",
        "name": "name",
        "custom:groups": "groups",
        "custom:roles": "roles",
    }
    (client,) = bench.cloud.cognito.pool.clients.values()
    assert client.providers == ("initech-saml",)
    document = (await bench.tenants.all())["initech"].document
    (entry,) = document.providers
    assert (str(entry.kind), entry.entity_id, entry.issuer) == ("saml", face.entity_id, None)
    drift = await bench.service.verify("initech", fix=False, actor="test")
    assert drift is not None and not [s for s in drift.steps if s.does] and not drift.problems


async def test_settings_go_on_and_off_and_what_is_read_only_is_never_sent_back(
    bench: Bench,
) -> None:
    await bench.apply("initech", await body(bench))
    changed = await body(bench, encrypted_assertions=True, single_logout=True, sign_requests=False)
    proposal = await bench.service.propose("initech", changed, update=True)
    (step,) = [s for s in proposal.plan.steps if s.does]
    assert [(d.setting, d.now, d.wanted) for d in step.differences] == [
        ("details.IDPSignout", "false", "true"),
        ("details.RequestSigningAlgorithm", "rsa-sha256", None),
        ("details.EncryptedResponses", None, "true"),
    ]
    await bench.service.apply(proposal, actor="test")
    details = bench.cloud.cognito.pool.providers["initech-saml"].settings["ProviderDetails"]
    assert (details["EncryptedResponses"], "RequestSigningAlgorithm" in details) == ("true", False)
    file = (await saml_idp(bench)).metadata()
    by_file = await bench.service.propose(
        "initech", await body(bench, metadata_url=None, metadata=file), update=True
    )
    assert not by_file.problems
    await bench.service.apply(by_file, actor="test")
    details = bench.cloud.cognito.pool.providers["initech-saml"].settings["ProviderDetails"]
    assert (details["MetadataFile"], "MetadataURL" in details) == (file, False)
    latest = await bench.service.provisioning.journal.latest("initech")
    assert latest is not None
    undone = await bench.service.roll_back("initech", latest.id)
    details = bench.cloud.cognito.pool.providers["initech-saml"].settings["ProviderDetails"]
    assert "MetadataURL" in details and "MetadataFile" not in details, undone


async def test_a_deleted_provider_is_made_again_since_nothing_of_it_is_secret(
    bench: Bench,
) -> None:
    await bench.apply("initech", await body(bench))
    del bench.cloud.cognito.pool.providers["initech-saml"]
    drift = await bench.service.verify("initech", fix=True, actor="test")
    assert drift is not None and not drift.problems
    assert "initech-saml" in bench.providers
    await bench.service.destroy("initech", actor="test")
    assert await bench.left_behind() == {}


async def test_idp_initiated_sign_in_stands_beside_no_other_kind(bench: Bench) -> None:
    okta = (await bench.body()).provider
    mixed = ProvisionBody.model_validate(
        {
            **(await body(bench)).model_dump(exclude={"provider"}),
            "providers": [
                okta,
                {
                    "kind": "saml",
                    "metadata_url": (await saml_idp(bench)).metadata_url,
                    "idp_initiated": True,
                },
            ],
        }
    )
    proposal = await bench.service.propose("initech", mixed, update=False)
    assert [str(problem) for problem in proposal.problems] == [
        (
            "providers.initech-saml.idp_initiated: Cognito allows it only where all providers of "
            "the tenant are SAML providers; initech-okta is not"
        )
    ]


async def test_cognito_cannot_make_another_type_of_a_provider(bench: Bench) -> None:
    await bench.apply("initech", await bench.body())
    proposal = await bench.service.propose(
        "initech", await body(bench, name="initech-okta"), update=True
    )
    assert "is of type OIDC in user pool" in str(proposal.problems[0])


async def test_metadata_that_cognito_would_refuse_are_refused_with_the_place(bench: Bench) -> None:
    face = await saml_idp(bench)
    for given, message in (
        ({"metadata_url": f"{face.server.origin}/saml/nothing"}, "metadata_url: the metadata at"),
        ({"metadata_url": "http://metadata.example.com/x"}, "must be at an https:// address"),
        ({"metadata_url": None, "metadata": "<a/>"}, "metadata: an EntityDescriptor"),
    ):
        proposal = await bench.service.propose("initech", await body(bench, **given), update=False)
        assert message in str(proposal.problems[0]), proposal.problems


def refused(text: str | bytes, **options: Any) -> str:
    with pytest.raises(MetadataError) as raised:
        read_metadata(text, now=time.time(), **options)
    return str(raised.value)


async def test_what_is_wrong_with_metadata_is_said_in_a_sentence(bench: Bench) -> None:
    face = await saml_idp(bench)
    good = face.metadata()
    read = read_metadata(good, now=time.time(), development=True)
    assert (read.entity_id, len(read.certificates)) == (face.entity_id, 1)
    assert read.expires_at > datetime.now(UTC)
    old = certificate_of(spare_keys()().private, now=time.time() - 90_000 * 10, days=1)
    face.published.append(old)
    expired = face.metadata()
    face.published.clear()
    without = face.metadata()
    for text, message in {
        "": "this is not XML",
        "<a": "this is not XML",
        "<a/>": "an EntityDescriptor of SAML 2.0 metadata is needed",
        '<!DOCTYPE a [<!ENTITY x "y">]>' + good: "document type",
        "x" * (MAX_CHARACTERS + 1): "more than 131,072 characters",
        good.replace("IDPSSODescriptor", "SPSSODescriptor"): "describes an application",
        good.replace("HTTP-Redirect", "HTTP-POST"): "HTTP-Redirect binding",
        good.replace('entityID="', 'entityID="' + "x" * 1024): "entityID must have 1 to 1024",
        good.replace("X509Certificate>MII", "X509Certificate>!MII"): "is no X.509 certificate",
        good.replace("X509Certificate>MII", f"X509Certificate>{'M' * 4096}"): "4,096 characters",
        expired: "signing certificate 2 of 2 expired on",
        without: "no signing certificate",
        good.replace("EntityDescriptor", "EntitiesDescriptor"): "take the provider's own",
    }.items():
        assert message in refused(text, development=True), (message, text[:200])
    assert "must be an https:// URL" in refused(good)
    assert "file:///" not in refused(
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>'
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "saml", "issuer": "https://acme.okta.com"}, "has an entity_id and no issuer"),
        ({"kind": "okta", "entity_id": "urn:acme"}, "has an entity_id and no issuer"),
        ({"kind": "saml", "email_trust": "tenant_idp"}, "tenant_idp needs a provider"),
        ({"kind": "saml", "entity_id": "urn: acme"}, "String should match pattern"),
        ({"kind": "oidc", "issuer": "https://accounts.google.com"}, "need each other"),
        ({"kind": "oidc", "issuer": "https://accounts.google.com/"}, "need each other"),
        ({"kind": "google", "issuer": "https://acme.okta.com"}, "need each other"),
        ({"kind": "google"}, "need each other"),
    ],
)
def test_a_provider_of_a_document_says_whom_it_believes(
    entry: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        ProviderDocument.model_validate({"name": "acme-saml", **entry})
