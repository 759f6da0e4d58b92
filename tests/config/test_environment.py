"""What operators and Kubernetes write into the environment."""

from __future__ import annotations

import contextlib
import os
from copy import deepcopy
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.config.environment import _keys, is_service_link, variable
from gateway.config.model import Config, load_config
from gateway.database.engine import open_database
from gateway.errors import ConfigError
from gateway.sessions.connection import parse_url

if TYPE_CHECKING:
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
SMALLEST: dict[str, Any] = {
    "ingress": {"keys": [KEY]},
    "cognito": {
        "region": "eu-north-1",
        "user_pool_id": "eu-north-1_AbCdEfGhI",
        "domain": "https://acme-saas.auth.eu-north-1.amazoncognito.com",
    },
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)


def load(path: Path, **changes: Any) -> Config:
    file = path / "gateway.yaml"
    file.write_text(yaml.safe_dump({**SMALLEST, **changes}), encoding="utf-8")
    return load_config(file)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GATEWAY_REDIS_URL", "GATEWAY_REDIS__URL"),
        ("GATEWAY_DATABASE_URL", "GATEWAY_DATABASE__URL"),
        ("GATEWAY_LOGINHOST", "GATEWAY_LOGIN_HOST"),
        ("GATEWAY_SESSION_IDLE_TIMEOUT", "GATEWAY_SESSION__IDLE_TIMEOUT"),
        ("GATEWAY_KEYRING__FILE", "GATEWAY_KEY_RING__FILE"),
        ("GATEWAY_INGRES__KEYS", "GATEWAY_INGRESS__KEYS"),
        ("GATEWAY_STATE__DIR", "GATEWAY_STATE_DIR"),
        ("GATEWAY_DEVELOPMENT__", "GATEWAY_DEVELOPMENT"),
        ("gateway_redis_url", "GATEWAY_REDIS__URL"),
        ("gateway_redis__url", "GATEWAY_REDIS__URL"),
        ("Gateway_Config", "GATEWAY_CONFIG"),
        ("GATEWAY_CONFIGS", "GATEWAY_CONFIG"),
    ],
)
def test_a_name_that_is_no_key_is_an_error_that_says_which_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    """An overlooked ``GATEWAY_REDIS_URL`` gave every replica a store of its own."""
    monkeypatch.setenv(name, "a value that nobody repeats")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert f"environment: {name}: unknown key (did you mean {meant}?" in str(refused.value)
    assert "repeats" not in str(refused.value)


def test_a_name_far_from_every_key_is_an_error_unless_a_secret_is_taken_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_XYZZY", KEY)
    with pytest.raises(ConfigError, match=r"GATEWAY_XYZZY: unknown key; .*two underscores"):
        load(tmp_path)
    loaded = load(tmp_path, ingress={"keys": ["env:GATEWAY_XYZZY"]})
    assert [key.reveal() for key in loaded.ingress.keys] == [KEY]
    tenants = tmp_path / "tenants"
    tenants.mkdir()
    (tenants / "acme.yaml").write_text("client_secret: env:GATEWAY_XYZZY\n", "utf-8")
    load(tmp_path, tenants={"directory": str(tenants)})
    monkeypatch.setenv("GATEWAY_CONFIG", "gateway.yaml")
    load(tmp_path, tenants={"directory": str(tenants)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "tcp://10.96.0.7:8081"),
        ("GATEWAY_SERVICE_HOST", "10.96.0.7"),
        ("GATEWAY_SERVICE_PORT", "8081"),
        ("GATEWAY_SERVICE_PORT_CHECK", "8081"),
        ("GATEWAY_PORT_8081_TCP", "tcp://10.96.0.7:8081"),
        ("GATEWAY_PORT_8081_TCP_ADDR", "10.96.0.7"),
        ("GATEWAY_PUBLIC_PORT", "tcp://10.96.0.8:8080"),
        ("GATEWAY_PUBLIC_PORT_8080_TCP_PROTO", "tcp"),
        ("GATEWAY_PUBLIC_SERVICE_HOST", "10.96.0.8"),
    ],
)
def test_variables_that_kubernetes_makes_for_a_service_are_nobodys_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert is_service_link(name, value)
    assert load(tmp_path).public_port is None


def test_a_port_that_an_operator_sets_is_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_PUBLIC_PORT", "8443")
    assert load(tmp_path).public_port == 8443


def test_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAY_LOGIN_HOST", "GATEWAY_PUBLIC_PORT", "GATEWAY_REDIS_URL"):
        monkeypatch.setenv(name, "")
    assert load(tmp_path, login_host="login.example.com").login_host == "login.example.com"


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0/8,192.168.0.0/16",
        " 10.0.0.0/8 , 192.168.0.0/16, ",
        '["10.0.0.0/8","192.168.0.0/16"]',
    ],
)
def test_a_list_is_json_or_has_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("GATEWAY_INGRESS__TRUSTED_PROXIES", text)
    monkeypatch.setenv("GATEWAY_SHARED_HOSTS", "app.example.com,www.example.com")
    loaded = load(tmp_path)
    assert loaded.ingress.trusted_proxies == ("10.0.0.0/8", "192.168.0.0/16")
    assert loaded.shared_hosts == ("app.example.com", "www.example.com")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_INGRESS__TRUSTED_PROXIES", '["10.0.0.0/8"'),
        ("GATEWAY_SHARED_HOSTS", "[app.example.com]"),
        ("GATEWAY_INGRESS__KEYS", '{"topsecret'),
        ("GATEWAY_REDIS", "topsecret"),
        ("GATEWAY_HEADERS", "topsecret"),
    ],
)
def test_what_is_no_json_is_an_error_with_the_variables_name_and_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert f"environment: {name}" in str(refused.value)
    assert "topsecret" not in str(refused.value)


def test_an_error_names_the_variable_that_the_value_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SESSION__IDLE_TIMEOUT", "soon")
    monkeypatch.setenv("GATEWAY_REDIS__URLL", "redis://:topsecret@h")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, log={"level": "loud"})
    lines = str(refused.value).splitlines()
    assert any(line.startswith("environment: GATEWAY_SESSION__IDLE_TIMEOUT") for line in lines)
    assert any(line.startswith("environment: GATEWAY_REDIS__URLL: unknown key") for line in lines)
    assert any("gateway.yaml: log.level" in line for line in lines)
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize("around", ["\n", "\r\n", "\n\n", " \t\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_secrets_of_files_and_of_the_environment_are_cleaned_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str, mark: str
) -> None:
    (tmp_path / "key").write_bytes(f"{mark}{KEY}{around}".encode())
    monkeypatch.setenv("INGRESS_KEY", f"{mark}{KEY}{around}")
    loaded = load(tmp_path, ingress={"keys": [f"file:{tmp_path}/key", "env:INGRESS_KEY"]})
    assert [key.reveal() for key in loaded.ingress.keys] == [KEY, KEY]


@pytest.mark.parametrize(
    ("character", "told"),
    [
        ("\r", "a carriage return"),
        ("\n", "a line feed"),
        ("\t", "a tab"),
        ("\x1b", "a control character"),
        ("\u200b", "ZERO WIDTH SPACE"),
        ("\ufeff", "ZERO WIDTH NO-BREAK SPACE"),
    ],
)
def test_a_control_character_within_a_secret_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, character: str, told: str
) -> None:
    broken = f"{KEY}{character}topsecret"
    (tmp_path / "key").write_bytes(broken.encode())
    monkeypatch.setenv("INGRESS_KEY", broken)
    for key, where in ((f"file:{tmp_path}/key", "the file"), ("env:INGRESS_KEY", "INGRESS_KEY")):
        with pytest.raises(ConfigError) as refused:
            load(tmp_path, ingress={"keys": [key]})
        assert f"{told} (U+{ord(character):04X}) at position {len(KEY) + 1}" in str(refused.value)
        assert where in str(refused.value) and "topsecret" not in str(refused.value)


@pytest.mark.parametrize("what", ["redis", "database"])
@pytest.mark.parametrize(
    "password",
    [
        "ab[topsecret]cd",
        "topsecret#x",
        "1#topsecret",
        "1/topsecret",
        "1?topsecret=1",
        "a:topsecret",
    ],
)
def test_no_message_quotes_a_part_of_a_secret_url(tmp_path: Path, what: str, password: str) -> None:
    scheme = {"redis": "redis", "database": "postgresql+asyncpg"}[what]
    url = f"{scheme}://user:{password}@db.example.com:x/name"
    config = load(tmp_path, **{what: {"url": url}}, key_ring={"file": str(tmp_path / "k")})
    with pytest.raises(ConfigError) as refused:
        parse_url(url) if what == "redis" else open_database(config, lambda: ())
    assert "topsecret" not in str(refused.value) and "percent-encoded" in str(refused.value)
    assert refused.value.__cause__ is None or "topsecret" not in str(refused.value.__cause__)


def test_an_ipv4_network_written_within_ipv6_is_the_ipv4_network(tmp_path: Path) -> None:
    loaded = load(tmp_path, ingress={"trusted_proxies": ["::ffff:10.0.0.0/104", "::1/128"]})
    assert loaded.ingress.trusted_proxies == ("10.0.0.0/8", "::1/128")


NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        10**30,
        float("inf"),
        "",
        "x",
        "\0",
        "a" * 5000,
        [],
        [None],
        {"a": None},
        "[",
    ),
    *("https://[::1", "unix:", "file:\0", "env:", "redis+cluster://,,", "999999999999d", "::/200"),
)
"""Values of every kind, for files."""
NASTY_TEXTS = ("[", "{", "{}", "[1]", "x,y", "\udcff", "a" * 5000, "[" * 5000)


def test_whatever_is_written_at_a_key_is_taken_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never a traceback: ``load_config`` raises nothing else. The values take turns."""
    monkeypatch.chdir(tmp_path)
    values, texts = cycle(NASTY), cycle(NASTY_TEXTS)
    for path in _keys(Config, ()):
        for value in islice(values, 3):
            document = deepcopy(SMALLEST)
            place = document
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
            with contextlib.suppress(ConfigError):
                assert load(tmp_path, **document).key_file is not None
        with monkeypatch.context() as environment, contextlib.suppress(ConfigError):
            environment.setenv(variable(".".join(path)), next(texts))
            assert load(tmp_path).makes_key_ring is not None
