"""Whoever changes the tenant of the console's operators makes operators."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.admin.application import in_process_api
from gateway.admin.keys import AdminKey, Scope
from gateway.tenants.batch import Batch
from gateway.tenants.folder_plan import Change, FolderPlan
from tests.admin.rooms import Batches
from tests.admin.test_authorization import PROVISION
from tests.admin.test_dispatch import TENANT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.in_process import InProcessApi
    from gateway.core.json_types import Json
    from gateway.tenants.batch import TenantBatches
    from tests.admin.conftest import Api

OPS = {**TENANT, "id": "ops"}
CHANGES: dict[str, dict[str, Any]] = {
    "put_tenant": {"path": {"tenant": "ops"}, "body": OPS},
    "delete_tenant": {"path": {"tenant": "ops"}},
    "provision": {"path": {"tenant": "ops"}, "body": PROVISION},
    "reprovision": {"path": {"tenant": "ops"}, "body": PROVISION},
    "rotate": {"path": {"tenant": "ops"}},
    "retire": {"path": {"tenant": "ops"}},
    "move": {"path": {"tenant": "ops"}, "body": {"pool": "second"}},
    "test_move": {"path": {"tenant": "ops"}, "body": {"pool": "second"}},
    "destroy": {"path": {"tenant": "ops"}},
    "add_hook_secret": {"path": {"tenant": "ops", "provider": "ops-okta"}},
    "end_hook_rotation": {"path": {"tenant": "ops", "provider": "ops-okta"}},
    "decide_held": {"body": {"tenant": "ops", "decision": "release"}},
    "create_pool_user": {"path": {"tenant": "ops"}, "body": {"email": "mallory@ops.test"}},
    "put_pool_user_groups": {
        "path": {"tenant": "ops", "pool_user": "8c1d"},
        "body": {"groups": ["platform-admins"]},
    },
}
EVERYTHING_ELSE = frozenset(Scope) - {Scope.OPERATOR}


def key(*scopes: Scope, tenant: str | None = None) -> AdminKey:
    return AdminKey("k", "k", frozenset(scopes), tenant, 0, None)


@pytest.fixture
def guarded(api: Api) -> InProcessApi:
    return in_process_api(replace(api.services, operators_tenant="ops"))


@pytest.mark.parametrize("operation", CHANGES)
async def test_only_an_operator_of_all_tenants_changes_the_operators_tenant(
    guarded: InProcessApi, operation: str
) -> None:
    for caller in (key(*EVERYTHING_ELSE), key(Scope.OPERATOR, tenant="ops")):
        answer = await guarded.call(caller, operation, **CHANGES[operation])
        assert (answer.status, answer.code) in {
            (403, "scope_missing"),
            (403, "tenant_bound"),  # where no bound key may do it
        }, operation


async def test_an_operator_changes_it_and_others_change_other_tenants(
    guarded: InProcessApi,
) -> None:
    stored = await guarded.call(key(Scope.OPERATOR), "put_tenant", path={"tenant": "ops"}, body=OPS)
    assert stored.status == 201
    other = await guarded.call(
        key(Scope.TENANTS_WRITE), "put_tenant", path={"tenant": "acme"}, body=TENANT
    )
    assert other.status == 201


class _Changes(Batches):
    """A plan that deletes the operators' tenant, as ``prune`` may."""

    async def plan(self, documents: Sequence[Json], *, prune: bool) -> Batch:
        change = Change("delete", "ops", 1, None, ())
        return Batch(FolderPlan((change,), (), ()), "etag", {})


async def test_a_folder_changes_it_for_an_operator_alone(api: Api) -> None:
    guarded = in_process_api(
        replace(
            api.services,
            operators_tenant="ops",
            tenant_batches=cast("TenantBatches", _Changes()),
        )
    )
    answer = await guarded.call(key(*EVERYTHING_ELSE), "put_tenants", body={"tenants": []})
    assert (answer.status, answer.code) == (403, "scope_missing")


async def test_a_caller_of_some_tenants_lists_them_and_does_nothing_else(
    guarded: InProcessApi, api: Api
) -> None:
    for name in ("acme", "acme-labs", "globex"):
        await guarded.call(
            key(Scope.OPERATOR), "put_tenant", path={"tenant": name}, body={**TENANT, "id": name}
        )
    some = replace(key(Scope.OPERATOR), within=("acme*",))
    listed = await guarded.call(some, "list_tenants")
    assert [row["tenant"]["id"] for row in listed.document["items"]] == ["acme", "acme-labs"]
    for operation, path in (
        ("get_tenant", {"tenant": "acme"}),
        ("list_audit", {}),
        ("explain", {}),
    ):
        answer = await guarded.call(some, operation, path=path)
        assert (answer.status, answer.code) == (403, "wrong_tenant")


async def test_what_is_asked_within_the_process_is_checked_as_if_it_had_been_sent(
    guarded: InProcessApi,
) -> None:
    caller = key(Scope.OPERATOR)
    bad = await guarded.call(
        caller, "put_tenant", path={"tenant": "acme"}, body={**TENANT, "colour": "blue"}
    )
    assert (bad.status, bad.code) == (400, "invalid_body")
    assert "colour" in bad.detail
    assert (await guarded.call(caller, "get_tenant", path={"tenant": "../x"})).status == 404
    assert (await guarded.call(caller, "stream_revocations")).status == 404
    assert (await guarded.call(caller, "list_audit", query={"colour": "blue"})).status == 400
