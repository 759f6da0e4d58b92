"""What an operator sees of an event or a message: everything but who it is about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.hook_target import WebhookTarget
from gateway.core.person import Person
from gateway.core.webhook_body import body_of
from gateway.hooks.effects import Notice, Profile
from gateway.hooks.event import Effect, Group, HookEvent, Source, Subject
from gateway.hooks.payload import dump_event
from gateway.hooks.redacted import MOST, hidden, redacted
from gateway.hooks.webhooks.outbox import Origin, render

SUBJECT = Subject(
    "mallory-subject-0001",
    "mallory-oid-0002",
    "mallory@acme.test",
    "mallory-record-0003",
    (("idp_subject", "mallory-further-0004"), ("email", "mallory.m@acme.test")),
)
GROUP = Group("00g1", "app-users", ("users",), "app-users")
EVENT = HookEvent(
    Source.OKTA,
    "group.user_membership.remove",
    Effect.MEMBERS_REMOVED,
    SUBJECT,
    GROUP,
    1_767_225_600.0,
    "evt-1",
    "mallory-reference-0005",
    tuple(f"mallory-member-{n:04}" for n in range(40)),
)
NOTICE = Notice(
    "user.updated",
    "sign_in",
    SUBJECT,
    (Person("mallory-user-0006", "mallory@acme.test", "mallory-idp-0007", "mallory-oid-0008"),),
    GROUP,
    1.0,
    "mallory-user-0006",
    Profile("Mallory Mallory", "mallory", "mallory_login", ("mallory-group",), ("mallory-role",)),
)
ORIGIN = Origin("acme", "acme-okta", "okta", "user.account.update_profile")


def message(*, cloud_events: bool) -> dict[str, Any]:
    told = render(NOTICE, ORIGIN, now=1.0, revocation="r0001")
    target = WebhookTarget("acme", "https://app.example.com", (), cloud_events=cloud_events)
    found: dict[str, Any] = json.loads(body_of(told, target, message_id="msg_1"))
    return found


@pytest.mark.parametrize(
    "said",
    [
        json.loads(dump_event(EVENT, trace="00-mallory")),
        message(cloud_events=False),
        message(cloud_events=True),
    ],
    ids=["event", "message", "CloudEvents"],
)
def test_nobody_is_named(said: dict[str, Any]) -> None:
    shown = json.dumps(redacted(said))
    assert "mallory" not in shown.lower()
    assert "app-users" in shown
    assert said["type"] in shown


def test_what_helps_to_find_a_mistake_is_left() -> None:
    shown = redacted(json.loads(dump_event(EVENT)))
    assert (shown["id"], shown["effect"], shown["event_time"]) == (
        "evt-1",
        "members_removed",
        1_767_225_600.0,
    )
    assert shown["subject"]["email"] == "…@acme.test"
    assert shown["subject"]["idp_subject"] == "…0001"
    assert len(shown["members"]) == MOST + 1
    assert shown["members"][-1] == "+30"
    data = redacted(message(cloud_events=True))["data"]
    assert (data["tenant"], data["revocation"], data["cause"]) == ("acme", "r0001", "sign_in")


def test_a_field_that_nobody_thought_of_is_hidden() -> None:
    said = {"data": {"news": "Mallory", "more": {"type": "Mallory"}}, "other": ["Mallory"]}
    assert "Mallory" not in json.dumps(redacted(said))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", ""),
        ("bob", "…"),
        ("00u1a2b3c4d", "…"),
        ("00u1a2b3c4d5", "…c4d5"),
        ("bob@acme.test", "…@acme.test"),
        ("@acme", "…"),
        ("bob@", "…@"),
    ],
)
def test_what_is_left_of_a_text(text: str, left: str) -> None:
    assert hidden(text) == left
