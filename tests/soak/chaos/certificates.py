"""A private CA, and the stand-ins' certificate: one that is valid, and one that has expired."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.soak.chaos.host import DOMAIN

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "initech-idp.localhost"
"""Of the customer that is onboarded: in development alone may an issuer have a port of its own."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. A server's file has its chain and its key."""

    authority: Path
    valid: Path
    expired: Path


def make(folder: Path) -> Certificates:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chaos CA")])
    authority = (
        _builder(name, name, key.public_key(), now - timedelta(days=2), now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificates(folder / "ca.pem", folder / "valid.pem", folder / "expired.pem")
    made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for path, ends in ((made.valid, timedelta(days=1)), (made.expired, -timedelta(hours=1))):
        leaf = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"*{DOMAIN}")]),
                name,
                leaf.public_key(),
                now - timedelta(days=1),
                now + ends,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(f"*{DOMAIN}"), x509.DNSName(LOCAL)]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + leaf.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        path.chmod(0o600)
    return made


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
