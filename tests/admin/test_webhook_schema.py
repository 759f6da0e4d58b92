"""Each type of message has one schema, and it is of that message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import jsonschema_rs
import pytest

from gateway.admin.webhook_schema import (
    CONNECTIONS,
    DOMAINS,
    EVENTS,
    PROFILED,
    VERSION,
    catalog,
)
from gateway.core.expiry import ConnectionReport
from gateway.core.hook_target import OPT_IN, WebhookEvent
from gateway.core.person import Person
from gateway.hooks.effects import Notice, Profile
from gateway.hooks.event import Subject
from gateway.hooks.webhooks.outbox import Origin, render

SCHEMAS = {row.type: row.message for row in catalog().items}


def message(
    event: str, *, profile: bool, connection: bool = False, domain: bool = True
) -> dict[str, Any]:
    """As the outbox writes it."""
    shown = Profile("Alice", "alice", "okta_alice", ("a",), (), ("groups",)) if profile else None
    subject, person = Subject(email="a@acme.test"), Person("u1", "a@acme.test")
    notice = Notice(event, "account", subject, (person,), None, 1.0, profile=shown)
    if connection:
        report = ConnectionReport("expiring", "", "saml_certificate", 3.0, 7)
        notice = replace(notice, cause="connection", connection=report)
    if event in DOMAINS and domain:
        notice = replace(notice, cause="domain", domain="acme.test")
    return render(notice, Origin("acme", "acme-okta", "okta", "x"), now=2.0, revocation="")


def test_the_catalog_has_every_type_that_a_tenant_may_name() -> None:
    assert set(SCHEMAS) == set(EVENTS) == set(get_args(WebhookEvent))
    assert {row.type for row in catalog().items if row.opt_in} == OPT_IN
    assert {row.version for row in catalog().items} == {VERSION}


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_a_schema_takes_its_own_message_and_no_other(event: str) -> None:
    jsonschema_rs.meta.validate(SCHEMAS[event])
    validator = jsonschema_rs.validator_for(SCHEMAS[event])
    own = message(event, profile=event in PROFILED, connection=event in CONNECTIONS)
    assert validator.is_valid(own)
    assert validator.is_valid({**own, "added_later": 1})
    assert not validator.is_valid({**own, "type": "another"})
    bare = message(event, profile=False, domain=False)
    assert validator.is_valid(bare) is (event not in PROFILED | CONNECTIONS | DOMAINS)
    assert not validator.is_valid({**own, "data": {**own["data"], "users": [{"user": 1}]}})
