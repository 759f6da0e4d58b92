"""What the doctor sends, all of it, in the order of its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.client_header_names import NEVER
from gateway.core.probe import FORGED, LOCATION
from gateway.doctor import families
from gateway.doctor.families import ODD_CHARACTERS
from gateway.doctor.shot import STRANGE_HOST, ProbePlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.doctor.shot import Shot

PATHS = (
    "/",
    "/robots.txt",
    "/favicon.ico",
    "/.well-known/security.txt",
    "/static/doctor.css",
    "/assets/doctor.js",
    "/public/doctor",
    "/api/doctor",
    "/health",
    "/metrics",
    "/ws",
)
"""Where operators like to make exceptions; every one of them has to be asked about."""
CONFUSING = (
    f"/x/..{LOCATION}",
    "/_auth/./doctor",
    f"/{LOCATION}",
    "/_auth//doctor",
    "/%5fauth/doctor",
    "/_auth%2fdoctor",
    f"{LOCATION}/",
    f"{LOCATION};x",
    f"{LOCATION}%23",
    f"{LOCATION}%3b",
    "/_auth\\doctor",
    f"/x/..%2f..{LOCATION}",
    "/_auth/%2e/doctor",
    "/x/%2e%2e/_auth/doctor",
    "/x/..;/_auth/doctor",
    f"/x%2f..{LOCATION}",
    "/_auth/doctor%2f..%2fx",
    "/_AUTH/doctor",
)
"""Ways to spell the test location that proxies read differently."""
LARGE_BODY_BYTES = 200_000
FACTS = ("X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri")
"""What the check is told about a request. Where a client's own are believed the probe is another
request, and does not arrive.
"""


def shots(
    nonces: Iterator[str],
    *,
    managed: Sequence[str],
    cookie: str,
    scheme: str,
    host: str,
    paths: Sequence[str] = (),
    public: Sequence[str] = (),
) -> list[Shot]:
    """All probes. ``host`` as the Host header says it; ``public`` are pages that anybody may read.
    ``nonces`` must last for them.
    """
    plan = ProbePlan(nonces)
    _requests_without_a_session(plan, paths)
    _forged_facts(plan, scheme)
    _identity_at_the_location(plan, managed)
    families.cookies(plan, cookie)
    families.app_passwords(plan)
    families.upgrades(plan)
    families.http2(plan, managed, cookie)
    families.failures(plan, managed)
    families.floods(plan)
    families.quotes(plan, cookie)
    families.controls(plan)
    families.bodies(plan, managed)
    families.absolute(plan, scheme, host)
    families.slow(plan, cookie)
    families.readers(plan, public)
    for path in CONFUSING:
        plan.add("paths", path, path)
    _other_hosts_and_listeners(plan, scheme)
    return plan.shots


def _requests_without_a_session(plan: ProbePlan, paths: Sequence[str]) -> None:
    for path in dict.fromkeys((*PATHS, *paths)):
        plan.add("asked", path, path)
    plan.add(
        "navigation",
        "a person arrives",
        "/",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
        "Accept: text/html",
    )
    plan.add("pages", "the gateway's own pages", "/_auth/signed-out")
    plan.add(
        "body",
        "a body without a session",
        "/",
        "Content-Type: application/octet-stream",
        method="POST",
        body=b"x" * LARGE_BODY_BYTES,
    )


def _forged_facts(plan: ProbePlan, scheme: str) -> None:
    """What the check is told of a request, said by the client."""
    other = "http" if scheme == "https" else "https"
    forged = {
        "X-Forwarded-Method": "OPTIONS",
        "X-Forwarded-Proto": other,
        "X-Forwarded-Host": STRANGE_HOST,
        "X-Forwarded-Uri": f"/{FORGED}?@query@",
        "X-Original-URL": f"/{FORGED}?@query@",
    }
    for name, value in forged.items():
        plan.add("forged", name, "/", f"{name}: {value}")
        plan.add("forged", name.replace("-", "_"), "/", f"{name.replace('-', '_')}: {value}")
    families.moving_names(plan, (name for name in NEVER["path"] if name not in FACTS))
    plan.add(
        "forged",
        "Connection names them",
        "/",
        (
            "Connection: close, X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Method, "
            "X-Forwarded-Proto, X-Gateway-Key"
        ),
    )
    plan.add("forged", "X-Gateway-Key", "/", f"X-Gateway-Key: {FORGED}")


def _identity_at_the_location(plan: ProbePlan, managed: Sequence[str]) -> None:
    """Names of identity headers, and whatever becomes one on the way."""
    plan.add("location", "nothing added")
    plan.add("location", "managed names", LOCATION, *(f"{name}: {FORGED}" for name in managed))
    plan.add(
        "location",
        "managed names twice, in other case",
        LOCATION,
        *(
            line
            for name in managed
            for line in (f"{name.upper()}: {FORGED}", f"{name.lower()}: {FORGED}")
        ),
    )
    for character in ODD_CHARACTERS:
        plan.add(
            "location",
            f"alias {character}",
            LOCATION,
            *(f"{name.replace('-', character)}: {FORGED}" for name in managed if "-" in name),
        )
    plan.add(
        "location",
        "alias mixed",
        LOCATION,
        *(f"{name.replace('-', '_', 1)}: {FORGED}" for name in managed if name.count("-") > 1),
    )
    lowered = {name.lower() for name in managed}
    apart = {*lowered, *(name.lower() for name in FACTS), "x-gateway-key", "http2-settings"}
    families.foreign_names(
        plan, (name for names in NEVER.values() for name in names if name.lower() not in apart)
    )
    for name in FACTS:
        plan.add("location", f"foreign names: {name}", LOCATION, f"{name}: {FORGED}")
    plan.add(
        "location",
        "Connection names identity",
        LOCATION,
        f"Connection: close, {', '.join(managed)}",
    )
    plan.add("location", "gateway key", LOCATION, f"X-Gateway-Key: {FORGED}")


def _other_hosts_and_listeners(plan: ProbePlan, scheme: str) -> None:
    plan.add("hosts", "a host that is nobody's", "/", host=STRANGE_HOST)
    plan.add("hosts", "no Host header", "/", host=None, version="1.0")
    plan.add("hosts", "an address", "/", host="127.0.0.1")
    for path in (
        "/auth/nginx",
        "/auth/traefik",
        "/auth/caddy",
        "/auth/haproxy",
        "/auth/envoy/",
        "/_gateway_check",
    ):
        plan.add(
            "listeners",
            f"check {path}",
            path,
            f"X-Forwarded-Host: {STRANGE_HOST}",
            "X-Forwarded-Method: GET",
            f"X-Forwarded-Proto: {scheme}",
            f"X-Forwarded-Uri: /{FORGED}?@query@",
        )
    for path in ("/admin/v1/openapi.json", "/metrics", "/readyz"):
        plan.add("listeners", f"admin {path}", path)
    plan.add(
        "listeners",
        "hooks /hooks/okta/doctor/doctor",
        "/hooks/okta/doctor/doctor",
        method="POST",
        body=b"{}",
    )
    plan.add("listeners", "hooks /scim/v2/doctor/doctor/Users", "/scim/v2/doctor/doctor/Users")
