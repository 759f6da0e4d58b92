"""``PUT /tenants/{id}?dry_run=true``: what would change and for whom, over the real registry; and
warnings for policies that let nobody in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.admin.application import PREFIX, admin_application
from gateway.admin.keys import Scope
from gateway.core.paging import Page
from gateway.database.audit_entries import AuditFilter
from gateway.errors import UnavailableError
from gateway.sessions.api import SessionView
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.database import TenantDatabase
from gateway.tenants.dry_run import TenantRehearsals
from tests.admin.conftest import Api
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.database.engine import Database


def signed_in(email: str, *groups: str) -> SessionView:
    return SessionView(
        f"f-{email}",
        "acme",
        email,
        email,
        "acme-okta",
        ("acme.example.com",),
        1_800_000_000,
        1_800_003_600,
        "",
        groups=groups,
    )


@dataclass(slots=True)
class Directory:
    away: bool = False

    async def page(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        if self.away:
            msg = "the store is away"
            raise UnavailableError(msg)
        return Page(
            [
                signed_in("alice@acme.test", "app-users", "admins"),
                signed_in("bob@acme.test", "app-users"),
            ]
        )

    async def app_passwords(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        return Page([])

    async def find(self, session: str) -> SessionView | None:
        return None


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def registry(
    api: Api,
    aiohttp_client: AiohttpClient,
    database: Database,
    tmp_path: Path,
    directory: Directory,
) -> Api:
    """The same API over the real registry, which holds ``acme``."""
    config = config_with(tmp_path / "state")
    tenants = TenantDatabase(database, config)

    async def in_force(_tenant: str) -> None: ...

    records = RegistryRecords(tenants, files=dict, in_force=in_force)
    services = replace(
        api.services,
        tenants=records,
        rehearsals=TenantRehearsals(tenants, config, directory, files=dict),
        is_tenant=records.has,
    )
    application = web.Application()
    application.add_subapp(PREFIX, admin_application(services))
    made = Api(await aiohttp_client(application), api.keys, api.clock, services)
    assert (await made.call("PUT", "/tenants/acme", json=sample())).status == 201
    return made


async def put(
    api: Api, document: dict[str, Any], *, dry: bool, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    answer = await api.call(
        "PUT",
        f"/tenants/acme{'?dry_run=true' if dry else ''}",
        json=document,
        headers={"If-Match": '"1"'},
        key=key,
    )
    return answer.status, await answer.json()


async def test_a_dry_run_says_what_changes_and_who_loses_access_and_changes_nothing(
    registry: Api,
) -> None:
    status, told = await put(
        registry, sample(allowed_groups=["admins"], client_secret="***"), dry=True
    )
    assert (status, told["dry_run"], told["etag"]) == (200, True, "1")
    assert told["changes"] == [
        {"key": "allowed_groups", "before": ["app-users"], "after": ["admins"]}
    ]
    people = told["people"]
    assert (people["sessions"], people["losing"], people["gaining"]) == (2, 1, 0)
    assert people["effects"] == [
        {"email": "bob@acme.test", "gains": False, "where": "", "reason": "group_missing"}
    ]
    now = await (await registry.call("GET", "/tenants/acme")).json()
    assert (now["etag"], now["tenant"]["allowed_groups"]) == ("1", ["app-users"])
    [newest, *_] = (
        await registry.services.audit.page(AuditFilter(action="put_tenant"), position=None, limit=1)
    ).items
    assert (newest.outcome, newest.before, newest.after) == ("dry_run", None, None)


async def test_a_dry_run_is_refused_where_the_change_would_be(registry: Api) -> None:
    assert (await registry.call("PUT", "/tenants/acme?dry_run=true", json=sample())).status == 428
    assert (
        await registry.call(
            "PUT", "/tenants/acme?dry_run=true", json=sample(), headers={"If-Match": '"7"'}
        )
    ).status == 412
    assert (await put(registry, sample(allowed_groups=["app-users "]), dry=True))[0] == 400
    other = sample("globex", hosts=["acme.example.com"])
    answer = await registry.call("PUT", "/tenants/globex?dry_run=true", json=other)
    assert (answer.status, (await answer.json())["code"]) == (409, "taken")
    bound = await registry.key(Scope.TENANTS_WRITE, tenant="acme")
    assert (
        await put(
            registry, sample(hosts=["other.example.com"], client_secret="***"), dry=True, key=bound
        )
    )[0] == 403


async def test_addresses_are_shown_to_keys_that_may_list_sessions_only(registry: Api) -> None:
    for scopes, shown in (
        ((Scope.TENANTS_WRITE,), False),
        ((Scope.TENANTS_WRITE, Scope.SESSIONS_READ), True),
    ):
        _, told = await put(
            registry,
            sample(allowed_groups=["admins"], client_secret="***"),
            dry=True,
            key=await registry.key(*scopes),
        )
        assert (told["people"]["losing"], told["people"]["effects"] is not None) == (1, shown)


async def test_people_who_cannot_be_asked_about_are_said_to_be_unknown(
    registry: Api, directory: Directory
) -> None:
    directory.away = True
    status, told = await put(
        registry, sample(allowed_groups=["admins"], client_secret="***"), dry=True
    )
    assert (status, told["people"]["unknown"], told["people"]["losing"]) == (
        200,
        "the store is away",
        0,
    )


@pytest.mark.parametrize("dry", [True, False])
async def test_a_policy_that_lets_nobody_in_is_taken_with_a_word(
    registry: Api, *, dry: bool
) -> None:
    rules = [
        {"path": "/a/**", "groups": []},
        {"path": "/b", "allow": "deny"},
        {"path": "/**", "allow": "deny"},
    ]
    _, told = await put(
        registry, sample(allowed_groups=[], rules=rules, client_secret="***"), dry=dry
    )
    assert [warning.partition(":")[0] for warning in told["warnings"]] == [
        "allowed_groups",
        "rules.0",
        "rules.2",
    ]
    status, told = (
        await put(registry, sample(client_secret="***"), dry=True)
        if dry
        else (200, {"warnings": []})
    )
    assert (status, told["warnings"]) == (200, [])
