"""The stand-in of Cognito as a SAML service provider: a login, and everything that it must refuse
(Cognito developer guide, "SAML user pool IdP authentication flow").
"""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from demo.cognito.pool import IdentityProvider
from demo.idp.saml import ASSERTION, DS, PROTOCOL, certificate_of
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


def _around(text: str) -> str:
    """The forged assertion holds the signed one, as an object of its own signature."""
    root = etree.fromstring(text)
    (signed,) = root.findall(f"{{{ASSERTION}}}Assertion")
    forged = etree.fromstring(
        etree.tostring(signed, encoding="unicode").replace("peter@initech.test", CEO)
    )
    forged.set("ID", "_forged")
    root.replace(signed, forged)
    (signature,) = forged.findall(f"{{{DS}}}Signature")
    etree.SubElement(signature, f"{{{DS}}}Object").append(signed)
    return str(etree.tostring(root, encoding="unicode"))


def _same_id(text: str) -> str:
    """Two assertions of one ID: whoever looks the ID up finds the signed one, or the other."""
    root = etree.fromstring(text)
    (signed,) = root.findall(f"{{{ASSERTION}}}Assertion")
    forged = _without_signature(etree.tostring(signed, encoding="unicode"))
    root.append(etree.fromstring(forged.replace("peter@initech.test", CEO)))
    return str(etree.tostring(root, encoding="unicode"))


def _signed_by_others(text: str) -> str:
    """A whole signature of a key that came along with it (KeyInfo) and is in no metadata."""
    key = spare_keys()().private
    root = etree.fromstring(text)
    (signed,) = root.findall(f"{{{ASSERTION}}}Assertion")
    bare = etree.fromstring(
        _without_signature(etree.tostring(signed, encoding="unicode")).replace("peter@", "ceo@")
    )
    again = XMLSigner(c14n_algorithm=EXCLUSIVE).sign(
        bare,
        key=key,
        cert=[certificate_of(key, now=time.time())],
        reference_uri=f"#{bare.get('ID')}",
        id_attribute="ID",
    )
    root.replace(signed, again)
    return str(etree.tostring(root, encoding="unicode"))


CEO = "ceo@initech.test"
EXCLUSIVE = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0
XXE = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
LAUGHS = '<!DOCTYPE r [<!ENTITY h "ha"><!ENTITY l "&h;&h;&h;">]>'
FORGERIES: dict[str, Callable[[str], str]] = {
    "no signature": _without_signature,
    "another person": _changed("peter@initech.test</", "ceo@initech.test</"),
    "signature wrapping": _wrapped,
    "signature wrapping: within its own signature": _around,
    "two assertions": _twice,
    "two assertions of one ID": _same_id,
    "another key": _signed_by_others,
    "external entity": lambda text: XXE + text.replace("peter@initech.test</", "&x;</"),
    "entities within entities": lambda text: LAUGHS + text.replace("peter@initech.test</", "&l;</"),
    "algorithm none": _changed("xmldsig-more#rsa-sha256", "xmldsig-more#none"),
    "algorithm without a key": _changed(
        "2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#hmac-sha1"
    ),
    "no reference": lambda text: re.sub(r"<ds:Reference .*</ds:Reference>", "", text),
    "a reference to nothing": lambda text: re.sub(r'URI="#[^"]*"', 'URI="#_nobody"', text),
    "too long": lambda text: text + " " * 100_000,
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
    "not valid yet": lambda draft: _set(issued_at=draft.issued_at + 120)(draft),
    "no NameID": _set(name_id=""),
}


@pytest.mark.parametrize("name", DRAFTS)
async def test_an_assertion_for_somebody_else_signs_nobody_in(saml: Saml, name: str) -> None:
    saml.face.spoil = DRAFTS[name]
    async with Person() as person:
        answer = await saml.log_in(person)
    assert answer["error"] == "server_error" and "code" not in answer, answer


async def test_a_comment_cuts_no_name_short(saml: Saml) -> None:
    """Canonical XML has no comments, so the signature holds; who reads the text up to the comment
    reads another name (CVE-2017-11427 and its like).
    """
    saml.face.forge = _changed("peter@initech.test</", "peter@<!-- -->initech.test</")
    async with Person() as person:
        page = await person.log_in(saml.party.authorize_url("initech-saml"), "peter@initech.test")
        status, tokens = await saml.party.redeem(await person.submit(page))
    assert status == 200, tokens
    claims = saml.party.verified(tokens["id_token"])
    assert claims["identities"][0]["userId"] == claims["email"] == "peter@initech.test"


async def test_the_answer_of_one_provider_is_no_answer_of_another(
    saml: Saml, cloud: DemoCloud
) -> None:
    """The right signature and audience, and the ID of the request; but another tenant's provider
    was asked.
    """
    other = await cloud.add_idp("initrode-idp", kind="okta", saml=True)
    assert other.saml is not None
    cloud.cognito.pool.providers["initrode-saml"] = IdentityProvider(
        "initrode-saml",
        {
            "ProviderName": "initrode-saml",
            "ProviderType": "SAML",
            "ProviderDetails": {"MetadataURL": other.saml.metadata_url},
            "AttributeMapping": MAPPING,
        },
    )
    saml.party.client.settings["SupportedIdentityProviders"].append("initrode-saml")
    other.server.directory.add_person("eve@initrode.test", name="Eve")

    def as_peters_provider_signs(text: str) -> str:
        asked = etree.fromstring(text).get("InResponseTo")
        (peter,) = (
            p for p in saml.face.server.directory.people.values() if p.email.startswith("peter")
        )
        acs = etree.fromstring(text).get("Destination")
        assert asked is not None and acs is not None
        audience = f"urn:amazon:cognito:sp:{cloud.cognito.pool.pool_id}"
        return base64.b64decode(
            saml.face.response(peter, audience=audience, acs=acs, to=asked)
        ).decode()

    other.saml.forge = as_peters_provider_signs
    async with Person() as person:
        page = await person.log_in(saml.party.authorize_url("initrode-saml"), "eve@initrode.test")
        answer = query(await person.submit(page))
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
