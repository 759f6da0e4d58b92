"""What single settings may look like: durations, addresses, host names, header maps. Parsed at the
edge, so that nothing behind checks again.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from gateway.core.client_headers import is_never_passed
from gateway.core.header_encoding import LIST_ENCODINGS, Encoding
from gateway.core.hosts import canonical_host, is_localhost
from gateway.core.mailbox import mailbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HEADER_NAME = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
"""RFC 9110 tokens less the odd characters: proxies disagree about ``_`` and ``.`` in names."""
IDENTITY_FIELDS = frozenset(
    {
        "sub",
        "email",
        "username",
        "preferred_username",
        "name",
        "groups",
        "roles",
        "oid",
        "tenant",
        "provider",
        "assertion",
    }
)


def parse_duration(value: object) -> timedelta:
    """``30s``, ``15m``, ``12h`` (also ``ms`` and ``d``)."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        msg = "a duration such as 30s, 15m or 12h"
        raise ValueError(msg)
    return timedelta(seconds=int(match[1]) * _UNIT[match[2]])


def format_duration(value: timedelta) -> str:
    """The shortest exact spelling: ``90m`` stays ``90m``, ``3600s`` becomes ``1h``."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        size = int(_UNIT[unit] * 1000)
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(ms|s|m|h|d)$"}),
]
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what nobody sees and what steers the text around it: controls, bidi and
zero-width characters, lone surrogates, line and paragraph separators.
"""


def check_words(text: str) -> str:
    """A text for people, as they see it: what looks the same is the same, and none of it ends a
    line or turns it round.
    """
    # What is printable has none of these; to look each character up takes longer.
    if not text.isprintable() and any(
        unicodedata.category(character) in _UNSHOWN for character in text
    ):
        msg = "visible characters only: no control, line-breaking, direction or zero-width ones"
        raise ValueError(msg)
    if text != text.strip():
        msg = "no blanks at either end"
        raise ValueError(msg)
    return text


VISIBLE = AfterValidator(check_words)
Token = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=512)]
"""What another system gave out, an id, say: printable ASCII without blanks."""
Url = Annotated[str, Field(pattern=r"^https?://[!-\"$-~]+$", max_length=2048)]
"""Printable ASCII (a host in A-labels), without a fragment."""
IssuerUrl = Annotated[str, Field(pattern=r"^https?://[!-\"$->@-~]+$", max_length=512)]
"""The same, also without a query. Some providers' issuers end in a slash (OpenID Connect Discovery
§4.1).
"""
EntityId = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=1024)]
"""Of a SAML provider: any URI (SAML 2.0 Core §8.3.6)."""
BaseUrl = Annotated[str, Field(pattern=r"^https?://[!-\"$->@-~]*[!-\"$-.0->@-~]$", max_length=512)]
"""Neither query nor a slash at its end: paths are appended."""
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Model(BaseModel):
    """Base of every configured value: frozen, unknown keys refused, values never echoed in
    errors.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class Look(Model):
    """How pages look, and whom they name for help."""

    logo: Annotated[str, Field(pattern=r"^(https://[!#-&(-;=?-~]+)?$", max_length=2048)] = ""
    color: Colour = "#0b5fff"
    support: Annotated[str, Field(pattern=r"^[^<>\"]*$", max_length=254), VISIBLE] = ""


def parse_listen(value: object) -> str:
    """``host:port``, ``[::1]:port`` or ``unix:/path``; port 0 lets the system choose."""
    if not isinstance(value, str):
        msg = "host:port or unix:PATH"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports values, not types
    if value.startswith("unix:") and len(value) > len("unix:") and "\0" not in value:
        return value
    parts = urlsplit(f"//{value}")
    try:
        if parts.hostname and parts.port is not None and not parts.path and not parts.username:
            return value
    except ValueError:
        pass
    msg = "host:port or unix:PATH"
    raise ValueError(msg)


ListenAddress = Annotated[str, BeforeValidator(parse_listen)]


def _without_nul(path: Path) -> Path:
    if "\0" in str(path):
        msg = "a path without NUL characters"
        raise ValueError(msg)
    return path


FilePath = Annotated[Path, AfterValidator(_without_nul)]


_MAPPED_BITS = 96
"""Before the IPv4 address in ``::ffff:10.0.0.1`` (RFC 4291 §2.5.5.2)."""


def parse_network(value: object) -> str:
    try:
        network = ipaddress.ip_network(str(value))
    except ValueError:
        msg = "a network such as 10.0.0.0/8 (host bits zero)"
        raise ValueError(msg) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        return f"{mapped}/{network.prefixlen - _MAPPED_BITS}"
    return str(network)


def off_or_duration(value: object) -> object:
    # YAML 1.1 reads a bare ``off`` as false.
    return None if value is False or value == "off" or value is None else parse_duration(value)


DEFAULT_HEADERS: Mapping[str, str] = {
    "X-Auth-Request-User": "sub",
    "X-Auth-Request-Email": "email",
    "X-Auth-Request-Preferred-Username": "preferred_username",
    "X-Auth-Request-Name": "name",
    "X-Auth-Request-Groups": "groups",
    "X-Auth-Request-Roles": "roles",
    "X-Auth-Request-Tenant": "tenant",
    "X-Auth-Request-Provider": "provider",
    "X-Auth-Request-Jwt": "assertion",
    "Remote-User": "email",
}
_FORBIDDEN_HEADERS = frozenset(
    {
        "cookie",
        "set-cookie",
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "authorization",
        "proxy-authorization",
        "location",
        "content-type",
        "x-gateway-key",
        "x-auth-reason",
        "x-request-id",
        "www-authenticate",
        "cache-control",
        "retry-after",
        "date",
        "server",
        "expect",
    }
)


_CLAIM = re.compile(r"claim:[A-Za-z0-9:_.-]{1,64}")


@lru_cache(maxsize=1024)
def folded_name(name: str) -> str:
    """The one spelling of every name that some reader takes for ``name``: WSGI, CGI and PHP fold
    case, ``_``, ``.`` and more onto ``-``.
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def check_header_map(headers: Mapping[str, str | HeaderSetting]) -> None:
    """Names that every proxy reads alike, once each, and sources that exist. Raises
    ``ValueError``.
    """
    check_header_names(headers)
    for name, source in headers.items():
        text, default, encoding = source_of(source)
        if text not in IDENTITY_FIELDS and not _CLAIM.fullmatch(text):
            msg = f"{name}: {text!r}: one of {', '.join(sorted(IDENTITY_FIELDS))} or claim:NAME"
            raise ValueError(msg)
        if default and text in IDENTITY_FIELDS:
            msg = f"{name}: {text}: a default is for claim:NAME only"
            raise ValueError(msg)
        _check_encoding(name, text, encoding)


def check_open_header_map(
    headers: Mapping[str, str | HeaderSetting], own: Mapping[str, str | HeaderSetting]
) -> None:
    """Names whose source a tenant may choose: none of the gateway's ``own``, and none that says who
    somebody is. Raises ``ValueError``.
    """
    check_header_names(headers)
    own_names = {folded_name(name): name for name in own}
    for name, source in headers.items():
        if (declared := own_names.get(folded_name(name))) is not None:
            msg = (
                f"{name!r}: {declared} is in headers, where no tenant chooses the source; a "
                "name is in one of the two"
            )
            raise ValueError(msg)
        text, _default, encoding = source_of(source)
        if text and not _CLAIM.fullmatch(text):
            msg = (
                f'{name}: {text!r}: claim:NAME, or "" for nothing unless the tenant says; what '
                "identifies a user belongs in headers"
            )
            raise ValueError(msg)
        _check_encoding(name, text, encoding)


def source_of(source: str | HeaderSetting) -> tuple[str, str, Encoding]:
    """Source, default and encoding."""
    return (
        (source, "", Encoding.PERCENT)
        if isinstance(source, str)
        else (source.source, source.default, source.encode)
    )


def _check_encoding(name: str, source: str, encoding: Encoding) -> None:
    """Two people must not look alike where an application knows people, groups or roles by the
    text.
    """
    encodings = {
        "name": frozenset(Encoding),
        "groups": LIST_ENCODINGS,
        "roles": LIST_ENCODINGS,
        "assertion": {Encoding.PERCENT},
        "tenant": {Encoding.PERCENT},
    }.get(source, frozenset(Encoding) - {Encoding.ASCII})
    if encoding not in encodings:
        msg = (
            f"{name}: encode: {encoding}: for {source or 'an empty source'} one of "
            f"{', '.join(sorted(encodings))}"
        )
        raise ValueError(msg)


def check_header_names(headers: Iterable[str]) -> None:
    """Names of headers that may be managed, each once however it is spelled. Raises
    ``ValueError``.
    """
    names: set[str] = set()
    for name in headers:
        if (
            not _HEADER_NAME.fullmatch(name)
            or len(name) > 64
            or name.lower() in _FORBIDDEN_HEADERS
            or name.lower().startswith(("x-forwarded-", "sec-"))
        ):
            msg = (
                f"{name!r}: letters, digits and single dashes, and not a header of HTTP itself "
                "or of the proxies"
            )
            raise ValueError(msg)
        if folded_name(name) in names:
            msg = f"{name!r}: named twice (header names are case-insensitive)"
            raise ValueError(msg)
        names.add(folded_name(name))


def check_client_header_names(names: Iterable[str]) -> None:
    """Raises ``ValueError``."""
    for name in names:
        if not _HEADER_NAME.fullmatch(name) or len(name) > 64 or name.lower() in _FORBIDDEN_HEADERS:
            msg = f"{name!r}: letters, digits and single dashes, and not a header of HTTP itself"
            raise ValueError(msg)


def check_client_headers(names: Iterable[str]) -> None:
    """Names that an operator may let through from clients to applications. Raises
    ``ValueError``.
    """
    check_client_header_names(names)
    for name in names:
        if is_never_passed(name) or name.lower().startswith("x-forwarded-"):
            msg = (
                f"{name}: applications take an identity, an address or another request from "
                "it, so no client may send it"
            )
            raise ValueError(msg)


class HeaderSetting(Model):
    """A header with a default for when the claim is absent, or with an encoding of its own."""

    source: str
    default: Annotated[str, Field(max_length=256), VISIBLE] = ""
    encode: Encoding = Encoding.PERCENT


HeaderMap = Annotated[
    dict[str, str | HeaderSetting],
    BeforeValidator(lambda v: {} if v is None else v),
    Field(max_length=40),
]


def _host(value: object) -> str:
    host = canonical_host(value) if isinstance(value, str) else None
    if host is None:
        msg = "a host name such as app.example.com, without scheme or port"
        raise ValueError(msg)
    return host


HostName = Annotated[str, BeforeValidator(_host)]


def _mailbox(value: object) -> str:
    return mailbox(value if isinstance(value, str) else "")


MailAddress = Annotated[str, BeforeValidator(_mailbox)]


def is_loopback_name(host: str) -> bool:
    """``localhost``, ``*.localhost`` and loopback addresses."""
    if is_localhost(host):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def scheme_of(url: str) -> str:
    """What stands before ``://``; "" where nothing does. Never raises: the library's own error
    would quote a part of the URL, which may be of its password.
    """
    scheme, colon, _ = url.partition("://")
    return scheme.lower() if colon else ""
