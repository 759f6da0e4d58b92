"""Commands at a gateway elsewhere: how it is named, what is sent to it, and what is told."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.cli import provision, run
from gateway.cli.client import MAX_WAITS, Answer, Api, CommandError, ProblemError
from tests.cli.served import ACME, Served
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "gwk_0123456789ab_" + "A" * 43


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("gateway") / "g", sample("filed"), ACME) as running:
        yield running


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of this machine's."""
    monkeypatch.chdir(tmp_path)
    for name in ("GATEWAY_SERVER", "GATEWAY_ADMIN_KEY", "GATEWAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def a_key(served: Served, *scopes: Scope, tenant: str | None = None) -> str:
    keys = AdminKeys(served.stores.database, clock=served.stores.database.clock)
    made = served.wait_for(
        keys.create(
            name=os.urandom(4).hex(), scopes=scopes, tenant=tenant, lifetime_s=None, made_by="test"
        )
    )
    assert made is not None
    return made.presented.reveal()


class Elsewhere:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.answers: list[tuple[int, str, bytes, dict[str, str]]] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        elsewhere = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                elsewhere.asked.append((self.command, self.path, dict(self.headers)))
                status, kind, body, headers = elsewhere.answers.pop(0)
                self.send_response(status)
                for name, value in {"Content-Type": kind, **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = do_PUT = answer  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port

    def json(self, document: object, status: int = 200, **headers: str) -> None:
        self.answers.append((status, "application/json", json.dumps(document).encode(), headers))

    @contextmanager
    def running(self) -> Iterator[Elsewhere]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere(None).running() as running:
        yield running


NOTHING: dict[str, Any] = {"items": [], "next": None}


def test_a_server_is_asked_with_its_key_before_or_after_the_command(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = a_key(served, Scope.TENANTS_READ)
    monkeypatch.setenv("MY_KEY", key)
    named = ["--server", f"http://127.0.0.1:{served.port}", "--key", "env:MY_KEY"]
    for line in (
        [*named, "tenants", "list"],
        ["tenants", *named, "list"],
        ["tenants", "list", *named],
        [*named[:2], "tenants", "list", *named[2:]],
    ):
        assert run(line) == 0
        assert "filed" in capsys.readouterr().out
    monkeypatch.setenv("GATEWAY_SERVER", named[1])
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", key)
    assert run(["tenants", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["tenant"]["id"] for row in found["items"]] == ["acme", "filed"]
    assert set(found) == {"items", "next"}
    # What is said counts, and not the environment.
    assert run(["tenants", "list", "--server", "http://127.0.0.1:1"]) == 3
    assert run(["blocks", "list"]) == 4
    assert "The key does not have the scope" in capsys.readouterr().err


def test_the_configuration_is_named_before_or_after_the_command(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["-c", str(served.config_path)]
    for line in ([*config, "tenants", "list"], ["tenants", *config, "list"]):
        assert run(line) == 0
    assert run([*config, "keys", "list"]) == 0
    assert run([*config, "--server", "https://x", "keys", "list"]) == 2
    assert "--server means nothing to it" in capsys.readouterr().err


def test_a_key_travels_over_tls_to_a_trusted_server_only(
    certificate: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Elsewhere(context).running() as elsewhere:
        line = ["tenants", "list", "--key", "env:MY_KEY", "--server"]
        assert run([*line, f"https://127.0.0.1:{elsewhere.port}"]) == 3
        assert "not trusted here: set --ca" in capsys.readouterr().err
        assert elsewhere.asked == []
        elsewhere.json(NOTHING)
        ca = ["--ca", str(certificate[0])]
        assert run([*line, f"https://127.0.0.1:{elsewhere.port}", *ca]) == 0
        ((_, path, headers),) = elsewhere.asked
        assert (path.partition("?")[0], headers["Authorization"]) == (
            "/admin/v1/tenants",
            f"Bearer {KEY}",
        )


@pytest.mark.parametrize(
    "server",
    [
        "http://gateway.internal:8082",
        "http://10.0.0.5",
        "http://localhost.example.com",
        "http://[fd00::1]",
    ],
)
def test_no_key_crosses_a_network_readable(
    server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it was called"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("it was asked for"))
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    assert run(["tenants", "list", "--server", server]) == 2
    assert "--insecure-http permits that" in capsys.readouterr().err


def test_plain_http_to_another_machine_is_an_operators_own_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    line = ["tenants", "list", "--server", "http://gateway.invalid:1", "--timeout", "1"]
    assert run([*line, "--insecure-http"]) == 3
    assert run(["--insecure-http", *line]) == 3
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (KEY, "--key: env:NAME or file:PATH; a key on the command line is seen by everybody"),
        ("env:NOT_SET", "--key: the environment variable NOT_SET is not set"),
        ("file:/nowhere/key", "--key: the file /nowhere/key cannot be read"),
        ("env:BROKEN", "--key: is no key of gateway admin-keys create"),
    ],
)
def test_a_key_is_never_written_or_told(
    said: str, why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", f"{KEY} X-Admin: yes")
    assert run(["tenants", "list", "--server", "https://127.0.0.1:1", "--key", said]) == 2
    out, err = capsys.readouterr()
    assert why in err
    assert KEY[17:] not in out + err


def test_a_server_without_a_key_and_a_key_in_the_environment(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["tenants", "list", "--server", f"http://127.0.0.1:{elsewhere.port}"]
    assert run(line) == 2
    assert "a server wants a key: --key env:NAME" in capsys.readouterr().err
    elsewhere.json({"code": "key_unknown", "status": 401, "title": "This key is not known"}, 401)
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    assert run(line) == 4
    out, err = capsys.readouterr()
    assert err == "gateway: This key is not known (key_unknown)\n"
    assert KEY not in out + err


@pytest.mark.parametrize(
    "server",
    ["gateway.internal", "ftp://x", "https://", "https://u:p@x", "https://x/?a", "https://x:y"],
)
def test_what_is_no_address_of_a_server_is_refused(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    assert run(["tenants", "list", "--server", server]) == 2
    assert "--server: https://HOST[:PORT]" in capsys.readouterr().err


def test_a_redirect_takes_the_key_nowhere(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    other = f"http://127.0.0.1:{elsewhere.port}/elsewhere"
    elsewhere.answers.append((307, "text/html", b"<p>there", {"Location": other}))
    assert run(["tenants", "list", "--server", f"http://127.0.0.1:{elsewhere.port}"]) == 3
    assert len(elsewhere.asked) == 1
    assert "answered 307, and not as an admin API does" in capsys.readouterr().err


def test_a_problem_is_told_in_its_own_words_with_its_places(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    line = ["sessions", "show", "../../tenants?x=1#y", "--server"]
    line += [f"http://127.0.0.1:{elsewhere.port}"]
    problem = {"code": "invalid_body", "status": 400, "title": "The body is not valid"}
    told = [{"where": "rules.0.path", "problem": "begins with /"}]
    elsewhere.json({**problem, "detail": "rules.0.path: begins with /", "errors": told}, 400)
    assert run(line) == 2
    assert capsys.readouterr().err == (
        "gateway: The body is not valid (invalid_body)\n  rules.0.path: begins with /\n"
    )
    assert elsewhere.asked[0][1] == "/admin/v1/sessions/..%2F..%2Ftenants%3Fx%3D1%23y"
    away = {"code": "unavailable", "status": 503, "title": "Not now", "request_id": "r1"}
    elsewhere.json({**away, "detail": "SQL \x1b[2J is away"}, 503)
    assert run(line) == 1
    assert capsys.readouterr().err == (
        "gateway: Not now: SQL \\x1b[2J is away (unavailable, request r1)\n"
    )


def test_what_people_are_called_moves_no_cursor(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    row = {"session": "s", "tenant": "acme", "user": "u", "email": "a\x1b]0;x\x07@acme.test"}
    more = {"provider": "p", "hosts": [], "created_at": 0, "expires_at": 0, "user_agent": ""}
    elsewhere.json({"items": [{**row, **more}], "next": None})
    line = ["sessions", "list", "--tenant", "acme"]
    assert run([*line, "--server", f"http://127.0.0.1:{elsewhere.port}"]) == 0
    assert "a\\x1b]0;x\\x07@acme.test" in capsys.readouterr().out


def test_pages_are_one_list_and_too_many_requests_are_waited_out(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    waits: list[float] = []
    monkeypatch.setattr("gateway.cli.client.time.sleep", waits.append)
    busy = {"code": "rate_limited", "status": 429, "title": "Too many requests"}
    elsewhere.json({"items": [{"id": "1"}], "next": "abc"})
    elsewhere.json(busy, 429, **{"Retry-After": "2"})
    elsewhere.json({"items": [{"id": "2"}], "next": None})
    line = ["hooks", "held", "list", "--json", "--server", f"http://127.0.0.1:{elsewhere.port}"]
    assert run(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"items": [{"id": "1"}, {"id": "2"}], "next": None}
    assert waits == [2.0]
    assert "cursor=abc" in elsewhere.asked[1][1]
    for _ in range(MAX_WAITS):
        elsewhere.json(busy, 429)
    assert run(line) == 1
    assert "Too many requests" in capsys.readouterr().err


def test_a_change_without_an_answer_may_have_been_done(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", KEY)
    line = ["sessions", "revoke", "--tenant", "acme", "--all"]
    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.send_response", _hang_up)
    elsewhere.json({})
    assert run([*line, "--server", f"http://127.0.0.1:{elsewhere.port}"]) == 3
    assert "it may have been done; look before you try again" in capsys.readouterr().err


def _hang_up(handler: http.server.BaseHTTPRequestHandler, *_: object) -> None:
    handler.connection.close()
    raise ConnectionAbortedError


def test_a_bound_key_is_told_what_it_may_not_do(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", a_key(served, Scope.OPERATOR, tenant="acme"))
    monkeypatch.setenv("GATEWAY_SERVER", f"http://127.0.0.1:{served.port}")
    assert run(["tenants", "show", "filed"]) == 4
    assert "this key is for tenant acme (wrong_tenant)" in capsys.readouterr().err
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", a_key(served, Scope.OPERATOR))
    assert run(["tenants", "export", "--reveal-secrets"]) == 0  # none is in SQL


def test_secrets_leave_over_the_local_socket_only(
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path / "folder", sample("globex"))
    assert served.run("tenants", "apply", tmp_path / "folder") == 0
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", a_key(served, Scope.OPERATOR))
    capsys.readouterr()
    elsewhere = ["--server", f"http://127.0.0.1:{served.port}"]
    assert run([*elsewhere, "tenants", "export", "--reveal-secrets"]) == 4
    out, err = capsys.readouterr()
    assert "Only on the gateway's own machine (local_only)" in err
    assert "secret of globex" not in out + err
    assert served(capsys, "tenants", "export", "--reveal-secrets")[1].count("secret of globex") == 1
    reveals = [(e.actor, e.outcome) for e in served.audit() if e.action == "reveal_tenant"]
    assert reveals == [(f"local:{served.user}", "done")]
    served.forget()


def test_where_nobody_answers_it_is_said_how_to_start_or_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of somebody who deletes a tenant while the admin role is down."""
    config = tmp_path / "gateway.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    assert run(["tenants", "delete", "acme", "--yes", "-c", str(config)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"gateway: no gateway with the admin role answers at {tmp_path / 'state' / 'admin.sock'}: "
        "there is no such socket. Nothing was done.\n"
    )
    assert f"gateway serve -c {config} --role admin" in err
    assert "gateway --server https://HOST:PORT --key env:NAME" in err
    assert run(["tenants", "delete", "acme", "--yes"]) == 3
    assert "there is no config/gateway.yaml here" in capsys.readouterr().err


def test_mistyped_commands_and_options_are_told_what_they_may_have_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line, meant in (
        (["tenant", "list"], "'tenants'"),
        (["sessions", "revok"], "'revoke'"),
        (["tenants", "list", "--sever", "x"], "'--server'"),
    ):
        assert run(line) == 2
        assert f"Did you mean {meant}" in capsys.readouterr().err


def test_the_shell_is_given_completions() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={
            **os.environ,
            "_GATEWAY_COMPLETE": "bash_complete",
            "COMP_WORDS": "gateway tenants ex",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == ["plain,export"]


def test_a_problem_without_members_is_a_problem_all_the_same() -> None:
    assert ProblemError({"code": "x"}).exit_code == 1


def test_the_steps_of_a_run_are_told_while_it_is_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "POLL_S", 0.01)
    both_told = threading.Event()
    steps = [
        {"state": "done", "action": "create_provider", "resource": "acme-okta"},
        {"state": "intended", "action": "create_client", "resource": "acme"},
    ]

    class Slow:
        looks = 0

        def pages(self, _path: str, *, limit: int) -> dict[str, Any]:
            self.looks += 1
            return {"items": [{"id": "before" if self.looks == 1 else "now"}][:limit]}

        def get(self, path: str) -> dict[str, Any]:
            assert path == "/tenants/acme/provision/now"
            if self.looks == 3:
                raise CommandError("away for a moment", exit_code=3)
            if self.looks > 3:
                steps[1]["state"] = "done"
            if self.looks > 5:
                both_told.set()
            return {"steps": steps}

    def work() -> Answer:
        assert both_told.wait(10)
        return Answer({"run": "now"})

    assert provision.followed(cast("Api", Slow()), "acme", work) == {"run": "now"}
    assert capsys.readouterr().err.splitlines() == [
        "  done       create provider acme-okta",
        "  done       create client acme",
    ]

    def refused() -> Answer:
        raise ProblemError({"code": "busy", "title": "Busy", "status": 409})

    with pytest.raises(ProblemError, match="Busy"):
        provision.followed(cast("Api", Slow()), "acme", refused)
