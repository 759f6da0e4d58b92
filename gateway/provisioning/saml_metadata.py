"""Metadata of a SAML identity provider (SAML 2.0 Metadata, OASIS 2005), as far as Cognito uses it.

Rules:
- Strangers write it: no document type, no entities, no network, and at most ``MAX_CHARACTERS``.
- What Cognito would refuse, or would fail with at every login, is refused here with a sentence that
  its administrator can act on: no redirect binding, no signing certificate, one that has expired.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from lxml import etree

from gateway.http.ssrf_guard import is_local

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHARACTERS: Final = 131_072
"""Of ``MetadataFile`` (CreateIdentityProvider)."""
MAX_CERTIFICATE_CHARACTERS: Final = 4096
"""Base64 characters of one certificate (Cognito developer guide, SAML)."""
MAX_ENTITY_ID: Final = 1024
"""SAML 2.0 Core §8.3.6."""
_MAX_CERTIFICATES: Final = 20
_MD: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
_DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_SAML2: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
_REDIRECT: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"


class MetadataError(ValueError):
    """A sentence that says what to mend; quotes nothing longer than 200 characters."""


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """``fingerprint``: SHA-256 of its DER bytes, in hexadecimal; ``expires_at``: UTC."""

    fingerprint: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SamlMetadata:
    """``redirect_url``: where the browser is sent to sign in; ``logout_url``: None where it offers
    no single logout by redirect.
    """

    entity_id: str
    redirect_url: str
    logout_url: str | None
    certificates: tuple[SigningCertificate, ...]

    @property
    def expires_at(self) -> datetime:
        """When the first of its certificates ends: from then on Cognito refuses the metadata."""
        return min(certificate.expires_at for certificate in self.certificates)


def read_metadata(text: str | bytes, *, now: float, development: bool = False) -> SamlMetadata:
    """``now``: UTC epoch seconds. ``development``: addresses may be http on this machine. Raises
    ``MetadataError``.
    """
    root = _parse(text)
    if root.tag != f"{{{_MD}}}EntityDescriptor":
        raise MetadataError(
            "an EntityDescriptor of SAML 2.0 metadata is needed"
            + (
                ": this is a federation of several; take the provider's own"
                if root.tag == f"{{{_MD}}}EntitiesDescriptor"
                else ""
            )
        )
    entity_id = root.get("entityID") or ""
    if not entity_id or len(entity_id) > MAX_ENTITY_ID or not entity_id.isprintable():
        raise MetadataError(f"entityID must have 1 to {MAX_ENTITY_ID} printable characters")
    descriptors = [
        part
        for part in root.findall(f"{{{_MD}}}IDPSSODescriptor")
        if _SAML2 in (part.get("protocolSupportEnumeration") or "").split()
    ]
    if not descriptors:
        raise MetadataError(
            "no IDPSSODescriptor for SAML 2.0: this describes an application, not an identity "
            "provider"
        )
    provider = descriptors[0]
    redirect_url = _location(provider, "SingleSignOnService")
    if redirect_url is None:
        raise MetadataError(
            "no SingleSignOnService with the HTTP-Redirect binding, which Cognito needs (JumpCloud:"
            " Declare Redirect Endpoint)"
        )
    _check_address(redirect_url, development=development)
    return SamlMetadata(
        entity_id,
        redirect_url,
        _location(provider, "SingleLogoutService"),
        tuple(_certificates(provider, datetime.fromtimestamp(now, UTC))),
    )


def _parse(text: str | bytes) -> etree._Element:
    if len(text) > MAX_CHARACTERS:
        raise MetadataError(f"more than {MAX_CHARACTERS:,} characters, which Cognito does not take")
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data.lstrip(b"\xef\xbb\xbf \t\r\n"), parser)
    except (etree.XMLSyntaxError, ValueError):
        # The library's own text quotes the document.
        raise MetadataError("this is not XML") from None
    if root.getroottree().docinfo.doctype:
        raise MetadataError("metadata with a document type (DOCTYPE) is refused")
    return root


def _location(provider: etree._Element, name: str) -> str | None:
    for service in provider.findall(f"{{{_MD}}}{name}"):
        if service.get("Binding") == _REDIRECT and service.get("Location"):
            return str(service.get("Location"))
    return None


def _check_address(address: str, *, development: bool) -> None:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or not (parts.scheme == "https" or (development and is_local(host))):
        raise MetadataError("the address of SingleSignOnService must be an https:// URL")


def _certificates(provider: etree._Element, now: datetime) -> Iterator[SigningCertificate]:
    texts = list(dict.fromkeys(_certificate_texts(provider)))
    if not texts:
        raise MetadataError("no signing certificate (KeyDescriptor with an X509Certificate)")
    if len(texts) > _MAX_CERTIFICATES:
        raise MetadataError(f"more than {_MAX_CERTIFICATES} signing certificates")
    for number, text in enumerate(texts, 1):
        which = f"signing certificate {number} of {len(texts)}"
        if len(text) > MAX_CERTIFICATE_CHARACTERS:
            raise MetadataError(
                f"{which} has more than {MAX_CERTIFICATE_CHARACTERS:,} characters, which Cognito "
                "does not take"
            )
        try:
            certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
            fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
            expires_at = certificate.not_valid_after_utc
        except (ValueError, binascii.Error):
            raise MetadataError(f"{which} is no X.509 certificate") from None
        if expires_at <= now:
            raise MetadataError(
                f"{which} expired on {expires_at:%Y-%m-%d}: Cognito takes no metadata that holds "
                "an expired one"
            )
        yield SigningCertificate(fingerprint, expires_at)


def _certificate_texts(provider: etree._Element) -> Iterator[str]:
    for key in provider.findall(f"{{{_MD}}}KeyDescriptor"):
        if key.get("use", "signing") == "signing":
            for certificate in key.iter(f"{{{_DS}}}X509Certificate"):
                yield "".join((certificate.text or "").split())


__all__ = ["MAX_CHARACTERS", "MetadataError", "SamlMetadata", "SigningCertificate", "read_metadata"]
