"""What one SCIM client costs everybody else: work that grows with what is sent and no faster,
transactions that do not grow, and quotas.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, select

from gateway.database.schema import scim_former_names, scim_resources, scim_usage
from gateway.hooks.deliveries import InboxRecords
from gateway.hooks.scim import filter as scim_filter
from gateway.hooks.scim import patch as scim_patch
from gateway.hooks.scim import resources, search
from gateway.hooks.scim.filter import ScimError
from gateway.hooks.scim.names import FORMER_NAME_BYTES
from gateway.hooks.scim.rows import GROUP, USER
from gateway.hooks.scim.usage import Growth, ScimLimits, ScimUsage
from tests.hooks.test_scim_client import call
from tests.hooks.world import hooks_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiohttp

    from gateway.database.engine import Database
    from tests.hooks.world import World

pytestmark = pytest.mark.every_database


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"Operations": list(operations)}


async def test_a_change_based_on_an_older_version_is_computed_anew(world: World) -> None:
    """Two clients at once: neither loses what the other did."""
    users = [
        (await call(world, "POST", "/Users", {"userName": f"u{n}@acme.com", "active": True}))[1]
        for n in range(6)
    ]
    _, group = await call(world, "POST", "/Groups", {"displayName": "Sales"})
    await asyncio.gather(
        *(
            call(
                world,
                "PATCH",
                f"/Groups/{group['id']}",
                patch({"op": "add", "path": "members", "value": [{"value": u["id"]}]}),
            )
            for u in users
        )
    )
    _, shown = await call(world, "GET", f"/Groups/{group['id']}")
    assert {m["value"] for m in shown["members"]} == {u["id"] for u in users}
    assert shown["meta"]["version"] == 'W/"7"', "one for each, however often a client asked"


async def test_what_is_said_again_changes_no_version(world: World) -> None:
    _, user = await call(world, "POST", "/Users", {"userName": "u@acme.com", "active": True})
    _, group = await call(world, "POST", "/Groups", {"displayName": "Sales"})
    address = f"/Groups/{group['id']}"
    add = patch({"op": "add", "path": "members", "value": [{"value": user["id"]}]})
    _, first = await call(world, "PATCH", address, add)
    _, again = await call(world, "PATCH", address, add)
    assert again["meta"]["version"] == first["meta"]["version"] == 'W/"2"'
    _, put = await call(world, "PUT", address, {key: first[key] for key in first if key != "meta"})
    assert put["meta"]["version"] == first["meta"]["version"]
    _, renamed = await call(
        world, "PATCH", address, patch({"op": "replace", "path": "displayName", "value": "S"})
    )
    assert renamed["meta"]["version"] == 'W/"3"'


# --- reading what was sent ---


def steps(work: Callable[[], object]) -> int:
    """Instructions of Python, counted: the same on every machine, busy or not."""
    count = 0

    def trace(frame: Any, _kind: str, _argument: object) -> Any:
        nonlocal count
        count += 1
        frame.f_trace_opcodes = True
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "text",
    [
        lambda n: "urn:" + "a:" * n,
        lambda n: "urn:" + "a" * n,
        lambda n: "a" * n,
        lambda n: "members[" + "a" * n,
        lambda n: 'a eq "' + "\\\\" * n,
        lambda n: "a" + " " * n,
        lambda n: 'a eq "1" and ' * n,
    ],
)
def test_a_path_or_filter_of_any_length_is_refused_without_being_read_twice(
    text: Callable[[int], str],
) -> None:
    before = time.process_time()
    for n in (40_000, 1_000_000):
        sent = text(n)
        for reading in (scim_filter.parse_path, scim_filter.parse_filter):
            with pytest.raises(ScimError):
                reading(sent)
        with pytest.raises(ScimError):
            scim_patch.parse_patch(patch({"op": "replace", "value": {sent: 1}}))
    for n in range(1, 4096, 97):
        for read in (scim_filter.parse_path, scim_filter.parse_filter):
            with contextlib.suppress(ScimError):
                read(text(n))
    assert time.process_time() - before < 1


def members(n: int, *, start: int = 0) -> list[dict[str, str]]:
    return [{"value": f"m{one}"} for one in range(start, start + n)]


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param(
            lambda n: [{"op": "remove", "path": f'members[value eq "m{one}"]'} for one in range(n)],
            id="removed-one-by-one",
        ),
        pytest.param(
            lambda n: [
                {"op": "add", "path": "members", "value": [{"value": f"x{one}"}]}
                for one in range(n)
            ],
            id="added-one-by-one",
        ),
        pytest.param(
            lambda n: [{"op": "remove", "path": "members", "value": members(n)}],
            id="removed-together",
        ),
        pytest.param(
            lambda n: [{"op": "replace", "path": "members", "value": members(n, start=5)}],
            id="replaced",
        ),
    ],
)
def test_a_patch_of_a_group_takes_work_in_proportion(
    operations: Callable[[int], list[dict[str, Any]]],
) -> None:
    def work(n: int) -> int:
        group, body = {"displayName": "g", "members": members(n)}, patch(*operations(n))
        return steps(lambda: resources.group_document(scim_patch.parse_patch(body).apply(group)))

    assert work(8 * 100) < 9 * work(100)


def test_operations_that_compare_too_much_are_refused() -> None:
    group = {"displayName": "g", "members": members(20_000)}
    with pytest.raises(ScimError) as caught:
        scim_patch.parse_patch(
            patch(*[{"op": "remove", "path": 'members[display eq "x"]'}] * 1000)
        ).apply(group)
    assert caught.value.scim_type == "tooMany"


# --- what others wait for ---


class Statements:
    """Statements in writing transactions, and cells that were opened, while something is done."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self._database = database
        self.written = self.opened = 0
        event.listen(database._engine.sync_engine, "before_cursor_execute", self._statement)
        opens = type(database.crypt).open

        def counted(crypt: Any, *args: Any, **names: Any) -> Any:
            self.opened += names["table"] == "scim_resources"
            return opens(crypt, *args, **names)

        monkeypatch.setattr(type(database.crypt), "open", counted)

    def _statement(self, connection: Any, _cursor: Any, _statement: str, *_: Any) -> None:
        options = connection.get_execution_options()
        self.written += not (options.get("reading") or options.get("postgresql_readonly"))

    async def of(self, work: Any) -> tuple[int, int]:
        """Statements in writing transactions, and resources opened."""
        self.written = self.opened = 0
        await work
        return self.written, self.opened

    def stop(self) -> None:
        event.remove(self._database._engine.sync_engine, "before_cursor_execute", self._statement)


async def some_users(world: World, n: int) -> list[str]:
    target = world.targets.by_key["acme", "acme-okta"]
    made = await asyncio.gather(
        *(
            world.scim.create(
                target,
                USER,
                {"userName": f"u{one}@acme.com", "externalId": f"00u{one}", "active": True},
            )
            for one in range(n)
        )
    )
    return [one.id for one in made]


async def test_what_a_change_of_a_group_keeps_others_waiting_for_does_not_depend_on_its_size(
    database: Database, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hooks_world(database, http, applying=False) as world:
        target = world.targets.by_key["acme", "acme-okta"]
        users = await some_users(world, 160)
        watched = Statements(database, monkeypatch)
        try:
            costs = []
            for n in (20, 160):
                group = await world.scim.create(
                    target,
                    GROUP,
                    {"displayName": f"g{n}", "members": [{"value": u} for u in users[:n]]},
                )
                costs.append(
                    await watched.of(
                        world.scim.patch(
                            target, GROUP, group.id, patch({"op": "remove", "path": "members"})
                        )
                    )
                )
            assert costs[0] == costs[1]
            assert costs[0][1] == 1  # the group itself
            # Applied: one statement and as many opened cells as there are people, outside of what
            # others wait for.
            opened = [
                (await watched.of(world.scim.people.people(target, users[:n]))) for n in (20, 160)
            ]
            assert opened == [(0, 20), (0, 160)]
        finally:
            watched.stop()


async def test_the_members_of_a_large_group_are_lost_in_events_of_a_bounded_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "MAX_NAMED", 7)
    target = world.targets.by_key["acme", "acme-okta"]
    users = await some_users(world, 30)
    group = await world.scim.create(
        target, GROUP, {"displayName": "Sales", "members": [{"value": u} for u in users]}
    )
    await world.scim.delete(target, GROUP, group.id)
    world.applier.wake()
    await world.settled()
    # So many at once wait for an operator.
    await InboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.applier.wake
    ).release_held(tenant="acme", provider=None)
    await world.settled()
    assert {
        r.who.idp_subject
        for r in world.revoker.standing
        if r.group_overlay == "Sales" and r.who.idp_subject
    } == {f"00u{n}" for n in range(30)} | {f"u{n}@acme.com" for n in range(30)}
    assert (
        sum(kind == "Group.members-" for kind, _, _ in await world.states()) == 30 + 5
    )  # the name's own events, and one for each seven


# --- how much there may be ---


@pytest.fixture
async def small(database: Database, http: aiohttp.ClientSession) -> AsyncIterator[World]:
    async with hooks_world(
        database, http, limits=ScimLimits(users=3, groups=2, members=3, bytes=4000)
    ) as found:
        yield found


async def usage(world: World) -> tuple[int, int, int]:
    async with world.database.read() as connection:
        row = (
            await connection.execute(select(scim_usage).where(scim_usage.c.provider != ""))
        ).one()
        held = (await connection.execute(select(func.sum(scim_resources.c.bytes)))).scalar() or 0
        names = (
            await connection.execute(select(func.count()).select_from(scim_former_names))
        ).scalar_one()
    assert row.bytes == held + names * FORMER_NAME_BYTES
    return row.users, row.groups, row.bytes


async def test_a_provider_keeps_so_much_and_hears_in_clear_words_when_it_is_full(
    small: World,
) -> None:
    made = [await call(small, "POST", "/Users", {"userName": f"u{n}@acme.com"}) for n in range(3)]
    assert [status for status, _ in made] == [201] * 3
    status, error = await call(small, "POST", "/Users", {"userName": "one-more@acme.com"})
    assert (status, error["status"], "hooks.scim" in error["detail"]) == (413, "413", True)
    assert (
        await call(
            small,
            "PATCH",
            f"/Users/{made[0][1]['id']}",
            patch({"op": "replace", "path": "title", "value": "x" * 5000}),
        )
    )[0] == 413
    # What takes away is never refused for want of room.
    assert (
        await call(
            small,
            "PATCH",
            f"/Users/{made[0][1]['id']}",
            patch({"op": "replace", "path": "active", "value": False}),
        )
    )[0] == 200
    assert (await usage(small))[:2] == (3, 0)
    assert (await call(small, "DELETE", f"/Users/{made[0][1]['id']}"))[0] == 204
    assert (
        await call(small, "POST", "/Users", {"userName": "one-more@acme.com", "title": "x" * 3000})
    )[0] == 201
    assert [
        (await call(small, "POST", "/Groups", {"displayName": f"g{n}"}))[0] for n in range(3)
    ] == [201, 201, 413]
    assert (await usage(small))[:2] == (3, 2)
    for _, user in made[1:]:
        await call(small, "DELETE", f"/Users/{user['id']}")
    await usage(small)


async def test_the_providers_of_a_tenant_share_what_it_may_keep(small: World) -> None:
    second = replace(small.targets.by_key["acme", "acme-okta"], provider="acme-second")
    other = replace(second, tenant="initech", provider="initech-okta")
    small.targets.by_key |= {second.key: second, other.key: other}
    bases = [
        "/scim/v2/acme/acme-okta",
        "/scim/v2/acme/acme-second",
        "/scim/v2/initech/initech-okta",
    ]
    created = [
        (await call(small, "POST", "/Users", {"userName": f"u{n}@acme.com"}, base=base))[0]
        for base in bases
        for n in range(2)
    ]
    assert created == [201, 201, 201, 413, 201, 201], "three for each tenant, whoever sends them"


async def test_members_of_groups_are_counted_whatever_way_they_come_and_go(small: World) -> None:
    users = [
        (await call(small, "POST", "/Users", {"userName": f"u{n}@acme.com"}))[1]["id"]
        for n in range(3)
    ]
    both = [{"value": user} for user in users[:2]]
    _, first = await call(small, "POST", "/Groups", {"displayName": "g1", "members": both})
    status, error = await call(small, "POST", "/Groups", {"displayName": "g2", "members": both})
    assert (status, error["status"], "scimType" in error) == (413, "413", False)
    _, second = await call(small, "POST", "/Groups", {"displayName": "g2"})

    async def change(group: Any, op: str, *members: str) -> int:
        value = [{"value": member} for member in members]
        operation = {"op": op, "path": "members", "value": value}
        return (await call(small, "PATCH", f"/Groups/{group['id']}", patch(operation)))[0]

    assert [await change(second, "add", user) for user in users[:2]] == [200, 413]
    assert await change(first, "remove", users[0]) == 200
    assert await change(second, "add", users[1]) == 200
    assert await change(second, "add", users[2]) == 413
    assert (await call(small, "DELETE", f"/Groups/{first['id']}"))[0] == 204
    assert await change(second, "add", users[2]) == 200, "what is deleted counts no more"


async def test_of_two_processes_at_once_one_takes_the_last_place(world: World) -> None:
    database, target = world.database, world.targets.by_key["acme", "acme-okta"]
    usage = ScimUsage(database, ScimLimits(users=1))

    async def takes(provider: str) -> bool:
        async with database.write() as connection:
            whose = replace(target, provider=provider)
            return await usage.count(connection, whose, USER, Growth(10, resources=1))

    async with database.write() as connection:
        assert await usage.count(connection, target, USER, Growth(10, resources=1))
        second = asyncio.create_task(takes("acme-second"))
        done, _ = await asyncio.wait({second}, timeout=0.2)
        assert not done, "it waits for the first to end"
    assert not await second


async def test_names_of_deleted_records_count_and_whoever_goes_still_goes(small: World) -> None:
    _, stays = await call(small, "POST", "/Users", {"userName": "stays@acme.com"})
    created = []
    for n in range(8):
        status, user = await call(small, "POST", "/Users", {"userName": f"u{n}@acme.com"})
        created.append(status)
        if status == 201:
            assert (await call(small, "DELETE", f"/Users/{user['id']}"))[0] == 204
    assert (created[0], created[-1]) == (201, 413)
    _, _, held = await usage(small)
    assert held > 4000
    assert (
        await call(
            small,
            "PATCH",
            f"/Users/{stays['id']}",
            patch({"op": "replace", "path": "active", "value": False}),
        )
    )[0] == 200
    assert (
        await call(
            small,
            "PATCH",
            f"/Users/{stays['id']}",
            patch({"op": "replace", "path": "title", "value": "x"}),
        )
    )[0] == 200
    assert (
        await call(
            small,
            "PATCH",
            f"/Users/{stays['id']}",
            patch({"op": "replace", "value": {"active": True, "title": "xxxxx"}}),
        )
    )[0] == 413
    assert (await call(small, "DELETE", f"/Users/{stays['id']}"))[0] == 204


async def test_names_that_a_new_record_takes_over_count_no_more(world: World) -> None:
    for body in (
        {"userName": "bob@acme.com"},
        {"userName": "bob@acme.com", "externalId": "00ubob"},
        {"userName": "eve@acme.com", "emails": [{"value": "bob@acme.com"}]},
    ):
        _, user = await call(world, "POST", "/Users", body)
        await usage(world)
        await call(world, "DELETE", f"/Users/{user['id']}")
        await usage(world)


async def test_one_resource_has_a_greatest_size(world: World) -> None:
    status, error = await call(
        world, "POST", "/Users", {"userName": "bob@acme.com", "title": "x" * 70_000}
    )
    assert (status, "65536 bytes" in error["detail"]) == (413, True)
    assert (
        await call(
            world,
            "POST",
            "/Users",
            {"userName": "bob@acme.com", "roles": [{"value": str(n)} for n in range(251)]},
        )
    )[1]["scimType"] == "invalidValue"
    assert (await call(world, "GET", "/Users"))[1]["totalResults"] == 0


async def test_a_page_holds_so_many_bytes_and_says_how_many_resources(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PAGE_BYTES", 10_000)
    monkeypatch.setattr(search, "BATCH_BYTES", 3_000)
    for n in range(12):
        assert (
            await call(
                world,
                "POST",
                "/Users",
                {"userName": f"u{n}@acme.com", "title": "x" * (12_000 if n == 3 else 2_000)},
            )
        )[0] == 201
    seen: list[str] = []
    sizes = []
    while True:
        _, page = await call(world, "GET", f"/Users?startIndex={len(seen) + 1}&count=200")
        assert page["totalResults"] == 12
        assert page["itemsPerPage"] == len(page["Resources"])
        if not page["Resources"]:
            break
        seen += [one["userName"] for one in page["Resources"]]
        sizes.append(len(json.dumps(page["Resources"])))
    assert sorted(seen) == sorted(f"u{n}@acme.com" for n in range(12))
    assert sum(size > 12_000 for size in sizes) == 1  # the one that is larger than a page
    assert len(sizes) > 3


async def test_a_filter_that_no_index_answers_opens_so_many_documents_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BATCH", 2)
    for n in range(5):
        await call(
            world,
            "POST",
            "/Users",
            {
                "userName": f"u{n}@acme.com",
                "title": "x" if n else "y",
                "emails": [{"value": f"u{n}@work.test"}],
            },
        )
    status, page = await call(world, "GET", "/Users?filter=title+eq+x&startIndex=2&count=2")
    assert (status, page["totalResults"], [one["userName"] for one in page["Resources"]]) == (
        200,
        4,
        ["u2@acme.com", "u3@acme.com"],
    )
    monkeypatch.setattr(search, "MAX_SCANNED", 4)
    status, refused = await call(world, "GET", "/Users?filter=title+eq+x")
    assert (status, refused["scimType"]) == (400, "tooMany")
    for narrowed in (
        "userName+eq+u1@acme.com+and+title+eq+x",
        "emails.value+eq+u1@work.test+and+title+eq+x",
    ):
        status, page = await call(world, "GET", f"/Users?filter={narrowed}")
        assert (status, page["totalResults"]) == (200, 1)
    monkeypatch.setattr(search, "MAX_SCANNED", 5)
    monkeypatch.setattr(search, "MAX_SCANNED_BYTES", 100)
    assert (await call(world, "GET", "/Users?filter=title+eq+x"))[1]["scimType"] == "tooMany"


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(['members.value co "y"'] * 100),
        "members[" + " or ".join(['value co "y"'] * 100) + "]",
    ],
    ids=["flat", "in-brackets"],
)
async def test_a_filter_of_many_terms_on_a_large_group_compares_so_much_and_no_more(
    world: World, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await call(
        world,
        "POST",
        "/Groups",
        {"displayName": "g", "members": [{"value": f"{n}"} for n in range(1000)]},
    )
    status, page = await call(world, "POST", "/Groups/.search", {"filter": 'members[value co "9"]'})
    assert (status, page["totalResults"]) == (200, 1)
    monkeypatch.setattr(search, "MAX_LOOKS", 100_000)
    status, refused = await call(world, "POST", "/Groups/.search", {"filter": text})
    assert (status, refused["scimType"]) == (400, "tooMany")
