"""What the doctor sends. Data: a name, a group, and the request.

Every value that a client forges is ``FORGED``, so that wherever it turns up it is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.client_headers import IDENTITY, OVERRIDES
from gateway.core.probe import LOCATION, PARAMETER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORGED = "forged-by-doctor"
STRANGE_HOST = "gateway-doctor.invalid"
"""RFC 6761 §6.4: nobody's."""
ODD_CHARACTERS = "_.!#$%&'*+^`|~"
PATHS = ("/", "/robots.txt", "/favicon.ico", "/.well-known/security.txt", "/static/doctor.css", "/assets/doctor.js", "/public/doctor", "/api/doctor", "/health", "/metrics", "/ws")
"""Where operators like to make exceptions; every one of them has to be asked about."""
CONFUSING = (
    f"/x/..{LOCATION}", "/_auth/./doctor", f"/{LOCATION}", "/_auth//doctor", "/%5fauth/doctor", "/_auth%2fdoctor", f"{LOCATION}/", f"{LOCATION};x", f"{LOCATION}%23", f"{LOCATION}%3b",
    "/_auth\\doctor", f"/x/..%2f..{LOCATION}", "/_auth/%2e/doctor", "/x/%2e%2e/_auth/doctor", "/x/..;/_auth/doctor", f"/x%2f..{LOCATION}", "/_auth/doctor%2f..%2fx", "/_AUTH/doctor",
)  # fmt: skip
"""Ways to spell the test location that proxies read differently."""
LARGE_BODY_BYTES = 200_000
NAMES_PER_PROBE = 60
"""Headers in one probe: proxies take about a hundred."""
SAID_BY_PROXIES = frozenset({"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Gateway-Key", "Http2-Settings"})
"""Names that arrive although the client's own were removed, or that have a probe of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request. ``group`` is what is asked by it; ``name`` what is special about it."""

    group: str
    name: str
    nonce: str
    target: str
    lines: tuple[str, ...] = ()
    method: str = "GET"
    host: str | None = ""
    """"" is the probed host; None sends no Host header, as HTTP/1.0 allows."""
    version: str = "1.1"
    body: bytes = b""

    def raw(self, host: str) -> bytes:
        """The bytes on the wire."""
        head = [f"{self.method} {self.target} HTTP/{self.version}"]
        if self.host is not None:
            head.append(f"Host: {self.host or host}")
        head += self.lines
        if self.body:
            head.append(f"Content-Length: {len(self.body)}")
        if not any(line.lower().startswith("connection:") for line in self.lines):
            head.append("Connection: close")
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + self.body


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + NAMES_PER_PROBE] for start in range(0, len(names), NAMES_PER_PROBE))


def shots(nonces: Iterator[str], *, managed: Sequence[str], cookie: str, scheme: str, paths: Sequence[str] = ()) -> list[Shot]:
    """All probes. ``nonces`` must hold ``count`` of them."""
    found: list[Shot] = []

    def add(group: str, name: str, target: str = LOCATION, *lines: str, method: str = "GET", host: str | None = "", version: str = "1.1", body: bytes = b"") -> None:
        nonce = next(nonces)
        query = f"{PARAMETER}={nonce}"
        probed = f"{target}{'&' if '?' in target else '?'}{query}"
        sent = tuple(line.replace("@query@", query) for line in lines)
        found.append(Shot(group=group, name=name, nonce=nonce, target=probed, lines=sent, method=method, host=host, version=version, body=body))

    for path in dict.fromkeys((*PATHS, *paths)):
        add("asked", path, path)
    add("navigation", "a person arrives", "/", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
    add("pages", "the gateway's own pages", "/_auth/signed-out")
    add("body", "a body without a session", "/", "Content-Type: application/octet-stream", method="POST", body=b"x" * LARGE_BODY_BYTES)

    other = "http" if scheme == "https" else "https"
    forged = {
        "X-Forwarded-Method": "OPTIONS", "X-Forwarded-Proto": other, "X-Forwarded-Host": STRANGE_HOST,
        "X-Forwarded-Uri": f"/{FORGED}?@query@", "X-Original-URL": f"/{FORGED}?@query@",
    }  # fmt: skip
    for name, value in forged.items():
        add("forged", name, "/", f"{name}: {value}")
        add("forged", name.replace("-", "_"), "/", f"{name.replace('-', '_')}: {value}")
    add("forged", "Connection names them", "/", "Connection: close, X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-Proto, X-Gateway-Key")
    add("forged", "X-Gateway-Key", "/", f"X-Gateway-Key: {FORGED}")

    add("location", "nothing added")
    add("location", "managed names", LOCATION, *(f"{name}: {FORGED}" for name in managed))
    add("location", "managed names twice, in other case", LOCATION, *(line for name in managed for line in (f"{name.upper()}: {FORGED}", f"{name.lower()}: {FORGED}")))
    for character in ODD_CHARACTERS:
        add("location", f"alias {character}", LOCATION, *(f"{name.replace('-', character)}: {FORGED}" for name in managed if "-" in name))
    add("location", "alias mixed", LOCATION, *(f"{name.replace('-', '_', 1)}: {FORGED}" for name in managed if name.count("-") > 1))
    lowered = {name.lower() for name in managed}
    for number, names in enumerate(_batches([name for name in IDENTITY if name.lower() not in lowered]), 1):
        add("location", f"identity of other gateways, {number}", LOCATION, *(f"{name}: {FORGED}" for name in names))
    steering = {"X-Forwarded-Uri", "X-Forwarded-Method"}
    for number, names in enumerate(_batches([name for name in OVERRIDES if name not in {*SAID_BY_PROXIES, *steering}]), 1):
        add("location", f"words of other proxies, {number}", LOCATION, *(f"{name}: {FORGED}" for name in names))
    add("location", "words of other proxies about the request", LOCATION, *(f"{name}: {FORGED}" for name in sorted(steering)))
    add("location", "Connection names identity", LOCATION, f"Connection: close, {', '.join(managed)}")
    add("location", "cookies", LOCATION, f"Cookie: first={FORGED}; {cookie}={FORGED}; __Host-gw-login={FORGED}; last={FORGED}")
    add("location", "gateway key", LOCATION, f"X-Gateway-Key: {FORGED}")
    add("location", "Upgrade: h2c", LOCATION, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    add("location", "Upgrade: websocket", LOCATION, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: Z2F0ZXdheS1kb2N0b3IhIQ==")
    add("location", "a large identity", f"{LOCATION}?gateway-doctor-large=1")
    for path in CONFUSING:
        add("paths", path, path)

    add("hosts", "a host that is nobody's", "/", host=STRANGE_HOST)
    add("hosts", "no Host header", "/", host=None, version="1.0")
    add("hosts", "an address", "/", host="127.0.0.1")
    for path in ("/auth/nginx", "/auth/traefik", "/auth/caddy", "/auth/haproxy", "/auth/envoy/", "/_gateway_check"):
        add(
            "listeners",
            f"check {path}",
            path,
            f"X-Forwarded-Host: {STRANGE_HOST}",
            "X-Forwarded-Method: GET",
            f"X-Forwarded-Proto: {scheme}",
            f"X-Forwarded-Uri: /{FORGED}?@query@",
        )
    for path in ("/admin/v1/openapi.json", "/metrics", "/readyz"):
        add("listeners", f"admin {path}", path)
    add("listeners", "hooks /hooks/okta/doctor/doctor", "/hooks/okta/doctor/doctor", method="POST", body=b"{}")
    add("listeners", "hooks /scim/v2/doctor/doctor/Users", "/scim/v2/doctor/doctor/Users")
    return found
