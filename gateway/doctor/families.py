"""Families of probes that are made by rule: names times spellings, counts, sizes.

Rules:
- Nothing here is known to break a proxy. Where a larger number of the same would (a hundred header
  lines, 24 kB of spaces), the number stays well below, and the finding is that the lines reached
  the check as they were sent, or how long it took.
- No request has more than ``LINES_AT_ONCE`` header lines, unless it is marked ``spares_haproxy``.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from gateway.core.authorization import PREFIX
from gateway.core.probe import ANSWER, FORGED, LARGE, LOCATION
from gateway.doctor.shot import HTTP2, STRANGE_HOST
from gateway.ingress_config.site import ASKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.doctor.shot import ProbePlan

LINES_AT_ONCE: Final = 40
ODD_CHARACTERS: Final = "_.!#$%&'*+^`|~"
"""Characters of header names that applications fold onto the dash (RFC 9110 §5.6.2 allows them
all).
"""
WEBSOCKET: Final = (
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: Z2F0ZXdheS1kb2N0b3IhIQ==",
)
OTHER_PROTOCOLS: Final = ("h2c", "TLS/1.0", "HTTP/2.0")
"""Protocols that an application may switch to (RFC 9110 §7.8), after which nothing is asked
about.
"""
SECRET: Final = "cookie-of-doctor"
"""Value of the gateway's cookie where an error page might quote it."""
FLOOD_LINES: Final = 40
LONG_HEAD_LINES: Final = 85
"""Below 95, where HAProxy's HTTP client writes beyond its memory; where Envoy's limit of 100 is met
with what it adds.
"""
HEAD_KILOBYTES: Final = (4, 8, 12, 14, 24, 30, 44, 50, 52, 56, 60, 62)
"""Of padding beside a large identity: around the buffers of 16, 32 and 64 kB that proxies have."""
WRONG_ANSWERS: Final = (500, 503, 404, 429, 407, 399, 600)
"""Of the check. Each is complete: no proxy counts it as a connection that failed, so none takes the
gateway out of service.
"""
SLOW_COOKIE_BYTES: Final = (4000, 16_000)
"""HAProxy is sent the first only: a sixth of what makes its watchdog end the process where a
pattern is quadratic.
"""
SLOW_TIMES: Final = 3


def upgrade_values() -> Iterator[tuple[str, ...]]:
    """The lines of every Upgrade that is not exactly one ``websocket``: alone, before and after it,
    in two lines and in one list.
    """
    for other in OTHER_PROTOCOLS:
        yield (other,)
        for pair in ((other, "websocket"), ("websocket", other)):
            yield pair
            yield (", ".join(pair),)
    yield ("websocket/h2c",)


def upgrades(plan: ProbePlan) -> None:
    plan.add("location", "Upgrade: websocket", LOCATION, "Upgrade: websocket", *WEBSOCKET)
    for values in upgrade_values():
        settings = (
            ("HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",) if "h2c" in ", ".join(values) else ()
        )
        plan.add(
            "location",
            f"Upgrade: {' and '.join(values)}",
            LOCATION,
            *(f"Upgrade: {value}" for value in values),
            *WEBSOCKET,
            *settings,
        )
        if len(values) == 1:
            plan.add(
                "location",
                f":protocol {values[0]}",
                LOCATION,
                "Sec-WebSocket-Version: 13",
                method="CONNECT",
                version=HTTP2,
                pseudo=((":protocol", values[0]),),
            )


def spellings(name: str) -> tuple[str, ...]:
    """The name, and how CGI, WSGI, PHP and their like would let it be written: all dashes, and the
    last one only.
    """
    if "-" not in name:
        return (name,)
    head, _, tail = name.rpartition("-")
    return tuple(
        dict.fromkeys((name, name.replace("-", "_"), f"{head}_{tail}", name.replace("-", ".")))
    )


def foreign_names(plan: ProbePlan, names: Iterable[str]) -> None:
    """Names that applications believe from other gateways and proxies, in each spelling, over
    HTTP/1 and HTTP/2.
    """
    groups: dict[int, list[str]] = {}
    for name in names:
        for number, spelling in enumerate(spellings(name)):
            groups.setdefault(number, []).append(spelling)
    for number, group in groups.items():
        for batch in _batches(group):
            plan.add(
                "location",
                f"foreign names {number + 1}",
                LOCATION,
                *(f"{name}: {FORGED}" for name in batch),
            )
    for batch in _batches(groups.get(0, [])):
        plan.add(
            "location",
            "foreign names over HTTP/2",
            LOCATION,
            *(f"{name}: {FORGED}" for name in batch),
            version=HTTP2,
        )


def moving_names(plan: ProbePlan, names: Iterable[str]) -> None:
    """Whether a name of theirs changes what the gateway is asked about. The value says which name
    it was.
    """
    for batch in _batches(names):
        plan.add(
            "forged",
            "names that move the path",
            "/",
            *(f"{name}: /{FORGED}/{name}?@query@" for name in batch),
        )
        plan.add(
            "forged",
            "names that move the path, underscores",
            "/",
            *(
                f"{name.replace('-', '_')}: /{FORGED}/{name}?@query@"
                for name in batch
                if "-" in name
            ),
        )


def http2(plan: ProbePlan, managed: Sequence[str], cookie: str) -> None:
    """What HTTP/2 can say and HTTP/1 cannot (RFC 9113 §8)."""

    def add(
        name: str, *lines: str, pseudo: tuple[tuple[str, str], ...] = (), host: str = ""
    ) -> None:
        plan.add(
            "location", f"HTTP/2: {name}", LOCATION, *lines, version=HTTP2, pseudo=pseudo, host=host
        )

    add("managed names", *(f"{name}: {FORGED}" for name in managed))
    add(
        "managed names, underscores",
        *(f"{name.replace('-', '_')}: {FORGED}" for name in managed if "-" in name),
    )
    add("connection names identity", f"Connection: {', '.join(managed)}")
    add("te names identity", f"TE: trailers, {managed[0]}")
    add("upgrade", "Upgrade: h2c", "Connection: upgrade")
    add("cookie crumbs", "Cookie: first=1", f"Cookie: {cookie}={FORGED}", "Cookie: last=1")
    add("another host field", f"Host: {STRANGE_HOST}")
    add("transfer-encoding", "Transfer-Encoding: chunked")


def floods(plan: ProbePlan) -> None:
    """Many lines of what the check reads, and many names."""
    for name in ASKED:
        plan.add(
            "flood",
            f"{FLOOD_LINES} lines of {name}",
            LOCATION,
            *([f"{name}: {'a=1' if name == 'Cookie' else 'x'}"] * FLOOD_LINES),
        )
    plan.add(
        "flood",
        f"{FLOOD_LINES} names",
        LOCATION,
        *(f"Doctor-{number}: x" for number in range(FLOOD_LINES)),
    )
    plan.add(
        "flood",
        f"{LONG_HEAD_LINES} names",
        LOCATION,
        *(f"Doctor-{number}: x" for number in range(LONG_HEAD_LINES)),
        spares_haproxy=True,
    )


APP_PASSWORD: Final = "app password"
"""How the names of its probes begin."""


def app_passwords(plan: ProbePlan) -> None:
    """One that nobody has, as programs send them, and as they do not."""
    text = f"doctor:{PREFIX}{FORGED}"
    for scheme in ("Basic", "BASIC ", "basic"):
        plan.add(
            "location",
            f"{APP_PASSWORD}, {scheme.strip()}",
            LOCATION,
            f"Authorization: {scheme} {base64.b64encode(text.encode()).decode()}",
        )
    plan.add(
        "location", f"{APP_PASSWORD}, Bearer", LOCATION, f"Authorization: Bearer {PREFIX}{FORGED}"
    )


def cookies(plan: ProbePlan, cookie: str) -> None:
    """The gateway's cookies in every place of one line and of several; the application's own must
    arrive all the same.
    """
    ours = (f"{cookie}={FORGED}", f"__Host-gw-login={FORGED}")
    for name, lines in {
        "cookies": (f"first=1; {ours[0]}; {ours[1]}; last=1",),
        "cookies, ours first": (f"{ours[0]}; first=1; last=1",),
        "cookies, ours last": (f"first=1; last=1; {ours[1]};{ours[0]}",),
        "cookies, four of ours": (f"first=1; {'; '.join(ours * 2)}; last=1",),
        "cookies, five of ours apart": (f"first=1; {'; x=1; '.join([ours[0]] * 5)}; last=1",),
        "cookies, spaced": (f"first=1;\t {cookie} ={FORGED};last=1",),
        "cookie lines, ours second": ("first=1; last=1", ours[0]),
        "cookie lines, ours first": (ours[0], "first=1; last=1"),
        "cookie lines, ours in both": (f"first=1; {ours[0]}", f"{ours[0]}; last=1"),
    }.items():
        plan.add("location", name, LOCATION, *(f"Cookie: {line}" for line in lines))


def quotes(plan: ProbePlan, cookie: str) -> None:
    """Requests that a server refuses while it reads them: some quote the line that they did not
    like.
    """
    secret = f"{cookie}={SECRET}"
    heavy = "; ".join((secret, *(f"c{number}={'x' * 3900}" for number in range(17))))
    for target in (LOCATION, "/", "/_auth/signed-out"):
        for name, line in {
            "66 kB of cookies": heavy,
            "a control byte": f"{secret}; a=\x01",
            "DEL": f"{secret}; a=\x7f",
            "NUL": f"{secret}; a=\x00",
        }.items():
            plan.add("quotes", name, target, f"Cookie: {line}")


def controls(plan: ProbePlan) -> None:
    """Bytes that RFC 9110 §5.5 calls invalid and dangerous, and a name where a value should be."""
    for name, value in {
        "NUL": "a\x00b",
        "a bare CR": "a\rb",
        "a bare CR and a name": f"a\rRemote-User: {FORGED}",
        "a bare LF and a name": f"a\nRemote-User: {FORGED}",
    }.items():
        plan.add("controls", name, LOCATION, f"Referer: {value}")
    for name in ("Accept", "Accept-Language", "Authorization", "X-Request-Id"):
        plan.add("controls", f"a control byte in {name}", LOCATION, f"{name}: a\x01b")


def bodies(plan: ProbePlan, managed: Sequence[str]) -> None:
    """A trailer section. Its bad byte is what tells: an application that is handed it cannot read
    the body to its end.
    """
    trailers = "".join(f"{name}: {FORGED}\r\n" for name in managed)
    for name, announced in {"trailers": True, "trailers, not announced": False}.items():
        lines = (
            "Transfer-Encoding: chunked",
            *((f"Trailer: {', '.join(managed)}",) if announced else ()),
        )
        plan.add(
            "trailers",
            name,
            LOCATION,
            *lines,
            method="POST",
            body=b"1\r\nx\r\n",
            late=f"0\r\n{trailers}Doctor: \x01\r\n\r\n".encode("latin-1"),
        )


def absolute(plan: ProbePlan, scheme: str, host: str) -> None:
    """The absolute form of a target (RFC 9112 §3.2.2): its host replaces the Host header's, and
    userinfo has no place in it.
    """
    plan.add("absolute", "absolute form", f"{scheme}://{host}{LOCATION}")
    plan.add("absolute", "absolute form with userinfo", f"{scheme}://{FORGED}:x@{host}{LOCATION}")
    plan.add(
        "absolute",
        "absolute form, userinfo like a host",
        f"{scheme}://{STRANGE_HOST}@{host}{LOCATION}",
    )
    plan.add(
        "absolute", "absolute form, another Host", f"{scheme}://{host}{LOCATION}", host=STRANGE_HOST
    )
    plan.add("pathless", "absolute form without a path", f"{scheme}://{host}")
    plan.add("pathless", "no path", "")
    plan.add("pathless", "no slash", "x")
    plan.add("pathless", "an asterisk", "*")


def failures(plan: ProbePlan, managed: Sequence[str]) -> None:
    """The check answers wrongly, on request; and heads too long to put an identity in."""
    for status in WRONG_ANSWERS:
        plan.add(
            "failures",
            f"the check answers {status}",
            f"{LOCATION}?{ANSWER}={status}",
            *(f"{name}: {FORGED}" for name in managed[:LINES_AT_ONCE]),
        )
    for size in HEAD_KILOBYTES:
        plan.add(
            "location",
            f"a large identity and {size} kB",
            f"{LOCATION}?{LARGE}=1",
            f"Referer: {'x' * size * 1024}",
            *(f"{name}: {FORGED}" for name in managed[:LINES_AT_ONCE]),
        )
    plan.add("location", "a large identity", f"{LOCATION}?{LARGE}=1")


def slow(plan: ProbePlan, cookie: str) -> None:
    """Cookies of one size: plain ones, and what a pattern with two neighbors of the same characters
    takes long for. Sent one by one, and each again only after all the others: a machine that is
    busy for a moment is not busy with one of them.
    """
    for size in SLOW_COOKIE_BYTES:
        for _ in range(SLOW_TIMES):
            for name, value in {
                "plain": "x" * size,
                "spaces": f"a{' ' * size}b",
                "spaces after our name": f"{cookie}-{' ' * (size - len(cookie))}b",
                "semicolons": ";" * size,
            }.items():
                plan.add(
                    "slow",
                    f"{size} bytes of {name}",
                    LOCATION,
                    f"Cookie: {value}",
                    spares_haproxy=size > SLOW_COOKIE_BYTES[0],
                )


READERS: Final = {
    "ignore_case": "ignores case",
    "unicode": "folds Unicode",
    "windows": "drops dots and spaces at the end",
    "suffixes": "cuts a suffix off",
}
"""Field of a tenant's ``paths`` → what such an application does."""


def reader_variants(path: str) -> Iterator[tuple[str, str]]:
    """(key of ``READERS``, path) of what a loose reader takes for ``path``."""
    folder, _, last = path.rpartition("/")
    yield "ignore_case", f"{folder}/{last.swapcase()}"
    letter = next(
        (character for character in last if character.isascii() and character.isalnum()), ""
    )
    if letter:
        yield "unicode", f"{folder}/{last.replace(letter, quote(chr(ord(letter) + 0xFEE0)), 1)}"
    for plain, twin in (("s", "ſ"), ("i", "ı"), ("k", "\u212a")):
        if plain in last:
            yield "unicode", f"{folder}/{last.replace(plain, quote(twin), 1)}"
    for end in (".", "%20", "%2e", "..%20"):
        yield "windows", f"{path}{end}"
    for end in (".json", ".css", ".html"):
        yield "suffixes", f"{path}{end}"


def readers(plan: ProbePlan, pages: Iterable[str]) -> None:
    """Spellings of a page that anybody may read, beside a page that is not there."""
    for page in pages:
        folder = page.rpartition("/")[0]
        plan.add("readers", f"page {page}", page)
        plan.add("readers", f"nothing {page}", f"{folder}/gateway-doctor-nothing")
        for key, variant in reader_variants(page):
            plan.add("readers", f"{key} {page}", variant)


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    lines = list(names)
    for start in range(0, len(lines), LINES_AT_ONCE):
        yield lines[start : start + LINES_AT_ONCE]
