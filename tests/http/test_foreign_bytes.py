"""What is sent wrongly is answered with a fixed text, quoted nowhere, and never a fault of ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from gateway.login import ROUTES

if TYPE_CHECKING:
    from tests.support.world import RunningWorld

SECRET = b"secret-" + b"q" * 40
HEAD = b"Host: acme.localhost\r\nConnection: close\r\n"
NOT_HTTP = {
    "a cookie line of more than 64 kB": (
        b"GET %s HTTP/1.1\r\n"
        + HEAD
        + b"Cookie: __Host-gw="
        + SECRET
        + b"; a="
        + b"x" * 70_000
        + b"\r\n\r\n",
        431,
    ),
    "a control byte in a cookie": (
        b"GET %s HTTP/1.1\r\n" + HEAD + b"Cookie: __Host-gw=" + SECRET + b"\x01\r\n\r\n",
        400,
    ),
    "NUL in a cookie": (
        b"GET %s HTTP/1.1\r\n" + HEAD + b"Cookie: __Host-gw=" + SECRET + b"\x00\r\n\r\n",
        400,
    ),
    "a blank before the colon": (
        b"GET %s HTTP/1.1\r\n" + HEAD + b"X-Gateway-Key : " + SECRET + b"\r\n\r\n",
        400,
    ),
    "a bare CR": (b"GET %s HTTP/1.1\r\n" + HEAD + b"Cookie: a\r" + SECRET + b"\r\n\r\n", 400),
    "a folded line": (
        b"GET %s HTTP/1.1\r\n" + HEAD + b"Cookie: a\r\n " + SECRET + b"\r\n\r\n",
        400,
    ),
    "a version that nobody knows": (b"GET %s HTTP/9." + SECRET + b"\r\n" + HEAD + b"\r\n", 400),
    "a method that is none": (b"G\x01" + SECRET + b" %s HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
    "a request line of more than 64 kB": (
        b"GET %s?" + SECRET + b"x" * 70_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
        431,
    ),
    "two lengths": (
        b"GET %s HTTP/1.1\r\n"
        + HEAD
        + b"Content-Length: 1\r\nContent-Length: "
        + SECRET
        + b"\r\n\r\n",
        400,
    ),
    "more lines than are read": (
        b"GET %s HTTP/1.1\r\n"
        + HEAD
        + b"".join(b"X-%d: %b\r\n" % (n, SECRET) for n in range(200))
        + b"\r\n",
        400,
    ),
    "a chunk that is none": (
        b"POST %s HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n",
        0,
    ),
    "a body that is not what it says": (
        b"POST %s HTTP/1.1\r\n"
        + HEAD
        + b"Content-Encoding: deflate\r\nContent-Length: 47\r\n\r\n"
        + SECRET,
        0,
    ),
    "an expectation": (
        b"POST %s HTTP/1.1\r\n" + HEAD + b"Expect: " + SECRET + b"\r\nContent-Length: 0\r\n\r\n",
        0,
    ),
    "not HTTP at all": (b"\x16\x03\x01" + SECRET + b"\r\n\r\n", 400),
}
"""``%s`` is the path; 0: any answer that is no fault of ours."""
PATHS = {
    "check": b"/auth/nginx",
    "public": b"/_auth/logout",
    "hooks": b"/hooks/okta/acme/acme-okta",
    "admin": b"/healthz",
}


async def answer(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def status_of(got: bytes) -> int:
    """0 where the connection was closed without an answer."""
    return int(got[9:12]) if got.startswith(b"HTTP/1.") else 0


def traces(world: RunningWorld) -> list[str]:
    return [
        line
        for line in world.log().splitlines()
        if '"unexpected_error"' in line or "Traceback" in line or "Unhandled exception" in line
    ]


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_no_listener_quotes_what_it_could_not_read(world: RunningWorld, name: str) -> None:
    """An answer that holds the cookie would show an HttpOnly one to a script, which can make it too
    long.
    """
    sent, status = NOT_HTTP[name]
    before = len(traces(world))
    for listener, port in world.world.gateways[0].ports.items():
        got = await answer(port, sent.replace(b"%s", PATHS[listener], 1))
        assert SECRET[:20] not in got, listener
        assert status_of(got) == status if status else status_of(got) < 500, (listener, got[:200])
    assert SECRET.decode()[:20] not in world.log()
    assert traces(world)[before:] == []


async def test_a_worker_goes_on_after_what_is_no_http(world: RunningWorld) -> None:
    for port in world.world.gateways[0].ports.values():
        await answer(port, b"\x00\x01\x02\r\n\r\n")
    got = await answer(
        world.world.gateways[0].ports["admin"],
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    assert got.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_breaks_off_is_no_fault_of_ours(world: RunningWorld) -> None:
    """Of a client that has gone, and of one that sends no chunks; each with what gets it as far as
    its body.
    """
    key = await asyncio.to_thread(lambda: world.run(world.world.make_admin_key()))
    heads = {
        "public": (
            b"POST /_auth/logout HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\nContent-Type: "
            b"application/x-www-form-urlencoded\r\n"
        ),
        "hooks": (
            b"POST /hooks/okta/acme/acme-okta HTTP/1.1\r\nContent-Type: "
            b"application/json\r\nAuthorization: "
        )
        + world.world.secrets["ACME_HOOK_SECRET"].encode()
        + b"\r\n",
        "admin": (
            b"POST /admin/v1/revocations HTTP/1.1\r\nContent-Type: "
            b"application/json\r\nAuthorization: Bearer "
        )
        + key.encode()
        + b"\r\n",
    }
    netloc = urlsplit(world.world.url("acme.localhost")).netloc.encode()
    before, faults = len(traces(world)), world.log().count("_fault")
    for listener, first in heads.items():
        port, head = (
            world.world.gateways[0].ports[listener],
            first + b"Host: " + netloc + b"\r\nConnection: close\r\n",
        )
        got = await answer(port, head + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        assert status_of(got) < 500, (listener, got[:300])
        lines = len(world.log().splitlines())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n{")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 "), (
            "it is being read"
        )
        writer.transport.abort()
        async with asyncio.timeout(10):
            while (  # noqa: ASYNC110 - of another process
                len(
                    [
                        line
                        for line in world.log().splitlines()[lines:]
                        if '"malformed' in line or '"status": ' in line or '"event": "hook' in line
                    ]
                )
                == 0
            ):
                await asyncio.sleep(0.05)
    assert traces(world)[before:] == []
    assert world.log().count("_fault") == faults


# --- forms
# -------------------------------------------------------------------------------------------


FORMS = {
    "unknown charset": (
        b"application/x-www-form-urlencoded; charset=no-such-thing",
        b"again=%2F",
        400,
    ),
    "a charset of another kind": (
        b"application/x-www-form-urlencoded; charset=hex",
        b"again=1",
        400,
    ),
    "undecodable bytes": (b"application/x-www-form-urlencoded", b"again=\xff\xfe", 400),
    "undecodable escapes": (b"application/x-www-form-urlencoded", b"again=%ff&session=%fe", 400),
    "the field twice": (
        b"application/x-www-form-urlencoded",
        b"again=1&again=2&session=1&session=2",
        400,
    ),
    "too many fields": (
        b"application/x-www-form-urlencoded",
        b"&".join(b"f%d=" % n for n in range(1000)),
        400,
    ),
    "too large": (b"application/x-www-form-urlencoded", b"again=" + b"x" * 20_000, 413),
    "multipart without a boundary": (b"multipart/form-data", b"--x\r\n\r\n", 400),
    "multipart without a name": (
        b"multipart/form-data; boundary=x",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n",
        400,
    ),
    "multipart that breaks off": (b"multipart/form-data; boundary=x", b"--x\r\nContent-Dispo", 400),
    "multipart with a charset that is none": (
        b"multipart/form-data; boundary=x",
        (
            b'--x\r\nContent-Disposition: form-data; name="again"\r\nContent-Type: text/plain; '
            b"charset=zz\r\n\r\nv\r\n--x--\r\n"
        ),
        400,
    ),
    "JSON": (b"application/json", b"{}", 400),
    "nonsense for a type": (b'\xff/;;;="', b"x", 400),
}


@pytest.mark.parametrize("name", FORMS)
async def test_a_form_that_cannot_be_read_is_a_bad_request(world: RunningWorld, name: str) -> None:
    content_type, body, status = FORMS[name]
    if name.endswith("charset of another kind") or name == "unknown charset":
        # Our forms are ASCII, whatever charset is claimed for them.
        status = 0
    before, origin = len(traces(world)), urlsplit(world.world.url("acme.localhost"))
    for path in ("/_auth/logout", "/_auth/sessions"):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {origin.netloc}\r\nSec-Fetch-Site: "
            f"same-origin\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        ).encode()
        got = await answer(
            world.world.gateways[0].ports["public"],
            head + b"Content-Type: " + content_type + b"\r\n\r\n" + body,
        )
        assert status_of(got) == status if status else 0 < status_of(got) < 500, (path, got[:300])
    assert traces(world)[before:] == []


async def test_a_program_signs_out_without_a_body(world: RunningWorld) -> None:
    origin = urlsplit(world.world.url("acme.localhost"))
    head = (
        f"POST /_auth/logout HTTP/1.1\r\nHost: {origin.netloc}\r\nSec-Fetch-Site: "
        "same-origin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert (await answer(world.world.gateways[0].ports["public"], head.encode())).startswith(
        b"HTTP/1.1 303 "
    )


# --- everything else that a browser may send
# -----------------------------------------------------------

NASTY = (
    "%ff",
    "%00",
    "%ED%A0%80",
    "%",
    "%zz",
    "\udcff\udcfe",
    "١",
    "%E2%80%AE",
    "[",
    "//",
    "\\",
    "a" * 5000,
    "%0d%0aSet-Cookie:x",
    "a@b@c",
    "@",
    "x@[::1]",
    "x@" + "a." * 200 + "b",
    "٠@é.é",
)
PARAMETERS = (
    "rd",
    "provider",
    "login_hint",
    "switch",
    "change",
    "code",
    "state",
    "error",
    "error_description",
    "iss",
    "ticket",
    "tenant",
    "host",
    "what",
    "browser",
    "token",
)


@pytest.mark.parametrize(
    "host", ["acme.localhost", "app.localhost", "globex.localhost", "inactive.localhost"]
)
async def test_no_parameter_or_header_of_a_stranger_is_a_fault(
    world: RunningWorld, host: str
) -> None:
    before, port = len(traces(world)), world.world.gateways[0].ports["public"]
    netloc = urlsplit(world.world.url(host)).netloc.encode()
    cookies = (
        b"Cookie: "
        + b"; ".join(
            name + b"=" + value
            for name in (
                b"__Host-gw",
                b"__Host-gw-login-01234567",
                b"__Host-gw-from",
                b"__Host-gw-loop",
                b"__Host-gw-org",
                b"__Host-gw-resume",
            )
            for value in (b"\xff\xfe", b"a.b.c")
        )
        + b"\r\n"
    )
    for path in sorted({path for _, path, _ in ROUTES}):
        requests = []
        for value in NASTY:
            raw = value.encode("utf-8", "surrogateescape")
            query = b"&".join(name.encode() + b"=" + raw for name in PARAMETERS)
            headers = (
                b"Accept-Language: "
                + raw.replace(b"%00", b"")
                + b"\r\nX-Forwarded-For: "
                + raw
                + b"\r\nX-Request-Id: "
                + raw
                + b"\r\nSec-Purpose: "
                + raw
                + b"\r\n"
            )
            requests.append(
                b"GET "
                + path.encode()
                + b"?"
                + query
                + b" HTTP/1.1\r\nHost: "
                + netloc
                + b"\r\n"
                + cookies
                + headers
                + b"Connection: close\r\n\r\n"
            )
        for value, got in zip(
            NASTY, await asyncio.gather(*(answer(port, sent) for sent in requests)), strict=True
        ):
            assert 0 < status_of(got) < 500, (path, value, got[:200])
    assert traces(world)[before:] == []
