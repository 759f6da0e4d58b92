"""Host names and e-mail addresses in one canonical form, or None.

Rules:
- A host is compared as lower-case A-labels without port and trailing dot; canonicalising twice
  changes nothing.
- What arrives on the wire must already be ASCII: a browser sends A-labels (RFC 3986 §3.2.2), so a
  Unicode host is a trick.
- What an operator or a claim says may be Unicode and goes through IDNA 2008 (UTS 46
  non-transitional), never through case folding alone.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

import idna

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_PORT = re.compile(r"\d{1,5}")
_MAX_HOST = 253
_MAX_ON_WIRE = _MAX_HOST + len(".:65535")
_MAX_EMAIL = 254
"""RFC 5321 §4.5.3.1.3 with the brackets taken off."""
_MAX_LOCAL = 64
_LOCAL = re.compile(
    r"[^\s@\"(),:;<>\[\\\]\x00-\x20\x7f-\xa0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]+"
)


def parse_host_header(value: str) -> str | None:
    """Canonical form of a Host header's value; None where two readers could differ about it.

    A port is dropped (redirects are never built from it); IP literals are no tenant's host and come
    back as None.
    """
    return _wire_host(value) if len(value) <= _MAX_ON_WIRE else None


@lru_cache(maxsize=4096)
def _wire_host(value: str) -> str | None:
    """An ingress names the same hosts again and again."""
    host, colon, port = value.partition(":")
    if colon and (not _PORT.fullmatch(port) or not 0 < int(port) < 65536):
        return None
    if not host.isascii():
        return None
    bare = host.lower().removesuffix(".")
    return bare if _is_name(bare) else None


def canonical_host(value: str) -> str | None:
    """Canonical form of a configured host name, Unicode allowed; None if it is not a DNS name (an
    IP address is not).
    """
    bare = value.removesuffix(".")
    if bare.isascii():
        bare = bare.lower()
        if not _is_name(bare):
            return None
        if any(label.startswith("xn--") for label in bare.split(".")) and _alabels(bare) is None:
            return None
        return bare
    return _alabels(bare)


def _alabels(name: str) -> str | None:
    try:
        encoded = (
            idna.encode(name, uts46=True, std3_rules=True, transitional=False)
            .decode("ascii")
            .lower()
        )
    except (idna.IDNAError, UnicodeError):
        return None
    return encoded if _is_name(encoded) else None


def _is_name(host: str) -> bool:
    if not host or len(host) > _MAX_HOST:
        return False
    labels = host.split(".")
    return all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def includes(patterns: Collection[str], name: str) -> bool:
    """Whether canonical hosts and wildcards (``*.`` and any name below) include a host, or all
    below a wildcard.
    """
    return name in patterns or any(
        wildcard in patterns for wildcard in wildcards_above(name.removeprefix("*."))
    )


def is_localhost(host: str) -> bool:
    """``localhost`` and every name below it: this machine, whatever a resolver says (RFC 6761
    §6.3).
    """
    return host == "localhost" or host.endswith(".localhost")


def wildcards_above(host: str) -> Iterator[str]:
    """All that a host is below, the nearest first."""
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"


def email_domain(address: str) -> str | None:
    """Canonical domain of an address, or None unless it has exactly one ``@`` and nothing invisible
    or quoted.

    The local part is never interpreted: plus signs and dots are the mailbox owner's business.
    A trailing dot in the domain is refused, not dropped: no mail provider writes one.
    """
    if len(address) > _MAX_EMAIL or address.count("@") != 1:
        return None
    local, _, domain = address.partition("@")
    if not local or len(local) > _MAX_LOCAL or not _LOCAL.fullmatch(local) or domain.endswith("."):
        return None
    if domain.isascii():
        return canonical_host(domain)
    # A letter with its accent beside it (NFD) is what some keyboards write for the composed one. A
    # sign that is another's twin (Kelvin for K, compatibility ideographs) is not: nobody types it,
    # so it stays for IDNA to refuse.
    if all(unicodedata.normalize("NFC", character) == character for character in domain):
        domain = unicodedata.normalize("NFC", domain)
    # Full-width letters and other compatibility forms map to a real domain under UTS 46; the
    # mailbox provider never issued such an address, so only the form that IDNA itself calls valid
    # passes.
    if any(dot in domain for dot in "\u3002\uff0e\uff61"):
        return None
    try:
        return canonical_host(domain) if idna.encode(domain) else None
    except (idna.IDNAError, UnicodeError):
        return None


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; an IPv4 one that a dual-stack socket shows within IPv6 (``::ffff:10.0.0.1``) as
    the IPv4 address that it is. Raises ``ValueError``.
    """
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


@lru_cache(maxsize=4096)
def client_key(client: str) -> str:
    """An IPv4 address, or the /64 that one customer line has of IPv6."""
    try:
        address = plain_address(client)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
