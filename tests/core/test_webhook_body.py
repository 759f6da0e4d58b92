"""A message as it is, and as a CloudEvent."""

from __future__ import annotations

import json

import pytest

from gateway.core.hook_target import OPT_IN, WebhookTarget
from gateway.core.model import Secret
from gateway.core.webhook_body import CLOUD_EVENTS, body_of, content_type

MESSAGE = {
    "type": "user.created",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "data": {"tenant": "acme", "provider": "acme-okta", "name": "Zoë"},
}


def target(*, cloud_events: bool = False, events: frozenset[str] | None = None) -> WebhookTarget:
    return WebhookTarget("acme", "https://app.test", (Secret("s" * 32),), events, cloud_events)


def test_a_message_is_sent_as_it_is() -> None:
    body = body_of(MESSAGE, target(), message_id="msg_1")
    assert json.loads(body) == MESSAGE
    assert content_type(body) == "application/json"


def test_an_envelope_says_by_itself_what_a_receiver_needs() -> None:
    """CloudEvents 1.0: id, source, specversion and type are required."""
    body = body_of(MESSAGE, target(cloud_events=True), message_id="msg_1")
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "msg_1",
        "source": "/tenants/acme",
        "type": "user.created",
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "data": MESSAGE["data"],
    }
    assert content_type(body) == CLOUD_EVENTS


@pytest.mark.parametrize(
    ("events", "event", "wanted"),
    [
        (None, "user.created", True),
        (None, "user.signed_in", False),
        (frozenset({"user.signed_in"}), "user.signed_in", True),
        (frozenset({"user.signed_in"}), "user.deprovisioned", False),
    ],
)
def test_an_app_is_sent_what_its_tenant_names_or_all_but_what_must_be_asked_for(
    events: frozenset[str] | None, event: str, wanted: bool
) -> None:
    assert target(events=events).wants(event) is wanted
    assert frozenset({"user.signed_in"}) == OPT_IN
