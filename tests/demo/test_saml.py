"""The stand-in of Cognito as a SAML service provider: a login, and everything that it must refuse
(Cognito developer guide, "SAML user pool IdP authentication flow").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from demo.cognito.pool import IdentityProvider
from demo.idp.saml import ASSERTION, DS, PROTOCOL
from tests.demo.relying_party import RelyingParty, query
from tests.support.browserless import Person
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.clock import MovableClock
    from demo.cloud import DemoCloud
    from demo.idp.saml import ResponseDraft, SamlFace

MAPPING = {"email": "email", "name": "name", "custom:groups": "groups"}


@dataclass
class Saml:
    face: SamlFace
    party: RelyingParty

    async def log_in(self, person: Person) -> dict[str, str]:
        """Where a login ended: the query of the application's callback."""
        page = await person.log_in(self.party.authorize_url("initech-saml"), "peter@initech.test")
        return query(await person.submit(page))


@pytest.fixture
async def saml(cloud: DemoCloud, app: RelyingParty) -> Saml:
    customer = await cloud.add_idp("initech-idp", kind="okta", saml=True)
    customer.server.directory.add_person(
        "peter@initech.test", name="Peter Parks", groups=("app-users", "R&D")
    )
    assert customer.saml is not None
    cloud.cognito.pool.providers["initech-saml"] = IdentityProvider(
        "initech-saml",
        {
            "ProviderName": "initech-saml",
            "ProviderType": "SAML",
            "ProviderDetails": {"MetadataURL": customer.saml.metadata_url},
            "AttributeMapping": MAPPING,
        },
    )
    app.client.settings["SupportedIdentityProviders"].append("initech-saml")
    return Saml(customer.saml, app)


async def test_a_person_is_who_the_signed_assertion_says(saml: Saml) -> None:
    async with Person() as person:
        page = await person.log_in(saml.party.authorize_url("initech-saml"), "peter@initech.test")
        status, tokens = await saml.party.redeem(await person.submit(page))
    assert status == 200, tokens
    claims = saml.party.verified(tokens["id_token"])
    assert claims["cognito:username"] == "initech-saml_peter@initech.test"
    assert (claims["email"], claims["custom:groups"]) == (
        "peter@initech.test",
        "[app-users, R%26D]",
    )
    (identity,) = claims["identities"]
    assert (identity["providerType"], identity["issuer"], identity["userId"]) == (
        "SAML",
        saml.face.entity_id,
        "peter@initech.test",
    )


def _without_signature(text: str) -> str:
    root = etree.fromstring(text)
    for signature in root.iter(f"{{{DS}}}Signature"):
        signature.getparent().remove(signature)
    return str(etree.tostring(root, encoding="unicode"))


def _changed(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


def _wrapped(text: str) -> str:
    """The signed assertion stays, where nobody looks, and a forged one stands in its place."""
    root = etree.fromstring(text)
    (signed,) = root.findall(f"{{{ASSERTION}}}Assertion")
    forged = etree.fromstring(
        _without_signature(etree.tostring(signed, encoding="unicode")).replace(
            "peter@initech.test", "ceo@initech.test"
        )
    )
    forged.set("ID", "_forged")
    root.replace(signed, forged)
    extensions = etree.SubElement(root, f"{{{PROTOCOL}}}Extensions")
    extensions.append(signed)
    return str(etree.tostring(root, encoding="unicode"))


def _twice(text: str) -> str:
    root = etree.fromstring(text)
    (signed,) = root.findall(f"{{{ASSERTION}}}Assertion")
    forged = _without_signature(etree.tostring(signed, encoding="unicode"))
    root.insert(0, etree.fromstring(forged.replace("peter@", "ceo@")))
    return str(etree.tostring(root, encoding="unicode"))


XXE = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
FORGERIES: dict[str, Callable[[str], str]] = {
    "no signature": _without_signature,
    "another person": _changed("peter@initech.test</", "ceo@initech.test</"),
    "signature wrapping": _wrapped,
    "two assertions": _twice,
    "comment in NameID": _changed(
        "peter@initech.test</saml:NameID>", "ceo@initech.test<!---->.evil.test</saml:NameID>"
    ),
    "external entity": lambda text: XXE + text.replace("peter@initech.test</", "&x;</"),
    "another algorithm": _changed("xmldsig-more#rsa-sha256", "xmldsig-more#none"),
    "other destination": _changed('Destination="http', 'Destination="https'),
    "other request": _changed('InResponseTo="_', 'InResponseTo="_0'),
    "no success": _changed("status:Success", "status:Requester"),
    "no XML": lambda _: "<a",
    "empty": lambda _: "",
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_response_signs_nobody_in(saml: Saml, name: str) -> None:
    saml.face.forge = FORGERIES[name]
    async with Person() as person:
        answer = await saml.log_in(person)
    assert answer["error"] == "server_error" and "code" not in answer, answer
    assert answer["error_description"].startswith("Invalid SAML response received: ")


def _set(**changes: object) -> Callable[[ResponseDraft], None]:
    def spoil(draft: ResponseDraft) -> None:
        for name, value in changes.items():
            setattr(draft, name, value)

    return spoil


DRAFTS: dict[str, Callable[[ResponseDraft], None]] = {
    "audience": _set(audience="urn:amazon:cognito:sp:eu-north-1_other"),
    "recipient": _set(recipient="https://elsewhere.test/acs"),
    "issuer": _set(issuer="https://elsewhere.test/saml"),
    "unsolicited": _set(in_response_to=None),
    "no NameID": _set(name_id=""),
}


@pytest.mark.parametrize("name", DRAFTS)
async def test_an_assertion_for_somebody_else_signs_nobody_in(saml: Saml, name: str) -> None:
    saml.face.spoil = DRAFTS[name]
    async with Person() as person:
        answer = await saml.log_in(person)
    assert answer["error"] == "server_error" and "code" not in answer, answer


async def test_an_assertion_counts_once_and_for_its_time(
    saml: Saml, cloud: DemoCloud, clock: MovableClock
) -> None:
    saml.face.spoil = _set(assertion_id="_same", expires_at=clock() + 60)
    async with Person() as person, Person() as other, Person() as late:
        assert "code" in await saml.log_in(person)
        assert "used already" in (await saml.log_in(other))["error_description"]
        saml.face.spoil = _set(expires_at=clock() - 60)
        assert "expired" in (await saml.log_in(late))["error_description"]


async def test_another_key_counts_when_the_metadata_say_so(saml: Saml, clock: MovableClock) -> None:
    """Cognito keeps metadata for six hours: who exchanges a certificate publishes both before."""
    async with Person() as person:
        assert "code" in await saml.log_in(person)
    new = spare_keys()().private
    saml.face.exchange_key(new, publish_first=True)
    async with Person() as person:
        assert "signature is invalid" in (await saml.log_in(person))["error_description"]
    clock.advance(6 * 3600 + 1)
    async with Person() as person:
        assert "code" in await saml.log_in(person)
