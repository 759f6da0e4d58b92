from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.core.model import Tenant
from gateway.core.tenants import HostKind
from gateway.errors import ConfigError
from gateway.tenants.files import FileTenants, read_folder
from tests.database.fixtures import config_with
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.config.model import Config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tenants"


def _config(folder: Path, **more: object) -> Config:
    return config_with(folder.parent / "state", tenants={"directory": str(folder)}, **more)


class Watched:
    """A running ``FileTenants`` and a way to wait for what it does."""

    def __init__(self, source: FileTenants) -> None:
        self.source = source

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)

    def serves(self, host: str) -> bool:
        return isinstance(self.source.table.by_host(host), Tenant)


@pytest.fixture
async def watched(folder: Path) -> AsyncIterator[Watched]:
    write(folder, sample("acme"))
    source = FileTenants(_config(folder))
    task = asyncio.create_task(source.watch())
    yield Watched(source)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_folder_becomes_a_table(folder: Path) -> None:
    write(folder, sample("acme", rules=[{"path": "/public/**", "allow": "public"}]))
    write(folder, sample("globex", active=False))
    table = FileTenants(_config(folder)).table
    acme = table.by_host("acme.example.com")
    assert isinstance(acme, Tenant)
    assert (acme.client_id, acme.client_secret.reveal()) == ("clientacme", "secret of acme")
    assert acme.compiled.at("acme.example.com").find(method="GET", path="/public/a/b").public
    assert not acme.compiled.at("acme.example.com").find(method="GET", path="/private").public
    globex = table.by_email_domain("globex.test")
    assert globex is not None
    assert not globex.active
    assert table.by_host("other.example.com") is HostKind.UNKNOWN
    assert sorted(table.ids()) == ["acme", "globex"]


def test_the_same_tenant_is_built_once(folder: Path) -> None:
    write(folder, sample("acme"))
    table = FileTenants(_config(folder)).table
    assert (
        table.by_host("acme.example.com")
        is table.by_email_domain("acme.test")
        is table.by_client_id("clientacme")
        is table.by_id("acme")
    )


BROKEN = {
    "unknown key": ({"colour": "red"}, r"colour: unknown key"),
    "no name": ({"name": ""}, r"name \(is ''\).*at least 1 character"),
    "a scheme in a host": (
        {"hosts": ["https://acme.example.com"]},
        r"hosts\.0 \(is 'https://acme.example.com'\): a host name such as",
    ),
    "a wildcard without login_host": (
        {"hosts": ["*.acme.example.com"]},
        r"hosts \(is '\*\.acme\.example\.com'\): a wildcard host needs login_host",
    ),
    "no host and no shared host": ({"hosts": []}, r"hosts: at least one host; .*shared_hosts"),
    "a provider's foreign domain": (
        {
            "providers": [
                {
                    "name": "acme-okta",
                    "kind": "okta",
                    "issuer": "https://x.example.com",
                    "domains": ["globex.test"],
                }
            ]
        },
        r"providers\.acme-okta\.domains: globex\.test not in email_domains",
    ),
    "a plain http issuer": (
        {"providers": [{"name": "acme-okta", "kind": "okta", "issuer": "http://idp.example.com"}]},
        r"providers\.acme-okta\.issuer \(is 'http://idp\.example\.com'\): an https:// URL",
    ),
    "a plain http webhook": (
        {
            "webhook": {
                "url": "http://app.example.com/",
                "secret": "0123456789abcdef0123456789abcdef",
            }
        },
        r"webhook\.url: an https:// URL",
    ),
    "an unset variable": (
        {"client_secret": "env:NOT_SET_ANYWHERE"},
        r"client_secret: the environment variable NOT_SET_ANYWHERE is not set",
    ),
    "a redacted secret": (
        {"client_secret": "***"},
        r"client_secret: \*\*\* is how a secret is shown",
    ),
    "a session without end": (
        {"session": {"max_lifetime": "60d"}},
        r"session\.max_lifetime \(is '60 days.*between 1m and 30d",
    ),
    "a socket that counts beyond absolute": (
        {"session": {"max_lifetime": "1h", "idle_counts": {"websocket": "2h"}}},
        r"session\.idle_counts\.websocket .*not longer than max_lifetime",
    ),
    "a socket that counts for a moment": (
        {"session": {"idle_counts": {"websocket": "10s"}}},
        r"session\.idle_counts\.websocket .*at least 1m",
    ),
    "what does not count by a regular expression": (
        {"session": {"idle_counts": {"exclude": ["/api/[a-z]+"]}}},
        r"session\.idle_counts\.exclude\.0 .*is no pattern here",
    ),
    "what does not count in another spelling": (
        {"paths": {"ignore_case": True}, "session": {"idle_counts": {"exclude": ["/Poll"]}}},
        r"session\.idle_counts\.exclude\.0: write /poll",
    ),
    "app passwords without end": (
        {"app_passwords": {"lifetime": "60d"}},
        r"app_passwords\.lifetime: .*30 days",
    ),
    "an open rule with app passwords": (
        {"rules": [{"path": "/", "allow": "public", "app_passwords": True}]},
        r"rules\.0: .*cannot be combined",
    ),
    "idle beyond absolute": (
        {"session": {"max_lifetime": "1h", "idle_timeout": "2h"}},
        r"session\.idle_timeout .*not longer than max_lifetime",
    ),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(
    folder: Path, change: dict[str, object], message: str
) -> None:
    path = write(folder, sample("acme", **change))
    with pytest.raises(ConfigError, match=message) as caught:
        FileTenants(_config(folder))
    assert str(caught.value).startswith(str(path))
    assert "secret of acme" not in str(caught.value)


def test_every_mistake_of_every_file_is_reported_at_once(folder: Path) -> None:
    write(folder, sample("acme", name="", colour="red"))
    (folder / "globex.yaml").write_text("id: [", encoding="utf-8")
    (folder / "initech.yaml").write_text("id: a\nname: b\nid: c\n", encoding="utf-8")
    (folder / "readme.txt").write_text("not a tenant", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_folder(folder, _config(folder))
    text = str(caught.value)
    assert "acme.yaml: name" in text
    assert "acme.yaml: colour" in text
    assert "globex.yaml, line " in text
    assert "initech.yaml, line 3, column 1: not valid YAML: key 'id' is written twice" in text


CLAIMED = {
    "host": ({"hosts": ["acme.example.com"]}, r"host acme\.example\.com"),
    "host in another spelling": ({"hosts": ["ACME.example.com."]}, r"host acme\.example\.com"),
    "host within a wildcard": (
        {"hosts": ["a.b.wild.example.com"]},
        r"host a\.b\.wild\.example\.com \(within \*\.wild\.example\.com\)",
    ),
    "wildcard within a wildcard": (
        {"hosts": ["*.x.wild.example.com"]},
        r"host \*\.x\.wild\.example\.com \(within",
    ),
    "e-mail domain": (
        {"email_domains": ["acme.test"], "providers": [{"name": "globex", "kind": "cognito"}]},
        r"e-mail domain acme\.test",
    ),
    "client": ({"client_id": "clientacme"}, r"client clientacme"),
}


@pytest.mark.parametrize(("change", "message"), CLAIMED.values(), ids=CLAIMED.keys())
def test_a_name_claimed_twice_is_refused_with_both_files(
    folder: Path, change: dict[str, object], message: str
) -> None:
    write(folder, sample("acme", hosts=["acme.example.com", "*.wild.example.com"]))
    write(folder, sample("globex", **change))
    with pytest.raises(ConfigError, match=message) as caught:
        FileTenants(_config(folder, login_host="login.example.com"))
    assert "acme.yaml" in str(caught.value)
    assert "globex.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "holder"),
    [
        ("login.example.com", "login_host"),
        ("app.example.com", "shared_hosts"),
        ("*.example.com", "shared_hosts"),
    ],
)
def test_the_gateways_own_hosts_cannot_be_claimed(folder: Path, host: str, holder: str) -> None:
    write(folder, sample("acme", hosts=[host]))
    with pytest.raises(ConfigError, match=holder):
        FileTenants(
            _config(folder, login_host="login.example.com", shared_hosts=["app.example.com"])
        )


def test_an_id_in_two_files_is_refused(folder: Path) -> None:
    write(folder, sample("acme"))
    write(
        folder,
        sample("acme", hosts=["b.example.com"], email_domains=["b.test"], client_id="b"),
        name="zz",
    )
    with pytest.raises(
        ConfigError, match=r"zz\.yaml: id \(is 'acme'\): already used by .*acme\.yaml"
    ):
        FileTenants(_config(folder))


def test_a_missing_folder_is_a_configuration_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"tenants\.directory: .*cannot be read: No such file"):
        FileTenants(_config(folder))


def test_a_tenant_that_waits_for_its_client_holds_its_names_and_is_inactive(folder: Path) -> None:
    document = sample("acme", client="managed")
    del document["client_id"], document["client_secret"]
    write(folder, document)
    table = FileTenants(_config(folder)).table
    acme = table.by_host("acme.example.com")
    assert isinstance(acme, Tenant)
    assert not acme.active
    assert table.by_client_id("") is None


async def test_a_changed_file_is_live_within_a_second(watched: Watched, folder: Path) -> None:
    generation = watched.source.table.generation
    write(folder, sample("acme", hosts=["new.example.com"]))
    async with asyncio.timeout(1):
        await watched.until(lambda: watched.serves("new.example.com"))
    assert not watched.serves("acme.example.com")
    assert watched.source.table.generation > generation


async def test_files_come_and_go(watched: Watched, folder: Path) -> None:
    path = write(folder, sample("globex"))
    await watched.until(lambda: watched.serves("globex.example.com"))
    path.unlink()
    await watched.until(lambda: not watched.serves("globex.example.com"))
    assert watched.serves("acme.example.com")


async def test_a_broken_file_keeps_its_last_good_tenant_and_the_others_move_on(
    watched: Watched, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    (folder / "acme.yaml").write_text("id: acme\nname: [", encoding="utf-8")
    write(folder, sample("globex"))
    await watched.until(lambda: watched.serves("globex.example.com"))
    assert watched.serves("acme.example.com")
    assert [problem for problem in watched.source.problems if "acme.yaml, line" in problem]
    refused = [
        vars(record)["gateway_fields"]["problem"]
        for record in caplog.records
        if record.getMessage() == "tenant_config_invalid"
    ]
    assert len(refused) == 1
    write(folder, sample("acme", hosts=["mended.example.com"]))
    await watched.until(lambda: watched.serves("mended.example.com"))
    await watched.until(
        lambda: "tenant_config_recovered" in [record.getMessage() for record in caplog.records]
    )
    assert watched.source.problems == ()


async def test_a_claimed_name_keeps_the_whole_old_set(watched: Watched, folder: Path) -> None:
    write(folder, sample("globex", hosts=["acme.example.com"]))
    await watched.until(lambda: bool(watched.source.problems))
    assert sorted(watched.source.table.ids()) == ["acme"]
    write(folder, sample("globex"))
    await watched.until(lambda: watched.serves("globex.example.com"))


async def test_an_emptied_folder_changes_nothing(watched: Watched, folder: Path) -> None:
    (folder / "acme.yaml").unlink()
    await watched.until(lambda: bool(watched.source.problems))
    assert watched.serves("acme.example.com")
    folder.rmdir()  # noqa: ASYNC240
    await watched.until(lambda: "cannot be read" in watched.source.problems[0])
    assert watched.serves("acme.example.com")


async def test_asking_to_read_again_sees_secrets_that_changed_elsewhere(
    watched: Watched, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first", encoding="ascii")
    write(folder, sample("acme", client_secret=f"file:{secret}"))

    def current() -> str:
        acme = watched.source.table.by_id("acme")
        assert acme is not None
        return acme.client_secret.reveal()

    await watched.until(lambda: current() == "first")
    secret.write_text("second", encoding="ascii")
    watched.source.read_again()
    await watched.until(lambda: current() == "second")


async def test_an_unchanged_tenant_is_not_built_again(watched: Watched, folder: Path) -> None:
    before = watched.source.table.by_id("acme")
    write(folder, sample("globex"))
    await watched.until(lambda: watched.serves("globex.example.com"))
    assert watched.source.table.by_id("acme") is before


def test_no_secret_is_ever_shown(folder: Path) -> None:
    write(folder, sample("acme"))
    source = FileTenants(_config(folder))
    acme = source.table.by_id("acme")
    for shown in (
        repr(acme),
        json.dumps(str(source.table)),
        repr(list(source._files.records.values())),
    ):
        assert "secret of" not in shown
