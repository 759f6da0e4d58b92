"""The pool as a SAML service provider: the request by redirect, and every check that Cognito's
guide says it makes of a response (developer guide, "Using SAML identity providers").

- NameID, audience (the pool's entity id), destination and recipient (the assertion consumer
  service), ``InResponseTo``, times; an assertion that was seen before is refused;
- the assertion or the response around it is signed by a certificate of the metadata, and only what
  was signed is read;
- at most 100,000 characters; HTTP-POST only; five minutes from request to response.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from aiohttp import ClientError, ClientSession
from cryptography import x509
from lxml import etree
from signxml.exceptions import SignXMLException
from signxml.verifier import XMLVerifier

from demo.cognito.federation import ATTEMPT_LIFETIME_S, CLOCK_SKEW_S
from demo.cognito.signin import SignInError
from demo.idp.saml import ASSERTION, DS, MD, PROTOCOL, REDIRECT, SUCCESS, safe_parser, saml_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.cognito.authorize import AuthorizeRequest
    from demo.cognito.pool import IdentityProvider, Pool
    from demo.jose import Claims

METADATA_CACHE_S = 6 * 3600
MAX_RESPONSE_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class SamlAttempt:
    """A browser sent to a SAML IdP."""

    request: AuthorizeRequest
    provider: IdentityProvider
    request_id: str
    browser: str
    began: float


@dataclass(frozen=True, slots=True)
class Metadata:
    entity_id: str
    redirect_url: str
    certificates: tuple[x509.Certificate, ...]


class MetadataRefusedError(ValueError):
    """In Cognito's words."""


def read_metadata(text: str, *, now: float) -> Metadata:
    """As Cognito reads it when a provider is made."""
    try:
        root = etree.fromstring(text.strip().encode(), safe_parser())
    except (etree.XMLSyntaxError, ValueError):
        raise MetadataRefusedError("Unable to unmarshall metadata") from None
    address = next(
        (
            service.get("Location")
            for service in root.iter(f"{{{MD}}}SingleSignOnService")
            if service.get("Binding") == REDIRECT
        ),
        None,
    )
    if address is None:
        raise MetadataRefusedError(
            "No SingleSignOn Http redirect binding location found in metadata."
        )
    try:
        certificates = tuple(
            x509.load_der_x509_certificate(base64.b64decode("".join((part.text or "").split())))
            for key in root.iter(f"{{{MD}}}KeyDescriptor")
            if key.get("use", "signing") == "signing"
            for part in key.iter(f"{{{DS}}}X509Certificate")
        )
    except ValueError:
        raise MetadataRefusedError("Unable to unmarshall metadata") from None
    if any(one.not_valid_after_utc.timestamp() <= now for one in certificates):
        raise MetadataRefusedError("Signing certificates are expired")
    if not certificates or not root.get("entityID"):
        raise MetadataRefusedError("Unable to unmarshall metadata")
    return Metadata(str(root.get("entityID")), str(address), certificates)


class SamlFederation:
    """``acs`` is this pool's /saml2/idpresponse."""

    def __init__(self, pool: Pool, http: ClientSession, *, acs: str) -> None:
        self._pool, self._http, self.acs = pool, http, acs
        self._attempts: dict[str, SamlAttempt] = {}
        self._seen: set[str] = set()
        self._fetched: dict[str, tuple[float, Metadata]] = {}

    @property
    def entity_id(self) -> str:
        return f"urn:amazon:cognito:sp:{self._pool.pool_id}"

    async def begin(
        self, request: AuthorizeRequest, provider: IdentityProvider, *, browser: str
    ) -> str:
        metadata = await self._metadata(provider)
        request_id, relay_state = f"_{uuid.uuid4()}", secrets.token_urlsafe(96)
        self._attempts[relay_state] = SamlAttempt(
            request, provider, request_id, browser, self._pool.clock()
        )
        root = etree.Element(
            f"{{{PROTOCOL}}}AuthnRequest",
            {
                "ID": request_id,
                "Version": "2.0",
                "IssueInstant": saml_time(self._pool.clock()),
                "Destination": metadata.redirect_url,
                "AssertionConsumerServiceURL": self.acs,
            },
            nsmap={"samlp": PROTOCOL, "saml": ASSERTION},
        )
        etree.SubElement(root, f"{{{ASSERTION}}}Issuer").text = self.entity_id
        deflate = zlib.compressobj(wbits=-15)
        deflated = deflate.compress(etree.tostring(root)) + deflate.flush()
        query = urlencode(
            {"SAMLRequest": base64.b64encode(deflated).decode(), "RelayState": relay_state}
        )
        return f"{metadata.redirect_url}{'&' if '?' in metadata.redirect_url else '?'}{query}"

    def take(self, relay_state: str, *, browser: str | None) -> SamlAttempt | None:
        attempt = self._attempts.get(relay_state)
        if attempt is None or attempt.browser != browser:
            return None
        del self._attempts[relay_state]
        return attempt if self._pool.clock() - attempt.began <= ATTEMPT_LIFETIME_S else None

    async def finish(self, attempt: SamlAttempt, form: Mapping[str, Any]) -> Claims:
        """NameID as ``sub``, and the attributes. Raises ``SignInError`` in Cognito's words."""
        encoded = str(form.get("SAMLResponse", ""))
        if len(encoded) > MAX_RESPONSE_CHARACTERS:
            raise _invalid("SAML Response is too long")
        try:
            document = etree.fromstring(base64.b64decode(encoded, validate=True), safe_parser())
        except (ValueError, binascii.Error, etree.XMLSyntaxError):
            raise _invalid("SAML Response cannot be read") from None
        if document.getroottree().docinfo.doctype:
            raise _invalid("SAML Response cannot be read")
        metadata = await self._metadata(attempt.provider)
        assertion = self._signed_assertion(document, metadata)
        self._check(document, assertion, metadata, attempt)
        name_id = assertion.findtext(f"{{{ASSERTION}}}Subject/{{{ASSERTION}}}NameID")
        if not name_id:
            raise _invalid("NameID is missing")
        return {
            **dict(_attributes(assertion)),
            "sub": name_id.strip(),
            "saml:issuer": metadata.entity_id,
        }

    def _signed_assertion(self, document: Any, metadata: Metadata) -> Any:
        """What the signature covers, and nothing else: the assertion, or the one in a signed
        response.
        """
        if document.tag != f"{{{PROTOCOL}}}Response":
            raise _invalid("SAML Response cannot be read")
        for certificate in metadata.certificates:
            try:
                verified = XMLVerifier().verify(document, x509_cert=certificate, id_attribute="ID")
            except (SignXMLException, ValueError, etree.LxmlError):
                continue
            for result in verified if isinstance(verified, list) else [verified]:
                signed = result.signed_xml
                if signed is None:
                    continue
                if signed.tag == f"{{{ASSERTION}}}Assertion":
                    return signed
                if signed.tag == f"{{{PROTOCOL}}}Response":
                    found = signed.findall(f"{{{ASSERTION}}}Assertion")
                    if len(found) == 1:
                        return found[0]
        raise _invalid("SAML Assertion signature is invalid.")

    def _check(
        self, document: Any, assertion: Any, metadata: Metadata, attempt: SamlAttempt
    ) -> None:
        status = document.find(f"{{{PROTOCOL}}}Status/{{{PROTOCOL}}}StatusCode")
        if status is None or status.get("Value") != SUCCESS:
            raise _invalid("SAML Response status is not success")
        held = list(document.iter(f"{{{ASSERTION}}}Assertion"))
        if len(held) != 1 or held[0].get("ID") != assertion.get("ID"):
            raise _invalid("SAML Response must hold one assertion, the signed one")
        if document.get("Destination") != self.acs:
            raise _invalid("SAML Response destination is invalid")
        if document.get("InResponseTo") != attempt.request_id:
            raise _invalid("SAML Response InResponseTo is invalid")
        if assertion.findtext(f"{{{ASSERTION}}}Issuer") != metadata.entity_id:
            raise _invalid("SAML Assertion issuer is invalid")
        audiences = [
            (part.text or "").strip()
            for part in assertion.findall(
                f"{{{ASSERTION}}}Conditions/{{{ASSERTION}}}AudienceRestriction/{{{ASSERTION}}}Audience"
            )
        ]
        if self.entity_id not in audiences:
            raise _invalid("SAML Assertion audience is invalid")
        confirmation = assertion.find(
            f"{{{ASSERTION}}}Subject/{{{ASSERTION}}}SubjectConfirmation/"
            f"{{{ASSERTION}}}SubjectConfirmationData"
        )
        if (
            confirmation is None
            or confirmation.get("Recipient") != self.acs
            or confirmation.get("InResponseTo") != attempt.request_id
        ):
            raise _invalid("SAML Assertion recipient is invalid")
        conditions = assertion.find(f"{{{ASSERTION}}}Conditions")
        now = self._pool.clock()
        for place in (confirmation, conditions):
            if _epoch(place.get("NotOnOrAfter")) <= now - CLOCK_SKEW_S:
                raise _invalid("SAML Assertion has expired")
        if _epoch(conditions.get("NotBefore")) > now + CLOCK_SKEW_S:
            raise _invalid("SAML Assertion is not valid yet")
        assertion_id = str(assertion.get("ID"))
        if assertion_id in self._seen:
            raise _invalid("SAML Assertion was used already")
        self._seen.add(assertion_id)

    def _saved_since(self, provider: IdentityProvider, at: float) -> bool:
        """Whether the provider was created or updated after that, and it counts."""
        current = self._pool.providers.get(provider.name, provider)
        return self._pool.behaviour.saving_reads_metadata and current.modified > at

    async def _metadata(self, provider: IdentityProvider) -> Metadata:
        url, text = provider.detail("MetadataURL"), provider.detail("MetadataFile")
        now = self._pool.clock()
        if url is None:
            return read_metadata(text or "", now=0)
        at, known = self._fetched.get(url, (0.0, None))
        kept = now - at < METADATA_CACHE_S and not self._saved_since(provider, at)
        if known is not None and kept:
            return known
        try:
            self._fetched[url] = now, read_metadata(await fetch(self._http, url), now=0)
        except MetadataRefusedError as refused:
            if known is None:
                raise SignInError(
                    "Unable to contact the configured provider", error="server_error"
                ) from refused
            return known
        return self._fetched[url][1]


async def fetch(http: ClientSession, url: str) -> str:
    """Raises ``MetadataRefusedError``."""
    try:
        async with http.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise MetadataRefusedError(
                    f"Non-ok status code {response.status} returned from remote metadata source "
                    f"{url}"
                )
            return await response.text(errors="replace")
    except (ClientError, TimeoutError):
        raise MetadataRefusedError(f"Error retrieving metadata from {url}") from None


def _attributes(assertion: Any) -> Iterator[tuple[str, str | list[str]]]:
    for attribute in assertion.iter(f"{{{ASSERTION}}}Attribute"):
        values = [part.text or "" for part in attribute.findall(f"{{{ASSERTION}}}AttributeValue")]
        if values:
            yield str(attribute.get("Name")), values[0] if len(values) == 1 else values


def _epoch(text: str | None) -> float:
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        raise _invalid("SAML Assertion time is invalid") from None


def _invalid(what: str) -> SignInError:
    return SignInError(f"Invalid SAML response received: {what} ", error="server_error")
