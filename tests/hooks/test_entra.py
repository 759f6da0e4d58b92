from __future__ import annotations

from typing import Any

import pytest

from gateway.core.model import Secret
from gateway.hooks.event import DeliveryRejectedError, Effect, Group, SkipReason, Subject
from gateway.hooks.sources import entra
from gateway.hooks.sources.credential import client_state
from tests.hooks.samples import DIRECTORY, load, raw

STATES = [Secret("STATE"), Secret("STATE-BEFORE")]
OID = "b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11"


def parse(document: object) -> Any:
    return entra.parse_delivery(raw(document), client_states=STATES, directory_id=DIRECTORY)


@pytest.mark.parametrize("mark", ["deleted", {"reason": "deleted"}, {"reason": "changed"}, {}])
def test_member_removed_in_string_and_object_form(mark: object) -> None:
    document = load("graph_group_member_removed.json")
    document["value"][0]["resourceData"]["members@delta"][0]["@removed"] = mark
    [event] = parse(document).events
    assert (event.effect, event.subject, event.event_time, event.id) == (
        Effect.GROUP_REMOVED,
        Subject(oid=OID),
        None,
        None,
    )
    assert event.group == Group(id="6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01")
    assert event.reference == "7f105c7d-2dc5-4530-97cd-4e7ae6534c07"


def test_member_added_and_user_updated_are_looked_up_and_permanent_deletion_refuses() -> None:
    document = load("graph_group_member_removed.json")
    del document["value"][0]["resourceData"]["members@delta"][0]["@removed"]
    user = load("graph_user_updated.json")["value"][0]
    document["value"] += [user, {**user, "changeType": "deleted"}]
    assert [e.effect for e in parse(document).events] == [
        Effect.LOOK_UP_MEMBERSHIP,
        Effect.LOOK_UP_ACCOUNT,
        Effect.BLOCK,
    ]


def test_client_state_is_compared_before_anything_else_is_read() -> None:
    entries = [
        {"clientState": "wrong", "tenantId": 7, "resource": {"not": "a string"}},
        {"changeType": "updated"},
        {**load("graph_user_updated.json")["value"][0], "clientState": "STATE-BEFORE"},
    ]
    delivery = parse({"value": entries})
    assert [s.reason for s in delivery.skipped] == [SkipReason.CLIENT_STATE] * 2
    assert len(delivery.events) == 1


def test_another_directory_in_the_batch_is_skipped() -> None:
    document = load("graph_user_updated.json")
    document["value"][0]["tenantId"] = "00000000-0000-0000-0000-000000000000"
    assert [s.reason for s in parse(document).skipped] == [SkipReason.WRONG_DIRECTORY]
    assert (
        entra.parse_delivery(
            raw(load("graph_user_updated.json")), client_states=STATES, directory_id=None
        ).events
        == ()
    )


def test_lifecycle_events_name_their_subscription() -> None:
    [event] = entra.parse_lifecycle(
        raw(load("graph_lifecycle.json")), client_states=STATES, directory_id=DIRECTORY
    ).events
    assert (event.effect, event.type, event.reference) == (
        Effect.SUBSCRIPTION,
        "reauthorizationRequired",
        "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
    )


@pytest.mark.parametrize("token", ["", "<script>\r\n", "ünïcode", "x" * 2049])
def test_handshake_echoes_printable_tokens_only(token: str) -> None:
    assert (
        entra.handshake("Validation: Testing client application <b>")
        == "Validation: Testing client application <b>"
    )
    with pytest.raises(DeliveryRejectedError):
        entra.handshake(token)


def test_client_state_is_bound_to_tenant_and_provider() -> None:
    secret = Secret("s3cret")
    states = {
        client_state(secret, tenant=t, provider=p)
        for t in ("acme", "globex")
        for p in ("one", "two")
    }
    assert len(states) == 4
    assert all(len(s) == 43 for s in states)
