"""Connecting a provider over the API, on the real registry: address, secret shown once, rotation,
test.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.admin.application import PREFIX, admin_application
from gateway.admin.keys import Scope
from gateway.database.audit_entries import AuditFilter
from gateway.database.group_commit import GroupCommitter
from gateway.hooks.activity import ActivityCounter
from gateway.hooks.setup import HookSetup
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.hook_targets import RecordedHookTargets
from gateway.tenants.snapshot_record import record_of
from tests.admin.conftest import Api
from tests.admin.test_dispatch import problem
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.database.engine import Database
    from gateway.tenants.snapshot_record import Record
    from tests.admin.conftest import Clock

HOOK = "/tenants/acme/hooks/acme-okta"


@pytest.fixture
async def connected(
    api: Api, database: Database, tmp_path: Path, clock: Clock, aiohttp_client: AiohttpClient
) -> AsyncIterator[tuple[Api, RecordedHookTargets, ActivityCounter]]:
    """Tenant acme in SQL, tenant filed in a file, and the listener's view of both."""
    tenants = TenantDatabase(database, config_with(tmp_path))
    files = {"filed": record_of(TenantDocument.model_validate(sample("filed")), None)}
    served: dict[str, Record] = dict(files)

    async def in_force(_tenant: str) -> None:
        served.update(
            {
                name: record_of(stored.document, None)
                for name, stored in (await tenants.all()).items()
            }
        )

    records = RegistryRecords(tenants, files=lambda: files, in_force=in_force)
    await records.put(TenantDocument.model_validate(sample("acme")), etag=None)
    targets = RecordedHookTargets(lambda: served)
    committer = GroupCommitter(database)
    async with committer.running():
        activity_counter = ActivityCounter(database, committer, clock=clock)
        setup = HookSetup(
            database,
            activity_counter,
            targets=targets,
            url="https://hooks.example.com",
            clock=clock,
        )
        application = web.Application()
        application.add_subapp(
            PREFIX, admin_application(replace(api.services, tenants=records, hook_setup=setup))
        )
        yield (
            Api(await aiohttp_client(application), api.keys, clock, api.services),
            targets,
            activity_counter,
        )


async def test_an_administrator_is_handed_address_events_and_secret(
    connected: tuple[Api, RecordedHookTargets, ActivityCounter],
) -> None:
    api, targets, _ = connected
    key = await api.key(Scope.HOOKS, tenant="acme")
    [listed] = (await (await api.call("GET", "/tenants/acme/hooks", key=key)).json())["items"]
    assert listed["addresses"]["okta"] == "https://hooks.example.com/hooks/okta/acme/acme-okta"
    assert "group.user_membership.remove" in listed["events"]
    assert listed["missing"]["providers[].hooks.secrets"]

    made = await api.call("POST", f"{HOOK}/secrets", key=key, headers={"Idempotency-Key": "once"})
    assert made.status == 201
    first = await made.json()
    assert len(first["secret"]) >= 43
    assert first["hook"] == {
        **listed,
        "secrets": 1,
        "missing": {k: v for k, v in listed["missing"].items() if k != "providers[].hooks.secrets"},
    }
    again = await api.call("POST", f"{HOOK}/secrets", key=key, headers={"Idempotency-Key": "once"})
    assert (again.headers["Idempotent-Replayed"], await again.json()) == ("true", first)

    second = await (await api.call("POST", f"{HOOK}/secrets", key=key)).json()
    third = await (await api.call("POST", f"{HOOK}/secrets", key=key)).json()
    target = targets.find("acme", "acme-okta")
    assert target is not None
    assert [s.reveal() for s in target.secrets] == [third["secret"], second["secret"]]
    seen = (await api.call("GET", f"{HOOK}/test", key=key)).headers["ETag"]
    previous = f"{HOOK}/secrets/previous"
    fourth = await api.call("POST", f"{HOOK}/secrets", key=key)
    late = await api.call("DELETE", previous, key=key, headers={"If-Match": seen})
    assert (late.status, (await late.json())["code"]) == (412, "precondition_failed")
    second, third = third, await fourth.json()
    target = targets.find("acme", "acme-okta")
    assert target is not None
    assert [s.reveal() for s in target.secrets] == [third["secret"], second["secret"]]
    now = {"If-Match": fourth.headers["ETag"]}
    ended = await (await api.call("DELETE", previous, key=key, headers=now)).json()
    assert ended["secrets"] == 1
    target = targets.find("acme", "acme-okta")
    assert target is not None
    assert [s.reveal() for s in target.secrets] == [third["secret"]]

    shown = [
        await (await api.call("GET", path)).text()
        for path in (HOOK, "/tenants/acme", "/tenants/acme/hooks")
    ]
    audit = await api.services.audit.page(AuditFilter(), position=None, limit=50)
    assert [e.action for e in audit.items].count("add_hook_secret") == 4
    for secret in (first["secret"], second["secret"], third["secret"]):
        assert secret not in "".join(shown)
        assert secret not in json.dumps([[e.before, e.after] for e in audit.items])


async def test_a_file_is_read_only_and_a_stranger_is_not_found(
    connected: tuple[Api, RecordedHookTargets, ActivityCounter],
) -> None:
    api, _, _ = connected
    filed = await problem(await api.call("POST", "/tenants/filed/hooks/filed-okta/secrets"))
    assert (filed["code"], "write the secret there" in filed["detail"]) == ("read_only", True)
    for path in (
        "/tenants/nobody/hooks",
        "/tenants/acme/hooks/globex-okta",
        "/tenants/acme/hooks/globex-okta/test",
    ):
        assert (await problem(await api.call("GET", path)))["code"] == "not_found"
    assert (await problem(await api.call("POST", "/tenants/acme/hooks/globex-okta/secrets")))[
        "code"
    ] == "not_found"


async def test_the_test_tells_what_this_listener_has_just_refused(
    connected: tuple[Api, RecordedHookTargets, ActivityCounter], clock: Clock
) -> None:
    api, targets, activity_counter = connected
    target = targets.find("acme", "acme-okta")
    assert target is not None
    activity_counter.note(target, "okta", "handshake")
    clock.now += 1
    activity_counter.note(
        target, "okta", "unauthenticated", "the Authorization header is not this provider's secret"
    )
    told = await (
        await api.call("GET", f"{HOOK}/test", key=await api.key(Scope.HOOKS, tenant="acme"))
    ).json()
    assert (told["verdict"], told["handshakes"][0]["count"], told["since"]) == (
        "refused",
        1,
        clock.now - 86400,
    )
    assert told["refused"] == [
        {
            "source": "okta",
            "channel": "push",
            "outcome": "unauthenticated",
            "count": 1,
            "last_at": clock.now,
            "detail": "the Authorization header is not this provider's secret",
        }
    ]
    first = clock.now
    for sender in ("scim", "okta"):
        assert (await api.call("POST", f"{HOOK}/secrets")).status == 201
        clock.now += 600
        rotated = targets.find("acme", "acme-okta")
        assert rotated is not None
        activity_counter.proved(rotated, sender, 0)
    later = await (await api.call("GET", f"{HOOK}/test?since={clock.now + 60}")).json()
    assert later["secrets"] == [
        {"last_used_at": clock.now, "senders": {"okta": clock.now}},
        {"last_used_at": first + 600, "senders": {"scim": first + 600}},
    ], "nobody has used the old one since"
    assert (await (await api.call("GET", f"{HOOK}/test?since={clock.now + 60}")).json())[
        "verdict"
    ] == "nothing"
    assert (await problem(await api.call("GET", f"{HOOK}/test?since=yesterday")))[
        "code"
    ] == "invalid_query"


async def test_a_webhook_that_was_given_up_is_sent_again_and_the_change_is_on_record(
    api: Api,
) -> None:
    listed = await (await api.call("GET", "/hooks/webhooks?state=failed")).json()
    assert [(m["id"], m["state"], m["error"]) for m in listed["items"]] == [
        ("msg_1", "failed", "answered 500")
    ]
    assert (await (await api.call("POST", "/hooks/webhooks/msg_1/replay")).json())["state"] == "new"
    assert (await problem(await api.call("GET", "/hooks/webhooks/msg_2")))["code"] == "not_found"
    [entry] = (
        await api.services.audit.page(AuditFilter(action="replay_message"), position=None, limit=5)
    ).items
    assert (entry.target, entry.outcome, entry.before) == (
        "msg_1",
        "done",
        {"state": "failed", "attempts": 13},
    )


@pytest.mark.parametrize("path", ["/hooks/webhooks", "/hooks/deliveries"])
async def test_a_cursor_that_this_list_did_not_give_out_is_refused(api: Api, path: str) -> None:
    from gateway.admin.parsing import write_cursor

    forged = write_cursor(
        {"/hooks/webhooks": "list_messages", "/hooks/deliveries": "list_deliveries"}[path],
        "1; DROP",
    )
    assert (await problem(await api.call("GET", f"{path}?cursor={forged}")))[
        "code"
    ] == "invalid_cursor"
