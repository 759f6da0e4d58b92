"""The doctor reports each hole that is really there, and none where there is none. Both directions,
through the real proxies.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from dataclasses import replace
from secrets import token_bytes
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from click.testing import CliRunner

from demo import net
from demo.ingress import LAUNCHERS, RunningIngress, start
from demo.processes import free_port
from demo.world import World
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.cli import cli
from gateway.config.types import DEFAULT_HEADERS
from gateway.core.model import Secret
from gateway.core.probe import CHANCE_BYTES, FORGED, LOCATION, PARAMETER, issue
from gateway.database.audit import AuditLog
from gateway.database.engine import open_database
from gateway.doctor import run
from gateway.doctor.advice import ADVICE
from gateway.doctor.evidence import Finding, Outcome
from gateway.doctor.families import readers
from gateway.doctor.findings import judge
from gateway.doctor.probes import shots
from gateway.doctor.run import Doctor, DoctorError, Target
from gateway.doctor.shot import ProbePlan, Shot
from gateway.doctor.wire import Reply
from gateway.errors import ConfigError
from gateway.ingress_config import KINDS, render
from gateway.keys import ring as keys
from tests.database.fixtures import config_with
from tests.database.template import embedded_database
from tests.ingress.naive import HOLES, naive
from tests.ingress.stand import ACME, COOKIE, NOW, PROBE_KEY, Stand
from tests.ingress.wire import request, send
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path


class Office:
    """Where the doctor reads: an admin API over the stand's records, and a key of scope
    ``doctor``.
    """

    def __init__(self, url: str, key: Secret) -> None:
        self.url = url
        self.key = key

    async def examine(
        self,
        port: int,
        *,
        paths: tuple[str, ...] = (),
        public: tuple[str, ...] = (),
        app: int | None = None,
        check: int | None = None,
    ) -> dict[str, Finding]:
        target = Target.of(f"http://{ACME}:{port}/")
        doctor = Doctor(
            target,
            self.url,
            self.key,
            paths=paths,
            public=public,
            app=("127.0.0.1", app) if app else None,
            check=("127.0.0.1", check) if check else None,
        )
        return {finding.code: finding for finding in await doctor.examine()}


@pytest.fixture
async def office(stand: Stand, tmp_path: Path) -> AsyncIterator[Office]:
    ring = keys.generate()
    embedded_database(tmp_path / "state")
    database = open_database(config_with(tmp_path / "state"), lambda: ring.database)
    await database.prepare()
    admin_keys = AdminKeys(database, clock=lambda: NOW)
    made = await admin_keys.create(
        name="doctor", scopes=[Scope.DOCTOR], tenant=None, lifetime_s=None, made_by="test"
    )
    assert made is not None
    runner = await stand.serve_admin(
        admin_keys,
        AuditLog(database, clock=lambda: NOW),
        IdempotencyRecords(database, clock=lambda: NOW),
    )
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
        started.append(
            start(
                LAUNCHERS[kind],
                files,
                directory=tmp_path / f"ingress-{len(started)}",
                port=port,
                host=ACME,
            )
        )
        return started[-1]

    yield get
    for ingress in started:
        ingress.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_found_on_a_shipped_configuration(
    kind: str, proxies: Callable[[str], RunningIngress], office: Office
) -> None:
    found = await office.examine(proxies(kind).port)
    assert found == {}, "\n".join(f"{f.code}: {f.evidence}" for f in found.values())


@pytest.mark.parametrize("kind", KINDS)
async def test_every_hole_of_a_naive_configuration_is_found_and_no_other(
    kind: str, running: Callable[..., RunningIngress], office: Office, stand: Stand
) -> None:
    port = free_port()
    running(kind, naive(kind, stand.site(port), app=f"127.0.0.1:{stand.app_port}"), port)
    found = await office.examine(port)
    assert set(found) == HOLES[kind], "\n".join(f"{f.code}: {f.evidence}" for f in found.values())
    for finding in found.values():
        assert finding.evidence
        assert finding.fix


APPLICATION = "proxy_set_header Cookie $gw_cookies;"
MUTATIONS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    # what is changed, into what, and the finding; together where none hides another
    "nginx, no key": (
        "nginx",
        {
            "key_missing": (
                'proxy_set_header X-Gateway-Key "the-ingress',
                'proxy_set_header X-Other-Key "the-ingress',
            )
        },
    ),
    "nginx, no location": (
        "nginx",
        {
            "location_missing": (
                "location = /_auth/doctor {\n      proxy_pass http://gateway_public;",
                "location = /_auth/doctor {\n      return 404;",
            )
        },
    ),
    "nginx, too little": (
        "nginx",
        {
            "websocket_lost": ("proxy_set_header Upgrade $gw_upgrade;", ""),
            "pages_asked": (
                "location ^~ /_auth/ {\n      auth_request off;",
                "location ^~ /_auth/ {",
            ),
            "login_lost": ("error_page 401 = @gateway_login;", ""),
            "small_head": (
                "proxy_buffer_size 64k;\n      proxy_busy_buffers_size 64k;",
                "proxy_buffer_size 4k;",
            ),
        },
    ),
    "nginx, too much": (
        "nginx",
        {
            "path_confusion": (
                "location = /_auth/doctor {\n      proxy_pass http://gateway_public;",
                "location = /_auth/doctor {\n      proxy_pass http://gateway_public/_auth/doctor;",
            ),
            "default_host": (
                "recursive_error_pages on;",
                "recursive_error_pages on;\n    server_name acme.localhost;",
            ),
            "upgrade_relayed": ('"~*^websocket$" websocket;', "~. $http_upgrade;"),
            "host_confusion": (
                "proxy_set_header Host $host$gw_port;\n  proxy",
                "proxy_set_header Host $http_host;\n  proxy",
            ),
            "identity_forged": (
                "$gw_x_auth_request_roles;\n  proxy",
                "$http_x_auth_request_roles;\n  proxy",
            ),
            "cookie_in_app": (APPLICATION, "proxy_set_header Cookie $http_cookie; @@"),
            "app_password_in_app": (
                "proxy_set_header Authorization $gw_authorization;",
                "proxy_set_header Authorization $http_authorization;",
            ),
            "key_in_app": ("@@", 'proxy_set_header X-Gateway-Key "anything"; @@'),
            "foreign_identity": (
                "@@",
                "proxy_set_header X-Forwarded-User $http_x_forwarded_user; @@",
            ),
            "path_headers": ("@@", "proxy_set_header X-Script-Name $http_x_script_name; @@"),
            "foreign_words": ("@@", "proxy_set_header X-Client-Ip $http_x_client_ip;"),
        },
    ),
    "traefik": ("traefik", {"identity_alias": ("aliasHeadersStrategy: delete", "")}),
    "caddy": (
        "caddy",
        {
            "connection_strips": ("request_header @plain -Connection", ""),
            "upgrade_relayed": ("request_header @websocket Upgrade websocket", ""),
        },
    ),
    "envoy": ("envoy", {"fails_open": ("failure_mode_allow: false", "failure_mode_allow: true")}),
    "haproxy": (
        "haproxy",
        {
            "upgrade_relayed": ("  http-request del-header Upgrade\n", ""),
            "absolute_form": ("http-request set-uri %[pathq]", ""),
            "trailers_relayed": ("filter lua.gateway_no_trailers", ""),
            "control_bytes": ("if values[i]:find(CONTROLS) then return unreadable(txn) end", ""),
            "flood_forwarded": (
                "headers[name] = { table.concat(all(values), JOINED[name]) }",
                "headers[name] = all(values)",
            ),
            "slow_cookie": (
                "local trimmed = trim(pair)",
                'local trimmed = pair:match("^%s*(.-)%s*$")',
            ),
            "identity_lost": ('"x-auth-request-user", ', ""),
        },
    ),
    "haproxy, an action that errs": (
        "haproxy",
        {
            "fails_open": (" or allowed\n", " or allowed or TRUE\n"),
            "let_through": (
                "local function refuse(txn, status)\n",
                "local function refuse(txn, status)\n  error()\n",
            ),
        },
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
async def test_lines_changed_in_a_shipped_configuration_are_found(
    name: str, running: Callable[..., RunningIngress], office: Office, stand: Stand
) -> None:
    kind, changes = MUTATIONS[name]
    port = free_port()
    files = dict(render(kind, stand.site(port)))
    for code, (line, instead) in changes.items():
        assert any(line in text for text in files.values()), (
            f"{code}: the line is not in the shipped configuration"
        )
        files = {file: text.replace(line, instead) for file, text in files.items()}
    running(kind, files, port)
    found = await office.examine(port)
    assert set(changes) <= set(found), found.keys()


async def test_a_path_that_an_operator_names_is_examined_too(
    running: Callable[..., RunningIngress], office: Office, stand: Stand
) -> None:
    port = free_port()
    text = render("nginx", stand.site(port))["nginx.conf"].replace(
        "    location / {", '    location = /status.html { return 200 "ok"; }\n    location / {'
    )
    running("nginx", {"nginx.conf": text}, port)
    (evidence,) = (await office.examine(port, paths=("/status.html",)))["not_asked"].evidence
    assert "/status.html" in evidence


class Reader:
    """An application that knows two pages in one folder, and reads paths as it is told to."""

    def __init__(self, *readings: Callable[[str], str]) -> None:
        self._readings = readings

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = unquote(request.path)
        for reading in self._readings:
            path = reading(path)
        return web.Response(
            status=200 if path in {"/public/task.txt", "/public/strict.txt"} else 404
        )


LOOSE = Reader(
    str.lower,
    lambda path: unicodedata.normalize("NFKC", path).replace("ı", "i"),
    lambda path: path.rstrip(". "),
    lambda path: path.removesuffix(".json"),
)


async def test_how_an_application_reads_paths_is_seen_on_public_pages(
    running: Callable[..., RunningIngress],
    office: Office,
    stand: Stand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only families about paths are sent: the rest is examined elsewhere."""
    monkeypatch.setattr(run, "shots", lambda nonces, *, public, **_: _about_paths(nonces, public))
    for application, expected in ((LOOSE, {"loose_reader"}), (Reader(), set())):
        runner = web.ServerRunner(web.Server(application, access_log=None))
        await runner.setup()
        bound = net.bind()
        await web.SockSite(runner, bound.socket).start()
        port = free_port()
        site = replace(
            stand.site(port),
            apps=(replace(stand.site(port).apps[-1], upstream=f"127.0.0.1:{bound.port}"),),
        )
        running("nginx", render("nginx", site), port)
        found = await office.examine(port, public=("/public/task.txt",))
        await runner.cleanup()
        assert set(found) == expected
        if expected:
            seen = "".join(found["loose_reader"].evidence)
            assert "`ignore_case`" in seen
            assert "`suffixes`" in seen
    found = await office.examine(port, public=("/public/task.txt",))
    assert set(found) == {"page_unread"}


def _about_paths(nonces: Iterator[str], public: Sequence[str]) -> list[Shot]:
    plan = ProbePlan(nonces)
    plan.add("asked", "/", "/")
    readers(plan, public)
    return plan.shots


def outcome(
    shot: str,
    group: str,
    *,
    status: int = 200,
    body: bytes = b"",
    seconds: float = 0.0,
    check: Mapping[str, Any] | None = None,
) -> Outcome:
    return Outcome(
        Shot(group=group, name=shot, nonce="n", target="/"),
        Reply(status, body=body, seconds=seconds),
        check,
        None,
    )


CHECKED = {"dialect": "haproxy", "believed": True, "status": 200, "lines": 12}
JUDGED: dict[str, tuple[list[Outcome], set[str]]] = {
    "the cookie in an error page": (
        [
            outcome(
                "66 kB of cookies",
                "quotes",
                status=400,
                body=b"bad line: __Host-gw=cookie-of-doctor",
            )
        ],
        {"cookie_quoted"},
    ),
    "an error page that quotes nothing": (
        [outcome("66 kB of cookies", "quotes", status=400, body=b"bad request")],
        set(),
    ),
    "a NUL that the application refuses": (
        [outcome("NUL", "controls", status=400, check=CHECKED)],
        {"control_bytes"},
    ),
    "a NUL that the ingress refuses": ([outcome("NUL", "controls", status=400)], set()),
    "a flood that is an error": ([outcome("85 names", "flood", status=500)], {"odd_error"}),
    "a flood that is refused": ([outcome("85 names", "flood", status=431)], set()),
    "a flood that reaches HAProxy's client": (
        [outcome("40 names", "flood", check={**CHECKED, "lines": 47})],
        {"flood_forwarded"},
    ),
    "a flood that reaches nginx' check": (
        [outcome("40 names", "flood", check={**CHECKED, "dialect": "nginx", "lines": 47})],
        set(),
    ),
    "a slow cookie": (
        [
            outcome("9 bytes of plain", "slow", seconds=0.01),
            *[outcome("9 bytes of spaces", "slow", seconds=s) for s in (0.3, 0.2)],
        ],
        {"slow_cookie"},
    ),
    "a slow network": (
        [
            outcome("9 bytes of plain", "slow", seconds=0.2),
            *[outcome("9 bytes of spaces", "slow", seconds=s) for s in (0.9, 0.25)],
        ],
        set(),
    ),
    "an answer without a check": (
        [outcome("absolute form without a path", "pathless")],
        {"fails_open"},
    ),
    "an answer to a failing check": (
        [outcome("the check answers 500", "failures", check={**CHECKED, "status": 500})],
        {"fails_open"},
    ),
    "a refusal of a failing check": (
        [
            outcome(
                "the check answers 500", "failures", status=503, check={**CHECKED, "status": 500}
            )
        ],
        set(),
    ),
}


@pytest.mark.parametrize(("outcomes", "codes"), JUDGED.values(), ids=JUDGED)
def test_what_an_outcome_shows(outcomes: list[Outcome], codes: set[str]) -> None:
    assert {
        finding.code for finding in judge(outcomes, managed=(), host=ACME, scheme="http")
    } == codes


def test_every_request_spares_what_more_of_the_same_would_break() -> None:
    """HAProxy 2.6 ends at about 95 header lines, and at 24 kB of spaces in a cookie."""
    nonces = (f"{number:043}" for number in range(run.MAX_NONCES))
    planned = shots(
        nonces,
        managed=tuple(DEFAULT_HEADERS),
        cookie="__Host-gw",
        scheme="https",
        host=ACME,
        public=("/public/task.txt",) * 3,
    )
    for shot in planned:
        if not shot.spares_haproxy:
            assert len(shot.lines) <= 40 + 5, shot.name
            assert all(" " * 5000 not in line for line in shot.lines), shot.name
    assert len({shot.nonce for shot in planned}) == len(planned)


@pytest.mark.parametrize(
    ("cookies", "count"),
    [
        (["a=1"], 0),
        ([f"a=1; {COOKIE}=x"], 1),
        ([f"a=1,{COOKIE}=x"], 1),
        (["a=1", f"{COOKIE}=x"], 1),
        ([f"{COOKIE} =x"], 1),
    ],
    ids=str,
)
def test_the_test_location_sees_the_session_cookie_where_a_proxy_joined_lines_too(
    stand: Stand, cookies: list[str], count: int
) -> None:
    nonce = issue(PROBE_KEY, chance=token_bytes(CHANCE_BYTES), expires_at=int(NOW) + 60)
    answer = send(
        stand.public_port,
        request(*(f"Cookie: {line}" for line in cookies), target=f"{LOCATION}?{PARAMETER}={nonce}"),
    )
    assert answer.status == 204
    assert stand.probes.records[nonce, "location"]["own_cookies"] == count


def test_the_test_location_keeps_no_secret_but_says_where_a_forged_one_arrived(
    stand: Stand,
) -> None:
    nonce = issue(PROBE_KEY, chance=token_bytes(CHANCE_BYTES), expires_at=int(NOW) + 60)
    send(
        stand.public_port,
        request(
            f"X-Vouch-Token: {FORGED}",
            "X-Id-Token: of-somebody",
            target=f"{LOCATION}?{PARAMETER}={nonce}",
        ),
    )
    shown = dict(stand.probes.records[nonce, "location"]["headers"])
    assert (shown["X-Vouch-Token"], shown["X-Id-Token"]) == (FORGED, "***")


async def test_an_application_without_an_ingress_is_open(stand: Stand, office: Office) -> None:
    found = await office.examine(stand.app_port)
    assert found["not_asked"].severity == "critical"


async def test_addresses_behind_the_ingress_that_answer_are_reported(
    proxies: Callable[[str], RunningIngress], stand: Stand, office: Office
) -> None:
    found = await office.examine(proxies("nginx").port, app=stand.app_port, check=stand.check_port)
    assert found["app_reachable"].severity == "critical"
    assert found["check_reachable"].severity == "warning"
    assert await office.examine(proxies("nginx").port, app=free_port(), check=free_port()) == {}


async def test_a_gateway_that_cannot_be_asked_is_reported_and_not_taken_for_safety(
    running: Callable[..., RunningIngress], stand: Stand, office: Office
) -> None:
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


@pytest.mark.parametrize(
    "url",
    [
        "ftp://acme.localhost/",
        "http://127.0.0.1/",
        "http://acme.localhost/path",
        "http://a b/",
        "http://acme.localhost:99999/",
        "acme.localhost",
    ],
)
def test_only_the_url_of_a_protected_host_can_be_examined(url: str) -> None:
    with pytest.raises(ConfigError):
        Target.of(url)


async def test_the_command_reports_findings_and_exits_1(
    stand: Stand, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCTOR_KEY", office.key.reveal())
    url = f"http://{ACME}:{stand.app_port}/"

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            cli,
            ["ingress", "doctor", url, "--admin", office.url, *arguments],
            standalone_mode=False,
        )
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
    result = CliRunner().invoke(
        cli,
        ["ingress", "doctor", "http://acme.localhost/", "--key", "gwa_secret"],
        standalone_mode=False,
    )
    assert isinstance(result.exception, ConfigError)
    assert "gwa_secret" not in str(result.exception)


def test_every_finding_says_what_to_do() -> None:
    for code, entry in ADVICE.items():
        assert entry.title, code
        assert entry.general, code
        assert set(entry.lines) <= set(KINDS), code


def signed_in(world: World, name: str, folder: Path) -> Path:
    """A file with the session cookie of somebody who has signed in."""

    async def sign_in() -> str:
        async with Person() as person:
            await person.log_in(
                f"{world.url('acme.localhost')}/_auth/login?rd=%2F", f"{name}@acme.test"
            )
            return person.cookies("acme.localhost")[COOKIE]

    path = folder / name
    path.write_text(asyncio.run(sign_in()))
    return path


def test_nothing_is_found_on_the_whole_product_with_a_key_that_only_examines(
    tmp_path: Path,
) -> None:
    """The shipped gateway, not the stand: check, test location, records in Valkey and admin API,
    found through the command itself.
    """
    with RunningWorld(World(tmp_path, ingress="nginx")) as running:
        world = running.world
        made = json.loads(
            running.run(
                world.command("admin-keys", "create", "doctor", "--scope", "doctor", "--json")
            )
        )
        (tmp_path / "key").write_text(made["key"])
        admin = f"http://127.0.0.1:{world.gateways[0].ports['admin']}"
        sessions = [
            argument
            for name in ("alice", "bob")
            for argument in ("--app-session", f"file:{signed_in(world, name, tmp_path)}")
        ]
        found = running.run(
            world.command(
                "ingress",
                "doctor",
                world.url("acme.localhost"),
                "--admin",
                admin,
                "--key",
                f"file:{tmp_path / 'key'}",
                *sessions,
                "--json",
            )
        )
        assert json.loads(found) == []
        with pytest.raises(RuntimeError):
            running.run(
                world.command(
                    "ingress",
                    "doctor",
                    f"http://acme.localhost:{world.apps['legacy']}",
                    "--admin",
                    admin,
                    "--key",
                    f"file:{tmp_path / 'key'}",
                )
            )
