"""git over HTTP with an app password: a real client, ``git http-backend``, and the whole product
behind nginx and Traefik.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from demo.processes import free_port
from demo.world import World
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.browserless import Page

REMOVAL_S = 30.0
HOST = "git.acme.localhost"
IDENTITY = ("X-Auth-Request-Email", "X-Auth-Request-User", "X-Auth-Request-Groups")


class GitWorld(World):
    """The demo, with one more host whose application is git."""

    def __init__(self, directory: Path, *, ingress: str, port: int) -> None:
        super().__init__(directory, ingress=ingress, applications={HOST: port})

    def _write_config(self) -> None:
        super()._write_config()
        path = self.directory / "config" / "tenants" / "acme.yaml"
        document = yaml.safe_load(path.read_text("utf-8"))
        rule = {"path": "/repos/**", "hosts": [HOST], "app_passwords": True}
        path.write_text(
            yaml.safe_dump(
                {
                    **document,
                    "hosts": [*document["hosts"], HOST],
                    "rules": [rule, *document["rules"]],
                }
            ),
            "utf-8",
        )


class GitServer(ThreadingHTTPServer):
    """``git http-backend`` for whom the gateway names; it keeps what it received of credentials."""

    daemon_threads = True

    def __init__(self, root: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), Backend)
        self.root = root
        self.authorization: list[str | None] = []
        self.people: set[str] = set()


class Backend(BaseHTTPRequestHandler):
    """CGI (RFC 3875), as far as git needs it."""

    protocol_version = "HTTP/1.1"
    server: GitServer

    def do_GET(self) -> None:
        self._run(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._run(body)

    def _run(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        person = self.headers.get("X-Auth-Request-Email", "")
        self.server.authorization.append(self.headers.get("Authorization"))
        self.server.people.add(person)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": person,
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        answer = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n") if line]
        status = next((value for name, _, value in lines if name.lower() == "status"), "200 OK")
        self.send_response(int(status[:3]))
        for name, _, value in lines:
            if name.lower() != "status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None: ...  # noqa: A002 - the base class's


class Served:
    """The product, and what stands behind it."""

    def __init__(self, running: RunningWorld, server: GitServer, folder: Path) -> None:
        self.running, self.server, self.folder = running, server, folder

    def git(self, *arguments: str, credential: str = "") -> subprocess.CompletedProcess[str]:
        """A client that asks nobody and knows nothing; ``credential`` as in a URL."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TRACE_CURL": "",
        }
        identity = (
            "-c",
            "user.name=Bob",
            "-c",
            "user.email=bob@acme.test",
            "-c",
            "credential.helper=",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "http.postBuffer=70000",
        )
        address = (
            self.running.world.url(HOST).replace(
                "://", f"://{credential}@" if credential else "://"
            )
            + "/repos/one.git"
        )
        return subprocess.run(
            ["git", *identity, *(address if word == "ORIGIN" else word for word in arguments)],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    port, root = free_port(), tmp_path / "root"
    bare = root / "repos" / "one.git"
    bare.parent.mkdir(parents=True)
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True
    )
    with ExitStack() as stack:
        server = GitServer(root, port)
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        running = stack.enter_context(
            RunningWorld(GitWorld(tmp_path / "world", ingress="nginx", port=port))
        )
        yield Served(running, server, tmp_path)


async def test_git_clones_and_pushes_with_an_app_password_until_its_person_is_removed(
    served: Served,
) -> None:
    world = served.running
    async with Person() as bob:
        await bob.log_in(f"{world.world.url(HOST)}/_auth/login?rd=/", "bob@acme.test")
        page = await bob.open(f"{world.world.url(HOST)}/_auth/sessions")
        assert maker(page) is None
        page = await bob.click(page, "Sign in again")
        assert page.url == f"{world.world.url(HOST)}/_auth/sessions"
        form = maker(page)
        assert form is not None
        await bob.open(f"{world.world.url('calendar.acme.localhost')}/_auth/login?rd=/")
        for other in ("calendar.acme.localhost", "login.localhost"):
            elsewhere = await bob.open(f"{world.world.url(other)}/_auth/sessions")
            assert (elsewhere.status, maker(elsewhere)) == (200, None), "it was for this host"
            again = any("Sign in again" in label for label, _ in elsewhere.links)
            assert again is (other == "login.localhost"), "no rule of the calendar takes any"
        made = await bob.submit(
            page, {"name": "git", "host": HOST, "path": "/repos", "days": "30"}, form=form
        )
    found = re.search(r">(gwap_[A-Za-z0-9_-]{69})<", made.text)
    assert found is not None, made.text
    credential = f"bob:{found[1]}"
    served.server.authorization.clear()

    for ingress in ("nginx", "traefik"):
        world.run(world.world.change_ingress(ingress))
        clone_and_push(served, ingress, credential)
    assert served.server.people - {""} == {"bob@acme.test"}
    assert set(served.server.authorization) == {None}, "the application never sees it"
    assert found[1][31:] not in world.log()

    assert served.git("-C", "traefik", "fetch").returncode == 0, "in use until the end"
    directory = world.world.cloud.customers["acme-okta"].server.directory
    person = directory.by_email("bob@acme.test")
    assert person is not None
    world.run(directory.deactivate(person))
    deadline = time.monotonic() + REMOVAL_S
    while served.git("-C", "traefik", "fetch").returncode == 0:
        assert time.monotonic() < deadline, "Okta's event has ended nothing"
    seen = len(served.server.authorization)
    for clone in ("traefik", "nginx"):
        out = served.git("-C", clone, "fetch")
        assert out.returncode != 0
        assert "Authentication failed" in out.stderr
    assert len(served.server.authorization) == seen, "nothing reaches the application"
    world.run(directory.activate(person))
    while not await signs_in(world):
        assert time.monotonic() < deadline, "given back, the person can sign in"
    assert served.git("-C", "traefik", "fetch").returncode != 0, "it ended for good"


async def signs_in(world: RunningWorld) -> bool:
    async with Person() as bob:
        await bob.log_in(f"{world.world.url(HOST)}/_auth/login?rd=/", "bob@acme.test")
        return "__Host-gw" in bob.cookies(HOST)


def maker(page: Page) -> int | None:
    """Number of the form that makes an app password, where the page has it."""
    return next(
        (n for n, form in enumerate(page.forms) if form.fields.get("app_password") == "new"), None
    )


def clone_and_push(served: Served, ingress: str, credential: str) -> None:
    """One commit of 100 kB, which git sends in chunks."""
    before = len(served.server.authorization)
    refused = served.git("clone", "ORIGIN", "nobody")
    assert refused.returncode != 0
    assert "could not read Username" in refused.stderr, "a challenge that git knows"
    assert len(served.server.authorization) == before
    cloned = served.git("clone", "--quiet", "ORIGIN", ingress, credential=credential)
    assert cloned.returncode == 0, cloned.stderr
    content = os.urandom(100_000)
    (served.folder / ingress / f"of-{ingress}").write_bytes(content)
    for step in (
        ("add", "."),
        ("commit", "--quiet", "-m", ingress),
        ("push", "--quiet", "origin", "HEAD:main"),
    ):
        done = served.git("-C", ingress, *step)
        assert done.returncode == 0, done.stderr
    again = served.git("clone", "--quiet", "ORIGIN", f"{ingress}-again", credential=credential)
    assert again.returncode == 0, again.stderr
    assert (served.folder / f"{ingress}-again" / f"of-{ingress}").read_bytes() == content
