"""The examples of docs/apps, run as they stand, against assertions that the gateway's own code
signs.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode

from gateway.core.model import Identity, Session
from gateway.keys.assertion import Assertions
from gateway.keys.ring import generate

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parents[2] / "docs" / "apps"
ISSUER = "https://login.example.com"
RING = generate()
IDENTITY = Identity(
    sub="u-1",
    email="alice@acme.test",
    email_domain="acme.test",
    username="acme-okta_00u1",
    preferred_username="alice",
    name="Alice Ek",
    groups=("app-users", "admins"),
    roles=(),
    provider="acme-okta",
    idp_subject="00u1",
)


class Keys(BaseHTTPRequestHandler):
    """The application's own host, as far as it serves ``/_auth/jwks.json``."""

    def do_GET(self) -> None:
        body = json.dumps(Assertions(RING, issuer=ISSUER).jwks()).encode()
        self.send_response(200 if self.path == "/_auth/jwks.json" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def running(command: list[str], *, origin: str, cwd: Path | None = None) -> Iterator[str]:
    """An application as its own process; it prints the port that it got."""
    environment = {**os.environ, "APP_ORIGIN": origin, "ASSERTION_ISSUER": ISSUER}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=cwd
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


def wsgi(name: str) -> list[str]:
    return [
        sys.executable,
        str(Path(__file__).with_name("serve_wsgi.py")),
        str(APPS / name / "app.py"),
    ]


@pytest.fixture(scope="module")
def express(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Installed from its lock into a folder of its own."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("express")
    shutil.copytree(APPS / "express", folder, dirs_exist_ok=True)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "serve.mjs").write_text(
        'import { app } from "./app.mjs";\nconst server = app.listen(0, "127.0.0.1", () => '
        "console.log(server.address().port));\n"
    )
    return ["node", str(folder / "serve.mjs")]


@pytest.fixture(scope="module", params=["flask", "django", "express"])
def application(request: pytest.FixtureRequest, origin: str) -> Iterator[str]:
    command = (
        request.getfixturevalue("express") if request.param == "express" else wsgi(request.param)
    )
    with running(command, origin=origin) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, Any]


def ask(url: str, **headers: str) -> Answer:
    request = urllib.request.Request(
        url, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return Answer(response.status, json.load(response))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {})


def session() -> Session:
    now = int(time())
    return Session(
        digest="0" * 64,
        tenant="acme",
        host="acme.example.com",
        family="f",
        identity=IDENTITY,
        began=1,
        auth_time=now,
        created_at=now,
        expires_at=now + 3600,
        client_id="c",
    )


def assertion(origin: str, *, issuer: str = ISSUER, age_s: int = 0, ring: Any = RING) -> str:
    return Assertions(ring, issuer=issuer).sign(session(), origin=origin, now=time() - age_s)


def forged(origin: str, **changes: Any) -> str:
    """Signed by the right key, with claims or a header that no gateway writes."""
    header = {"kid": RING.assertion[0].kid, **changes.pop("header", {})}
    claims = {
        "iss": ISSUER,
        "aud": origin,
        "sub": "u-1",
        "email": "alice@acme.test",
        "tenant": "acme",
        "groups": [],
        "exp": int(time()) + 60,
        **changes,
    }
    return jwt.encode(
        {k: v for k, v in claims.items() if v is not None},
        RING.assertion[0].private,
        algorithm="ES256",
        headers=header,
    )


def test_an_assertion_for_this_application_is_accepted(application: str, origin: str) -> None:
    assert ask(application, X_Auth_Request_Jwt=assertion(origin)) == Answer(
        200, {"email": "alice@acme.test", "tenant": "acme", "groups": ["app-users", "admins"]}
    )


def bad_tokens(origin: str) -> dict[str, str]:
    good = assertion(origin)
    head, body, signature = good.split(".")
    unsigned = json.dumps({"alg": "none", "kid": RING.assertion[0].kid})
    return {
        "none": "",
        "not a token": "alice@acme.test",
        "another application": assertion("https://globex.example.com"),
        "several audiences without ours": forged(
            origin, aud=["https://a.example.com", "https://b.example.com"]
        ),
        "another issuer": assertion(origin, issuer="https://evil.example.com"),
        "expired": assertion(origin, age_s=3600),
        "without expiry": forged(origin, exp=None),
        "without subject": forged(origin, sub=None),
        "another key under our kid": jwt.encode(
            {"iss": ISSUER, "aud": origin, "sub": "u-1", "exp": int(time()) + 60},
            ec.generate_private_key(ec.SECP256R1()),
            algorithm="ES256",
            headers={"kid": RING.assertion[0].kid},
        ),
        "another gateway's key": assertion(origin, ring=generate()),
        "algorithm none": f"{base64url_encode(unsigned.encode()).decode()}.{body}.",
        "our public key as an HMAC secret": confused(origin),
        "changed body": f"{head}.{body[:-4]}AAAA.{signature}",
        "cut signature": good[:-8],
    }


def confused(origin: str) -> str:
    """An attacker's classic: HS256 with the published key as the secret. PyJWT refuses to make it,
    so it is made by hand.
    """
    public = (
        RING.assertion[0]
        .private.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    claims = {
        "iss": ISSUER,
        "aud": origin,
        "sub": "u-1",
        "email": "x",
        "tenant": "acme",
        "groups": [],
        "exp": int(time()) + 60,
    }
    signed = b".".join(
        base64url_encode(json.dumps(part).encode())
        for part in ({"alg": "HS256", "kid": RING.assertion[0].kid}, claims)
    )
    return (signed + b"." + base64url_encode(hmac.digest(public, signed, "sha256"))).decode()


@pytest.mark.parametrize("case", sorted(bad_tokens("http://127.0.0.1:1")))
def test_only_an_assertion_for_this_application_is_accepted(
    application: str, origin: str, case: str
) -> None:
    assert ask(application, X_Auth_Request_Jwt=bad_tokens(origin)[case]).status == 401


def test_other_headers_are_not_believed(application: str) -> None:
    assert (
        ask(
            application, X_Auth_Request_Email="alice@acme.test", Remote_User="alice@acme.test"
        ).status
        == 401
    )


def test_an_application_that_only_knows_remote_user_sees_who_it_is(origin: str) -> None:
    with running(wsgi("remote_user"), origin=origin) as url:
        assert ask(url, Remote_User="alice@acme.test") == Answer(
            200, {"user": "alice@acme.test", "known": True}
        )
        assert ask(url) == Answer(200, {"user": "", "known": False})


@pytest.mark.parametrize(
    "path", ["django/app.py", "express/app.mjs", "flask/app.py", "remote_user/app.py"]
)
def test_the_lines_to_copy_are_about_ten(path: str) -> None:
    """Of an application of one's own; the other folders hold applications that exist."""
    lines = (APPS / path).read_text(encoding="utf-8").splitlines()
    begin, end = (
        next(i for i, line in enumerate(lines) if mark in line) for mark in ("--- ", "--- to here")
    )
    copied = [line for line in lines[begin + 1 : end] if line.strip() not in {"", "}", "});"}]
    assert len(copied) <= 12
