"""The files in ``deploy/`` are what ``gateway ingress render`` writes for the configuration of the
demo.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner, Result

from demo.ingress import LAUNCHERS
from gateway.cli import cli
from gateway.config.types import DEFAULT_HEADERS
from gateway.core.model import Secret
from gateway.ingress_config import KINDS, RENDERED, App, Site, SiteError, render
from gateway.ingress_config.site import MAX_REMOVALS

ROOT = Path(__file__).parents[2]
KEY = "demo-ingress-key-replace-it-0123456789abcdef"
ARGUMENTS = [
    "--listen",
    "127.0.0.1:8000",
    "--upstream",
    "127.0.0.1:9100",
    "--upstream",
    "calendar.acme.localhost=127.0.0.1:9101",
]


@pytest.fixture
def demo_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GATEWAY_INGRESS_KEY", KEY)
    monkeypatch.setenv("GATEWAY_SETUP__ENABLED", "true")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("demo_environment")
def test_the_shipped_files_are_the_rendered_ones(kind: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli, ["ingress", "render", kind, *ARGUMENTS, "-o", str(tmp_path)], standalone_mode=False
    )
    assert result.exception is None
    for name in KINDS[kind]:
        assert (tmp_path / name).read_text() == (ROOT / "deploy" / kind / name).read_text(), (
            f"render again: GATEWAY_SETUP__ENABLED=true gateway ingress render {kind} "
            f"{' '.join(ARGUMENTS)} -o deploy/{kind}"
        )
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


IN_A_CLUSTER = [
    "--check",
    "gateway.gateway:8081",
    "--public",
    "gateway.gateway:8080",
    "--pages",
    "gateway.gateway:8084",
    "--upstream",
    "app.default:8080",
]


@pytest.mark.usefixtures("demo_environment")
def test_the_manifests_are_the_rendered_ones_and_fit_the_schemas_of_their_resources(
    tmp_path: Path,
) -> None:
    """Resources without a schema in a registry (``networking.k8s.io``) are read as YAML only."""
    result = CliRunner().invoke(
        cli,
        ["ingress", "render", "kubernetes", *IN_A_CLUSTER, "-o", str(tmp_path)],
        standalone_mode=False,
    )
    assert result.exception is None
    schemas = json.loads((ROOT / "tests" / "data" / "kubernetes" / "schemas.json").read_text())
    checked = set()
    for name in RENDERED["kubernetes"]:
        text = (tmp_path / name).read_text()
        assert text == (ROOT / "deploy" / "kubernetes" / name).read_text(), (
            "render again: GATEWAY_SETUP__ENABLED=true gateway ingress render kubernetes "
            f"{' '.join(IN_A_CLUSTER)} -o deploy/kubernetes"
        )
        for document in yaml.safe_load_all(text):
            known = schemas.get(f"{document['apiVersion']} {document['kind']}")
            if known is not None:
                jsonschema_rs.validator_for(strict(known["schema"])).validate(document)
                checked.add(document["kind"])
    assert checked == {
        "Middleware",
        "IngressRoute",
        "ClientTrafficPolicy",
        "SecurityPolicy",
        "HTTPRoute",
    }


def test_the_filter_of_the_gateway_api_fits_its_schema_and_sends_no_key() -> None:
    schemas = json.loads((ROOT / "tests" / "data" / "kubernetes" / "schemas.json").read_text())
    schema = strict(schemas["gateway.networking.k8s.io/v1 HTTPRoute experimental"]["schema"])
    addresses = {"checks": ("gateway.gateway:8081",), "publics": ("gateway.gateway:8080",)}
    named = App("app", "shop.default:8080", ("a.test",), ("b.test",))
    every = App("app", "shop.default:8080", (), every=True)
    for app in (named, every):
        (text,) = render("gateway-api", site(keys=(), apps=(app,), **addresses)).values()
        routes = list(yaml.safe_load_all(text))
        for route in routes:
            jsonschema_rs.validator_for(schema).validate(route)
        route, login = routes
        assert route["spec"].get("hostnames") == (list(app.patterns) or None)
        asked = {
            rule["matches"][0]["path"]["value"]: [f["type"] for f in rule.get("filters", ())]
            for rule in route["spec"]["rules"]
        }
        assert asked == {"/": ["ExternalAuth"], "/_auth/doctor": ["ExternalAuth"], "/_auth": []}
        http = route["spec"]["rules"][0]["filters"][0]["externalAuth"]["http"]
        assert http["path"] == "/auth/envoy"
        assert {"cookie", "x-department", "remote-user"} <= set(http["allowedResponseHeaders"])
        assert "x-gateway-key" not in text.lower()
        assert login["spec"]["hostnames"] == ["login.test"]
    many = tuple(f"X-Name-{number}" for number in range(63))
    with pytest.raises(SiteError, match="62 names at most"):
        render("gateway-api", site(keys=(), apps=(named,), managed=many, **addresses))
    for kind, keys in (("gateway-api", (Secret("k" * 32),)), ("nginx", ())):
        with pytest.raises(SiteError, match=r"ingress\.keys"):
            render(kind, site(keys=keys, apps=(named,), **addresses))


def strict(schema: Any) -> Any:
    """The API server prunes what a schema does not name; here a name that it does not know is a
    mistake.
    """
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: strict(value) for name, value in inner.items()}
        if key == "properties"
        else strict(inner)
        for key, inner in schema.items()
    }
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if (
        "properties" in found
        and "additionalProperties" not in found
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        found["additionalProperties"] = False
    return found


@pytest.mark.usefixtures("demo_environment")
def test_one_kind_goes_to_the_terminal_whole() -> None:
    result = CliRunner().invoke(
        cli, ["ingress", "render", "haproxy", *ARGUMENTS], standalone_mode=False
    )
    assert "# ==> haproxy.cfg <==" in result.output
    assert "# ==> gateway.lua <==" in result.output


def site(**changes: object) -> Site:
    values: dict[str, object] = {
        "listen": "127.0.0.1:18443",
        "scheme": "https",
        "apps": (
            App("app", "127.0.0.1:1", ("a.test",), ("b.test",)),
            App("app2", "127.0.0.1:2", ("c.test",)),
        ),
        "login_host": "login.test",
        "managed": (*DEFAULT_HEADERS, "X-Department"),
        "cookie": "__Host-gw",
        "keys": (Secret("k" * 32),),
        "checks": ("127.0.0.1:3",),
        "publics": ("127.0.0.1:4",),
        **changes,
    }
    return Site(**values)  # type: ignore[arg-type]  # a table of arguments


VALIDATE = {
    "nginx": lambda binary, folder: [
        binary,
        "-t",
        "-p",
        folder,
        "-e",
        "stderr",
        "-c",
        f"{folder}/nginx.conf",
    ],
    "caddy": lambda binary, folder: [
        binary,
        "validate",
        "--adapter",
        "caddyfile",
        "--config",
        f"{folder}/Caddyfile",
    ],
    "envoy": lambda binary, folder: [binary, "--mode", "validate", "-c", f"{folder}/envoy.yaml"],
    "haproxy": lambda binary, folder: [binary, "-c", "-f", f"{folder}/haproxy.cfg"],
}
"""Traefik has no way to check a configuration without running it; the cases through the real
proxies do.
"""


@pytest.mark.parametrize("tls", [True, False], ids=["TLS ends here", "TLS ends in front"])
@pytest.mark.parametrize("kind", VALIDATE)
def test_each_proxy_accepts_its_configuration_with_several_upstreams_and_wildcards(
    kind: str, tls: bool, tmp_path: Path
) -> None:
    binary = LAUNCHERS[kind].binary()
    if binary is None:
        pytest.skip(f"{kind} is not installed")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subprocess.run([sys.executable, "-c", _CERTIFICATE, str(chain), str(key)], check=True)
    for name, text in render(
        kind,
        site(
            certificate=(str(chain), str(key)) if tls else None,
            stats_socket=str(tmp_path / "stats.sock"),
        ),
    ).items():
        (tmp_path / name).write_text(text)
    result = subprocess.run(
        VALIDATE[kind](str(binary), str(tmp_path)),
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={"HOME": str(tmp_path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr


OLD_NGINX = Path("/usr/sbin/nginx")
"""Debian's: 1.22 in bookworm, 1.26 in trixie."""


@pytest.mark.skipif(not OLD_NGINX.exists(), reason="no nginx of the distribution")
@pytest.mark.parametrize("tls", [True, False], ids=["TLS ends here", "TLS ends in front"])
def test_the_distributions_nginx_takes_what_fits_every_version(tls: bool, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subprocess.run([sys.executable, "-c", _CERTIFICATE, str(chain), str(key)], check=True)
    certificate = (str(chain), str(key)) if tls else None
    text = render("nginx", site(certificate=certificate))["nginx.conf"]
    folders = "".join(
        f"  {name}_temp_path {tmp_path}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(text.replace("http {\n", f"http {{\n{folders}", 1))
    result = subprocess.run(
        VALIDATE["nginx"](str(OLD_NGINX), str(tmp_path)),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


_CERTIFICATE = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.test")])
day = datetime.timedelta(days=1)
now = datetime.datetime.now(datetime.UTC)
certificate = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1).not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
open(sys.argv[1], "wb").write(certificate.public_bytes(serialization.Encoding.PEM) + private)
open(sys.argv[2], "wb").write(private)
"""  # noqa: E501 - one text, as it is


@pytest.mark.parametrize("kind", KINDS)
def test_every_managed_name_and_no_unrendered_word_is_in_the_files(kind: str) -> None:
    text = "\n".join(render(kind, site()).values()).lower()
    for name in ("x-department", *DEFAULT_HEADERS):
        assert name.lower() in text
    assert "{{" not in text


def test_how_long_a_stream_lasts_is_said_to_every_proxy_that_can_end_one() -> None:
    said = {
        "nginx": ("proxy_read_timeout 61s;", "worker_shutdown_timeout 61s;"),
        "caddy": ("stream_timeout 61s",),
        "envoy": ("max_stream_duration: 61s",),
        "haproxy": ("timeout tunnel 61s", "timeout server 61s"),
        "kubernetes": (
            "maxStreamDuration: 61s",
            "streamIdleTimeout: 61s",
            'proxy-read-timeout: "61"',
        ),
    }
    for kind, lines in said.items():
        text = "\n".join(render(kind, site(stream_limit_s=61)).values())
        assert all(line in text for line in lines), kind
        assert "3600" not in text, kind


REFUSED = {
    "a key that could end a directive": {"keys": (Secret('0123456789abcdef"; return 200; #'),)},
    "a short key": {"keys": (Secret("short"),)},
    "an address with a space": {"checks": ("127.0.0.1:1 backup",)},
    "an address without a port": {"publics": ("gateway",)},
    "a stats socket with a mode of its own": {"stats_socket": "/run/x mode 666"},
    "a certificate with a quote": {"certificate": ('/etc/x"y', "/etc/k")},
    "no host": {"apps": ()},
    "a socket with a word behind it": {"checks": ("unix:/run/x backup",)},
    "more keys than an ingress sends": {"keys": (Secret("k" * 32),) * 5},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_safely_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SiteError):
        site(**changes)


@pytest.mark.usefixtures("demo_environment")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--host", "a.test", "--upstream", "nobody.test=127.0.0.1:1"],
            "nobody.test: not a protected host",
        ),
        (["--upstream", "login.localhost=127.0.0.1:1"], "login.localhost: the login host"),
        (["--check", "127.0.0.1:1", "--check", "unix:/run/x"], "check: either"),
        (["--public", "127.0.0.1:1", "--public", "127.0.0.1:1"], "public: between 1 and 16"),
        (["--nginx-version", "1.16.1"], "1.18.0 or later"),
        (["--nginx-version", "latest"], "such as 1.24.0"),
        (["--force"], "--force: needs --output"),
        (["--upstream", "a:1", "--upstream", "b:1"], "one without HOST="),
        (["--host", "a b"], "host: 'a b'"),
        (["--stats-socket", "/run/x.sock"], "--stats-socket: nginx has none"),
    ],
)
def test_a_wrong_option_says_what_is_wrong(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(
        cli, ["ingress", "render", "nginx", *arguments], standalone_mode=False
    )
    assert isinstance(result.exception, SiteError)
    assert message in str(result.exception)


@pytest.mark.usefixtures("demo_environment")
def test_who_routes_by_host_names_them_and_no_other_is_guarded() -> None:
    result = CliRunner().invoke(
        cli,
        ["ingress", "render", "nginx", "--host", "*.Example.com"],
        standalone_mode=False,
    )
    assert "server_name app.localhost *.example.com;" in result.output
    assert "acme.localhost" not in result.output
    assert "return 421" in result.output


def test_each_thread_of_haproxy_has_a_lua_of_its_own() -> None:
    """What threads share is not safe with HTTP clients in HAProxy 2.6: under load a request in some
    ten thousand was never answered, and the process crashed inside liblua.
    """
    text = render("haproxy", site())["haproxy.cfg"]
    assert "lua-load-per-thread gateway.lua" in text
    assert "lua-load " not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_rotation_is_rendered(kind: str) -> None:
    two = site(keys=(Secret("n" * 32), Secret("o" * 32)))
    assert f"{'n' * 32},{'o' * 32}" in "\n".join(render(kind, two).values())


def test_http2_is_asked_for_as_the_version_of_nginx_takes_it() -> None:
    tls = {"certificate": ("/etc/chain.pem", "/etc/key.pem")}
    for version, directive, word in (
        (None, False, True),
        ((1, 25, 0), False, True),
        ((1, 25, 1), True, False),
    ):
        text = render("nginx", site(nginx_version=version, **tls))["nginx.conf"]
        assert ("http2 on;" in text, " ssl http2;" in text) == (directive, word)
    # Beside a port without TLS the word would mean HTTP/2 and nothing else.
    assert "http2" not in render("nginx", site())["nginx.conf"]


@pytest.mark.usefixtures("demo_environment")
def test_a_file_that_says_something_else_is_replaced_only_by_force_and_kept(
    tmp_path: Path,
) -> None:
    def rendered(*more: str) -> Result:
        return CliRunner().invoke(
            cli,
            ["ingress", "render", "haproxy", *ARGUMENTS, "-o", str(tmp_path), *more],
            standalone_mode=False,
        )

    own = tmp_path / "haproxy.cfg"
    own.write_text("somebody's own")
    own.chmod(0o644)
    result = rendered()
    assert isinstance(result.exception, SiteError)
    assert "haproxy.cfg: is there already" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["haproxy.cfg"]
    assert own.read_text() == "somebody's own"

    assert rendered("--force").exception is None
    (copy,) = tmp_path.glob("haproxy.cfg.*.bak")
    assert copy.read_text() == "somebody's own"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    own.chmod(0o644)
    assert "haproxy.cfg (unchanged)" in rendered().output
    assert own.stat().st_mode & 0o777 == 0o600

    blocked = tmp_path / "file"
    blocked.write_text("")
    result = CliRunner().invoke(
        cli,
        ["ingress", "render", "nginx", *ARGUMENTS, "-o", str(blocked / "below")],
        standalone_mode=False,
    )
    assert isinstance(result.exception, SiteError)


def test_names_that_envoy_gateway_has_no_room_for_are_refused_and_not_left_to_its_api() -> None:
    some = tuple(f"X-Of-The-Application-{chr(97 + number)}" for number in range(20))
    patterns = site(client_headers=some).bounded_removal_patterns()
    assert len(patterns) <= MAX_REMOVALS
    assert {
        pattern for pattern in patterns if re.fullmatch(pattern, "x-of-the-application-c")
    } == set()
    for name in (*site().removed, "X-Of-The-Application-z", "X_Auth"):
        assert any(re.fullmatch(pattern, name.lower()) for pattern in patterns), name
    many = site(
        client_headers=tuple(
            f"X-{letter}{number}-Which-Is-Long-Enough-To-Need-Room"
            for letter in "qwkjz"
            for number in range(20)
        )
    )
    with pytest.raises(SiteError, match="64 patterns"):
        many.bounded_removal_patterns()


@pytest.mark.usefixtures("demo_environment")
def test_every_declared_name_is_rendered_though_no_tenant_uses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_TENANT_HEADERS", json.dumps({"X-Cost-Centre": ""}))
    result = CliRunner().invoke(
        cli, ["ingress", "render", "nginx", *ARGUMENTS], standalone_mode=False
    )
    assert "proxy_set_header X-Cost-Centre $gw_x_cost_centre;" in result.output
