"""Which domains can be proven, and the record that proves one. Pure but for the list of public
suffixes, which is the package's own file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from gateway.core.hosts import canonical_host

LABEL: Final = "_gateway-verify"
PREFIX: Final = "gateway-verify="
TOKEN_CHARACTERS: Final = 26
"""Of base32: 130 bits."""
PUBLIC_MAIL: Final = frozenset(
    {
        "126.com",
        "163.com",
        "aol.com",
        "fastmail.com",
        "free.fr",
        "gmail.com",
        "gmx.at",
        "gmx.ch",
        "gmx.com",
        "gmx.de",
        "gmx.net",
        "googlemail.com",
        "hey.com",
        "hotmail.com",
        "icloud.com",
        "laposte.net",
        "libero.it",
        "live.com",
        "mac.com",
        "mail.com",
        "mail.ru",
        "me.com",
        "msn.com",
        "naver.com",
        "orange.fr",
        "outlook.com",
        "pm.me",
        "posteo.de",
        "proton.me",
        "protonmail.com",
        "qq.com",
        "t-online.de",
        "tutanota.com",
        "web.de",
        "yahoo.com",
        "yandex.com",
        "yandex.ru",
        "ymail.com",
        "zoho.com",
        "zohomail.com",
    }
)
"""Where anybody has an address. By the services' own pages of what addresses they give out; nobody
but the service could add a record there, so a domain that is missing here is no way in.
"""
_PUBLIC_BRANDS: Final = ("gmx", "hotmail", "live", "outlook", "yahoo")
"""Services with a domain in many countries: ``yahoo.co.jp``, ``hotmail.fr``."""


class DomainError(ValueError):
    """Why a domain is none that a tenant could prove, in a sentence."""


def provable(text: str) -> str:
    """The canonical domain (A-labels). Raises ``DomainError``."""
    if "@" in text:
        msg = "Enter a domain, not an address."
        raise DomainError(msg)
    domain = canonical_host(text.strip()) if len(text) <= 253 else None
    if domain is None or "." not in domain or len(f"{LABEL}.{domain}") > 253 or "_" in domain:
        msg = "Enter a domain such as acme.com."
        raise DomainError(msg)
    registrable = _suffixes().privatesuffix(domain)
    if registrable is None:
        msg = f"{domain} is a public suffix: domains of many owners end in it."
        raise DomainError(msg)
    if registrable in PUBLIC_MAIL or registrable.partition(".")[0] in _PUBLIC_BRANDS:
        msg = f"{domain} is a public e-mail service."
        raise DomainError(msg)
    return domain


def zones(domain: str) -> tuple[str, ...]:
    """Where the zone of a domain may begin, the nearest first; never a public suffix."""
    registrable = _suffixes().privatesuffix(domain) or domain
    names = [domain]
    while names[-1] != registrable and "." in names[-1]:
        names.append(names[-1].partition(".")[2])
    return tuple(names)


def record_value(key: bytes, tenant: str, domain: str) -> str:
    """What the record must say. ``key``: 32 bytes of the key ring's."""
    digest = hmac.digest(key, f"gateway-domain\0{tenant}\0{domain}".encode(), hashlib.sha256)
    return PREFIX + base64.b32encode(digest).decode("ascii")[:TOKEN_CHARACTERS].lower()


@cache
def _suffixes() -> PublicSuffixList:
    """A sixth of a second of work, once."""
    return PublicSuffixList()
