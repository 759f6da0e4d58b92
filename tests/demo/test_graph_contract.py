"""The stand-in's Graph says nothing that Microsoft's own types for Graph v1.0 do not have."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.demo.test_graph import call, carol, entra, graph, receiver, wanted

if TYPE_CHECKING:
    from demo.clock import MovableClock
    from demo.cloud import Customer
    from demo.idp.directory import Person as Account
    from demo.idp.graph import Graph
    from tests.demo.test_graph import Caller, Receiver

__all__ = ["call", "carol", "entra", "graph", "receiver"]

TYPES: dict[str, dict[str, str]] = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "microsoft-graph.yaml").read_text("utf-8")
)
SHAPES: dict[str, type] = {"string": str, "boolean": bool, "object": dict, "array": list}
RESOURCE_DATA = {"@odata.type", "@odata.id", "organizationId"}
"""Of a notification without resource data, beside ``id`` ("changeNotification resource type")."""


def departures(value: dict[str, Any], name: str) -> list[str]:
    """Members that the type ``name`` does not have, or has otherwise. OData annotations begin with
    ``@``, or follow the member that they are about.
    """
    found = []
    for member, item in value.items():
        base, _, annotation = member.partition("@")
        kind = TYPES[name].get(base)
        if annotation:
            if base and (kind is None or not isinstance(item, list)):
                found.append(f"{name}.{member}: nothing to annotate")
        elif kind is None:
            found.append(f"{name} has no {member}")
        elif item is None:
            found += [] if kind.endswith(" or null") else [f"{name}.{member} is never null"]
        else:
            found += _of_kind(item, kind.removesuffix(" or null"), f"{name}.{member}")
    return found


def _of_kind(item: Any, kind: str, where: str) -> list[str]:
    if kind.startswith("one of "):
        allowed = kind.removeprefix("one of ").split(", ")
        return [] if item in allowed else [f"{where} is {item!r}"]
    if where.endswith("DateTime"):
        datetime.fromisoformat(item)
    shape = SHAPES[kind.partition(" ")[0]]
    return [] if isinstance(item, shape) else [f"{where} is no {kind}"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"id": "1", "surprise": True}, "User"),
        ({"id": None}, "User"),
        ({"id": "1", "accountEnabled": "true"}, "User"),
        ({"id": "1", "people@delta": []}, "Group"),
        ({"changeType": "renamed"}, "ChangeNotification"),
    ],
    ids=[
        "a member more",
        "null",
        "another type",
        "annotation of nothing",
        "outside an enumeration",
    ],
)
def test_a_departure_is_found(value: dict[str, Any], name: str) -> None:
    assert len(departures(value, name)) == 1


async def test_answers_have_the_members_of_their_types(
    call: Caller, entra: Customer, carol: Account, receiver: Receiver, clock: MovableClock
) -> None:
    directory = entra.server.directory
    (group, *_) = directory.groups_of(carol)
    _, created = await call("POST", "/subscriptions", wanted(receiver, clock))
    one = f"/subscriptions/{created['id']}"
    renewal = {"expirationDateTime": created["expirationDateTime"]}
    found = departures(created, "Subscription")
    for method, path, body in (("GET", one, None), ("PATCH", one, renewal)):
        found += departures((await call(method, path, body))[1], "Subscription")
    _, listed = await call("GET", "/subscriptions")
    assert len(listed["value"]) == 1
    found += [text for item in listed["value"] for text in departures(item, "Subscription")]
    selected = "id,displayName,userPrincipalName,mail,accountEnabled"
    for path in (f"/users/{carol.id}", f"/users/{carol.id}?$select={selected}"):
        found += departures((await call("GET", path))[1], "User")
    found += departures((await call("GET", f"/groups/{group.id}"))[1], "Group")
    for path, name in (
        (f"/users/{carol.id}/memberOf", "Group"),
        (f"/groups/{group.id}/members", "User"),
    ):
        items = (await call("GET", path))[1]["value"]
        assert items
        found += [text for item in items for text in departures(item, name)]
    assert found == []


async def test_deltas_have_the_members_of_their_types(
    call: Caller, entra: Customer, carol: Account
) -> None:
    directory = entra.server.directory
    (group, *_) = directory.groups_of(carol)
    links, found = {}, []
    for kind, name in (("users", "User"), ("groups", "Group")):
        _, first = await call("GET", f"/{kind}/delta")
        assert first["value"]
        found += [text for item in first["value"] for text in departures(item, name)]
        links[name] = first["@odata.deltaLink"]
    await directory.remove_from_group(carol, group)
    await directory.suspend(carol)
    await directory.delete_group(group)
    for name, link in links.items():
        _, later = await call("GET", link)
        assert later["value"]
        found += [text for item in later["value"] for text in departures(item, name)]
    assert found == []


async def test_notifications_have_the_members_of_their_types(
    call: Caller,
    graph: Graph,
    entra: Customer,
    carol: Account,
    receiver: Receiver,
    clock: MovableClock,
) -> None:
    directory = entra.server.directory
    (group, *_) = directory.groups_of(carol)
    for resource in ("groups", "users"):
        await call("POST", "/subscriptions", wanted(receiver, clock, resource))
    await directory.remove_from_group(carol, group)
    await directory.suspend(carol)
    await directory.delete_group(group)
    await graph.subscriptions.outbox.idle()
    for subscription in graph.subscriptions.by_id.values():
        graph.subscriptions.require_reauthorization(subscription)
    await graph.subscriptions.outbox.idle()
    assert {"updated", "deleted", None} == {n.get("changeType") for n in receiver.received}
    found = [text for item in receiver.received for text in departures(item, "ChangeNotification")]
    for item in receiver.received:
        data = item.get("resourceData", {})
        name = data.get("@odata.type", "#Microsoft.Graph.DirectoryObject").split(".")[-1]
        rest = {member: data[member] for member in data.keys() - RESOURCE_DATA}
        found += departures(rest, name)
    assert found == []
