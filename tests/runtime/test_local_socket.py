"""The socket of the gateway's own machine: whose it is, and whom it answers."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.admin.callers import LOCAL_HOST, LocalCallers
from gateway.admin.keys import Scope
from gateway.admin.problem import Problem
from gateway.cli.client import LOCAL_HOST as ASKED
from gateway.runtime.local_socket import SOCKET, LocalSocket, local_socket
from tests.cli.served import Served
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("gateway") / "g", sample("filed")) as running:
        yield running


class Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__(LOCAL_HOST, timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def ask(
    served: Served,
    path: str = "/admin/v1/tenants",
    headers: dict[str, str] | None = None,
    *,
    host: str = LOCAL_HOST,
) -> tuple[int, dict[str, Any]]:
    connection = Unix(served.state / SOCKET)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"Host": host, **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        raw = response.read()
        return response.status, json.loads(raw) if raw.startswith(b"{") else {}
    finally:
        connection.close()


def test_root_and_the_gateways_own_user_are_answered_without_a_key(served: Served) -> None:
    assert ASKED == LOCAL_HOST
    status, found = ask(served)
    assert (status, [row["tenant"]["id"] for row in found["items"]]) == (200, ["filed"])
    mode = (served.state / SOCKET).stat().st_mode
    assert oct(mode & 0o777) == "0o600"


@pytest.mark.parametrize("path", ["/admin/v1/tenants", "/admin/v1/openapi.json", "/metrics", "/"])
@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({}, "acme.example.com"),
        ({}, "localhost"),
        ({}, f"{LOCAL_HOST}.example.com"),
        ({"Origin": "https://evil.example"}, LOCAL_HOST),
        ({"Origin": "null"}, LOCAL_HOST),
        ({"Referer": "https://evil.example/"}, LOCAL_HOST),
        ({"Sec-Fetch-Site": "none"}, LOCAL_HOST),
        ({"X-Forwarded-For": "10.0.0.1"}, LOCAL_HOST),
        ({"Forwarded": "for=10.0.0.1"}, LOCAL_HOST),
        ({"Via": "1.1 proxy"}, LOCAL_HOST),
        ({"X-Real-IP": "10.0.0.1"}, LOCAL_HOST),
        ({"Cookie": "__Host-gw=x"}, LOCAL_HOST),
        ({"Authorization": "Bearer gwk_x"}, LOCAL_HOST),
    ],
    ids=str,
)
def test_what_came_from_the_web_is_refused_before_anything_is_looked_at(
    served: Served, path: str, headers: dict[str, str], host: str
) -> None:
    status, found = ask(served, path, headers, host=host)
    assert status == 403
    assert found["code"] == "forwarded"
    assert "filed" not in json.dumps(found)


def test_nothing_but_the_api_is_served_there(served: Served) -> None:
    for path in ("/metrics", "/readyz", "/healthz", "/hooks/okta/acme/acme-okta", "/"):
        assert ask(served, path)[0] == 404


@pytest.mark.parametrize(
    ("uid", "answered"), [(0, True), (1000, True), (1001, False), (None, False)]
)
async def test_the_kernel_says_who_is_at_the_other_end(uid: int | None, answered: bool) -> None:
    from aiohttp.test_utils import make_mocked_request

    request = make_mocked_request("GET", "/admin/v1/tenants", headers={"Host": LOCAL_HOST})
    callers = LocalCallers(uid=1000, user_of=lambda _request: uid)
    if answered:
        caller = await callers.identify(request)
        assert caller.may(Scope.OPERATOR)
        assert (caller.tenant, caller.actor.partition(":")[0]) == (None, "local")
    else:
        with pytest.raises(Problem) as refused:
            await callers.identify(request)
        assert refused.value.code == "peer_refused"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_of_the_machine_gets_nowhere(served: Served) -> None:
    """Neither by the file's mode nor, were that opened, by who they are."""
    path = served.state / SOCKET
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1])\n"
        "except PermissionError: sys.exit('not permitted')\n"
        f"s.sendall(b'GET /admin/v1/tenants HTTP/1.1\\r\\nHost: {LOCAL_HOST}\\r\\n"
        "Connection: close\\r\\n\\r\\n')\n"
        "print(s.makefile().read())\n"
    )
    folders = [path.parent, *path.parents]
    modes = {folder: folder.stat().st_mode for folder in folders}
    try:
        for folder in folders:
            folder.chmod(modes[folder] | 0o055)
        for mode, said in ((0o600, "not permitted"), (0o666, "peer_refused")):
            path.chmod(mode)
            done = subprocess.run(
                [sys.executable, "-c", program, str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert said in done.stdout + done.stderr
            assert "filed" not in done.stdout
    finally:
        path.chmod(0o600)
        for folder in folders:
            folder.chmod(modes[folder])


def test_no_tcp_listener_opens_without_a_key(served: Served) -> None:
    for path in ("/admin/v1/tenants", "/admin/v1/tenants/filed/reveal"):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", path, headers={"Host": LOCAL_HOST})
        assert connection.getresponse().status in {401, 405}
        connection.close()


def a_runner(answer: str) -> web.AppRunner:
    async def say(_request: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_get("/", say)
    return web.AppRunner(app, access_log=None)


async def said(state: Path) -> object:
    def ask_it() -> object:
        connection = Unix(state / SOCKET)
        try:
            connection.request("GET", "/")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    return await asyncio.to_thread(ask_it)


async def test_a_dead_processs_socket_is_replaced_and_a_living_ones_never(tmp_path: Path) -> None:
    state = tmp_path / ("long-" * 30)
    state.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        directory = os.open(state, os.O_PATH)
        dead.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        os.close(directory)
    (state / f"{SOCKET}.new").write_text("left by a crash")
    link = tmp_path / "s"
    link.symlink_to(state)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(local_socket(state, a_runner("first")))
        assert await said(link) == "first"
        await stack.enter_async_context(local_socket(state, a_runner("second")))
        assert await said(link) == "first"
        await first.aclose()
        async with asyncio.timeout(10):
            while not (state / SOCKET).exists():  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
        assert await said(link) == "second"
    assert sorted(path.name for path in state.iterdir()) == ["admin.lock"]


async def test_where_it_cannot_be_the_admin_role_serves_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    async with local_socket(tmp_path / "state", a_runner("never")):
        await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == ["local_socket_unavailable"]


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from gateway.runtime.local_socket import LocalSocket\n"
        "assert LocalSocket(Path(sys.argv[1])).acquire() is not None\n"
        "print('bound', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"bound\n"
        mine = LocalSocket(tmp_path)
        assert mine.acquire() is None
        other.kill()
    assert (tmp_path / SOCKET).exists()
    bound = mine.acquire()
    assert bound is not None
    bound.close()
    mine.release()
    assert not (tmp_path / SOCKET).exists()
