"""Why a connection failed, in words that whoever runs the gateway can act on.

Only what the operating system and the TLS library say is read here, and none of their texts is
repeated: those of libraries and of peers can quote anything.
"""

from __future__ import annotations

import errno
import socket
import ssl
from http.client import HTTPException, IncompleteRead
from http.client import RemoteDisconnected as HttpNoAnswer
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_TLS: Final = "the server does not speak TLS at this port"
CLOSED: Final = "the server closed the connection without an answer"
NO_TIME: Final = "no answer in time; does a firewall drop the packets?"
RESET: Final = "the connection was reset"
UNKNOWN: Final = "the connection failed"
_OS: Final = {
    errno.ECONNREFUSED: "connection refused: nothing listens there; is it running, and the port "
    "right?",
    errno.ECONNRESET: RESET,
    errno.EPIPE: "the connection was closed",
    errno.ETIMEDOUT: NO_TIME,
    errno.EHOSTUNREACH: "no route to that host; does a firewall reject it?",
    errno.ENETUNREACH: "no route to that network",
    errno.ENOENT: "there is no such socket; is the server running?",
    errno.EACCES: "permission denied: this user may not open the socket",
    errno.EPERM: "permission denied",
    errno.EMFILE: "this process has too many open files (see ulimit -n)",
    errno.EADDRNOTAVAIL: "no local address or port is free",
    errno.ECONNABORTED: "the connection was aborted",
}
_EXPIRED, _NOT_YET, _SELF_SIGNED, _OTHER_NAME = 10, 9, {18, 19, 20, 21}, {62, 64}
"""OpenSSL's codes of a certificate that does not verify (``X509_V_ERR_…``)."""
_TLS: Final = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "the server closed the connection in the TLS handshake",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a client certificate, which the "
    "gateway does not send",
    "UNSUPPORTED_PROTOCOL": "the server speaks an outdated version of TLS only",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server wants another version of TLS",
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for that name",
}


def why(error: BaseException, *, trust: str = "SSL_CERT_FILE in the environment") -> str:
    """The reason and, where it is known, what to do. ``trust`` names the setting that holds the
    certificates to trust.
    """
    return next((reason for one in chain(error) if (reason := _said(one, trust))), UNKNOWN)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came from: libraries wrap the cause, each in its own way."""
    seen_ids: set[int] = set()
    queue = [error]
    while queue:
        one = queue.pop(0)
        if id(one) in seen_ids:
            continue
        seen_ids.add(id(one))
        yield one
        inner = (
            getattr(one, "os_error", None),
            getattr(one, "certificate_error", None),
            one.__cause__,
            one.__context__,
            *(one.exceptions if isinstance(one, BaseExceptionGroup) else ()),
            *one.args,
        )
        queue += [part for part in inner if isinstance(part, BaseException)]


def _said(error: BaseException, trust: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, trust)
    if isinstance(error, ssl.SSLError):
        return _TLS.get(error.reason or "", "the TLS handshake failed")
    if isinstance(error, socket.gaierror | aiohttp.ClientConnectorDNSError):
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            error = error.os_error
        return (
            "the name does not resolve now (DNS does not answer)"
            if error.errno == socket.EAI_AGAIN
            else "the name does not resolve; is it spelled right?"
        )
    if isinstance(error, aiohttp.ServerDisconnectedError | EOFError | HttpNoAnswer):
        return CLOSED
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return "that is not an http address"
    if isinstance(error, aiohttp.ClientPayloadError | IncompleteRead):
        return "the answer broke off"
    if isinstance(error, aiohttp.ClientResponseError | HTTPException):
        return "what listens there does not speak HTTP; is it a TLS port?"
    if isinstance(error, TimeoutError) and error.errno is None:
        return NO_TIME
    if isinstance(error, OSError):
        # asyncio's error about several addresses has no number, but those of each in its text.
        number = error.errno if error.errno is not None else _number_in(str(error))
        return _OS.get(number or 0, "")
    return ""


def _number_in(text: str) -> int | None:
    return next((number for number in _OS if f"[Errno {number}]" in text), None)


def _certificate(error: ssl.SSLCertVerificationError, trust: str) -> str:
    code = getattr(error, "verify_code", 0)
    if code == _EXPIRED:
        return "its certificate has expired (or this machine's clock is wrong)"
    if code == _NOT_YET:
        return "its certificate is not valid yet (or this machine's clock is wrong)"
    if code in _SELF_SIGNED:
        return (
            "its certificate is signed by an authority that is not trusted here: set "
            f"{trust} to that authority's certificate"
        )
    if code in _OTHER_NAME:
        return "its certificate is for another name: use the name that is in the certificate"
    return f"its certificate does not verify; set {trust} to the authority that signed it"


def why_at(url: object, error: BaseException) -> str:
    """The same for an http address: its host and port, and the reason."""
    try:
        parts = urlsplit(str(url))
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return why(error)
    return f"{at(parts.hostname or '', port)}: {why(error)}"


def at(host: str, port: int | None) -> str:
    """``host:port``, an IPv6 address in brackets."""
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


__all__ = ["CLOSED", "NO_TIME", "NO_TLS", "RESET", "UNKNOWN", "at", "chain", "why", "why_at"]
