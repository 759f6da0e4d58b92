"""The SAML 2.0 face of a customer's IdP: metadata, single sign-on by redirect, and a response that
is POSTed.

Standards: SAML 2.0 Core, Bindings and Metadata (OASIS 2005). The assertion is signed, the response
around it is not, as most vendors do unless told otherwise.
"""

from __future__ import annotations

import base64
import binascii
import uuid
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import methods
from signxml.signer import XMLSigner

from demo.html import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric import rsa

    from demo.clock import Clock
    from demo.idp.directory import Person
    from demo.idp.provider import IdentityProviderServer, SignedIn

MD = "urn:oasis:names:tc:SAML:2.0:metadata"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
DS = "http://www.w3.org/2000/09/xmldsig#"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
EMAIL_FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
RESPONSE_LIFETIME_S = 300
MAX_REQUEST_BYTES = 16 * 1024

_POST_FORM = Template("""
<form method="post" action="{{ acs }}" id="f">
<input type="hidden" name="SAMLResponse" value="{{ response }}">
<input type="hidden" name="RelayState" value="{{ relay_state }}">
<button autofocus>Continue to the application</button>
</form>
<script>document.getElementById("f").submit()</script>
""")
_MESSAGE = Template("<p>{{ message }}</p>")


@dataclass(frozen=True, slots=True)
class AuthnRequest:
    """What an application asks for."""

    id: str
    issuer: str
    acs: str


@dataclass(slots=True)
class ResponseDraft:
    """A response before it is signed, so that a test can spoil exactly one thing. Times are UTC
    epoch seconds.
    """

    issuer: str
    audience: str
    recipient: str
    in_response_to: str | None
    name_id: str
    issued_at: float
    expires_at: float
    attributes: dict[str, list[str]]
    assertion_id: str = field(default_factory=lambda: f"_{uuid.uuid4().hex}")
    destination: str | None = None
    """Where the response says it is POSTed; None for the recipient."""


class SamlFace:
    """Adds SAML to an IdP. ``spoil`` changes a draft, ``forge`` the signed XML: for tests."""

    def __init__(
        self, server: IdentityProviderServer, *, clock: Clock, key: rsa.RSAPrivateKey
    ) -> None:
        self.server = server
        self._clock = clock
        self.key, self.certificate = key, certificate_of(key, now=clock())
        self.published: list[x509.Certificate] = [self.certificate]
        """What the metadata hold; a roll-over publishes two."""
        self.applications: dict[str, str] = {}
        """Entity id of each that may ask → its assertion consumer service."""
        self.spoil: Callable[[ResponseDraft], None] = lambda _: None
        self.forge: Callable[[str], str] = lambda text: text
        route = server.app.router
        route.add_get("/saml/metadata", self._metadata)
        route.add_get("/saml/sso", self._sso)
        route.add_post("/saml/sso", self._login)

    @property
    def entity_id(self) -> str:
        return f"{self.server.origin}/saml"

    @property
    def metadata_url(self) -> str:
        return f"{self.server.origin}/saml/metadata"

    def exchange_key(self, key: rsa.RSAPrivateKey, *, publish_first: bool) -> None:
        """Sign with another key. ``publish_first``: the old certificate stays in the metadata."""
        self.key, self.certificate = key, certificate_of(key, now=self._clock())
        self.published = [*(self.published if publish_first else ()), self.certificate]

    def metadata(self) -> str:
        root = etree.Element(
            f"{{{MD}}}EntityDescriptor", {"entityID": self.entity_id}, nsmap={"md": MD, "ds": DS}
        )
        provider = etree.SubElement(
            root,
            f"{{{MD}}}IDPSSODescriptor",
            {"WantAuthnRequestsSigned": "false", "protocolSupportEnumeration": PROTOCOL},
        )
        for certificate in self.published:
            key = etree.SubElement(provider, f"{{{MD}}}KeyDescriptor", {"use": "signing"})
            info = etree.SubElement(key, f"{{{DS}}}KeyInfo")
            data = etree.SubElement(info, f"{{{DS}}}X509Data")
            etree.SubElement(data, f"{{{DS}}}X509Certificate").text = base64.b64encode(
                certificate.public_bytes(serialization.Encoding.DER)
            ).decode()
        etree.SubElement(provider, f"{{{MD}}}NameIDFormat").text = EMAIL_FORMAT
        etree.SubElement(
            provider,
            f"{{{MD}}}SingleSignOnService",
            {"Binding": REDIRECT, "Location": f"{self.server.origin}/saml/sso"},
        )
        return str(etree.tostring(root, encoding="unicode"))

    # -- browser

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=self.metadata(), content_type="application/samlmetadata+xml")

    async def _sso(self, request: web.Request) -> web.StreamResponse:
        asked = self._asked(request.query)
        if asked is None:
            return self._refused("This application is not known here.")
        session = self.server.session(request)
        if session is None:
            return self.server.show_login(request, hint="")
        return self._answer(request.query, asked, session)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        asked = self._asked(request.query)
        if asked is None:
            return self._refused("This application is not known here.")
        outcome = await self.server.authenticate(request)
        if isinstance(outcome, web.StreamResponse):
            return outcome
        response = self._answer(request.query, asked, outcome)
        self.server.remember(response, outcome)
        return response

    def _asked(self, query: Mapping[str, str]) -> AuthnRequest | None:
        asked = read_request(query.get("SAMLRequest", ""))
        known = asked is not None and self.applications.get(asked.issuer) == asked.acs
        return asked if known else None

    def _refused(self, message: str) -> web.Response:
        return _MESSAGE.respond(
            title="Bad request", brand=self.server.face.brand, status=400, message=message
        )

    def _answer(
        self, query: Mapping[str, str], asked: AuthnRequest, session: SignedIn
    ) -> web.Response:
        person = self.server.directory.people[session.person_id]
        return _POST_FORM.respond(
            title="Signing in",
            brand=self.server.face.brand,
            acs=asked.acs,
            response=self.response(person, audience=asked.issuer, acs=asked.acs, to=asked.id),
            relay_state=query.get("RelayState", ""),
        )

    def response(self, person: Person, *, audience: str, acs: str, to: str | None) -> str:
        """In base64, as it is POSTed. ``to``: the request that it answers; None for one that nobody
        asked for.
        """
        now = self._clock()
        groups = self.server.directory.groups
        draft = ResponseDraft(
            issuer=self.entity_id,
            audience=audience,
            recipient=acs,
            in_response_to=to,
            name_id=person.email,
            issued_at=now,
            expires_at=now + RESPONSE_LIFETIME_S,
            attributes={
                "email": [person.email],
                "name": [person.name],
                "groups": [groups[group].name for group in person.group_ids],
                "roles": list(person.roles),
            },
        )
        self.spoil(draft)
        text = self.forge(signed_response(draft, self.key, self.certificate))
        return base64.b64encode(text.encode()).decode()


def certificate_of(key: rsa.RSAPrivateKey, *, now: float, days: int = 365) -> x509.Certificate:
    """Self-signed, as these are."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo identity provider")])
    begins = datetime.fromtimestamp(now, UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days + 1))
        .sign(key, hashes.SHA256())
    )


def safe_parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True
    )


def read_request(encoded: str) -> AuthnRequest | None:
    """Of the redirect binding (SAML 2.0 Bindings §3.4); None for what is none."""
    try:
        inflate = zlib.decompressobj(-15)
        text = inflate.decompress(base64.b64decode(encoded, validate=True), MAX_REQUEST_BYTES)
        root = etree.fromstring(text, safe_parser())
    except (ValueError, binascii.Error, zlib.error, etree.XMLSyntaxError):
        return None
    issuer = root.findtext(f"{{{ASSERTION}}}Issuer")
    acs = root.get("AssertionConsumerServiceURL")
    if root.tag != f"{{{PROTOCOL}}}AuthnRequest" or not issuer or not acs or not root.get("ID"):
        return None
    return AuthnRequest(str(root.get("ID")), issuer, acs)


def saml_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def signed_response(
    draft: ResponseDraft, key: rsa.RSAPrivateKey, certificate: x509.Certificate
) -> str:
    """XML with a signed assertion."""
    names = {"saml": ASSERTION, "ds": DS}
    assertion = etree.Element(
        f"{{{ASSERTION}}}Assertion",
        {"ID": draft.assertion_id, "Version": "2.0", "IssueInstant": saml_time(draft.issued_at)},
        nsmap=names,
    )
    _add(assertion, "Issuer", draft.issuer)
    assertion.append(etree.Element(f"{{{DS}}}Signature", {"Id": "placeholder"}))
    subject = _add(assertion, "Subject")
    _add(subject, "NameID", draft.name_id, Format=EMAIL_FORMAT)
    answers = {} if draft.in_response_to is None else {"InResponseTo": draft.in_response_to}
    _add(
        _add(subject, "SubjectConfirmation", Method=BEARER),
        "SubjectConfirmationData",
        NotOnOrAfter=saml_time(draft.expires_at),
        Recipient=draft.recipient,
        **answers,
    )
    conditions = _add(
        assertion,
        "Conditions",
        NotBefore=saml_time(draft.issued_at - 5),
        NotOnOrAfter=saml_time(draft.expires_at),
    )
    _add(_add(conditions, "AudienceRestriction"), "Audience", draft.audience)
    statement = _add(
        assertion,
        "AuthnStatement",
        AuthnInstant=saml_time(draft.issued_at),
        SessionIndex=uuid.uuid4().hex,
    )
    _add(
        _add(statement, "AuthnContext"),
        "AuthnContextClassRef",
        "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
    )
    said = _add(assertion, "AttributeStatement")
    for name, values in draft.attributes.items():
        if values:
            attribute = _add(said, "Attribute", Name=name)
            for value in values:
                _add(attribute, "AttributeValue", value)
    signer = XMLSigner(
        method=methods.enveloped,
        signature_algorithm="rsa-sha256",
        digest_algorithm="sha256",
        c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#",
    )
    signed = signer.sign(
        assertion,
        key=key,
        cert=[certificate],
        reference_uri=f"#{draft.assertion_id}",
        id_attribute="ID",
    )
    response = etree.Element(
        f"{{{PROTOCOL}}}Response",
        {
            "ID": f"_{uuid.uuid4().hex}",
            "Version": "2.0",
            "IssueInstant": saml_time(draft.issued_at),
            "Destination": draft.destination or draft.recipient,
            **answers,
        },
        nsmap={"samlp": PROTOCOL, **names},
    )
    _add(response, "Issuer", draft.issuer)
    status = etree.SubElement(response, f"{{{PROTOCOL}}}Status")
    etree.SubElement(status, f"{{{PROTOCOL}}}StatusCode", {"Value": SUCCESS})
    response.append(signed)
    return str(etree.tostring(response, encoding="unicode"))


def _add(parent: Any, name: str, text: str | None = None, **attributes: str) -> Any:
    made = etree.SubElement(parent, f"{{{ASSERTION}}}{name}", attributes)
    made.text = text
    return made
