"""The doctor reports each hole that is really there, and none where there is none. Both directions, through the real proxies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from demo.ingress import LAUNCHERS, RunningIngress, start
from demo.world import World
from gateway import keys
from gateway.cli import cli
from gateway.core.model import Secret
from gateway.deploy import KINDS, render
from gateway.doctor import Doctor, DoctorError, Finding, Target
from gateway.doctor.advice import ADVICE
from gateway.errors import ConfigError
from gateway.ports_admin import Scope
from gateway.sql.admin_keys import SqlAdminKeys
from gateway.sql.audit import SqlAuditLog
from gateway.sql.database import open_database
from gateway.sql.idempotency import SqlIdempotency
from tests.ingress.conftest import free_port
from tests.ingress.naive import HOLES, naive
from tests.ingress.stand import ACME, NOW, Stand
from tests.sql.fixtures import config_with
from tests.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path


class Office:
    """Where the doctor reads: an admin API over the stand's records, and a key of scope ``doctor``."""

    def __init__(self, url: str, key: Secret) -> None:
        self.url = url
        self.key = key

    async def examine(self, port: int, *, paths: tuple[str, ...] = (), app: int | None = None, check: int | None = None) -> dict[str, Finding]:
        target = Target.of(f"http://{ACME}:{port}/")
        doctor = Doctor(
            target, self.url, self.key, paths=paths, app=("127.0.0.1", app) if app else None, check=("127.0.0.1", check) if check else None,
        )  # fmt: skip
        return {finding.code: finding for finding in await doctor.examine()}


@pytest.fixture
async def office(stand: Stand, tmp_path: Path) -> AsyncIterator[Office]:
    ring = keys.generate()
    database = open_database(config_with(tmp_path / "state"), lambda: ring.database)
    await database.prepare()
    admin_keys = SqlAdminKeys(database, clock=lambda: NOW)
    made = await admin_keys.create(name="doctor", scopes=[Scope.DOCTOR], tenant=None, lifetime_s=None)
    assert made is not None
    runner = await stand.serve_admin(admin_keys, SqlAuditLog(database, clock=lambda: NOW), SqlIdempotency(database, clock=lambda: NOW))
    yield Office(f"http://127.0.0.1:{runner.addresses[0][1]}", made.presented)
    await runner.cleanup()
    await database.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[str, Mapping[str, str], int], RunningIngress]]:
    """Starts a proxy with given files for one test."""
    started: list[RunningIngress] = []

    def get(kind: str, files: Mapping[str, str], port: int) -> RunningIngress:
        if LAUNCHERS[kind].binary() is None:
            pytest.skip(f"{kind} is not installed")
        started.append(start(LAUNCHERS[kind], files, directory=tmp_path / f"ingress-{len(started)}", port=port, host=ACME))
        return started[-1]

    yield get
    for ingress in started:
        ingress.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_found_on_a_shipped_configuration(kind: str, proxies: Callable[[str], RunningIngress], office: Office) -> None:
    found = await office.examine(proxies(kind).port)
    assert found == {}, "\n".join(f"{f.code}: {f.evidence}" for f in found.values())


@pytest.mark.parametrize("kind", KINDS)
async def test_every_hole_of_a_naive_configuration_is_found_and_no_other(kind: str, running: Callable[..., RunningIngress], office: Office, stand: Stand) -> None:
    port = free_port()
    running(kind, naive(kind, stand.site(port), app=f"127.0.0.1:{stand.app_port}"), port)
    found = await office.examine(port)
    assert set(found) == HOLES[kind], "\n".join(f"{f.code}: {f.evidence}" for f in found.values())
    for finding in found.values():
        assert finding.evidence
        assert finding.fix


MUTATIONS: dict[str, tuple[str, str, str]] = {
    # finding: kind, what is changed, into what
    "key_missing": ("nginx", 'proxy_set_header X-Gateway-Key "the-ingress', 'proxy_set_header X-Other-Key "the-ingress'),
    "path_confusion": (
        "nginx",
        "location = /_auth/doctor {\n      proxy_pass http://gateway_public;",
        "location = /_auth/doctor {\n      proxy_pass http://gateway_public/_auth/doctor;",
    ),
    "small_head": ("nginx", "proxy_buffer_size 64k;\n      proxy_busy_buffers_size 64k;", "proxy_buffer_size 4k;"),
    "websocket_lost": ("nginx", "proxy_set_header Upgrade $gw_upgrade;", ""),
    "cookie_in_app": ("nginx", "proxy_set_header Cookie $gw_cookies;", "proxy_set_header Cookie $http_cookie;"),
    "login_lost": ("nginx", "error_page 401 = @gateway_login;", ""),
    "location_missing": ("nginx", "location = /_auth/doctor {\n      proxy_pass http://gateway_public;", "location = /_auth/doctor {\n      return 404;"),
    "pages_asked": ("nginx", "location ^~ /_auth/ {\n      auth_request off;", "location ^~ /_auth/ {"),
    "default_host": ("nginx", "return 421;\n  }", "location / { proxy_pass http://app; }\n  }"),
    "identity_alias": ("traefik", "aliasHeadersStrategy: delete", ""),
    "key_in_app": ("nginx", "proxy_set_header Cookie $gw_cookies;", 'proxy_set_header Cookie $gw_cookies; proxy_set_header X-Gateway-Key "anything";'),
    "connection_strips": ("caddy", "request_header @plain -Connection", ""),
    "h2c_relayed": ("nginx", '"~*^websocket$" websocket;', "~. $http_upgrade;"),
    "identity_forged": ("nginx", "$gw_x_auth_request_roles;\n  proxy", "$http_x_auth_request_roles;\n  proxy"),
    "foreign_identity": ("nginx", "proxy_set_header Cookie $gw_cookies;", "proxy_set_header Cookie $gw_cookies; proxy_set_header X-Forwarded-User $http_x_forwarded_user;"),
    "foreign_words": ("nginx", "proxy_set_header Cookie $gw_cookies;", "proxy_set_header Cookie $gw_cookies; proxy_set_header X-Original-Url $http_x_original_url;"),
    "identity_lost": ("haproxy", '"x-auth-request-user", ', ""),
}


@pytest.mark.parametrize("code", MUTATIONS)
async def test_one_line_changed_in_a_shipped_configuration_is_found(code: str, running: Callable[..., RunningIngress], office: Office, stand: Stand) -> None:
    kind, line, instead = MUTATIONS[code]
    port = free_port()
    files = {}
    changed = 0
    for name, text in render(kind, stand.site(port)).items():
        changed += text.count(line)
        files[name] = text.replace(line, instead)
    assert changed, "the line is not in the shipped configuration"
    running(kind, files, port)
    found = await office.examine(port)
    assert code in found, found.keys()


async def test_a_path_that_an_operator_names_is_examined_too(running: Callable[..., RunningIngress], office: Office, stand: Stand) -> None:
    port = free_port()
    text = render("nginx", stand.site(port))["nginx.conf"].replace("    location / {", '    location = /status.html { return 200 "ok"; }\n    location / {')
    running("nginx", {"nginx.conf": text}, port)
    assert "not_asked" not in await office.examine(port)
    assert "/status.html" in (await office.examine(port, paths=("/status.html",)))["not_asked"].evidence[0]


async def test_an_application_without_an_ingress_is_open(stand: Stand, office: Office) -> None:
    found = await office.examine(stand.app_port)
    assert found["not_asked"].severity == "critical"


async def test_addresses_behind_the_ingress_that_answer_are_reported(proxies: Callable[[str], RunningIngress], stand: Stand, office: Office) -> None:
    found = await office.examine(proxies("nginx").port, app=stand.app_port, check=stand.check_port)
    assert found["app_reachable"].severity == "critical"
    assert found["check_reachable"].severity == "warning"
    assert await office.examine(proxies("nginx").port, app=free_port(), check=free_port()) == {}


async def test_a_gateway_that_cannot_be_asked_is_reported_and_not_taken_for_safety(running: Callable[..., RunningIngress], stand: Stand, office: Office) -> None:
    port = free_port()
    running("nginx", render("nginx", stand.site(port, check_port=free_port())), port)
    found = await office.examine(port)
    assert "gateway_unreachable" in found
    assert "not_asked" not in found


async def test_an_examination_that_cannot_be_made_says_why(stand: Stand, office: Office) -> None:
    with pytest.raises(DoctorError, match="does not answer"):
        await office.examine(free_port())
    with pytest.raises(DoctorError, match="401"):
        await Office(office.url, Secret("gwa_wrong")).examine(stand.app_port)
    with pytest.raises(DoctorError, match="does not answer"):
        await Office("http://127.0.0.1:1", office.key).examine(stand.app_port)


@pytest.mark.parametrize("url", ["ftp://acme.localhost/", "http://127.0.0.1/", "http://acme.localhost/path", "http://a b/", "http://acme.localhost:99999/", "acme.localhost"])
def test_only_the_url_of_a_protected_host_can_be_examined(url: str) -> None:
    with pytest.raises(ConfigError):
        Target.of(url)


async def test_the_command_reports_findings_and_exits_1(stand: Stand, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("DOCTOR_KEY", office.key.reveal())
    url = f"http://{ACME}:{stand.app_port}/"

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["ingress", "doctor", url, "--admin", office.url, *arguments], standalone_mode=False)
        assert result.exception is None, result.exception
        return result.return_value, result.output

    code, output = await asyncio.to_thread(run, "--json")
    assert code == 1
    assert {entry["code"] for entry in json.loads(output)} >= {"not_asked"}
    code, output = await asyncio.to_thread(run)
    assert code == 1
    assert "CRITICAL  A path is served without asking the gateway  [not_asked]" in output
    assert office.key.reveal() not in output


def test_a_key_on_the_command_line_is_refused() -> None:
    result = CliRunner().invoke(cli, ["ingress", "doctor", "http://acme.localhost/", "--key", "gwa_secret"], standalone_mode=False)
    assert isinstance(result.exception, ConfigError)
    assert "gwa_secret" not in str(result.exception)


def test_every_finding_says_what_to_do() -> None:
    for code, entry in ADVICE.items():
        assert entry.title, code
        assert entry.general, code
        assert set(entry.lines) <= set(KINDS), code


def test_nothing_is_found_on_the_whole_product_with_a_key_that_only_examines(tmp_path: Path) -> None:
    """The shipped gateway, not the stand: check, test location, records in Valkey and admin API, found through the command itself."""
    with RunningWorld(World(tmp_path, ingress="nginx")) as running:
        world = running.world
        made = json.loads(running.run(world.command("admin-keys", "create", "doctor", "--scope", "doctor", "--json")))
        (tmp_path / "key").write_text(made["key"])
        admin = f"http://127.0.0.1:{world.gateways[0].ports['admin']}"
        found = running.run(world.command("ingress", "doctor", world.url("acme.localhost"), "--admin", admin, "--key", f"file:{tmp_path / 'key'}", "--json"))
        assert json.loads(found) == []
        with pytest.raises(RuntimeError):
            running.run(world.command("ingress", "doctor", f"http://acme.localhost:{world.apps['legacy']}", "--admin", admin, "--key", f"file:{tmp_path / 'key'}"))
