from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Config, load_config
from gateway.config.types import format_duration, parse_duration
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
COGNITO = {
    "region": "eu-north-1",
    "user_pool_id": "eu-north-1_AbCdEfGhI",
    "domain": "https://acme-saas.auth.eu-north-1.amazoncognito.com",
}
SMALLEST: dict[str, Any] = {"ingress": {"keys": [KEY]}, "cognito": COGNITO}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)


def load(path: Path, **changes: Any) -> Config:
    file = path / "gateway.yaml"
    file.write_text(yaml.safe_dump({**SMALLEST, **changes}), encoding="utf-8")
    return load_config(file)


def test_the_smallest_configuration_is_who_asks_and_which_pool(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.session.idle_timeout == timedelta(minutes=30)
    assert (
        config.cognito.effective_issuer
        == "https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_AbCdEfGhI"
    )
    assert config.embedded_redis and config.embedded_database
    assert config.origin("acme.example.com") == "https://acme.example.com"


SECOND = {
    "region": "us-east-1",
    "user_pool_id": "us-east-1_JkLmNoPqR",
    "domain": "https://second.auth.us-east-1.amazoncognito.com",
    "quotas": {"providers": 1000},
}


def test_further_pools_stand_beside_the_default_one(tmp_path: Path) -> None:
    pools = load(tmp_path, cognito={**COGNITO, "pools": {"second": SECOND}}).cognito.all_pools
    assert list(pools) == ["default", "second"]
    assert pools["second"].issuers == (
        "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_JkLmNoPqR",
    )
    assert [pool.quotas.providers for pool in pools.values()] == [300, 1000]


REPLICA = {"region": "eu-west-1", "domain": "https://replica.example.test"}


def test_a_replica_has_an_issuer_and_a_domain_of_its_own(tmp_path: Path) -> None:
    cognito = load(tmp_path, cognito={**COGNITO, "secondary": REPLICA}).cognito
    assert cognito.domains == (COGNITO["domain"], REPLICA["domain"])
    assert cognito.issuers[1] == (
        f"https://cognito-idp.eu-west-1.amazonaws.com/{COGNITO['user_pool_id']}"
    )
    assert cognito.secondary is not None
    assert cognito.secondary.automatic_after is None, "only an operator fails over"


@pytest.mark.parametrize(
    ("secondary", "told"),
    [
        ({**REPLICA, "region": COGNITO["region"]}, "secondary.region"),
        ({**REPLICA, "domain": "http://replica.example.test"}, "cognito.secondary.domain"),
        ({**REPLICA, "issuer": "http://replica.example.test"}, "cognito.secondary.issuer"),
        ({**REPLICA, "automatic_after": "5s"}, "cognito.secondary.automatic_after"),
        ({**REPLICA, "domain": SECOND["domain"]}, "pools.second.domain"),
    ],
)
def test_what_a_replica_cannot_be(tmp_path: Path, secondary: dict[str, Any], told: str) -> None:
    pools = {"second": SECOND}
    with pytest.raises(ConfigError, match=re.escape(told)):
        load(tmp_path, cognito={**COGNITO, "secondary": secondary, "pools": pools})


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        ({"default": SECOND}, "default is the pool directly under cognito"),
        ({"Second": SECOND}, "cognito.pools.Second"),
        ({"second": {**SECOND, **COGNITO}}, "pools.second.user_pool_id"),
        ({"second": {**SECOND, "domain": COGNITO["domain"].upper()}}, "pools.second.domain"),
        (
            {"second": SECOND, "third": {**SECOND, "domain": "https://x.test"}},
            "pools.third.user_pool_id: us-east-1_JkLmNoPqR is second's already",
        ),
        (
            {
                "second": {**SECOND, "issuer": "https://i.test"},
                "third": {**SECOND, "user_pool_id": "us-east-1_X", "domain": "https://x.test"}
                | {"issuer": "https://i.test"},
            },
            "pools.third.issuer: https://i.test is second's already",
        ),
        ({"second": {**SECOND, "domain": "http://x.test"}}, "cognito.pools.second.domain"),
        ({"second": {**SECOND, "region": "eu-west-1"}}, "cognito.pools.second.user_pool_id"),
        ({"second": {**SECOND, "pools": {}}}, "cognito.pools.second.pools: unknown key"),
    ],
)
def test_a_pool_that_could_be_taken_for_another_is_refused(
    tmp_path: Path, pools: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, cognito={**COGNITO, "pools": pools})
    assert told in str(refused.value)


def test_a_key_ring_is_made_where_both_stores_are_embedded_and_demanded_elsewhere(
    tmp_path: Path,
) -> None:
    ring = {"file": str(tmp_path / "keys.json")}
    assert load(tmp_path).makes_key_ring
    assert load(tmp_path, key_ring=ring).makes_key_ring
    assert not load(tmp_path, key_ring=ring, redis={"url": "redis://r"}).makes_key_ring
    assert not load(
        tmp_path, key_ring=ring, database={"url": "postgresql+asyncpg://d"}
    ).makes_key_ring
    written = load(tmp_path, state_dir=str(tmp_path / "state"))
    assert written.makes_key_ring
    (written.state_dir / "valkey" / "appendonlydir").mkdir(parents=True)
    assert not written.makes_key_ring, "what is there was written with a ring that is away"


@pytest.mark.parametrize(("content", "made"), [(b"", True), (b"SQLite format 3", False)])
def test_no_key_ring_is_made_beside_a_database_that_holds_something(
    tmp_path: Path, content: bytes, *, made: bool
) -> None:
    (tmp_path / "gateway.sqlite3").write_bytes(content)
    assert load(tmp_path, state_dir=str(tmp_path)).makes_key_ring is made


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ingress": {}}, "keys or trusted_proxies must be set"),
        ({"ingress": {"keys": ["short"]}}, "at least 16 characters"),
        ({"ingress": {"trusted_proxies": ["10.0.0.1/8"]}}, "host bits zero"),
        ({"surprise": 1}, "surprise: unknown key"),
        ({"session": {"idel": "30m"}}, "session.idel: unknown key"),
        (
            {"session": {"idle_timeout": "30"}},
            "session.idle_timeout (is '30'): a duration such as 30s",
        ),
        ({"session": {"idle_timeout": "13h"}}, "idle_timeout <= max_lifetime"),
        ({"session": {"max_lifetime": "31d"}}, "max_lifetime <= 30d"),
        ({"session": {"max_revocation_delay": "100ms"}}, "max_revocation_delay between"),
        ({"session": {"revalidate_interval": "10s"}}, "revalidate_interval off, or at least 1m"),
        ({"session": {"max_per_user": 0}}, "session.max_per_user"),
        ({"public_scheme": "http"}, "needs development: true"),
        (
            {"development": True, "public_scheme": "http", "login_host": "login.example.com"},
            "loopback and *.localhost only",
        ),
        ({"cognito": {**COGNITO, "domain": "http://x.example.com"}}, "cognito.domain"),
        ({"cognito": {**COGNITO, "domain": "https://x.example.com/?a=b"}}, "without query"),
        ({"cognito": {"region": "eu-north-1"}}, "cognito.user_pool_id"),
        ({"login_host": "https://login.example.com"}, "without scheme or port"),
        (
            {"login_host": "a.example.com", "shared_hosts": ["A.example.com."]},
            "login_host cannot be one of shared_hosts",
        ),
        (
            {"console": {"host": "c.example.com", "groups": {"a": ["operator"]}}},
            "groups: of no use without tenant",
        ),
        ({"console": {"host": "c.example.com", "tenant": "ops"}}, "groups: required with tenant"),
        ({"console": {"tenant": "ops"}}, "of no use without host"),
        ({"redis": {"url": "http://x"}}, "redis+sentinel://"),
        ({"redis": {"url": "redis://r"}}, "key_ring.file is required"),
        ({"database": {"url": "mysql://x"}}, "postgresql+asyncpg://"),
        ({"cookie": {"name": "gw"}}, "cookie.name"),
        ({"listen": {"check": "8081"}}, "host:port or unix:PATH"),
        ({"headers": {"X_User": "sub"}}, "single dashes"),
        ({"headers": {"X-User": "sub", "x-user": "email"}}, "named twice"),
        ({"headers": {"Cookie": "sub"}}, "not a header of HTTP itself"),
        ({"headers": {"X-Forwarded-User": "sub"}}, "not a header of HTTP itself or of the proxies"),
        ({"headers": {"X-User": "password"}}, "or claim:NAME"),
        (
            {"headers": {"X-User": {"source": "email", "default": "alice@acme.test"}}},
            "a default is for claim:NAME only",
        ),
        (
            {"headers": {"X-User": {"source": "email", "encode": "ascii"}}},
            "X-User: encode: ascii: for email one of percent, quoted-printable, rfc2047, utf8",
        ),
        (
            {"headers": {"X-User": {"source": "groups", "encode": "rfc2047"}}},
            "for groups one of percent, quoted-printable, utf8",
        ),
        (
            {"headers": {"X-User": {"source": "assertion", "encode": "utf8"}}},
            "for assertion one of percent",
        ),
        ({"headers": {"X-User": {"source": "name", "encode": "latin1"}}}, "headers.X-User"),
        (
            {"tenant_headers": {"X-Team": {"source": "claim:team", "encode": "ascii"}}},
            "for claim:team one of",
        ),
        ({"tenant_headers": {"x-auth-request-email": ""}}, "X-Auth-Request-Email is in headers"),
        ({"tenant_headers": {"X-Mail": "email"}}, "what identifies a user belongs in headers"),
        (
            {"tenant_headers": {"X-Mail": {"source": "tenant"}}},
            "what identifies a user belongs in headers",
        ),
        ({"tenant_headers": {"X_Mail": ""}}, "single dashes"),
        ({"tenant_headers": {"X-Mail": "", "X-MAIL": ""}}, "named twice"),
        ({"log": {"format": "xml"}}, "log.format"),
        ({"listen": {"check": 8081}}, "listen.check (is '8081'): host:port or unix:PATH"),
        (
            {"listen": {"chek": "127.0.0.1:1"}},
            "listen.chek: unknown key (allowed: admin, check, hooks, pages, public)",
        ),
        ({"shared_hosts": "app.example.com"}, "shared_hosts (is 'app.example.com'): a list"),
        ({"session": "30m"}, "session (is '30m'): keys with values"),
        ({"development": "maybe"}, "development (is 'maybe'): true or false"),
        ({"session": {"max_per_user": "many"}}, "session.max_per_user (is 'many'): a whole number"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **changes)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "gateway.yaml"))


@pytest.mark.parametrize(
    "changes",
    [
        {"ingress": {"keys": ["hunter2"]}},
        {"redis": {"url": "http://user:hunter2@r"}},
        {"database": {"url": "mysql://user:hunter2@d"}},
        {"ingress": {"keys": {"hunter2": 1}}},
    ],
)
def test_no_mistake_quotes_a_secret(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **changes)
    assert "hunter2" not in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, session={"idle_timeout": "x"}, cookie={"name": "x"}, surprise=1)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "line"),
        ("- a", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("listen: {}\nlisten: {}", "written twice"),
        ("1: 2", "keys must be strings"),
        ("a: !!python/object/apply:os.system [x]", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_config(file)


def test_a_missing_or_unreadable_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SESSION__IDLE_TIMEOUT", "5m")
    monkeypatch.setenv("GATEWAY_LISTEN__CHECK", "127.0.0.1:0")
    monkeypatch.setenv("GATEWAY_SHARED_HOSTS", '["app.example.com"]')
    config = load(tmp_path, session={"idle_timeout": "30m", "max_lifetime": "1h"})
    assert config.session.idle_timeout == timedelta(minutes=5)
    assert config.session.max_lifetime == timedelta(hours=1)
    assert config.listen.check == "127.0.0.1:0"
    assert config.shared_hosts == ("app.example.com",)


def test_an_unknown_key_in_the_environment_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SESION__IDLE", "5m")
    with pytest.raises(ConfigError, match="GATEWAY_SESION__IDLE: unknown key"):
        load(tmp_path)
    monkeypatch.delenv("GATEWAY_SESION__IDLE")
    monkeypatch.setenv("GATEWAY_SESSION__IDEL", "5m")
    with pytest.raises(ConfigError, match="unknown key"):
        load(tmp_path)


def test_a_secret_is_looked_up_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGRESS_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY[::-1]}\n", encoding="utf-8")
    config = load(tmp_path, ingress={"keys": ["env:INGRESS_KEY", f"file:{tmp_path}/key"]})
    assert [key.reveal() for key in config.ingress.keys] == [KEY, KEY[::-1]]
    for shown in (
        repr(config),
        str(config),
        config.model_dump_json(),
        json.dumps(config.model_dump(mode="json")),
    ):
        assert KEY not in shown and KEY[::-1] not in shown


@pytest.mark.parametrize("value", ["env:NOT_SET", "file:/nowhere/at/all", ""])
def test_a_secret_that_is_not_there_is_an_error(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"not set|cannot be read|non-empty"):
        load(tmp_path, ingress={"keys": [value]})


def test_a_bare_off_is_off(tmp_path: Path) -> None:
    assert (
        load(tmp_path, session={"revalidate_interval": False}).session.revalidate_interval is None
    )
    assert (
        load(tmp_path, session={"revalidate_interval": "off"}).session.revalidate_interval is None
    )
    assert load(
        tmp_path, session={"revalidate_interval": "10m"}
    ).session.revalidate_interval == timedelta(minutes=10)


def test_development_changes_schemes_on_loopback_and_nothing_else(tmp_path: Path) -> None:
    changes = {
        "development": True,
        "public_scheme": "http",
        "public_port": 8000,
        "cognito": {**COGNITO, "domain": "http://cognito.localhost:9000"},
    }
    assert load(tmp_path, **changes).origin("acme.localhost") == "http://acme.localhost:8000"
    with pytest.raises(ConfigError, match=r"cognito\.domain"):
        load(
            tmp_path, **{**changes, "cognito": {**COGNITO, "domain": "http://cognito.example.com"}}
        )


@given(st.integers(0, 10**8))
def test_durations_are_written_shortly_and_read_back(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@given(st.text(max_size=12))
def test_only_durations_are_durations(text: str) -> None:
    if not re.fullmatch(r"[0-9]{1,9}(ms|s|m|h|d)", text):
        with pytest.raises(ValueError, match="duration"):
            parse_duration(text)


@pytest.mark.parametrize(
    "name",
    [
        "X-Script-Name",
        "x-forwarded-anything",
        "Cookie",
        "X_Odd",
        "X-Auth-Request-Email",
        "a b",
        "X-Department",
    ],
)
def test_an_operator_cannot_let_through_what_applications_take_for_somebody_or_something_else(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"ingress.*client_headers"):
        load(
            tmp_path,
            ingress={"keys": [KEY], "client_headers": [name]},
            tenant_headers={"X-Department": ""},
        )
