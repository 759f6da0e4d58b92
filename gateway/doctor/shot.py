"""One probe as data, and the list that collects them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.probe import FORGED, LOCATION, PARAMETER

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FORGED", "HTTP2", "STRANGE_HOST", "ProbePlan", "Shot"]
STRANGE_HOST: Final = "gateway-doctor.invalid"
"""RFC 6761 §6.4: nobody's."""
HTTP2: Final = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request. ``group`` is what is asked by it; ``name`` what is special about it."""

    group: str
    name: str
    nonce: str
    target: str
    lines: tuple[str, ...] = ()
    """Header lines, latin-1, without line ends."""
    method: str = "GET"
    host: str | None = ""
    """"" is the probed host; None sends no Host header, as HTTP/1.0 allows."""
    version: str = "1.1"
    """``HTTP2`` sends fields instead of lines."""
    body: bytes = b""
    """Sent with Content-Length, unless ``lines`` hold a Transfer-Encoding: then these are the
    chunks as they are.
    """
    late: bytes = b""
    """Sent a moment after the rest, when the request has arrived wherever it goes."""
    pseudo: tuple[tuple[str, str], ...] = ()
    """HTTP/2: pseudo-header fields that replace or join the usual four (RFC 9113 §8.3.1)."""
    spares_haproxy: bool = False
    """Not sent to HAProxy: its HTTP client corrupts memory when it is handed about a hundred header
    lines.
    """

    def raw(self, host: str) -> bytes:
        """The bytes of an HTTP/1 request."""
        names = {line.partition(":")[0].lower() for line in self.lines}
        head = [f"{self.method} {self.target} HTTP/{self.version}"]
        if self.host is not None:
            head.append(f"Host: {self.host or host}")
        head += self.lines
        if self.body and "transfer-encoding" not in names:
            head.append(f"Content-Length: {len(self.body)}")
        if "connection" not in names:
            head.append("Connection: close")
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + self.body

    def fields(self, host: str, scheme: str) -> list[tuple[str, str]]:
        """The fields of an HTTP/2 request."""
        pseudo = {
            ":method": self.method,
            ":scheme": scheme,
            ":authority": self.host or host,
            ":path": self.target,
            **dict(self.pseudo),
        }
        lines = (line.partition(":") for line in self.lines)
        return [*pseudo.items(), *((name.lower(), value.strip(" ")) for name, _, value in lines)]


@dataclass(slots=True)
class ProbePlan:
    """The probes of one examination. ``nonces`` must last."""

    nonces: Iterator[str]
    shots: list[Shot] = field(default_factory=list)

    def add(
        self,
        group: str,
        name: str,
        target: str = LOCATION,
        *lines: str,
        method: str = "GET",
        host: str | None = "",
        version: str = "1.1",
        body: bytes = b"",
        late: bytes = b"",
        pseudo: tuple[tuple[str, str], ...] = (),
        spares_haproxy: bool = False,
    ) -> None:
        """``@query@`` in a line becomes the query that carries the nonce."""
        nonce = next(self.nonces)
        query = f"{PARAMETER}={nonce}"
        self.shots.append(
            Shot(
                group=group,
                name=name,
                nonce=nonce,
                target=f"{target}{'&' if '?' in target else '?'}{query}",
                lines=tuple(line.replace("@query@", query) for line in lines),
                method=method,
                host=host,
                version=version,
                body=body,
                late=late,
                pseudo=pseudo,
                spares_haproxy=spares_haproxy,
            )
        )
