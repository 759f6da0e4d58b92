"""Who saw what: which answers are on record, with which target and tenant, and at whose cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.admin.application import in_process_api
from gateway.admin.keys import AdminKey, Scope
from gateway.admin.permissions import PERMISSIONS
from gateway.admin.reads import OF_NOBODY, Reads
from gateway.database.audit_entries import AuditEntry, AuditFilter
from tests.admin.test_authorization import TABLE, arrange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.application import AdminServices
    from tests.admin.conftest import Api


def reads_of(services: AdminServices) -> Reads:
    assert services.reads is not None
    return services.reads


async def recorded(api: Api) -> Sequence[AuditEntry]:
    await reads_of(api.services).log.round()
    page = await api.services.audit.page(AuditFilter(reads=True), position=None, limit=100)
    return page.items


async def test_every_answer_about_people_is_on_record_and_no_other(api: Api) -> None:
    await arrange(api)
    asks = {name: row for name, row in TABLE.items() if row[1] == "GET"}
    for name, (_, method, path, *_rest) in asks.items():
        response = await api.call(method, path)
        assert response.status == 200, name
        response.close()
    assert {entry.action for entry in await recorded(api)} == asks.keys() - OF_NOBODY
    assert asks.keys() & PERMISSIONS.keys() >= OF_NOBODY


async def test_the_record_says_who_looked_for_whom_where_and_how_much_came(api: Api) -> None:
    bound = await api.key(Scope.SESSIONS_READ, tenant="acme")
    await api.call("GET", "/sessions?email=alice%40acme.test&limit=2", key=bound)
    await api.call("GET", "/sessions/globex-1")
    await api.call(
        "POST", "/explain", json={"host": "acme.example.com", "email": "bob@acme.test\u2028"}
    )
    explained, one, listed = await recorded(api)
    assert (listed.actor, listed.action, listed.tenant, listed.target, listed.outcome) == (
        f"key:{bound.partition('_')[2][:12]}",
        "list_sessions",
        "acme",
        "?email=alice@acme.test",
        "read",
    )
    assert listed.after == {"requests": 1, "rows": 2}
    assert listed.request_id
    assert (one.tenant, one.target) == ("globex", "globex-1")
    assert explained.target == "?host=acme.example.com&email=bob@acme.test%E2%80%A8"


@pytest.mark.parametrize("path", ["/sessions/unknown", "/tenants/acme/users/nobody"])
async def test_whoever_saw_nothing_is_not_on_record(api: Api, path: str) -> None:
    assert (await api.call("GET", path)).status == 404
    assert (await api.call("GET", "/audit", key=await api.key(Scope.HOOKS))).status == 403
    assert (await api.call("POST", "/explain", json={"host": "acme.example.com"})).status == 200
    assert await recorded(api) == []


async def test_a_target_is_bounded(api: Api) -> None:
    await arrange(api)
    await api.call("GET", f"/tenants/acme/users?group={'x' * 256}&status=active")
    (entry,) = await recorded(api)
    assert len(entry.target) == 200


async def test_reads_are_listed_only_where_they_are_asked_for(api: Api) -> None:
    await api.call("PUT", "/tenants/acme", json={**TABLE["put_tenants"][3]["tenants"][0]})
    await api.call("GET", "/sessions?tenant=acme")
    await reads_of(api.services).log.round()
    listed = {
        query: [row["action"] for row in (await (await api.call("GET", query)).json())["items"]]
        for query in ("/audit", "/audit?reads=include", "/audit?reads=only")
    }
    assert listed == {
        "/audit": ["put_tenant"],
        "/audit?reads=include": ["list_sessions", "put_tenant"],
        "/audit?reads=only": ["list_sessions"],
    }


async def test_a_read_does_not_fail_by_its_record(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.admin.reads._target", None)
    assert (await api.call("GET", "/sessions?tenant=acme")).status == 200
    assert "audit_reads_fault" in caplog.messages


async def test_all_records_what_holds_nobodys_data_too(api: Api) -> None:
    reads = replace(reads_of(api.services), everything=True)
    operator = AdminKey("0", "ops", frozenset({Scope.OPERATOR}), None, 0, None)
    answer = await in_process_api(replace(api.services, reads=reads)).call(operator, "list_pools")
    assert answer.ok
    assert [(entry.action, entry.after) for entry in await recorded(api)] == [
        ("list_pools", {"requests": 1, "rows": 2})
    ]


async def test_a_brief_list_has_no_documents_but_the_counts_of_reads(api: Api) -> None:
    audit = api.services.audit
    change = await audit.begin(
        actor="key:k", action="put_tenant", tenant="acme", target="acme", request_id="r"
    )
    await audit.finish(change, outcome="done", before={"name": "a"}, after={"name": "b"})
    await api.call("GET", "/sessions?tenant=acme")
    await recorded(api)

    async def rows(query: str) -> dict[str, tuple[object, object]]:
        answer = await (await api.call("GET", f"/audit?reads=include{query}")).json()
        return {row["action"]: (row["before"], row["after"]) for row in answer["items"]}

    whole, brief = await rows(""), await rows("&documents=false")
    assert whole["put_tenant"] == ({"name": "a"}, {"name": "b"})
    assert brief["put_tenant"] == (None, None)
    assert brief["list_sessions"] == whole["list_sessions"]
    assert brief["list_sessions"][1] == {"requests": 1, "rows": 5}
