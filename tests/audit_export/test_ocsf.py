"""Each record is an event that the published schema knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.audit_export.ocsf import (
    CREATE,
    DELETE,
    LONGEST_VALUE,
    OTHER,
    READ,
    UPDATE,
    activity_of,
    event,
    line,
)
from gateway.database.audit_entries import AuditEntry

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "ocsf" / "api_activity.json").read_text("utf-8")
)


def entry(**more: object) -> AuditEntry:
    values: dict[str, object] = {
        "id": 7,
        "at": 1_800_000_000.25,
        "actor": "person:4711",
        "action": "tenant.update",
        "tenant": "acme",
        "target": "acme",
        "outcome": "done",
        "request_id": "r-1",
        "before": {"name": "Acme"},
        "after": {"name": "ACME"},
        **more,
    }
    return AuditEntry(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record",
    [
        entry(),
        entry(actor="key:ci", outcome="refused:403"),
        entry(actor="hook", outcome="begun", tenant=None, target="", request_id=""),
        entry(actor="local:root", action="frobnicate", before=None, after=None),
    ],
)
def test_the_schema_knows_every_event(record: AuditEntry) -> None:
    said = event(record, version="1.2.3")
    assert set(SCHEMA["required"]) <= said.keys()
    assert said["class_uid"] == SCHEMA["class_uid"]
    assert said["category_uid"] == SCHEMA["category_uid"]
    assert said["type_uid"] == said["class_uid"] * 100 + said["activity_id"]
    known = SCHEMA["activities"][str(said["activity_id"])]
    assert said["activity_name"] == (record.action if known == "Other" else known)
    assert set(SCHEMA["metadata_required"]) <= said["metadata"].keys()
    user = said["actor"]["user"]
    assert set(SCHEMA["user_at_least_one"]) & user.keys()
    assert SCHEMA["user_types"][str(user["type_id"])] == user["type"]
    assert set(SCHEMA["endpoint_at_least_one"]) & said["src_endpoint"].keys()
    assert SCHEMA["statuses"][str(said["status_id"])] == said["status"]
    assert said["time"] == 1_800_000_000_250
    assert said["metadata"]["uid"] == "7-1800000000250"


def test_who_did_what_to_whom_and_with_what_end_is_said() -> None:
    said = event(entry(actor="key:ci", outcome="failed:502"), version="1")
    assert said["actor"]["user"] == {"uid": "key:ci", "name": "ci", "type_id": 4, "type": "Service"}
    assert said["api"]["operation"] == "tenant.update"
    assert said["api"]["request"] == {"uid": "r-1"}
    assert said["resources"] == [
        {"type": "tenant", "uid": "acme"},
        {"type": "target", "name": "acme"},
    ]
    assert (said["status"], said["status_detail"]) == ("Failure", "failed:502")
    assert said["unmapped"]["before"] == {"name": "Acme"}
    assert event(entry(outcome="begun"), version="1")["status_detail"] == "interrupted"
    for outcome in ("dry_run", "read"):
        said = event(entry(outcome=outcome), version="1")
        assert (said["activity_name"], said["status"], said["status_detail"]) == (
            "Read",
            "Success",
            outcome,
        )
    assert event(entry(actor="hook"), version="1")["actor"]["user"]["type"] == "System"


@pytest.mark.parametrize(
    ("action", "activity"),
    [
        ("tenant.update", UPDATE),
        ("create_admin_key", CREATE),
        ("revoke_admin_key", DELETE),
        ("console.exported", READ),
        ("restore_database", UPDATE),
        ("provision.frobnicate", OTHER),
        ("", OTHER),
    ],
)
def test_an_action_is_what_its_word_says(action: str, activity: int) -> None:
    assert activity_of(action) == activity


def test_a_line_is_one_line_whatever_is_in_it_and_no_longer_than_an_event_may_be() -> None:
    text = line(entry(target="a\nb\u2028\ud800", before="x" * LONGEST_VALUE, after={}), version="1")
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert len(text) < 256 * 1024
    said = json.loads(text)
    assert said["unmapped"]["before"] == {"truncated": True}
